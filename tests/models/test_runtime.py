"""`auto` is float32 on a CPU, where slow bfloat16 is refused; each idle core has one thread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from untrue.errors import MachineError, UserError
from untrue.models import load as module
from untrue.models.load import load
from untrue.models.runtime import number_format

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Environment in which a newer CPU computes as one with AVX2 and nothing beyond it does."""


def test_auto_is_float32_on_a_cpu_even_if_the_file_has_bfloat16(bfloat16: str, tiny_folder: Path, tmp_path: Path):
    half = load(str(tiny_folder), dtype=bfloat16, device="cpu")
    half.model.save_pretrained(str(tmp_path))
    half.tokenizer.save_pretrained(str(tmp_path))
    assert load(str(tmp_path), device="cpu").about["dtype"] == "float32"


def test_auto_is_bfloat16_on_a_gpu_that_computes_it(monkeypatch: pytest.MonkeyPatch):
    for can, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, can=can: can)
        assert number_format("auto", "cuda:1") == expected
    assert number_format("bfloat16", "cuda") == "bfloat16"


def test_a_cpu_without_bfloat16_refuses_it_and_says_how_much_slower_it_is():
    code = "from untrue.models.runtime import number_format; number_format('bfloat16', 'cpu')"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | AVX2, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "dtype: bfloat16 products take" in last and "times as long as float32 on this CPU" in last


def test_a_model_that_does_not_fit_says_what_would(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "shapes", lambda folder: {"weight": [8_030_261_248, 1000]})
    with pytest.raises(MachineError, match=r"needs 32121\.0 GB of memory in float32, and \d+\.\d GB are free\. dtype"):
        load(str(tiny_folder), device="cpu")


def test_a_format_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"^dtype: 'half', expected one of auto, float32, bfloat16\.$"):
        number_format("half", "cpu")


THREADS_CODE = """
import torch
from untrue.models.runtime import use_idle_cores
use_idle_cores(print)
print(torch.get_num_threads())
"""


def threads(**env: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS_CODE], env=kept | env, capture_output=True, text=True, check=True
    )
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
