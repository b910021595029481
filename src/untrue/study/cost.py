"""What the judged evals of a study would take, before anything is asked."""

from __future__ import annotations

from pathlib import Path

from untrue.data.items import items_hash
from untrue.evals.registry import EVALS
from untrue.evals.replies import LastRun, last_run
from untrue.evals.run import Cost, cost
from untrue.study.config import Study
from untrue.study.plan import plan
from untrue.study.store import Store


def costs(study: Study, out: Path) -> dict[tuple[str, str], Cost]:
    """(cell, eval) -> what it takes, for each judged eval that a run would ask. Nothing is loaded or written.

    Args:
        study: The study.
        out: Its run directory, which may not exist.

    Raises:
        UserError: Something in the study or its data is not as expected.
    """
    store, taken = Store(out), dict[tuple[str, str], Cost]()
    judged = [spec for spec in study.evals if EVALS[spec.name].judged]
    hashes = {spec.key: items_hash(EVALS[spec.name].items(spec)) for spec in judged}
    for cell in plan(study, study.mix.read()):
        files = store.cell(cell)
        files.check()
        for spec in judged:
            done = files.has_adapter() and files.has_log(spec, hashes[spec.key])
            if done and not files.failed(spec):
                continue
            before = last_run(files.log(spec)) if done else LastRun(set(), set())
            taken[cell.name, spec.key] = cost(EVALS[spec.name], spec, f"untrue/{study.model}", *before)
    return taken
