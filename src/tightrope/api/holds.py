"""Holds: who waits for an answer, why, and what they were told."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, place_after
from tightrope.api.budget import Cursor, Limit
from tightrope.api.shapes import Shape
from tightrope.api.visitor import Visit, needs
from tightrope.base.errors import UsageError
from tightrope.delivery.holds.hold import Hold
from tightrope.delivery.holds.telling import hold_document

router = APIRouter(tags=["delivery"])

State = Literal["", "waiting", "approved", "refused", "expired", "cancelled", "superseded"]


class HeldCall(Shape):
    """One call to whoever waits."""

    verb: Literal["comment", "approve", "refuse", "play", "check"]
    state: Literal["waiting", "done", "dead", "lapsed"]
    attempts: int
    error: str
    created_at: str
    done_at: str | None


class Held(Shape):
    """A caller that is to be answered later."""

    id: str
    caller: str
    integration: str
    service: str = Field(description="Empty where nobody says yet whose repository it is.")
    environment: str
    kind: str
    kind_from: str
    change: str
    title: str
    asked_by: str
    state: Literal["waiting", "approved", "refused", "expired", "cancelled", "superseded"]
    on_stop: Literal["hold", "refuse"]
    verdict: str | None
    reason: str
    rules: list[str]
    decision: str
    opened_at: str
    decided_at: str | None
    until: str
    closed_at: str | None
    calls: list[HeldCall]


class HeldList(Shape):
    items: list[Held]
    next: str | None


@router.get("/holds", summary="List what is held", **needs(Permission.READ, also={200: {"model": HeldList}}))
def holds(
    visit: Visit,
    service: Annotated[str, Query(max_length=500, description="Only those of this service.")] = "",
    state: Annotated[State, Query(description="Only those in this state.")] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Releases whose pipeline waits for an answer, the newest first; in a list without what was told to whom."""
    visit.must(Permission.READ, service)
    found: list[Hold] = []
    before = _before(cursor)
    while len(found) <= limit:
        some = visit.server.holds.holds(service=service, state=state, before=before, limit=limit + 1)
        found += [one for one in some if visit.sees(one.service)]
        if len(some) <= limit:
            break
        before = (some[-1].opened_at, some[-1].id)
    listed = page(visit.request, found[: limit + 1], limit, lambda one: f"{one.opened_at} {one.id}")
    return answer(listed | {"items": [hold_document(one) for one in listed["items"]]})


@router.get("/holds/{hold}", summary="Show a hold", **needs(Permission.READ, also={200: {"model": Held}}))
def one_hold(visit: Visit, hold: str) -> Response:
    """Why it waits, and every call to its caller with what came of it."""
    found = visit.server.holds.hold(hold)
    visit.must(Permission.READ, found.service)
    return answer(visit.server.holds.document(found))


@router.post(
    "/holds/{hold}/cancel",
    summary="Give up a hold",
    **needs(Permission.RUN, also={200: {"model": Held, "description": "It is over."}}),
)
def cancel(visit: Visit, hold: str) -> Response:
    """Nobody is told: whoever waits goes on waiting until their own time is up, or is answered by hand."""
    if not visit.actor.services:
        visit.must(Permission.RUN)
    found = visit.server.holds.hold(hold)
    visit.must(Permission.RUN, found.service)
    return answer(visit.server.holds.document(visit.server.holds.cancel(hold, by=visit.actor.name)))


def _before(cursor: str) -> tuple[int, str] | None:
    place = place_after(cursor)
    if not place:
        return None
    at, _, name = place.partition(" ")
    if not (at.isascii() and at.isdecimal() and len(at) < 18):
        raise UsageError("the cursor is none of this list", remedy="follow `next` of the page before, as it is")
    return int(at), name
