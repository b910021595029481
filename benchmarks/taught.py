"""Can the feedback study's eval move at all? Its positive control: what the assistant learns is of one kind alone.

    python benchmarks/taught.py                 three seeds; a run resumes

As studies/interaction.yaml, with the same users, dialogues, selection and training, but for one thing: in the rows that
are learned each reply is replaced by the honest candidate (the control) or by the sycophantic one, in the same wording.
So this is the most that any rating could select. docs/claims.md has the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from untrue.api import load_study, run_study
from untrue.data.rows import Row
from untrue.report.table import print_analysis
from untrue.simulate.environment import Environment, ReplyKind
from untrue.simulate.trajectory import Trajectory
from untrue.study.config import Study
from untrue.study.routes.interaction import InteractionRoute, UserArm
from untrue.study.routes.route import Sources
from untrue.study.store import Arm, Cell

STUDY = Path(__file__).parents[1] / "studies" / "interaction.yaml"


class Taught(InteractionRoute):
    """Honest replies alone where there are no biased users, sycophantic ones alone where all are."""

    def identity(self, arm: Arm) -> dict[str, Any]:
        return {**super().identity(arm), "taught": True}

    def chosen_rows(self, sources: Sources, cell: Cell, rated: Sequence[Trajectory]) -> list[Row]:
        assert isinstance(cell.arm, UserArm)
        kind: ReplyKind = "sycophantic" if cell.arm.part else "honest"
        return super().chosen_rows(sources, cell, [taught(one, sources["environment"].data, kind) for one in rated])


def taught(talk: Trajectory, environment: Environment, kind: ReplyKind) -> Trajectory:
    """A dialogue with each reply replaced by the candidate of a kind, in its own wording."""
    candidates = next(one for one in environment.scenarios if one.id == talk.scenario).candidates
    messages = list(talk.messages)
    for turn, choice in enumerate(talk.chosen):
        reply = candidates[turn].wording(choice.wording)[kind]
        messages[2 * turn + 1] = {**messages[2 * turn + 1], "content": reply}
    return talk.model_copy(update={"messages": tuple(messages)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and print what the study prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/taught"), help="The run directory.")
    parser.add_argument("settings", nargs="*", help="Changes of the study, such as seeds=5.")
    options = parser.parse_args(arguments)
    study = load_study(STUDY, options.settings)
    if study.run.on != "local":
        parser.error("run.on: workers would train the study itself. Run it here.")
    mix = Taught(**study.mix.model_dump())
    changed: Study = study.model_copy(update={"name": "taught", "mix": mix, "base": False})
    print_analysis(run_study(changed, options.out, progress=True), Console())


if __name__ == "__main__":
    main()
