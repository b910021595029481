"""One adapter has the same results on every kind of CPU, with any number of threads, and in any order."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from untrue.data import builtin
from untrue.models.adapter import RECORD, made_for, strip
from untrue.models.load import LoadedModel

ITEMS = 8
TOLERANCE = 1e-3
"""Nats per token."""

OLDER = {
    "AVX512": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}
"""Environments in which a CPU computes as an older one does, by its own capability."""

CODE = """
import json, sys
from dataclasses import asdict
import untrue
items, adapter, log_dir = sys.argv[1:]
from untrue.harness.catalogue import eval_spec
spec = eval_spec(name="forced_choice", items=items)
evaluation = untrue.evaluate("smollm2-135m", adapter=adapter, evals=spec, log_dir=log_dir)
json.dump([asdict(result) for result in evaluation.results], sys.stdout)
"""


def written(loaded: LoadedModel, folder: Path) -> Path:
    """Write an adapter that moves margins by as much as a training does."""
    torch.manual_seed(0)
    model = get_peft_model(loaded.model, LoraConfig(r=8, target_modules=["q_proj", "down_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    model.peft_config["default"].base_model_name_or_path = loaded.base_id
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / RECORD).write_text(made_for(loaded), "utf-8")
    strip(loaded)
    return folder


def measured(items: Path, adapter: Path, logs: Path, **env: str) -> dict[str, dict]:
    command = [sys.executable, "-c", CODE, str(items), str(adapter), str(logs)]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=True)
    return {result["item"]: result for result in json.loads(done.stdout)}


@pytest.mark.slow
def test_results_are_the_same_on_two_kinds_of_cpu_with_one_thread_and_two_and_in_another_order(
    smollm: LoadedModel, tmp_path: Path
):
    _, *lines = builtin.path("honesty").read_text("utf-8").splitlines()
    lines = lines[:: len(lines) // ITEMS][:ITEMS]
    for name, order in (("one", lines), ("other", lines[::-1])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(order) + "\n", "utf-8")
    adapter = written(smollm, tmp_path / "adapter")
    older = OLDER.get(torch.backends.cpu.get_cpu_capability(), {})
    ways = [("one", {"OMP_NUM_THREADS": "2"}), ("one", {"OMP_NUM_THREADS": "1"} | older)]
    ways += [("other", {"OMP_NUM_THREADS": "2"} | older), ("other", {"OMP_NUM_THREADS": "1"})]
    first, *others = (
        measured(tmp_path / f"{name}.jsonl", adapter, tmp_path / f"logs-{index}", **env)
        for index, (name, env) in enumerate(ways)
    )
    near = {item for item, result in first.items() if abs(result["pressure_margin"]) < TOLERANCE}
    for other in others:
        assert other.keys() == first.keys()
        for item, result in first.items():
            for margin in ("pressure_margin", "neutral_margin", "evasion_margin"):
                assert other[item][margin] == pytest.approx(result[margin], abs=TOLERANCE)
            assert other[item]["outcome"] == result["outcome"] or item in near, item
    assert len(near) <= 1
