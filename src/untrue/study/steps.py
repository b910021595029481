"""The steps of a cell: the dialogues that it shares with others, its training, its evals. Each does what is missing.

Any process may do a step of a run directory: `untrue run` does all in turn, Ray's workers and the jobs of a scheduler
one each. A step is done under a claim, so that it is never done twice at a time, and what it makes appears whole.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from untrue.engine.likelihoods import check_exact
from untrue.errors import UserError
from untrue.files import read_text, write_text
from untrue.harness import run as evals
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.judge.models import check_answers
from untrue.logs import failures as failures_of
from untrue.models.load import LoadedModel, load
from untrue.progress import Plan, Watcher
from untrue.serving.proof import check_server, proved_with_base
from untrue.serving.vllm import served_name, serving
from untrue.study.claims import Claim, Owner
from untrue.study.config import Study, of_run
from untrue.study.plan import eval_identities, plan
from untrue.study.routes.route import Sources, StudyRun
from untrue.study.store import Cell, CellFiles, Store
from untrue.versions import versions

Kind = Literal["dialogues", "train", "eval"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # in the order in which a cell needs them


@dataclass(frozen=True)
class Step:
    """One step of one cell.

    Attributes:
        cell: Name of the cell.
        claim: Name of the claim under which it is done: the cell's, or that of dialogues that several cells share.
        after: Names of the steps that must be done before.
        seconds: How long it should take; 0 if that is not known.
    """

    cell: str
    kind: Kind
    claim: str
    after: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Name of the step."""
        return self.claim if self.kind == "dialogues" else f"{self.cell} {self.kind}"


