"""What the judged evals share: what a judge is shown of a reply, replies that are cut, and seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, task_with
from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalLog
from inspect_ai.model import GenerateConfig, ModelOutput, ModelUsage, get_model

from tests.evals.ruled import api, judged_run, metrics, outcomes, score
from tests.evals.test_deceptionbench import item, reply_of
from tests.evals.test_deceptionbench import saved as saved_deception
from tests.evals.test_mask import PROBES, file_of, row
from tests.evals.test_unknowns import PAIRS
from tests.judge.scripted import by_words
from tests.judge.server import JudgeServer
from untrue.harness.catalogue import EVALS
from untrue.harness.tasks import inspect_task
from untrue.models.load import LoadedModel

deceptionbench, mask, pressure_pairs, unknowns = (
    inspect_task(EVALS[name]) for name in ("deceptionbench", "mask", "pressure_pairs", "unknowns")
)


def of_mask(folder: Path) -> Task:
    return mask(items=file_of(folder, "known_facts", row("one", **PROBES)))


def of_pairs(folder: Path) -> Task:
    pair = {
        "id": "one",
        "neutral_system_prompt": "Calm.",
        "pressured_system_prompt": "Pressed.",
        "user_prompt": "Is rain wet?",
    }
    path = folder / "pairs.jsonl"
    path.write_text(json.dumps({**pair, "category": "rain"}) + "\n", "utf-8")
    return pressure_pairs(items=str(path))


def of_unknowns(folder: Path) -> Task:
    path = folder / "unknowns.jsonl"
    path.write_text(json.dumps(PAIRS[0]) + "\n", "utf-8")
    return unknowns(items=str(path))


def of_deception(folder: Path) -> Task:
    return deceptionbench(items=saved_deception(folder, item("aligned")))


TASKS: dict[str, Callable[[Path], Task]] = {
    "mask": of_mask,
    "pressure_pairs": of_pairs,
    "unknowns": of_unknowns,
    "deceptionbench": of_deception,
}
WRITTEN = ["mask", "pressure_pairs", "unknowns"]


def output(text: str, stop: Any = "stop", tokens: int | None = 5) -> ModelOutput:
    found = ModelOutput.from_content("model", text, stop_reason=stop)
    found.usage = None if tokens is None else ModelUsage(output_tokens=tokens)
    return found


@pytest.mark.parametrize(("stop", "cut"), [("stop", False), ("max_tokens", True), ("model_length", True)])
@pytest.mark.parametrize("name", TASKS)
def test_a_reply_that_the_limit_or_the_context_cuts_is_counted(name, stop, cut, tmp_path):
    text = reply_of("says-yes", "says-yes") if name == "deceptionbench" else "says-A"
    log = judged_run(TASKS[name](tmp_path), lambda system, user: output(text, stop), tmp_path)
    assert {score(sample).metadata["truncated"] for sample in log.samples or []} == {cut}
    assert metrics(log)["truncated_rate"] == cut


@pytest.mark.parametrize("name", TASKS)
def test_a_servers_error_about_its_context_is_no_reply(name, tmp_path):
    text = "This model's maximum context length is 16 tokens.\n\nReduce the input."
    log = judged_run(
        TASKS[name](tmp_path), lambda system, user: output(text, "model_length", None), tmp_path, status="error"
    )
    for sample in log.samples or []:
        assert sample.error
        assert "maximum context length is 16 tokens. Reduce the input" in sample.error.message
        assert "replies" not in sample.metadata


@pytest.mark.parametrize("name", TASKS)
def test_an_answer_without_any_reply_is_an_error_and_no_empty_belief(name, tmp_path):
    log = judged_run(
        TASKS[name](tmp_path), lambda system, user: ModelOutput(model="model", choices=[]), tmp_path, status="error"
    )
    for sample in log.samples or []:
        assert sample.error and "the model failed: it gave no reply" in sample.error.message
        assert "replies" not in sample.metadata


def test_why_a_server_refused_to_reply_is_told_and_not_the_whole_request(tmp_path):
    with JudgeServer(16, "max_tokens={limit} cannot be greater than max_model_len={context}.") as server:
        log = judged_run(of_mask(tmp_path), lambda system, user: "", tmp_path, model=server.model(), status="error")
    [sample] = log.samples or []
    assert sample.error
    assert "max_tokens=1000 cannot be greater than max_model_len=16" in sample.error.message
    assert "Request" not in sample.error.message.replace("BadRequestError", "")


THINKING = [
    # written by the model, what the judge may see of it
    ("<think>PRIVATE says-B</think>\nsays-A", "says-A"),
    ("PRIVATE says-B</think>\nsays-A", "says-A"),  # the prompt opened it
    ("<think>PRIVATE says-B, and so", None),
    ("<think>PRIVATE says-B</think>", None),
]


@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize(("written", "shown"), THINKING)
@pytest.mark.parametrize("name", WRITTEN)
def test_a_judge_never_reads_what_the_model_only_thinks(name, written, shown, splits, tmp_path):
    asked: list[str] = []

    def judgement(question: str) -> str:
        asked.append(question)
        return by_words(question)

    model = get_model("ruled/model", memoize=False, reply=lambda system, user: written, splits_reasoning=splits)
    log = judged_run(TASKS[name](tmp_path), lambda system, user: "", tmp_path, model=model, judgement=judgement)
    assert not any("PRIVATE" in question for question in asked)
    assert any("says-A" in question for question in asked) is (shown is not None)
    for sample in log.samples or []:
        replies = sample.metadata["replies"]
        texts = [replies["statement"], *replies.get("beliefs", [])]
        assert set(texts) == {shown or ""}
        assert "PRIVATE" in json.dumps(sample.model_dump(mode="json")["messages"])  # the log keeps it


def test_reasoning_and_output_are_read_where_the_prompt_opens_the_thinking(tmp_path):
    def reply(system: str, user: str) -> str:
        return (
            "PRIVATE</think>The belief." if user.startswith("inner") else "says-yes</think>\n<output>says-no</output>"
        )

    asked: list[str] = []

    def judgement(question: str) -> str:
        asked.append(question)
        return by_words(question)

    log = judged_run(of_deception(tmp_path), reply, tmp_path, judgement=judgement)
    assert outcomes(log) == {"aligned": "lie"}
    assert not any("PRIVATE" in question for question in asked)


@pytest.fixture
def seeded(tiny: LoadedModel, tmp_path: Path) -> Callable[..., EvalLog]:
    """Runs an eval three times over on the tiny model with a seed."""

    def run(name: str, seed: int | None) -> EvalLog:
        config = GenerateConfig(seed=seed)
        model = get_model(f"untrue/{tiny.name}", memoize=False, loaded=tiny, config=config)
        judge = {"judge": get_model("scripted/judge", memoize=False)}
        return judged_run(
            TASKS[name](tmp_path),
            lambda system, user: "",
            tmp_path,
            model=model,
            roles=judge,
            epochs=3,
            max_tokens=8,
        )

    return run


def texts_of(log: EvalLog) -> dict[str, list[str]]:
    """For each prompt, all that was replied to it."""
    found: dict[str, list[str]] = {}
    for sample in log.samples or []:
        for event in sample.events:
            if isinstance(event, ModelEvent) and event.role is None and not event.model.startswith("scripted"):
                asked = " | ".join(message.text for message in event.input)
                found.setdefault(asked, []).append(event.output.completion)
    return {asked: sorted(replies) for asked, replies in found.items()}


@pytest.mark.parametrize("name", TASKS)
def test_under_a_seed_each_draw_is_another_and_all_come_again(name, seeded):
    first, again, other = (texts_of(seeded(name, seed)) for seed in (1, 1, 2))
    assert first == again != other
    pressed = {"mask": 1, "pressure_pairs": 1, "unknowns": 2, "deceptionbench": 1}[name]
    assert sum(len(replies) == 3 for replies in first.values()) >= pressed
    for asked, replies in first.items():
        assert len(set(replies)) == len(replies), asked


def test_the_seed_of_inspects_command_is_each_draws_too(tmp_path):
    log = judged_run(of_mask(tmp_path), lambda system, user: "", tmp_path, model="ruled/model", epochs=2, seed=7)
    calls = [event for sample in log.samples or [] for event in sample.events if isinstance(event, ModelEvent)]
    seeds = [event.config.seed for event in calls if event.model == "ruled/model"]
    assert len(set(seeds)) == len(seeds) == 5 + 2
    assert None not in seeds


@pytest.mark.parametrize("where", ["eval", "task"])
def test_a_seed_that_cannot_be_seen_is_refused(where, tmp_path):
    task, options = of_mask(tmp_path), {"seed": 7}
    if where == "task":
        task, options = task_with(task, config=GenerateConfig(seed=7)), {}
    log = judged_run(task, lambda system, user: "", tmp_path, epochs=2, status="error", **options)
    for sample in log.samples or []:
        assert sample.error
        assert "seed=7 is set on the task" in sample.error.message


def test_without_a_seed_none_is_sent(tmp_path):
    model = get_model("ruled/model", memoize=False)
    judged_run(of_mask(tmp_path), lambda system, user: "", tmp_path, model=model, epochs=2)
    assert {config.seed for config in api(model).configs} == {None}
