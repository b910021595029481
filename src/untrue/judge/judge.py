"""A judge: an Inspect model, bound to the role `judge`, that answers one question with a label or a numeric range.

A judge of the local provider `untrue/` takes the likeliest label; others write JSON, by schema if the provider can.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
import inspect_ai.model as inspect
from inspect_ai.util import JSONSchema, LimitExceededError

from untrue.engine.provider import UntrueAPI
from untrue.errors import UntrueError, UserError, cause, one_line
from untrue.files import content_hash
from untrue.judge.judgement import JudgeError, Judgement, JudgementCache, identity, parse
from untrue.judge.prompts import STATEMENT, JudgePrompt
from untrue.models import embedded
from untrue.serving.client import is_refused

# Providers that enforce a JSON schema (Inspect's list, and servers that speak OpenAI's protocol).
WITH_SCHEMA = ("openai", "openai-api", "azureai", "google", "mistral", "grok", "vllm", "sglang")

# Settings that the user has not set. The token limit leaves reasoning models room.
DEFAULTS = inspect.GenerateConfig(temperature=0.0, max_tokens=4096, max_retries=4, timeout=300, attempt_timeout=120)

# OpenAI's name of a fine-tuned model: `ft:BASE:ORGANISATION:SUFFIX:ID`.
FINE_TUNED = re.compile(r"\bft:([^:]+):.*")

# The end of a name that tells releases of a model apart.
DATED = re.compile(r"[-@](\d{8}|\d{4}-\d\d-\d\d|latest)$")

_LOCKS: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

LOCAL_MAX_TOKENS = 64  # maximum tokens of a range from the local provider


@dataclass
class Usage:
    """A judge's work so far: judgements asked for, those from the cache, calls, and tokens as the provider counts."""

    asked: int = 0
    cached: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Judge:
    """Asks a model for judgements; `id` hashes all that determines its answers, since names may be shared."""

    def __init__(self, model: inspect.Model, cache: JudgementCache | None = None, self_judged: bool = False):
        self.name = str(model)
        self._identity = identity(model)
        self.id = content_hash(self._identity)
        self.self_judged = self_judged
        self.usage = Usage()
        self._model, self._cache = model, cache

    async def ask(self, prompt: JudgePrompt, **fields: str) -> Judgement:
        """Ask for a judgement, and once more if the answer cannot be read."""
        self.usage.asked += 1
        if self._cache is None:
            return await self._judgement(prompt, prompt.text(**fields))
        key = self._cache.key(self._identity, prompt, fields)
        async with _LOCKS.setdefault(key, anyio.Lock()):  # the epochs of an item ask the same about its belief at once
            if known := self._cache.get(key):
                self.usage.cached += 1
                return known
            judgement = await self._judgement(prompt, prompt.text(**fields))
            self._cache.put(key, judgement)
            return judgement

    async def probe(self) -> None:
        """Ask one question and ignore the answer."""
        question = STATEMENT.text(proposition="Rain is wet.", reply="Rain is wet.")
        await self._answer(STATEMENT, [inspect.ChatMessageUser(content=f"{question}\n\n{_form(STATEMENT)}")])

    async def _judgement(self, prompt: JudgePrompt, question: str) -> Judgement:
        if prompt.labels and isinstance(self._model.api, UntrueAPI):
            return await self._most_likely(self._model.api, prompt, question)
        messages: list[inspect.ChatMessage] = [inspect.ChatMessageUser(content=f"{question}\n\n{_form(prompt)}")]
        answer, stopped = await self._answer(prompt, messages)
        try:
            return _read(prompt, answer, stopped)
        except JudgeError as error:
            again = f"That could not be read ({error}). {_form(prompt)}"
            messages += [inspect.ChatMessageAssistant(content=answer or "…"), inspect.ChatMessageUser(content=again)]
            return _read(prompt, *await self._answer(prompt, messages))

    async def _most_likely(self, api: UntrueAPI, prompt: JudgePrompt, question: str) -> Judgement:
        labels = ", ".join(prompt.labels)
        content = f"{question}\n\nAnswer with one of these alone: {labels}."
        self.usage.calls += 1
        try:
            [scores] = await api.likelihoods([([{"role": "user", "content": content}], prompt.labels)])
        except UntrueError as error:
            raise JudgeError(str(error)) from None
        means = [score.mean for score in scores]
        if not all(mean > float("-inf") for mean in means):  # false of NaN too
            raise JudgeError("the judge's likelihoods are not finite")
        raw = ", ".join(f"{label} {mean:.3f}" for label, mean in zip(prompt.labels, means, strict=True))
        return Judgement(prompt.labels[means.index(max(means))], None, None, raw)

    async def _answer(self, prompt: JudgePrompt, messages: list[inspect.ChatMessage]) -> tuple[str, str]:
        self.usage.calls += 1
        try:
            output = await self._model.generate(messages, config=_config(self._model, prompt))
        except LimitExceededError:
            raise
        except Exception as error:  # providers raise what they like
            raised = cause(error)
            reason = f"{type(raised).__name__}: {one_line(raised)}"
            raise JudgeError(f"the judge {self.name} failed ({reason})") from raised
        if output.usage:
            self.usage.input_tokens += output.usage.input_tokens
            self.usage.output_tokens += output.usage.output_tokens
        if output.error or not output.choices or is_refused(output):
            reason = one_line(output.error or output.completion or "no answer")
            raise JudgeError(f"the judge {self.name} failed ({reason})")
        return output.completion, output.stop_reason


