"""The door to kept slices, and to what was received and is not counted yet.

Slices come in as *ticks*, one row for all records of a turn, and are folded into day chunks of one record each, with
their sums beside them. Whoever reads sees chunks and newer ticks together, where the later row of a slice counts; so
folding changes nothing that is read, and may stop anywhere.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    select,
    update,
)

from tightrope.base.batching import Batching
from tightrope.base.errors import DataError
from tightrope.sli.slices import Counts, Mask, Slices
from tightrope.state.database import Database
from tightrope.state.tables import TABLES
from tightrope.telemetry.chunks import Chunk, packed, per_chunk, unpacked

_WHOLE = BigInteger().with_variant(Integer(), "sqlite")
_SERIES = Table(
    "slice_series",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("step_s", Integer, nullable=False),
    Column("scale", BigInteger, nullable=False),
    UniqueConstraint("name", "definition", "step_s", "scale", name="slice_series_key"),
)
_TICK = Table(
    "slice_tick",
    TABLES,
    Column("sequence", _WHOLE, primary_key=True),
    Column("rows", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
_CHUNK = Table(
    "slice_chunk",
    TABLES,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("chunk", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("bad", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("covered", Integer, nullable=False),
    Column("rows", LargeBinary, nullable=False),
)
_FOLDED = Table(
    "slice_folded",
    TABLES,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
)
_INBOX = Table(
    "inbox",
    TABLES,
    Column("sequence", _WHOLE, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("dedup", Text, nullable=True),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("dedup", name="inbox_dedup"),
    sqlite_autoincrement=True,
)
_STATE = Table(
    "receiver_state",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

_TICK_HEAD = struct.Struct("<BI")
_PLAIN, _ZIPPED = 1, 2
_ZIP_FROM = 4096
_IDS = 500  # ids in one question: databases allow few parameters
_FOLD_SERIES = 500  # records folded in one transaction, so that nobody waits for long
_FOLD_TICKS = 4096


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What a record is: whose, measured how, at which resolution (seconds) and in units of 1 / *scale*."""

    name: str
    definition: str
    step_s: int
    scale: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Slices of any records in any order; of two rows of one slice the later one counts.

    Attributes:
        series: Ids, int32 of shape ``(n,)``.
        slot: Numbers of the slices: start / step, int64 of shape ``(n,)``.
        bad, total: Counts, int64 of shape ``(n,)``, ``0 <= bad <= total``.
        covered: Whether the slice was measured, bool of shape ``(n,)``; False takes back what was known of it.
    """

    series: npt.NDArray[np.int32]
    slot: Counts
    bad: Counts
    total: Counts
    covered: Mask

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True)
class Received:
    """Something that was sent to us: its place in the inbox, its kind, when it came, and its content."""

    sequence: int
    kind: str
    received_at: int
    body: bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Rows of ticks that are not folded, by record, and the rows of a record oldest first; with the tick of each."""

    series: npt.NDArray[np.int32]
    ticks: Counts
    slot: Counts
    bad: Counts
    total: Counts
    covered: Mask

    @classmethod
    def of(cls, tick: int, batch: Batch) -> _Run:
        order = np.argsort(batch.series, kind="stable")
        columns = (batch.slot[order], batch.bad[order], batch.total[order], batch.covered[order])
        return cls(batch.series[order], np.full(len(batch), tick, np.int64), *columns)

    def _taken(self, rows: Any) -> _Run:
        return _Run(
            self.series[rows], self.ticks[rows], self.slot[rows], self.bad[rows], self.total[rows], self.covered[rows]
        )

    def and_then(self, other: _Run) -> _Run:
        """Both, this one older."""
        series = np.concatenate([self.series, other.series])
        both = _Run(
            series,
            np.concatenate([self.ticks, other.ticks]),
            np.concatenate([self.slot, other.slot]),
            np.concatenate([self.bad, other.bad]),
            np.concatenate([self.total, other.total]),
            np.concatenate([self.covered, other.covered]),
        )
        return both._taken(np.argsort(series, kind="stable"))

    def after(self, tick: int) -> _Run | None:
        """The rows of later ticks; None where there are none."""
        keep = self.ticks > tick
        if keep.all():
            return self
        return self._taken(keep) if keep.any() else None

    def of_record(self, number: int) -> _Run | None:
        """The rows of one record; None where there are none."""
        low, high = np.searchsorted(self.series, (number, number + 1))
        return self._taken(slice(low, high)) if low < high else None


