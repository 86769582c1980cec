"""The door to kept slices, and to what was received and is not counted yet.

Slices come in as *ticks*, one row for all records of a turn, and are folded into day chunks of one record each, with
their sums beside them. Whoever reads sees chunks and newer ticks together, where the later row of a slice counts; so
folding changes nothing that is read, and may stop anywhere.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from threading import RLock
from typing import Any, TypeVar

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
    bindparam,
    delete,
    func,
    select,
    update,
)

from tightrope.base.batching import Batching
from tightrope.base.errors import DataError
from tightrope.base.values import dataclass
from tightrope.sli.slices import Counts, Mask, Slices
from tightrope.state.database import Database
from tightrope.state.tables import TABLES
from tightrope.telemetry.chunks import Chunk, gathered, packed, per_chunk, shuffled, unpacked

_Id = TypeVar("_Id")
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

_RECEIVED = _INBOX.insert().returning(_INBOX.c.sequence, sort_by_parameter_order=True)
_TICK_HEAD = struct.Struct("<BI")
_WIDTHS = struct.Struct("<qBBBB")  # the first slot; bytes of a series, of a slot after the first, of a bad and a total
_PLAIN, _ZIPPED, _SHUFFLED = 1, 2, 3
_SHUFFLE_FROM = 100
_SLOT_BITS = 34  # a slot of a second in the year 2200 has 33
_IDS = 500  # ids in one question: databases allow few parameters
_FOLD_CHUNKS = 500  # chunks written in one transaction, so that nobody waits for long
_FOLD_TICKS = 4096
_FOLDED_TO, _CLAIMED_TO = 1, 2  # rows of slice_folded: ticks that are gone; ticks that chunks may hold already


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

    def of_slots(self, first: int, last: int) -> _Run | None:
        """The rows of the slots in ``[first, last)``; None where there are none."""
        keep = (self.slot >= first) & (self.slot < last)
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
        """End after what is being received; nothing more is."""
        with self._lock:
            if self._receiving is None:
                self._receiving = Batching("inbox", self.receive_many)
        self._receiving.close()

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
        """Keep slices in the caller's transaction; until it ends, nobody else can."""
        if len(batch):
            _alone(connection)
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
        found = np.zeros((3, len(ids)), np.int64)
        place = {number: index for index, number in enumerate(ids)}
        columns = (_CHUNK.c.series, _CHUNK.c.chunk, _CHUNK.c.first, _CHUNK.c.count)
        amounts = (_CHUNK.c.bad, _CHUNK.c.total, _CHUNK.c.covered)
        for some in _pieces(ids):
            with self._database.reading() as connection:
                runs = {number: _of_record(self._freshened(connection), number) for number in some}
                rows = connection.execute(self._within(select(*columns, *amounts), some, start, end)).all()
                touched = {
                    number: {one for run in runs[number] for one in np.unique(run.slot // self._per(number)).tolist()}
                    for number in some
                }
                opened = {(number, chunk) for number, chunks in touched.items() for chunk in chunks}
                for series, chunk, first, count, *sums in rows:
                    step = self._key(series).step_s
                    low, high = first * step, (first + count) * step
                    if start <= low and high <= end and chunk not in touched[series]:
                        found[:, place[series]] += sums
                    elif low < end and start < high:
                        opened.add((series, chunk))
                query = select(_CHUNK.c.series, _CHUNK.c.chunk, _CHUNK.c.first, _CHUNK.c.rows)
                chunks = sorted({chunk for _, chunk in opened})
                kept = {
                    (row.series, row.chunk): row
                    for part in _pieces(chunks)
                    for row in connection.execute(query.where(_CHUNK.c.series.in_(some), _CHUNK.c.chunk.in_(part)))
                }
            for number, chunk in opened:
                per, step = self._per(number), self._key(number).step_s
                row = kept.get((number, chunk))
                of_chunk = [one.of_slots(chunk * per, (chunk + 1) * per) for one in runs[number]]
                piece = self._joined(
                    number,
                    () if row is None else (row,),
                    [one for one in of_chunk if one is not None],
                    max(start, chunk * per * step),
                    min(end, (chunk + 1) * per * step),
                )
                found[:, place[number]] += (piece.bad.sum(), piece.total.sum(), piece.covered.sum())
        return found[0], found[1], found[2]

    def spans(self, ids: Sequence[int]) -> list[tuple[int, int] | None]:
        """First start and last end of what is kept of each record, UTC epoch seconds; None: nothing."""
        found: dict[int, tuple[int, int]] = {}
        low, high = func.min(_CHUNK.c.chunk), func.max(_CHUNK.c.chunk)
        first_and_last = select(_CHUNK.c.series, low.label("low"), high.label("high")).group_by(_CHUNK.c.series)
        for some in _pieces(ids):
            ends = first_and_last.where(_CHUNK.c.series.in_(some)).subquery()  # the index alone tells
            query = select(_CHUNK.c.series, func.min(_CHUNK.c.first), func.max(_CHUNK.c.first + _CHUNK.c.count))
            outer = _CHUNK.c.chunk.in_((ends.c.low, ends.c.high))
            with self._database.reading() as connection:
                fresh = self._freshened(connection)
                rows = connection.execute(
                    query.select_from(ends.join(_CHUNK, (_CHUNK.c.series == ends.c.series) & outer)).group_by(
                        _CHUNK.c.series
                    )
                ).all()
            slots = {row[0]: (row[1], row[2]) for row in rows}
            for number in some:
                reach = [slots[number]] if number in slots else []
                reach += [(int(one.slot.min()), int(one.slot.max()) + 1) for one in _of_record(fresh, number)]
                if reach:
                    step = self._key(number).step_s
                    found[number] = min(one[0] for one in reach) * step, max(one[1] for one in reach) * step
        return [found.get(number) for number in ids]

    def _per(self, number: int) -> int:
        return per_chunk(self._key(number).step_s)

    def _within(self, query: Any, ids: Sequence[int], start: int | None, end: int | None) -> Any:
        """Ask for chunks of those records only, and for none that lies wholly outside ``[start, end)``."""
        steps = {self._key(number).step_s for number in ids}
        query = query.where(_CHUNK.c.series.in_(ids))
        if start is not None and steps:
            query = query.where(_CHUNK.c.chunk >= min(start // step // per_chunk(step) for step in steps))
        if end is not None and steps:
            query = query.where(_CHUNK.c.chunk <= max(end // step // per_chunk(step) for step in steps))
        return query

    def _chunks(
        self, connection: Connection, ids: Sequence[int], start: int | None, end: int | None
    ) -> dict[int, list[Any]]:
        query = self._within(select(_CHUNK.c.series, _CHUNK.c.first, _CHUNK.c.rows), ids, start, end)
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
            folded = _folded(connection)
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
        """Fold ticks into day chunks; returns how many ticks were folded. May stop anywhere, and be run at any time.

        Whoever folds first claims the ticks, and goes on only while nobody has claimed more: so no older row is ever
        folded over a newer one. A claim that nobody followed up is no hindrance: the next one claims at least as much.
        """
        with self._database.writing() as connection:
            folded = _alone(connection)
            query = select(_TICK).where(_TICK.c.sequence > folded).order_by(_TICK.c.sequence).limit(_FOLD_TICKS)
            ticks = connection.execute(query).all()
            if not ticks:
                return 0
            last = ticks[-1].sequence
            _claim(connection, last)
        chunks = self._by_chunk([_read(row.rows) for row in ticks])
        for at in range(0, len(chunks), _FOLD_CHUNKS):
            some = chunks[at : at + _FOLD_CHUNKS]
            written = self._laid_over(some)
            with self._database.writing() as connection:
                if (_alone(connection), _claimed(connection)) != (folded, last):
                    return 0  # somebody else folds the same ticks, and more
                both = (_CHUNK.c.series == bindparam("of_series")) & (_CHUNK.c.chunk == bindparam("of_chunk"))
                keys = [{"of_series": one["series"], "of_chunk": one["chunk"]} for one in written]
                connection.execute(delete(_CHUNK).where(both), keys)
                connection.execute(_CHUNK.insert(), written)
        with self._database.writing() as connection:
            if (_alone(connection), _claimed(connection)) != (folded, last):
                return 0
            connection.execute(update(_FOLDED).where(_FOLDED.c.one == _FOLDED_TO).values(sequence=last))
            connection.execute(delete(_TICK).where(_TICK.c.sequence <= last))
        return len(ticks)

    def _by_chunk(self, ticks: Sequence[Batch]) -> list[tuple[int, int, Batch]]:
        """The newest rows of ticks, by day and record: ``(series, chunk, rows)``, the rows by slot."""
        series = np.concatenate([one.series for one in ticks]).astype(np.int64)
        slots = np.concatenate([one.slot for one in ticks])
        keys = series << _SLOT_BITS | slots
        order = np.argsort(keys, kind="stable")
        newest = order[np.append(np.diff(keys[order]) != 0, True)]
        series, slots = series[newest], slots[newest]
        pers = np.zeros(int(series.max()) + 1, np.int64)
        for number in np.unique(series).tolist():
            pers[number] = self._per(number)
        places = slots // pers[series]
        by_day = np.argsort(places, kind="stable")
        newest, series, slots, places = newest[by_day], series[by_day], slots[by_day], places[by_day]
        bad, total, covered = (
            np.concatenate(columns)[newest]
            for columns in ([one.bad for one in ticks], [one.total for one in ticks], [one.covered for one in ticks])
        )
        begins = np.flatnonzero(np.diff(places, prepend=-1) | np.diff(series, prepend=-1)).tolist()
        return [
            (
                int(series[low]),
                int(places[low]),
                Batch(
                    series[low:high].astype(np.int32),
                    slots[low:high],
                    bad[low:high],
                    total[low:high],
                    covered[low:high],
                ),
            )
            for low, high in zip(begins, [*begins[1:], len(series)], strict=True)
        ]

    def _laid_over(self, news: Sequence[tuple[int, int, Batch]]) -> list[dict[str, Any]]:
        """Chunks as they are to be, written down: the old ones with newer rows over them."""
        ids = sorted({number for number, _, _ in news})
        days = [chunk for _, chunk, _ in news]
        query = select(_CHUNK.c.series, _CHUNK.c.chunk, _CHUNK.c.first, _CHUNK.c.rows)
        query = query.where(_CHUNK.c.chunk.between(min(days), max(days)))
        with self._database.reading() as connection:
            old = {
                (row.series, row.chunk): row
                for some in _pieces(ids)
                for row in connection.execute(query.where(_CHUNK.c.series.in_(some)))
            }
        written = []
        for number, place, rows in news:
            before = old.get((number, place))
            kept = None if before is None else unpacked(before.first, before.rows)
            chunk = _overlaid(kept, rows.slot, rows.bad, rows.total, rows.covered)
            bad, total, covered = chunk.sums
            written.append(
                {
                    "series": number,
                    "chunk": place,
                    "first": chunk.first,
                    "count": len(chunk),
                    "bad": bad,
                    "total": total,
                    "covered": covered,
                    "rows": packed(chunk),
                }
            )
        return written

    def prune(self, before: int, ids: Sequence[int] | None = None) -> int:
        """Let go of whole day chunks that end by *before*, UTC epoch seconds; returns how many slices went.

        A chunk that newer ticks lie over stays, with all after it, until they are folded.
        """
        gone = 0
        for some in _pieces(list(self.records()) if ids is None else ids):
            with self._database.writing() as connection:
                _alone(connection)
                fresh = self._freshened(connection)
                bounds: dict[int, list[int]] = {}
                for number in some:
                    per = self._per(number)
                    held = [int(one.slot.min()) // per for one in _of_record(fresh, number)]
                    bounds.setdefault(min([before // self._key(number).step_s // per, *held]), []).append(number)
                for bound, numbers in bounds.items():
                    where = _CHUNK.c.series.in_(numbers) & (_CHUNK.c.chunk < bound)
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
        with self._database.writing() as connection:
            wanted = {dedup for _, _, _, dedup in items if dedup}
            known: dict[str, int] = {}
            for some in _pieces(sorted(wanted)):
                query = select(_INBOX.c.dedup, _INBOX.c.sequence).where(_INBOX.c.dedup.in_(some))
                known |= {row.dedup: row.sequence for row in connection.execute(query)}
            rows: list[dict[str, Any]] = []
            places: list[int | None] = []
            for kind, body, received_at, dedup in items:
                places.append(None if dedup in known else len(rows))
                if dedup not in known:
                    rows.append({"kind": kind, "received_at": received_at, "dedup": dedup or None, "body": body})
                    if dedup:
                        known[dedup] = -len(rows)  # the place that it is about to have
            made = [int(one) for one in connection.execute(_RECEIVED, rows).scalars()] if rows else []
        known = {dedup: place if place >= 0 else made[-place - 1] for dedup, place in known.items()}
        return [
            known[dedup] if place is None else made[place]
            for (_, _, _, dedup), place in zip(items, places, strict=True)
        ]

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

    def save_states_in(self, connection: Connection, prefix: str, pieces: Mapping[str, bytes]) -> None:
        """Keep pieces under *prefix* and their names, in the caller's transaction; an empty one is let go of."""
        names = [prefix + name for name in pieces]
        for some in _pieces(names):
            connection.execute(delete(_STATE).where(_STATE.c.name.in_(some)))
        rows = [{"name": prefix + name, "content": content} for name, content in pieces.items() if content]
        if rows:
            connection.execute(_STATE.insert(), rows)

    def load_states(self, prefix: str) -> dict[str, bytes]:
        """All pieces whose names begin with *prefix*, by the rest of their names."""
        query = select(_STATE).where(_STATE.c.name.startswith(prefix, autoescape=True))
        with self._database.reading() as connection:
            return {row.name[len(prefix) :]: bytes(row.content) for row in connection.execute(query)}

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


def _alone(connection: Connection) -> int:
    """Wait until no other writer of slices is under way, keep others waiting, and tell which ticks are folded.

    Then ticks become visible in the order of their sequence, also on PostgreSQL, and no reader passes one by.
    """
    query = select(_FOLDED.c.sequence).where(_FOLDED.c.one == _FOLDED_TO).with_for_update()
    return connection.execute(query).scalar() or 0


def _folded(connection: Connection) -> int:
    return connection.execute(select(_FOLDED.c.sequence).where(_FOLDED.c.one == _FOLDED_TO)).scalar() or 0


def _claimed(connection: Connection) -> int:
    return connection.execute(select(_FOLDED.c.sequence).where(_FOLDED.c.one == _CLAIMED_TO)).scalar() or 0


def _claim(connection: Connection, last: int) -> None:
    connection.execute(delete(_FOLDED).where(_FOLDED.c.one == _CLAIMED_TO))
    connection.execute(_FOLDED.insert().values(one=_CLAIMED_TO, sequence=last))


def _written(batch: Batch) -> bytes:
    bad, total = batch.bad * batch.covered, batch.total * batch.covered  # what was not measured counts nothing
    covered = np.ascontiguousarray(batch.covered, np.uint8).tobytes()
    count = len(batch)
    if count >= _SHUFFLE_FROM:
        base = int(batch.slot.min())
        columns = [shuffled(one) for one in (batch.series, batch.slot - base, bad, total)]
        content = zlib.compress(b"".join([*(one for one, _ in columns), covered]), 1)
        return _TICK_HEAD.pack(_SHUFFLED, count) + _WIDTHS.pack(base, *(width for _, width in columns)) + content
    parts = (
        np.ascontiguousarray(batch.series, "<i4").tobytes(),
        np.ascontiguousarray(batch.slot, "<i8").tobytes(),
        np.ascontiguousarray(bad, "<i8").tobytes(),
        np.ascontiguousarray(total, "<i8").tobytes(),
        covered,
    )
    return _TICK_HEAD.pack(_PLAIN, count) + b"".join(parts)


def _read(blob: bytes) -> Batch:
    try:
        how, count = _TICK_HEAD.unpack_from(blob)
        if how == _SHUFFLED:
            return _read_shuffled(blob, count)
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


def _read_shuffled(blob: bytes, count: int) -> Batch:
    base, *widths = _WIDTHS.unpack_from(blob, _TICK_HEAD.size)
    content = zlib.decompress(memoryview(blob)[_TICK_HEAD.size + _WIDTHS.size :])
    starts = [0, *accumulate(width * count for width in widths)]
    if len(content) != starts[-1] + count:
        raise ValueError("it is damaged")
    series, slot, bad, total = (gathered(content, at, count, width) for at, width in zip(starts, widths, strict=False))
    covered = np.frombuffer(content, np.uint8, count, offset=starts[-1]).astype(np.bool_)
    return Batch(series.astype(np.int32), slot + base, bad, total, covered)


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


def _pieces(ids: Sequence[_Id]) -> Iterator[list[_Id]]:
    for at in range(0, len(ids), _IDS):
        yield list(ids[at : at + _IDS])
