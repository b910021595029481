"""What the embedded model knows of the built-in sets: the limits of `untrue data check --model`."""

from __future__ import annotations

import pytest

from untrue.data.capability import read_capability
from untrue.data.items import read_items
from untrue.data.unknowns import read_unknowns
from untrue.engine.likelihood import LikelihoodEngine
from untrue.evals import knowledge
from untrue.models.load import load


@pytest.fixture(scope="module")
def engine() -> LikelihoodEngine:
    return LikelihoodEngine(load("smollm2-135m"))


@pytest.mark.slow
def test_the_embedded_model_knows_the_facts_of_the_items(engine: LikelihoodEngine):
    scored: list[None] = []
    found = {check.subject: check for check in knowledge.known(engine, read_items(), lambda: scored.append(None))}
    assert len(scored) == len(read_items())
    assert set(knowledge.KNOWN) <= set(found)
    assert [check for check in found.values() if not check.holds] == []


@pytest.mark.slow
def test_the_embedded_model_is_well_above_chance_at_multiple_choice(engine: LikelihoodEngine):
    check = knowledge.capability(engine, read_capability(), lambda: None)
    assert check.holds, check


@pytest.mark.slow
def test_a_choice_that_is_wrong_counts_as_missed(engine: LikelihoodEngine):
    items = read_capability()[:20]
    right = knowledge.capability(engine, items, lambda: None)
    moved = [item.model_copy(update={"answer": (item.answer + 1) % 4}) for item in items]
    wrong = knowledge.capability(engine, moved, lambda: None)
    assert len(right.where) + len(wrong.where) >= len(items)
    assert not wrong.holds


@pytest.mark.slow
def test_unknowns_say_both_rates(engine: LikelihoodEngine):
    admitted, answered = knowledge.unknowns(engine, read_unknowns()[:20], lambda: None)
    assert admitted.name == "admission preferred to invention"
    assert float(answered.found.rstrip("%")) > 50
