"""What was sent to us about commits, builds and deployments, and what we know of them."""

from __future__ import annotations

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables, empty."""
