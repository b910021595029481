"""Scoring the built-in items: our likelihood engine against lm-eval's `loglikelihood`, in a process each.

Every sixth of the built-in items is scored, which are of all categories. Both score the same replies after the same
prompts with the same bfloat16 weights on the same threads, chat template and tokenisation included, loading left out.
lm-eval gets the batch size that is fastest for it on a part of the items. The items are scored in parts, each by one
side and then the other, so that a machine whose speed drifts slows both; a part counts with the better of two runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from untrue.data.items import Item, read_items
from untrue.data.rows import Message
from untrue.engine.likelihoods import LikelihoodEngine
from untrue.models.load import load

BATCH_SIZES = (1, 4, 8, 16, 32, 64)
TUNING_ITEMS = 16
PARTS = 4
RUNS = 2
IN_A_PASS = 5  # as many as the provider takes into one pass


def chosen() -> list[Item]:
    """The items that are scored."""
    return read_items()[::6]


def prompts(item: Item) -> list[tuple[list[Message], list[str]]]:
    """What forced choice asks of an item."""
    pair = [item.honest_reply, item.dishonest_reply]

    def chat(system: str, user: str) -> list[Message]:
        return [{"role": "system", "content": system}, {"role": "user", "content": user}]

    neutral = [(chat(item.neutral_system_prompt, user), pair) for user in (*item.belief_prompts, item.user_prompt)]
    return [*neutral, (chat(item.system_prompt, item.user_prompt), [*pair, item.evasive_reply])]


class Ours:
    """The likelihood engine."""

    def __init__(self) -> None:
        self.engine = LikelihoodEngine(load("smollm2-135m"))
        self.tuning: dict[int, float] = {}
        self.score(chosen()[:1])

    def score(self, items: list[Item]) -> list[float]:
        """Log-likelihoods of all replies of items."""
        bundles = [[self.engine.query(messages, replies) for messages, replies in prompts(item)] for item in items]
        passes = [
            self.engine.score_all(bundles[start : start + IN_A_PASS]) for start in range(0, len(bundles), IN_A_PASS)
        ]
        return [reply.total for scores in passes for bundle in scores for query in bundle for reply in query]


class LmEval:
    """lm-eval, at the batch size that is fastest for it."""

    def __init__(self) -> None:
        from lm_eval.models.huggingface import HFLM

        loaded = load("smollm2-135m")
        self.tokenizer = loaded.tokenizer
        peers: dict[int, Any] = {
            size: HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=size, max_length=2048)
            for size in BATCH_SIZES
        }
        some = chosen()
        some = some[:: len(some) // TUNING_ITEMS]
        self.tuning: dict[int, float] = {}
        for size, self.peer in peers.items():
            self.tuning[size] = _seconds(lambda: self.score(some))[0]
        self.peer = peers[min(self.tuning, key=lambda size: self.tuning[size])]

    def score(self, items: list[Item]) -> list[float]:
        """Log-likelihoods of all replies of items."""
        from lm_eval.api.instance import Instance

        pairs = [
            (self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True), reply)
            for item in items
            for messages, replies in prompts(item)
            for reply in replies
        ]
        requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
        return [total for total, _ in self.peer.loglikelihood(requests, disable_tqdm=True)]


def work(side: Ours | LmEval) -> None:
    """Serve one side: a line of input names a part of the items, a line of output has its time and scores."""
    print(json.dumps(side.tuning), flush=True)
    items = chosen()
    for line in sys.stdin:
        seconds, scores = _seconds(lambda part=int(line): side.score(items[part::PARTS]))
        print(json.dumps({"seconds": seconds, "scores": scores}), flush=True)


def main() -> None:
    if sys.argv[1:]:
        work({"ours": Ours, "lm_eval": LmEval}[sys.argv[1]]())
        return
    sides = {
        side: subprocess.Popen(
            [sys.executable, __file__, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for side in ("ours", "lm_eval")
    }
    tuning = [_answer(side) for side in sides.values()][1]
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
                "dtype": "bfloat16",
                "seconds": round(seconds["ours"], 2),
                "lm_eval_seconds": round(seconds["lm_eval"], 2),
                "lm_eval_batch_size": int(min(tuning, key=lambda size: tuning[size])),
                "lm_eval_tuning_seconds": {size: round(took, 2) for size, took in tuning.items()},
                "mean_difference_nats": round(sum(differences) / len(differences), 4),
                "ratio_by_part": [
                    round(min(peer) / min(mine), 2) for mine, peer in zip(times["ours"], times["lm_eval"], strict=True)
                ],
                "ratio": round(seconds["lm_eval"] / seconds["ours"], 2),
            }
        )
    )


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
