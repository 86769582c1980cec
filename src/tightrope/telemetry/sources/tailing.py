"""Logs that grow: what was added since the last look, through rotation, truncation and compression."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from tightrope.base.errors import DataError, NotFoundError, SourceError, UsageError
from tightrope.base.values import dataclass, field
from tightrope.sli.slices import MILLIONTH
from tightrope.specs.model import DataSource
from tightrope.telemetry.counting import Touched
from tightrope.telemetry.plan import Request, Share, plan
from tightrope.telemetry.questions import Answer, Ask, Role
from tightrope.telemetry.reading import Quality
from tightrope.telemetry.sources.access_log import AccessLogs
from tightrope.telemetry.tally import MOST_SLICES, RowAsk, columns_of, tally_rows

LOOKBACK_S = 7200
"""For how long sums are kept once a log has been read to its end, so that lines may come late."""

PIECE = 4 << 20
"""Bytes that are read, counted and remembered at a time."""

_HEAD = 1024  # bytes by which the content of a file is known again under another name
_MOST_FILES = 200
_FORMAT = 1


# --- files -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    """How far a file was read; a file is its content, whatever its name and place on the disk become.

    Attributes:
        name: The path under which it was seen last.
        place: Device and inode; of a file that is gone, those it had.
        head: Its first bytes, at most `_HEAD`.
        offset: Bytes of it, unpacked, that were read.
        lines: Lines that were read.
        size: Bytes on the disk at the last look.
    """

    name: str
    place: tuple[int, int]
    head: bytes = b""
    offset: int = 0
    lines: int = 0
    size: int = -1


@dataclass(frozen=True, slots=True)
class _Seen:
    path: Path
    place: tuple[int, int]
    size: int
    modified: int
    packed: bool


@dataclass(frozen=True, slots=True)
class NewLines:
    """Whole lines that were added to a file; the first of them is line *first*. Read again until they are `passed`."""

    file: str
    first: int
    lines: list[bytes]
    of: _File
    end: int

    def passed(self) -> None:
        """Remember that the lines were used."""
        self.of.offset = self.end
        self.of.lines += len(self.lines)


class Follower:
    """Hands out every line of some files, once it is told that the line was used.

    A file is known again by its inode as long as its beginning stays the same. After rotation by renaming it is read on
    under its new name; after ``copytruncate``, compression or a copy that took its place, what was not yet read is read
    from the copy. A last line without its end is waited for, until the file was rotated away and rests.
    """

    def __init__(self) -> None:
        self._files: list[_File] = []

    def added(self, paths: Sequence[Path]) -> Iterator[NewLines]:
        """Read what was added to the files since the last time, at most `PIECE` bytes at a time.

        Raises:
            SourceError: A file can't be read.
        """
        seen = [one for path in paths for one in _look(path) if not _being_packed(one)]
        for found, file, wanted in self._assigned(seen, paths):
            resting = found.packed or (file.size == found.size and _rotated(found, seen))
            if found.packed and file.size == found.size:
                continue
            if wanted or file.offset:
                yield from _read(found, file, resting=resting)
            file.size = found.size
        gone = [file for file in self._files if file.place not in {one.place for one in seen}]
        for file in gone[: max(0, len(self._files) - _MOST_FILES)]:
            self._files.remove(file)

    def _assigned(self, seen: Sequence[_Seen], paths: Sequence[Path]) -> list[tuple[_Seen, _File, bool]]:
        """Find what is known of each file: first by its inode, then by its beginning."""
        siblings = [one for one in _siblings(paths) if one.place not in {other.place for other in seen}]
        everything = [(one, True) for one in seen] + [(one, False) for one in siblings]
        heads = {one.place: _head(one) for one, _ in everything}
        free = list(self._files)
        known: dict[tuple[int, int], _File] = {}
        for one, _ in everything:
            match = next((file for file in free if file.place == one.place), None)
            if match is not None and _continues(one, heads[one.place], match):
                known[one.place] = match
                free.remove(match)
        # A rotated copy goes before the file that has the old name and may have begun anew.
        names = {str(path) for path in paths}
        for one, _ in sorted(everything, key=lambda pair: (not pair[0].packed, str(pair[0].path) in names)):
            if one.place in known:
                continue
            match = next((file for file in free if file.head and _continues(one, heads[one.place], file)), None)
            if match is not None:
                known[one.place] = match
                free.remove(match)
                match.size = -1
        assigned = []
        for one, wanted in everything:
            file = known.get(one.place)
            if file is None:
                if not wanted:
                    continue
                file = _File(str(one.path), one.place)
                # Another file had this inode, or this one its content: what is known of that is of a file that is gone.
                for other in self._files:
                    if other.place == one.place:
                        other.place = (-1, -1)
                self._files.append(file)
            file.name, file.place = str(one.path), one.place
            if len(file.head) < _HEAD:
                file.head = heads[one.place]
            assigned.append((one, file, wanted))
        return assigned

    def state(self) -> list[dict[str, Any]]:
        """Write down how far each file was read."""
        return [{**asdict(file), "head": base64.b64encode(file.head).decode()} for file in self._files]

    def restore(self, state: Sequence[dict[str, Any]]) -> None:
        """Go on where `state` was written down."""
        self._files = [
            _File(
                str(one["name"]),
                (int(one["place"][0]), int(one["place"][1])),
                base64.b64decode(one["head"]),
                int(one["offset"]),
                int(one["lines"]),
                int(one["size"]),
            )
            for one in state
        ]


def _look(path: Path) -> list[_Seen]:
    try:
        stat = path.stat()
    except OSError:
        return []  # it was rotated away between two looks, and is found under its new name at the next
    packed = path.name.endswith(".gz")
    return [_Seen(path, (stat.st_dev, stat.st_ino), stat.st_size, stat.st_mtime_ns, packed)]


def _rotated(found: _Seen, seen: Sequence[_Seen]) -> bool:
    """Whether a newer file has the name that this one's was made of, as ``access.log`` has for ``access.log.1``."""
    return any(
        found.path.name != one.path.name
        and found.path.name.startswith(one.path.name)
        and found.path.parent == one.path.parent
        and found.modified <= one.modified
        for one in seen
    )


