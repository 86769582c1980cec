"""Read the slices of objectives from wherever their telemetry is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tightrope.base.clock import now
from tightrope.base.errors import UsageError
from tightrope.specs.model import DataSource
from tightrope.telemetry.assembly import assemble
from tightrope.telemetry.options import did_you_mean
from tightrope.telemetry.plan import Request, plan
from tightrope.telemetry.questions import Horizon, Tell
from tightrope.telemetry.reading import Reading
from tightrope.telemetry.received import RECEIVED
from tightrope.telemetry.receivers import Receiver
from tightrope.telemetry.sources import Prober, Source

if TYPE_CHECKING:
    from tightrope.telemetry.sources.counting import CountingLog
    from tightrope.telemetry.sources.tailing import Tailing

SOURCES = {
    "csv": "csv:CsvFiles",
    "parquet": "parquet:ParquetFiles",
    "access-log": "access_log:AccessLogs",
    "openmetrics": "openmetrics:Expositions",
    "prometheus": "prometheus:Prometheus",
    "sql": "sql:SqlDatabase",
    "probe": "probe:HttpProbe",
}
"""Types of data source, and the door of each, opened when it is needed."""

RECEIVERS = {"remote-write": "remote_write:RemoteWrite", "otlp": "otlp:Otlp", "push": "push:Push"}
"""Types of data source whose telemetry is sent to us, and who reads it."""


def read_many(
    requests: Sequence[Request],
    *,
    since: int | None = None,
    until: int | None = None,
    strict: bool = False,
    progress: Tell | None = None,
    connect: Callable[[DataSource], Source] | None = None,
) -> list[Reading]:
    """Read the slices of many objectives, each source once for all of them.

    Args:
        requests: The objectives.
        since: Slices that begin earlier are not wanted, UTC epoch seconds; None: all (a server: the longest window).
        until: Nothing later is visible: slices end by then, later rows are not read. None: no limit (a server: now).
        strict: Refuse bad rows instead of counting them.
        progress: Hears how far the reading is, in bytes or queries.
        connect: Opens a source; the known types by default.

    Returns:
        One reading for each request, in their order: raw counts at the resolution that the SLO declares, else the
        source, else 60 s or the spacing of the rows. A record without a row has slices of length 0.

    Raises:
        UsageError: The source or metric spec is wrong. NotFoundError: A file is missing.
        DataError: The rows can't be true. SourceError, SourceUnreachableError: A server refused, or is not there.
    """
    work = plan(requests)
    opened = [(connect or open_source)(job.source) for job in work.jobs]
    horizon = Horizon(since, until)
    if until is None and any(source.asks_the_present for source in opened):
        horizon = Horizon(since, now())
    bounded = horizon
    if since is None and horizon.until is not None and requests:
        longest = max(request.slo.window.duration.seconds for request in requests)
        bounded = Horizon(horizon.until - longest, horizon.until)
    tell: Tell = progress or _silent
    answers = [
        source.answer(job.asks, bounded if source.asks_the_present else horizon, tell)
        for source, job in zip(opened, work.jobs, strict=True)
    ]
    return [
        assemble(
            request,
            [(work.jobs[share.job].asks[share.ask], answers[share.job][share.ask]) for share in shares],
            horizon,
            strict=strict,
        )
        for request, shares in zip(requests, work.shares, strict=True)
    ]


def _silent(_what: str, _done: int, _of: int | None) -> None:
    pass


def open_source(source: DataSource) -> Source:
    """Open the door to a data source; raises `UsageError` for a type that nobody knows, or that is not asked."""
    kind = source.type.lower()
    where = SOURCES.get(kind)
    if kind in RECEIVED:
        raise UsageError(
            f"data source {source.name!r} has the type {kind}: its telemetry is received, not read",
            remedy="it needs `tightrope serve`, which listens for it and remembers it",
        )
    if where is None:
        raise UsageError(
            f"data source {source.name!r} has the type {source.type!r}, which is not known",
            remedy=did_you_mean(source.type, [*SOURCES, *RECEIVED], "types are"),
        )
    module, name = where.split(":")
    opened: Source = getattr(import_module(f"tightrope.telemetry.sources.{module}"), name)(source)
    return opened


def open_probe(source: DataSource) -> Prober:
    """Make ready to probe a data source of the type ``probe``; raises `UsageError` for wrong settings."""
    from tightrope.telemetry.sources.probe import HttpProbe

    return HttpProbe(source)


def open_tailing(source: DataSource, wanted: Sequence[tuple[int, Request]]) -> Tailing:
    """Follow a growing access log for some objectives, each with a number; raises `UsageError` for a wrong metric."""
    from tightrope.telemetry.sources.tailing import Tailing

    return Tailing(source, wanted)


def open_counting(
    source: DataSource, requests: Sequence[Request], kept: Sequence[Mapping[str, Any]] | None
) -> CountingLog:
    """Count what is added to an access log; *kept* tells how far it was counted. Raises `UsageError`."""
    from tightrope.telemetry.sources.counting import CountingLog

    return CountingLog(source, requests, kept)


def open_receiver(kind: str) -> Receiver:
    """Make the reader of one type of received telemetry; raises `UsageError` for a type that nobody knows."""
    where = RECEIVERS.get(kind)
    if where is None:
        remedy = did_you_mean(kind, list(RECEIVERS), "types are")
        raise UsageError(f"nothing of the type {kind!r} is received", remedy=remedy)
    module, name = where.split(":")
    opened: Receiver = getattr(import_module(f"tightrope.telemetry.receivers.{module}"), name)()
    return opened
