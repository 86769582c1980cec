"""The door to kept slices, and to what was received and is not counted yet.

Slices come in as *ticks*, one row for all records of a turn, and are folded into day chunks of one record each, with
their sums beside them. Whoever reads sees chunks and newer ticks together, where the later row of a slice counts; so
folding changes nothing that is read, and may stop anywhere. What is let go of may be summed up in the same transaction;
from then on the record begins later, and nothing older is taken for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
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

from tightrope.base.batching import Together
from tightrope.base.errors import DataError
from tightrope.base.values import dataclass
from tightrope.sli.slices import Counts, Mask, Slices
from tightrope.state.database import Database
from tightrope.state.tables import TABLES
from tightrope.telemetry.chunks import Chunk, packed, per_chunk, unpacked
from tightrope.telemetry.ticks import Batch as Batch  # noqa: PLC0414  it is handed to this door, so it is here too
from tightrope.telemetry.ticks import Damage, tick_bytes, tick_of

Fold = Callable[[Connection, int, Slices], None]
"""Keeps the sums of slices of a record that are let go of, in the transaction in which they go."""

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
_ROLLED = Table(
    "slice_rolled",
    TABLES,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("slot", BigInteger, nullable=False),
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
_RECEIVED_IN_SQLITE = "INSERT INTO inbox (kind, received_at, dedup, body) VALUES (?, ?, ?, ?)"
_SLOT_BITS = 34  # a slot of a second in the year 2200 has 33
_IDS = 500  # ids in one question: databases allow few parameters
_FOLD_CHUNKS = 500  # chunks written in one transaction, so that nobody waits for long
_FOLD_TICKS = 4096
_PRUNE_CHUNKS = 200
_FOLDED_TO, _CLAIMED_TO = 1, 2  # rows of slice_folded: ticks that are gone; ticks that chunks may hold already
_HELD_ALONE = select(_FOLDED.c.sequence).where(_FOLDED.c.one == _FOLDED_TO).with_for_update()
_NEW_TICK = _TICK.insert()


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What a record is: whose, measured how, at which resolution (seconds) and in units of 1 / *scale*."""

    name: str
    definition: str
    step_s: int
    scale: int = 1


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
    damaged: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Unfolded:
    """The rows of ticks that are not folded, and the ticks that cannot be."""

    runs: Runs
    damaged: tuple[Damage, ...]

    def harm_to(self, number: int) -> Damage | None:
        """A tick that cannot be read and may have rows of a record; None: there is none."""
        return next((one for one in self.damaged if one.concerns(number)), None)

    def of_record(self, number: int) -> list[_Run]:
        """The rows of one record, oldest first; raises `DataError` where some cannot be read."""
        harm = self.harm_to(number)
        if harm is not None:
            raise harm.error
        return _of_record(self.runs, number)


