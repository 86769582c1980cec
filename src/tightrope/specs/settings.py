"""The settings that each type of data source knows: of its connection, and of a metric that is read from it.

The doors in ``telemetry/`` read the values; here stand only the names, so that a mistyped one is told where it stands.
"""

from __future__ import annotations

from collections.abc import Iterable

from tightrope.base.values import dataclass
from tightrope.specs.positions import ListNode, MapNode, Node, Report, clipped
from tightrope.specs.shapes import nearest

_STAMPS = ("timestamp", "timestampUnit", "timestampFormat")
_ROWS = ("column", "where", "series")
_STATES = ("state", "in", "every", "holdAtMost")
_RECEIVED = ("resolution", "labels", "newSeries")


@dataclass(frozen=True, slots=True)
class Settings:
    """Names of the settings under ``connectionDetails``, and under a metric's ``spec``."""

    connection: tuple[str, ...]
    metric: tuple[str, ...]


SETTINGS = {
    "csv": Settings(("path", *_STAMPS, "resolution", "delimiter", "rows", "order"), (*_ROWS, *_STATES)),
    "parquet": Settings(("path", *_STAMPS, "resolution", "rows", "order"), (*_ROWS, *_STATES)),
    "access-log": Settings(
        ("path", "format", "latencyUnit", "resolution", "fields"),
        ("where", "status", "not", "latencyField", "latencyBelow", "ignore"),
    ),
    "openmetrics": Settings(("path", "resolution"), ("selector", "metric", "labels")),
    "prometheus": Settings(
        ("url", "resolution", "step", "headers", "basicAuth", "timeout", "caFile", "tlsInsecure"), ("query",)
    ),
    "sql": Settings(
        ("url", "urlFrom", "passwordFrom", "timeout", *_STAMPS, "resolution", "rows"), ("query", "table", *_ROWS)
    ),
    "probe": Settings(
        (
            "url", "method", "headers", "body", "every", "timeout", "expectStatus", "bodyMatch", "maxLatency",
            "tlsExpiresIn", "tlsInsecure", "caFile", "followRedirects", "resolution",
        ),
        ("check", "latencyBelow", "tlsExpiresIn", "value"),
    ),
    "remote-write": Settings(_RECEIVED, ("series",)),
    "otlp": Settings(_RECEIVED, ("series",)),
    "push": Settings(_RECEIVED, ("series", "slo")),
}  # fmt: skip
"""By type of data source; a type that is not here is not judged."""


def tell_unknown_connection(kind: str, node: Node | None, path: str, report: Report) -> None:
    """Note each setting under ``connectionDetails`` that the type does not know."""
    settings = SETTINGS.get(kind.lower())
    if settings is not None:
        _tell(node, settings.connection, kind, path, report)


def tell_unknown_metric(kind: str, node: Node | None, path: str, report: Report, *, inlined: bool) -> None:
    """Note each setting under a metric's ``spec`` that the type does not know.

    Args:
        inlined: There is no DataSource, and ``connectionDetails`` may stand beside the question.
    """
    settings = SETTINGS.get(kind.lower())
    if settings is not None:
        _tell(node, (*settings.metric, *(("connectionDetails",) if inlined else ())), kind, path, report)


def _tell(node: Node | None, known: Iterable[str], kind: str, path: str, report: Report) -> None:
    names = tuple(known)
    for part in node.items if isinstance(node, ListNode) else (node,):
        for key, _ in part.entries if isinstance(part, MapNode) else ():
            if key.text not in names:
                close = nearest(key.text, names)
                report.add(
                    "TR011",
                    f"unknown setting {clipped(key.text)!r} of the source type {kind}",
                    key.place,
                    path=f"{path}.{clipped(key.text)}",
                    note=f"did you mean {close}?" if close else "",
                    remedy=f"write {close}" if close else f"known here: {', '.join(names) or 'nothing'}",
                )
