"""How torch and transformers run on this machine: number format, threads, and no output.

A model is in float32 on a CPU and in bfloat16 on a GPU that computes in it. CPUs agree on float32 products to 1e-6;
their bfloat16 products differ more and are a hundred times slower without special instructions.
"""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, get_args

from untrue.errors import UserError

Dtype = Literal["auto", "float32", "bfloat16"]
FORMATS = ("float32", "bfloat16")

# A CPU computes bfloat16 if its products take at most this many times as long as in float32.
MOST_TIMES_SLOWER = 3.0

WATCHED_SECONDS = 0.3


def number_format(dtype: str, device: str) -> str:
    """`float32` or `bfloat16` on a torch device such as `cuda:1`; UserError if it is unknown or slow on this CPU."""
    import torch

    if dtype not in get_args(Dtype):
        raise UserError(f"dtype: {dtype!r}, expected one of {', '.join(get_args(Dtype))}.")
    device_type = torch.device(device).type
    if dtype == "auto":
        computes_bfloat16 = device_type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if computes_bfloat16 else "float32"
    if dtype == "bfloat16" and device_type == "cpu" and (times := times_slower()) > MOST_TIMES_SLOWER:
        raise UserError(
            f"dtype: bfloat16 products take {times:.0f} times as long as float32 on this CPU, which has no"
            " instructions for them. Leave dtype out, or use float32."
        )
    return dtype


def times_slower() -> float:
    """Time of a matrix product in bfloat16 over that in float32 on this CPU, each the best of three."""
    import torch

    def seconds(dtype: Any) -> float:
        left, right = torch.ones(32, 256, dtype=dtype), torch.ones(256, 256, dtype=dtype)
        times = []
        for _ in range(4):  # the first includes set-up
            started = time.perf_counter()
            for _ in range(4):
                torch.mm(left, right)
            times.append(time.perf_counter() - started)
        return min(times[1:])

    return seconds(torch.bfloat16) / seconds(torch.float32)


def use_idle_cores(say: Callable[[str], None]) -> None:
    """Let torch compute with as many threads as cores are idle, once in a process; `say` if these are fewer.

    The threads of a matrix product wait for the slowest. `OMP_NUM_THREADS` takes precedence.
    """
    if "OMP_NUM_THREADS" not in os.environ and (text := _use_idle_cores()):
        say(text)


@cache
def _use_idle_cores() -> str:
    import psutil
    import torch

    threads = torch.get_num_threads()
    cores, began, used = psutil.cpu_count() or threads, time.monotonic(), time.process_time()
    busy = psutil.cpu_percent(WATCHED_SECONDS) / 100 * cores
    busy -= (time.process_time() - used) / (time.monotonic() - began)  # threads of this process may spin for a while
    idle = max(1, min(threads, round(cores - busy)))
    if idle == threads:
        return ""
    torch.set_num_threads(idle)
    return (
        f"Other processes keep {busy:.1f} cores busy, so {idle} of {threads} threads are used. Set OMP_NUM_THREADS"
        " to choose."
    )


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, advice or warnings of transformers inside the block."""
    from transformers.utils import logging as hub_logging

    level, bars = hub_logging.get_verbosity(), hub_logging.is_progress_bar_enabled()
    hub_logging.set_verbosity(logging.CRITICAL)
    hub_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub_logging.set_verbosity(level)
        if bars:
            hub_logging.enable_progress_bar()
