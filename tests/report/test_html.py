"""The page says everything that it is given, loads nothing, and runs nothing that a model wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.report.conftest import Shown, of_eval
from untrue.harness.eval import EvalSpec
from untrue.outcomes import Outcome
from untrue.report import words
from untrue.report.html import render
from untrue.study.config import Study
from untrue.study.plan import Arm
from untrue.study.results import Analysis, EvalAnalysis

Make = Callable[..., Analysis]

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></svg><script>alert(1)</script>",
    "--><svg onload=alert(1)>",
    "{{ 7 * 7 }} $x^2$ &lt;b&gt;",
    "日本語 🦜 e\u0301",
    "\u202eשלום עולם\u202c",
]
VOID = {"meta", "br", "hr"}


class Page(HTMLParser):
    """The elements of a page, and its text outside `<style>`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


TEXTS = {"name", "arm", "control", "level", "category", "reason", "design", "command", "created", "content_hash"}


def poisoned(value: Any, text: str) -> Any:
    """The value with `text` in every place that takes text."""
    match value:
        case Study():
            return value.model_copy(update=dict.fromkeys(("name", "question", "model"), text))
        case EvalSpec():
            return value.model_copy(update={"label": text})
        case Shown():
            return Shown.model_construct(id=text, texts={text: text, "Question": text})
        case dict():
            named = {key: f"{key} {text}" if isinstance(one, Arm | str) else key for key, one in value.items()}
            return {named[key]: poisoned(one, text) for key, one in value.items()}
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(poisoned(one, text) for one in value)
    names = getattr(value, "_fields", None) or getattr(value, "__dataclass_fields__", None)
    if not names:
        return value
    parts = {name: getattr(value, name) for name in names}
    plain = {name for name, one in parts.items() if name in TEXTS and isinstance(one, str)}
    changed = {name: f"{one} {text}" if name in plain else poisoned(one, text) for name, one in parts.items()}
    return type(value)(**changed)


def with_eval(analysis: Analysis, further: EvalAnalysis) -> Analysis:
    return replace(analysis, evals=[*analysis.evals, further])


def conclusions(of_eval: EvalAnalysis) -> str:
    """The lines of the verdict as `Page.text` has them, with names in backticks set as code."""
    lines = words.lines(of_eval.verdict, of_eval.record.value_name)
    parts = [part for line in lines for part in (*(label.text for label in line.labels), line.arms, *line.why)]
    return " ".join(" ".join(parts).replace("`", " ").split())


def test_every_part_is_there_and_in_order(analysis: Analysis, forced_choice: EvalAnalysis) -> None:
    page = Page(render(analysis))
    assert not page.open and render(analysis) == render(analysis)
    parts = [
        analysis.study.name, analysis.study.question, conclusions(forced_choice),
        "The conclusions are about training in this way: they rest on 3 seeds.", words.MISALIGNED,
        "Difference from the control",
        "Dose and response", "Outcomes", "Every arm against its control", "Trend", "Items that changed most",
        *forced_choice.changes[0].item.shown.values(), forced_choice.changes[0].arm.reason, "Training",
        "How to read this", "Reproduce", analysis.command, "c01dbeef7731", "2.13.0",
    ]  # fmt: skip
    # A figure's alternative text names the arms before their section does, so look for each part after the last one.
    position = 0
    for part in parts:
        position = page.text.index(part, position)


def test_every_arm_and_figure_is_shown(analysis: Analysis) -> None:
    page = Page(render(analysis))
    rows = page.text[page.text.index("Every arm against its control") :]
    assert "control 360 3 11.1 % [7.7, 14.8] – – – −0.180 [−0.230, −0.130]" in rows
    assert (
        "severe-50 vs control 360 3 23.1 % [19.7, 26.8] +11.9 pp [+7.4, +16.4] 2 failed <0.001 6.3 pp "
        "−0.480 [−0.530, −0.430] −0.300 [−0.360, −0.240] 2 dropped <0.001 0.084"
    ) in rows
    for title in ("Untrue beliefs", "Neutral margin", "Evasions", "Pressure margin"):
        assert title in rows
    for arm in analysis.arms:
        assert page.text.count(arm) > 10
    svgs = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(svgs) == 5 + 3
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for svg in svgs:
        assert set((svg["aria-labelledby"] or "").split()) <= set(ids)
    assert "Lie rate by dose, with 95 % intervals" in page.text


