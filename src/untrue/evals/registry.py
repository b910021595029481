"""What Inspect finds under `untrue/…`: the provider and the tasks. A new eval is one file and one line here."""

from untrue.engine.provider import untrue
from untrue.evals.forced_choice import forced_choice
from untrue.interact.dialogue import interact

TASKS = {"forced_choice": forced_choice}

__all__ = ["TASKS", "forced_choice", "interact", "untrue"]
