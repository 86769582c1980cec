"""Retention: what was stored turn by turn is folded into chunks, and what nobody looks back at goes, all but its sums.

What goes is summed up by the hour in the same transaction. Budgets, alerts, replays and decisions never read the hours.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any

from tightrope.base.units import DAY_S
from tightrope.engine.step import Memory, advance
from tightrope.loop.assess import Asker, asks, out_of_scope_of
from tightrope.loop.records import Records
from tightrope.loop.store import LiveStore, Remembered
from tightrope.loop.tracks import Track
from tightrope.sli.hours import by_the_hour
from tightrope.sli.slices import Slices
from tightrope.specs.model import Gaps
from tightrope.state.database import Database
from tightrope.telemetry.rollup.store import HourStore
from tightrope.telemetry.store import SliceStore

KEEP_HOURS_S = 5 * 365 * DAY_S
"""How long the sums by the hour are kept of what was let go of."""

BASE = "base:"
"""What the name of a memory begins with that a replay starts from, because older slices were let go of."""


class Retention:
    """Keeps the store tidy, beside the loop.

    Args:
        records: What is known of slices.
        database, slices, memories: The store.
        keep_s: How long slices are kept beyond what anything looks back at, seconds; None: for ever.
        lock: Held while the loop is looked at.
        ends: Whether the loop ends.
    """

    def __init__(
        self,
        records: Records,
        database: Database,
        slices: SliceStore,
        memories: LiveStore,
        *,
        keep_s: int | None,
        lock: RLock,
        ends: Callable[[], bool],
    ) -> None:
        self._records = records
        self._watch = records.watch
        self._database = database
        self._slices = slices
        self._memories = memories
        self._hours = HourStore(database)
        self._keep_s = keep_s
        self._lock = lock
        self._ends = ends

    def tidy(self, now: int) -> None:
        """Fold, and let go of what is older than wanted."""
        while not self._ends() and self._slices.compact():
            pass
        if self._keep_s is not None:
            self._prune(now - self._keep_s)
            self._hours.prune(now - max(self._keep_s, KEEP_HOURS_S))

    def _prune(self, before: int) -> None:
        """Let go of slices older than *before*, having noted what they led to: a replay goes on from there."""
        cut = before // DAY_S * DAY_S
        old: dict[int, int] = {}  # goes when all is noted: a composite rests on its members' records
        for track in list(self._watch.tracks.values()):
            if self._ends():
                return
            with self._lock:
                for series, keep_from in self._noted(track, cut).items():
                    old[series] = min(keep_from, old.get(series, keep_from))
        for series, keep_from in old.items():
            self._slices.prune(keep_from, [series], self._fold)

    def _fold(self, connection: Any, series: int, slices: Slices) -> None:
        self._hours.fold_in(connection, series, by_the_hour(slices))

    def _noted(self, track: Track, cut: int) -> dict[int, int]:
        """Note what a track's slices until *cut* led to; tells from where on each of its records is still wanted."""
        if track.plan is None or track.evaluated_to is None or track.slo.gaps is not Gaps.IGNORE:
            return {}  # what fills a gap may lie as far back as there is anything
        series = [one.series for one in (track.members or (track,)) if one.series is not None]
        keep_from = cut - track.plan.longest_s - DAY_S
        spans = [one for one in self._slices.spans(series) if one is not None]
        if not spans or min(one[0] for one in spans) >= keep_from - DAY_S:
            return {}
        base = self._watch.bases.get(track.key)
        known = base is not None and base.definition == track.definition
        memory, _ = advance(
            track.plan,
            base.memory if known and base is not None else Memory(),
            self._records.units(track, None, cut),
            since=base.evaluated_to if known and base is not None else None,
            incidents=track.incidents,
            out_of_scope=out_of_scope_of(track.policy, track.incidents),
            ask=Asker() if asks(track.policy) else None,
        )
        noted = Remembered(BASE + track.key, track.definition, cut, memory)
        with self._database.writing() as connection:
            self._memories.remember_in(connection, [noted])
        self._watch.bases[track.key] = noted
        return dict.fromkeys(series, keep_from)
