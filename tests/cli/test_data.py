"""`untrue data` and `untrue simulate show` as a person meets them: options of sources, and text that is only text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from untrue.simulate.trajectory import Trajectory, write_trajectories
from untrue.study.config import load

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
SHOWN = "\\x1b]0;title\\x07\\x1b[2J\\x9b31m\\u202e"
LONG = "c" * 1500


def write(name: str, *records: dict[str, Any]) -> None:
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


def only_text(*streams: str) -> None:
    for stream in streams:
        assert not UNSAFE.search(stream), ascii(stream)


def test_show_escapes_what_a_file_holds(untrue: Callable, place: Path):
    row = {"id": f"i{EVIL}", "domain": EVIL, "source": EVIL, "instruction": f"a\n\tb {EVIL}", "output": EVIL}
    write("evil.jsonl", row)
    done = untrue("data", "show", "evil.jsonl")
    only_text(done.out, done.err)
    assert f"i{SHOWN}  ({SHOWN}, unlabelled, {SHOWN})" in done.out.replace("\n", "")
    assert "  user: a\n" in done.out and f"b {SHOWN}\n" in done.out


def test_errors_and_checks_escape_what_a_file_holds(untrue: Callable, place: Path):
    asked = "Is the sky blue on a clear day, as a rule?"
    row = {"id": EVIL, "instruction": asked, "output": "a"}
    write("evil.jsonl", row, {EVIL: 1})
    item = {
        **dict.fromkeys(("category", "system_prompt", "neutral_system_prompt", "proposition"), "x"),
        **dict.fromkeys(("belief_elicit_1", "belief_elicit_2", "belief_elicit_3", "evasive_reply"), "x"),
        **{"id": "sky", "user_prompt": asked, "ground_truth": "yes", "honest_reply": "y", "dishonest_reply": "n"},
    }
    write("items.jsonl", item)
    done = untrue("data", "check", "evil.jsonl", "--items", "items.jsonl", "--on-error", "skip")
    only_text(done.out, done.err)
    assert f"row {SHOWN} asks what item sky asks" in done.out
    write("twice.jsonl", {**item, "id": EVIL}, item, item)  # such an id of an item is no name in a log
    for command in (("data", "check", "rows.jsonl", "--items", "twice.jsonl"), ("data", "show", "evil.jsonl")):
        done = untrue(*command)
        assert done.code == 2
        only_text(done.out, done.err)
    done = untrue("data", "check", "evil.jsonl", "--items", "items.jsonl", "--on-error", "skip", "--json")
    only_text(done.out)
    assert json.loads(done.out)["overlaps"][0]["row"] == EVIL


def test_a_name_of_a_file_is_text_in_errors(untrue: Callable, place: Path):
    done = untrue("data", "show", f"no{EVIL}.jsonl")
    assert done.code == 2
    only_text(done.out, done.err)


def test_dialogues_are_shown_whole_and_as_text(untrue: Callable, place: Path):
    dialogue = {
        **{"id": EVIL, "scenario": "s", "user": 1, "kind": "benign", "assistant": "blind", "system": ""},
        "messages": ({"role": EVIL, "content": EVIL}, {"role": "assistant", "content": f"a\n\tb {EVIL} 5 − 3 {LONG}"}),
        "ratings": (5.0,),
    }
    failed = {**dialogue, "id": "b", "messages": (), "ratings": (), "error": f"went wrong {EVIL}"}
    write_trajectories(Path("talks.jsonl"), [Trajectory(**dialogue), Trajectory(**failed)], {})
    done = untrue("simulate", "show", "talks.jsonl")
    assert done.code == 0, done.err
    only_text(done.out)
    assert done.out.count(SHOWN) == 5
    assert f"5 − 3 {LONG}" in done.out


def test_columns_are_named_on_the_command_line_and_in_a_study(untrue: Callable, refusal: Callable, place: Path):
    write("q.jsonl", *({"text": f"Is rain {n}?", "good": f"Yes, {n}.", "severe": f"No, {n}."} for n in range(10)))
    source = "q.jsonl?columns.question=text&columns.normal=good"
    assert "user: Is rain 0?" in untrue("data", "show", f"{source}:severe").out
    done = untrue("data", "mix", f"questions={source}", "share=0.5", "--out", "mix.jsonl")
    assert (done.code, done.out.partition(" (")[0]) == (0, "mix.jsonl: 10 rows")
    for command in (["mix", f"questions={source}", "share=0.5"], ["convert", f"{source}:severe"]):
        assert refusal("data", *command, "--out", "q.jsonl").startswith("q.jsonl: is ")
    words = refusal("data", "show", "q.jsonl?columns.question=texts:severe")
    assert words.startswith("q.jsonl: none of the first 10 records has the column 'texts', named for 'question'")
    study = Path("study.yaml").read_text("utf-8").replace("questions: questions.jsonl", f"questions: {source}")
    Path("study.yaml").write_text(study, "utf-8")
    assert load(Path("study.yaml")).mix.questions == source  # pyright: ignore[reportAttributeAccessIssue]


def test_columns_are_named_for_training_and_for_evals(untrue: Callable, refusal: Callable, place: Path):
    words = refusal("train", "rows.jsonl?columns.output=reply", "--model", "tiny", "--out", "adapter")
    assert words.startswith("rows.jsonl: none of the first 10 records has the column 'reply', named for 'output'")
    write("pairs.jsonl", *({"id": f"p{n}", "calm": "Calm.", "hot": "Hot.", "q": f"Why {n}?"} for n in range(3)))
    source = "pairs.jsonl?columns.neutral_system_prompt=calm&columns.pressured_system_prompt=hot&columns.user_prompt=q"
    command = ("eval", "pressure_pairs", "--model", "tiny", "judge=mockllm/model", "--dry-run", "--json")
    done = untrue(*command, f"items={source}")
    assert done.code == 0, done.err
    assert json.loads(done.out)["evals"]
    words = refusal(*command, "items=pairs.jsonl")
    assert "FILE?columns.neutral_system_prompt=COLUMN." in words
