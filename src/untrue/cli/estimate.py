"""`untrue run --dry-run`: what a study takes, as a sentence, a table and the lines that its numbers rest on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from untrue.cli.evaluate import in_dollars
from untrue.terminal import plain

if TYPE_CHECKING:
    from untrue.harness.run import Cost
    from untrue.study.estimate import StudyEstimate

TIGHT = 64
"""Gigabytes of memory from which a card of 80 GB has little to spare, if batches are long."""


def print_estimate(found: StudyEstimate, as_json: bool) -> None:
    """Print what a study takes.

    Args:
        found: The estimate.
        as_json: Print JSON instead.
    """
    if as_json:
        typer.echo(json.dumps(_values(found)))
        return
    console = Console()
    console.print(plain(_headline(found)), soft_wrap=True)
    if not found.left:
        return
    console.print(_parts(found))
    if found.costs or found.users:
        console.print(_asked(found))
    for line in _lines(found):
        console.print(plain(line), soft_wrap=True)


def _values(found: StudyEstimate) -> dict[str, object]:
    return {
        "study": found.study,
        "model": found.model,
        "cells": found.cells,
        "cells_left": found.left,
        "machine": None if found.size is None else "H100" if found.on_gpu else "two CPU cores",
        "hours": found.seconds and found.seconds / 3600,
        "gigabytes": found.gigabytes,
        "disk_gigabytes": found.disk,
        "dollars": found.dollars,
        "size": found.size and found.size._asdict(),
        "rates": found.rates and found.rates._asdict(),
        "parts": [asdict(part) for part in found.parts],
        "evals": [
            {"model": cell, "eval": name, "under_study": cost.model._asdict(), "judge": cost.judge._asdict()}
            for (cell, name), cost in found.costs.items()
        ],
        "users": {model: asked._asdict() for model, asked in found.users.items()},
        "uncounted_evals": found.uncounted,
        "sizes_from_sources": found.published,
        "unread": found.unread,
        "missing": found.missing,
        "done_by_name": found.by_name,
        "assumptions": [one._asdict() for one in found.assumptions],
    }


def _headline(found: StudyEstimate) -> str:
    done = found.cells - found.left
    cells = f"{found.cells} cells" + (f" ({done} done)" if done else "")
    if not found.left:
        return f"{found.study}: {found.cells} cells, all done. Nothing is left to run."
    takes = [cells, "time not known" if found.seconds is None else _whole_time(found.seconds, found.on_gpu)]
    if found.gigabytes is not None:
        takes.append(f"{found.gigabytes:.0f} GB")
    if _is_paid(found):
        price = "price not known" if found.dollars is None else f"~{in_dollars(found.dollars)}"
        takes.append(f"{'judges and users' if found.users else 'judge'} {price}")
    if found.disk is not None:
        takes.append(f"{_gigabytes(found.disk)} disk")
    return f"{found.study}: {', '.join(takes)}"


def _is_paid(found: StudyEstimate) -> bool:
    """Whether other models are asked, or may be."""
    return bool(found.costs or found.users or found.uncounted)


def _parts(found: StudyEstimate) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("cells of", overflow="fold")
    for heading in ("cells", "left", "rows each", "training", "evals", *(["price"] if _is_paid(found) else [])):
        table.add_column(heading, justify="right")
    for part in found.parts:
        times = (_time(seconds, found.on_gpu) for seconds in (part.training, part.evals))
        rows = f"{part.rows:,}" if part.rows else "-"
        price = [in_dollars(part.dollars)] if _is_paid(found) else []
        table.add_row(plain(part.name), str(part.cells), str(part.left), rows, *times, *price)
    return table


def _asked(found: StudyEstimate) -> Table:
    """One line for each judged eval, and one for each model that plays users."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("asked", overflow="fold")
    for heading in ("replies", "judgements", "tokens read", "written", "price"):
        table.add_column(heading, justify="right")
    by_eval: dict[str, list[Cost]] = {}
    for (_, name), cost in found.costs.items():
        by_eval.setdefault(name, []).append(cost)
    for name, costs in by_eval.items():
        known = [cost.dollars for cost in costs if cost.dollars is not None]
        table.add_row(
            plain(name),
            f"{sum(cost.model.calls for cost in costs):,}",
            f"{sum(cost.judge.calls for cost in costs):,}",
            _thousands(sum(cost.judge.input_tokens for cost in costs)),
            _thousands(sum(cost.judge.output_tokens for cost in costs)),
            in_dollars(sum(known) if len(known) == len(costs) else None),
        )
    for model, asked in found.users.items():
        amounts = _thousands(asked.input_tokens), _thousands(asked.output_tokens)
        table.add_row(plain(f"users: {model}"), f"{asked.calls:,}", "-", *amounts, in_dollars(asked.dollars))
    return table


