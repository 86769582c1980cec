"""Files as sources: finding them, opening them plain or gzipped, and reading them piece by piece."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from typing import IO, cast

from tightrope.base.errors import DataError, NotFoundError, SourceError
from tightrope.telemetry.options import Options
from tightrope.telemetry.questions import Tell

PIECE = 1 << 20
"""Bytes read at a time."""

NO_ROWS = "check path, or wait until there is data"
"""The remedy where files are there, but nothing is in them."""

_WRONG_FILE = "check path and type of the data source"
_GLOB = frozenset("*?[")
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"BZh": "compressed with bzip2: unpack it, or use gzip",
    b"\xfd7zXZ": "compressed with xz: unpack it, or use gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it, or use gzip",
    b"PAR1": "a parquet file: set the type of the data source to parquet",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}


def find(options: Options, folder: str, endings: Sequence[str]) -> list[Path]:
    """Find the files that ``path`` names: a file, a glob, a directory, or a list of these.

    Args:
        options: ``connectionDetails``.
        folder: Where relative paths start.
        endings: Which files of a directory are meant, such as ``.csv``; each also with ``.gz``.

    Returns:
        At least one file, in the order of the list, and by name within a glob or directory.

    Raises:
        NotFoundError: Nothing is there; names what is near.
    """
    paths = options.texts("path")
    if not paths:
        raise options.wrong("path is missing", "add path: with a file, a directory or a glob")
    found: list[Path] = []
    for text in paths:
        path = Path(folder) / text
        if _GLOB & set(text) and not path.exists():
            anchor = Path(path.anchor) if path.is_absolute() else Path()
            matches = sorted(match for match in anchor.glob(str(path.relative_to(anchor))) if match.is_file())
            if not matches:
                raise NotFoundError(f"no file matches {path}", remedy="check path in connectionDetails")
            found += matches
        elif path.is_dir():
            wanted = tuple(endings) + tuple(ending + ".gz" for ending in endings)
            inside = sorted(
                child for child in path.iterdir() if child.name.lower().endswith(wanted) and child.is_file()
            )
            if not inside:
                raise NotFoundError(
                    f"the directory {path} holds no file that ends in {' or '.join(wanted)}",
                    remedy="name the files in path, or use a glob such as logs/*.txt",
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise _missing(path)
    return found


def _missing(path: Path) -> NotFoundError:
    remedy = "check path in connectionDetails; it is relative to the spec file"
    if path.parent.is_dir():
        near = get_close_matches(path.name, [child.name for child in path.parent.iterdir()], n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]!r}? {remedy}" if near else remedy
    return NotFoundError(f"there is no file {path}", remedy=remedy)


class Pieces:
    """The bytes of one file, unpacked if it is gzip, read piece by piece; tells how far it is."""

    def __init__(self, path: Path, tell: Tell) -> None:
        self.path = path
        self._tell = tell

    def __iter__(self) -> Iterator[bytes]:
        """Hand out the bytes in pieces of `PIECE` bytes, the last one shorter.

        Raises:
            DataError: It is binary, of another encoding or archive, or a gzip file that is cut off.
            SourceError: It can't be read.
        """
        try:
            with ExitStack() as stack:
                raw = stack.enter_context(self.path.open("rb"))
                size = self.path.stat().st_size
                head = raw.read(6)
                raw.seek(0)
                _check_kind(self.path, head)
                packed = head.startswith(b"\x1f\x8b")
                stream: IO[bytes] = cast(IO[bytes], stack.enter_context(gzip.open(raw))) if packed else raw
                while piece := stream.read(PIECE):
                    if b"\0" in piece:
                        _check_kind(self.path, piece[:6])
                        raise DataError(f"{self.path} is not text: it holds NUL bytes", remedy=_WRONG_FILE)
                    self._tell(self.path.name, raw.tell(), size)
                    yield piece
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            what = f"{self.path} is a gzip file that is damaged or cut off ({error})"
            raise DataError(what, remedy="fetch it again") from None
        except OSError as error:
            what = f"{self.path} can't be read: {error.strerror or error}"
            raise SourceError(what, remedy="check the file's permissions") from None

    def lines(self) -> Iterator[list[bytes]]:
        """Hand out whole lines, a list for each piece, without their line ends."""
        for block in blocks(self):
            lines = block.split(b"\n")
            lines.pop()
            yield [line[:-1] if line.endswith(b"\r") else line for line in lines]


def blocks(pieces: Pieces) -> Iterator[bytes]:
    """Cut pieces at line ends: every block ends in a newline, one is added at the end of the file if need be."""
    rest = b""
    first = True
    for piece in pieces:
        if first and piece.startswith(b"\xef\xbb\xbf"):
            piece = piece[3:]
        first = False
        end = piece.rfind(b"\n") + 1
        if end == 0:
            rest += piece
            if len(rest) > 64 * PIECE:
                raise DataError(f"{pieces.path} has a line of more than {len(rest)} bytes", remedy=_WRONG_FILE)
            continue
        yield rest + piece[:end]
        rest = piece[end:]
    if rest:
        yield rest + b"\n"


def _check_kind(path: Path, head: bytes) -> None:
    for mark, what in _OTHER_KINDS.items():
        if head.startswith(mark):
            raise DataError(f"{path} is {what}")
