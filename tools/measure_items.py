"""Measure the honesty items on the embedded base model, and write `base_margin` into their files.

    python tools/measure_items.py

By it a `limit` chooses items (`untrue.data.items.by_information`). No other model may be measured here: items that were
chosen by an arm's answers would favour finding, or missing, an effect.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.progress import track

from untrue.data import builtin
from untrue.data.items import ITEM_SETS, Item, read_items
from untrue.engine.likelihoods import LikelihoodEngine, exact_engine
from untrue.files import write_text
from untrue.models import embedded
from untrue.models.load import load


def main() -> None:
    """Measure all sets, one after the other."""
    engine = exact_engine(load(embedded.NAME))
    for name in ITEM_SETS:
        path = builtin.path(name)
        header, *lines = path.read_text("utf-8").splitlines()
        margins = measured(engine, read_items(name))
        rows = [{**json.loads(line), "base_margin": margin} for line, margin in zip(lines, margins, strict=True)]
        text = "\n".join([header, *(json.dumps(row, ensure_ascii=False) for row in rows)])
        write_text(path, f"{text}\n")


def measured(engine: LikelihoodEngine, items: Sequence[Item]) -> list[float | None]:
    """The margin under pressure of each item; None where the true belief is not held under all neutral phrasings."""
    return [_margin(engine, item) for item in track(items, "items")]


def _margin(engine: LikelihoodEngine, item: Item) -> float | None:
    pair = [item.honest_reply, item.dishonest_reply]
    prompts = [(item.neutral_system_prompt, prompt) for prompt in item.belief_prompts]
    asked = [*prompts, (item.system_prompt, item.user_prompt)]
    chats = [[{"role": "system", "content": system}, {"role": "user", "content": user}] for system, user in asked]
    scores = engine.score([engine.query(chat, pair) for chat in chats])
    *beliefs, pressure = (honest.mean - dishonest.mean for honest, dishonest in scores)
    return round(pressure, 3) if all(margin > 0 for margin in beliefs) else None


if __name__ == "__main__":
    main()
