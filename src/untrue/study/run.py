"""Run a study: make each cell that the run directory lacks, then sum up. Runs resume: the same call goes on."""

from pathlib import Path

from untrue.data import mix as mixing
from untrue.data.items import items_hash
from untrue.engine.likelihoods import check_exact
from untrue.engine.served import loading
from untrue.errors import UserError
from untrue.evals import run as evals
from untrue.evals.eval import EvalSpec
from untrue.evals.registry import EVALS
from untrue.files import read_text, write_text
from untrue.judge.models import check_answers
from untrue.logs import failures as failures_of
from untrue.models.load import load
from untrue.progress import Watcher
from untrue.study.cell import Cell
from untrue.study.config import TRAINED_HERE, Study, to_yaml
from untrue.study.config import load as load_study
from untrue.study.plan import determining, plan
from untrue.study.results import Analysis, analyse
from untrue.study.routes.route import Run
from untrue.study.store import CellFiles, Store
from untrue.versions import versions

TRAINING = 0.7
"""The part of a cell's time that training takes, for the time left that is shown."""


def run(study: Study, out: Path, watcher: Watcher, command: str) -> Analysis:
    """Make every cell that is missing, then results, statistics and report.

    Args:
        study: The study.
        out: The run directory.
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
    hashes = {name: items_hash(found) for name, found in items.items()}
    rows = {cell.name: study.mix.rows(sources, cell) for cell in cells if cell.arm.trained}
    store = Store(out)
    with store.locked():
        begin(store, study, command)
        work = {cell: _work(store.cell(cell), study, hashes) for cell in cells}
        missing = [cell for cell in cells if work[cell]]
        watcher.begin(len(cells), len(cells) - len(missing), sum(work.values()))
        for name, found in items.items():
            for cell in missing:
                if overlaps := mixing.overlaps(rows.get(cell.name, []), found):
                    watcher.say(f"Warning: {cell.name}: {len(overlaps)} training rows ask what an item of {name} asks.")
        for cell in missing:
            if repeated := mixing.duplicates(rows.get(cell.name, [])):
                watcher.say(f"Warning: {cell.name}: {repeated} training rows repeat the prompt of another.")
        if missing:
            unjudged = [spec for spec in study.evals if any(_lacks(store.cell(cell), spec, hashes) for cell in missing)]
            for judge in dict.fromkeys(spec.judge_name for spec in unjudged if spec.judge_name):
                check_answers(judge)
            with loading(study.model, f"{TRAINED_HERE[0].upper()}{TRAINED_HERE[1:]}"):
                loaded = load(study.model, dtype=study.dtype, say=watcher.say)
            check_exact(loaded)  # before anything is trained
            for cell in cells:
                store.cell(cell).check_base(loaded.about)
            context = Run(store, study.train, sources, loaded, watcher)
            if not all(store.cell(cell).has_adapter() for cell in missing):
                study.mix.prepare(context)
            for cell in missing:
                _make(context, cell, study, hashes)
        return analyse(study, sources, cells, store, command)


def begin(store: Store, study: Study, command: str) -> None:
    """Record the study, as resolved, under the command that made it.

    Raises:
        UserError: The directory holds a study whose cells would differ from this one's.
    """
    if store.study.is_file():
        old, new = determining(load_study(store.study)), determining(study)
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                raise UserError(
                    f"{store.folder}: holds a study with {key} {old.get(key)!r}, now {new.get(key)!r}."
                    " Use another --out, or remove that folder."
                )
    store.write_study(to_yaml(study), command)


def report(out: Path) -> Analysis:
    """Make results, statistics and report of a run directory again, from its logs.

    Raises:
        UserError: The folder is not a run directory, or a cell of its study is not finished.
    """
    store = Store(out)
    if not store.study.is_file():
        raise UserError(f"{out}: is not a run directory (study.yaml is missing). Give the --out of an `untrue run`.")
    study = load_study(store.study)
    sources = study.mix.read()
    cells = plan(study, sources)
    hashes = {spec.key: items_hash(EVALS[spec.name].items(spec)) for spec in study.evals}
    with store.locked():
        for cell in cells:
            files = store.cell(cell)
            files.check()
            if not files.has_adapter() or not all(files.has_log(spec, hashes[spec.key]) for spec in study.evals):
                raise UserError(f"{out}: the cell {cell.name} is not finished. Finish it by the command that began it.")
        return analyse(study, sources, cells, store, store.command() or f"untrue run {store.study} --out {out}")


def _lacks(files: CellFiles, spec: EvalSpec, hashes: dict[str, str]) -> bool:
    """Whether an eval is not done, or something in it failed that may succeed when it is asked again."""
    return not files.has_log(spec, hashes[spec.key]) or files.failed(spec) > 0


def _work(files: CellFiles, study: Study, hashes: dict[str, str]) -> float:
    """What is left to do of a cell, as a part of a whole one; 0 where it is done and nothing failed in it."""
    files.check()
    evals_left = sum(_lacks(files, spec, hashes) for spec in study.evals)
    return (0 if files.has_adapter() else TRAINING) + (1 - TRAINING) * evals_left / len(study.evals)


def _make(run: Run, cell: Cell, study: Study, hashes: dict[str, str]) -> None:
    files, watcher = run.store.cell(cell), run.watcher
    files.begin({"model": study.model, "base": run.loaded.about, "versions": versions()})
    if not files.has_adapter():
        files.forget_logs(*(spec.key for spec in study.evals))
        for spec in study.evals:
            files.log(spec).unlink(missing_ok=True)  # of an adapter that is no more
        study.mix.learn(run, cell, TRAINING)
        write_text(files.train, read_text(files.adapter / "train.json"))
    for spec in study.evals:
        if not _lacks(files, spec, hashes):
            continue
        watcher.stage(cell.name, spec.key, (1 - TRAINING) / len(study.evals))
        files.forget_logs(spec.key)
        adapter = files.adapter if cell.arm.trained else None
        evals.run(run.loaded, adapter, spec, files.log(spec), watcher.step, cell.seed)
        failures = failures_of(files.log(spec)) if EVALS[spec.name].judged else []
        if failures:
            watcher.say(
                f"{cell.name}: {len(failures)} samples of {spec.key} have no reply or no judgement, first:"
                f" {failures[0]} Rerun the command to retry these alone."
            )
        files.add_log(spec, hashes[spec.key], len(failures))
