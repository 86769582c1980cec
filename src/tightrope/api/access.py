"""Who may do what: the visitor, sessions, tokens."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tightrope.access.roles import Permission, parse_permission, parse_role
from tightrope.access.tokens import Token
from tightrope.access.usecases import token_document
from tightrope.api.answers import answer, page, paged
from tightrope.api.budget import Cursor, Limit
from tightrope.api.idempotency import Key, once
from tightrope.api.problems import InvalidError
from tightrope.api.shapes import AddToken, IssuedToken, LogInWith, Me, Session, Tokens
from tightrope.api.shapes import Token as TokenShape
from tightrope.api.visitor import Visit, Visitor, cookie_name, cookie_of, needs
from tightrope.base.errors import NotFoundError
from tightrope.base.units import parse_duration, parse_time, time_text
from tightrope.loop.server import Server

router = APIRouter(tags=["access"])


@router.get("/me", summary="Show who asks", **needs(Permission.READ, also={200: {"model": Me}}))
def me(visit: Visit) -> Response:
    """What the token or session may do."""
    actor = visit.actor
    anywhere = ["", *sorted(actor.services or ())]
    return answer(
        {
            "name": actor.name,
            "role": str(actor.role),
            "teams": list(actor.teams),
            "services": None if actor.services is None else sorted(actor.services),
            "how": actor.how,
            "permissions": [str(one) for one in Permission if any(actor.may(one, service) for service in anywhere)],
        }
    )


@router.post(
    "/session",
    status_code=201,
    summary="Log a browser in",
    **needs(None, also={201: {"model": Session, "description": "The session has begun; its cookie is set."}}),
)
def log_in(request: Request, given: LogInWith) -> Response:
    """Begin a session with a token. A change within it takes the header `X-CSRF-Token`."""
    server: Server = request.app.state.server
    now = server.now()
    begun = server.access.log_in(given.token, now, address=request.client.host if request.client else "")
    document = {
        "name": begun.actor.name,
        "role": str(begun.actor.role),
        "csrf": begun.csrf,
        "endsAt": time_text(begun.ends_at),
    }
    response = answer(document, 201)
    _set_cookie(response, request, begun.cookie, max(0, begun.ends_at - now))
    return response


@router.get("/session", summary="Show the session", **needs(Permission.READ, also={200: {"model": Session}}))
def session(visit: Visit) -> Response:
    """With what a change has to send along; for a visitor who came with a cookie."""
    cookie = _session_cookie(visit)
    return answer(
        {
            "name": visit.actor.name,
            "role": str(visit.actor.role),
            "csrf": visit.server.access.csrf_of(cookie),
            "endsAt": None,
        }
    )


@router.delete(
    "/session", status_code=204, summary="Log out", **needs(Permission.READ, also={204: {"description": "It is over."}})
)
def log_out(visit: Visit) -> Response:
    """End the visitor's session."""
    visit.server.access.log_out(_session_cookie(visit), visit.now)
    response = Response(status_code=204)
    _set_cookie(response, visit.request, "", 0)
    return response


@router.get("/tokens", summary="List tokens", **needs(Permission.MANAGE, also={200: {"model": Tokens}}))
def tokens(visit: Visit, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """All of them, also those that can't be used any more; never their text."""
    found = sorted(visit.server.access.tokens(visit.actor), key=_place)
    listed = page(visit.request, paged(found, cursor, limit, _place), limit, _place)
    return answer(listed | {"items": [_document(one, visit.now) for one in listed["items"]]})


@router.post(
    "/tokens",
    status_code=201,
    summary="Create a token",
    **needs(Permission.MANAGE, also={201: {"model": IssuedToken, "description": "Its text is in this answer alone."}}),
)
def create(visit: Visit, wanted: AddToken, key: Key = "") -> Response:
    """Its name is the name of the actor in the journal."""

    def made() -> Response:
        issued = visit.server.access.create_token(
            wanted.name,
            parse_role(wanted.role),
            by=visit.actor,
            now=visit.now,
            expires_at=_end(wanted, visit.now),
            teams=tuple(wanted.teams),
            services=tuple(wanted.services),
            only=None if wanted.only is None else tuple(parse_permission(one) for one in wanted.only),
        )
        return answer(_document(issued.token, visit.now) | {"token": issued.text}, 201)

    return once(visit, key, wanted, made)


@router.delete(
    "/tokens/{token}", summary="Revoke a token", **needs(Permission.MANAGE, also={200: {"model": TokenShape}})
)
def revoke(visit: Visit, token: str) -> Response:
    """By its id, or by its name while it may be used; the sessions that it began end too."""
    return answer(_document(visit.server.access.revoke_token(token, by=visit.actor, now=visit.now), visit.now))


def _document(token: Token, now: int) -> dict[str, Any]:
    return token_document(token) | {"standing": token.standing(now)}


def _place(token: Token) -> str:
    return f"{2**40 - token.created_at:013d}\n{token.id}"


def _end(wanted: AddToken, now: int) -> int | None:
    if wanted.expires_at and wanted.expires_in:
        raise InvalidError(
            "a token ends once", [{"detail": "give `expiresAt` or `expiresIn`, not both", "pointer": "#/expiresIn"}]
        )
    if wanted.expires_in:
        return now + parse_duration(wanted.expires_in).seconds
    return parse_time(wanted.expires_at) if wanted.expires_at else None


def _session_cookie(visit: Visitor) -> str:
    cookie = cookie_of(visit.request.headers.get("cookie", ""), visit.request.url.scheme == "https")
    if visit.actor.how != "session" or not cookie:
        raise NotFoundError("this request belongs to no session", remedy="POST /api/v1/session begins one")
    return cookie


def _set_cookie(response: Response, request: Request, value: str, max_age: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(
        cookie_name(secure), value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="lax"
    )
