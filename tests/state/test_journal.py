"""The journal keeps what was written, in order, and names every row that is not as it was."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.state.worlds import NOON, broken, event, filled, found, journal, tamper
from tightrope.base.errors import DataError, StoreError, UsageError
from tightrope.state.database import FILE, opened
from tightrope.state.journal import GENESIS, Entry, cloud_event

TEXTS = ("id", "source", "type", "subject", "data", "previous", "hash")


# --- writing and reading -------------------------------------------------------------------------------------------


def test_what_was_written_is_read_back_exactly(store: str) -> None:
    events = [event(number) for number in range(1, 4)]
    with journal(store) as one:
        assert one.append(events[:2]) == (1, 2)
        assert one.append(events[2:]) == (3,)
    with journal(store) as one:
        entries = list(one.read())
    assert [entry.event for entry in entries] == events
    assert [entry.sequence for entry in entries] == [1, 2, 3]
    assert entries[0].previous == GENESIS
    assert all(later.previous == earlier.hash for earlier, later in pairwise(entries))


def test_an_empty_journal_holds(store: str) -> None:
    findings = found(store)
    assert (findings.rows, findings.sequence, findings.head, findings.broken) == (0, 0, GENESIS, ())


def test_an_event_delivered_again_is_no_second_row(store: str) -> None:
    with journal(store) as one:
        assert one.append([event(1), event(2), event(1)]) == (1, 2, 1)
        later = event(2, time=NOON + 999)
        assert one.append([later, event(3)]) == (2, 3)
        assert one.append([event(2, source="/elsewhere")]) == (4,)
        assert [entry.event.time for entry in one.read()] == [NOON + 1, NOON + 2, NOON + 3, NOON + 2]
        assert one.verify().broken == ()


def test_one_id_cannot_mean_two_things_and_then_nothing_is_written(store: str) -> None:
    filled(store, 2)
    with journal(store) as one:
        with pytest.raises(DataError, match="e-2 of /tests is recorded already, as row 2, with other content"):
            one.append([event(3), event(2, data={"number": 5})])
        assert [entry.sequence for entry in one.read()] == [1, 2]


def test_rows_can_be_picked(store: str) -> None:
    filled(store, 9)
    with journal(store) as one:

        def picked(**which: object) -> list[int]:
            return [entry.sequence for entry in one.read(**which)]  # type: ignore[arg-type]

        assert picked(after=7) == [8, 9]
        assert picked(subject="search") == [2, 4, 6, 8]
        assert picked(subject="search", newest_first=True, limit=2) == [8, 6]
        assert picked(kind="dev.tightrope.other.v1") == []
        assert picked(since=NOON + 8) == [8, 9]
        assert picked(ids="e-3") == [3]
        assert picked(ids="e%") == []
        assert picked(limit=0) == []


@pytest.mark.parametrize("newest_first", [False, True])
def test_long_journals_are_read_in_pages_without_loss(store: str, newest_first: bool) -> None:
    filled(store, 1001)
    order = list(range(1, 1002))[:: -1 if newest_first else 1]
    with journal(store) as one:
        assert [entry.sequence for entry in one.read(newest_first=newest_first)] == order
        assert [entry.sequence for entry in one.read(newest_first=newest_first, limit=600)] == order[:600]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"data": {"parts": [{"share": 0.5}]}}, r"data\.parts\[0\]\.share is the float 0\.5"),
        ({"data": {"share": float("nan")}}, r"data\.share is the float nan"),
        ({"data": {"title": "\udcff"}}, "not valid UTF-8"),
        ({"subject": ""}, "its subject is ''"),
        ({"subject": "a\x00b"}, "its subject is"),
        ({"id": "\udcff"}, "its id is"),
        ({"time": 10**18}, "is in no calendar"),
    ],
)
def test_what_could_not_be_read_back_is_refused(tmp_path: Path, wrong: dict[str, object], says: str) -> None:
    with journal(str(tmp_path)) as one:
        with pytest.raises(DataError, match=says):
            one.append([event(1), event(2, **wrong)])
        assert list(one.read()) == []


@given(
    data=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_plain_data_survives(tmp_path: Path, data: dict[str, object]) -> None:
    name = hashlib.sha256(repr(data).encode()).hexdigest()
    with journal(str(tmp_path)) as one:
        (sequence,) = one.append([event(1, id=name, data=data)])
        (entry,) = one.read(after=sequence - 1, limit=1)
    assert entry.event.data == data


# --- as CloudEvents ------------------------------------------------------------------------------------------------


def _exported(store: str) -> list[dict[str, object]]:
    with journal(store) as one:
        return [cloud_event(entry) for entry in one.read()]


def test_an_export_is_cloudevents(store: str) -> None:
    filled(store, 3)
    first = _exported(store)[0]
    assert {key: first[key] for key in ("specversion", "id", "source", "type", "subject", "time")} == {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/tests",
        "type": "dev.tightrope.tests.happened.v1",
        "subject": "checkout",
        "time": "2026-03-01T12:00:01Z",
    }
    assert first["sequence"] == "000000000001"
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in first)


def test_the_chain_can_be_checked_from_an_export_alone(store: str) -> None:
    filled(store, 5)
    previous = "0" * 64
    for one in _exported(store):
        told = one.pop("hash")
        one.pop("sequence")
        assert one["previoushash"] == previous
        spelled = json.dumps(one, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        previous = hashlib.sha256(spelled.encode()).hexdigest()
        assert told == previous


# --- what a check finds --------------------------------------------------------------------------------------------


def _flipped(column: str) -> str:
    """SQL that changes one character of a column in row 4."""
    if column == "time":
        return "UPDATE journal SET time = time + 1 WHERE sequence = 4"
    middle = {"data": 3, "previous": 30, "hash": 30}.get(column, 2)
    rest = f"substr({column}, {middle + 1})"
    other = f"CASE substr({column}, {middle}, 1) WHEN 'f' THEN 'e' ELSE 'f' END"
    return f"UPDATE journal SET {column} = substr({column}, 1, {middle - 1}) || {other} || {rest} WHERE sequence = 4"


@pytest.mark.parametrize("column", [*TEXTS, "time"])
def test_one_changed_character_is_named_and_nothing_else(store: str, column: str) -> None:
    filled(store, 6)
    tamper(store, _flipped(column))
    assert broken(store) == {4: "does not match its hash: it was changed after it was written"}


def test_a_changed_row_is_not_shown_as_the_truth(store: str) -> None:
    filled(store, 6)
    tamper(store, _flipped("subject"))
    left_out: list[int] = []
    with journal(store) as one:
        shown = [entry.sequence for entry in one.read(left_out=lambda sequence, _: left_out.append(sequence))]
        with pytest.raises(StoreError, match=r"row 4 of the journal in .* does not match its hash"):
            list(one.read())
    assert (shown, left_out) == ([1, 2, 3, 5, 6], [4])


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["DELETE FROM journal WHERE sequence = 3"], {3: "is missing"}),
        (["DELETE FROM journal WHERE sequence IN (2, 3, 4)"], {2: "to 4 are missing"}),
        (["DELETE FROM journal WHERE sequence = 1"], {1: "is missing"}),
        (["DELETE FROM journal WHERE sequence > 4"], {5: "to 6 are missing from the end"}),
        (["DELETE FROM journal"], {1: "to 6 are missing from the end"}),
        (["DELETE FROM journal_head"], {None: "the head record is missing or damaged"}),
        (["UPDATE journal_head SET hash = 'x'"], {None: "the head record is missing or damaged"}),
        (
            ["UPDATE journal_head SET hash = (SELECT hash FROM journal WHERE sequence = 1)"],
            {6: "is not the row that the head record notes"},
        ),
        (
            [
                "UPDATE journal_head SET sequence = 5, hash = (SELECT hash FROM journal WHERE sequence = 5)",
            ],
            {6: "stands beyond the head of the journal, which is row 5"},
        ),
    ],
)
def test_missing_rows_are_named(store: str, statements: list[str], named: dict[int | None, str]) -> None:
    filled(store, 6)
    tamper(store, *statements)
    told = broken(store)
    assert list(told) == list(named)
    assert all(told[sequence].startswith(what) for sequence, what in named.items())


def test_swapped_rows_are_named(store: str) -> None:
    filled(store, 6)
    tamper(
        store,
        "UPDATE journal SET sequence = 99 WHERE sequence = 3",
        "UPDATE journal SET sequence = 3 WHERE sequence = 4",
        "UPDATE journal SET sequence = 4 WHERE sequence = 99",
    )
    told = broken(store)
    assert told[3] == "was written after row 4: the rows were re-ordered"
    assert told[4] == "was written after row 2: row 3 was inserted or moved"
    assert set(told) == {3, 4, 5}


def _forged(folder: Path) -> Entry:
    """A row that follows row 2 of a filled journal, as somebody would write it who knows how hashes are made."""
    with journal(str(folder)) as one:
        one.append([event(1), event(2), event(3, subject="forged", source="/tests/x")])
        return list(one.read())[2]


def test_an_inserted_row_is_named(store: str, tmp_path: Path) -> None:
    filled(store, 6)
    forged = _forged(tmp_path / "elsewhere")
    move = [f"UPDATE journal SET sequence = {number + 1} WHERE sequence = {number}" for number in (6, 5, 4, 3)]
    columns = f"3, id, '/tests/x', type, 'forged', time, data, '{forged.previous}', '{forged.hash}'"
    tamper(store, *move, f"INSERT INTO journal SELECT {columns} FROM journal WHERE id = 'e-3'")
    told = broken(store)
    assert told == {
        4: "was written after row 2: row 3 was inserted or moved",
        7: "stands beyond the head of the journal, which is row 6",
    }


def test_a_replaced_row_that_matches_its_own_hash_breaks_the_chain(store: str, tmp_path: Path) -> None:
    filled(store, 6)
    forged = _forged(tmp_path / "elsewhere")
    tamper(
        store, f"UPDATE journal SET subject = 'forged', source = '/tests/x', hash = '{forged.hash}' WHERE sequence = 3"
    )
    assert broken(store) == {4: "does not follow row 3: that row was replaced"}


def test_a_journal_written_anew_is_found_by_a_head_noted_elsewhere(store: str, tmp_path: Path) -> None:
    noted = filled(store, 6).head
    with journal(store) as one:
        one.append([event(7)])
    assert found(store, noted).broken == ()
    assert found(store, noted).noted == 6
    elsewhere = str(tmp_path / "elsewhere")
    with journal(elsewhere) as one:
        one.append([event(number, subject="forged") for number in range(1, 8)])
        assert one.verify().broken == ()  # a chain alone cannot tell
    assert broken(elsewhere, noted) == {None: f"no row has the hash that was noted elsewhere, {noted}"}


def test_a_head_that_is_none_is_refused(tmp_path: Path) -> None:
    filled(str(tmp_path), 1)
    with journal(str(tmp_path)) as one, pytest.raises(UsageError, match="'abc' is not the hash of a row"):
        one.verify("abc")


def test_a_journal_without_its_head_takes_no_more_rows(store: str) -> None:
    filled(store, 2)
    tamper(store, "DELETE FROM journal_head")
    with journal(store) as one, pytest.raises(StoreError, match="has lost its head record"):
        one.append([event(3)])


def test_a_truncated_tail_stays_visible_after_more_was_written(store: str) -> None:
    filled(store, 6)
    tamper(store, "DELETE FROM journal WHERE sequence > 4")
    with journal(store) as one:
        assert one.append([event(7)]) == (7,)
    assert broken(store) == {5: "to 6 are missing"}


@given(row=st.integers(1, 6), column=st.sampled_from(TEXTS), where=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_named(tmp_path: Path, row: int, column: str, where: int, bit: int) -> None:
    store = str(tmp_path)
    with journal(store) as one:  # ids that differ in two characters: one flipped bit makes no other row's id of them
        one.append([event(number, id=f"{number}{number}") for number in range(1, 7)])
    select = text(f"SELECT CAST({column} AS BLOB) FROM journal WHERE sequence = {row}")
    update = text(f"UPDATE journal SET {column} = CAST(:bytes AS TEXT) WHERE sequence = {row}")
    with opened(store) as database:
        with database.writing() as connection:
            before: bytes = connection.execute(select).scalar_one()
            place = where % len(before)
            after = before[:place] + bytes([before[place] ^ 1 << bit]) + before[place + 1 :]
            connection.execute(update, {"bytes": after})
        assert list(broken(store)) == [row]
        with database.writing() as connection:
            connection.execute(update, {"bytes": before})
    assert broken(store) == {}


@pytest.mark.parametrize("value", ["'noon'", "x'00ff'", "9223372036854775807", "1.5"])
def test_a_time_that_is_none_is_named(tmp_path: Path, value: str) -> None:
    filled(str(tmp_path), 3)
    tamper(str(tmp_path), f"UPDATE journal SET time = {value} WHERE sequence = 2")
    assert list(broken(str(tmp_path))) == [2]


def test_data_nested_without_end_is_named(tmp_path: Path) -> None:
    filled(str(tmp_path), 3)
    tamper(str(tmp_path), f"UPDATE journal SET data = '{'[' * 100_000}' WHERE sequence = 2")
    assert list(broken(str(tmp_path))) == [2]


def test_a_byte_flipped_in_the_file_is_named(tmp_path: Path) -> None:
    filled(str(tmp_path), 6)
    path = tmp_path / FILE
    contents = path.read_bytes()
    wanted = b'"number":4,'
    assert contents.count(wanted) == 1
    path.write_bytes(contents.replace(wanted, b'"number":5,'))
    assert list(broken(str(tmp_path))) == [4]
