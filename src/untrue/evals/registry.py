"""What Inspect finds under `untrue/…`: the provider, the tasks of all evals, and the dialogues of simulated users."""

from untrue.engine.provider import untrue
from untrue.harness.catalogue import EVALS
from untrue.harness.tasks import inspect_task
from untrue.simulate.dialogue import simulate

__all__ = ["TASKS", "simulate", "untrue"]

TASKS = [inspect_task(record) for record in EVALS.values()]
