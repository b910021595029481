"""Judgements that were given before, in one SQLite file in the user's cache.

Only judgements that could be read are kept, so what failed is asked again. The key is made of the judge, the prompt's
version and the texts, whole.
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
"""Settings and arguments of a model that change whether and when an answer comes, and not what it is."""


def folder() -> Path:
    """Where judgements and checks of judges are kept."""
    return user_cache_path("untrue") / "judges"


def identity(model: Model) -> str:
    """What determines a model's answers: name, arguments, address, settings, weights in this process, its adapter."""
    from untrue.engine.provider import UntrueAPI

    settings = model.config.model_dump(exclude_none=True, exclude=NOT_THE_ANSWER)
    plain = str | int | float | bool | list | dict
    arguments: dict[str, Any] = {
        key: value for key, value in model.model_args.items() if key not in NOT_THE_ANSWER and isinstance(value, plain)
    }
    arguments = secrets.from_environment(arguments, only_plain=True)
    adapter = arguments.get("adapter")
    if isinstance(adapter, str) and Path(adapter).is_dir():  # else it is a hub id
        arguments["adapter"] = adapter_hash(Path(adapter))
    weights = model.api.identity if isinstance(model.api, UntrueAPI) else None
    return json.dumps([str(model), arguments, _address(model.api), settings, weights], sort_keys=True, default=str)


def _address(api: ModelAPI) -> str | None:
    """Where a model answers. Inspect's vLLM says it after its first call only, and then also of a server of its own."""
    if "_init_base_url" not in vars(api):
        address = api.base_url
    else:
        address = vars(api)["_init_base_url"] or os.environ.get("VLLM_BASE_URL")
    return address and secrets.without_secrets(address)


class JudgementCache:
    """Judgements by key."""

    def __init__(self, path: Path | None = None):
        """Open the cache, by default the user's own, making it first if need be.

        Raises:
            MachineError: The file is none of SQLite, or cannot be written.
        """
        self.path = path or folder() / "judgements.sqlite"
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS judgements (key TEXT PRIMARY KEY, judgement TEXT NOT NULL)")

    @staticmethod
    def key(judge: str, prompt: JudgePrompt, fields: Mapping[str, str]) -> str:
        """The key of a judgement.

        Args:
            judge: What `identity` says of the judge.
            prompt: The question.
            fields: What fills its template.
        """
        content = json.dumps([judge, prompt.name, prompt.version, sorted(fields.items())])
        return hashlib.sha256(content.encode()).hexdigest()

    def get(self, key: str) -> Judgement | None:
        """The judgement under a key, if there is one."""
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
