"""The life of an alert: quiet, then held for a while, then firing, then quiet again."""

from __future__ import annotations

from dataclasses import dataclass

from tightrope.base.units import first_reached


@dataclass(frozen=True, slots=True)
class AlertMemory:
    """What one condition remembers between evaluations, UTC epoch seconds.

    ``held_since``: first evaluation of the unbroken run in which it holds. ``firing_since``: when the alert fired.
    """

    held_since: int | None = None
    firing_since: int | None = None

    @property
    def firing(self) -> bool:
        """Whether the alert is out."""
        return self.firing_since is not None


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """An alert fired or was resolved at an evaluation; *number* is the place of its condition among those watched.

    Two conditions may share a name, each from an alert policy of its own; their places differ.
    """

    at: int
    condition: str
    severity: str
    fired: bool
    number: int


def unfold(
    memory: AlertMemory, holds: bool, after_s: int, begin: int, end: int, step_s: int
) -> tuple[AlertMemory, int | None, bool]:
    """Carry one alert through evaluations *begin* to *end* (inclusive) during which its condition does not change.

    Returns:
        What it remembers then, when it changed (None: it did not), and whether that change was a firing.
    """
    if not holds:
        return AlertMemory(), begin if memory.firing else None, False
    since = memory.held_since if memory.held_since is not None else begin
    if memory.firing:
        return AlertMemory(since, memory.firing_since), None, False
    fires_at = first_reached(since, after_s, begin, step_s)
    if fires_at > end:
        return AlertMemory(since, None), None, False
    return AlertMemory(since, fires_at), fires_at, True


def pause(memory: AlertMemory) -> AlertMemory:
    """What an alert remembers after a stale evaluation: it neither fires nor resolves, and waiting starts anew."""
    return AlertMemory(None, memory.firing_since)
