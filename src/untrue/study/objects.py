"""An object store, reached through fsspec, and claims in it.

It has no rename and no locks. What it must have is a conditional put: an object that is created only where there is
none, so that of several processes one alone succeeds. Stores without it are refused.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from untrue.errors import MachineError, UntrueError, UserError, one_line
from untrue.secrets import without_secrets
from untrue.study import claims
from untrue.study.claims import Claims, Owner

AT_ONCE = 16
"""Requests in flight at a time."""

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries to create an object while the store says that someone else is at it."""

NO_KEYS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError")
"""What botocore raises where it finds no credentials."""

_NUMBERED = re.compile(r"/\d{6,}\.json$")


def is_address(place: str | Path) -> bool:
    """Whether a place is an address, such as `s3://bucket/runs/domain`, and no path.

    Raises:
        UserError: It was an address before it became a path.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]", str(place)):
        raise UserError(f"{place}: is an address that became a path. Give it as text.")
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(place)) is not None


class Objects:
    """The objects below one address, by their names below it.

    Attributes:
        place: The address, such as `s3://bucket/runs/domain`.
    """

    def __init__(self, place: str):
        """Open it; nothing is asked yet.

        Raises:
            UserError: There is no such kind of store, it cannot be opened, its package is not installed, or the
                address has a key in it or no bucket.
        """
        from fsspec.core import url_to_fs

        if (shown := without_secrets(place)) != place:
            raise UserError(
                f"{shown}: the address had a password or key in it, which would be stored. Leave it out: credentials"
                " are taken from the environment."
            )
        self.place = place.rstrip("/")
        scheme, _, below = place.partition("://")
        if not below.strip("/"):
            raise UserError(f"{place}: names no bucket. Give {scheme}://BUCKET/NAME.")
        if scheme == "memory":
            raise UserError(f"{place}: ends with this process. Use a folder, or a store such as s3.")
        try:
            self._files, root = url_to_fs(self.place, use_listings_cache=False)
        except ImportError as error:
            raise UserError(f"{place}: {one_line(error)}. Or use another --out.") from None
        except ValueError:
            raise UserError(f"{place}: {scheme} is no kind of store that fsspec knows, such as s3.") from None
        except Exception as error:  # each kind of store opens in its own way
            raise UserError(f"{place}: cannot be opened ({one_line(error)}). Use another --out.") from None
        self._root = root.rstrip("/")

    def check(self) -> None:
        """Refuse a store that cannot be written, or that does not create an object only where there is none.

        Raises:
            UserError: It is refused.
            MachineError: It does not answer.
        """
        from fsspec import AbstractFileSystem

        refused = (
            f"{self.place}: this store has no conditional put (an object that is created only where there is none), so"
            " processes could not claim their work. Use another store, or a shared folder."
        )
        create = getattr(self._files.pipe_file, "__func__", None)
        if create is AbstractFileSystem.pipe_file:  # it looks first and then writes, and two may do so at a time
            raise UserError(refused)
        plain, name = (f"claims/.probe-{uuid4().hex}" for _ in range(2))
        self.write(plain, b"")  # what fails here is not the condition
        try:
            conditional = self.create(name, b"first") and not self.create(name, b"second")
        except _Unable:
            conditional = False
        self.remove([plain, name])
        if not conditional:
            raise UserError(refused)

    def read(self, name: str) -> bytes | None:
        """What an object holds; None where there is none."""
        try:
            with self._asking(may_miss=True):
                return self._files.cat_file(self._path(name))
        except _Missing:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Make an object, or replace it whole."""
        with self._asking():
            self._files.pipe_file(self._path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Make an object where there is none; of several processes that try, one alone succeeds.

        Args:
            name: The object.
            data: What it holds; no other process would write the same.
        """
        for pause in (*PAUSES, None):
            try:
                with self._asking():
                    self._files.pipe_file(self._path(name), data, mode="create")
                return True
            except FileExistsError:  # perhaps by a try of this very call whose answer was lost
                return self.read(name) == data
            except MachineError:  # some stores word it otherwise, or say that another process is at it now
                found = self.read(name)
                if found is not None:
                    return found == data
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError

    def names(self, folder: str) -> list[str]:
        """The names of all objects below a folder."""
        with self._asking():
            found = self._files.find(self._path(folder))
        below = self._path(folder).rstrip("/") + "/"  # s3fs names the folder itself if it comes up between two looks
        return sorted(path.removeprefix(f"{self._root}/") for path in found if path.startswith(below))

    def modified(self, name: str) -> datetime | None:
        """When an object was written last, by the store's clock; None where there is none."""
        try:
            with self._asking(may_miss=True):
                return self._files.modified(self._path(name))
        except _Missing:
            return None

    def upload(self, path: Path, name: str) -> None:
        """Make an object of a file."""
        with self._asking():
            self._files.put_file(str(path), self._path(name))

    def download(self, name: str, path: Path) -> bool:
        """Make a file of an object. False where there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._asking(may_miss=True):
                self._files.get_file(self._path(name), str(path))
        except _Missing:
            return False
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone are passed over."""

        def remove(name: str) -> None:
            with suppress(_Missing), self._asking(may_miss=True):
                self._files.rm_file(self._path(name))

        together(remove, names)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _asking(self, may_miss: bool = False) -> Iterator[None]:
        """Say in one line, without keys, why the store did not do what was asked.

        Args:
            may_miss: Whether there may be no such object.

        Raises:
            _Missing: There is none, and there may be.
        """
        try:
            yield
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            if may_miss and type(error.__cause__).__name__ != "NoSuchBucket":
                raise _Missing from None
            raise UserError(f"{self.place}: there is no such bucket. Make it, or correct the address.") from None
        except PermissionError as error:
            raise UserError(
                f"{self.place}: access is denied ({one_line(error)}). Check the credentials in the environment, and"
                " that they may read, list, write and delete there."
            ) from None
        except NotImplementedError:
            raise _Unable(f"{self.place}: the store cannot do this.") from None
        except Exception as error:  # of botocore, aiohttp, or what another store uses
            if type(error).__name__ in NO_KEYS:
                raise UserError(
                    f"{self.place}: no credentials were found. Set them in the environment, as AWS_ACCESS_KEY_ID and"
                    " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
                ) from None
            raise _Unable(f"{self.place}: the store did not answer as expected ({one_line(error)}).") from None


class _Missing(Exception):
    """There is no such object."""


class _Unable(MachineError):
    """The store does not answer, or refuses what was asked."""


def together(do: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Do something for several items at a time; the first failure is raised once those at work have ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(do, items))


class ObjectClaims(Claims):
    """Claims in an object store: an object for each time that a claim changes hands, and the last one counts.

    `claims/NAME/000002.json` is created where there is none, so one process alone can follow on `000001`. From then on
    its holder alone writes it: as a sign of life, with its progress, and at the end as released. So nothing is ever
    taken away, and who wakes up late finds that it is not the last.
    """

    def __init__(self, objects: Objects):
        self._objects = objects
        self._own = dict[str, str]()
        self._notes = dict[str, list[Any]]()
        self._seen = dict[str, tuple[float, list[Any] | None]]()

    def owner(self, name: str) -> Owner | None:
        """Who holds a claim; None where nobody does."""
        return self._last(name)[1]

    def note(self, name: str, what: str, done: int, total: int, note: str) -> None:
        """Keep how far the holder of a claim is, until the next sign of life."""
        self._notes[name] = [what, done, total, note]

    def progress(self, name: str) -> tuple[str, int, int, str] | None:
        """What the holder of a claim wrote down last; the store is asked as often as that changes, or less."""
        at, noted = self._seen.get(name, (float("-inf"), None))
        if time.monotonic() - at > max(claims.BEAT, len(self._seen) / 5):
            with suppress(UntrueError):  # the store may not answer for a while
                noted = self._state(self._names(name)[-1:]).get("progress")
            self._seen[name] = time.monotonic(), noted
        with suppress(ValueError, TypeError):
            what, done, total, note = noted or ()
            return str(what), int(done), int(total), str(note)
        return None

    def _is_free(self, name: str) -> bool:
        return self.owner(name) is None

    def _create(self, name: str, owner: Owner) -> bool:
        return self._replace(name, None, owner)

    def _replace(self, name: str, lost: Owner | None, owner: Owner) -> bool:
        number, last = self._last(name)
        following = f"claims/{name}/{number + 1:06}.json"
        if last != lost or not self._objects.create(following, _state(owner)):
            return False
        self._own[name] = following
        self._notes.pop(name, None)
        return True

    def _release(self, name: str, owner: Owner) -> None:
        self._objects.write(self._own[name], _state(None))

    def _touch(self, name: str, owner: Owner) -> None:
        if self._names(name)[-1:] != [self._own[name]]:
            raise FileNotFoundError
        self._objects.write(self._own[name], _state(owner, self._notes.get(name)))

    def _age(self, name: str) -> float:
        """Seconds since the last sign of life, by the store's clock: what is new there tells the time."""
        probe = f"claims/.now-{uuid4().hex}"
        self._objects.write(probe, b"")
        try:
            now, then = self._objects.modified(probe), self._objects.modified(self._names(name)[-1])
        finally:
            self._objects.remove([probe])
        return (now - then).total_seconds() if now and then else 0.0

    def _names(self, name: str) -> list[str]:
        return [found for found in self._objects.names(f"claims/{name}") if _NUMBERED.search(found)]

    def _last(self, name: str) -> tuple[int, Owner | None]:
        """Number and owner of the last claim; 0 where there was none, no owner where it was released."""
        names = self._names(name)
        if not names:
            return 0, None
        owner = None
        with suppress(TypeError, KeyError):  # none, or a damaged one, which only a person can have made
            owner = Owner(**self._state(names[-1:])["owner"])
        return int(Path(names[-1]).stem), owner

    def _state(self, names: list[str]) -> dict[str, Any]:
        found: Any = None
        with suppress(ValueError):
            found = json.loads(self._objects.read(names[0]) or b"") if names else None
        return found if isinstance(found, dict) else {}


def _state(owner: Owner | None, progress: list[Any] | None = None) -> bytes:
    return json.dumps({"owner": vars(owner) if owner else None, "progress": progress}).encode()
