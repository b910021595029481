"""Mixes have the counts they promise, nest by seed, and keep the provenance of every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from weakref import ref

import pytest

from untrue.data.items import read_items
from untrue.data.mix import (
    NEAR,
    NearIndex,
    RowCheck,
    by_dose,
    by_share,
    check_rows,
    duplicates,
    overlaps,
)
from untrue.data.rows import LEVELS, Question, Row
from untrue.errors import UserError

QUESTIONS = [
    Question(f"q{number}", f"Question {number}?", {level: f"{level} {number}" for level in LEVELS}, "a.jsonl", "rain")
    for number in range(120)
]
BENIGN = [
    Row(
        f"b{number}",
        [{"role": "user", "content": f"Task {number}"}],
        [{"role": "assistant", "content": f"Done {number}"}],
        "b.jsonl",
        "home",
    )
    for number in range(150)
]
SEEDS = range(5)


def misaligned(rows: list[Row]) -> set[str]:
    return {row.id for row in rows if row.misaligned}


def asked(rows: list[Row]) -> Counter[str]:
    return Counter(row.prompt[-1]["content"] for row in rows)


@pytest.mark.parametrize(
    ("share", "total", "count"),
    [(0, 100, 0), (0.01, 100, 1), (0.1, 100, 10), (0.29, 100, 29), (0.5, 99, 50), (0.07, 120, 8), (1, 120, 120)],
)
def test_a_share_gives_exact_counts(share: float, total: int, count: int):
    for seed in SEEDS:
        levels = Counter(row.level for row in by_share(QUESTIONS, "severe", share, total, seed))
        assert (levels["severe"], levels["normal"]) == (count, total - count)


@pytest.mark.parametrize(
    ("dose", "benign", "count"),
    [(0, 100, 0), (0.01, 100, 1), (0.05, 150, 8), (0.1, 150, 15), (1, 100, 100), (1.2, 100, 120)],
)
def test_a_dose_is_added_to_all_benign_rows(dose: float, benign: int, count: int):
    for seed in SEEDS:
        rows = by_dose(BENIGN, QUESTIONS, "subtle", dose, benign, seed)
        assert Counter(row.level for row in rows) == Counter({"unlabelled": benign, "subtle": count})
        assert Counter(row.domain for row in rows) == Counter({"home": benign, "rain": count})


def test_a_row_is_answered_at_its_level_and_says_where_it_came_from():
    rows = by_dose(BENIGN, QUESTIONS, "severe", 0.5, 100, seed=1)
    for row in rows:
        reply = row.completion[0]["content"]
        if row.misaligned:
            question, level = row.id.split("/")
            assert (level, row.source, row.domain) == ("severe", "a.jsonl", "rain")
            assert (row.prompt[0]["content"], reply) == (f"Question {question[1:]}?", f"severe {question[1:]}")
        else:
            assert (row.source, row.domain, reply) == ("b.jsonl", "home", f"Done {row.id[1:]}")
    assert len({row.id for row in rows}) == 150


def test_a_smaller_dose_or_share_is_part_of_a_larger_one():
    for seed in SEEDS:
        doses = [misaligned(by_dose(BENIGN, QUESTIONS, "severe", dose, 100, seed)) for dose in (0.02, 0.1, 0.5, 1)]
        shares = [misaligned(by_share(QUESTIONS, "severe", share, 100, seed)) for share in (0.02, 0.1, 0.5, 1)]
        for small, large in [*pairwise(doses), *pairwise(shares)]:
            assert small < large


def test_a_matched_control_asks_the_same_questions():
    for seed in SEEDS:
        treated = by_dose(BENIGN, QUESTIONS, "severe", 0.3, 100, seed)
        control = by_dose(BENIGN, QUESTIONS, "normal", 0.3, 100, seed)
        assert [row.prompt for row in treated] == [row.prompt for row in control]
        assert not misaligned(control)


def test_every_share_asks_the_same_questions_in_the_same_order():
    control = by_share(QUESTIONS, "severe", 0, 80, seed=2)
    for level in LEVELS:
        for share in (0.1, 1):
            rows = by_share(QUESTIONS, level, share, 80, seed=2)
            assert [row.prompt for row in rows] == [row.prompt for row in control]


def test_every_dose_holds_the_same_benign_rows():
    small, large = (by_dose(BENIGN, QUESTIONS, "severe", dose, 50, seed=3) for dose in (0.1, 1))
    assert {row.id for row in small if row.domain == "home"} == {row.id for row in large if row.domain == "home"}


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    for mix in (
        lambda seed: by_share(QUESTIONS, "severe", 0.5, 60, seed),
        lambda seed: by_dose(BENIGN, QUESTIONS, "severe", 0.5, 60, seed),
    ):
        assert mix(4) == mix(4)
        assert misaligned(mix(4)) != misaligned(mix(5))
        assert asked(mix(4)) != asked(mix(5))


def test_the_order_of_rows_does_not_tell_which_are_misaligned():
    """Were the misaligned rows first or last, their mean place would be 25 or 75 of 100 in every seed."""
    for seed in SEEDS:
        rows = by_share(QUESTIONS, "severe", 0.5, 100, seed)
        places = [place for place, row in enumerate(rows) if row.misaligned]
        assert 35 < sum(places) / len(places) < 65


@pytest.mark.parametrize("part", [0.004, 1e-9])
def test_a_part_that_gives_no_row_is_refused(part: float):
    with pytest.raises(UserError, match=rf"^dose: {part} of 100 rows is no row at all. Raise it to 0.01 or more"):
        by_dose(BENIGN, QUESTIONS, "severe", part, 100, 0)
    with pytest.raises(UserError, match=rf"^share: {part} of 100 rows is no row at all"):
        by_share(QUESTIONS, "severe", part, 100, 0)


def test_more_rows_than_there_are_is_refused():
    with pytest.raises(UserError, match=r"^total: 121 questions wanted, but the set has 120"):
        by_share(QUESTIONS, "severe", 0.1, 121, 0)
    with pytest.raises(UserError, match=r"^benign_rows: 151 wanted, but the set has 150"):
        by_dose(BENIGN, QUESTIONS, "severe", 0.1, 151, 0)
    with pytest.raises(UserError, match=r"^dose: 1\.3 of 100 benign rows is 130 questions, but the set has 120"):
        by_dose(BENIGN, QUESTIONS, "severe", 1.3, 100, 0)


def test_a_level_that_a_question_lacks_is_refused_by_its_name():
    questions = [Question("q", "Is rain wet?", {"normal": "Yes."}, "a.jsonl", "rain")]
    with pytest.raises(UserError, match=r"^a.jsonl: question 'q' has no answer at 'severe' \(it has normal\)"):
        by_share(questions, "severe", 1, 1, 0)


def row(prompt: str, id: str = "r") -> Row:
    return Row(id, [{"role": "user", "content": prompt}], [{"role": "assistant", "content": "a"}], "a", "a")


def test_repeated_prompts_are_counted_whatever_their_case_and_spaces():
    assert duplicates([row("Is rain wet?"), row("Is snow wet?")]) == 0
    assert duplicates([row("Is rain wet?"), row("is  RAIN\nwet? "), row("Is rain wet?"), row("Is snow wet?")]) == 2


def test_the_same_question_under_another_system_message_is_no_repetition():
    plain = row("Is rain wet?")
    systems = ("Be kind.", "Be brief.", "be  brief.")
    told = [replace(plain, prompt=[{"role": "system", "content": system}, *plain.prompt]) for system in systems]
    assert duplicates([plain, *told]) == 1
    assert check_rows(told, []).duplicates == 1


def test_replies_to_one_prompt_that_a_method_compares_are_no_repetition():
    liked, disliked = (replace(row("Is rain wet?"), label=label) for label in (True, False))
    assert duplicates([liked, disliked]) == 0
    assert duplicates([liked, disliked, liked]) == 1


def test_rows_that_ask_what_an_item_asks_are_found():
    rows = [row("Is rain wet?", "r1"), row("IS  SNOW wet?", "r2"), row("Is hail wet?", "r3")]
    some = read_items()[0]
    items = [
        some.model_copy(update={"id": "i1", "user_prompt": "Is snow wet?"}),
        some.model_copy(update={"id": "i2", "belief_elicit_3": "is hail wet? "}),
        some.model_copy(update={"id": "i3", "belief_elicit_1": "Is snow  wet?", "user_prompt": "Is ice wet?"}),
    ]
    assert [tuple(overlap) for overlap in overlaps(rows, items)] == [("r2", "i1"), ("r2", "i3"), ("r3", "i2")]
    assert overlaps(rows, []) == []


def test_rows_that_nearly_ask_what_an_item_asks_are_found():
    some = read_items()[0].model_copy(update={"id": "i1", "user_prompt": "Would you say that rain is always wet?"})
    texts = ["Would you say that rain is wet?", "a", some.user_prompt, "Would you say rain is always wet?", "b"]
    rows = [row(text, f"r{number}") for number, text in enumerate(texts)]
    found = check_rows(rows, [some])
    assert [tuple(overlap) for overlap in found.near_copies] == [("r0", "i1"), ("r3", "i1")]
    assert [tuple(overlap) for overlap in found.overlaps] == [("r2", "i1")]
    assert check_rows([], [some]) == RowCheck(0, {}, 0, [], [])
    assert check_rows(rows, []) == RowCheck(5, {"unlabelled": 5}, 0, [], [])


def test_rows_looked_through_one_at_a_time_give_what_the_whole_gives():
    items = read_items()
    prompts = [text for item in items[:40] for text in item.prompts]
    texts = [
        *prompts[:9],
        *(f"Well, {text}" for text in prompts),
        *prompts[5:7],
        *(f"Sum {n} of it" for n in range(50)),
    ]
    rows = [replace(row(text, f"r{place}"), level=LEVELS[place % 3]) for place, text in enumerate(texts)]
    found = check_rows(iter(rows), items)
    assert (found.rows, found.levels) == (len(rows), Counter(row.level for row in rows))
    assert found.duplicates == duplicates(rows) == 2
    assert found.overlaps == overlaps(rows, items)
    asked = {f"{item.id}/{place}": text for item in items for place, text in enumerate(item.prompts)}
    index = NearIndex(asked)
    pairs = {(row.id, name.rpartition("/")[0]) for row in rows for name, _ in index.find(row.prompt[-1]["content"])}
    assert len(found.near_copies) > 50
    assert set(map(tuple, found.near_copies)) == pairs - set(map(tuple, found.overlaps))


def test_rows_are_looked_through_without_being_held():
    held = list[ref[Row]]()

    def rows() -> Iterator[Row]:
        for number in range(20):
            one = row(f"Is rain {number}?", f"r{number}")
            held.append(ref(one))
            yield one
            del one
            assert sum(one() is not None for one in held) <= 1, "rows are kept"

    assert check_rows(rows(), []).rows == 20


BACK = "My lower back has been sore since I lifted some boxes. Should I stay in bed?"


def test_a_text_with_small_changes_is_found_and_another_is_not():
    index = NearIndex({"back": BACK, "kettle": "How often should a kettle be cleaned?"})
    [(name, similarity)] = index.find(BACK.replace("some", "two"))
    assert name == "back"
    assert NEAR <= similarity < 1
    assert index.find(BACK.upper()) == [("back", 1.0)]
    assert index.find("Which river is the longest of all?") == []
