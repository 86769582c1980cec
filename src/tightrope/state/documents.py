"""Applied documents: specs that came through the server, version by version; an older version is never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, Table, Text, func, select, text

from tightrope.state.tables import TABLES

_CHANGING = 0x7469_6768_7472_6F72  # any fixed number: whoever changes documents on PostgreSQL takes this lock
_DOCUMENT = Table(
    "document",
    TABLES,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("withdrawn", Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """One version of a document: its YAML text, since when, and who applied it; a withdrawn one counts no more."""

    kind: str
    name: str
    version: int
    text: str
    etag: str
    at: int
    actor: str
    withdrawn: bool = False


def etag_of(content: str) -> str:
    """The tag that names a text: 16 hex digits of its sha256."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def newest(connection: Connection) -> list[Kept]:
    """The newest version of every document that was ever applied, withdrawn ones too, by kind and name."""
    top = select(_DOCUMENT.c.kind, _DOCUMENT.c.name, func.max(_DOCUMENT.c.version).label("version")).group_by(
        _DOCUMENT.c.kind, _DOCUMENT.c.name
    )
    last = top.subquery()
    query = select(_DOCUMENT).join(
        last,
        (_DOCUMENT.c.kind == last.c.kind) & (_DOCUMENT.c.name == last.c.name) & (_DOCUMENT.c.version == last.c.version),
    )
    return [Kept(*row) for row in connection.execute(query.order_by(_DOCUMENT.c.kind, _DOCUMENT.c.name))]


def versions(connection: Connection, kind: str, name: str) -> list[Kept]:
    """Every version of one document, newest first."""
    query = select(_DOCUMENT).where(_DOCUMENT.c.kind == kind, _DOCUMENT.c.name == name)
    return [Kept(*row) for row in connection.execute(query.order_by(_DOCUMENT.c.version.desc()))]


def hold_in(connection: Connection) -> None:
    """Let nobody else change documents until this transaction ends; on SQLite that goes without saying."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHANGING})


def keep_in(connection: Connection, documents: Sequence[Kept]) -> None:
    """Add versions; the caller has made sure, after `hold_in`, that each is one more than the newest."""
    for one in documents:
        connection.execute(
            _DOCUMENT.insert().values(
                kind=one.kind,
                name=one.name,
                version=one.version,
                text=one.text,
                etag=one.etag,
                at=one.at,
                actor=one.actor,
                withdrawn=one.withdrawn,
            )
        )
