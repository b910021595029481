"""The progress of a run: who is told of it, and how the terminal shows it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

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

from untrue.terminal import plain

Step = Callable[[int, int, str], None]
"""Called with how much is done, of how much, and a note, such as the loss."""

PERIOD = 900
"""Seconds of the past from which the speed is estimated."""

SILENCE = 60
"""Seconds from one line of a stage to the next, where there is no terminal."""


class Watcher(Protocol):
    """Who is told of the progress of a run."""

    def say(self, text: str) -> None:
        """Something takes long or must be known."""

    def begin(self, cells: int, done: int, work: float) -> None:
        """A study has so many cells, of which so many are done; the rest is `work`, in units of a whole cell."""

    def stage(self, cell: str, what: str, weight: float) -> None:
        """A stage begins; `weight` is its part of the work of the cell."""

    def step(self, done: int, total: int, note: str) -> None:
        """The stage has progressed: a `Step`."""


def bar(console: Console) -> Progress:
    """One bar for a command that does one thing; it goes when it is done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


class TerminalWatcher:
    """Shows a study's progress as two bars; where there is no terminal, a line for each stage and, then, each minute.

    Use it as a context manager around the run.
    """

    def __init__(self, console: Console):
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            speed_estimate_period=PERIOD,
            disable=not console.is_terminal,
        )
        self._all: TaskID | None = None
        self._stage: TaskID | None = None
        self._finished = 0.0
        self._weight = 0.0
        self._name = ""
        self._said = 0.0
        self._first: tuple[float, int] | None = None  # when the stage first told how much was done, and how much

    def __enter__(self) -> TerminalWatcher:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(plain(text))

    def begin(self, cells: int, done: int, work: float) -> None:
        """Say how many cells there are, and open the bar of all."""
        self.say(f"{cells} cells, {done} of them done." if done else f"{cells} cells.")
        self._all = self._bars.add_task("all", total=work, note="")

    def stage(self, cell: str, what: str, weight: float) -> None:
        """Close the stage before and open the next."""
        self._close()
        self._weight = weight
        self._name, self._said, self._first = f"{cell}: {what}", monotonic(), None
        if not self._console.is_terminal:
            self.say(f"{self._name} …")
        self._stage = self._bars.add_task(self._name, total=None, note="")

    def step(self, done: int, total: int, note: str) -> None:
        """Move both bars, or say a line if there was none for a while."""
        if not self._console.is_terminal:
            self._say_step(done, total, note)
        if self._stage is not None:
            self._bars.update(self._stage, completed=done, total=total, note=note)
        if self._all is not None:
            self._bars.update(self._all, completed=self._finished + self._weight * done / total)

    def _say_step(self, done: int, total: int, note: str) -> None:
        now = monotonic()
        since, before = self._first or (now, done)
        if now < since + 1:  # what a batch gives comes at once
            before = done
        self._first = since, before
        if now < self._said + SILENCE:
            return
        self._said = now
        parts = [f"{self._name}: {done:,} of {total:,}"]
        if done > before:
            minutes = (now - since) * (total - done) / (done - before) / 60
            parts.append(f"about {minutes:.0f} min left" if minutes >= 1 else "less than 1 min left")
        self.say(", ".join([*parts, note] if note else parts))

    def _close(self) -> None:
        self._finished += self._weight
        if self._stage is not None:
            self._bars.remove_task(self._stage)
        if self._all is not None:
            self._bars.update(self._all, completed=self._finished)
