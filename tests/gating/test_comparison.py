"""Two subjects in each eval that both have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.study.conftest import Recorder
from untrue.errors import UserError
from untrue.gating.comparison import compared
from untrue.gating.config import GateConfig
from untrue.gating.matching import AGAINST_BASE, hidden_loss, opposite_moves
from untrue.gating.measurements import Measurement
from untrue.gating.subjects import Subjects
from untrue.gating.verdict import gate
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.outcomes import Result
from untrue.report.gate import compared_cells, compared_summary
from untrue.report.words import clause

Log = Callable[..., Path]


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    return Subjects([], tmp_path / "out", Recorder())


def test_the_second_minus_the_first(log: Log, subjects: Subjects) -> None:
    a, b = subjects.of(str(log("a", lies=range(10)))), subjects.of(str(log("b", lies=range(30))))
    [of_eval] = compared(a, b)
    lies = next(comparison for comparison in of_eval.comparisons if comparison.metric == "lie_rate")
    assert (lies.control, lies.arm, lies.n_pairs) == ("a", "b", 100)
    assert lies.difference.value == pytest.approx(0.2)
    assert "lies_more" in of_eval.verdict.arms[0].conclusions
    assert [summary.lie_rate.value for summary in of_eval.summaries if summary.lie_rate] == [0.1, 0.3]


def test_a_subject_against_itself_finds_nothing(log: Log, subjects: Subjects) -> None:
    subject = subjects.of(str(log("a", lies=range(10))))
    [of_eval] = compared(subject, subject)
    assert [summary.arm for summary in of_eval.summaries] == ["a", "a (2)"]
    assert of_eval.verdict.arms[0].conclusions == ("no_finding",)
    assert {comparison.difference.value for comparison in of_eval.comparisons} == {0.0}


def test_of_another_tokenizer_outcomes_alone(log: Log, subjects: Subjects) -> None:
    [of_eval] = compared(subjects.of(str(log("a"))), subjects.of(str(log("b", tokenizer="others"))))
    assert {c.metric for c in of_eval.comparisons} == {"lie_rate", "evasion_rate", "untrue_belief_rate"}
    assert "Margins are left out" in of_eval.notes[0]


def test_an_eval_that_one_side_alone_has_is_not_left_out_in_silence(
    log: Log, subjects: Subjects, tmp_path: Path
) -> None:
    for name, tasks in {"a": ("forced_choice", "capability"), "b": ("forced_choice",)}.items():
        for task in tasks:
            log(f"{name}/{task}", 10, task=f"untrue/{task}", weights=name)
    [of_eval] = compared(subjects.of(str(tmp_path / "a")), subjects.of(str(tmp_path / "b")))
    assert of_eval.notes == ["Left out: capability, since one of the two has no log of it."]


def test_what_broke_is_not_said_to_be_better(log: Log, subjects: Subjects) -> None:
    a, b = subjects.of(str(log("a", lies=range(20)))), subjects.of(str(log("b", errors=range(20))))
    [of_eval] = compared(a, b)
    assert "lies_less" not in of_eval.verdict.arms[0].conclusions
    assert "breaks" in of_eval.verdict.arms[0].conclusions


def ranked(log: Log, name: str, shift: float = 0.0, **settings: object) -> str:
    truth = settings.pop("truth", lambda item: (item % 5 - 1) / 10 + shift + 0.01 * (item % 2) * bool(shift))
    return str(log(name, truth=truth, task="untrue/plain_text", version=2, **settings))


def test_values_have_their_difference_and_the_metrics_of_their_eval(log: Log, subjects: Subjects) -> None:
    [of_eval] = compared(subjects.of(ranked(log, "a")), subjects.of(ranked(log, "b", -0.2)))
    [row] = of_eval.comparisons
    assert (row.metric, row.n_pairs, row.difference.value) == ("value", 100, pytest.approx(-0.3))
    assert of_eval.verdict.arms[0].conclusions == ("fell",)
    cells = {name: of_arms for name, *of_arms in compared_cells(of_eval)}
    assert [cell[:5] for cell in cells["AUROC, true against false statements"]] == ["0.700", "0.350", "–", "–", "–"]
    [found] = compared_summary([of_eval]).values()
    assert found["metrics"]["b"]["total"]["auroc"]["value"] == pytest.approx(0.35)


def test_models_on_two_bases_have_two_probes_and_are_not_compared(log: Log, subjects: Subjects) -> None:
    def probed(name: str, **settings: str) -> str:
        return str(log(name, truth=lambda item: item / 100, task="untrue/truth_probe", version=2, **settings))

    base, merged = subjects.of(probed("base", weights="base-weights")), subjects.of(probed("merged", weights="others"))
    assert compared(base, subjects.of(probed("adapted", adapter="mine")))
    with pytest.raises(UserError, match=r"truth_probe: its probe is fitted on the base, and base and merged have two"):
        compared(base, merged)
    plain = [ranked(log, "a"), ranked(log, "b", weights="others")]
    assert compared(subjects.of(plain[0]), subjects.of(plain[1]))


EMBEDDED: dict[str, Any] = {"model": "untrue/smollm2-135m", "base_margin": 0.1, "arguments": {"limit": 100}}


@pytest.mark.parametrize(
    ("before", "after", "doubts"),
    [
        ({}, {"adapter": "mine"}, ["chosen_items"]),
        ({}, {"model": "untrue/merged", "weights": "merged"}, ["chosen_items"]),
        ({}, {"adapter": "mine", "arguments": {"limit": 100, "order": "random"}}, []),
        ({}, {"adapter": "mine", "arguments": {}}, []),
        ({}, {"adapter": "mine", "base_margin": None}, []),  # items of which no margin is known
        ({"adapter": "old"}, {"adapter": "mine"}, []),
        ({"model": "untrue/other"}, {"model": "untrue/other", "adapter": "mine"}, []),
    ],
)
def test_the_embedded_model_is_at_its_best_on_items_that_its_own_margins_chose(
    before: dict[str, Any], after: dict[str, Any], doubts: list[str], log: Log, subjects: Subjects
) -> None:
    settings = {**EMBEDDED, **{name: after[name] for name in ("arguments", "base_margin") if name in after}}
    a, b = (subjects.of(str(log(name, **settings | own))) for name, own in (("a", before), ("b", after)))
    [of_eval] = compared(a, b)
    assert [reason.code for reason in of_eval.verdict.doubts] == doubts
    verdict = gate(a, b, GateConfig.model_validate({"evals": ["forced_choice"]}))
    assert verdict.status == ("inconclusive" if doubts else "pass")
    assert [reason.code for _, reason in verdict.doubts] == doubts
    is_with_base = "base_margin" not in after and "model" not in before and "adapter" not in before
    assert of_eval.notes == [AGAINST_BASE] * is_with_base
    assert verdict.notes == tuple(f"forced_choice: {AGAINST_BASE}" for _ in range(is_with_base))


def test_an_adapter_that_inspects_own_command_was_given_is_not_the_embedded_model(log: Log, subjects: Subjects) -> None:
    settings = {"model": "untrue/smollm2-135m", "tokenizer": None, "base_margin": 0.1}
    base, tuned = (
        subjects.of(str(log(name, **settings, model_args=args)))
        for name, args in (("base", {}), ("tuned", {"adapter": "adapters/mine"}))
    )
    assert [of.measurements["forced_choice"].is_of_embedded for of in (base, tuned)] == [True, False]
    for pair in ((base, tuned), (tuned, base)):
        [of_eval] = compared(*pair)
        assert AGAINST_BASE in of_eval.notes
    [of_eval] = compared(base, base)
    assert AGAINST_BASE not in of_eval.notes


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"dtype": "float32"}, {"dtype": "float32"}, None),
        (None, {"dtype": "float32"}, None),  # some logs do not say
        (
            {"dtype": "bfloat16", "torch": "2.12.0"},
            {"dtype": "float32", "torch": "2.13.0"},
            "dtype: bfloat16, and float32; torch: 2.12.0, and 2.13.0",
        ),
    ],
)
def test_other_dtypes_and_libraries_are_named(
    before: dict[str, str] | None, after: dict[str, str], said: str | None, log: Log, subjects: Subjects
) -> None:
    a, b = (subjects.of(str(log(name, computed=computed))) for name, computed in (("a", before), ("b", after)))
    [of_eval] = compared(a, b)
    assert ["measure both alike" in note for note in of_eval.notes] == [True] * bool(said)
    assert (said or "") in " ".join(of_eval.notes)
    verdict = gate(a, b, GateConfig.model_validate({"evals": ["forced_choice"]}))
    assert verdict.status == "pass"
    assert verdict.notes == tuple(f"forced_choice: {note}" for note in of_eval.notes)


def test_other_options_of_an_eval_are_another_measurement(log: Log, subjects: Subjects, tmp_path: Path) -> None:
    version = EVALS["sft_cue"].version
    medical, law = (
        subjects.of(str(log(domain, task="untrue/sft_cue", version=version, arguments={"domain": domain})))
        for domain in ("medical", "law")
    )
    assert compared(medical, medical)
    with pytest.raises(UserError, match="sft_cue: medical and law differ in domain"):
        compared(medical, law)
    for seed, domain in enumerate(("medical", "law")):
        place = f"run/cells/arm-s{seed}/logs/cue"
        log(place, task="untrue/sft_cue", version=version, arguments={"domain": domain})
    (tmp_path / "run/study.yaml").touch()
    with pytest.raises(UserError, match=r"arm-s1.*differs in domain from"):
        subjects.of(str(tmp_path / "run/arm"))


def test_the_temperature_of_a_policy_is_an_option(log: Log) -> None:
    """That of replies is in the log's plan; this one is the eval's own."""
    of_policy, of_replies = EVALS["reply_choice"], EVALS["mask"]
    answers = [Measurement(of, eval_spec(name=of.name), {}) for of in (of_policy, of_replies)]
    assert "temperature" in answers[0]._options and answers[1]._options == set()


@pytest.mark.parametrize(
    ("admits", "answers", "codes", "hides"),
    [
        (-30, 30, ["moved_apart"], True),
        (30, 30, [], False),
        (-30, 0, [], False),
        (-5, 5, [], True),
        (4, -5, [], True),
        (-4, 4, [], False),
    ],
)
def test_inventing_more_and_answering_more_do_not_cancel_in_silence(
    admits: int, answers: int, codes: list[str], hides: bool
) -> None:
    """In each half the baseline gets 50 of 100; the candidate so many more, or fewer."""
    results = [
        Result(arm, 0, "unknowns", f"{side}-{item}", side, None, value=float(item < 50 + more * (arm == "candidate")))
        for side, more in (("unanswerable", admits), ("answerable", answers))
        for arm in ("baseline", "candidate")
        for item in range(100)
    ]
    found = opposite_moves(EVALS["unknowns"], results, {"candidate": "baseline"})
    assert [reason.code for reason in found] == codes
    notes = hidden_loss(EVALS["unknowns"], results, 0.05)
    moved = f"moved by {admits:+.1f} points and answering by {answers:+.1f} points"
    assert notes == [f"Admitting unknowns {moved}. The mean, which decides, hides it."] * hides
    for reason in found:
        said = clause(reason._replace(code="opposite_moves"))
        assert "unknowns admitted from 50.0\N{NO-BREAK SPACE}% to 20.0" in said and "answered from 50.0" in said
    others = [replace(r, category="all") for r in results]
    assert opposite_moves(EVALS["capability"], others, {}) == hidden_loss(EVALS["capability"], others, 0.05) == []
