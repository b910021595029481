"""A study on Ray: its steps as tasks on the workers of one machine or of a cluster, which share the run directory.

The driver gives out tasks and watches; it loads no model. Any process that dies takes no more with it than the work
since the last checkpoint, and the same command goes on.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from untrue.errors import MachineError, UntrueError, UserError, one_line
from untrue.files import is_disk_full
from untrue.models.load import LoadedModel
from untrue.progress import Plan, Watcher
from untrue.secrets import redact, redacted_logging
from untrue.study.cell import Cell
from untrue.study.claims import Held
from untrue.study.config import Place, RunSpec, Study
from untrue.study.schedule import Ended, Task, schedule
from untrue.study.steps import step, tasks
from untrue.study.store import Store

POLL = 2.0
"""Seconds between two looks at how far the workers are."""

AHEAD = 2
"""Tasks given to Ray for each that can run at a time: a worker that is done need not wait for the driver."""

CONNECT = 10.0
"""Seconds in which the head of a cluster must answer."""

NODES_COME = 600.0
"""Seconds to wait for nodes of a cluster that begins without them."""

SHOWN = 3
"""Tasks whose progress is shown."""


def run_on_ray(
    study: Study,
    cells: Sequence[Cell],
    store: Store,
    identities: Mapping[str, str],
    watcher: Watcher,
    expected: Plan,
) -> None:
    """Do all steps that a run directory lacks, those that should take longest first.

    Raises:
        UserError: Ray is not installed, the cluster cannot be reached or lacks what a step needs, or steps failed.
        MachineError: Steps failed for want of memory, disk or network.
    """
    todo = tasks(study, cells, store, identities, expected)
    if not todo:
        return
    with _connected(study.run):
        workers = _Workers(study.run, store, todo, watcher)
        done = schedule(todo, workers, study.run.retries, workers.report)
    if done.failed:
        name, why = next(iter(done.failed.items()))
        skipped = f", and {len(done.skipped)} could not begin" if done.skipped else ""
        kind = MachineError if name in workers.for_want else UserError
        raise kind(
            f"{len(done.failed)} of {len(todo)} steps failed{skipped}. First {name}: {why.rstrip('.')}. The other steps"
            " are done; rerun the command to try these again."
        )


class _Workers:
    """The workers of a Ray cluster: an `Executor`.

    Attributes:
        for_want: Names of tasks that failed for want of memory, disk or network.
    """

    def __init__(self, spec: RunSpec, store: Store, todo: Sequence[Task], watcher: Watcher):
        import ray

        self._spec, self._store, self._watcher = spec, store, watcher
        self._claims = store.claims()
        self._tasks = {task.name: task for task in todo}
        self._running: dict[Any, str] = {}
        self._finished, self._ended = 0.0, 0
        self._total = sum(task.work for task in todo)
        self._step = ray.remote(max_retries=0)(_remote_step)
        self.for_want = set[str]()
        self._kinds = sorted({task.kind for task in todo})
        self._nodes = list[Mapping[str, float]]()
        self._shown = 0.0
        self._wait_for_nodes()
        watcher.stage("all nodes", "")

    def room(self) -> int:
        """Twice as many tasks as can run at a time, less those that it has."""
        return max(0, AHEAD * max(1, *map(self._slots, self._kinds)) - len(self._running))

    def submit(self, task: Task) -> None:
        """Give a task to Ray, with what it needs."""
        wanted = self._wanted(task.kind)
        named = self._step.options(name=f"untrue {task.name}", num_cpus=wanted["CPU"], num_gpus=wanted["GPU"])
        self._running[named.remote(self._store.address, task.cell, task.kind)] = task.name

    def wait(self) -> list[Ended]:
        """Wait for a task to end, or for `POLL` seconds, and show how far all are."""
        import ray

        refs = list(self._running)
        if not refs:  # others are at work on what is left
            time.sleep(POLL)
            return []
        ready = ray.wait(refs, num_returns=1, timeout=POLL)[0]
        if ready:  # and all others that have ended by now
            ready = ray.wait(refs, num_returns=len(refs), timeout=0)[0]
        else:
            self._nodes = _nodes() or self._nodes  # they come and go
        ended = [self._result(ref) for ref in ready]
        self._show()
        return ended

    def report(self, ended: Ended) -> None:
        """Count a task that has ended, and say what a person must know of it."""
        if ended.outcome in ("done", "failed"):
            self._finished += self._tasks[ended.name].work
            self._ended += 1
        if ended.outcome != "held":
            why = f": {ended.message}" if ended.message else ""
            self._watcher.say(f"{ended.name}: {ended.outcome}{why} ({self._ended} of {len(self._tasks)} steps)")

    def _result(self, ref: Any) -> Ended:
        import ray
        from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, RuntimeEnvSetupError

        name = self._running.pop(ref)
        try:
            outcome, message, for_want = ray.get(ref)
        except (RayTaskError, RuntimeEnvSetupError) as error:
            return Ended(name, "failed", one_line(str(error).strip().splitlines()[-1]))
        except OutOfMemoryError:
            self.for_want.add(name)
            return Ended(name, "lost", "the node was out of memory")
        except RayError as error:
            return Ended(name, "lost", type(error).__name__)
        if for_want:
            self.for_want.add(name)
        return Ended(name, outcome, message)

    def _wanted(self, kind: str) -> dict[str, float]:
        place: Place = self._spec.train if kind == "train" else self._spec.eval
        gpus = place.gpus if place.gpus is not None else int(any(node.get("GPU", 0) >= 1 for node in self._nodes))
        return {"CPU": place.cpus, "GPU": gpus}

    def _slots(self, kind: str) -> int:
        """How many steps of a kind can run at a time, each on one node."""
        wanted = {key: number for key, number in self._wanted(kind).items() if number}
        return sum(int(min(node.get(key, 0) / number for key, number in wanted.items())) for node in self._nodes)

    def _wait_for_nodes(self) -> None:
        """Wait until every kind of step finds a node, as nodes may be on their way.

        Raises:
            UserError: None came.
        """
        deadline = time.monotonic() + (NODES_COME if self._spec.address or "RAY_ADDRESS" in os.environ else 0)
        said = False
        while True:
            self._nodes = _nodes()
            lacking = next((kind for kind in self._kinds if not self._slots(kind)), None)
            if lacking is None:
                return
            wanted = " and ".join(f"{number:g} {key}s" for key, number in self._wanted(lacking).items() if number)
            if time.monotonic() >= deadline:
                raise UserError(
                    f"no node of the Ray cluster has the {wanted} that a step of the kind {lacking} needs. Lower"
                    " run.train or run.eval, or add such nodes."
                )
            if not said:
                self._watcher.say(f"Waiting for a node with {wanted} …")
                said = True
            time.sleep(POLL)

    def _show(self) -> None:
        """Move the bar by what has ended and by the parts that are at work, now and then."""
        if time.monotonic() < self._shown + POLL:
            return
        self._shown = time.monotonic()
        parts, notes = self._finished, list[str]()
        for name in self._running.values():
            task = self._tasks[name]
            if found := self._claims.progress(task.claim):
                what, done, total, note = found
                parts += task.work * done / max(total, 1)
                notes.append(f"{name} {done}/{total} {note}".strip() if total > 1 else f"{name} {what}")
        shown = "; ".join(notes[:SHOWN]) + (f"; {len(notes) - SHOWN} more" if len(notes) > SHOWN else "")
        self._watcher.step(round(1000 * parts), max(1, round(1000 * self._total)), shown)


_BASE: dict[str, LoadedModel] = {}
"""The base model of the run directory at which this worker was last at work."""


def _remote_step(out: str, cell: str, kind: Any) -> tuple[str, str, bool]:
    """Do a step in a worker.

    Returns:
        How it ended, what there is to say, and whether it failed for want of memory, disk or network.
    """
    said = _Said()
    try:
        with redacted_logging():
            loaded = step(out, cell, kind, said, _BASE.get(out))
        _BASE.clear()
        if loaded:
            _BASE[out] = loaded
    except Held as error:
        return "held", str(error), False
    except UntrueError as error:
        return "failed", redact(str(error)), isinstance(error, MachineError)
    except MemoryError:
        return "failed", "out of memory. Lower the batch or the limit.", True
    except OSError as error:
        if not is_disk_full(error):
            raise
        return "failed", "no space left on the disk. Free some.", True
    return "done", " ".join(said.lines), False


class _Said:
    """A watcher in a worker, which keeps what a person must know."""

    def __init__(self) -> None:
        self.lines = list[str]()

    def say(self, text: str) -> None:
        self.lines.append(text)

    def begin(self, plan: Plan) -> None: ...

    def stage(self, cell: str, what: str, part: float = 1) -> None: ...

    def step(self, done: int, total: int, note: str) -> None: ...


def _check_answers(address: str | None) -> None:
    """Fail at once where nothing listens at `host:port`, for which Ray would try for minutes.

    Raises:
        ConnectionError: Nothing does.
    """
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT).close()
    except OSError as error:
        raise ConnectionError(error.strerror or "no answer") from None


def _nodes() -> list[Mapping[str, float]]:
    """What each living node has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def _connected(spec: RunSpec) -> Iterator[None]:
    """Join the cluster, or start one on this machine; leave it at the end."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("run.on: ray needs the package ray. Install it: pip install 'untrue[ray]'")
    import ray

    if ray.is_initialized():  # by the program that calls
        yield
        return
    try:
        _check_answers(spec.address)
        ray.init(address=spec.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        place = spec.address or os.environ.get("RAY_ADDRESS") or "this machine"
        why = one_line(error)
        raise UserError(f"run.address: no Ray cluster at {place} ({why}). Start one: ray start --head") from None
    try:
        yield
    finally:
        ray.shutdown()
