"""Inspect's provider: generation, likelihoods, and an adapter that is on only while the model is open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    get_model,
)
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


def test_sampling_follows_the_seed(tiny):
    texts = [generate(tiny, max_tokens=20, temperature=1, seed=seed).completion for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_dialogue_with_a_system_message_is_what_the_template_makes_of_it(tiny):
    chat = [("system", "You sell bread."), ("user", "Is it warm?"), ("assistant", "Yes."), ("user", "Really?")]
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    prompt = tiny.tokenizer.apply_chat_template(
        [{"role": role, "content": text} for role, text in chat], add_generation_prompt=True, return_dict=False
    )
    expected = tiny.model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0, len(prompt) :]
    output: Any = asyncio.run(
        UntrueAPI("tiny", loaded=tiny).generate(
            [kinds[role](content=text) for role, text in chat], [], "auto", GenerateConfig(max_tokens=8, temperature=0)
        )
    )
    assert output.completion == tiny.tokenizer.decode(expected, skip_special_tokens=True)
    assert output.usage.input_tokens == len(prompt)
    assert output.time > 0


def test_a_prompt_longer_than_the_context_is_refused(tiny):
    api = UntrueAPI("tiny", loaded=tiny)
    with pytest.raises(UserError, match="the model takes 1024, the reply among them"):
        asyncio.run(api.generate([ChatMessageUser(content="and so on " * 800)], [], "auto", GenerateConfig()))


def test_several_choices_are_refused(tiny):
    with pytest.raises(UserError, match="num_choices is 2"):
        generate(tiny, num_choices=2)


def test_a_stop_sequence_is_respected(tiny):
    whole = generate(tiny, max_tokens=20, temperature=0).completion
    output = generate(tiny, max_tokens=20, temperature=0, stop_seqs=[whole[5:7]])
    assert output.completion == whole[: whole.index(whole[5:7])]
    assert output.stop_reason == "stop"


def test_logprobs_come_only_when_asked_for(tiny):
    assert generate(tiny, max_tokens=2).choices[0].logprobs is None
    content = generate(tiny, max_tokens=4, temperature=0, logprobs=True, top_logprobs=5).choices[0].logprobs.content
    assert len(content) == 4
    for token in content:
        assert [token.token, token.logprob] == [token.top_logprobs[0].token, token.top_logprobs[0].logprob]
        values = [other.logprob for other in token.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert len(values) == 5
    assert generate(tiny, max_tokens=1, logprobs=True).choices[0].logprobs.content[0].top_logprobs == []


def test_tools_are_refused(tiny):
    tool = ToolInfo(name="search", description="Searches.")
    with pytest.raises(UserError, match="has no tools"):
        asyncio.run(UntrueAPI("tiny", loaded=tiny).generate([], [tool], "auto", GenerateConfig()))


def test_the_base_base_can_score_while_an_adapter_is_on(tiny, adapter: Path, prompts):
    plain = UntrueAPI("tiny", loaded=tiny)
    before = asyncio.run(plain.likelihoods(prompts))
    assert asyncio.run(plain.likelihoods(prompts, base=True)) == before
    api = UntrueAPI("tiny", loaded=tiny, adapter=str(adapter))
    try:
        on = asyncio.run(api.likelihoods(prompts))
        assert asyncio.run(api.likelihoods(prompts, base=True)) == before != on
        assert asyncio.run(api.likelihoods(prompts)) == on  # and is on again
    finally:
        api.close()
    assert asyncio.run(plain.likelihoods(prompts)) == before  # closing takes the adapter off


def test_inspect_finds_it_by_name_and_loads_a_folder(tiny, tiny_folder: Path, adapter: Path, prompts):
    model = get_model(f"untrue/{tiny_folder}", memoize=False, adapter=str(adapter), dtype="float32")
    assert isinstance(model.api, UntrueAPI)
    base = UntrueAPI("tiny", loaded=tiny)
    assert asyncio.run(model.api.likelihoods(prompts)) != asyncio.run(base.likelihoods(prompts))


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


def parts(content: Any) -> list[Any]:
    assert isinstance(content, list)
    return content


@pytest.mark.parametrize("text", ["<think>\nHm, noon?\n</think>\n\nAt noon.", "Hm, noon?\n</think>\n\nAt noon."])
def test_thoughts_are_a_part_of_their_own_and_never_the_reply(text):
    from untrue.engine.provider import _parts
    from untrue.harness.judged import with_thinking
    from untrue.models.chat import without_thinking

    output = ModelOutput(
        model="tiny", choices=[ChatCompletionChoice(message=ChatMessageAssistant(content=_parts(text)))]
    )
    assert (output.completion, without_thinking(output.completion)) == ("At noon.", "At noon.")
    reasoning, said = parts(output.message.content)
    assert (reasoning.type, said.type) == ("reasoning", "text")
    assert "Hm, noon?" in with_thinking(output)
    assert _parts("At noon.") == "At noon."
    assert [part.text for part in parts(_parts("<think>Hm, let me see")) if part.type == "text"] == [""]
