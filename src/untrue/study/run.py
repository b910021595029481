"""Run a study: make each cell that the run directory lacks, then sum up. Runs resume: the same call goes on."""

from contextlib import nullcontext
from pathlib import Path

from untrue.data import mix as mixing
from untrue.errors import UserError
from untrue.harness.catalogue import EVALS
from untrue.judge.models import check_answers
from untrue.progress import Watcher
from untrue.study.config import Study, of_run, to_yaml
from untrue.study.estimate import plan_of_run
from untrue.study.mirror import open_store
from untrue.study.plan import determining, eval_identities, folders, plan
from untrue.study.results import Analysis, analyse
from untrue.study.schedule import KINDS, Task
from untrue.study.steps import check_server, context, evaluate, is_left, lacks, load_base, share, tasks, train
from untrue.study.store import Store


def run(study: Study, out: str | Path, watcher: Watcher, command: str) -> Analysis:
    """Make every cell that is missing, then results, statistics and report.

    Args:
        study: The study.
        out: The run directory: a path, or an address such as `s3://bucket/runs/domain`.
        watcher: Told how far it is.
        command: What the report names as the command that makes the study again.

    Raises:
        UserError: Something in the study or its data is not as expected, or another run holds the directory.
        MachineError: The machine lacks memory, disk or network.
    """
    sources = study.mix.read()
    cells = plan(study, sources)
    study.mix.check(sources, study.seeds)
    items = {spec.key: EVALS[spec.name].items(spec) for spec in study.evals}
    identities = eval_identities(study, items)
    rows = {cell.name: study.mix.rows(sources, cell) for cell in cells if cell.arm.trained}
    store = open_store(out)
    on_ray = study.run.on == "ray"  # whose workers claim each step
    with nullcontext() if on_ray else store.locked():
        begin(store, study, command)
        store.fetch(folders(study, store, cells))
        missing = [cell for cell in cells if is_left(store.cell(cell), study, identities)]
        done = len(cells) - len(missing)
        watcher.say(f"{len(cells)} cells, {done} of them done." if done else f"{len(cells)} cells.")
        for name, found in items.items():
            for cell in missing:
                if overlaps := mixing.overlaps(rows.get(cell.name, []), found):
                    watcher.say(f"Warning: {cell.name}: {len(overlaps)} training rows ask what an item of {name} asks.")
        for cell in missing:
            if repeated := mixing.duplicates(rows.get(cell.name, [])):
                watcher.say(f"Warning: {cell.name}: {repeated} training rows repeat the prompt of another.")
        if missing:
            undone = [
                spec for spec in study.evals if any(lacks(store.cell(cell), spec, identities) for cell in missing)
            ]
            untrained = [cell for cell in missing if not store.cell(cell).has_adapter()]
            talks = [talk for cell in untrained for talk in study.mix.talks(store, cell)]
            to_hold = study.serves_dialogues and not all(talk.path.exists() for talk in talks)
            if (to_hold or any(map(study.is_served, undone))) and not on_ray:  # whose workers have a server each
                check_server(study, store.folder)
            for judge in dict.fromkeys(spec.judge_name for spec in undone if spec.judge_name):
                check_answers(judge)
            expected = plan_of_run(study, store, sources)
            if on_ray:
                from untrue.study.cluster import run_on_ray

                run_on_ray(study, cells, store, identities, watcher, expected)
                store.fetch(folders(study, store, cells))
                return analyse(study, sources, cells, store, command)
            loaded = load_base(study, watcher)
            watcher.begin(expected)
            for cell in cells:
                store.cell(cell).check_base(loaded.about)
            shared = context(study, sources, store, loaded, watcher)
            for cell in missing:
                if cell in untrained:
                    share(shared, study, cell)
                    train(shared, study, cell)
                evaluate(store, study, cell, identities, watcher, loaded)
        return analyse(study, sources, cells, store, command)


def steps_left(study: Study, out: str | Path, command: str) -> list[Task]:
    """Make the run directory of a study, and list the steps that it lacks, in an order in which they can be done.

    Raises:
        UserError: Something in the study or its data is not as expected, or the directory holds another study.
    """
    sources = study.mix.read()
    cells = plan(study, sources)
    study.mix.check(sources, study.seeds)
    store = open_store(out)
    begin(store, study, command)
    store.fetch(folders(study, store, cells))
    return sorted(tasks(study, cells, store, eval_identities(study)), key=lambda task: KINDS.index(task.kind))


def begin(store: Store, study: Study, command: str) -> None:
    """Record the study, as resolved, under the command that made it.

    Raises:
        UserError: The directory holds a study whose cells would differ from this one's.
    """
    store.check()
    if store.study.is_file():
        before = of_run(store.folder, store.place)
        old, new = determining(before), determining(study)
        if study.mix.generates or _judged(before) & _judged(study):
            old["run.eval.engine"], new["run.eval.engine"] = before.run.eval.engine, study.run.eval.engine
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                raise UserError(
                    f"{store.place}: holds a study with {key} {old.get(key)!r}, now {new.get(key)!r}."
                    " Use another --out, or remove that folder."
                )
    store.write_study(to_yaml(study), command)


def _judged(study: Study) -> set[str]:
    """The evals whose replies a judge reads, by their keys: all arms must have them of one engine."""
    return {spec.key for spec in study.evals if EVALS[spec.name].judged}


def report(out: str | Path) -> Analysis:
    """Make results, statistics and report of a run directory again, from its logs.

    Raises:
        UserError: The folder is not a run directory, or a cell of its study is not finished.
    """
    store = open_store(out)
    study = of_run(store.folder, store.place)
    sources = study.mix.read()
    cells, identities = plan(study, sources), eval_identities(study)
    with store.locked():
        store.fetch(folders(study, store, cells))
        for cell in cells:
            files = store.cell(cell)
            files.check()
            if not files.has_adapter() or not all(files.has_log(spec, identities[spec.key]) for spec in study.evals):
                raise UserError(f"{out}: the cell {cell.name} is not finished. Finish it by the command that began it.")
        command = store.command() or f"untrue run {store.place}/study.yaml --out {out}"
        return analyse(study, sources, cells, store, command)
