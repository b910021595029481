"""`untrue run --dry-run`: what a study takes, as a sentence and a table."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from untrue.cli.evaluate import in_dollars
from untrue.progress import plain
from untrue.report.table import new_table

if TYPE_CHECKING:
    from untrue.study.estimate import StudyEstimate

TIGHT_GIGABYTES = 64  # of a card of 80, if batches are long


def print_estimate(found: StudyEstimate, as_json: bool) -> None:
    """Print what a study takes, as JSON or for people."""
    if as_json:
        typer.echo(json.dumps(_values(found)))
        return
    console = Console()
    if not found.left:
        console.print(plain(f"{found.study}: {found.cells} cells, all done. Nothing is left to run."), soft_wrap=True)
        return
    console.print(plain(_headline(found)), soft_wrap=True)
    is_paid = bool(found.costs or found.users)
    table = new_table(plain("cells of"), "cells", "left", "rows each", "time", *(["price"] if is_paid else []))
    for arm in found.arms:
        time = "?" if found.size is None else _time(arm.seconds)
        price = [in_dollars(arm.dollars)] if is_paid else []
        table.add_row(plain(arm.name), str(arm.cells), str(arm.left), f"{arm.rows:,}", time, *price)
    for model, asked in found.users.items():
        table.add_row(plain(f"users: {model}"), "-", "-", "-", "-", in_dollars(asked.dollars))
    console.print(table)
    for line in _notes(found):
        console.print(plain(line), soft_wrap=True)


def _values(found: StudyEstimate) -> dict[str, object]:
    return {
        "study": found.study,
        "model": found.model,
        "cells": found.cells,
        "cells_left": found.left,
        "machine": found.size and ("H100" if found.size.needs_gpu else "two CPU cores"),
        "hours": found.seconds and found.seconds / 3600,
        "gigabytes": found.gigabytes,
        "disk_gigabytes": found.disk,
        "dollars": found.dollars,
        "arms": [asdict(arm) for arm in found.arms],
        "evals": [
            {"model": cell, "eval": name, "under_study": cost.model._asdict(), "judge": cost.judge._asdict()}
            for (cell, name), cost in found.costs.items()
        ],
        "users": {model: asked._asdict() for model, asked in found.users.items()},
    }


def _headline(found: StudyEstimate) -> str:
    done = found.cells - found.left
    takes = [f"{found.cells} cells" + (f" ({done} done)" if done else "")]
    if found.seconds is None or found.size is None:
        takes.append("time not known")
    elif found.size.needs_gpu:
        takes.append(f"~{found.seconds / 3600:,.1f} GPU-hours on one H100")
    else:
        takes.append(f"~{_time(found.seconds)} on two fast CPU cores")
    if found.gigabytes is not None:
        takes.append(f"{found.gigabytes:.0f} GB")
    if found.costs or found.users:
        takes.append(f"{'judges and users' if found.users else 'judge'} {in_dollars(found.dollars)}")
    if found.disk is not None:
        takes.append(f"{found.disk:,.1f} GB disk" if found.disk >= 0.1 else f"{found.disk * 1000:,.0f} MB disk")
    return f"{found.study}: {', '.join(takes)}"


def _notes(found: StudyEstimate) -> list[str]:
    notes = []
    if found.size is None:
        notes.append(f"Time: nothing says how large {found.model} is. A folder with its weights would.")
    if found.gigabytes is not None and found.gigabytes > TIGHT_GIGABYTES:
        notes.append(
            "Memory: nearly all that a card of 80 GB has, or more. A smaller train.batch_size takes less, and as much"
            " more of train.gradient_accumulation keeps the batch."
        )
    notes.append(
        "Rates are scaled by parameters from the embedded model on two fast cores (slow ones took 2.5 times as long),"
        " or from what is reported for one H100. A judge's price counts 4 characters a token. Not counted: loading,"
        " failures, retries, the weights of the base. No model was loaded and nothing written."
    )
    return notes


def _time(seconds: float) -> str:
    if not seconds:
        return "-"
    if seconds < 60:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"