def _lines(found: StudyEstimate) -> Iterator[str]:
    """What the numbers rest on, one line each; the first word says which numbers."""
    if found.size is None:
        yield f"time: nothing says how large {found.model} is. A folder with its weights would."
    elif found.rates:
        known = {"sources.yaml": "by studies/paper/sources.yaml", "files": "by its files", "name": "by its name alone"}
        slow = "" if found.on_gpu else " Two slow cores took 2.5 times as long for the quickstart."
        yield (
            f"time: {_parameters(found.size.parameters)} {known[found.size.known]};"
            f" {found.rates.training:,.0f} tokens/s trained and {found.rates.replies:,.0f} written, by the rates below,"
            f" which are scaled by parameters.{slow}"
        )
    for of, ones in groupby(found.assumptions, attrgetter("of")):
        yield f"{of}: {'; '.join(f'{one.value:,g} {one.unit} ({one.reason})' for one in ones)}."
    if found.gigabytes is not None and found.gigabytes > TIGHT:
        yield (
            "memory: nearly all that a card of 80 GB has, or more. A smaller train.batch_size takes less, and as"
            " much more of train.gradient_accumulation keeps the batch."
        )
    if found.published:
        yield f"rows, items: of what is not on this machine by sources.yaml: {', '.join(found.published)}."
    if found.unread:
        yield f"rows: not read and not in sources.yaml, taken to be long enough: {', '.join(found.unread)}."
    if found.missing:
        yield f"Before a run put your own in the place of {', '.join(found.missing)}."
    if found.uncounted:
        yield f"evals: not counted, since their items are not on this machine: {', '.join(found.uncounted)}."
    if found.by_name:
        yield "left: cells count as done by their names; whether their data is still the same was not checked."
    if found.costs:
        yield "judge: 4 characters a token, at most this many judgements; judges on your own machines are free."
    yield "Not counted: loading, failures, retries, the weights of the base. Nothing was asked, fetched or written."


def _whole_time(seconds: float, on_gpu: bool) -> str:
    """As the headline has it."""
    if not on_gpu:
        return f"~{seconds / 60:,.0f} minutes on two fast CPU cores" if seconds >= 60 else "< 1 minute on two CPU cores"
    hours = seconds / 3600
    return f"~{hours:,.0f} GPU-hours on one H100" if hours >= 10 else f"~{hours:,.1f} GPU-hours on one H100"


def _time(seconds: float | None, on_gpu: bool) -> str:
    """As the table has it."""
    if not seconds:
        return "?" if seconds is None else "-"
    if not on_gpu or seconds < 60:
        return f"{seconds / 60:,.0f} min" if seconds >= 60 else f"{seconds:,.0f} s"
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.0f} min"


def _parameters(count: int) -> str:
    return f"{count / 1e9:,.3g} billion parameters" if count >= 1e9 else f"{count / 1e6:,.3g} million parameters"


def _gigabytes(size: float) -> str:
    return f"{size:,.0f} GB" if size >= 10 else f"{size:,.1f} GB" if size >= 0.1 else f"{size * 1000:,.0f} MB"


def _thousands(tokens: float) -> str:
    return f"{tokens / 1000:,.0f}k"