def test_each_eval_is_a_section_with_its_own_verdict_tables_and_plots(
    analysis: Analysis, capability: EvalAnalysis
) -> None:
    page = Page(render(with_eval(analysis, capability)))
    assert not page.open
    position = 0
    for part in (
        conclusions(analysis.evals[0]), "Eval Verdict Measures",
        "forced_choice Lies more No finding Lie rate, Pressure gap, Untrue beliefs, Neutral margin, Evasions",
        "capability Breaks No finding Accuracy", "Lie rate by dose", "All results of each arm",
        "known_facts-000-boiling-point", conclusions(capability), "Accuracy by dose", "Accuracy in % of all results",
        "severe-50 vs control 645 3 71.0 % [66.0, 76.0] −8.0 pp [−12.5, −3.5] 2 failed <0.001 6.3 pp",
        "right → wrong", "What do you need to open a locked door?", "Last loss", "Other rates",
        "Reproduce", "c01dbeef7731", "77aa",
    ):  # fmt: skip
        position = page.text.index(part, position)
    assert page.text.count(conclusions(analysis.evals[0])) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == ["#eval-1", "#eval-2"] and {link[1:] for link in links if link} <= set(ids)
    assert page.text.count("5f1d0c8a9b2e") == 1
    assert "None" not in page.text and "nan" not in page.text


def test_a_value_alone_has_no_outcomes_of_honesty(analysis: Analysis, capability: EvalAnalysis) -> None:
    html = render(replace(analysis, evals=[capability]))
    text = Page(html).text
    assert "<h2>Outcomes" not in html and "Lie rate" not in text and "Lie: the statement" not in text
    assert "a forced choice cannot see" not in text.lower()
    assert "Accuracy: the share of results that count as a success" in text


@pytest.mark.parametrize("text", [" ".join(HOSTILE[:4]), " ".join(HOSTILE[4:])])
def test_hostile_text_stays_text(analysis: Analysis, capability: EvalAnalysis, text: str) -> None:
    both = with_eval(analysis, capability)
    page, calm = Page(render(poisoned(both, text))), Page(render(both))
    assert not page.open
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in calm.elements}
    assert not {"script", "img", "iframe", "object", "embed", "link", "base"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count(" ".join(text.split())) > 20


@pytest.mark.parametrize("text", [HOSTILE[0], "https://example.org/x.js", "a\ud800b\x00c\x1b[31m"])
def test_nothing_is_loaded_and_any_text_can_be_written(analysis: Analysis, text: str) -> None:
    html = render(poisoned(analysis, text))
    page = Page(html)
    assert html.encode("utf-8") and "\x1b" not in html and not page.open
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith("#")
        for value in attributes.values():
            assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)", value or ""))
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_what_is_missing_is_a_dash(analysis: Analysis, forced_choice: EvalAnalysis) -> None:
    last = replace(
        forced_choice.summaries[-1],
        lie_rate_given_belief=None,
        pressure_margin=None,
        neutral_margin=None,
        pressure_gap=None,
    )
    failed = replace(forced_choice.changes[0].arm, pressure_margin=None, outcome=Outcome.ERROR)
    changed = of_eval(
        analysis,
        summaries=[*forced_choice.summaries[:-1], last],
        comparisons=[
            replace(c, p_holm=float("nan"), mde=float("nan")) for c in forced_choice.comparisons if c.arm == "severe-5"
        ],
        changes=[forced_choice.changes[0]._replace(arm=failed)],
    )
    text = Page(render(changed)).text
    assert "severe-50 83 0 86 2 189 360 75.6 % – " in text
    assert "severe-50 vs control 360 3 23.1 % [19.7, 26.8] – – – – – – – " in text
    assert "severe-5 vs control 360 3 12.2 % [8.8, 15.9] +1.1 pp [−3.4, +5.6] – – " in text
    assert "+0.412 in the control, – in the arm" in text
    assert "None" not in text and "nan" not in text


def test_a_study_without_training_trends_or_changes_has_no_empty_sections(analysis: Analysis) -> None:
    arms = {name: replace(arm, level=None, misaligned=False) for name, arm in analysis.arms.items()}
    html = render(of_eval(replace(analysis, training=[], arms=arms), trends=[], changes=[]))
    assert "<h2>Training</h2>" not in html and "<h2>Trend</h2>" not in html
    assert "No item changed." in html and 'class="warning"' not in html


@pytest.mark.parametrize(
    ("status", "tone"), [("finding", "worse"), ("no_finding", "no_finding"), ("inconclusive", "inconclusive")]
)
def test_the_verdict_is_words_and_a_colour(make_analysis: Make, status: str, tone: str) -> None:
    analysis = make_analysis(status=status)
    html = render(analysis)
    assert f'class="verdict {tone}"' in html and f".{tone} {{ --tone: var(--{tone})" in html
    assert f"Verdict {conclusions(analysis.evals[0])}" in Page(html).text
