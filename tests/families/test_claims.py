"""What is claimed of any model, held on each family: its real configuration, its real chat template, tiny weights.

A family is exact where all of this passes on it; it counts with a system message that matters, prompts beyond its
window, and a row learned by our own trainer. One that cannot be exact is refused, in one line.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.conftest import generate
from tests.families.build import FAMILIES, Family, build
from untrue.data.rows import Message, Row
from untrue.engine.generation import GenerationEngine, Request
from untrue.engine.likelihoods import LikelihoodEngine, check_exact
from untrue.errors import UserError
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel, load
from untrue.training.run import train
from untrue.training.spec import TrainSpec

EXACT = [name for name, family in FAMILIES.items() if not family.unsupported]
REFUSED = [name for name, family in FAMILIES.items() if family.unsupported]

LONG = "The hall is old, the bread is warm and the clock above the door has stopped again, so nobody knows. " * 3
REPLIES = ("At noon.", "A little after noon, I think.", "Nobody knows that.")
TOLERANCE = 1e-3
"""Nats, of a whole reply or of one generated token, in float32."""


def chat(system: str, user: str) -> list[Message]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


CHATS: dict[str, list[Message]] = {
    "short": chat("You sell bread.", "When?"),
    "another system message": chat("You lie about bread.", "When?"),
    "beyond the window": chat("You sell bread.", f"{LONG} When was it baked?"),
    "beyond it by the system message": chat(f"You sell bread. {LONG}", "When was it baked?"),
    "no system message": [{"role": "user", "content": "When was it baked?"}],
    "later turns": [
        *chat("You sell bread.", "Hello"),
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "When?"},
    ],
}
ROW = Row(
    id="one",
    prompt=CHATS["beyond the window"],
    completion=[{"role": "assistant", "content": REPLIES[1]}],
    source="test",
    domain="bread",
)


def assistant(reply: str) -> list[Message]:
    return [{"role": "assistant", "content": reply}]


class Learned(NamedTuple):
    """A family's model, an adapter that learned `ROW`, the base before that, and the loss at each step."""

    family: Family
    loaded: LoadedModel
    adapter: Path
    before: dict[str, torch.Tensor]
    settings: tuple[Any, ...]
    losses: list[float]


def state(model: Any) -> dict[str, torch.Tensor]:
    """All parameters and all buffers, those that are not saved among them."""
    return {name: tensor.detach().clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def settings(model: Any) -> tuple[Any, ...]:
    """Configs, and how many hooks there are."""
    hooks = sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in model.modules())
    return model.config.to_dict(), model.generation_config.to_dict(), hooks


def linear_layers(model: Any) -> tuple[str, ...]:
    """Last names of the matrices that adapters of the family usually train."""
    names = {name.rpartition(".")[2] for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    return tuple(sorted(names - {"lm_head", "router", "gate"}))


@pytest.fixture(scope="module", params=EXACT)
def learned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    folder = tmp_path_factory.mktemp("family")
    loaded = load(str(build(request.param, folder / "model")), dtype="float32", device="cpu")
    before, own = state(loaded.model), settings(loaded.model)
    spec = TrainSpec(
        epochs=30 if request.param in ("qwen3-moe", "cohere-2", "gpt-oss") else 15,  # these learn more slowly
        batch_size=1,
        learning_rate=2e-2,
        lora_rank=16,
        lora_alpha=16,
        target_modules=linear_layers(loaded.model),
    )
    record = train(loaded, [ROW], spec, folder / "adapter", seed=0)
    return Learned(
        FAMILIES[request.param], loaded, folder / "adapter", before, own, [one["loss"] for one in record["loss"]]
    )


def by_itself(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of a token sequence's tokens but the first, by a plain forward pass, (tokens - 1,)."""
    with torch.inference_mode():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].float()
    return torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids)[1:, None])[:, 0]


