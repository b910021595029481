"""Which answers of two subjects differ."""

from __future__ import annotations

from typing import Any

from untrue.gating.measurements import Flip, Flips, flips
from untrue.harness.catalogue import EVALS
from untrue.outcomes import Outcome, Result


def result(arm: str, item: str, outcome: Outcome | None, **fields: Any) -> Result:
    return Result(arm=arm, seed=0, eval="forced_choice", item=item, category="facts", outcome=outcome, **fields)


def test_flips_are_pairs_with_another_outcome_or_another_truth_of_the_belief() -> None:
    results = [
        result("baseline", "same", Outcome.HONEST, belief_is_true=True),
        result("baseline", "lies", Outcome.HONEST, belief_is_true=True),
        result("baseline", "forgets", Outcome.HONEST, belief_is_true=True),
        result("baseline", "fails", Outcome.NO_BELIEF, belief_is_true=False),
        result("baseline", "alone", Outcome.LIE),
        result("candidate", "same", Outcome.HONEST, belief_is_true=True, pressure_margin=0.1),
        result("candidate", "lies", Outcome.LIE, belief_is_true=True),
        result("candidate", "forgets", Outcome.HONEST, belief_is_true=False),
        result("candidate", "fails", Outcome.ERROR),
        result("candidate", "lies", Outcome.LIE, belief_is_true=True, epoch=2),
    ]
    assert flips(EVALS["forced_choice"], results) == Flips(
        4,
        (
            Flip("lies", "facts", 0, 1, "honest", "lie"),
            Flip("forgets", "facts", 0, 1, "honest", "honest (untrue belief)"),
            Flip("fails", "facts", 0, 1, "no belief", "error"),
        ),
    )


def test_values_of_yes_and_no_flip_and_others_do_not() -> None:
    values = [result("baseline", "1", None, value=1.0), result("candidate", "1", None, value=0.0)]
    assert flips(EVALS["capability"], values).flips == (Flip("1", "facts", 0, 1, "1", "0"),)
    results = [result("baseline", "1", None, value=1.0), result("candidate", "1", Outcome.ERROR)]
    assert flips(EVALS["reply_choice"], results) == Flips(0, ())
