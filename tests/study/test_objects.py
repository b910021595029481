"""What an object store must do, and claims in it: of several processes one alone makes a thing at a time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator

import pytest
from s3fs import S3FileSystem

from tests.study.s3 import SECRET, Server
from tests.study.test_claims import dead, elsewhere
from untrue.errors import MachineError, UserError
from untrue.study import claims as module
from untrue.study.claims import Held, Owner
from untrue.study.objects import ObjectClaims, Objects


@pytest.fixture
def objects(bucket: str) -> Objects:
    """The objects below an address where there are none."""
    return Objects(bucket)


@pytest.fixture
def anew() -> Iterator[None]:
    """No connection that was made under another environment."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def claims(objects: Objects) -> ObjectClaims:
    """The claims there."""
    return ObjectClaims(objects)


def claimed_by(objects: Objects, owner: Owner) -> None:
    objects.write("claims/cell/000001.json", json.dumps({"owner": vars(owner)}).encode())


def test_an_object_is_created_once(objects: Objects):
    objects.check()
    assert objects.names("claims") == []
    assert objects.create("thing", b"first")
    assert not objects.create("thing", b"second")
    assert objects.create("thing", b"first")  # as when the answer to the first try was lost
    assert objects.read("thing") == b"first"
    assert objects.read("nothing") is None
    assert objects.modified("nothing") is None


@pytest.mark.parametrize("address", ["s3://old/run", "s3://strict/run"])
def test_a_store_without_conditional_puts_is_refused(bucket: str, address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("untrue.study.objects.PAUSES", ())
    with pytest.raises(UserError, match=rf"{address}: this store has no conditional put .*Use another store"):
        Objects(address).check()
    assert Objects(address).names("claims") == []


def test_a_file_system_that_looks_before_it_writes_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no conditional put"):
        Objects(f"file://{tmp_path}").check()


@pytest.mark.parametrize(
    ("address", "change", "message"),
    [
        ("s3://nowhere/run", {}, "there is no such bucket. Make it, or correct the address."),
        ("s3://denied/run", {}, "access is denied (Access Denied). Check the credentials in the environment"),
        ("s3://runs/run", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found."),
        ("moon://runs/run", {}, "moon is no kind of store that fsspec knows, such as s3."),
    ],
)
def test_what_a_person_can_mend_is_one_line(bucket, address, change, message, anew, monkeypatch: pytest.MonkeyPatch):
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as refused:
        Objects(address).check()
    assert str(refused.value).startswith(f"{address}: {message}")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://", "s3://: names no bucket. Give s3://BUCKET/NAME."),
        ("memory://run", "memory://run: ends with this process."),
        ("github://run", "github://run: cannot be opened (GithubFileSystem"),
    ],
)
def test_an_address_of_no_store_is_refused(address: str, message: str):
    with pytest.raises(UserError) as refused:
        Objects(address)
    assert str(refused.value).startswith(message)


def test_a_key_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(UserError, match="s3://@runs/run: the address had a password or key in it") as refused:
        Objects("s3://someone:5f3c9a1b7d@runs/run")
    assert "5f3c9a1b7d" not in str(refused.value)


def test_a_store_that_does_not_answer_is_the_machine_s(bucket: str, anew, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    with pytest.raises(MachineError, match=r"did not answer as expected .*Could not connect"):
        Objects("s3://runs/run").check()


def test_a_claim_keeps_all_others_out_until_it_ends(claims: ObjectClaims, objects: Objects):
    with claims.hold("cell") as owner:
        assert claims.owner("cell") == owner
        message = rf"cell: is being made by process {os.getpid()} on .*\. Wait for it\."
        with pytest.raises(Held, match=message), ObjectClaims(objects).hold("cell"):
            pytest.fail("two hold it")
        with claims.hold("another"):
            pass
    claims.check("cell")
    assert claims.owner("cell") is None
    with ObjectClaims(objects).hold("cell") as after:
        assert after != owner


@pytest.mark.parametrize("damaged", [b"{", b"null", b"[]", b'{"owner": "me"}', b'{"owner": {"name": 1}}'])
def test_a_damaged_claim_is_nobodys(claims: ObjectClaims, objects: Objects, damaged: bytes):
    objects.write("claims/cell/000001.json", damaged)
    objects.write("claims/cell/notes.txt", b"of a person")
    assert claims.progress("cell") is None
    with claims.hold("cell") as owner:
        assert claims.owner("cell") == owner


def test_of_many_at_once_one_gets_it(objects: Objects):
    begin, end, got = threading.Barrier(6, timeout=60), threading.Barrier(6, timeout=60), []

    def take() -> None:
        own = ObjectClaims(objects)
        begin.wait()
        try:
            with own.hold("cell") as owner:
                got.append(owner.token)
                end.wait()
        except Held:
            end.wait()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_the_claim_of_a_process_that_is_gone_is_taken_over_at_once(claims: ObjectClaims, objects: Objects):
    claimed_by(objects, dead())
    with claims.hold("cell") as owner:
        assert claims.owner("cell") == owner


def test_the_claim_of_another_machine_is_taken_over_once_it_shows_no_sign_of_life(
    claims: ObjectClaims, objects: Objects, monkeypatch: pytest.MonkeyPatch
):
    claimed_by(objects, elsewhere())
    with pytest.raises(Held, match="by process 1 on node-7"), claims.hold("cell"):
        pytest.fail("it may live")
    monkeypatch.setattr(module, "STALE", -1.0)
    with claims.hold("cell") as owner:
        assert claims.owner("cell") == owner


def test_of_two_that_find_a_claim_lost_one_gets_it(claims: ObjectClaims, objects: Objects):
    claimed_by(objects, elsewhere())
    first = ObjectClaims(objects)
    assert first._replace("cell", elsewhere(), elsewhere("first"))
    assert not claims._replace("cell", elsewhere(), elsewhere("second"))
    assert claims.owner("cell") == elsewhere("first")


def test_a_claim_is_kept_alive_and_its_loss_is_noticed(
    claims: ObjectClaims, objects: Objects, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "BEAT", 0.02)
    lost = threading.Event()
    with claims.hold("cell", on_lost=lost.set) as owner:
        claims.note("cell", "training", 3, 12, "loss 1.2")
        watching = ObjectClaims(objects)
        deadline = time.monotonic() + 10
        while watching.progress("cell") != ("training", 3, 12, "loss 1.2"):
            assert time.monotonic() < deadline, "it shows no sign of life"
            time.sleep(0.01)
        assert not lost.is_set()
        assert ObjectClaims(objects)._replace("cell", owner, elsewhere())
        assert lost.wait(10)
    assert claims.owner("cell") == elsewhere()  # it is not the loser's to release


def test_a_holder_whose_store_does_not_answer_stops_before_others_may_take_over(
    claims: ObjectClaims, s3: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "BEAT", 0.02)
    monkeypatch.setattr(module, "STALE", 0.2)
    lost = threading.Event()
    with claims.hold("cell", on_lost=lost.set):  # its release fails too, and says nothing of what was done
        monkeypatch.setattr(s3, "denies", "/")
        assert lost.wait(10)
