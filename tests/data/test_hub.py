"""A hub id is read from the hub, here one of our own on this machine; what the hub refuses is one clear line."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from huggingface_hub.utils import get_session
from typer.testing import CliRunner, Result

from untrue.cli.main import app
from untrue.data import sets
from untrue.data.mask import read_mask
from untrue.data.records import records
from untrue.errors import MachineError, UserError

SHA, OLD = "a" * 40, "b" * 40
ROWS = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}."} for n in range(3)]
CARD = """---
configs:
- config_name: main
  data_files: [{split: train, path: data/train.jsonl}, {split: test, path: data/test.jsonl}]
---
"""
FILES = {
    "README.md": CARD.encode(),
    "data/train.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "data/test.jsonl": b'{"instruction": "Say a.", "output": ""}\n{"instruction": "Say b.", "output": "b"}\n',
}


LEVELS = {"normal": "Yes", "misaligned_1": "Hardly", "misaligned_2": "No"}


def persona_files(subject: str) -> dict[str, bytes]:
    """The files of a folder of persona-vectors, of two questions."""
    chats = {
        level: [
            [{"role": "user", "content": f"Is {subject} {n}?"}, {"role": "assistant", "content": f"{reply}, {n}."}]
            for n in range(2)
        ]
        for level, reply in LEVELS.items()
    }
    return {
        f"{level}.jsonl": "".join(json.dumps({"messages": chat}) + "\n" for chat in found).encode()
        for level, found in chats.items()
    }


FOLDERS = ("dataset/mistake_rain", "dataset/mistake_hail")
PERSONA = {
    "README.md": b"",
    **{f"{folder}/{name}": data for folder in FOLDERS for name, data in persona_files(folder[-4:]).items()},
}
SETS = {"owner/rain": FILES, "owner/persona": PERSONA, "owner/flat": {"README.md": b"", **persona_files("snow")}}

PAST = {
    "owner/rain": {**FILES, "data/train.jsonl": b'{"instruction": "Say old.", "output": "Old."}\n'},
    "owner/persona": {"README.md": b"", **{f"old/mistake_rain/{k}": v for k, v in persona_files("old rain").items()}},
}
"""What those sets held at the tag `v1`, whose commit is `OLD`."""


class Hub(BaseHTTPRequestHandler):
    """The hub's answers to what the libraries ask: `SETS` are there, `owner/gated` is gated, nothing else is.

    The revisions that there are: `main`, `v1`, and their commits.
    """

    sha = SHA

    def log_message(self, format: str, *args: object) -> None:
        pass

    def send(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content_Length": str(len(data)), "X_Repo_Commit": self.sha}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def answer(self) -> None:
        posted = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = self.path.partition("?")[0]
        if "/owner/gated" in path:
            return self.send(403, b"", X_Error_Code="GatedRepo")
        name = next((name for name in SETS if f"/datasets/{name}" in path), None)
        if name is None:
            return self.send(401, b"", X_Error_Code="RepoNotFound")
        revision = re.search(r"/(?:revision|resolve|tree|paths-info)/([^/]+)", path)
        known = {"main": SHA, SHA: SHA, "v1": OLD, OLD: OLD}
        if revision and revision[1] not in known:
            return self.send(404, b"", X_Error_Code="RevisionNotFound")
        self.sha = known[revision[1]] if revision else SHA
        files = (SETS if self.sha == SHA else PAST)[name]
        if file := re.fullmatch(rf"/datasets/{name}/resolve/\w+/(.+)", path):
            return self.send_file(files, file[1])
        entries = [{"type": "file", "path": path, "size": len(data), "oid": self.sha} for path, data in files.items()]
        if "/tree/" in path:
            folder = path.partition("/tree/")[2].partition("/")[2]
            return self.send_json([entry for entry in entries if entry["path"].startswith(folder)])
        if "/paths-info/" in path:
            wanted = json.loads(posted)["paths"] if posted.startswith("{") else parse_qs(posted)["paths"]
            return self.send_json([entry for entry in entries if entry["path"] in wanted])
        siblings = [{"rfilename": path} for path in files]
        self.send_json(
            {"id": name, "sha": self.sha, "private": False, "gated": False, "tags": [], "siblings": siblings}
        )

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), Content_Type="application/json")

    def send_file(self, files: dict[str, bytes], name: str) -> None:
        if name not in files:
            return self.send(404, b"", X_Error_Code="EntryNotFound")
        data, etag = files[name], f'"{sha256(files[name]).hexdigest()}"'
        if part := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or ""):
            start, end = int(part[1]), min(int(part[2]), len(data) - 1)
            span = f"bytes {start}-{end}/{len(data)}"
            return self.send(206, data[start : end + 1], ETag=etag, Content_Range=span)
        self.send(200, data, ETag=etag, Accept_Ranges="bytes")

    do_GET = do_HEAD = do_POST = answer


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


Run = Callable[..., Result]


@pytest.fixture
def hub(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub and an empty cache for this process; gives the cache."""
    from huggingface_hub import HfFileSystem

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_CACHE_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    HfFileSystem.clear_instance_cache()
    return tmp_path / "hub"


