"""Scoring the built-in items: our likelihood engine against lm-eval's `loglikelihood`, each in its own process.

Every twentieth built-in item is scored, so that all categories occur. Both sides score the same replies after the same
prompts with the same float32 weights on the same threads, including chat template and tokenisation and excluding
loading. lm-eval gets the batch size that is fastest for it on some of the items. Items are scored in parts, each by one
side and then the other, so that a drift in the machine's speed affects both; each part counts its better run of two.

    python benchmarks/scoring.py [--quick]
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from limit import forward, product_rate, shares, size, together, tree

from untrue.data.items import Item, read_items
from untrue.engine.likelihoods import LikelihoodEngine
from untrue.evals.forced_choice import prompts
from untrue.models.load import load

QUICK = "--quick" in sys.argv
EACH = 200 if QUICK else 20
BATCH_SIZES = (1, 4) if QUICK else (1, 4, 8, 16, 32)
TUNING_ITEMS = 1 if QUICK else 6
PARTS, RUNS = (1, 1) if QUICK else (4, 2)


def chosen() -> list[Item]:
    """The items that are scored."""
    return read_items()[::EACH]


class Ours:
    """The likelihood engine, as evals ask it."""

    def __init__(self) -> None:
        self.engine = LikelihoodEngine(load("smollm2-135m", dtype="float32"))
        self.about: dict[str, Any] = {}
        self.score(chosen()[:1])

    def score(self, items: list[Item]) -> list[float]:
        """Log-likelihoods of all replies of items."""

        async def answers() -> list[Any]:
            bundles = [[self.engine.query(*prompt) for prompt in prompts(item)] for item in items]
            return await asyncio.gather(*map(self.engine.answer, bundles))

        return [reply.total for bundle in asyncio.run(answers()) for query in bundle for reply in query]


class LmEval:
    """lm-eval, at the batch size that is fastest for it."""

    def __init__(self) -> None:
        from lm_eval.models.huggingface import HFLM

        loaded = load("smollm2-135m", dtype="float32")
        self.tokenizer = loaded.tokenizer
        peers: dict[int, Any] = {
            batch: HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch, max_length=2048)
            for batch in BATCH_SIZES
        }
        some = chosen()
        some = some[:: -(-len(some) // TUNING_ITEMS)]
        tuning: dict[int, float] = {}
        for batch, self.peer in peers.items():
            tuning[batch] = round(_seconds(lambda: self.score(some))[0], 2)
        best = min(tuning, key=lambda batch: tuning[batch])
        self.peer = peers[best]
        self.about = {"lm_eval_batch_size": best, "lm_eval_tuning_seconds": tuning}

    def score(self, items: list[Item]) -> list[float]:
        """Log-likelihoods of all replies of items."""
        from lm_eval.api.instance import Instance

        requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(self.pairs(items))]
        return [total for total, _ in self.peer.loglikelihood(requests, disable_tqdm=True)]

    def pairs(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Prompts as text, and the replies after them."""
        return [
            (self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True), reply)
            for item in items
            for messages, replies in prompts(item)
            for reply in replies
        ]


def work(side: Ours | LmEval) -> None:
    """Serve one side: a line of input names a part of the items, a line of output has its time and scores."""
    print(json.dumps(side.about), flush=True)
    items = chosen()
    for line in sys.stdin:
        seconds, scores = _seconds(lambda part=int(line): side.score(items[part::PARTS]))
        print(json.dumps({"seconds": seconds, "scores": scores}), flush=True)


def main() -> None:
    if sys.argv[1:2] in (["ours"], ["lm_eval"]):
        work({"ours": Ours, "lm_eval": LmEval}[sys.argv[1]]())
        return
    rate, operations = product_rate(), needed(chosen())
    sides = {
        side: subprocess.Popen(
            [sys.executable, __file__, side, *sys.argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for side in ("ours", "lm_eval")
    }
    about = [_answer(side) for side in sides.values()][1]
    times: dict[str, list[list[float]]] = {side: [[] for _ in range(PARTS)] for side in sides}
    scores: dict[str, list[float]] = {side: [] for side in sides}
    for run in range(RUNS):
        for part in range(PARTS):
            for name, side in sides.items():
                assert side.stdin
                side.stdin.write(f"{part}\n")
                answer = _answer(side)
                times[name][part].append(answer["seconds"])
                if run == 0:
                    scores[name] += answer["scores"]
    for side in sides.values():
        side.kill()
    differences = [abs(a - b) for a, b in zip(scores["ours"], scores["lm_eval"], strict=True)]
    seconds = {side: sum(map(min, parts)) for side, parts in times.items()}
    print(
        json.dumps(
            {
                "items": len(chosen()),
                "replies": len(differences),
                "seconds": round(seconds["ours"], 2),
                "items_per_second": round(len(chosen()) / seconds["ours"], 2),
                "lm_eval_seconds": round(seconds["lm_eval"], 2),
                **about,
                "mean_difference_nats": round(sum(differences) / len(differences), 6),
                "largest_difference_nats": round(max(differences), 6),
                "ratio_by_part": [
                    round(min(peer) / min(mine), 2) for mine, peer in zip(times["ours"], times["lm_eval"], strict=True)
                ],
                **shares(rate, operations, **seconds),
                "ratio": round(seconds["lm_eval"] / seconds["ours"], 2),
            }
        )
    )


def needed(items: Sequence[Item]) -> int:
    """Operations that scoring needs."""
    loaded = load("smollm2-135m", dtype="float32")
    engine = LikelihoodEngine(loaded)
    trees = (tree(reply for prompt in prompts(item) for reply in engine.query(*prompt)) for item in items)
    return forward(size(loaded.model), together(trees))


def _answer(side: Any) -> Any:
    line = side.stdout.readline()
    while not line.startswith("{"):  # what libraries print
        if not line:
            raise SystemExit("a side of the benchmark stopped: see its error above")
        line = side.stdout.readline()
    return json.loads(line)


def _seconds(work: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
