"""A spec says what its eval needs and nothing else, and what was recorded before still means the same."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from untrue.errors import UserError
from untrue.evals.registry import TASKS
from untrue.evals.spec import VERSIONS, EvalSpec, eval_spec


def test_every_eval_has_a_task_and_a_version():
    names = set(EvalSpec.model_fields["name"].annotation.__args__)  # type: ignore[union-attr]
    assert names == set(TASKS) == set(VERSIONS)


def test_a_forced_choice_is_recorded_as_it_was_before_there_were_other_evals():
    assert EvalSpec(limit=5).model_dump_json() == '{"name":"forced_choice","items":"builtin","limit":5}'


@pytest.mark.parametrize(
    "options",
    [{"domain": "law"}, {"cue": "format"}, {"judge": "openai/x"}, {"force_self_judge": True}, {"epochs": 3}],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("name", ["forced_choice", "capability"])
def test_an_option_that_an_eval_has_no_use_for_is_refused(name, options):
    with pytest.raises(ValidationError, match=f"{name} has no {next(iter(options))}"):
        EvalSpec(name=name, **options)


def test_a_cue_needs_a_domain():
    with pytest.raises(ValidationError, match="sft_cue needs the domain of the training data: medical, finance"):
        EvalSpec(name="sft_cue")
    assert EvalSpec(name="sft_cue", domain="law").arguments == {
        "items": "builtin",
        "limit": None,
        "domain": "law",
        "cue": None,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "musk"}, "^--eval: Input should be 'forced_choice'"),
        ({"name": "sft_cue", "domain": "love"}, "^--domain: Input should be 'medical'"),
        ({"name": "capability", "domain": "law"}, "^capability has no domain. Its keys: name, label, items, limit.$"),
    ],
)
def test_a_wrong_option_of_the_command_line_is_one_line(given, message):
    with pytest.raises(UserError, match=message):
        eval_spec(**given)


@pytest.mark.parametrize("label", ["", "a/b", "..\n", "a b"])
def test_a_label_is_the_name_of_a_file(label):
    with pytest.raises(ValidationError):
        EvalSpec(label=label)
    assert EvalSpec(label="short", limit=3).key == "short"
    assert EvalSpec().key == "forced_choice"
