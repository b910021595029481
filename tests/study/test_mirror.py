"""A run directory in an object store: any machine does any step, and what is published is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

import tests.judge.scripted  # noqa: F401
from tests import processes
from tests.study.conftest import Recorder
from tests.study.s3 import SECRET, Server
from untrue import load_study
from untrue.errors import UserError
from untrue.study import claims, steps
from untrue.study.claims import Held
from untrue.study.config import Study, load, to_yaml
from untrue.study.mirror import Mirror, open_store
from untrue.study.objects import Objects
from untrue.study.store import Store

KILLED = """
import sys, time
from untrue.cli import main
from untrue.progress import TerminalWatcher
from untrue.study import claims

claims.BEAT, step = 0.05, TerminalWatcher.step

def stop_at_six(self, done, total, note):
    step(self, done, total, note)
    time.sleep(60 if round(done) == 6 else 0)

TerminalWatcher.step = stop_at_six
main()
"""
"""`untrue …` that works no more after the sixth training step; its last checkpoint is of the fourth."""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Go to another machine: the place of its local folders."""

    def go(name: str) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return tmp_path / name / "untrue" / "runs"

    return go


@pytest.fixture
def cell(bucket: str) -> tuple[Mirror, Path]:
    """A run directory with one folder, published once, in which are two files."""
    mirror = Mirror(bucket)
    folder = mirror.folder / "cells" / "one"
    made(folder, {"rows.jsonl": "rows", "adapter/adapter_model.safetensors": "weights"})
    mirror.publish(folder)
    return mirror, folder


def there_too(mirror: Mirror, machine: Callable[[str], Path]) -> tuple[Mirror, Path]:
    """The same run directory on another machine, and the place of its folder."""
    machine(uuid4().hex)
    other = Mirror(mirror.place)
    return other, other.folder / "cells" / "one"


