"""Logging in and out: with a token, or by OpenID Connect where that is set up."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.access.sessions import local_path
from tightrope.base.errors import BusyError, UnauthorizedError
from tightrope.web.visit import Desk, Visit, cookie_name


def routes(desk: Desk) -> list[BaseRoute]:
    """The pages around a session."""
    return [
        desk.route("/login", login, do=begin, anybody=True),
        desk.route("/logout", login, do=end, anybody=True),
    ]


def login(visit: Visit) -> Response:
    """Ask who somebody is."""
    return _page(visit)


def begin(visit: Visit) -> Response:
    """Begin a session with a token."""
    request = visit.request
    address = request.client.host if request.client else ""
    wanted = local_path(visit.form.get("to", "/"))
    try:
        begun = visit.server.access.log_in(
            visit.form.get("token", "").strip(), visit.server.now(), address=address, return_to=wanted
        )
    except UnauthorizedError as error:
        return _page(visit, refused=f"{error.message[:1].upper()}{error.message[1:]}.", status=401)
    except BusyError as error:
        return _page(visit, refused=f"{error.message[:1].upper()}{error.message[1:]}.", status=429)
    answer = visit.go(begun.return_to)
    answer.set_cookie(
        cookie_name(request),
        begun.cookie,
        max_age=begun.ends_at - visit.server.now(),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def end(visit: Visit) -> Response:
    """End the session."""
    name = cookie_name(visit.request)
    visit.server.access.log_out(visit.request.cookies.get(name, ""), visit.server.now())
    answer = visit.go("/login")
    answer.delete_cookie(name, path="/", secure=visit.request.url.scheme == "https", httponly=True, samesite="lax")
    return answer


def _page(visit: Visit, *, refused: str = "", status: int = 200) -> Response:
    return visit.page(
        "login.html",
        title="Log in",
        current="",
        status=status,
        cached=False,
        to=local_path(visit.form.get("to") or visit.asked("to", "/")),
        refused=refused,
        oidc=visit.server.access.oidc,
        known=visit.actor.name,
    )
