"""Two processes, over gloo on CPUs, learn what one learns: losses, adapter, fingerprint, and after a cut too."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch

from tests import processes
from tests.training.launched import environment
from untrue.data.rows import Row, write_rows
from untrue.models import fingerprint
from untrue.training.layout import Layout
from untrue.training.rank import JOB, ROWS, Task
from untrue.training.run import train
from untrue.training.spec import TrainSpec


@dataclass(frozen=True)
class Case:
    """A training, and the step at which its processes are cut off first, if they are."""

    rows: Sequence[Row]
    spec: TrainSpec
    shard: str
    start: Path | None = None
    cut: int | None = None


@pytest.fixture(scope="module")
def cases(rows, spec, trained) -> dict[str, Case]:
    """Rows that do not fill the last batch: the last process gets none of it."""
    thirteen = [replace(row, label=bool(place % 3)) for place, row in enumerate(rows[:13])]
    thirteen[0] = replace(thirteen[0], id="one\u2028line")
    pairs = [replace(row, id=f"{row.id}-{label}", label=label) for row in rows[:5] for label in (True, False)]
    pairs = [row if row.label else replace(row, completion=rows[-1].completion) for row in pairs]
    kto, dpo = (spec.model_copy(update={"method": method}) for method in ("kto", "dpo"))
    return {
        "sft": Case([replace(row, label=None) for row in thirteen], spec, "fsdp2", cut=5),
        "kto": Case(thirteen, kto, "fsdp2", start=trained, cut=5),
        "dpo": Case(pairs, dpo, "none"),
    }


@pytest.fixture(scope="module")
def two(cases: dict[str, Case], tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the adapters of two processes, which train all cases one after another."""
    folder = tmp_path_factory.mktemp("two")
    words = []
    for name, case in cases.items():
        task = Task(
            model=str(tiny_folder),
            spec=case.spec.model_dump(mode="json"),
            seed=0,
            out=str(folder / name),
            start=str(case.start) if case.start else None,
            dtype="float32",
            gpus=2,
            shard=case.shard,
            on_cpu=True,
        )
        job = tmp_path_factory.mktemp(name)
        (job / JOB).write_text(json.dumps(asdict(task)))
        write_rows(job / ROWS, case.rows)
        words += [*([f"{job}@{case.cut}"] if case.cut else []), str(job)]
    port = str(processes.free_port())
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= environment(Layout(2, "fsdp2"), "float32", folder)
    started = []
    with pytest.MonkeyPatch.context() as patch:
        for rank in ("0", "1"):
            for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items():
                patch.setitem(os.environ, name, value)
            script = Path(__file__).with_name("ranks.py")
            started.append(processes.start(tmp_path_factory.mktemp("rank"), *words, script=script))
    codes = [process.wait() for process in started]
    assert codes == [0, 0], "".join(process.stderr for process in started)
    return folder


@pytest.fixture(scope="module", params=["sft", "kto", "dpo"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def one(tiny, cases: dict[str, Case], name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter that one process learns."""
    case = cases[name]
    out = tmp_path_factory.mktemp("one") / name
    train(tiny, case.rows, case.spec, out, 0, start=case.start)
    return out


def read(folder: Path, file: str = "train.json") -> dict:
    return json.loads((folder / file).read_text())


def test_losses_and_what_else_the_curve_shows_are_those_of_one_process(two, one, name):
    curves = [read(folder)["loss"] for folder in (two / name, one)]
    assert [entry.keys() for entry in curves[0]] == [entry.keys() for entry in curves[1]]
    for there, here in zip(*curves, strict=True):
        assert there == pytest.approx(here, rel=1e-4, abs=1e-3)


def test_the_adapter_has_all_tensors_and_is_that_of_one_process(two, one, name, weights):
    found, expected = weights(two / name), weights(one)
    assert found.keys() == expected.keys()
    assert len(found) == 2 * 2 * 7  # A and B of seven matrices in each of two layers
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=1e-3)


def test_the_folder_holds_what_one_process_writes(two, one, name):
    files = [sorted(path.name for path in folder.iterdir()) for folder in (two / name, one)]
    assert files[0] == files[1]
    for file in ("adapter_config.json", "untrue.json"):
        there, here = read(two / name, file), read(one, file)
        for config in (there, here):
            config["target_modules"] = sorted(config.get("target_modules", []))
        assert there == here
    there, here = (fingerprint.read(folder) for folder in (two / name, one))
    assert there is not None and here is not None
    assert fingerprint.distance(there.adapter, here.adapter) < 1e-3
    assert fingerprint.distance(there.base, here.base) < 1e-3


def test_the_record_is_that_of_one_process_but_for_the_layout_and_the_cut(two, one, name, cases):
    there, here = read(two / name), read(one)
    assert there["layout"] == {"gpus": 2, "shard": cases[name].shard}
    assert there["resumed_at_step"] == (4 if cases[name].cut else 0)
    numbers = {"layout", "resumed_at_step", "final_loss", "loss", "seconds", "tokens_per_second"}
    assert {key: there[key] for key in there.keys() - numbers} == {key: here[key] for key in here.keys() - numbers}
    assert not (two / f".{name}-checkpoints").exists()


def test_each_process_holds_a_half_of_a_sharded_model(two, cases):
    for name, case in cases.items():
        held = [read(two, f"{name}-held-{rank}.json") for rank in (0, 1)]
        parts = [part["here"] / part["all"] for part in held]
        assert parts == pytest.approx([0.5, 0.5] if case.shard == "fsdp2" else [1, 1], abs=0.01)
