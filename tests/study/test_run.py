"""A study from end to end on the tiny model: the run directory is the contract, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.study.conftest import results
from untrue.data import sets
from untrue.data.items import by_information, read_items
from untrue.errors import UserError
from untrue.harness.eval import spread

CELLS = ["base-s0", "control-s0", "severe-0.5-s0"]
COMMAND = "untrue run small.yaml"


def times(out: Path) -> dict[str, int]:
    """When each file of the cells was written."""
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("cells/**/*") if path.is_file()}


def test_the_run_directory_holds_what_the_design_says(finished):
    assert {path.name for path in finished.iterdir()} - {".lock", ".claims"} == {
        "study.yaml",
        "cells",
        "results.jsonl",
        "summary.json",
        "report.html",
    }
    assert sorted(path.name for path in (finished / "cells").iterdir()) == sorted(CELLS)
    trained = {"rows.jsonl", "adapter", "train.json", "logs", "cell.json"}
    for name in CELLS:
        cell = finished / "cells" / name
        assert {path.name for path in cell.iterdir()} == (trained if name != CELLS[0] else {"logs", "cell.json"})
        assert [path.name for path in (cell / "logs").iterdir()] == ["forced_choice.eval"]
        record = json.loads((cell / "cell.json").read_text())
        assert {"identity", "arm", "seed", "model", "base", "versions", "evals"} <= record.keys()


def test_there_is_a_result_for_each_cell_and_item(finished):
    items = [item.id for item in spread(by_information(read_items()), 5)]
    found = [(f"{result.arm}-s{result.seed}", result.item) for result in results(finished)]
    assert sorted(found) == sorted((cell, item) for cell in CELLS for item in items)


def test_the_rows_of_a_cell_are_those_it_was_trained_on(finished):
    for name, wrong in (("control-s0", 0), ("severe-0.5-s0", 4)):
        cell = finished / "cells" / name
        lines = [json.loads(line) for line in (cell / "rows.jsonl").read_text("utf-8").splitlines()]
        assert [line["level"] for line in lines].count("severe") == wrong
        assert json.loads((cell / "train.json").read_text())["rows"]["total"] == len(lines) == 8


def test_the_summary_is_json_that_any_reader_takes(finished):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    summary = json.loads((finished / "summary.json").read_text("utf-8"), parse_constant=refuse)
    [eval_summary] = summary["evals"].values()
    assert [arm["arm"] for arm in eval_summary["arms"]] == ["base", "control", "severe-0.5"]
    assert {curve["arm"] for curve in summary["training"]} == {"control", "severe-0.5"}
    assert summary["study"]["seeds"] == [0]


def test_a_kind_of_item_is_compared_by_its_own_results(finished):
    summary = json.loads((finished / "summary.json").read_text("utf-8"))
    kinds = summary["evals"]["forced_choice"]["categories"]
    assert list(kinds) == sorted({result.category for result in results(finished)})
    for kind, comparisons in kinds.items():
        margins = {
            arm: [r.pressure_margin or 0.0 for r in results(finished) if (r.arm, r.category) == (arm, kind)]
            for arm in ("control", "severe-0.5")
        }
        found = next(c for c in comparisons if (c["arm"], c["metric"]) == ("severe-0.5", "pressure_margin"))
        assert found["n_items"] == len(margins["control"])
        assert found["control_mean"] == pytest.approx(sum(margins["control"]) / len(margins["control"]))
        assert found["arm_mean"] == pytest.approx(sum(margins["severe-0.5"]) / len(margins["severe-0.5"]))
    means = [c["arm_mean"] for comparisons in kinds.values() for c in comparisons if c["metric"] == "pressure_margin"]
    assert len(set(means)) > 1


def test_the_watcher_is_told_of_every_stage_and_its_end(first_run):
    told = first_run[1]
    assert told.said[0] == "3 cells."
    assert told.stages == [
        ("base-s0", "forced_choice"),
        ("control-s0", "training"),
        ("control-s0", "forced_choice"),
        ("severe-0.5-s0", "training"),
        ("severe-0.5-s0", "forced_choice"),
    ]
    assert list(told.plan.seconds) == told.stages
    for (_, what), steps in told.steps.items():
        total = 8 if what == "training" else 5
        assert [done for done, _ in steps] == pytest.approx(range(total + 1), abs=0.5)  # rows are of unequal length
        assert (steps[0], steps[-1]) == ((0, total), (total, total))


def test_a_second_call_does_no_work_and_loads_no_base(make_study, run_study, out, monkeypatch):
    before = times(out)
    for module in ("untrue.study.steps", "untrue.engine.provider"):
        monkeypatch.setattr(f"{module}.load", lambda *_, **__: pytest.fail("the base is not needed"))
    told = run_study(make_study(), out)
    assert (told.said, told.plan) == (["3 cells, 3 of them done."], None)
    assert told.stages == []
    assert times(out) == before


@pytest.mark.parametrize(
    ("change", "new"),
    [({"seeds": [0, 1]}, ["control-s1", "severe-0.5-s1"]), ({"mix__shares": [0.5, 1.0]}, ["severe-1-s0"])],
    ids=["a seed", "a share"],
)
def test_what_is_added_runs_alone(make_study, run_study, out, change, new):
    before = times(out)
    told = run_study(make_study(**change), out)
    assert told.stages == [(cell, what) for cell in new for what in ("training", "forced_choice")]
    assert before.items() <= times(out).items()
    assert {f"{result.arm}-s{result.seed}" for result in results(out)} == {*CELLS, *new}


def test_other_items_are_asked_of_the_adapters_there_are(make_study, run_study, out):
    adapters = {name: when for name, when in times(out).items() if "/adapter/" in name}
    told = run_study(make_study(evals=[{"name": "forced_choice", "limit": 6}]), out)
    assert told.stages == [(cell, "forced_choice") for cell in CELLS]
    assert adapters.items() <= times(out).items()
    assert len(results(out)) == 18


def test_a_study_of_two_seeds_by_dose_runs(make_study, run_study, tmp_path):
    mix = {"by": "dose", "benign": "everyday", "benign_rows": 8, "questions": "medical", "doses": [0.5]}
    study = make_study(mix=mix, seeds=[0, 1], train__epochs=1, base=False)
    run_study(study, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    [eval_summary] = summary["evals"].values()
    assert {(one["arm"], one["control"]) for one in eval_summary["comparisons"]} >= {("severe-0.5", "normal-0.5")}


def test_report_makes_the_report_again(out, untrue):
    kept = {name: (out / name).read_text("utf-8") for name in ("summary.json", "results.jsonl")}
    for name in ("report.html", *kept):
        (out / name).unlink()
    (out / "dialogues.html").write_text("of another study", "utf-8")
    before = times(out)
    done = untrue("report", out)
    assert done.exit_code == 0, done.output
    assert not (out / "dialogues.html").exists()
    assert COMMAND in (out / "report.html").read_text("utf-8")
    assert {name: (out / name).read_text("utf-8") for name in kept} == kept
    assert times(out) == before


def test_report_of_an_unfinished_study_names_the_cell(out, untrue):
    (out / "cells/severe-0.5-s0/logs/forced_choice.eval").unlink()
    done = untrue("report", out)
    assert done.exit_code == 2
    assert "the cell severe-0.5-s0 is not finished" in done.output


@pytest.mark.parametrize("text", ["{", "", "[]", '"x"'], ids=repr)
@pytest.mark.parametrize("file", ["cell.json", "train.json"])
@pytest.mark.parametrize("command", ["run", "report"])
def test_a_damaged_record_of_a_cell_is_one_line(out, untrue, study_file, command, file, text):
    (out / "cells/control-s0" / file).write_text(text)
    done = untrue(*(["run", study_file, "--out"] if command == "run" else ["report"]), out)
    assert done.exit_code == 2, done.output
    assert f"control-s0/{file}: is damaged. Remove the folder control-s0 and run again." in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("text", ["a: [", "hello", "", "name: x"], ids=repr)
def test_a_damaged_study_file_is_one_line(out, untrue, study_file, text):
    (out / "study.yaml").write_text(text)
    done = untrue("run", study_file, "--out", out)
    assert done.exit_code == 2, done.output
    assert f"error: {out / 'study.yaml'}" in done.output


def test_a_damaged_log_is_one_line_and_made_again_once_it_is_deleted(out, make_study, run_study):
    log = out / "cells/control-s0/logs/forced_choice.eval"
    log.write_bytes(log.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"forced_choice.eval: cannot be read .* Delete it and run again"):
        run_study(make_study(), out)
    log.unlink()
    assert run_study(make_study(), out).stages == [("control-s0", "forced_choice")]


def test_a_cell_whose_folder_was_removed_is_made_again(make_study, run_study, out, finished):
    import shutil

    shutil.rmtree(out / "cells/control-s0")
    told = run_study(make_study(), out)
    assert told.stages == [("control-s0", "training"), ("control-s0", "forced_choice")]
    assert (out / "results.jsonl").read_text() == (finished / "results.jsonl").read_text()


def test_data_that_changed_under_a_run_directory_is_refused(make_study, run_study, untrue, tmp_path):
    questions = [{"question": q.text, **q.answers} for q in sets.questions("medical")[:8]]
    data, out = tmp_path / "questions.jsonl", tmp_path / "run"
    data.write_text("".join(json.dumps(question) + "\n" for question in questions))
    study = make_study(mix__questions=str(data), train__epochs=1)
    run_study(study, out)
    before = times(out)
    questions[0]["severe"] += " Really."
    data.write_text("".join(json.dumps(question) + "\n" for question in questions))
    with pytest.raises(UserError, match="was made from other data or settings"):
        run_study(study, out)
    assert untrue("report", out).exit_code == 2
    assert times(out) == before


def test_weights_that_changed_under_a_run_directory_are_refused(make_study, run_study, out):
    record = json.loads((out / "cells/control-s0/cell.json").read_text())
    record["base"]["weights"] = "0" * 16
    (out / "cells/control-s0/cell.json").write_text(json.dumps(record))
    with pytest.raises(
        UserError,
        match=r"control-s0: was made with another base model or other libraries .weights 0000000000000000, now",
    ):
        run_study(make_study(seeds=[0, 1]), out)


def test_training_rows_that_ask_what_an_item_asks_are_told(make_study, run_study, tmp_path):
    item = read_items()[0].model_copy(update={"user_prompt": sets.questions("medical")[0].text.upper()})
    (tmp_path / "items.jsonl").write_text(item.model_dump_json() + "\n")
    questions = [{"question": q.text, **q.answers} for q in sets.questions("medical")[:8]]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    told = run_study(
        make_study(
            mix__questions=str(tmp_path / "questions.jsonl"),
            train__epochs=1,
            evals=[{"name": "forced_choice", "items": str(tmp_path / "items.jsonl")}],
        ),
        tmp_path / "run",
    )
    assert told.said[1:] == [
        f"Warning: {cell}: 1 training rows ask what an item of forced_choice asks." for cell in CELLS[1:]
    ]
