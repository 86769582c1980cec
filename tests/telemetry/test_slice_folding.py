"""Several at once at one store: whoever folds, writes or prunes meanwhile, no slice that was kept is lost."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.state.conftest import new_database, postgresql, store  # noqa: F401  fixtures
from tightrope.state.database import Database, opened
from tightrope.telemetry.chunks import unpacked
from tightrope.telemetry.store import Batch, SeriesKey, SliceStore

DAY = 1440
_RECORDS = 600  # more than are folded in one transaction


class Halting(SliceStore):
    """A store that folds a piece whenever it is told to, as a slow process would."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.reached = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def _laid_over(self, news: Sequence[tuple[int, int, Batch]]) -> list[dict[str, Any]]:
        found = super()._laid_over(news)
        self.reached.release()
        assert self.go.acquire(timeout=30)
        return found


def _all(ids: Sequence[int], slot: int, total: int) -> Batch:
    count = len(ids)
    whole = np.ones(count, np.int64)
    return Batch(np.array(ids, np.int32), whole * slot, whole * 0, whole * total, np.ones(count, np.bool_))


def _totals(where: str, ids: Sequence[int]) -> list[list[int]]:
    with opened(where) as database:
        one = SliceStore(database)
        seen = [found.total.tolist() for found in one.read(ids)]
        while one.compact():
            pass
        assert [found.total.tolist() for found in one.read(ids)] == seen
        return seen


def test_two_who_fold_at_once_lose_no_correction(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as first, opened(store) as second:
        slow, other = Halting(first), Halting(second)
        ids = slow.admit([SeriesKey(f"slo-{number}", "d", 60) for number in range(_RECORDS)])
        slow.write(_all(ids, 5, 1))
        threads = [threading.Thread(target=one.compact) for one in (slow, other)]
        threads[0].start()
        assert slow.reached.acquire(timeout=30)
        other.write(_all(ids, 5, 2))
        threads[1].start()
        assert other.reached.acquire(timeout=30)
        other.go.release()
        assert other.reached.acquire(timeout=30)  # the first piece is folded with the correction
        slow.go.release(9)
        slow.reached.acquire(timeout=1)  # an older row must not be folded over it now
        other.go.release(9)
        for thread in threads:
            thread.join(30)
    assert _totals(store, ids) == [[2]] * _RECORDS


def test_a_fold_that_broke_off_is_taken_up_by_the_next(store: str) -> None:  # noqa: F811
    class Broken(SliceStore):
        def _laid_over(self, news: Sequence[tuple[int, int, Batch]]) -> list[dict[str, Any]]:
            if news[0][0] > 1:
                raise KeyboardInterrupt
            return super()._laid_over(news)

    with opened(store, create=True) as database:
        one = Broken(database)
        ids = one.admit([SeriesKey(f"slo-{number}", "d", 60) for number in range(_RECORDS)])
        one.write(_all(ids, 5, 1))
        stopped = False
        try:
            one.compact()
        except KeyboardInterrupt:
            stopped = True
        assert stopped
        one.write(_all(ids, 5, 3))
    assert _totals(store, ids) == [[3]] * _RECORDS


def test_a_writer_who_ends_later_is_read_all_the_same(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as first, opened(store, patience_s=20) as second:
        one, other = SliceStore(first), SliceStore(second)
        (number,) = one.admit([SeriesKey("a", "d", 60)])

        def meanwhile() -> None:
            other.write(_all([number], 2, 1))
            other.read([number])
            other.compact()

        thread = threading.Thread(target=meanwhile)
        with first.writing() as connection:
            one.write_in(connection, _all([number], 1, 1))
            thread.start()
            thread.join(1)
        thread.join(30)
        assert other.read([number])[0].total.tolist() == [1, 1]
    assert _totals(store, [number]) == [[1, 1]]


def test_a_chunk_that_newer_ticks_lie_over_is_not_let_go_of(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        one = SliceStore(database)
        (number,) = one.admit([SeriesKey("a", "d", 60)])
        for day in range(3):
            one.write(_all([number] * DAY, 0, 7))
            rows = _all([number] * DAY, 0, 7)
            one.write(Batch(rows.series, np.arange(day * DAY, (day + 1) * DAY), rows.bad, rows.total, rows.covered))
        one.compact()
        one.write(_all([number], DAY + 3, 9))
        assert one.prune(3 * DAY * 60) == DAY
        assert one.spans([number]) == [(DAY * 60, 3 * DAY * 60)]
        one.compact()
        assert one.prune(3 * DAY * 60) == 2 * DAY
        assert one.spans([number]) == [None]
        assert len(one.read([number])[0]) == 0


def test_large_batches_are_read_as_small_ones_are(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    with opened(str(tmp_path), create=True) as database:
        one = SliceStore(database)
        ids = one.admit([SeriesKey(name, "d", 60) for name in "abc"])
        count = 900
        total = random.integers(0, 2 ** random.integers(1, 62, count))
        rows = Batch(
            np.array(ids, np.int32)[random.integers(0, 3, count)],
            29_000_000 + random.integers(0, 400, count),
            total // 2,
            total,
            random.random(count) < 0.9,
        )
        one.write(rows)
        with opened(str(tmp_path)) as again:
            large = SliceStore(again).read(ids)
        pieces = one.admit([SeriesKey(name, "in pieces", 60) for name in "abc"])
        for at in range(0, count, 30):
            part = slice(at, at + 30)
            series = np.array(pieces, np.int32)[rows.series[part] - min(ids)]
            one.write(Batch(series, rows.slot[part], rows.bad[part], rows.total[part], rows.covered[part]))
        for a, b in zip(large, one.read(pieces), strict=True):
            assert (a.start, a.bad.tolist(), a.total.tolist(), a.covered.tolist()) == (
                b.start, b.bad.tolist(), b.total.tolist(), b.covered.tolist(),
            )  # fmt: skip


def test_chunks_of_the_first_version_are_read() -> None:
    blob = bytes([1, 3, 0, 0, 0, 1, 1, 0]) + zlib.compress(bytes([5, 200, 7, 0, 1, 2]))
    found = unpacked(9, blob)
    assert (found.first, found.total.tolist(), found.bad.tolist()) == (9, [5, 200, 7], [0, 1, 2])
    assert found.covered.all()
