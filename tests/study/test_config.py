"""A study as its YAML says it: values, defaults, overrides, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from untrue.data import sets
from untrue.errors import UserError
from untrue.study.config import load, to_yaml
from untrue.study.routes.dose import DoseRoute
from untrue.study.routes.share import ShareRoute
from untrue.study.store import Cell
from untrue.training.spec import TrainSpec

SHARE = """\
name: mine
question: Why?
mix:
  by: share
  questions: medical
  total: 20
  shares: [0.1, 0.5]
"""
DOSE = """\
name: mine
question: Why?
mix:
  by: dose
  benign: everyday
  benign_rows: 20
  questions: math
  levels: [subtle, severe]
  doses: [0.5, 1.5]
train:
  learning_rate: 5.0e-4
evals:
  - forced_choice
"""


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share.yaml").write_text(SHARE)
    return tmp_path / "share.yaml"


@pytest.fixture
def dose(tmp_path: Path) -> Path:
    (tmp_path / "dose.yaml").write_text(DOSE)
    return tmp_path / "dose.yaml"


def test_lists_need_no_brackets_and_a_number_of_seeds_is_that_many(share: Path, dose: Path):
    study = load(share, ["seeds=3", "mix.shares=0.1,1", "mix.levels=severe", "evals=forced_choice,sft_cue"])
    assert study.seeds == (0, 1, 2)
    assert isinstance(study.mix, ShareRoute)
    assert (study.mix.shares, study.mix.levels) == ((0.1, 1.0), ("severe",))
    assert [spec.model_dump().get("domain") for spec in study.evals] == [None, "medical"]
    assert load(dose, ["mix.doses=0.1", "train.target_modules=q_proj,v_proj"]).train.target_modules == (
        "q_proj",
        "v_proj",
    )
    assert [load(share, [f"seeds={text}"]).seeds for text in ("3,", "[3]", "4,7", "1")] == [(3,), (3,), (4, 7), (0,)]
    assert refusal(share, "seeds=1234") == (
        "override: seeds: a number of seeds is from 1 to 100, and a single seed is written `1234,`, found 1234."
    )


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        load(path, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_the_file_leaves_out_has_the_papers_values(share):
    study = load(share)
    assert (study.model, study.dtype, study.seeds, study.base) == ("smollm2-135m", "auto", (0,), True)
    assert study.train == TrainSpec()
    assert (study.train.learning_rate, study.train.epochs, study.train.lora_rank) == (1e-4, 1.0, 32)
    assert [(spec.name, spec.items, spec.limit) for spec in study.evals] == [("forced_choice", "builtin", None)]


def test_overrides_replace_values_at_any_depth_and_add_what_is_not_there(dose):
    study = load(dose, ["seeds=[3,4]", "mix.doses=[0.1]", "train.epochs=2", "evals=[{name: forced_choice, limit: 5}]"])
    assert study.seeds == (3, 4)
    assert isinstance(study.mix, DoseRoute)
    assert study.mix.doses == (0.1,)
    assert study.mix.benign_rows == 20
    assert (study.train.epochs, study.train.learning_rate) == (2.0, 5e-4)
    assert study.evals[0].limit == 5


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("total: 20", "total: many", 6, "mix.total: "),
        ("total: 20", "totl: 20", 6, "mix.totl: unknown key. Did you mean 'total'?"),
        ("shares: [0.1, 0.5]", "shares: [0.1, 1.5]", 7, "mix.shares.1: "),
        ("shares: [0.1, 0.5]", "shares: [0.1, 0.1]", 7, "mix.shares: a value occurs twice"),
        ("shares: [0.1, 0.5]", "shares: [0.1, 0.10000001]", 7, "mix.shares: two values are alike in their first six"),
        ("by: share", "by: nothing", 3, "mix: "),
        ("total: 20", "total: 20\n  doses: [0.1]", 7, "mix.doses: unknown key."),
        ("name: mine", "name: my study", 1, "name: "),
        ("question: Why?", "question: Why?\nseeds: []", 3, "seeds: "),
    ],
)
def test_an_error_names_the_file_the_line_and_the_key(share, old, new, line, said):
    share.write_text(SHARE.replace(old, new))
    assert refusal(share).startswith(f"{share}, line {line}: {said}")


def test_a_study_written_out_is_read_back_as_it_was(share, dose, tmp_path):
    for path in (share, dose):
        study = load(path, ["seeds=[1,2]", "train.epochs=0.5"])
        (tmp_path / "resolved.yaml").write_text(to_yaml(study), "utf-8")
        assert load(tmp_path / "resolved.yaml") == study


def test_without_a_total_all_questions_of_a_set_are_taken(share):
    share.write_text(SHARE.replace("  total: 20\n", ""))
    mix = load(share).mix
    rows = mix.rows(mix.read(), Cell(mix.arms()[-1], 0, ""))
    count = len(sets.questions("medical"))
    assert (len(rows), sum(row.level == "severe" for row in rows)) == (count, round(count / 2))
    assert "share of all medical questions" in mix.describe()


INTERACTION = """\
name: mine
question: Why?
mix:
  by: interaction
  users: 20
  shares: [0.5]
  methods: {sft: {}, kto: {}}
evals: [reply_choice]
"""


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("mix.variants=[{share: 0.5}]", "a variant needs one of assistant, select and rounds"),
        ("mix.variants=[{share: 0.5, assistant: blind}]", "is like its main arm"),
        ("mix.variants=[{share: 0.2, rounds: 2}]", "has no arm to compare it with"),
        ("mix.replies=generated", "generated needs a rater that can read them"),
        ("mix.methods={sft: {method: kto}}", "is named by its key"),
        ("mix.methods={dpo: {}}", "input should be 'sft' or 'kto'"),
        ("mix.shares=[0.1,0.10000001]", "alike in their first six digits"),
        ("mix.keep=.inf", "finite number"),
        ("train.method=kto", "the methods of `mix.by: interaction` are in mix.methods"),
    ],
)
def test_an_interaction_that_could_not_work_is_refused_before_it_begins(tmp_path: Path, override: str, said: str):
    path = tmp_path / "mine.yaml"
    path.write_text(INTERACTION)
    assert said in refusal(path, override)


def test_replies_are_chosen_in_the_environment_of_the_study(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(INTERACTION)
    assert load(path).evals[0].items == "builtin"  # which is `chat`, as the environment is by default
    assert load(path, ["mix.environment=exam"]).evals[0].items == "exam"


@pytest.mark.parametrize(
    ("path", "override", "said"),
    [
        ("share", "mix.levels=[severe,severe]", "mix.levels: a value occurs twice"),
        ("dose", "mix.levels=[severe,severe]", "mix.levels: a value occurs twice"),
        ("dose", "mix.doses=[1.5,1.5000001]", "mix.doses: two values are alike in their first six"),
        ("share", "mix.total=0", "mix.total: "),
    ],
)
def test_an_error_of_an_override_says_so(request: pytest.FixtureRequest, path: str, override: str, said: str):
    assert refusal(request.getfixturevalue(path), override).startswith(f"override: {said}")