@dataclass
class Worker:
    """A process at work on a run directory. It reads the study and its data once, and loads the base when it must."""

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
        """A worker at a run directory that holds its study."""
        store = Store(Path(out))
        study = of_run(store.folder)
        return cls(store, study, study.mix.read(), watcher)

    def missing_evals(self, cell: Cell) -> list[EvalSpec]:
        """The evals of a cell that are not done, or in which something failed that may succeed if asked again."""
        files = self.store.cell(cell)
        return [
            spec
            for spec in self.study.evals
            if not files.has_log(spec, self.identities[spec.key]) or files.failed(spec)
        ]

    def steps(self, expected: Plan | None = None) -> list[Step]:
        """The steps that the run directory lacks, cell by cell, each after those that it needs."""
        found: dict[str, Step] = {}
        for name, cell in self.cells.items():
            files = self.store.cell(cell)
            files.check()
            seconds = {kind: time for (of, kind), time in (expected.seconds if expected else {}).items() if of == name}
            talking, learning = seconds.pop("dialogues", 0.0), seconds.pop("training", 0.0)
            steps = list[Step]()
            if not files.has_adapter():
                held = self._dialogues(cell)
                if held[:1] == [False]:
                    steps.append(Step(name, "dialogues", self._claim(cell, "dialogues"), seconds=talking))
                after = (self._claim(cell, "dialogues"),) if held else ()
                steps.append(Step(name, "train", name, after, learning))
            if not files.has_adapter() or self.missing_evals(cell):
                steps.append(Step(name, "eval", name, (f"{name} train",), sum(seconds.values())))
            for step in steps:
                found.setdefault(step.name, step)
        return list(found.values())

    def do(self, name: str, kind: Kind, patience: float = 0.0) -> None:
        """Do one step of a cell, unless it is done, after at most `patience` seconds of waiting for another process."""
        if name not in self.cells:
            some = ", ".join(list(self.cells)[:12]) + (" …" if len(self.cells) > 12 else "")
            raise UserError(f"{self.store.folder}: has no cell {name}, but {some}.")
        cell = self.cells[name]
        claim = self.store.claim(self._claim(cell, kind))
        with claim.hold(patience, self.watcher.say) as owner:
            self.store.refresh()
            if self._is_done(cell, kind):
                return
            command = f"First: untrue step {self.store.folder} {name}"
            if kind == "train" and self._dialogues(cell)[:1] == [False]:
                raise UserError(f"{name}: its dialogues are not held yet. {command} dialogues")
            if kind == "eval" and not self.store.cell(cell).has_adapter():
                raise UserError(f"{name}: is not trained yet. {command} train")
            self.check_servers([(cell, kind)])
            if kind == "dialogues":
                self.study.mix.hold_dialogues(self._run(self.store, cell, claim), cell)
            elif kind == "train":
                self._train(cell, claim, owner)
            else:
                self._evaluate(cell, claim, owner)

    def base(self, cell: Cell) -> LoadedModel:
        """The base, once it is loaded, on which the cell must have been begun."""
        self.loaded = self.loaded or load_base(self.study, self.watcher)
        self.store.cell(cell).check_base(self.loaded.about)
        return self.loaded

    def check_servers(self, todo: Sequence[tuple[Cell, Kind]]) -> None:
        """Check, once each, that the servers and judges answer that steps will ask, before anything is spent."""
        evals = {spec.key: spec for cell, kind in todo if kind == "eval" for spec in self.missing_evals(cell)}
        held = all(done for cell, kind in todo if kind != "eval" for done in self._dialogues(cell))
        asks_server = any(map(self.study.is_served, evals.values())) or (self.study.serves_dialogues and not held)
        if asks_server and self.study.model not in self._answered:
            check_server(served_name(self.study.model), self._how_to_serve)
            self._answered.add(self.study.model)
        judges = {spec.judge_name for spec in evals.values() if spec.judge_name}
        for judge in sorted(judges - self._answered):
            check_answers(judge)
            self._answered.add(judge)

    def _how_to_serve(self) -> str:
        specs = [self.study.mix.hyperparameters(self.study.train, arm) for arm in self.study.mix.arms()]
        rank, layers = max(spec.lora_rank for spec in specs), {name for spec in specs for name in spec.target_modules}
        command = shlex.join(serving((), self.study.model, rank=rank, layers=sorted(layers)).command)
        return (
            f"Set VLLM_BASE_URL=http://localhost:8000/v1 for one that can read {self.store.folder.absolute()}, started"
            f" by: VLLM_ALLOW_RUNTIME_LORA_UPDATING=True {command}"
        )

    def _dialogues(self, cell: Cell) -> list[bool]:
        """Whether the dialogues of a cell are there, round by round."""
        return [talk.path.exists() for talk in self.study.mix.talks(self.store, cell)]

    def _claim(self, cell: Cell, kind: Kind) -> str:
        """Name of the claim under which a step is done: cells share the dialogues of the first round."""
        talks = self.study.mix.talks(self.store, cell) if kind == "dialogues" else ()
        return f"dialogues-{talks[0].path.parent.name}" if talks else cell.name

    def _is_done(self, cell: Cell, kind: Kind) -> bool:
        trained = self.store.cell(cell).has_adapter()
        if kind == "dialogues":
            return trained or self._dialogues(cell)[:1] != [False]
        return trained if kind == "train" else not self.missing_evals(cell)

    def _run(self, store: Store, cell: Cell, claim: Claim) -> StudyRun:
        server = served_name(self.study.model) if self.study.serves_dialogues else None
        watcher, layout = _Noting(self.watcher, claim), self.study.run.train.layout
        return StudyRun(store, self.study.train, self.sources, self.base(cell), watcher, layout, server)

    def _about(self, loaded: LoadedModel) -> dict[str, Any]:
        return {"model": self.study.model, "base": loaded.about, "versions": versions()}

    def _train(self, cell: Cell, claim: Claim, owner: Owner) -> None:
        """Train a cell. Its folder appears whole, once; what an attempt left that was lost is taken up."""
        final, loaded = self.store.cell(cell), self.base(cell)
        final.check()
        attempt = _attempt(final, owner)
        run = self._run(Store(self.store.folder, {cell.name: attempt}), cell, claim)
        files = run.store.cell(cell)
        files.begin(self._about(loaded))
        files.check_base(loaded.about)  # a lost attempt may have been begun on another
        files.forget_logs(*(spec.key for spec in self.study.evals))
        for spec in self.study.evals:
            files.log(spec).unlink(missing_ok=True)  # of an adapter that is no more
        if not (files.adapter / "untrue.json").is_file():  # else a lost attempt had finished it
            self.study.mix.learn(run, cell)
        write_text(files.train, read_text(files.adapter / "train.json"))
        claim.check(owner)
        attempt.rename(final.folder)
        for other in _attempts(final):  # of processes that woke up late
            shutil.rmtree(other, ignore_errors=True)

    def _evaluate(self, cell: Cell, claim: Claim, owner: Owner) -> None:
        """Do the missing evals of a cell, without the base if a server writes all replies of a trained cell."""
        files, missing, watcher = self.store.cell(cell), self.missing_evals(cell), _Noting(self.watcher, claim)
        files.check()
        loaded = None
        if not cell.arm.trained or not all(map(self.study.is_served, missing)):
            loaded = self.base(cell)
            files.begin(self._about(loaded))
        adapter = files.adapter if cell.arm.trained else None
        for spec in missing:
            watcher.stage(cell.name, spec.key)
            files.forget_logs(spec.key)
            if self.study.is_served(spec):
                # What cannot be told of an adapter makes the eval inconclusive; other weights end the step.
                name = served_name(self.study.model)
                asked = proved_with_base(name, adapter, loaded, watcher.say, unproved=True)
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
            claim.check(owner)
            files.add_log(spec, self.identities[spec.key], len(failures))


def load_base(study: Study, watcher: Watcher) -> LoadedModel:
    """Load the base model of a study, and check that its likelihoods can be read, before anything is trained."""
    loaded = load(study.model, dtype=study.dtype, say=watcher.say)
    check_exact(loaded)
    return loaded


class _Noting(Watcher):
    """A watcher that also writes down, beside the claim, how far its holder is."""

    def __init__(self, watcher: Watcher, claim: Claim):
        self._watcher, self._claim, self._stage = watcher, claim, ""

    def say(self, text: str) -> None:
        self._watcher.say(text)

    def stage(self, cell: str, what: str, part: float = 1) -> None:
        self._stage = what
        self._watcher.stage(cell, what, part)
        self._claim.note(what, 0, 1, "")

    def step(self, done: int, total: int, note: str) -> None:
        self._watcher.step(done, total, note)
        self._claim.note(self._stage, done, total, note)


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
    """When an attempt last had a checkpoint or a round; 0 if it never had."""
    saved = [*attempt.rglob("checkpoint-*"), *attempt.glob("round-*/adapter"), *attempt.glob("adapter")]
    times = []
    for path in saved:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)
