"""A model under study that repeats what it is asked, and fails the first time where a text has `model-once`."""

from __future__ import annotations

from typing import ClassVar

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo


class Echo(ModelAPI):
    """`calls` holds what all models of this kind were asked, whichever of them it was."""

    calls: ClassVar[list[str]] = []

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
    ):
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        text = input[-1].text
        self.calls.append(text)
        if "model-once" in text and self.calls.count(text) == 1:
            raise RuntimeError("the model is not well")
        return ModelOutput.from_content(self.model_name, text)

    def max_connections(self) -> int:
        return 1000


@modelapi(name="echo")
def echo() -> type[ModelAPI]:
    return Echo
