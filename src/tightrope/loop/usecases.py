"""Look after a store, and look whether everything is well: what `tightrope store` and `tightrope doctor` do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base.clock import now
from tightrope.base.errors import TightropeError, UsageError
from tightrope.base.units import DAY_S, HOUR_S, MINUTE_S, span_text, time_text
from tightrope.specs.model import Slo, Specs
from tightrope.state import backup
from tightrope.state.backup import Backup
from tightrope.state.database import SCHEMA, Database, opened
from tightrope.state.journal import Journal
from tightrope.telemetry.plan import Request
from tightrope.telemetry.received import RECEIVED
from tightrope.telemetry.rollup.store import HourStore
from tightrope.telemetry.store import SliceStore

_LEAST_ROOM = 512 * 2**20
_TOLD = 5


@dataclass(frozen=True, slots=True)
class Shelf:
    """One record of a store: whose slices, at which resolution (seconds), from when to when (UTC epoch seconds)."""

    name: str
    series: int
    step_s: int
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """What a store holds: where it is, its schema, rows of its journal, what waits in its inbox, and its records."""

    where: str
    schema: str
    journal_rows: int
    waiting: int
    shelves: tuple[Shelf, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: ``ok``, ``!`` (works, but look) or ``x``; what was seen, and what to do."""

    name: str
    mark: str
    says: str
    remedy: str = ""


def look_into(where: str) -> Look:
    """Tell what a store holds."""
    with opened(where) as database:
        store = SliceStore(database)
        records = store.records()
        spans = store.spans(list(records))
        shelves = tuple(
            Shelf(key.name, number, key.step_s, *(span if span is not None else (None, None)))
            for (number, key), span in zip(records.items(), spans, strict=True)
        )
        findings = Journal(database).verify()
        return Look(database.where, SCHEMA, findings.rows, len(store.waiting(0, 100_000)), shelves)


def back_up(where: str, target: str) -> Backup:
    """Copy a store into one file while others write; see `state.backup.back_up`."""
    return backup.back_up(where, target)


def restore(source: str, where: str, *, force: bool = False) -> Backup:
    """Bring a backup back; see `state.backup.restore`."""
    return backup.restore(source, where, force=force)


def compact(where: str) -> int:
    """Fold everything that waits into chunks; returns how many ticks that were."""
    with opened(where) as database:
        store = SliceStore(database)
        folded = 0
        while more := store.compact():
            folded += more
        return folded


def export(where: str, target: str) -> int:
    """Write every slice of a store to a Parquet file; returns how many.

    Columns: ``track``, ``series``, ``start`` (UTC), ``step_s``, ``scale``, ``bad``, ``total``, ``covered``.

    Raises:
        UsageError: pyarrow is not installed, or the file is there already.
    """

    def stretches(database: Database) -> Iterator[_Stretch]:
        store = SliceStore(database)
        for number, key in store.records().items():
            (found,) = store.read([number])
            columns = {"bad": found.bad, "total": found.total, "covered": found.covered}
            yield _Stretch(key.name, number, key.scale, found.start, key.step_s, columns)

    return _written(where, target, {"bad": np.int64, "total": np.int64, "covered": np.bool_}, stretches)


