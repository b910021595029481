"""What judged evals would cost, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from untrue.evals.cost import Cost


def print_costs(costs: Mapping[tuple[str, str], Cost], as_json: bool) -> None:
    """Print one line for each (model, eval), and the sum.

    Args:
        costs: What each takes.
        as_json: Print JSON instead.
    """
    known = [cost.dollars for cost in costs.values() if cost.dollars is not None]
    total = sum(known) if len(known) == len(costs) else None
    if as_json:
        rows = [
            {"model": model, "eval": name, "under_study": cost.model._asdict(), "judge": cost.judge._asdict()}
            for (model, name), cost in costs.items()
        ]
        typer.echo(json.dumps({"evals": rows, "dollars": total}))
        return
    if not costs:
        typer.echo("No judged eval is left to ask.")
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in ("model", "eval"):
        table.add_column(heading, overflow="fold")
    for heading in ("replies", "tokens read", "written", "judgements", "tokens read", "written", "cost"):
        table.add_column(heading, justify="right")
    for (model, name), cost in costs.items():
        table.add_row(Text(model), Text(name), *_figures(cost), _dollars(cost.dollars))
    Console().print(table)
    typer.echo(
        f"Together {_dollars(total)}, by rule of thumb: 4 characters a token, replies of up to 200 tokens, at most this"
        " many judgements. Nothing was asked or written."
    )


def _figures(cost: Cost) -> list[str]:
    return [
        text for one in cost for text in (f"{one.calls:,}", _thousands(one.input_tokens), _thousands(one.output_tokens))
    ]


def _thousands(tokens: int) -> str:
    return f"{tokens / 1000:,.0f}k"


def _dollars(amount: float | None) -> str:
    return "price not known" if amount is None else f"${amount:.2f}"
