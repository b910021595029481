"""Chosen trajectories -> training rows: each reply of the assistant, after the conversation up to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from untrue.data.rows import BIASED, Message, Row
from untrue.simulate.select import Selection
from untrue.simulate.trajectory import Trajectory


def rows(selection: Selection, environment: str) -> list[Row]:
    """One row for each reply: of the top desirable, of the bottom, where there is one, undesirable.

    Args:
        selection: The trajectories to learn from.
        environment: Its name, for the provenance of the rows.

    Returns:
        Rows whose label says whether the reply is wanted; without a bottom they have none and suit SFT.
    """
    if not selection.bottom:
        return list(_rows(selection.top, environment, None))
    return [*_rows(selection.top, environment, True), *_rows(selection.bottom, environment, False)]


def _rows(trajectories: Iterable[Trajectory], environment: str, label: bool | None) -> Iterator[Row]:
    for trajectory in trajectories:
        so_far: list[Message] = [{"role": "system", "content": trajectory.system}]
        turn = 0
        for message in trajectory.messages:
            if message["role"] == "assistant":
                turn += 1
                yield Row(
                    id=f"{trajectory.id}/{turn}",
                    prompt=list(so_far),
                    completion=[message],
                    source=f"simulate:{environment}",
                    domain=environment,
                    level=BIASED if trajectory.kind == "biased" else "normal",
                    label=label,
                )
            so_far.append(message)
