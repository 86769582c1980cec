"""The stores that access must behave alike on, as the journal's tests have them, and an identity provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.access.provider import Provider
from tests.state.conftest import new_database, postgresql, store
from tightrope.access.usecases import Access
from tightrope.state.database import Database, opened

__all__ = ["new_database", "postgresql", "store"]


@pytest.fixture
def database(store: str) -> Iterator[Database]:
    """An open store, on each kind of database."""
    with opened(store, create=True) as one:
        yield one


@pytest.fixture
def access(database: Database) -> Access:
    """Access to a store where payments owns checkout and refunds, and search owns search."""
    owned = {"payments": frozenset({"checkout", "refunds"}), "search": frozenset({"search"})}
    return Access(database, owned=lambda: owned)


@pytest.fixture
def provider() -> Iterator[Provider]:
    """An identity provider on loopback."""
    with Provider() as one:
        yield one
