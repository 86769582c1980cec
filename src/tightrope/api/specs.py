"""The specs: read, checked, applied and withdrawn, each change on what the changer has seen."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, paged
from tightrope.api.budget import Cursor, Limit
from tightrope.api.problems import Refusal, fault_of
from tightrope.api.shapes import AppliedSpecs, CheckedSpecs, SpecEntries, SpecInFull
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.base.errors import ConflictError, NotFoundError, SpecsInvalidError, UsageError
from tightrope.base.units import time_text
from tightrope.specs.model import Specs
from tightrope.specs.usecases import Applied, SpecDocument

router = APIRouter(tags=["specs"])

YAML_TYPES = (
    "application/yaml",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
    "application/json",
    "text/plain",
)
"""What specs may be sent as; JSON is YAML."""

_BODY = {
    "requestBody": {
        "required": True,
        "description": "OpenSLO and tightrope.dev documents, separated by `---`.",
        "content": {kind: {"schema": {"type": "string"}} for kind in ("application/yaml", "text/plain")},
    }
}
_ETAG = {"ETag": {"description": "To be sent back in `If-Match`.", "schema": {"type": "string"}}}
IfMatch = Annotated[str, Header(max_length=2000, description="The `ETag` that was read; `*`: whatever is there.")]


async def _text(request: Request) -> str:
    """The body of a request as the text of specs."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind not in YAML_TYPES:
        raise Refusal(415, f"specs are sent as YAML, not as {kind}", remedy="set Content-Type: application/yaml")
    body = await request.body()
    if not body.strip():
        raise UsageError("the body is empty", remedy="send YAML documents")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the body is not UTF-8: byte {error.start}", remedy="send it in UTF-8") from None


Text = Annotated[str, Depends(_text)]


@router.get("/specs", summary="List the specs", **needs(Permission.READ, also={200: {"model": SpecEntries}}))
def specs(
    visit: Visit,
    kind: Annotated[str, Query(max_length=200, description="Only documents of this kind.")] = "",
    limit: Limit = 1000,
    cursor: Cursor = "",
) -> Response:
    """Every document that is followed, from files and applied, by kind and name."""
    visit.must(Permission.READ)
    live = visit.server.live.snapshot.specs
    found = [one for one in visit.server.documents() if kind in {"", one.kind} and _seen(visit, live, one)]
    found.sort(key=_place)
    listed = page(visit.request, paged(found, cursor, limit, _place), limit, _place)
    return answer(listed | {"items": [spec_document(one) for one in listed["items"]]})


@router.post(
    "/specs/validate",
    summary="Check specs without applying them",
    **needs(Permission.READ, also={200: {"model": CheckedSpecs}}, extra=_BODY),
)
def validate(visit: Visit, text: Text) -> Response:
    """All findings at once, read together with everything that is live; nothing is kept."""
    visit.must(Permission.READ)
    try:
        applied = visit.server.apply(text, actor=visit.actor.name, dry_run=True)
    except SpecsInvalidError as error:
        return answer({"valid": False, "findings": [fault_of(one) for one in error.findings], "changed": []})
    return answer(
        {"valid": True, "findings": [fault_of(one) for one in applied.findings], "changed": _changed(applied)}
    )


@router.put(
    "/specs",
    summary="Apply specs",
    **needs(Permission.APPLY, also={200: {"model": AppliedSpecs}}, extra=_BODY),
)
def apply(
    visit: Visit,
    text: Text,
    dry_run: Annotated[bool, Query(alias="dryRun", description="Only tell what would happen.")] = False,
) -> Response:
    """Take over one document or many, all or none; the next turn of the loop follows them."""
    return answer(_applied(visit, text, None, dry_run=dry_run))


@router.get(
    "/specs/{kind}/{name:path}",
    summary="Show a document",
    **needs(
        Permission.READ,
        also={
            200: {
                "model": SpecInFull,
                "headers": _ETAG,
                "content": {"application/yaml": {"schema": {"type": "string"}}},
            },
            304: {"description": "It is still as `If-None-Match` has it."},
        },
    ),
)
def document(
    visit: Visit,
    kind: str,
    name: str,
    if_none_match: Annotated[str, Header(max_length=2000)] = "",
    accept: Annotated[str, Header(max_length=2000)] = "",
) -> Response:
    """As JSON with its text in it, or with `Accept: application/yaml` the YAML alone."""
    visit.must(Permission.READ)
    found = _there(visit, kind, name)
    headers = {"ETag": f'"{found.etag}"', "Cache-Control": "no-cache, private", "Vary": "Accept"}
    if found.etag in etags(if_none_match):
        return Response(status_code=304, headers=headers)
    if "yaml" in accept:
        return Response(found.text, 200, headers, "application/yaml; charset=utf-8")
    return answer(spec_document(found) | {"text": found.text}, headers=headers)