def export_hours(where: str, target: str) -> int:
    """Write what slices that were let go of added up to, hour by hour, to a Parquet file; returns how many hours.

    Columns as those of `export`, but ``known`` (slices that were measured) and ``slices`` (all of them, gaps included)
    in place of ``covered``; ``step_s`` is the length of an hour.

    Raises:
        UsageError: pyarrow is not installed, or the file is there already.
    """

    def stretches(database: Database) -> Iterator[_Stretch]:
        hours = HourStore(database)
        for number, key in SliceStore(database).records().items():
            found = hours.read(number, key.step_s, key.scale)
            columns = {"bad": found.bad, "total": found.total, "known": found.known, "slices": found.slices}
            yield _Stretch(key.name, number, key.scale, found.start, found.step_s, columns)

    return _written(where, target, dict.fromkeys(("bad", "total", "known", "slices"), np.int64), stretches)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What is exported of one record: consecutive steps of one length from *start*, each with its figures."""

    track: str
    series: int
    scale: int
    start: int
    step_s: int
    columns: Mapping[str, npt.NDArray[Any]]


def _written(
    where: str, target: str, kinds: Mapping[str, type], stretches: Callable[[Database], Iterable[_Stretch]]
) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise UsageError("Parquet needs pyarrow, which is not installed", remedy="install tightrope[parquet]") from None
    if Path(target).exists():
        raise UsageError(f"{target} is there already", remedy="give another name")
    moment = pa.timestamp("s", tz="UTC")
    schema = pa.schema(
        [
            ("track", pa.dictionary(pa.int32(), pa.string())),
            ("series", pa.int32()),
            ("start", moment),
            ("step_s", pa.int32()),
            ("scale", pa.int64()),
            *((name, pa.from_numpy_dtype(kind)) for name, kind in kinds.items()),
        ]
    )
    written = 0
    with opened(where) as database, pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for one in stretches(database):
            count = len(one.columns["total"])
            if not count:
                continue
            columns = [
                pa.array([one.track] * count, pa.string()).dictionary_encode(),
                pa.array([one.series] * count, pa.int32()),
                pa.array(one.start + one.step_s * np.arange(count)).cast(moment),
                pa.array([one.step_s] * count, pa.int32()),
                pa.array([one.scale] * count, pa.int64()),
                *(pa.array(one.columns[name]) for name in kinds),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            written += count
    return written


def examine(
    specs: Callable[[], Specs], where: str, ask: Callable[[str], tuple[bool, str]] | None = None
) -> Iterator[Check]:
    """Look at everything that a running Tightrope rests on, one thing after the other.

    Args:
        specs: Reads the specs; what it raises is a check that failed.
        where: The store; empty: none to look at.
        ask: Asks a server whether it is ready; None: there is none to ask.
    """
    try:
        found = specs()
    except TightropeError as error:
        yield Check("specs", "x", error.message, error.remedy or "`tightrope validate` shows every finding")
    else:
        slos = len(found.slos)
        mark = "!" if found.warnings else "ok"
        said = f"{slos} SLO{'s' if slos != 1 else ''} in {len(found.files)} files, {len(found.warnings)} warnings"
        yield Check("specs", mark, said, "`tightrope validate` shows them" if found.warnings else "")
        yield from _sources(found)
    if where:
        yield from _store(where)
    if ask is not None:
        ready, said = ask("/readyz")
        yield Check("server", "ok" if ready else "x", said, "" if ready else "look at its log; is it started?")


def _sources(specs: Specs) -> Iterator[Check]:
    from tightrope.specs.openslo import sources_of
    from tightrope.telemetry.usecases import read_many

    by_source: dict[str, tuple[str, Slo]] = {}
    for slo in specs.slos:
        for source in sources_of(slo):
            by_source.setdefault(source.name, (source.type.lower(), slo))
    at = now()
    for name, (kind, slo) in sorted(by_source.items()):
        label = f"source {name}"
        if kind in RECEIVED:
            yield Check(label, "ok", f"{kind}: is sent to the server, nothing to ask")
            continue
        request = Request(slo, slo.objectives[0])
        try:
            (reading,) = read_many([request], since=at - HOUR_S if kind in {"prometheus", "sql", "probe"} else None)
        except TightropeError as error:
            yield Check(label, "x", error.message, error.remedy)
            continue
        slices = reading.slices
        if not slices.covered.any():
            yield Check(label, "!", f"answers, but has nothing for {slo.name} lately", "check the query and its labels")
            continue
        age = at - slices.end
        if age < -MINUTE_S * 10:
            said = f"the newest slice of {slo.name} ends {span_text(-age)} in the future"
            yield Check(label, "!", said, "compare the clocks of both machines")
        else:
            stale = age > max(DAY_S, slo.stale_after * slices.step_s)
            said = f"answers; the newest slice of {slo.name} is {span_text(max(0, age))} old"
            yield Check(label, "!" if stale else "ok", said, "is anything written there still?" if stale else "")


def _store(where: str) -> Iterator[Check]:
    try:
        look = look_into(where)
    except TightropeError as error:
        yield Check("store", "x", error.message, error.remedy)
        return
    newest = max((one.end for one in look.shelves if one.end is not None), default=None)
    said = f"schema {look.schema}, {len(look.shelves)} records" + (f", newest {time_text(newest)}" if newest else "")
    yield Check("store", "ok", said)
    if look.waiting:
        yield Check("inbox", "ok", f"{look.waiting:,} deliveries wait to be counted")
    with opened(where) as database:
        yield from _ticks(SliceStore(database))
        past = HourStore(database).kept()
        if past.start is not None and past.end is not None:
            many = "s" * (past.records != 1)
            said = f"{past.records} record{many} by the hour from {time_text(past.start)} to {time_text(past.end)}"
            yield Check("past", "ok", f"{said}, {past.size / 2**20:.1f} MiB")
        broken = Journal(database).verify().broken
    if broken:
        row = broken[0]
        yield Check("journal", "x", f"row {row.sequence} {row.what}", "`tightrope audit verify` tells everything")
    else:
        yield Check("journal", "ok", f"{look.journal_rows:,} rows, the chain holds")
    if "://" not in where:
        free = shutil.disk_usage(where).free
        said = f"{free / 2**30:.1f} GiB free"
        yield Check("disk", "ok" if free > _LEAST_ROOM else "!", said, "" if free > _LEAST_ROOM else "make room")


def _ticks(store: SliceStore) -> Iterator[Check]:
    names = {number: key.name for number, key in store.records().items()}
    for harm in store.damaged():
        if harm.series is None:
            whose = "whose slices are in it cannot be told, so no record can be read"
        else:
            found = sorted({names.get(number, f"record {number}") for number in harm.series.tolist()})
            more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
            whose = f"what cannot be read is {', '.join(found[:_TOLD])}{more}"
        yield Check("slices", "x", f"{harm.error.message}; {whose}", harm.error.remedy)


def worst(checks: Sequence[Check]) -> int:
    """The exit code: 2 where something fails, else 0."""
    return 2 if any(one.mark == "x" for one in checks) else 0
