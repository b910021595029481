"""A run directory in an object store, and the local folder in which a process works on it.

A folder of the run directory, such as a cell's, is published whole: its files are uploaded under names that no other
attempt has, and then a marker is created, where there is none, that names each file with its size and hash. A reader
takes what the last marker names and nothing else. So an upload that was cut off is invisible, and a process that wakes
up late can replace nothing: its marker exists.

    study.yaml results.jsonl report.html …       as in a folder
    cells/severe-0.5-s1/000002.json              marker: the second time that this cell was published
    files/cells/severe-0.5-s1/000002-4f…/…       the files that were new in it
    attempts/cells/severe-0.5-s1/9a…/…           what whoever is at work has made so far, for who takes over
    claims/severe-0.5-s1/000003.json             who is at work on it
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple
from uuid import uuid4

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from untrue.errors import UntrueError, UserError
from untrue.files import NO_LOCKS, content_hash, member_name
from untrue.study import claims
from untrue.study.cell import Cell
from untrue.study.claims import Held
from untrue.study.objects import ObjectClaims, Objects, is_address, together
from untrue.study.store import Store

WEIGHTS = ".safetensors"
"""How files end that are large, and that only who trains or asks a cell needs."""


def open_store(out: str | Path) -> Store:
    """The run directory at a path, or at an address such as `s3://bucket/runs/domain`.

    Raises:
        UserError: There is no such store, or it refuses to be read.
        MachineError: It does not answer.
    """
    return Mirror(str(out)) if is_address(out) else Store(Path(out))


class File(NamedTuple):
    """A file of a marker: the object that holds it, its size in bytes, and its SHA-256."""

    object: str
    size: int
    sha256: str


class Marker(NamedTuple):
    """What a folder held when it was published for the nth time; 0 where it never was."""

    number: int
    files: Mapping[str, File]


NEVER = Marker(0, {})


class Mirror(Store):
    """The run directory at an address, and a local folder where this process, and no other, works on it."""

    def __init__(self, place: str):
        """Open it, with its study, where it has one.

        Raises:
            UserError: There is no such store, or it refuses to be read.
            MachineError: It does not answer.
        """
        self._objects = Objects(place)
        folder, self._lock = _own_folder(self._objects.place)
        super().__init__(folder, place=self._objects.place)
        self.address = self.place
        self._markers = dict[str, Marker]()
        self._hashes = dict[tuple[Path, int, int], str]()
        self.fetch_files(self.study)

    def with_folder(self, cell: Cell, folder: Path) -> Store:
        """The same run directory, with the folder of one cell elsewhere while it is made."""
        return Store(self.folder, {cell.name: folder}, f"{self.place}/attempts")

    def shown(self, path: Path) -> str:
        """What errors name as the place of a file or folder: of a file that is published, the object that holds it."""
        objects = {
            self.folder / name / file: about.object
            for name, marker in self._markers.items()
            for file, about in marker.files.items()
        }
        return f"{self.place}/{objects[path]}" if path in objects else super().shown(path)

    def check(self) -> None:
        """Refuse a store in which no step could be claimed."""
        self._objects.check()

    def locked(self) -> AbstractContextManager[None]:
        """Hold the local folder, which this process does anyway. In the store each step is claimed by itself."""
        return nullcontext()

    def claims(self) -> ObjectClaims:
        """Who is at work on what."""
        return ObjectClaims(self._objects)

    def fetch(self, folders: Iterable[Path], weights: bool = False) -> None:
        """Make folders what the store holds of them; without `weights`, adapters are left out.

        Raises:
            UserError: The store holds something damaged.
            MachineError: It does not answer.
        """
        by_name = {self._name(folder): folder for folder in folders}
        if weights:
            self._drop_weights(by_name.values())
        self._markers |= self._last_markers(by_name)
        missing = list[tuple[str, Path, File]]()
        for name, folder in by_name.items():
            kept, files = self._kept(name), self._markers[name].files
            for other in kept.parent.glob("*"):  # of what has been published or removed since: never to be taken up
                if other != kept:
                    shutil.rmtree(other, ignore_errors=True)
            for path in _paths(folder):
                if path not in files:
                    (folder / path).unlink()
            if not files:
                shutil.rmtree(folder, ignore_errors=True)
            for path, file in files.items():
                if (weights or not path.endswith(WEIGHTS)) and self._hash(folder / path) != file.sha256:
                    missing.append((name, folder / path, file))
        together(lambda one: self._download(*one), missing)

    def fetch_files(self, *paths: Path) -> None:
        """Make files that lie in the run directory itself what the store holds of them."""
        for path in paths:
            path.unlink(missing_ok=True)
            if (data := self._objects.read(path.name)) is not None:
                path.write_bytes(data)

    def keep(self, folder: Path, made: Path | None = None) -> None:
        """Keep what is finished for the next run on this machine: the store may not answer, or this process be killed.

        Args:
            folder: Its place in the run directory.
            made: Where it is, if elsewhere.
        """
        name, made = self._name(folder), made or folder
        kept, published = self._kept(name), self._published(name).files
        aside = self.folder / ".kept"  # where no other process writes or removes anything
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # such as a full disk: then what was kept before stays
            for path in _shown_paths(made):
                if path not in published or self._hash(made / path) != published[path].sha256:
                    (aside / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(made / path, aside / path)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            aside.rename(kept)
        shutil.rmtree(aside, ignore_errors=True)

    def publish(self, folder: Path, made: Path | None = None) -> None:
        """Publish a folder, unless nothing in it is new.

        Args:
            folder: Its place in the run directory.
            made: Where it is, if elsewhere.

        Raises:
            Held: Someone else has published it since it was fetched.
            UserError: The store refuses it.
            MachineError: It does not answer.
        """
        name, made = self._name(folder), made or folder
        before, kept = self._published(name), self._kept(name)
        new = f"files/{name}/{before.number + 1:06}-{uuid4().hex[:12]}"
        shown = {path: made / path for path in _shown_paths(made)}
        left_out = {path: file for path, file in before.files.items() if path.endswith(WEIGHTS) and path not in shown}
        marker = Marker(before.number + 1, left_out | self._upload(shown, new, before.files))
        if marker.files == before.files:
            return
        if not self._objects.create(f"{name}/{marker.number:06}.json", _written(marker)):
            self._objects.remove(file.object for file in marker.files.values() if file.object.startswith(new))
            raise Held(f"{folder.name}: was made by another process meanwhile. Rerun the command.")
        self._markers[name] = marker
        shutil.rmtree(kept.parent, ignore_errors=True)
        self._objects.remove(self._objects.names(f"attempts/{name}"))

    def publish_files(self, *paths: Path) -> None:
        """Upload files that lie in the run directory itself, such as the report, if they are there."""
        together(lambda path: self._objects.upload(path, path.name), [path for path in paths if path.is_file()])

    def resume(self, folder: Path, into: Path) -> None:
        """Add what an attempt at a folder that was lost had saved since the folder was published last, or what this
        machine had finished and could not publish, which stays kept until it is published.

        Args:
            folder: Its place in the run directory.
            into: Where to add it.
        """
        name, aside = self._name(folder), self.folder / ".resumed"
        for left in folder.parent.glob(".*"):  # of a process that was killed and had this local folder
            shutil.rmtree(left, ignore_errors=True)
        self._drop_weights([folder])
        kept = self._kept(name)
        if kept.is_dir():
            shutil.copytree(kept, into, dirs_exist_ok=True)
            return
        marks = re.compile(rf"attempts/{re.escape(name)}/[^/]+/marker\.json")
        saved = [found for found in self._objects.names(f"attempts/{name}") if marks.fullmatch(found)]
        for found in sorted(saved, key=lambda found: str(self._objects.modified(found)), reverse=True):
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(UserError):  # it went on or ended meanwhile: then an older one, or none
                marker = _read(self._objects.read(found), f"{self.place}/{found}")
                if marker.number == self._published(name).number:
                    together(lambda item: self._download(name, aside / item[0], item[1]), marker.files.items())
                    shutil.copytree(aside, into, copy_function=shutil.move, dirs_exist_ok=True)
                    break
        shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def saving(self, folder: Path, made: Path) -> Iterator[None]:
        """Save what is not published of a folder while it is made, for who takes over if this process is lost.

        Args:
            folder: Its place in the run directory.
            made: Where it is made.
        """
        attempt, done = _Attempt(self, self._name(folder), made), threading.Event()

        def save() -> None:
            while not done.wait(claims.BEAT):
                attempt.save()

        def stop() -> None:
            done.set()
            thread.join()

        thread = threading.Thread(target=save, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            stop()
            attempt.save()
            raise
        stop()

    def close(self) -> None:
        """Let another process have the local folder."""
        if self._lock:
            self._lock.release()

    def write_study(self, text: str, command: str) -> None:
        """Record the study, here and in the store."""
        super().write_study(text, command)
        self.publish_files(self.study)

    def _name(self, folder: Path) -> str:
        return folder.relative_to(self.folder).as_posix()

    def _kept(self, name: str) -> Path:
        """Where `keep` puts what was made of a folder since it was published last; all processes here look there."""
        return self.folder.parent / "finished" / name / content_hash(_written(self._published(name)).decode())

    def _published(self, name: str) -> Marker:
        return self._markers.get(name, NEVER)

    def _last_markers(self, names: Iterable[str]) -> dict[str, Marker]:
        """The last marker of each of several folders; those that are known are not read again."""
        names = list(names)
        above = names if len(names) == 1 else {name.rpartition("/")[0] for name in names}
        last = {found.rpartition("/")[0]: found for all_of in together(self._objects.names, above) for found in all_of}

        def read(name: str) -> tuple[str, Marker]:
            found, known = last.get(name), self._published(name)
            if found is None:
                return name, NEVER
            if Path(found).stem == f"{known.number:06}":
                return name, known
            return name, _read(self._objects.read(found), f"{self.place}/{found}")

        return dict(together(read, names))

    def _upload(self, files: Mapping[str, Path], under: str, before: Mapping[str, File]) -> dict[str, File]:
        """Upload files, by their paths in a folder, but for those that are as before; where each now is."""

        def upload(path: str, file: Path) -> tuple[str, File]:
            sha256, known = self._hash(file) or "", before.get(path)
            if known and known.sha256 == sha256:
                return path, known
            new = File(f"{under}/{path}", file.stat().st_size, sha256)
            self._objects.upload(file, new.object)
            return path, new

        return dict(together(lambda item: upload(*item), files.items()))

    def _download(self, name: str, path: Path, file: File) -> None:
        """Make a file of an object.

        Raises:
            UserError: It is missing, or is not what its marker says.
        """
        if self._objects.download(file.object, path) and self._hash(path) == file.sha256:
            return
        path.unlink(missing_ok=True)
        raise UserError(
            f"{self.place}/{file.object}: is missing, or not what was published. Remove all objects below"
            f" {self.place}/{name}/ and run again, which makes it anew."
        )

    def _hash(self, path: Path) -> str | None:
        """The SHA-256 of a file; None where there is none."""
        if not path.is_file():
            return None
        about = path.stat()
        key = path, about.st_size, about.st_mtime_ns
        if key not in self._hashes:
            with path.open("rb") as file:
                self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[key]

    def _drop_weights(self, others: Iterable[Path]) -> None:
        """Make room: adapters of cells that are not at work are in the store."""
        kept = set(others)
        for path in self.folder.glob(f"cells/*/**/*{WEIGHTS}"):
            if not kept.intersection(path.parents):
                path.unlink()


class _Attempt:
    """What a process has saved of a folder that it makes. Only it writes there."""

    def __init__(self, mirror: Mirror, name: str, made: Path):
        self._mirror, self._name, self._made = mirror, name, made
        self._place = f"attempts/{name}/{uuid4().hex}"
        self._state: tuple[int, dict[str, tuple[int, int]]] = (0, {})
        self._files = dict[str, File]()

    def save(self) -> None:
        """Save what is new since the last time. It may fail without harm, and the next time tries again."""
        with suppress(OSError, UntrueError):
            self._save()

    def _save(self) -> None:
        from untrue.training.run import is_whole

        mirror, published = self._mirror, self._mirror._published(self._name)
        state = dict[str, tuple[int, int]]()
        for path in _paths(self._made):
            checkpoints = [folder for folder in (self._made / path).parents if folder.name.startswith("checkpoint-")]
            if path not in published.files and ".part/" not in path and all(map(is_whole, checkpoints)):
                about = (self._made / path).stat()
                state[path] = about.st_size, about.st_mtime_ns
        if not state or (published.number, state) == self._state:
            return
        same = self._state[1].items() & state.items() if self._state[0] == published.number else set()
        kept = {path: self._files[path] for path, _ in same}
        aside = mirror.folder / ".saving"  # a copy, since the trainer removes its old checkpoint when it has a new one
        shutil.rmtree(aside, ignore_errors=True)
        for path in state.keys() - kept.keys():
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._made / path, aside / path)
        new = {path: aside / path for path in state.keys() - kept.keys()}
        files = kept | mirror._upload(new, f"{self._place}/{uuid4().hex[:12]}", {})
        shutil.rmtree(aside, ignore_errors=True)
        mirror._objects.write(f"{self._place}/marker.json", _written(Marker(published.number, files)))
        named = {file.object for file in files.values()}
        mirror._objects.remove(file.object for file in self._files.values() if file.object not in named)
        self._state, self._files = (published.number, state), files


def _own_folder(place: str) -> tuple[Path, FileLock | None]:
    """A local folder that no other process has, with its lock; that of a process that ended is taken over."""
    above = user_cache_path("untrue") / "runs" / content_hash(place)
    above.mkdir(parents=True, exist_ok=True)
    for number in count():
        lock = FileLock(above / f"{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            return Path(mkdtemp(dir=above)), None
        (above / str(number)).mkdir(exist_ok=True)
        return above / str(number), lock
    raise AssertionError


def _paths(folder: Path) -> list[str]:
    """All files of a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _shown_paths(folder: Path) -> list[str]:
    """The files of a folder that are published: all but hidden ones."""
    return [path for path in _paths(folder) if not path.startswith(".") and "/." not in path]


def _written(marker: Marker) -> bytes:
    files = {path: file._asdict() for path, file in sorted(marker.files.items())}
    return json.dumps({"number": marker.number, "files": files}, indent=1).encode()


def _read(data: bytes | None, place: str) -> Marker:
    """A marker, whose paths lead nowhere but down.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        found = json.loads(data or b"")
        files = {member_name(path): File(**file) for path, file in found["files"].items()}
        return Marker(int(found["number"]), files)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{place}: is missing or damaged. Remove it and run again.") from None
