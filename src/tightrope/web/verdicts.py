"""Verdicts of the last day, counted as they come in: what pages tell of them costs nothing each time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock

from tightrope.base.units import DAY_S
from tightrope.loop.record import Entry
from tightrope.loop.server import Server
from tightrope.web.telling import DECISION_MADE, verdict_of

MOST = 5_000
"""So many are counted; where there were more, a page says so."""

_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision, as far as it is counted: when, its word in small letters, and about which service."""

    at: int
    word: str
    service: str


class Verdicts:
    """The verdicts of the last day, newest last. Any number of threads may ask at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = Lock()
        self._known: deque[Verdict] = deque(maxlen=MOST)
        self._seen: int | None = None

    def counted(self, *, service: str = "", only: Collection[str] | None = None) -> Counter[str]:
        """How many of each word there were in the last 24 hours: about one *service*, or about some *only*."""
        with self._lock:
            self._read_on()
            since = self._server.now() - DAY_S
            while self._known and self._known[0].at <= since:
                self._known.popleft()
            return Counter(
                one.word
                for one in self._known
                if (not service or one.service == service) and (only is None or one.service in only)
            )

    def _read_on(self) -> None:
        if self._seen is None:
            since = self._server.now() - DAY_S
            found = self._server.events(kind=DECISION_MADE, since=since, limit=_AT_ONCE)[::-1]
            self._take(found)
            self._seen = max((one.sequence for one in found), default=0)
            return
        while True:
            found = self._server.events(kind=DECISION_MADE, after=self._seen, limit=_AT_ONCE, newest_first=False)
            self._take(found)
            if found:
                self._seen = found[-1].sequence
            if len(found) < _AT_ONCE:
                return

    def _take(self, found: Sequence[Entry]) -> None:
        self._known.extend(
            Verdict(one.event.time, verdict_of(one.event.data).lower(), one.event.subject) for one in found
        )
