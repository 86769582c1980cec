"""Logging in and out: with a token, or by OpenID Connect where that is set up."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from tightrope.access.sessions import LogIn, local_path
from tightrope.base.errors import BusyError, ForbiddenError, SourceError, UnauthorizedError
from tightrope.web.visit import HEADERS, Desk, Visit, cookie_name

FLOW = "tightrope_login"
FLOW_S = 600
"""The cookie that holds what this browser began at the identity provider, and for how long."""


def routes(desk: Desk) -> list[BaseRoute]:
    """The pages around a session."""
    return [
        desk.route("/login", login, do=begin, anybody=True),
        desk.route("/login/oidc", leave, anybody=True),
        desk.route("/login/callback", come_back, anybody=True),
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
    return _let_in(visit, begun)


def leave(visit: Visit) -> Response:
    """Send the visitor to the identity provider."""
    start = visit.server.access.begin_oidc(
        visit.server.now(), redirect_url=_callback(visit), return_to=local_path(visit.asked("to", "/"))
    )
    answer = RedirectResponse(start.url, 303, {**HEADERS, "Cache-Control": "no-store"})
    answer.set_cookie(
        FLOW,
        start.flow,
        max_age=FLOW_S,
        path="/login",
        secure=visit.request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def come_back(visit: Visit) -> Response:
    """Begin a session for who comes back from the identity provider."""
    try:
        begun = visit.server.access.finish_oidc(
            visit.request.cookies.get(FLOW, ""),
            dict(visit.request.query_params),
            visit.server.now(),
            redirect_url=_callback(visit),
        )
    except (UnauthorizedError, ForbiddenError, SourceError) as error:
        said = f"{error.message[:1].upper()}{error.message[1:]}."
        answer = _page(visit, refused=f"{said} {error.remedy}".strip(), status=401)
    else:
        answer = _let_in(visit, begun)
    answer.delete_cookie(FLOW, path="/login", httponly=True, samesite="lax")
    return answer


def _callback(visit: Visit) -> str:
    """Where the identity provider sends people back to; registered there."""
    return f"{visit.server.settings.base_url.rstrip('/')}/login/callback"


def _let_in(visit: Visit, begun: LogIn) -> Response:
    answer = visit.go(begun.return_to)
    answer.set_cookie(
        cookie_name(visit.request),
        begun.cookie,
        max_age=begun.ends_at - visit.server.now(),
        path="/",
        secure=visit.request.url.scheme == "https",
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
