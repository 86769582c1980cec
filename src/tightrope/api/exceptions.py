"""Exceptions: leave to ship what the policy refuses, asked for by one and granted by another; and broken glass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, place_after
from tightrope.api.budget import Cursor, Limit
from tightrope.api.idempotency import Key, once
from tightrope.api.shapes import AnswerException, AskException, Exemption, Exemptions
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.base.errors import ForbiddenError, UsageError
from tightrope.base.units import parse_duration
from tightrope.policy.exceptions import ExceptionRequest, document_of

router = APIRouter(tags=["policy"])


@router.get("/exceptions", summary="List exceptions", **needs(Permission.READ, also={200: {"model": Exemptions}}))
def exceptions(
    visit: Visit,
    service: Annotated[str, Query(max_length=500, description="Only those of this service.")] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Newest first: those that wait for an answer, that hold, and that were."""
    visit.must(Permission.READ, service)
    found = _page(visit, service, limit, cursor)
    listed = page(visit.request, found, limit, _place)
    return answer(listed | {"items": [document_of(one, visit.now) for one in listed["items"]]})


@router.post(
    "/exceptions",
    status_code=201,
    summary="Ask for an exception",
    **needs(Permission.GATE, also={201: {"model": Exemption, "description": "It waits for somebody to grant it."}}),
)
def ask(visit: Visit, wanted: AskException, key: Key = "") -> Response:
    """Somebody else has to grant it: an approver, and one whom the policy names if it names any."""
    visit.must(Permission.GATE, wanted.service)
    return _begun(visit, visit.server.exceptions.request, wanted, key)


@router.post(
    "/exceptions/break-glass",
    status_code=201,
    summary="Break the glass",
    **needs(Permission.BREAK_GLASS, also={201: {"model": Exemption, "description": "It holds."}}),
)
def break_glass(visit: Visit, wanted: AskException, key: Key = "") -> Response:
    """Let changes of a service through at once, with nobody's leave, for an hour or so. Everybody will see it."""
    visit.must(Permission.BREAK_GLASS, wanted.service)
    return _begun(visit, visit.server.exceptions.break_glass, wanted, key)


@router.get(
    "/exceptions/{exception}", summary="Show an exception", **needs(Permission.READ, also={200: {"model": Exemption}})
)
def one_exception(visit: Visit, exception: str) -> Response:
    """What was asked for, and what became of it."""
    one = _seen(visit, exception, Permission.READ)
    return answer(document_of(one, visit.now))


@router.post(
    "/exceptions/{exception}/grant",
    summary="Grant an exception",
    **needs(Permission.GRANT, also={200: {"model": Exemption, "description": "It holds."}}),
)
def grant(visit: Visit, exception: str, wanted: AnswerException) -> Response:
    """Nobody grants what they asked for themselves. It counts against the quota of its period, used or not."""
    _seen(visit, exception, Permission.GRANT)
    one = visit.server.exceptions.grant(
        exception,
        by=_who(visit, wanted.by),
        teams=visit.actor.teams,
        note=wanted.note,
        lasts_s=_seconds(wanted.duration),
        now=visit.now,
    )
    return answer(document_of(one, visit.now))


@router.post(
    "/exceptions/{exception}/refuse",
    summary="Refuse an exception",
    **needs(Permission.GRANT, also={200: {"model": Exemption, "description": "It is refused."}}),
)
def refuse(visit: Visit, exception: str, wanted: AnswerException) -> Response:
    """The one who asked may ask again."""
    _seen(visit, exception, Permission.GRANT)
    one = visit.server.exceptions.refuse(exception, by=_who(visit, wanted.by), note=wanted.note, now=visit.now)
    return answer(document_of(one, visit.now))


@router.post(
    "/exceptions/{exception}/revoke",
    summary="Revoke an exception",
    **needs(Permission.GRANT, also={200: {"model": Exemption, "description": "It is over."}}),
)
def revoke(visit: Visit, exception: str, wanted: AnswerException) -> Response:
    """It ends before its time, and still counts against the quota."""
    _seen(visit, exception, Permission.GRANT)
    one = visit.server.exceptions.revoke(exception, by=_who(visit, wanted.by), note=wanted.note, now=visit.now)
    return answer(document_of(one, visit.now))


def _begun(visit: Visitor, begin: Callable[..., ExceptionRequest], wanted: AskException, key: str) -> Response:
    """Ask for an exception, or break the glass; once for each key."""

    def made() -> Response:
        one = begin(
            wanted.service,
            by=_who(visit, wanted.by),
            reason=wanted.reason,
            now=visit.now,
            environment=wanted.environment,
            change=wanted.change,
            lasts_s=_seconds(wanted.duration),
        )
        return answer(document_of(one, visit.now), 201, {"Location": f"/api/v1/exceptions/{one.id}"})

    return once(visit, key, wanted, made)


def _seen(visit: Visitor, name: str, permission: Permission) -> ExceptionRequest:
    """Find a request that the visitor may do this to; whoever may do it to no service is told so first."""
    if not any(visit.actor.may(permission, one) for one in ["", *sorted(visit.actor.services or ())]):
        visit.must(permission)
    one = visit.server.exceptions.named(name)
    visit.must(permission, one.service)
    return one


def _who(visit: Visitor, by: str | None) -> str:
    """Who asks or answers: a token and a session speak for nobody else; on this machine people say who they are."""
    if by is None or by == visit.actor.name:
        return visit.actor.name
    if visit.actor.how != "local":
        raise ForbiddenError(f"{visit.actor.name} speaks for nobody else", remedy="leave out `by`")
    return by


def _seconds(duration: str | None) -> int | None:
    return None if duration is None else parse_duration(duration).seconds


def _page(visit: Visitor, service: str, limit: int, cursor: str) -> list[ExceptionRequest]:
    """One page and one more; those asked for at one instant may stand on both sides of its edge."""
    place = place_after(cursor)
    asked_at, _, _ = place.partition("\n")
    if place and not (asked_at.isascii() and asked_at.isdecimal()):
        raise UsageError("the cursor is none of this list", remedy="follow `next` of the page before, as it is")
    before = 2**40 - int(asked_at) + 1 if place else None
    asked = limit + 1
    while True:
        rows = visit.server.exceptions.listed(service=service, before=before, limit=asked)
        found = [one for one in rows if visit.sees(one.service) and (not place or _place(one) > place)]
        if len(found) > limit or len(rows) < asked:
            return found[: limit + 1]
        asked *= 2


def _place(one: ExceptionRequest) -> str:
    return f"{2**40 - one.requested_at:013d}\n{one.id}"