Runs = tuple[_Run, ...]


@dataclass(slots=True, eq=False)
class _Fresh:
    """Ticks that are not folded yet, as far as this process has read them."""

    read_to: int = 0
    folded_to: int = 0
    runs: Runs = ()


class SliceStore:
    """The slices of one store. Any number of threads and processes may read and write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fresh = _Fresh()
        self._lock = RLock()
        self._keys: dict[int, SeriesKey] = {}
        self._receiving: Batching[tuple[str, bytes, int, str], int] | None = None

    def close(self) -> None:
        """End after what is being received."""
        if self._receiving is not None:
            self._receiving.close()
            self._receiving = None

    # --- records ---------------------------------------------------------------------------------------------------

    def admit(self, keys: Sequence[SeriesKey]) -> list[int]:
        """Find the ids of records, and give one to those that have none."""
        self._learn()
        ids = {key: number for number, key in self._keys.items()}
        new = [key for key in dict.fromkeys(keys) if key not in ids]
        if new:
            with self._database.writing() as connection:
                for row in connection.execute(select(_SERIES)):  # another process may have been quicker
                    ids[SeriesKey(row.name, row.definition, row.step_s, row.scale)] = row.id
                rows = [
                    {"name": key.name, "definition": key.definition, "step_s": key.step_s, "scale": key.scale}
                    for key in new
                    if key not in ids
                ]
                if rows:
                    connection.execute(_SERIES.insert(), rows)
            self._learn()
            ids = {key: number for number, key in self._keys.items()}
        return [ids[key] for key in keys]

    def known(self, wanted: Sequence[tuple[str, str]]) -> list[tuple[int, int, int] | None]:
        """The newest record with a name and definition, as ``(id, step_s, scale)``; None where there is none."""
        self._learn()
        newest: dict[tuple[str, str], tuple[int, int, int]] = {}
        for number, key in sorted(self._keys.items()):
            newest[key.name, key.definition] = (number, key.step_s, key.scale)
        return [newest.get(one) for one in wanted]

    def records(self) -> dict[int, SeriesKey]:
        """Every record that there is, by id."""
        self._learn()
        return dict(self._keys)

    def _learn(self) -> None:
        with self._database.reading() as connection:
            for row in connection.execute(select(_SERIES)):
                self._keys[row.id] = SeriesKey(row.name, row.definition, row.step_s, row.scale)

    def _key(self, number: int) -> SeriesKey:
        if number not in self._keys:
            self._learn()
        return self._keys[number]

    # --- slices ----------------------------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """Keep slices; when this returns they survive a crash."""
        with self._database.writing() as connection:
            self.write_in(connection, batch)

    def write_in(self, connection: Connection, batch: Batch) -> None:
        """Keep slices in the caller's transaction."""
        if len(batch):
            connection.execute(_TICK.insert().values(rows=_written(batch)))

    def read(self, ids: Sequence[int], start: int | None = None, end: int | None = None) -> list[Slices]:
        """The slices of some records that lie in ``[start, end)``, UTC epoch seconds; None: no limit.

        Returns:
            One record for each id, from its first to its last slice in the stretch; gaps between are not covered.
        """
        found: list[Slices] = []
        for some in _pieces(ids):
            with self._database.reading() as connection:
                fresh = self._freshened(connection)
                chunks = self._chunks(connection, some, start, end)
            found += [
                self._joined(number, chunks.get(number, ()), _of_record(fresh, number), start, end) for number in some
            ]
        return found

    def sums(
        self, ids: Sequence[int], start: int, end: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Bad units, valid units and measured slices of records in ``[start, end)``: sums of chunks and two edges."""
        bad, total, covered = (np.zeros(len(ids), np.int64) for _ in range(3))
        place = {number: index for index, number in enumerate(ids)}
        for some in _pieces(ids):
            with self._database.reading() as connection:
                fresh = self._freshened(connection)
                rows = connection.execute(
                    select(
                        _CHUNK.c.series,
                        _CHUNK.c.chunk,
                        _CHUNK.c.first,
                        _CHUNK.c.count,
                        _CHUNK.c.bad,
                        _CHUNK.c.total,
                        _CHUNK.c.covered,
                    ).where(_CHUNK.c.series.in_(some))
                ).all()
            edges: dict[int, list[tuple[int, int]]] = {number: [] for number in some}
            touched = {
                number: {slot for one in _of_record(fresh, number) for slot in one.slot.tolist()} for number in some
            }
            for row in rows:
                step = self._key(row.series).step_s
                low, high = row.first * step, (row.first + row.count) * step
                if high <= start or low >= end:
                    continue
                changed = any(row.first <= slot < row.first + row.count for slot in touched[row.series])
                if start <= low and high <= end and not changed:
                    index = place[row.series]
                    bad[index] += row.bad
                    total[index] += row.total
                    covered[index] += row.covered
                else:
                    edges[row.series].append((max(low, start), min(high, end)))
            for number in some:
                step = self._key(number).step_s
                chunked = [(row.first * step, (row.first + row.count) * step) for row in rows if row.series == number]
                loose = [slot for slot in touched[number] if not any(a <= slot * step < b for a, b in chunked)]
                parts = edges[number] + [
                    (slot * step, (slot + 1) * step)
                    for slot in loose
                    if start <= slot * step and (slot + 1) * step <= end
                ]
                for low, high in parts:
                    (piece,) = self.read([number], low, high)
                    index = place[number]
                    bad[index] += int(piece.bad.sum())
                    total[index] += int(piece.total.sum())
                    covered[index] += int(piece.covered.sum())
        return bad, total, covered

    def spans(self, ids: Sequence[int]) -> list[tuple[int, int] | None]:
        """First start and last end of what is kept of each record, UTC epoch seconds; None: nothing."""
        found: dict[int, tuple[int, int]] = {}
        for some in _pieces(ids):
            with self._database.reading() as connection:
                fresh = self._freshened(connection)
                last = func.max(_CHUNK.c.first + _CHUNK.c.count)
                rows = connection.execute(
                    select(_CHUNK.c.series, func.min(_CHUNK.c.first), last)
                    .where(_CHUNK.c.series.in_(some))
                    .group_by(_CHUNK.c.series)
                ).all()
            slots = {row[0]: (row[1], row[2]) for row in rows}
            for number in some:
                ends = [slots[number]] if number in slots else []
                ends += [(int(one.slot.min()), int(one.slot.max()) + 1) for one in _of_record(fresh, number)]
                if ends:
                    step = self._key(number).step_s
                    found[number] = min(one[0] for one in ends) * step, max(one[1] for one in ends) * step
        return [found.get(number) for number in ids]

    def _chunks(
        self, connection: Connection, ids: Sequence[int], start: int | None, end: int | None
    ) -> dict[int, list[Any]]:
        query = select(_CHUNK.c.series, _CHUNK.c.first, _CHUNK.c.rows).where(_CHUNK.c.series.in_(ids))
        steps = {self._key(number).step_s for number in ids}
        if start is not None:
            query = query.where(_CHUNK.c.chunk >= min(start // step // per_chunk(step) for step in steps))
        if end is not None:
            query = query.where(_CHUNK.c.chunk <= max(end // step // per_chunk(step) for step in steps))
        found: dict[int, list[Any]] = {}
        for row in connection.execute(query.order_by(_CHUNK.c.series, _CHUNK.c.chunk)):
            found.setdefault(row.series, []).append(row)
        return found

    def _joined(
        self,
        number: int,
        chunks: Iterable[Any],
        runs: Sequence[_Run],
        start: int | None,
        end: int | None,
    ) -> Slices:
        key = self._key(number)
        step = key.step_s
        low = None if start is None else -(-start // step)
        high = None if end is None else end // step
        parts = [unpacked(row.first, row.rows) for row in chunks]
        ends = [(one.first, one.first + len(one)) for one in parts] + [
            (int(one.slot.min()), int(one.slot.max()) + 1) for one in runs
        ]
        first, last = min((one[0] for one in ends), default=0), max((one[1] for one in ends), default=0)
        first = first if low is None else max(first, low)
        last = last if high is None else min(last, high)
        if not ends or last <= first:
            at = start if start is not None else end if end is not None else 0
            nothing = np.zeros(0, np.int64)
            return Slices(at // step * step, step, nothing, nothing, np.zeros(0, np.bool_), scale=key.scale)
        bad, total = np.zeros(last - first, np.int64), np.zeros(last - first, np.int64)
        covered = np.zeros(last - first, np.bool_)
        for part in parts:
            begin, stop = max(part.first, first), min(part.first + len(part), last)
            if begin < stop:
                into, of = slice(begin - first, stop - first), slice(begin - part.first, stop - part.first)
                bad[into], total[into], covered[into] = part.bad[of], part.total[of], part.covered[of]
        for one in runs:
            inside = (one.slot >= first) & (one.slot < last)
            at_rows = one.slot[inside] - first
            bad[at_rows], total[at_rows], covered[at_rows] = one.bad[inside], one.total[inside], one.covered[inside]
        return Slices(first * step, step, bad, total, covered, scale=key.scale)

    def _freshened(self, connection: Connection) -> Runs:
        """The rows of ticks that are not folded, by record, as of the connection's transaction."""
        with self._lock:
            folded = connection.execute(select(_FOLDED.c.sequence)).scalar() or 0
            fresh = self._fresh
            if folded < fresh.folded_to:  # an older transaction than one that was read before
                return _added((), self._ticks(connection, folded))
            if folded > fresh.folded_to:
                fresh.folded_to, fresh.read_to = folded, max(fresh.read_to, folded)
                kept = [one.after(folded) for one in fresh.runs]
                fresh.runs = tuple(one for one in kept if one is not None)
            ticks = self._ticks(connection, fresh.read_to)
            if ticks:
                fresh.runs, fresh.read_to = _added(fresh.runs, ticks), ticks[-1][0]
            return fresh.runs

    def _ticks(self, connection: Connection, after: int) -> list[tuple[int, Batch]]:
        query = select(_TICK).where(_TICK.c.sequence > after).order_by(_TICK.c.sequence)
        return [(row.sequence, _read(row.rows)) for row in connection.execute(query)]

    # --- folding and pruning ---------------------------------------------------------------------------------------

    def compact(self) -> int:
        """Fold ticks into day chunks; returns how many ticks were folded. May stop anywhere, and be run at any time."""
        with self._database.reading() as connection:
            folded = connection.execute(select(_FOLDED.c.sequence)).scalar() or 0
            rows = connection.execute(
                select(_TICK).where(_TICK.c.sequence > folded).order_by(_TICK.c.sequence).limit(_FOLD_TICKS)
            ).all()
        if not rows:
            return 0
        last = rows[-1].sequence
        news: dict[int, list[Batch]] = {}
        for row in rows:
            for number, part in _by_series(_read(row.rows)):
                news.setdefault(number, []).append(part)
        ids = sorted(news)
        for at in range(0, len(ids), _FOLD_SERIES):
            with self._database.writing() as connection:
                now_folded = connection.execute(select(_FOLDED.c.sequence)).scalar() or 0
                if now_folded != folded:  # somebody else folded meanwhile
                    return 0
                for number in ids[at : at + _FOLD_SERIES]:
                    self._fold(connection, number, news[number])
        with self._database.writing() as connection:
            if (connection.execute(select(_FOLDED.c.sequence)).scalar() or 0) != folded:
                return 0
            connection.execute(update(_FOLDED).values(sequence=last))
            connection.execute(delete(_TICK).where(_TICK.c.sequence <= last))
        return len(rows)

    def _fold(self, connection: Connection, number: int, news: Sequence[Batch]) -> None:
        per = per_chunk(self._key(number).step_s)
        slots = np.concatenate([one.slot for one in news])
        bad, total = np.concatenate([one.bad for one in news]), np.concatenate([one.total for one in news])
        covered = np.concatenate([one.covered for one in news])
        places = slots // per
        for place in np.unique(places).tolist():
            mine = places == place
            where = (_CHUNK.c.series == number) & (_CHUNK.c.chunk == place)
            old = connection.execute(select(_CHUNK.c.first, _CHUNK.c.rows).where(where)).one_or_none()
            kept = None if old is None else unpacked(old.first, old.rows)
            chunk = _overlaid(kept, slots[mine], bad[mine], total[mine], covered[mine])
            if old is not None:
                connection.execute(delete(_CHUNK).where(where))
            sums = chunk.sums
            connection.execute(
                _CHUNK.insert().values(
                    series=number,
                    chunk=place,
                    first=chunk.first,
                    count=len(chunk),
                    bad=sums[0],
                    total=sums[1],
                    covered=sums[2],
                    rows=packed(chunk),
                )
            )

    def prune(self, before: int, ids: Sequence[int] | None = None) -> int:
        """Let go of whole day chunks that end by *before*, UTC epoch seconds; returns how many slices went."""
        gone = 0
        for number in self.records() if ids is None else ids:
            step = self._key(number).step_s
            where = (_CHUNK.c.series == number) & ((_CHUNK.c.chunk + 1) * per_chunk(step) * step <= before)
            with self._database.writing() as connection:
                gone += connection.execute(select(func.sum(_CHUNK.c.count)).where(where)).scalar() or 0
                connection.execute(delete(_CHUNK).where(where))
        return gone

    # --- what was received -----------------------------------------------------------------------------------------

    def receive(self, kind: str, body: bytes, received_at: int, *, dedup: str = "") -> int:
        """Keep what was sent, and return its place; it survives a crash then. A known *dedup* keeps its old place."""
        with self._lock:
            if self._receiving is None:
                self._receiving = Batching("inbox", self.receive_many)
        return self._receiving.submit((kind, body, received_at, dedup)).result()

    def receive_many(self, items: Sequence[tuple[str, bytes, int, str]]) -> list[int]:
        """As `receive`, for several in one transaction: ``(kind, body, received_at, dedup)``."""
        found = []
        with self._database.writing() as connection:
            for kind, body, received_at, dedup in items:
                if dedup:
                    there = connection.execute(select(_INBOX.c.sequence).where(_INBOX.c.dedup == dedup)).scalar()
                    if there is not None:
                        found.append(int(there))
                        continue
                made = connection.execute(
                    _INBOX.insert().values(kind=kind, received_at=received_at, dedup=dedup or None, body=body)
                )
                found.append(int(made.inserted_primary_key[0]))  # type: ignore[index]
        return found

    def waiting(self, after: int, limit: int, kinds: Sequence[str] = ()) -> list[Received]:
        """What was received after a place in the inbox, in order; of some *kinds* only, where they are given."""
        query = select(_INBOX.c.sequence, _INBOX.c.kind, _INBOX.c.received_at, _INBOX.c.body)
        query = query.where(_INBOX.c.sequence > after).order_by(_INBOX.c.sequence).limit(limit)
        if kinds:
            query = query.where(_INBOX.c.kind.in_(kinds))
        with self._database.reading() as connection:
            return [Received(*row) for row in connection.execute(query)]

    def drop_received(self, connection: Connection, through: int, kinds: Sequence[str] = ()) -> None:
        """Let go of what was received up to a place, in the caller's transaction."""
        where = _INBOX.c.sequence <= through
        connection.execute(delete(_INBOX).where(where & _INBOX.c.kind.in_(kinds) if kinds else where))

    def save_state_in(self, connection: Connection, name: str, content: bytes) -> None:
        """Keep what a receiver remembers, in the caller's transaction."""
        connection.execute(delete(_STATE).where(_STATE.c.name == name))
        connection.execute(_STATE.insert().values(name=name, content=content))

    def load_state(self, name: str) -> bytes | None:
        """What a receiver remembered; None: nothing."""
        with self._database.reading() as connection:
            found = connection.execute(select(_STATE.c.content).where(_STATE.c.name == name)).scalar()
            return None if found is None else bytes(found)


def _overlaid(old: Chunk | None, slots: Counts, bad: Counts, total: Counts, covered: Mask) -> Chunk:
    """A chunk with newer rows over it, later ones over earlier ones."""
    first, last = int(slots.min()), int(slots.max()) + 1
    if old is not None:
        first, last = min(first, old.first), max(last, old.first + len(old))
    found = Chunk(
        first, np.zeros(last - first, np.int64), np.zeros(last - first, np.int64), np.zeros(last - first, np.bool_)
    )
    if old is not None:
        into = slice(old.first - first, old.first - first + len(old))
        found.bad[into], found.total[into], found.covered[into] = old.bad, old.total, old.covered
    at = slots - first
    found.bad[at], found.total[at], found.covered[at] = bad, total, covered
    return found


def _written(batch: Batch) -> bytes:
    columns = (
        np.ascontiguousarray(batch.series, "<i4").tobytes(),
        np.ascontiguousarray(batch.slot, "<i8").tobytes(),
        np.ascontiguousarray(batch.bad * batch.covered, "<i8").tobytes(),  # what was not measured counts nothing
        np.ascontiguousarray(batch.total * batch.covered, "<i8").tobytes(),
        np.ascontiguousarray(batch.covered, np.uint8).tobytes(),
    )
    content = b"".join(columns)
    if len(content) < _ZIP_FROM:
        return _TICK_HEAD.pack(_PLAIN, len(batch)) + content
    return _TICK_HEAD.pack(_ZIPPED, len(batch)) + zlib.compress(content, 1)


def _read(blob: bytes) -> Batch:
    try:
        how, count = _TICK_HEAD.unpack_from(blob)
        content = blob[_TICK_HEAD.size :]
        if how == _ZIPPED:
            content = zlib.decompress(content)
        series = np.frombuffer(content, "<i4", count)
        slot, bad, total = (
            np.frombuffer(content, "<i8", count, offset=4 * count + 8 * count * one) for one in range(3)
        )
        covered = np.frombuffer(content, np.uint8, count, offset=28 * count).astype(np.bool_)
    except (struct.error, zlib.error, ValueError) as error:
        raise DataError(f"a tick of slices cannot be read: {error}", remedy="restore the store from a backup") from None
    return Batch(series, slot, bad, total, covered)


def _by_series(batch: Batch) -> Iterator[tuple[int, Batch]]:
    """The rows of each record, in their order."""
    order = np.argsort(batch.series, kind="stable")
    ids, starts = np.unique(batch.series[order], return_index=True)
    for number, rows in zip(ids.tolist(), np.split(order, starts[1:]), strict=True):
        yield (
            number,
            Batch(batch.series[rows], batch.slot[rows], batch.bad[rows], batch.total[rows], batch.covered[rows]),
        )


def _added(runs: Runs, ticks: Sequence[tuple[int, Batch]]) -> Runs:
    """Runs with the rows of more ticks; runs of a size are joined, so that there are few."""
    found = list(runs)
    for tick, batch in ticks:
        found.append(_Run.of(tick, batch))
        while len(found) > 1 and len(found[-2].slot) <= 2 * len(found[-1].slot):
            last = found.pop()
            found.append(found.pop().and_then(last))
    return tuple(found)


def _of_record(runs: Runs, number: int) -> list[_Run]:
    """The rows of one record, oldest first."""
    return [one for one in (run.of_record(number) for run in runs) if one is not None]


def _pieces(ids: Sequence[int]) -> Iterator[list[int]]:
    for at in range(0, len(ids), _IDS):
        yield list(ids[at : at + _IDS])
