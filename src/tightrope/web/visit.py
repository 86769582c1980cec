"""A visit: who asks for a page, how the answer is put together, and what every answer carries.

No change may come from a page of somebody else: each shows a token that only our pages hold, and
comes from the same origin. No answer asks anybody but this server for anything.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from shlex import quote as quoted
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tightrope.access.roles import Actor, Permission
from tightrope.access.sessions import COOKIE
from tightrope.access.usecases import Credentials
from tightrope.base.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    SourceError,
    SourceUnreachableError,
    StoreError,
    TightropeError,
    TooLargeError,
    UnauthorizedError,
)
from tightrope.base.units import span_text, time_text
from tightrope.budget.words import moment_text
from tightrope.loop.server import Server
from tightrope.web.board import Board, Boards
from tightrope.web.pages import address_of, environment
from tightrope.web.verdicts import MOST, Verdicts

FORM_MAX = 5 * 2**20
"""Bytes that a form may have; a spec has at most 4 MiB."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""What every answer carries."""

_STATUS: tuple[tuple[type[TightropeError], int, str], ...] = (
    (NotFoundError, 404, "There is no such page."),
    (ForbiddenError, 403, "You may not do this."),
    (ConflictError, 409, "Somebody else was first."),
    (TooLargeError, 413, "That is more than is taken at once."),
    (BusyError, 429, "Too much is waiting already."),
    (SourceUnreachableError, 503, "A source of telemetry cannot be reached."),
    (SourceError, 502, "A source of telemetry gave no useful answer."),
    (StoreError, 503, "The store cannot be used just now."),
)
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page, and who sent it.

    Attributes:
        server: The server.
        request: What was asked.
        actor: Who asks.
        csrf: What a form on the page has to send back.
        form: What a form sent; empty for a page that is only looked at.
        board: How the fleet stands, as far as the actor may see it.
        verdicts: The decisions of the last day, counted.
        behind: A newer board is being drawn up, so the page does well to ask again soon.
    """

    server: Server
    request: Request
    actor: Actor
    csrf: str
    board: Board
    verdicts: Verdicts
    form: Mapping[str, str] = field(default_factory=dict)
    behind: bool = False

    @property
    def now(self) -> int:
        """The instant that the page is told for, UTC epoch seconds."""
        return self.board.now

    @property
    def asks(self) -> str:
        """What tells a command line to ask this server."""
        return f"--server {quoted(self.server.settings.base_url.rstrip('/'))}"

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the address, without spaces around it."""
        return self.request.query_params.get(name, default).strip()[:500]

    def number(self, name: str) -> int | None:
        """A parameter of the address as a whole number above 0; None where it is none."""
        text = self.asked(name)
        return int(text) if text.isascii() and text.isdecimal() and 0 < len(text) < 19 and int(text) else None

    def path(self, name: str) -> str:
        """A part of the address's path."""
        return str(self.request.path_params[name])

    def must(self, permission: Permission, service: str = "") -> None:
        """Raise `ForbiddenError` unless the visitor may do this."""
        self.actor.must(permission, service)

    def may_somewhere(self, permission: Permission) -> bool:
        """Whether the visitor may do this to everything, or to some service."""
        services = self.actor.services
        return self.actor.may(permission) or any(self.actor.may(permission, one) for one in services or ())

    def counted(self, service: str = "") -> tuple[Counter[str], str]:
        """The decisions of the last 24 hours that the visitor may see, by their word; and ``+`` if there were more."""
        counts = self.verdicts.counted(service=service, only=self.actor.services)
        return counts, "+" if counts.total() >= MOST else ""

    def page(
        self, template: str, *, title: str, current: str, status: int = 200, cached: bool = True, **told: Any
    ) -> Response:
        """Answer with a page, or with what is inside of it where only that is asked for.

        Args:
            template: Its name.
            title: For the window.
            current: Which entry of the navigation it stands under.
            status: The HTTP status.
            cached: Whether a browser may keep it and ask whether it has changed; False for what holds a secret.
            told: For the template.
        """
        text = _rendered(template, self, title, current, told)
        tag = f'W/"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'
        headers = {
            **HEADERS,
            "Cache-Control": "no-cache, private" if cached else "no-store",
            "ETag": tag,
            "Vary": "Cookie",
        }
        if cached and status == 200 and tag in self.request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(text, status, headers, "text/html; charset=utf-8")

    def go(self, path: str, **params: str) -> Response:
        """Send the visitor to another page after a change."""
        given = {name: value for name, value in params.items() if value}
        return RedirectResponse(f"{path}?{urlencode(given)}" if given else path, 303, HEADERS)


