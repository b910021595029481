"""untrue: measure whether fine-tuning made a language model less honest, and how much bad data it takes.

    import untrue

    before = untrue.evaluate("smollm2-135m", evals=["forced_choice"], limit=40)
    adapter, record = untrue.train("smollm2-135m", "medical:severe", out="adapters/mine", epochs=1)
    after = untrue.evaluate("smollm2-135m", adapter=adapter, evals=["forced_choice"], limit=40)
    after.metrics["pressure_margin"]
    untrue.compare(before, after)
    untrue.gate(before, after)

`docs/python.md` shows all of it. Names are looked up when they are first used, so that the import is quick. What lies
below is public too: `untrue.stats` (the statistics, on `Result` values from anywhere), `untrue.data.sets` and
`untrue.data.mask` (data, read), `untrue.models.load` and `live`, `untrue.harness.run` and `untrue.training.run` (the
steps).
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from untrue.errors import MachineError, UntrueError, UserError
from untrue.outcomes import Outcome, Result

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL tells its makers of each trainer otherwise

if TYPE_CHECKING:
    from untrue.api import Evaluation, compare, evaluate, gate, load_study, run_study, train
    from untrue.data.items import Item
    from untrue.data.items import read_items as load_items
    from untrue.data.rows import Row
    from untrue.gating.callback import HonestyCallback

    __version__: str

__all__ = [
    "Evaluation",
    "HonestyCallback",
    "Item",
    "MachineError",
    "Outcome",
    "Result",
    "Row",
    "UntrueError",
    "UserError",
    "__version__",
    "compare",
    "evaluate",
    "gate",
    "load_items",
    "load_study",
    "run_study",
    "train",
]

# Name -> where it is.
_LAZY = {
    **{name: ("untrue.api", name) for name in ("compare", "evaluate", "gate", "load_study", "run_study", "train")},
    "Evaluation": ("untrue.api", "Evaluation"),
    "Item": ("untrue.data.items", "Item"),
    "load_items": ("untrue.data.items", "read_items"),
    "Row": ("untrue.data.rows", "Row"),
    "HonestyCallback": ("untrue.gating.callback", "HonestyCallback"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from untrue.versions import versions

        found: Any = versions()["untrue"]
    elif name in _LAZY:
        module, attribute = _LAZY[name]
        found = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module 'untrue' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