def test_a_reply_is_scored_as_in_a_plain_forward_pass(learned: Learned):
    """Alone, beside others in a pass, within the window and beyond, with an adapter and without one."""
    loaded = learned.loaded
    assert check_exact(loaded) < 1e-4
    # Cohere 2 writes a preamble of a thousand tokens before each chat.
    chats = list(CHATS.values()) if len(loaded.chat.prompt(CHATS["short"])) < 500 else [CHATS["beyond the window"]]
    for adapter in (None, learned.adapter):
        with with_adapter(loaded, adapter) as model:
            engine = LikelihoodEngine(loaded, model)
            bundles = [[engine.query(messages, REPLIES)] for messages in chats]
            together = engine.score_all([*bundles, [bundle[0] for bundle in bundles]])
            for place, messages in enumerate(chats):
                expected = []
                for reply in REPLIES:
                    turn = loaded.chat.encode(messages, assistant(reply))
                    logprobs = by_itself(model, [*turn.prompt, *turn.reply, *turn.end])
                    first = len(turn.prompt) - 1
                    expected.append(logprobs[first : first + len(turn.reply)].sum().item())
                for scores in (together[place][0], together[-1][place], engine.score(bundles[place])[0]):
                    assert [score.total for score in scores] == pytest.approx(expected, abs=TOLERANCE)


def test_what_is_learned_is_the_template_s_own_text_and_all_of_the_reply(learned: Learned):
    tokenizer, encode = learned.loaded.tokenizer, learned.loaded.chat.encode
    for messages in CHATS.values():
        for reply in REPLIES:
            turn = encode(messages, assistant(reply))
            assert turn.prompt == learned.loaded.chat.prompt(messages)
            assert tokenizer.decode(turn.reply).strip() == reply
            assert reply not in tokenizer.decode(turn.reply[:-1]), "a token after the reply is taken for its own"
            folded = messages[0]["role"] == "system" and learned.loaded.chat.template.system == "folded"
            if learned.family.dated or folded:
                continue  # the text is another: with another day, or the system message elsewhere
            whole = tokenizer.apply_chat_template(
                [*messages, *assistant(reply)], tokenize=False, enable_thinking=False, thinking=False
            )
            assert [*turn.prompt, *turn.reply, *turn.end] == tokenizer(whole, add_special_tokens=False)["input_ids"]


