"""Rollouts and pipelines, beside the runs that carry them."""

from __future__ import annotations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the tables, empty."""
