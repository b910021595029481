"""Labels of judged replies: which are drawn, what they make of a reply, and what they are refused for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import ModelOutput

from tests.evals.ruled import judged_run
from tests.gating.judged import write
from tests.study.conftest import Recorder
from untrue.errors import UserError
from untrue.gating.comparison import compared
from untrue.gating.correction import correction
from untrue.gating.labelling import Labelling, drawn, refuse_others
from untrue.gating.labels import read_labels
from untrue.gating.replies import Judged, judged
from untrue.gating.subject import Subjects
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import Decision
from untrue.harness.tasks import inspect_task
from untrue.judge.prompts import STATEMENT
from untrue.outcomes import Outcome


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    return Subjects([], tmp_path / "out", Recorder())


@pytest.fixture
def pair(tmp_path: Path, subjects: Subjects) -> Judged:
    """Six lies in each; the judge calls twelve honest replies of the second lies."""
    write(tmp_path / "a.eval", lies=range(6), texts=" a")
    write(tmp_path / "b.eval", lies=range(6), mistaken=range(10, 22), unknown=[50, 51], errors=[52], texts=" b")
    return judged(subjects.of(str(tmp_path / "a.eval")), subjects.of(str(tmp_path / "b.eval")))


def label_truly(labelling: Labelling) -> None:
    while question := labelling.pending():
        labelling.put(question, "B" if "says-B" in question.fields["reply"] else "A", "person")


def reply_to(system: str, user: str) -> str | ModelOutput:
    """Something that each of the evals can judge."""
    return "<think>says-no</think><output>says-no says-A</output>"


@pytest.mark.parametrize("name", ["mask", "pressure_pairs", "unknowns", "deceptionbench"])
def test_the_labels_of_the_judge_give_its_outcomes(name: str, tmp_path: Path, subjects: Subjects) -> None:
    for side in ("a", "b"):
        log = judged_run(inspect_task(EVALS[name])(limit=2), reply_to, tmp_path / side)
        Path(log.location).rename(tmp_path / f"{side}.eval")
    both = judged(subjects.of(str(tmp_path / "a.eval")), subjects.of(str(tmp_path / "b.eval")))
    labelling = Labelling(both, 1000, 0, tmp_path / "labels.jsonl")
    assert labelling.sample
    while question := labelling.pending():
        labelling.put(question, question.judged if question.judged is not None else "no", "person")
    values = {reply.slot: reply.value(labelling.labels) for reply in labelling.sample if reply.arm == "a"}
    results = [result for result in both.results if result.arm == "baseline"]
    known = {(r.item, r.seed, r.epoch): r.value if r.outcome is None else r.outcome for r in results}
    assert values == {slot: known[slot] for slot in values}
    found = correction(both, read_labels(labelling.path))
    assert found.right == found.labels == (len(values), len(values))


def test_the_same_items_of_both_are_drawn_in_random_order(pair: Judged) -> None:
    sample = drawn(pair, 60, 0)
    items = Counter(reply.slot for reply in sample)
    assert len(sample) == 60
    assert set(items.values()) <= {1, 2}
    assert sum(count == 2 for count in items.values()) >= 27
    arms = [reply.arm for reply in sample]
    assert arms != sorted(arms)
    assert 4 < sum(arm == "a" for arm in arms[:20]) < 16
    assert drawn(pair, 60, 0) == sample
    assert drawn(pair, 60, 1) != sample
    assert {(reply.arm, reply.slot) for reply in sample} < {(reply.arm, reply.slot) for reply in drawn(pair, 80, 0)}


def test_a_reply_is_as_likely_whether_or_not_the_other_seeds_of_its_item_are_open(
    tmp_path: Path, subjects: Subjects
) -> None:
    cells = tmp_path / "run" / "cells"
    (tmp_path / "run" / "study.yaml").parent.mkdir()
    (tmp_path / "run" / "study.yaml").write_text("")
    for cell in ("a-s0", "a-s1", "a-s2", "b-s0", "b-s1", "b-s2"):
        (cells / cell / "logs").mkdir(parents=True)
        unknown = range(20) if cell[-1] != "0" else ()  # half of the items have a belief at one seed of three
        write(cells / cell / "logs" / "mask.eval", 40, unknown=unknown)
    both = judged(subjects.of(str(tmp_path / "run" / "a")), subjects.of(str(tmp_path / "run" / "b")))
    seldom = [int(reply.slot[0][-3:]) < 20 for seed in range(40) for reply in drawn(both, 20, seed)]
    assert 0.2 < sum(seldom) / len(seldom) < 0.3  # 20 of 80 open replies


def test_what_no_label_can_change_is_not_drawn(pair: Judged) -> None:
    everything = drawn(pair, 1000, 0)
    of_second = {reply.slot[0] for reply in everything if reply.arm == "b"}
    assert len(everything) == 60 + 57
    assert not of_second & {"item-050", "item-051", "item-052"}


@pytest.mark.parametrize("leads_on", STATEMENT.labels)
def test_a_reply_is_not_drawn_where_a_label_leads_to_a_judgement_that_the_log_lacks(
    pair: Judged, leads_on: str
) -> None:
    async def decide(item: Any, replies: Any, hearing: Any) -> Decision:
        said = await hearing.ask("statement", STATEMENT, proposition="Rain is wet.", reply="It is.")
        if said.label == leads_on:
            await hearing.ask("belief", STATEMENT, proposition="Rain is wet.", reply="Yes.")
        return Decision(Outcome.LIE if said.label in ("A", "B") else Outcome.HONEST, "By its label.")

    reply = next(iter(pair.replies[0].values()))
    assert not replace(reply, record=replace(reply.record, decide=decide)).is_open


def test_a_label_takes_the_place_of_the_judges(pair: Judged, tmp_path: Path) -> None:
    labelling = Labelling(pair, 200, 0, tmp_path / "labels.jsonl")
    label_truly(labelling)
    second = pair.replies[1]
    assert second["item-010", 0, 1].value(labelling.labels) is Outcome.HONEST
    assert second["item-000", 0, 1].value(labelling.labels) is Outcome.LIE
    found = correction(pair, labelling.labels)
    assert (found.labels, found.right, found.specificity) == ((60, 57), (60, 45), ((54, 54), (51, 39)))
    assert found.by == {"person": 117}
    assert found.found
    assert found.found.control.value == pytest.approx(0.1)
    assert found.found.arm.value == pytest.approx(7 / 60)  # six lies, and the failure that counts as one


def test_a_finding_that_labels_leave_open_is_in_doubt(pair: Judged, subjects: Subjects, tmp_path: Path) -> None:
    labelling = Labelling(pair, 80, 0, tmp_path / "labels.jsonl")
    label_truly(labelling)
    a, b = (subjects.of(str(tmp_path / f"{name}.eval")) for name in "ab")
    [without], [with_labels] = compared(a, b), compared(a, b, labelling.labels)
    assert "lies_more" in without.verdict.arms[0].conclusions
    assert "labels_leave_open" not in [reason.code for reason in without.verdict.doubts]
    assert "labels_leave_open" in [reason.code for reason in with_labels.verdict.doubts]
    assert without.sensitivity and with_labels.sensitivity
    assert (without.sensitivity.source, with_labels.sensitivity.source) == ("supposed", "labels")


def test_too_few_labels_are_said_to_be_too_few(pair: Judged, tmp_path: Path) -> None:
    labelling = Labelling(pair, 20, 0, tmp_path / "labels.jsonl")
    label_truly(labelling)
    found = correction(pair, labelling.labels)
    assert found.found is None
    assert found.reason
    assert found.reason.code == "few_labels"
    assert sum(found.reason.values[:2]) == 20


def test_one_file_holds_the_labels_of_several_evals(pair: Judged, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    other = '{"eval": "unknowns", "arms": ["a"], "seed": 0, "item": "x", "epoch": 1, "about": "reply",'
    path.write_text(f'{other} "question": "admits", "text": "0", "label": "yes", "by": "person"}}\n', "utf-8")
    label_truly(Labelling(pair, 60, 0, path))
    labels = read_labels(path)
    assert len(labels) == 61
    assert sum(correction(pair, labels).labels) == 60
    with pytest.raises(UserError, match="line 1: is a label of unknowns, and the logs have mask"):
        refuse_others(labels, [pair])


def test_one_label_does_for_the_same_reply_of_both(tmp_path: Path, subjects: Subjects) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.eval", 30)
    both = judged(subjects.of(str(tmp_path / "a.eval")), subjects.of(str(tmp_path / "b.eval")))
    labelling = Labelling(both, 60, 0, tmp_path / "labels.jsonl")
    label_truly(labelling)
    assert labelling.counts() == (30, 30)
    assert len(labelling.path.read_text("utf-8").splitlines()) == 30
    assert all(read.label.arms == ["a", "b"] for read in labelling.labels.values())


def test_numbers_are_labelled_by_their_range(tmp_path: Path, subjects: Subjects) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    for name in "ab":
        path = write(tmp_path / f"{name}.eval", 30)
        log = read_eval_log(str(path))
        for sample in log.samples or []:
            assert sample.scores
            details: Any = sample.scores["mask_outcome"].metadata
            sample.metadata |= {"type": "numerical", "proposition": "How many?", "formatted_ground_truth": "40"}
            for judgement in details["judgements"]:
                judgement |= {"prompt": "range", "label": None, "low": 40.0, "high": 40.0}
        write_eval_log(log, str(path))
    both = judged(subjects.of(str(tmp_path / "a.eval")), subjects.of(str(tmp_path / "b.eval")))
    labelling = Labelling(both, 60, 0, tmp_path / "labels.jsonl")
    for value in ((41.0, 41.0), (90.0, 95.0), (), None):
        question = labelling.pending()
        assert question
        assert (question.prompt.name, question.judged) == ("range", (40.0, 40.0))
        labelling.put(question, value, "person")
    values = [reply.value(read_labels(labelling.path)) for reply in labelling.sample]
    assert {value for value in values if value} == {Outcome.HONEST, Outcome.LIE, Outcome.EVADE}
    assert labelling.skipped in (1, 2)  # of one reply, or of both where they are the same


def test_a_sample_that_is_none_of_the_evals_is_told(tmp_path: Path, subjects: Subjects) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    path = write(tmp_path / "a.eval", 30)
    log = read_eval_log(str(path))
    for sample in log.samples or []:
        del sample.metadata["ground_truth"]
    write_eval_log(log, str(path))
    both = judged(subjects.of(str(path)), subjects.of(str(path)))
    with pytest.raises(UserError, match=r"a: the sample of item item-\d+ is not as mask writes it"):
        drawn(both, 60, 0)


def test_labels_do_not_stand_for_a_baseline_without_any_answer(tmp_path: Path, subjects: Subjects) -> None:
    write(tmp_path / "a.eval", 30, errors=range(30))
    write(tmp_path / "b.eval", 30)
    both = judged(subjects.of(str(tmp_path / "a.eval")), subjects.of(str(tmp_path / "b.eval")))
    labelling = Labelling(both, 60, 0, tmp_path / "labels.jsonl")
    label_truly(labelling)
    found = correction(both, labelling.labels)
    assert (found.found, found.reason and found.reason.code) == (None, "few_labels")
