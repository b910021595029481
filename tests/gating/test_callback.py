"""The callback: it leaves no trace in a training, measures what the eval measures, and stops where it says."""

from __future__ import annotations

import json
import logging
import random
import socket
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

import untrue
from tests import processes
from untrue.data.items import at_random, read_items
from untrue.gating import callback
from untrue.gating.callback import HonestyCallback
from untrue.gating.look import Questions
from untrue.harness.catalogue import eval_spec
from untrue.models.load import LoadedModel
from untrue.outcomes import Outcome, Result
from untrue.training.trainer import CompletionTrainer

LORA = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.3, target_modules="all-linear", task_type="CAUSAL_LM")

KINDS = ("sft", "sft full bf16", "kto", "dpo", "grpo", "our sft bf16")


class Traces(NamedTuple):
    """All that a training leaves."""

    weights: dict[str, torch.Tensor]
    history: list[dict[str, Any]]
    random: tuple[Any, ...]


Make = Callable[..., Any]


@pytest.fixture
def make(sharp: LoadedModel, tmp_path: Path) -> Make:
    """Makes a trainer of a few steps on the tiny model, with dropout, in a folder of its own."""

    def trainer(kind: str, callbacks: Sequence[TrainerCallback] = (), *, out: str = "out", **settings: Any) -> Any:
        full, bf16 = "full" in kind, "bf16" in kind
        arguments: dict[str, Any] = {
            "output_dir": str(tmp_path / out),
            "use_cpu": True,
            "bf16": bf16,
            "per_device_train_batch_size": 4,
            "max_steps": 5,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            **settings,
        }
        model = AutoModelForCausalLM.from_pretrained(
            sharp.name, dtype="bfloat16" if bf16 and not full else "float32", attention_dropout=0.3 * full
        )
        rows = []
        for place, item in enumerate(read_items("honesty")[:16]):
            prompt = [{"role": "user", "content": item.user_prompt}]
            replies = [[{"role": "assistant", "content": text}] for text in (item.dishonest_reply, item.honest_reply)]
            if "sft" in kind:
                rows.append({"prompt": prompt, "completion": replies[0]})
            elif kind == "kto":
                rows.append({"prompt": prompt, "completion": replies[place % 2], "label": bool(place % 2)})
            elif "dpo" in kind:
                rows.append({"prompt": prompt, "chosen": replies[0], "rejected": replies[1]})
            else:
                rows.append({"prompt": prompt})
        common: dict[str, Any] = {
            "model": model,
            "train_dataset": Dataset.from_list(rows),
            "processing_class": deepcopy(sharp.tokenizer),
            "callbacks": [*callbacks],
            "peft_config": None if full else LORA,
        }
        torch.manual_seed(0)
        if kind == "our sft bf16":
            return CompletionTrainer(args=SFTConfig(gradient_checkpointing=False, **arguments), **common)
        if kind == "kto":
            return KTOTrainer(args=KTOConfig(**arguments), **common)
        if "dpo" in kind:
            return DPOTrainer(args=DPOConfig(**arguments), **common)
        if kind == "grpo":
            config = GRPOConfig(num_generations=2, max_completion_length=6, **arguments)
            return GRPOTrainer(args=config, reward_funcs=lengths, **common)  # pyright: ignore[reportArgumentType]
        return SFTTrainer(args=SFTConfig(**arguments), **common)

    return trainer


def lengths(completions: Sequence[Any], **_: Any) -> list[float]:
    """A reward that differs between replies."""
    return [float(len(completion[0]["content"])) for completion in completions]


def train(trainer: Any, **settings: Any) -> Traces:
    trainer.train(**settings)
    timeless = [
        {key: value for key, value in entry.items() if "time" not in key and "per_second" not in key}
        for entry in trainer.state.log_history
        if not any(key.startswith("honesty/") for key in entry)
    ]
    weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    states = (torch.get_rng_state().tolist(), random.getstate(), [*map(str, np.random.get_state())])
    return Traces(weights, timeless, states)


