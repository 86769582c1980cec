"""The door to the files of pipelines: workspaces, caches and artifacts, below one folder of this machine.

Caches and artifacts are kept by the sha256 of their content, written beside and moved into place, so that a crash
leaves a file that nobody asks for, and never half of one. Each kind has a size that it may grow to; the longest unused
go first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tarfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tightrope.base.errors import DataError, NotFoundError, UsageError
from tightrope.base.values import dataclass
from tightrope.delivery.pipelines.globs import fits_any

MEBIBYTE = 1 << 20
CACHES_BYTES = 4096 * MEBIBYTE
ARTIFACTS_BYTES = 8192 * MEBIBYTE
ARTIFACTS_OF_STEP_BYTES = 2048 * MEBIBYTE
MOST_ARTIFACTS = 2000

_CHUNK = 1 << 20
_UNFIT = re.compile(r"[^A-Za-z0-9.]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a run left behind: its path in the workspace, bytes, and hex sha256."""

    path: str
    size: int
    digest: str


class Shelves:
    """Workspaces, caches and artifacts.

    Args:
        folder: Where they are; made where it is not there.
        caches_bytes, artifacts_bytes: How large they may grow.
    """

    def __init__(
        self, folder: Path, *, caches_bytes: int = CACHES_BYTES, artifacts_bytes: int = ARTIFACTS_BYTES
    ) -> None:
        self.folder = folder.absolute()
        self._caches_bytes = caches_bytes
        self._artifacts_bytes = artifacts_bytes
        self._lock = threading.Lock()

    # --- workspaces

    def room(self, run: str) -> Path:
        """The folder of a run, with its workspaces."""
        path = self.folder / "workspaces" / run
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def workspace(self, run: str, name: str, main: str) -> Path:
        """A workspace of a run: *main* is what was checked out, any other a copy of it as it is when first asked for.

        Raises:
            NotFoundError: Nothing is checked out on this machine.
        """
        room = self.folder / "workspaces" / run
        origin = room / main
        if not origin.is_dir():
            raise NotFoundError("the workspace of this run is not on this machine", remedy="retry the step `checkout`")
        if name == main:
            return origin
        path = room / f"{_UNFIT.sub('-', name).strip('-')[:60]}-{_short(name)}"
        with self._lock:
            if not path.is_dir():
                half = room / f".{uuid.uuid4().hex}"
                shutil.copytree(origin, half, symlinks=True)
                half.rename(path)
        return path

    def has(self, run: str, main: str) -> bool:
        """Whether what was checked out for a run is on this machine."""
        return (self.folder / "workspaces" / run / main).is_dir()

    def tidy(self, keep: Iterable[str]) -> int:
        """Remove the workspaces of all runs but some; how many there were."""
        there, kept, gone = self.folder / "workspaces", set(keep), 0
        for path in there.iterdir() if there.is_dir() else ():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
                gone += 1
        return gone

    def mark(self, run: str, key: str, document: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Note something about an attempt of a step beside its workspace; without *document*, read the note."""
        path = self.room(run) / f"note-{_short(key)}.json"
        if document is not None:
            _put(path, json.dumps(document).encode())
            return document
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    # --- caches

    def cache_key(self, workspace: Path, names: Sequence[str], salt: Sequence[str]) -> str:
        """Name a cache by what is in some files, given as globs, and by *salt*; what is not there counts, too."""
        digest = hashlib.sha256()
        for part in salt:
            digest.update(part.encode() + b"\0")
        for name in names:
            files = sorted(_matching(workspace, [name]))
            digest.update(f"{name}\0{len(files)}\0".encode())
            for file in files:
                content = hashlib.sha256((workspace / file).read_bytes()).hexdigest()
                digest.update(f"{file}\0{content}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def restore(self, key: str, workspace: Path) -> bool:
        """Bring what is kept under a key into a workspace; whether there was anything whole."""
        index = self.folder / "caches" / f"{key}.json"
        try:
            digest = str(json.loads(index.read_bytes())["digest"])
            packed = self._object("caches", digest)
            if _digest_of(packed) != digest:
                raise ValueError("damaged")
            with tarfile.open(packed) as archive:
                archive.extractall(workspace, filter="data")
        except (OSError, ValueError, KeyError, TypeError, tarfile.TarError):
            with contextlib.suppress(OSError):
                index.unlink()
            return False
        for path in (index, packed):
            with contextlib.suppress(OSError):
                os.utime(path)
        return True

    def keep(self, key: str, workspace: Path, paths: Sequence[str]) -> int | None:
        """Keep paths of a workspace under a key; returns the bytes, or None where there was nothing or too much.

        Raises:
            DataError: They cannot be written.
        """
        there = [path for path in paths if (workspace / path).exists()]
        if not there:
            return None
        half = self._half("caches")
        try:
            with tarfile.open(half, "w") as archive:
                for path in there:
                    archive.add(workspace / path, arcname=path, filter=_harmless)
            size = half.stat().st_size
            if size > self._caches_bytes:
                return None
            digest = _digest_of(half)
            half.replace(self._object("caches", digest))
            _put(self.folder / "caches" / f"{key}.json", json.dumps({"digest": digest, "size": size}).encode())
            self._bound("caches", self._caches_bytes, {digest})
            return size
        except OSError as error:
            raise DataError(f"the cache cannot be kept: {error.strerror}") from None
        finally:
            half.unlink(missing_ok=True)

    # --- artifacts

    def gather(self, workspace: Path, globs: Sequence[str]) -> list[Artifact]:
        """Keep all files of a workspace that fit, sorted by path. Links that lead out of it are left alone.

        Raises:
            UsageError: Nothing fits, or too much. DataError: They cannot be written.
        """
        names = sorted(_matching(workspace, globs))
        if not names:
            raise UsageError(
                f"no file fits {', '.join(globs)}", remedy="the paths of artifacts begin at tightrope.yaml"
            )
        if len(names) > MOST_ARTIFACTS:
            raise UsageError(f"{len(names)} files fit {', '.join(globs)}", remedy="pack them into one archive")
        found, size = [], 0
        try:
            for name in names:
                size += (workspace / name).stat().st_size
                if size > ARTIFACTS_OF_STEP_BYTES:
                    raise UsageError(
                        f"the artifacts have more than {ARTIFACTS_OF_STEP_BYTES // MEBIBYTE} MiB", remedy="keep less"
                    )
                found.append(self._kept(workspace / name, name))
            self._bound("artifacts", self._artifacts_bytes, {one.digest for one in found})
        except OSError as error:
            raise DataError(f"the artifacts cannot be kept: {error.strerror}") from None
        return found

    def artifact(self, digest: str) -> Path:
        """The file of an artifact; raises `NotFoundError` where it is not kept any more."""
        path = self._object("artifacts", digest) if _DIGEST.fullmatch(digest) else None
        if path is None or not path.is_file():
            raise NotFoundError(f"there is no artifact with the digest {digest[:80]!r}")
        return path

    def _kept(self, file: Path, name: str) -> Artifact:
        half = self._half("artifacts")
        digest, size = hashlib.sha256(), 0
        try:
            with file.open("rb") as source, half.open("wb") as target:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
                    size += len(chunk)
                target.flush()
                os.fsync(target.fileno())
            kept = self._object("artifacts", digest.hexdigest())
            half.replace(kept)
        finally:
            half.unlink(missing_ok=True)
        return Artifact(name, size, digest.hexdigest())

    # --- schedules

    def known_since(self, key: str, now: int) -> int:
        """After which instant something is to happen: when it happened last, or else when it was first asked about."""
        path = self._known(key)
        try:
            return int(json.loads(path.read_bytes())["since"])
        except (OSError, ValueError, KeyError, TypeError):
            self.happened(key, now)
            return now

    def happened(self, key: str, at: int) -> None:
        """Note that it happened."""
        path = self._known(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _put(path, json.dumps({"since": at, "what": key}).encode())

    def _known(self, key: str) -> Path:
        return self.folder / "known" / f"{_short(key)}.json"

    # --- objects

    def _object(self, kind: str, digest: str) -> Path:
        path = self.folder / kind / digest[:2] / digest
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def _half(self, kind: str) -> Path:
        folder = self.folder / kind
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / f".{uuid.uuid4().hex}"

    def _bound(self, kind: str, most: int, keep: set[str]) -> None:
        """Let go of the longest unused until the rest is small enough."""
        files = []
        for path in (self.folder / kind).glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        size = sum(one[1] for one in files)
        for _, bytes_, path in sorted(files):
            if size <= most:
                return
            if path.name not in keep:
                path.unlink(missing_ok=True)
                size -= bytes_


def _matching(workspace: Path, globs: Sequence[str]) -> Iterator[str]:
    """Regular files below a workspace that fit a glob, or are below a folder that does; links are not followed."""
    wanted = [*globs, *(f"{glob.rstrip('/')}/**" for glob in globs)]
    for folder, folders, names in os.walk(workspace):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode) and fits_any(wanted, told := str(path.relative_to(workspace))):
                    yield told


def _harmless(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out of a cache what could not be brought back: devices and pipes."""
    return member if member.isfile() or member.isdir() or member.issym() or member.islnk() else None


def _digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _put(path: Path, content: bytes) -> None:
    half = path.with_name(f".{uuid.uuid4().hex}")
    with half.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
