"""What a study or an eval found as JSON, and all files that a study's report consists of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from untrue.files import write_text
from untrue.harness.reading import Evaluated
from untrue.judge.note import JudgeNote
from untrue.report import words
from untrue.report.format import ascii_numbers
from untrue.stats.types import Reason, Verdict
from untrue.study.results import Analysis, EvalAnalysis


def write(analysis: Analysis) -> None:
    """Write `summary.json`, `report.html` and, of simulated users, `dialogues.html` into the run directory."""
    from untrue.report import html

    store = analysis.store
    write_text(store.summary, json.dumps(study_summary(analysis), indent=1, ensure_ascii=False))
    store.dialogues.unlink(missing_ok=True)
    if analysis.feedback:
        write_text(store.dialogues, html.render_dialogues(analysis.study.name, analysis.feedback.chapters))
    write_text(store.report, html.render(analysis))


def study_summary(analysis: Analysis) -> dict[str, Any]:
    """What `summary.json` holds."""
    loop = analysis.feedback
    return finite(
        {
            "study": analysis.study.model_dump(mode="json"),
            "evals": {of_eval.spec.key: _eval_summary(analysis, of_eval) for of_eval in analysis.evals},
            "training": [asdict(training) for training in analysis.training],
            "loop": [{"stage": s.stage, "who": s.who, **s.summary._asdict()} for s in loop.stages] if loop else [],
            "rater": loop.rater if loop else None,
            "policy": loop.policy if loop else None,
        }
    )


def _eval_summary(analysis: Analysis, of_eval: EvalAnalysis) -> dict[str, Any]:
    return {
        "verdict": verdict_summary(of_eval.verdict, of_eval.record.value_name),
        "judge": _judge(of_eval.judge) if of_eval.judge else None,
        "metrics": {arm: asdict(metrics) for arm, metrics in of_eval.metrics.items()},
        "arms": [{**asdict(arm), "self_judged": of_eval.self_judged(arm.arm)} for arm in of_eval.summaries],
        "comparisons": [asdict(comparison) for comparison in of_eval.comparisons],
        "categories": {
            category: [asdict(comparison) for comparison in comparisons]
            for category, comparisons in of_eval.categories.items()
        },
        "trends": [asdict(trend) for trend in of_eval.trends],
        "data": [note._asdict() for note in (*analysis.data, of_eval.items)],
        "versions": analysis.versions,
    }


def evaluated_summary(evaluated: Evaluated) -> dict[str, Any]:
    """What `untrue eval --json` prints of one eval."""
    reading, judge = evaluated.reading, evaluated.judge
    summary = {
        **asdict(evaluated.summary),
        "categories": {category.arm: asdict(category) for category in evaluated.categories},
    }
    if reading.metrics:
        summary["metrics"] = finite(asdict(reading.metrics))
    doubts = _sentences(evaluated.doubts)
    summary |= {"conclusive": not doubts, "doubts": doubts}
    if judge:
        summary["judge"] = finite(_judge(judge))
    if reading.adapter:
        summary["adapter"] = reading.adapter
    return summary


def verdict_summary(verdict: Verdict, value_name: str | None) -> dict[str, Any]:
    """The verdict in words, and its parts by their codes."""
    return {
        "status": verdict.status,
        "sentence": ascii_numbers(words.sentence(verdict, value_name)),
        "notes": [ascii_numbers(note) for note in words.notes(verdict, value_name)],
        "estimand": verdict.estimand,
        "n_seeds": verdict.n_seeds,
        "arms": {
            arm.arm: {
                "control": arm.control,
                "conclusions": list(arm.conclusions),
                "metrics": [finding.comparison.metric for finding in arm.findings],
                "faults": [{"code": fault.code, "arm": fault.arm} for fault in arm.faults],
            }
            for arm in verdict.arms
        },
        "doubts": [doubt.code for doubt in verdict.doubts],
    }


def _judge(judge: JudgeNote) -> dict[str, Any]:
    return {
        "name": judge.name,
        "check": judge.check and dict(judge.check),
        "doubts": _sentences(judge.doubts),
        "self_judged": judge.self_judged,
        "corrected_lie_rate_given_belief": judge.corrected_lie_rate_given_belief,
        "uncorrected": ascii_numbers(words.clause(judge.uncorrected)) if judge.uncorrected else None,
    }


def _sentences(reasons: Iterable[Reason]) -> list[str]:
    return [ascii_numbers(clause) for clause in words.clauses(reasons)]


def finite(value: Any) -> Any:
    """The same value with null for what JSON has no number for, and intervals as objects."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if hasattr(value, "_asdict"):
        return finite(value._asdict())
    if hasattr(value, "model_fields"):
        return finite(dict(value))
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
