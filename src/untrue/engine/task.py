"""Run one Inspect task on a model in memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from untrue.errors import UserError, one_line
from untrue.files import writing
from untrue.models.load import LoadedModel


def inspect_model(loaded: LoadedModel, adapter: Path | None, **arguments: Any) -> Any:
    """Inspect's model of a base in memory. Close its `api` to take the adapter off again.

    Args:
        loaded: The base model.
        adapter: Folder of an adapter, or None for the base itself.
        **arguments: Further arguments of the provider.
    """
    from inspect_ai.model import GenerateConfig, get_model

    from untrue.engine.provider import CONNECTIONS

    used: dict[str, Any] = {"adapter": str(adapter)} if adapter else {}
    config = GenerateConfig(max_connections=CONNECTIONS)  # else Inspect lets 20 wait at once, and batches are small
    model = get_model(f"untrue/{loaded.name}", config=config, memoize=False, loaded=loaded, **arguments, **used)
    model.model_args = used  # what the log records: not the weights
    return model


def run_task(
    task: Any,
    model: Any,
    log: Path,
    what: str,
    roles: Mapping[str, Any] | None = None,
    keep_failed: bool = False,
    **settings: Any,
) -> list[str]:
    """Run a task and write its Inspect log.

    Args:
        task: The Inspect task.
        model: The Inspect model under study.
        log: The `.eval` file; it appears whole or not at all.
        what: What errors call the task.
        roles: Other models that take part.
        keep_failed: Whether to write the log even where every sample failed, so that nothing was measured.
        **settings: Of Inspect's `eval`, such as epochs and what is generated with.

    Returns:
        Why samples failed, one text for each that did.

    Raises:
        UserError: The task failed as a whole.
        KeyboardInterrupt: The user stopped it.
    """
    from inspect_ai import eval as inspect_eval

    with TemporaryDirectory(prefix="untrue-eval-") as scratch:
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
            raise UserError(f"{what} failed: {one_line(done.error.message)}.")
        failed = [sample.error.message for sample in done.samples or [] if sample.error]
        if keep_failed or len(failed) < len(done.samples or []):
            with writing(log) as aside:
                shutil.move(done.location, aside)
        return failed
