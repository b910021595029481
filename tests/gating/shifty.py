"""Models under study that lie as their names say: `shifty/honest`, `alike` (the same), `liar`, and `fails`, which gives
no reply to every second item."""

from __future__ import annotations

from typing import ClassVar

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo


class Shifty(ModelAPI):
    """`calls` holds who was asked what."""

    calls: ClassVar[list[tuple[str, str]]] = []

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        text = input[-1].text
        self.calls.append((self.model_name, text))
        if self.model_name == "fails" and int("".join(filter(str.isdigit, text))) % 2:
            raise RuntimeError("the model is not well")
        return ModelOutput.from_content(self.model_name, f"says-{'B' if self.model_name == 'liar' else 'A'}")

    def max_connections(self) -> int:
        return 1000


@modelapi(name="shifty")
def shifty() -> type[ModelAPI]:
    return Shifty