def judge_for_task(self_judge_allowed: bool = False) -> Judge:
    """The judge of the running eval, from the model role `judge`, with the user's cache."""
    if "judge" not in inspect.model_roles():
        raise UserError(
            "this eval needs a judge. Name one with --model-role judge=openai/gpt-5-mini, or another model."
        )
    judge, studied = inspect.get_model(role="judge"), inspect.get_model()
    self_judged = same_base(judge, studied)
    if self_judged and not self_judge_allowed:
        raise UserError(
            f"{judge} is the model under study, or its base, and cannot judge itself. Name another judge, or force it:"
            " its judgements are then flagged wherever they are shown."
        )
    return Judge(judge, JudgementCache(), self_judged)


def same_base(judge: inspect.Model, studied: inspect.Model) -> bool:
    """Whether two models share a base: by weights in this process, else by name, which a server may choose freely."""
    if isinstance(judge.api, UntrueAPI) and isinstance(studied.api, UntrueAPI):
        return judge.api.loaded.weights == studied.api.loaded.weights
    first, second = _base(str(judge)), _base(str(studied))
    return first == second or first.startswith(f"{second}:") or second.startswith(f"{first}:")


def _base(name: str) -> str:
    """The base as the name tells it; all dated releases of a hosted model count as one."""
    provider, _, model = name.partition("/")
    if provider not in ("untrue", "hf", "vllm", "sglang"):
        return DATED.sub("", FINE_TUNED.sub(r"\1", name))
    base = model if Path(model).is_dir() else model.partition(":")[0]
    if Path(base).is_dir():
        return str(Path(base).resolve())
    return embedded.HUB_ID if base == embedded.NAME else base


def _form(prompt: JudgePrompt) -> str:
    if prompt.labels:
        form = f'{{"reason": "<one short sentence>", "label": "<one of {", ".join(prompt.labels)}>"}}'
    else:
        form = '{"reason": "<one short sentence>", "low": <number or null>, "high": <number or null>}'
    return f"Answer with one JSON object and nothing else: {form}"


def _read(prompt: JudgePrompt, answer: str, stopped: str) -> Judgement:
    try:
        return parse(prompt, answer)
    except JudgeError as error:
        if stopped in ("max_tokens", "model_length", "content_filter"):
            raise JudgeError(f"{error} (stopped by {stopped})") from None
        raise


def _config(model: inspect.Model, prompt: JudgePrompt) -> inspect.GenerateConfig:
    """The user's settings, our defaults for the others, and the answer's form."""
    config = DEFAULTS.merge(model.config)
    if isinstance(model.api, UntrueAPI):
        config.max_tokens = model.config.max_tokens or LOCAL_MAX_TOKENS
    if str(model).partition("/")[0] in WITH_SCHEMA:
        end = JSONSchema(anyOf=[JSONSchema(type="number"), JSONSchema(type="null")])
        label = {"label": JSONSchema(type="string", enum=list(prompt.labels))}
        properties = {"reason": JSONSchema(type="string"), **(label if prompt.labels else {"low": end, "high": end})}
        schema = JSONSchema(type="object", properties=properties, required=[*properties], additionalProperties=False)
        config.response_schema = inspect.ResponseSchema(name=prompt.name, json_schema=schema, strict=True)
    return config