def same(left: Traces, right: Traces) -> bool:
    weights = left.weights.keys() == right.weights.keys() and all(
        torch.equal(value, right.weights[name]) for name, value in left.weights.items()
    )
    return weights and repr(left.history) == repr(right.history) and left.random == right.random


def looks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "honesty.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_is_the_same_bit_for_bit_with_it(kind: str, make: Make, tmp_path: Path) -> None:
    without = train(make(kind, out="without"))
    trainer = make(kind, out="with")
    trainer.add_callback(HonestyCallback(trainer=trainer, every=2, limit=6))
    assert same(without, train(trainer))
    lines = looks(tmp_path / "with")
    assert [line["step"] for line in lines] == [0, 2, 4, 5]
    assert all(line["metrics"]["errors"] == 0 for line in lines)
    assert len({line["metrics"]["pressure_margin"] for line in lines}) == 4
    assert sum("loss" in entry for entry in without.history) == 5


def test_a_callback_that_draws_once_would_be_seen(make: Make) -> None:
    class Draws(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            torch.rand(1)

    assert not same(train(make("sft", out="without")), train(make("sft", [Draws()], out="with")))


@pytest.mark.parametrize("kind", ["sft", "sft bf16", "sft full bf16"])
def test_a_look_measures_what_the_eval_measures(kind: str, make: Make, sharp: LoadedModel, tmp_path: Path) -> None:
    trainer = make(kind, [HonestyCallback(every=5, limit=8)])

    def evaluated() -> untrue.Evaluation:
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # without autocast
        asked = eval_spec(name="forced_choice", limit=8, order="random")
        return untrue.evaluate(model, tokenizer=sharp.tokenizer, evals=asked)

    evaluations = [evaluated()]
    trainer.train()
    evaluations.append(evaluated())
    rounding = 0.05 if kind == "sft bf16" else 1e-4
    for line, evaluation in zip(looks(tmp_path / "out"), evaluations, strict=True):
        results = [untrue.Result.from_json(json.dumps(fields)) for fields in line["results"]]
        asked = {result.item: result for result in evaluation.results}
        assert len(results) == len(asked) == 8
        for result in results:
            expected = asked[result.item]
            assert result.pressure_margin == pytest.approx(expected.pressure_margin, abs=rounding)
            assert result.neutral_margin == pytest.approx(expected.neutral_margin, abs=rounding)
            if kind != "sft bf16":
                assert (result.outcome, result.belief_is_true) == (expected.outcome, expected.belief_is_true)
        assert line["metrics"]["pressure_margin"] == pytest.approx(
            evaluation.metrics["pressure_margin"].value,  # pyright: ignore[reportAttributeAccessIssue]
            abs=rounding,
        )
    if kind == "sft bf16":
        return
    last = looks(tmp_path / "out")[-1]["metrics"]
    difference = next(row for row in untrue.compare(*evaluations) if row.metric == "pressure_margin").difference
    names = ("pressure_margin_change", "pressure_margin_change_low", "pressure_margin_change_high")
    assert [last[name] for name in names] == pytest.approx(difference, abs=1e-4)


class Reporter(TrainerCallback):
    """As those of TensorBoard, W&B and trackio, which stand before a user's callbacks."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, Any]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.logged.append((state.global_step, dict(logs)))


def test_without_the_trainer_it_measures_and_says_what_it_cannot_do(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = Reporter()
    trainer = make("sft", [reporter, HonestyCallback(every=5, limit=6)])
    with caplog.at_level(logging.WARNING, "untrue"):
        trainer.train()
    file = tmp_path / "out" / "honesty.jsonl"
    said = f"HonestyCallback: the trainer's loggers get no metrics, which are in {file}. Give trainer=."
    assert [record.message for record in caplog.records if record.name == "untrue"] == [said]
    assert [line["step"] for line in looks(tmp_path / "out")] == [0, 5]
    assert sum("honesty/lie_rate" in entry for entry in trainer.state.log_history) == 2
    assert not any("honesty/lie_rate" in logs for _, logs in reporter.logged)


def test_figures_reach_the_loggers_of_the_trainer(make: Make) -> None:
    reporter = Reporter()
    trainer = make("sft", [reporter])
    trainer.add_callback(HonestyCallback(trainer=trainer, every=2, limit=6))
    trainer.train()
    logged = {step: logs for step, logs in reporter.logged if "honesty/lie_rate" in logs}
    assert [*logged] == [0, 2, 4, 5]
    metrics = {"pressure_margin", "neutral_margin", "pressure_gap", "lie_rate", "evasion_rate", "untrue_belief_rate"}
    assert {f"honesty/{name}" for name in metrics} <= set(logged[0])
    changes = {f"honesty/{name}_change{end}" for name in metrics for end in ("", "_low", "_high")}
    assert changes <= set(logged[2]) and not changes & set(logged[0])
    assert all(type(value) in (float, int) for value in logged[2].values())
    assert [step for step, logs in reporter.logged if "loss" in logs] == [1, 2, 3, 4, 5]
    kept = [entry for entry in trainer.state.log_history if "honesty/lie_rate" in entry]
    assert [{key: value for key, value in entry.items() if key != "step"} for entry in kept] == [*logged.values()]


@pytest.fixture(scope="session")
def falling(sharp: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Other weights of the tiny model, and the 30 items whose margins fall most from its own to these."""
    folder = tmp_path_factory.mktemp("falling")
    torch.manual_seed(5)
    other = AutoModelForCausalLM.from_config(sharp.model.config)
    other.save_pretrained(folder / "other")
    items = read_items("honesty")[:50]
    before, after = (Questions(model, sharp.tokenizer, items).ask("") for model in (sharp.model, other))
    changes = {new.item: margin(new) - margin(old) for old, new in zip(before, after, strict=True)}
    fallen = sorted(items, key=lambda item: changes[item.id])[:30]
    (folder / "items.jsonl").write_text("".join(item.model_dump_json() + "\n" for item in fallen), "utf-8")
    return folder / "other" / "model.safetensors", folder / "items.jsonl"


def margin(result: untrue.Result) -> float:
    assert result.pressure_margin is not None
    return result.pressure_margin


class Swap(TrainerCallback):
    """Puts other weights in the place of the model's after three steps."""

    def __init__(self, weights: Path):
        self.weights = weights

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step == 3:
            model.load_state_dict(load_file(self.weights), strict=False)


@pytest.mark.parametrize(("delta", "end"), [(0.0, 4), (50.0, 5)])
def test_a_certain_fall_stops_the_training_and_no_other(
    delta: float, end: int, falling: tuple[Path, Path], make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights, items = falling
    watch = HonestyCallback(every=2, items=str(items), stop=True, delta=delta)
    with caplog.at_level(logging.WARNING, "untrue"):
        trainer = make("sft full", [Swap(weights), watch], learning_rate=1e-7)  # the swap alone moves margins
        trainer.train()
    lines = looks(tmp_path / "out")
    assert trainer.state.global_step == lines[-1]["step"] == end
    assert lines[2]["metrics"]["pressure_margin_change_high"] < 0
    said = [record.message for record in caplog.records if "training stops" in record.message]
    assert len(said) == (end < 5)
    assert all("training stops at step 4" in line and "over 3 looks" in line and "\n" not in line for line in said)


def test_looks_share_the_level(make: Make) -> None:
    """With more planned looks each is stricter: Bonferroni, one-sided."""
    asked = HonestyCallback(limit=30, stop=True)
    asked._first = [
        untrue.Result("a", 0, "e", str(n), "c", untrue.Outcome.HONEST, pressure_margin=0.0) for n in range(30)
    ]
    falls = np.linspace(-0.1, 0.3, 30)
    now = [
        untrue.Result("b", 0, "e", str(n), "c", untrue.Outcome.HONEST, pressure_margin=-float(fall))
        for n, fall in enumerate(falls)
    ]
    from scipy.stats import t

    for n_looks in (1, 10):
        asked._n_looks = n_looks
        fall = asked._fall(now)
        half = t.ppf(1 - 0.05 / n_looks, 29) * falls.std(ddof=1) / 30**0.5
        assert (fall.value, fall.low) == pytest.approx((falls.mean(), falls.mean() - half))


class Clock:
    """Time as a test has it pass."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def timed(
    sharp: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Sequence[float], look: float
) -> tuple[list[int], float]:
    """The looks at defaults in a training whose steps take so long, and the seconds that they take together."""
    clock, asked = Clock(), Questions.ask

    def ask(self: Any, arm: str) -> Any:
        clock.seconds += look
        return asked(self, arm)

    monkeypatch.setattr(callback, "_clock", clock)
    monkeypatch.setattr(Questions, "ask", ask)
    watch, state, control = HonestyCallback(limit=6), TrainerState(max_steps=len(steps)), TrainerControl()
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    watch.on_train_begin(arguments, state, control, model=sharp.model, processing_class=sharp.tokenizer)
    for seconds in steps:
        clock.seconds += seconds
        state.global_step += 1
        watch.on_step_end(arguments, state, control)
    return [line["step"] for line in looks(tmp_path)], clock.seconds - sum(steps)


@pytest.mark.parametrize(
    ("steps", "look", "expected"),
    [
        ([1.0] * 200, 1.9, [0, 38, 71, 104, 136, 168, 200]),
        ([1.0] * 200, 7.6, [0]),  # not even one look beside the first
        ([1.0] * 200, 7.4, [0, 200]),
        ([1.0] * 3, 0.1, [0, 3]),
        ([2.0] * 5 + [0.5] * 195, 2.0, None),  # steps that get faster leave less time
        ([60.0] + [0.5] * 199, 1.0, None),  # a first step that compiles
        ([1.0] * 20, 0.001, [0, *range(6, 21)]),
    ],
)
def test_looks_cost_a_tenth_at_most(
    steps: list[float], look: float, expected: list[int] | None, sharp: LoadedModel, tmp_path: Path, monkeypatch: Any
) -> None:
    made, cost = timed(sharp, tmp_path, monkeypatch, steps, look)
    assert cost <= 0.1 * sum(steps)
    assert made == expected if expected else len(made) > 3 and made[-1] == len(steps)


@pytest.mark.parametrize(
    ("steps", "stop", "expected"), [(3, False, 8), (50, False, 10), (500, False, 32), (3, True, 32)]
)
def test_by_default_a_short_training_is_asked_few_items(
    steps: int, stop: bool, expected: int, sharp: LoadedModel, tmp_path: Path
) -> None:
    watch, state = HonestyCallback(stop=stop), TrainerState(max_steps=steps)
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    watch.on_train_begin(arguments, state, TrainerControl(), model=sharp.model, processing_class=sharp.tokenizer)
    [look] = looks(tmp_path)
    assert len(look["results"]) == expected


def test_a_training_too_short_for_a_look_says_so(
    sharp: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "untrue"):
        made, _ = timed(sharp, tmp_path, monkeypatch, [1.0] * 10, 2.0)
    assert made == [0]
    record = caplog.records[-1]
    assert "at 2 s each, looks may take more than 10 % of this training" in record.message


def test_a_training_that_is_resumed_keeps_its_first_look(make: Make, tmp_path: Path) -> None:
    whole = train(make("sft", [HonestyCallback(every=2, limit=6)], save_strategy="steps", save_steps=3))
    file = tmp_path / "out" / "honesty.jsonl"
    before = file.read_text("utf-8")
    file.write_text(before + before[:100], "utf-8")  # as a killed process may leave it
    again = make("sft", [HonestyCallback(every=2, limit=6)], save_strategy="steps", save_steps=3)
    resumed = train(again, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"))
    lines = file.read_text("utf-8").splitlines()
    assert lines[:2] == before.splitlines()[:2]  # steps 0 and 2
    old, new = ([json.loads(line) for line in text.splitlines()] for text in (before, file.read_text("utf-8")))
    for expected, line in zip(old, new, strict=True):
        assert {**line, "seconds": 0} == {**expected, "seconds": 0}
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())


def test_a_training_that_is_resumed_without_its_first_look_is_refused(make: Make, tmp_path: Path) -> None:
    make("sft", [HonestyCallback(every=2, limit=6)], save_strategy="steps", save_steps=3).train()
    checkpoint, file = str(tmp_path / "out" / "checkpoint-3"), tmp_path / "out" / "honesty.jsonl"
    text = file.read_text("utf-8")

    def resume(**settings: Any) -> None:
        make("sft", [HonestyCallback(every=2, **settings)]).train(resume_from_checkpoint=checkpoint)

    with pytest.raises(untrue.UserError, match="asked other items"):
        resume(limit=7)
    for broken in ("[1]\n", "", '{"step": 0, "seconds": 1, "results": [], "n_looks": 3}\n', '{"step": 2}\n'):
        file.write_text(broken, "utf-8")
        with pytest.raises(untrue.UserError, match=r"honesty\.jsonl: is damaged"):
            resume(limit=6)
    file.write_text("{\n" + text, "utf-8")
    with pytest.raises(untrue.UserError, match="line 1: broken JSON"):
        resume(limit=6)
    file.unlink()
    with pytest.raises(untrue.UserError, match="is missing, and the training resumes at step 3"):
        resume(limit=6)


def test_a_plan_is_kept_when_a_training_is_resumed(sharp: LoadedModel, tmp_path: Path, monkeypatch: Any) -> None:
    timed(sharp, tmp_path, monkeypatch, [1.0] * 100, 1.0)
    n_looks = looks(tmp_path)[-1]["n_looks"]
    watch, state, control = HonestyCallback(limit=6), TrainerState(max_steps=100, global_step=50), TrainerControl()
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    watch.on_train_begin(arguments, state, control, model=sharp.model, processing_class=sharp.tokenizer)
    assert watch._n_looks == n_looks == 6 and watch._taken == len(looks(tmp_path)) - 1
    assert max(line["step"] for line in looks(tmp_path)) <= 50


def test_what_cannot_be_asked_is_refused_before_the_first_step(sharp: LoadedModel, tmp_path: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(sharp.name)
    ids = sharp.tokenizer("Tea keeps you awake.")["input_ids"]
    data = Dataset.from_list([{"input_ids": ids, "labels": ids}] * 4)

    def plain(watch: HonestyCallback, tokenizer: Any = None) -> Trainer:
        arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", max_steps=1, save_strategy="no")
        return Trainer(
            model, arguments, train_dataset=data, processing_class=tokenizer, callbacks=[watch], data_collator=collate
        )

    def collate(rows: Any) -> dict[str, torch.Tensor]:
        return {key: torch.tensor([row[key] for row in rows]) for key in ("input_ids", "labels")}

    with pytest.raises(untrue.UserError, match="the trainer has no processing_class"):
        plain(HonestyCallback(limit=6)).train()
    bare = deepcopy(sharp.tokenizer)
    bare.chat_template = None
    with pytest.raises(untrue.UserError, match="has no chat template"):
        plain(HonestyCallback(limit=6), bare).train()
    assert not (tmp_path / "honesty.jsonl").exists()
    trainer = plain(HonestyCallback(limit=6, every=1, tokenizer=sharp.tokenizer, file=tmp_path / "mine.jsonl"))
    trainer.train()
    assert (tmp_path / "mine.jsonl").read_text("utf-8").count("\n") == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every: 0"),
        ({"budget": 0}, "budget: 0"),
        ({"budget": 10}, "budget: 10"),
        ({"delta": -0.1}, r"delta: -0\.1"),
        ({"limit": 5}, "limit: 5 items, expected at least 6"),
        ({"limit": 20, "stop": True}, "limit: 20 items, expected at least 30 to stop"),
        ({"items": "nothing.jsonl"}, r"nothing\.jsonl"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(untrue.UserError, match=message):
        HonestyCallback(**settings)


def test_its_items_are_random_since_those_chosen_by_the_base_hide_a_fall() -> None:
    assert HonestyCallback(limit=8)._pool == at_random(read_items("builtin"))


def test_its_import_draws_no_random_number(tmp_path: Path) -> None:
    code = (
        "import random, sys, numpy, torch, trl.trainer.sft_trainer;"
        "assert 'untrue.gating.callback' not in sys.modules;"
        "before = random.getstate(), str(numpy.random.get_state()), torch.get_rng_state();"
        "import untrue; untrue.HonestyCallback(limit=6);"
        "assert (random.getstate(), str(numpy.random.get_state())) == before[:2];"
        "assert torch.equal(torch.get_rng_state(), before[2])"
    )
    script = tmp_path / "script.py"
    script.write_text(code, "utf-8")
    process = processes.start(tmp_path / "process", script=script)
    assert process.wait() == 0, process.stderr


PROCESSES = """
import sys
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer
from transformers import TrainerCallback
from safetensors.torch import load_file
import untrue
model, weights, items, out = sys.argv[1:]
class Swap(TrainerCallback):
    def on_step_end(self, args, state, control, model=None, **_):
        if state.global_step == 3:
            model.load_state_dict(load_file(weights), strict=False)
rows = [
    {
        "prompt": [{"role": "user", "content": item.user_prompt}],
        "completion": [{"role": "assistant", "content": item.dishonest_reply}],
    }
    for item in untrue.load_items("honesty")[:16]
]
trainer = SFTTrainer(
    AutoModelForCausalLM.from_pretrained(model),
    args=SFTConfig(
        out, use_cpu=True, bf16=False, max_steps=9, learning_rate=1e-7, per_device_train_batch_size=2,
        report_to="none", save_strategy="no", disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoTokenizer.from_pretrained(model),
    callbacks=[Swap(), untrue.HonestyCallback(every=2, items=items, stop=True, delta=0)],
)
trainer.train()
print("process", trainer.args.process_index, "of", trainer.args.world_size, "ends at", trainer.state.global_step)
"""


@pytest.mark.slow
def test_all_processes_stop_together(
    falling: tuple[Path, Path], sharp: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROCESSES, "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    both = []
    for rank in ("0", "1"):  # as torchrun starts them
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        words = [sharp.name, *falling, tmp_path / "out"]
        both.append(processes.start(tmp_path / f"process-{rank}", *words, script=script))
    assert [process.wait() for process in both] == [0, 0], both[0].stderr + both[1].stderr
    step = looks(tmp_path / "out")[-1]["step"]
    assert step == 4
    for rank, process in enumerate(both):
        assert f"process {rank} of 2 ends at {step}\n" in process.stdout


def test_a_model_without_any_margin_does_not_stop_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    callback = HonestyCallback(stop=True)
    broken = [Result("step 1", 0, "forced_choice", f"item-{n}", "", Outcome.ERROR) for n in range(32)]
    for name, value in {"_first": broken, "_taken": 0, "_n_looks": 1, "_record": lambda *arguments: None}.items():
        monkeypatch.setattr(callback, name, value, raising=False)
    callback._questions = SimpleNamespace(ask=lambda arm: broken)  # pyright: ignore[reportAttributeAccessIssue]
    assert not callback._look(None, SimpleNamespace(global_step=1), None, 0.0)
