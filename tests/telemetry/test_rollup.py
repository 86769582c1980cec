"""What is let go of stays as sums by the hour: exact, once, and whatever happens meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from tests.conftest import ROOT
from tests.state.conftest import new_database, postgresql, store  # noqa: F401  fixtures
from tightrope.base.errors import DataError
from tightrope.sli.hours import Hours, added, by_the_hour, hour_s
from tightrope.sli.slices import Slices
from tightrope.state.database import Database, opened
from tightrope.telemetry.rollup.blocks import pack, unpack
from tightrope.telemetry.rollup.store import HourStore
from tightrope.telemetry.store import Batch, SeriesKey, SliceStore

DAY = 1440
DAY_S = 86_400


class Both:
    """Slices and hours of one store."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.slices, self.hours = SliceStore(database), HourStore(database)

    def fold(self, connection: Connection, series: int, slices: Slices) -> None:
        self.hours.fold_in(connection, series, by_the_hour(slices))

    def prune(self, before: int) -> int:
        while self.slices.compact():
            pass
        return self.slices.prune(before, None, self.fold)

    def sums(self, number: int) -> tuple[int, int, int]:
        """Bad, total and measured slices of all there ever was, hours and slices together."""
        (rest,) = self.slices.read([number])
        hours = self.hours.read(number, rest.step_s, rest.scale)
        return (
            int(hours.bad.sum() + rest.bad.sum()),
            int(hours.total.sum() + rest.total.sum()),
            int(hours.known.sum() + rest.covered.sum()),
        )


@contextmanager
def both_in(where: str) -> Iterator[Both]:
    with opened(where, create=True) as database:
        found = Both(database)
        yield found
        found.slices.close()


def rows_of(number: int, first: int, bad: list[int], total: list[int], covered: list[bool]) -> Batch:
    count = len(total)
    return Batch(
        np.full(count, number, np.int32),
        np.arange(first, first + count),
        np.array(bad, np.int64),
        np.array(total, np.int64),
        np.array(covered, np.bool_),
    )


def random_rows(number: int, first: int, count: int, seed: int) -> Batch:
    chance = np.random.default_rng(seed)
    covered = chance.random(count) < 0.9
    total = chance.poisson(40, count) * covered
    return Batch(
        np.full(count, number, np.int32),
        np.arange(first, first + count),
        chance.binomial(total, 0.05).astype(np.int64),
        total.astype(np.int64),
        covered,
    )


@given(
    st.integers(0, 500),
    st.sampled_from([7, 60, 300, 3600, 7200, 86_400]),
    st.lists(st.tuples(st.integers(0, 3), st.integers(3, 9), st.booleans()), max_size=700),
    st.lists(st.integers(0, 700), max_size=4),
)
def test_hours_of_parts_are_the_hours_of_the_whole(
    first: int, step: int, rows: list[tuple[int, int, bool]], cuts: list[int]
) -> None:
    bad, total, covered = (np.array([row[at] for row in rows], np.int64) for at in range(3))
    mask = covered.astype(np.bool_)
    whole = Slices(first * step, step, bad * mask, total * mask, mask)
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    found = by_the_hour(whole.between(whole.start, whole.start))
    for low, high in pairwise(edges):
        found = added(found, by_the_hour(whole.between(whole.start + low * step, whole.start + high * step)))
    wanted = by_the_hour(whole)
    assert len(found) == len(wanted)
    for one, other in zip(found.columns, wanted.columns, strict=True):
        assert one.tolist() == other.tolist()
    assert int(found.slices.sum()) == len(rows)
    assert found.step_s == hour_s(step)
    assert (found.bad.sum(), found.total.sum(), found.known.sum()) == (whole.bad.sum(), whole.total.sum(), mask.sum())
    again = unpack(found.start, found.step_s, 1, pack(found))
    assert [one.tolist() for one in again.columns] == [one.tolist() for one in found.columns]


def test_a_damaged_block_says_so() -> None:
    five = np.arange(5)
    blob = pack(Hours(0, 3600, five, five, five, five))
    for wrong in (blob[:-3], b"", blob[:4] + bytes([9]) + blob[5:]):
        with pytest.raises(DataError, match="a block of hours cannot be read"):
            unpack(0, 3600, 1, wrong)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 5 * DAY), st.integers(1, 400), st.integers(0, 99)),
        st.tuples(st.just("let go"), st.integers(0, 6), st.just(0), st.just(0)),
        st.tuples(st.just("open anew"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=10,
)


@given(STEPS)
@settings(max_examples=20, phases=(Phase.explicit, Phase.generate))
def test_nothing_is_lost_or_doubled_whatever_is_written_and_let_go_of(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, int]]
) -> None:
    where = str(tmp_path_factory.mktemp("store"))
    wanted: dict[int, tuple[int, int]] = {}
    begin = 0
    with opened(where, create=True) as database:
        one = Both(database)
        (number,) = one.slices.admit([SeriesKey("a", "d", 60)])
        late = 0
        for step, first, count, seed in steps:
            if step == "open anew":
                one = Both(database)
                late = 0
            elif step == "let go":
                one.prune(first * DAY_S)
                before = begin
                begin = (one.slices.begin_of(number) or 0) // 60
                assert before <= begin <= max(before, first * DAY)
            else:
                rows = random_rows(number, first, count, seed)
                one.slices.write(rows)
                late += int((rows.slot < begin).sum())
                for slot, bad, total, covered in zip(rows.slot, rows.bad, rows.total, rows.covered, strict=True):
                    if slot >= begin:  # what was summed up stays as it was
                        wanted.pop(int(slot), None)
                        if covered:
                            wanted[int(slot)] = int(bad), int(total)
        assert one.sums(number) == (
            sum(bad for bad, _ in wanted.values()),
            sum(total for _, total in wanted.values()),
            len(wanted),
        )
        assert one.slices.too_late == late


