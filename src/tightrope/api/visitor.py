"""Who asks: found by token, session or place, and refused where the request could come from a page of somebody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from tightrope.access.local import is_loopback
from tightrope.access.roles import Actor, Permission
from tightrope.access.sessions import COOKIE
from tightrope.access.usecases import Credentials
from tightrope.base.errors import ForbiddenError
from tightrope.loop.server import Server

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """One request: who sent it, to which server, and when."""

    request: Request
    server: Server
    actor: Actor
    now: int

    def must(self, permission: Permission, service: str = "") -> None:
        """Raise `ForbiddenError` unless the visitor may do this."""
        self.actor.must(permission, service)

    def sees(self, service: str) -> bool:
        """Whether the visitor may know of a service."""
        return self.actor.may(Permission.READ, service)


def visitor(request: Request) -> Visitor:
    """Find out who sent a request.

    Raises:
        UnauthorizedError: Nobody that we know.
        ForbiddenError: It changes something, and may come from a page that is none of ours.
    """
    server: Server = request.app.state.server
    now = server.now()
    peer = request.client.host if request.client else ""
    actor = known(server, request.method, request.headers, peer, request.url.scheme == "https", now)
    return Visitor(request, server, actor, now)


Visit = Annotated[Visitor, Depends(visitor)]


def known(server: Server, method: str, headers: Mapping[str, str], peer: str, secure: bool, now: int) -> Actor:
    """Tell who sent a request with such headers, lower-case names; see `visitor`."""
    cookie = cookie_of(headers.get("cookie", ""), secure)
    actor = server.access.actor_of(
        Credentials(
            authorization=headers.get("authorization", ""),
            cookie=cookie,
            peer=peer,
            host=headers.get("host", ""),
            forwarded=any(name in headers for name in FORWARDED),
        ),
        now,
    )
    refuse_foreign(server, actor, method, headers, cookie)
    return actor


def refuse_foreign(server: Server, actor: Actor, method: str, headers: Mapping[str, str], cookie: str) -> None:
    """Raise `ForbiddenError` for a change that a page of somebody else could have sent: a token never does that."""
    if method in _SAFE or actor.how == "token":
        return
    origin = headers.get("origin", "")
    if actor.how == "session":
        if not server.access.csrf_fits(cookie, headers.get("x-csrf-token", "")):
            raise ForbiddenError(
                "a change within a session needs the header X-CSRF-Token",
                remedy="GET /api/v1/session tells its value; programs use a token instead",
            )
        return
    foreign_site = headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
    foreign_origin = bool(origin) and not is_loopback(urlsplit(origin).netloc)
    if foreign_site or foreign_origin:
        raise ForbiddenError(
            "this change comes from a page of another site", remedy="send it from this machine, or with a token"
        )


def cookie_name(secure: bool) -> str:
    """What the session's cookie is called: over https no other site, and no plain one, can set it."""
    return f"__Host-{COOKIE}" if secure else COOKIE


def cookie_of(header: str, secure: bool) -> str:
    """Find the session's cookie in the header."""
    wanted = cookie_name(secure)
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == wanted:
            return value
    return ""


def needs(
    permission: Permission | None,
    *,
    also: Mapping[Any, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    errs_also_as: Sequence[str] = (),
) -> dict[str, Any]:
    """What a route says of itself: the permission that it takes, its answers, and how it errs.

    Args:
        permission: None: it may be asked by anybody.
        also: Its answers by status, as FastAPI has them.
        extra: What else its entry in the OpenAPI document has.
        errs_also_as: Media types of errors besides problems, where a protocol has its own.
    """
    refused = {
        "description": "What went wrong.",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
            **({kind: {"schema": {"type": "string", "format": "binary"}} for kind in errs_also_as}),
        },
    }
    statuses: list[int] = [400, 422] if permission is None else [400, 401, 403, 422]
    said: dict[str, Any] = {"x-permission": str(permission) if permission is not None else "none"}
    if permission is None:
        said["security"] = []
    return {
        "responses": {**dict.fromkeys(statuses, refused), "default": refused, **(also or {})},
        "openapi_extra": {**said, **(extra or {})},
    }
