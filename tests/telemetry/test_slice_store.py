"""Slices are kept as they were written last, whatever was folded, corrected, killed or read meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as events

from tests.conftest import ROOT
from tests.state.conftest import new_database, postgresql, store  # noqa: F401  fixtures
from tightrope.base.errors import StoreError
from tightrope.sli.slices import Slices
from tightrope.state.database import opened
from tightrope.telemetry.store import Batch, SeriesKey, SliceStore

DAY = 1440


@contextmanager
def slices_in(where: str) -> Iterator[SliceStore]:
    with opened(where, create=True) as database:
        found = SliceStore(database)
        yield found
        found.close()


def batch(*rows: tuple[int, int, int, int, bool]) -> Batch:
    """Rows of (series, slot, bad, total, covered)."""
    table = np.array(rows, np.int64).reshape(-1, 5)
    return Batch(table[:, 0].astype(np.int32), table[:, 1], table[:, 2], table[:, 3], table[:, 4].astype(np.bool_))


def shown(slices: Slices) -> dict[int, tuple[int, int]]:
    """The covered slices by their number."""
    first = slices.start // slices.step_s
    return {first + at: (int(slices.bad[at]), int(slices.total[at])) for at in range(len(slices)) if slices.covered[at]}


def test_a_record_keeps_its_id(store: str) -> None:  # noqa: F811
    keys = [SeriesKey("a", "d1", 60), SeriesKey("b", "d1", 60), SeriesKey("a", "d2", 60), SeriesKey("a", "d1", 300)]
    with slices_in(store) as one:
        ids = one.admit(keys)
        assert len(set(ids)) == 4
    with slices_in(store) as one:
        assert one.admit(list(reversed(keys))) == list(reversed(ids))
        assert one.known([("b", "d1"), ("a", "d1"), ("c", "d1")]) == [(ids[1], 60, 1), (ids[3], 300, 1), None]


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4 * DAY), st.integers(0, 5), st.integers(5, 9), st.booleans()),
    min_size=1,
    max_size=30,
)


@given(st.lists(st.one_of(ROWS, st.just("fold"), st.just("open anew")), max_size=8), st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_read_is_what_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, steps: list[object], data: st.DataObject
) -> None:
    where = str(tmp_path_factory.mktemp("store"))
    wanted: list[dict[int, tuple[int, int]]] = [{}, {}, {}]
    with opened(where, create=True) as database:
        one = SliceStore(database)
        ids = one.admit([SeriesKey(name, "d", 60) for name in "abc"])
        for step in steps:
            if step == "fold":
                one.compact()
            elif step == "open anew":
                one = SliceStore(database)
            else:
                rows: list[tuple[int, int, int, int, bool]] = step  # type: ignore[assignment]
                one.write(batch(*((ids[at], slot, bad, total, covered) for at, slot, bad, total, covered in rows)))
                for at, slot, bad, total, covered in rows:
                    wanted[at].pop(slot, None)
                    if covered:
                        wanted[at][slot] = bad, total
        assert [shown(found) for found in one.read(ids)] == wanted
        start = data.draw(st.integers(0, 4 * DAY)) * 60
        end = start + data.draw(st.integers(0, 4 * DAY)) * 60
        part = [
            {slot: row for slot, row in each.items() if start <= slot * 60 and (slot + 1) * 60 <= end}
            for each in wanted
        ]
        assert [shown(found) for found in one.read(ids, start, end)] == part
        bad_sums, totals, covered_sums = one.sums(ids, start, end)
        assert bad_sums.tolist() == [sum(row[0] for row in each.values()) for each in part]
        assert totals.tolist() == [sum(row[1] for row in each.values()) for each in part]
        assert covered_sums.tolist() == [len(each) for each in part]


def test_folding_leaves_what_is_read_as_it_is(store: str) -> None:  # noqa: F811
    with slices_in(store) as one:
        (number,) = one.admit([SeriesKey("a", "d", 60)])
        for slot in range(DAY - 5, DAY + 5):
            one.write(batch((number, slot, 1, 10, True)))
        one.write(batch((number, DAY, 0, 0, False), (number, DAY + 1, 7, 8, True)))
        before = shown(one.read([number])[0])
        assert one.compact() == 11
        assert one.compact() == 0
        assert shown(one.read([number])[0]) == before
        assert one.spans([number]) == [((DAY - 5) * 60, (DAY + 5) * 60)]
        one.write(batch((number, DAY + 2, 3, 3, True)))
        with slices_in(store) as other:
            assert shown(other.read([number])[0]) == before | {DAY + 2: (3, 3)}


def test_who_reads_while_somebody_folds_sees_everything(store: str) -> None:  # noqa: F811
    with slices_in(store) as one, slices_in(store) as reader:
        (number,) = one.admit([SeriesKey("a", "d", 60)])
        wrong: list[int] = []
        done = threading.Event()
        kept = 0

        def look() -> None:
            while not done.is_set():
                least = kept
                found = len(shown(reader.read([number])[0]))
                if found < least:
                    wrong.append(found)

        thread = threading.Thread(target=look)
        thread.start()
        for slot in range(150):
            one.write(batch((number, slot, 0, 1, True)))
            kept = slot + 1
            if slot % 20 == 19:
                one.compact()
        done.set()
        thread.join()
        assert wrong == []


def test_only_whole_chunks_are_let_go_of(store: str) -> None:  # noqa: F811
    with slices_in(store) as one:
        (number,) = one.admit([SeriesKey("a", "d", 60)])
        one.write(batch(*((number, slot, 0, 1, True) for slot in range(3 * DAY))))
        one.compact()
        assert one.prune(2 * DAY * 60 + 3600) == 2 * DAY
        assert one.spans([number]) == [(2 * DAY * 60, 3 * DAY * 60)]


@pytest.mark.timeout(120)
def test_a_kill_loses_nothing_that_was_kept(store: str) -> None:  # noqa: F811
    with slices_in(store):
        pass
    command = [sys.executable, "-m", "tests.telemetry.slice_writer", store]
    for round_s in (0.7, 1.1, 0.9):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(round_s)
            process.kill()
            told = [int(line) for line in (first + process.stdout.read()).split()]
        with slices_in(store) as one:
            ids = sorted(one.records())
            for found in one.read(ids):
                slices = shown(found)
                assert set(told) <= set(slices)
                assert all(total == slot + 1 for slot, (_, total) in slices.items())


def test_what_was_received_waits_in_its_order_and_is_known_again(store: str) -> None:  # noqa: F811
    with slices_in(store) as one:
        first = one.receive("push", b"a", 5, dedup="x")
        second = one.receive("otlp", b"b", 6)
        assert one.receive("push", b"other", 7, dedup="x") == first
        assert second > first
        assert [(row.kind, row.body, row.received_at) for row in one.waiting(0, 10)] == [
            ("push", b"a", 5),
            ("otlp", b"b", 6),
        ]
        assert [row.body for row in one.waiting(0, 10, kinds=["otlp"])] == [b"b"]
    with opened(store) as database:
        one = SliceStore(database)
        with database.writing() as connection:
            one.drop_received(connection, first)
            one.save_state_in(connection, "counting", b"\x00state")
        assert [row.sequence for row in one.waiting(0, 10)] == [second]
        assert one.load_state("counting") == b"\x00state"
        assert one.load_state("nothing") is None


def test_many_who_send_at_once_share_a_commit(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        commits = 0

        def count(_: object) -> None:
            nonlocal commits
            commits += 1

        one = SliceStore(database)
        one.receive("push", b"", 0)
        events.listen(database.engine, "commit", count)
        threads = [threading.Thread(target=one.receive, args=("push", b"x", 0)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert commits < 40
        assert len(one.waiting(0, 100)) == 41
        one.close()


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        one = SliceStore(database)
        (number,) = one.admit([SeriesKey("a", "d", 60)])
        one.write(batch((number, 1, 0, 1, True)))
        events.listen(database.engine, "begin", lambda each: each.exec_driver_sql("PRAGMA max_page_count = 1"))
        rows = [
            (number, slot, 0, int(total), True)
            for slot, total in enumerate(np.random.default_rng(1).integers(1, 2**60, 9000))
        ]
        with pytest.raises(StoreError, match="the disk is full"):
            one.write(batch(*rows))
        assert shown(one.read([number])[0]) == {1: (0, 1)}
