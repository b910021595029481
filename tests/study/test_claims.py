"""One process alone makes a thing at a time, on one machine or on several that share a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from untrue.study import claims as module
from untrue.study.claims import STALE, Claims, Held, Owner


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    """The claims on an empty folder."""
    return Claims(tmp_path / "claims")


def claimed_by(claims: Claims, owner: Owner, age: float = 0.0) -> Path:
    """The file of a claim on `cell` that someone made so many seconds ago."""
    claims.folder.mkdir(exist_ok=True)
    path = claims.folder / "cell.json"
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


def test_a_claim_keeps_all_others_out_until_it_ends(claims: Claims):
    with claims.hold("cell") as owner:
        assert claims.owner("cell") == owner
        message = rf"cell: is being made by process {os.getpid()} on .*\. Wait for it\."
        with pytest.raises(Held, match=message), claims.hold("cell"):
            pytest.fail("two hold it")
        with claims.hold("another"):
            pass
        claims.note("cell", "training", 3, 12, "loss 1.2")
        assert claims.progress("cell") == ("training", 3, 12, "loss 1.2")
    claims.check("cell")
    assert list(claims.folder.iterdir()) == []


def test_of_many_at_once_one_gets_it(claims: Claims):
    begin, end, got = threading.Barrier(8), threading.Barrier(8), []

    def take() -> None:
        begin.wait()
        try:
            with claims.hold("cell") as owner:
                got.append(owner.token)
                end.wait()
        except Held:
            end.wait()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert list(claims.folder.iterdir()) == []


def test_who_waits_and_comes_second_goes_on_waiting(claims: Claims, monkeypatch: pytest.MonkeyPatch):
    """Both find the claim of a process that died."""
    claimed_by(claims, dead())
    check, both, got = claims.check, threading.Barrier(2), []

    def check_together(*arguments: Any) -> Owner | None:
        found = check(*arguments)
        if found and found.token == "dead":
            both.wait()
        return found

    def take() -> None:
        with claims.hold("cell", patience=30.0) as owner:
            got.append(owner.token)
            time.sleep(0.2)

    monkeypatch.setattr(claims, "check", check_together)
    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 2
    assert list(claims.folder.iterdir()) == []


def test_the_claim_of_a_process_that_is_gone_is_taken_over_at_once(claims: Claims):
    claimed_by(claims, dead())
    claims.check("cell")
    with claims.hold("cell") as owner:
        assert claims.owner("cell") == owner


def test_the_claim_of_another_machine_is_taken_over_once_it_shows_no_sign_of_life(claims: Claims):
    claimed_by(claims, elsewhere(), age=STALE - 20)
    with pytest.raises(Held, match="by process 1 on node-7"), claims.hold("cell"):
        pytest.fail("it may live")
    claimed_by(claims, elsewhere(), age=STALE + 20)
    with claims.hold("cell") as owner:
        assert claims.owner("cell") == owner


def test_a_claim_that_is_half_written_is_lost_only_by_its_age(claims: Claims):
    path = claimed_by(claims, elsewhere())
    path.write_text("", "utf-8")
    with pytest.raises(Held, match="by another process"), claims.hold("cell"):
        pytest.fail("it may live")
    long_ago = time.time() - STALE - 20
    os.utime(path, (long_ago, long_ago))
    with claims.hold("cell") as owner:
        assert claims.owner("cell") == owner


def test_who_comes_second_to_a_lost_claim_leaves_it_to_the_first(claims: Claims):
    path = claimed_by(claims, elsewhere("lost"), age=STALE + 20)
    claimed_by(claims, elsewhere("first"))  # between the look of the second and its move
    assert not claims._take(path, elsewhere("lost"))
    assert claims.owner("cell") == elsewhere("first")
    assert [file.name for file in claims.folder.iterdir()] == ["cell.json"]


def test_a_claim_is_kept_alive_and_its_loss_is_noticed(claims: Claims, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BEAT", 0.02)
    lost = threading.Event()
    with claims.hold("cell", on_lost=lost.set):
        path = claims.folder / "cell.json"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not lost.is_set()
        claimed_by(claims, elsewhere())
        assert lost.wait(10)
    assert claims.owner("cell") == elsewhere()  # it is not the loser's to remove


def test_without_hard_links_it_is_kept_too(claims: Claims, monkeypatch: pytest.MonkeyPatch):
    def refuse(*paths: object) -> None:
        raise PermissionError(1, "not supported")

    monkeypatch.setattr(os, "link", refuse)
    with claims.hold("cell"), pytest.raises(Held), claims.hold("cell"):
        pytest.fail("two hold it")
    assert list(claims.folder.iterdir()) == []


def test_a_process_that_lost_its_claim_ends_at_once(tmp_path: Path):
    script = (
        "import sys, time; from pathlib import Path; from untrue.study import claims; claims.BEAT = 0.02\n"
        "with claims.Claims(Path(sys.argv[1])).hold('cell'):\n"
        "    (Path(sys.argv[1]) / 'cell.json').unlink(); time.sleep(30); print('still at work')"
    )
    process = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=60)
    assert process.returncode == 75
    assert process.stdout == ""
