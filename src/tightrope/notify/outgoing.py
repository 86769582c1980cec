"""A message on its way: in the outbox until its channel has taken it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tightrope.notify.messages import Message


class State(StrEnum):
    """How far a message has come: it waits (perhaps being sent right now), it was taken, or it never will be."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message in the outbox.

    Attributes:
        sequence: Its place; messages of one channel about one matter leave in this order.
        id: Short and printable, ``M-…``.
        key: Names it for the receiver: the same message sent again has the same.
        due_at, leased_until: Not to be sent before; being sent by somebody until. UTC epoch seconds.
        attempts, error: How often it was tried, and what came of the last time.
    """

    sequence: int
    id: str
    channel: str
    about: str
    key: str
    message: Message
    state: State
    created_at: int
    due_at: int
    leased_until: int = 0
    attempts: int = 0
    error: str = ""
    sent_at: int | None = None
