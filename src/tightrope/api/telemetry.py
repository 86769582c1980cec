"""Telemetry that is sent to us: Prometheus remote write, OTLP and our own push. What is answered is on the disk."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.answers import answer
from tightrope.api.shapes import Backfills, Receipt
from tightrope.api.visitor import Visit, Visitor, needs, visitor
from tightrope.base.units import time_text
from tightrope.telemetry.samples import varint

router = APIRouter(tags=["telemetry"])
otlp_router = APIRouter(tags=["telemetry"])

_PROTOBUF = "application/x-protobuf"
_UNKNOWN = 2
_RPC_CODES = {400: 3, 401: 16, 403: 7, 413: 3, 415: 3, 422: 3, 429: 8, 503: 14}
"""HTTP statuses as gRPC's codes."""


def _body(says: str, *kinds: str) -> dict[str, object]:
    binary = {"type": "string", "format": "binary"}
    return {
        "requestBody": {"required": True, "description": says, "content": {kind: {"schema": binary} for kind in kinds}}
    }


_REMOTE_WRITE = _body("A `prometheus.WriteRequest`, compressed with snappy's block format.", _PROTOBUF)
_OTLP = _body("An `ExportMetricsServiceRequest`, plain or gzip.", _PROTOBUF, "application/json")
_PUSH = _body(
    "Slices as JSON, or metrics in the text form of Prometheus and OpenMetrics; see docs/sources.md.",
    "application/json",
    "application/x-ndjson",
    "text/plain",
    "application/openmetrics-text",
)


def _received(visit: Visitor, kind: str, body: bytes, headers: Mapping[str, str]) -> int:
    visit.must(Permission.PUSH)
    return visit.server.receive(kind, body, headers)


async def _taken(request: Request, kind: str) -> int:
    """Who asks is found out before a body is read; both the look-up and the store may wait, so neither does it here."""
    visit = await run_in_threadpool(visitor, request)
    visit.must(Permission.PUSH)
    body = await request.body()
    return await run_in_threadpool(_received, visit, kind, body, dict(request.headers))


@router.post(
    "/write",
    status_code=204,
    summary="Prometheus remote write",
    **needs(
        Permission.PUSH,
        also={
            204: {
                "description": "Taken.",
                "headers": {
                    "X-Prometheus-Remote-Write-Samples-Written": {
                        "description": "Samples that were taken.",
                        "schema": {"type": "string"},
                    }
                },
            }
        },
        extra=_REMOTE_WRITE,
    ),
)
async def write(request: Request) -> Response:
    """Version 1.0; the address to write into `remote_write` of Prometheus, VictoriaMetrics' vmagent and others."""
    count = await _taken(request, "remote-write")
    return Response(status_code=204, headers={"X-Prometheus-Remote-Write-Samples-Written": str(count)})


@router.post(
    "/push",
    status_code=202,
    summary="Push slices or metrics",
    **needs(Permission.PUSH, also={202: {"model": Receipt}}, extra=_PUSH),
)
async def push(request: Request) -> Response:
    """A slice that is sent again takes the place of what was there, so that sending twice does no harm."""
    return answer({"accepted": await _taken(request, "push")}, 202)


async def otlp(request: Request) -> Response:
    """OTLP over HTTP; answers in the encoding of the request."""
    await _taken(request, "otlp")
    if request.headers.get("content-type", "").startswith("application/json"):
        return answer({})
    return Response(b"", 200, media_type=_PROTOBUF)


def otlp_status(request: Request, response: Response) -> Response:
    """Write a problem as OTLP wants it: a ``google.rpc.Status``, in the encoding of the request."""
    document = msgspec.json.decode(bytes(response.body))
    code, message = _RPC_CODES.get(document["status"], _UNKNOWN), document["detail"]
    if request.headers.get("content-type", "").startswith("application/json"):
        response.body = msgspec.json.encode(document | {"code": code, "message": message})
    else:
        text = message.encode()
        response.body = b"\x08" + varint(code) + b"\x12" + varint(len(text)) + text
        response.headers["Content-Type"] = _PROTOBUF
    response.headers["Content-Length"] = str(len(response.body))
    return response


for _where, _path in ((router, "/otlp/v1/metrics"), (otlp_router, "/v1/metrics")):
    _where.add_api_route(
        _path,
        otlp,
        methods=["POST"],
        summary="OTLP metrics",
        operation_id=f"otlp{_path.replace('/', '_')}",
        **needs(
            Permission.PUSH,
            also={
                200: {
                    "description": "An `ExportMetricsServiceResponse`: all was taken.",
                    "content": {
                        "application/json": {"schema": {"type": "object"}},
                        _PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
                    },
                }
            },
            extra=_OTLP,
            errs_also_as=(_PROTOBUF,),
        ),
    )


@router.get(
    "/backfills",
    summary="Show how far histories have been read",
    **needs(Permission.READ, also={200: {"model": Backfills}}),
)
def backfills(visit: Visit) -> Response:
    """Only those that are not complete, and why one does not go on."""
    visit.must(Permission.READ)
    specs = visit.server.live.snapshot.specs
    services = {slo.name: slo.service for slo in specs.slos}
    found = [one for one in visit.server.backfills() if visit.sees(services.get(one.series.partition("/")[0], ""))]
    items = [
        {
            "series": one.series,
            "doneSeconds": one.done_s,
            "ofSeconds": one.of_s,
            "reachedAt": None if one.since is None else time_text(one.since),
            "error": one.error or None,
        }
        for one in found
    ]
    return answer({"items": items, "next": None})
