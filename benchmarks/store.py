"""How much room slices take, and how quickly they are written, folded and read: on SQLite, on this disk."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.tables import figure, seconds, show
from benchmarks.traffic import START, traffic
from tightrope.app import load_specs
from tightrope.base.units import DAY_S, MINUTE_S
from tightrope.sli.slices import Slices
from tightrope.state.database import FILE, opened
from tightrope.telemetry.chunks import Chunk, packed, per_chunk, unpacked
from tightrope.telemetry.plan import Request
from tightrope.telemetry.store import Batch, SeriesKey, SliceStore
from tightrope.telemetry.usecases import read_many

DAYS = 30
_DIFFERENT = 50  # synthetic records that are made; a larger fleet repeats them, shifted by a day each time round
_ROUNDS = 7
_REAL = Path(__file__).resolve().parent.parent / "examples" / "real" / "slo"
_COLD = """
import sys, time
from tightrope.state.database import opened
from tightrope.telemetry.store import SliceStore
begin = time.perf_counter()
with opened(sys.argv[1]) as database:
    store = SliceStore(database)
    found = store.read(sorted(store.records()))
print(time.perf_counter() - begin, sum(map(len, found)))
"""


def _fleet(slos: int) -> list[Slices]:
    different = [traffic(number, DAYS) for number in range(min(slos, _DIFFERENT))]
    fleet = []
    for number in range(slos):
        one, days = different[number % _DIFFERENT], number // _DIFFERENT % DAYS
        shift = days * DAY_S // MINUTE_S
        fleet.append(Slices(START, one.step_s, np.roll(one.bad, shift), np.roll(one.total, shift), one.covered))
    return fleet


def _real() -> list[Slices]:
    specs = load_specs([str(_REAL)])
    requests = [Request(slo, objective) for slo in specs.slos for objective in slo.objectives]
    return [reading.slices for reading in read_many(requests) if len(reading.slices)]


def _batch(ids: Sequence[int], records: Sequence[Slices], rows: slice = slice(None)) -> Batch:
    """The same stretch of several records, one after another."""
    slots = [(one.start // one.step_s + np.arange(len(one), dtype=np.int64))[rows] for one in records]
    return Batch(
        np.repeat(np.array(ids, np.int32), [len(one) for one in slots]),
        np.concatenate(slots),
        np.concatenate([one.bad[rows] for one in records]),
        np.concatenate([one.total[rows] for one in records]),
        np.concatenate([one.covered[rows] for one in records]),
    )


def _admitted(store: SliceStore, records: Sequence[Slices]) -> list[int]:
    keys = [SeriesKey(f"slo-{number}", "benchmark", one.step_s, one.scale) for number, one in enumerate(records)]
    return store.admit(keys)


def _median(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _folded(store: SliceStore) -> float:
    begin = time.perf_counter()
    while store.compact():
        pass
    return time.perf_counter() - begin


def _room(folder: Path) -> int:
    """Bytes of the file once the write-ahead log is empty."""
    with opened(str(folder)) as database, database.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return (folder / FILE).stat().st_size


def _same(found: Sequence[Slices], records: Sequence[Slices]) -> None:
    """What was measured is read as it was written: a fast store that is wrong has no figures."""
    for one, wanted in zip(found, records, strict=True):
        assert one.start == wanted.start
        assert np.array_equal(one.covered, wanted.covered)
        assert np.array_equal(one.bad, wanted.bad * wanted.covered)
        assert np.array_equal(one.total, wanted.total * wanted.covered)


def _codec(fleet: Sequence[Slices]) -> list[list[str]]:
    chunks = [
        Chunk(0, one.bad[at : at + per], one.total[at : at + per], one.covered[at : at + per])
        for one in fleet[:_DIFFERENT]
        for per in [per_chunk(one.step_s)]
        for at in range(0, len(one), per)
    ]
    rows = sum(map(len, chunks))
    blobs = [packed(one) for one in chunks]
    pack = _median(lambda: [packed(one) for one in chunks])
    unpack = _median(lambda: [unpacked(0, blob) for blob in blobs])
    size = sum(map(len, blobs))
    return [
        ["pack chunks (no database)", figure(rows / pack) + "/s", f"{size / rows:.2f} bytes a slice"],
        ["unpack chunks (no database)", figure(rows / unpack) + "/s", ""],
    ]


def _history(folder: Path, fleet: Sequence[Slices]) -> list[list[str]]:
    """Take in a whole window as a backfill does, fold it, read it."""
    rows = sum(map(len, fleet))
    with opened(str(folder), create=True) as database:
        store = SliceStore(database)
        ids = _admitted(store, fleet)
        batches = [_batch(ids[at : at + 20], fleet[at : at + 20]) for at in range(0, len(fleet), 20)]
        wrote = 0.0
        folded = 0.0
        for one in batches:  # folded as it comes, as the loop does: ticks never pile up
            begin = time.perf_counter()
            store.write(one)
            wrote += time.perf_counter() - begin
            folded += _folded(store)
    with opened(str(folder)) as database:
        store = SliceStore(database)
        _same(store.read(ids[: _DIFFERENT * 2]), fleet[: _DIFFERENT * 2])
        all_of = _median(lambda: store.read(ids), 3)
        one_of = _median(lambda: store.read([ids[-1]]))
        start, end = fleet[0].start + 7 * DAY_S + 5 * MINUTE_S, fleet[0].end - 11 * MINUTE_S
        sums = _median(lambda: store.sums([ids[-1]], start, end))
        sums_of_all = _median(lambda: store.sums(ids, start, end)) if len(ids) <= 100 else None
    command = [sys.executable, "-c", _COLD, str(folder)]
    cold, count = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(count) == rows
    size = _room(folder)
    label = f"{len(fleet):,} SLOs x {DAYS} d"
    found = [
        [f"write {label}, durable", figure(rows / wrote) + "/s", seconds(wrote)],
        ["fold it into chunks", figure(rows / folded) + "/s", seconds(folded)],
        ["read all of it", figure(rows / all_of) + "/s", seconds(all_of)],
        ["read all of it, new process", figure(rows / float(cold)) + "/s", seconds(float(cold))],
        [f"read one SLO's {DAYS} d", figure(len(fleet[0]) / one_of) + "/s", seconds(one_of)],
        ["sums of one SLO, two edges", "", seconds(sums)],
    ]
    if sums_of_all is not None:
        found.append([f"sums of {len(ids)} SLOs, two edges", "", seconds(sums_of_all)])
    found.append(["the file, everything in it", "", f"{size / rows:.2f} bytes an SLO-minute"])
    return found


def _from(record: Slices, at: int, count: int) -> Slices:
    """So many slices of a record from another place on, as if they were its first."""
    rows = (at + np.arange(count)) % len(record)
    return Slices(record.start, record.step_s, record.bad[rows], record.total[rows], record.covered[rows])


def _live(folder: Path, slos: int, minutes: int = 30) -> list[list[str]]:
    """A minute after another for a whole fleet, read in between, folded at the end."""
    different = _fleet(min(slos, _DIFFERENT))
    # each at another time of its month: a fleet that repeats itself would be packed far too small
    shift = [number // len(different) * 97 for number in range(slos)]
    fleet = [_from(different[number % len(different)], shift[number], minutes) for number in range(slos)]
    with opened(str(folder), create=True) as database:
        store = SliceStore(database)
        ids = _admitted(store, fleet)
        before = _room(folder)
        ticks = [_batch(ids, fleet, slice(minute, minute + 1)) for minute in range(minutes)]
        taken = []
        for one in ticks:
            begin = time.perf_counter()
            store.write(one)
            taken.append(time.perf_counter() - begin)
        size = _room(folder) - before
        begin = time.perf_counter()
        store.read([ids[0]])
        first = time.perf_counter() - begin
        later = _median(lambda: store.read([ids[0]]))
        folded = _folded(store)
    rows = slos * minutes
    return [
        [f"write a minute of {slos:,} SLOs, durable", figure(slos / statistics.median(taken)) + "/s",
         f"{seconds(statistics.median(taken))}, longest {seconds(max(taken))}"],
        [f"{minutes} minutes as ticks, not folded", "", f"{size / rows:.2f} bytes an SLO-minute"],
        ["read one SLO from them, first time", "", seconds(first)],
        ["read one SLO from them, again", "", seconds(later)],
        [f"fold {minutes} minutes of {slos:,} SLOs", figure(rows / folded) + "/s", seconds(folded)],
    ]  # fmt: skip


def _recorded(folder: Path) -> list[list[str]]:
    records = _real()
    rows = sum(map(len, records))
    minutes = sum(len(one) * one.step_s for one in records) // MINUTE_S
    with opened(str(folder), create=True) as database:
        store = SliceStore(database)
        ids = _admitted(store, records)
        for number, one in zip(ids, records, strict=True):
            store.write(_batch([number], [one]))
            _folded(store)
        _same(store.read(ids), records)
    size = _room(folder)
    return [
        [f"{len(records)} records of examples/real", f"{rows:,} slices", f"{size:,} bytes"],
        ["a slice, whatever its length", "", f"{size / rows:.2f} bytes"],
        ["an SLO-minute of the stretch told of", f"{minutes:,} minutes", f"{size / minutes:.2f} bytes"],
    ]


def main(arguments: Sequence[str] = ()) -> None:
    """Print rows a second in and out, bytes an SLO-minute, and how long the usual questions take."""
    parser = argparse.ArgumentParser(prog="benchmarks.store")
    parser.add_argument("--slos", type=int, default=1000, help="size of the fleet whose window is kept and read")
    parser.add_argument("--live", type=int, default=10_000, help="size of the fleet that is written minute by minute")
    options = parser.parse_args(arguments)
    fleet = _fleet(options.slos)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        header = ["what", "slices", "took"]
        small = fleet[:_DIFFERENT]
        show("Chunks, packed and unpacked", ["what", "slices", "size"], _codec(fleet))
        show(f"Kept for {len(small)} SLOs", header, _history(folder / "small", small))
        if len(fleet) > len(small):
            show(f"Kept for {len(fleet):,} SLOs", header, _history(folder / "large", fleet))
        show("As it comes, minute by minute", header, _live(folder / "live", options.live))
        show("Recorded data", ["what", "of", "size"], _recorded(folder / "real"))


if __name__ == "__main__":
    main(sys.argv[1:])
