"""One thread for each idle core."""

import os
import subprocess
import sys

import pytest

CODE = """
import torch
from untrue.models.threads import use_idle_cores
use_idle_cores(print)
print(torch.get_num_threads())
"""


def threads(**env: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", CODE], env=kept | env, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_threads_leave_busy_cores_to_other_processes():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        said, number = threads()
        assert "cores busy, so 1 of" in said and number == "1"
        assert threads(OMP_NUM_THREADS="2") == ["2"]
    finally:
        for process in busy:
            process.kill()
