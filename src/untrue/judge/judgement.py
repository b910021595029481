"""Judgements: read strictly from a judge's answer, and kept in one SQLite file in the user's cache.

Only readable judgements are kept. The key holds the judge's identity, the prompt's name and version, and all texts.
"""

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.model import Model, ModelAPI
from platformdirs import user_cache_path
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from untrue import secrets
from untrue.engine.provider import UntrueAPI
from untrue.errors import MachineError
from untrue.files import unique_keys
from untrue.judge.prompts import JudgePrompt
from untrue.models.adapter import adapter_hash
from untrue.models.chat import without_thinking

SHOWN = 120  # characters of a wrong answer that an error quotes

WAIT = 30.0  # seconds to wait for another process that writes

_ENDS = TypeAdapter(tuple[FiniteFloat, FiniteFloat] | tuple[None, None])

# Settings and arguments of a model that change whether and when an answer comes, but not its content.
NOT_THE_ANSWER = {
    "api_key",
    "max_connections",
    "adaptive_connections",
    "max_retries",
    "timeout",
    "client_timeout",
    "attempt_timeout",
    "stream_idle_timeout",
    "cache",
    "batch",
}


class JudgeError(Exception):
    """There is no judgement, even after a retry. Evals count it as the outcome `error`."""


class Judgement(NamedTuple):
    """What a judge says of one reply: a label or a range (or no range), from its answer, `raw`."""

    label: str | None
    low: float | None
    high: float | None
    raw: str


def parse(prompt: JudgePrompt, raw: str) -> Judgement:
    """Read a JSON object with `label`, or with `low` and `high`, or a bare label; thinking before it is ignored."""
    text = raw.strip()
    if not text.startswith(("{", "```")):  # else the tags stand inside the answer
        text = without_thinking(text)
    if text in prompt.labels:
        return Judgement(text, None, None, raw)
    fields = _object(text)
    if prompt.labels:
        label = fields.get("label")
        if label not in prompt.labels:
            raise _error(f"the label is {repr(label)[:SHOWN]}, expected one of {', '.join(prompt.labels)}", text)
        return Judgement(label, None, None, raw)
    try:
        low, high = _ENDS.validate_python((fields.get("low", ""), fields.get("high", "")), strict=True)
    except ValidationError:
        raise _error("expected two numbers, 'low' and 'high', or null twice", text) from None
    if low is not None and high is not None and low > high:
        raise _error(f"the range begins at {low} and ends at {high}", text)
    return Judgement(None, low, high, raw)


def _object(text: str) -> dict[str, Any]:
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    try:
        # A whole number of hundreds of digits becomes infinite like any other that is too large.
        fields = json.loads(
            fenced[1] if fenced else text, object_pairs_hook=unique_keys, parse_int=float, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        raise _error("the answer is no JSON", text) from None
    if not isinstance(fields, dict):
        raise _error("the answer is no JSON object", text)
    return fields


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _error(message: str, text: str) -> JudgeError:
    shown = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return JudgeError(f"{message}: {shown!r}")


def folder() -> Path:
    """The folder of judgements and checks of judges."""
    return user_cache_path("untrue") / "judges"


def identity(model: Model, proved: str | None = None) -> str:
    """Everything that determines a model's answers: name, arguments, address, settings, weights here, adapter."""
    settings = model.config.model_dump(exclude_none=True, exclude=NOT_THE_ANSWER)
    plain = str | int | float | bool | list | dict
    given = {key: value for key, value in model.model_args.items() if isinstance(value, plain)}
    arguments = secrets.from_environment({key: given[key] for key in given.keys() - NOT_THE_ANSWER}, only_plain=True)
    adapter = arguments.get("adapter")
    if isinstance(adapter, str) and Path(adapter).is_dir():  # else it is a hub id
        arguments["adapter"] = adapter_hash(Path(adapter))
    weights = model.api.loaded.identity if isinstance(model.api, UntrueAPI) else None
    where = [proved, arguments, None] if proved else [str(model), arguments, _address(model.api)]
    return json.dumps([*where, settings, weights], sort_keys=True, default=str)


def _address(api: ModelAPI) -> str | None:
    """A model's address. Inspect's vLLM sets `base_url` only at its first call, also for a server it starts."""
    if "_init_base_url" not in vars(api):
        address = api.base_url
    else:
        address = vars(api)["_init_base_url"] or os.environ.get("VLLM_BASE_URL")
    return address and secrets.without_secrets(address)


class JudgementCache:
    """Judgements by key, by default those of the user's own cache."""

    def __init__(self, path: Path | None = None):
        self.path = path or folder() / "judgements.sqlite"
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS judgements (key TEXT PRIMARY KEY, judgement TEXT NOT NULL)")

    @staticmethod
    def key(judge: str, prompt: JudgePrompt, fields: Mapping[str, str]) -> str:
        """The key of a judgement; `judge` is its `identity`."""
        content = json.dumps([judge, prompt.name, prompt.version, sorted(fields.items())])
        return hashlib.sha256(content.encode()).hexdigest()

    def get(self, key: str) -> Judgement | None:
        """The judgement under a key."""
        with self._open() as database:
            row = database.execute("SELECT judgement FROM judgements WHERE key = ?", (key,)).fetchone()
        return Judgement(*json.loads(row[0])) if row else None

    def put(self, key: str, judgement: Judgement) -> None:
        """Keep a judgement."""
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO judgements VALUES (?, ?)", (key, json.dumps(judgement)))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=WAIT)) as database, database:
                yield database
        except (sqlite3.Error, OSError) as error:
            raise MachineError(
                f"{self.path}: the cache of judgements cannot be used ({error}). Delete it, or free the disk."
            ) from None
