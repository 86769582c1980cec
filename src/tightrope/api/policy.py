"""Recorded decisions, and decided again. The gate itself is in `tightrope.api.gate`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, row_before
from tightrope.api.budget import Cursor, Limit
from tightrope.api.shapes import KeptDecisionInFull, KeptDecisions, Recomputed
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.base.errors import NotFoundError
from tightrope.base.units import time_text
from tightrope.policy.record import Kept, document_of, recompute
from tightrope.policy.rendering import decision_document

router = APIRouter(tags=["policy"])


@router.get(
    "/decisions", summary="List recorded decisions", **needs(Permission.READ, also={200: {"model": KeptDecisions}})
)
def decisions(
    visit: Visit,
    service: Annotated[str, Query(max_length=500, description="Of this service only.")] = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Response:
    """The newest first."""
    visit.must(Permission.READ, service)
    found: list[Kept] = []
    before = row_before(cursor)
    while len(found) <= limit:
        rows = visit.server.decisions(service=service, limit=limit + 1, before=before)
        found += [one for one in rows if visit.sees(one.record.request.service)]
        if len(rows) <= limit:
            break
        before = rows[-1].sequence
    listed = page(visit.request, found, limit, lambda one: str(one.sequence))
    return answer(listed | {"items": [kept_document(one) for one in listed["items"]]})


@router.get(
    "/decisions/{decision}",
    summary="Show a recorded decision",
    **needs(Permission.READ, also={200: {"model": KeptDecisionInFull}}),
)
def decision(visit: Visit, decision: str) -> Response:
    """With all that it rests on."""
    found = _kept(visit, decision)
    return answer(kept_document(found) | {"inputs": _inputs(found)})


@router.post(
    "/decisions/{decision}/recompute",
    summary="Decide again from the recorded inputs",
    **needs(Permission.READ, also={200: {"model": Recomputed}}),
)
def again(visit: Visit, decision: str) -> Response:
    """Tell whether the same comes out: the same version must agree in every field, another in what is acted on."""
    found = _kept(visit, decision)
    differs = recompute(found.record, visit.server.version)
    return answer(
        {
            "decision": found.record.decision.id,
            "sequence": found.sequence,
            "agrees": not differs,
            "differs": differs,
            "decidedBy": found.record.decided_by,
            "version": visit.server.version,
        }
    )


def kept_document(kept: Kept) -> dict[str, Any]:
    """A recorded decision in its place in the journal."""
    return {
        "sequence": kept.sequence,
        "recordedAt": time_text(kept.recorded_at),
        "decidedBy": kept.record.decided_by,
        "decision": decision_document(kept.record.decision),
    }


def _inputs(kept: Kept) -> dict[str, Any]:
    document = document_of(kept.record)
    return {"request": document["request"], "facts": document["facts"]}


def _kept(visit: Visitor, name: str) -> Kept:
    found = visit.server.decision(name)
    if found is None:
        raise NotFoundError(f"there is no decision {name!r}", remedy="GET /api/v1/decisions lists what there is")
    visit.must(Permission.READ, found.record.request.service)
    return found
