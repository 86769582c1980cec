"""Hours: sums of slices that were let go of, and up to where that is for each record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the tables, empty."""
    op.create_table(
        "slice_hours",
        sa.Column("series", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("block", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("hour_s", sa.Integer(), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "slice_rolled",
        sa.Column("series", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
    )
