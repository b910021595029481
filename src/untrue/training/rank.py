"""One process of a training: `accelerate launch` starts it, and it does what the file of its folder says."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from untrue.data.rows import Row
from untrue.errors import UntrueError, one_line
from untrue.training.layout import Layout
from untrue.training.spec import TrainSpec

JOB, ROWS, PROGRESS = "job.json", "rows.jsonl", "progress.jsonl"
"""Files of the folder: what is to be done, the training rows, and what the main process tells of it."""

STDIN = 0

PATIENCE = timedelta(hours=4)
"""How long processes wait for each other: the main one may fetch, hash and load a large model first."""


@dataclass(frozen=True)
class Task:
    """What the processes of a training are told.

    Attributes:
        model: The base, by the name that `load` takes.
        spec: Hyperparameters, as JSON.
        seed: Of the adapter's first weights and of the order of rows.
        out: Folder of the adapter.
        start: Folder of the adapter to go on from, or None.
        dtype: `bfloat16` or `float32`.
        gpus: How many processes there are.
        shard: What they share.
        on_cpu: Whether they run on CPUs.
    """

    model: str
    spec: dict[str, Any]
    seed: int
    out: str
    start: str | None
    dtype: str
    gpus: int
    shard: Any
    on_cpu: bool


def error_file(folder: Path, rank: int) -> Path:
    """Where a process says why it failed."""
    return folder / f"error-{rank}.json"


def main() -> None:
    """Run as `python -m untrue.training.rank FOLDER`."""
    folder, rank = Path(sys.argv[1]), int(os.environ.get("RANK", "0"))
    task = Task(**json.loads((folder / JOB).read_text("utf-8")))
    threading.Thread(target=_end_with_owner, args=(folder,), daemon=True).start()
    try:
        work(task, folder, rank)
    except Exception as error:
        kind = type(error).__name__
        told = isinstance(error, UntrueError)
        text = str(error) if told else f"{kind}: {one_line(error)}"
        aside = folder / f".error-{rank}"
        aside.write_text(json.dumps({"kind": kind, "told": told, "text": text, "time": time.time()}), "utf-8")
        aside.replace(error_file(folder, rank))
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # others may wait in the middle of an exchange, which a usual exit would wait for too


def work(task: Task, folder: Path, rank: int) -> None:
    """Train, as one of the processes.

    Raises:
        UserError: As `run.train` does.
        MachineError: Likewise.
    """
    from untrue.training.run import train

    layout = Layout(task.gpus, task.shard, rank, task.on_cpu)
    with (folder / ROWS).open(encoding="utf-8", newline="\n") as lines:
        rows = [Row(**json.loads(line)) for line in lines]
    told = folder / PROGRESS

    def tell(**what: Any) -> None:
        if layout.is_main:
            with told.open("a", encoding="utf-8") as file:
                file.write(json.dumps(what) + "\n")

    loaded = _load(task, layout, lambda text: tell(say=text))
    train(
        loaded,
        rows,
        TrainSpec.model_validate(task.spec),
        Path(task.out),
        task.seed,
        lambda done, total, note: tell(step=[done, total, note]),
        Path(task.start) if task.start else None,
        layout,
    )


def _load(task: Task, layout: Layout, say: Any) -> Any:
    """The base: on this process's GPU, or in the machine's memory until FSDP splits it."""
    from accelerate import PartialState

    from untrue.models.load import load

    state = PartialState(cpu=layout.on_cpu, timeout=PATIENCE) if layout.gpus > 1 else None
    on_cpu = layout.on_cpu or layout.shard == "fsdp2"
    device = "cpu" if on_cpu else f"cuda:{state.local_process_index if state else 0}"
    # The main process fetches the weights and hashes them; the others find both.
    with state.local_main_process_first() if state else nullcontext():
        quantize = task.spec.get("quantize")
        computed_on = "cpu" if layout.on_cpu else "cuda"
        return load(task.model, dtype=task.dtype, device=device, quantize=quantize, computed_on=computed_on, say=say)


def _end_with_owner(folder: Path) -> None:
    """End this process when the one that asked for the training is gone, however it went.

    That one alone holds the other end of the standard input, which launchers hand on to what they start.
    """
    while os.read(STDIN, 1):
        pass
    (folder / ROWS).unlink(missing_ok=True)  # nobody else would remove them
    os._exit(1)


if __name__ == "__main__":
    main()
