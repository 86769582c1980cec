"""The journal: what happened, whether the record is whole, and all of it to take away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, row_before
from tightrope.api.budget import Cursor, Limit
from tightrope.api.shapes import JournalPage, Verified
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.base.units import parse_time, time_text
from tightrope.loop.record import Entry

router = APIRouter(tags=["journal"])

ACCESS = "/tightrope/access"
"""The source of events about tokens and sessions: they are about no service."""

_LINES_AT_ONCE = 200

Since = Annotated[str, Query(max_length=100, description="From this instant on: ISO 8601 or epoch seconds.")]


@router.get("/journal", summary="List what happened", **needs(Permission.READ, also={200: {"model": JournalPage}}))
def journal(
    visit: Visit,
    kind: Annotated[str, Query(alias="type", max_length=200, description="Only events of this type.")] = "",
    subject: Annotated[str, Query(max_length=500, description="Only events about this, such as a service.")] = "",
    since: Since = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """The newest first, as CloudEvents."""
    visit.must(Permission.READ)
    found: list[Entry] = []
    before = row_before(cursor)
    begin = parse_time(since) if since else None
    while len(found) <= limit:
        rows = visit.server.events(kind=kind, subject=subject, since=begin, before=before, limit=limit + 1)
        found += [one for one in rows if visible(visit, one)]
        if len(rows) <= limit:
            break
        before = rows[-1].sequence
    listed = page(visit.request, found, limit, lambda one: str(one.sequence))
    return answer(listed | {"items": [event_document(one) for one in listed["items"]]})


@router.get("/journal/verify", summary="Check the journal", **needs(Permission.READ, also={200: {"model": Verified}}))
def verify(
    visit: Visit,
    recompute: Annotated[bool, Query(description="Also decide every decision again.")] = False,
    head: Annotated[str, Query(max_length=64, description="Hash of the last row, as noted elsewhere earlier.")] = "",
) -> Response:
    """Whether the chain holds; every row that was changed, moved or taken away is named."""
    visit.must(Permission.READ)
    found = visit.server.verify(again=recompute, head=head)
    chain = found.chain
    return answer(
        {
            "holds": found.holds,
            "rows": chain.rows,
            "sequence": chain.sequence,
            "head": chain.head,
            "noted": chain.noted,
            "broken": [{"sequence": one.sequence, "what": one.what} for one in chain.broken],
            "recomputed": found.recomputed,
            "differing": [
                {"sequence": one.sequence, "decision": one.decision, "what": one.what, "decidedBy": one.decided_by}
                for one in found.differing
            ],
        }
    )


@router.get(
    "/journal/export",
    summary="Take the whole journal away",
    **needs(
        Permission.READ,
        also={
            200: {
                "description": "One CloudEvent a line, the oldest first.",
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            }
        },
    ),
)
def export(visit: Visit, since: Since = "") -> Response:
    """As `tightrope audit export` prints it: anybody can check the chain of hashes in it."""
    visit.must(Permission.READ)
    begin = parse_time(since) if since else None

    def lines() -> Iterator[bytes]:
        rows: list[bytes] = []
        for document in visit.server.exported(begin):
            if visible_document(visit, document):
                rows.append(msgspec.json.encode(document) + b"\n")
            if len(rows) == _LINES_AT_ONCE:
                yield b"".join(rows)
                rows = []
        yield b"".join(rows)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def event_document(entry: Entry) -> dict[str, Any]:
    """Write a row as a CloudEvent in the structured mode, the same as an export has it."""
    event = entry.event
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": time_text(event.time),
        "datacontenttype": "application/json",
        "previoushash": entry.previous,
        "data": event.data,
        "sequence": f"{entry.sequence:012d}",
        "hash": entry.hash,
    }


def visible(visit: Visitor, entry: Entry) -> bool:
    """Whether a visitor may know of an event: who is limited to some services sees what is about these."""
    return visible_to(visit, entry.event.source, entry.event.subject)


def visible_document(visit: Visitor, document: Mapping[str, Any]) -> bool:
    """The same of an event that is written already."""
    return visible_to(visit, document["source"], document["subject"])


def visible_to(visit: Visitor, source: str, subject: str) -> bool:
    """The same by source and subject."""
    services = visit.actor.services
    return services is None or (source != ACCESS and subject in services)
