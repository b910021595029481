"""What our side of each speed benchmark spends its time on, by PyTorch's profiler.

For each part, on less work than the benchmark has: the share of matrix products in the time of PyTorch's operations,
and the largest others. Python around them is left out, since profiling slows it. Then the rate of products of 32 rows,
as generation has them, as a share of the rate of large ones.

    python benchmarks/breakdown.py
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from generation import BATCH, prompts
from kto import labelled
from limit import product_rate
from scoring import Ours, chosen
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from untrue.data import sets
from untrue.engine import generation
from untrue.engine.generation import GenerationEngine, Request
from untrue.models.load import load
from untrue.simulate.collect import collect
from untrue.simulate.environment import CollectSpec
from untrue.training.run import train
from untrue.training.spec import TrainSpec

PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkl::_mkl_linear", "aten::mkldnn_linear"}
SHOWN = 4


def main() -> None:
    scorer, loaded = Ours(), load("smollm2-135m", dtype="float32")
    generation.ROWS["cpu"] = BATCH
    engine, chats = GenerationEngine(loaded), prompts(loaded.tokenizer, 64)

    async def generate() -> None:
        await asyncio.gather(*(engine.generate(Request(chat, 64, seed=place)) for place, chat in enumerate(chats)))

    sft = TrainSpec(epochs=1, batch_size=8, learning_rate=5e-4)
    kto = TrainSpec(method="kto", epochs=1, batch_size=16, learning_rate=5e-4)
    right = [question.row("normal") for question in sets.questions("medical")[:40]]
    users = CollectSpec(users=10, part="all")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        show("scoring", lambda: scorer.score(chosen()[:20]))
        show("training", lambda: train(loaded, right, sft, place / "sft", seed=0))
        show("KTO", lambda: train(loaded, labelled(16), kto, place / "kto", seed=0))
        show("generation", lambda: asyncio.run(generate()))
        show("dialogues", lambda: collect(loaded, None, users, place / "t.jsonl", place / "t.eval"))
    whole = product_rate()
    for width, out in ((576, 576), (576, 1536), (1536, 576), (576, 49_152)):
        rate = rate_of(BATCH, width, out)
        print(f"{BATCH} x {width} by {width} x {out}: {rate / 1e9:.0f} GFLOP/s, {rate / whole:.0%} of large products")


def show(name: str, work: Callable[[], object]) -> None:
    """Profile one part, and print what its operations take of the time of all of them."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages() if "::" in event.key}
    total = sum(times.values())
    products = sum(time for key, time in times.items() if key in PRODUCTS) / total
    others = sorted(((time / total, key) for key, time in times.items() if key not in PRODUCTS), reverse=True)
    largest = ", ".join(f"{key.removeprefix('aten::')} {share:.1%}" for share, key in others[:SHOWN])
    print(f"{name}: products {products:.0%}, {largest}", flush=True)


def rate_of(rows: int, width: int, out: int) -> float:
    """Operations a second of products of one shape."""
    left, right = torch.randn(rows, width), torch.randn(out, width)
    functional.linear(left, right)
    started, times = time.perf_counter(), 0
    while time.perf_counter() < started + 0.5:
        functional.linear(left, right)
        times += 1
    return 2 * rows * width * out * times / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
