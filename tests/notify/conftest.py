"""The stores of `tests/state`: SQLite in a folder, and a real PostgreSQL on loopback."""

from __future__ import annotations

from tests.state.conftest import new_database, postgresql, store

__all__ = ["new_database", "postgresql", "store"]
