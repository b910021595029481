"""Who is at work on what, in a folder that several machines share: claims, made so that they need no file locks.

A claim is a file that only one process can create. While it works, a thread touches the file. If nobody has touched it
for STALE_AFTER_SECONDS, or its process is gone from this machine, another process may take over. Exclusive creation and
renaming are atomic on NFS and Lustre too; `flock` often is not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from untrue.errors import UserError

BEAT_SECONDS = 10.0
STALE_AFTER_SECONDS = 120.0
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Owner:
    """The process that has a claim; `machine` is its boot and its namespace of processes, `token` of this claim."""

    token: str
    host: str
    machine: str
    pid: int

    @classmethod
    def this(cls) -> Owner:
        """The process that calls, with a new token."""
        return cls(uuid4().hex, socket.gethostname(), _machine(), os.getpid())

    @property
    def is_gone(self) -> bool:
        """Whether it ran on this machine and runs no more."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Held(UserError):
    """Another process is at work on it."""


class Claim:
    """The claim on one part of a run directory, such as the cell `severe-0.5-s1`."""

    def __init__(self, folder: Path, name: str):
        self.name = name
        self._path = folder / f"{name}.json"
        self._progress = folder / f"{name}.progress"

    @contextmanager
    def hold(self, patience: float = 0.0, say: Callable[[str], None] = lambda text: None) -> Iterator[Owner]:
        """Hold the claim, and keep it alive until the end; this process dies if another takes it over.

        Raises Held if another process still holds it after `patience` seconds.
        """
        owner, deadline, told = Owner.this(), time.monotonic() + patience, ""
        while not self._create(owner):
            holder = self.owner()
            if not self._path.exists():
                continue
            if self._is_lost():
                self._remove_lost()
                continue
            by = f"process {holder.pid} on {holder.host}" if holder else "another process"
            at_work = f"{self.name}: is being made by {by}."
            if time.monotonic() >= deadline:
                raise Held(f"{at_work} Wait for it.")
            if told != at_work:
                say(f"{at_work} This waits for it.")
                told = at_work
            time.sleep(min(POLL_SECONDS, patience))
        done = threading.Event()
        thread = threading.Thread(target=self._beat, args=(owner, done), daemon=True)
        thread.start()
        try:
            yield owner
        finally:
            done.set()
            thread.join()
            with suppress(OSError):  # it ages out by itself, and what was done stays done
                if self.owner() == owner:
                    self._path.unlink(missing_ok=True)
                    self._progress.unlink(missing_ok=True)

    def check(self, owner: Owner) -> None:
        """Raise Held unless this owner still holds the claim."""
        if self.owner() != owner:
            raise Held(f"{self.name}: was taken over by another process. Rerun the command.")

    def owner(self) -> Owner | None:
        """Who holds the claim; None if nobody does, or it cannot be read."""
        with suppress(OSError, ValueError, TypeError):
            return Owner(**json.loads(self._path.read_text("utf-8")))
        return None

    def note(self, what: str, done: int, total: int, note: str) -> None:
        """Write down how far the holder is, for whoever watches; it may fail without harm."""
        with suppress(OSError):
            aside = self._progress.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps([what, done, total, note]), encoding="utf-8")
            aside.replace(self._progress)

    def progress(self) -> tuple[str, int, int, str] | None:
        """What the holder wrote down last."""
        with suppress(OSError, ValueError, TypeError):
            what, done, total, note = json.loads(self._progress.read_text("utf-8"))
            return str(what), int(done), int(total), str(note)
        return None

    def _create(self, owner: Owner) -> bool:
        """Make the claim unless there is one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(vars(owner)))
        except FileExistsError:
            return False
        return True

    def _is_lost(self) -> bool:
        holder = self.owner()  # None if it is half written: then it is lost only by its age
        return bool(holder and holder.is_gone) or _age(self._path) > STALE_AFTER_SECONDS

    def _remove_lost(self) -> None:
        """Remove a lost claim; one process at a time may, so that none removes the claim of the next holder."""
        taking = self._path.with_suffix(".taking")
        try:
            taking.touch(exist_ok=False)
        except FileExistsError:
            if _age(taking) > STALE_AFTER_SECONDS:
                taking.unlink(missing_ok=True)
            time.sleep(0.05)
            return
        try:
            if self._is_lost():
                self._path.unlink(missing_ok=True)
        finally:
            taking.unlink(missing_ok=True)

    def _beat(self, owner: Owner, done: threading.Event) -> None:
        last = time.monotonic()
        while not done.wait(BEAT_SECONDS):
            is_lost = self.owner() not in (owner, None)
            try:
                if not is_lost:
                    os.utime(self._path)
                    last = time.monotonic()
            except FileNotFoundError:
                is_lost = True
            except OSError:  # no answer: stop before others may take over
                is_lost = time.monotonic() - last >= STALE_AFTER_SECONDS / 2
            if is_lost and not done.is_set():
                _die()


def _age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of the file system; 0 if it is gone."""
    probe = path.with_name(f".now-{uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _die() -> None:
    """End this process at once, and the processes that it started."""
    with suppress(OSError):
        os.write(2, b"error: another process took over, or the run directory does not answer. Rerun the command.\n")
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(75)


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
