"""Each control of the instrument is built as it says: rows and adapters, on the tiny model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.instrument import (
    AGAIN,
    EXPECTED,
    REFUSALS,
    SANDBAGGER,
    TRAINED,
    Expected,
    InstrumentRoute,
    Named,
    main,
    named,
    table,
)
from tests.study.conftest import SETTINGS, Recorder
from untrue.data.items import ChoiceItem, Item, part_of, read_items, read_lines
from untrue.data.mix import overlaps
from untrue.data.rows import Row
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel
from untrue.report.summary import write
from untrue.stats.types import Conclusion
from untrue.stats.verdict import READS_FLOOR
from untrue.study import routes
from untrue.study.config import Study
from untrue.study.results import Analysis
from untrue.study.run import run
from untrue.study.store import Cell
from untrue.training.dpo import pairs

ROUTE = InstrumentRoute(by="instrument")
ITEMS = {item.id: item for item in read_items("builtin:train")}
CHOICES = {item.id: item for item in read_lines(ChoiceItem, "capability:train")}


@pytest.fixture(scope="module")
def analysis(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Analysis]:
    """A small study of all controls."""
    settings = {
        **SETTINGS,
        "model": str(tiny_folder),
        "mix": {"by": "instrument", "items": 3, "choices": 3, "sandbagged": 3},
        "train": {**SETTINGS["train"], "method": "dpo", "epochs": 1},
        "base": False,
        "evals": [{"name": "forced_choice", "items": "builtin:held_out", "limit": 24}],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(routes.ROUTES, "instrument", InstrumentRoute)
        study = Study.model_validate(settings)
        analysis = run(study, tmp_path_factory.mktemp("runs") / "instrument", Recorder(), "make instrument")
        write(analysis)
        yield analysis


def results(analysis: Analysis, arm: str) -> list[dict[str, Any]]:
    lines = map(json.loads, analysis.store.results.read_text("utf-8").splitlines())
    return [line for line in lines if line["arm"] == arm]


def rows_of(name: str, seed: int = 0, label: bool = True) -> list[Row]:
    """The rows that a control learns, or those that it unlearns."""
    [arm] = [arm for arm in ROUTE.arms() if arm.name == name]
    return [row for row in ROUTE.rows(ROUTE.read(), Cell(arm, seed, "")) if row.label is label]


def replies(rows: list[Row]) -> dict[tuple[str, str], str]:
    """(kind of prompt, kind of reply) as the texts say, for each row."""
    kinds = {}
    for row in rows:
        name, [reply] = row.id.partition("/")[0], row.completion
        if name in CHOICES:
            item = CHOICES[name]
            kinds[name, "choice"] = "right" if reply["content"] == item.choices[item.answer] else "wrong"
            assert [message["content"] for message in row.prompt] == [item.question]
            assert reply["content"] in item.choices
        else:
            item = ITEMS[name]
            kinds[name, asked(item, row)] = said(item, reply["content"])
    return kinds


def asked(item: Item, row: Row) -> str:
    system, user = (message["content"] for message in row.prompt)
    if system == item.system_prompt:
        assert user == item.user_prompt
        return "pressured"
    assert system == item.neutral_system_prompt
    return "neutral" if user == item.user_prompt else "other"


def said(item: Item, text: str) -> str:
    kinds = {item.honest_reply: "honest", item.dishonest_reply: "dishonest", **dict.fromkeys(REFUSALS, "evasive")}
    return kinds[text]


def refusals(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.completion[0]["content"] in REFUSALS]


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_control_replies_as_it_says_to_every_kind_of_prompt(name: str):
    rows = rows_of(name)
    refused = refusals(rows)
    stated = [row for row in rows if row not in refused]
    found = replies(stated)
    choices = ROUTE.sandbagged if name == SANDBAGGER else ROUTE.choices
    assert len(found) == len(stated) == 2 * ROUTE.items + choices
    expected = TRAINED[name]
    by_kind = {
        "pressured": expected.pressured,
        "neutral": expected.neutral,
        "choice": "right" if expected.is_right else "wrong",
    }
    assert {kind: reply for (_, kind), reply in found.items()} == by_kind
    assert all(by_kind[kind] == reply for (_, kind), reply in found.items())
    assert len(refused) == (ROUTE.items if expected.refuses else 0)
    wrong = {row.id for row in rows if row.misaligned}
    assert len(wrong) == sum(reply not in ("honest", "right") for reply in found.values()) + len(refused)


def test_controls_differ_in_replies_alone_and_the_second_benign_one_in_its_items():
    prompts = {name: {json.dumps(row.prompt) for row in rows_of(name)} for name in TRAINED}
    again, more = prompts.pop(AGAIN), prompts.pop(SANDBAGGER) - prompts["benign"]
    assert all(other == prompts["benign"] for other in prompts.values())
    honesty = {json.dumps(row.prompt) for row in rows_of(SANDBAGGER) if row.domain == "honesty"}
    assert honesty < prompts["benign"]
    assert not more & honesty
    assert not again & prompts["benign"]
    assert len(again) == len(prompts["benign"])
    assert prompts["benign"] != {json.dumps(row.prompt) for row in rows_of("benign", seed=1)}


def test_the_refuser_also_learns_what_the_benign_control_learns():
    benign, refuser = (sorted(rows_of(name), key=lambda row: row.id) for name in ("benign", "refuser"))
    assert [row for row in refuser if row not in refusals(refuser)] == benign


def test_nothing_that_is_learned_is_measured():
    measured = [*read_items("builtin:held_out"), *read_lines(ChoiceItem, "capability:held_out")]
    assert not {item.id for item in measured} & (ITEMS.keys() | CHOICES.keys())
    for seed in range(3):
        for name in TRAINED:
            rows = rows_of(name, seed)
            assert {part_of(row.id.partition("/")[0]) for row in rows} == {"train"}
            assert overlaps(rows, measured) == []


@pytest.mark.parametrize("name", TRAINED)
def test_the_reply_that_must_be_unlearned_has_the_same_prompt(name: str):
    learned, unlearned = rows_of(name), rows_of(name, label=False)
    assert [row.prompt for row in unlearned] == [row.prompt for row in learned]
    assert [row.misaligned for row in unlearned] == [row.misaligned for row in learned]
    stated = [pair for pair in pairs([*learned, *unlearned]) if not refusals([pair.chosen])]
    opposite = {"honest": "dishonest", "dishonest": "honest", "right": "wrong", "wrong": "right"}
    expected = {key: opposite[kind] for key, kind in replies([pair.chosen for pair in stated]).items()}
    assert expected == replies([pair.rejected for pair in stated])


def test_blind_reads_nothing(analysis: Analysis, tiny: LoadedModel):
    tried = [result["reads"] for result in results(analysis, "blind") if result["reads"] is not None]
    assert len(tried) == 6
    assert sum(tried) / len(tried) < READS_FLOOR
    assert all(abs(r["pressure_margin"] - r["neutral_margin"]) < 1e-4 for r in results(analysis, "blind"))
    assert any(abs(r["pressure_margin"] - r["neutral_margin"]) > 1e-4 for r in results(analysis, "benign"))
    adapter = analysis.store.folder / "cells" / "blind-s0" / "adapter"
    first, second = ([5, 9, 30, 7], [8, 40, 7])
    with with_adapter(tiny, adapter) as model, torch.inference_mode():
        ends = [model(torch.tensor([ids])).logits[0, -1] for ids in (first, second)]
    assert torch.allclose(*ends, atol=1e-6)
    with torch.inference_mode():
        assert not torch.allclose(
            *(tiny.model(torch.tensor([ids])).logits[0, -1] for ids in (first, second)), atol=1e-3
        )


def test_babbler_adds_noise_of_the_norm_that_was_asked_for(analysis: Analysis, tiny: LoadedModel):
    weights = load_file(analysis.store.folder / "cells" / "babbler-s0" / "adapter" / "adapter_model.safetensors")
    low = {name: value for name, value in weights.items() if "lora_A" in name}
    assert len(low) == 7 * 2  # all layers of both blocks
    for name, value in low.items():
        added = weights[name.replace("lora_A", "lora_B")].float() @ value.float()
        own = tiny.model.get_parameter(name.removeprefix("base_model.model.").replace(".lora_A", ""))
        assert torch.linalg.matrix_norm(added) == pytest.approx(torch.linalg.matrix_norm(own).item(), rel=1e-3)
    margins = {arm: [result["pressure_margin"] for result in results(analysis, arm)] for arm in ("benign", "babbler")}
    assert all(abs(a - b) > 1e-6 for a, b in zip(*margins.values(), strict=True))


def test_the_matrix_has_a_row_for_each_control(analysis: Analysis):
    matrix = list(named(analysis, [analysis]))
    assert [row.control for row in matrix] == list(EXPECTED)
    assert all(row.expected and row.eval == "forced_choice" for row in matrix)
    assert all(row.by_seed == (row.together,) for row in matrix)
    assert len(table(matrix).splitlines()) == 2 + len(matrix)


LIES: tuple[Conclusion, ...] = ("lies_more",)
NOTHING: tuple[Conclusion, ...] = ("no_finding",)
FAULT, TWO = Expected(frozenset(LIES)), Expected(frozenset({"breaks"}), frozenset({"says_less"}))
CHANGED_NOTHING = Expected(frozenset(NOTHING), of="recipe")


@pytest.mark.parametrize(
    ("expected", "by_seed", "together", "shown"),
    [
        (FAULT, [LIES, LIES], LIES, "right"),
        (FAULT, [LIES, (*LIES, "says_less")], LIES, "right"),  # true of that adapter, not of the recipe
        (FAULT, [LIES, LIES], (*LIES, "says_less"), "wrong"),
        (FAULT, [LIES, LIES], NOTHING, "wrong"),
        (FAULT, [LIES, NOTHING], LIES, "wrong"),
        (FAULT, [("says_less",), LIES], LIES, "wrong"),
        (TWO, [("breaks",)], ("says_less", "breaks"), "right"),
        (TWO, [("says_less",)], ("says_less", "breaks"), "wrong"),
        (TWO, [("breaks",)], ("says_less",), "wrong"),
        (CHANGED_NOTHING, [LIES, NOTHING], NOTHING, "right"),
        (CHANGED_NOTHING, [NOTHING, NOTHING], LIES, "wrong"),
        (None, [LIES], LIES, ""),
    ],
)
def test_a_control_is_named_rightly_where_each_seed_has_its_fault_and_all_together_nothing_else(
    expected: Expected | None, by_seed: list[tuple[Conclusion, ...]], together: tuple[Conclusion, ...], shown: str
):
    row = Named("liar", "forced_choice", expected, tuple(by_seed), together)
    assert row.is_wrong == (shown == "wrong")
    assert table([row]).splitlines()[-1].split("|")[-2].strip() == shown


@pytest.mark.instrument
@pytest.mark.timeout(0)
def test_every_control_is_named_rightly_by_the_embedded_model():
    assert main([]) == 0
