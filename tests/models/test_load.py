"""A name gives weights, tokenizer and chat format, or one line that says what to mend; no code of a model is run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.conftest import edit
from untrue.errors import MachineError, UntrueError, UserError
from untrue.models import embedded
from untrue.models.load import LoadedModel, capabilities, load
from untrue.serving.vllm import serving


def refusal(name: object, kind: type[UntrueError] = UserError) -> str:
    """The text of the error, which is of this kind, is one line and begins with the name."""
    with pytest.raises(kind) as caught:
        load(str(name), dtype="float32", device="cpu")
    text = str(caught.value)
    assert text.startswith(f"{name}: ")
    assert "\n" not in text
    return text.removeprefix(f"{name}: ")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_folder_gives_a_model_ready_to_be_asked(tiny_folder: Path, tiny: LoadedModel):
    assert (tiny.name, tiny.base_id) == (str(tiny_folder), str(tiny_folder))
    assert tiny.model.dtype == torch.float32
    assert not tiny.model.training
    assert tiny.tokenizer.pad_token_id is not None
    chat = tiny.tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert chat == "<|im_start|>user\nHi<|im_end|>\n"


def test_an_end_token_pads_where_the_tokenizer_has_no_pad_token(copy: Path):
    settings = json.loads((copy / "tokenizer_config.json").read_text("utf-8"))
    del settings["pad_token"]
    (copy / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert load(str(copy), device="cpu").tokenizer.pad_token == "<|im_end|>"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "~/model", "back\\slash"])
def test_a_folder_that_is_not_there_is_refused_without_asking_the_hub(name: str):
    assert refusal(name) == "no such model folder."


def test_a_file_is_refused(copy: Path):
    assert refusal(copy / "config.json") == "no such model folder."


def test_a_folder_without_config_is_refused(tmp_path: Path):
    assert refusal(tmp_path) == "this folder holds no model (config.json is missing)."


def test_a_folder_of_an_adapter_is_told_from_a_model(make_adapter: Callable[..., Path]):
    assert refusal(make_adapter()).endswith("It holds an adapter: give it as the adapter.")


def test_a_base_model_without_chat_template_is_refused(copy: Path):
    (copy / "chat_template.jinja").unlink()
    assert refusal(copy).startswith("its tokenizer has no chat template.")


def test_pickled_weights_are_refused(copy: Path):
    weights = torch.nn.Linear(1, 1).state_dict()
    torch.save(weights, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert refusal(copy).startswith("has no safetensors weights; pickled weights are not loaded.")


@pytest.mark.parametrize("answer", ["y\n", ""])
def test_code_in_a_model_folder_is_never_run_whatever_is_answered(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
):
    """Where nothing is said of trust, transformers asks whoever sits at the terminal."""
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    (copy / "own.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n", "utf-8")
    edit(copy / "config.json", model_type="own", auto_map={"AutoConfig": "own.A", "AutoModelForCausalLM": "own.B"})
    assert refusal(copy).startswith("needs code from its repository, which is never run here.")
    edit(copy / "config.json", model_type="llama")
    load(str(copy), device="cpu")  # transformers has this architecture, so it needs no code
    edit(copy / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.C", "own.C"]})
    with pytest.raises(UserError):
        load(str(copy), device="cpu")
    assert not (tmp_path / "was-run").exists()


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated weights": (truncated, "cannot be loaded (Error while deserializing header"),
    "weights of fewer layers": (lambda f: edit(f / "config.json", num_hidden_layers=3), "its weights lack 9 that"),
    "weights of more layers": (lambda f: edit(f / "config.json", num_hidden_layers=1), "its weights have 9 of layers"),
    "no heads that fit": (lambda f: edit(f / "config.json", num_attention_heads=3), "cannot be loaded ("),
    "empty tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot be loaded ("),
    "weights of another width": (lambda f: edit(f / "config.json", hidden_size=64), "its weights have other shapes"),
    "another architecture": (lambda f: edit(f / "config.json", model_type="bert"), "its weights lack"),
    "unknown architecture": (lambda f: edit(f / "config.json", model_type="x"), "cannot be loaded (The checkpoint"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "cannot be loaded (It looks like the config"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "cannot be loaded (Expecting property"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no safetensors weights"),
    "no tokenizer": (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "cannot be loaded (Couldn't"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_model_is_refused_and_never_filled_with_random_weights(copy: Path, name: str):
    damage, words = DAMAGES[name]
    damage(copy)
    assert refusal(copy).startswith(words)


NOWHERE = (
    "there is no such folder, and no such model in the hub's cache (the hub {}). Check the name, or download it first"
    " and give the folder. The embedded model is `smollm2-135m`."
)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["nobody/nothing", "smollm2-135"])
def test_a_name_that_is_nowhere_while_the_hub_is_switched_off_is_the_users_to_mend(name: str):
    assert refusal(name) == NOWHERE.format("is switched off by HF_HUB_OFFLINE")


def test_a_hub_id_without_a_network_is_the_machines_and_a_folders_name_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # where nothing answers
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    began = time.monotonic()
    for name in ("nobody/nothing", "smollm2-135"):
        assert refusal(name, MachineError) == NOWHERE.format("cannot be reached")
    assert refusal("mine/adapter") == NOWHERE.format("cannot be reached")
    assert time.monotonic() - began < 10  # transformers by itself waits that long for each of several files


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["two words", "trailing/"])
def test_a_name_that_no_hub_id_can_have_is_the_users_to_mend(name: str):
    assert refusal(name).startswith("no such model on the hub, nor a folder, nor the embedded `smollm2-135m`")


def test_a_name_that_means_two_models_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(copy.parent)
    copy.rename("smollm2-135m")
    assert refusal("smollm2-135m") == (
        "means the embedded model, but a model's folder here has that name. Write ./smollm2-135m for the folder, or run"
        " elsewhere for the embedded model."
    )
    with pytest.raises(UserError, match="means the embedded model, but a model's folder here"):
        serving([], "smollm2-135m", layers=["q_proj"])
    assert load("./smollm2-135m", device="cpu").base_id == "smollm2-135m"
    (copy.parent / "smollm2-135m/config.json").unlink()
    assert embedded.is_named("smollm2-135m")


def test_attention_context_and_template_are_told(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    facts = capabilities(tiny)
    assert facts["architecture"].startswith("llama, ") and facts["architecture"].endswith(" parameters")
    assert facts["attention"] == "sdpa; layers: 2 of full_attention"
    assert facts["context"] == "1,024 tokens"
    assert facts["system message"] == "has a place in the template"
    assert (facts["thinking"], facts["date"]) == ("the template has none", "the template writes none")
    assert facts["first token"] == "the reply's alone"
    monkeypatch.setattr(tiny.model.config, "layer_types", ["sliding_attention", "full_attention"], raising=False)
    monkeypatch.setattr(tiny.model.config, "sliding_window", 64, raising=False)
    assert capabilities(tiny)["attention"] == "sdpa; layers: 1 of sliding_attention, 1 of full_attention (64 tokens)"


@pytest.mark.slow
def test_the_embedded_model_talks_sense(smollm: LoadedModel):
    assert (smollm.name, smollm.base_id) == ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct")
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = smollm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert prompt.endswith("<|im_start|>assistant\n")
    ids = smollm.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    reply = smollm.model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert "Paris" in smollm.tokenizer.decode(reply)
