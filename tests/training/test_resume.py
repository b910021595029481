"""A training that was killed goes on from its last whole checkpoint, and from no other's."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests import processes
from untrue.training.run import train


@pytest.fixture(scope="module")
def killed(tiny_folder: Path, rows, spec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of a training of eight steps that was killed at step 5, when checkpoint 4 was the last."""
    folder = tmp_path_factory.mktemp("killed")
    texts = [json.dumps([asdict(row) for row in rows]), spec.model_dump_json()]
    script = Path(__file__).with_name("killed.py")
    own = tmp_path_factory.mktemp("process")
    process = processes.start(own, tiny_folder, folder / "adapter", 5, *texts, script=script)
    assert process.wait() == -signal.SIGKILL
    return folder


@pytest.fixture
def folder(killed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(killed, tmp_path / "run")
    return tmp_path / "run"


def test_it_goes_on_to_the_adapter_of_an_uninterrupted_training(tiny, rows, spec, trained, weights, folder):
    steps: list[int] = []
    record = train(tiny, rows, spec, folder / "adapter", 0, lambda step, *_: steps.append(step))
    assert record["resumed_at_step"] == 4
    assert steps == [4, 5, 6, 7, 8]
    assert record["tokens_per_second"] == pytest.approx(record["tokens"] / 2 / record["seconds"], rel=0.05)
    found, expected = weights(folder / "adapter"), weights(trained)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-6)
    uninterrupted = json.loads((trained / "train.json").read_text())["loss"]
    assert [entry["step"] for entry in record["loss"]] == [entry["step"] for entry in uninterrupted]
    assert [entry["loss"] for entry in record["loss"]] == pytest.approx([entry["loss"] for entry in uninterrupted])
    assert [path.name for path in folder.iterdir()] == ["adapter"]


@pytest.mark.parametrize("what", ["seed", "spec", "rows"])
def test_the_checkpoints_of_another_training_are_not_taken(tiny, rows, spec, folder, what):
    if what == "spec":
        spec = spec.model_copy(update={"learning_rate": 1e-2})
    if what == "rows":
        rows = [*rows[:-1], replace(rows[-1], level="subtle")]
    assert train(tiny, rows, spec, folder / "adapter", int(what == "seed"))["resumed_at_step"] == 0


@pytest.mark.parametrize(
    ("half", "state", "resumed_at"),
    [(6, None, 4), (6, '{"global_step": 6, "ep', 4), (4, None, 0)],
    ids=["missing", "cut off", "no whole one"],
)
def test_a_half_written_checkpoint_is_passed_over(tiny, rows, spec, folder, half, state, resumed_at):
    checkpoints = folder / ".adapter-checkpoints"
    if half != 4:
        shutil.copytree(checkpoints / "checkpoint-4", checkpoints / f"checkpoint-{half}")
    file = checkpoints / f"checkpoint-{half}" / "trainer_state.json"
    file.unlink()
    if state:
        file.write_text(state)
    assert train(tiny, rows, spec, folder / "adapter", 0)["resumed_at_step"] == resumed_at
