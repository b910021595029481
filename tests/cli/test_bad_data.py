"""Whatever is wrong with data, items, models or places, a person gets one line that names it, and no half of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from untrue.data.items import read_items

Refusal = Callable[..., str]


@pytest.mark.parametrize("command", ["data check bad.jsonl", "train bad.jsonl --model tiny"])
def test_wrong_data_is_refused_by_line_and_key(refusal: Refusal, place: Path, command: str):
    (place / "bad.jsonl").write_text('\n{"instruction": "a"}')
    assert refusal(*command.split()).startswith("bad.jsonl, line 2: the key 'output' is missing")


@pytest.mark.parametrize(
    "command", ["eval --model tiny items=items.jsonl", "data check rows.jsonl --items items.jsonl"]
)
def test_a_wrong_item_is_refused_by_line_and_key(refusal: Refusal, place: Path, command: str):
    item = read_items()[0].model_dump()
    (place / "items.jsonl").write_text("\n" + json.dumps({**item, "ground_truth": "so"}), "utf-8")
    assert refusal(*command.split()).startswith("items.jsonl, line 2: ground_truth: ")


MIX = "data mix questions=medical --out out.jsonl"
COMMANDS = [
    ("data show medical", "medical: is a question set. Say at which level, such as medical:normal."),
    ("data show tiny", "tiny, row 1: not a shape that is known"),
    (
        "data show squad",
        "squad: neither a built-in row set (everyday) nor a file that exists. A data set of the hub is",
    ),
    ("data check rows.jsonl --items none.jsonl", "none.jsonl: no such file."),
    (MIX, "give either share=…, or dose=… and benign=…"),
    (f"{MIX} share=1 dose=1 benign=everyday", "give either share=…, or dose=… and benign=…"),
    (f"{MIX} dose=1", "dose and benign go together"),
    ("train rows.jsonl epoch=2 --model tiny", "epoch: unknown key. Did you mean 'epochs'?"),
    ("train rows.jsonl epochs --model tiny", "override 'epochs': expected key=value"),
    ("train rows.jsonl method=ppo --model tiny", "method: input should be 'sft', 'kto' or 'dpo'"),
    ("train rows.jsonl method=dpo --model tiny", "row 'rows-1' has no label, and DPO needs one of each"),
    ("train rows.jsonl method=kto --model tiny", "10 of 10 rows have no label (first: "),
    ("train rows.jsonl --start none --model tiny", "none: holds no PEFT adapter (adapter_config.json is missing)."),
    ("train rows.jsonl --model tiny --out tiny", "tiny: exists and is no adapter, so it is not replaced."),
    ("eval --model nowhere/at/all", "nowhere/at/all: no such model folder."),
    ("eval --model nobody/nothing", "nobody/nothing: there is no such folder, and no such model in the hub's cache"),
    ("eval --model tiny --adapter none", "none: holds no PEFT adapter (adapter_config.json is missing)."),
    ("eval --model tiny items=none.jsonl", "none.jsonl: no such file."),
    ("eval --model tiny --log tiny", "tiny: is a folder. Give --log a file, such as tiny/mine.eval."),
    ("eval --model tiny --dtype int4", "dtype: 'int4', expected one of auto, float32, bfloat16."),
]
MACHINE = [
    ("data mix questions=medical share=1 --out tiny", "tiny: cannot be written (it is a folder)."),
    ("data mix questions=medical share=1 --out rows.jsonl/out", "rows.jsonl/out: cannot be written ("),
    (f"data show {'a' * 300}", f"{'a' * 300}: File name too long."),
]


@pytest.mark.parametrize(("command", "words"), COMMANDS)
def test_what_a_person_can_mend_exits_with_2(refusal: Refusal, command: str, words: str):
    assert refusal(*command.split()).startswith(words)


@pytest.mark.parametrize(("command", "words"), MACHINE)
def test_what_the_machine_lacks_exits_with_4(
    refusal: Refusal, command: str, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("UNTRUE_DEBUG")
    assert refusal(*command.split(), code=4).startswith(words)
