"""Receiving: what is sent to us is on the disk before it is acknowledged, and counted by the turns that follow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import BusyError, DataError, StoreError, UsageError
from tightrope.loop.board import KEPT_ROWS
from tightrope.loop.corrections import changed_rows, correction_of
from tightrope.loop.feeds import scale_of
from tightrope.loop.intake import Taken
from tightrope.loop.marks import UNKNOWN, Column
from tightrope.loop.records import Records
from tightrope.loop.tracks import Track
from tightrope.sli.slices import Slices
from tightrope.state.database import Database
from tightrope.telemetry.counting import Counting, Touched
from tightrope.telemetry.plan import Request
from tightrope.telemetry.received import RECEIVED
from tightrope.telemetry.received import track as received_track
from tightrope.telemetry.samples import Delivery
from tightrope.telemetry.store import SeriesKey, SliceStore

MOST_WAITING = 4_000_000
"""Received samples that may wait to be counted; more are refused until some are."""

COVERED_EVERY_S = 60
"""How often what was counted of received samples is stored, so that they need not be counted again."""

ROOM_BYTES = 1 << 16
"""What is written to see whether there is room again."""


class Receiving:
    """Takes what is sent, in any thread, and counts it, in the turner's.

    Args:
        records: What is known of slices.
        database, slices: The store.
        receivers: Read what is sent to us, by type.
        now: Tells the time, UTC epoch seconds.
        nudge: Lets the next turn begin at once.
    """

    def __init__(
        self,
        records: Records,
        database: Database,
        slices: SliceStore,
        receivers: Mapping[str, Any],
        now: Callable[[], int],
        nudge: Callable[[], None],
    ) -> None:
        self._records = records
        self._watch = records.watch
        self._database = database
        self._slices = slices
        self.receivers = receivers
        self._now = now
        self._nudge = nudge
        self._counting: dict[str, tuple[Counting, Column]] = {}  # with the columns of the objectives that are counted
        self._steps: dict[int, int] = {}  # resolutions, by column
        self._arrived: deque[tuple[int, str, Delivery]] = deque()
        self._arriving = Lock()
        self._on_their_way: dict[object, int] = {}  # by delivery: the highest sequence that was stored as it came
        self._stored_to = 0
        self._whole_to: int | None = None  # through which everything stored was taken; None: all of it
        self._covered_at = 0
        self._covered_to = 0  # through which the inbox was let go of
        self.waiting = 0
        self.taken = 0  # the highest inbox sequence that was counted
        self.unstored = ""  # why what was sent could not be stored

    def accounts(self) -> dict[str, Any]:
        """What became of received samples, by type."""
        return {kind: counting.account for kind, (counting, _) in self._counting.items()}

    # --- what is sent ----------------------------------------------------------------------------------------------

    def receive(self, kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Take what was sent; see `Live.receive`."""
        receiver = self.receivers.get(kind)
        if receiver is None:
            raise UsageError(f"nothing of the type {kind!r} is received")
        if self.waiting > MOST_WAITING:
            raise BusyError(f"{self.waiting:,} samples are waiting to be counted", retry_after_s=5)
        with self._slices.arriving():
            checked = receiver.check(body, headers, self._now())
            own = object()
            with self._arriving:
                self._on_their_way[own] = self._stored_to  # what is on its way gets a later number
            try:
                sequence = self._slices.receive(kind, checked.kept, self._now())
                with self._arriving:
                    self._arrived.append((sequence, kind, checked.delivery))
                    self._stored_to = max(self._stored_to, sequence)
                    self.waiting += checked.count
            except StoreError as error:
                self.unstored = error.message
                raise
            finally:
                with self._arriving:
                    del self._on_their_way[own]
        self._nudge()
        return int(checked.count)

    def look_for_room(self) -> None:
        """Find out whether there is room again, where there was none."""
        if not self.unstored:
            return
        with suppress(StoreError):
            for content in (bytes(ROOM_BYTES), b""):
                with self._database.writing() as connection:
                    self._slices.save_state_in(connection, "room", content)
            self.unstored = ""

    # --- what is counted -------------------------------------------------------------------------------------------

    def listen_for(self, now: int, *, fresh: bool) -> None:
        """Count what is received for the objectives that want it, from where counting stopped."""
        wanted: dict[str, list[Track]] = {}
        for track in self._watch.in_order:
            if track.kind in RECEIVED and not track.whole:
                track.caught_up = True
                wanted.setdefault(track.kind, []).append(track)
        self._counting, self._steps = {}, {}
        for kind, all_of_it in wanted.items():
            group = []
            for one in all_of_it:
                try:
                    asked = received_track(kind, 0, Request(one.slo, one.objective))
                except UsageError as error:  # the others are counted all the same
                    one.error = error.message
                else:
                    self._steps[one.column] = asked.step_s
                    group.append(one)
            counting = Counting(
                kind,
                [(number, Request(one.slo, one.objective)) for number, one in enumerate(group)],
                compiled=getattr(self.receivers.get(kind), "compiled", False),
            )
            pieces = self._slices.load_states(f"counted.{kind}.")
            if pieces:
                counting.restore_pieces(pieces)
            self._counting[kind] = counting, np.array([one.column for one in group], np.int64)
        if fresh:
            self._take_stored(now)

    def _take_stored(self, now: int) -> None:
        """Count again what was received and not covered yet, as stored."""
        covered = self._slices.load_state("covered")
        self.taken = self._covered_to = int(covered or b"0")
        with self._arriving:
            self._arrived.clear()
            self.waiting = 0
        while rows := self._slices.waiting(self.taken, 500):
            for row in rows:
                known = self._counting.get(row.kind)
                if known is not None:
                    known[0].take(self.receivers[row.kind].read(row.body))
                self.taken = row.sequence
        with self._arriving:
            self._stored_to = max(self._stored_to, self.taken)
        self._covered_at = now

    def take(self, taken: Taken) -> None:
        """Count what arrived, and take in the slices that it changed."""
        deliveries: dict[str, list[Delivery]] = {}
        arrived = []
        with self._arriving:  # what is stored and not here yet is taken in another turn, and must not be let go of
            while self._arrived:
                arrived.append(self._arrived.popleft())
            self._whole_to = min(self._on_their_way.values(), default=None)
            self.waiting -= sum(len(one) for _, _, one in arrived)
        for sequence, kind, delivery in sorted(arrived, key=lambda one: one[0]):
            deliveries.setdefault(kind, []).append(delivery)
            self.taken = max(self.taken, sequence)
        for kind, (counting, columns) in self._counting.items():
            if kind in deliveries:
                counting.take(*deliveries[kind])
            touched = counting.drain()
            numbers, until = counting.heard()
            self._watch.marks.complete_to[columns[numbers]] = until
            if len(touched):
                self._take_touched(columns, touched, taken)

    def _take_touched(self, columns: Column, touched: Touched, taken: Taken) -> None:
        """Take in the slices that received samples changed, all at once; of rows of one slice the later one counts."""
        news = _last_of_each(touched)
        whose = columns[news.tracks]
        self._make_records(whose)
        marks = self._watch.marks
        recorded = (marks.series[whose] >= 0) & self._slices.in_time(marks.series[whose], news.slots)
        if not recorded.all():
            news, whose = _cut(news, recorded), whose[recorded]
        late = news.slots * marks.step_s[whose] < marks.evaluated_to[whose]
        if late.any():
            keep = self._corrected(whose, news, late, taken)
            news, whose = _cut(news, keep), whose[keep]
        self._note(whose, news)
        series = marks.series[whose].astype(np.int32)
        taken.news.add(series, news.slots, news.bad, news.total, news.covered)

    def _make_records(self, whose: Column) -> None:
        """Make the records of tracks that have none."""
        marks = self._watch.marks
        new = [self._watch.in_order[column] for column in np.unique(whose[marks.series[whose] == UNKNOWN]).tolist()]
        if not new:
            return
        for track in new:
            track.step_s = self._steps[track.column]
            track.scale = scale_of(track.slo, track.objective)
        keys = [SeriesKey(one.key, one.indicator, one.step_s or 0, one.scale) for one in new]
        for track, series in zip(new, self._slices.admit(keys), strict=True):
            track.series = series
        self._watch.take_seats(new)

    def _corrected(
        self, whose: Column, news: Touched, late: npt.NDArray[np.bool_], taken: Taken
    ) -> npt.NDArray[np.bool_]:
        """Hold rows of slices that were evaluated against what is stored; tells which rows are to be kept."""
        keep = np.ones(len(whose), np.bool_)
        for column in np.unique(whose[late]).tolist():
            track = self._watch.in_order[column]
            if track.step_s is None or track.evaluated_to is None:
                raise AssertionError("only what was evaluated comes late")
            rows = np.flatnonzero(late & (whose == column))
            slices = _dense(news, rows, track)
            ((_, old),) = self._records.read_each([track], slices.start, slices.end)
            if isinstance(old, DataError):
                track.error = old.message
                continue
            own = news.slots[rows] - slices.start // track.step_s
            changed = np.intersect1d(changed_rows(old, slices), own)
            keep[rows] = np.isin(own, changed)
            correction = correction_of(old, slices, changed, track.evaluated_to)
            if correction is not None:
                track.late = True
                taken.correct(track.key, correction)
        return keep

    def _note(self, whose: Column, news: Touched) -> None:
        """Keep new rows at hand, and note how far records reach."""
        marks = self._watch.marks
        steps = marks.step_s[whose]
        ends = np.where(news.covered, (news.slots + 1) * steps, UNKNOWN)
        np.maximum.at(marks.fed_to, whose, ends)
        for step in _distinct(steps):
            board = self._watch.board(step)
            mine = _where(steps == step)
            places, when = marks.place[whose[mine]], news.slots[mine]
            bad, total, covered = news.bad[mine], news.total[mine], news.covered[mine]
            newest = int(when.max()) - KEPT_ROWS
            done = marks.evaluated_to[whose[mine]]
            recent = when >= np.where(done >= 0, np.minimum(done // step, newest), newest)
            for slot in _distinct(when[recent]):
                here = _where(recent & (when == slot))
                row, at = board.row(slot), places[here]
                row.bad[at], row.total[at], row.covered[at] = bad[here], total[here], covered[here]

    # --- what is covered -------------------------------------------------------------------------------------------

    def covers(self, now: int, *, busy: bool) -> bool:
        """Whether what was counted should be stored: rather in a turn that has nothing else to do."""
        patience = 5 * COVERED_EVERY_S if busy else COVERED_EVERY_S
        return (bool(self._counting) or self.taken > self._covered_to) and now - self._covered_at >= patience

    @property
    def counts(self) -> bool:
        """Whether anything is counted."""
        return bool(self._counting)

    def cover_in(self, connection: Any, now: int) -> None:
        """Store what was counted so far, and let go of the deliveries it was counted from."""
        for kind, (counting, _) in self._counting.items():
            counting.forget(now)
            self._slices.save_states_in(connection, f"counted.{kind}.", counting.pieces())
        through = self.taken if self._whole_to is None else min(self.taken, self._whole_to)
        self._slices.save_state_in(connection, "covered", str(through).encode())
        self._slices.drop_received(connection, through)
        self._covered_at, self._covered_to = now, through


def _last_of_each(touched: Touched) -> Touched:
    """Of the rows of one slice the last one, in the order of tracks and slices."""
    if len(_distinct(touched.slots)) == 1 and (np.diff(touched.tracks) > 0).all():
        return touched
    order = np.lexsort((touched.slots, touched.tracks))
    tracks, slots = touched.tracks[order], touched.slots[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (tracks[1:] != tracks[:-1]) | (slots[1:] != slots[:-1])
    return _cut(touched, order[last])


def _cut(touched: Touched, rows: npt.NDArray[Any]) -> Touched:
    return Touched(*(getattr(touched, one.name)[rows] for one in fields(Touched)))


def _where(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | slice:
    """The rows that are chosen; all of them are a slice, which copies nothing."""
    return slice(None) if chosen.all() else chosen


def _distinct(values: Column) -> list[int]:
    """The values that there are, each once; most often there is one."""
    if len(values) and (values == values[0]).all():
        return [int(values[0])]
    found: list[int] = np.unique(values).tolist()
    return found


def _dense(news: Touched, rows: npt.NDArray[np.intp], track: Track) -> Slices:
    """Some rows of one track as a record: what lies between them is a gap."""
    step = track.step_s or 0
    first, last = int(news.slots[rows].min()), int(news.slots[rows].max())
    count = last - first + 1
    bad, total, covered = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_)
    at = news.slots[rows] - first
    bad[at], total[at], covered[at] = news.bad[rows], news.total[rows], news.covered[rows]
    return Slices(first * step, step, bad, total, covered, scale=track.scale)
