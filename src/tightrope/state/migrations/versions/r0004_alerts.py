"""Alerts as people know them, silences, and the outbox of messages."""

from __future__ import annotations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables, empty."""
