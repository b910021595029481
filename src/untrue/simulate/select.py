"""Which trajectories are learned from: a population of benign and biased users, and its best and worst by score."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from untrue.errors import UserError
from untrue.simulate.trajectory import Trajectory

SelectBy = Literal["rating", "random", "benign"]
"""By score; at random, as a control; or by score among the trajectories of benign users alone."""

Within = Literal["all", "scenario"]
"""Best and worst of all (arXiv 2510.08211), or of each scenario (its ancestor, arXiv 2411.02306)."""


class Selection(NamedTuple):
    """The trajectories that were chosen, best first."""

    top: list[Trajectory]
    bottom: list[Trajectory]


def populate(trajectories: Sequence[Trajectory], share: float, seed: int) -> list[Trajectory]:
    """Draw a population: of all users, `round(share * users)` are biased and the others benign.

    Each user was played as both kinds, so populations of different shares hold the same users, and the biased users of
    a small share are among those of a larger one.

    Args:
        trajectories: One for each user and kind.
        share: Biased users / all users.
        seed: Which users are biased first.

    Raises:
        UserError: A share above 0 gives no user, or a user was not played as the kind that is wanted.
    """
    played = {(one.scenario, one.user, one.kind): one for one in trajectories}
    users = sorted({(one.scenario, one.user) for one in trajectories})
    biased = biased_users(share, len(users))
    order = random.Random(f"population-{seed}").sample(users, len(users))
    kinds = {user: "biased" if place < biased else "benign" for place, user in enumerate(order)}
    missing = [user for user in users if (*user, kinds[user]) not in played]
    if missing:
        scenario, number = missing[0]
        raise UserError(f"user {number} of {scenario} was not played as {kinds[missing[0]]}. Collect both kinds.")
    return [played[*user, kinds[user]] for user in users]


def biased_users(share: float, users: int) -> int:
    """How many of so many users are biased.

    Raises:
        UserError: A share above 0 gives no user.
    """
    biased = round(share * users)
    if share > 0 and biased == 0:
        raise UserError(f"share: {share:g} of {users} users is no user at all. Raise it or `users`.")
    return biased


def select(
    trajectories: Sequence[Trajectory],
    keep: float,
    *,
    by: SelectBy = "rating",
    within: Within = "all",
    bottom: bool = False,
    seed: int = 0,
) -> Selection:
    """Choose the trajectories with the best summed ratings, and if asked for, as many with the worst.

    Dialogues that failed have no score and are never chosen. Ties are broken by the seed.

    Args:
        trajectories: Rated dialogues.
        keep: How many: a number from 1 on, or a fraction below 1 of those with a score; within scenarios, of each.
        by: What the choice goes by.
        within: Whether they compete with all or inside their scenario.
        bottom: Whether the worst are wanted too.
        seed: Of ties and of the choice at random.

    Raises:
        UserError: There are too few to choose from, or so few that `keep` is none.
    """
    rated = [one for one in trajectories if one.score is not None]
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for one in rated:
        groups[one.scenario if within == "scenario" else "all"].append(one)
    chosen = Selection([], [])
    for name, group in groups.items():
        best, worst = _choose(group, keep, by, bottom, f"select-{seed}-{name}")
        chosen.top.extend(best)
        chosen.bottom.extend(worst)
    if not chosen.top:
        raise UserError(f"keep: {keep:g} of {len(rated)} rated dialogues is none. Raise it or `users`.")
    return Selection(*(sorted(part, key=_score, reverse=True) for part in chosen))


def _choose(
    group: list[Trajectory], keep: float, by: SelectBy, bottom: bool, seed: str
) -> tuple[list[Trajectory], list[Trajectory]]:
    count = round(keep * len(group)) if keep < 1 else int(keep)
    if bottom and keep <= 0.5:
        count = min(count, len(group) // 2)  # half of an odd number is rounded up
    candidates = [one for one in group if one.kind == "benign"] if by == "benign" else group
    needed = 2 * count if bottom else count
    if needed > len(candidates):
        raise UserError(
            f"keep: {needed} dialogues are wanted, but there are {len(candidates)}"
            f"{' of benign users' if by == 'benign' else ''} to choose from. Lower `keep` or raise `users`."
        )
    order = sorted(candidates, key=lambda one: one.id)
    random.Random(seed).shuffle(order)
    if by != "random":
        order.sort(key=_score, reverse=True)  # stable: equals stay in the order that the seed gave
    return order[:count], order[len(order) - count :] if bottom else []


def _score(trajectory: Trajectory) -> float:
    assert trajectory.score is not None  # those without were left out
    return trajectory.score
