"""All pages of the server, and the assets that they ask for."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tightrope.base.errors import NotFoundError
from tightrope.loop.server import Server
from tightrope.web import alerts, decisions, delivery, journal, login, overview, service, settings, specs, start
from tightrope.web.pages import assets
from tightrope.web.visit import HEADERS, Desk, Visit

_FOR_EVER = "public, max-age=31536000, immutable"


def web_routes(server: Server) -> list[BaseRoute]:
    """Make the routes of the pages.

    Args:
        server: What they show.

    Returns:
        Routes, to stand after those of the API and of health: the last one answers for every path that no other has.
    """
    desk = Desk(server)
    pages = [
        route
        for room in (overview, service, delivery, decisions, alerts, journal, specs, settings, start, login)
        for route in room.routes(desk)
    ]
    return [*pages, Route("/assets/{name}", _asset), Route("/favicon.ico", _icon), desk.route("/{rest:path}", _missing)]


def _missing(visit: Visit) -> Response:
    """Answer for a path that is none."""
    path = f"/{visit.path('rest')}"
    if path.startswith("/api/"):
        told = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": f"there is nothing at {path}"}
        return JSONResponse(told, 404, HEADERS, "application/problem+json")
    raise NotFoundError(f"there is nothing at {path[:200]}", remedy="the overview leads to everything there is")


async def _asset(request: Request) -> Response:
    """Hand out an asset by the name that holds a digest of its content: it never changes, so it is kept for ever."""
    name = request.path_params["name"]
    found = next((one for one in assets().values() if one.name == name), None)
    if found is None:
        return Response("no such asset; load the page again", 404, {**HEADERS, "Cache-Control": "no-store"})
    headers = {**HEADERS, "Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.body, headers=headers, media_type=found.media_type)


async def _icon(_: Request) -> Response:
    """The icon for who asks for it by its old name."""
    icon = assets()["icon.svg"]
    headers = {**HEADERS, "Cache-Control": "public, max-age=86400"}
    return Response(icon.body, headers=headers, media_type=icon.media_type)