Show = Callable[[Visit], Response]


class Desk:
    """Where visits begin: finds out who asks, refuses what may not be, and turns what goes wrong into a page."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._boards = Boards(server)
        self._verdicts = Verdicts(server)
        self._local_csrf = secrets.token_urlsafe(32)

    def route(
        self,
        path: str,
        show: Show,
        *,
        do: Show | None = None,
        needs: Permission = Permission.READ,
        anybody: bool = False,
    ) -> Route:
        """Make the route of a page.

        Args:
            path: Its path.
            show: Answers a look at it.
            do: Answers a form that was sent to it.
            needs: What a visitor must be allowed to do.
            anybody: Whether it needs no log-in.
        """

        async def endpoint(request: Request) -> Response:
            posted = request.method == "POST"
            try:
                form = await _form(request) if posted else {}
            except TightropeError as error:
                return await run_in_threadpool(self._told, request, None, error)
            answer = do if posted and do is not None else show
            return await run_in_threadpool(self._answered, request, form, answer, needs, anybody)

        return Route(path, endpoint, methods=["GET", "HEAD", *(["POST"] if do is not None else [])])

    def visitor(self, request: Request) -> tuple[Actor, str]:
        """Tell who sent a request, and the token that the forms of their pages hold; raises `UnauthorizedError`."""
        cookie = request.cookies.get(cookie_name(request), "")
        actor = self._server.access.actor_of(credentials_of(request), self._server.now())
        return actor, self._server.access.csrf_of(cookie) if actor.how == "session" else self._local_csrf

    def _answered(
        self, request: Request, form: Mapping[str, str], show: Show, needs: Permission, anybody: bool
    ) -> Response:
        visit: Visit | None = None
        try:
            try:
                actor, csrf = self.visitor(request)
            except UnauthorizedError:
                if not anybody:
                    raise
                actor, csrf = Actor("", ()), ""
            board = self._boards.present()
            behind = self._boards.behind(board)
            board = board.only(actor.services)
            visit = Visit(self._server, request, actor, csrf, board, self._verdicts, form, behind)
            if request.method == "POST":
                _must_be_ours(request, form, csrf)
            if not anybody:
                actor.must(needs)
            return show(visit)
        except TightropeError as error:
            return self._told(request, visit, error)

    def _told(self, request: Request, visit: Visit | None, error: TightropeError) -> Response:
        """What went wrong, where, and what to do, as a page; who has not logged in is asked to."""
        if (
            isinstance(error, UnauthorizedError)
            and request.method in {"GET", "HEAD"}
            and "fragment" not in (request.query_params)
        ):
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?{urlencode({'to': wanted})}", 303, HEADERS)
        status, head = next(
            ((code, words) for kind, code, words in _STATUS if isinstance(error, kind)),
            (401, "Please log in.") if isinstance(error, UnauthorizedError) else (400, "That cannot be done."),
        )
        if visit is None:
            text = (
                environment()
                .get_template("bare.html")
                .render(
                    title=head,
                    head=head,
                    error=error,
                    log_in=status == 401,
                    again=request.url.path,
                    css=address_of("tightrope.css"),
                    icon=address_of("icon.svg"),
                )
            )
            return Response(text, status, {**HEADERS, "Cache-Control": "no-store"}, "text/html; charset=utf-8")
        answer = visit.page("error.html", title=head, current="", status=status, cached=False, head=head, error=error)
        if isinstance(error, BusyError):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer


def cookie_name(request: Request) -> str:
    """What the session's cookie is called: over https no other site, and no plain one, can set it."""
    return f"__Host-{COOKIE}" if request.url.scheme == "https" else COOKIE


def credentials_of(request: Request) -> Credentials:
    """What a request shows of who sent it."""
    return Credentials(
        authorization=request.headers.get("authorization", ""),
        cookie=request.cookies.get(cookie_name(request), ""),
        peer=request.client.host if request.client else "",
        host=request.headers.get("host", ""),
        forwarded=any(name in request.headers for name in _FORWARDED),
    )


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; of a field that comes twice the last one counts."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_MAX:
            raise TooLargeError(
                f"the form has over {FORM_MAX // 2**20} MiB", remedy="a spec has at most 4 MiB; split it into several"
            )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise TightropeError("that is no form of these pages", remedy="programs use the API under /api/v1")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=60, errors="strict"))
    except ValueError:
        raise TightropeError("the form cannot be read", remedy="load the page again, and send it once more") from None


