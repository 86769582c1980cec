"""What Alembic runs: the steps, on the connection and in the transaction that `state.database` holds."""

from __future__ import annotations

from alembic import context

from tightrope.state.database import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
