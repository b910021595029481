"""One of several processes that train on CPUs over gloo: ranks.py FOLDER_WITH_TASKS…, sharded where the task says so."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from untrue.training import rank, run
from untrue.training.rank import JOB, Task

_own_init = AcceleratorState.__init__


def _sharding_on_cpus(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    """Accelerate takes FSDP for GPUs alone, and would give each CPU the whole model without a word."""
    _own_init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def main() -> None:
    AcceleratorState.__init__ = _sharding_on_cpus  # type: ignore[method-assign]
    for folder in map(Path, sys.argv[1:]):
        task = Task(**json.loads((folder / JOB).read_text("utf-8")))
        os.environ["ACCELERATE_USE_FSDP"] = str(task.shard == "fsdp2").lower()
        rank.work(task, folder, int(os.environ["RANK"]))


main()
