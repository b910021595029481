"""What `untrue.evaluate` returns, of an eval that was asked twice, with and without a label."""

from __future__ import annotations

from pathlib import Path

import pytest

import untrue
from untrue.harness.eval import EvalSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def both(tiny_folder: Path, folder: Path) -> untrue.Evaluation:
    few = EvalSpec(name="forced_choice", label="few", limit=2)
    return untrue.evaluate(tiny_folder, dtype="float32", evals=[few, "forced_choice"], limit=3, log_dir=folder)


def test_several_evals_are_one_evaluation(both: untrue.Evaluation, folder: Path) -> None:
    assert both.evals == ["few", "forced_choice"]
    assert (both.metrics["few.n_items"], both["forced_choice"].metrics["n_items"]) == (2, 3)
    assert len(both.results) == len(both.to_pandas()) == 5
    assert both.log == folder and len([*folder.glob("*.eval")]) == 2
    with pytest.raises(untrue.UserError, match=r"other: was not asked of .* There is: few, forced_choice"):
        _ = both["other"]


def test_comparisons_and_gates_take_each_eval_once(both: untrue.Evaluation) -> None:
    assert both["few"].subject.name == both.arm
    with pytest.raises(untrue.UserError, match="was asked an eval twice, expected each eval once"):
        _ = both.subject


def test_what_is_shown_is_escaped(both: untrue.Evaluation) -> None:
    bad = untrue.Evaluation("<script>x</script>", both.parts)
    assert "<script>" not in bad._repr_html_() and "&lt;script&gt;" in bad._repr_html_()
    assert "lie_rate" in bad._repr_html_()
    wild = untrue.Evaluation("a\nb\x1b[31m", both.parts)
    assert len(repr(wild).splitlines()) == len(repr(both).splitlines()) and "\x1b" not in repr(wild)
    assert "forced_choice" in repr(both)


def test_an_evaluation_whose_log_was_written_again_is_not_taken_for_the_later_one(
    tiny_folder: Path, tmp_path: Path
) -> None:
    first = untrue.evaluate(tiny_folder, dtype="float32", limit=3, log_dir=tmp_path)
    assert untrue.compare(first, first)
    second = untrue.evaluate(tiny_folder, dtype="float32", limit=3, log_dir=tmp_path)
    with pytest.raises(untrue.UserError, match=r"was written again since tiny was evaluated\. Give each evaluation"):
        untrue.compare(first, second)
