"""The progress of a run: who is told of it, when it will be done, and how the terminal shows it."""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, NamedTuple, Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"  # C0 without tab and line ends, DEL and C1: all escape sequences need one
    r"|\r(?!\n)"  # what follows would be written over the line
    r"|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # marks and overrides of direction
    r"|[\u2028\u2029\ud800-\udfff]"  # other line ends, and halves of pairs, which cannot be printed
)


def visible(text: str) -> str:
    r"""A text with its control characters escaped, such as `\x1b`; line ends and tabs stay."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def plain(text: str, style: str = "") -> Text:
    """What a user or a model wrote, for rich: without markup or emoji, its control characters escaped."""
    return Text(visible(text), style)


class _Pipe(io.FileIO):
    """Drops what nobody reads, on which Python would fail, and what is left after a failure, such as of a full disk."""

    _has_failed = False

    def write(self, data: Any, /) -> int | None:
        if self._has_failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes
        except OSError:
            self._has_failed = True
            raise


def unbroken(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """A standard stream that takes whatever is written, even if nobody reads it or its encoding lacks a character.

    So `untrue list evals | head -1` exits with 0, and `untrue gate … | true` with its verdict. Libraries that print
    would exit with 1, which is a verdict.
    """
    pipe = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    by_line = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(pipe, stream.encoding, "replace", line_buffering=by_line)


# Called with how much is done, of how much, and a note, such as the loss: when a stage begins its work, then often.
Step = Callable[[int, int, str], None]

PERIOD = 900  # seconds of the past from which the speed is estimated

SILENCE = 60  # seconds from one line of a stage to the next, where there is no terminal

FIRST = 20  # seconds until the first such line, and until a machine is called slow

# A machine is called slow if it takes this many times as long as planned, and this many seconds are left.
SLOW, LONG = 10, 600

ORDINARY = 150  # GFLOP/s in float32 of two ordinary cores, such as AVX2 has


class Plan(NamedTuple):
    """What a command is about to do.

    Attributes:
        seconds: (cell, kind of stage) -> how long it should take, in the order in which it is done.
        machine: The machine on which it should take that long; None if that is not known.
        elsewhere: Kinds of stages that wait for other machines, of which nothing is expected.
    """

    seconds: Mapping[tuple[str, str], float]
    machine: str | None = None
    elsewhere: frozenset[str] = frozenset()


class Watcher(Protocol):
    """Who is told of the progress of a run."""

    def say(self, text: str) -> None:
        """Something takes long or must be known."""

    def begin(self, plan: Plan) -> None:
        """A command of several stages begins."""

    def stage(self, cell: str, what: str, part: float = 1) -> None:
        """A stage begins: `part` of what is left in the cell of its kind, which is the first word of `what`."""

    def step(self, done: int, total: int, note: str) -> None:
        """The stage has progressed: a `Step`."""


class Forecast:
    """When a command will be done: each kind of stage goes on at its speed so far, others at that of all together.

    Attributes:
        plan: What was to be done when the command began.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self._left = dict(plan.seconds)
        self._past: dict[str, tuple[float, float]] = {}  # kind -> seconds planned and taken by steps of its last stage
        self._beside: dict[str, float] = {}  # kind -> seconds of its last stage before and after all steps
        self._kind, self._planned, self._began, self._first = "", 0.0, 0.0, 0.0
        self._marks = deque[tuple[float, float]]()  # of this stage: when how large a part was done

    def stage(self, cell: str, what: str, part: float) -> None:
        """Begin a stage; those that the plan has before it are over."""
        self._end()
        self._kind, self._began = what.partition(" ")[0], monotonic()
        key = (cell, self._kind)
        for before in [*self._left][: [*self._left].index(key)] if key in self._left else []:
            del self._left[before]
        self._planned = self._left.get(key, 0.0) * part
        if key in self._left:
            self._left[key] -= self._planned
        if not self.plan.seconds:  # it is known by itself alone
            self._past, self._beside, self._planned = {}, {}, 1.0

    def step(self, share: float) -> None:
        """A share of the stage is done."""
        now = monotonic()
        self._first = self._first if self._marks else now
        self._marks.append((now, share))
        while len(self._marks) > 2 and self._marks[1][0] < now - PERIOD:
            self._marks.popleft()

    @property
    def planned(self) -> float:
        """Seconds that the plan has for what is left."""
        share = self._marks[-1][1] if self._marks else 0.0
        return sum(self._left.values()) + self._planned * (1 - share)

    @property
    def seconds(self) -> float | None:
        """Seconds until all is done; None if nothing was measured yet."""
        known = self._past | {self._kind: self._pace()}
        planned, taken = (sum(of) for of in zip(*known.values(), strict=True))
        if not planned or not taken:
            return None
        rest = [(kind, seconds) for (_, kind), seconds in self._left.items()]
        rest.append((self._kind, self.planned - sum(self._left.values())))
        times = {kind: took / of for kind, (of, took) in known.items() if of and took}
        beside = sum(self._beside.get(kind, 0.0) for (_, kind), seconds in self._left.items() if seconds)
        return beside + sum(seconds * times.get(kind, taken / planned) for kind, seconds in rest)

    @property
    def slowness(self) -> float:
        """How many times as long as planned the stage takes; 0 if that is not known yet, or nothing is expected."""
        planned, taken = self._pace()
        is_expected = self.plan.machine and self._kind not in self.plan.elsewhere
        return taken / planned if is_expected and planned and taken >= FIRST else 0.0

    def _pace(self) -> tuple[float, float]:
        """Seconds planned and taken of what was measured of this kind: in its last stage, and in this one."""
        planned, taken = self._past.get(self._kind, (0.0, 0.0))
        if self._planned and len(self._marks) > 1:
            (since, before), (now, share) = self._marks[0], self._marks[-1]
            planned, taken = planned + self._planned * (share - before), taken + now - since
        return planned, taken

    def _end(self) -> None:
        """Keep how fast the stage was, and what it took beside its steps."""
        if len(self._marks) > 1 and self._planned:
            (since, before), (now, share) = self._marks[0], self._marks[-1]
            self._past[self._kind] = self._planned * (share - before), now - since
            self._beside[self._kind] = monotonic() - self._began - (now - self._first)
        self._marks.clear()


