"""Train in processes of their own, by `accelerate launch`: on several GPUs, or on one with a quantised base."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from untrue.data.rows import Row, write_rows
from untrue.errors import MachineError, UntrueError, UserError
from untrue.files import read_text
from untrue.models.load import LoadedModel
from untrue.models.runtime import number_format
from untrue.progress import Step, Watcher
from untrue.training.layout import ALONE, Layout
from untrue.training.rank import JOB, PROGRESS, ROWS, Task
from untrue.training.spec import METHODS, TrainSpec

LOOK = 0.2
"""Seconds between looks at what the processes tell."""

GRACE = 10.0
"""Seconds that processes have to end once they are told to."""

LOG = "log"
"""File with all that the processes print."""

_OF_A_LAUNCH = re.compile(r"(ACCELERATE|FSDP)_|(LOCAL_)?(RANK|WORLD_SIZE)$|MASTER_(ADDR|PORT)$")
"""Variables that another launch, of this very process, has set."""

_SIGNAL = re.compile(r"(?:exitcode\s*:\s*-|Signals\.\w+: )(\d+)")
"""How torch and Python say that a process ended by a signal."""


def is_needed(spec: TrainSpec, layout: Layout) -> bool:
    """Whether a training needs processes of its own, and not the base that is loaded here."""
    return layout != ALONE or spec.quantize is not None


def learn(
    loaded: LoadedModel,
    rows: Sequence[Row],
    spec: TrainSpec,
    out: Path,
    seed: int,
    watcher: Watcher,
    start: Path | None = None,
    layout: Layout = ALONE,
) -> None:
    """Train an adapter of a loaded base, here or in processes for which the base makes room on the GPU."""
    from untrue.training import run

    if not is_needed(spec, layout):
        run.train(loaded, rows, spec, out, seed, watcher.step, start)
        return
    with loaded.off_device():
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        train(loaded.name, rows, spec, out, seed, watcher.step, start, layout, dtype, watcher.say)


def train(
    model: str,
    rows: Sequence[Row],
    spec: TrainSpec,
    out: Path,
    seed: int,
    progress: Step = lambda done, total, note: None,
    start: Path | None = None,
    layout: Layout = ALONE,
    dtype: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train an adapter as `run.train` does, in processes of their own, one to a GPU.

    It loads nothing itself: every process loads the base, and splits it where `layout.shard` says so. The adapter and
    its record are those of one process within rounding. A training that
    was killed goes on from its last checkpoint under the same layout, and begins anew under another.

    Where `is_needed(spec, layout)`, it is called in place of `run.train`. The caller holds no weights on those GPUs
    meanwhile.

    Args:
        model: The base, by the name that `models.load.load` takes.
        rows: Training rows, in any order; the seed shuffles them.
        spec: Hyperparameters. `batch_size` is that of all processes together, and must divide by their number.
        out: Folder of the adapter; it appears whole or not at all, written by the main process.
        seed: Of the adapter's first weights and of the order of rows.
        progress: Called at each step, with the loss as its note.
        start: Folder of an adapter to go on from; by default a new one is begun.
        layout: How many processes, and what they share.
        dtype: `float32`, `bfloat16` or `auto`; see `models.runtime`.
        say: Called with a line on what takes long.

    Returns:
        What the adapter's `train.json` holds.

    Raises:
        UserError: As `run.train`, or the layout, spec and rows do not go together.
        MachineError: There are fewer GPUs, memory or disk is full, or a process failed.
    """
    if not rows:
        raise UserError("there are no rows to train on.")
    METHODS[spec.method].check(rows, spec)
    layout.check(spec.batch_size, spec.quantize)
    dtype = number_format(dtype, "cpu" if layout.on_cpu else "cuda")
    task = Task(
        model=model,
        spec=spec.model_dump(mode="json"),
        seed=seed,
        out=str(out.absolute()),
        start=str(start.absolute()) if start else None,
        dtype=dtype,
        gpus=layout.gpus,
        shard=layout.shard,
        on_cpu=layout.on_cpu,
    )
    folder = Path(mkdtemp(prefix="untrue-training-"))
    (folder / JOB).write_text(json.dumps(asdict(task)), "utf-8")
    (folder / PROGRESS).touch()
    (folder / "accelerate.yaml").write_text(yaml.safe_dump(layout.accelerate_config(dtype)), "utf-8")
    write_rows(folder / ROWS, rows)
    names_log = False
    try:
        _run(folder, progress, say)
    except UntrueError as error:
        names_log = str(folder) in str(error)
        raise
    finally:
        if not names_log:
            shutil.rmtree(folder, ignore_errors=True)
    return json.loads(read_text(out / "train.json"))


def _run(folder: Path, progress: Step, say: Callable[[str], None]) -> None:
    """Start the processes, pass on what they tell, and wait for their end.

    Raises:
        UserError: What the first process that failed says, where the user can mend it.
        MachineError: Likewise, where the machine lacks something, or it says nothing that is meant for people.
    """
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(folder / "accelerate.yaml")]
    command = [*launch, "--module", "untrue.training.rank", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not _OF_A_LAUNCH.match(name)}
    with (folder / LOG).open("wb") as log, (folder / PROGRESS).open(encoding="utf-8") as told:
        # Of a session of its own, so that Ctrl-C reaches this process alone, which then ends them. They end by
        # themselves too when their standard input does, even where this process is killed.
        launched = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        try:
            line = ""
            while True:
                ended = launched.poll() is not None
                while part := told.readline():
                    line += part
                    if line.endswith("\n"):
                        _pass_on(json.loads(line), progress, say)
                        line = ""
                if ended:
                    break
                time.sleep(LOOK)
        finally:
            _end(launched)
    if launched.returncode:
        raise _failure(folder)


def _pass_on(told: dict[str, Any], progress: Step, say: Callable[[str], None]) -> None:
    if "say" in told:
        say(told["say"])
    else:
        progress(*told["step"])


def _end(launched: subprocess.Popen) -> None:
    """End the processes, if they have not ended; they see it at their standard input."""
    assert launched.stdin
    launched.stdin.close()
    try:
        launched.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(launched.pid, signal.SIGKILL)
        launched.wait()


def _failure(folder: Path) -> UntrueError:
    """Why the processes failed: what the first to fail says, or what its end says.

    Others fail after it, since they lose their connection to it.
    """
    log = folder / LOG
    found = [json.loads(path.read_text("utf-8")) for path in folder.glob("error-*.json")]
    if told := [error for error in found if error["told"]]:
        first = min(told, key=lambda error: error["time"])
        return (UserError if first["kind"] == "UserError" else MachineError)(first["text"])
    first_end = log.read_text("utf-8", errors="replace").rpartition("Root Cause")[2]
    killed = _SIGNAL.search(first_end)
    if killed and int(killed[1]) == signal.SIGKILL:
        return MachineError(
            "the system killed a process of the training (SIGKILL), most often because the machine's memory was full."
            " Give it more, or fewer processes."
        )
    if found:
        first = min(found, key=lambda error: error["time"])
        return MachineError(f"a process of the training failed ({first['text']}). Its log: {log}")
    how = f"was ended by signal {killed[1]}" if killed else "ended without a word"
    return MachineError(f"a process of the training {how}. Its log: {log}")
