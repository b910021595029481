"""Cells on a real Ray cluster of three nodes on this machine: whatever dies, the results are those of a local run."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import processes
from tests.study.conftest import Recorder, assert_same_results
from untrue.errors import UserError
from untrue.report.summary import write
from untrue.simulate.trajectory import read_trajectories
from untrue.study.claims import Claim
from untrue.study.config import Study, to_yaml
from untrue.study.run import run

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TALKS = {"by": "interaction", "users": 190, "methods": {"sft": {}}, "shares": [1.0]}
LONG = {"train__epochs": 200, "base": False}
"""A training of 400 steps, in which something can die: a worker may outlive its raylet by seconds."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs, and three nodes with one each; a test may kill one."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(3):
        found.add_node(num_cpus=1)
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def long_local(make_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The long study, done here."""
    out = tmp_path_factory.mktemp("local") / "run"
    write(run(make_study(**LONG), out, Recorder(), "untrue run long.yaml"))
    return out


def on(cluster: Any, study: Study) -> Study:
    """The same study, on the cluster."""
    return study.model_copy(update={"run": study.run.model_copy(update={"on": "ray", "address": cluster.address})})


def assert_same(out: Path, local: Path) -> None:
    """The results are equal item by item, and so are the adapters, bit by bit; no attempt is left."""
    assert_same_results(out, local)
    for adapter in local.glob("cells/*/adapter/adapter_model.safetensors"):
        assert (out / adapter.relative_to(local)).read_bytes() == adapter.read_bytes()
    assert {path.name for path in (out / "cells").iterdir()} == {path.name for path in (local / "cells").iterdir()}


def wait_for(what: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found


def at_work(out: Path, what: str = "training", step: int = 250) -> Callable[[], int | None]:
    """The process that is at something and has done so many steps of it."""

    def found() -> int | None:
        for path in (out / ".claims").glob("*.progress"):
            claim = Claim(path.parent, path.stem)
            progress, owner = claim.progress(), claim.owner()
            if owner and progress and progress[0] == what and step <= progress[1] < progress[2]:
                return owner.pid
        return None

    return found


@contextmanager
def node_dies(cluster: Any, find: Callable[[], int | None]) -> Iterator[None]:
    """Kill the node of a process once it is found, all that runs on it included; another node comes instead."""

    def kill() -> None:
        worker = psutil.Process(wait_for(find))
        raylet = next(parent for parent in worker.parents() if "raylet" in parent.name())
        for process in [raylet, *raylet.children(recursive=True)]:
            process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()
    cluster.add_node(num_cpus=1)


def resumed(out: Path) -> dict[str, int]:
    return {
        path.parent.name: json.loads(path.read_text())["resumed_at_step"] for path in out.glob("cells/*/train.json")
    }


def start_driver(cluster: Any, study: Study, out: Path, name: str) -> processes.Process:
    """`untrue run` in a process of its own."""
    folder = out.parent / name
    folder.mkdir()
    (folder / "study.yaml").write_text(to_yaml(on(cluster, study)), "utf-8")
    return processes.start(folder / "process", "run", folder / "study.yaml", "--out", out)


def test_a_study_on_several_nodes_gives_what_a_local_run_gives(
    cluster: Any, make_study: Callable[..., Study], finished: Path, tmp_path: Path
):
    out, told = tmp_path / "run", Recorder()
    write(run(on(cluster, make_study()), out, told, "untrue run small.yaml"))
    assert_same(out, finished)
    assert sum("train: done" in line for line in told.said) == 2
    assert sum("eval: done" in line for line in told.said) == 3
    assert (out / "report.html").is_file()
    again = Recorder()
    run(on(cluster, make_study()), out, again, "untrue run small.yaml")
    assert again.stages == []


def test_a_node_that_dies_in_training_costs_what_came_after_the_last_checkpoint(
    cluster: Any, make_study: Callable[..., Study], long_local: Path, tmp_path: Path
):
    out, told = tmp_path / "run", Recorder()
    with node_dies(cluster, at_work(out)):
        write(run(on(cluster, make_study(**LONG)), out, told, "untrue run long.yaml"))
    assert_same(out, long_local)
    assert max(resumed(out).values()) > 0


def test_a_worker_that_outlives_its_node_publishes_nothing(
    cluster: Any, make_study: Callable[..., Study], long_local: Path, tmp_path: Path
):
    """It is frozen, so that its claim gets stale; another trains its cell, and then it wakes up and finds that."""
    out, told, frozen = tmp_path / "run", Recorder(), list[psutil.Process]()

    def freeze() -> None:
        worker = psutil.Process(wait_for(at_work(out, step=50)))  # long before its end, however fast it is
        raylet = next(parent for parent in worker.parents() if "raylet" in parent.name())
        worker.suspend()
        frozen.append(worker)
        raylet.kill()

    killer = threading.Thread(target=freeze)
    killer.start()
    write(run(on(cluster, make_study(**LONG)), out, told, "untrue run long.yaml"))
    killer.join()
    [worker] = frozen
    worker.resume()
    worker.wait(60)
    assert_same(out, long_local)
    cluster.add_node(num_cpus=1)


@pytest.mark.parametrize(
    ("changes", "stage"),
    [({"evals": [{"name": "forced_choice", "limit": 300}]}, "forced_choice"), ({"mix": TALKS}, "dialogues")],
    ids=["an eval", "dialogues"],
)
def test_a_node_that_dies_in_an_eval_or_in_dialogues_changes_no_result(
    cluster: Any, make_study: Callable[..., Study], tmp_path: Path, changes: dict[str, Any], stage: str
):
    study, out, local = make_study(**changes, train__epochs=1, base=False), tmp_path / "run", tmp_path / "local"
    write(run(study, local, Recorder(), "untrue run small.yaml"))
    with node_dies(cluster, at_work(out, stage, 1)):
        write(run(on(cluster, study), out, Recorder(), "untrue run small.yaml"))
    assert_same(out, local)
    for held in out.glob("dialogues/*/trajectories.jsonl"):
        assert read_trajectories(held) == read_trajectories(local / held.relative_to(out))


def test_a_driver_that_is_killed_is_started_again_and_two_share_the_work(
    cluster: Any, make_study: Callable[..., Study], long_local: Path, tmp_path: Path
):
    study, out = make_study(**LONG), tmp_path / "run"
    first = start_driver(cluster, study, out, "first")
    wait_for(at_work(out))
    assert first.kill() == -signal.SIGKILL
    two = [start_driver(cluster, study, out, name) for name in ("second", "third")]
    for driver in two:
        assert driver.wait() == 0, driver.stderr
    assert_same(out, long_local)
    assert max(resumed(out).values()) > 0
    assert not list((out / ".claims").glob("*.json"))


def test_steps_that_fail_are_named_and_the_others_are_done(
    cluster: Any, make_study: Callable[..., Study], tmp_path: Path
):
    out, told = tmp_path / "run", Recorder()
    message = (
        r"2 of 5 steps failed, and 2 could not begin\. First \S+ train: .*loss.*\. The other steps are done; rerun"
    )
    with pytest.raises(UserError, match=message):
        run(on(cluster, make_study(train__learning_rate=1e30)), out, told, "untrue run small.yaml")
    assert [path.name for path in out.glob("cells/*/logs/*")] == ["forced_choice.eval"]
    assert not (out / "report.html").exists()


def test_a_cluster_that_is_not_there_is_named(make_study: Callable[..., Study], tmp_path: Path):
    ray.shutdown()
    study = make_study(run={"on": "ray", "address": "127.0.0.1:1"})
    with pytest.raises(UserError, match=r"run\.address: no Ray cluster at 127\.0\.0\.1:1"):
        run(study, tmp_path / "run", Recorder(), "untrue run small.yaml")
