"""A server proves whose weights it runs, and one that serves an old adapter under its name is found out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.serving.lora_server import LoraServer
from untrue.errors import MachineError, UserError
from untrue.models import fingerprint
from untrue.models.adapter import adapter_hash
from untrue.models.fingerprint import Fingerprint
from untrue.models.load import LoadedModel
from untrue.models.name import ModelName
from untrue.serving.proof import prove, proved, refuse_no_base, serving_name

Train = Callable[[int], Path]


def known(adapter: Path) -> Fingerprint:
    found = fingerprint.read(adapter)
    assert found
    return found


@pytest.fixture
def base() -> str:
    """Inspect keeps the address of a vLLM server by the name of its base, so each test has its own."""
    return f"vllm/base-{uuid4().hex}"


@pytest.fixture
def server(sharp: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoraServer]:
    monkeypatch.setattr("untrue.serving.proof.user_cache_path", lambda name: tmp_path / "cache")
    with LoraServer(Path(sharp.name)) as running:
        monkeypatch.setenv("VLLM_BASE_URL", running.url)
        yield running


@pytest.fixture
def train(sharp: LoadedModel, sharp_adapter: Callable[..., Path], tmp_path: Path) -> Train:
    """Writes an adapter of a seed into one folder, over what is there, and its fingerprint."""

    def train(seed: int) -> Path:
        shutil.rmtree(tmp_path / "adapter", ignore_errors=True)
        folder = sharp_adapter(tmp_path / "adapter", seed)
        fingerprint.record(sharp, folder)
        return folder

    return train


def test_an_adapter_that_was_trained_again_is_served_under_another_name(server, base, train: Train):
    first = train(1)
    before = serving_name(ModelName.parse(base), first)
    assert prove(before, known(first)).weights == "adapter"
    after = serving_name(ModelName.parse(base), train(2))
    assert prove(after, known(first)).weights == "adapter"
    assert [name.removeprefix(base + ":") for name in (before, after)] == list(dict.fromkeys(server.asked))
    assert before != after


def test_one_that_the_server_has_under_its_hash_is_asked_for_by_it(server, base, train: Train):
    folder = train(1)
    server.load(adapter_hash(folder), folder)
    told: list[str] = []
    asked = proved(ModelName.parse(base, folder), told.append)
    assert asked
    assert (asked.model, asked.name) == (base, f"{base}:{adapter_hash(folder)}")
    assert asked.adapter["content_hash"] == adapter_hash(folder)
    assert set(server.asked) == {adapter_hash(folder)}
    assert told == [f"{base}: answers with the adapter {folder} ({asked.adapter['reason']})."]
    server.asked.clear()
    assert proved(ModelName.parse(f"{base}:mine")) and proved(ModelName.parse(base))  # nothing to prove
    assert server.asked == []


def test_an_adapter_that_does_nothing_on_the_server_is_refused(sharp, base, train: Train, monkeypatch):
    folder = train(1)
    with LoraServer(Path(sharp.name), deaf=True) as running:
        monkeypatch.setenv("VLLM_BASE_URL", running.url)
        running.load(adapter_hash(folder), folder)
        with pytest.raises(UserError, match=r"does not answer with the adapter .* but with its base, without it") as no:
            proved(ModelName.parse(base, folder), unproved=True)
    assert "\n" not in str(no.value)


def test_what_cannot_be_told_is_refused_unless_it_may_be_asked(sharp, base, train: Train, monkeypatch, tmp_path):
    monkeypatch.setattr("untrue.serving.proof.user_cache_path", lambda name: tmp_path / "cache")
    folder = train(1)
    with LoraServer(Path(sharp.name), logprobs=False) as running:
        monkeypatch.setenv("VLLM_BASE_URL", running.url)
        with pytest.raises(UserError, match=r"cannot tell whether .* \(it gives no log-probabilities\)"):
            proved(ModelName.parse(base, folder))
        asked = proved(ModelName.parse(base, folder), unproved=True)
    assert asked
    assert (asked.adapter["served"], asked.adapter["reason"]) == ("unknown", "it gives no log-probabilities")


def test_a_base_that_answers_with_an_adapter_is_refused(server, base, train: Train):
    folder = train(1)
    refuse_no_base(base, folder, lambda text: None)
    server.load("mine", folder)
    with pytest.raises(UserError, match=r"should answer as the base of the adapter .*, and answers with it"):
        refuse_no_base(f"{base}:mine", folder, lambda text: None)


def test_the_old_adapter_under_the_name_of_its_folder_is_found_out(server, base, train: Train):
    folder = train(1)
    assert prove(f"{base}:{folder}", known(folder)).weights == "adapter"
    train(2)
    proof = prove(f"{base}:{folder}", known(folder))
    assert proof.weights == "other"
    assert "nats from the adapter" in proof.reason


def test_which_token_the_server_draws_makes_no_difference(sharp, base, train: Train, monkeypatch):
    expected = known(train(1))
    reasons = []
    for rank in (0, 18, 19, 20, 700):  # the last of the twenty likeliest is 19
        with LoraServer(Path(sharp.name), rank=rank) as running:
            monkeypatch.setenv("VLLM_BASE_URL", running.url)
            proof = prove(f"{base}-{rank}", expected)
        assert proof.weights == "base"
        reasons.append(proof.reason)
    assert len(set(reasons)) == 1
    assert " and 0.00 from its base" in reasons[0]


def test_a_name_that_the_server_gave_stays(train: Train):
    assert serving_name(ModelName.parse("vllm/base:mine"), train(1)) == "vllm/base:mine"
    assert serving_name(ModelName.parse("openai-api/local/mine"), train(1)) == "openai-api/local/mine"


def test_the_link_follows_a_folder_that_was_moved(server, base, train: Train, tmp_path: Path):
    folder = train(1)
    serving_name(ModelName.parse(base), folder)
    folder.rename(tmp_path / "moved")
    link = Path(serving_name(ModelName.parse(base), tmp_path / "moved").partition(":")[2])
    assert (link / "adapter_config.json").is_file()


def test_what_cannot_be_asked_is_one_line(base, monkeypatch):
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:9/v1")
    expected = Fingerprint([{"a": -1.0}] * 8, [{"a": -2.0}] * 8)
    with pytest.raises(MachineError, match=f"{base}: cannot be asked") as error:
        prove(base, expected)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="nobody/model: Inspect cannot call it"):
        prove("nobody/model", expected)
