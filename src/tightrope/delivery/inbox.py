"""A delivery that somebody sent us: kept as it came, answered at once, and read afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class InboxState(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"
    """It is to be read."""
    DONE = "done"
    """It told something, which is recorded."""
    IGNORED = "ignored"
    """It told nothing that we want to know."""
    SET_ASIDE = "set-aside"
    """It could not be read; it waits for somebody to look at it."""
    REFUSED = "refused"
    """It was not proved to be genuine, or is no delivery at all; it is not read."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A delivery in the inbox.

    Attributes:
        id: Ours.
        type: Of the integration, as it was then.
        key: By which a delivery that comes again is known.
        event: What the sender calls it.
        headers: Those that matter, lower-case names; never a token or a signature.
        why: Why it told nothing, could not be read, or was refused.
    """

    sequence: int
    id: str
    integration: str
    type: str
    key: str
    event: str
    headers: Mapping[str, str]
    body: bytes
    state: InboxState
    why: str
    attempts: int
    received_at: int
    processed_at: int | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sender is told: 202 taken, 200 known already, 401 not genuine, 400 no delivery."""

    status: int
    id: str
    state: InboxState
    why: str = ""


def fit(text: str) -> str:
    """A text that every database can keep and every terminal show."""
    shown = [one if one.isprintable() else " " if one.isspace() else "\N{REPLACEMENT CHARACTER}" for one in text[:2000]]
    return "".join(shown).strip()[:500]
