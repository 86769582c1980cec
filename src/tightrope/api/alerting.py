"""Alerts, silences, channels and messages: what fires, who was told, and what nobody is told of for a while."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.alerting.grouping import Alert
from tightrope.alerting.silences import Silence, parse_matcher
from tightrope.api.answers import answer, page, paged, place_after
from tightrope.api.budget import Cursor, Limit
from tightrope.api.idempotency import Key, once
from tightrope.api.problems import InvalidError
from tightrope.api.shapes import AddSilence, AlertInFull, Alerts, Channels, Messages, Silences
from tightrope.api.shapes import Message as MessageShape
from tightrope.api.shapes import Silence as SilenceShape
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.base.errors import NotFoundError, UsageError
from tightrope.base.units import parse_duration, parse_time
from tightrope.notify.documents import (
    account_document,
    alert_document,
    channel_document,
    message_document,
    silence_document,
)
from tightrope.notify.outgoing import Outgoing
from tightrope.notify.usecases import Notifications

router = APIRouter(tags=["alerting"])

_MOST_MESSAGES = 10_000


@router.get("/alerts", summary="List alerts", **needs(Permission.READ, also={200: {"model": Alerts}}))
def alerts(
    visit: Visit,
    open_only: Annotated[bool, Query(alias="open", description="Only those that have not ended.")] = False,
    service: Annotated[str, Query(max_length=500, description="Only those of this service.")] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """The newest first, one for each objective however many of its conditions fire."""
    visit.must(Permission.READ, service)
    listed = page(visit.request, _alerts(visit, open_only, service, limit, cursor), limit, _alert_place)
    return answer(listed | {"items": [alert_document(one) for one in listed["items"]]})


@router.get("/alerts/{alert}", summary="Show an alert", **needs(Permission.READ, also={200: {"model": AlertInFull}}))
def alert(visit: Visit, alert: str) -> Response:
    """What happened, who was told, and what keeps it quiet now."""
    found = _notifications(visit).alert(alert, now=visit.now)
    visit.must(Permission.READ, found.alert.service)
    return answer(account_document(found))


@router.get("/silences", summary="List silences", **needs(Permission.READ, also={200: {"model": Silences}}))
def silences(
    visit: Visit,
    ended: Annotated[bool, Query(description="Also those that are over.")] = False,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Those that hold or are to come."""
    visit.must(Permission.READ)
    found = sorted(_notifications(visit).silences(now=visit.now, ended=ended), key=_silence_place)
    listed = page(visit.request, paged(found, cursor, limit, _silence_place), limit, _silence_place)
    return answer(listed | {"items": [_silence_document(one, visit.now) for one in listed["items"]]})


@router.post(
    "/silences",
    status_code=201,
    summary="Silence alerts",
    **needs(Permission.SILENCE, also={201: {"model": SilenceShape, "description": "It holds."}}),
)
def silence(visit: Visit, wanted: AddSilence, key: Key = "") -> Response:
    """For a while, nobody is told of alerts that all matchers fit. They go on, and can be seen."""
    services = _services_meant(wanted)
    for service in services or [""]:
        visit.must(Permission.SILENCE, service)
    begin = parse_time(wanted.starts_at) if wanted.starts_at else None
    end = _end(wanted, visit.now if begin is None else begin)

    def made() -> Response:
        added = _notifications(visit).add_silence(
            wanted.matchers, starts_at=begin, ends_at=end, who=visit.actor.name, why=wanted.reason, now=visit.now
        )
        return answer(_silence_document(added, visit.now), 201, {"Location": f"/api/v1/silences/{added.id}"})

    return once(visit, key, wanted, made)


@router.get(
    "/silences/{silence}", summary="Show a silence", **needs(Permission.READ, also={200: {"model": SilenceShape}})
)
def one_silence(visit: Visit, silence: str) -> Response:
    """Also one that is over."""
    visit.must(Permission.READ)
    return answer(_silence_document(_silence(visit, silence), visit.now))


@router.delete(
    "/silences/{silence}",
    summary="End a silence",
    **needs(Permission.SILENCE, also={200: {"model": SilenceShape, "description": "It is over."}}),
)
def end_silence(visit: Visit, silence: str) -> Response:
    """Before its time; whoever is to be told is told again."""
    if not _may_silence_something(visit):
        visit.must(Permission.SILENCE)
    known = _silence(visit, silence)
    services = {one.value for one in known.matchers if one.name == "service" and one.op == "="}
    for service in sorted(services) or [""]:
        visit.must(Permission.SILENCE, service)
    return answer(
        _silence_document(_notifications(visit).end_silence(silence, who=visit.actor.name, now=visit.now), visit.now)
    )


