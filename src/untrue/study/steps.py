"""The steps of a cell: the dialogues that it shares with others, its training, its evals. Each does what is missing.

Any process may do a step of a run directory: `untrue run` does all in turn, Ray's workers and the jobs of a scheduler
one each. A step is done under a claim, so that it is never done twice at a time, and what it makes appears whole.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from untrue.engine import served
from untrue.engine.likelihoods import check_exact
from untrue.engine.vllm import served_name, serving
from untrue.errors import UserError
from untrue.files import read_text, write_text
from untrue.harness import run as evals
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.harness.resume import ELSEWHERE
from untrue.judge.models import check_answers
from untrue.logs import failures as failures_of
from untrue.models.load import LoadedModel, load
from untrue.progress import Plan, Watcher
from untrue.study.cell import Cell
from untrue.study.claims import Claims, Held, Owner
from untrue.study.config import TRAINED_HERE, Study, of_run
from untrue.study.mirror import open_store
from untrue.study.plan import eval_identities, folders, plan
from untrue.study.routes.route import Run, Sources
from untrue.study.schedule import Kind, Task
from untrue.study.store import CellFiles, Store
from untrue.versions import versions


def lacks(files: CellFiles, spec: EvalSpec, identities: Mapping[str, str]) -> bool:
    """Whether an eval is not done, or something in it failed that may succeed when it is asked again."""
    return not files.has_log(spec, identities[spec.key]) or files.failed(spec) > 0


def is_left(files: CellFiles, study: Study, identities: Mapping[str, str]) -> bool:
    """Whether a cell is not done, or something failed in it.

    Raises:
        UserError: Its folder holds another cell.
    """
    files.check()
    return not files.has_adapter() or any(lacks(files, spec, identities) for spec in study.evals)


def tasks(
    study: Study, cells: Sequence[Cell], store: Store, identities: Mapping[str, str], expected: Plan | None = None
) -> list[Task]:
    """The steps that a run directory lacks, each with those that must be done before it and the time it should take."""
    found: dict[str, Task] = {}
    for cell in cells:
        files, name = store.cell(cell), cell.name
        if not is_left(files, study, identities):
            continue
        own = {kind: time for (of, kind), time in (expected.seconds if expected else {}).items() if of == name}
        talking, learning = own.pop("dialogues", 0.0), own.pop("training", 0.0)
        trained = f"{name} train"
        if not files.has_adapter():
            shared = study.mix.shared(cell)
            if shared and not study.mix.talks(store, cell)[0].path.exists():
                found.setdefault(shared, Task(name, "dialogues", shared, work=talking))
            found[trained] = Task(name, "train", trained, (shared,) if shared else (), learning)
        found[f"{name} eval"] = Task(name, "eval", f"{name} eval", (trained,), sum(own.values()))
    return list(found.values())


def load_base(study: Study, watcher: Watcher) -> LoadedModel:
    """Load the base model of a study, and check that its likelihoods can be read.

    Raises:
        UserError: It cannot be loaded, or cannot be measured exactly.
    """
    with served.loading(study.model, f"{TRAINED_HERE[0].upper()}{TRAINED_HERE[1:]}"):
        loaded = load(study.model, dtype=study.dtype, say=watcher.say)
    check_exact(loaded)  # before anything is trained
    return loaded


def check_server(study: Study, out: Path) -> None:
    """Check that a vLLM server has the base of a study, before anything is spent.

    Args:
        study: The study, whose replies a server writes.
        out: The run directory, in which the server reads adapters.

    Raises:
        UserError: There is no address of one, or it has other models.
        MachineError: None answers there.
    """

    def start() -> str:
        specs = [study.mix.hyperparameters(study.train, arm) for arm in study.mix.arms()]
        rank, layers = max(spec.lora_rank for spec in specs), {name for spec in specs for name in spec.target_modules}
        command = shlex.join(serving((), study.model, rank=rank, layers=sorted(layers)).command)
        return (
            f"Set VLLM_BASE_URL=http://localhost:8000/v1 for one that can read {out.absolute()}, started by:"
            f" VLLM_ALLOW_RUNTIME_LORA_UPDATING=True {command}"
        )

    served.check_server(served_name(study.model), start)


def context(study: Study, sources: Sources, store: Store, loaded: LoadedModel, watcher: Watcher) -> Run:
    """What the cells of a run share."""
    server = served_name(study.model) if study.serves_dialogues else None
    return Run(store, study.train, sources, loaded, watcher, study.run.train.layout, server)


def share(run: Run, study: Study, cell: Cell, patience: float = 0.0) -> None:
    """Make what a cell shares with others before it learns, unless it is there.

    Args:
        run: What it works with.
        study: The study.
        cell: The cell.
        patience: Seconds to wait for whoever is at work on it.

    Raises:
        UserError: Someone else is at work on it.
    """
    if name := study.mix.shared(cell):
        claims, folder = run.store.claims(), study.mix.talks(run.store, cell)[0].path.parent
        with claims.hold(name, patience=patience, say=run.watcher.say):
            run.store.fetch([folder])
            run.store.resume(folder, folder)
            with run.store.saving(folder, folder):
                study.mix.make_shared(replace(run, watcher=_Noting(run.watcher, claims, name)), cell)
            run.store.keep(folder)
            run.store.publish(folder)


def train(run: Run, study: Study, cell: Cell, patience: float = 0.0) -> None:
    """Train a cell, unless it is done. Its folder appears whole, once; what an attempt left that was lost is taken up.

    Args:
        run: What it works with.
        study: The study.
        cell: The cell.
        patience: Seconds to wait for whoever is at work on it.

    Raises:
        UserError: Someone else is at work on it, or its folder holds another cell.
    """
    claims, files = run.store.claims(), run.store.cell(cell)
    with claims.hold(cell.name, patience=patience, say=run.watcher.say) as owner:
        run.store.fetch(folders(study, run.store, [cell]))
        if files.has_adapter():
            return
        files.check()
        run.store.resume(files.folder, files.folder.with_name(f".{files.folder.name}.left"))
        attempt = _attempt(files, owner)
        own = replace(run, store=run.store.with_folder(cell, attempt), watcher=_Noting(run.watcher, claims, cell.name))
        own_files = own.store.cell(cell)
        own_files.check()
        own_files.check_base(run.loaded.about)  # a lost attempt may have been begun on another
        own_files.begin(_about(study, run.loaded))
        own_files.forget_logs(*(spec.key for spec in study.evals))
        for spec in study.evals:
            own_files.log(spec).unlink(missing_ok=True)  # of an adapter that is no more
        with run.store.saving(files.folder, attempt):
            if cell.arm.trained:
                if not own_files.has_adapter():  # else it was finished, and could not be published
                    study.mix.learn(own, cell)
                write_text(own_files.train, read_text(own_files.adapter / "train.json"))
        run.store.keep(files.folder, attempt)
        if claims.owner(cell.name) != owner:
            raise Held(f"{cell.name}: was taken over by another process. Rerun the command.")
        run.store.publish(files.folder, attempt)
        attempt.rename(files.folder)
        for other in _attempts(files):  # of processes that woke up late
            shutil.rmtree(other, ignore_errors=True)


def evaluate(
    store: Store,
    study: Study,
    cell: Cell,
    identities: Mapping[str, str],
    watcher: Watcher,
    loaded: LoadedModel | None,
    patience: float = 0.0,
) -> None:
    """Do the evals of a cell that are missing, or in which something failed.

    Args:
        store: The run directory.
        study: The study.
        cell: The cell.
        identities: What determines each eval: `plan.eval_identities`.
        watcher: Told how far it is.
        loaded: The base model; None where `needs_base` says that a server writes all that is asked for.
        patience: Seconds to wait for whoever is at work on it.

    Raises:
        UserError: Someone else is at work on it, it is not trained, its folder holds another cell, or a server does
            not have its adapter.
    """
    claims, files = store.claims(), store.cell(cell)
    with claims.hold(cell.name, patience=patience, say=watcher.say) as owner:
        store.fetch([files.folder], weights=True)
        if not files.has_adapter():
            raise UserError(f"{cell.name}: is not trained yet. First: untrue step {store.place} {cell.name} train")
        files.check()
        store.resume(files.folder, files.folder)
        watcher = _Noting(watcher, claims, cell.name)
        if loaded:
            files.begin(_about(study, loaded))
        adapter = files.adapter if cell.arm.trained else None
        for spec in study.evals:
            if not lacks(files, spec, identities):
                continue
            watcher.stage(cell.name, spec.key)
            files.forget_logs(spec.key)
            with store.saving(files.folder, files.folder), _named_by(store, files.log(spec)):
                if study.is_served(spec):
                    # What cannot be told of an adapter makes the eval inconclusive; other weights end the step.
                    name = served_name(study.model)
                    asked = served.proved(name, adapter, loaded, watcher.say, unproved=True)
                    model = asked.connect(cell.seed)
                    evals.run_model(model, spec, files.log(spec), watcher.step, asked.adapter, proved=name)
                else:
                    assert loaded, "likelihoods need it"
                    evals.run(loaded, adapter, spec, files.log(spec), watcher.step, cell.seed)
            failures = failures_of(files.log(spec)) if EVALS[spec.name].judged else []
            if failures:
                watcher.say(
                    f"{cell.name}: {len(failures)} samples of {spec.key} have no reply or no judgement, first:"
                    f" {failures[0]} Rerun the command to retry these alone."
                )
            store.keep(files.folder)
            if claims.owner(cell.name) != owner:
                raise Held(f"{cell.name}: was taken over by another process. Rerun the command.")
            files.add_log(spec, identities[spec.key], len(failures))
            store.publish(files.folder)


@contextmanager
def _named_by(store: Store, log: Path) -> Iterator[None]:
    """Let errors that name a log name it by its place in the store, where the one here is a copy."""
    try:
        yield
    except UserError as error:
        if (place := store.shown(log)) == str(log):
            raise
        raise UserError(str(error).replace(str(log), place).replace(ELSEWHERE, "Give the eval a `label`.")) from None


def needs_base(study: Study, cell: Cell, missing: Sequence[EvalSpec]) -> bool:
    """Whether the base must be loaded for some evals of a cell: of a trained one a server may write all replies."""
    return not cell.arm.trained or not all(map(study.is_served, missing))


def step(
    out: str | Path, name: str, kind: Kind, watcher: Watcher, loaded: LoadedModel | None = None, patience: float = 0.0
) -> LoadedModel | None:
    """Do one step of one cell of a run directory, unless it is done.

    Args:
        out: The run directory, which holds the study.
        name: Of the cell, such as `severe-0.5-s1`.
        kind: Which step.
        watcher: Told how far it is.
        loaded: The base model, where the process has loaded it.
        patience: Seconds to wait for whoever is at work on it.

    Returns:
        The base model, for the next step; None where it was not needed.

    Raises:
        UserError: There is no such study or cell, the step before is not done, or someone else is at work on it.
        MachineError: The machine lacks memory, disk or network.
    """
    with closing(open_store(out)) as store:
        return _step(store, name, kind, watcher, loaded, patience)


def _step(
    store: Store, name: str, kind: Kind, watcher: Watcher, loaded: LoadedModel | None, patience: float
) -> LoadedModel | None:
    study = of_run(store.folder, store.place)
    sources = study.mix.read()
    cells = {cell.name: cell for cell in plan(study, sources)}
    if name not in cells:
        some = ", ".join(list(cells)[:12]) + (" …" if len(cells) > 12 else "")
        raise UserError(f"{store.place}: has no cell {name}, but {some}.")
    cell, identities = cells[name], eval_identities(study)
    store.fetch(folders(study, store, [cell]))
    files = store.cell(cell)
    missing = [spec for spec in study.evals if lacks(files, spec, identities)]
    held = [talk.path.exists() for talk in study.mix.talks(store, cell)]
    todo = {
        "dialogues": not files.has_adapter() and held[:1] == [False],
        "train": not files.has_adapter(),
        "eval": bool(missing),
    }
    if not todo[kind]:
        return loaded
    store.check()
    claims = store.claims()
    claim = (study.mix.shared(cell) if kind == "dialogues" else None) or name
    if claims.owner(claim) != claims.check(claim, patience, watcher.say):  # before a model is loaded
        return _step(store, name, kind, watcher, loaded, patience)  # whoever was at work may have done it
    if kind == "train" and held[:1] == [False]:
        raise UserError(f"{name}: its dialogues are not held yet. First: untrue step {store.place} {name} dialogues")
    if any(map(study.is_served, missing)) if kind == "eval" else study.serves_dialogues and not all(held):
        check_server(study, store.folder)
    if kind == "eval":
        for judge in {spec.judge_name for spec in missing if spec.judge_name}:
            check_answers(judge)
    if kind == "eval" and not needs_base(study, cell, missing):
        evaluate(store, study, cell, identities, watcher, None, patience)
        return loaded
    loaded = loaded or load_base(study, watcher)
    files.check_base(loaded.about)
    run = context(study, sources, store, loaded, watcher)
    if kind == "dialogues":
        share(run, study, cell, patience)
    elif kind == "train":
        train(run, study, cell, patience)
    else:
        evaluate(store, study, cell, identities, watcher, loaded, patience)
    return loaded


class _Noting:
    """A watcher that also writes down, beside the claim, how far its holder is."""

    def __init__(self, watcher: Watcher, claims: Claims, name: str):
        self._watcher, self._claims, self._name, self._stage = watcher, claims, name, ""

    def say(self, text: str) -> None:
        self._watcher.say(text)

    def begin(self, plan: Plan) -> None:
        self._watcher.begin(plan)

    def stage(self, cell: str, what: str, part: float = 1) -> None:
        self._stage = what
        self._watcher.stage(cell, what, part)
        self._claims.note(self._name, what, 0, 1, "")

    def step(self, done: int, total: int, note: str) -> None:
        self._watcher.step(done, total, note)
        self._claims.note(self._name, self._stage, done, total, note)


def _about(study: Study, loaded: LoadedModel) -> dict[str, Any]:
    return {"model": study.model, "base": loaded.about, "versions": versions()}


def _attempt(files: CellFiles, owner: Owner) -> Path:
    """The folder of a new attempt at a cell, with what the last one left, so that no process of that one finds it."""
    attempt = files.folder.with_name(f".{files.folder.name}.{owner.token}")
    left = _attempts(files)
    if files.folder.is_dir():  # it was made by a version that worked in place, or its adapter was removed
        left.append(files.folder)
    left.sort(key=_last_saved)
    if left:
        left.pop().rename(attempt)
    for other in left:
        shutil.rmtree(other, ignore_errors=True)
    attempt.mkdir(parents=True, exist_ok=True)
    return attempt


def _attempts(files: CellFiles) -> list[Path]:
    return [path for path in files.folder.parent.glob(f".{files.folder.name}.*") if path.is_dir()]


def _last_saved(attempt: Path) -> float:
    """When an attempt last had a checkpoint or a round; 0 where it never had."""
    saved = [*attempt.rglob("checkpoint-*"), *attempt.glob("round-*/adapter"), *attempt.glob("adapter")]
    times = []
    for path in saved:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)
