"""What the selection alone does: the loop of ratings with a policy that is a table, and no language model.

Replies are drawn from fixed policies, rated and selected as in a study. A learner that copied what was selected, and
nothing else, would then choose each kind of reply as often as it was selected. What a trained model does beyond that
is of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from untrue.simulate.environment import REPLY_KINDS, ReplyKind
from untrue.simulate.select import SelectBy, Within, populate, select
from untrue.simulate.trajectory import Choice, Trajectory

DRAWS = 50
"""How often the whole loop is drawn."""

Shares = dict[ReplyKind, float]
"""Share of each kind among replies."""


def copied(
    trajectories: Sequence[Trajectory],
    share: float,
    *,
    keep: float,
    noise: float,
    rounds: int = 1,
    by: SelectBy = "rating",
    within: Within = "all",
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Shares]:
    """The policy of a learner that copies the shares of the kinds that were selected, after each round.

    Args:
        trajectories: Dialogues with chosen replies, each user as both kinds; their probabilities are the first policy.
        share: Biased users / all users.
        keep: How many dialogues are selected; see `select`.
        noise: Standard deviation of a rating, in points.
        rounds: How often it collects and copies.
        by: What the selection goes by.
        within: Whether dialogues compete with all others or only within their scenario.
        seed: Of the draws.
        draws: Over how many the shares are averaged.
    """
    random = np.random.default_rng(seed)
    totals = np.zeros((rounds, len(REPLY_KINDS)))
    for draw in range(draws):
        copied_policy: Mapping[ReplyKind, float] | None = None
        population = populate(trajectories, share, seed + draw)
        for number in range(rounds):
            drawn = [_drawn(trajectory, copied_policy, noise, random) for trajectory in population]
            chosen = select(drawn, keep, by=by, within=within, seed=seed + draw).top
            kinds = [choice.kind for trajectory in chosen for choice in trajectory.chosen]
            copied_policy = {kind: kinds.count(kind) / len(kinds) for kind in REPLY_KINDS}
            totals[number] += list(copied_policy.values())
    return [dict(zip(REPLY_KINDS, (of_round / draws).tolist(), strict=True)) for of_round in totals]


def _drawn(
    trajectory: Trajectory, policy: Mapping[ReplyKind, float] | None, noise: float, random: np.random.Generator
) -> Trajectory:
    """The dialogue with other replies: drawn from a policy, by default from its own, and rated."""
    from untrue.simulate.rating import rate_by_kind

    choices = []
    for choice in trajectory.chosen:
        weights = np.array([(policy or choice.probabilities)[kind] for kind in REPLY_KINDS])
        kind = REPLY_KINDS[random.choice(len(REPLY_KINDS), p=weights / weights.sum())]
        choices.append(Choice(kind=kind, wording=choice.wording, probabilities=choice.probabilities))
    rated = rate_by_kind(trajectory.kind, [choice.kind for choice in choices], noise, int(random.integers(2**31)))
    return trajectory.model_copy(update={"chosen": tuple(choices), "ratings": tuple(one.value for one in rated)})
