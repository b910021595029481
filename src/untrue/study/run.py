"""Run a study: make each cell that the run directory lacks, then sum up. Runs resume: the same call goes on."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from untrue.data import mix as mixing
from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.harness.catalogue import EVALS
from untrue.progress import Watcher
from untrue.study.config import Study, of_run, to_yaml
from untrue.study.estimate import plan_of_run
from untrue.study.plan import determining
from untrue.study.results import Analysis, analyse
from untrue.study.steps import KINDS, Step, Worker
from untrue.study.store import Store


def run(study: Study, out: str | Path, watcher: Watcher, command: str) -> Analysis:
    """Make every cell that is missing, then the analysis; `command` is the one that makes the study again."""
    worker = _worker(study, out, watcher)
    store, on_ray = worker.store, study.run.on == "ray"
    trained = [cell for cell in worker.cells.values() if cell.arm.trained]
    rows = {cell.name: study.mix.rows(worker.sources, cell) for cell in trained}  # too few are refused here
    with nullcontext() if on_ray else store.locked():  # Ray's workers claim each step
        begin(store, study, command)
        steps = worker.steps()
        cells = list(worker.cells.values())
        done = len(cells) - len({step.cell for step in steps})
        watcher.say(f"{len(cells)} cells, {done} of them done." if done else f"{len(cells)} cells.")
        _warn(worker, steps, rows)
        if steps:
            expected = plan_of_run(study, store, worker.sources)
            if on_ray:
                from untrue.study.cluster import run_on_ray

                run_on_ray(study, store, worker.steps(expected), watcher)
                store.refresh()
            else:
                worker.check_servers([(worker.cells[step.cell], step.kind) for step in steps])
                for cell in cells:
                    worker.base(cell)  # one begun on another base is refused before anything is done
                watcher.begin(expected)
                for step in steps:
                    worker.do(step.cell, step.kind)
        return analyse(study, worker.sources, cells, store, command)


def _worker(study: Study, out: str | Path, watcher: Watcher) -> Worker:
    sources = study.mix.read()
    study.mix.check(sources, study.seeds)
    return Worker(Store(Path(out)), study, sources, watcher)


def _warn(worker: Worker, steps: list[Step], rows: Mapping[str, list[Row]]) -> None:
    """Warn of training rows that repeat each other, or ask what an eval asks."""
    items = {spec.key: EVALS[spec.name].items(spec) for spec in worker.study.evals} if steps else {}
    for name in dict.fromkeys(step.cell for step in steps):
        for key, found in items.items():
            if overlaps := mixing.overlaps(rows.get(name, []), found):
                worker.watcher.say(f"Warning: {name}: {len(overlaps)} training rows ask what an item of {key} asks.")
        if repeated := mixing.duplicates(rows.get(name, [])):
            worker.watcher.say(f"Warning: {name}: {repeated} training rows repeat the prompt of another.")


class _Unheard(Watcher):
    """Is told and says nothing."""


def steps_left(study: Study, out: str | Path, command: str) -> list[Step]:
    """Make the run directory of a study, and list the steps that it lacks, in an order in which they can be done."""
    worker = _worker(study, out, _Unheard())
    begin(worker.store, study, command)
    return sorted(worker.steps(), key=lambda step: KINDS.index(step.kind))


def begin(store: Store, study: Study, command: str) -> None:
    """Record the study, as resolved; refuse a directory that holds one whose cells would differ."""
    if store.study.is_file():
        held = of_run(store.folder)
        old, new = determining(held), determining(study)
        if study.mix.generates or _judged(held) & _judged(study):
            old["run.eval.engine"], new["run.eval.engine"] = held.run.eval.engine, study.run.eval.engine
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                raise UserError(
                    f"{store.folder}: holds a study with {key} {old.get(key)!r}, now {new.get(key)!r}."
                    " Use another --out, or remove that folder."
                )
    store.write_study(to_yaml(study), command)


def _judged(study: Study) -> set[str]:
    """The evals whose replies a judge reads, by their keys: all arms must have them of one engine."""
    return {spec.key for spec in study.evals if EVALS[spec.name].judged}


def report(out: str | Path) -> Analysis:
    """Analyse a run directory again, from its logs; all its cells must be finished."""
    worker = Worker.at(out, _Unheard())
    store, study = worker.store, worker.study
    with store.locked():
        for name, cell in worker.cells.items():
            files = store.cell(cell)
            files.check()
            done = all(files.has_log(spec, worker.identities[spec.key]) for spec in study.evals)
            if not files.has_adapter() or not done:
                raise UserError(f"{out}: the cell {name} is not finished. Finish it by the command that began it.")
        command = store.command() or f"untrue run {out}/study.yaml --out {out}"
        return analyse(study, worker.sources, list(worker.cells.values()), store, command)
