"""Intake: what feeds bring, compared with what is known, and kept: rows to be stored, marks, and corrections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, Queue

import numpy as np

from tightrope.base.errors import DataError, TightropeError
from tightrope.loop.board import KEPT_ROWS, News
from tightrope.loop.corrections import Correction, changed_rows, correction_of
from tightrope.loop.feeds import Fed, Feed, Hear, Pump, Turns, Wanted
from tightrope.loop.marks import PATIENCE_S
from tightrope.loop.records import Records
from tightrope.loop.store import Asked
from tightrope.loop.tracks import Track
from tightrope.sli.slices import Slices
from tightrope.telemetry.received import RECEIVED
from tightrope.telemetry.store import SeriesKey, SliceStore

Heard = tuple[Feed, list[Fed], TightropeError | None]


@dataclass(slots=True, eq=False)
class Taken:
    """What came in, to be stored together.

    Attributes:
        news: Rows that are new or changed.
        asked: How far sources were asked, by record.
        states: What feeds go on from, by name.
        corrections: Slices that were evaluated and are others now, by track.
    """

    news: News = field(default_factory=News)
    asked: dict[int, Asked] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)
    corrections: dict[str, Correction] = field(default_factory=dict)

    def correct(self, key: str, correction: Correction) -> None:
        """Note a correction beside those of the same track."""
        known = self.corrections.get(key)
        self.corrections[key] = correction if known is None else known.and_then(correction)


class Intake:
    """Hears feeds, each in a thread of its own, and takes in what they brought when a turn asks for it.

    Args:
        records: What is known of slices.
        slices: The store.
        now: Tells the time, UTC epoch seconds.
        nudge: Lets the next turn begin at once.
        pump: Turns a feed.
    """

    def __init__(
        self,
        records: Records,
        slices: SliceStore,
        now: Callable[[], int],
        nudge: Callable[[], None],
        pump: Callable[[Feed, Callable[[], int], Hear], Turns] = Pump,
    ) -> None:
        self._records = records
        self._watch = records.watch
        self._slices = slices
        self._now = now
        self._nudge = nudge
        self._pump = pump
        self._pumps: list[Turns] = []
        self._followed: list[Feed] = []
        self._fed: Queue[Heard] = Queue(maxsize=256)

    @property
    def waiting(self) -> int:
        """How much was brought and not taken in yet."""
        return self._fed.qsize()

    def stop(self) -> None:
        """Ask no source any more."""
        for pump in self._pumps:
            pump.stop()

    def follow(self, feeds: Sequence[Feed]) -> None:
        """Hear these feeds from now on; what feeds of former specs brought is no longer asked for."""
        while True:
            try:
                self._fed.get_nowait()
            except Empty:
                break
        self._followed = list(feeds)
        self._pumps = [self._pump(feed, self._now, self.hear) for feed in self._followed]

    def hear(self, feed: Feed, found: list[Fed], error: TightropeError | None) -> None:
        """Hear what a feed brought, or why it could not; of any thread."""
        self._fed.put((feed, found, error))
        if found:
            self._nudge()

    def wanted(self, begin: Callable[[Track], int]) -> list[Wanted]:
        """What sources are to be asked for; *begin* tells how far back."""
        return [
            Wanted(
                one.key,
                one.slo,
                one.objective,
                begin(one),
                one.step_s,
                one.asked_to if one.series is not None else None,
            )
            for one in self._watch.in_order
            if not one.whole and one.kind not in RECEIVED
        ]

    def take(self, now: int, taken: Taken) -> None:
        """Take in all that was brought."""
        found: list[tuple[Track, Fed]] = []
        for _ in range(self._fed.qsize()):
            try:
                feed, fed, error = self._fed.get_nowait()
            except Empty:
                break
            if not any(feed is one for one in self._followed):
                continue  # it was asked for by former specs, and goes on from what is stored
            self._failed(feed, error, now)
            for one in fed:
                if one.state is not None:
                    taken.states[one.state[0]] = one.state[1]
                track = self._watch.tracks.get(one.track)
                if track is not None:
                    track.error = one.error
                    track.patient_to = now if one.caught_up or one.error else now + PATIENCE_S
                    if not one.error:
                        found.append((track, one))
        for group in _rounds(found):
            self._take_fed(group, now, taken)

    def _failed(self, feed: Feed, error: TightropeError | None, now: int) -> None:
        if error is None:
            return
        for one in feed.wanted:
            track = self._watch.tracks.get(one.track)
            if track is not None:
                track.error, track.patient_to = error.message, now

    def _take_fed(self, found: Sequence[tuple[Track, Fed]], now: int, taken: Taken) -> None:
        """Take in what was brought of some tracks, one piece of each."""
        alike: dict[tuple[int, int], list[tuple[Track, Slices]]] = {}
        for track, fed in found:
            slices = self._kept(track, fed.slices)
            track.quality = fed.quality if fed.quality.rows or not track.quality.rows else track.quality
            if not self._belongs(track, slices):
                continue
            track.asked_from = fed.asked[0] if track.asked_from is None else min(track.asked_from, fed.asked[0])
            ahead = track.asked_to is None or track.asked_to > now  # in the future: the clock was set back
            track.asked_to = fed.asked[1] if ahead or track.asked_to is None else max(track.asked_to, fed.asked[1])
            track.caught_up = track.caught_up or fed.caught_up
            if track.series is None:
                continue
            taken.asked[track.series] = Asked(track.series, track.asked_from, track.asked_to, fed.shift_s)
            if len(slices):
                alike.setdefault((slices.start, slices.end), []).append((track, slices))
        for (start, end), group in alike.items():
            known = self._records.read_each([track for track, _ in group], start, end)
            for (track, slices), (_, old) in zip(group, known, strict=True):
                if isinstance(old, DataError):  # what one record holds is no matter of the others
                    track.error = old.message
                else:
                    self._take_slices(track, old, slices, taken)

    def _kept(self, track: Track, slices: Slices) -> Slices:
        """Leave out what was let go of: a file that is read again tells of it again."""
        begin = None if track.series is None else self._slices.begin_of(track.series)
        return slices if begin is None or slices.start >= begin else slices.between(begin, max(begin, slices.end))

    def _take_slices(self, track: Track, old: Slices, slices: Slices, taken: Taken) -> None:
        """Keep what is new of some slices of a track."""
        rows = changed_rows(old, slices)
        if not len(rows):
            return
        if track.series is None or track.step_s is None:
            raise AssertionError("a record is made before its rows are")
        done = track.evaluated_to
        correction = None if done is None else correction_of(old, slices, rows, done)
        if correction is not None:
            track.late = True
            taken.correct(track.key, correction)
        board = self._watch.board(track.step_s)
        place = board.seat(track)
        first = slices.start // track.step_s
        seen = rows[slices.covered[rows]]
        if len(seen):
            end = slices.start + (int(seen[-1]) + 1) * track.step_s
            track.fed_to = end if track.fed_to is None else max(track.fed_to, end)
        newest = first + int(rows[-1]) + 1 - KEPT_ROWS
        at_hand = newest if done is None else min(newest, done // track.step_s)
        for index in rows[np.searchsorted(rows, at_hand - first) :].tolist():
            row = board.row(first + index)
            row.bad[place], row.total[place] = slices.bad[index], slices.total[index]
            row.covered[place] = slices.covered[index]
        taken.news.add(
            np.full(len(rows), track.series, np.int32),
            first + rows,
            slices.bad[rows],
            slices.total[rows],
            slices.covered[rows],
        )

    def _belongs(self, track: Track, slices: Slices) -> bool:
        """Find or make the record that slices belong to."""
        if track.series is None:
            track.step_s, track.scale = slices.step_s, slices.scale
            (track.series,) = self._slices.admit([SeriesKey(track.key, track.indicator, slices.step_s, slices.scale)])
            self._watch.board(slices.step_s).seat(track)
            self._watch.forget_crews()
        if len(slices) and track.step_s != slices.step_s:
            track.error = (
                f"the resolution was {track.step_s} s, and is {slices.step_s} s now: annotate tightrope.dev/resolution"
            )
            return False
        return True


def _rounds(found: Sequence[tuple[Track, Fed]]) -> list[list[tuple[Track, Fed]]]:
    """What was brought, in rounds of one piece of each track, in the order in which it came."""
    rounds: list[list[tuple[Track, Fed]]] = []
    count: dict[str, int] = {}
    for track, fed in found:
        number = count[track.key] = count.get(track.key, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append((track, fed))
    return rounds