def _being_packed(found: _Seen) -> bool:
    """Whether what was packed is still there, as long as gzip is at work."""
    return found.packed and found.path.with_suffix("").exists()


def _siblings(paths: Sequence[Path]) -> list[_Seen]:
    """Files beside that a rotation may have made of one: ``access.log.1``, ``access.log-20260101.gz``."""
    found: dict[tuple[int, int], _Seen] = {}
    for path in paths:
        if path.parent.is_dir() and not path.name.endswith(".gz"):
            for child in sorted(path.parent.glob(f"{_literal(path.name)}[.-]*")):
                found |= {one.place: one for one in _look(child) if child.is_file() and not _being_packed(one)}
    return list(found.values())


def _literal(name: str) -> str:
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in name)


def _opened(found: _Seen) -> IO[bytes]:
    raw = found.path.open("rb")
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if found.packed else raw


def _head(found: _Seen) -> bytes:
    try:
        with found.path.open("rb") as raw:
            stream = gzip.GzipFile(fileobj=raw) if found.packed else raw
            return stream.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return b""


def _continues(found: _Seen, head: bytes, file: _File) -> bool:
    """Whether a file on the disk begins like one that is known, and is no shorter than what was read of it."""
    if head[: len(file.head)] != file.head:
        return False
    return found.packed or found.size >= file.offset


def _read(found: _Seen, file: _File, *, resting: bool) -> Iterator[NewLines]:
    try:
        with found.path.open("rb") as raw:
            if found.packed:
                stream: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
                stream.seek(min(file.offset, 1 << 62))
            else:
                if raw.seek(0, 2) < file.offset:
                    return  # truncated since it was looked at
                stream = raw
                stream.seek(file.offset)
            rest = b""
            offset = file.offset
            while True:
                piece = stream.read(PIECE)
                block = rest + piece
                end = len(block) if not piece and resting else block.rfind(b"\n") + 1
                lines = block[:end].removesuffix(b"\n").split(b"\n") if end else []
                rest = block[end:]
                if lines:
                    offset += end
                    cut = [line.removesuffix(b"\r") for line in lines]
                    yield NewLines(found.path.name, file.lines + 1, cut, file, offset)
                if not piece:
                    return
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return  # it is still being compressed; what is missing comes at the next look
    except FileNotFoundError:
        return
    except OSError as error:
        raise SourceError(
            f"{found.path} can't be read: {error.strerror or error}", remedy="check the file's permissions"
        ) from None


# --- slices ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sums:
    """What was summed for one ask: by slice, amount and points of each question."""

    first: int | None = None
    last: int = 0
    slots: dict[int, list[int]] = field(default_factory=dict)
    spoilt: set[int] = field(default_factory=set)