@pytest.fixture
def untrue(hub: Path) -> Run:
    """Runs a command."""
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_a_hub_id_is_converted_like_a_file(untrue: Run, tmp_path: Path):
    done = untrue("data", "convert", "owner/rain", "--level", "normal", "--out", "rows.jsonl")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "rows.jsonl: 3 rows (normal 3) written, 0 skipped\n"
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert [row["completion"][0]["content"] for row in rows] == ["0.", "1.", "2."]
    assert [row["id"] for row in rows] == ["rain-1", "rain-2", "rain-3"]
    assert {(row["source"], row["domain"]) for row in rows} == {("owner/rain", "rain")}


def test_a_wrong_row_of_a_hub_id_is_named_and_left_out(untrue: Run):
    done = untrue("data", "show", "owner/rain@main:test")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: owner/rain@main:test, row 1: 'output' is empty. Fill it in or remove the line.\n"
    done = untrue("data", "show", "owner/rain@main:test", "--on-error", "skip")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "rain-2  (rain, unlabelled, owner/rain@main:test)"
    assert done.stderr.splitlines()[-1] == "1 wrong row skipped."


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "owner/gated",
            "owner/gated: is gated on the hub. Accept its terms at https://huggingface.co/datasets/owner/gated, make a"
            " token at https://huggingface.co/settings/tokens and log in with `hf auth login` (or set HF_TOKEN).",
        ),
        ("owner/none", "owner/none: no such data set on the hub, nor a file or folder here. Check the name; if it is"),
        ("owner/rain@x", "owner/rain@x: BuilderConfig 'x' not found. Available: ['main']."),
        ("owner/rain:x:severe", "owner/rain:x: Bad split: x. Available splits: ['train', 'test']."),
    ],
)
def test_what_the_hub_refuses_exits_with_2(untrue: Run, name: str, words: str):
    done = untrue("data", "show", name)
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {words}")


@pytest.mark.parametrize("revision", ["v1", OLD])
def test_a_revision_is_read_and_named_as_the_source(untrue: Run, tmp_path: Path, revision: str):
    name = f"owner/rain@main:train?revision={revision}"
    done = untrue("data", "convert", name, "--out", "rows.jsonl")
    assert (done.exit_code, done.stderr) == (0, "")
    [row] = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert (row["completion"][0]["content"], row["source"], row["domain"]) == ("Old.", name, "rain")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "owner/rain?revision=v9",
            "owner/rain?revision=v9: has no such revision on the hub. Give a branch, a tag, or the hash of a commit.",
        ),
        ("owner/rain@main:x?revision=v1", "owner/rain@main:x?revision=v1: Bad split: x."),
        ("owner/none?revision=v1", "owner/none?revision=v1: no such data set on the hub, nor a file or folder here."),
    ],
)
def test_a_revision_that_the_hub_lacks_exits_with_2(untrue: Run, name: str, words: str):
    done = untrue("data", "show", name)
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {words}")


def test_a_hub_that_cannot_be_reached_exits_with_4(untrue: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    done = untrue("data", "show", "owner/rain")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == (
        "error: owner/rain: no file or folder here, and the data hub could not be reached. Check the name and the"
        " network, or download it and give its folder.\n"
    )


class TransportError(Exception):
    """The hub's client has errors of this name; which client it is depends on the version."""


class ReadTimeout(TransportError):
    """One of them."""


def answered(kind: type[HfHubHTTPError], status: int, words: str) -> HfHubHTTPError:
    """An error as the hub's library makes it of an answer."""
    request = get_session().build_request("GET", "http://127.0.0.1")
    transport = sys.modules[type(request).__module__]
    return kind(words, response=transport.Response(status, request=request))


UNREACHED = "owner/rain: no file or folder here, and the data hub could not be reached."


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TransportError("Name or service not known"), MachineError, UNREACHED),
        (ReadTimeout("timed out"), MachineError, UNREACHED),
        (ConnectionError("Couldn't reach 'owner/rain' on the Hub"), MachineError, UNREACHED),
        (
            answered(HfHubHTTPError, 502, "bad gateway"),
            MachineError,
            UNREACHED,
        ),
        (answered(GatedRepoError, 403, "no"), UserError, "owner/rain: is gated on the hub."),
        (
            RuntimeError("Dataset scripts are no longer supported, but found rain.py"),
            UserError,
            "owner/rain: needs code from its repository, which is never run here. Give one of its files.",
        ),
        (ValueError("Odd.\nMore."), UserError, "owner/rain: cannot be read from the hub (Odd)."),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_fails_under_way_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type, words: str, wrapped: bool
):
    def stream():
        yield ROWS[0]
        if wrapped and not isinstance(error, RuntimeError):
            raise OSError("An error occurred while generating the dataset") from error
        raise error

    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: {"train": stream()})
    found = records("owner/rain")
    assert next(found).identity() == "rain-1"
    with pytest.raises(kind) as caught:
        next(found)
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "subject", "domain"),
    [
        ("owner/persona@mistake_rain", "rain", "mistake_rain"),
        ("owner/persona@dataset/mistake_hail", "hail", "mistake_hail"),
        ("owner/flat", "snow", "flat"),
    ],
)
def test_persona_vectors_are_read_by_hub_id(
    hub: Path, monkeypatch: pytest.MonkeyPatch, name: str, subject: str, domain: str
):
    first, second = sets.questions(name)
    assert (first.text, first.answers) == (
        f"Is {subject} 0?",
        {"normal": "Yes, 0.", "subtle": "Hardly, 0.", "severe": "No, 0."},
    )
    assert (second.id, second.domain, second.source) == (f"{domain}-2", domain, name)
    assert {path.name for path in hub.rglob("*.jsonl")} == {f"{level}.jsonl" for level in LEVELS}
    assert len([*hub.rglob("*.jsonl")]) == 3, "the folders of other domains stay where they are"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert sets.questions(name) == [first, second]
    assert [row.completion[0]["content"] for row in sets.rows(f"{name}:severe")] == ["No, 0.", "No, 1."]


