"""Whatever can change a model's figures changes its identity; what cannot does not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoTokenizer

from tests.models.conftest import edit
from untrue.models import identity
from untrue.models.adapter import adapter_hash
from untrue.models.identity import tokenisation_hash, weights_hash
from untrue.models.load import LoadedModel, load

SHARD = "model-0000{}-of-00002.safetensors"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hashes are kept by no test for another, nor among the user's."""
    path = tmp_path / "cache" / "weights.json"
    monkeypatch.setattr(identity, "_cache", lambda: path)
    return path


def nudge(folder: Path, name: str, place: int = -1) -> None:
    """Change one number of one matrix by very little."""
    tensors = load_file(folder / "model.safetensors")
    flat = tensors[name].view(-1)
    flat[place] = torch.nextafter(flat[place], torch.tensor(10.0))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def rename_token(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["e"], vocabulary["o"] = vocabulary["o"], vocabulary["e"]
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")


def generation(folder: Path) -> None:
    edit(folder / "generation_config.json", eos_token_id=[2, 5])


CHANGES: dict[str, Callable[[Path], Any]] = {
    "one number of a matrix": lambda f: nudge(f, "model.layers.1.mlp.down_proj.weight"),
    "another number": lambda f: nudge(f, "model.layers.0.self_attn.q_proj.weight", 3),
    "RoPE's theta": lambda f: edit(f / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 20000.0}),
    "the norms' epsilon": lambda f: edit(f / "config.json", rms_norm_eps=1e-5),
    "chat template": lambda f: (f / "chat_template.jinja").write_text(
        (f / "chat_template.jinja").read_text("utf-8").replace("assistant\n", "assistant: "), "utf-8"
    ),
    "tokenizer": rename_token,
    "tokens that end a turn": generation,
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_figures_changes_the_identity(tiny: LoadedModel, copy: Path, name: str):
    before = load(str(copy), dtype="float32", device="cpu")
    assert (before.weights, before.identity) == (tiny.weights, tiny.identity)
    CHANGES[name](copy)
    after = load(str(copy), dtype="float32", device="cpu")
    assert after.identity != before.identity
    differing = [key for key in before.about if before.about[key] != after.about[key]]
    assert len(differing) == 1


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        (lambda t: t.add_special_tokens({"pad_token": "<|im_end|>"}), True),
        (lambda t: t.add_special_tokens({"pad_token": "[PAD]"}), True),
        (lambda t: t.backend_tokenizer.enable_padding(), True),
        (lambda t: setattr(t, "padding_side", "left"), True),
        (lambda t: t.add_tokens(["rain"]), False),
        (lambda t: t.add_special_tokens({"pad_token": "ai"}), False),  # which texts hold
        (lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Lowercase()), False),
        (lambda t: setattr(t.backend_tokenizer, "pre_tokenizer", pre_tokenizers.Whitespace()), False),
    ],
)
def test_tokenisation_is_what_splits_a_text(tiny_folder: Path, change: Callable[[Any], object], is_same: bool):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    before, text = tokenisation_hash(tokenizer), "Is rain wet? YES"
    tokens = tokenizer.tokenize(text)
    change(tokenizer)
    assert (tokenisation_hash(tokenizer) == before) == is_same
    assert (tokenizer.tokenize(text) == tokens) == is_same


def test_the_dtype_is_in_the_identity_and_not_in_the_hash_of_the_weights(tiny: LoadedModel, copy: Path, bfloat16: str):
    half = load(str(copy), dtype=bfloat16, device="cpu")
    assert half.weights == tiny.weights
    assert half.identity != tiny.identity


def test_what_changes_no_figure_changes_nothing(tiny: LoadedModel, copy: Path):
    edit(copy / "config.json", transformers_version="1.0", architectures=["LlamaForCausalLM"], use_cache=False)
    tensors = load_file(copy / "model.safetensors")
    save_file(tensors, copy / "model.safetensors", {"format": "pt", "note": "saved again"})
    assert load(str(copy), dtype="float32", device="cpu").identity == tiny.identity


def test_weights_in_several_files_have_the_hash_of_the_same_in_one(tiny: LoadedModel, copy: Path):
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {SHARD.format(1): names[::2], SHARD.format(2): names[1::2]}
    for file, own in halves.items():
        save_file({name: tensors[name] for name in own}, copy / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, own in halves.items() for name in own}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    assert load(str(copy), dtype="float32", device="cpu").weights == tiny.weights


def test_files_are_read_once_and_again_when_they_change(copy: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    hashed = identity._tensors_hash
    monkeypatch.setattr(identity, "_tensors_hash", lambda files: read.append(1) or hashed(files))
    first = weights_hash(copy)
    assert weights_hash(copy) == first
    assert len(read) == 1
    nudge(copy, "lm_head.weight")
    assert weights_hash(copy) != first
    assert len(read) == 2
    own_cache.write_text("{broken", "utf-8")
    assert weights_hash(copy) != first
    assert len(json.loads(own_cache.read_text("utf-8"))) == 1


def test_a_file_that_is_replaced_with_its_size_and_time_kept_is_read_again(copy: Path, tmp_path: Path):
    file = copy / "model.safetensors"
    first, times = weights_hash(copy), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    nudge(copy, "lm_head.weight")
    os.utime(file, ns=times)  # as rsync and tar do
    assert weights_hash(copy) != first
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}", "utf-8")
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(b"old")
    before, times = adapter_hash(adapter), (weights.stat().st_atime_ns, weights.stat().st_mtime_ns)
    weights.write_bytes(b"new")
    os.utime(weights, ns=times)
    assert adapter_hash(adapter) != before


def test_a_file_that_is_cut_off_has_no_hash(copy: Path):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is cut off"):
        weights_hash(copy)
