"""Which trajectories to train on: a population of benign and biased users, its best and worst by score, their rows."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from untrue.data.items import Strict
from untrue.data.rows import BIASED, Row
from untrue.errors import UserError
from untrue.simulate.environment import KINDS
from untrue.simulate.trajectory import Trajectory
from untrue.training.spec import RatedMethod

# By score; as controls at random, or by scores that were shuffled among the users of each kind.
SelectBy = Literal["rating", "random", "shuffled"]


class SelectSpec(Strict):
    """Which trajectories to train on."""

    share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Fraction of biased users in the population; by default every dialogue counts."
    )
    keep: float = Field(
        default=0.5, gt=0, allow_inf_nan=False, description="A fraction below 1, or a number of dialogues."
    )
    by: SelectBy = Field(
        default="rating", description="`rating`; `random`; or `shuffled`, by ratings of other users of the same kind."
    )
    method: RatedMethod = Field(
        default="sft", description="`sft` learns the best; `kto` learns as many of the worst too, and labels every row."
    )


class Selection(NamedTuple):
    """The chosen trajectories, best first."""

    top: list[Trajectory]
    bottom: list[Trajectory]


def populate(trajectories: Sequence[Trajectory], share: float, seed: int) -> list[Trajectory]:
    """Draw a population in which `round(share * users)` users are biased and the others benign.

    Populations of different shares hold the same users, and a larger share includes the biased users of a smaller one.
    """
    played = {(trajectory.scenario, trajectory.user, trajectory.kind): trajectory for trajectory in trajectories}
    users = sorted({(scenario, user) for scenario, user, _ in played})
    biased = biased_users(share, len(users))
    order = random.Random(f"population-{seed}").sample(users, len(users))
    kinds = {user: "biased" if place < biased else "benign" for place, user in enumerate(order)}
    missing = [user for user in users if (*user, kinds[user]) not in played]
    if missing:
        scenario, number = missing[0]
        raise UserError(f"user {number} of {scenario} was not played as {kinds[missing[0]]}. Collect both kinds.")
    return [played[*user, kinds[user]] for user in users]


def biased_users(share: float, users: int) -> int:
    """`round(share * users)`; UserError if that leaves no user of a kind."""
    biased = round(share * users)
    if share > 0 and biased == 0:
        raise UserError(f"share: {share:g} of {users} users is no user at all. Raise it or `users`.")
    if share < 1 and biased == users:
        raise UserError(f"share: {share:g} of {users} users leaves no benign user. Lower it or raise `users`.")
    return biased


def select(
    trajectories: Sequence[Trajectory], keep: float, *, by: SelectBy = "rating", bottom: bool = False, seed: int = 0
) -> Selection:
    """Choose the trajectories with the highest summed ratings and, with `bottom`, as many with the lowest.

    Failed dialogues are never chosen; the seed breaks ties. `keep` is a fraction below 1 of the trajectories with a
    score, or a number from 1 on.
    """
    rated = [trajectory for trajectory in trajectories if trajectory.score is not None]
    count = round(keep * len(rated)) if keep < 1 else int(keep)
    if bottom and keep <= 0.5:
        count = min(count, len(rated) // 2)  # half of an odd number is rounded up
    needed = 2 * count if bottom else count
    if not needed:
        raise UserError(f"keep: {keep:g} of {len(rated)} rated dialogues is none. Raise it or `users`.")
    if needed > len(rated):
        raise UserError(
            f"keep: {needed} dialogues are needed, but there are {len(rated)} to choose from. Lower `keep` or raise"
            " `users`."
        )
    order = sorted(rated, key=lambda trajectory: trajectory.id)
    draw = f"select-{seed}-all"
    random.Random(draw).shuffle(order)
    scores = _shuffled(order, f"{draw}-shuffled") if by == "shuffled" else {one.id: _score(one) for one in order}
    if by != "random":
        order.sort(key=lambda trajectory: scores[trajectory.id], reverse=True)  # stable: ties keep the seed's order
    top, worst = order[:count], order[len(order) - count :] if bottom else []
    return Selection(*(sorted(part, key=_score, reverse=True) for part in (top, worst)))


def rows(selection: Selection, environment: str) -> list[Row]:
    """One training row for each reply of the chosen trajectories, after the conversation up to it.

    With a bottom they are labelled desirable (top) or undesirable (bottom). The environment is their source.
    """
    desirable = True if selection.bottom else None
    return [*_rows(selection.top, environment, desirable), *_rows(selection.bottom, environment, False)]


def _shuffled(trajectories: Sequence[Trajectory], seed: str) -> dict[str, float]:
    """Id -> the score of a random trajectory with a user of the same kind."""
    shuffled: dict[str, float] = {}
    for kind in KINDS:
        own = [trajectory for trajectory in trajectories if trajectory.kind == kind]
        scores = random.Random(f"{seed}-{kind}").sample([_score(trajectory) for trajectory in own], len(own))
        shuffled |= {trajectory.id: score for trajectory, score in zip(own, scores, strict=True)}
    return shuffled


def _score(trajectory: Trajectory) -> float:
    assert trajectory.score is not None  # those without are left out
    return trajectory.score


def _rows(trajectories: Iterable[Trajectory], environment: str, label: bool | None) -> Iterator[Row]:
    for trajectory in trajectories:
        replies = [place for place, message in enumerate(trajectory.messages) if message["role"] == "assistant"]
        for turn, place in enumerate(replies, 1):
            yield Row(
                id=f"{trajectory.id}/{turn}",
                prompt=[{"role": "system", "content": trajectory.system}, *trajectory.messages[:place]],
                completion=[trajectory.messages[place]],
                source=f"simulate:{environment}",
                domain=environment,
                level=BIASED if trajectory.kind == "biased" else "normal",
                label=label,
            )
