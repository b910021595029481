"""An adapter goes on a base and comes off without a trace, and one that does not fit is refused, never half put on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.families.build import build
from tests.models.conftest import OWN_TEMPLATE, bring_tokenizer, edit
from untrue.errors import UserError
from untrue.models import embedded
from untrue.models.adapter import base_of, check_adapter, in_format_of, with_adapter
from untrue.models.load import LoadedModel, load

Make = Callable[..., Path]
TOKENS = torch.arange(24)[None]
WEIGHTS = "adapter_model.safetensors"


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


@pytest.fixture(autouse=True)
def base_is_base(tiny: LoadedModel) -> Iterator[None]:
    """Whatever a test does with adapters, the base has the same modules, weights and logits afterwards."""

    def state() -> tuple[Any, ...]:
        own = [name for name in tiny.model.__dict__ if "peft" in name or name == "forward"]
        return own, [(name, type(module)) for name, module in tiny.model.named_modules()], tiny.model.training

    def tensors() -> dict[str, torch.Tensor]:
        """All parameters and buffers, those among them that are not saved."""
        return dict([*tiny.model.named_parameters(), *tiny.model.named_buffers()])

    before, said = state(), logits(tiny.model)
    copies = {name: tensor.detach().clone() for name, tensor in tensors().items()}
    yield
    assert state() == before
    assert torch.equal(logits(tiny.model), said)
    assert tensors().keys() == copies.keys()
    for name, tensor in tensors().items():
        assert tensor.dtype == copies[name].dtype
        assert torch.equal(tensor, copies[name]), name


def refusal(tiny: LoadedModel, adapter: Path) -> str:
    """The text of the error, which is one line and begins with the folder."""
    with pytest.raises(UserError) as caught, with_adapter(tiny, adapter):
        pass
    text = str(caught.value)
    assert text.startswith(f"{adapter}: ")
    assert "\n" not in text
    return text.removeprefix(f"{adapter}: ")


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
        "the head": peft.LoraConfig(r=4, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM"),
        "embeddings": peft.LoraConfig(r=4, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM"),
        "a layer held whole": peft.LoraConfig(r=4, modules_to_save=["lm_head"], **where),
        "tokens": peft.LoraConfig(r=4, trainable_token_indices=[3, 4], **where),
        "loha": peft.LoHaConfig(r=4, **where),
        "lokr": peft.LoKrConfig(r=4, **where),
        "ia3": peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM"),
    }


@pytest.mark.parametrize(
    "kind", ["rslora", "dora", "the head", "embeddings", "a layer held whole", "tokens", "loha", "lokr", "ia3"]
)
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target_modules": ["c_attn"]}, "Target modules {'c_attn'} not found"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "repeats layers of its base (layer_replication)"),
        ({"alora_invocation_tokens": [5, 6]}, "is an activated LoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, "was begun by pissa_niter_4, which changes the base"),
        ({"init_lora_weights": "lora_ga"}, "was begun by lora_ga, which changes the base"),
        ({"kasa_config": {"beta": 1e-4}}, "is a KaSA adapter (kasa_config)"),
    ],
)
def test_a_configuration_that_cannot_go_on_and_off_is_refused(tiny: LoadedModel, make_adapter: Make, changes, words):
    adapter = make_adapter()
    edit(adapter / "adapter_config.json", **changes)
    assert words in refusal(tiny, adapter)


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
        f"was trained on other weights of {tiny.name} (hash {'0' * 16}; here {tiny.weights}). Use those."
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


def test_an_adapter_that_does_nothing_changes_nothing(tiny_folder: Path, bfloat16: str, make_adapter: Make):
    """In bfloat16 too: RoPE's frequencies, which are buffers in float32, keep their precision."""
    adapter = make_adapter()
    weights = load_file(adapter / WEIGHTS)
    save_file({name: value * 0 if "lora_B" in name else value for name, value in weights.items()}, adapter / WEIGHTS)
    half = load(str(tiny_folder), dtype=bfloat16, device="cpu")
    buffers = {name: buffer.clone() for name, buffer in half.model.named_buffers()}
    assert any(buffer.dtype == torch.float32 for buffer in buffers.values())
    said = logits(half.model)
    with with_adapter(half, adapter) as model:
        assert torch.equal(logits(model), said)
        adapted = [parameter for name, parameter in model.named_parameters() if "lora" in name]
        assert {parameter.dtype for parameter in adapted} == {torch.bfloat16}
    assert torch.equal(logits(half.model), said)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in half.model.named_buffers())


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_of_an_adapter_come_off_again(tiny_folder: Path, tmp_path: Path, bias: Any):
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from untrue.engine.likelihoods import LikelihoodEngine

    config = LlamaConfig.from_pretrained(tiny_folder, attention_bias=True, mlp_bias=True)
    folder = shutil.copytree(tiny_folder, tmp_path / "biased")
    LlamaForCausalLM(config).save_pretrained(folder)
    made: Any = get_peft_model(
        LlamaForCausalLM.from_pretrained(folder),
        LoraConfig(r=4, target_modules=["q_proj"], bias=bias, task_type="CAUSAL_LM"),
    )
    for parameter in made.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    made.save_pretrained(str(tmp_path / "adapter"))
    expected = logits(made)
    loaded = load(str(folder), dtype="float32", device="cpu")
    said, before = logits(loaded.model), {name: value.clone() for name, value in loaded.model.state_dict().items()}
    with with_adapter(loaded, tmp_path / "adapter") as model:
        assert torch.allclose(logits(model), expected, atol=1e-4)
        engine = LikelihoodEngine(loaded, model, base=True)
        query = engine.query([{"role": "user", "content": "Hello"}], ["Yes."])
        with pytest.raises(UserError, match="has biases of its own, which cannot be switched off"):
            engine.score([query])
    assert torch.equal(logits(loaded.model), said)
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())


