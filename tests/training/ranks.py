"""One of several processes that train on CPUs over gloo: ranks.py FOLDER[@STEP]…, each with a task, some cut off.

Beside a task that is done it writes how much of the model lay in this process.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from untrue.training import rank, run
from untrue.training.rank import JOB, Task

own_init, own_train = AcceleratorState.__init__, run.train


def sharding_on_cpus(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    """Accelerate takes FSDP for GPUs alone, and would give each CPU the whole model without a word."""
    own_init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def train_to(last: str, loaded: Any, rows: Any, spec: Any, out: Path, seed: int, progress: Any, *rest: Any) -> Any:
    def stop(done: int, total: int, note: str) -> None:
        progress(done, total, note)
        if last == str(done):
            raise InterruptedError

    record = own_train(loaded, rows, spec, out, seed, stop, *rest)
    for module in loaded.model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    weights = [*loaded.model.parameters()]
    here = sum((weight.to_local() if isinstance(weight, DTensor) else weight).numel() for weight in weights)
    held = {"here": here, "all": sum(weight.numel() for weight in weights)}
    out.with_name(f"{out.name}-held-{os.environ['RANK']}.json").write_text(json.dumps(held))
    return record


AcceleratorState.__init__ = sharding_on_cpus
for word in sys.argv[1:]:
    name, _, last = word.partition("@")
    task = Task(**json.loads((Path(name) / JOB).read_text("utf-8")))
    os.environ["ACCELERATE_USE_FSDP"] = str(task.shard == "fsdp2").lower()
    run.train = lambda *args, last=last: train_to(last, *args)
    with suppress(InterruptedError):
        rank.work(task, Path(name), int(os.environ["RANK"]))
