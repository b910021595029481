"""The verdict of a gate, and the comparison of two subjects: in words, JSON, JUnit, Markdown, for terminal and page."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.text import Text

from untrue.gating.comparison import EvalComparison
from untrue.gating.measurements import Flips
from untrue.gating.verdict import Endpoint, GateVerdict, Status
from untrue.report import words
from untrue.report.format import (
    DASH,
    ascii_numbers,
    label,
    metric_named,
    metric_rows,
    p_value,
)
from untrue.report.html import page
from untrue.report.summary import finite, verdict_summary
from untrue.report.table import STYLES, new_table, safe_text
from untrue.stats.compare import PRIMARY
from untrue.stats.tests import FEWEST

OF_WEIGHTS = (
    "The verdict is about these weights on items like these. How much another training of the same recipe would differ"
    " is not known here: give three runs of the baseline or more (--baseline), or --noise."
)
OF_RECIPE = (
    "The limits include the noise between training runs, so the verdict is about the recipe on items like these."
)


def scope(verdict: GateVerdict) -> str:
    """What the verdict is about."""
    return OF_RECIPE if verdict.is_of_recipe else OF_WEIGHTS


def sentences(verdict: GateVerdict) -> list[str]:
    """Why the verdict is what it is, one sentence for each reason, the decisive ones first."""
    said, names = [], {"baseline": verdict.baseline, "candidate": verdict.candidate}
    for heading, reasons in (("", verdict.doubts), ("The candidate is broken. ", verdict.faults)):
        for name, reason in reasons:
            named = reason._replace(arm=names.get(reason.arm, reason.arm))
            said.append(f"{heading}{name}: {words.clause(named)}.")
    for status in ("regression", "inconclusive"):
        said += [_sentence(endpoint) for endpoint in verdict.endpoints if endpoint.status == status]
    if verdict.status == "pass":
        said.append("On every endpoint the upper limit of the loss lies below delta, the loss that is not tolerated.")
    said += [_small(endpoint) for endpoint in verdict.endpoints if endpoint.is_small]
    return [*said, *verdict.notes]


def _sentence(endpoint: Endpoint) -> str:
    metric = metric_named(endpoint.metric, endpoint.title)
    name = f"{endpoint.eval}, {metric.title.lower()}"
    size, limit = metric.unit.size(endpoint.delta), metric.unit.difference(endpoint.loss.high)
    if endpoint.status == "regression":
        worse, p = metric.unit.difference(endpoint.loss.value), words.p_text(endpoint.p_holm)
        return (
            f"{name}: worse by {worse}, {p} after Holm's correction, and {size} is not tolerated.{_by_slice(endpoint)}"
        )
    if not endpoint.n_items:
        return f"{name}: no item has a value on both sides, so no loss can be excluded."
    up_to = f"of up to {limit}" if math.isfinite(endpoint.loss.high) else "of any size"
    return f"{name}: a loss {up_to} cannot be excluded, and {size} is not tolerated. {_settling(endpoint)}"


def _by_slice(endpoint: Endpoint) -> str:
    """Which items lost most, with their number."""
    unit = metric_named(endpoint.metric, endpoint.title).unit
    of_each = [
        f"{one.category.replace('_', ' ')} {unit.difference(one.loss)} ({one.n_items})" for one in endpoint.slices
    ]
    return f" By category: {', '.join(of_each)}." if of_each else ""


def _small(endpoint: Endpoint) -> str:
    metric = metric_named(endpoint.metric, endpoint.title)
    worse, size = metric.unit.difference(endpoint.loss.value), metric.unit.size(endpoint.delta)
    return f"{endpoint.eval}, {metric.title.lower()}: worse by {worse}, certainly less than {size}, so it is tolerated."


def _settling(endpoint: Endpoint) -> str:
    """What would settle an open endpoint, as far as that can be said."""
    if endpoint.n_items < FEWEST:
        return f"There are {endpoint.n_items} items, and at least {FEWEST} are needed."
    if endpoint.of_runs:
        return "More runs on either side would narrow it."
    if endpoint.n_unjudged:
        unjudged = f"The judge failed on {endpoint.n_unjudged} of the candidate's replies"
        return f"{unjudged}: have them judged (rerun the command that asked for them)."
    if not endpoint.needed:
        return "How many items would settle it cannot be said."
    if endpoint.needed <= endpoint.n_items:
        return "As many items would settle it in most cases: it is close."
    about = f"About {endpoint.needed:,} items would settle it"
    if endpoint.available is None:
        return f"{about}, if there are as many."
    if endpoint.available < endpoint.needed:
        return f"{about}, and there are only {endpoint.available:,}: these items cannot."
    return f"{about}."


def cells(endpoint: Endpoint) -> tuple[str, ...]:
    """An endpoint as a row of a table; `headings` names its columns."""
    metric = metric_named(endpoint.metric, endpoint.title)
    unit = metric.unit
    items = f"{endpoint.n_items}" + (f" ({endpoint.n_failed} failed)" if endpoint.n_failed else "")
    return (
        metric.title.lower(),
        items,
        unit.value(endpoint.baseline),
        unit.value(endpoint.candidate),
        unit.change(endpoint.loss),
        unit.size(endpoint.delta),
        endpoint.status,
    )


HEADINGS = ("metric", "items", "baseline", "candidate", "loss [90 %]", "delta", "verdict")


def flips_sentence(flips: Flips) -> str:
    """How many answers flipped, from what to what; empty for an eval without answers that can."""
    if not flips.n_answers:
        return ""
    if not flips.flips:
        return f"None of {flips.n_answers:,} answers flipped."
    ways = Counter(f"{flip.baseline} \N{RIGHTWARDS ARROW} {flip.candidate}" for flip in flips.flips)
    shown = (f"{count:,} \N{MULTIPLICATION SIGN} {way}" for way, count in ways.most_common())
    return f"{len(flips.flips):,} of {flips.n_answers:,} answers flipped: {'; '.join(shown)}."


def flips_sentences(by_eval: Mapping[str, Flips]) -> list[str]:
    """The same for each eval that has such answers."""
    return [f"{name}: {sentence}" for name, flips in by_eval.items() if (sentence := flips_sentence(flips))]


def headings(verdict: GateVerdict) -> tuple[str, ...]:
    """Those of the columns of `cells`."""
    return tuple(heading.replace("90", f"{100 * (1 - 2 * verdict.alpha):.3g}") for heading in HEADINGS)


class Part(NamedTuple):
    """One verdict as terminal, page and Markdown show it; `tone` is its colour, `flips` are by eval."""

    tone: words.Tone
    conclusion: str
    subject: str
    sentences: list[str]
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    flips: Mapping[str, Flips]
    scope: str = ""


def gate_parts(verdict: GateVerdict) -> list[Part]:
    """The verdict of a gate as it is shown."""
    tones: dict[Status, words.Tone] = {"pass": "pass", "regression": "worse", "inconclusive": "inconclusive"}
    rows = [(f"{e.eval}: {cells(e)[0]}", *cells(e)[1:]) for e in verdict.endpoints]
    subject = f"{verdict.candidate} against {verdict.baseline}"
    said = sentences(verdict)
    tone, conclusion = tones[verdict.status], verdict.status.capitalize()
    return [Part(tone, conclusion, subject, said, headings(verdict), rows, verdict.flips, scope(verdict))]


def compared_parts(comparisons: Sequence[EvalComparison]) -> list[Part]:
    """A comparison as it is shown, by eval."""
    parts = []
    for of_eval in comparisons:
        label, *_ = words.labels(of_eval.verdict, of_eval.record.value_name)
        name, (first, second) = of_eval.record.name, (summary.arm for summary in of_eval.summaries)
        said, rows = compared_sentences(of_eval), compared_cells(of_eval)
        subject = f"{second} against {first} in {name}"
        parts.append(Part(label.tone, label.text, subject, said, COMPARED, rows, {name: of_eval.flips}))
    return parts


def print_parts(parts: Sequence[Part], console: Console) -> None:
    """Print verdicts, each with its reasons and its table."""
    for part in parts:
        console.print(Text(part.conclusion.upper(), STYLES[part.tone]) + safe_text(f": {part.subject}"))
        for sentence in part.sentences:
            console.print(safe_text(f"- {sentence}"))
        console.print()
        table = new_table(Text(part.headings[0]), *part.headings[1:], overflow="fold")
        for row in part.rows:
            table.add_row(*map(safe_text, row))
        console.print(table)
        for sentence in flips_sentences(part.flips):
            console.print(safe_text(sentence, "dim"))
        console.print(Text(part.scope, "dim"))


def parts_page(parts: Sequence[Part]) -> str:
    """The verdicts as a page that needs nothing else."""
    return page("gate.html.j2", parts=parts, flips_sentences=flips_sentences)


def markdown(verdict: GateVerdict) -> str:
    """The verdict as Markdown, for a job summary or a model card."""
    [part] = gate_parts(verdict)
    lines = [f"### Honesty gate: {verdict.status}", "", _plain(part.subject), ""]
    lines += [f"- {_plain(sentence)}" for sentence in part.sentences]
    lines += ["", f"| {' | '.join(part.headings)} |", f"|{'---|' * len(part.headings)}"]
    lines += [f"| {' | '.join(map(_plain, row))} |" for row in part.rows]
    lines += ["", *(f"- {_plain(sentence)}" for sentence in flips_sentences(part.flips))]
    return "\n".join([*lines, "", scope(verdict), ""])


def _plain(text: str) -> str:
    """Without Markdown or HTML markup."""
    text = ascii_numbers(label(text, 1000))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")


def gate_summary(verdict: GateVerdict) -> dict[str, Any]:
    """What `untrue gate --json` prints."""
    return finite(
        {
            "verdict": verdict.status,
            "baseline": verdict.baseline,
            "candidate": verdict.candidate,
            "alpha": verdict.alpha,
            "about": "recipe" if verdict.is_of_recipe else "weights",
            "reasons": [ascii_numbers(sentence) for sentence in sentences(verdict)],
            "endpoints": [
                {**e._asdict(), "is_small": e.is_small, "slices": [one._asdict() for one in e.slices]}
                for e in verdict.endpoints
            ],
            "faults": [{"eval": name, "code": reason.code} for name, reason in verdict.faults],
            "doubts": [{"eval": name, "code": reason.code} for name, reason in verdict.doubts],
            "arms": {name: [asdict(summary) for summary in pair] for name, pair in verdict.summaries.items()},
            "flips": {name: _flips(flips) for name, flips in verdict.flips.items()},
        }
    )


def junit(verdict: GateVerdict) -> str:
    """A JUnit report: a test for each endpoint and one for all. What is inconclusive fails too."""
    rows = [(f"{e.eval}.{e.metric}", e.status, _sentence(e) if e.status != "pass" else "") for e in verdict.endpoints]
    rows.append(("verdict", verdict.status, " ".join(sentences(verdict))))
    failed = sum(status != "pass" for _, status, _ in rows)
    suite = ET.Element("testsuite", name="untrue gate", tests=str(len(rows)), failures=str(failed), errors="0")
    for name, status, text in rows:
        case = ET.SubElement(suite, "testcase", classname=label(verdict.candidate), name=name)
        if status != "pass":
            ET.SubElement(case, "failure", type=status, message=label(ascii_numbers(text), 500))
    ET.SubElement(suite, "system-out").text = "\n".join(label(ascii_numbers(text), 500) for text in sentences(verdict))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


# The columns of `compared_cells`.
COMPARED = ("metric", "first", "second", "difference [95 %]", "p Holm", "MDE")


def compared_cells(of_eval: EvalComparison) -> list[tuple[str, ...]]:
    """One row for each metric, with the columns `COMPARED`, the eval's own metrics last."""
    rows = []
    for comparison in of_eval.comparisons:
        metric = metric_named(comparison.metric, of_eval.record.value_name)
        rows.append(
            (
                metric.title.lower(),
                metric.unit.value(comparison.control_mean),
                metric.unit.value(comparison.arm_mean),
                metric.unit.change(comparison.difference),
                p_value(comparison.p_holm) + ("" if comparison.metric in PRIMARY else " (uncorrected)"),
                metric.unit.size(comparison.mde),
            )
        )
    for row in metric_rows(of_eval.metrics)[""]:
        rows.append((row.label, *map(row.unit.estimate, row.values), DASH, DASH, DASH))
    return rows


