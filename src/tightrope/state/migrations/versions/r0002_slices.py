"""The slices of every indicator: ticks, day chunks, and what was received and is not yet counted."""

from __future__ import annotations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables, empty."""
