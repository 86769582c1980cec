"""Rollouts: releases in steps, begun, told and shown; and what one would do and cost."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, row_before
from tightrope.api.budget import Cursor, Limit
from tightrope.api.shapes_rollouts import (
    Kind,
    PromoteRollout,
    ReplayDocument,
    RolloutDocument,
    RolloutList,
    RolloutPlan,
    SendCounts,
    StartRollout,
    TellRollout,
    Turns,
)
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.base.units import parse_time, time_text
from tightrope.delivery.canary import Counts
from tightrope.delivery.rollout import Said
from tightrope.delivery.rollouts.usecases import View, Wish
from tightrope.loop.rollouts import plan_document, rollout_document, turn_document
from tightrope.specs.model import ChangeKind

router = APIRouter(tags=["delivery"])

Service = Annotated[str, Query(max_length=500, description="Only of this service.")]


@router.get("/rollouts", summary="List rollouts", **needs(Permission.READ, also={200: {"model": RolloutList}}))
def rollouts(
    visit: Visit,
    service: Service = "",
    running: Annotated[bool, Query(description="Only those that are not over.")] = False,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Response:
    """The newest first."""
    visit.must(Permission.READ, service)
    before, found = row_before(cursor), list[View]()
    while True:
        rows = visit.server.rollouts.views(service=service, running=running, before=before, limit=limit + 1)
        found += [one for one in rows if visit.sees(one.wish.service)]
        if len(found) > limit or len(rows) <= limit:
            break
        before = rows[-1].run.number
    listed = page(visit.request, found[: limit + 1], limit, lambda one: str(one.run.number))
    return answer(listed | {"items": [rollout_document(one, visit.now) for one in listed["items"]]})


@router.post(
    "/rollouts",
    status_code=201,
    summary="Start a rollout",
    **needs(Permission.RUN, also={201: {"model": RolloutDocument, "description": "It begins once the gate is open."}}),
)
def start(visit: Visit, wanted: StartRollout) -> Response:
    """By the RolloutStrategy of the service. It asks the gate, and waits for it where it must."""
    visit.must(Permission.RUN, wanted.service)
    wish = Wish(
        service=wanted.service,
        version=wanted.version,
        environment=wanted.environment,
        previous=wanted.previous,
        revision=wanted.revision,
        kind=ChangeKind(wanted.kind),
        kind_from="given" if "kind" in wanted.model_fields_set else "default",
        change=wanted.change,
        title=wanted.title,
        url=wanted.url,
    )
    view = visit.server.rollouts.start(wish, by=visit.actor.name)
    document = rollout_document(view, visit.now)
    return answer(document, 201, {"Location": f"/api/v1/rollouts/{view.run.id}"})


@router.get("/rollouts/plan", summary="Plan a rollout", **needs(Permission.READ, also={200: {"model": RolloutPlan}}))
def plan(
    visit: Visit,
    service: Annotated[str, Query(max_length=500, description="What is to be released.")],
    environment: Annotated[str, Query(max_length=500, description="Where.")] = "production",
    kind: Annotated[Kind, Query(description="What the change is for.")] = "feature",
) -> Response:
    """What a release would do now by its strategy: weights, bakes, what it can cost at most, what would show when."""
    visit.must(Permission.READ, service)
    drawn = visit.server.rollouts.plan(service, environment, ChangeKind(kind))
    return answer(plan_document(drawn, service, time_text(visit.now)))


@router.get(
    "/rollouts/{rollout}", summary="Show a rollout", **needs(Permission.READ, also={200: {"model": RolloutDocument}})
)
def rollout(visit: Visit, rollout: str) -> Response:
    """By its id, or the number of its run."""
    return answer(rollout_document(_seen(visit, rollout), visit.now))


@router.get(
    "/rollouts/{rollout}/turns",
    summary="Show the turns of a rollout",
    **needs(Permission.READ, also={200: {"model": Turns}}),
)
def turns(
    visit: Visit,
    rollout: str,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only turns after this number.")] = 0,
    limit: Limit = 1000,
) -> Response:
    """Oldest first: weights, evidence, and what was spent, for a chart."""
    view = _seen(visit, rollout)
    found = visit.server.rollouts.turns(view.run.id, after=after, limit=limit)
    return answer({"items": [turn_document(one) for one in found]})


@router.get(
    "/rollouts/{rollout}/replay",
    summary="Decide a rollout again",
    **needs(Permission.READ, also={200: {"model": ReplayDocument}}),
)
def replay(visit: Visit, rollout: str) -> Response:
    """From the facts that were recorded, by the code that decides live."""
    view = _seen(visit, rollout)
    found = visit.server.rollouts.replay(view.run.id)
    return answer({"turns": found.turns, "agrees": found.differs_at is None, "differsAtTurn": found.differs_at})


@router.post(
    "/rollouts/{rollout}/promote",
    summary="Promote a rollout",
    **needs(Permission.RUN, also={200: {"model": RolloutDocument, "description": "It is told."}}),
)
def promote(visit: Visit, rollout: str, wanted: PromoteRollout) -> Response:
    """Take the next step now, without waiting for bake or proof; the allowance holds all the same."""
    return _told(visit, rollout, Said.PROMOTE_ALL if wanted.all else Said.PROMOTE, wanted.reason)


@router.post(
    "/rollouts/{rollout}/abort",
    summary="Roll back",
    **needs(Permission.RUN, also={200: {"model": RolloutDocument, "description": "It is told."}}),
)
def abort(visit: Visit, rollout: str, wanted: TellRollout) -> Response:
    """Give all of the traffic back to the old version; no gate is asked."""
    return _told(visit, rollout, Said.ABORT, wanted.reason)


@router.post(
    "/rollouts/{rollout}/pause",
    summary="Pause a rollout",
    **needs(Permission.RUN, also={200: {"model": RolloutDocument, "description": "It is told."}}),
)
def pause(visit: Visit, rollout: str, wanted: TellRollout) -> Response:
    """It keeps its weight, and still goes back on harm."""
    return _told(visit, rollout, Said.PAUSE, wanted.reason)


@router.post(
    "/rollouts/{rollout}/resume",
    summary="Resume a rollout",
    **needs(Permission.RUN, also={200: {"model": RolloutDocument, "description": "It is told."}}),
)
def resume(visit: Visit, rollout: str, wanted: TellRollout) -> Response:
    """Let a rollout that was paused go on."""
    return _told(visit, rollout, Said.RESUME, wanted.reason)


@router.post(
    "/rollouts/{rollout}/counts",
    status_code=202,
    summary="Send counts of both versions",
    **needs(Permission.RUN, also={202: {"description": "They are taken."}}),
)
def counts(visit: Visit, rollout: str, sent: SendCounts) -> Response:
    """For a strategy with `arms: {push: true}`. What is sent twice counts once: `until` tells."""
    view = _run_by(visit, rollout)
    visit.server.rollouts.counts(
        view.run.id,
        sent.slo,
        parse_time(sent.until),
        Counts(sent.canary.bad, sent.canary.total),
        Counts(sent.baseline.bad, sent.baseline.total),
        by=visit.actor.name,
    )
    return Response(status_code=202)


def _told(visit: Visitor, name: str, said: Said, reason: str) -> Response:
    view = _run_by(visit, name)
    told = visit.server.rollouts.say(view.run.id, said, by=visit.actor.name, reason=reason)
    document: dict[str, Any] = rollout_document(told, visit.now)
    return answer(document)


def _run_by(visit: Visitor, name: str) -> View:
    """A rollout that the visitor may tell something; who may run nothing hears nothing of what there is."""
    if not any(visit.actor.may(Permission.RUN, one) for one in ["", *sorted(visit.actor.services or ())]):
        visit.must(Permission.RUN)
    view = _seen(visit, name)
    visit.must(Permission.RUN, view.wish.service)
    return view


def _seen(visit: Visitor, name: str) -> View:
    view = visit.server.rollouts.view(name)
    visit.must(Permission.READ, view.wish.service)
    return view
