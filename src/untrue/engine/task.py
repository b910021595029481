"""Run one Inspect task on a model in memory."""

import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from untrue import secrets
from untrue.errors import UserError, one_line
from untrue.files import writing
from untrue.models.load import LoadedModel

# Keys of Inspect's logs under which every text is redacted.
_OF_LIBRARIES = ("error", "traceback", "base_url", "model_base_url", "args", "model_args", "extra_headers")

# Keys whose content stays as it is: what is asked and what is answered.
_OF_MODELS = ("attachments", "input", "messages", "metadata", "output", "store")

_ATTACHMENT = re.compile("attachment://([0-9a-f]+)")


def inspect_model(
    loaded: LoadedModel, adapter: Path | None, seed: int | None = None, named: Path | None = None, **arguments: Any
) -> Any:
    """Inspect's model of a base in memory. Close its `api` to take the adapter off again.

    `seed` is of replies whose task sets none; `named` is what a log calls an adapter whose folder is about to be moved.
    """
    from inspect_ai.model import GenerateConfig, get_model

    from untrue.engine.provider import CONNECTIONS

    given: dict[str, Any] = {"adapter": str(adapter)} if adapter else {}
    # With its default Inspect lets 20 wait at once, and batches are small.
    config = GenerateConfig(max_connections=CONNECTIONS, seed=seed)
    model = get_model(f"untrue/{loaded.name}", config=config, memoize=False, loaded=loaded, **arguments, **given)
    model.model_args = {"adapter": str(named or adapter)} if adapter else {}  # in the log, without the weights
    return model


def run_task(
    task: Any,
    model: Any,
    log: Path,
    label: str,
    roles: Mapping[str, Any] | None = None,
    keep_failed: bool = False,
    **settings: Any,
) -> list[str]:
    """Run a task and write its Inspect log, whole or not at all, without secrets in error texts, tracebacks or
    settings.

    Args:
        label: What errors call the task.
        roles: Other models that take part.
        keep_failed: Whether to write the log even if every sample failed.
        **settings: Of Inspect's `eval`, such as epochs and what is generated with.

    Returns:
        The reason of each sample that failed.

    Raises:
        UserError: The task failed as a whole.
        KeyboardInterrupt: The user stopped it.
    """
    from inspect_ai import eval as inspect_eval

    with secrets.redacted_logging(), TemporaryDirectory(prefix="untrue-eval-") as scratch:
        logs = inspect_eval(
            task,
            model=model,
            model_roles=dict(roles or {}),
            log_dir=scratch,
            log_format="eval",
            display="log",  # the others read names and paths as markup, even where they show nothing
            log_level="critical",
            max_samples=1000,
            log_realtime=False,
            score_display=False,
            **settings,
        )
        if not logs or logs[0].status == "cancelled":  # Inspect keeps a Ctrl-C to itself
            raise KeyboardInterrupt
        [done] = logs
        if done.error:
            raise UserError(f"{label} failed: {one_line(done.error.message)}.")
        failed = [secrets.redact(sample.error.message) for sample in done.samples or [] if sample.error]
        if keep_failed or len(failed) < len(done.samples or []):
            with writing(log) as aside:
                _move(Path(done.location), aside)
        return failed


def _move(log: Path, to: Path) -> None:
    hidden = secrets.known()
    if not hidden:
        shutil.move(log, to)
        return
    with zipfile.ZipFile(log) as old, zipfile.ZipFile(to, "w") as new:
        for member in old.infolist():
            new.writestr(member, _clean(old.read(member), hidden))


def _clean(content: bytes, hidden: list[tuple[str, str]]) -> bytes:
    entries, quoted = json.loads(content), set[str]()
    clean = _redacted(entries, hidden, quoted)
    if quoted:
        texts = clean["attachments"].items()
        clean["attachments"] = {name: secrets.redact(text, hidden) if name in quoted else text for name, text in texts}
    return content if clean == entries else json.dumps(clean, ensure_ascii=False).encode()


def _redacted(value: Any, hidden: list[tuple[str, str]], quoted: set[str], foreign: object = False) -> Any:
    """A part of a log, redacted except for what models read and write."""
    if isinstance(value, list):
        return [_redacted(inner, hidden, quoted, foreign) for inner in value]
    if isinstance(value, str) and foreign:
        quoted.update(_ATTACHMENT.findall(value))
        return secrets.redact(value, hidden)
    if not isinstance(value, dict):
        return value
    fields = {
        key: inner
        if key in _OF_MODELS and not foreign
        else _redacted(inner, hidden, quoted, foreign or key in _OF_LIBRARIES or (key == "call" and value.get("error")))
        for key, inner in value.items()
    }
    if "traceback_ansi" in fields:  # there a secret may be broken over lines and by colours
        fields["traceback_ansi"] = fields["traceback"]
    return fields
