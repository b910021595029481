"""The hash of what an eval asks covers all that the eval uses of a file, and nothing of how the file is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
from pydantic import BaseModel

from untrue.data.items import CUES, ChoiceItem, DeceptionItem, Item, PressurePair, UnknownPair, items_hash, read_cues
from untrue.data.mask import MaskRow
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.simulate.environment import REPLY_KINDS, Header, Scenario

SPECIAL: dict[str, tuple[Any, Any]] = {
    "choices": (["a key", "a book", "a cup"], ["a key", "a book", "a bed"]),
    "proposition": ("Rain is <pivotal>wet/dry</pivotal>.", "Rain is <pivotal>warm/dry</pivotal>."),
    "base_margin": (0.5, -0.25),
    "informed": ("A note about this user: {wish}", "Know this: {wish}"),
    **{kind: ([kind, "first"], [kind, "second"]) for kind in REPLY_KINDS},
}
"""Two values of fields in which any text will not do."""


class Case(NamedTuple):
    """An eval, and what a line of its file is."""

    eval: str
    model: type[BaseModel]
    file: str = "items.jsonl"
    options: Mapping[str, Any] = {}


CASES = [
    Case("forced_choice", Item),
    Case("sft_cue", Item, options={"domain": "medical"}),
    Case("capability", ChoiceItem),
    Case("sycophancy", Scenario),
    Case("sycophancy", Header),
    Case("reply_choice", Scenario, options={"turns": 1}),
    Case("reply_choice", Header, options={"turns": 1}),
    Case("mask", MaskRow, "doubling_down_known_facts.jsonl"),
    Case("mask", Item),
    Case("pressure_pairs", PressurePair),
    Case("unknowns", UnknownPair),
    Case("deceptionbench", DeceptionItem),
    Case("plain_text", Item),
    Case("truth_probe", Item),
]


def value(name: str, annotation: Any, other: bool = False) -> Any:
    """One of two values for a field."""
    if name in SPECIAL:
        return SPECIAL[name][other]
    if get_origin(annotation) is Literal:
        return get_args(annotation)[other]
    if annotation is int:
        return 1 + other
    if get_origin(annotation) is tuple:
        return [value(name, get_args(annotation)[0], other)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return fields(annotation)
    return f"{name}, {'other' if other else 'one'}"


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """A line of a file, each field filled."""
    return {info.alias or name: value(name, info.annotation) for name, info in model.model_fields.items()}


def changes(model: type[BaseModel]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The line with each of its fields changed in turn, also those of what lies in it."""
    line = fields(model)
    for name, info in model.model_fields.items():
        key = info.alias or name
        kinds: list[Any] = [info.annotation, *get_args(info.annotation)]
        inner = [kind for kind in kinds if hasattr(kind, "model_fields")]
        for path, changed in changes(inner[0]) if inner else ():
            yield f"{name}.{path}", {**line, key: [changed] if isinstance(line[key], list) else changed}
        if not inner:
            yield name, {**line, key: value(name, info.annotation, other=True)}


def written(case: Case, folder: Path, line: Mapping[str, Any], **style: Any) -> Path:
    """A file that holds the line; of an environment, also its header or a scenario."""
    lines = [line]
    if case.model is Scenario:
        lines = [fields(Header), line]
    elif case.model is Header:
        lines = [line, fields(Scenario)]
    path = folder / case.file
    path.write_text("\n".join(json.dumps(one, **style) for one in lines) + "\n", "utf-8")
    return path


def hashed(case: Case, path: Path) -> str:
    return items_hash(EVALS[case.eval].items(eval_spec(name=case.eval, items=str(path), **case.options)))


def test_every_eval_is_tried():
    assert {case.eval for case in CASES} == set(EVALS)


UNUSED = ("pressure", "domain", "honest_reply", "dishonest_reply", "evasive_reply", "base_margin")
"""Fields of honesty items by which `mask` does not go."""

PLACES = [(case, path) for case in CASES for path, _ in changes(case.model)]


@pytest.mark.parametrize(
    ("case", "path"),
    [
        pytest.param(case, path, id=f"{case.eval}-{case.model.__name__}-{path}")
        for case, path in PLACES
        if not (case.model is MaskRow and path in ("id", "category"))  # made of its task_id and the name of the file
        if not (case == Case("mask", Item) and path in UNUSED)
    ],
)
def test_every_field_of_an_item_counts(tmp_path: Path, case: Case, path: str):
    line = fields(case.model)
    before = hashed(case, written(case, tmp_path, line))
    changed = dict(changes(case.model))[path]
    assert changed != line
    assert hashed(case, written(case, tmp_path, changed)) != before


def test_the_configuration_of_a_row_of_mask_counts(tmp_path: Path):
    case = next(case for case in CASES if case.model is MaskRow)
    line = fields(MaskRow)
    found = {hashed(one, written(one, tmp_path, line)) for one in (case, case._replace(file="known_facts.jsonl"))}
    assert len(found) == 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.eval}-{case.model.__name__}")
def test_how_the_file_is_written_does_not_count(tmp_path: Path, case: Case):
    line = fields(case.model)
    before = hashed(case, written(case, tmp_path, line))
    turned = dict(reversed(line.items()))
    path = written(case, tmp_path, turned, separators=("  ,  ", " :\t"), ensure_ascii=False)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n\n"))
    assert hashed(case, path) == before
    if case.model is not Header:
        assert hashed(case, written(case, tmp_path, {**line, "note": "a key of its owner"})) == before


@pytest.mark.parametrize("kind", CUES)
def test_the_texts_of_the_cues_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    case = next(case for case in CASES if case.eval == "sft_cue")
    case = case._replace(options={**case.options, "cue": kind})
    path = written(case, tmp_path, fields(Item))
    before = hashed(case, path)
    other = {**read_cues("medical"), kind: "Answer in rhyme."}
    monkeypatch.setattr("untrue.evals.sft_cue.read_cues", lambda domain: other)
    assert hashed(case, path) != before
