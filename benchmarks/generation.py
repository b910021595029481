"""Generating replies: our batched generation against `transformers.generate` at the same batch size.

Both get the same chats of differing lengths (the built-in items under pressure and neutrally), the same bfloat16
weights on two threads, and sample at temperature 1 with the same most new tokens. transformers takes the chats in
batches of that size, sorted by length and padded on the left, which is the side it works on. Ours takes them all and
lets as many advance together. The weights are the real ones, so replies end where they end. The chats are generated
in parts, each by one side and then the other, so that a machine whose speed drifts slows both. Tokenisation and loading
are left out. Both sides' tokens are counted up to the end of each reply.

    PYTHONPATH=src python benchmarks/generation.py [--smoke]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import torch

from untrue.data.items import read_items
from untrue.engine import generation
from untrue.engine.generation import GenerationEngine, Reply, Request
from untrue.models.load import load

THREADS = 2
BATCH = 32
PARTS = 2
MAX_TOKENS = 64
CHATS_A_PART = 64


def prompts(tokenizer: Any, count: int) -> list[tuple[int, ...]]:
    """Chats as token ids: half of them of one turn, half of three turns, which are longer."""
    items = read_items()
    found = []
    for item in items[:: max(1, len(items) // count)][:count]:
        chat = [{"role": "system", "content": item.system_prompt}, {"role": "user", "content": item.user_prompt}]
        if len(found) % 2:
            chat += [
                {"role": "assistant", "content": item.honest_reply},
                {"role": "user", "content": item.belief_prompts[0]},
            ]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        found.append(tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))
    return found


def by_transformers(model: Any, tokenizer: Any, chats: list[tuple[int, ...]], batch: int, max_tokens: int) -> list[int]:
    """Lengths of the replies."""
    lengths = []
    chats = sorted(chats, key=len)
    for start in range(0, len(chats), batch):
        padded = tokenizer.pad({"input_ids": list(map(list, chats[start : start + batch]))}, return_tensors="pt")
        output = model.generate(
            **padded,
            max_new_tokens=max_tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=tokenizer.pad_token_id,
        )
        for reply in output[:, padded["input_ids"].shape[1] :].tolist():
            ended = reply.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in reply else len(reply)
            lengths.append(ended)
    return lengths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a size of seconds, whose ratio says little")
    smoke = parser.parse_args().smoke
    torch.set_num_threads(THREADS)
    parts, count, batch, max_tokens = (1, 4, 2, 8) if smoke else (PARTS, CHATS_A_PART, BATCH, MAX_TOKENS)
    loaded = load("smollm2-135m")
    loaded.tokenizer.padding_side = "left"
    generation.ROWS["cpu"] = batch
    engine = GenerationEngine(loaded)
    chats = prompts(loaded.tokenizer, parts * count)
    ours: list[tuple[int, float]] = []
    theirs: list[tuple[int, float]] = []

    async def ask(requests: list[Request]) -> list[Reply]:
        return await asyncio.gather(*map(engine.generate, requests))

    def generate(part: list[tuple[int, ...]], limit: int, seed: int) -> None:
        started = time.perf_counter()
        replies = asyncio.run(ask([Request(chat, limit, seed=seed) for chat in part]))
        between = time.perf_counter()
        torch.manual_seed(seed)
        lengths = by_transformers(loaded.model, loaded.tokenizer, part, batch, limit)
        ours.append((sum(len(reply.tokens) for reply in replies), between - started))
        theirs.append((sum(lengths), time.perf_counter() - between))

    generate(chats[:2], 2, 0)  # warms both up
    ours.clear(), theirs.clear()
    for part in range(parts):
        generate(chats[part::parts], max_tokens, part)
    rates = [[tokens / seconds for tokens, seconds in side] for side in (ours, theirs)]
    tokens, seconds = map(sum, zip(*ours, strict=True))
    peer_tokens, peer_seconds = map(sum, zip(*theirs, strict=True))
    print(
        json.dumps(
            {
                "chats": len(chats),
                "prompt_tokens": [min(map(len, chats)), max(map(len, chats))],
                "batch": batch,
                "max_new_tokens": max_tokens,
                "dtype": "bfloat16",
                "threads": torch.get_num_threads(),
                "tokens": tokens,
                "seconds": round(seconds, 2),
                "tokens_per_second": round(tokens / seconds, 1),
                "transformers_tokens": peer_tokens,
                "transformers_seconds": round(peer_seconds, 2),
                "transformers_tokens_per_second": round(peer_tokens / peer_seconds, 1),
                "ratio_by_part": [round(mine / peer, 2) for mine, peer in zip(*rates, strict=True)],
                "ratio": round(tokens / seconds / (peer_tokens / peer_seconds), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
