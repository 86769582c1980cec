"""Requests of a growing access log counted once each, in the order in which they were logged.

A rollout needs neither slices nor history, but how many requests each version had since the last look. What was
counted and how far is one small value, kept in one place with all that was concluded from it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.base.errors import DataError, NotFoundError, UsageError
from tightrope.base.values import dataclass
from tightrope.specs.model import DataSource
from tightrope.telemetry.plan import Request, plan
from tightrope.telemetry.questions import Role
from tightrope.telemetry.sources.access_log import AccessLogs
from tightrope.telemetry.sources.tailing import Follower
from tightrope.telemetry.tally import columns_of, tally_rows

_HEAD = 1024
_TAIL = 1 << 20


@dataclass(frozen=True, slots=True)
class Counted:
    """Requests that were added: how many were bad, how many there were, and when the newest came (None: none came)."""

    bad: int = 0
    total: int = 0
    newest: int | None = None


class CountingLog:
    """Counts what is added to an access log, for several requests at once; each names bad or good, and total.

    Args:
        source: The data source, of type ``access-log``.
        requests: What to count.
        kept: What `state` told after the last count; None: only what is added from now on counts.

    Raises:
        UsageError: A setting or metric is wrong, or the requests go to several sources.
    """

    def __init__(
        self, source: DataSource, requests: Sequence[Request], kept: Sequence[Mapping[str, Any]] | None
    ) -> None:
        self._log = AccessLogs(source)
        work = plan(requests)
        if len(work.jobs) != 1:
            raise UsageError(
                f"{source.place}: data source {source.name!r} is counted alone",
                remedy="take all parts of an indicator from one access log",
            )
        self._asks = [self._log.compiled(ask) for ask in work.jobs[0].asks]
        self._places = [share.ask for (share,) in work.shares]
        self._columns = columns_of(self._asks)
        self._follower = Follower()
        self._follower.restore(
            [dict(one) for one in self._at_the_end()] if kept is None else [dict(one) for one in kept]
        )

    def state(self) -> list[dict[str, Any]]:
        """How far the log was read."""
        return self._follower.state()

    def count(self, until: int) -> list[Counted]:
        """Count what was added since the last time, for each request; lines of after *until* are not believed.

        Raises:
            NotFoundError: There is no such file. SourceError: It cannot be read. DataError: Its times make no sense.
        """
        sums = [[0, 0] for _ in self._asks]
        newest: list[int | None] = [None for _ in self._asks]
        for new in self._follower.added(self._log.files()):
            batch = self._log.batch(new.file, new.first, new.lines, self._columns)
            answers = tally_rows([batch.before(until)], self._asks, None, whole=False)
            for number, (ask, answer) in enumerate(zip(self._asks, answers, strict=True)):
                amounts = {question.role: tally for question, tally in zip(ask.questions, answer.tallies, strict=True)}
                if Role.TOTAL not in amounts:
                    raise UsageError(
                        "a version's requests are counted by good or bad, and total",
                        remedy="give the SLO a ratioMetric with total",
                    )
                total = amounts[Role.TOTAL]
                whole = int(total.amounts.sum())
                part = amounts[Role.BAD] if Role.BAD in amounts else amounts[Role.GOOD]
                bad = int(part.amounts.sum()) if Role.BAD in amounts else whole - int(part.amounts.sum())
                if not 0 <= bad <= whole:
                    raise DataError(f"{bad} of {whole} requests are bad", remedy="let good be a part of total")
                sums[number][0] += bad
                sums[number][1] += whole
                slots = np.flatnonzero(total.amounts)
                if len(slots):
                    at = (total.first + int(slots[-1])) * ask.grain_s
                    newest[number] = max(at, newest[number] or at)
            new.passed()
        return [Counted(sums[place][0], sums[place][1], newest[place]) for place in self._places]

    def _at_the_end(self) -> list[dict[str, Any]]:
        """How far the log would be read if all of it were: up to the last whole line of each file."""
        try:
            paths = self._log.files()
        except NotFoundError:
            return []
        found = []
        for path in paths:
            status = path.stat()
            packed = path.name.endswith(".gz")
            with path.open("rb") as stream:
                head = stream.read(_HEAD)
            found.append(
                {
                    "name": str(path),
                    "place": [status.st_dev, status.st_ino],
                    "head": base64.b64encode(b"" if packed else head).decode(),
                    "offset": 0 if packed else _last_line_end(path, status.st_size),
                    "lines": 0,
                    "size": status.st_size if packed else -1,
                }
            )
        return found


def _last_line_end(path: Path, size: int) -> int:
    """Where the last whole line of a file ends."""
    with path.open("rb") as stream:
        end = size
        while end > 0:
            begin = max(0, end - _TAIL)
            stream.seek(begin)
            mark = stream.read(end - begin).rfind(b"\n")
            if mark >= 0:
                return begin + mark + 1
            end = begin
    return 0
