"""The built-in sets keep their limits, also those of what the embedded model knows, and each check can break."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest
import typer
from tokenizers import Tokenizer

from tools import check_data as checks
from tools.check_data import Check
from untrue.data.items import ChoiceItem, Item, UnknownPair, read_items, read_lines
from untrue.engine.likelihoods import LikelihoodEngine
from untrue.models import embedded
from untrue.models.load import load
from untrue.simulate.environment import Candidates, Scenario, read_environment

ITEMS = read_items()
CHAT = read_environment("chat").scenarios


def item(honest: str, dishonest: str, number: int = 0) -> Item:
    replies = {"honest_reply": honest, "dishonest_reply": dishonest, "id": f"item-{number}"}
    return ITEMS[0].model_copy(update=replies)


@pytest.fixture(scope="module")
def found() -> list[Check]:
    tokenizer = Tokenizer.from_file(str(embedded.fetch() / "tokenizer.json"))
    return checks.data_sets(lambda text: len(tokenizer.encode(text).ids))


def test_built_in_sets_keep_every_limit(found: list[Check]):
    assert [check for check in found if not check.holds] == []


def test_every_set_is_checked_for_all_that_can_be_wrong_with_it(found: list[Check]):
    made = {(check.subject, check.name) for check in found}
    for name in ("medical", "finance", "law", "code"):
        assert {(name, "size"), (name, "length in words"), (name, "length in tokens"), (name, "near copies")} <= made
    for category in checks.ARCHETYPES:
        assert (category, "told by a bag of words") in made
        assert (category, "negation in the honest reply") in made
    for name in ("chat", "exam"):
        assert {(name, "size"), (f"{name}, users", "size"), (name, "length in words"), (name, "near copies")} <= made
        assert (name, "negation in the truth") in made
        of_candidates = {check for subject, check in made if subject == f"{name}, candidates"}
        assert of_candidates >= {
            *("kinds, turns and wordings", "candidates that occur twice", "negation in the honest candidate"),
            *("length in words", "length in tokens", "sycophantic told from honest by a bag of words"),
        }
    assert {("candidates", "near copies"), ("candidates and prompts", "near copies")} <= made
    assert ("training and eval sets", "near copies") in made


def test_the_command_names_what_is_broken_and_exits_with_1(
    found: list[Check], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(checks, "data_sets", lambda count_tokens: [*found, checks.size("medical", 200, 10_000)])
    with pytest.raises(typer.Exit) as ended:
        checks.main()
    assert ended.value.exit_code == 1
    *_, named, counted = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"medical, size: \d+", named)
    assert re.fullmatch(r"\d+ checks, 1 broken", counted)


def test_pairs_that_differ_in_length_are_named():
    pairs = [(str(number), "one two three four", "five six seven eight") for number in range(9)]
    assert checks.lengths("x", pairs)[0].holds
    broken = checks.lengths("x", [*pairs, ("long", "one", "two words")])[0]
    assert not broken.holds
    assert broken.where == ["long"]


def test_a_negation_that_tells_the_honest_reply_is_found():
    balanced = [item("It is not red.", "It is red."), item("It is red.", "It isn't red.")]
    assert checks.negation("x", balanced).holds
    assert not checks.negation("x", [balanced[0]] * 3 + balanced[1:]).holds
    assert checks.negation("x", [item("It is red.", "It is blue.")]).holds


def test_a_word_that_tells_the_honest_reply_is_found():
    colours = ["red", "blue", "green", "white", "black", "pink"]
    telling = [item(f"Truly, it is {colour}.", f"It is {colour}.", place) for place, colour in enumerate(colours * 5)]
    assert not checks.bag_of_words("x", telling, checks.BAG_OF_WORDS).holds
    same = [item(f"It is {a}.", f"It is {b}.", n) for n, (a, b) in enumerate(itertools.pairwise(colours))]
    assert checks.bag_of_words("x", same, checks.BAG_OF_WORDS).holds


WORDS = ["red", "blue", "green", "white", "black", "pink", "grey", "brown", "gold", "plum", "teal", "rust"]


def scenario(number: int, *turns: dict[str, str]) -> Scenario:
    """A scenario of which each turn has two wordings, the second of other words."""
    written = [{kind: (text, f"And {text}") for kind, text in turn.items()} for turn in turns]
    return CHAT[0].model_copy(
        update={"id": f"s{number}", "candidates": tuple(Candidates.model_validate(turn) for turn in written)}
    )


def turn(honest: str, sycophantic: str, rest: str) -> dict[str, str]:
    return {"honest": honest, "sycophantic": sycophantic, "hedging": f"either {rest}", "evasive": f"sunny {rest}"}


def by_name(scenarios: Sequence[Scenario]) -> dict[str, Check]:
    return {check.name: check for check in checks.candidates("x", scenarios)}


def test_candidates_that_say_the_opposite_in_the_same_words_are_not_told_apart():
    mirrored = [
        scenario(n, *[turn(f"{a} before {b}", f"{b} before {a}", a)] * 2)
        for n, (a, b) in enumerate(itertools.pairwise(WORDS))
    ]
    found = by_name(mirrored)
    told = found["sycophantic told from honest by a bag of words"]
    assert (told.found, told.holds) == ("50.0%", True)
    assert found["honest and sycophantic in the same words"].found == f"100.0% of {len(mirrored) * 4}"
    other = found["evasive told from honest by a bag of words"]
    assert (other.found, other.limit, other.holds) == ("100.0%", "none", True)


def test_a_word_that_tells_the_honest_candidate_is_found_in_another_wording_of_another_scenario():
    telling = [scenario(n, *[turn(f"truly {word}", f"happily {word}", word)] * 2) for n, word in enumerate(WORDS)]
    told = by_name(telling)["sycophantic told from honest by a bag of words"]
    assert (told.found, told.holds) == ("100.0%", False)


def test_what_candidates_lack_repeat_or_negate_is_named():
    def turns(word: str) -> list[dict[str, str]]:
        return [
            turn(f"it is not {word}", f"it may be {word}", f"of {word} now"),
            turn(f"some are {word} here", f"none is {word} here", f"or {word} now"),
        ]

    good = [scenario(0, *turns("red")), scenario(1, *turns("blue"))]
    assert all(check.holds for name, check in by_name(good).items() if "bag of words" not in name)
    short = by_name([good[0], scenario(1, turns("red")[0])])
    assert short["kinds, turns and wordings"].where == ["s1"]
    assert "s0/turn 1/wording 2/honest" in short["candidates that occur twice"].where  # as in the other scenario
    assert not short["negation in the honest candidate"].holds  # two of three
    longer = scenario(1, turn("one two three", "three two one", "four"), turns("blue")[1])
    assert not by_name([good[0], longer])["length in words"].holds


@pytest.fixture(scope="module")
def engine() -> LikelihoodEngine:
    return LikelihoodEngine(load("smollm2-135m"))


@pytest.mark.slow
def test_the_embedded_model_knows_the_facts_of_the_items(engine: LikelihoodEngine):
    """Of every fortieth item; `python tools/check_data.py` asks all."""
    scored: list[None] = []
    items = read_items()[::40]
    found = {check.subject: check for check in checks.known(engine, items, lambda: scored.append(None))}
    assert len(scored) == len(items)
    assert set(checks.KNOWN) <= set(found)
    assert [check for check in found.values() if not check.holds] == []


@pytest.mark.slow
def test_the_embedded_model_is_well_above_chance_at_multiple_choice(engine: LikelihoodEngine):
    check = checks.capability(engine, read_lines(ChoiceItem)[::4], lambda: None)
    assert check.holds, check


@pytest.mark.slow
def test_unknowns_say_both_rates(engine: LikelihoodEngine):
    admitted, answered = checks.unknowns(engine, read_lines(UnknownPair)[:10], lambda: None)
    assert admitted.name == "admission preferred to invention"
    assert float(answered.found.rstrip("%")) > 50
