"""untrue: measure how far fine-tuning has pushed a language model out of true, and find what pushed it.

What a program needs, beside the command line:

- `untrue.study.config.load` and `untrue.study.run.run`: a study from YAML, and running it;
- `untrue.models.load.load`, `untrue.train.run.train`, `untrue.evals.run.run`: its steps, one by one;
- `untrue.data.sets.rows`, `untrue.data.sets.questions`, `untrue.data.items.read_items`: data of your own, read;
- `untrue.data.mask.read_mask`, `untrue.data.deception.read_deception`: MASK and DeceptionBench, as published;
- `untrue.stats`: the statistics, on `untrue.Result` values from anywhere.
"""

from untrue.errors import MachineError, UntrueError, UserError
from untrue.outcomes import Outcome, Result

__all__ = ["MachineError", "Outcome", "Result", "UntrueError", "UserError"]
