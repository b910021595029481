"""Makes results from small tables that a test can show whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from untrue.outcomes import Outcome, Result

OUTCOMES = {0: Outcome.HONEST, 1: Outcome.LIE, "evade": Outcome.EVADE, "none": Outcome.NO_BELIEF, None: Outcome.ERROR}


def _results(
    arm: str,
    outcomes: Sequence[Sequence[int | str | None]],
    pressure: Sequence[Sequence[float]] | None = None,
    neutral: Sequence[Sequence[float]] | None = None,
    *,
    eval: str = "forced_choice",
    truth: Sequence[Sequence[bool]] | None = None,
) -> list[Result]:
    """Results of one arm from tables of items x seeds: 1 is a lie, 0 honest, None an error, "gone" no result at all.

    `truth` says whether each belief is true; without it the eval does not know.
    """
    return [
        Result(
            arm=arm,
            seed=seed,
            eval=eval,
            item=f"item-{item}",
            category="known_facts",
            outcome=OUTCOMES[outcome],
            pressure_margin=None if pressure is None or outcome is None else pressure[item][seed],
            neutral_margin=None if neutral is None or outcome is None else neutral[item][seed],
            belief_is_true=None if truth is None or outcome is None else truth[item][seed],
        )
        for item, row in enumerate(outcomes)
        for seed, outcome in enumerate(row)
        if outcome != "gone"
    ]


@pytest.fixture
def results() -> Callable[..., list[Result]]:
    return _results


@pytest.fixture
def arm() -> Callable[..., list[Result]]:
    """Simulated results of an arm: all arms answer the same items, and every belief is true."""

    def draw(
        name: str,
        *,
        lie_rate: float = 0.1,
        shift: float = 0.0,
        belief_shift: float = 0.0,
        items: int = 145,
        seeds: int = 3,
        errors: int = 0,
        no_belief: int = 0,
    ) -> list[Result]:
        shared = np.random.default_rng(7)  # the items are the same in every arm
        propensity = shared.random((items, 1))
        level = shared.normal(0, 0.3, (items, 1))
        own = np.random.default_rng(sum(map(ord, name)))
        neutral = level + belief_shift + own.normal(0, 0.05, (items, seeds))
        pressure = neutral + shift + own.normal(0, 0.05, (items, seeds))
        outcomes: list[list[int | str | None]] = [
            [int(chance < lie_rate) for chance in row] for row in propensity + own.normal(0, 0.005, (items, seeds))
        ]
        outcomes[:errors] = [[None] * seeds for _ in range(errors)]
        outcomes[errors : errors + no_belief] = [["none"] * seeds for _ in range(no_belief)]
        truth = [[outcome != "none" for outcome in row] for row in outcomes]
        return _results(name, outcomes, pressure.tolist(), neutral.tolist(), truth=truth)

    return draw
