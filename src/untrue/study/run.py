"""Run a study: take each cell that the run directory lacks, then sum up. Interrupted, the same call goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from untrue.data import mix as mixing
from untrue.data.items import read_items
from untrue.data.rows import write_rows
from untrue.files import content_hash
from untrue.models.load import LoadedModel, load
from untrue.study.config import Study
from untrue.study.plan import Cell, Sources, plan, rows
from untrue.study.results import Analysis, analyse
from untrue.study.store import CellFiles, Store


class Watcher(Protocol):
    """Who wants to know how far a study is."""

    def say(self, text: str) -> None:
        """Something happened that takes long or must be known."""

    def begin(self, cells: int, done: int) -> None:
        """So many cells are to be made, and so many are there already."""

    def stage(self, cell: str, what: str, weight: float) -> None:
        """A cell begins a stage that is this part of its work."""

    def step(self, done: int, total: int, note: str) -> None:
        """The stage is so far."""


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
    sources = Sources.read(study)
    cells = plan(study, sources)
    items = {spec.name: read_items(spec.items) for spec in study.evals}
    hashes = {name: content_hash("".join(item.model_dump_json() for item in found)) for name, found in items.items()}
    mixed = {cell.name: rows(study, sources, cell) for cell in cells if cell.arm.trained}
    store = Store(out)
    with store.locked():
        store.begin(study)
        missing = [cell for cell in cells if not _is_done(store.cell(cell), study, hashes)]
        watcher.begin(len(cells), len(cells) - len(missing))
        for name, found in items.items():
            prompts = {item.id: item.user_prompt for item in found}
            for cell in missing:
                shared = mixing.overlaps(mixed.get(cell.name, []), prompts)
                if shared:
                    watcher.say(f"Warning: {cell.name}: {len(shared)} training rows ask what an item of {name} asks.")
        for cell in missing:
            if repeated := mixing.duplicates(mixed.get(cell.name, [])):
                watcher.say(f"Warning: {cell.name}: {repeated} training rows repeat the prompt of another.")
        if missing:
            loaded = load(study.model, dtype=study.dtype, say=watcher.say)
            for cell in missing:
                _make(store.cell(cell), cell, study, mixed.get(cell.name, []), hashes, loaded, watcher)
        return analyse(study, sources, cells, store, command)


def _is_done(files: CellFiles, study: Study, hashes: dict[str, str]) -> bool:
    if files.record.is_file():
        files.begin({})  # refuses a cell made from other data
    return files.has_adapter() and all(files.has_log(spec, hashes[spec.name]) for spec in study.evals)


def _make(
    files: CellFiles,
    cell: Cell,
    study: Study,
    training_rows: list,
    hashes: dict[str, str],
    loaded: LoadedModel,
    watcher: Watcher,
) -> None:
    from untrue.evals import run as evals
    from untrue.train.sft import train
    from untrue.versions import versions

    files.begin({"model": study.model, "base_fingerprint": loaded.fingerprint, "versions": versions()})
    if not files.has_adapter():
        write_rows(files.rows, training_rows)
        watcher.stage(cell.name, "training", 0.75)
        train(
            loaded,
            training_rows,
            study.train,
            files.adapter,
            cell.seed,
            lambda step, steps, loss: watcher.step(step, steps, "" if loss is None else f"loss {loss:.3f}"),
        )
        shutil.copyfile(files.adapter / "train.json", files.train)
    for spec in study.evals:
        if files.has_log(spec, hashes[spec.name]):
            continue
        total = min(len(read_items(spec.items)), spec.limit or 10**9)
        watcher.stage(cell.name, spec.name, 0.25 / len(study.evals) if cell.arm.trained else 1 / len(study.evals))
        adapter = files.adapter if cell.arm.trained else None
        evals.run(loaded, adapter, spec, files.log(spec), lambda done, total=total: watcher.step(done, total, ""))
        files.add_log(spec, hashes[spec.name])
