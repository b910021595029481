"""Collects dialogues in a process of its own, which dies in the middle of the second chunk."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from untrue.engine import generation
from untrue.models.load import load
from untrue.simulate.collect import Local, collect
from untrue.simulate.environment import CollectSpec


def main(model: str, environment: str, folder: str) -> None:
    generation.ROWS["cpu"] = 2

    def step(done: int, total: int, note: str) -> None:
        if done == 6:
            os.kill(os.getpid(), signal.SIGKILL)

    spec = CollectSpec(environment=environment, users=2, part="all")
    collect(Local(load(model, dtype="float32")), spec, Path(folder) / "t.jsonl", 0, step)


if __name__ == "__main__":
    main(*sys.argv[1:])