def test_hours_tell_of_every_hour_what_its_slices_added_up_to(store: str) -> None:  # noqa: F811
    with both_in(store) as one:
        ids = one.slices.admit([SeriesKey(name, "d", 60) for name in "ab"])
        records = [random_rows(number, 700 + number, 3 * DAY, number) for number in ids]
        for rows in records:
            one.slices.write(rows)
        before = [one.slices.read([number])[0] for number in ids]
        assert one.prune(3 * DAY_S + 3600) == sum(int((rows.slot < 3 * DAY).sum()) for rows in records)
        assert one.prune(3 * DAY_S + 3600) == 0
        for number, raw in zip(ids, before, strict=True):
            assert one.slices.begin_of(number) == 3 * DAY_S
            hours = one.hours.read(number, 60, 1)
            wanted = by_the_hour(raw.between(raw.start, 3 * DAY_S))
            assert [column.tolist() for column in hours.columns] == [column.tolist() for column in wanted.columns]
        kept = one.hours.kept()
        assert (kept.records, kept.hours, kept.start, kept.end) == (2, 2 * 61, 11 * 3600, 3 * DAY_S)
        assert one.hours.prune(DAY_S) == 0, "a block that is wanted in part is kept whole"
        assert one.hours.prune(3 * DAY_S) == 2
        assert one.hours.kept().start is None


def test_a_correction_of_what_was_summed_up_is_told_as_too_late(store: str) -> None:  # noqa: F811
    with both_in(store) as one:
        (number,) = one.slices.admit([SeriesKey("a", "d", 60)])
        one.slices.write(random_rows(number, 0, 2 * DAY, 1))
        sums = one.sums(number)
        one.prune(DAY_S)
        one.slices.write(random_rows(number, DAY - 10, 10, 2))
        assert one.slices.too_late == 10
        assert one.sums(number) == sums
        with both_in(store) as other:  # one who starts later knows as much
            other.slices.admit([SeriesKey("a", "d", 60)])
            other.slices.write(random_rows(number, 5, 10, 2))
            assert other.slices.too_late == 10
            assert other.sums(number) == sums


def test_who_does_not_know_yet_what_was_let_go_of_doubles_nothing(store: str) -> None:  # noqa: F811
    with both_in(store) as one, both_in(store) as other:
        (number,) = one.slices.admit([SeriesKey("a", "d", 60)])
        other.slices.admit([SeriesKey("a", "d", 60)])
        one.slices.write(random_rows(number, 0, 3 * DAY, 1))
        sums = one.sums(number)
        one.prune(DAY_S)
        other.slices.write(random_rows(number, 5, 10, 2))
        assert other.slices.too_late == 0
        one.prune(2 * DAY_S)
        assert one.sums(number) == sums


def test_a_record_that_cannot_be_read_stays_and_holds_up_no_other(tmp_path: Path) -> None:
    with both_in(str(tmp_path)) as one:
        ids = one.slices.admit([SeriesKey(name, "d", 60) for name in "abc"])
        for number in ids:
            one.slices.write(random_rows(number, 0, 2 * DAY, number))
        while one.slices.compact():
            pass
        sums = [one.sums(number) for number in ids]
        with one.database.writing() as connection:
            connection.execute(text(f"UPDATE slice_chunk SET rows = x'00' WHERE series = {ids[1]} AND chunk = 0"))
        assert one.prune(2 * DAY_S) == 4 * DAY
        assert [one.slices.begin_of(number) for number in ids] == [2 * DAY_S, None, 2 * DAY_S]
        assert [one.sums(ids[at]) for at in (0, 2)] == [sums[0], sums[2]]


@pytest.mark.timeout(120)
def test_a_kill_while_slices_are_summed_up_loses_and_doubles_nothing(store: str) -> None:  # noqa: F811
    with both_in(store) as one:
        ids = one.slices.admit([SeriesKey(f"slo-{number}", "d", 60) for number in range(8)])
        for number in ids:
            one.slices.write(random_rows(number, 0, 60 * DAY, number))
        while one.slices.compact():
            pass
        wanted = [one.sums(number) for number in ids]
    command = [sys.executable, "-m", "tests.telemetry.pruner", store]
    for days in (5, 17, 30, 44):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            assert process.stdout is not None
            for _ in range(days):
                process.stdout.readline()
            process.kill()  # in the midst of a later day
        with both_in(store) as one:
            one.slices.records()
            assert [one.sums(number) for number in ids] == wanted
            begins = [one.slices.begin_of(number) or 0 for number in ids]
            assert days * DAY_S <= min(begins) <= max(begins) <= 60 * DAY_S