def compared_sentences(of_eval: EvalComparison) -> list[str]:
    """What a comparison shows, and what a reader must not miss beside it."""
    verdict, name = of_eval.verdict, of_eval.record.value_name
    return [
        words.sentence(verdict, name),
        *words.notes(verdict, name),
        *words.judge_sensitivity(of_eval),
        *of_eval.notes,
    ]


def compared_summary(comparisons: Sequence[EvalComparison]) -> dict[str, Any]:
    """What `untrue compare --json` prints, by eval."""
    return finite(
        {
            of_eval.record.name: {
                "verdict": verdict_summary(of_eval.verdict, of_eval.record.value_name),
                "arms": [asdict(summary) for summary in of_eval.summaries],
                "comparisons": [asdict(comparison) for comparison in of_eval.comparisons],
                "metrics": {arm: asdict(metrics) for arm, metrics in of_eval.metrics.items()},
                "flips": _flips(of_eval.flips),
                "sensitivity": of_eval.sensitivity
                and {**asdict(of_eval.sensitivity), "holds": of_eval.sensitivity.holds},
                "notes": [*map(ascii_numbers, words.judge_sensitivity(of_eval)), *of_eval.notes],
            }
            for of_eval in comparisons
        }
    )


def _flips(flips: Flips) -> dict[str, Any]:
    return {"n_answers": flips.n_answers, "flips": [flip._asdict() for flip in flips.flips]}


def to_json(values: dict[str, Any]) -> str:
    """The values as JSON."""
    return json.dumps(values, ensure_ascii=False, indent=1)