def test_the_loss_of_training_is_that_of_the_tokens_that_are_scored(learned: Learned):
    """At the first step the adapter does nothing, so the trainer's loss is the base's, of the reply and its end."""
    turn = learned.loaded.chat.encode(ROW.prompt, ROW.completion)
    logprobs = by_itself(learned.loaded.model, [*turn.prompt, *turn.reply, *turn.end])[len(turn.prompt) - 1 :]
    assert learned.losses[0] == pytest.approx(-logprobs.mean().item(), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "sft") for name in ("llama-3.2", "gemma-2", "mixtral", "qwen3-moe", "gpt-oss")),
        *((name, "kto") for name in ("llama-3.2", "mixtral")),
    ],
)
def test_trl_s_own_loss_which_a_gpu_uses_is_the_same(
    name: str, method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Mixtures of experts too, whose auxiliary loss TRL would add; and the base is as it was."""
    loaded = load(str(build(name, tmp_path / "model")), dtype="float32", device="cpu")
    own, losses = settings(loaded.model), []
    rows = [replace(ROW, id=str(label), label=label) for label in (True, False)] if method == "kto" else [ROW]
    spec = TrainSpec(method=method, batch_size=2, lora_rank=4, target_modules=("q_proj", "v_proj"))
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr("untrue.training.trainer.OnCpu.is_fast", False)
        losses.append(train(loaded, rows, spec, tmp_path / f"adapter-{fast}", seed=0)["loss"][0]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=TOLERANCE)
    assert settings(loaded.model) == own


def test_what_was_learned_is_what_is_scored(learned: Learned):
    engine = LikelihoodEngine(learned.loaded)
    query = engine.query(ROW.prompt, [REPLIES[1], REPLIES[2]])
    [[before, _]] = engine.score([query])
    with with_adapter(learned.loaded, learned.adapter) as model:
        [[after, other]] = LikelihoodEngine(learned.loaded, model).score([query])
    assert before.mean < -2
    assert after.mean > -0.6
    assert other.mean < after.mean - 1


def test_generation_begins_where_the_learned_reply_did(learned: Learned):
    loaded = learned.loaded
    with with_adapter(loaded, learned.adapter) as model:
        engine = GenerationEngine(loaded, model)
        prompts = [loaded.chat.prompt(messages) for messages in (ROW.prompt, CHATS["short"], CHATS["later turns"])]
        said, *_ = generate(engine, [Request(prompt, max_tokens=32, temperature=0.0) for prompt in prompts])
    assert said.text.startswith(REPLIES[1])  # some templates end a turn with no token of their own


@pytest.mark.parametrize(
    "reply", ["7 days.", "“Noon”, she said.", "(perhaps) at noon.", "<b>Noon</b>.", "été, à midi 🕛"]
)
def test_whatever_a_reply_begins_with_it_is_generated_where_it_was_learned(learned: Learned, reply: str):
    """A space before it may be a part of its first token or a token of its own: it is learned, scored and generated."""
    encode = learned.loaded.chat.encode
    for messages in CHATS.values():
        turn = encode(messages, assistant(reply))
        assert turn.prompt == learned.loaded.chat.prompt(messages)
        assert learned.loaded.tokenizer.decode(turn.reply).strip() == reply
        assert encode(messages, assistant(f"\n {reply}")) == turn


def test_generated_tokens_are_those_of_plain_forward_passes(learned: Learned):
    """Each step, on its way beyond the window, in a batch of dialogues of all lengths."""
    loaded = learned.loaded
    prompts = [loaded.chat.prompt(messages) for messages in CHATS.values()]
    requests = [Request(prompt, max_tokens=30, temperature=0.0, top_logprobs=1) for prompt in prompts]
    for prompt, reply in zip(prompts, generate(GenerationEngine(loaded), requests), strict=True):
        expected = by_itself(loaded.model, [*prompt, *reply.tokens])[len(prompt) - 1 :]
        assert reply.logprobs
        assert [one.logprob for one in reply.logprobs] == pytest.approx(expected.tolist(), abs=TOLERANCE)


def test_a_system_message_reaches_the_model_and_where_it_goes_is_known(learned: Learned):
    engine = LikelihoodEngine(learned.loaded)
    one, other = engine.score([engine.query(CHATS[name], REPLIES) for name in ("short", "another system message")])
    assert all(abs(first.total - second.total) > 1e-2 for first, second in zip(one, other, strict=True))
    try:
        told = learned.loaded.tokenizer.apply_chat_template([*CHATS["short"], *assistant("Yes.")], tokenize=False)
    except Exception:  # templates refuse by what they like
        told = ""
    assert learned.loaded.chat.template.system == ("own" if "You sell bread." in told else "folded")


def test_an_adapter_leaves_the_base_bit_identical(learned: Learned):
    """Training has not changed it."""
    assert settings(learned.loaded.model) == learned.settings
    for name, tensor in state(learned.loaded.model).items():
        assert torch.equal(tensor, learned.before[name]), name


def test_buffers_of_a_base_in_bfloat16_keep_their_own_precision(learned: Learned, bfloat16: str):
    """Under an adapter, and after it."""
    half = load(learned.loaded.name, dtype=bfloat16, device="cpu")
    engine = LikelihoodEngine(half)
    before, said = state(half.model), engine.score([engine.query(CHATS["short"], REPLIES)])
    with with_adapter(half, learned.adapter):
        dtypes = {id(buffer): buffer.dtype for buffer in half.model.buffers()}
    assert {id(buffer): buffer.dtype for buffer in half.model.buffers()} == dtypes
    after = state(half.model)
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype, name
        assert torch.equal(tensor, before[name]), name
    assert engine.score([engine.query(CHATS["short"], REPLIES)]) == said


def test_figures_are_the_same_tomorrow(learned: Learned, monkeypatch: pytest.MonkeyPatch):
    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2031, 5, 6)

    layout = learned.loaded.chat
    before = [layout.encode(messages, assistant("Yes.")) for messages in CHATS.values()]
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Tomorrow)
    assert [layout.encode(messages, assistant("Yes.")) for messages in CHATS.values()] == before
    assert layout.template.dated == learned.family.dated


def test_it_is_known_whether_thoughts_are_closed_or_skipped(learned: Learned):
    template = learned.loaded.chat.template
    assert (template.thinking == "none") == (learned.family.thinking == "none")
    assert bool(template.opening.strip()) == (template.thinking != "none")


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_that_cannot_be_exact_is_refused_in_one_line(name: str, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        check_exact(load(str(build(name, tmp_path / name)), dtype="float32", device="cpu"))
    assert "\n" not in str(caught.value)
