"""Scoring the built-in items: our likelihood engine against lm-eval's `loglikelihood`, in one process.

Both score the same replies after the same prompts with the same bfloat16 weights on the same threads, chat template and
tokenisation included, loading left out. lm-eval gets the batch size that is fastest for it on a part of the items. Each
figure is the better of two runs.
"""

from __future__ import annotations

import json
import time
from typing import Any

from untrue.data.items import Item, read_items
from untrue.data.rows import Message
from untrue.engine.likelihood import LikelihoodEngine
from untrue.models.load import load

BATCH_SIZES = (1, 4, 8, 16, 32, 64)
TUNING_ITEMS = 16


def prompts(item: Item) -> list[tuple[list[Message], list[str]]]:
    """What forced choice asks of an item."""
    pair = [item.honest_reply, item.dishonest_reply]

    def chat(system: str, user: str) -> list[Message]:
        return [{"role": "system", "content": system}, {"role": "user", "content": user}]

    neutral = [(chat(item.neutral_system_prompt, user), pair) for user in (*item.belief_prompts, item.user_prompt)]
    return [*neutral, (chat(item.system_prompt, item.user_prompt), [*pair, item.evasive_reply])]


def main() -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    loaded = load("smollm2-135m")
    items = read_items()
    engine = LikelihoodEngine(loaded)

    def ours(some: list[Item]) -> list[float]:
        scores = [
            engine.score([engine.query(messages, replies) for messages, replies in prompts(item)]) for item in some
        ]
        return [reply.total for bundle in scores for query in bundle for reply in query]

    def requests(some: list[Item]) -> list[Instance]:
        pairs = [
            (loaded.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True), reply)
            for item in some
            for messages, replies in prompts(item)
            for reply in replies
        ]
        return [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]

    peers = {
        size: HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=size, max_length=2048)
        for size in BATCH_SIZES
    }

    def theirs(batch_size: int, some: list[Item]) -> list[float]:
        return [score for score, _ in peers[batch_size].loglikelihood(requests(some), disable_tqdm=True)]

    ours(items[:1])
    tuning = items[:: len(items) // TUNING_ITEMS]
    tuned = {size: _seconds(lambda size=size: theirs(size, tuning))[0] for size in BATCH_SIZES}
    best = min(tuned, key=lambda size: tuned[size])
    our_seconds, our_scores = min((_seconds(lambda: ours(items)) for _ in range(2)), key=lambda pair: pair[0])
    their_seconds, their_scores = min(
        (_seconds(lambda: theirs(best, items)) for _ in range(2)), key=lambda pair: pair[0]
    )
    differences = [abs(a - b) for a, b in zip(our_scores, their_scores, strict=True)]
    print(
        json.dumps(
            {
                "items": len(items),
                "replies": len(our_scores),
                "dtype": "bfloat16",
                "seconds": round(our_seconds, 2),
                "lm_eval_seconds": round(their_seconds, 2),
                "lm_eval_batch_size": best,
                "lm_eval_tuning_seconds": {str(size): round(seconds, 2) for size, seconds in tuned.items()},
                "mean_difference_nats": round(sum(differences) / len(differences), 4),
                "ratio": round(their_seconds / our_seconds, 2),
            }
        )
    )


def _seconds(work: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
