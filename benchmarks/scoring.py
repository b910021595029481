"""Scoring the built-in items: our likelihood engine against lm-eval's `loglikelihood`, in a process each.

Both score the same replies after the same prompts with the same bfloat16 weights on the same threads, chat template and
tokenisation included, loading left out. lm-eval gets the batch size that is fastest for it on a part of the items. Each
figure is the better of two runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from untrue.data.items import Item, read_items
from untrue.data.rows import Message
from untrue.engine.likelihood import LikelihoodEngine
from untrue.models.load import load

BATCH_SIZES = (1, 4, 8, 16, 32, 64)
TUNING_ITEMS = 16
IN_A_PASS = 5  # as many as the provider takes into one pass


def prompts(item: Item) -> list[tuple[list[Message], list[str]]]:
    """What forced choice asks of an item."""
    pair = [item.honest_reply, item.dishonest_reply]

    def chat(system: str, user: str) -> list[Message]:
        return [{"role": "system", "content": system}, {"role": "user", "content": user}]

    neutral = [(chat(item.neutral_system_prompt, user), pair) for user in (*item.belief_prompts, item.user_prompt)]
    return [*neutral, (chat(item.system_prompt, item.user_prompt), [*pair, item.evasive_reply])]


def ours() -> dict[str, Any]:
    """Time the likelihood engine."""
    engine, items = LikelihoodEngine(load("smollm2-135m")), read_items()

    def score(some: list[Item]) -> list[float]:
        bundles = [[engine.query(messages, replies) for messages, replies in prompts(item)] for item in some]
        passes = [engine.score_all(bundles[start : start + IN_A_PASS]) for start in range(0, len(bundles), IN_A_PASS)]
        return [reply.total for scores in passes for bundle in scores for query in bundle for reply in query]

    score(items[:1])
    seconds, scores = min((_seconds(lambda: score(items)) for _ in range(2)), key=lambda pair: pair[0])
    return {"seconds": seconds, "scores": scores}


def lm_eval() -> dict[str, Any]:
    """Time lm-eval, at the batch size that is fastest for it."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    loaded, items = load("smollm2-135m"), read_items()
    peers: dict[int, Any] = {
        size: HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=size, max_length=2048)
        for size in BATCH_SIZES
    }

    def score(size: int, some: list[Item]) -> list[float]:
        pairs = [
            (loaded.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True), reply)
            for item in some
            for messages, replies in prompts(item)
            for reply in replies
        ]
        requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
        return [total for total, _ in peers[size].loglikelihood(requests, disable_tqdm=True)]

    tuning = items[:: len(items) // TUNING_ITEMS]
    tuned = {size: _seconds(lambda size=size: score(size, tuning))[0] for size in BATCH_SIZES}
    best = min(tuned, key=lambda size: tuned[size])
    seconds, scores = min((_seconds(lambda: score(best, items)) for _ in range(2)), key=lambda pair: pair[0])
    return {"seconds": seconds, "scores": scores, "batch_size": best, "tuning": tuned}


def main() -> None:
    if sys.argv[1:]:
        print(json.dumps({"ours": ours, "lm_eval": lm_eval}[sys.argv[1]]()))
        return
    sides = {}
    for side in ("ours", "lm_eval"):
        done = subprocess.run([sys.executable, __file__, side], stdout=subprocess.PIPE, text=True, check=True)
        sides[side] = json.loads(done.stdout.strip().splitlines()[-1])
    mine, peer = sides["ours"], sides["lm_eval"]
    differences = [abs(a - b) for a, b in zip(mine["scores"], peer["scores"], strict=True)]
    print(
        json.dumps(
            {
                "items": len(read_items()),
                "replies": len(differences),
                "dtype": "bfloat16",
                "seconds": round(mine["seconds"], 2),
                "lm_eval_seconds": round(peer["seconds"], 2),
                "lm_eval_batch_size": peer["batch_size"],
                "lm_eval_tuning_seconds": {size: round(seconds, 2) for size, seconds in peer["tuning"].items()},
                "mean_difference_nats": round(sum(differences) / len(differences), 4),
                "ratio": round(peer["seconds"] / mine["seconds"], 2),
            }
        )
    )


def _seconds(work: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
