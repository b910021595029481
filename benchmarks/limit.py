"""How fast this machine could be at most: its own rate of products in float32, and the operations that work needs.

A figure's part of the limit is operations / (rate x seconds). Operations are those that no way of doing the work can
leave out: products with frozen weights, forward and, in training, backward to the activations; LoRA's; attention's; the
vocabulary's only where a token is supervised or scored. A prefix that sequences share counts once. Padding, activations
computed twice, norms and softmax count nothing.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

ROWS = 2048
"""Tokens in the products whose rate is measured."""

Tokens = Sequence[int]


class Size(NamedTuple):
    """What a model multiplies by, in parameters, and the width of its attention over all layers."""

    linear: int
    head: int
    lora: int
    attention: int


class Tree(NamedTuple):
    """What must be computed of sequences: distinct prefix tokens, tokens whose logits are read, attending pairs."""

    tokens: int = 0
    read: int = 0
    pairs: int = 0


def size(model: Any, rank: int = 0, targets: Iterable[str] = ()) -> Size:
    """The size of a base, and of LoRA of a rank on its modules of these names.

    Args:
        model: The base, without an adapter.
        rank: Of LoRA; 0 for none.
        targets: Names of the modules that LoRA is on.
    """
    config, head = model.config, model.get_output_embeddings()
    layers = {name: one for name, one in model.named_modules() if isinstance(one, nn.Linear) and one is not head}
    adapted = [layer for name, layer in layers.items() if name.rpartition(".")[2] in {*targets}]
    return Size(
        linear=sum(layer.weight.numel() for layer in layers.values()),
        head=head.weight.numel(),
        lora=rank * sum(layer.in_features + layer.out_features for layer in adapted),
        attention=config.num_hidden_layers * config.num_attention_heads * config.head_dim,
    )


def tree(continuations: Iterable[tuple[Tokens, Tokens]]) -> Tree:
    """What scoring, or writing, replies after prompts must compute.

    Args:
        continuations: Prompts and the replies after them. Nothing is read after the last token of a reply.
    """
    children, depths, read = dict[tuple[int, int], int](), list[int](), set[int]()
    for prompt, reply in continuations:
        node = -1
        for place, token in enumerate([*prompt, *reply]):
            if place >= len(prompt):
                read.add(node)
            if place == len(prompt) + len(reply) - 1:
                break
            if (node, token) not in children:
                children[node, token] = len(depths)
                depths.append(depths[node] + 1 if node >= 0 else 1)
            node = children[node, token]
    return Tree(len(depths), len(read), sum(depths))


def together(trees: Iterable[Tree]) -> Tree:
    """Several, one after another."""
    return Tree(*map(sum, zip(Tree(), *trees, strict=True)))


def forward(model: Size, work: Tree) -> int:
    """Operations of reading."""
    return 2 * (model.linear + model.lora) * work.tokens + 2 * model.head * work.read + 4 * model.attention * work.pairs


def training(model: Size, work: Tree) -> int:
    """Operations of learning LoRA, the weights below it frozen."""
    linear = 4 * model.linear + 6 * model.lora
    return linear * work.tokens + 4 * model.head * work.read + 12 * model.attention * work.pairs


def product_rate(seconds: float = 2.5) -> float:
    """Operations a second of products in float32 as large as the embedded model's, on all threads: the best of several.

    Args:
        seconds: How long to measure.
    """
    best = 0.0
    shapes = ((ROWS, 576, 576), (ROWS, 576, 1536), (ROWS, 1536, 576), (ROWS // 16, 576, 49_152))
    for rows, width, out in shapes:
        left, right = torch.randn(rows, width), torch.randn(out, width)
        end = time.perf_counter() + seconds / len(shapes)
        while (started := time.perf_counter()) < end:
            nn.functional.linear(left, right)
            best = max(best, 2 * rows * width * out / (time.perf_counter() - started))
    return best


def shares(rate: float, operations: float, **seconds: float) -> dict[str, Any]:
    """What a benchmark says of the limit: the rate, the operations, and for each side its part of the limit.

    Args:
        rate: Operations a second.
        operations: That the work needs.
        **seconds: That each side took.
    """
    found = {name: round(operations / rate / took, 3) for name, took in seconds.items()}
    return {"gigaflops": round(rate / 1e9, 1), "operations": operations, "limit": found}


def machine() -> dict[str, Any]:
    """The CPU, what torch uses of it, and whether it can do more than that."""
    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text("utf-8").splitlines()] if info.is_file() else []
    found = {key.strip(): value.strip() for key, _, value in lines}
    flags = {*found.get("flags", "").split()}
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "cpu": found.get("model name") or platform.processor() or platform.machine(),
        "capability": capability,
        "emulated": capability == "AVX2" and "avx512f" in flags,
        "flags": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16"}),
        "threads": torch.get_num_threads(),
    }


def label(about: Mapping[str, Any]) -> str:
    """What results of a machine are filed under: what it can do."""
    return about["capability"] + (" emulated" if about["emulated"] else "")
