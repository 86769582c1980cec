"""A backup is whole while others write, is checked, comes back, and writes over nothing."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.state.worlds import event, filled, found, journal, tamper
from tightrope.base.errors import ConflictError, NotFoundError, StoreError, UsageError
from tightrope.state.backup import back_up, restore
from tightrope.state.database import FILE, opened
from tightrope.state.journal import Journal


def test_a_backup_comes_back_as_it_was(tmp_path: Path) -> None:
    filled(str(tmp_path / "store"), 50)
    made = back_up(str(tmp_path / "store"), str(tmp_path / "copy.db"))
    assert (made.rows, made.size) == (50, (tmp_path / "copy.db").stat().st_size)
    with journal(str(tmp_path / "store")) as one:
        one.append([event(51)])
    back = restore(str(tmp_path / "copy.db"), str(tmp_path / "other"))
    assert back.head == made.head == found(str(tmp_path / "other")).head
    assert found(str(tmp_path / "store")).rows == 51


def test_a_backup_is_of_one_instant_though_others_write(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    filled(store, 300)
    done = threading.Event()

    def write() -> None:
        with journal(store) as one:
            number = 300
            while not done.is_set():
                number += 1
                one.append([event(number)])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        made = [back_up(store, str(tmp_path / f"copy{number}.db")) for number in range(3)]
    finally:
        done.set()
        thread.join()
    assert made[0].rows >= 300
    assert [one.rows for one in made] == sorted(one.rows for one in made)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    filled(str(tmp_path / "store"), 1)
    back_up(str(tmp_path / "store"), str(tmp_path / "copy.db"))
    with pytest.raises(ConflictError, match="is there already"):
        back_up(str(tmp_path / "store"), str(tmp_path / "copy.db"))
    with pytest.raises(ConflictError, match="there is a store in"):
        restore(str(tmp_path / "copy.db"), str(tmp_path / "store"))
    assert restore(str(tmp_path / "copy.db"), str(tmp_path / "store"), force=True).rows == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy.db", "store"]


def test_the_store_of_a_running_server_is_not_replaced(tmp_path: Path) -> None:
    where = str(tmp_path / "store")
    filled(where, 5)
    back_up(where, str(tmp_path / "copy.db"))
    with opened(where) as database, database.held_alone():
        with pytest.raises(StoreError, match="another server runs on"):
            restore(str(tmp_path / "copy.db"), where, force=True)
        filled(where, 8)
    with opened(where) as database:
        assert Journal(database).verify().rows == 8, "what the server wrote meanwhile is still there"
    assert restore(str(tmp_path / "copy.db"), where, force=True).rows == 5


def test_a_damaged_backup_is_told(tmp_path: Path) -> None:
    filled(str(tmp_path / "store"), 20)
    back_up(str(tmp_path / "store"), str(tmp_path / "copy.db"))
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        copy.execute("UPDATE journal SET subject = 'other' WHERE sequence = 7")
    copy.close()
    with pytest.raises(StoreError, match="row 7 does not match its hash"):
        restore(str(tmp_path / "copy.db"), str(tmp_path / "other"))
    (tmp_path / "copy.db").write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="is damaged"):
        restore(str(tmp_path / "copy.db"), str(tmp_path / "other"))
    assert not (tmp_path / "other" / FILE).exists()


def test_a_journal_that_does_not_hold_is_told_when_it_is_copied(tmp_path: Path) -> None:
    filled(str(tmp_path / "store"), 5)
    tamper(str(tmp_path / "store"), "UPDATE journal SET time = 0 WHERE sequence = 3")
    with pytest.raises(StoreError, match="row 3"):
        back_up(str(tmp_path / "store"), str(tmp_path / "copy.db"))
    assert not (tmp_path / "copy.db").exists()


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        back_up(str(tmp_path / "none"), str(tmp_path / "copy.db"))
    with pytest.raises(NotFoundError):
        restore(str(tmp_path / "none.db"), str(tmp_path / "store"))
    with pytest.raises(UsageError) as told:
        back_up("postgresql://me@localhost/x", str(tmp_path / "copy.db"))
    assert "pg_dump" in told.value.remedy


def test_a_backup_stays_as_it_is_when_it_comes_back(tmp_path: Path) -> None:
    filled(str(tmp_path / "store"), 20)
    copy = tmp_path / "copy.db"
    back_up(str(tmp_path / "store"), str(copy))
    with closing(sqlite3.connect(copy)) as one:  # as a tool that knows nothing of our settings may leave it
        one.execute("PRAGMA journal_mode = DELETE")
    before = copy.read_bytes()
    restore(str(copy), str(tmp_path / "other"))
    assert copy.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy.db", "other", "store"]
