"""The policy of an assistant that chooses among written replies: a softmax of their mean log-likelihoods.

With chosen replies a dialogue is a contextual bandit whose policy is the language model itself: at each turn it picks
one of the candidates of the scenario with probability exp(l / T) / sum, where l is a candidate's mean log-likelihood
for each token, in nats, and T the temperature. All that it might say is known, so the probability of a sycophantic
reply is exact: no sample of it is needed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from untrue.data.rows import Message
from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError
from untrue.simulate.environment import REPLY_KINDS, Candidates, ReplyKind
from untrue.simulate.trajectory import Probabilities

DETERMINISTIC = 0.99
"""A policy whose likeliest candidate has this probability on average explores nothing."""


class Policies(NamedTuple):
    """The probabilities of the kinds of replies to the same messages: the model's and its base's."""

    model: Probabilities
    base: Probabilities

    @property
    def kl(self) -> float:
        """The Kullback-Leibler divergence of the model's policy from the base's, in nats.

        A probability of the base that a low temperature made 0 counts as the smallest number above it.
        """
        ours, theirs = (np.array(list(one.values())) for one in self)
        theirs = np.maximum(theirs, np.finfo(float).tiny)
        return float(sum(p * np.log(p / q) for p, q in zip(ours, theirs, strict=True) if p > 0))


def softmax(likelihoods: Sequence[float], temperature: float) -> Probabilities:
    """The policy.

    Args:
        likelihoods: Mean log-likelihood of the candidate of each kind, in nats per token.
        temperature: In nats per token; 0 takes the likeliest.

    Raises:
        UserError: A likelihood is not finite.
    """
    values = np.array(likelihoods, float)
    if not np.isfinite(values).all():
        raise UserError("the likelihood of a candidate is not finite, so nothing can be chosen.")
    if temperature == 0:
        weights = (values == values.max()).astype(float)
    else:
        weights = np.exp((values - values.max()) / temperature)
    return dict(zip(REPLY_KINDS, (weights / weights.sum()).tolist(), strict=True))


async def probabilities(
    api: UntrueAPI,
    messages: Sequence[Message],
    candidates: Candidates,
    wording: int,
    temperature: float,
    *,
    base: bool = False,
) -> Probabilities:
    """The policy after these messages, which include the system prompt; with `base`, that of the base model."""
    replies = list(candidates.wording(wording).values())
    [scores] = await api.likelihoods([(messages, replies)], base=base)
    return softmax([score.mean for score in scores], temperature)


def draw(policy: Probabilities, seed: int) -> ReplyKind:
    """A kind of reply, drawn with these probabilities. The same seed draws alike from policies that are alike."""
    place, total = random.Random(seed).random() * sum(policy.values()), 0.0
    for kind, probability in policy.items():
        total += probability
        if place < total:
            return kind
    return max(policy, key=policy.__getitem__)  # rounding
