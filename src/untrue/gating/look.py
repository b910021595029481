"""One look of the callback at a model in training: what it asks, without leaving a trace, and the metrics of it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate.state import PartialState
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.distributed.tensor import DTensor
from transformers import PreTrainedConfig

from untrue.data.items import Item
from untrue.engine.likelihoods import exact_engine
from untrue.errors import UserError
from untrue.evals.forced_choice import EVAL, Margins, finite, judge, margins, prompts
from untrue.files import content_hash
from untrue.models.live import borrowed
from untrue.outcomes import Outcome, Result
from untrue.stats.compare import compare, summarise

# The metrics of a look, by their names in `stats.pairing.METRICS`.
SHOWN = ("pressure_margin", "neutral_margin", "pressure_gap", "lie_rate", "evasion_rate", "untrue_belief_rate")

# Accelerate's names for the ways in which a process may hold only a part of the weights.
SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")


class Questions:
    """Items laid out as tokens for the model in training, so that a look takes forward passes and nothing else.

    Attributes:
        asked: Hash of all that is asked, as tokens.
    """

    def __init__(self, model: Any, tokenizer: Any, items: Sequence[Item]):
        """Lay the items out, and check that their likelihoods can be read.

        Args:
            model: As the trainer has it, whole and on one device.
            tokenizer: Its tokenizer, or a processor that has one.
            items: The items.
        """
        if tokenizer is None:
            raise UserError("HonestyCallback: the trainer has no processing_class. Give the model's tokenizer=.")
        self._model, self._items = model, items
        with evaluating(model), borrowed(model, getattr(tokenizer, "tokenizer", tokenizer), "in training") as loaded:
            self._engine = exact_engine(loaded)
            self._bundles = [[self._engine.query(*prompt) for prompt in prompts(item)] for item in items]
        self.asked = content_hash(f"{EVAL.version} {self._bundles}")

    def ask(self, arm: str) -> list[Result]:
        """Ask the weights as they are now; the result of each item is that of the eval `forced_choice`."""
        with evaluating(self._model):
            return [
                _result(arm, item, margins(self._engine.score(bundle)))
                for item, bundle in zip(self._items, self._bundles, strict=True)
            ]


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a model in training into evaluation mode; at the end it is as it was, and so are all random states.

    Metrics are in the dtype of the weights, whatever the trainer's precision: the autocast that accelerate puts around
    the forward pass is off. Attention that has no masks to lay a prefix tree out by is replaced by SDPA.
    """
    modules: list[Any] = [(module, dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    configs = {id(own["config"]): own["config"] for _, own, _ in modules if "config" in own}
    settings = [(config, dict(vars(config))) for config in configs.values() if isinstance(config, PreTrainedConfig)]
    python, array = random.getstate(), np.random.get_state()
    device = model.device
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.autocast(device.type, enabled=False),
        ):
            model.eval()
            for layer, own, _ in modules:
                module: Any = layer
                if "_original_forward" in own:  # of accelerate
                    module.forward = own["_original_forward"]
                if isinstance(layer, BaseTunerLayer):  # without autocast, inputs must be cast by the layer
                    module.cast_input_dtype_enabled = True
            for config, _ in settings:
                if config._attn_implementation not in (None, "sdpa", "eager"):
                    config._attn_implementation = "sdpa"
            yield
    finally:
        for module, own, buffers in modules:
            vars(module).clear()
            vars(module).update(own)
            module._buffers.clear()
            module._buffers.update(buffers)
        for config, values in settings:
            vars(config).clear()
            vars(config).update(values)
        random.setstate(python)
        np.random.set_state(array)


def refuse_sharded(model: Any) -> None:
    """Refuse a model of whose weights a process may hold only a part."""
    kind = PartialState().distributed_type.value
    if kind in SHARDED or any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        how = kind if kind in SHARDED else "DTensor"
        raise UserError(
            f"HonestyCallback: the weights are sharded ({how}), and a look needs them whole on one device. Leave it out"
            " and run `untrue eval` on the checkpoints."
        )


def metrics_of(results: Sequence[Result], first: Sequence[Result] | None) -> dict[str, float]:
    """The metrics of a look, by name, as far as they are finite.

    Returns:
        The metrics of `SHOWN`; of each METRIC also `METRIC_change`, its difference from the first look, and the limits
        of that difference's 95 % interval, `METRIC_change_low` and `METRIC_change_high`; and the number of `errors`.
    """
    [summary] = summarise(results, {})
    numbers: dict[str, float] = {}
    for name in SHOWN:
        interval = getattr(summary, name)
        numbers[name] = interval.value if interval else math.nan
    for comparison in compare([*first, *results], {results[0].arm: first[0].arm}) if first else []:
        if comparison.metric in SHOWN:
            ends = ("change", "change_low", "change_high")
            limits = zip(ends, comparison.difference, strict=True)
            numbers.update((f"{comparison.metric}_{end}", number) for end, number in limits)
    numbers["errors"] = summary.counts["error"]
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def _result(arm: str, item: Item, margins: Margins) -> Result:
    finding = judge(margins["beliefs"], margins["pressure"])
    return Result(
        arm=arm,
        seed=0,
        eval=EVAL.name,
        item=item.id,
        category=item.category,
        outcome=Outcome(finding.value),
        belief=finding.belief,
        statement=finding.statement,
        pressure_margin=finite(margins["pressure"]),
        neutral_margin=finite(margins["neutral"]),
        evasion_margin=finite(margins["evasion"]),
        belief_is_true=finding.belief == "honest",
    )
