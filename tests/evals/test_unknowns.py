"""Unknowns: a model that answers nothing, or everything, does not look good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from inspect_ai.log import EvalLog

from tests.evals.ruled import judged_run, metrics, outcomes, score
from untrue.data.items import UnknownPair, read_lines
from untrue.harness.catalogue import EVALS
from untrue.harness.tasks import inspect_task
from untrue.judge.note import judging
from untrue.logs import read_log
from untrue.outcomes import Outcome

unknowns = inspect_task(EVALS["unknowns"])

PAIRS = [
    {
        "id": f"pair-{n}",
        "category": "future",
        "unanswerable": f"unknown {n}",
        "answerable": f"known {n}",
        "answer": "June",
        "admission": "Nobody knows.",
        "invention": "May.",
    }
    for n in range(4)
]


def asked(folder: Path, reply: Callable[[str, str], str], judgement: Callable[[str], str] | None = None) -> EvalLog:
    path = folder / "unknowns.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), "utf-8")
    return judged_run(unknowns(items=str(path)), reply, folder, judgement=judgement)


def read(question: str) -> str:
    """A judge that can read: an admission, and an answer, by what stands in the reply."""
    reply = question.partition("Reply:")[2]
    if "kills-judge" in reply:
        raise RuntimeError("the judge is not well")
    wanted = "June" if "Right answer" in question else "know"
    return json.dumps({"label": "yes" if wanted in reply.partition("<text>")[2] else "no"})


MODELS = {
    # reply -> admitted, answered, Youden's J, conclusive
    "tells them apart": (lambda system, user: "I don't know" if "unknown" in user else "June", 1, 1, 1, 1),
    "never answers": (lambda system, user: "I don't know", 1, 0, 0, 0),
    "always answers": (lambda system, user: "June", 0, 1, 0, 1),
    "nonsense": (lambda system, user: "blorp", 0, 0, -1, 0),
    "silent": (lambda system, user: " ", 0, 0, -1, 0),
}


@pytest.mark.parametrize("model", MODELS)
def test_both_rates_and_their_sum_minus_one(model, tmp_path):
    reply, *expected = MODELS[model]
    rates = metrics(asked(tmp_path, reply, read))
    assert [rates[name] for name in ("admitted", "answered", "youden_j", "conclusive")] == expected
    assert rates["youden_j_low"] < rates["youden_j_high"] <= 1
    assert rates["youden_j_low"] >= -1


def test_results_are_values_told_apart_by_category_and_failures_are_errors(tmp_path):
    def reply(system: str, user: str) -> str:
        return "kills-judge" if user == "known 0" else "June"

    log = asked(tmp_path, reply, read)
    assert outcomes(log)["pair-0-answerable"] == "error"
    rates = metrics(log)
    assert rates["error_rate"] == pytest.approx(1 / 8)
    assert (rates["answered"], rates["youden_j"], rates["conclusive"]) == (1, 0, 0)
    results = {result.item: result for result in read_log(Path(log.location), "arm", 0)}
    failed, answered, invented = (results[f"pair-{n}"] for n in ("0-answerable", "1-answerable", "1-unanswerable"))
    assert (failed.outcome, failed.value) == (Outcome.ERROR, None)
    assert (answered.outcome, answered.value, answered.category) == (None, 1.0, "answerable")
    assert (invented.outcome, invented.value, invented.category) == (None, 0.0, "unanswerable")


def test_the_judge_gets_the_right_answer_of_the_twin_alone(tmp_path):
    questions: list[str] = []

    def judgement(question: str) -> str:
        questions.append(question)
        return '{"label": "yes"}'

    log = asked(tmp_path, lambda system, user: "reply", judgement)
    assert len(questions) == 8 + 8  # of the replies, and of those that deserve a no
    assert all(("Right answer: June" in question) is ("Question: known" in question) for question in questions)
    assert all(score(sample).explanation for sample in log.samples or [])


@pytest.mark.parametrize(("label", "one_sided", "figures"), [("yes", True, (1, 1, 1)), ("no", False, (0, 0, -1))])
def test_a_judge_that_gives_one_label_whatever_it_reads_makes_no_model_honest(label, one_sided, figures, tmp_path):
    log = asked(tmp_path, lambda system, user: f"reply to {user}", lambda question: json.dumps({"label": label}))
    rates = metrics(log)
    assert tuple(rates[name] for name in ("admitted", "answered", "youden_j")) == figures  # what misleads
    assert (rates["judge_one_sided"], rates["conclusive"]) == (one_sided, 0)
    heard = judging(log)
    assert heard and heard.one_sided is one_sided  # to say no to all is what a model deserves that does neither


def test_a_limit_takes_whole_pairs():
    dataset = unknowns(limit=5).dataset
    assert len(dataset) == 10
    assert len({(sample.metadata or {})["pair"] for sample in dataset}) == 5
    assert len(unknowns().dataset) == 2 * len(read_lines(UnknownPair))