@router.get("/channels", summary="List channels", **needs(Permission.READ, also={200: {"model": Channels}}))
def channels(visit: Visit) -> Response:
    """Where messages go, and how each channel does; never an address or a secret."""
    visit.must(Permission.READ)
    items = [channel_document(one) for one in _notifications(visit).channels()]
    return answer({"items": items, "next": None})


@router.post(
    "/channels/{channel}/test",
    status_code=202,
    summary="Test a channel",
    **needs(Permission.SILENCE, also={202: {"model": MessageShape, "description": "It is in the outbox."}}),
)
def test(visit: Visit, channel: str) -> Response:
    """Send a message that only shows that the channel works."""
    visit.must(Permission.SILENCE)
    sent = _notifications(visit).test_channel(channel, who=visit.actor.name, now=visit.now)
    return answer(message_document(sent), 202)


@router.get("/messages", summary="List messages", **needs(Permission.READ, also={200: {"model": Messages}}))
def messages(
    visit: Visit,
    state: Annotated[Literal["waiting", "sent", "dead", ""], Query(description="How far they came.")] = "",
    channel: Annotated[str, Query(max_length=200, description="Only those to this channel.")] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """The outbox, the newest first: what waits, what was taken, and what was refused for good."""
    visit.must(Permission.READ)
    found = _notifications(visit).messages(state=state, channel=channel, limit=_MOST_MESSAGES)
    seen = [one for one in found if not one.message.service or visit.sees(one.message.service)]
    seen.sort(key=_message_place)
    listed = page(visit.request, paged(seen, cursor, limit, _message_place), limit, _message_place)
    return answer(listed | {"items": [message_document(one) for one in listed["items"]]})


@router.post(
    "/messages/{message}/retry",
    status_code=202,
    summary="Send a message again",
    **needs(Permission.SILENCE, also={202: {"model": MessageShape, "description": "It is due."}}),
)
def retry(visit: Visit, message: str) -> Response:
    """One that waits is due now, one that was refused for good is tried anew."""
    visit.must(Permission.SILENCE)
    return answer(message_document(_notifications(visit).retry_message(message, now=visit.now)), 202)


def _notifications(visit: Visitor) -> Notifications:
    found: Notifications = visit.server.alerts
    return found


def _alerts(visit: Visitor, open_only: bool, service: str, limit: int, cursor: str) -> list[Alert]:
    """One page of alerts and one more; those that opened at one instant may stand on both sides of its edge."""
    place = place_after(cursor)
    opened, _, _ = place.partition("\n")
    if place and not (opened.isascii() and opened.isdecimal()):
        raise UsageError("the cursor is none of this list", remedy="follow `next` of the page before, as it is")
    before = 2**40 - int(opened) + 1 if place else None
    asked = limit + 1
    while True:
        rows = _notifications(visit).alerts(open_only=open_only, service=service, before=before, limit=asked)
        found = [one for one in rows if visit.sees(one.service) and (not place or _alert_place(one) > place)]
        if len(found) > limit or len(rows) < asked:
            return found[: limit + 1]
        asked *= 2


def _alert_place(one: Alert) -> str:
    return f"{2**40 - one.opened_at:013d}\n{one.id}"


def _silence_place(one: Silence) -> str:
    return f"{2**40 - one.created_at:013d}\n{one.id}"


def _message_place(one: Outgoing) -> str:
    return f"{2**40 - one.sequence:013d}"


def _silence_document(one: Silence, now: int) -> dict[str, Any]:
    return silence_document(one) | {"active": one.active(now)}


def _silence(visit: Visitor, name: str) -> Silence:
    for one in _notifications(visit).silences(now=visit.now, ended=True):
        if one.id == name:
            return one
    raise NotFoundError(f"there is no silence {name!r}", remedy="GET /api/v1/silences lists them")


def _services_meant(wanted: AddSilence) -> list[str]:
    """The services that the matchers name; none where they may mean any."""
    found = []
    for number, text in enumerate(wanted.matchers):
        try:
            matcher = parse_matcher(text)
        except UsageError as error:
            fault = {"detail": error.message, "pointer": f"#/matchers/{number}", "remedy": error.remedy}
            raise InvalidError(error.message, [fault], remedy=error.remedy) from None
        if matcher.name == "service" and matcher.op == "=":
            found.append(matcher.value)
    return found


def _may_silence_something(visit: Visitor) -> bool:
    return any(visit.actor.may(Permission.SILENCE, service) for service in ["", *sorted(visit.actor.services or ())])


def _end(wanted: AddSilence, begin: int) -> int:
    if bool(wanted.ends_at) == bool(wanted.duration):
        raise InvalidError("a silence ends once", [{"detail": "give `endsAt` or `duration`", "pointer": "#/endsAt"}])
    return parse_time(wanted.ends_at) if wanted.ends_at else begin + parse_duration(wanted.duration or "").seconds