@dataclass(slots=True)
class TailAccount:
    """What became of the lines: all, those that are no request, requests too old for sums that are still kept, and
    requests of a time that is still to come.
    """

    lines: int = 0
    bad_lines: int = 0
    too_late: int = 0
    ahead: int = 0


class Tailing:
    """The slices of the objectives on one growing access log. From its first line to its last no slice is a gap.

    Args:
        source: The data source, of type ``access-log``.
        wanted: The objectives, each with the number that its slices are handed out by.

    Raises:
        UsageError: A setting or metric is wrong, or an objective takes its parts from several sources.
    """

    def __init__(self, source: DataSource, wanted: Sequence[tuple[int, Request]]) -> None:
        self.account = TailAccount()
        self._log = AccessLogs(source)
        work = plan([request for _, request in wanted])
        if len(work.jobs) > 1:
            raise UsageError(
                f"{source.place}: data source {source.name!r} is followed alone",
                remedy="take all parts of an indicator from one access log",
            )
        asks: tuple[Ask, ...] = work.jobs[0].asks if work.jobs else ()
        self._asks = [self._log.compiled(ask) for ask in asks]
        self._columns = columns_of(self._asks)
        self._names = [ask_name(ask) for ask in self._asks]
        self._tracks: list[list[tuple[int, Request]]] = [[] for _ in asks]
        shares: tuple[tuple[Share, ...], ...] = work.shares
        self._steps: dict[int, int] = {}
        for (number, request), (share,) in zip(wanted, shares, strict=True):
            self._tracks[share.ask].append((number, request))
            self._steps[number] = self._asks[share.ask].grain_s
        self._sums = [_Sums() for _ in asks]
        self._touched: list[set[int]] = [set() for _ in asks]
        self._follower = Follower()
        self._caught_up = False

    def step_of(self, number: int) -> int:
        """Length of the slices of an objective, seconds."""
        return self._steps[number]

    def quality(self) -> Quality:
        """What the lines were like, since the log is followed."""
        account = self.account
        notes = []
        if account.ahead:
            notes.append(f"{account.ahead:,} requests are of a time that is still to come, and left out")
        if account.too_late:
            notes.append(f"{account.too_late:,} requests came more than {LOOKBACK_S // 3600} h late, and are left out")
        return Quality(account.lines, account.bad_lines + account.ahead, notes=tuple(notes))

    def poll(self, until: int | None = None) -> Iterator[None]:
        """Read on to the end, step by step; after each step slices can be drained and a snapshot taken.

        Args:
            until: Requests of this instant and later, UTC epoch seconds, are not believed; None: all are.

        Raises:
            SourceError: A file can't be read. DataError: Times with and without a zone, or too long a record.
        """
        try:
            paths = self._log.files()
        except NotFoundError:
            paths = self._log.literal_paths()
        for new in self._follower.added(paths):
            batch = self._log.batch(new.file, new.first, new.lines, self._columns)
            believed = batch.before(until)
            answers = tally_rows([believed], self._asks, None, whole=False)
            self.account.ahead += len(batch) - len(believed)
            self.account.lines += len(batch) + len(batch.bad)
            self.account.bad_lines += len(batch.bad)
            for number, answer in enumerate(answers):
                self._add(number, answer)
            new.passed()
            yield
        self._caught_up = True
        self._prune()

    def drain(self) -> Touched:
        """Hand out the present figures of every slice that changed since the last time."""
        rows: list[tuple[int, int, int, int, bool]] = []
        for number, slots in enumerate(self._touched):
            ordered = sorted(slots)
            for track, request in self._tracks[number]:
                rows += [(track, slot, *self._figures(number, request, slot)) for slot in ordered]
        self._touched = [set() for _ in self._touched]
        columns = list(zip(*rows, strict=True)) if rows else [()] * 5
        tracks, slots_of, bad, total = (np.array(column, np.int64) for column in columns[:4])
        return Touched(tracks, slots_of, bad, total, np.array(columns[4], np.bool_))

    def _add(self, number: int, answer: Answer) -> None:
        sums, touched = self._sums[number], self._touched[number]
        if answer.alive is None:
            return
        oldest = self._oldest(number)
        first, last = answer.alive
        if sums.first is None:
            touched.update(_stretch(first, last))
            sums.first, sums.last = first, last
        else:
            if last > sums.last:
                touched.update(_stretch(sums.last + 1, last))
                sums.last = last
            if first < sums.first and not self._caught_up:
                touched.update(_stretch(first, sums.first - 1))
                sums.first = first
        for place, tally in enumerate(answer.tallies):
            for at in np.flatnonzero(tally.points).tolist():
                slot = tally.first + at
                if slot < oldest:
                    self.account.too_late += int(tally.points[at])
                    continue
                row = sums.slots.setdefault(slot, [0] * (2 * len(answer.tallies)))
                row[2 * place] += int(tally.amounts[at])
                row[2 * place + 1] += int(tally.points[at])
                touched.add(slot)
        spoilt = {slot for slot in answer.spoilt if slot >= oldest}
        sums.spoilt |= spoilt
        touched |= spoilt

    def _oldest(self, number: int) -> int:
        """The oldest slice whose sums are kept."""
        sums = self._sums[number]
        if not self._caught_up or sums.first is None:
            return -(2**62)
        return sums.last - LOOKBACK_S // self._asks[number].grain_s

    def _prune(self) -> None:
        for number, sums in enumerate(self._sums):
            oldest = self._oldest(number)
            sums.slots = {slot: row for slot, row in sums.slots.items() if slot >= oldest}
            sums.spoilt = {slot for slot in sums.spoilt if slot >= oldest}

    def _figures(self, number: int, request: Request, slot: int) -> tuple[int, int, bool]:
        """Bad and total of a slice of an objective, and whether it was measured."""
        sums = self._sums[number]
        roles = [question.role for question in self._asks[number].questions]
        row = sums.slots.get(slot, [0] * (2 * len(roles)))
        if slot in sums.spoilt:
            return 0, 0, False
        amounts = dict(zip(roles, row[::2], strict=True))
        points = dict(zip(roles, row[1::2], strict=True))
        if Role.VALUE in amounts:
            return points[Role.VALUE] - amounts[Role.VALUE], points[Role.VALUE], True
        if Role.RAW in amounts:
            total = points[Role.RAW] * MILLIONTH
            failure = getattr(request.indicator.metric, "raw_type", None) == "failure"
            return amounts[Role.RAW] if failure else total - amounts[Role.RAW], total, True
        total = amounts[Role.TOTAL]
        part = amounts[Role.BAD] if Role.BAD in amounts else total - amounts[Role.GOOD]
        return (part, total, True) if 0 <= part <= total else (0, 0, False)

    # --- remembering -------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Write down how far the log was read, and the sums that are kept."""
        kept = {
            name: {
                "first": sums.first,
                "last": sums.last,
                "slots": sorted([slot, *row] for slot, row in sums.slots.items()),
                "spoilt": sorted(sums.spoilt),
                "touched": sorted(touched),
            }
            for name, sums, touched in zip(self._names, self._sums, self._touched, strict=True)
        }
        content = {
            "format": _FORMAT,
            "files": self._follower.state(),
            "caught_up": self._caught_up,
            "account": asdict(self.account),
            "sums": kept,
        }
        return zlib.compress(json.dumps(content).encode(), 1)

    def restore(self, blob: bytes) -> bool:
        """Go on where a snapshot was taken.

        Returns:
            False where it was taken for other metrics: then nothing is taken over, and the log is read from its start.

        Raises:
            DataError: It is no snapshot of this version.
        """
        try:
            content = json.loads(zlib.decompress(blob))
            if content["format"] != _FORMAT:
                raise ValueError(content)
            if not set(self._names) <= content["sums"].keys():
                return False
            self._follower.restore(content["files"])
            self._caught_up = bool(content["caught_up"])
            self.account = TailAccount(**content["account"])
            for number, name in enumerate(self._names):
                kept = content["sums"][name]
                slots = {row[0]: row[1:] for row in kept["slots"]}
                self._sums[number] = _Sums(kept["first"], kept["last"], slots, set(kept["spoilt"]))
                self._touched[number] = set(kept["touched"])
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise DataError("what is kept of the log is none of this version's", remedy="begin without it") from None
        return True


def ask_name(ask: RowAsk) -> str:
    """One text for equal asks."""
    questions = [
        [
            str(question.role),
            [[test.column, test.says] for test in question.tests],
            [[[test.column, test.says] for test in group] for group in question.ignore],
            question.column,
            question.scale,
            str(question.op),
            str(question.bound),
            [str(part) for part in question.below or ()],
        ]
        for question in ask.questions
    ]
    return json.dumps([ask.grain_s, questions])


def _stretch(first: int, last: int) -> range:
    if last - first >= MOST_SLICES:
        raise DataError(
            f"the times of the log are more than {MOST_SLICES} slices apart", remedy="look for a wrong timestamp"
        )
    return range(first, last + 1)
