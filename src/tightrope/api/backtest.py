"""Backtests: what the specs, or edited ones, would have done on the stored history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import BoundedSemaphore
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer
from tightrope.api.problems import InvalidError, fault_of
from tightrope.api.shapes import AskBacktest, Backtested, IncidentLabel
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.backtest.labels import Deployment
from tightrope.base.errors import BusyError, NotFoundError, UsageError
from tightrope.base.units import DAY_S, HOUR_S, parse_time
from tightrope.engine.plan import Incident
from tightrope.loop.assess import Assessment
from tightrope.loop.documents import backtest_document
from tightrope.loop.witness import duties_of, scores_of, stopped_of
from tightrope.policy.states import named
from tightrope.specs.model import ChangeKind

router = APIRouter(tags=["backtest"])

QUARTER_S = 90 * DAY_S
"""How far back a preview looks unless it is told."""

_OPEN_END = 2**62
_AT_ONCE = BoundedSemaphore(2)


@router.post(
    "/backtest",
    summary="Run specs over the stored history",
    **needs(Permission.READ, also={200: {"model": Backtested}}),
)
def backtest(visit: Visit, asked: AskBacktest) -> Response:
    """Alert episodes, moves of the policy, and with edited specs what they would have changed; nothing is kept."""
    since, until = _instant(asked.from_, "#/from"), _instant(asked.to, "#/to")
    if since is not None and since >= min(visit.now if until is None else until, visit.now):
        raise InvalidError("the stretch is empty", [{"detail": "it begins after its end", "pointer": "#/from"}])
    incidents = [_incident(one, number) for number, one in enumerate(asked.labels or [])]
    deployments = [
        Deployment(_must_instant(one.time, f"#/deployments/{number}/time"), one.service, one.kind, one.change)
        for number, one in enumerate(asked.deployments or [])
    ]
    if not _AT_ONCE.acquire(blocking=False):
        raise BusyError("two backtests run already", retry_after_s=5)
    try:
        return answer(_ran(visit, asked, since, until, incidents, deployments))
    finally:
        _AT_ONCE.release()


def _ran(
    visit: Visitor,
    asked: AskBacktest,
    since: int | None,
    until: int | None,
    incidents: Sequence[Incident],
    deployments: Sequence[Deployment],
) -> dict[str, Any]:
    server = visit.server
    findings: list[dict[str, Any]] = []
    preview = None
    if asked.specs is None:
        specs = server.live.snapshot.specs
        names = sorted({slo.service for slo in specs.slos if visit.sees(slo.service)})
        found = [one for name in names for one in server.history(name, since)]
    else:
        previewed = server.preview(asked.specs, last_s=visit.now - since if since is not None else QUARTER_S)
        findings = [fault_of(one) for one in previewed.findings]
        now = [one for one in previewed.now if visit.sees(one.slo.service)]
        found = [one for one in previewed.then if visit.sees(one.slo.service)]
        days = round((visit.now - since if since is not None else QUARTER_S) / DAY_S)
        preview = preview_document(now, found, days)
    if asked.names:
        known = {name for one in found for name in (one.slo.service, one.slo.name)}
        missing = [name for name in asked.names if name not in known]
        if missing:
            raise NotFoundError(f"there is no service or SLO named {missing[0]!r} with a history")
    chosen = [one for one in found if not asked.names or {one.slo.service, one.slo.name} & set(asked.names)]
    documents = []
    for one in chosen:
        if asked.labels is not None:
            own = tuple(each for each in incidents if each.service in {"", one.slo.service})
            one = replace(one, incidents=own)
        document = backtest_document(
            one,
            scores_of(one) if asked.labels is not None else None,
            stopped_of(one, deployments, found) if asked.deployments is not None else None,
            duties_of(one) if asked.labels is not None else None,
        )
        documents.append(document if until is None else _before(document, until))
    return {"documents": documents, "preview": preview, "findings": findings}


def preview_document(now: Sequence[Assessment], then: Sequence[Assessment], days: int) -> dict[str, Any]:
    """Both sides side by side, SLO by SLO, and in one sentence."""
    before = {one.title: one for one in now if one.watched}
    after = {one.title: one for one in then if one.watched}
    rows: list[dict[str, Any]] = []
    for title in {**before, **after}:
        some = after.get(title) or before[title]
        sides = [tally_document(side[title]) if title in side else None for side in (before, after)]
        rows.append({"slo": title, "service": some.slo.service, "now": sides[0], "then": sides[1]})
    pages = [sum(row[side]["pages"] for row in rows if row[side]) for side in ("then", "now")]
    frozen = [sum(row[side]["frozenHours"] for row in rows if row[side]) / 24 for side in ("then", "now")]
    summary = (
        f"In the last {days} days this change would have paged {_times(pages[0])} and frozen {frozen[0]:.1f} days, "
        f"where {_times(pages[1])} and {frozen[1]:.1f} days it is now."
        if rows
        else f"This change would have made no difference to any SLO with a history in the last {days} days."
    )
    return {"summary": summary, "slos": rows}


def tally_document(one: Assessment) -> dict[str, Any]:
    """Count what happened to one objective in the stretch that its history tells of."""
    history = one.history
    frozen_s = sum(
        seconds for name, seconds in history.state_s.items() if ChangeKind.FEATURE not in named(one.policy, name).allows
    )
    pages = sum(each.severity == "page" for each in history.episodes)
    return {
        "pages": pages,
        "tickets": len(history.episodes) - pages,
        "frozenHours": frozen_s / HOUR_S,
        "worstRemaining": None if history.evaluated is None else 1 - history.worst_consumed.value,
    }


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _before(document: dict[str, Any], until: int) -> dict[str, Any]:
    """Only what began before an instant; times are ISO 8601 in UTC, so they compare as text once they are instants."""
    return document | {
        "episodes": [one for one in document["episodes"] if parse_time(one["start"]) < until],
        "transitions": [one for one in document["transitions"] if parse_time(one["at"]) < until],
    }


def _incident(label: IncidentLabel, number: int) -> Incident:
    start = _must_instant(label.start, f"#/labels/{number}/start")
    end = _must_instant(label.end, f"#/labels/{number}/end") if label.end else _OPEN_END
    if end < start:
        raise InvalidError(
            "an incident ends before it starts",
            [{"detail": f"it ends at {label.end} and starts at {label.start}", "pointer": f"#/labels/{number}/end"}],
        )
    return Incident(start, end, label.severity, label.cause, label.id, label.service)


def _instant(text: str | None, pointer: str) -> int | None:
    return _must_instant(text, pointer) if text else None


def _must_instant(text: str, pointer: str) -> int:
    try:
        return parse_time(text)
    except UsageError as error:
        raise InvalidError(
            error.message, [{"detail": error.message, "pointer": pointer, "remedy": error.remedy}], remedy=error.remedy
        ) from None