@router.put(
    "/specs/{kind}/{name:path}",
    summary="Apply one document",
    **needs(
        Permission.APPLY,
        also={200: {"model": AppliedSpecs, "headers": _ETAG}, 201: {"model": AppliedSpecs, "headers": _ETAG}},
        extra=_BODY,
    ),
)
def put(
    visit: Visit,
    kind: str,
    name: str,
    text: Text,
    if_match: IfMatch = "",
    if_none_match: Annotated[str, Header(max_length=2000, description="`*`: only if there is none yet.")] = "",
) -> Response:
    """Changing a document takes its `ETag` in `If-Match`, so that nobody overwrites what they have not seen."""
    _must_apply_something(visit)
    found = next((one for one in visit.server.documents() if (one.kind, one.name) == (kind, name)), None)
    if found is not None and etags(if_none_match) & {"*", found.etag}:
        raise ConflictError(f"there is a {kind} called {name} already", remedy="change that one", precondition=True)
    held = _held(kind, name, found, if_match)
    given = visit.server.apply(text, actor=visit.actor.name, dry_run=True)
    if [(one[0], one[1]) for one in given.changed] != [(kind, name)]:
        named = ", ".join(f"{one[0]} {one[1]}" for one in given.changed) or "nothing"
        raise UsageError(
            f"the address is that of {kind} {name}, and the body holds {named}",
            remedy="send exactly that document, or several to PUT /api/v1/specs",
        )
    document = _applied(visit, text, held)
    headers = {"ETag": f'"{visit.server.document(kind, name).etag}"'}
    return answer(document, 200 if found is not None else 201, headers)


@router.delete(
    "/specs/{kind}/{name:path}",
    summary="Withdraw a document",
    **needs(Permission.APPLY, also={200: {"model": AppliedSpecs}}),
)
def withdraw(visit: Visit, kind: str, name: str, if_match: IfMatch = "") -> Response:
    """An applied document counts no more; one that stands in a file is removed there."""
    _must_apply_something(visit)
    found = _there(visit, kind, name)
    _must_apply(visit, [(kind, name)], visit.server.live.snapshot.specs)
    gone = visit.server.withdraw(kind, name, actor=visit.actor.name, if_match=_held(kind, name, found, if_match))
    return answer(_applied_document(gone, dry_run=False))


def spec_document(one: SpecDocument) -> dict[str, Any]:
    """A document without its text."""
    return {
        "kind": one.kind,
        "name": one.name,
        "source": one.source,
        "version": one.version,
        "etag": one.etag,
        "file": one.place.file,
        "line": one.place.line,
        "appliedAt": time_text(one.at) if one.at else None,
        "appliedBy": one.actor or None,
    }


def etags(header: str) -> set[str]:
    """The tags in ``If-Match`` or ``If-None-Match``, without quotes."""
    return {one.strip().removeprefix("W/").strip('"') for one in header.split(",") if one.strip()}


def _held(kind: str, name: str, found: SpecDocument | None, if_match: str) -> str:
    """What `Server.apply` is to hold the document against: the etag that was read, or that there is none.

    Raises:
        ConflictError: It is not what *if_match* says. Refusal: It is there, and *if_match* says nothing.
    """
    if not if_match:
        if found is not None:
            raise Refusal(
                428,
                f"{kind} {name} is there already, and the request does not say which version it changes",
                remedy="read it, and send its ETag in If-Match; `*` takes whatever is there",
            )
        return ""
    wanted = etags(if_match)
    if found is None or not wanted & {"*", found.etag}:
        gone = "does not exist" if found is None else "was changed meanwhile"
        raise ConflictError(f"{kind} {name} {gone}", remedy="read it anew, and change what is there", precondition=True)
    return "*" if "*" in wanted else found.etag


def _there(visit: Visitor, kind: str, name: str) -> SpecDocument:
    found = visit.server.document(kind, name)
    if not _seen(visit, visit.server.live.snapshot.specs, found):
        raise NotFoundError(f"there is no {kind} called {name!r}", remedy="GET /api/v1/specs lists what there is")
    return found


def _seen(visit: Visitor, specs: Specs, one: SpecDocument) -> bool:
    """Whether a visitor may see a document: of SLOs and services only those of services that they may see."""
    if visit.actor.services is None:
        return True
    services = specs.services_about(one.kind, one.name)
    return not services or any(visit.sees(service) for service in services)


def _must_apply(visit: Visitor, changed: list[tuple[str, str]], *specs: Specs) -> None:
    """Raise `ForbiddenError` unless the visitor may change these documents, as they are in any of *specs*."""
    for kind, name in changed:
        permission = Permission.GRANT if kind == "SilverBullet" else Permission.APPLY
        about = set().union(*(one.services_about(kind, name) for one in specs)) or {""}
        for service in sorted(about):
            visit.must(permission, service)


def _applied(visit: Visitor, text: str, held: str | None, *, dry_run: bool = False) -> dict[str, Any]:
    _must_apply_something(visit)
    server = visit.server
    tried = server.apply(text, actor=visit.actor.name, if_match=held, dry_run=True)
    changed = [(one[0], one[1]) for one in tried.changed if one[2] != "unchanged"]
    _must_apply(visit, changed, server.live.snapshot.specs, *([tried.specs] if tried.specs is not None else []))
    done = tried if dry_run else server.apply(text, actor=visit.actor.name, if_match=held)
    return _applied_document(done, dry_run=dry_run)


def _must_apply_something(visit: Visitor) -> None:
    """Raise `ForbiddenError` for who may change no document at all; which ones, `_must_apply` tells later."""
    anywhere = ["", *sorted(visit.actor.services or ())]
    if not any(visit.actor.may(Permission.APPLY, service) for service in anywhere):
        visit.must(Permission.APPLY)


def _applied_document(applied: Applied, *, dry_run: bool) -> dict[str, Any]:
    return {
        "changed": _changed(applied),
        "findings": [fault_of(one) for one in applied.findings],
        "digest": applied.digest,
        "dryRun": dry_run,
    }


def _changed(applied: Applied) -> list[dict[str, str]]:
    return [{"kind": kind, "name": name, "change": what} for kind, name, what in applied.changed]


def _place(one: SpecDocument) -> str:
    return f"{one.kind}\n{one.name}"
