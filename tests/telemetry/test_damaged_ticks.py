"""A tick that is damaged is told to whoever wants its records, and is no matter of others."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from tests.state.conftest import new_database, postgresql, store  # noqa: F401  fixtures
from tightrope.base.errors import DataError
from tightrope.loop.usecases import examine
from tightrope.specs.model import Specs
from tightrope.state.database import Database, opened
from tightrope.telemetry.store import Batch, SeriesKey, SliceStore
from tightrope.telemetry.ticks import Damage, tick_bytes, tick_of

BIG = st.integers(0, 2**62)
ROWS = st.lists(st.tuples(st.integers(1, 2**31 - 1), st.integers(0, 2**34 - 1), BIG, st.booleans()), min_size=1)


def batch(ids: list[int], slot: int, total: int) -> Batch:
    whole = np.ones(len(ids), np.int64)
    return Batch(np.array(ids, np.int32), whole * slot, whole * 0, whole * total, np.ones(len(ids), np.bool_))


def columns(one: Batch) -> list[list[int]]:
    return [column.tolist() for column in (one.series, one.slot, one.bad, one.total, one.covered)]


def drawn(rows: list[tuple[int, int, int, bool]]) -> Batch:
    series, slot, total, covered = (np.array(column) for column in zip(*rows, strict=True))
    total = total * covered
    return Batch(series.astype(np.int32), slot, total // 3, total, covered)


def harm(database: Database, sequence: int, at: int) -> None:
    """Flip one byte of a tick, counted from its end where *at* is below 0."""
    with database.writing() as connection:
        where = {"s": sequence}
        rows = bytearray(
            connection.execute(text("SELECT rows FROM slice_tick WHERE sequence = :s"), where).scalar_one()
        )
        rows[at] ^= 0x55
        connection.execute(text("UPDATE slice_tick SET rows = :r WHERE sequence = :s"), {**where, "r": bytes(rows)})


@given(ROWS)
def test_a_tick_is_read_as_it_was_written(rows: list[tuple[int, int, int, bool]]) -> None:
    found = tick_of(1, tick_bytes(drawn(rows)))
    assert isinstance(found, Batch)
    assert columns(found) == columns(drawn(rows))


@given(ROWS, st.data())
def test_no_damage_is_taken_for_slices_and_no_other_record_is_blamed(
    rows: list[tuple[int, int, int, bool]], data: st.DataObject
) -> None:
    whole = tick_bytes(drawn(rows))
    at = data.draw(st.integers(0, len(whole) - 1))
    hurt = bytearray(whole)
    hurt[at] ^= data.draw(st.integers(1, 255))
    for blob in (bytes(hurt), whole[:at]):
        found = tick_of(7, blob)
        assert isinstance(found, Damage)
        assert found.series is None or sorted(found.series.tolist()) == sorted(series for series, *_ in rows)
        assert all(found.concerns(series) for series, *_ in rows)


def test_ticks_of_earlier_versions_are_read_still() -> None:
    one = batch(list(range(1, 301)), 29_000_000, 5)
    arrays = (one.series.astype("<i4"), one.slot, one.bad, one.total, one.covered.astype(np.uint8))
    plain = b"".join(array.tobytes() for array in arrays)
    head = struct.pack("<BI", 1, 300)
    narrow = [one.series.astype("<u2").view(np.uint8).reshape(-1, 2).T.tobytes(), one.total.astype(np.uint8).tobytes()]
    shuffled = zlib.compress(b"".join([*narrow, one.covered.astype(np.uint8).tobytes()]))
    for blob in (
        head + plain,
        struct.pack("<BI", 2, 300) + zlib.compress(plain),
        struct.pack("<BI", 3, 300) + struct.pack("<qBBBB", 29_000_000, 2, 0, 0, 1) + shuffled,
    ):
        found = tick_of(1, blob)
        assert isinstance(found, Batch)
        assert columns(found) == columns(one)
    assert isinstance(tick_of(1, head + plain[:-1]), Damage)
    assert isinstance(tick_of(1, b""), Damage)


def test_whoever_wants_another_record_reads_writes_folds_and_prunes_on(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as database:
        slices = SliceStore(database)
        ids = slices.admit([SeriesKey(f"slo-{number}", "d", 60) for number in range(5)])
        slices.write(batch(ids, 10, 1))
        slices.write(batch(ids[:2], 11, 2))
        slices.write(batch(ids[2:], 11, 3))
        harm(database, 2, -3)
        for again in range(3):
            for one in (slices, SliceStore(database)):
                for number in ids[:2]:
                    with pytest.raises(DataError, match=r"tick 2 of slices cannot be read"):
                        one.read([number])
                    with pytest.raises(DataError, match=r"tick 2 of slices"):
                        one.sums([number], 0, 10**9)
                assert [found.total.tolist() for found in one.read(ids[2:])] == [[1, 3, *range(again)]] * 3
                assert [one.sequence for one in one.damaged()] == [2]
                assert one.spans(ids)[4] == (600, 60 * (12 + again))
            slices.write(batch(ids, 12 + again, again))
            assert slices.compact()
            assert not slices.compact()
        assert slices.prune(10**9, ids) == 15


def test_a_tick_of_which_nobody_knows_whose_it_is_is_told_to_all(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        slices = SliceStore(database)
        ids = slices.admit([SeriesKey(f"slo-{number}", "d", 60) for number in range(2)])
        slices.write(batch(ids[:1], 10, 1))
        harm(database, 1, 2)
        for number in ids:
            with pytest.raises(DataError, match="tick 1 of slices"):
                slices.read([number])


def test_doctor_names_the_tick_and_what_cannot_be_read(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        slices = SliceStore(database)
        ids = slices.admit([SeriesKey(f"slo-{number}", "d", 60) for number in range(9)])
        slices.write(batch(ids, 10, 1))
        slices.write(batch(ids[:7], 11, 1))
        assert "slices" not in {one.name for one in examine(Specs, str(tmp_path))}
        harm(database, 2, -1)
    (told,) = [one for one in examine(Specs, str(tmp_path)) if one.name == "slices"]
    assert told.mark == "x"
    assert told.says == (
        "tick 2 of slices cannot be read: it is damaged; "
        "what cannot be read is slo-0, slo-1, slo-2, slo-3, slo-4 and 2 more"
    )
    assert "backup" in told.remedy
