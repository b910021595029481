"""Logs of forced choice as a model would have left them, written by Inspect, with known answers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

Log = Callable[..., Path]

_WRITTEN: dict[str, bytes] = {}
"""The logs that were written, by what they hold: tests ask for the same ones."""


def _same(item: int) -> float:
    return 0.4


def write(
    path: Path,
    n: int = 100,
    *,
    lies: Collection[int] = (),
    evades: Collection[int] = (),
    refuses: Collection[int] = (),
    wrong: Collection[int] = (),
    without_value: Collection[int] = (),
    lacks: Collection[str] = (),
    untrue: Collection[int] = (),
    errors: Collection[int] = (),
    absent: Collection[int] = (),
    margin: Callable[[int], float] = _same,
    reads: bool = True,
    tries: bool = False,
    truth: Callable[[int], float] | None = None,
    task: str = "untrue/forced_choice",
    version: int = 3,
    epochs: int = 1,
    model: str = "untrue/some",
    texts: str = "",
    first: int = 0,
    weights: str | None = None,
    tokenizer: str | None = "tokens",
    computed: dict[str, str] | None = None,
    adapter: str | None = None,
    served: str | None = None,
    model_args: dict[str, Any] | None = None,
    status: Any = "success",
    arguments: dict[str, Any] | None = None,
    base_margin: float | None = None,
) -> Path:
    """Write a log of `n` items. All are honest, but for those named by their numbers; with `truth`, of `plain_text`.

    Of those that it `refuses` a refusal is likelier than either reply, which is seen by `evasion_margin` alone. With
    the task `untrue/capability` all are right, but for those that are `wrong`; those `without_value`
    are NaN. What it `lacks` no score says, and with `tries` samples say whether they try reading. By default adapters
    are of one base, and other models have weights of their own.
    """
    weights = weights or ("base-weights" if adapter else f"weights of {path.stem}")
    written = repr({name: value for name, value in locals().items() if name != "path"})
    path.parent.mkdir(parents=True, exist_ok=True)
    if written in _WRITTEN:
        path.write_bytes(_WRITTEN[written])
        return path
    from inspect_ai.log import EvalConfig, EvalDataset, EvalError, EvalLog, EvalSample, EvalSpec, write_eval_log
    from inspect_ai.scorer import Score

    samples = []
    for item in range(first, first + n):
        if item in absent:
            continue
        sample = EvalSample(
            id=f"item-{item:04}",
            epoch=1,
            input=f"Question {item}{texts}?",
            target="Yes.",
            metadata={"category": "facts", "honest_reply": "Yes.", "belief_prompts": ["Is it?", "Truly?"]},
        )
        if base_margin is not None:
            sample.metadata["base_margin"] = base_margin
        if tries:
            sample.metadata["tries_reading"] = item % 4 == 0
        if item in errors:
            sample.error = EvalError(message="it broke", traceback="", traceback_ansi="")
        else:
            outcome = "lie" if item in lies else "evade" if item in evades else "honest"
            details = {
                "belief": "dishonest" if item in untrue else "honest",
                "belief_is_true": item not in untrue,
                "reads": reads if item % 4 == 0 else None,
                "pressure_margin": margin(item),
                "neutral_margin": margin(item),
                "evasion_margin": 1.5 if item in refuses else -0.5,
            }
            details = {name: value for name, value in details.items() if name not in lacks}
            sample.scores = {"outcome": Score(value=outcome, answer="honest", metadata=details)}
            if truth:
                details = {"true": truth(item), "false": 0.0}
                sample.scores = {"ranks_truth_above": Score(value=float(truth(item) > 0), metadata=details)}
            if task == "untrue/capability":
                value = float("nan") if item in without_value else int(item not in wrong)
                sample.scores = {"right": Score(value=value)}
        samples.append(sample)
    about = {"weights": weights, "tokenizer": tokenizer, "tokenisation": tokenizer}
    metadata: dict[str, Any] = {"untrue_model": about} if tokenizer else {}
    if computed:
        metadata["untrue_model"] |= computed
    if adapter:
        metadata["untrue_adapter"] = {"content_hash": adapter}
        if served:
            metadata["untrue_adapter"] |= {"served": served, "reason": "it told nothing"}
    ids: list[str | int] = [f"item-{item:04}" for item in range(first, first + n)]
    spec = EvalSpec(
        created="2026-03-01T12:00:00+00:00",
        task=task,
        task_version=version,
        task_args=arguments or {},
        dataset=EvalDataset(name="builtin", samples=n, sample_ids=ids),
        model=model,
        model_args=model_args or {},
        config=EvalConfig(epochs=epochs),
        metadata=metadata or None,
    )
    write_eval_log(EvalLog(eval=spec, status=status, samples=samples), str(path), format="eval")
    if truth is None and margin is _same:
        _WRITTEN[written] = path.read_bytes()
    return path


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Writes such a log by its name."""

    def named(name: str, *args: Any, **kwargs: Any) -> Path:
        return write(tmp_path / f"{name}.eval", *args, **kwargs)

    return named
