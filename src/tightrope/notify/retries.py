"""When to try again: a receiver that is down delays and never loses; a refusal that will not pass is told at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

_FIRST_S, _LONGEST_S = 5, 15 * 60
_LONGEST_ASKED_S = 24 * 3600
_PASSING = frozenset({408, 421, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of handing a message to a channel.

    Attributes:
        sent: The receiver has it.
        passing: It has not, and that may pass; else it never will in this form.
        said: What was wrong, fit for people: no secret is in it.
        retry_after_s: How long the receiver asks to be left alone; 0: it does not say.
        reference: How the receiver calls the message, for those that follow it up.
    """

    sent: bool
    passing: bool = False
    said: str = ""
    retry_after_s: int = 0
    reference: str = ""


def may_pass(status: int) -> bool:
    """Whether an HTTP status speaks of the receiver's moment and not of the message."""
    return status in _PASSING or 500 <= status < 600


def retry_after(value: str) -> int:
    """Read a ``Retry-After`` header in seconds; 0 for a date or nonsense."""
    return min(int(value), _LONGEST_ASKED_S) if value.isascii() and value.isdigit() else 0


def wait_s(attempts: int, key: str, asked_s: int = 0) -> int:
    """Tell how long to wait after so many attempts: twice as long each time, up to a quarter of an hour.

    A fifth more or less by *key* keeps many messages from coming back at the same moment. What the receiver asks for
    is kept.
    """
    plain = min(_LONGEST_S, _FIRST_S << min(max(attempts, 1) - 1, 20))
    chance = int.from_bytes(hashlib.sha256(f"{key}#{attempts}".encode()).digest()[:2])
    return max(asked_s, plain * (80 + chance % 41) // 100)
