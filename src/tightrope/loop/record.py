"""Rows of the journal, as the fronts are handed them: they read them, and never reach where they are kept."""

from tightrope.state.journal import Entry

__all__ = ["Entry"]
