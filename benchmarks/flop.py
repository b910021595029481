"""Where the floating-point operations of the quickstart go: one training and one evaluation, counted.

    python benchmarks/flop.py

*Plain* is what a usual loop computes: rows padded to the longest of their batch, logits at every token, and each prompt
with its reply by itself.
"""

from pathlib import Path

from limit import Size, Tree, size, together, tree

import untrue
from untrue.data.items import by_information, read_items
from untrue.engine.likelihoods import LikelihoodEngine
from untrue.evals.forced_choice import prompts
from untrue.harness.eval import spread
from untrue.models.load import load
from untrue.study.plan import plan
from untrue.training import method, sft
from untrue.training.method import Job

ITEMS = 100


def main() -> None:
    study = untrue.load_study("quickstart")
    loaded = load(study.model, device="cpu")
    sources = study.mix.read()
    [cell] = [cell for cell in plan(study, sources) if cell.name == "severe-1-s0"]
    spec = study.mix.hyperparameters(study.train, cell.arm)
    model = size(loaded.model, spec.lora_rank, spec.target_modules)  # before the trainer puts an adapter on
    job = Job(loaded, study.mix.rows(sources, cell), spec, 0, None, Path("unused"), lambda *_: None)
    with method.quiet():
        trainer = sft.trainer(job)
        batches = [batch for _ in range(int(spec.epochs)) for batch in trainer.get_train_dataloader()]
    trees, padded = [], sum(batch["input_ids"].numel() for batch in batches)
    for batch in batches:
        lengths, replies = batch["attention_mask"].sum(1).tolist(), (batch["labels"] != -100).sum(1).tolist()
        rows = zip(batch["input_ids"].tolist(), lengths, replies, strict=True)
        trees.append(tree((ids[: length - reply], ids[length - reply : length]) for ids, length, reply in rows))
    print(f"training: {len(batches)} steps")
    show(model, together(trees), padded, backward=True)

    engine = LikelihoodEngine(loaded)
    items = spread(by_information(read_items()), ITEMS)
    queries = [[engine.query(*prompt) for prompt in prompts(item)] for item in items]
    replies = [reply for item in queries for query in item for reply in query]
    trees = [tree(reply for query in item for reply in query) for item in queries]
    print(f"scoring {ITEMS} items: {len(replies)} prompts with replies")
    show(model, together(trees), sum(len(prompt) + len(reply) for prompt, reply in replies), backward=False)


def show(model: Size, work: Tree, plain_tokens: int, backward: bool) -> None:
    """Print operations by kind. Backward, a frozen matrix takes one more product and one that learns two."""
    frozen, learning = (4, 6) if backward else (2, 2)
    print(f"  {work.tokens} tokens in trees, {plain_tokens} in plain rows; {work.read} logits read")
    kinds = {
        "frozen weights": (frozen * model.linear, work.tokens),
        "adapter": (learning * model.lora, work.tokens),
        "vocabulary": (frozen * model.head, work.read),
    }
    for kind, (each, tokens) in kinds.items():
        print(f"  {kind:15}{each * tokens / 1e9:8,.0f} GFLOP   plain {each * plain_tokens / 1e9:8,.0f}")
    print(f"  {'attention':15}{(12 if backward else 4) * model.attention * work.pairs / 1e9:8,.0f} GFLOP")


if __name__ == "__main__":
    main()
