"""What the live loop remembers of every objective between two turns, and how far telemetry was asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables, empty."""
    op.create_table(
        "live_track",
        sa.Column("track", sa.Text(), primary_key=True),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("evaluated_to", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_table(
        "live_feed",
        sa.Column("series", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("asked_from", sa.BigInteger(), nullable=False),
        sa.Column("asked_to", sa.BigInteger(), nullable=False),
        sa.Column("shift_s", sa.BigInteger(), nullable=False),
    )
