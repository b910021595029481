"""An adapter goes on a base and comes off without a trace, and one that does not fit is refused, never half put on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from untrue.errors import UserError
from untrue.models.adapter import check_adapter, with_adapter
from untrue.models.load import LoadedModel

Make = Callable[..., Path]
TOKENS = torch.arange(24)[None]
WEIGHTS = "adapter_model.safetensors"


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


@pytest.fixture(autouse=True)
def base_is_untouched(tiny: LoadedModel) -> Iterator[None]:
    """Whatever a test does with adapters, the base has the same modules, weights and logits afterwards."""

    def state() -> tuple[Any, ...]:
        own = [name for name in tiny.model.__dict__ if "peft" in name or name == "forward"]
        return own, [(name, type(module)) for name, module in tiny.model.named_modules()], tiny.model.training

    before, weights, said = state(), {k: v.clone() for k, v in tiny.model.state_dict().items()}, logits(tiny.model)
    yield
    assert state() == before
    assert torch.equal(logits(tiny.model), said)
    assert all(torch.equal(value, weights[name]) for name, value in tiny.model.state_dict().items())


def refusal(tiny: LoadedModel, adapter: Path) -> str:
    """The text of the error, which is one line and begins with the folder."""
    with pytest.raises(UserError) as caught, with_adapter(tiny, adapter):
        pass
    text = str(caught.value)
    assert text.startswith(f"{adapter}: ")
    assert "\n" not in text
    return text.removeprefix(f"{adapter}: ")


def test_none_leaves_the_base(tiny: LoadedModel):
    with with_adapter(tiny, None) as model:
        assert model is tiny.model


def test_adapters_go_on_and_off_one_after_another(tiny: LoadedModel, make_adapter: Make):
    base = logits(tiny.model)
    first, second = make_adapter("first", seed=1), make_adapter("second", seed=2)
    said = []
    for adapter in (first, second, first):
        with with_adapter(tiny, adapter) as model:
            assert not model.training
            assert not any(parameter.requires_grad for name, parameter in model.named_parameters() if "lora" in name)
            said.append(logits(model))
        assert torch.equal(logits(tiny.model), base)
    assert (said[0] - base).abs().max() > 0.1
    assert (said[1] - said[0]).abs().max() > 0.1
    assert torch.equal(said[2], said[0])


def test_an_adapter_does_what_peft_makes_of_it(tiny: LoadedModel, make_adapter: Make):
    """By hand: q_proj and down_proj plus B A alpha / r."""
    adapter = make_adapter()
    lora, scale = load_file(adapter / WEIGHTS), 8 / 4
    merged = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    for name, a in lora.items():
        if "lora_A" in name:
            layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            merged[f"{layer}.weight"] += scale * lora[name.replace("lora_A", "lora_B")] @ a
    expected = torch.func.functional_call(tiny.model, merged, (TOKENS,)).logits
    with with_adapter(tiny, adapter) as model:
        assert torch.allclose(logits(model), expected, atol=1e-4)


def test_an_error_inside_takes_the_adapter_off_too(tiny: LoadedModel, make_adapter: Make):
    with pytest.raises(ZeroDivisionError), with_adapter(tiny, make_adapter()):
        raise ZeroDivisionError


def kinds() -> dict[str, Any]:
    import peft

    where: Any = {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    return {
        "rslora": peft.LoraConfig(r=4, use_rslora=True, **where),
        "dora": peft.LoraConfig(r=4, use_dora=True, **where),
        "a layer held whole": peft.LoraConfig(r=4, modules_to_save=["lm_head"], **where),
        "tokens": peft.LoraConfig(r=4, trainable_token_indices=[3, 4], **where),
        "loha": peft.LoHaConfig(r=4, **where),
        "lokr": peft.LoKrConfig(r=4, **where),
        "ia3": peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM"),
    }


@pytest.mark.parametrize("kind", ["rslora", "dora", "a layer held whole", "tokens", "loha", "lokr", "ia3"])
def test_other_kinds_of_adapter_come_off_as_well(tiny: LoadedModel, make_adapter: Make, kind: str):
    with with_adapter(tiny, make_adapter(config=kinds()[kind])) as model:
        assert (logits(model) - logits(tiny_copy(tiny))).abs().max() > 1e-3


def tiny_copy(tiny: LoadedModel) -> Any:
    """The base again, read from its folder."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny.name, dtype=torch.float32).eval()


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_an_adapter_that_adds_tokens_is_refused(tiny: LoadedModel, make_adapter: Make, kind: str):
    import peft

    config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=2)
    assert "expected one of LORA" in refusal(tiny, make_adapter(config=config))


