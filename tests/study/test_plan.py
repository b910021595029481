"""A study -> arms with their controls, and cells whose identity is what determines them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from untrue.data import sets
from untrue.errors import UserError
from untrue.files import file_name
from untrue.study.config import Study
from untrue.study.plan import arms, plan
from untrue.study.routes.interaction import UserArm
from untrue.study.store import Arm, Cell, Store

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


def test_by_share_every_arm_is_compared_with_the_control(make_study):
    study = make_study(mix__shares=[0.25, 1.0], mix__levels=["subtle", "severe"])
    assert named(study) == {
        "base": None,
        "control": None,
        "subtle-0.25": "control",
        "subtle-1": "control",
        "severe-0.25": "control",
        "severe-1": "control",
    }


def test_by_dose_every_arm_is_compared_with_the_same_dose_of_normal_answers(dose):
    assert named(dose()) == {
        "base": None,
        "control": None,
        "normal-0.1": None,
        "normal-0.5": None,
        "severe-0.1": "normal-0.1",
        "severe-0.5": "normal-0.5",
    }


def test_without_matched_controls_doses_are_compared_with_the_benign_set(dose):
    found = named(dose(matched_control=False))
    assert found == {"base": None, "control": None, "severe-0.1": "control", "severe-0.5": "control"}


def test_normal_asked_for_as_a_level_is_not_an_arm_twice(dose):
    assert list(named(dose(levels=["normal", "severe"]))) == list(named(dose()))
    assert "normal-0.1" in named(dose(levels=["normal", "severe"], matched_control=False))


def test_the_base_model_can_be_left_out(make_study):
    assert "base" not in named(make_study(base=False))


def test_controls_come_before_what_is_compared_with_them(make_study, dose):
    for study in (make_study(), dose(), dose(matched_control=False)):
        found = arms(study)
        place = {arm.name: index for index, arm in enumerate(found)}
        assert all(arm.control is None or place[arm.control] < place[arm.name] for arm in found)


def test_each_trained_arm_has_a_cell_for_each_seed_and_the_base_model_one(make_study):
    assert list(identities(make_study(seeds=[3, 1]))) == [
        "base-s3",
        "control-s3",
        "control-s1",
        "severe-0.5-s3",
        "severe-0.5-s1",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"dtype": "bfloat16"},
        {"train__learning_rate": 2e-2},
        {"train__lora_rank": 8},
        {"mix__total": 9},
        {"mix__questions": "math"},
    ],
    ids=str,
)
def test_a_change_of_what_determines_cells_changes_all_of_them(make_study, change):
    before, after = identities(make_study()), identities(make_study(**change))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"question": "Another?"},
        {"evals": [{"name": "forced_choice", "limit": 9}]},
        {"seeds": [0, 1]},
        {"mix__shares": [0.25, 0.5]},
        {"mix__levels": ["subtle", "severe"]},
    ],
    ids=str,
)
def test_a_change_of_anything_else_leaves_the_cells_there_were(make_study, change):
    assert identities(make_study()).items() <= identities(make_study(**change)).items()


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


def test_all_cells_of_a_study_differ(dose):
    found = identities(dose(doses=[0.1, 0.2, 0.5], levels=["subtle", "severe"]).model_copy(update={"seeds": (0, 1, 2)}))
    assert len(set(found.values())) == len(found) == 1 + 3 * 10


def test_a_plan_is_the_same_each_time(make_study):
    assert identities(make_study()) == identities(make_study())


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


def test_another_seed_draws_other_rows(make_study):
    found = rows_of(make_study(seeds=[0, 1]))
    assert found["severe-0.5-s0"] != found["severe-0.5-s1"]


def test_an_arm_needs_only_a_name():
    assert Arm("control") == Arm("control", None, None, 0.0, True)


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


@pytest.mark.parametrize("part", [1e-9, 0.1, 1.0])
def test_the_folder_of_a_cell_lies_in_the_run_directory_whatever_its_arm(tmp_path: Path, part: float):
    share = {"by": "share", "questions": "medical", "total": 5, "levels": ["subtle", "severe"], "shares": [part]}
    dose = {"by": "dose", "benign": "everyday", "benign_rows": 5, "questions": "medical", "doses": [part]}
    variants = [{"share": part, "assistant": "informed", "select": "random", "rounds": 2}]
    talk = {"by": "interaction", "users": 4, "methods": {"sft": {}, "kto": {}}, "shares": [part], "variants": variants}
    for mix in (share, dose, talk):
        study = Study.model_validate({"name": "a", "question": "?", "seeds": [0, 2**32 - 1], "mix": mix})
        for arm in arms(study):
            for seed in study.seeds:
                folder = Store(tmp_path).cell(Cell(arm, seed, "")).folder
                assert folder.resolve().parent == (tmp_path / "cells").resolve()
                assert file_name(folder.name) == folder.name
