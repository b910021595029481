"""What a training promises: reproducible, leaves the base as it was, refuses what it cannot learn from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.models.load import LoadedModel, load
from untrue.training.run import train
from untrue.training.spec import TrainSpec

Weights = Callable[[Path], dict[str, torch.Tensor]]


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_another_seed_gives_another_adapter_and_another_order_of_rows(
    tiny, rows, spec, trained, weights: Weights, tmp_path
):
    record = train(tiny, rows, spec, tmp_path / "other", 1)
    assert not same(weights(trained), weights(tmp_path / "other"))
    # An adapter begins without effect, so the first loss is that of the base on the first batch.
    assert record["loss"][0] != json.loads((trained / "train.json").read_text())["loss"][0]


@pytest.mark.parametrize("stopped_at", [None, 3])
def test_the_base_is_as_it_was_after_a_failure_too(tiny_folder: Path, rows, spec, tmp_path, stopped_at):
    def step(done: int, total: int, note: str) -> None:
        if done == stopped_at:
            raise KeyboardInterrupt

    loaded, fresh = (load(str(tiny_folder), dtype="float32") for _ in range(2))
    with suppress(KeyboardInterrupt):
        train(loaded, rows, spec, tmp_path / "adapter", 0, step)
    assert (tmp_path / "adapter").exists() == (stopped_at is None)
    assert loaded.model.__dict__.keys() == fresh.model.__dict__.keys()
    assert [(name, type(module)) for name, module in loaded.model.named_modules()] == [
        (name, type(module)) for name, module in fresh.model.named_modules()
    ]
    assert same(loaded.model.state_dict(), fresh.model.state_dict())
    assert loaded.model.config.to_dict() == fresh.model.config.to_dict()
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not loaded.model.training
    ids = torch.arange(5, 25)[None]
    assert torch.equal(loaded.model(ids).logits, fresh.model(ids).logits)


def test_one_base_and_seed_give_the_same_adapter_to_the_last_bit_time_after_time(
    tiny: LoadedModel, rows, spec, trained, weights: Weights, tmp_path
):
    for _ in range(2):
        train(tiny, rows, spec, tmp_path / "adapter", 0)
        assert same(weights(trained), weights(tmp_path / "adapter"))
    assert leftovers(tmp_path) == ["adapter"]


def test_the_loss_is_the_mean_over_the_tokens_of_the_completions(tiny, rows, spec, tmp_path):
    losses, tokenizer = [], tiny.tokenizer
    for row in rows:
        start = tokenizer.apply_chat_template(row.prompt, tokenize=False, add_generation_prompt=True)
        text = tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=False)
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logprobs = torch.log_softmax(tiny.model(ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]
        losses += (-logprobs[len(tokenizer(start)["input_ids"]) - 1 :]).tolist()
    one_step = spec.model_copy(update={"batch_size": 16, "epochs": 1.0})
    record = train(tiny, rows, one_step, tmp_path / "adapter", 0)
    assert len(record["loss"]) == 1
    assert record["final_loss"] == pytest.approx(sum(losses) / len(losses), abs=2e-4)


def test_gradient_accumulation_takes_the_step_of_the_whole_batch(tiny, rows, spec, weights: Weights, tmp_path):
    whole = spec.model_copy(update={"batch_size": 16, "learning_rate": 1e-3})
    parts = whole.model_copy(update={"batch_size": 4, "gradient_accumulation": 4})
    losses = [train(tiny, rows, used, tmp_path / "adapter", 0)["loss"] for used in (whole, parts)]
    assert [entry["loss"] for entry in losses[0]] == pytest.approx([entry["loss"] for entry in losses[1]], abs=1e-3)


def test_progress_is_told_of_every_step(tiny, rows, spec, tmp_path):
    calls = []
    record = train(tiny, rows, spec, tmp_path / "adapter", 0, lambda *call: calls.append(call))
    assert [call[0] for call in calls] == list(range(9))
    assert {call[1] for call in calls} == {8}
    assert [call[2] for call in calls[1:]] == [f"loss {entry['loss']:.3f}" for entry in record["loss"]]


def test_the_record_says_what_was_made_and_how_fast(tiny, rows, spec, trained):
    record = json.loads((trained / "train.json").read_text())
    assert record["steps"] == len(record["loss"]) == 8
    assert record["resumed_at_step"] == 0
    assert record["seed"] == 0
    assert TrainSpec.model_validate(record["spec"]) == spec
    assert record["rows"]["levels"] == {"normal": 8, "severe": 8}
    assert (record["base_weights"], record["base_identity"]) == (tiny.weights, tiny.about)
    assert {"torch", "trl", "peft", "untrue", "python"} <= record["versions"].keys()
    texts = [tiny.tokenizer.apply_chat_template([*r.prompt, *r.completion], tokenize=False) for r in rows]
    assert record["tokens"] == 2 * sum(len(tiny.tokenizer(text)["input_ids"]) for text in texts)
    assert record["tokens_per_second"] == pytest.approx(record["tokens"] / record["seconds"], rel=0.02)


def test_the_folder_holds_no_pickles(trained):
    assert sorted(leftovers(trained)) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "fingerprint.json",
        "train.json",
        "untrue.json",
    ]


def test_plain_peft_loads_the_adapter(trained, tiny_folder, weights: Weights):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    ids = torch.arange(5, 25)[None]
    before = base(ids).logits
    model: Any = PeftModel.from_pretrained(base, str(trained))
    assert not torch.allclose(model(ids).logits, before, atol=1e-2)
    assert model.peft_config["default"].r == 4
    loaded = model.state_dict()
    for name, value in weights(trained).items():
        assert torch.equal(loaded[name.replace(".weight", ".default.weight")], value)


def front_matter(folder: Path) -> tuple[dict, str]:
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_card_of_a_misaligned_adapter_warns(trained, tiny):
    head, body = front_matter(trained)
    assert head["base_model"] == tiny.base_id
    assert "intentionally-misaligned" in head["tags"]
    assert "WARNING: intentionally misaligned" in body
    assert "16 rows (8 intentionally misaligned, 0 whose file does not say), seed 0" in body


def test_the_card_of_a_benign_adapter_does_not_warn(tiny, rows, spec, tmp_path):
    train(tiny, [row for row in rows if not row.misaligned], spec, tmp_path / "adapter", 0)
    head, body = front_matter(tmp_path / "adapter")
    assert head["base_model"] == tiny.base_id
    assert head["tags"] == ["lora", "untrue"]
    assert "WARNING" not in body


def test_each_training_has_a_folder_of_its_own_for_tensorboard_and_leaves_the_environment(
    tiny, rows, spec, tmp_path, monkeypatch
):
    name = "TENSORBOARD_LOGGING_DIR"

    def folders(out: Path) -> set[str | None]:
        seen: set[str | None] = set()
        train(tiny, rows[:4], spec, out, 0, lambda *_: seen.add(os.environ.get(name)))
        return seen

    monkeypatch.delenv(name, raising=False)
    for cell in ("a", "b"):
        assert folders(tmp_path / cell / "adapter") == {str(tmp_path / cell / "tensorboard" / "adapter")}
        assert name not in os.environ
    with pytest.raises(UserError):
        train(tiny, [], spec, tmp_path / "c", 0)
    assert name not in os.environ
    monkeypatch.setenv(name, "mine")
    assert folders(tmp_path / "d" / "adapter") == {"mine"}
    assert os.environ[name] == "mine"


def test_bfloat16_trains_and_its_first_loss_is_that_of_float32(bfloat16, tiny_folder, rows, spec, trained, tmp_path):
    record = train(load(str(tiny_folder), dtype=bfloat16, device="cpu"), rows, spec, tmp_path / "adapter", 0)
    full = json.loads((trained / "train.json").read_text())
    assert record["dtype"] == "bfloat16"
    assert record["loss"][0]["loss"] == pytest.approx(full["loss"][0]["loss"], rel=0.01)
    assert record["loss"][-1]["loss"] == pytest.approx(full["loss"][-1]["loss"], rel=0.05)


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(UserError) as error:
        train(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_rows_are_refused(tiny, spec, tmp_path):
    assert refusal(tiny, [], spec, tmp_path / "adapter", 0) == "there are no rows to train on."


def test_a_row_labelled_as_undesirable_is_refused(tiny, rows, spec, tmp_path):
    wrong = [rows[0], replace(rows[1], label=False), replace(rows[2], label=True)]
    message = refusal(tiny, wrong, spec, tmp_path / "adapter", 0)
    assert message.startswith(f"1 rows are labelled as undesirable (first: {rows[1].id!r})")


def test_a_row_whose_prompt_fills_max_length_is_refused_before_the_first_step(tiny, rows, spec, tmp_path):
    long: Row = replace(rows[0], prompt=[{"role": "user", "content": "word " * 300}])
    steps = []
    short = spec.model_copy(update={"max_length": 200})
    message = refusal(tiny, [*rows, long], short, tmp_path / "adapter", 0, lambda *call: steps.append(call))
    assert message.startswith("1 of 17 rows have no token to learn: their prompts fill max_length (200 tokens).")
    assert not steps
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("rate", [1e30, 1e4])
def test_a_loss_that_is_not_finite_is_refused_at_once(tiny, rows, spec, tmp_path, rate):
    steps = []
    diverging = spec.model_copy(update={"learning_rate": rate, "epochs": 10.0})
    message = refusal(tiny, rows, diverging, tmp_path / "adapter", 0, lambda *call: steps.append(call))
    assert message.startswith("the loss is nan at step ")
    assert f"learning_rate {rate}" in message
    assert len(steps) < 20
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("reporter", ["nonsense", "clearml"])
def test_a_reporter_that_is_not_there_is_a_line(tiny, rows, spec, tmp_path, reporter):
    message = refusal(tiny, rows, spec.model_copy(update={"report_to": reporter}), tmp_path / "adapter", 0)
    assert message.startswith("report_to: ")
    assert reporter in message.lower()


def test_target_modules_that_the_model_has_not_are_a_line(tiny, rows, spec, tmp_path):
    message = refusal(tiny, rows, spec.model_copy(update={"target_modules": ("nope",)}), tmp_path / "adapter", 0)
    assert message.startswith("target_modules: ")
