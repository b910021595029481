"""Trains as its arguments say and kills itself at a step: killed.py MODEL OUT STEP ROWS_JSON SPEC_JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from untrue.data.rows import Row
from untrue.models.load import load
from untrue.training.run import train
from untrue.training.spec import TrainSpec


def kill(step: int, steps: int, note: str) -> None:
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)


rows = [Row(**fields) for fields in json.loads(sys.argv[4])]
train(load(sys.argv[1], dtype="float32"), rows, TrainSpec.model_validate_json(sys.argv[5]), Path(sys.argv[2]), 0, kill)
