"""Where budgets stand: the services, their objectives, and why each is in its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import MOST_A_PAGE, answer, next_page, page, paged
from tightrope.api.shapes import Attributions, Explanation, ServiceInFull, Services, Status
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.base.errors import NotFoundError
from tightrope.base.units import time_text
from tightrope.budget.words import (
    Standing,
    amount_text,
    budget_text,
    fleet_sentence,
    flow_word,
    service_sentence,
    standing_word,
)
from tightrope.loop.assess import Assessment
from tightrope.loop.attribution import account_document, accounts_of
from tightrope.loop.documents import explain_document, number, status_document
from tightrope.loop.gatekeeper import ask_gate
from tightrope.loop.standing import left_of, outlook_of, standing_of, tightest
from tightrope.policy.decision import GateRequest
from tightrope.policy.rendering import decision_document, decision_lines
from tightrope.policy.states import named
from tightrope.specs.model import Basis, Flow

router = APIRouter(tags=["budget"])

Limit = Annotated[int, Query(ge=1, le=MOST_A_PAGE, description="How many to show.")]
Outlook = Annotated[bool, Query(description="Also tell in words how each stands and what is coming, as `outlook`.")]
Cursor = Annotated[str, Query(max_length=2000, description="From `next` of the page before.")]


@router.get("/services", summary="List the services", **needs(Permission.READ, also={200: {"model": Services}}))
def services(visit: Visit, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """How every service stands that the visitor may see, by name."""
    snapshot = visit.server.live.snapshot
    names = sorted({*snapshot.specs.services, *(slo.service for slo in snapshot.specs.slos)})
    stand = {name: _standing(visit, name) for name in names if visit.sees(name)}
    listed = page(visit.request, paged(list(stand), cursor, limit, str), limit, str)
    items = [service_document(visit, name, stand[name]) for name in listed["items"]]
    fleet = fleet_sentence([one.standing for one in stand.values() if one is not None], visit.now)
    return answer(listed | {"items": items, "summary": fleet})


@router.get(
    "/services/{service}", summary="Show one service", **needs(Permission.READ, also={200: {"model": ServiceInFull}})
)
def service(visit: Visit, service: str) -> Response:
    """How one service stands, with all of its objectives."""
    visit.must(Permission.READ, service)
    found = visit.server.assessments(service)
    document = service_document(visit, service, _standing(visit, service))
    return answer(document | {"objectives": [status_document(one) for one in found]})


@router.get(
    "/services/{service}/explain",
    summary="Say why a service is in its state",
    **needs(Permission.READ, also={200: {"model": Explanation}}),
)
def explain(
    visit: Visit,
    service: str,
    slo: Annotated[str, Query(max_length=500, description="Only this SLO of the service.")] = "",
    outlook: Outlook = False,
) -> Response:
    """Since when, what would change it, and when; with the decision on a feature, which is not recorded."""
    visit.must(Permission.READ, service)
    specs = visit.server.live.snapshot.specs
    found = visit.server.assessments(service)
    decision = ask_gate(specs, GateRequest(service, visit.now), found)
    objectives = [one for one in visit.server.history(service, None) if slo in {"", one.slo.name, one.title}]
    if slo and not objectives:
        raise NotFoundError(f"{service} has no SLO {slo!r}", remedy=f"GET /api/v1/services/{service} lists them")
    document = explain_document(decision_document(decision), objectives)
    if outlook:
        told = zip(document["objectives"], objectives, strict=True)
        document["objectives"] = [written | _in_words(visit, one, outlook) for written, one in told]
        document["text"] = decision_lines(decision)
    return answer(document)


@router.get(
    "/services/{service}/attribution",
    summary="Say where the budget of a service went",
    **needs(Permission.READ, also={200: {"model": Attributions}}),
)
def attribution(
    visit: Visit,
    service: str,
    slo: Annotated[str, Query(max_length=500, description="Only this SLO of the service.")] = "",
) -> Response:
    """Every bad unit of the window by its one cause; the parts sum to what is spent."""
    visit.must(Permission.READ, service)
    found = [one for one in visit.server.history(service, None) if slo in {"", one.slo.name, one.title}]
    if slo and not found:
        raise NotFoundError(f"{service} has no SLO {slo!r}", remedy=f"GET /api/v1/services/{service} lists them")
    accounts = accounts_of(found, lambda name: visit.server.history(name, None), visit.server.shipped(found))
    return answer({"items": [account_document(one) for one in accounts]})


@router.get(
    "/status",
    summary="Show where every objective stands",
    **needs(
        Permission.READ,
        also={
            200: {
                "model": list[Status],
                "description": "One document for each objective, as `tightrope status -o json` prints them.",
                "headers": {
                    "Link": {
                        "description": "The next page, `rel=next`, where there is one.",
                        "schema": {"type": "string"},
                    }
                },
            }
        },
    ),
)
def status(
    visit: Visit,
    service: Annotated[list[str] | None, Query(max_length=1000, description="These services only.")] = None,
    slo: Annotated[list[str] | None, Query(max_length=1000, description="These SLOs only.")] = None,
    state: Annotated[str, Query(max_length=200, description="In this state of the policy only.")] = "",
    flow: Annotated[Flow | None, Query(description="In this flow only.")] = None,
    firing: Annotated[bool | None, Query(description="With an alert that is out, or without any.")] = None,
    basis: Annotated[Basis | None, Query(description="Which budget to show. Default: the policy's.")] = None,
    outlook: Outlook = False,
    limit: Annotated[int, Query(ge=1, le=100_000, description="How many to show; all without it.")] = 100_000,
    cursor: Cursor = "",
) -> Response:
    """The list that the command line prints, not wrapped in anything: a next page is named in the header `Link`."""
    found = [
        one
        for one in _asked_for(visit, service, slo)
        if (not state or one.history.final_state == state)
        and (flow is None or named(one.policy, one.history.final_state).flow is flow)
        and (firing is None or bool(one.firing) is firing)
    ]
    found.sort(key=_place)
    shown = paged(found, cursor, limit, _place)
    headers = {}
    if len(shown) > limit:
        headers["Link"] = f'<{next_page(visit.request, _place(shown[limit - 1]))}>; rel="next"'
    documents = [status_document(one, basis) | _in_words(visit, one, outlook) for one in shown[:limit]]
    return answer(documents, headers=headers)


@dataclass(frozen=True, slots=True, eq=False)
class _Stands:
    """How a service stands: all of its objectives, the one that decides, and how that one stands."""

    all: list[Assessment]
    worst: Assessment
    standing: Standing


def _standing(visit: Visitor, service: str) -> _Stands | None:
    """How a service stands; None where no objective of it was evaluated yet."""
    found = visit.server.assessments(service)
    if not found:
        return None
    worst = tightest(found)
    return _Stands(found, worst, standing_of(worst, visit.now))


def service_document(visit: Visitor, name: str, stands: _Stands | None) -> dict[str, Any]:
    """How one service stands; without an objective that was evaluated it is only named."""
    specs = visit.server.live.snapshot.specs
    document: dict[str, Any] = {
        "name": name,
        "displayName": specs.services.get(name, name),
        "summary": f"{name} has no objective that was evaluated yet.",
        "flow": None,
        "state": None,
        "remainingRatio": None,
        "firing": [],
        "stale": True,
        "slos": sorted({slo.name for slo in specs.of_service(name)}),
        "asOf": None,
    }
    if stands is None:
        return document
    return document | {
        "summary": service_sentence(stands.standing, visit.now),
        "flow": str(stands.standing.flow),
        "state": stands.worst.history.final_state,
        "remainingRatio": number(stands.worst.budget.remaining_ratio),
        "firing": [
            {"name": condition.name, "severity": condition.severity, "firing": True}
            for one in stands.all
            if one.watched
            for condition in one.firing
        ],
        "stale": stands.worst.stale,
        "asOf": time_text(min(one.statement.at for one in stands.all)),
    }


def outlook_document(one: Assessment, now: int) -> dict[str, Any]:
    """How one objective stands, in words: what a table or a card shows of it."""
    standing = standing_of(one, now)
    word, letter = standing_word(standing, now)
    statement = one.statement
    return {
        "title": one.title,
        "word": word,
        "letter": letter,
        "flow": flow_word(standing.flow, standing.ship)[1] if one.watched and not standing.stale else "",
        "left": left_of(one),
        "budget": budget_text(one.budget, statement.unit_s),
        "spent": amount_text(one.budget.consumed, statement.unit_s),
        "allowed": amount_text(one.budget.allowed, statement.unit_s),
        "says": outlook_of(one, standing),
    }


def _in_words(visit: Visitor, one: Assessment, wanted: bool) -> dict[str, Any]:
    return {"outlook": outlook_document(one, visit.now)} if wanted else {}


def _asked_for(visit: Visitor, services: list[str] | None, slos: list[str] | None) -> list[Assessment]:
    """The assessments of what was named; raises `NotFoundError` for a name that means nothing."""
    specs = visit.server.live.snapshot.specs
    known = {slo.name for slo in specs.slos}
    for name in slos or ():
        if name not in known:
            raise NotFoundError(f"there is no SLO named {name!r}", remedy="GET /api/v1/specs?kind=SLO lists them")
    if services:
        for name in services:
            visit.must(Permission.READ, name)
    wanted = services or sorted({slo.service for slo in specs.slos if visit.sees(slo.service)})
    found = [one for name in dict.fromkeys(wanted) for one in visit.server.assessments(name)]
    return [one for one in found if not slos or one.slo.name in slos]


def _place(one: Assessment) -> str:
    return f"{one.slo.service}\n{one.slo.name}\n{one.number:06d}"
