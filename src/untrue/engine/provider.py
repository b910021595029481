"""Inspect's model provider `untrue/…`: local models that can generate and, unlike others, score given replies.

inspect eval untrue/forced_choice --model untrue/smollm2-135m -M adapter=PATH
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import inspect_ai.model as inspect
from inspect_ai.tool import ToolChoice, ToolInfo

from untrue.data.rows import Message
from untrue.errors import UserError
from untrue.models.adapter import in_format_of, with_adapter
from untrue.models.chat import without_thinking
from untrue.models.families import THINKING_TAGS
from untrue.models.load import LoadedModel, load

if TYPE_CHECKING:  # whoever only names evals, as a dry run does, need not wait for torch
    import torch

    from untrue.engine.generation import Reply
    from untrue.engine.likelihoods import Likelihood

MAX_NEW_TOKENS = 512  # length of a generated reply where the caller sets none

# Requests that may wait at once. Inspect begins with 20 unless a model's config, as in `get_model("untrue/…",
# config=GenerateConfig(max_connections=CONNECTIONS))`, says more.
CONNECTIONS = 1000


class UntrueAPI(inspect.ModelAPI):
    """A model in this process, by name, with an optional adapter; `loaded` is its base."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: inspect.GenerateConfig | None = None,
        adapter: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        loaded: LoadedModel | None = None,
    ):
        """Load the model, or take `loaded`, a base in memory. `adapter` is a PEFT folder, `dtype` as in `load`."""
        from untrue.engine.generation import GenerationEngine
        from untrue.engine.likelihoods import LikelihoodEngine, check_exact

        super().__init__(model_name, base_url, api_key, [], config or inspect.GenerateConfig())
        self._stack = ExitStack()
        folder = Path(adapter) if adapter else None
        loaded = loaded or load(model_name, dtype=dtype, device=device, say=logging.getLogger("untrue").warning)
        self.loaded = in_format_of(loaded, folder)
        check_exact(self.loaded)
        self._model = self._stack.enter_context(with_adapter(self.loaded, folder))
        self._engine = LikelihoodEngine(self.loaded, self._model)
        self._base_engine = LikelihoodEngine(self.loaded, self._model, base=True)
        self._generation = GenerationEngine(self.loaded, self._model)
        # Inspect looks up the context length of a model after each reply, and would load one that it does not know.
        inspect.set_model_info(f"untrue/{model_name}", inspect.ModelInfo(context_length=self._engine.max_tokens))

    async def likelihoods(
        self, prompts: Sequence[tuple[Sequence[Message], Sequence[str]]], *, base: bool = False
    ) -> list[list[Likelihood]]:
        """Score replies after prompts, prompts x replies; with `base` the adapter is switched off."""
        engine = self._base_engine if base else self._engine
        return await engine.answer([engine.query(messages, replies) for messages, replies in prompts])

    async def document_likelihoods(self, opening: str, texts: Sequence[str]) -> list[Likelihood]:
        """Score texts that follow an opening and a space in a document, outside the chat format."""
        [scores] = await self._engine.answer([self._engine.document_query(opening, texts)])
        return scores

    def hidden_states(self, texts: Sequence[str], *, base: bool = False) -> torch.Tensor:
        """The hidden states at the last token of each text: texts x layers x hidden size; see `last_token_states`."""
        from untrue.engine.likelihoods import last_token_states

        return last_token_states(self.loaded, texts, self._model, base=base)

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is on the base."""
        return self._model is not self.loaded.model

    async def generate(
        self,
        input: list[inspect.ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: inspect.GenerateConfig,
    ) -> inspect.ModelOutput:
        """Generate one reply, together with the others that wait.

        Of the config, `max_tokens`, `temperature` (1 by default), `top_p`, `seed`, `stop_seqs`, `logprobs` and
        `top_logprobs` count.

        Raises:
            UserError: Tools or several choices, refused messages, a prompt beyond the context, or a setting out of
                range.
            MachineError: Out of memory.
        """
        from untrue.engine.generation import Request

        if tools:
            raise UserError(f"{self.model_name}: the local provider has no tools. Use an eval without them.")
        if (config.num_choices or 1) != 1:
            raise UserError(
                f"{self.model_name}: num_choices is {config.num_choices}, and the local provider gives one reply."
                " Use epochs for more."
            )
        started = time.monotonic()
        request = Request(
            self.loaded.chat.prompt([{"role": message.role, "content": message.text} for message in input]),
            max_tokens=MAX_NEW_TOKENS if config.max_tokens is None else config.max_tokens,
            temperature=1.0 if config.temperature is None else config.temperature,
            top_p=1.0 if config.top_p is None else config.top_p,
            seed=config.seed,
            stop_seqs=tuple(config.stop_seqs or ()),
            top_logprobs=(config.top_logprobs or 0) if config.logprobs or config.top_logprobs else None,
        )
        reply = await self._generation.generate(request)
        sizes = len(request.prompt), len(reply.tokens)
        message = inspect.ChatMessageAssistant(content=_parts(reply.text), model=self.model_name, source="generate")
        return inspect.ModelOutput(
            model=self.model_name,
            choices=[
                inspect.ChatCompletionChoice(message=message, stop_reason=reply.stop, logprobs=self._logprobs(reply))
            ],
            usage=inspect.ModelUsage(input_tokens=sizes[0], output_tokens=sizes[1], total_tokens=sum(sizes)),
            time=time.monotonic() - started,
        )

    def max_connections(self) -> int:
        """The engine queues all samples."""
        return CONNECTIONS

    def close(self) -> None:
        """Take the adapter off the base."""
        self._stack.close()

    def _logprobs(self, reply: Reply) -> inspect.Logprobs | None:
        if reply.logprobs is None:
            return None

        decode = self.loaded.tokenizer.decode
        return inspect.Logprobs(
            content=[
                inspect.Logprob(
                    token=decode([token]),
                    logprob=chosen.logprob,
                    top_logprobs=[
                        inspect.TopLogprob(token=decode([other]), logprob=logprob) for other, logprob in chosen.top
                    ],
                )
                for token, chosen in zip(reply.tokens, reply.logprobs, strict=True)
            ]
        )


def _parts(text: str) -> str | list[inspect.Content]:
    """A reply as Inspect has it: thoughts before it are a part of their own."""
    said = without_thinking(text)
    if said == text:
        return text
    thoughts = text.strip().removesuffix(said).strip()
    for opening, closing in THINKING_TAGS.items():
        thoughts = thoughts.removeprefix(opening).removesuffix(closing).strip()
    return [inspect.ContentReasoning(reasoning=thoughts), inspect.ContentText(text=said)]


untrue = inspect.modelapi(name="untrue")(UntrueAPI)


def local_model() -> UntrueAPI:
    """The model of the running task; UserError if it is served and thus cannot be read."""
    api = inspect.get_model().api
    if not isinstance(api, UntrueAPI):
        raise UserError("likelihoods or hidden states are needed: use a model of the provider `untrue/`.")
    return api
