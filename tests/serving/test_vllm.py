"""The command that serves adapters has what vLLM needs to have each under the hash of its content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from untrue.errors import UserError
from untrue.models.adapter import adapter_hash
from untrue.serving.vllm import served_name, serving

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes what the command reads of an adapter."""

    def write(name: str, layers: tuple[str, ...] = ("self_attn.q_proj",), **config: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        about = {"peft_type": "LORA", "r": 4, "base_model_name_or_path": "org/base", "bias": "none", **config}
        (folder / "adapter_config.json").write_text(json.dumps(about), "utf-8")
        weights = {f"base_model.model.model.layers.0.{layer}.lora_A.weight": torch.zeros(1) for layer in layers}
        save_file(weights, folder / "adapter_model.safetensors")
        return folder

    return write


def after(command: list[str], flag: str) -> list[str]:
    """The values of a flag."""
    values = command[command.index(flag) + 1 :]
    return values[: next((place for place, word in enumerate(values) if word.startswith("--")), None)]


def test_each_adapter_has_the_hash_of_its_content_as_its_name(write: Write, tmp_path: Path):
    one = write("one", ("self_attn.q_proj", "mlp.up_proj"), r=4)
    two = write("two", ("mlp.down_proj",), r=9, rank_pattern={"down_proj": 40})
    model, command = serving([one, two])
    assert model == "vllm/org/base"
    assert command[:3] == ["vllm", "serve", "org/base"]
    assert after(command, "--lora-modules") == [f"{adapter_hash(one)}={one}", f"{adapter_hash(two)}={two}"]
    assert after(command, "--max-lora-rank") == ["64"]
    assert after(command, "--max-loras") == ["2"]
    layers = ["down_proj", "gate_up_proj", "q_proj", "qkv_proj", "up_proj"]
    assert after(command, "--lora-target-modules") == layers
    assert after(command, "--max-model-len") == ["8192"]
    assert after(command, "--max-logprobs") == ["20"]
    assert after(command, "--generation-config") == ["vllm"]
    assert "--revision" not in command


def test_a_server_can_be_given_its_adapters_while_it_runs(tiny_folder: Path):
    model, command = serving((), "org/base?revision=abc", rank=9, layers=["q_proj"])
    assert model == "vllm/org/base"
    assert (after(command, "--revision"), after(command, "--max-lora-rank")) == (["abc"], ["16"])
    assert after(command, "--lora-target-modules") == ["q_proj", "qkv_proj"]
    assert "--lora-modules" not in command
    assert serving((), str(tiny_folder), layers=["q_proj"]).model == served_name(str(tiny_folder)) == "vllm/tiny"
    with pytest.raises(UserError, match="org/base: has rank 513, and vLLM serves 512 at most"):
        serving((), "org/base", rank=513, layers=["q_proj"])


def test_a_revision_and_the_context_of_a_folder_are_in_it(write: Write, tiny_folder: Path):
    one = write("one", revision="abc")
    assert after(serving([one]).command, "--revision") == ["abc"]
    model, command = serving([one], str(tiny_folder))
    assert model == f"vllm/{tiny_folder.name}"
    assert after(command, "--served-model-name") == [tiny_folder.name]
    assert after(command, "--max-model-len") == ["1024"]
    assert command[2] == str(tiny_folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "LOHA"}, "is an adapter of type LOHA, and vLLM serves LoRA alone"),
        ({"use_dora": True}, "has use_dora, which vLLM cannot serve"),
        ({"modules_to_save": ["lm_head"]}, "has modules_to_save, which vLLM cannot serve"),
        ({"bias": "all"}, "has bias, which vLLM cannot serve"),
        ({"r": 513}, "has rank 513, and vLLM serves 512 at most"),
        ({"base_model_name_or_path": None}, "names no base model .* Give --base"),
    ],
)
def test_what_vllm_cannot_serve_is_refused(config: dict, said: str, write: Write):
    with pytest.raises(UserError, match=f"^[^ ]+/one: {said}") as refused:
        serving([write("one", **config)])
    assert "\n" not in str(refused.value)


def test_two_bases_are_two_servers(write: Write):
    adapters = [write("one"), write("two", base_model_name_or_path="org/other")]
    with pytest.raises(UserError, match=r"adapters of one base, found 2: .*one is of org/base; .*two is of org/other"):
        serving(adapters)
    assert serving(adapters, "org/base").model == "vllm/org/base"


def test_damaged_weights_are_one_line(write: Write):
    folder = write("one")
    (folder / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=r"one: its weights cannot be read \(.*\)\. Train or save it again\."):
        serving([folder])
