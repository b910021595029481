"""Earlier judgements, in one SQLite file in the user's cache.

Only judgements that could be read are kept, so failed ones are asked for again. The key holds the judge's identity, the
prompt's name and version, and the whole texts.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from untrue import secrets
from untrue.errors import MachineError
from untrue.judge.judgement import Judgement
from untrue.judge.prompts import JudgePrompt
from untrue.models.adapter import adapter_hash

if TYPE_CHECKING:
    from inspect_ai.model import Model, ModelAPI

WAIT = 30.0
"""Seconds to wait for another process that writes."""

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
"""Settings and arguments of a model that change whether and when an answer comes, but not its content."""


def folder() -> Path:
    """The folder of judgements and checks of judges."""
    return user_cache_path("untrue") / "judges"


def identity(model: Model) -> str:
    """Everything that determines a model's answers: name, arguments, address, settings, weights here, adapter."""
    from untrue.engine.provider import UntrueAPI

    settings = model.config.model_dump(exclude_none=True, exclude=NOT_THE_ANSWER)
    plain = str | int | float | bool | list | dict
    arguments = {
        key: value for key, value in model.model_args.items() if key not in NOT_THE_ANSWER and isinstance(value, plain)
    }
    arguments: dict[str, Any] = secrets.from_environment(arguments, only_plain=True)
    adapter = arguments.get("adapter")
    if isinstance(adapter, str) and Path(adapter).is_dir():  # else it is a hub id
        arguments["adapter"] = adapter_hash(Path(adapter))
    weights = model.api.identity if isinstance(model.api, UntrueAPI) else None
    return json.dumps([str(model), arguments, _address(model.api), settings, weights], sort_keys=True, default=str)


def _address(api: ModelAPI) -> str | None:
    """A model's address. Inspect's vLLM sets `base_url` only at its first call, also for a server it starts."""
    if "_init_base_url" not in vars(api):
        address = api.base_url
    else:
        address = vars(api)["_init_base_url"] or os.environ.get("VLLM_BASE_URL")
    return address and secrets.without_secrets(address)


class JudgementCache:
    """Judgements by key."""

    def __init__(self, path: Path | None = None):
        """Open the cache, by default the user's own, and create it if necessary.

        Raises:
            MachineError: The file is not an SQLite database, or cannot be written.
        """
        self.path = path or folder() / "judgements.sqlite"
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS judgements (key TEXT PRIMARY KEY, judgement TEXT NOT NULL)")

    @staticmethod
    def key(judge: str, prompt: JudgePrompt, fields: Mapping[str, str]) -> str:
        """The key of a judgement.

        Args:
            judge: The judge's `identity`.
            prompt: The question.
            fields: The fields of its template.
        """
        content = json.dumps([judge, prompt.name, prompt.version, sorted(fields.items())])
        return hashlib.sha256(content.encode()).hexdigest()

    def get(self, key: str) -> Judgement | None:
        """The judgement under a key, or None."""
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
