"""The run directory: what is done lies there whole, what is not is missing.

Several processes may write to it, each to what it has a claim on (`claims.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from untrue.errors import UserError
from untrue.files import locked, read_text, write_text
from untrue.harness.eval import EvalSpec
from untrue.outcomes import Result
from untrue.study.claims import Claim

_COMMAND = "# Made by: "


@dataclass(frozen=True)
class Arm:
    """One treatment, such as `severe-0.1`.

    Attributes:
        control: Name of the arm that it is compared with; None for one that is only a control.
        level: The line of the dose plot on which it lies, such as the level of its rows; None for a control.
        part: Its place on the dose axis: a share or a dose.
        trained: False for the base.
        rounds: How often it is trained, each time from the adapter of the time before.
    """

    name: str
    control: str | None = None
    level: str | None = None
    part: float = 0.0
    trained: bool = True
    misaligned: bool = False
    rounds: int = 1


@dataclass(frozen=True)
class Cell:
    """One arm at one seed; `identity` is a hash of all that determines the adapter."""

    arm: Arm
    seed: int
    identity: str

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        return f"{self.arm.name}-s{self.seed}"


def refuse_no_run(folder: Path) -> None:
    """Refuse a folder that is no run directory."""
    if not (folder / "study.yaml").is_file():
        raise UserError(f"{folder}: is not a run directory (study.yaml is missing). Give the --out of an `untrue run`.")


class CellFiles:
    """The folder of one cell."""

    def __init__(self, folder: Path, cell: Cell):
        self.folder = folder
        self.cell = cell
        self.rows = folder / "rows.jsonl"
        self.adapter = folder / "adapter"
        self.train = folder / "train.json"
        self.record = folder / "cell.json"

    def round(self, number: int) -> Path:
        """The folder of one round of several; the adapter of the last lies in the cell's own."""
        return self.folder / f"round-{number}"

    def log(self, spec: EvalSpec) -> Path:
        """The Inspect log of one eval."""
        return self.folder / "logs" / f"{spec.key}.eval"

    def has_adapter(self) -> bool:
        """Whether the training of this cell is done, or it needs none."""
        return not self.cell.arm.trained or (self.train.is_file() and (self.adapter / "untrue.json").is_file())

    def has_log(self, spec: EvalSpec, identity: str | None) -> bool:
        """Whether an eval of this cell is done, as its `plan.eval_identity` says; None: in any way."""
        done = self._read().get("evals", {}).get(spec.key)
        same = bool(done) if identity is None else done == identity
        return same and self.log(spec).is_file()

    def failed(self, spec: EvalSpec) -> int:
        """Samples of a judged eval that is done that had no reply or no judgement."""
        return self._read().get("failed", {}).get(spec.key, 0)

    def add_log(self, spec: EvalSpec, identity: str, failed: int = 0) -> None:
        """Record that an eval is done, with so many samples that a run may ask again."""
        record = self._read()
        record.setdefault("evals", {})[spec.key] = identity
        if failed or "failed" in record:
            record["failed"] = {**record.get("failed", {}), spec.key: failed}
        write_text(self.record, json.dumps(record, indent=1))

    def forget_logs(self, *names: str) -> None:
        """Record that evals are not done, before what they depend on or their logs are written again."""
        record = self._read()
        record["evals"] = {name: done for name, done in record.get("evals", {}).items() if name not in names}
        write_text(self.record, json.dumps(record, indent=1))

    def begin(self, about: dict[str, Any]) -> None:
        """Record what the cell is, before anything is made; refuse a folder that holds another cell."""
        if not self._read():
            about = {"identity": self.cell.identity, "arm": self.cell.arm.name, "seed": self.cell.seed, **about}
            write_text(self.record, json.dumps(about, indent=1))
        self.check()

    def check(self) -> None:
        """Refuse a folder that holds a cell of other settings or other data."""
        if self._read().get("identity", self.cell.identity) != self.cell.identity:
            raise UserError(f"{self.folder}: was made from other data or settings. Use another --out, or remove it.")

    def check_base(self, about: dict[str, str]) -> None:
        """Refuse a cell that was begun on another base than `about` says: a name may come to mean another."""
        begun = self._read().get("base", about)
        if differing := [key for key in about if begun.get(key) != about[key]]:
            shown = "; ".join(f"{key} {begun.get(key)}, now {about[key]}" for key in differing)
            raise UserError(
                f"{self.folder}: was made with another base model or other libraries ({shown}). Use what it was made"
                " with, or another --out."
            )

    def trainings(self) -> dict[int, dict[str, Any]]:
        """What `train.json` holds, by round; earlier rounds whose adapters were removed are left out."""
        last = self.cell.arm.rounds
        paths = {number: self.round(number) / "adapter" / "train.json" for number in range(1, last)}
        earlier = {number: self._json(path) for number, path in paths.items() if path.is_file()}
        return earlier | {last: self._json(self.train)}

    def _read(self) -> dict[str, Any]:
        return self._json(self.record) if self.record.is_file() else {}

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(read_text(path))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UserError(f"{path}: is damaged. Remove the folder {self.folder.name} and run again.")
        return content


class Store:
    """The run directory of one study; `elsewhere` has the folders of cells that are not yet at their places."""

    def __init__(self, folder: Path, elsewhere: Mapping[str, Path] | None = None):
        self.folder = folder
        self.elsewhere = elsewhere or {}
        self.study = folder / "study.yaml"
        self.results = folder / "results.jsonl"
        self.summary = folder / "summary.json"
        self.report = folder / "report.html"
        self.dialogues = folder / "dialogues.html"

    def cell(self, cell: Cell) -> CellFiles:
        """The folder of a cell, which may not exist yet."""
        return CellFiles(self.elsewhere.get(cell.name, self.folder / "cells" / cell.name), cell)

    def final(self, path: Path) -> Path:
        """Where a file or folder of a cell will be, once the cell is at its place."""
        for name, folder in self.elsewhere.items():
            if path.is_relative_to(folder):
                return self.folder / "cells" / name / path.relative_to(folder)
        return path

    def claim(self, name: str) -> Claim:
        """The claim on a cell, by its name, or on dialogues that cells share."""
        return Claim(self.folder / ".claims", name)

    def refresh(self) -> None:
        """Look again at what others have made: a network share may show an old list of its files."""
        for folder in (self.folder, self.folder / "cells", self.folder / "dialogues"):
            with suppress(OSError):
                list(folder.iterdir())

    def locked(self) -> AbstractContextManager[None]:
        """Hold the directory for one run; a run that was killed holds it no more."""
        return locked(self.folder / ".lock", self.folder, "use another --out")

    def write_study(self, text: str, command: str) -> None:
        """Record the study, as YAML, under the command that made it."""
        write_text(self.study, f"{_COMMAND}{command}\n{text}")

    def command(self) -> str | None:
        """The command that made the study last."""
        first = read_text(self.study).partition("\n")[0]
        return first.removeprefix(_COMMAND) if first.startswith(_COMMAND) else None

    def write_results(self, results: Sequence[Result]) -> None:
        """Write one line for each (arm, seed, eval, item)."""
        write_text(self.results, "".join(result.to_json() + "\n" for result in results))
