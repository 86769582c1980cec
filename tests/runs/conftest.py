"""Both databases for runs, too."""

from __future__ import annotations

from tests.state.conftest import new_database, postgresql, store

__all__ = ["new_database", "postgresql", "store"]
