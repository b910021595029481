"""Asking a judge: one retry, then an error; what was read once is not asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from inspect_ai.model import GenerateConfig, Model, get_model

import tests.judge.scripted  # noqa: F401
from tests.serving.lora_server import LoraServer
from untrue.errors import MachineError, UserError
from untrue.judge.judge import Judge, same_base
from untrue.judge.judgement import JudgeError, Judgement, JudgementCache
from untrue.judge.models import content, judge_model
from untrue.judge.prompts import ADMITS, CONTRADICTS, RANGE, STATEMENT, JudgePrompt
from untrue.models import fingerprint
from untrue.models.adapter import adapter_hash
from untrue.models.load import LoadedModel


def scripted(judgement: Any = None, **arguments: Any) -> Model:
    return get_model("scripted/judge", memoize=False, judgement=judgement, **arguments)


def ask(judge: Judge, prompt: JudgePrompt, **fields: str) -> Judgement:
    return asyncio.run(judge.ask(prompt, **fields))


def ask_statement(judge: Judge, reply: str) -> Judgement:
    return ask(judge, STATEMENT, proposition="It rains.", reply=reply)


def test_judgements_of_each_shape():
    judge = Judge(scripted())
    assert ask_statement(judge, "says-D").label == "D"
    assert ask(judge, ADMITS, question="?", reply="says-yes").label == "yes"
    assert ask(judge, CONTRADICTS, question="?", belief="says-no", statement="says-yes").label == "yes"
    assert ask(judge, RANGE, proposition="How many?", reply="says-30-50")[1:3] == (30.0, 50.0)
    assert ask(judge, RANGE, proposition="How many?", reply="none")[:3] == (None, None, None)
    assert judge.usage.calls == judge.usage.asked == 5
    assert judge.usage.output_tokens == 25


def test_an_answer_that_cannot_be_read_is_asked_for_once_more():
    answers = iter(['{"label": "cut of', '{"label": "A"}'])
    judge = Judge(scripted(lambda question: next(answers)))
    assert ask_statement(judge, "It does.").label == "A"
    assert judge.usage.calls == 2


@pytest.mark.parametrize(("reply", "reason", "calls"), [("breaks-judge", "no JSON", 2), ("kills-judge", "not well", 1)])
def test_two_answers_that_cannot_be_read_or_a_failure_are_an_error_with_its_reason(reply, reason, calls):
    judge = Judge(scripted())
    with pytest.raises(JudgeError, match=reason):
        ask_statement(judge, reply)
    assert judge.usage.calls == calls


def test_what_was_read_is_kept_and_what_failed_is_asked_again(tmp_path: Path):
    path = tmp_path / "judgements.sqlite"
    first = Judge(scripted(), JudgementCache(path))
    known = ask_statement(first, "says-B")
    asked = [ask(first, RANGE, proposition="How many?", reply="says-1-2.5") for _ in range(2)]
    assert asked[0] == asked[1] and first.usage.calls == 2
    with pytest.raises(JudgeError):
        ask_statement(first, "breaks-judge")
    second = Judge(scripted(lambda question: "A"), JudgementCache(path))
    assert ask_statement(second, "says-B") == known
    assert (second.usage.asked, second.usage.cached, second.usage.calls) == (1, 1, 0)
    assert ask_statement(second, "breaks-judge").label == "A"
    assert second.usage.calls == 1


@pytest.mark.parametrize(
    "other",
    [
        {"model": "scripted/another"},
        {"base_url": "http://elsewhere"},
        {"prompt": STATEMENT._replace(version=STATEMENT.version + 1)},
        {"prompt": STATEMENT._replace(name="other")},
        {"reply": "says-B "},
    ],
)
def test_another_judge_prompt_or_text_is_asked_anew(tmp_path: Path, other: dict[str, Any]):
    prompt, reply = STATEMENT, "says-B"
    model: dict[str, Any] = {"model": "scripted/judge", "memoize": False}
    path = tmp_path / "judgements.sqlite"
    ask(Judge(get_model(**model), JudgementCache(path)), prompt, proposition="p", reply=reply)
    prompt, reply = other.pop("prompt", prompt), other.pop("reply", reply)
    judge = Judge(get_model(**model | other), JudgementCache(path))
    ask(judge, prompt, proposition="p", reply=reply)
    assert judge.usage.cached == 0


def test_a_broken_cache_is_one_clear_error(tmp_path: Path):
    path = tmp_path / "judgements.sqlite"
    path.write_text("no database, " * 100)
    with pytest.raises(MachineError, match=r"judgements\.sqlite: the cache of judgements cannot be used"):
        JudgementCache(path)


def test_a_local_judge_chooses_a_label_by_likelihood(tiny: LoadedModel):
    judge = Judge(get_model(f"untrue/{tiny.name}", memoize=False, loaded=tiny))
    judgement = ask_statement(judge, "It does.")
    shown = dict(part.split(" ") for part in judgement.raw.split(", "))
    assert list(shown) == ["A", "B", "C", "D"]
    assert judgement.label == max(shown, key=lambda label: float(shown[label]))


def test_a_text_too_long_for_a_local_judge_or_a_range_without_json_is_an_error(tiny: LoadedModel):
    judge = Judge(get_model(f"untrue/{tiny.name}", memoize=False, loaded=tiny))
    with pytest.raises(JudgeError, match="the model takes 1024"):
        ask_statement(judge, "word " * 2000)
    with pytest.raises(JudgeError):
        ask(judge, RANGE, proposition="How many?", reply="Forty.")
    assert judge.usage.calls == 3


@pytest.mark.parametrize(
    ("judge", "studied", "same"),
    [
        ("openai/gpt-4o-mini", "openai/gpt-4o-mini", True),
        ("openai/gpt-4o-mini", "openai/ft:gpt-4o-mini-2024-07-18:org::abc", True),
        ("openai/ft:gpt-4o-mini-2024-07-18:org::abc", "openai/ft:gpt-4o-mini-2024-07-18:org:tea:xyz", True),
        ("openai/gpt-4o", "openai/gpt-4o-2024-08-06", True),
        ("openai/gpt-4o-2024-05-13", "openai/gpt-4o-2024-08-06", True),
        ("openai/gpt-4o", "openai/gpt-4o-mini", False),
        ("openai/gpt-4o", "openai/ft:gpt-4o-mini-2024-07-18:org::abc", False),
        ("vllm/some/base", "vllm/some/base:mine", True),
        ("vllm/some/base", "vllm/some/other:base", False),
        ("vllm/HuggingFaceTB/SmolLM2-135M-Instruct", "vllm/smollm2-135m", True),
    ],
)
def test_one_base_is_known_by_its_name(judge: str, studied: str, same: bool):
    models = [get_model(name, memoize=False, api_key="none") for name in (judge, studied)]
    assert same_base(models[0], models[1]) is same
    assert same_base(models[1], models[0]) is same


def test_one_folder_is_one_base_whatever_provider_and_path(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    folder = Path(tiny.name)
    monkeypatch.chdir(folder.parent)
    here = get_model(f"untrue/{folder}", memoize=False, loaded=tiny)
    for name in (f"hf/{folder}", f"hf/{folder.name}", f"vllm/{folder.name}:mine"):
        assert same_base(get_model(name, memoize=False), here)
    assert not same_base(get_model("vllm/elsewhere", memoize=False), here)


def test_a_judge_by_vllm_is_the_same_before_its_first_call_and_after_and_another_on_another_server(sharp, monkeypatch):
    name = f"vllm/base-{uuid4().hex}"
    with LoraServer(Path(sharp.name)) as server:
        monkeypatch.setenv("VLLM_BASE_URL", server.url)
        model = get_model(name, memoize=False)
        before = Judge(model).id
        asyncio.run(model.generate("Hello", config=GenerateConfig(max_tokens=1)))
        assert Judge(model).id == before == Judge(get_model(name, memoize=False)).id
        monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:9/v1")
        assert Judge(get_model(name, memoize=False)).id != before


def test_a_served_adapter_must_prove_itself_before_it_judges(
    sharp: LoadedModel, sharp_adapter: Callable[..., Path], tmp_path: Path
):
    adapter, base = sharp_adapter(tmp_path / "judge", 1), f"vllm/base-{uuid4().hex}"
    fingerprint.record(sharp, adapter)
    for deaf in (False, True):
        with LoraServer(Path(sharp.name), deaf=deaf) as server:
            server.load(adapter_hash(adapter), adapter)
            judge = f"{{model: '{base}-{deaf}:{adapter}', temperature: 0.5, model_args: {{base_url: '{server.url}'}}}}"
            if deaf:
                with pytest.raises(UserError, match=r"does not answer with the adapter .* but with its base"):
                    judge_model(judge)
                continue
            model = judge_model(judge)
            assert (str(model), model.config.temperature) == (f"{base}-{deaf}:{adapter_hash(adapter)}", 0.5)
            assert set(server.asked) == {adapter_hash(adapter)}
    before = content(judge)
    sharp_adapter(adapter, 2)
    assert content(judge) != before
    with pytest.raises(UserError, match=rf"model_args\.adapter .* Name it {base}:FOLDER"):
        judge_model(f"{{model: {base}, model_args: {{adapter: {adapter}}}}}")
