"""Following an access log: through every rotation the slices are those of reading all of it."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.telemetry.builders import NOON, data_source, ratio, read, threshold
from tightrope.base.errors import DataError, UsageError
from tightrope.specs.model import Comparison, DataSource
from tightrope.telemetry.plan import Request
from tightrope.telemetry.sources.tailing import LOOKBACK_S, Tailing

Slices = dict[int, tuple[int, int] | None]


def line(number: int, after: int, status: int, latency: str = "0.1") -> str:
    time = datetime.fromtimestamp(NOON + after, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'10.0.0.1 - - [{time}] "GET /{number} HTTP/1.1" {status} 5 "-" "-" {latency}\n'


class World:
    """A service that writes its log, and whoever rotates it."""

    def __init__(self, folder: Path, **connection: Any) -> None:
        self.folder = folder
        self.source = data_source("access-log", folder, {"path": "access.log*", **connection})
        self.requests: list[Request] = [
            ratio(self.source, {}, {}),
            ratio(self.source, bad={"status": "4xx"}, total={"not": "3xx"}),
            ratio(self.source, {"latencyBelow": "300ms"}, {}),
        ]
        self.tailing = Tailing(self.source, list(enumerate(self.requests)))
        self.found: list[Slices] = [{} for _ in self.requests]
        self.lines = 0
        self.seconds = 0
        self._held = ""
        self._ticks = 0

    @property
    def log(self) -> Path:
        return self.folder / "access.log"

    def append(self, pauses: list[int], *, cut: bool = False) -> None:
        """Write a request after each pause; the last may be written in part."""
        text = self._held
        self._held = ""
        for pause in pauses:
            self.seconds += pause
            self.lines += 1
            text += line(self.lines, self.seconds, 200 + 100 * (self.lines % 4), "-" if self.lines % 7 == 0 else "0.2")
        if cut and text:
            text, self._held = text[:-15], text[-15:]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(text)
        self._touch(self.log)

    def rename(self) -> None:
        self._end_line()
        self._shift()
        if self.log.exists():
            self.log.rename(self.folder / "access.log.1")
        self.log.touch()
        self._touch(self.log)

    def copy_and_truncate(self) -> None:
        self._end_line()
        if self.log.exists():
            self._shift()
            shutil.copy(self.log, self.folder / "access.log.1")
            os.truncate(self.log, 0)
            self._touch(self.log)

    def pack(self) -> None:
        for path in sorted(self.folder.glob("access.log.?")):
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()

    def _shift(self) -> None:
        for number in range(8, 0, -1):
            for ending in ("", ".gz"):
                path = self.folder / f"access.log.{number}{ending}"
                if path.exists():
                    path.rename(self.folder / f"access.log.{number + 1}{ending}")

    def _end_line(self) -> None:
        if self._held:
            self.append([])

    def _touch(self, path: Path) -> None:
        # Real files are written at different moments; here they are told apart by force.
        self._ticks += 1
        os.utime(path, ns=(self._ticks * 10**9, self._ticks * 10**9))

    def poll(self) -> None:
        for _ in self.tailing.poll():
            pass
        touched = self.tailing.drain()
        for track, slot, bad, total, covered in zip(
            touched.tracks.tolist(),
            touched.slots.tolist(),
            touched.bad.tolist(),
            touched.total.tolist(),
            touched.covered.tolist(),
            strict=True,
        ):
            self.found[track][slot - NOON // 60] = (total - bad, total) if covered else None

    def restart(self) -> None:
        blob = self.tailing.snapshot()
        self.tailing = Tailing(self.source, list(enumerate(self.requests)))
        assert self.tailing.restore(blob)

    def whole(self) -> list[Slices]:
        """What one reading of all files gives."""
        found = []
        for request in self.requests:
            slices = read(request).slices
            rows = zip(slices.good.tolist(), slices.total.tolist(), slices.covered.tolist(), strict=True)
            first = (slices.start - NOON) // 60
            found.append(
                {first + n: (good, total) if covered else None for n, (good, total, covered) in enumerate(rows)}
            )
        return found


@contextmanager
def world(**connection: Any) -> Iterator[World]:
    with TemporaryDirectory() as folder:
        yield World(Path(folder), **connection)


def _trimmed(slices: Slices) -> Slices:
    """Without the gaps at both ends, which a reading cuts off."""
    covered = [slot for slot, found in slices.items() if found is not None]
    return {slot: found for slot, found in slices.items() if covered and min(covered) <= slot <= max(covered)}


_PAUSES = st.lists(st.sampled_from([0, 1, 20, 100]), min_size=1, max_size=6)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), _PAUSES, st.booleans()),
        st.sampled_from([("rename",), ("copy",), ("pack",), ("poll",), ("poll",), ("restart",)]),
    ),
    max_size=14,
)


@settings(max_examples=80)
@given(_STEPS)
def test_through_every_rotation_the_slices_are_those_of_reading_all_of_it(steps: list[tuple[Any, ...]]) -> None:
    with world() as there:
        there.append([5])
        rotations = 0
        for name, *what in steps:
            if name == "append":
                there.append(what[0], cut=what[1])
            elif name in {"rename", "copy"} and rotations < 7:
                rotations += 1
                (there.rename if name == "rename" else there.copy_and_truncate)()
                there.append([1])  # a log that is new does not stay empty for long
            elif name == "pack":
                there.pack()
            elif name == "poll":
                there.poll()
            elif name == "restart":
                there.restart()
        there.append([3])
        there.poll()
        assert [_trimmed(found) for found in there.found] == [_trimmed(found) for found in there.whole()]
        assert there.tailing.account.lines == there.lines
        there.poll()
        assert len(there.tailing.drain()) == 0


def test_a_line_is_waited_for_until_its_end_is_written() -> None:
    with world() as there:
        there.append([5, 1], cut=True)
        there.poll()
        assert there.tailing.account.lines == 1
        there.append([])
        there.poll()
        assert there.tailing.account.lines == 2


def test_the_last_line_of_a_file_that_rests_needs_no_end() -> None:
    with world() as there:
        there.append([5])
        there.log.write_text(there.log.read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8")
        there._touch(there.log)
        there.log.rename(there.folder / "access.log.1")
        there.append([5])
        there.poll()
        assert there.tailing.account.lines == 1
        there.poll()
        assert there.tailing.account.lines == 2


def test_one_path_alone_is_followed_through_its_rotations() -> None:
    with world(path="access.log") as there:
        there.append([5])
        there.poll()
        there.append([1])
        there.rename()  # a line in it was not read yet
        there.append([1])
        there.poll()
        assert there.tailing.account.lines == 3
        there.append([1])
        there.copy_and_truncate()
        there.pack()
        there.append([1])
        there.poll()
        assert there.tailing.account.lines == 5
        (there.folder / "access.log.9").write_text(line(99, 5, 200), encoding="utf-8")
        there.poll()
        assert there.tailing.account.lines == 5  # it was never this log


def test_a_copy_that_takes_the_place_of_the_file_is_read_on() -> None:
    with world() as there:
        there.append([5, 1])
        there.poll()
        copy = there.folder / ".new"
        copy.write_bytes(there.log.read_bytes() + line(3, 70, 500).encode())
        copy.replace(there.log)
        there.poll()
        assert there.tailing.account.lines == 3
        assert there.found[0] == {0: (2, 2), 1: (0, 1)}


def test_a_log_that_is_not_there_yet_is_waited_for() -> None:
    with world(path="access.log") as there:
        there.poll()
        there.append([5])
        there.poll()
        assert there.tailing.account.lines == 1
        there.log.unlink()
        there.poll()
        there.append([60])
        there.poll()
        assert there.tailing.account.lines == 2


def test_an_archive_that_is_being_made_is_not_read_twice() -> None:
    with world() as there:
        there.append([5])
        there.rename()
        there.append([5])
        there.poll()
        old = there.folder / "access.log.1"
        packed = gzip.compress(old.read_bytes())
        for part in (packed[:5], packed[:-5], packed):
            (there.folder / "access.log.1.gz").write_bytes(part)
            there.poll()
        old.unlink()
        there.poll()
        assert there.tailing.account.lines == 2


def test_silence_between_two_lines_is_no_traffic() -> None:
    with world() as there:
        there.append([5])
        there.poll()
        assert there.found[0] == {0: (1, 1)}
        there.append([180])
        there.poll()
        assert there.found[0] == {0: (1, 1), 1: (0, 0), 2: (0, 0), 3: (1, 1)}


def test_a_line_that_is_later_than_the_sums_are_kept_is_counted_as_such() -> None:
    with world() as there:
        there.append([LOOKBACK_S * 2])
        there.poll()
        there.seconds = 0
        there.append([5])
        there.poll()
        assert there.tailing.account.too_late > 0
        assert there.found[0] == {LOOKBACK_S * 2 // 60: (1, 1)}


def test_lines_that_are_no_requests_are_counted() -> None:
    with world() as there:
        there.append([5])
        with there.log.open("ab") as log:
            log.write(b"# restarted\n\xff\xfe\0\n")
        there.poll()
        assert (there.tailing.account.lines, there.tailing.account.bad_lines) == (3, 2)


def test_latencies_are_compared_as_values() -> None:
    with TemporaryDirectory() as folder:
        there = World(Path(folder))
        slow = threshold(there.source, {}, Comparison.LTE, "15/100")
        tailing = Tailing(there.source, [(0, slow)])
        there.log.write_text(line(1, 5, 200, "0.15") + line(2, 5, 200, "0.16"), encoding="utf-8")
        for _ in tailing.poll():
            pass
        touched = tailing.drain()
        assert (touched.bad.tolist(), touched.total.tolist()) == ([1], [2])


def test_a_snapshot_for_other_metrics_is_not_taken_over() -> None:
    with world() as there:
        there.append([5])
        there.poll()
        other = Tailing(there.source, [(0, ratio(there.source, {"status": "2xx"}, {}))])
        assert other.restore(there.tailing.snapshot()) is False
        for nonsense in (b"", b"x"):
            with pytest.raises(DataError, match="what is kept of the log"):
                other.restore(nonsense)


def test_parts_of_another_source_are_refused() -> None:
    with world() as there:
        other = DataSource("other", "access-log", {"path": "other.log"}, str(there.folder))
        with pytest.raises(UsageError, match="is followed alone"):
            Tailing(there.source, [(0, ratio(there.source, {}, {}, total_source=other))])
