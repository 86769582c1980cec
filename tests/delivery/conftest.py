"""The stores of the room, each on both databases."""

from __future__ import annotations

from tests.state.conftest import new_database, postgresql, store

__all__ = ["new_database", "postgresql", "store"]
