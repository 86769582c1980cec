"""Who may do what: tokens, sessions, teams."""

from __future__ import annotations

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables, empty."""
