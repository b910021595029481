"""Dialogues whose replies are scored as by the eval `sycophancy`: ours against a loop over one after another.

The loop does what a plain script would: `transformers.generate` for each reply, with the same sampling, and two
ordinary forward passes over the whole conversation for each score. Both use the same base in float32, the same
users and lengths; the loop runs fewer dialogues, with the same users. Figures are dialogues per second of total time.

    python benchmarks/turns.py [--quick]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from inspect_ai import Task
from limit import forward, product_rate, shares, size, together, tree

from untrue.data.rows import Message
from untrue.engine.likelihoods import Likelihood, LikelihoodEngine
from untrue.engine.task import inspect_model, run_task
from untrue.evals.sycophancy import CONVINCE, EVAL
from untrue.harness.tasks import inspect_task
from untrue.models.load import LoadedModel, load
from untrue.simulate.dialogue import dialogue_task
from untrue.simulate.environment import TEMPERATURES, CollectSpec, Dialogue, Scenario, dialogues, read_environment
from untrue.simulate.trajectory import Trajectory, read_log
from untrue.simulate.users import follow_up

QUICK = "--quick" in sys.argv


def main() -> None:
    size = {"users": 1, "max_tokens": 8} if QUICK else {"users": 50}
    spec = CollectSpec(part="all", replies="generated", **size)
    few, rate = 2 if QUICK else 10, product_rate()
    loaded = load("smollm2-135m", dtype="float32")
    with tempfile.TemporaryDirectory() as scratch:
        warm = spec.model_copy(update={"users": 1, "turns": 1, "max_tokens": 4})
        talk(loaded, warm, Path(scratch) / "warm.eval")
        started = time.monotonic()
        found = talk(loaded, spec, Path(scratch) / "t.eval")
        seconds = time.monotonic() - started
    held = dialogues(read_environment(spec.environment), spec.users)
    some = held[:: max(1, len(held) // few)][:few]
    hold(loaded, some[0], warm)
    started = time.monotonic()
    for dialogue in some:
        hold(loaded, dialogue, spec)
    loop_seconds = time.monotonic() - started
    ours, theirs = len(found) / seconds, len(some) / loop_seconds
    print(
        json.dumps(
            {
                "trajectories": len(found),
                "errors": sum(one.error is not None for one in found),
                "turns": spec.turns,
                "max_tokens": spec.max_tokens,
                "seconds": round(seconds, 2),
                "trajectories_per_second": round(ours, 3),
                "scored_replies_per_second": round(ours * spec.turns, 3),
                "loop_trajectories": len(some),
                "loop_seconds": round(loop_seconds, 2),
                "loop_trajectories_per_second": round(theirs, 3),
                **shares(rate, needed(loaded, found), ours=seconds),
                "ratio": round(ours / theirs, 2),
            }
        )
    )


def talk(loaded: LoadedModel, spec: CollectSpec, log: Path) -> list[Trajectory]:
    """Hold dialogues and score their replies."""
    task, model = dialogue_task(spec, 0), inspect_model(loaded, None)
    run_task(
        Task(dataset=task.dataset, solver=task.solver, scorer=inspect_task(EVAL)().scorer), model, log, "the dialogues"
    )
    return read_log(log)


def prompts(scenario: Scenario, before: Sequence[Message], reply: str) -> list[tuple[list[Message], list[str]]]:
    """What is scored for a reply."""
    return [
        ([Message(role="system", content=CONVINCE.format(said)), *before], [reply])
        for said in (scenario.wanted, scenario.truth)
    ]


def needed(loaded: LoadedModel, found: Sequence[Trajectory]) -> int:
    """Operations that writing and scoring the replies needs, each dialogue by itself."""
    scenarios = {one.id: one for one in read_environment(CollectSpec().environment).scenarios}
    engine, trees = LikelihoodEngine(loaded), []
    for one in found:
        continuations = []
        for place, message in enumerate(one.messages):
            if message["role"] == "assistant" and message["content"].strip():
                before, reply = one.messages[:place], message["content"]
                system = {"role": "system", "content": one.system}
                asked = [([system, *before], [reply]), *prompts(scenarios[one.scenario], before, reply)]
                continuations += [reply for chat, replies in asked for reply in engine.query(chat, replies)]
        trees.append(tree(continuations))
    return forward(size(loaded.model), together(trees))


def hold(loaded: LoadedModel, dialogue: Dialogue, spec: CollectSpec) -> list[float]:
    """Run one dialogue and score its replies, one call after another."""
    system = {"role": "system", "content": dialogue.system_prompt(read_environment(spec.environment), spec.assistant)}
    messages, margins = [], []
    for turn in range(spec.turns):
        messages.append({"role": "user", "content": follow_up(dialogue, turn, 0)})
        reply = generate(loaded, [system, *messages], spec)
        wanted, truth = (score(loaded, chat, reply).mean for chat, _ in prompts(dialogue.scenario, messages, reply))
        margins.append(wanted - truth)
        messages.append({"role": "assistant", "content": reply})
    return margins


@torch.inference_mode()
def generate(loaded: LoadedModel, messages: list[dict[str, str]], spec: CollectSpec) -> str:
    text = loaded.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = loaded.tokenizer(text, add_special_tokens=False, return_tensors="pt").to(loaded.model.device)
    sampling = {"do_sample": True, "temperature": TEMPERATURES["generated"], "top_p": 1.0, "top_k": 0}
    output = loaded.model.generate(
        **inputs, max_new_tokens=spec.max_tokens, pad_token_id=loaded.tokenizer.pad_token_id, **sampling
    )
    return loaded.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@torch.inference_mode()
def score(loaded: LoadedModel, messages: list[dict[str, str]], reply: str) -> Likelihood:
    text = loaded.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    start, ids = (loaded.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, reply))
    tokens = torch.tensor([start + ids], device=loaded.model.device)
    logprobs = torch.log_softmax(loaded.model(tokens, use_cache=False).logits[0, len(start) - 1 : -1].float(), -1)
    return Likelihood(float(logprobs.gather(1, tokens[0, len(start) :, None]).sum()), len(ids))


if __name__ == "__main__":
    main()
