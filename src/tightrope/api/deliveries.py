"""Changes, deployments and findings: what went where, what it carried, and what went past the gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, place_after
from tightrope.api.budget import Cursor, Limit
from tightrope.api.shapes_delivery import (
    Changes,
    CloseFinding,
    DeploymentInFull,
    Deployments,
    FindingDocument,
    Findings,
    RecordDeployment,
)
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.base.errors import UsageError
from tightrope.base.units import parse_time
from tightrope.delivery.documents import (
    commit_told,
    deployment_document,
    deployment_in_full,
    finding_document,
    report_told,
)
from tightrope.delivery.feedback import price_document
from tightrope.delivery.usecases import Deliveries, named

router = APIRouter(tags=["delivery"])

Row = TypeVar("Row")
Place = tuple[int, str]

Service = Annotated[str, Query(max_length=500, description="Only of this service.")]
Since = Annotated[str, Query(max_length=40, description="Only at or after this instant.")]


@router.get("/deployments", summary="List deployments", **needs(Permission.READ, also={200: {"model": Deployments}}))
def deployments(
    visit: Visit,
    service: Service = "",
    environment: Annotated[str, Query(max_length=500, description="Only in this environment.")] = "",
    state: Annotated[Literal["started", "succeeded", "failed", ""], Query(description="Only in this state.")] = "",
    since: Since = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """The newest first, by when they ended, or began where they go on."""
    visit.must(Permission.READ, service)
    begin = parse_time(since) if since else None
    known = _deliveries(visit)

    def read(before: Place | None, count: int) -> Sequence[Any]:
        return known.deployments(service, environment, state=state, since=begin, before=before, limit=count)

    found = _seen(visit, read, lambda one: one.service, lambda one: (one.at, one.id), limit, cursor)
    listed = page(visit.request, found, limit, lambda one: _written(one.at, one.id))
    return answer(listed | {"items": [deployment_document(one) for one in listed["items"]]})


@router.post(
    "/deployments",
    status_code=201,
    summary="Record a deployment",
    **needs(Permission.RECORD, also={201: {"model": DeploymentInFull, "description": "It is recorded."}}),
)
def record(visit: Visit, told: RecordDeployment) -> Response:
    """Tell that a deployment began, succeeded or failed. The same `id` is the same deployment, in whatever order."""
    visit.must(Permission.RECORD, told.service)
    _known_service(visit, told.service)
    known = _deliveries(visit)
    document = told.model_dump(by_alias=True)
    report = report_told(document, by=visit.actor.name, now=visit.now)
    made = known.record(named(known, report), [commit_told(one) for one in document["history"]])
    found = known.about(made.id)
    return answer(_in_full(visit, found), 201, {"Location": f"/api/v1/deployments/{made.id}"})


@router.get(
    "/deployments/{deployment}",
    summary="Show a deployment",
    **needs(Permission.READ, also={200: {"model": DeploymentInFull}}),
)
def deployment(visit: Visit, deployment: str) -> Response:
    """With the commits that it carried, what was found of it, what it was built by, and what it cost."""
    found = _deliveries(visit).about(deployment)
    visit.must(Permission.READ, found[0].service)
    return answer(_in_full(visit, found))


def _in_full(visit: Visitor, found: tuple[Any, ...]) -> dict[str, Any]:
    price = [price_document(one) for one in visit.server.prices(found[0])]
    return deployment_in_full(*found) | {"price": price}


@router.get("/changes", summary="List changes", **needs(Permission.READ, also={200: {"model": Changes}}))
def changes(
    visit: Visit,
    service: Service = "",
    repository: Annotated[str, Query(max_length=2000, description="Only of this repository.")] = "",
    since: Since = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Commits that are known, the newest first, each with where it went. A token for some services names one."""
    visit.must(Permission.READ, service)
    if visit.actor.services is not None and not service:
        visit.must(Permission.RECORD)
    found = _deliveries(visit).changes(
        service=service,
        repository=repository if visit.actor.services is None else "",
        since=parse_time(since) if since else None,
        before=_place(cursor),
        limit=limit + 1,
    )
    listed = page(visit.request, found, limit, lambda one: _written(one.commit.committed_at, one.commit.sha))
    return answer(listed | {"items": [one.document() for one in listed["items"]]})


@router.get("/findings", summary="List findings", **needs(Permission.READ, also={200: {"model": Findings}}))
def findings(
    visit: Visit,
    open_only: Annotated[bool, Query(alias="open", description="Only those that nobody has closed.")] = False,
    service: Service = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Deployments that went out past the gate, the newest first."""
    visit.must(Permission.READ, service)
    known = _deliveries(visit)

    def read(before: Place | None, count: int) -> Sequence[Any]:
        return known.findings.listed(service=service, open_only=open_only, before=before, limit=count)

    found = _seen(visit, read, lambda one: one.service, lambda one: (one.opened_at, one.id), limit, cursor)
    listed = page(visit.request, found, limit, lambda one: _written(one.opened_at, one.id))
    return answer(listed | {"items": [finding_document(one) for one in listed["items"]]})


@router.post(
    "/findings/{finding}/close",
    summary="Close a finding",
    **needs(Permission.APPROVE, also={200: {"model": FindingDocument, "description": "It is closed."}}),
)
def close(visit: Visit, finding: str, wanted: CloseFinding) -> Response:
    """For a reason, which is recorded with the name of who closes it."""
    if not any(visit.actor.may(Permission.APPROVE, one) for one in ["", *sorted(visit.actor.services or ())]):
        visit.must(Permission.APPROVE)
    known = _deliveries(visit).findings.named(finding)
    visit.must(Permission.APPROVE, known.service)
    return answer(
        finding_document(_deliveries(visit).findings.close(finding, by=visit.actor.name, reason=wanted.reason))
    )


def _deliveries(visit: Visitor) -> Deliveries:
    return visit.server.deliveries


def _known_service(visit: Visitor, service: str) -> None:
    specs = visit.server.live.snapshot.specs
    if not specs.of_service(service) and service not in specs.services:
        raise visit.server.live.unknown(service)


def _seen(
    visit: Visitor,
    read: Callable[[Place | None, int], Sequence[Row]],
    service: Callable[[Row], str],
    place: Callable[[Row], Place],
    limit: int,
    cursor: str,
) -> list[Row]:
    """One page of rows that the visitor may see, and one more."""
    before, found = _place(cursor), []
    while True:
        rows = read(before, limit + 1)
        found += [one for one in rows if visit.sees(service(one))]
        if len(found) > limit or len(rows) <= limit:
            return found[: limit + 1]
        before = place(rows[-1])


def _written(at: int, name: str) -> str:
    return f"{at}\n{name}"


def _place(cursor: str) -> Place | None:
    place = place_after(cursor)
    if not place:
        return None
    at, _, name = place.partition("\n")
    if not (at.isascii() and at.isdecimal() and len(at) < 18 and name):
        raise UsageError("the cursor is none of this list", remedy="follow `next` of the page before, as it is")
    return int(at), name