def test_an_adapter_of_another_shape_is_refused(tiny: LoadedModel, make_adapter: Make):
    assert "size mismatch" in refusal(tiny, make_adapter(hidden_size=64))


def test_an_adapter_for_modules_that_the_base_lacks_is_refused(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter()
    edit(adapter / "adapter_config.json", target_modules=["c_attn"])
    assert "Target modules {'c_attn'} not found" in refusal(tiny, adapter)


def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("layers", "blocks"): value for name, value in weights.items()}


def halved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(sorted(weights.items())[: len(weights) // 2])


def deeper(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {name.replace("layers.1", "layers.2"): value.clone() for name, value in weights.items()}


def with_a_weight_of_the_base(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**weights, "base_model.model.model.norm.weight": torch.full((32,), 9.0)}


@pytest.mark.parametrize("change", [renamed, halved, deeper, with_a_weight_of_the_base])
def test_weights_that_have_no_place_or_are_missing_are_refused(tiny: LoadedModel, make_adapter: Make, change: Any):
    """PEFT alone would leave an adapter that does nothing, or write over the base."""
    adapter = make_adapter()
    save_file(change(load_file(adapter / WEIGHTS)), adapter / WEIGHTS)
    assert "weights are missing or have no place" in refusal(tiny, adapter)


def test_a_truncated_adapter_is_refused(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter()
    (adapter / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[:300])
    assert "is damaged or was made for another base" in refusal(tiny, adapter)


def test_a_pickled_adapter_is_refused(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter()
    torch.save(load_file(adapter / WEIGHTS), adapter / "adapter_model.bin")
    (adapter / WEIGHTS).unlink()
    assert refusal(tiny, adapter).startswith("has no adapter_model.safetensors; adapters as pickles are not loaded")


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_an_adapter_is_refused(tiny: LoadedModel, tmp_path: Path, name: str):
    assert refusal(tiny, tmp_path / name).startswith("holds no PEFT adapter (adapter_config.json is missing)")


@pytest.mark.parametrize("file", ["adapter_config.json", "untrue.json"])
@pytest.mark.parametrize("content", ["{", "[1]", b"\xff"])
def test_damaged_json_is_refused(tiny: LoadedModel, make_adapter: Make, file: str, content: str | bytes):
    adapter = make_adapter()
    (adapter / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refusal(tiny, adapter).startswith("its JSON files are damaged")


def test_an_adapter_that_this_project_made_for_another_base_is_refused(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter()
    (adapter / "untrue.json").write_text(json.dumps({"base_weights": "0" * 16}), "utf-8")
    assert refusal(tiny, adapter) == (
        f"was trained on other weights of {tiny.name} (hash {'0' * 16}, here {tiny.weights}). Use those."
    )
    (adapter / "untrue.json").write_text(json.dumps({"base_weights": tiny.weights}), "utf-8")
    check_adapter(tiny, adapter)


def test_an_adapter_for_another_hub_id_is_refused(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter()
    edit(adapter / "adapter_config.json", base_model_name_or_path="meta-llama/Llama-3.1-8B-Instruct")
    hub = replace(tiny, base_id="Qwen/Qwen2.5-7B-Instruct")
    with pytest.raises(UserError, match=r"was made for meta-llama/Llama-3\.1-8B-Instruct, not for"):
        check_adapter(hub, adapter)
    check_adapter(replace(hub, base_id="meta-llama/llama-3.1-8b-instruct"), adapter)
    check_adapter(tiny, adapter)  # a folder may hold that model
