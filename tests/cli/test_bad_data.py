"""Whatever is wrong with data, items, models or places, a person gets one line that names it, and no half of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from untrue.data.items import read_items

Refusal = Callable[..., str]
ROW = b'{"instruction": "Say a.", "output": "a"}\n'

FILES = {
    "nothing": (b"", ": has no rows. Expected JSON Lines, one object a line."),
    "blank lines": (b"\n \n", ": has no rows."),
    "empty reply": (ROW + b'{"instruction": "a", "output": " "}', ", line 2: 'output' is empty."),
    "no reply": (b'{"instruction": "a"}', ", line 1: the key 'output' is missing (keys found: 'instruction')."),
    "wrong type": (b'{"instruction": "a", "output": 1}', ", line 1: 'output' is int, expected text."),
    "user last": (b'{"messages": [{"role": "user", "content": "a"}]}', ", line 1: 'messages' must end with a reply"),
    "broken JSON in line 7": (ROW * 6 + b'{"instruction": ', ", line 7: broken JSON at column 17"),
    "no UTF-8": (ROW + b"\xfc\n", ", line 2: byte 0xfc is not valid UTF-8."),
    "UTF-16": (ROW.decode().encode("utf-16"), ", line 1: byte 0xff is not valid UTF-8."),
    "half a surrogate pair": (ROW.replace(b"Say a", b"\\ud83d"), ", line 1: half of a \\ud… escape pair is missing."),
    "a broken JSON array": (b"[" + ROW, ", line 2: broken JSON array (the file ends before the array does)."),
    "an array of texts": (b'[\n"a"]', ", line 2, entry 1: expected a JSON object, found str."),
    "an unknown shape": (b'{"text": "a"}', ", line 1: not a shape that is known: expected 'messages', 'prompt' and"),
    "questions": (
        b'{"question": "a", "normal": "b"}',
        ", line 1: is a question set. Say at which level, such as bad.jso",
    ),
}


@pytest.mark.parametrize("command", ["data check bad.jsonl", "train bad.jsonl --model tiny"])
@pytest.mark.parametrize("name", FILES)
def test_wrong_data_is_refused_by_line_and_key(refusal: Refusal, place: Path, command: str, name: str):
    content, words = FILES[name]
    (place / "bad.jsonl").write_bytes(content)
    assert refusal(*command.split()).startswith(f"bad.jsonl{words}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ground_truth": None}, "ground_truth: field required."),
        ({"ground_truth": "so"}, "ground_truth: input should be 'yes' or 'no'."),
        ({"evasive_reply": ""}, "evasive_reply: string should have at least 1 character."),
        ({"id": read_items()[0].id}, "the id 'provided_facts-001' occurs twice. Give each its own."),
    ],
)
@pytest.mark.parametrize(
    "command", ["eval --model tiny items=items.jsonl", "data check rows.jsonl --items items.jsonl"]
)
def test_a_wrong_item_is_refused_by_line_and_key(
    refusal: Refusal, place: Path, command: str, changes: dict[str, str | None], words: str
):
    first, second = (item.model_dump() for item in read_items()[:2])
    second = {key: value for key, value in {**second, **changes}.items() if value is not None}
    (place / "items.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n", "utf-8")
    assert refusal(*command.split()) == f"items.jsonl, line 2: {words}"


MIX = "data mix questions=medical --out out.jsonl"
COMMANDS = [
    ("data show medical", "medical: is a question set. Say at which level, such as medical:normal."),
    ("data show medical:bad", "medical:bad: neither a built-in row set (everyday) nor a file that exists."),
    ("data show none.jsonl", "none.jsonl: neither a built-in row set (everyday) nor a file that exists."),
    ("data show tiny", "tiny, row 1: not a shape that is known"),
    (
        "data show squad",
        "squad: neither a built-in row set (everyday) nor a file that exists. A data set of the hub is",
    ),
    ("data check rows.jsonl --items none.jsonl", "none.jsonl: no such file."),
    (MIX, "give either share=…, or dose=… and benign=…"),
    (f"{MIX} share=1 dose=1 benign=everyday", "give either share=…, or dose=… and benign=…"),
    (f"{MIX} dose=1", "dose and benign go together"),
    (f"{MIX} share=0.1 benign=everyday", "dose and benign go together"),
    (f"{MIX} share=0.001 total=10", "share: 0.001 of 10 rows is no row at all."),
    (f"{MIX} share=0.5 total=5000", "total: 5000 questions wanted, but the set has "),
    (f"{MIX} share=0.5 level=bad", "level: input should be 'normal', 'subtle' or 'severe', found 'bad'."),
    (f"{MIX} dose=0.001 benign=rows.jsonl", "dose: 0.001 of 10 rows is no row at all."),
    (f"{MIX} dose=.inf benign=rows.jsonl", "dose: input should be a finite number, found inf."),
    (
        "data mix questions=medicl share=1 --out out",
        "medicl: neither a built-in question set (medical, finance, law, code, math)",
    ),
    ("train rows.jsonl epoch=2 --model tiny", "override: epoch: unknown key. Did you mean 'epochs'?"),
    ("train rows.jsonl epochs=two --model tiny", "override: epochs: input should be a valid number"),
    ("train rows.jsonl epochs --model tiny", "override 'epochs': expected key=value"),
    ("train rows.jsonl method=ppo --model tiny", "override: method: input should be 'sft', 'kto' or 'dpo'"),
    ("train rows.jsonl method=dpo --model tiny", "row 'rows-1' has no label, and DPO needs one of each"),
    ("train rows.jsonl method=kto --model tiny", "10 of 10 rows have no label (first: "),
    ("train rows.jsonl --start none --model tiny", "none: holds no PEFT adapter (adapter_config.json is missing)."),
    ("train rows.jsonl --model none/at/all", "none/at/all: no such model folder."),
    ("train rows.jsonl --model tiny --out tiny", "tiny: exists and is no adapter, so it is not replaced."),
    ("train rows.jsonl --model tiny --out rows.jsonl", "rows.jsonl: exists and is no adapter, so it is not replaced."),
    ("eval --model none/at/all", "none/at/all: no such model folder."),
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
