"""How many threads compute on a CPU: one for each core that is idle.

The threads of a matrix product wait for the slowest of them, and spin meanwhile. If another process keeps a core busy,
products on all cores are several times slower than on the idle ones.
"""

import os
import time
from collections.abc import Callable
from functools import cache

SECONDS_OF_WATCHING = 0.3


def use_idle_cores(say: Callable[[str], None]) -> None:
    """Let torch compute with as many threads as cores are idle, and say so if these are fewer; once in a process.

    `OMP_NUM_THREADS` takes precedence.
    """
    if "OMP_NUM_THREADS" not in os.environ and (text := _use_idle_cores()):
        say(text)


@cache
def _use_idle_cores() -> str:
    import psutil
    import torch

    threads = torch.get_num_threads()
    cores, began, own = psutil.cpu_count() or threads, time.monotonic(), time.process_time()
    busy = psutil.cpu_percent(SECONDS_OF_WATCHING) / 100 * cores
    busy -= (time.process_time() - own) / (time.monotonic() - began)  # threads of this process may spin for a while
    idle = max(1, min(threads, round(cores - busy)))
    if idle == threads:
        return ""
    torch.set_num_threads(idle)
    return (
        f"Other processes keep {busy:.1f} cores busy, so {idle} of {threads} threads are used. Set OMP_NUM_THREADS"
        " to choose."
    )
