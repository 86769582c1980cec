"""The one list of tables that all stores share; each store adds its own, and a migration makes them."""

from __future__ import annotations

from sqlalchemy import MetaData

TABLES = MetaData()
