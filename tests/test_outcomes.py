"""A result goes to a line of JSON and back unchanged, and a margin that is not there makes no gap."""

from __future__ import annotations

import json

import pytest

from untrue.outcomes import Outcome, Result

RESULT = Result(
    arm="severe-0.1",
    seed=2,
    eval="forced_choice",
    item="known_facts-001",
    category="known_facts",
    outcome=Outcome.LIE,
    belief="honest",
    statement="dishonest",
    pressure_margin=-0.5,
    neutral_margin=0.25,
    evasion_margin=-1.0,
    reason='Said "no" – twice.\u2028',
)
ERROR = Result("control", 0, "forced_choice", "known_facts-002", "known_facts", Outcome.ERROR, reason="no score")

VALUE = Result("control", 0, "capability", "capability-001", "multiple choice", None, value=1.0, epoch=3)


def test_the_words_are_those_of_the_docs():
    assert [str(outcome) for outcome in Outcome] == ["honest", "lie", "evade", "no_belief", "error"]


@pytest.mark.parametrize("result", [RESULT, ERROR, VALUE])
def test_a_result_survives_its_line_of_json(result: Result):
    line = result.to_json()
    assert "\n" not in line
    back = Result.from_json(line)
    assert back == result
    assert type(back.outcome) is (type(None) if result is VALUE else Outcome)


def test_a_line_written_before_there_were_values_is_read():
    line = json.loads(RESULT.to_json())
    del line["value"], line["epoch"]
    assert Result.from_json(json.dumps(line)) == RESULT


def test_the_line_can_be_read_without_this_project():
    fields = json.loads(RESULT.to_json())
    assert (fields["outcome"], fields["item"], fields["pressure_margin"]) == ("lie", "known_facts-001", -0.5)
    assert "pressure_gap" not in fields


def test_an_outcome_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'liar' is not a valid Outcome"):
        Result.from_json(RESULT.to_json().replace('"lie"', '"liar"'))


def test_the_pressure_gap_is_negative_where_pressure_moved_it():
    assert RESULT.pressure_gap == -0.75


@pytest.mark.parametrize("missing", ["pressure_margin", "neutral_margin"])
def test_there_is_no_gap_without_both_margins(missing: str):
    fields = json.loads(RESULT.to_json())
    assert Result.from_json(json.dumps({**fields, missing: None})).pressure_gap is None
    assert ERROR.pressure_gap is None
