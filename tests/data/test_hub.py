"""Data sets in the hub's format are read from folders as from the hub; what the hub refuses is one clear line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from huggingface_hub.utils import get_session

from untrue.data import sets
from untrue.data.items import DeceptionItem, read_lines
from untrue.data.mask import read_mask
from untrue.data.records import records
from untrue.errors import MachineError, UserError

Save = Callable[..., Path]
ROWS = [{"instruction": f"Say {n}.", "output": f"{n}."} for n in range(3)]
CARD = """---
configs:
- config_name: main
  data_files: [{split: test, path: main.jsonl}]
- config_name: other
  data_files: [{split: test, path: other.jsonl}, {split: more, path: main.jsonl}]
---
"""


def test_a_folder_in_the_hubs_format_is_a_set(save: Save, tmp_path: Path):
    save("rain/data/train-00000-of-00002.parquet", ROWS)
    save("rain/data/train-00001-of-00002.parquet", ROWS)
    save("rain/data/test-00000-of-00001.parquet", ROWS[:1])
    rows = sets.rows(tmp_path / "rain")
    assert [row.id for row in rows] == [f"rain-{number}" for number in range(1, 7)]
    assert {(row.source, row.domain) for row in rows} == {("rain", "rain")}
    assert len(sets.rows(f"{tmp_path / 'rain'}:test")) == 1


def test_a_configuration_and_a_split_are_named(save: Save):
    folder = save("rain/main.jsonl", ROWS).parent
    save("rain/other.jsonl", ROWS[:1])
    (folder / "README.md").write_text(CARD, "utf-8")
    assert len(sets.rows(f"{folder}@main")) == 3
    assert len(sets.rows(f"{folder}@other:test")) == 1
    for name, words in {
        f"{folder}": "['main', 'other']",
        f"{folder}@other": ": has the splits test, more. Add one to its name, such as :test.",
        f"{folder}@none": "Available: ['main', 'other']",
        f"{folder}@main:none": "Available splits: ['test']",
        f"{folder}?revision=main": ": is no data set of the hub, so it has no revisions.",
    }.items():
        with pytest.raises(UserError) as caught:
            sets.rows(name)
        assert str(caught.value).startswith(f"{name}: ") and words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_wrong_row_of_a_folder_is_named_and_skipped(save: Save):
    folder = save("rain/train.jsonl", [*ROWS, {"instruction": "Say.", "output": ""}]).parent
    with pytest.raises(UserError, match=rf"^{folder}, row 4: 'output' is empty"):
        sets.rows(folder)
    assert len(sets.rows(folder, lambda error: None)) == 3


def test_eval_sets_are_read_from_folders(save: Save, tmp_path: Path):
    item = dict.fromkeys(("type", "inner_prompt", "system_prompt", "outer_prompt", "format"), "a")
    folder = save("DeceptionBench/deceptionbench.json", [{**item, "id": number} for number in (0, 1)]).parent
    assert [(item.id, item.setting) for item in read_lines(DeceptionItem, folder)] == [(n, "unknown") for n in "01"]
    row = dict.fromkeys(("task_id", "proposition", "belief_elicit_1"), "a") | {"ground_truth": "yes"}
    save("mask/statistics.jsonl", [{**row, "asked": "How many?"}])
    card = "---\nconfigs:\n- config_name: statistics\n  data_files: [{split: test, path: statistics.jsonl}]\n---\n"
    (tmp_path / "mask/README.md").write_text(card, "utf-8")
    [found] = read_mask(f"{tmp_path}/mask@statistics?columns.user_prompt=asked")
    assert (found.category, found.user_prompt) == ("statistics", "How many?")


def test_a_revision_is_read_and_named_as_the_source(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple] = []

    def load_dataset(*name: Any, **options: Any) -> Iterator[dict[str, Any]]:
        asked.append((*name, options["split"], options["revision"]))
        return iter(ROWS)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    rows = sets.rows("owner/rain@main:train?revision=v1")
    assert asked == [("owner/rain", "main", "train", "v1")]
    assert {(row.source, row.domain) for row in rows} == {("owner/rain@main:train?revision=v1", "rain")}


def test_a_hub_that_cannot_be_reached_is_a_fault_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(MachineError, match=r"^owner/rain: no file or folder here, and the hub could not be reached"):
        sets.rows("owner/rain")


class TransportError(Exception):
    """The hub's client has errors of this name; which client it is depends on the version."""


class ReadTimeout(TransportError):
    """One of them."""


def answered(kind: type[HfHubHTTPError], status: int, words: str) -> HfHubHTTPError:
    """An error as the hub's library makes it of an answer."""
    request = get_session().build_request("GET", "http://127.0.0.1")
    transport = sys.modules[type(request).__module__]
    return kind(words, response=transport.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TransportError("Name or service not known"), MachineError, "the hub could not be reached"),
        (ReadTimeout("timed out"), MachineError, "the hub could not be reached"),
        (ConnectionError("Couldn't reach 'owner/rain' on the Hub"), MachineError, "the hub could not be reached"),
        (answered(HfHubHTTPError, 502, "bad gateway"), MachineError, "the hub could not be reached"),
        (answered(GatedRepoError, 403, "Log in first."), UserError, "Log in first"),
        (RuntimeError("Dataset scripts are no longer supported"), UserError, "scripts are no longer supported"),
        (ValueError("Odd.\nMore."), UserError, "cannot be read as a data set (Odd. More)"),
    ],
)
def test_what_fails_under_way_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], words: str
):
    def stream() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        raise error

    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: {"train": stream()})
    found = records("owner/rain")
    assert next(found).identity() == "rain-1"
    with pytest.raises(kind) as caught:
        next(found)
    assert str(caught.value).startswith("owner/rain: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)
