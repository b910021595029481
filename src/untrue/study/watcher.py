"""What a run tells of its progress, and to whom."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Who wants to know how far a study is."""

    def say(self, text: str) -> None:
        """Something happened that takes long or must be known."""

    def begin(self, cells: int, done: int, work: float) -> None:
        """Of so many cells so many are done; the others are so much work, in units of a whole cell."""

    def stage(self, cell: str, what: str, weight: float) -> None:
        """A cell begins a stage that is this part of its work."""

    def step(self, done: int, total: int, note: str) -> None:
        """The stage is so far."""
