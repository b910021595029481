"""A gate that asks judged evals in batches and stops as soon as its verdict is decided: replies and judgements cost.

The order of the items is random and always the same: by a hash of each item's id, or of its cluster's, so that clusters
are asked whole. So a baseline that was asked for one candidate has the replies that the next one needs. After each
batch the bets of `stats.sequential` are looked at. An eval is asked no further once it passes on every endpoint or is
worse on one, and nothing is once a regression is certain.

Where all items are asked and nothing is decided, the verdict is `inconclusive`. The fixed design's test is not tried
then: after so many looks its level would no longer hold.
"""

from __future__ import annotations

from collections.abc import Callable

from untrue.errors import UserError
from untrue.files import content_hash
from untrue.gating.config import GateConfig
from untrue.gating.pairing import refuse_missing, refuse_other_items
from untrue.gating.subject import Side
from untrue.gating.verdict import GateVerdict, Order, gate
from untrue.harness.catalogue import EVALS

BATCH = 20
"""Items that are asked between two looks; a cluster is asked whole."""


def gate_in_batches(
    baseline: Side, candidate: Side, config: GateConfig, tell: Callable[[GateVerdict], None] = lambda so_far: None
) -> GateVerdict:
    """Decide whether a candidate is worse than its baseline, on as few items of the judged evals as that takes.

    Args:
        baseline: What the candidate must not be worse than.
        candidate: What is to ship.
        config: Evals, deltas and level; evals without a judge are asked in full.
        tell: Called with what is known after each batch.

    Raises:
        UserError: They were not asked the same, or an eval of the gate was not asked of both, or with several seeds.
    """
    judged = [spec.name for spec in config.evals if EVALS[spec.name].judged]
    for side in (baseline, candidate):
        refuse_missing(side.name, side.items, judged)
    orders = {name: _order(name, baseline, candidate) for name in judged}
    asked = {name: _next(order, 0) for name, order in orders.items()}
    while True:
        only = {name: list(order)[: asked[name]] for name, order in orders.items()}
        before, after = baseline.ask(only), candidate.ask(only)
        for side in (before, after):
            if several := [name for name in judged if len(side.answers[name].logs) > 1]:
                raise UserError(
                    f"{side.name}: has several seeds of {several[0]}, and a sequential gate is about one model. Leave"
                    " sequential out."
                )
        verdict = gate(before, after, config, orders)
        tell(verdict)
        undecided = [of.eval for of in verdict.asking if not of.is_decided and of.stopped_after < of.n_items]
        if verdict.is_certain_regression or not undecided:
            return verdict
        for name in undecided:
            asked[name] = _next(orders[name], asked[name])


def _order(name: str, baseline: Side, candidate: Side) -> Order:
    """Item -> cluster, in a random order that depends on their ids alone."""
    before, after = baseline.items[name], candidate.items[name]
    refuse_other_items(name, (baseline.name, before), (candidate.name, after))
    clusters = {item: before[item] or after[item] or f"item {item}" for item in before}
    turns = {cluster: content_hash(f"order {cluster}") for cluster in clusters.values()}
    return {item: clusters[item] for item in sorted(clusters, key=lambda item: (turns[clusters[item]], item))}


def _next(order: Order, asked: int) -> int:
    """How many items have been asked after the next batch."""
    clusters = list(order.values())
    end = min(asked + BATCH, len(clusters))
    while end < len(clusters) and clusters[end] == clusters[end - 1]:
        end += 1
    return end
