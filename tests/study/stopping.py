"""Runs `untrue …` and sends itself a signal at a step of a stage: stopping.py SIGNAL CELL STAGE STEP WORDS…"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from untrue.cli import main
from untrue.progress import TerminalWatcher

name, cell, what, at, *words = sys.argv[1:]
stage, step = TerminalWatcher.stage, TerminalWatcher.step
now: list[str] = []


def watched_stage(self: Any, *about: Any) -> None:
    now[:] = about[:2]
    stage(self, *about)


def watched_step(self: Any, done: int, *about: Any) -> None:
    step(self, done, *about)
    if now == [cell, what] and done == int(at):
        os.kill(os.getpid(), signal.Signals[name])


watcher: Any = TerminalWatcher
watcher.stage, watcher.step = watched_stage, watched_step
sys.argv = ["untrue", *words]
main()