class SliceStore:
    """The slices of one store. Any number of threads and processes may read and write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fresh = _Fresh()
        self._lock = RLock()
        self._keys: dict[int, SeriesKey] = {}
        self._begins: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # by record: older slots were let go of
        self._begins_known = False
        self.too_late = 0  # rows that were not taken, since their slices were let go of
        self._receiving = Together(self.receive_many)

    def close(self) -> None:
        """End after what is being received; nothing more is."""
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
            begins = {row.series: row.slot for row in connection.execute(select(_ROLLED))}
        self._note_begins(begins)

    def _note_begins(self, begins: Mapping[int, int]) -> None:
        """Know from where on records are kept, in arrays that are not changed any more once they are known."""
        self._begins_known = True
        if not begins:
            return
        with self._lock:
            found = np.zeros(max(len(self._begins), max(begins) + 1), np.int64)
            found[: len(self._begins)] = self._begins
            for series, slot in begins.items():
                found[series] = slot
            self._begins = found

    def begin_of(self, number: int) -> int | None:
        """From when on slices of a record are kept, UTC epoch seconds; None: nothing was let go of yet."""
        begins = self._begins
        slot = int(begins[number]) if number < len(begins) else 0
        return slot * self._key(number).step_s if slot else None

    def in_time(self, series: npt.NDArray[np.integer[Any]], slots: Counts) -> Mask:
        """Which rows are of slices that are still kept, or to come; the others are counted as too late."""
        begins = self._begins
        if not len(begins):
            return np.ones(len(slots), np.bool_)
        known = (series >= 0) & (series < len(begins))
        late = known & (slots < begins[np.where(known, series, 0)])
        self.too_late += int(np.count_nonzero(late))
        return ~late

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
        if not self._begins_known:
            self._note_begins({row.series: row.slot for row in connection.execute(select(_ROLLED))})
        if len(self._begins):
            kept = self.in_time(batch.series, batch.slot)
            if not kept.all():
                columns = (batch.series, batch.slot, batch.bad, batch.total, batch.covered)
                batch = Batch(*(column[kept] for column in columns))  # type: ignore[arg-type]
        if len(batch):
            _alone(connection)
            connection.execute(_NEW_TICK, {"rows": tick_bytes(batch)})

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
                self._joined(number, chunks.get(number, ()), fresh.of_record(number), start, end) for number in some
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
                fresh = self._freshened(connection)
                runs = {number: fresh.of_record(number) for number in some}
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
                reach += [(int(one.slot.min()), int(one.slot.max()) + 1) for one in _of_record(fresh.runs, number)]
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

    def damaged(self) -> tuple[Damage, ...]:
        """The ticks that cannot be read; their records cannot be either, as long as they are there."""
        with self._database.reading() as connection:
            return self._freshened(connection).damaged

    def _freshened(self, connection: Connection) -> _Unfolded:
        """The rows of ticks that are not folded, by record, as of the connection's transaction."""
        with self._lock:
            folded = _folded(connection)
            fresh = self._fresh
            if folded < fresh.folded_to:  # an older transaction than one that was read before
                ticks, harmed = self._ticks(connection, folded)
                return _Unfolded(_added((), ticks), self._unfoldable(connection, folded) + harmed)
            if folded > fresh.folded_to:
                fresh.folded_to, fresh.read_to = folded, max(fresh.read_to, folded)
                kept = [one.after(folded) for one in fresh.runs]
                fresh.runs = tuple(one for one in kept if one is not None)
                later = tuple(one for one in fresh.damaged if one.sequence > folded)
                fresh.damaged = self._unfoldable(connection, folded) + later
            ticks, harmed = self._ticks(connection, fresh.read_to)
            if ticks or harmed:
                fresh.runs, fresh.damaged = _added(fresh.runs, ticks), fresh.damaged + harmed
                fresh.read_to = max([sequence for sequence, _ in ticks] + [one.sequence for one in harmed])
            return _Unfolded(fresh.runs, fresh.damaged)

    def _ticks(self, connection: Connection, after: int) -> tuple[list[tuple[int, Batch]], tuple[Damage, ...]]:
        """The ticks after a sequence, and those of them that cannot be read."""
        query = select(_TICK).where(_TICK.c.sequence > after).order_by(_TICK.c.sequence)
        ticks, harmed = _parted(connection.execute(query))
        return ticks, tuple(harmed)

    def _unfoldable(self, connection: Connection, folded: int) -> tuple[Damage, ...]:
        """The ticks that were left behind when those up to a sequence were folded, since they could not be read."""
        query = select(_TICK).where(_TICK.c.sequence <= folded).order_by(_TICK.c.sequence)
        found = [(row.sequence, tick_of(row.sequence, row.rows)) for row in connection.execute(query)]
        return tuple(one if isinstance(one, Damage) else Damage(number, one.series) for number, one in found)

    # --- folding and pruning ---------------------------------------------------------------------------------------

    def compact(self) -> int:
        """Fold ticks into day chunks; returns how many ticks were folded. May stop anywhere, and be run at any time.

        Whoever folds first claims the ticks, and goes on only while nobody has claimed more: so no older row is ever
        folded over a newer one. A claim that nobody followed up is no hindrance: the next one claims at least as much.
        A tick that cannot be read is left where it is: whoever wants its records is told so, and nobody else.
        """
        with self._database.writing() as connection:
            folded = _alone(connection)
            query = select(_TICK).where(_TICK.c.sequence > folded).order_by(_TICK.c.sequence).limit(_FOLD_TICKS)
            ticks = connection.execute(query).all()
            if not ticks:
                return 0
            last = ticks[-1].sequence
            _claim(connection, last)
        readable, harmed = _parted(ticks)
        chunks = self._by_chunk([batch for _, batch in readable]) if readable else []
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
            gone = _TICK.c.sequence.between(folded + 1, last)
            connection.execute(delete(_TICK).where(gone & _TICK.c.sequence.not_in([one.sequence for one in harmed])))
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

    def prune(self, before: int, ids: Sequence[int] | None = None, fold: Fold | None = None) -> int:
        """Let go of whole day chunks that end by *before*, UTC epoch seconds; returns how many slices went.

        A chunk that newer ticks lie over stays, with all after it, until they are folded; so does a record that cannot
        be read. *fold* is handed the slices that go, a record's from where it began to be kept to the end of its last
        chunk that goes, gaps and all; each slice once, whatever happens meanwhile: chunks go in the transaction in
        which it is handed them.
        """
        gone = 0
        for some in _pieces(list(self.records()) if ids is None else ids):
            left = some
            while left:
                went, left = self._let_go(before, left, fold)
                gone += went
        return gone

    def _let_go(self, before: int, ids: Sequence[int], fold: Fold | None) -> tuple[int, list[int]]:
        """Let go of some chunks, few enough that nobody waits for long: how many slices went, what is left to do."""
        columns = (_CHUNK.c.series, _CHUNK.c.chunk, _CHUNK.c.first, _CHUNK.c.count, _CHUNK.c.rows)
        found: dict[int, list[Any]] = {}
        went: dict[int, int] = {}
        room = _PRUNE_CHUNKS
        with self._database.writing() as connection:
            _alone(connection)
            fresh = self._freshened(connection)
            rolled = select(_ROLLED).where(_ROLLED.c.series.in_(ids))
            begins = {row.series: row.slot for row in connection.execute(rolled)}
            bounds: dict[int, list[int]] = {}
            for number in ids:
                if fresh.harm_to(number) is not None:
                    continue
                per = self._per(number)
                held = [int(one.slot.min()) // per for one in fresh.of_record(number)]
                bounds.setdefault(min([before // self._key(number).step_s // per, *held]), []).append(number)
            for bound, numbers in bounds.items():
                query = select(*columns).where(_CHUNK.c.series.in_(numbers) & (_CHUNK.c.chunk < bound))
                for row in connection.execute(query.order_by(_CHUNK.c.series, _CHUNK.c.chunk).limit(room)):
                    found.setdefault(row.series, []).append(row)
                    room -= 1
            for number, rows in found.items():
                begin, end = begins.get(number, 0), (rows[-1].chunk + 1) * self._per(number)
                with suppress(DataError), connection.begin_nested():
                    if fold is not None and end > begin:
                        fold(connection, number, self._spanning(number, rows, begin, end))
                    gone = _CHUNK.c.chunk.in_([row.chunk for row in rows])
                    connection.execute(delete(_CHUNK).where((_CHUNK.c.series == number) & gone))
                    connection.execute(delete(_ROLLED).where(_ROLLED.c.series == number))
                    connection.execute(_ROLLED.insert().values(series=number, slot=max(begin, end)))
                    begins[number], went[number] = max(begin, end), sum(row.count for row in rows)
        self._note_begins({number: begins[number] for number in went})
        unread = found.keys() - went.keys()
        return sum(went.values()), [] if room > 0 else [number for number in ids if number not in unread]

    def _spanning(self, number: int, rows: Sequence[Any], begin: int, end: int) -> Slices:
        """The slices of some chunks from slot *begin* to *end*, or from the first one if nothing was let go of yet."""
        step = self._key(number).step_s
        found = self._joined(number, rows, (), begin * step, None)
        first = begin or (found.start // step if len(found) else end)
        shape = end - first
        bad, total, covered = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        into = slice(found.start // step - first, found.start // step - first + len(found))
        bad[into], total[into], covered[into] = found.bad, found.total, found.covered
        return Slices(first * step, step, bad, total, covered, scale=found.scale)

    # --- what was received -----------------------------------------------------------------------------------------

    def receive(self, kind: str, body: bytes, received_at: int, *, dedup: str = "") -> int:
        """Keep what was sent, and return its place; it survives a crash then. A known *dedup* keeps its old place."""
        return self._receiving.ask((kind, body, received_at, dedup))

    def arriving(self) -> AbstractContextManager[None]:
        """Say that this thread is about to `receive` something: what comes at the same time is stored together."""
        return self._receiving.coming()

    def receive_many(self, items: Sequence[tuple[str, bytes, int, str]]) -> list[int]:
        """As `receive`, for several in one transaction: ``(kind, body, received_at, dedup)``."""
        with self._database.writing() as connection:
            wanted = {dedup for _, _, _, dedup in items if dedup}
            known: dict[str, int] = {}
            for some in _pieces(sorted(wanted)):
                query = select(_INBOX.c.dedup, _INBOX.c.sequence).where(_INBOX.c.dedup.in_(some))
                known |= {row.dedup: row.sequence for row in connection.execute(query)}
            rows: list[tuple[str, int, str | None, bytes]] = []
            places: list[int | None] = []
            for kind, body, received_at, dedup in items:
                places.append(None if dedup in known else len(rows))
                if dedup not in known:
                    rows.append((kind, received_at, dedup or None, body))
                    if dedup:
                        known[dedup] = -len(rows)  # the place that it is about to have
            made = _received_in(connection, rows)
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


def _received_in(connection: Connection, rows: Sequence[tuple[str, int, str | None, bytes]]) -> list[int]:
    """Put rows into the inbox, and tell their places."""
    if connection.dialect.name == "sqlite":  # a statement a row is as good there, and told in a tenth of the time
        return [int(connection.exec_driver_sql(_RECEIVED_IN_SQLITE, row).lastrowid) for row in rows]
    names = ("kind", "received_at", "dedup", "body")
    named = [dict(zip(names, row, strict=True)) for row in rows]
    return [int(one) for one in connection.execute(_RECEIVED, named).scalars()] if rows else []


def _alone(connection: Connection) -> int:
    """Wait until no other writer of slices is under way, keep others waiting, and tell which ticks are folded.

    Then ticks become visible in the order of their sequence, also on PostgreSQL, and no reader passes one by.
    """
    return connection.execute(_HELD_ALONE).scalar() or 0


def _folded(connection: Connection) -> int:
    return connection.execute(select(_FOLDED.c.sequence).where(_FOLDED.c.one == _FOLDED_TO)).scalar() or 0


def _claimed(connection: Connection) -> int:
    return connection.execute(select(_FOLDED.c.sequence).where(_FOLDED.c.one == _CLAIMED_TO)).scalar() or 0


def _claim(connection: Connection, last: int) -> None:
    connection.execute(delete(_FOLDED).where(_FOLDED.c.one == _CLAIMED_TO))
    connection.execute(_FOLDED.insert().values(one=_CLAIMED_TO, sequence=last))


def _parted(rows: Iterable[Any]) -> tuple[list[tuple[int, Batch]], list[Damage]]:
    """Read rows of ticks: those that can be read, by sequence, and the others."""
    found = [(row.sequence, tick_of(row.sequence, row.rows)) for row in rows]
    return (
        [(number, one) for number, one in found if isinstance(one, Batch)],
        [one for _, one in found if isinstance(one, Damage)],
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


def _pieces(ids: Sequence[_Id]) -> Iterator[list[_Id]]:
    for at in range(0, len(ids), _IDS):
        yield list(ids[at : at + _IDS])
