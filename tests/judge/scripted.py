"""A judge that follows a rule, for tests: an Inspect model that reads its question and answers in the form wanted.

    import tests.judge.scripted  # makes the provider known
    judge = get_model("scripted/by-words")
    judge = get_model("scripted/mine", judgement=lambda question: '{"label": "A"}' if "certainly" in question else "B")

By default it goes by words in the last text of the question: `says-A` to `says-D`, `says-yes`, `says-no`,
`says-unclear`, `says-40` (a range of 40 to 40), `says-30-50`. Nothing of the kind is C, unclear or else no, or no
range. A text with `breaks-judge` gets an answer that cannot be read, each time; one with `kills-judge` makes the model
raise. A question without a text is one for a rating, and gets a 7.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, ModelUsage, get_model, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo

from untrue.judge.judge import Judge

NUMBER = r"(-?\d+(?:\.\d+)?)"


class Scripted(ModelAPI):
    """Answers by rule. `calls` holds the questions it was asked."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        judgement: Callable[[str], str] | None = None,
    ):
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self._judgement = judgement or by_words
        self.calls: list[str] = []

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        question = input[0].text
        self.calls.append(question)
        output = ModelOutput.from_content(self.model_name, self._judgement(question))
        output.usage = ModelUsage(
            input_tokens=len(question.split()), output_tokens=5, total_tokens=len(question.split()) + 5
        )
        return output

    def max_connections(self) -> int:
        return 1000


def by_words(question: str) -> str:
    """The answer by the words in the last text of a question."""
    texts = re.findall(r"<text>\n(.*?)\n</text>", question, re.DOTALL)
    if not texts:  # a user who is asked for a rating
        return "7"
    text = texts[-1]
    if "kills-judge" in text:
        raise RuntimeError("the judge is not well")
    if "breaks-judge" in text:
        return '{"reason": "cut'
    if '"low"' in question:
        found = re.search(rf"says-{NUMBER}(?:-{NUMBER})?", text)
        low, high = (float(found[1]), float(found[2] or found[1])) if found else (None, None)
        return json.dumps({"reason": "by rule", "low": low, "high": high})
    labels = re.findall(r"<one of (.*?)>", question)[-1].split(", ")
    found = re.search(rf"says-({'|'.join(labels)})\b", text)
    rest: dict[str, Any] = {"A": "C", "yes": "unclear" if "unclear" in labels else "no"}
    return json.dumps({"reason": "by rule", "label": found[1] if found else rest[labels[0]]})


@modelapi(name="scripted")
def scripted() -> type[ModelAPI]:
    return Scripted


def id_of(name: str) -> str:
    """The id of a scripted judge of this name."""
    return Judge(get_model(name)).id
