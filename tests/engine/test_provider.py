"""Inspect's provider: generation, likelihoods, and an adapter that is on only while the model is open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.tool import ToolInfo

from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError
from untrue.models.load import LoadedModel


def generate(loaded: LoadedModel, **config: Any) -> Any:
    api = UntrueAPI("tiny", loaded=loaded)
    return asyncio.run(
        api.generate([ChatMessageUser(content="Hello, how are you?")], [], "auto", GenerateConfig(**config))
    )


def test_it_generates_text_and_stops_at_max_tokens(tiny):
    output = generate(tiny, max_tokens=5, temperature=0)
    assert output.completion
    assert output.stop_reason == "max_tokens"
    assert output.usage.output_tokens == 5
    assert output.usage.total_tokens == output.usage.input_tokens + 5


def test_a_reply_that_ends_by_itself_says_so(tiny, monkeypatch):
    first = generate(tiny, max_tokens=1, temperature=0)
    [token] = tiny.tokenizer(first.completion, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", token)
    output = generate(tiny, max_tokens=5, temperature=0)
    assert (output.stop_reason, output.usage.output_tokens) == ("stop", 1)


def test_temperature_0_is_deterministic(tiny):
    assert (
        generate(tiny, max_tokens=20, temperature=0).completion
        == generate(tiny, max_tokens=20, temperature=0).completion
    )


def test_sampling_follows_the_seed(tiny):
    texts = [generate(tiny, max_tokens=20, temperature=1, seed=seed).completion for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_tools_are_refused(tiny):
    tool = ToolInfo(name="search", description="Searches.")
    with pytest.raises(UserError, match="has no tools"):
        asyncio.run(UntrueAPI("tiny", loaded=tiny).generate([], [tool], "auto", GenerateConfig()))


def test_likelihoods_equal_a_plain_forward_pass_and_are_counted(tiny, plain, prompts):
    counts: list[int] = []
    api = UntrueAPI("tiny", loaded=tiny, on_scored=counts.append)
    for expected_count in (1, 2):
        scores = asyncio.run(api.likelihoods(prompts))
        assert counts[-1] == expected_count
    for found, expected in zip(scores, plain(tiny.model, tiny.tokenizer, prompts), strict=True):
        assert [reply.total for reply in found] == pytest.approx(expected, abs=1e-4)


def test_inspect_finds_it_by_name_and_loads_a_folder(tiny, tiny_folder: Path, adapter: Path, prompts):
    model = get_model(f"untrue/{tiny_folder}", memoize=False, adapter=str(adapter), dtype="float32")
    assert isinstance(model.api, UntrueAPI)
    base = UntrueAPI("tiny", loaded=tiny)
    assert asyncio.run(model.api.likelihoods(prompts)) != asyncio.run(base.likelihoods(prompts))


def test_closing_takes_the_adapter_off(tiny, adapter: Path, prompts):
    before = asyncio.run(UntrueAPI("tiny", loaded=tiny).likelihoods(prompts))
    api = UntrueAPI("tiny", loaded=tiny, adapter=str(adapter))
    assert asyncio.run(api.likelihoods(prompts)) != before
    api.close()
    assert asyncio.run(UntrueAPI("tiny", loaded=tiny).likelihoods(prompts)) == before


def test_inspect_does_not_load_a_model_again_to_know_its_context(tiny, monkeypatch):
    from inspect_ai import Task
    from inspect_ai import eval as inspect_eval
    from inspect_ai.solver import generate as reply

    def load_again(*_: Any, **__: Any) -> None:
        raised.append("loaded")
        raise AssertionError

    raised: list[str] = []
    model = get_model("untrue/tiny-once", memoize=False, loaded=tiny)
    monkeypatch.setattr("untrue.engine.provider.load", load_again)
    [log] = inspect_eval(Task(solver=reply()), model=model, display="none", max_tokens=2, log_dir="memory://logs")
    assert (log.status, raised) == ("success", [])
