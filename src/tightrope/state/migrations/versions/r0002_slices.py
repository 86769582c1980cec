"""The slices of every indicator: ticks, day chunks, and what was received and is not yet counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables, empty."""
    whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "slice_series",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("step_s", sa.Integer(), nullable=False),
        sa.Column("scale", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("name", "definition", "step_s", "scale", name="slice_series_key"),
    )
    op.create_table(
        "slice_tick",
        sa.Column("sequence", whole, primary_key=True),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "slice_chunk",
        sa.Column("series", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("chunk", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("covered", sa.Integer(), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
    )
    folded = op.create_table(
        "slice_folded",
        sa.Column("one", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(folded, [{"one": 1, "sequence": 0}])
    op.create_table(
        "inbox",
        sa.Column("sequence", whole, primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("dedup", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("dedup", name="inbox_dedup"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "receiver_state",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
