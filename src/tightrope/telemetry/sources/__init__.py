"""Where the numbers are: one file for each kind of source, all of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tightrope.telemetry.probing import ProbeResult
from tightrope.telemetry.questions import Answer, Ask, Horizon, Tell


class Source(Protocol):
    """A place that holds telemetry, opened from its `DataSource`; opening checks the settings and touches nothing."""

    asks_the_present: bool
    """Whether it has data up to this moment, so that a question needs an end."""

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        """Answer all asks in one pass; one answer for each, in their order.

        Raises:
            UsageError: A metric spec is wrong, or a setting of the source.
            NotFoundError: A file is missing.
            DataError: What was read can't be true.
            SourceError: The source refused, or answered nonsense; `SourceUnreachableError`: it could not be reached.
        """
        ...


class Prober(Protocol):
    """A place that tells only how it is now, and has to be looked at again and again."""

    every_s: int
    """Seconds from one look to the next."""

    def probe(self, now: int) -> ProbeResult:
        """Look once, and judge; raises `UsageError` where the settings can't be used. *now* is UTC epoch seconds."""
        ...
