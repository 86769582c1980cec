"""Everything that can go wrong, as ``application/problem+json``: what, where, how to mend it, and which request it was.

Source:
    RFC 9457, Problem Details for HTTP APIs; RFC 6901, JSON Pointer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tightrope.base.errors import (
    BusyError,
    ConflictError,
    DataError,
    ForbiddenError,
    NotFoundError,
    SourceError,
    SourceUnreachableError,
    SpecError,
    SpecsInvalidError,
    StoreError,
    TightropeError,
    TooLargeError,
    UnauthorizedError,
    UsageError,
)

RETRY_AFTER_S = 2
"""When to come again after a 503; a caller that has its own mind about it does as well."""

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Sort:
    """A sort of problem: its status, its name in the address of its page, its title, and what it means."""

    status: int
    name: str
    title: str
    says: str


SORTS = {
    one.name: one
    for one in (
        Sort(400, "bad-request", "The request is wrong", "It cannot be read, or makes no sense; `detail` says where."),
        Sort(401, "unauthorized", "Nobody knows who asks", "Send `Authorization: Bearer tr_...`, or log in."),
        Sort(403, "forbidden", "Not allowed", "Who asks is known, and may not do this; `remedy` says what it takes."),
        Sort(404, "not-found", "Not found", "There is no such service, document, decision, or address."),
        Sort(405, "method-not-allowed", "Method not allowed", "The header `Allow` lists what may be done here."),
        Sort(409, "conflict", "Conflict", "It is there already, or was changed meanwhile."),
        Sort(412, "precondition-failed", "Changed meanwhile", "What `If-Match` names is no longer what is there."),
        Sort(413, "too-large", "Too large", "The body has more bytes, packed or unpacked, than are taken at once."),
        Sort(415, "unsupported-media-type", "Unsupported media type", "The body is of a type that is not taken here."),
        Sort(421, "misdirected", "Not the name of this server", "The header `Host` names another machine than this."),
        Sort(422, "invalid", "Invalid", "It can be read, but does not fit; `errors` lists every fault with its place."),
        Sort(428, "precondition-required", "Say what you change", "Send `If-Match` with the `ETag` that you read."),
        Sort(429, "busy", "Busy", "Nothing was taken; come again after the seconds in `Retry-After`."),
        Sort(500, "bug", "A bug in Tightrope", "Please report it with the `request_id`; the log has more."),
        Sort(502, "source-failed", "A source gave no useful answer", "The telemetry source refused or made no sense."),
        Sort(503, "unavailable", "Not available just now", "The store or a source cannot be reached; try again."),
    )
}
"""Every sort of problem, by its name."""

_BY_STATUS = {one.status: one for one in SORTS.values()}
_STATUS: tuple[tuple[type[TightropeError], int], ...] = (
    (NotFoundError, 404),
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (ConflictError, 409),
    (TooLargeError, 413),
    (BusyError, 429),
    (SpecsInvalidError, 422),
    (SpecError, 422),
    (DataError, 422),
    (SourceUnreachableError, 503),
    (SourceError, 502),
    (StoreError, 503),
    (UsageError, 400),
)


class Fault(BaseModel):
    """One thing that is wrong, and where."""

    model_config = ConfigDict(title="Fault")

    detail: str = Field(description="What is wrong.")
    pointer: str | None = Field(
        None, description="Where: a JSON Pointer into the body (`#/spec/objectives/0/target`), or `?name` for a query."
    )
    remedy: str | None = Field(None, description="How to mend it.")
    code: str | None = Field(None, description="The rule, such as `TR012`; see docs/findings.md.")
    severity: str | None = Field(None, description="`error` or `warning`.")
    file: str | None = None
    line: int | None = Field(None, description="From 1.")
    column: int | None = Field(None, description="From 1.")
    length: int | None = Field(None, description="Characters that are meant.")


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Address of a page on this sort of problem.")
    title: str = Field(description="The sort, in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong this time.")
    remedy: str | None = Field(None, description="How to mend it.")
    errors: list[Fault] | None = Field(None, description="Every fault, with its place.")
    request_id: str = Field(description="Names this request in the log; also in the header `X-Request-Id`.")


class Refusal(Exception):  # noqa: N818 - how a door says no, and no fault of ours
    """A status that no error of the other rooms stands for, with headers that go with it."""

    def __init__(
        self, status: int, detail: str, *, remedy: str = "", headers: Mapping[str, str] | None = None, pointer: str = ""
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.remedy = remedy
        self.headers = dict(headers or {})
        self.pointer = pointer


class InvalidError(UsageError):
    """A request that can be read and does not fit: several faults, each with its place."""

    def __init__(self, message: str, faults: Sequence[dict[str, Any]], *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.faults = list(faults)


def problem(
    status: int,
    detail: str,
    *,
    request_id: str,
    base_url: str = "",
    remedy: str = "",
    errors: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Write a problem."""
    sort = _BY_STATUS.get(status, SORTS["bad-request" if status < 500 else "bug"])
    document: dict[str, Any] = {
        "type": f"{base_url}/api/v1/errors/{sort.name}",
        "title": sort.title,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    if remedy:
        document["remedy"] = remedy
    if errors:
        document["errors"] = list(errors)
    return document


def status_of(error: TightropeError) -> int:
    """The HTTP status that an error is answered with; see the tree in `tightrope.base.errors`."""
    if isinstance(error, ConflictError) and error.precondition:
        return 412
    if isinstance(error, InvalidError):
        return 422
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def told(error: TightropeError | Refusal, *, request_id: str, base_url: str = "") -> Response:
    """Answer with an error."""
    if isinstance(error, Refusal):
        faults = [{"detail": error.detail, "pointer": error.pointer}] if error.pointer else []
        document = problem(
            error.status,
            error.detail,
            request_id=request_id,
            base_url=base_url,
            remedy=error.remedy,
            errors=faults,
        )
        return problem_response(document, error.headers)
    faults, headers = [], {}
    if isinstance(error, SpecsInvalidError):
        faults = [fault_of(one) for one in error.findings]
    elif isinstance(error, SpecError):
        faults = [fault_of(error)]
    elif isinstance(error, InvalidError):
        faults = error.faults
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(max(1, error.retry_after_s))
    elif status_of(error) == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = 'Bearer realm="tightrope"'
    document = problem(
        status_of(error),
        error.message,
        request_id=request_id,
        base_url=base_url,
        remedy=error.remedy,
        errors=faults,
    )
    return problem_response(document, headers)


def problem_response(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a problem that is written already."""
    return Response(msgspec.json.encode(document), document["status"], headers, MEDIA_TYPE)


def fault_of(finding: SpecError) -> dict[str, Any]:
    """One finding on specs as a fault."""
    return {
        "detail": finding.message,
        "pointer": pointer_of(finding.path),
        "remedy": finding.remedy or None,
        "code": finding.code,
        "severity": finding.severity,
        "file": finding.place.file,
        "line": finding.place.line,
        "column": finding.place.column,
        "length": finding.place.length,
    }


def pointer_of(path: str) -> str | None:
    """Turn a path such as ``spec.objectives[0].target`` into a JSON Pointer; None where there is none."""
    if not path:
        return None
    parts = re.findall(r"[^.\[\]]+", path)
    return "#" + "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)


def place_of(location: Sequence[str | int]) -> str:
    """Where FastAPI found a fault: ``("body", "until")`` is ``#/until``, and ``("query", "limit")`` is ``?limit``."""
    where, *rest = (str(part) for part in location) if location else ("body",)
    if where == "body":
        return "#" + "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in rest)
    sign = {"query": "?", "header": "header:", "path": "path:", "cookie": "cookie:"}.get(where, f"{where}:")
    return sign + "/".join(rest)
