"""The state store: SQLite in a directory, or PostgreSQL for teams; opened, migrated, and never half written.

Every failure of the database leaves this module as a `StoreError` that says what to do.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, inspect, make_url, text

from tightrope.base.errors import NotFoundError, StoreError, TightropeError, UsageError

FILE = "tightrope.db"
"""The name of the SQLite file in the directory that the user gave."""

SCHEMA = "0012"
"""The newest migration that this version knows."""

VERSION_TABLE = "tightrope_version"
PATIENCE_S = 5
"""For how long a writer waits for another one, seconds."""

_MIGRATING = 0x7469_6768_7472_6F70  # any fixed number: PostgreSQL's advisory locks are told apart by it
_SERVING = _MIGRATING + 1
_TRIES, _PAUSE_S = 50, 0.1


@dataclass(frozen=True, slots=True)
class Database:
    """An open store. ``where`` is how people know it: a file, or an address without its password."""

    engine: Engine
    where: str
    _turn: RLock = field(default_factory=RLock, repr=False, compare=False)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees one state of the store, whoever writes meanwhile."""
        with _told(self.where), self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def held_alone(self) -> Iterator[None]:
        """Be the one server of this store until the block ends; the right ends with the process, however that ends.

        Raises:
            StoreError: Another process serves from it.
        """
        if self.engine.dialect.name == "postgresql":
            with _told(self.where), self.engine.connect() as connection:
                if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _SERVING}).scalar():
                    raise _served(self.where)
                connection.commit()
                yield
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _SERVING})
            return
        with alone_in(Path(self.where).parent):
            yield

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that is on the disk when this block ends, all of it; or, after an error, none of it."""
        connect = self.engine.execution_options(tightrope_writes=True).connect
        # SQLite has one writer at a time: threads of one process hand over at once here, where SQLite itself would nap.
        one_by_one = self._turn if self.engine.dialect.name == "sqlite" else nullcontext()
        with one_by_one, _told(self.where), connect() as connection, connection.begin():
            yield connection


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the one that serves the SQLite store in *folder*, or puts another in its place, until the block ends.

    Raises:
        StoreError: Another process does so.
    """
    import fcntl

    with (folder / "serving").open("w", encoding="utf-8") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _served(str(folder / FILE)) from None
        yield


def _served(where: str) -> StoreError:
    return StoreError(f"another server runs on {where}", remedy="end it first, or give this one a store of its own")


@contextmanager
def opened(where: str, *, create: bool = False, patience_s: float = PATIENCE_S) -> Iterator[Database]:
    """Open the store and bring its tables up to date.

    Args:
        where: A directory, which holds the SQLite file, or ``postgresql://user@host/database``.
        create: Make the directory and an empty store where there is none.
        patience_s: For how long to wait for another process that writes, seconds.

    Raises:
        UsageError: *where* is an address of another kind of database.
        NotFoundError: There is no store, and *create* is false.
        StoreError: It can't be opened or written, is no store, or was written by a newer version.
    """
    engine, shown = (
        _server(where, patience_s) if "://" in where else _file(Path(where), create=create, patience_s=patience_s)
    )
    try:
        database = Database(engine, shown)
        _bring_up_to_date(database)
        yield database
    finally:
        engine.dispose()


def _server(where: str, patience_s: float) -> tuple[Engine, str]:
    remedy = "give a directory, or postgresql://user@host/database"
    try:
        url = make_url(where)
    except (exc.ArgumentError, ValueError):
        raise UsageError("the address of the store can't be read", remedy=remedy) from None
    if url.drivername not in {"postgresql", "postgres"}:
        raise UsageError(f"{_shown(url)} is no store that Tightrope knows", remedy=remedy)
    options = f"-c lock_timeout={int(patience_s * 1000)}"
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={"connect_timeout": max(2, int(patience_s)), "options": options},
        )
    except ModuleNotFoundError:
        raise UsageError(
            "PostgreSQL needs a driver that is not installed", remedy="pip install 'tightrope[postgresql]'"
        ) from None
    return engine, _shown(url)


