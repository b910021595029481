"""What TRL and transformers are told on a GPU, on several, and for a base in 4 bits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from untrue.errors import MachineError, UserError
from untrue.models import load as loading
from untrue.training import sft
from untrue.training.card import card
from untrue.training.layout import ALONE, Layout
from untrue.training.method import Job, arguments
from untrue.training.run import take_off, train


@pytest.fixture
def job(tiny_folder: Path, rows, spec, tmp_path: Path) -> Job:
    """A training on a GPU, as far as its arguments go."""
    loaded = loading.load(str(tiny_folder), dtype="float32")
    loaded = replace(loaded, about={**loaded.about, "device": "cuda"})
    return Job(loaded, rows, spec, 0, None, tmp_path, lambda *_: None)


def test_a_gpu_recomputes_activations_and_fsdp_does_so_itself(job: Job, tiny):
    def recomputes(layout: Layout) -> bool:
        return arguments(replace(job, layout=layout))["gradient_checkpointing"]

    assert [recomputes(layout) for layout in (ALONE, Layout(2))] == [True] * 2
    assert not recomputes(Layout(2, "fsdp2"))
    assert not arguments(replace(job, loaded=tiny))["gradient_checkpointing"]  # on a CPU it costs time for nothing


def test_batch_steps_and_checkpoints_are_those_of_all_processes_together(job: Job):
    alone, four = arguments(job), arguments(replace(job, layout=Layout(4)))
    assert (alone["per_device_train_batch_size"], four["per_device_train_batch_size"]) == (4, 1)
    assert {key for key in alone if alone[key] != four[key]} == {"per_device_train_batch_size"}


def test_rows_are_laid_end_to_end_where_flash_attention_keeps_them_apart(job: Job, monkeypatch):
    def batch() -> dict[str, Any]:
        made = sft.trainer(job)
        take_off(job.loaded)
        return next(iter(made.get_train_dataloader()))

    padded = batch()
    assert padded["input_ids"].shape[0] == 4
    monkeypatch.setattr(job.loaded.model.config, "_attn_implementation_internal", "flash_attention_2")
    laid = batch()
    assert "attention_mask" not in laid
    assert laid["input_ids"].shape[0] == 1
    assert (laid["position_ids"] == 0).sum() >= 4  # where a row begins, and where padding follows the last
    long = replace(job, spec=job.spec.model_copy(update={"max_length": 64}))
    cut = sft.trainer(long).train_dataset
    take_off(job.loaded)
    assert max(map(len, cut["input_ids"])) == 64


def test_a_base_in_four_bits_is_loaded_as_qlora_does(bfloat16, tiny_folder, monkeypatch):
    given: dict[str, Any] = {}
    real = AutoModelForCausalLM.from_pretrained

    def without_bitsandbytes(source: str, **options: Any) -> Any:
        given.update({key: options.pop(key) for key in ("quantization_config", "device_map")})
        return real(source, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", without_bitsandbytes)
    loaded = loading.load(str(tiny_folder), device="cpu", dtype=bfloat16, quantize="nf4")
    config = given["quantization_config"]
    assert (config.load_in_4bit, config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    assert given["device_map"] == {"": "cpu"}
    assert loaded.about["quantize"] == "nf4"


def test_a_base_is_not_trained_in_other_bits_than_it_is_loaded_in(tiny, rows, spec, tmp_path):
    with pytest.raises(UserError, match=r"^quantize: nf4 is asked for, and .* is loaded without it\."):
        train(tiny, rows, spec.model_copy(update={"quantize": "nf4"}), tmp_path / "adapter", 0)
    in_four = replace(tiny, about={**tiny.about, "quantize": "nf4"})
    with pytest.raises(UserError, match=r"^quantize: None is asked for, and .* is loaded nf4\."):
        train(in_four, rows, spec, tmp_path / "adapter", 0)


def test_the_card_names_four_bits_alone_where_they_were(trained):
    record = json.loads((trained / "train.json").read_text())
    assert "quantize" not in card(record)
    assert "| quantize | nf4 |" in card(record | {"spec": {**record["spec"], "quantize": "nf4"}})


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried to allocate 20 MiB.", "CUBLAS_STATUS_ALLOC_FAILED when"])
def test_a_lack_of_memory_is_told_as_one(tiny, rows, spec, tmp_path, words):
    def fail(*_: Any) -> None:
        raise RuntimeError(words)

    with pytest.raises(MachineError, match=r"^out of memory at batch_size 4\. Lower it and raise gradient_acc"):
        train(tiny, rows, spec, tmp_path / "adapter", 0, fail)
