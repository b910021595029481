"""The steps of a cell: the dialogues that it shares with others, its training, its evals. Each does what is missing.

Any process may do a step of a run directory: `untrue run` does all in turn, Ray's workers and the jobs of a scheduler
one each. A step is done under a claim, so that it is never done twice at a time, and what it makes appears whole.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from untrue.engine import served
from untrue.engine.likelihoods import check_exact
from untrue.engine.vllm import served_name, serving
from untrue.errors import UserError
from untrue.files import read_text, write_text
from untrue.harness import run as evals
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.judge.models import check_answers
from untrue.logs import failures as failures_of
from untrue.models.load import LoadedModel, load
from untrue.progress import Plan, Watcher
from untrue.study.cell import Cell
from untrue.study.claims import Claims, Held, Owner
from untrue.study.config import TRAINED_HERE, Study, of_run
from untrue.study.plan import eval_identities, plan
from untrue.study.routes.route import Run, Sources
from untrue.study.store import CellFiles, Store
from untrue.versions import versions

Kind = Literal["dialogues", "train", "eval"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which a cell needs them."""


@dataclass(frozen=True)
class Step:
    """One step of one cell.

    Attributes:
        cell: Name of the cell.
        kind: Which step.
        name: What it makes: dialogues are shared by several cells.
        after: Names of the steps that must be done before.
        seconds: How long it should take; 0 if that is not known.
    """

    cell: str
    kind: Kind
    name: str
    after: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def claim(self) -> str:
        """Name of the claim under which it is done."""
        return self.name if self.kind == "dialogues" else self.cell


@dataclass
class Worker:
    """A process at work on a run directory. It reads the study and its data once, and loads the base when it must.

    Attributes:
        store: The run directory.
        study: Its study.
        sources: The data of the study.
        watcher: Told how far each step is.
        loaded: The base model, once a step needed it.
        cells: Name -> cell.
        identities: What determines each eval: `plan.eval_identities`.
    """

    store: Store
    study: Study
    sources: Sources
    watcher: Watcher
    loaded: LoadedModel | None = None
    cells: dict[str, Cell] = field(init=False)
    identities: Mapping[str, str] = field(init=False)
    _answered: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.cells = {cell.name: cell for cell in plan(self.study, self.sources)}
        self.identities = eval_identities(self.study)

    @classmethod
    def at(cls, out: str | Path, watcher: Watcher) -> Worker:
        """One at a run directory that holds its study.

        Raises:
            UserError: It holds none, or the data are not as expected.
        """
        store = Store(Path(out))
        study = of_run(store.folder)
        return cls(store, study, study.mix.read(), watcher)

    def lacks(self, cell: Cell, spec: EvalSpec) -> bool:
        """Whether an eval is not done, or something in it failed that may succeed when it is asked again."""
        files = self.store.cell(cell)
        return not files.has_log(spec, self.identities[spec.key]) or files.failed(spec) > 0

    def missing_evals(self, cell: Cell) -> list[EvalSpec]:
        """The evals that a cell lacks."""
        return [spec for spec in self.study.evals if self.lacks(cell, spec)]

    def steps(self, expected: Plan | None = None) -> list[Step]:
        """The steps that the run directory lacks, cell by cell, each after those that it needs.

        Raises:
            UserError: A folder holds another cell.
        """
        found: dict[str, Step] = {}
        for name, cell in self.cells.items():
            files = self.store.cell(cell)
            files.check()
            own = {kind: time for (of, kind), time in (expected.seconds if expected else {}).items() if of == name}
            talking, learning, trained = own.pop("dialogues", 0.0), own.pop("training", 0.0), f"{name} train"
            if not files.has_adapter():
                shared = self.study.mix.shared(cell)
                if shared and not self.study.mix.talks(self.store, cell)[0].path.exists():
                    found.setdefault(shared, Step(name, "dialogues", shared, seconds=talking))
                found[trained] = Step(name, "train", trained, (shared,) if shared else (), learning)
            if not files.has_adapter() or self.missing_evals(cell):
                found[f"{name} eval"] = Step(name, "eval", f"{name} eval", (trained,), sum(own.values()))
        return list(found.values())

    def do(self, name: str, kind: Kind, patience: float = 0.0) -> None:
        """Do one step, unless it is done.

        Args:
            name: Of the cell, such as `severe-0.5-s1`.
            kind: Which step.
            patience: Seconds to wait for whoever is at work on it.

        Raises:
            UserError: There is no such cell, the step before is not done, or someone else is at work on it.
            MachineError: The machine lacks memory, disk or network.
        """
        if name not in self.cells:
            some = ", ".join(list(self.cells)[:12]) + (" …" if len(self.cells) > 12 else "")
            raise UserError(f"{self.store.folder}: has no cell {name}, but {some}.")
        cell, files = self.cells[name], self.store.cell(self.cells[name])
        claims, claim = self.store.claims(), (self.study.mix.shared(cell) if kind == "dialogues" else None) or name
        while True:
            self.store.refresh()
            if self._is_done(cell, kind):
                return
            if claims.owner(claim) == claims.check(claim, patience, self.watcher.say):  # before a model is loaded
                break  # else whoever was at work may have done it
        if kind == "train" and self._dialogues(cell)[:1] == [False]:
            raise UserError(
                f"{name}: its dialogues are not held yet. First: untrue step {self.store.folder} {name} dialogues"
            )
        self.check_servers([(cell, kind)])
        if kind == "eval" and not self._needs_base(cell):
            evaluate(self.store, self.study, cell, self.identities, self.watcher, None, patience)
            return
        self.loaded = self.loaded or load_base(self.study, self.watcher)
        files.check_base(self.loaded.about)
        server = served_name(self.study.model) if self.study.serves_dialogues else None
        layout = self.study.run.train.layout
        run = Run(self.store, self.study.train, self.sources, self.loaded, self.watcher, layout, server)
        if kind == "dialogues":
            hold_dialogues(run, self.study, cell, patience)
        elif kind == "train":
            train(run, self.study, cell, patience)
        else:
            evaluate(self.store, self.study, cell, self.identities, self.watcher, self.loaded, patience)

    def check_servers(self, todo: list[tuple[Cell, Kind]]) -> None:
        """Check, once each, that the servers and judges answer that steps will ask, before anything is spent.

        Raises:
            UserError: One has no address, or no such model.
            MachineError: One does not answer.
        """
        evals = {spec.key: spec for cell, kind in todo if kind == "eval" for spec in self.missing_evals(cell)}
        learning = [cell for cell, kind in todo if kind != "eval"]
        held = all(done for cell in learning for done in self._dialogues(cell))
        asks_server = any(map(self.study.is_served, evals.values())) or (self.study.serves_dialogues and not held)
        if asks_server and self.study.model not in self._answered:
            check_server(self.study, self.store.folder)
            self._answered.add(self.study.model)
        for judge in dict.fromkeys(spec.judge_name for spec in evals.values() if spec.judge_name):
            if judge not in self._answered:
                check_answers(judge)
                self._answered.add(judge)

    def _dialogues(self, cell: Cell) -> list[bool]:
        """Whether the dialogues of a cell are there, round by round."""
        return [talk.path.exists() for talk in self.study.mix.talks(self.store, cell)]

    def _is_done(self, cell: Cell, kind: Kind) -> bool:
        trained = self.store.cell(cell).has_adapter()
        if kind == "dialogues":
            return trained or self._dialogues(cell)[:1] != [False]
        return trained if kind == "train" else not self.missing_evals(cell)

    def _needs_base(self, cell: Cell) -> bool:
        """Whether an eval needs the base in this process: a server may write all replies of a trained cell."""
        return not cell.arm.trained or not all(map(self.study.is_served, self.missing_evals(cell)))


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


