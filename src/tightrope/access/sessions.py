"""Sessions of the browser: a cookie whose hash is stored, a token against forged forms, and an end.

A session ends when it was not used for `IDLE_S`, `LONGEST_S` after it began, or with the token that began it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from tightrope.access.roles import Actor, Grant, Role
from tightrope.access.tokens import random_text

COOKIE = "tightrope_session"
"""The cookie's name; over https the fronts put ``__Host-`` before it."""

IDLE_S = 12 * 3600
LONGEST_S = 7 * 86400
_COOKIE = re.compile(r"trs_[0-9A-Za-z]{43}")


@dataclass(frozen=True, slots=True)
class PersonalGrant:
    """A role that a person has: everywhere, or for the services that the person's teams own."""

    role: Role
    own: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is kept.

    Attributes:
        hash: Names it: the SHA-256 of the cookie.
        name: The person, or the name of the token.
        grants: What a person may do; empty where *token* says it.
        teams: The person's teams as the identity provider told them; members named in the store come on top.
        token: Id of the token that began it; empty for OpenID Connect.
        begun_at, used_at, ends_at: UTC epoch seconds; *ends_at* whatever happens.
    """

    hash: str
    name: str
    grants: tuple[PersonalGrant, ...]
    teams: tuple[str, ...]
    token: str
    begun_at: int
    used_at: int
    ends_at: int

    def stands(self, now: int) -> bool:
        """Whether it may still be used."""
        return now < min(self.ends_at, self.used_at + IDLE_S)


@dataclass(frozen=True, slots=True)
class LogIn:
    """A session at the one moment when its cookie is known.

    Attributes:
        cookie: To be set HttpOnly, SameSite=Lax, Secure over https; in no log.
        csrf: To be sent back in a header or field with every change.
        actor: Who logged in.
        ends_at: UTC epoch seconds.
        return_to: The path of the page that was wanted.
    """

    cookie: str = field(repr=False)
    csrf: str = field(repr=False)
    actor: Actor
    ends_at: int
    return_to: str = "/"


def new_cookie() -> str:
    """Make the cookie of a session from 256 random bits."""
    return f"trs_{random_text()}"


def is_cookie(text: str) -> bool:
    """Whether it could be one of ours."""
    return _COOKIE.fullmatch(text) is not None


def cookie_hash(cookie: str) -> str:
    """What is stored of a cookie."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def csrf_of(cookie: str) -> str:
    """The token against forged forms: it follows from the cookie, which another site can send but not read."""
    return hmac.new(cookie.encode(), b"tightrope csrf", hashlib.sha256).hexdigest()


def csrf_fits(cookie: str, given: str) -> bool:
    """Whether a change came from a page of ours."""
    return hmac.compare_digest(csrf_of(cookie), given) if given.isascii() else False


def grants_of(person: tuple[PersonalGrant, ...], own: frozenset[str]) -> tuple[Grant, ...]:
    """A person's grants, given the services that the person's teams own."""
    return tuple(Grant(one.role, own if one.own else None) for one in person)


def local_path(text: str) -> str:
    """The path within our pages to return to; ``/`` for anything that leads elsewhere."""
    leads_elsewhere = not text.startswith("/") or text.startswith(("//", "/\\")) or any(sign < " " for sign in text)
    return "/" if leads_elsewhere else text