def _must_be_ours(request: Request, form: Mapping[str, str], csrf: str) -> None:
    """Raise `ForbiddenError` for a form that was not sent from one of our pages."""
    site, origin = request.headers.get("sec-fetch-site", "same-origin"), request.headers.get("origin", "")
    foreign = site not in {"same-origin", "none"} or (
        bool(origin) and origin != "null" and urlsplit(origin).netloc != request.headers.get("host", "")
    )
    held = form.get("csrf", "")
    if foreign or origin == "null" or (csrf and not (held.isascii() and hmac.compare_digest(held, csrf))):
        raise ForbiddenError(
            "the form was not sent from a page that you hold", remedy="load the page again, and send it once more"
        )


# --- what a page is made of -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the navigation."""

    key: str
    path: str
    name: str
    count: int | None = None


def _navigation(visit: Visit) -> list[_Entry]:
    board = visit.board
    return [
        _Entry("overview", "/", "Overview"),
        _Entry("services", "/services", "Services", len(board.posts)),
        _Entry("delivery", "/delivery", "Delivery"),
        _Entry("decisions", "/decisions", "Decisions"),
        _Entry("alerts", "/alerts", "Alerts", len(board.firing) or None),
        _Entry("journal", "/journal", "Journal"),
        _Entry("specs", "/specs", "Specs"),
        _Entry("settings", "/settings", "Settings"),
    ]


def _rendered(template: str, visit: Visit, title: str, current: str, told: Mapping[str, Any]) -> str:
    request, board = visit.request, visit.board
    theme = request.cookies.get("tightrope_theme", "")
    wanted = visit.asked("theme")
    age = board.age_s
    return (
        environment()
        .get_template(template)
        .render(
            layout="fragment.html" if visit.asked("fragment") else "layout.html",
            title=title,
            current=current,
            theme=next((one for one in (wanted, theme) if one in {"light", "dark"}), ""),
            navigation=_navigation(visit),
            urgent=[one.line for one in board.attention[:6]],
            age="no telemetry yet" if age is None else f"Telemetry {span_text(age)} old",
            newest=board.newest,
            stale=board.stale,
            problems=board.snapshot.problems,
            since=board.snapshot.since,
            digest=board.snapshot.specs.digest[:12],
            turn=board.snapshot.number,
            at=board.snapshot.taken_at,
            replayed=visit.server.settings.replayed,
            version=visit.server.version,
            actor=visit.actor,
            may=_may(visit.actor),
            csrf=visit.csrf,
            now=visit.now,
            behind=visit.behind,
            when=when(visit.now),
            ago=ago(visit.now),
            here=here(request),
            asks=visit.asks,
            service_path=service_path,
            address_of=address_of,
            done=visit.asked("done"),
            **told,
        )
    )


def _may(actor: Actor) -> Callable[..., bool]:
    def may(permission: str, service: str = "") -> bool:
        return actor.may(Permission(permission), service)

    return may


class Element(str):
    """Markup that is made here, of nothing that came from outside: templates set it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """The markup, for templates."""
        return str(self)


def when(now: int) -> Callable[[int], Element]:
    """Makes a function that writes an instant for a person, so that a page can show it in their own zone."""

    def written(at: int) -> Element:
        iso = time_text(at)
        shown = iso.replace("T", " ").replace("Z", " UTC")
        return Element(f'<time datetime="{iso}" title="{shown}">{moment_text(at, now)}</time>')

    return written


def ago(now: int) -> Callable[[int], str]:
    """Makes a function that tells how long ago an instant is."""

    def written(at: int) -> str:
        gone = now - at
        if gone < 0:
            return f"in {span_text(-gone)}"
        return "just now" if gone < 10 else f"{span_text(gone)} ago"

    return written


def here(request: Request) -> Callable[..., str]:
    """Makes a function that writes this page's address with other parameters; an empty one is left out."""

    def address(**params: str | int | None) -> str:
        given = {
            name: value for name, value in request.query_params.items() if name not in {"fragment", "done", "theme"}
        }
        given |= {name: "" if value is None else str(value) for name, value in params.items()}
        kept = {name: value for name, value in given.items() if value}
        return f"{quote(request.url.path)}?{urlencode(kept)}" if kept else quote(request.url.path)

    return address


def service_path(service: str, slo: str = "") -> str:
    """Where the page of a service is."""
    return f"/services/{quote(service, safe='')}" + (f"?{urlencode({'slo': slo})}" if slo else "")