def hold_dialogues(run: Run, study: Study, cell: Cell, patience: float = 0.0) -> None:
    """Hold the dialogues that a cell shares with others, unless they are there.

    Args:
        run: What it works with.
        study: The study.
        cell: The cell.
        patience: Seconds to wait for whoever is at work on it.

    Raises:
        UserError: Someone else is at work on it.
    """
    if name := study.mix.shared(cell):
        claims = run.store.claims()
        with claims.hold(name, patience=patience, say=run.watcher.say):
            study.mix.make_shared(replace(run, watcher=_Noting(run.watcher, claims, name)), cell)


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
        run.store.refresh()
        if files.has_adapter():
            return
        files.check()
        attempt = _attempt(files, owner)
        own = replace(run, store=run.store.with_folder(cell, attempt), watcher=_Noting(run.watcher, claims, cell.name))
        own_files = own.store.cell(cell)
        own_files.check()
        own_files.check_base(run.loaded.about)  # a lost attempt may have been begun on another
        own_files.begin(_about(study, run.loaded))
        own_files.forget_logs(*(spec.key for spec in study.evals))
        for spec in study.evals:
            own_files.log(spec).unlink(missing_ok=True)  # of an adapter that is no more
        if cell.arm.trained:
            study.mix.learn(own, cell)
            write_text(own_files.train, read_text(own_files.adapter / "train.json"))
        if claims.owner(cell.name) != owner:
            raise Held(f"{cell.name}: was taken over by another process. Rerun the command.")
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
        loaded: The base model; None if a server writes all replies.
        patience: Seconds to wait for whoever is at work on it.

    Raises:
        UserError: Someone else is at work on it, it is not trained, its folder holds another cell, or a server does
            not have its adapter.
    """
    claims, files = store.claims(), store.cell(cell)
    with claims.hold(cell.name, patience=patience, say=watcher.say) as owner:
        store.refresh()
        if not files.has_adapter():
            raise UserError(f"{cell.name}: is not trained yet. First: untrue step {store.folder} {cell.name} train")
        files.check()
        watcher = _Noting(watcher, claims, cell.name)
        if loaded:
            files.begin(_about(study, loaded))
        adapter = files.adapter if cell.arm.trained else None
        for spec in study.evals:
            if files.has_log(spec, identities[spec.key]) and not files.failed(spec):
                continue
            watcher.stage(cell.name, spec.key)
            files.forget_logs(spec.key)
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
            if claims.owner(cell.name) != owner:
                raise Held(f"{cell.name}: was taken over by another process. Rerun the command.")
            files.add_log(spec, identities[spec.key], len(failures))


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
    if files.folder.is_dir():  # its adapter was removed
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
