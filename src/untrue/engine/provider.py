"""Inspect's model provider `untrue/…`: local models that can generate and, unlike others, score given replies.

inspect eval untrue/forced_choice --model untrue/smollm2-135m -M adapter=PATH
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelInfo,
    ModelOutput,
    ModelUsage,
    StopReason,
    modelapi,
    set_model_info,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from untrue.data.rows import Message
from untrue.engine.batcher import Batcher
from untrue.engine.likelihood import Bundle, Likelihood, LikelihoodEngine
from untrue.errors import UserError
from untrue.models.load import LoadedModel, load, with_adapter

MAX_NEW_TOKENS = 512
"""Length of a generated reply where the caller sets none."""


class UntrueAPI(ModelAPI):
    """A model in this process, by name, with an optional adapter."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        adapter: str | None = None,
        dtype: str = "bfloat16",
        device: str | None = None,
        loaded: LoadedModel | None = None,
        on_scored: Callable[[int], None] = lambda count: None,
    ):
        """Load the model, or take it where it is loaded already.

        Args:
            model_name: `smollm2-135m`, a hub id or a folder.
            base_url: Not used.
            api_key: Not used.
            config: Inspect's generation defaults.
            adapter: Folder of a PEFT adapter.
            dtype: `bfloat16` or `float32`.
            device: A torch device; by default CUDA where there is one.
            loaded: The base in memory, so that a study need not load it for each cell.
            on_scored: Called with the number of `likelihoods` answered.
        """
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self._stack = ExitStack()
        self._loaded = loaded or load(model_name, dtype=dtype, device=device)
        self._model = self._stack.enter_context(with_adapter(self._loaded, Path(adapter) if adapter else None))
        self._engine = LikelihoodEngine(self._loaded, self._model)
        self._batcher = Batcher(self._engine)
        self._base_batcher = Batcher(_BaseEngine(self._loaded, self._model)) if adapter else self._batcher
        self._on_scored, self._scored = on_scored, 0
        # Inspect looks up the context length of a model after each reply, and would load one that it does not know.
        set_model_info(f"untrue/{model_name}", ModelInfo(context_length=self._engine.max_tokens))

    async def likelihoods(
        self, prompts: Sequence[tuple[Sequence[Message], Sequence[str]]], *, base: bool = False
    ) -> list[list[Likelihood]]:
        """Score replies after prompts; prefixes that prompts share are computed once.

        Args:
            prompts: Pairs of chat messages and the replies to score after them.
            base: Whether to score with the adapter switched off.

        Returns:
            For each prompt, for each of its replies, its likelihood.
        """
        batcher = self._base_batcher if base else self._batcher
        scores = await batcher.score([self._engine.query(messages, replies) for messages, replies in prompts])
        self._scored += 1
        self._on_scored(self._scored)
        return scores

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Generate one reply. Tools are not supported."""
        if tools:
            raise UserError(f"{self.model_name}: the local provider has no tools. Use an eval without them.")
        return self._generate(input, config)

    def max_connections(self) -> int:
        """Samples may all wait at once: the engine queues them."""
        return 1000

    def close(self) -> None:
        """Take the adapter off the base."""
        self._stack.close()

    @torch.inference_mode()
    def _generate(self, messages: list[ChatMessage], config: GenerateConfig) -> ModelOutput:
        tokenizer = self._loaded.tokenizer
        text = tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.text} for message in messages],
            tokenize=False,
            add_generation_prompt=True,
        )
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(self._loaded.model.device)
        limit = config.max_tokens or MAX_NEW_TOKENS
        sampling: dict[str, Any] = {"do_sample": False}
        if config.temperature is None or config.temperature > 0:
            sampling = {"do_sample": True, "temperature": config.temperature or 1.0, "top_p": config.top_p or 1.0}
        if config.seed is not None:
            torch.manual_seed(config.seed)
        output = self._model.generate(**inputs, max_new_tokens=limit, pad_token_id=tokenizer.pad_token_id, **sampling)[
            0
        ]
        prompt = inputs["input_ids"].shape[1]
        new = output[prompt:]
        reply = tokenizer.decode(new, skip_special_tokens=True)
        stop: StopReason = "max_tokens" if len(new) >= limit else "stop"
        result = ModelOutput.from_content(self.model_name, str(reply), stop_reason=stop)
        result.usage = ModelUsage(input_tokens=prompt, output_tokens=len(new), total_tokens=prompt + len(new))
        return result


class _BaseEngine(LikelihoodEngine):
    """Scores with the adapter switched off."""

    def score_all(self, bundles: Sequence[Bundle]) -> list[list[list[Likelihood]]]:
        with self.model.disable_adapter():
            return super().score_all(bundles)


@modelapi(name="untrue")
def untrue() -> type[ModelAPI]:
    """The provider, as Inspect finds it."""
    return UntrueAPI
