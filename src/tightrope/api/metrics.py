"""``/metrics``: what the server says of itself and of every budget, for Prometheus to read.

Source:
    Prometheus text format 0.0.4, OpenMetrics 1.0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

from fastapi import APIRouter, Request
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.door import Door
from tightrope.api.events import Hub
from tightrope.api.gate import Gate
from tightrope.api.visitor import Visit, Visitor, needs
from tightrope.loop.gauges import Family

metrics_router = APIRouter(tags=["server"])

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Value = int | float | Fraction


@metrics_router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    **needs(
        Permission.READ,
        also={
            200: {
                "description": "In the text format, or as OpenMetrics where `Accept` asks for it.",
                "content": {
                    "text/plain": {"schema": {"type": "string"}},
                    "application/openmetrics-text": {"schema": {"type": "string"}},
                },
            }
        },
    ),
)
def metrics(visit: Visit, request: Request) -> Response:
    """The server's own figures, and gauges of every objective and service that the visitor may see."""
    wants_open = "application/openmetrics-text" in request.headers.get("accept", "")
    text = written(families_for(visit), open_metrics=wants_open)
    return Response(text, media_type=OPEN_METRICS if wants_open else TEXT)


def families_for(visit: Visitor) -> list[Family]:
    """All series that a visitor may see."""
    state = visit.request.app.state
    found = _gauges(visit)
    services = visit.actor.services
    if services is not None:
        mine = [
            replace(one, samples=tuple(row for row in one.samples if row[0].get("service", "") in services))
            for one in found
        ]
        return [one for one in mine if one.samples]
    return found + own_families(state.door, state.gate, state.hub)


def _gauges(visit: Visitor) -> list[Family]:
    """The server's gauges, drawn up once for each turn and second: they are of every objective."""
    stamp = (visit.now, visit.server.live.snapshot.number)
    kept: tuple[tuple[int, int], list[Family]] | None = getattr(visit.request.app.state, "gauges", None)
    if kept is None or kept[0] != stamp:
        kept = visit.request.app.state.gauges = (stamp, visit.server.metrics())
    return kept[1]


def own_families(door: Door, gate: Gate, hub: Hub) -> list[Family]:
    """What the API says of itself."""
    requests: Counter[tuple[str, str, int]] = Counter(door.counts)
    return [
        Family(
            "tightrope_http_requests_total",
            "Requests that were answered, but for those to the gate, by route.",
            "counter",
            tuple(
                ({"method": method, "route": route, "status": str(status)}, count)
                for (method, route, status), count in sorted(requests.items())
            ),
        ),
        Family(
            "tightrope_gate_requests_total",
            "Requests to the gate that were answered.",
            "counter",
            (({}, gate.answered),),
        ),
        Family(
            "tightrope_gate_refused_total",
            "Requests to the gate that got no decision.",
            "counter",
            (({}, gate.refused),),
        ),
        Family("tightrope_event_listeners", "Clients that listen to live changes.", "gauge", (({}, hub.listeners),)),
        Family(
            "tightrope_event_listeners_dropped_total",
            "Clients that fell behind and were let go.",
            "counter",
            (({}, hub.dropped),),
        ),
    ]


def written(families: Iterable[Family], *, open_metrics: bool = False) -> str:
    """Write series in the text format."""
    lines: list[str] = []
    for one in families:
        base = one.name.removesuffix("_total") if open_metrics and one.type == "counter" else one.name
        says = one.help.replace("\\", r"\\").replace("\n", r"\n")
        if open_metrics:
            says = says.replace('"', r"\"")
        lines += [f"# HELP {base} {says}", f"# TYPE {base} {one.type}"]
        name = f"{base}_total" if open_metrics and one.type == "counter" else one.name
        lines += [f"{name}{_labels(labels)} {number_text(value)}" for labels, value in one.samples]
    if open_metrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def number_text(value: Value) -> str:
    """Write a value as Prometheus does."""
    if isinstance(value, int):
        return str(int(value))
    number = float(value)
    if number in {float("inf"), float("-inf")}:
        return "+Inf" if number > 0 else "-Inf"
    if math.isnan(number):
        return "NaN"
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else repr(number)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
