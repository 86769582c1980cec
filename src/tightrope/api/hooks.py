"""Webhooks of others: taken when they are proved, answered at once, read afterwards."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, row_before
from tightrope.api.budget import Cursor, Limit
from tightrope.api.shapes_delivery import IncomingDocument, Incomings, Taken
from tightrope.api.visitor import Visit, needs
from tightrope.base.errors import NotFoundError
from tightrope.delivery.documents import incoming_document, receipt_document
from tightrope.loop.server import Server

router = APIRouter(tags=["delivery"])

_BODY = {
    "requestBody": {
        "required": True,
        "description": "A delivery as its sender makes it; see docs/deployments.md.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (
                "application/json",
                "application/cloudevents+json",
                "application/cloudevents-batch+json",
                "application/x-www-form-urlencoded",
            )
        },
    }
}


@router.post(
    "/hooks/{integration}",
    status_code=202,
    summary="Take a delivery",
    **needs(
        None,
        also={
            200: {"model": Taken, "description": "It came before."},
            202: {"model": Taken, "description": "It is on the disk, and read in a moment."},
        },
        extra=_BODY,
    ),
)
async def hook(request: Request, integration: str) -> Response:
    """From GitHub, GitLab, Gitea, Argo CD, Flux or whoever speaks CDEvents; proved by the secret of the integration."""
    server: Server = request.app.state.server
    body = await request.body()
    taken = await run_in_threadpool(server.inbox.receive, integration, dict(request.headers), body)
    return answer(receipt_document(taken.id, taken.state.value, taken.why), taken.status)


@router.get(
    "/hooks/{integration}/deliveries",
    summary="List deliveries",
    **needs(Permission.READ, also={200: {"model": Incomings}}),
)
def deliveries(
    visit: Visit,
    integration: str,
    state: Annotated[
        Literal["waiting", "done", "ignored", "set-aside", "refused", ""], Query(description="Only in this state.")
    ] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """What was sent to us, the newest first, and what became of it; never what it holds."""
    visit.must(Permission.READ)
    if visit.actor.services is not None:  # a delivery belongs to no one service
        visit.must(Permission.RECORD)
    before = row_before(cursor)
    found = visit.server.inbox.listed(integration, state=state, before=before, limit=limit + 1)
    listed = page(visit.request, found, limit, lambda one: str(one.sequence))
    return answer(listed | {"items": [incoming_document(one) for one in listed["items"]]})


@router.post(
    "/hooks/{integration}/deliveries/{delivery}/redeliver",
    status_code=202,
    summary="Read a delivery again",
    **needs(Permission.RECORD, also={202: {"model": IncomingDocument, "description": "It waits to be read."}}),
)
def redeliver(visit: Visit, integration: str, delivery: str) -> Response:
    """One that could not be read, or that was ignored, such as before its service was mapped."""
    visit.must(Permission.RECORD)
    known = visit.server.inbox.named(delivery)
    if known.integration != integration:
        raise NotFoundError(f"{integration} sent no delivery {delivery!r}", remedy="list those of the integration")
    return answer(incoming_document(visit.server.inbox.redeliver(delivery)), 202)
