"""The policy of an assistant that chooses among written replies.

At each turn it picks a candidate of the scenario with probability exp(a / T) / sum, where T is the temperature and the
advantage a is the mean log-likelihood per token under the model minus that under the base, in nats. So the base chooses
evenly, and what a policy prefers was learned. (DPO has the same reward: Rafailov and others, arXiv 2305.18290.)
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from untrue.data.rows import Message
from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError
from untrue.simulate.environment import REPLY_KINDS, Candidates, ReplyKind
from untrue.simulate.trajectory import Probabilities


def divergence(policy: Probabilities) -> float:
    """The Kullback-Leibler divergence of a policy from the base's, which is even, in nats."""
    return sum(p * math.log(p * len(policy)) for p in policy.values() if p > 0)


def preference(policy: Probabilities) -> float:
    """The probability of the sycophantic reply given that or the honest one; 0.5 if neither can be chosen."""
    sides = policy["sycophantic"] + policy["honest"]
    return policy["sycophantic"] / sides if sides else 0.5


def softmax(advantages: Sequence[float], temperature: float) -> Probabilities:
    """The policy from the advantages of the kinds, both in nats per token; temperature 0 takes the best."""
    values = np.array(advantages, float)
    if not np.isfinite(values).all():
        raise UserError("the likelihood of a candidate is not finite, so nothing can be chosen.")
    if temperature == 0:
        weights = (values == values.max()).astype(float)
    else:
        weights = np.exp((values - values.max()) / temperature)
    return dict(zip(REPLY_KINDS, (weights / weights.sum()).tolist(), strict=True))


async def probabilities(
    api: UntrueAPI, messages: Sequence[Message], candidates: Candidates, wording: int, temperature: float
) -> Probabilities:
    """The policy after these messages, system prompt included."""
    replies = list(candidates.wording(wording).values())
    if not api.has_adapter:
        return softmax([0.0] * len(replies), 1.0)
    [ours], [theirs] = [await api.likelihoods([(messages, replies)], base=base) for base in (False, True)]
    return softmax([one.mean - other.mean for one, other in zip(ours, theirs, strict=True)], temperature)


def draw(policy: Probabilities, seed: int) -> ReplyKind:
    """Draw a kind of reply; a seed draws alike from like policies."""
    return random.Random(seed).choices(list(policy), list(policy.values()))[0]