def test_an_adapter_with_other_embeddings_is_refused(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter(config=kinds()["the head"])
    weights = load_file(adapter / WEIGHTS)
    name = next(name for name in weights if name.endswith("base_layer.weight"))
    save_file({**weights, name: weights[name] + 1}, adapter / WEIGHTS)
    assert "it changes lm_head.weight as a whole, of the base or for new tokens" in refusal(tiny, adapter)
    save_file({**weights, name: weights[name][:-1].clone()}, adapter / WEIGHTS)
    assert "it changes lm_head.weight as a whole, of the base or for new tokens" in refusal(tiny, adapter)


def test_a_second_adapter_on_a_base_is_refused_and_does_not_take_the_place_of_the_first(
    tiny: LoadedModel, make_adapter: Make
):
    first, second = make_adapter("first", seed=1), make_adapter("second", seed=2)
    with with_adapter(tiny, first) as model:
        said = logits(model)
        with pytest.raises(UserError, match="has an adapter on it already"), with_adapter(tiny, second):
            pass
        assert torch.equal(logits(model), said)


def test_an_adapter_is_measured_in_the_chat_template_that_its_folder_brings(tiny: LoadedModel, make_adapter: Make):
    adapter, told = bring_tokenizer(make_adapter(), tiny.name, chat_template=OWN_TEMPLATE), []
    own = in_format_of(tiny, adapter, told.append)
    question = [{"role": "user", "content": "Hello"}]
    said = own.tokenizer.decode(own.chat.prompt(question))
    assert said == "<|im_start|>USER\nHello<|im_end|>\n<|im_start|>ASSISTANT\n"
    assert told == [
        f"{adapter}: is measured in the chat format that its folder brings, which is not that of {tiny.name}."
    ]
    assert {name for name in tiny.about if tiny.about[name] != own.about[name]} == {"chat"}
    assert (own.model, own.weights, own.tokenisation) == (tiny.model, tiny.weights, tiny.tokenisation)
    assert in_format_of(own, adapter, told.append) == in_format_of(tiny, adapter, told.append) == own
    assert len(told) == 1
    assert in_format_of(tiny, None) is tiny
    with with_adapter(own, adapter) as model:
        assert (logits(model) - logits(tiny_copy(tiny))).abs().max() > 1e-3


def test_what_a_turn_ends_with_is_part_of_the_chat_format(tiny: LoadedModel, make_adapter: Make):
    own = in_format_of(tiny, bring_tokenizer(make_adapter(), tiny.name, eos_token="<|endoftext|>"))
    assert own.tokenizer.eos_token == "<|endoftext|>"
    assert own.about["tokenizer"] != tiny.about["tokenizer"]
    assert own.tokenizer.pad_token == tiny.tokenizer.pad_token


@pytest.mark.parametrize("changes", [{}, {"added": {"pad_token": "[PAD]"}}, {"chat_template": None}])
def test_a_format_that_is_the_bases_changes_nothing(tiny: LoadedModel, make_adapter: Make, changes: dict[str, Any]):
    told: list[str] = []
    assert in_format_of(tiny, make_adapter("plain"), told.append) is tiny
    assert in_format_of(tiny, bring_tokenizer(make_adapter(), tiny.name, **changes), told.append) is tiny
    assert told == []


@pytest.mark.parametrize("family", ["qwen-2", "deepseek-r1-qwen", "llama-2", "gemma-1"])
def test_the_tokenizer_of_a_family_that_is_saved_with_an_adapter_is_the_bases(
    family: str, make_adapter: Make, tmp_path: Path
):
    loaded = load(str(build(family, tmp_path / family)), dtype="float32", device="cpu")
    assert in_format_of(loaded, bring_tokenizer(make_adapter(), loaded.name)) is loaded


@pytest.mark.parametrize("added", [{"additional_special_tokens": ["<|tool|>"]}, {"eos_token": "<|end|>"}])
def test_a_tokenizer_of_another_vocabulary_is_refused(tiny: LoadedModel, make_adapter: Make, added: dict[str, Any]):
    adapter = bring_tokenizer(make_adapter(), tiny.name, added=added)
    with pytest.raises(UserError, match=r"its tokenizer\.json splits texts into other tokens than"):
        in_format_of(tiny, adapter)


def test_a_tokenizer_that_cannot_be_read_and_a_base_that_is_another_are_refused(tiny: LoadedModel, make_adapter: Make):
    adapter = bring_tokenizer(make_adapter(), tiny.name)
    (adapter / "tokenizer.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match="its tokenizer cannot be read") as caught:
        in_format_of(tiny, adapter)
    assert "\n" not in str(caught.value)
    (adapter / "untrue.json").write_text(json.dumps({"base_weights": "0" * 16}), "utf-8")
    with pytest.raises(UserError, match="was trained on other weights"):
        in_format_of(tiny, adapter)


def named(make_adapter: Make, base: str | None, **changes: Any) -> Path:
    """An adapter whose configuration names this base."""
    adapter = make_adapter()
    edit(adapter / "adapter_config.json", base_model_name_or_path=base, **changes)
    return adapter


def test_its_base_is_the_folder_or_the_hub_id_that_it_names(make_adapter: Make, tiny_folder: Path):
    assert base_of(make_adapter()) == str(tiny_folder)
    assert base_of(named(make_adapter, "meta-llama/Llama-3.1-8B-Instruct")) == "meta-llama/Llama-3.1-8B-Instruct"
    assert base_of(named(make_adapter, "gpt2")) == "gpt2"
    assert base_of(named(make_adapter, "owner/name", revision="v2")) == "owner/name?revision=v2"


def test_a_folder_of_the_embedded_model_in_another_cache_is_the_embedded_model_here(make_adapter: Make):
    here = embedded.folder().name
    assert base_of(named(make_adapter, f"/home/other/.cache/untrue/models/{here}")) == "smollm2-135m"
    with pytest.raises(UserError, match="is not there"):
        base_of(named(make_adapter, f"/home/other/.cache/untrue/models/{here}0"))


def test_a_relative_folder_is_one_of_the_working_folder_as_in_peft(
    make_adapter: Make, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """PEFT's own loader is asked: it takes what lies there from the place that it is run in, and nothing else."""
    from peft import AutoPeftModelForCausalLM

    adapter = named(make_adapter, "./base")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shutil.copytree(tiny_folder, adapter / "base")
    with pytest.raises(Exception, match="base"):
        AutoPeftModelForCausalLM.from_pretrained(str(adapter))
    with pytest.raises(UserError, match=r"its base \./base is not there"):
        base_of(adapter)
    shutil.move(adapter / "base", "base")
    AutoPeftModelForCausalLM.from_pretrained(str(adapter))
    assert base_of(adapter) == "./base"


def test_a_folder_with_the_name_of_the_embedded_model_is_not_that_model(
    make_adapter: Make, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    adapter = named(make_adapter, "smollm2-135m")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="its base smollm2-135m is not there"):
        base_of(adapter)
    shutil.copytree(tiny_folder, "smollm2-135m")
    assert base_of(adapter) == "./smollm2-135m"
    assert load(base_of(adapter), device="cpu").base_id == "smollm2-135m"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (None, "names no base model (base_model_name_or_path). Give --model."),
        ("", "names no base model (base_model_name_or_path). Give --model."),
        (7, "names no base model (base_model_name_or_path). Give --model."),
        ("/nowhere/at/all", "its base /nowhere/at/all is not there. Give --model."),
        ("../gone", "its base ../gone is not there. Give --model."),
        ("a/b/c", "its base a/b/c is not there. Give --model."),
    ],
)
def test_a_base_that_is_not_named_or_gone_is_one_line(make_adapter: Make, base: Any, message: str):
    adapter = named(make_adapter, base)
    with pytest.raises(UserError) as caught:
        base_of(adapter)
    assert str(caught.value) == f"{adapter}: {message}"


def test_the_base_of_no_adapter_or_of_a_damaged_one_is_one_line(make_adapter: Make, tmp_path: Path):
    with pytest.raises(UserError, match="holds no PEFT adapter"):
        base_of(tmp_path / "nothing")
    adapter = make_adapter()
    for text in ("[]", "{", ""):
        (adapter / "adapter_config.json").write_text(text, "utf-8")
        with pytest.raises(UserError, match="its JSON files are damaged"):
            base_of(adapter)
