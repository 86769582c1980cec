"""Journals to play with: small events, a store, and ways to change it behind the journal's back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import text

from tightrope.state.database import opened
from tightrope.state.journal import Event, Findings, Journal

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z


def event(number: int, **others: object) -> Event:
    """The event with that number; odd ones are about checkout, even ones about search."""
    subject = "checkout" if number % 2 else "search"
    data = {"number": number, "share": "1/3", "says": "größer als „nichts“", "known": None, "parts": [True, -1]}
    plain = Event(f"e-{number}", "/tests", "dev.tightrope.tests.happened.v1", subject, NOON + number, data)
    return replace(plain, **others)  # type: ignore[arg-type]


@contextmanager
def journal(where: str) -> Iterator[Journal]:
    with opened(where, create=True) as database:
        yield Journal(database)


def filled(where: str, rows: int) -> Findings:
    """Write so many events, and hand out what a check finds: nothing."""
    with journal(where) as one:
        one.append([event(number) for number in range(1, rows + 1)])
        return one.verify()


def found(where: str, head: str = "") -> Findings:
    with journal(where) as one:
        return one.verify(head)


def broken(where: str, head: str = "") -> dict[int | None, str]:
    """What a check says of each row that is not as it was written."""
    return {one.sequence: one.what for one in found(where, head).broken}


def tamper(where: str, *statements: str) -> None:
    """Change a store behind the journal's back."""
    with opened(where) as database, database.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))