def _file(folder: Path, *, create: bool, patience_s: float) -> tuple[Engine, str]:
    path = folder / FILE
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise NotFoundError(
                f"there is no store in {folder}", remedy="`tightrope gate SERVICE --data DIR` makes one"
            )
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{folder} is not a directory", remedy="give a directory to keep the store in") from None
    except OSError as error:
        raise StoreError(
            f"the store in {folder} cannot be reached: {error.strerror}", remedy="give a directory that can be written"
        ) from None
    engine = create_engine(URL.create("sqlite+pysqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        _prepare(connection, patience_s)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("tightrope_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine, str(path)


def _prepare(connection: sqlite3.Connection, patience_s: float) -> None:
    """Make a connection safe: what was committed is on the disk, and only we begin transactions."""
    connection.isolation_level = None
    # Bytes that are no text must reach the journal's check as a difference, not as an error of the driver.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    connection.execute(f"PRAGMA busy_timeout = {int(patience_s * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    _turn_on_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")


def _turn_on_wal(connection: sqlite3.Connection) -> None:
    """Switch a new file to a write-ahead log; SQLite does not wait by itself when another process does the same."""
    for left in reversed(range(_TRIES)):
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or not left:
                raise
            time.sleep(_PAUSE_S)


# --- migrations ----------------------------------------------------------------------------------------------------


def _bring_up_to_date(database: Database) -> None:
    with database.reading() as connection:
        if _revision(connection, database.where) == SCHEMA:
            return
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
        if _revision(connection, database.where) != SCHEMA:  # else another process was quicker
            _migrate(connection, database.where)


def _revision(connection: Connection, where: str) -> str | None:
    """The store's migration, None for an empty store; raises `StoreError` for one that we must not touch."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  a constant
    if found is not None and found > SCHEMA:
        raise StoreError(
            f"{where} was written by a newer version of Tightrope: its schema is {found}, this version knows {SCHEMA}",
            remedy="upgrade Tightrope, or give another directory",
        )
    return found


def _migrate(connection: Connection, where: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    scripts = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", scripts.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"{where} is no store that this version can bring up to date: {error}", remedy="give another directory"
        ) from None


# --- errors --------------------------------------------------------------------------------------------------------

_SQLITE = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "let that process end, and try again"),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", "let that process end, and try again"),
    sqlite3.SQLITE_READONLY: ("cannot be written", "give a directory that can be written"),
    sqlite3.SQLITE_PERM: ("cannot be written", "give a directory that can be written"),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "make room; nothing that was recorded is lost"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "give a directory that can be read and written"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "restore it from a backup; keep the damaged file to find out why"),
    sqlite3.SQLITE_NOTADB: ("is not a database", "move that file away, or give another directory"),
}


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Turn what a database complains of into one clear message."""
    try:
        yield
    except TightropeError:
        raise
    except exc.TimeoutError:  # of our own pool: too many transactions at once
        raise StoreError(f"{where} is asked too much at once", remedy="try again in a moment") from None
    except (exc.DBAPIError, sqlite3.Error) as error:
        origin = error.orig if isinstance(error, exc.DBAPIError) else error
        if isinstance(origin, sqlite3.Error):
            what, remedy = _SQLITE.get(_code(origin), (f"cannot be used: {origin}", ""))
            raise StoreError(f"{where} {what}", remedy=remedy) from None
        raise _refused(where, error, origin) from None


def _refused(where: str, error: BaseException, origin: Any) -> StoreError:
    """What PostgreSQL says: lost connections are told apart from refusals by the missing SQLSTATE."""
    said = str(origin).strip().splitlines()
    first = said[0] if said else type(error).__name__
    state = getattr(origin, "sqlstate", None)
    if state == "55P03":
        return StoreError(f"{where} is locked by another process", remedy="let that process end, and try again")
    if state is None:
        return StoreError(
            f"{where} cannot be reached: {first}", remedy="look at the address, and whether the server is up"
        )
    return StoreError(f"{where} refused: {first}", remedy="look at the rights of the user and at the server's log")


def _code(error: sqlite3.Error) -> int:
    """The primary result code: the low byte of the extended one."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)
