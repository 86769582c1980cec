"""What is kept: the state store, its migrations, and the journal, the append-only record of what happened."""
