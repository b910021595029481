"""A study on Ray: its steps as tasks on the workers of one machine or of a cluster, which share the run directory.

Ray begins each task when those before it are done, and begins it again if its worker is lost. The driver only watches.
What a lost worker had saved of its cell is taken up: it costs the work since the last checkpoint.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from untrue.errors import MachineError, UntrueError, UserError, one_line
from untrue.files import is_disk_full
from untrue.progress import Watcher
from untrue.secrets import redact, redacted_logging
from untrue.study.config import RunSpec, Study
from untrue.study.steps import Kind, Step, Worker
from untrue.study.store import Store

POLL_SECONDS = 2.0
CONNECT_SECONDS = 10.0
NODES_SECONDS = 600.0  # how long to wait for nodes of a cluster that begins without them

SHOWN = 3  # how many tasks at work are shown


def run_on_ray(study: Study, store: Store, steps: Sequence[Step], watcher: Watcher) -> None:
    """Do steps, each after those that it names."""
    with _connected(study.run):
        needs = _needs(study.run, {step.kind for step in steps}, watcher)
        watcher.stage("all nodes", "")
        errors = _watch(_submit(steps, needs, study.run.retries, store), steps, store, watcher)
    failed = {name: error for name, error in errors.items() if error}
    if failed:
        name, error = next(iter(failed.items()))
        skipped = f", and {len(errors) - len(failed)} could not begin" if len(errors) > len(failed) else ""
        raise (MachineError if isinstance(error, MachineError) else UserError)(
            f"{len(failed)} of {len(steps)} steps failed{skipped}. First {name}: {str(error).rstrip('.')}. The other"
            " steps are done; rerun the command to try these again."
        )


def _submit(
    steps: Sequence[Step], needs: Mapping[str, Mapping[str, float]], retries: int, store: Store
) -> dict[Any, Step]:
    """Give all steps to Ray; its reference to each result -> the step."""
    import ray

    out, run, references = str(store.folder.absolute()), uuid4().hex, dict[str, Any]()
    task = ray.remote(max_retries=retries)(_do)
    for step in steps:
        before = [references[name] for name in step.after if name in references]
        own = task.options(name=f"untrue {step.name}", **needs[step.kind])
        references[step.name] = own.remote(run, out, step.cell, step.kind, *before)
    return {references[step.name]: step for step in steps}


def _watch(
    running: dict[Any, Step], steps: Sequence[Step], store: Store, watcher: Watcher
) -> dict[str, UntrueError | None]:
    """Show how far steps are until all have ended. Returns the errors of those that failed; None: could not begin."""
    import ray

    errors, total, ended_seconds = dict[str, UntrueError | None](), sum(step.seconds for step in steps), 0.0
    while running:
        ended = set(ray.wait(list(running), num_returns=len(running), timeout=POLL_SECONDS)[0])
        for reference in [reference for reference in running if reference in ended]:  # in the order of the steps
            step = running.pop(reference)
            ended_seconds += step.seconds
            message, error = _result(reference)
            if error and any(name in errors for name in step.after):  # Ray gives it the error of that step
                errors[step.name] = None
                continue
            if error:
                errors[step.name], message = error, str(error)
            count = f"({len(steps) - len(running)} of {len(steps)} steps)"
            watcher.say(f"{step.name}: {'failed' if error else 'done'}{': ' if message else ''}{message} {count}")
        seconds, notes = ended_seconds, list[str]()
        for step in running.values():
            if progress := store.claim(step.claim).progress():
                what, done, of, note = progress
                seconds += step.seconds * done / max(of, 1)
                notes.append(f"{step.name} {done}/{of} {note}".strip() if of > 1 else f"{step.name} {what}")
        more = f"; {len(notes) - SHOWN} more" if len(notes) > SHOWN else ""
        watcher.step(round(1000 * seconds), max(1, round(1000 * total)), "; ".join(notes[:SHOWN]) + more)
    return errors


def _result(reference: Any) -> tuple[str, UntrueError | None]:
    """What there is to say of a step that has ended, and why it failed, if it did."""
    import ray
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

    try:
        return ray.get(reference), None
    except RayTaskError as error:
        cause = error.cause
        return "", cause if isinstance(cause, UntrueError) else UserError(one_line(str(error).strip().splitlines()[-1]))
    except OutOfMemoryError:
        return "", MachineError("its node was out of memory")
    except RayError as error:
        return "", UserError(f"it was lost with its worker too often ({type(error).__name__})")


def _needs(spec: RunSpec, kinds: set[Kind], watcher: Watcher) -> dict[str, dict[str, float]]:
    """The CPUs and GPUs that each kind of step gets, once a node has them: nodes may be on their way."""
    import ray

    deadline = time.monotonic() + (NODES_SECONDS if spec.address or "RAY_ADDRESS" in os.environ else 0)
    said = False
    while True:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = dict[str, dict[str, float]]()
        for kind in sorted(kinds):
            place = spec.train if kind == "train" else spec.eval
            gpus = place.gpus if place.gpus is not None else int(any(node.get("GPU", 0) >= 1 for node in nodes))
            needs[kind] = {"num_cpus": place.cpus, "num_gpus": gpus}
            if not any(node.get("CPU", 0) >= place.cpus and node.get("GPU", 0) >= gpus for node in nodes):
                break
        else:
            return needs
        text = f"{place.cpus} CPUs" + (f" and {gpus} GPUs" if gpus else "")
        if time.monotonic() >= deadline:
            raise UserError(
                f"no node of the Ray cluster has the {text} that a step of the kind {kind} needs. Lower run.train or"
                " run.eval, or add such nodes."
            )
        if not said:
            watcher.say(f"Waiting for a node with {text} …")
            said = True
        time.sleep(POLL_SECONDS)


# Run of a driver -> who works on it in this process, with what it has read and the base model that it has loaded.
_WORKERS: dict[str, Worker] = {}


def _do(run: str, out: str, cell: str, kind: Kind, *before: Any) -> str:
    """Do a step in a process of Ray's, after others; what a person must know of it."""
    said = _Said()
    try:
        with redacted_logging():
            worker = _WORKERS.get(run) or Worker.at(out, said)
            _WORKERS.clear()
            _WORKERS[run] = worker
            worker.watcher = said
            worker.do(cell, kind, patience=math.inf)
    except UntrueError as error:
        raise type(error)(redact(str(error))) from None
    except MemoryError:
        raise MachineError("out of memory. Lower the batch or the limit.") from None
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise MachineError("no space left on the disk. Free some.") from None
    return " ".join(said.lines)


class _Said(Watcher):
    """Keeps what a person must know."""

    def __init__(self) -> None:
        self.lines = list[str]()

    def say(self, text: str) -> None:
        self.lines.append(text)


def _check_answers(address: str | None) -> None:
    """Raise ConnectionError at once if nothing listens at `host:port`: Ray would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(error.strerror or "no answer") from None


@contextmanager
def _connected(spec: RunSpec) -> Iterator[None]:
    """Join the cluster, or start one on this machine; leave it at the end."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("run.on: ray needs the package ray. Install it: pip install 'untrue[ray]'")
    os.environ.setdefault("RAY_task_oom_retries", str(spec.retries))  # Ray's default is to retry for ever
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
