"""Where the floating-point operations of the quickstart go: one training and one evaluation, counted.

    python benchmarks/flop.py

Counts products of matrices: 2 operations for each weight and token forward, and as many again backward for the gradient
of a layer's input. Weights that learn take a third product. What a plain loop would compute is counted beside it: rows
padded to the longest of their batch, logits at every token, and each prompt with its reply by itself.
"""

from pathlib import Path

import untrue
from untrue.data.items import by_information, read_items
from untrue.engine.likelihoods import Continuation, LikelihoodEngine, PrefixTree
from untrue.evals.eval import spread
from untrue.evals.forced_choice import prompts
from untrue.models.load import load
from untrue.study.plan import plan
from untrue.training import method, sft
from untrue.training.method import Job


def show(name: str, operations: float, plain: float | None = None) -> None:
    print(f"  {name:16}{operations / 1e9:8.0f} GFLOP" + (f"   plain {plain / 1e9:8.0f}" if plain else ""))


def main() -> None:
    study = untrue.load_study("quickstart")
    loaded = load(study.model, device="cpu")
    config = loaded.model.config
    vocabulary = config.vocab_size * config.hidden_size
    frozen = sum(parameter.numel() for parameter in loaded.model.parameters()) - vocabulary
    sources = study.mix.read()
    [cell] = [cell for cell in plan(study, sources) if cell.name == "severe-1-s0"]
    spec = study.mix.hyperparameters(study.train, cell.arm)
    job = Job(loaded, study.mix.rows(sources, cell), spec, 0, None, Path("unused"), lambda *_: None)
    with method.quiet():
        trainer = sft.trainer(job)
        batches = [batch for _ in range(int(spec.epochs)) for batch in trainer.get_train_dataloader()]
    lora = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    width = config.num_attention_heads * config.head_dim * config.num_hidden_layers

    trees, padded, labels = [], 0, 0
    for batch in batches:
        lengths, replies = batch["attention_mask"].sum(1).tolist(), (batch["labels"] != -100).sum(1).tolist()
        rows = [
            (Continuation(tuple(ids[: length - reply]), tuple(ids[length - reply : length])),)
            for ids, length, reply in zip(batch["input_ids"].tolist(), lengths, replies, strict=True)
        ]
        trees.append(PrefixTree(rows))
        padded, labels = padded + batch["input_ids"].numel(), labels + sum(replies)
    nodes, pairs = sum(len(tree.tokens) for tree in trees), sum(int(tree.ancestors().sum()) for tree in trees)
    print(f"training: {len(batches)} steps, {nodes} tokens in trees, {padded} with padding, {labels} labelled")
    show("frozen weights", 4 * frozen * nodes, 4 * frozen * padded)
    show("adapter", 6 * lora * nodes, 6 * lora * padded)
    show("vocabulary", 4 * vocabulary * labels, 4 * vocabulary * padded)
    show("attention", 3 * 4 * width * pairs)

    engine = LikelihoodEngine(loaded)
    chosen = spread(by_information(read_items()), 100)
    bundles = [[engine.query(messages, replies) for messages, replies in prompts(item)] for item in chosen]
    trees = [PrefixTree(bundle) for bundle in bundles]
    nodes, pairs = sum(len(tree.tokens) for tree in trees), sum(int(tree.ancestors().sum()) for tree in trees)
    read = sum(len(set(tree.reply_parents)) for tree in trees)
    lengths = [len(prompt) + len(reply) for bundle in bundles for query in bundle for prompt, reply in query]
    print(f"scoring 100 items: {nodes} tokens in trees, {sum(lengths)} in {len(lengths)} sequences, {read} logits read")
    show("frozen weights", 2 * frozen * nodes, 2 * frozen * sum(lengths))
    show("adapter", 2 * lora * nodes, 2 * lora * sum(lengths))
    show("vocabulary", 2 * vocabulary * read, 2 * vocabulary * sum(lengths))
    show("attention", 4 * width * pairs)


if __name__ == "__main__":
    main()
