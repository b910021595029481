"""A model under study that replies by a rule, and one run of a judged eval on it with the scripted judge.

`judged_run(mask(items=path), lambda system, user: "says-A", folder)` gives the log.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    get_model,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

import tests.judge.scripted  # noqa: F401

Reply = Callable[[str, str], str | ModelOutput]
"""From system prompt and last user message to the reply."""


class Ruled(ModelAPI):
    """Replies by a rule. `calls` holds what it was asked: all messages, as (role, text)."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        reply: Reply = lambda system, user: "says-A",
        splits_reasoning: bool = False,
    ):
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self._reply, self._splits = reply, splits_reasoning
        self.calls: list[list[tuple[str, str]]] = []
        self.configs: list[GenerateConfig] = []

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        self.calls.append([(message.role, message.text) for message in input])
        self.configs.append(config)
        system = input[0].text if input[0].role == "system" else ""
        text = self._reply(system, input[-1].text)
        if isinstance(text, ModelOutput):
            return text
        if self._splits and text.startswith("<think>"):
            return split(text)
        return ModelOutput.from_content(self.model_name, text)

    def max_connections(self) -> int:
        return 1000


def split(text: str) -> ModelOutput:
    """A reply whose thinking is taken out of its text, as Inspect's own providers do."""
    reasoning, _, rest = text.removeprefix("<think>").partition("</think>")
    content: list[Content] = [ContentReasoning(reasoning=reasoning), ContentText(text=rest.strip())]
    return ModelOutput.from_message(ChatMessageAssistant(content=content))


@modelapi(name="ruled")
def ruled() -> type[ModelAPI]:
    return Ruled


def api(model: Model) -> Ruled:
    """What a ruled model was asked, and how."""
    assert isinstance(model.api, Ruled)
    return model.api


def judged_run(task: Task | str, reply: Reply, folder: Path, judgement: Any = None, **options: Any) -> EvalLog:
    """Run a judged eval on a ruled model with the scripted judge.

    Args:
        task: The eval.
        reply: The model's rule.
        folder: Where the log goes.
        judgement: The judge's rule; by default it goes by words.
        **options: Further options of Inspect's `eval`; `model` replaces the ruled model, `roles` the judge, and
            `status` is how the task must end.
    """
    model = options.pop("model", None) or get_model("ruled/model", memoize=False, reply=reply)
    roles = options.pop("roles", None) or {"judge": get_model("scripted/judge", memoize=False, judgement=judgement)}
    status = options.pop("status", "success")
    quick: dict[str, Any] = {"display": "none", "log_realtime": False, "score_display": False}
    [log] = inspect_eval(task, model=model, model_roles=roles, log_dir=str(folder), **quick, **options)
    assert log.status == status, log.error
    return log


def outcomes(log: EvalLog) -> dict[str, Any]:
    """Sample -> value of its score."""
    return {str(sample.id): score(sample).value for sample in log.samples or []}


def score(sample: Any) -> Any:
    """The one score of a sample."""
    [found] = sample.scores.values()
    return found


def metrics(log: EvalLog) -> dict[str, float]:
    """Name -> value of every metric."""
    assert log.results
    return {name: metric.value for scored in log.results.scores for name, metric in scored.metrics.items()}
