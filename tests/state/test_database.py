"""The store opens, comes up to date, and says clearly why it can't."""

from __future__ import annotations

import importlib
import pkgutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event as events
from sqlalchemy import inspect

import tightrope
import tightrope.state
from tests.state.worlds import event, filled, found, journal, tamper
from tightrope.base.errors import NotFoundError, StoreError, UsageError
from tightrope.state.database import FILE, SCHEMA, VERSION_TABLE, opened
from tightrope.state.journal import Journal
from tightrope.state.tables import TABLES


def _refusal(where: Path | str, *, create: bool = True) -> StoreError:
    with pytest.raises(StoreError) as told, opened(str(where), create=create, patience_s=0.1):
        pass
    return told.value


def test_migrations_make_the_tables_that_all_stores_use(store: str) -> None:
    for module in pkgutil.walk_packages(tightrope.__path__, "tightrope."):
        room, _, last = module.name.rpartition(".")
        if last == "store" or room == "tightrope.state":
            importlib.import_module(module.name)
    with opened(store, create=True) as database, database.reading() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), TABLES) == []
        assert inspect(connection).has_table(VERSION_TABLE)


def test_this_version_knows_its_newest_migration() -> None:
    (room,) = tightrope.state.__path__
    assert ScriptDirectory(str(Path(room) / "migrations")).get_current_head() == SCHEMA


def test_a_store_of_a_newer_version_is_left_alone(store: str) -> None:
    filled(store, 1)
    tamper(store, f"UPDATE {VERSION_TABLE} SET version_num = '0099'")
    error = _refusal(store)
    assert "was written by a newer version of Tightrope: its schema is 0099" in error.message
    assert error.remedy.startswith("upgrade Tightrope")


def test_a_store_of_nobody_knows_what_version_is_left_alone(store: str) -> None:
    filled(store, 1)
    tamper(store, f"UPDATE {VERSION_TABLE} SET version_num = '0000'")
    assert "is no store that this version can bring up to date" in _refusal(store).message


def test_where_there_is_no_store_none_is_made_for_reading(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no store in"), opened(str(tmp_path / "none")):
        pass
    assert not (tmp_path / "none").exists()


def test_what_is_committed_is_on_the_disk(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database, database.reading() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2 is FULL


@pytest.mark.parametrize("contents", [b"time,good,total\n" * 100, b"\x00" * 4096])
def test_a_file_that_is_no_database_is_told(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / FILE).write_bytes(contents)
    assert _refusal(tmp_path).message == f"{tmp_path / FILE} is not a database"
    assert (tmp_path / FILE).read_bytes() == contents


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert _refusal(tmp_path / "file").message == f"{tmp_path / 'file'} is not a directory"
    assert _refusal(tmp_path / "file" / "deeper").message.endswith("is not a directory")


def test_a_folder_that_cannot_be_made_is_told() -> None:
    error = _refusal("/proc/tightrope-store")
    assert error.message.startswith("the store in /proc/tightrope-store cannot be reached")


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    assert _refusal(tmp_path).message == f"{tmp_path / FILE} cannot be opened"


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    filled(str(tmp_path), 1)
    with opened(str(tmp_path)) as database:
        events.listen(database.engine, "begin", lambda one: one.exec_driver_sql("PRAGMA query_only = ON"))
        with pytest.raises(StoreError, match="cannot be written"):
            Journal(database).append([event(2)])
    assert found(str(tmp_path)).rows == 1


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    filled(str(tmp_path), 1)
    with opened(str(tmp_path)) as database:
        events.listen(database.engine, "begin", lambda one: one.exec_driver_sql("PRAGMA max_page_count = 1"))
        with pytest.raises(StoreError, match="cannot grow: the disk is full"):
            Journal(database).append([event(number, data={"says": "x" * 1000}) for number in range(2, 100)])
    assert (found(str(tmp_path)).rows, found(str(tmp_path)).broken) == (1, ())


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    filled(str(tmp_path), 200)
    path = tmp_path / FILE
    contents = bytearray(path.read_bytes())
    contents[4096:] = b"\xff" * (len(contents) - 4096)
    path.write_bytes(contents)
    with pytest.raises(StoreError, match="is damaged"):
        found(str(tmp_path))


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the file as another process does in the middle of a long write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_store_locked_by_another_process_is_told(tmp_path: Path) -> None:
    filled(str(tmp_path), 1)
    with opened(str(tmp_path), patience_s=0.1) as database, _held(tmp_path / FILE):
        assert Journal(database).verify().rows == 1  # readers are not in anybody's way
        with pytest.raises(StoreError, match="is locked by another process"):
            Journal(database).append([event(2)])


@pytest.mark.parametrize("address", ["mysql://somebody:secret@host/x", "postgresql+asyncpg://somebody:secret@host/x"])
def test_another_kind_of_database_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(UsageError, match="no store that Tightrope knows") as told, opened(address):
        pass
    assert "secret" not in told.value.message


@pytest.mark.parametrize("address", ["://", "postgresql://host:port/x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="the address of the store can't be read"), opened(address):
        pass


def test_a_server_that_is_not_there_is_told_without_its_password() -> None:
    error = _refusal("postgresql://somebody:secret@127.0.0.1:1/x")
    assert error.message.startswith("postgresql://somebody:***@127.0.0.1:1/x cannot be reached")
    assert "secret" not in error.message + error.remedy


@pytest.mark.live
def test_a_database_that_the_server_does_not_have_is_told(postgresql: str) -> None:
    assert 'database "nowhere" does not exist' in _refusal(f"{postgresql}/nowhere").message


@pytest.mark.live
def test_a_locked_journal_on_a_server_is_told(new_database: object) -> None:
    where: str = new_database()  # type: ignore[operator]
    filled(where, 1)
    with opened(where) as other, other.writing() as connection:
        connection.exec_driver_sql("SELECT * FROM journal_head FOR UPDATE")
        with opened(where, patience_s=0.1) as database, pytest.raises(StoreError, match="is locked by another process"):
            Journal(database).append([event(2)])


def test_without_the_driver_of_postgresql_it_is_named() -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from tightrope.base.errors import UsageError\n"
        "from tightrope.state.database import opened\n"
        "try:\n    opened('postgresql://host/x').__enter__()\n"
        "except UsageError as error:\n    print(error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'tightrope[postgresql]'"


def test_a_folder_with_a_percent_sign_is_a_folder(tmp_path: Path) -> None:
    with journal(str(tmp_path / "50%(home)s?#")) as one:
        assert one.append([event(1)]) == (1,)
    assert (tmp_path / "50%(home)s?#" / FILE).exists()


def test_more_transactions_than_there_are_connections_are_told(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database, ExitStack() as held:
        database.engine.pool._timeout = 0.1  # type: ignore[attr-defined]  # half a minute otherwise
        for _ in range(15):
            held.enter_context(database.reading())
        with pytest.raises(StoreError, match="too much at once"):
            held.enter_context(database.reading())


def test_one_store_has_one_server_at_a_time(store: str) -> None:
    with opened(store, create=True) as one, opened(store) as other:
        with one.held_alone(), pytest.raises(StoreError, match="another server runs on"), other.held_alone():
            pass
        with other.held_alone():
            pass
