"""The server itself: whether it lives, whether it is ready, which version it is, and what the problems mean."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer
from tightrope.api.problems import SORTS, fault_of
from tightrope.api.shapes import Problems, Version
from tightrope.api.visitor import Visit, needs
from tightrope.base.errors import NotFoundError
from tightrope.base.units import time_text
from tightrope.loop.server import Server

router = APIRouter(tags=["server"])
health_router = APIRouter(tags=["server"])

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


@router.get("/version", summary="Show the version", **needs(Permission.READ, also={200: {"model": Version}}))
def version(visit: Visit) -> Response:
    """And what time it is here: whose clock is off by much is told in the header `X-Clock-Skew-Seconds`."""
    server = visit.server
    return answer(
        {
            "version": server.version,
            "api": "v1",
            "replayed": server.settings.replayed,
            "now": time_text(visit.now),
        }
    )


@router.get(
    "/problems",
    summary="Show what is wrong with an edit of the specs",
    **needs(Permission.READ, also={200: {"model": Problems}}),
)
def problems(visit: Visit) -> Response:
    """A broken edit is not followed: the last good set stays, since `since`."""
    visit.must(Permission.READ)
    snapshot = visit.server.live.snapshot
    items = [fault_of(one) for one in visit.server.problems()]
    return answer({"items": items, "next": None, "since": time_text(snapshot.since) if snapshot.since else None})


@router.get(
    "/errors/{name}",
    summary="Say what a sort of problem means",
    **needs(None, also={200: {"description": "In words.", **_TEXT}}),
)
async def error(name: str) -> Response:
    """Where the `type` of a problem leads."""
    found = SORTS.get(name)
    if found is None:
        raise NotFoundError(f"there is no sort of problem {name!r}", remedy=f"there are {', '.join(SORTS)}")
    return PlainTextResponse(f"{found.status} {found.title}\n\n{found.says}\n")


@health_router.get(
    "/healthz", summary="Whether the server lives", **needs(None, also={200: {"description": "It does.", **_TEXT}})
)
async def healthz() -> Response:
    """Nothing is looked at: who gets an answer knows that it lives."""
    return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})


@health_router.get(
    "/readyz",
    summary="Whether the server is ready",
    **needs(
        None,
        also={
            200: {"description": "It is.", **_TEXT},
            503: {"description": "It is not, and why.", **_TEXT},
        },
    ),
)
def readyz(request: Request) -> Response:
    """Ready is who can answer the gate: the first turn is done, and the last one was stored."""
    server: Server = request.app.state.server
    ready, why = server.ready()
    return PlainTextResponse(f"{why}\n", 200 if ready else 503, headers={"Cache-Control": "no-store"})
