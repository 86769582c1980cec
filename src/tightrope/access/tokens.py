"""Tokens: how they are spelt, checked and kept. Only a hash of the secret is ever stored.

A token is ``tr_<id>_<secret><checksum>``: an id that may be shown, 43 signs of base 62 that hold 256 random bits, and
six that hold the CRC-32 of all before them, so that a misspelt or cut token is told at once, and a scanner for leaked
secrets (`PATTERN`) can tell a real one from what only looks like it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field

from tightrope.access.roles import Grant, Owned, Permission, Role, scope
from tightrope.base.errors import UnauthorizedError
from tightrope.base.units import time_text

PATTERN = r"\btr_[0-9a-z]{10}_[0-9A-Za-z]{49}\b"
"""What a token looks like, for scanners."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(r"tr_([0-9a-z]{10})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_ID_LENGTH, _SECRET_LENGTH, _CHECK_LENGTH = 10, 43, 6
_NEW = "`tightrope token create` makes a new one"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: everything but its secret.

    Attributes:
        id: Shown, and enough to revoke it.
        name: Who uses it; the name of the actor in the journal.
        role, teams, services, only: What it may do; no teams and no services: everywhere.
        expires_at, last_used_at, revoked_at: UTC epoch seconds; None: never. Uses are noted once a minute at most.
    """

    id: str
    name: str
    role: Role
    teams: tuple[str, ...]
    services: tuple[str, ...]
    only: tuple[Permission, ...] | None
    created_at: int
    created_by: str
    expires_at: int | None
    last_used_at: int | None = None
    revoked_at: int | None = None

    def grant(self, owned: Owned) -> Grant:
        """What its holder may do, given who owns what."""
        only = None if self.only is None else frozenset(self.only)
        return Grant(self.role, scope(self.teams, self.services, owned), only)

    def standing(self, now: int) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def must_stand(self, now: int) -> None:
        """Raise `UnauthorizedError` unless it may be used; only for who has shown its secret."""
        if self.revoked_at is not None:
            raise UnauthorizedError(f"the token {self.name} was revoked at {time_text(self.revoked_at)}", remedy=_NEW)
        if self.expires_at is not None and self.expires_at <= now:
            raise UnauthorizedError(f"the token {self.name} expired at {time_text(self.expires_at)}", remedy=_NEW)


@dataclass(frozen=True, slots=True)
class Issued:
    """A token at the one moment when its text is known. The text is in no other place, and not in ``repr``."""

    token: Token
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Spelt:
    """The parts of a token's text."""

    id: str
    secret: str = field(repr=False)


def new_text() -> str:
    """Make the text of a token from 256 random bits."""
    name = "".join(secrets.choice(_DIGITS[:10] + _DIGITS[36:]) for _ in range(_ID_LENGTH))
    head = f"tr_{name}_{random_text()}"
    return head + _checksum(head)


def random_text() -> str:
    """256 random bits as 43 signs of base 62."""
    return _base62(secrets.randbits(256), _SECRET_LENGTH)


def spelt(text: str) -> Spelt:
    """Take a token's text apart.

    Raises:
        UnauthorizedError: It is no token, or its checksum does not fit; what was given is not repeated in the message.
    """
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise UnauthorizedError("that is not a token of Tightrope", remedy="a token begins with tr_; copy all of it")
    if not hmac.compare_digest(_checksum(text[:-_CHECK_LENGTH]), found[3]):
        raise UnauthorizedError("the token is misspelt: its last signs do not fit the rest", remedy="copy all of it")
    return Spelt(found[1], found[2])


def hash_of(secret: str) -> str:
    """What is stored of a secret: its SHA-256. A secret of 256 random bits needs no slower hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def fits(secret: str, stored: str) -> bool:
    """Whether the secret is the one whose hash is stored; takes as long for a near miss as for any other."""
    return hmac.compare_digest(hash_of(secret), stored)


def _checksum(head: str) -> str:
    return _base62(zlib.crc32(head.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    signs = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        signs.append(_DIGITS[digit])
    return "".join(reversed(signs))
