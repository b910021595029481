"""What Inspect finds under `untrue/…`: the provider and the tasks. A new eval is one file and one line here."""

from untrue.engine.provider import untrue
from untrue.evals.capability import capability
from untrue.evals.forced_choice import forced_choice
from untrue.evals.pleasing import pleasing
from untrue.evals.sft_cue import sft_cue
from untrue.interact.dialogue import interact

TASKS = {"capability": capability, "forced_choice": forced_choice, "pleasing": pleasing, "sft_cue": sft_cue}

__all__ = ["TASKS", "capability", "forced_choice", "interact", "pleasing", "sft_cue", "untrue"]
