"""What Inspect finds under `untrue/…`: the provider and the tasks. A new eval is one file and one line here."""

from untrue.engine.provider import untrue
from untrue.evals.capability import capability
from untrue.evals.deceptionbench import calls as deceptionbench_calls
from untrue.evals.deceptionbench import deceptionbench
from untrue.evals.forced_choice import forced_choice
from untrue.evals.mask import calls as mask_calls
from untrue.evals.mask import mask
from untrue.evals.pressure_pairs import calls as pressure_pairs_calls
from untrue.evals.pressure_pairs import pressure_pairs
from untrue.evals.sft_cue import sft_cue
from untrue.evals.sycophancy import sycophancy
from untrue.evals.unknowns import calls as unknowns_calls
from untrue.evals.unknowns import unknowns
from untrue.simulate.dialogue import simulate

TASKS = {
    "capability": capability,
    "deceptionbench": deceptionbench,
    "forced_choice": forced_choice,
    "mask": mask,
    "sycophancy": sycophancy,
    "pressure_pairs": pressure_pairs,
    "sft_cue": sft_cue,
    "unknowns": unknowns,
}

CALLS = {
    "deceptionbench": deceptionbench_calls,
    "mask": mask_calls,
    "pressure_pairs": pressure_pairs_calls,
    "unknowns": unknowns_calls,
}
"""Judged eval -> what one of its items takes."""

__all__ = [
    "CALLS",
    "TASKS",
    "capability",
    "deceptionbench",
    "forced_choice",
    "mask",
    "pressure_pairs",
    "sft_cue",
    "simulate",
    "sycophancy",
    "unknowns",
    "untrue",
]