def bar(console: Console) -> Progress:
    """One bar for a command that does one thing; it goes when it is done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


class TerminalWatcher:
    """Shows a command's progress as two bars; where there is no terminal, a line for each stage and, then, each minute.

    Use it as a context manager around the run.
    """

    def __init__(self, console: Console):
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._all: TaskID | None = None
        self._stage: TaskID | None = None
        self._forecast = Forecast(Plan({}))
        self._name = ""
        self._due = 0.0  # when a line is due
        self._has_warned = False

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(plain(text))

    def begin(self, plan: Plan) -> None:
        """Open the bar of all, if there are several stages."""
        self._forecast = Forecast(plan)
        if len(plan.seconds) > 1:
            self._all = self._bars.add_task("all", total=sum(plan.seconds.values()), left="", note="")

    def stage(self, cell: str, what: str, part: float = 1) -> None:
        """Close the stage before and open the next."""
        self._due = monotonic() + (SILENCE if self._name else FIRST)
        self._name = f"{cell}: {what}"
        self._forecast.stage(cell, what, part)
        if self._stage is not None:
            self._bars.remove_task(self._stage)
        self._stage = self._bars.add_task(self._name, total=None, left="", note="")
        left = self._show_left()
        if not self._console.is_terminal:
            self.say(f"{self._name} … {left}".rstrip())

    def step(self, done: int, total: int, note: str) -> None:
        """Move both bars, or say a line if there was none for a while."""
        self._forecast.step(done / total)
        if self._stage is not None:
            self._bars.update(self._stage, completed=done, total=total, note=note)
        left = self._show_left()
        if not self._console.is_terminal and monotonic() >= self._due:
            self._due = monotonic() + SILENCE
            self.say(", ".join(filter(None, (f"{self._name}: {done:,} of {total:,}", left, note))))
        times, seconds = self._forecast.slowness, self._forecast.seconds or 0.0
        if not self._has_warned and times >= SLOW and seconds >= LONG:
            self._has_warned = True
            machine = self._forecast.plan.machine
            self.say(f"Warning: this takes {times:,.0f} times as long as on {machine}, {left}. {reasons()}")

    def _show_left(self) -> str:
        """Move the bar of all, and show the time left beside it, or else beside the stage."""
        seconds = self._forecast.seconds
        left = "" if seconds is None else f"{about(seconds)} left"
        if self._all is not None:
            done = sum(self._forecast.plan.seconds.values()) - self._forecast.planned
            left = f"{left} in all" if left else ""
            self._bars.update(self._all, completed=done, left=left)
        elif self._stage is not None:
            self._bars.update(self._stage, left=left)
        return left


def about(seconds: float) -> str:
    """A time as people say it."""
    for unit, each in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= (2 * each if each > 60 else each):
            return f"about {seconds / each:,.{int(each == 3600 and seconds < 10 * each)}f} {unit}"
    return "less than 1 min"


def reasons() -> str:
    """How fast this machine computes without a GPU, why it may be slow as far as it tells, and what would help."""
    import torch

    if torch.cuda.is_available():
        return ""
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    found = [
        f"Without a GPU it computes {_gigaflops():,.0f} GFLOP/s in float32 with {threads} threads; two ordinary cores"
        f" compute {ORDINARY}."
    ]
    if hasattr(os, "getloadavg") and (wanted := os.getloadavg()[0]) > 1.2 * cores:
        found.append(f"{wanted:.1f} threads compete for {cores} cores: close other programs.")
    if threads < cores and "OMP_NUM_THREADS" in os.environ:
        found.append(f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} leaves {cores - threads} cores idle: unset it.")
    if (allowed := _allowed_cores()) < cores:
        found.append(f"A container, scheduler or taskset allows it {allowed:g} of {cores} cores: allow it more.")
    return " ".join(found)


def _allowed_cores() -> float:
    """Cores that this process may use, by its affinity and its control group."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("utf-8").split()
        return min(affinity, int(quota) / int(period))  # without a limit the quota is `max`
    except (OSError, ValueError):
        return affinity


def _gigaflops() -> float:
    """The rate of a matrix product in float32 on this CPU, as large as in a small model: the best in half a second."""
    import torch

    left, right, best, end = torch.ones(1024, 576), torch.ones(576, 1536), inf, perf_counter() + 0.5
    while (started := perf_counter()) < end:
        torch.mm(left, right)
        best = min(best, perf_counter() - started)
    return 2 * 1024 * 576 * 1536 / best / 1e9
