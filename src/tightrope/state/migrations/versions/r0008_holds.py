"""Releases that are held, exceptions granted, and what forges are to be told."""

from __future__ import annotations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables, empty."""
