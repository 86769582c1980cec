"""Backup of a SQLite store while it is written to, and its way back. PostgreSQL has tools of its own for that."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tightrope.base.errors import ConflictError, NotFoundError, StoreError, UsageError
from tightrope.state.database import FILE, alone_in, opened
from tightrope.state.journal import Journal

_PAGES = 2000


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made or brought back: where, how large in bytes, and the journal in it."""

    path: str
    size: int
    rows: int
    head: str


def back_up(where: str, target: str) -> Backup:
    """Copy a SQLite store into one file, as of one instant, while others write; and check the copy.

    Raises:
        UsageError: The store is a server. NotFoundError: There is no store.
        ConflictError: There is a file already.
        StoreError: The copy is damaged, or the target cannot be written.
    """
    source, copy = _file_of(where), Path(target)
    if copy.exists():
        raise ConflictError(f"{copy} is there already", remedy="give another name; a backup is never written over")
    partial = copy.with_name(copy.name + ".partial")
    try:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(partial)) as other:
            one.backup(other, pages=_PAGES)
            other.execute("PRAGMA journal_mode = DELETE")
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        found = _checked(partial, str(copy))
        partial.replace(copy)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{copy} cannot be written: {error}", remedy="look at the folder and the room there") from None
    finally:
        partial.unlink(missing_ok=True)
    return found


def restore(source: str, where: str, *, force: bool = False) -> Backup:
    """Bring a backup back as the store in *where*; the backup is checked first, and stays as it is.

    Raises:
        NotFoundError: There is no backup. ConflictError: There is a store already, and *force* is false.
        StoreError: The backup is damaged, or a server runs on the store that it would take the place of.
    """
    copy = Path(source)
    if not copy.is_file():
        raise NotFoundError(f"there is no backup {copy}", remedy="`tightrope store backup FILE` makes one")
    if "://" in where:
        raise UsageError("a backup file is of a SQLite store", remedy=_SERVER)
    target = Path(where) / FILE
    if target.exists() and not force:
        raise ConflictError(f"there is a store in {where} already", remedy="give another folder, or --force")
    partial = target.with_name(FILE + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(copy)) as one, closing(sqlite3.connect(partial)) as other:
            one.backup(other)
        found = _checked(partial, str(copy))  # the copy of it: checking may bring its tables up to date
        with alone_in(target.parent):
            for ending in ("-wal", "-shm"):
                target.with_name(FILE + ending).unlink(missing_ok=True)
            partial.replace(target)
    except sqlite3.Error as error:
        raise StoreError(f"{copy} is damaged: {error}", remedy="take another backup") from None
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error}", remedy="look at the folder and the room there"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return Backup(str(target), target.stat().st_size, found.rows, found.head)


_SERVER = "for PostgreSQL use pg_dump --format=custom and pg_restore: the store is an ordinary database"


def _file_of(where: str) -> Path:
    if "://" in where:
        raise UsageError("the store is a PostgreSQL database", remedy=_SERVER)
    with opened(where) as database:  # tells clearly what is wrong with it
        return Path(database.where)


def _checked(path: Path, shown: str) -> Backup:
    """Hold a copy against its own checks: SQLite's, and the journal's chain."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as copy:
        try:
            said = copy.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.Error as error:
            said = str(error)
    if said != "ok":
        raise StoreError(f"{shown} is damaged: {said}", remedy="take another backup")
    folder = path.parent / (path.name + ".check")
    folder.mkdir()
    try:
        os.link(path, folder / FILE)
        with opened(str(folder)) as database:
            findings = Journal(database).verify()
    finally:
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()
    if findings.broken:
        first = findings.broken[0]
        raise StoreError(
            f"the journal in {shown} does not hold: row {first.sequence} {first.what}",
            remedy="`tightrope audit verify` on the store tells more",
        )
    return Backup(shown, path.stat().st_size, findings.rows, findings.head)
