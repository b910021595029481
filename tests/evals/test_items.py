"""The hash of what an eval asks covers all that the eval uses of a file, and nothing of how the file is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.evals.test_mask import PROBES, row
from untrue.data import builtin
from untrue.data.items import CUES, items_hash, read_cues, read_items
from untrue.harness.catalogue import EVALS, eval_spec

HONESTY = [next(item.model_dump() for item in read_items() if item.category == "known_facts")]
PAIR = {"id": "a", "neutral_system_prompt": "Calm.", "pressured_system_prompt": "Pressed.", "user_prompt": "Fresh?"}
FIRST_TURN = {"dd_turn_1_prompt": "first", "dd_turn_1_response": "so I said"}
REPLIES = ("honest_reply", "dishonest_reply", "evasive_reply")
MASK = {key: text for key, text in row("1", **PROBES, **FIRST_TURN).items() if key != "category"}


def head(name: str, count: int) -> list[dict[str, Any]]:
    """The first lines of a built-in file; of an environment also the header."""
    header, *lines = map(json.loads, builtin.path(name).read_text("utf-8").splitlines())
    return [header, *lines[:count]] if header.keys() >= builtin.OF_ENVIRONMENT else lines[:count]


class Case(NamedTuple):
    """An eval, and the lines of its file."""

    eval: str
    lines: list[dict[str, Any]]
    options: Mapping[str, Any] = {}
    unused: tuple[str, ...] = ()


CASES = [
    Case("forced_choice", HONESTY),
    Case("sft_cue", HONESTY, {"domain": "medical"}),
    Case("plain_text", HONESTY, unused=("category",)),  # other categories have no statements of this kind
    Case("truth_probe", HONESTY, unused=("category",)),
    Case("capability", head("capability", 1)),
    Case("reply_choice", head("chat", 1)),
    Case("mask", [MASK]),
    Case(
        "mask",
        HONESTY,
        unused=("pressure", "domain", "base_margin", *REPLIES),
    ),
    Case("pressure_pairs", [{**PAIR, "category": "pair"}]),
    Case("unknowns", head("unknowns", 1)),
    Case("deceptionbench", head("deception", 1)),
]
OTHER = {"yes": "no", "no": "yes", "A": "B"}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all texts and numbers in JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inside is None:
        yield from [path] if value is not None else []
    else:
        for key, inner in inside:
            yield from leaves(inner, (*path, key))


def changed(lines: list[dict[str, Any]], path: tuple[Any, ...]) -> list[dict[str, Any]]:
    lines = deepcopy(lines)
    inside: Any = lines
    for key in path[:-1]:
        inside = inside[key]
    value = inside[path[-1]]
    inside[path[-1]] = OTHER.get(value, f"{value}x") if isinstance(value, str) else 0 if value else 1
    return lines


def hashed(case: Case, folder: Path, lines: list[dict[str, Any]], **style: Any) -> str:
    path = folder / ("known_facts.jsonl" if case.lines == [MASK] else "items.jsonl")
    path.write_text("\r\n\n".join(json.dumps(line, **style) for line in lines), "utf-8")
    return items_hash(EVALS[case.eval].items(eval_spec(name=case.eval, items=str(path), **case.options)))


def test_every_eval_is_tried():
    assert {case.eval for case in CASES} == set(EVALS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.eval}-{','.join([*case.lines[-1]][1:3])}")
def test_every_field_of_an_item_counts_and_how_the_file_is_written_does_not(tmp_path: Path, case: Case):
    before = hashed(case, tmp_path, case.lines)
    paths = [path for path in leaves(case.lines) if path[1] not in case.unused]
    assert [path for path in paths if hashed(case, tmp_path, changed(case.lines, path)) == before] == []
    turned = [dict(reversed({**line, "note": "a key of its owner"}.items())) for line in case.lines]
    turned[:-1] = case.lines[:-1]  # a header has no other keys
    assert hashed(case, tmp_path, turned, separators=("  ,  ", " :\t"), ensure_ascii=False) == before


@pytest.mark.parametrize("kind", CUES)
def test_the_texts_of_the_cues_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    case = CASES[1]._replace(options={"domain": "medical", "cue": kind})
    before = hashed(case, tmp_path, HONESTY)
    other = {**read_cues("medical"), kind: "Answer in rhyme."}
    monkeypatch.setattr("untrue.evals.sft_cue.read_cues", lambda domain: other)
    assert hashed(case, tmp_path, HONESTY) != before