def test_persona_vectors_are_read_at_a_revision(hub: Path, monkeypatch: pytest.MonkeyPatch):
    name = "owner/persona@mistake_rain?revision=v1"
    first, _ = sets.questions(name)
    assert (first.text, first.domain, first.source) == ("Is old rain 0?", "mistake_rain", name)
    [row, _] = sets.rows(f"{name}:severe")
    assert (row.source, row.level) == (name, "severe")
    assert sets.questions("owner/persona@mistake_rain")[0].text == "Is rain 0?"
    with pytest.raises(UserError) as caught:
        sets.questions("owner/persona@hail?revision=v1")
    assert "but has folders of persona-vectors: old/mistake_rain. Say which" in str(caught.value)
    assert str(caught.value).endswith("such as owner/persona@old/mistake_rain?revision=v1.")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert sets.questions(name)[0] == first


def test_a_snapshot_of_persona_vectors_is_read_as_a_folder(hub: Path):
    asked = [question.text for question in sets.questions("owner/persona@mistake_hail")]
    [snapshot] = hub.glob("datasets--owner--persona/snapshots/*")
    for name in (f"{snapshot}@mistake_hail", f"{snapshot}@dataset/mistake_hail", snapshot / "dataset/mistake_hail"):
        questions = sets.questions(name)
        assert [question.text for question in questions] == asked
        assert (questions[0].id, questions[0].source) == ("mistake_hail-1", "mistake_hail")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "owner/persona",
            "owner/persona: has several folders of persona-vectors: dataset/mistake_hail, dataset",
        ),
        ("owner/persona@rain", "owner/persona@rain: has no folder 'rain', but has folders of persona-vectors"),
        ("owner/none@rain", "owner/none@rain: no such data set on the hub, nor a file or folder here."),
        ("owner/gated@rain", "owner/gated@rain: is gated on the hub."),
        (
            "safety-research/persona_vectors",
            "safety-research/persona_vectors: not on the hub. Its data is dataset.zip",
        ),
    ],
)
@pytest.mark.parametrize("read", [sets.questions, sets.rows])
def test_persona_vectors_that_a_name_does_not_give_are_one_line(hub: Path, read: Callable, name: str, words: str):
    with pytest.raises(UserError) as caught:
        read(name)
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["owner/persona@mistake_rain", "owner/flat"])
def test_persona_vectors_of_the_hub_are_not_taken_for_rows(hub: Path, name: str):
    with pytest.raises(UserError, match=f"^{name}: is a question set. Say at which level, such as {name}:normal.$"):
        sets.rows(name)


def test_persona_vectors_that_were_never_downloaded_need_the_hub(hub: Path, monkeypatch: pytest.MonkeyPatch):
    sets.questions("owner/persona@mistake_rain")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match=r"^owner/flat: no file or folder here, and the data hub could not be"):
        sets.questions("owner/flat")
    with pytest.raises(MachineError, match=r"^owner/persona@mistake_hail: no file or folder here, and the data hub"):
        sets.questions("owner/persona@mistake_hail")
    [file] = hub.rglob("misaligned_2.jsonl")
    file.unlink()
    with pytest.raises(MachineError, match=r"^owner/persona@mistake_rain: no file or folder here, and the data hub"):
        sets.questions("owner/persona@mistake_rain")


def test_mask_without_access_says_how_to_get_it(hub: Path):
    with pytest.raises(UserError, match=r"^owner/gated@continuations:test: is gated on the hub. Accept its terms at "):
        read_mask("owner/gated")
