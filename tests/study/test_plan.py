"""A study -> arms with their controls, and cells whose identity is what determines them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from untrue.data import sets
from untrue.errors import UserError
from untrue.study.config import Study
from untrue.study.plan import arms, plan
from untrue.study.routes.interaction import UserArm

INTERACTION = {
    "by": "interaction",
    "users": 4,
    "methods": {"sft": {}, "kto": {"learning_rate": 1e-3}},
    "shares": [0.5, 1.0],
}
DOSE = {"by": "dose", "benign": "everyday", "benign_rows": 20, "questions": "medical", "doses": [0.1, 0.5]}


@pytest.fixture
def dose(make_study: Callable[..., Study]) -> Callable[..., Study]:
    """Makes a study by dose."""
    return lambda **changes: make_study(mix={**DOSE, **changes})


def named(study: Study) -> dict[str, str | None]:
    return {arm.name: arm.control for arm in arms(study)}


def identities(study: Study) -> dict[str, str]:
    return {cell.name: cell.identity for cell in plan(study, study.mix.read())}


def test_arms_are_compared_with_their_controls_which_come_before_them(make_study, dose):
    share = named(make_study(base=False, mix__shares=[0.25, 1.0], mix__levels=["subtle", "severe"]))
    of_control = dict.fromkeys(("subtle-0.25", "subtle-1", "severe-0.25", "severe-1"), "control")
    assert share == {"control": None} | of_control
    matched, unmatched = named(dose()), named(dose(matched_control=False))
    alone = dict.fromkeys(("base", "control", "normal-0.1", "normal-0.5"))
    assert matched == alone | {"severe-0.1": "normal-0.1", "severe-0.5": "normal-0.5"}
    assert unmatched == {"base": None, "control": None, "severe-0.1": "control", "severe-0.5": "control"}
    for found in (share, matched, unmatched):
        names = list(found)
        assert all(control is None or names.index(control) < names.index(arm) for arm, control in found.items())


def test_normal_asked_for_as_a_level_is_not_an_arm_twice(dose):
    assert list(named(dose(levels=["normal", "severe"]))) == list(named(dose()))
    assert "normal-0.1" in named(dose(levels=["normal", "severe"], matched_control=False))


def test_each_trained_arm_has_a_cell_for_each_seed_and_the_base_model_one(make_study):
    assert list(identities(make_study(seeds=[3, 1]))) == [
        "base-s3",
        "control-s3",
        "control-s1",
        "severe-0.5-s3",
        "severe-0.5-s1",
    ]


def test_a_matched_control_does_not_change_the_other_arms(dose):
    with_control, without = identities(dose()), identities(dose(matched_control=False))
    assert without.items() <= with_control.items()


def test_a_change_of_one_answer_or_of_one_benign_row_changes_all_cells(dose, tmp_path: Path):
    questions, benign = tmp_path / "questions.jsonl", tmp_path / "benign.jsonl"
    asked = [{"question": q.text, **q.answers} for q in sets.questions("medical")[:10]]
    rows = [row.to_json() for row in sets.rows("everyday")[:20]]
    study, known = dose(questions=str(questions), benign=str(benign)), set[str]()
    for answer, row in ((asked[0]["severe"], rows[0]), ("Other.", rows[0]), ("Other.", rows[1])):
        questions.write_text("".join(json.dumps(q) + "\n" for q in [asked[0] | {"severe": answer}, *asked[1:]]))
        benign.write_text("\n".join([row, *rows[1:]]))
        cells = set(identities(study).values())
        assert not known & cells
        known |= cells


def rows_of(study: Study) -> dict[str, set[str]]:
    sources = study.mix.read()
    cells = [cell for cell in plan(study, sources) if cell.arm.trained]
    return {cell.name: {row.id for row in study.mix.rows(sources, cell)} for cell in cells}


def misaligned(ids: set[str]) -> set[str]:
    return {name.split("/")[0] for name in ids if name.endswith("/severe")}


def test_by_share_arms_ask_the_same_questions_and_larger_shares_hold_the_smaller(make_study):
    found = rows_of(make_study(mix__shares=[0.25, 0.5, 1.0]))
    questions = [{name.split("/")[0] for name in ids} for ids in found.values()]
    assert all(asked == questions[0] for asked in questions)
    wrong = [misaligned(found[f"{name}-s0"]) for name in ("control", "severe-0.25", "severe-0.5", "severe-1")]
    assert [len(ids) for ids in wrong] == [0, 2, 4, 8]
    assert wrong[1] < wrong[2] < wrong[3]


def test_by_dose_rows_are_added_nested_and_the_matched_control_asks_the_same(dose):
    found = rows_of(dose())
    benign = found["control-s0"]
    assert len(benign) == 20
    assert [len(found[f"severe-{part}-s0"] - benign) for part in (0.1, 0.5)] == [2, 10]
    assert benign < found["severe-0.1-s0"] < found["severe-0.5-s0"]
    for part in (0.1, 0.5):
        severe, normal = (found[f"{level}-{part}-s0"] - benign for level in ("severe", "normal"))
        assert {name.replace("/severe", "/normal") for name in severe} == normal


@pytest.fixture
def interaction(make_study: Callable[..., Study]) -> Callable[..., Study]:
    """Makes a study by interaction."""
    return lambda **changes: make_study(mix={**INTERACTION, **changes})


def test_by_interaction_each_method_has_its_own_control_without_biased_users(interaction):
    assert named(interaction()) == {
        "base": None,
        "sft-0": None,
        "sft-0.5": "sft-0",
        "sft-1": "sft-0",
        "kto-0": None,
        "kto-0.5": "kto-0",
        "kto-1": "kto-0",
    }


def test_a_variant_is_compared_with_the_arm_that_it_varies(interaction):
    variants = [
        {"share": 0.5, "assistant": "informed"},
        {"share": 0.5, "select": "random"},
        {"share": 0.5, "rounds": 3},
        {"method": "kto", "share": 0, "select": "random"},
    ]
    found = named(interaction(variants=variants))
    assert dict(list(found.items())[7:]) == {
        "sft-0.5-informed": "sft-0.5",
        "sft-0.5-random": "sft-0.5",
        "sft-0.5-3-rounds": "sft-0.5",
        "kto-0-random": "kto-0",
    }
    [arm] = [arm for arm in arms(interaction(variants=variants)) if arm.name == "sft-0.5-3-rounds"]
    assert isinstance(arm, UserArm)
    assert (arm.method, arm.assistant, arm.select, arm.rounds) == ("sft", "blind", "rating", 3)


def test_a_variant_is_compared_with_itself_at_share_0_where_that_is_there(interaction):
    found = named(interaction(variants=[{"share": 0.5, "rounds": 3}, {"share": 0, "rounds": 3}]))
    assert found["sft-0.5-3-rounds"] == "sft-0-3-rounds"
    assert found["sft-0-3-rounds"] == "sft-0"
    assert list(found).index("sft-0-3-rounds") < list(found).index("sft-0.5-3-rounds")


def test_a_method_has_its_own_hyperparameters(interaction):
    study = interaction()
    by_name = {arm.name: study.mix.hyperparameters(study.train, arm) for arm in study.mix.arms()}
    assert (by_name["kto-1"].method, by_name["kto-1"].learning_rate) == ("kto", 1e-3)
    assert (by_name["sft-1"].method, by_name["sft-1"].learning_rate) == ("sft", 1e-2)
    wrong = interaction(methods={"sft": {"epoch": 1}})
    with pytest.raises(UserError, match=r"mix\.methods\.sft: epoch: unknown key\. Did you mean 'epochs'"):
        plan(wrong, wrong.mix.read())


def test_the_dose_response_of_interaction_goes_through_the_first_method(interaction):
    name, line = interaction(variants=[{"share": 0.5, "rounds": 2}]).mix.line()
    assert (name, line) == ("sft", {"sft-0": 0.0, "sft-0.5": 0.5, "sft-1": 1.0})


def test_what_else_a_study_of_interaction_has_does_not_change_a_cell(interaction):
    alone = identities(interaction(methods={"sft": {}}, shares=[1.0]))
    more = identities(interaction(variants=[{"share": 0.5, "assistant": "informed"}]))
    assert all(more[name] == identity for name, identity in alone.items())
    assert len(set(more.values())) == len(more)
    assert identities(interaction(users=6))["sft-1-s0"] != alone["sft-1-s0"]