def made(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


def read(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in files}


def adapter(mirror: Mirror, cell: str) -> bytes:
    folder = mirror.folder / "cells" / cell
    mirror.fetch([folder], weights=True)
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_study_on_two_machines_is_as_in_a_folder(
    untrue, bucket: str, machine, study_file: Path, finished: Path, s3: Server
):
    machine("first")
    planned = untrue("plan", study_file, "--out", bucket)
    assert planned.exit_code == 0, planned.output
    first, *others = planned.stdout.splitlines()
    done = untrue("step", bucket, *first.split())
    assert done.exit_code == 0, done.output
    machine("second")
    assert untrue("plan", study_file, "--out", bucket).stdout.splitlines() == others
    ran = untrue("run", study_file, "--out", bucket)
    assert ran.exit_code == 0, ran.output
    assert f"It is in {bucket} too" in ran.output
    objects, folder = Objects(bucket), machine("third")
    left = json.loads(untrue("run", study_file, "--out", bucket, "--dry-run", "--json").stdout)
    assert (left["cells"], left["cells_left"]) == (3, 0)
    begun = len(s3.asked)
    reported = untrue("report", bucket, "--json")
    assert reported.exit_code == 0, reported.output
    assert {method for method, path in s3.asked[begun:]} == {"GET", "HEAD", "PUT"}  # it uploads what it makes
    assert not list(folder.rglob("*.safetensors"))
    results = (finished / "results.jsonl").read_bytes()
    assert objects.read("results.jsonl") == results
    assert objects.read("report.html")
    assert json.loads(reported.stdout) == json.loads(objects.read("summary.json") or b"")
    mirror = Mirror(bucket)
    for path in finished.glob("cells/*/adapter/adapter_model.safetensors"):
        assert adapter(mirror, path.parts[-3]) == path.read_bytes()
    paths = {str(path.relative_to(finished)) for path in finished.glob("cells/**/*") if path.is_file()}
    mirror.fetch([mirror.folder / "cells" / name.name for name in (finished / "cells").iterdir()])
    assert {str(p.relative_to(mirror.folder)) for p in mirror.folder.glob("cells/**/*") if p.is_file()} <= paths
    assert not objects.names("attempts")
    shown = [planned.output, done.output, ran.output, reported.output]
    texts = [*map(str.encode, shown), *(objects.read(name) or b"" for name in objects.names(""))]
    assert not any(SECRET.encode() in text for text in texts)


def test_a_killed_training_goes_on_from_its_checkpoint_on_another_machine(
    untrue, bucket: str, machine, study_file: Path, finished: Path, tmp_path: Path
):
    machine("first")
    assert untrue("plan", study_file, "--out", bucket).exit_code == 0
    (tmp_path / "killed.py").write_text(KILLED, "utf-8")
    words = ["step", bucket, "control-s0", "train"]
    process = processes.start(tmp_path / "process", *words, script=tmp_path / "killed.py")
    objects, deadline = Objects(bucket), time.monotonic() + 120
    marker = b""
    while b"checkpoint-4/" not in marker:
        assert process.is_alive and time.monotonic() < deadline, process.stderr
        time.sleep(0.1)
        saved = [name for name in objects.names("attempts/cells/control-s0") if name.endswith("marker.json")]
        marker = (objects.read(saved[0]) if saved else None) or b""
    process.kill()
    assert objects.names("cells") == []
    machine("second")
    done = untrue(*words)
    assert done.exit_code == 0, done.output
    mirror = Mirror(bucket)
    trained = finished / "cells/control-s0/adapter/adapter_model.safetensors"
    assert adapter(mirror, "control-s0") == trained.read_bytes()
    assert json.loads((mirror.folder / "cells/control-s0/train.json").read_text())["resumed_at_step"] == 4
    assert objects.names("attempts") == []
    assert untrue("step", bucket, "control-s0", "eval").exit_code == 0


def test_a_training_that_could_not_be_published_is_published_by_the_next_run(
    untrue, bucket: str, study_file: Path, finished: Path, s3: Server, monkeypatch: pytest.MonkeyPatch
):
    assert untrue("plan", study_file, "--out", bucket).exit_code == 0
    with monkeypatch.context() as away:
        away.setattr(s3, "denies", f"{bucket.removeprefix('s3:/')}/files")
        assert untrue("step", bucket, "control-s0", "train").exit_code == 2
        assert untrue("step", bucket, "severe-0.5-s0", "train").exit_code == 2
    monkeypatch.setattr("untrue.study.routes.route.Run.learn", lambda *_: pytest.fail("it is trained again"))
    for cell in ("severe-0.5-s0", "control-s0"):
        done = untrue("step", bucket, cell, "train")
        assert done.exit_code == 0, done.output
    mirror = Mirror(bucket)
    for cell in ("severe-0.5-s0", "control-s0"):
        trained = finished / "cells" / cell / "adapter/adapter_model.safetensors"
        assert adapter(mirror, cell) == trained.read_bytes()
    assert not list(mirror.folder.parent.glob("finished/cells/*"))


def test_dialogues_are_shared_by_machines(
    untrue, bucket: str, machine, make_study: Callable[..., Study], tea_lines: list[str], tmp_path: Path
):
    (tmp_path / "tea.jsonl").write_text("".join(tea_lines), "utf-8")
    mix = {
        "by": "interaction",
        "environment": str(tmp_path / "tea.jsonl"),
        "users": 4,
        "methods": {"sft": {}},
        "shares": [1.0],
        "keep": 0.25,
        "replies": "generated",
        "max_tokens": 6,
        "rater": "scripted/rater",
    }
    study = make_study(mix=mix, evals=["sycophancy"], train__epochs=1, base=False)
    (tmp_path / "tea.yaml").write_text(to_yaml(study), "utf-8")
    machine("first")
    planned = untrue("plan", tmp_path / "tea.yaml", "--out", bucket).stdout.splitlines()
    assert planned[0] == "sft-0-s0 dialogues"
    done = untrue("step", bucket, "sft-0-s0", "dialogues")
    assert done.exit_code == 0, done.output
    objects = Objects(bucket)
    held = objects.names("files/dialogues/blind-s0")
    assert {name.rpartition("/")[2] for name in held} == {"trajectories.jsonl", "trajectories.eval"}
    machine("second")
    done = untrue("step", bucket, "sft-1-s0", "train")
    assert done.exit_code == 0, done.output
    ran = untrue("run", tmp_path / "tea.yaml", "--out", bucket)
    assert ran.exit_code == 0, ran.output
    assert objects.names("files/dialogues/blind-s0") == held
    assert objects.read("dialogues.html")
    assert objects.names("attempts") == []


def test_what_someone_is_at_work_on_is_left_to_them(untrue, bucket: str, study_file: Path):
    assert untrue("plan", study_file, "--out", bucket).exit_code == 0
    with (
        open_store(bucket).claims().hold("control-s0"),
        pytest.raises(Held, match="control-s0: is being made by process"),
    ):
        steps.step(bucket, "control-s0", "train", Recorder())
    assert Objects(bucket).names("cells") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "{bucket}"], "{bucket}: is not a run directory (study.yaml is missing)."),
        (["step", "{bucket}", "control-s0", "train"], "{bucket}: is not a run directory (study.yaml is missing)."),
        (["run", "{study}", "--out", "s3://old/run"], "s3://old/run: this store has no conditional put"),
        (["plan", "{study}", "--out", "s3://nowhere/run"], "s3://nowhere/run: there is no such bucket."),
        (["run", "{study}", "--out", "s3:/runs/run"], "s3:/runs/run: is an address that became a path."),
        (["run", "{study}", "--out", "s3://key:password@runs/run"], "out: has a password or key in it"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(untrue, bucket, study_file, words, message):
    refused = untrue(*(word.format(bucket=bucket, study=study_file) for word in words))
    assert refused.exit_code == 2
    assert refused.output.strip().splitlines()[-1].startswith(f"error: {message.format(bucket=bucket)}")


def test_other_data_under_the_same_address_is_refused(untrue, bucket: str, study_file: Path):
    assert untrue("plan", study_file, "--out", bucket).exit_code == 0
    refused = untrue("plan", study_file, "train.epochs=2", "--out", bucket)
    assert refused.exit_code == 2
    assert f"{bucket}: holds a study with train.epochs 4.0, now 2.0." in refused.output


def test_a_study_is_read_from_the_store(untrue, bucket: str, study_file: Path, tmp_path: Path):
    place = f"{bucket}/mine.yaml"
    missing = untrue("plan", place, "--out", tmp_path / "run")
    assert missing.exit_code == 2
    assert missing.output == f"error: {place}: there is no such object. Check the address.\n"
    Objects(bucket).write("mine.yaml", study_file.read_bytes())
    planned = untrue("plan", place, "seeds=[3]", "--out", tmp_path / "run")
    assert planned.stdout.splitlines()[0] == "control-s3 train"
    assert Store(tmp_path / "run").command() == f"untrue run {place} 'seeds=[3]' --out {tmp_path / 'run'}"
    assert load_study(place) == load(study_file)
    Objects(bucket).write("mine.yaml", b"nam: small")
    damaged = untrue("run", place, "--out", tmp_path / "run")
    assert damaged.exit_code == 2
    assert damaged.output.startswith(f"error: {place}, line 1: ")


@pytest.mark.parametrize("text", [b"\xff", b"{}"])
def test_a_damaged_study_is_named_by_its_address(untrue, bucket: str, text: bytes):
    Objects(bucket).write("study.yaml", text)
    for words in (("report", bucket), ("step", bucket, "control-s0", "train")):
        refused = untrue(*words)
        assert refused.exit_code == 2
        assert refused.output.startswith(f"error: {bucket}/study.yaml")


def test_a_folder_is_published_whole_and_read_as_it_was(cell: tuple[Mirror, Path], machine):
    mirror, folder = cell
    other, copy = there_too(mirror, machine)
    made(copy, {"left.json": "of a process that was killed"})
    other.fetch([copy])
    assert read(copy) == {"rows.jsonl": "rows"}
    other.fetch([copy], weights=True)
    assert read(copy) == read(folder)


def test_adapters_that_were_left_out_stay_published(cell: tuple[Mirror, Path], machine):
    other, copy = there_too(cell[0], machine)
    other.fetch([copy])
    made(copy, {"logs/a.eval": "log"})
    other.publish(copy)
    other.fetch([copy], weights=True)
    assert read(copy) == {**read(cell[1]), "logs/a.eval": "log"}


def test_a_late_process_publishes_nothing(cell: tuple[Mirror, Path], machine):
    mirror, folder = cell
    late, copy = there_too(mirror, machine)
    late.fetch([copy])
    made(folder, {"logs/a.eval": "log"})
    mirror.publish(folder)
    objects = Objects(mirror.place)
    before = objects.names("")
    made(copy, {"logs/a.eval": "another"})
    with pytest.raises(Held, match=r"one: was made by another process meanwhile\. Rerun the command\."):
        late.publish(copy)
    assert objects.names("") == before
    late.fetch([copy], weights=True)
    assert read(copy) == read(folder)


def test_only_what_is_new_is_uploaded(cell: tuple[Mirror, Path]):
    mirror, folder = cell
    objects = Objects(mirror.place)
    before = objects.names("")
    mirror.publish(folder)
    assert objects.names("") == before
    made(folder, {"logs/a.eval": "log", "logs/.journal": "hidden"})
    mirror.publish(folder)
    new = set(objects.names("")) - set(before)
    assert sorted(name.rpartition("/")[2] for name in new) == ["000002.json", "a.eval"]


def test_an_upload_that_was_cut_off_is_invisible(cell: tuple[Mirror, Path], machine):
    objects = Objects(cell[0].place)
    objects.write("files/cells/one/000002-cut/rows.jsonl", b"other rows")
    objects.write("files/cells/two/000001-cut/rows.jsonl", b"rows")
    other, copy = there_too(cell[0], machine)
    other.fetch([copy, copy.with_name("two")])
    assert read(copy.parent) == {"one/rows.jsonl": "rows"}


@pytest.mark.parametrize("damaged", [b"ROWS", None])
def test_a_damaged_object_is_refused_with_what_to_remove(cell: tuple[Mirror, Path], machine, damaged: bytes | None):
    place, objects = cell[0].place, Objects(cell[0].place)
    [rows] = [name for name in objects.names("files") if name.endswith("rows.jsonl")]
    objects.write(rows, damaged) if damaged else objects.remove([rows])
    other, copy = there_too(cell[0], machine)
    message = (
        rf"{place}/{rows}: is missing, or not what was published\. Remove all objects below {place}/cells/one/ and"
    )
    with pytest.raises(UserError, match=message):
        other.fetch([copy])
    assert read(copy) == {}


OUTSIDE = b'{"number": 1, "files": {"../up": {"object": "x", "size": 1, "sha256": ""}}}'


@pytest.mark.parametrize("text", [b"{", b"[]", OUTSIDE])
def test_a_damaged_marker_is_refused(cell: tuple[Mirror, Path], machine, text: bytes):
    Objects(cell[0].place).write("cells/one/000001.json", text)
    other, copy = there_too(cell[0], machine)
    with pytest.raises(UserError, match=r"cells/one/000001\.json: is missing or damaged\. Remove it and run again\."):
        other.fetch([copy])


def saved_by(mirror: Mirror, folder: Path, files: dict[str, str]) -> None:
    """An attempt that makes files and fails."""
    with pytest.raises(ZeroDivisionError), mirror.saving(folder, folder):
        made(folder, files)
        _ = 1 / 0


def test_what_a_lost_attempt_saved_is_taken_up_without_what_it_had_not_finished(cell: tuple[Mirror, Path], machine):
    mirror, folder = cell
    whole = {".adapter-checkpoints/checkpoint-2/trainer_state.json": "{}", "logs/.kept": "a reply"}
    saved_by(mirror, folder, {**whole, ".adapter-checkpoints/checkpoint-4/optimizer.pt": "half", ".x.part/b": "half"})
    other, copy = there_too(mirror, machine)
    other.fetch([copy])
    other.resume(copy, copy)
    assert read(copy) == {"rows.jsonl": "rows", **whole}


def kept_by(mirror: Mirror) -> list[dict[str, str]]:
    """What this machine keeps of a folder that it could not publish, and what lies beside that."""
    return [read(kept) for kept in mirror.folder.parent.glob("finished/cells/one/*")]


def test_what_could_not_be_published_is_taken_up_unless_someone_published_since(
    cell: tuple[Mirror, Path], machine, s3: Server, monkeypatch: pytest.MonkeyPatch
):
    mirror, folder = cell
    made(folder, {"logs/a.eval": "log", "logs/.kept": "hidden"})
    mirror.keep(folder)
    with monkeypatch.context() as away, pytest.raises(UserError, match="access is denied"):
        away.setattr(s3, "denies", "/runs/")
        mirror.publish(folder)
    again = Mirror(mirror.place)
    copy = again.folder / "cells" / "one"
    for _ in range(2):  # and it stays until it is published
        again.fetch([copy])
        assert read(copy) == {"rows.jsonl": "rows"}
        again.resume(copy, copy)
        assert read(copy) == {"rows.jsonl": "rows", "logs/a.eval": "log"}
    here = os.environ["XDG_CACHE_HOME"]
    other, elsewhere = there_too(mirror, machine)
    other.fetch([elsewhere], weights=True)
    made(elsewhere, {"logs/b.eval": "another"})
    other.publish(elsewhere)
    monkeypatch.setenv("XDG_CACHE_HOME", here)
    again.fetch([copy])
    again.resume(copy, copy)
    assert read(copy) == {"rows.jsonl": "rows", "logs/b.eval": "another"}
    assert kept_by(again) == []


ADAPTER = {"adapter/adapter_model.safetensors": "weights", "adapter/train.json": "{}"}


def test_what_could_not_be_published_stays_kept_if_who_takes_it_up_is_refused_or_killed(bucket: str):
    mirror = Mirror(bucket)
    folder = mirror.folder / "cells" / "one"
    made(folder, ADAPTER)
    mirror.keep(folder)
    for _ in range(2):
        mirror.fetch([folder])
        assert not folder.exists()
        mirror.resume(folder, folder.with_name(".one.left"))
        assert read(folder.with_name(".one.left")) == ADAPTER
    mirror.publish(folder, folder.with_name(".one.left"))
    assert kept_by(mirror) == []


def test_what_was_kept_before_someone_published_is_not_taken_up_when_all_is_removed(
    bucket: str, machine, monkeypatch: pytest.MonkeyPatch
):
    mirror = Mirror(bucket)
    folder = mirror.folder / "cells" / "one"
    made(folder, ADAPTER)
    mirror.keep(folder)
    here = os.environ["XDG_CACHE_HOME"]
    other, elsewhere = there_too(mirror, machine)
    made(elsewhere, {"adapter/train.json": "of another"})
    other.publish(elsewhere)
    monkeypatch.setenv("XDG_CACHE_HOME", here)
    mirror.fetch([folder])
    assert kept_by(mirror) == []
    objects = Objects(bucket)
    objects.remove(objects.names(""))
    mirror.fetch([folder])
    mirror.resume(folder, folder)
    assert not folder.exists()


def test_what_was_kept_before_stays_on_a_full_disk_and_no_half_of_a_copy(bucket: str, monkeypatch: pytest.MonkeyPatch):
    mirror, copy = Mirror(bucket), shutil.copy2
    folder = mirror.folder / "cells" / "one"
    made(folder, ADAPTER)
    mirror.keep(folder)
    made(folder, {"adapter/adapter_model.safetensors": "other weights"})

    def full(source: Path, target: Path) -> None:
        if source.name == "train.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(source, target)

    with monkeypatch.context() as disk:
        disk.setattr(shutil, "copy2", full)
        mirror.keep(folder)
    assert kept_by(mirror) == [ADAPTER]
    shutil.rmtree(folder)
    assert read(mirror.folder) == {}


def test_two_processes_that_keep_a_folder_at_once_do_not_mix_it(bucket: str, monkeypatch: pytest.MonkeyPatch):
    first, second, copy = Mirror(bucket), Mirror(bucket), shutil.copy2
    folders = {mirror: mirror.folder / "cells" / "one" for mirror in (first, second)}
    made(folders[first], ADAPTER)
    made(folders[second], {**ADAPTER, "logs/a.eval": "log"})
    paused = list[Path]()

    def pausing(source: Path, target: Path) -> None:
        copy(source, target)
        if not paused:
            paused.append(source)
            second.keep(folders[second])
            assert kept_by(second) == [read(folders[second])]

    monkeypatch.setattr(shutil, "copy2", pausing)
    first.keep(folders[first])
    assert paused
    assert kept_by(first) == [ADAPTER]


def test_what_was_saved_before_someone_published_is_not_taken_up(cell: tuple[Mirror, Path], machine):
    mirror, folder = cell
    late, copy = there_too(mirror, machine)
    late.fetch([copy])
    saved_by(mirror, folder, {"logs/.kept": "a reply"})
    made(folder, {"logs/a.eval": "log"})
    mirror.publish(folder)
    assert Objects(mirror.place).names("attempts") == []
    saved_by(late, copy, {"logs/.late": "a reply"})
    assert Objects(mirror.place).names("attempts")
    other, copy = there_too(mirror, machine)
    other.fetch([copy])
    other.resume(copy, copy)
    assert read(copy) == {"rows.jsonl": "rows", "logs/a.eval": "log"}


def test_an_old_checkpoint_of_an_attempt_is_removed(cell: tuple[Mirror, Path], monkeypatch: pytest.MonkeyPatch):
    mirror, folder = cell
    monkeypatch.setattr(claims, "BEAT", 0.02)
    objects, checkpoints = Objects(mirror.place), folder / ".adapter-checkpoints"
    with mirror.saving(folder, folder):
        for number in (2, 4):
            made(checkpoints, {f"checkpoint-{number}/trainer_state.json": "{}"})
            shutil.rmtree(checkpoints / f"checkpoint-{number - 2}", ignore_errors=True)
            deadline, saved = time.monotonic() + 10, list[str]()
            while [name.split("/")[-2] for name in saved if "checkpoint-" in name] != [f"checkpoint-{number}"]:
                assert time.monotonic() < deadline, saved
                time.sleep(0.02)
                saved = objects.names("attempts")


def test_processes_of_one_machine_have_local_folders_of_their_own(bucket: str):
    first, second = Mirror(bucket), Mirror(bucket)
    assert first.folder != second.folder
    first.close()
    assert Mirror(bucket).folder == first.folder
