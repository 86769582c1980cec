"""What was sent to us about commits, builds and deployments, and what we know of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables, empty."""
    op.create_table(
        "delivery_inbox",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("integration", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("processed_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("integration", "key", name="delivery_inbox_key"),
    )
    op.create_index("delivery_inbox_state", "delivery_inbox", ["state", "sequence"])
    op.create_index("delivery_inbox_integration", "delivery_inbox", ["integration", "sequence"])
    op.create_table(
        "recorded_commit",
        sa.Column("repository", sa.Text(), primary_key=True),
        sa.Column("sha", sa.Text(), primary_key=True),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_index("recorded_commit_at", "recorded_commit", ["repository", "committed_at"])
    op.create_index("recorded_commit_newest", "recorded_commit", ["committed_at", "sha"])
    op.create_table("known_repository", sa.Column("name", sa.Text(), primary_key=True))
    op.create_table(
        "merged_change",
        sa.Column("repository", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("sha", sa.Text(), nullable=False),
        sa.Column("merged_at", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_index("merged_change_sha", "merged_change", ["repository", "sha"])
    op.create_table(
        "build",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("external", sa.Text(), primary_key=True),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_index("build_revision", "build", ["revision", "at"])
    op.create_table(
        "artifact",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_index("artifact_revision", "artifact", ["revision", "at"])
    op.create_table(
        "deployment",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("rollback", sa.Boolean(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_index("deployment_place", "deployment", ["service", "environment", "at", "id"])
    op.create_index("deployment_at", "deployment", ["at", "id"])
    op.create_index("deployment_environment", "deployment", ["environment"])
    op.create_index("deployment_repository", "deployment", ["repository", "complete", "at"])
    op.create_table(
        "deployment_commit",
        sa.Column("deployment", sa.Text(), primary_key=True),
        sa.Column("sha", sa.Text(), primary_key=True),
    )
    op.create_index("deployment_commit_sha", "deployment_commit", ["sha"])
    op.create_table(
        "finding",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_index("finding_deployment", "finding", ["deployment"])
    op.create_index("finding_opened", "finding", ["opened_at", "id"])
