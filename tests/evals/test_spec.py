"""A spec says what its eval needs and nothing else, and what was recorded before still means the same."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from untrue.errors import UserError
from untrue.harness.catalogue import eval_spec
from untrue.harness.eval import EvalSpec


def test_a_forced_choice_is_recorded_as_it_was_before_there_were_other_evals():
    assert EvalSpec(limit=5).model_dump_json() == '{"name":"forced_choice","items":"builtin","limit":5}'


@pytest.mark.parametrize(
    "options",
    [{"domain": "law"}, {"cue": "format"}, {"judge": "openai/x"}, {"force_self_judge": True}, {"epochs": 3}],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("name", ["forced_choice", "capability"])
def test_an_option_that_an_eval_has_no_use_for_is_refused(name, options):
    with pytest.raises(UserError, match=f"{next(iter(options))}: unknown key. Known keys: items, label, limit"):
        eval_spec(name=name, **options)


def test_a_cue_needs_a_domain():
    with pytest.raises(UserError, match="sft_cue needs the domain of the training data: medical, finance"):
        eval_spec(name="sft_cue")
    assert eval_spec(name="sft_cue", domain="law").arguments == {
        "items": "builtin",
        "limit": None,
        "domain": "law",
        "cue": None,
    }


@pytest.mark.parametrize("label", ["", "a/b", "..\n", "a b"])
def test_a_label_is_the_name_of_a_file(label):
    with pytest.raises(ValidationError):
        EvalSpec(label=label)
    assert EvalSpec(label="short", limit=3).key == "short"
    assert EvalSpec().key == "forced_choice"
