"""Who is at work on what, in a folder that several machines share: claims, made so that they need no file locks.

A claim is a file that one process alone can create. While it works, a thread touches the file; a file that nobody has
touched for `STALE` seconds, or whose process is gone from this machine, may be taken over. Creating a file by `link`
and renaming it are atomic on NFS and Lustre too, where `flock` often is not.
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
from typing import Any
from uuid import uuid4

from untrue.errors import UntrueError, UserError

BEAT = 10.0
"""Seconds between two signs of life."""

STALE = 120.0
"""Seconds without one after which whoever made the claim counts as lost."""


@dataclass(frozen=True)
class Owner:
    """The process that has a claim, as its file has it.

    Attributes:
        token: Drawn for this claim alone.
        host: Name of the machine.
        machine: What tells it, and its processes' numbers, from any other: its boot, and its namespace of processes.
        pid: Number of the process.
    """

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


Say = Callable[[str], None]


def _nothing(text: str) -> None:
    """Say nothing."""


class Held(UserError):
    """Someone else is at work on it."""


class Claims:
    """The claims on the parts of one run directory."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextmanager
    def hold(
        self, name: str, on_lost: Callable[[], None] | None = None, patience: float = 0.0, say: Say = _nothing
    ) -> Iterator[Owner]:
        """Hold a claim, and keep it alive until the end.

        Args:
            name: What is claimed, such as `severe-0.5-s1`.
            patience: Seconds to wait for whoever holds it.
            say: Called with a line on whom it waits for.
            on_lost: Called in another thread where someone has taken the claim over, such as after this machine slept.
                By default the process kills itself, since what it would write is no longer its own.

        Raises:
            Held: Someone else holds it.
        """
        owner, deadline = Owner.this(), time.monotonic() + patience
        while not self._create(name, owner):
            held = self.check(name, max(0.0, deadline - time.monotonic()), say)
            if self._replace(name, held, owner):
                break
            if time.monotonic() >= deadline:
                raise Held(f"{name}: was taken over by another process just now. Wait for it.")
        done = threading.Event()
        thread = threading.Thread(target=self._beat, args=(name, owner, done, on_lost or _die), daemon=True)
        thread.start()
        try:
            yield owner
        finally:
            done.set()
            thread.join()
            with suppress(OSError, UntrueError):  # it ages out by itself, and what was done stays done
                self._release(name, owner)

    def owner(self, name: str) -> Owner | None:
        """Who holds a claim; None where nobody does."""
        with suppress(OSError, ValueError, TypeError):
            return Owner(**json.loads(self._path(name).read_text("utf-8")))
        return None

    def check(self, name: str, patience: float = 0.0, say: Say = _nothing) -> Owner | None:
        """Refuse a claim that someone still holds after so many seconds; else return who lost it, if that can be read.

        Args:
            name: What is claimed.
            patience: Seconds to wait for whoever holds it.
            say: Called with a line on whom it waits for.

        Raises:
            Held: Someone who is alive holds it.
        """
        deadline, told = time.monotonic() + patience, ""
        while True:
            held = self.owner(name)
            # One that cannot be read may be half written: it too is lost only by its age.
            if self._is_free(name) or (held and held.is_gone) or self._age(name) > STALE:
                return held
            at_work = f"{name}: is being made by {f'process {held.pid} on {held.host}' if held else 'another process'}."
            if time.monotonic() >= deadline:
                raise Held(f"{at_work} Wait for it.")
            if told != at_work:
                say(f"{at_work} This waits for it.")
                told = at_work
            time.sleep(min(2.0, patience))

    def note(self, name: str, what: str, done: int, total: int, note: str) -> None:
        """Write down how far the holder of a claim is, for whoever watches; it may fail without harm."""
        with suppress(OSError):
            path = self._progress(name)
            aside = path.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps([what, done, total, note]), encoding="utf-8")
            aside.replace(path)

    def progress(self, name: str) -> tuple[str, int, int, str] | None:
        """What the holder of a claim wrote down last."""
        with suppress(OSError, ValueError, TypeError):
            what, done, total, note = json.loads(self._progress(name).read_text("utf-8"))
            return str(what), int(done), int(total), str(note)
        return None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _progress(self, name: str) -> Path:
        return self.folder / f"{name}.progress"

    def _is_free(self, name: str) -> bool:
        return not self._path(name).exists()

    def _create(self, name: str, owner: Owner) -> bool:
        """Make a claim, whole, unless there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name)
        aside = path.with_name(f".{path.name}.{owner.token}")
        aside.write_text(json.dumps(vars(owner)), encoding="utf-8")
        try:
            os.link(aside, path)
        except FileExistsError:
            return self.owner(name) == owner  # a share may have made it and lost its answer
        except OSError:  # a file system without hard links
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(json.dumps(vars(owner)))
            except FileExistsError:
                return False
        finally:
            aside.unlink(missing_ok=True)
        return True

    def _replace(self, name: str, lost: Owner | None, owner: Owner) -> bool:
        """Make a claim in the place of a lost one. False where someone else did so first."""
        return self._take(self._path(name), lost) and self._create(name, owner)

    def _release(self, name: str, owner: Owner) -> None:
        """End a claim, unless someone has taken it over."""
        if self.owner(name) == owner:
            self._path(name).unlink(missing_ok=True)
            self._progress(name).unlink(missing_ok=True)

    def _touch(self, name: str, owner: Owner) -> None:
        """Give a sign of life.

        Raises:
            FileNotFoundError: Someone has taken the claim over.
            OSError: The folder does not answer.
        """
        if self.owner(name) not in (owner, None):
            raise FileNotFoundError
        os.utime(self._path(name))

    def _age(self, name: str) -> float:
        """Seconds since the last sign of life, by the clock of the file system."""
        path = self._path(name)
        probe = path.with_name(f".now-{uuid4().hex}")
        try:
            probe.touch()
            return probe.stat().st_mtime - path.stat().st_mtime
        except OSError:
            return 0.0
        finally:
            probe.unlink(missing_ok=True)

    def _take(self, path: Path, lost: Owner | None) -> bool:
        """Remove the file of a lost claim; no more than one process can. False where it was another's by then."""
        aside = path.with_name(f".{path.name}.lost-{uuid4().hex}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return True
        found: Any = None
        with suppress(OSError, ValueError, TypeError):
            found = Owner(**json.loads(aside.read_text("utf-8")))
        if found == lost:
            aside.unlink(missing_ok=True)
            return True
        with suppress(OSError):  # someone took it over first and lives: give it back
            os.link(aside, path)
        aside.unlink(missing_ok=True)
        return False

    def _beat(self, name: str, owner: Owner, done: threading.Event, on_lost: Callable[[], None]) -> None:
        last = time.monotonic()
        while not done.wait(BEAT):
            try:
                self._touch(name, owner)
                last = time.monotonic()
            except FileNotFoundError:
                if not done.is_set():
                    on_lost()
                return
            except (OSError, UntrueError):  # no answer: by the time others may take over, stop
                if time.monotonic() - last >= STALE / 2 and not done.is_set():
                    on_lost()
                    return


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
