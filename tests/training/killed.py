"""Trains as its arguments say and kills itself at a step: killed.py MODEL OUT STEP ROWS_JSON SPEC_JSON [PROCESSES].

With a number of processes it has these train, and says first which they are.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import psutil

from untrue.data.rows import Row
from untrue.models.load import load
from untrue.training import launch
from untrue.training.layout import Layout
from untrue.training.run import train
from untrue.training.spec import TrainSpec


def kill(step: int, steps: int, note: str) -> None:
    if step == int(sys.argv[3]):
        print(json.dumps([process.pid for process in psutil.Process().children(recursive=True)]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


model, out = sys.argv[1], Path(sys.argv[2])
rows = [Row(**fields) for fields in json.loads(sys.argv[4])]
spec = TrainSpec.model_validate_json(sys.argv[5])
if sys.argv[6:]:
    tempfile.tempdir = str(out.with_name("owner"))
    layout = Layout(int(sys.argv[6]), on_cpu=True)
    launch.train(model, rows, spec, out, 0, kill, layout=layout, dtype="float32")
else:
    train(load(model, dtype="float32"), rows, spec, out, 0, kill)
