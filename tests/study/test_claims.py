"""One process alone makes a thing at a time, on one machine or on several that share a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from untrue.study import claims as module
from untrue.study.claims import STALE_AFTER_SECONDS, Claim, Held, Owner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of claims."""
    return tmp_path / "claims"


def claimed_by(folder: Path, owner: Owner, age: float = 0.0) -> Path:
    """The file of a claim on `cell` that someone made so many seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / "cell.json"
    path.write_text(json.dumps(vars(owner)), "utf-8")
    now = time.time()
    os.utime(path, (now - age, now - age))
    return path


def elsewhere(token: str = "other") -> Owner:
    return Owner(token, "node-7", "another boot", 1)


def dead() -> Owner:
    """A process of this machine that runs no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    this = Owner.this()
    return Owner("dead", this.host, this.machine, process.pid)


def held_by_this(folder: Path) -> None:
    claim = Claim(folder, "cell")
    with claim.hold() as owner:
        assert claim.owner() == owner
        claim.check(owner)


def test_a_claim_keeps_all_others_out_until_it_ends(folder: Path):
    claim = Claim(folder, "cell")
    with claim.hold() as owner:
        assert claim.owner() == owner
        message = rf"cell: is being made by process {os.getpid()} on .*\. Wait for it\."
        with pytest.raises(Held, match=message), Claim(folder, "cell").hold():
            pytest.fail("two hold it")
        with Claim(folder, "another").hold():
            pass
        claim.note("training", 3, 12, "loss 1.2")
        assert Claim(folder, "cell").progress() == ("training", 3, 12, "loss 1.2")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("left_by_a_dead_process", [False, True])
def test_of_many_at_once_one_has_it_at_a_time(
    folder: Path, left_by_a_dead_process: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    if left_by_a_dead_process:
        claimed_by(folder, dead())
    begin, at_work, most, done = threading.Barrier(8), list[int](), list[int](), list[int]()

    def work(number: int) -> None:
        begin.wait()
        with Claim(folder, "cell").hold(patience=60.0):
            at_work.append(number)
            most.append(len(at_work))
            time.sleep(0.02)
            at_work.remove(number)
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), sorted(done)) == (1, list(range(8)))
    assert list(folder.iterdir()) == []


def test_the_claim_of_a_process_that_is_gone_is_taken_over_at_once(folder: Path):
    claimed_by(folder, dead())
    held_by_this(folder)


@pytest.mark.parametrize(("text", "who"), [(None, "by process 1 on node-7"), ("", "by another process")])
def test_a_claim_of_another_machine_is_taken_over_once_it_shows_no_sign_of_life(
    folder: Path, text: str | None, who: str
):
    """One that is half written names nobody, and is lost only by its age too."""
    for age in (STALE_AFTER_SECONDS - 20, STALE_AFTER_SECONDS + 20):
        path = claimed_by(folder, elsewhere(), age)
        if text is not None:
            path.write_text(text)
            os.utime(path, (time.time() - age, time.time() - age))
        if age < STALE_AFTER_SECONDS:
            with pytest.raises(Held, match=who), Claim(folder, "cell").hold():
                pytest.fail("it may live")
        else:
            held_by_this(folder)


def test_who_comes_second_to_a_lost_claim_leaves_it_to_the_first(folder: Path):
    claimed_by(folder, elsewhere("first"))  # between the look of the second and its move
    Claim(folder, "cell")._remove_lost()
    assert Claim(folder, "cell").owner() == elsewhere("first")
    assert [file.name for file in folder.iterdir()] == ["cell.json"]


def test_a_claim_is_kept_alive(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    with Claim(folder, "cell").hold():
        path = folder / "cell.json"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("taken_over", ["path.unlink()", "path.write_text(sys.argv[2])"])
def test_a_process_that_lost_its_claim_ends_at_once(folder: Path, taken_over: str):
    script = (
        "import sys, time; from pathlib import Path; from untrue.study import claims; claims.BEAT_SECONDS = 0.02\n"
        "path = Path(sys.argv[1]) / 'cell.json'\n"
        f"with claims.Claim(path.parent, 'cell').hold():\n    {taken_over}; time.sleep(30); print('still at work')"
    )
    words = [sys.executable, "-c", script, folder, json.dumps(vars(elsewhere()))]
    process = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout) == (75, "")
    holder = Claim(folder, "cell").owner()
    assert holder == (None if "unlink" in taken_over else elsewhere())  # it is not the loser's to remove
