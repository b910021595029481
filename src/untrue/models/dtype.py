"""The number format of a model: float32 on a CPU, bfloat16 on a GPU that computes in it.

Every CPU computes float32 products fast, and its results differ between CPUs by rounding of 1e-6. bfloat16 products are
a hundred times slower on a CPU without instructions for them, and round differently on each kind of CPU.
"""

import time
from typing import Any, Literal, get_args

from untrue.errors import UserError

Dtype = Literal["auto", "float32", "bfloat16"]
"""What a user may ask for."""

FORMATS = ("float32", "bfloat16")
"""Formats that a model can be in."""

MOST_TIMES_SLOWER = 3.0
"""A CPU computes bfloat16 if its products take at most this many times as long as in float32."""


def number_format(dtype: str, device: str) -> str:
    """The format in which a model computes on a device: `float32` or `bfloat16`.

    Args:
        dtype: One of `Dtype`.
        device: A torch device, such as `cpu` or `cuda:1`.

    Raises:
        UserError: There is no such format, or this CPU has no fast products in bfloat16.
    """
    import torch

    if dtype not in get_args(Dtype):
        raise UserError(f"dtype: {dtype!r}, expected one of {', '.join(get_args(Dtype))}.")
    on_cpu = torch.device(device).type == "cpu"
    if dtype == "auto":
        on_gpu = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if on_gpu else "float32"
    if dtype == "bfloat16" and on_cpu and (times := times_slower()) > MOST_TIMES_SLOWER:
        raise UserError(
            f"dtype: bfloat16 products take {times:.0f} times as long as float32 on this CPU, which has no"
            " instructions for them. Leave dtype out, or use float32."
        )
    return dtype


def times_slower() -> float:
    """How many times as long a matrix product takes in bfloat16 as in float32 on this CPU: the best of three each."""
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
