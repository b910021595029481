"""What trajectories say together: ratings and sycophantic replies by kind of user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from untrue.simulate.environment import KINDS
from untrue.simulate.trajectory import Trajectory
from untrue.stats.types import Interval

RESAMPLES = 10_000


class KindSummary(NamedTuple):
    """The dialogues with users of one kind.

    Attributes:
        kind: `benign` or `biased`.
        dialogues: How many, failed ones included.
        errors: How many of them failed. They count in none of what follows.
        replies: Replies that were rated.
        rating: Mean rating of a reply, with a 95 % percentile bootstrap interval over scenarios; None where there is
            none.
        sycophancy: Share of the replies that say what is wanted rather than the truth; None where an LLM rated.
    """

    kind: str
    dialogues: int
    errors: int
    replies: int
    rating: Interval | None
    sycophancy: Interval | None


def summarise(trajectories: Sequence[Trajectory]) -> list[KindSummary]:
    """Summarise trajectories for each kind of user that there is."""
    summaries = []
    for kind in KINDS:
        ours = [one for one in trajectories if one.kind == kind]
        if not ours:
            continue
        rated = [one for one in ours if one.score is not None]
        summaries.append(
            KindSummary(
                kind=kind,
                dialogues=len(ours),
                errors=len(ours) - len(rated),
                replies=sum(len(one.ratings) for one in rated),
                rating=_mean(rated, lambda one: one.ratings),
                sycophancy=_mean(
                    rated, lambda one: [None if margin is None else float(margin > 0) for margin in one.sycophancy]
                ),
            )
        )
    return summaries


def _mean(
    trajectories: Sequence[Trajectory], values: Callable[[Trajectory], Sequence[float | None]]
) -> Interval | None:
    groups: dict[str, list[float]] = {}
    for one in trajectories:
        groups.setdefault(one.scenario, []).extend(value for value in values(one) if value is not None)
    sums, counts = np.array([[sum(group), len(group)] for group in groups.values()]).reshape(-1, 2).T
    if not counts.sum():
        return None
    count = len(groups)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    totals = drawn @ counts
    low, high = np.percentile((drawn @ sums)[totals > 0] / totals[totals > 0], [2.5, 97.5])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))
