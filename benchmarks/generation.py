"""Generating replies: our batched generation against `transformers.generate` at the same batch size.

Both get the same chats of differing lengths (the built-in items, under pressure and neutral) and the same float32
weights on the same threads, and sample at temperature 1 with the same limit of new tokens. transformers takes the chats
in batches of that size, sorted by length and padded on the left, as it requires. Ours takes them all and advances as
many together. The weights are real, so replies have realistic lengths. Chats are generated in parts, each by one side
and then the other, so that a drift in the machine's speed affects both. Tokenisation and loading are excluded. Tokens
are counted up to the end of each reply.

    python benchmarks/generation.py [--quick]
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import torch
from limit import forward, product_rate, shares, size, tree

from untrue.data.items import read_items
from untrue.engine import generation
from untrue.engine.generation import GenerationEngine, Reply, Request
from untrue.models.load import load

QUICK = "--quick" in sys.argv
PARTS, CHATS_A_PART, BATCH, MAX_TOKENS = (1, 4, 2, 8) if QUICK else (2, 64, 32, 64)


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
    rate = product_rate()
    loaded = load("smollm2-135m", dtype="float32")
    loaded.tokenizer.padding_side = "left"
    generation.ROWS["cpu"] = BATCH
    engine = GenerationEngine(loaded)
    chats = prompts(loaded.tokenizer, PARTS * CHATS_A_PART)
    ours: list[tuple[int, float]] = []
    theirs: list[tuple[int, float]] = []
    written: list[tuple[tuple[int, ...], list[int]]] = []

    async def ask(requests: list[Request]) -> list[Reply]:
        return await asyncio.gather(*map(engine.generate, requests))

    def generate(part: list[tuple[int, ...]], limit: int, seed: int) -> None:
        started = time.perf_counter()
        replies = asyncio.run(ask([Request(chat, limit, seed=seed) for chat in part]))
        between = time.perf_counter()
        torch.manual_seed(seed)
        lengths = by_transformers(loaded.model, loaded.tokenizer, part, BATCH, limit)
        written.extend((chat, list(reply.tokens)) for chat, reply in zip(part, replies, strict=True))
        ours.append((sum(len(reply.tokens) for reply in replies), between - started))
        theirs.append((sum(lengths), time.perf_counter() - between))

    generate(chats[:2], 2, 0)  # warms both up
    ours.clear(), theirs.clear(), written.clear()
    for part in range(PARTS):
        generate(chats[part::PARTS], MAX_TOKENS, part)
    rates = [[tokens / seconds for tokens, seconds in side] for side in (ours, theirs)]
    tokens, seconds = map(sum, zip(*ours, strict=True))
    peer_tokens, peer_seconds = map(sum, zip(*theirs, strict=True))
    print(
        json.dumps(
            {
                "chats": len(chats),
                "prompt_tokens": [min(map(len, chats)), max(map(len, chats))],
                "batch": BATCH,
                "max_new_tokens": MAX_TOKENS,
                "tokens": tokens,
                "seconds": round(seconds, 2),
                "tokens_per_second": round(tokens / seconds, 1),
                "transformers_tokens": peer_tokens,
                "transformers_seconds": round(peer_seconds, 2),
                "transformers_tokens_per_second": round(peer_tokens / peer_seconds, 1),
                "ratio_by_part": [round(mine / peer, 2) for mine, peer in zip(*rates, strict=True)],
                **shares(rate, forward(size(loaded.model), tree(written)), ours=seconds),
                "ratio": round(tokens / seconds / (peer_tokens / peer_seconds), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
