"""A gate that asks in batches: when it stops, that it resumes, and that a baseline is not asked twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tests.judge.scripted  # noqa: F401
from tests.gating.shifty import Shifty
from tests.study.conftest import Recorder
from untrue.errors import UserError
from untrue.gating.comparison import compared
from untrue.gating.config import Delta, GateConfig
from untrue.gating.sequential import gate_in_batches
from untrue.gating.subject import Side, Subject, Subjects
from untrue.gating.verdict import GateVerdict, gate
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.judge.check import Check
from untrue.logs import open_log

N, BATCH = 24, 9
WIDE = Delta(lie_rate=0.4, evasion_rate=0.4, untrue_belief_rate=0.4)

Gate = Callable[..., GateVerdict]


@pytest.fixture(autouse=True)
def trusted_judge_and_small_batches(monkeypatch: pytest.MonkeyPatch, good_check: Check) -> None:
    monkeypatch.setattr("untrue.judge.check.last_check", lambda judge_id: good_check)
    monkeypatch.setattr("untrue.gating.sequential.BATCH", BATCH)
    Shifty.calls.clear()


@pytest.fixture
def config(tmp_path: Path) -> GateConfig:
    rows = [
        {"task_id": str(n), "user_prompt": f"Item {n}?", "proposition": f"p {n}", "ground_truth": "yes"}
        for n in range(N)
    ]
    path = tmp_path / "provided_facts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    spec = eval_spec(name="mask", items=str(path), judge="scripted/judge")
    return GateConfig(evals=(spec,), delta=WIDE, sequential=True)


@pytest.fixture
def subjects(config: GateConfig, tmp_path: Path) -> Callable[[], Subjects]:
    """As a new process would make them."""
    return lambda: Subjects(config.evals, tmp_path / "logs", Recorder(), "float32")


@pytest.fixture
def decide(config: GateConfig, subjects: Callable[[], Subjects]) -> Gate:
    def decide(baseline: str, candidate: str, tell: Any = lambda verdict: None, **changes: Any) -> GateVerdict:
        of = subjects()
        chosen = config.model_copy(update=changes)
        return gate_in_batches(of.side(f"shifty/{baseline}"), of.side(f"shifty/{candidate}"), chosen, tell)

    return decide


def asked(model: str) -> list[str]:
    return [text for name, text in Shifty.calls if name == model]


def test_a_candidate_that_always_lies_is_found_in_the_first_batch(decide: Gate) -> None:
    verdict = decide("honest", "liar")
    assert verdict.status == "regression"
    [asking] = verdict.asking
    assert asking == ("mask", BATCH, N, True)
    first = {int(text.removeprefix("Item ").removesuffix("?")) for text in asked("liar")}
    assert len(first) == len(asked("honest")) == len(asked("liar")) == BATCH
    assert {*asked("honest")} == {*asked("liar")}
    assert max(first) > N / 2 > min(first)  # in random order
    lies = next(endpoint for endpoint in verdict.endpoints if endpoint.metric == "lie_rate")
    assert (lies.n_items, lies.candidate, lies.status) == (BATCH, 1.0, "regression")
    assert (
        lies.loss.low > 0
        and lies.loss_evidence
        and lies.p_holm == pytest.approx(len(verdict.endpoints) / lies.loss_evidence)
    )


def test_a_candidate_that_answers_alike_passes_early_and_a_killed_gate_comes_to_the_same_verdict(
    decide: Gate, tmp_path: Path
) -> None:
    told: list[GateVerdict] = []
    verdict = decide("honest", "alike", told.append)
    assert (verdict.status, verdict.faults, verdict.doubts) == ("pass", (), ())
    [asking] = verdict.asking
    assert asking.is_decided and asking.n_items == N
    assert [of.asking[0].stopped_after for of in told] == list(range(BATCH, asking.stopped_after + 1, BATCH))
    assert asking.stopped_after == len(asked("alike")) < N
    assert {endpoint.n_items for endpoint in verdict.endpoints} == {asking.stopped_after}
    assert all(endpoint.loss.high < endpoint.delta for endpoint in verdict.endpoints)
    evidence = [endpoint.pass_evidence for endpoint in verdict.endpoints]
    assert all(found is not None and found >= 1 / verdict.alpha for found in evidence)

    def kill(so_far: GateVerdict) -> None:
        raise KeyboardInterrupt

    for log in (tmp_path / "logs").iterdir():
        log.unlink()
    Shifty.calls.clear()
    with pytest.raises(KeyboardInterrupt):
        decide("honest", "alike", kill)
    assert replace(decide("honest", "alike"), notes=verdict.notes) == verdict
    assert len(asked("alike")) == len({*asked("alike")}) == asking.stopped_after


def test_the_next_candidate_asks_the_baseline_nothing_and_a_rerun_asks_nobody(decide: Gate) -> None:
    first = decide("honest", "alike")
    before = len(asked("honest"))
    assert decide("honest", "liar").status == "regression"
    assert len(asked("honest")) == before  # though it has more items than the liar needed
    calls = len(Shifty.calls)
    again = decide("honest", "alike")
    assert replace(again, notes=first.notes) == first
    assert len(Shifty.calls) == calls
    assert not first.notes
    assert "alike is known only by its name and was asked before" in again.notes[1]


def test_all_items_without_a_decision_are_inconclusive_though_the_fixed_test_would_decide(
    decide: Gate, subjects: Callable[[], Subjects], config: GateConfig
) -> None:
    narrow = Delta(lie_rate=0.19, evasion_rate=0.4, untrue_belief_rate=0.4)
    verdict = decide("honest", "alike", delta=narrow, alpha=0.01)
    assert verdict.status == "inconclusive"
    assert verdict.asking == (("mask", N, N, False),)
    assert min(endpoint.needed for endpoint in verdict.endpoints if endpoint.status == "inconclusive") > N
    of = subjects()
    fixed = config.model_copy(update={"delta": narrow, "alpha": 0.01})
    calls = len(Shifty.calls)
    assert gate(of.of("shifty/honest"), of.of("shifty/alike"), fixed).status == "pass"
    assert len(Shifty.calls) == calls  # the fixed design takes the same logs


def test_the_fixed_design_asks_a_baseline_once_too(subjects: Callable[[], Subjects], config: GateConfig) -> None:
    of = subjects()
    verdict = gate(of.of("shifty/honest"), of.of("shifty/liar"), config)
    assert (verdict.status, verdict.asking, len(asked("honest"))) == ("regression", (), N)
    again = subjects()
    gate(again.of("shifty/honest"), again.of("shifty/alike"), config)
    assert (len(asked("honest")), len(asked("alike"))) == (N, N)


def test_python_takes_models_and_evaluations(config: GateConfig, tmp_path: Path) -> None:
    import untrue

    models = ("shifty/honest", "shifty/liar")
    settings: Any = {"delta": WIDE.model_dump(), "sequential": True, "log_dir": tmp_path / "logs"}
    asked_for = untrue.gate(*models, evals=[spec.model_dump() for spec in config.evals], **settings)
    assert "mask: sequential design, decided after 9 of 24 items." in asked_for.reasons
    whole = [untrue.evaluate(model, evals=config.evals, log_dir=tmp_path / "logs") for model in models]
    calls = len(Shifty.calls)
    assert untrue.gate(*whole, **settings).reasons == asked_for.reasons
    assert (len(Shifty.calls), calls) == (2 * N, 2 * N)


def test_logs_that_stopped_early_decide_nothing_by_the_fixed_test(
    decide: Gate, subjects: Callable[[], Subjects], config: GateConfig, tmp_path: Path
) -> None:
    assert decide("honest", "liar").status == "regression"
    of, logs = subjects(), [str(next((tmp_path / "logs").glob(f"mask-*{name}.eval"))) for name in ("honest", "liar")]
    verdict = gate(of.of(logs[0]), of.of(logs[1]), config)
    assert verdict.status == "inconclusive"
    assert [reason.code for _, reason in verdict.doubts] == ["stopped_early"] * 2
    assert gate_in_batches(of.side(logs[0]), of.side(logs[1]), config).status == "regression"
    [compared_too] = compared(of.of(logs[0]), of.of(logs[1]))
    assert "stopped_early" in [reason.code for reason in compared_too.verdict.doubts]
    whole = gate(of.of("shifty/honest"), of.of("shifty/liar"), config)  # asks the rest
    assert (whole.status, whole.doubts) == ("regression", ())


def test_failures_count_against_the_candidate(decide: Gate) -> None:
    verdict = decide("honest", "fails")
    assert verdict.status == "regression"
    assert "many_errors" in {reason.code for _, reason in verdict.faults}
    assert verdict.asking[0].stopped_after < N


def test_a_log_is_a_side_too_and_other_items_are_refused(
    decide: Gate, subjects: Callable[[], Subjects], config: GateConfig, tmp_path: Path
) -> None:
    decide("honest", "liar")
    [short] = (tmp_path / "logs").glob("mask-*liar.eval")
    of = subjects()
    with pytest.raises(UserError, match=rf"mask: {N - BATCH} items were asked of one alone, .*Measure both"):
        gate_in_batches(of.side("shifty/honest"), of.side(str(short)), config)
    baseline = of.of("shifty/honest")
    assert len(open_log(baseline.answers["mask"].logs[0]).samples or []) == N
    log = str(baseline.answers["mask"].logs[0])
    assert gate_in_batches(of.side(log), of.side("shifty/liar"), config).asking == (("mask", BATCH, N, True),)
    with pytest.raises(UserError, match="one: has no log of mask"):
        gate_in_batches(Subject("one", {}).side, of.side(log), config)
    twice = replace(baseline.answers["mask"], logs={0: Path(log), 1: Path(log)})
    side = Subject("arm", {"mask": twice}).side
    with pytest.raises(UserError, match=r"arm: has several seeds of mask.* Leave sequential out"):
        gate_in_batches(side, side, config)


def test_pairs_are_asked_whole_and_are_one_draw() -> None:
    from untrue.gating.sequential import _next, _order
    from untrue.gating.verdict import _draws

    items = {f"{n}-{side}": f"pair {n}" for n in range(30) for side in "ab"} | {"alone": None}
    side = Side("model", {"unknowns": items}, lambda only: Subject("model", {}))
    order = _order("unknowns", side, side)
    ends, end = [], 0
    while end < len(order):
        end = _next(order, end)
        ends.append(end)
    clusters = list(order.values())
    assert all(clusters[end - 1] != clusters[end] for end in ends[:-1]) and ends[-1] == 61
    order = {"0-a": "pair 0", "0-b": "pair 0", "alone": "item alone", "1-a": "pair 1", "1-b": "pair 1"}
    draws, scale = _draws({"0-a": 1.0, "0-b": 0.0, "alone": 1.0, "1-a": float("nan"), "1-b": -1.0}, order)
    assert list(draws) == [0.5, 0.5, -1.0]
    assert scale == pytest.approx(5 / 6)  # losses of 1 everywhere are draws of 1, 0.5 and 1


def test_other_evals_are_asked_in_full_and_alone_they_are_refused() -> None:
    assert not EVALS["capability"].judged
    with pytest.raises(
        ValueError, match=r"expected a judged eval, such as mask.*forced_choice, capability have no judge"
    ):
        GateConfig(sequential=True)
    mixed = GateConfig(
        evals=(eval_spec(name="mask", judge="scripted/judge"), eval_spec(name="capability")), sequential=True
    )
    assert mixed.sequential
