"""The live loop: slices in, every objective evaluated, what changed on the disk before anybody is told.

One thread turns it. A turn first stores the slices that came in; then it evaluates every objective whose record has
grown, and stores in one transaction what changed: memories, alerts, messages, and the events of the journal. A process
that is killed in between finds the slices, remembers what was evaluated, and goes on: nothing that was acknowledged is
lost, and nothing is told twice.
"""

from __future__ import annotations

import gc
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import Empty, Full, Queue
from threading import Condition, Event, Lock, RLock, Thread
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base import clock
from tightrope.base.canonical import canonical
from tightrope.base.errors import BusyError, DataError, NotFoundError, SpecError, StoreError, TightropeError, UsageError
from tightrope.base.units import DAY_S, time_text
from tightrope.engine.live import LiveEvaluator
from tightrope.engine.plan import Incident
from tightrope.engine.replay import History
from tightrope.engine.scan import Peak
from tightrope.engine.step import Memory, Outcome, advance
from tightrope.engine.ticks import Change, Member, Tick
from tightrope.loop.assess import (
    Asker,
    Assessment,
    asks,
    assess,
    out_of_scope_of,
    padded,
    units_of,
)
from tightrope.loop.board import KEPT_ROWS, Board, News
from tightrope.loop.exclusions import stretches_of
from tightrope.loop.feeds import Fed, Feed, Hear, Pump, Turns, Wanted, scale_of
from tightrope.loop.snapshot import Backfill, Snapshot, Turned
from tightrope.loop.store import Asked, LiveStore, Remembered
from tightrope.loop.telling import Flowed, Teller
from tightrope.loop.tracks import Track, tracks_of
from tightrope.policy.states import named, strictest
from tightrope.sli.coverage import Stretch, fill_gaps
from tightrope.sli.methods import combine
from tightrope.sli.slices import Slices
from tightrope.specs.model import BudgetingMethod, Gaps, Objective, Slo, Specs
from tightrope.state.database import Database
from tightrope.state.journal import Event as Happening
from tightrope.state.journal import Journal
from tightrope.telemetry.counting import Counting, Touched
from tightrope.telemetry.plan import Request
from tightrope.telemetry.reading import Reading
from tightrope.telemetry.received import RECEIVED
from tightrope.telemetry.received import track as received_track
from tightrope.telemetry.samples import Delivery
from tightrope.telemetry.store import SeriesKey, SliceStore

SOURCE = "/tightrope/loop"
ADMITTED_AT_ONCE = 200
"""Tracks whose records are held at once while they are replayed."""

PATIENCE_S = 60
"""For how long the first word of a source is waited for after a start, before its silence counts as a gap."""

ROOM_BYTES = 1 << 16
"""What is written to see whether there is room again."""

MOST_PAUSE_S = 5.0
"""How long to wait at most before a turn that failed is tried again."""

GRACE_SLICES = 2
GRACE_S = 60
"""How long a slice is waited for after its end, in slices and seconds, before it counts as a gap."""

SAVED_EVERY_S = DAY_S
"""A memory that does not change is stored again after that long, so that a restart need not look back further."""

BASE = "base:"
"""What the name of a memory begins with that a replay starts from, because older slices were let go of."""

MOST_WAITING = 4_000_000
"""Received samples that may wait to be counted; more are refused until some are."""

COVERED_EVERY_S = 60
"""How often what was counted of received samples is stored, so that they need not be counted again."""

Exam = tuple[Specs | None, tuple[SpecError, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Of a group of tracks: the ids of their records, their resolutions, and their places on the boards of these."""

    series: npt.NDArray[np.int32]
    steps: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class _Turn:
    """What one turn found out, to be stored and told."""

    at: int
    changed: dict[str, Track] = field(default_factory=dict)
    outcomes: list[tuple[Track, Memory, Outcome]] = field(default_factory=list)
    events: list[Happening] = field(default_factory=list)
    services: set[str] = field(default_factory=set)


class Live:
    """The running loop. Any thread may ask where things stand; one thread, started by `start`, turns it.

    Args:
        database: The store.
        slices: Its slices.
        memories: What is remembered between turns.
        journal: Its journal.
        examine: Reads the specs as they are now, with all findings.
        look: Tells what the specs look like: a value that changes when they do.
        feeds: Makes the feeds of the objectives that are read from sources.
        receivers: Read what is sent to us, by type.
        now: Tells the time, UTC epoch seconds.
        incidents: Known incidents.
        teller: Turns outcomes into alerts and messages within the transaction of a turn; None: nobody is told.
        every_s: Seconds from turn to turn.
        keep_s: How long slices are kept beyond what anything looks back at, seconds; None: for ever.
        tidy_s: Seconds between two times of tidying the store.
        pump: Turns a feed; a thread of its own each, by default.
    """

    def __init__(
        self,
        database: Database,
        slices: SliceStore,
        memories: LiveStore,
        journal: Journal,
        *,
        examine: Callable[[], Exam],
        look: Callable[[], object],
        feeds: Callable[[Sequence[Wanted], Live], Sequence[Feed]],
        receivers: Mapping[str, Any],
        now: Callable[[], int],
        incidents: Sequence[Incident] = (),
        teller: Teller | None = None,
        every_s: float = 1.0,
        keep_s: int | None = None,
        tidy_s: float = 600.0,
        pump: Callable[[Feed, Callable[[], int], Hear], Turns] = Pump,
    ) -> None:
        self._database = database
        self._slices = slices
        self._memories = memories
        self._journal = journal
        self._examine = examine
        self._look = look
        self._feeds = feeds
        self._receivers = receivers
        self._now = now
        self._recorded_incidents = tuple(incidents)
        self._incidents = tuple(incidents)
        self._teller = teller
        if teller is not None:
            teller.look_after(self)
        self._anew = True  # the specs were followed anew: alerts of objectives that are gone end
        self._every_s = every_s
        self._pump = pump
        self._keep_s = keep_s
        self._tidy_s = tidy_s
        self._bases: dict[str, Remembered] = {}
        self._lock = RLock()
        self._wake = Condition()
        self._asked = False
        self._stop = Event()
        self._thread: Thread | None = None
        self._specs: Specs | None = None
        self._announced = ""  # the digest of the specs that the journal says are followed
        self._since = 0
        self._seen: object = None
        self._problems: tuple[SpecError, ...] = ()
        self._tracks: dict[str, Track] = {}
        self._of_service: dict[str, list[str]] = {}
        self._by_series: dict[int, Track] = {}
        self._boards: dict[int, Board] = {}
        self._evaluator = LiveEvaluator(self._rows)
        self._seats: dict[tuple[str, ...], npt.NDArray[np.int64]] = {}
        self._placed: dict[tuple[str, ...], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}
        self._pumps: list[Turns] = []
        self._followed: list[Feed] = []
        self._fed: Queue[tuple[Feed, list[Fed], TightropeError | None]] = Queue(maxsize=256)
        self._counting: dict[str, tuple[Counting, list[Track]]] = {}
        self._received_steps: dict[str, int] = {}
        self._arrived: deque[tuple[int, str, Delivery]] = deque()
        self._waiting = 0
        self._arriving = Lock()
        self._on_their_way: dict[object, int] = {}  # by delivery: the highest sequence that was stored as it came
        self._stored_to = 0
        self._whole_to: int | None = None  # through which everything stored was taken; None: all of it
        self._taken = 0  # the highest inbox sequence that was counted
        self._covered_at = 0
        self._covered_to = 0  # through which the inbox was let go of
        self._columns: dict[int, _Columns] = {}
        self._late: set[str] = set()
        self._begins: dict[str, int] = {}  # where the records of tracks begin, if nothing older is kept
        self._unready: set[str] = set()  # tracks that were not evaluated yet
        self._outside: dict[str, tuple[Stretch, ...]] = {}
        self._outside_to = 0
        self._number = 0
        self._drawn: dict[str, tuple[int, Assessment]] = {}
        self._listeners: list[Queue[Turned]] = []
        self._broken = True
        self._failure = ""
        self._unstored = ""  # why what was sent could not be stored
        self._turn_s = 0.0
        self._turns = 0
        self._snapshot = Snapshot(0, 0, 0, Specs(), 0, {})

    # --- running ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Turn the loop in a thread of its own until `stop`."""
        self._thread = Thread(target=self._run, name="turner", daemon=True)
        self._thread.start()
        Thread(target=self._tidying, name="tidier", daemon=True).start()

    def stop(self) -> None:
        """End after the turn under way."""
        self._stop.set()
        with self._wake:
            self._wake.notify_all()
        for pump in self._pumps:
            pump.stop()
        if self._thread is not None:
            self._thread.join(30)

    def tidy(self) -> None:
        """Fold what was stored turn by turn into chunks, and let go of what nobody looks back at any more."""
        while self._slices.compact() and not self._stop.is_set():
            pass
        if self._keep_s is not None:
            self._prune(self._now() - self._keep_s)

    def _prune(self, before: int) -> None:
        """Let go of slices older than *before*, having noted what they led to: a replay goes on from there."""
        cut = before // DAY_S * DAY_S
        old: list[tuple[int, list[int]]] = []  # goes when all is noted: a composite rests on its members' records
        for track in list(self._tracks.values()):
            with self._lock:
                if track.plan is None or track.evaluated_to is None or track.slo.gaps is not Gaps.IGNORE:
                    continue  # what fills a gap may lie as far back as there is anything
                series = [one.series for one in (track.members or (track,)) if one.series is not None]
                keep_from = cut - track.plan.longest_s - DAY_S
                spans = [one for one in self._slices.spans(series) if one is not None]
                if not spans or min(one[0] for one in spans) >= keep_from - DAY_S:
                    continue
                base = self._bases.get(track.key)
                known = base is not None and base.definition == track.definition
                memory, _ = advance(
                    track.plan,
                    base.memory if known and base is not None else Memory(),
                    self._units(track, None, cut),
                    since=base.evaluated_to if known and base is not None else None,
                    incidents=track.incidents,
                    out_of_scope=out_of_scope_of(track.policy, track.incidents),
                    ask=Asker() if asks(track.policy) else None,
                )
                noted = Remembered(BASE + track.key, track.definition, cut, memory)
                with self._database.writing() as connection:
                    self._memories.remember_in(connection, [noted])
                self._bases[track.key] = noted
                old.append((keep_from, series))
        kept: dict[int, int] = {}
        for keep_from, series in old:
            kept |= {one: min(keep_from, kept.get(one, keep_from)) for one in series}
        for one, keep_from in kept.items():
            self._slices.prune(keep_from, [one])

    def _tidying(self) -> None:
        while not self._stop.wait(self._tidy_s):
            with suppress(Exception):  # the next time will do; what is wrong with the store, turns tell
                self.tidy()

    def nudge(self) -> None:
        """Let the next turn begin at once."""
        with self._wake:
            self._asked = True
            self._wake.notify_all()

    def _run(self) -> None:
        pause = self._every_s
        while not self._stop.is_set():
            try:
                self.turn()
                self._failure, pause = "", self._every_s
            except TightropeError as error:
                self._failure = error.message
                pause = min(2 * pause, MOST_PAUSE_S)
            except Exception as fault:  # noqa: BLE001  a loop that ends in silence would freeze every answer
                self._failure = f"the loop failed: {type(fault).__name__}: {fault}"
                pause = min(2 * pause, MOST_PAUSE_S)
            if self._failure:
                self._broken = True
                self._stop.wait(pause)  # every try begins anew from what is stored, which takes a while
                continue
            with self._wake:
                if not self._asked and not self._stop.is_set():
                    self._wake.wait(self._every_s)
                self._asked = False

    def now(self) -> int:
        """The present, UTC epoch seconds."""
        return self._now()

    @property
    def snapshot(self) -> Snapshot:
        """Where everything stands."""
        return self._snapshot

    @property
    def failure(self) -> str:
        """Why the last turn could not be completed, or nothing can be stored; empty: all is well."""
        return self._failure or self._unstored

    @contextmanager
    def listen(self) -> Iterator[Queue[Turned]]:
        """Hear of every turn that changed something; a listener that does not keep up misses some."""
        ear: Queue[Turned] = Queue(maxsize=64)
        self._listeners.append(ear)
        try:
            yield ear
        finally:
            self._listeners.remove(ear)

    # --- a turn ----------------------------------------------------------------------------------------------------

    def turn(self) -> Snapshot:
        """Take in what came, evaluate, store, and tell.

        Raises:
            StoreError: What was found out could not be stored; the next turn begins anew from what is.
        """
        began = clock.ticks()
        with self._lock:
            now = self._now()
            self._look_for_room()
            adopted = self._follow_specs(now)
            if self._specs is None:
                return self._publish(now, set(), 0, adopted)
            self._take_in(now)
            turn = _Turn(now)
            self._admit_late(turn)
            self._evaluate(turn)
            self._store_turn(turn)
            self._turn_s = clock.ticks() - began
            self._evaluator.prepare()
            return self._publish(now, turn.services, len(turn.events), adopted)

    def _publish(self, now: int, services: set[str], events: int, adopted: bool) -> Snapshot:
        self._turns += 1
        ends = [track.evaluated_to for track in self._tracks.values() if track.evaluated_to is not None]
        at = min(ends, default=0)
        if not (services or events or adopted or at != self._snapshot.at or self._problems != self._snapshot.problems):
            return self._snapshot
        self._number += 1
        self._snapshot = Snapshot(
            self._number,
            at,
            now,
            self._specs or Specs(),
            self._since,
            _Drawn(self, tuple(self._tracks)),
            self._problems,
        )
        turned = Turned(self._number, now, tuple(sorted(services)), events)
        for ear in list(self._listeners):
            try:
                ear.put_nowait(turned)
            except Full:  # somebody who does not listen any more holds up nobody
                continue
        return self._snapshot

    # --- specs -----------------------------------------------------------------------------------------------------

    def _follow_specs(self, now: int) -> bool:
        """Adopt the specs if they changed and are good; a broken edit is told, and the last good set stays."""
        seen = self._look()
        if seen == self._seen and not self._broken:
            return False
        specs, findings = self._examine()
        self._seen = seen
        if specs is None:
            self._problems = findings
            if self._specs is None or not self._broken:
                return True
            specs = self._specs
        else:
            self._problems = ()
        changed = specs.digest != self._announced
        if changed or self._broken:
            self._adopt(specs, now, announce=changed)
        return True

    def _adopt(self, specs: Specs, now: int, *, announce: bool) -> None:
        """Follow *specs*: keep what they leave as it is, begin anew what they change."""
        before = {} if self._broken else self._tracks
        fresh = self._specs is None or self._broken
        remembered, asked = self._memories.tracks(), self._memories.feeds()
        self._bases = {key.removeprefix(BASE): one for key, one in remembered.items() if key.startswith(BASE)}
        for pump in self._pumps:
            pump.stop()
        if self._counting and not self._broken:
            self._cover(now)
        if fresh:
            self._evaluator = LiveEvaluator(self._rows)
            self._boards.clear()
            self._forget_places()
        self._specs, self._since, self._anew = specs, now, True
        self._outside_to = 0
        found = {track.key: track for track in tracks_of(specs, self._recorded_incidents)}
        for track in found.values():
            track.incidents = self._incidents_of(track)
        for key, track in found.items():
            known = before.get(key)
            if known is not None and known.indicator == track.indicator:
                track.series, track.step_s, track.scale = known.series, known.step_s, known.scale
                track.asked_from, track.asked_to, track.fed_to = known.asked_from, known.asked_to, known.fed_to
                track.caught_up, track.quality, track.complete_to = known.caught_up, known.quality, known.complete_to
                if known.definition == track.definition:
                    track.plan, track.memory, track.reason = known.plan, known.memory, known.reason
                    track.evaluated_to, track.saved_to, track.carry = known.evaluated_to, known.saved_to, known.carry
                    track.late, track.patient_to = known.late, known.patient_to
                    track.incidents = known.incidents
        for key, known in before.items():
            if key not in found or found[key].indicator != known.indicator:
                for board in self._boards.values():
                    board.vacate(key)
        gone = [key for key in before if key not in found or found[key].evaluated_to is None]
        self._evaluator.dismiss([key for key in gone if key in self._evaluator])
        self._forget_places()
        self._tracks = found
        self._columns.clear()
        self._of_service = {}
        for key, track in found.items():
            self._of_service.setdefault(track.slo.service, []).append(key)
        for track in found.values():
            track.members = tuple(found[one.key] for one in track.members)
        self._find_records(asked, remembered, now)
        self._unready = {key for key, one in found.items() if one.evaluated_to is None}
        self._late = {key for key, one in found.items() if one.late}
        self._by_series = {one.series: one for one in found.values() if one.series is not None}
        self._drawn = {}
        self._listen_for(found.values(), now, fresh=fresh)
        wanted = [
            Wanted(
                one.key,
                one.slo,
                one.objective,
                self._begin(one, now),
                one.step_s,
                one.asked_to if one.series is not None else None,
            )
            for one in found.values()
            if not one.whole and one.kind not in RECEIVED
        ]
        while True:  # what feeds of former specs brought is no longer asked for
            try:
                self._fed.get_nowait()
            except Empty:
                break
        self._followed = list(self._feeds(wanted, self))
        self._pumps = [self._pump(feed, self._now, self._hear) for feed in self._followed]
        self._broken = False
        if announce:
            data = {"digest": specs.digest, "files": list(specs.files), "slos": len(specs.slos)}
            event = Happening(
                f"specs.{now}.{specs.digest[:16]}", SOURCE, "dev.tightrope.specs.followed.v1", "specs", now, data
            )
            with self._database.writing() as connection:
                self._journal.append_in(connection, [event])
            self._announced = specs.digest

    def _begin(self, track: Track, now: int) -> int:
        from tightrope.loop.assess import reach_s

        if self._specs is None:
            raise AssertionError("specs are followed before their telemetry is wanted")
        return now - reach_s(self._specs, track.slo)

    def _find_records(self, asked: Mapping[int, Asked], remembered: Mapping[str, Remembered], now: int) -> None:
        """Find the stored records of tracks that are new to this process, and what is remembered of them."""
        new = [one for one in self._tracks.values() if not one.whole and one.series is None]
        stored = self._slices.known([(one.key, one.indicator) for one in new])
        ids = {}
        for one, record in zip(new, stored, strict=True):
            if record is None:
                continue
            one.series, one.step_s, one.scale = record
            ids[one.key] = record[0]
            feed = asked.get(one.series)
            if feed is not None:
                one.asked_from, one.asked_to = feed.asked_from, feed.asked_to
        spans = self._slices.spans(list(ids.values()))
        for key, span in zip(ids, spans, strict=True):
            self._tracks[key].fed_to = None if span is None else span[1]
        for one in self._tracks.values():
            known = remembered.get(one.key)
            if one.evaluated_to is None and known is not None and known.definition == one.definition:
                one.memory, one.reason = known.memory, known.reason
                one.saved_to = known.evaluated_to
                one.caught_up = True  # it was evaluated before, so its history was here
                one.patient_to = now + PATIENCE_S

    # --- what comes in ---------------------------------------------------------------------------------------------

    def _hear(self, feed: Feed, found: list[Fed], error: TightropeError | None) -> None:
        self._fed.put((feed, found, error))
        if found:
            self.nudge()

    def _take_in(self, now: int) -> None:
        """Store what feeds and receivers brought, and note whose history has changed."""
        news = News()
        feeds: list[Asked] = []
        states: dict[str, bytes] = {}
        for _ in range(self._fed.qsize()):
            try:
                feed, found, error = self._fed.get_nowait()
            except Empty:
                break
            if not any(feed is one for one in self._followed):
                continue  # it was asked for by former specs, and goes on from what is stored
            for one in feed.wanted if error is not None else ():
                if one.track in self._tracks:
                    self._tracks[one.track].error = "" if error is None else error.message
                    self._tracks[one.track].patient_to = now
            for fed in found:
                track = self._tracks.get(fed.track)
                if fed.state is not None:
                    states[fed.state[0]] = fed.state[1]
                if track is None:
                    continue
                track.error = fed.error
                track.patient_to = now if fed.caught_up or fed.error else now + PATIENCE_S
                if not fed.error:
                    self._take_fed(track, fed, news, now)
                    if track.series is not None and track.asked_from is not None and track.asked_to is not None:
                        feeds.append(Asked(track.series, track.asked_from, track.asked_to))
        self._take_received(news)
        batch = news.batch()
        waited = now - self._covered_at  # rather in a turn that has nothing else to do
        patience = COVERED_EVERY_S if batch is None else 5 * COVERED_EVERY_S
        covered = (bool(self._counting) or self._taken > self._covered_to) and waited >= patience
        if batch is None and not feeds and not states and not covered:
            return
        try:
            with self._database.writing() as connection:
                if batch is not None:
                    self._slices.write_in(connection, batch)
                self._memories.asked_in(connection, {one.series: one for one in feeds}.values())
                for name, content in states.items():
                    self._slices.save_state_in(connection, name, content)
                if covered:
                    self._cover_in(connection, now)
        except StoreError:
            self._broken = True
            raise

    def _take_fed(self, track: Track, fed: Fed, news: News, now: int) -> None:
        slices = fed.slices
        track.quality = fed.quality if fed.quality.rows or not track.quality.rows else track.quality
        if not self._belongs(track, slices.step_s, slices.scale, len(slices)):
            return
        track.asked_from = fed.asked[0] if track.asked_from is None else min(track.asked_from, fed.asked[0])
        ahead = track.asked_to is None or track.asked_to > now  # in the future: the clock was set back
        track.asked_to = fed.asked[1] if ahead or track.asked_to is None else max(track.asked_to, fed.asked[1])
        track.caught_up = track.caught_up or fed.caught_up
        if track.series is None or not len(slices):
            return
        (old,) = self._slices.read([track.series], slices.start, slices.end)
        same = np.zeros(len(slices), np.bool_)
        if len(old):
            first = max(old.start, slices.start)
            last = min(old.end, slices.end)
            mine, theirs = slices.between(first, last), old.between(first, last)
            at = (first - slices.start) // slices.step_s
            same[at : at + len(mine)] = (
                (mine.bad == theirs.bad) & (mine.total == theirs.total) & (mine.covered == theirs.covered)
            )
            outside = np.ones(len(slices), np.bool_)
            outside[at : at + len(mine)] = False
        else:
            outside = np.ones(len(slices), np.bool_)
        rows = np.flatnonzero(~same & (slices.covered | ~outside))
        if not len(rows):
            return
        slots = slices.start // slices.step_s + rows
        series = np.full(len(rows), track.series, np.int32)
        self._note(track, slots, slices.bad[rows], slices.total[rows], slices.covered[rows])
        news.add(series, slots, slices.bad[rows], slices.total[rows], slices.covered[rows])

    def _belongs(self, track: Track, step_s: int, scale: int, count: int) -> bool:
        """Find or make the record that slices of this resolution belong to."""
        if track.series is None and (count or track.kind not in RECEIVED):
            track.step_s, track.scale = step_s, scale
            (track.series,) = self._slices.admit([SeriesKey(track.key, track.indicator, step_s, scale)])
            self._by_series[track.series] = track
        if count and track.step_s != step_s:
            track.error = (
                f"the resolution was {track.step_s} s, and is {step_s} s now: annotate tightrope.dev/resolution"
            )
            return False
        return True

    def _note(
        self,
        track: Track,
        slots: npt.NDArray[np.int64],
        bad: npt.NDArray[np.int64],
        total: npt.NDArray[np.int64],
        covered: npt.NDArray[np.bool_],
    ) -> None:
        """Keep new rows at hand; rows of slices that were evaluated already make the track late."""
        if track.step_s is None:
            raise AssertionError("a record has a resolution before it has rows")
        board = self._boards.setdefault(track.step_s, Board(track.step_s))
        place = board.seat(track)
        newest = int(slots[-1]) + 1
        if covered.any():
            end = (int(slots[np.flatnonzero(covered)[-1]]) + 1) * track.step_s
            track.fed_to = end if track.fed_to is None else max(track.fed_to, end)
        done = track.evaluated_to
        if done is not None and int(slots[0]) * track.step_s < done:
            track.late = True
            self._late.add(track.key)
        kept = newest - KEPT_ROWS if done is None else min(newest - KEPT_ROWS, done // track.step_s)
        for index in range(int(np.searchsorted(slots, kept)), len(slots)):
            row = board.row(int(slots[index]))
            row.bad[place], row.total[place], row.covered[place] = bad[index], total[index], covered[index]

    # --- what is received ------------------------------------------------------------------------------------------

    def receive(self, kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Take what was sent: when this returns it is on the disk, and will be counted.

        Returns:
            The number of samples.

        Raises:
            UsageError: It cannot be read. TooLargeError: There is too much of it.
            BusyError: So much is waiting that nothing more is taken for now.
            StoreError: It cannot be stored; nothing was taken.
        """
        receiver = self._receivers.get(kind)
        if receiver is None:
            raise UsageError(f"nothing of the type {kind!r} is received")
        if self._waiting > MOST_WAITING:
            raise BusyError(f"{self._waiting:,} samples are waiting to be counted", retry_after_s=5)
        checked = receiver.check(body, headers, self._now())
        own = object()
        with self._arriving:
            self._on_their_way[own] = self._stored_to  # what is on its way gets a later number
        try:
            try:
                sequence = self._slices.receive(kind, checked.kept, self._now())
            except StoreError as error:
                self.not_stored(error)
                raise
            with self._arriving:
                self._arrived.append((sequence, kind, checked.delivery))
                self._stored_to = max(self._stored_to, sequence)
                self._waiting += checked.count
        finally:
            with self._arriving:
                del self._on_their_way[own]
        self.nudge()
        return int(checked.count)

    def not_stored(self, error: StoreError) -> None:
        """Hear that something could not be stored: the loop says so until there is room again."""
        self._unstored = error.message

    def _look_for_room(self) -> None:
        if not self._unstored:
            return
        with suppress(StoreError):
            for content in (bytes(ROOM_BYTES), b""):
                with self._database.writing() as connection:
                    self._slices.save_state_in(connection, "room", content)
            self._unstored = ""

    def _listen_for(self, tracks: Any, now: int, *, fresh: bool) -> None:
        """Count what is received for the objectives that want it, from where counting stopped."""
        wanted: dict[str, list[Track]] = {}
        for track in tracks:
            if track.kind in RECEIVED and not track.whole:
                track.caught_up = True
                wanted.setdefault(track.kind, []).append(track)
        self._counting = {}
        for kind, all_of_it in wanted.items():
            group = []
            for one in all_of_it:
                try:
                    asked = received_track(kind, 0, Request(one.slo, one.objective))
                except UsageError as error:  # the others are counted all the same
                    one.error = error.message
                else:
                    self._received_steps[one.key] = asked.step_s
                    group.append(one)
            counting = Counting(kind, [(number, Request(one.slo, one.objective)) for number, one in enumerate(group)])
            blob = self._slices.load_state(f"counting.{kind}")
            if blob is not None:
                counting.restore(blob)
            self._counting[kind] = (counting, group)
        if not fresh:
            return
        covered = self._slices.load_state("covered")
        self._taken = self._covered_to = int(covered or b"0")
        with self._arriving:
            self._arrived.clear()
            self._waiting = 0
        while rows := self._slices.waiting(self._taken, 500):
            for row in rows:
                known = self._counting.get(row.kind)
                if known is not None:
                    known[0].take(self._receivers[row.kind].read(row.body))
                self._taken = row.sequence
        with self._arriving:
            self._stored_to = max(self._stored_to, self._taken)
        self._covered_at = now

    def _take_received(self, news: News) -> None:
        batches: dict[str, list[Delivery]] = {}
        taken = []
        with self._arriving:  # what is stored and not here yet is taken in another turn, and must not be let go of
            while self._arrived:
                taken.append(self._arrived.popleft())
            self._whole_to = min(self._on_their_way.values(), default=None)
        for sequence, kind, delivery in sorted(taken, key=lambda one: one[0]):
            batches.setdefault(kind, []).append(delivery)
            self._taken = max(self._taken, sequence)
            with self._arriving:
                self._waiting -= len(delivery)
        for kind, (counting, group) in self._counting.items():
            if kind in batches:
                counting.take(*batches[kind])
            touched = counting.drain()
            for number, until in counting.complete().items():
                group[number].complete_to = until
            if len(touched):
                self._take_touched(group, touched, news)

    def _take_touched(self, group: Sequence[Track], touched: Touched, news: News) -> None:
        """Note the slices that received samples changed: all at once, but for records that are new."""
        order = np.lexsort((touched.slots, touched.tracks))
        tracks, slots = touched.tracks[order], touched.slots[order]
        last = np.ones(len(order), np.bool_)  # of rows of one slice the later one counts
        last[:-1] = (tracks[1:] != tracks[:-1]) | (slots[1:] != slots[:-1])
        rows = order[last]
        tracks, slots = touched.tracks[rows], touched.slots[rows]
        bad, total, covered = touched.bad[rows], touched.total[rows], touched.covered[rows]
        new = [group[number] for number in np.unique(tracks).tolist() if group[number].series is None]
        for track in new:
            track.step_s = self._received_steps[track.key]
            track.scale = scale_of(track.slo, track.objective)
        keys = [SeriesKey(one.key, one.indicator, one.step_s or 0, one.scale) for one in new]
        for track, series in zip(new, self._slices.admit(keys) if new else (), strict=True):
            track.series = series
            self._by_series[series] = track
        if new:
            self._columns.clear()
        ids = self._columns_of(group).series
        known = ids[tracks] >= 0
        if not known.all():
            tracks, slots, bad, total, covered = tracks[known], slots[known], bad[known], total[known], covered[known]
        self._note_many(group, tracks, slots, bad, total, covered)
        news.add(ids[tracks], slots, bad, total, covered)

    def _columns_of(self, group: Sequence[Track]) -> _Columns:
        """What does not change from turn to turn of the tracks of a group, in their order."""
        found = self._columns.get(id(group))
        if found is None:
            steps = [one.step_s or 0 for one in group]
            places = [
                self._boards.setdefault(step, Board(step)).seat(one) if step else -1
                for one, step in zip(group, steps, strict=True)
            ]
            series = [-1 if one.series is None else one.series for one in group]
            found = self._columns[id(group)] = _Columns(
                np.array(series, np.int32), np.array(steps, np.int64), np.array(places, np.int64)
            )
        return found

    def _note_many(
        self,
        group: Sequence[Track],
        tracks: npt.NDArray[np.int64],
        slots: npt.NDArray[np.int64],
        bad: npt.NDArray[np.int64],
        total: npt.NDArray[np.int64],
        covered: npt.NDArray[np.bool_],
    ) -> None:
        """As `_note`, for rows of many tracks at once: *tracks* are places in *group*."""
        steps, places = self._columns_of(group).steps, self._columns_of(group).places
        ends = np.fromiter((one.evaluated_to or -1 for one in group), np.int64, len(group))
        for step in np.unique(steps[tracks]).tolist():
            board = self._boards.setdefault(step, Board(step))
            done = np.where(ends >= 0, ends // step, -1)
            mine = steps[tracks] == step
            whose, when = tracks[mine], slots[mine]
            late = (done[whose] >= 0) & (when < done[whose])
            for number in np.unique(whose[late]).tolist():
                group[number].late = True
                self._late.add(group[number].key)
            newest = np.zeros(len(group), np.int64)
            seen = covered[mine]
            np.maximum.at(newest, whose[seen], when[seen] + 1)
            for number in np.flatnonzero(newest).tolist():
                track = group[number]
                end = int(newest[number]) * step
                if track.fed_to is None or end > track.fed_to:
                    track.fed_to = end
            kept = np.where(done >= 0, done, 0)
            recent = when >= np.minimum(kept[whose], int(when.max()) - KEPT_ROWS)
            for slot in np.unique(when[recent]).tolist():
                here = recent & (when == slot)
                row, at = board.row(slot), places[whose[here]]
                row.bad[at], row.total[at], row.covered[at] = bad[mine][here], total[mine][here], seen[here]

    def _cover(self, now: int) -> None:
        with self._database.writing() as connection:
            self._cover_in(connection, now)

    def _cover_in(self, connection: Any, now: int) -> None:
        """Store what was counted so far, and let go of the deliveries it was counted from."""
        for kind, (counting, _) in self._counting.items():
            counting.forget(now)
            self._slices.save_state_in(connection, f"counting.{kind}", counting.snapshot())
        through = self._taken if self._whole_to is None else min(self._taken, self._whole_to)
        self._slices.save_state_in(connection, "covered", str(through).encode())
        self._slices.drop_received(connection, through)
        self._covered_at, self._covered_to = now, through

    # --- evaluation ------------------------------------------------------------------------------------------------

    def _watermark(self, track: Track, now: int) -> int | None:
        """Up to where a track may be evaluated: as far as its telemetry is whole, and not much behind the present."""
        if track.whole:
            marks = [self._watermark(member, now) for member in track.members]
            known = [one for one in marks if one is not None]
            return min(known) if len(known) == len(marks) and known else None
        if not track.caught_up or track.step_s is None or track.series is None or track.fed_to is None:
            return None
        grace = max(GRACE_SLICES * track.step_s, GRACE_S)
        ends = [track.saved_to if track.evaluated_to is None else track.evaluated_to]
        if not now < track.patient_to <= now + PATIENCE_S:  # after a start its source is heard first
            ends.append((now - grace) // track.step_s * track.step_s)
        if track.kind in RECEIVED:
            whole = track.complete_to
            ends.append(whole if whole is not None else min(track.fed_to, now))
        elif track.asked_to is not None:
            ends.append(min(track.asked_to, now))
        mark = max(ends)
        return mark // track.step_s * track.step_s or None

    def _admit_late(self, turn: _Turn) -> None:
        """Replay the history of tracks that are new to this process, and of those whose past has changed."""
        ready: list[tuple[Track, int]] = []
        for key in [*self._unready, *self._late]:
            track = self._tracks.get(key)
            mark = None if track is None else self._watermark(track, turn.at)
            if track is not None and mark is not None:
                ready.append((track, max(mark, track.evaluated_to or track.saved_to)))  # never back, if the clock is
        if self._late:
            ready += [
                (track, track.evaluated_to)
                for track in self._tracks.values()
                if track.evaluated_to is not None and any(one.key in self._late for one in track.members)
            ]
        if not ready:
            return
        self._know_outside(turn.at)
        new = any(track.evaluated_to is None for track, _ in ready)
        for at in range(0, len(ready), ADMITTED_AT_ONCE):
            self._admit(ready[at : at + ADMITTED_AT_ONCE], turn)
        for key in self._late:
            if key in self._tracks:
                self._tracks[key].late = False
        self._late.clear()
        self._forget_places()
        if new:
            gc.unfreeze()
            gc.collect()
            gc.freeze()  # what is new stays: the collector need not look through all of it in the middle of a turn

    def _admit(self, ready: Sequence[tuple[Track, int]], turn: _Turn) -> None:
        """Bring tracks to their marks by replay, and hand them to the evaluator together."""
        wanted: dict[tuple[int | None, int], list[Track]] = {}
        starts: dict[str, int | None] = {}
        marks: dict[str, int] = {}
        if self._specs is None:
            raise AssertionError("specs are followed before anything is evaluated")
        for track, mark in ready:
            if track.evaluated_to is not None:
                self._evaluator.dismiss([track.key])
            if track.whole:
                track.step_s = track.members[0].step_s
            plan = track.compile(self._specs)
            marks[track.key] = mark // plan.step_s * plan.step_s
            resumed = track.evaluated_to is None and track.saved_to and track.slo.gaps is Gaps.IGNORE
            start = track.saved_to - plan.longest_s - plan.step_s if resumed else None
            starts[track.key] = start
            if track.plain and track.series is not None:
                wanted.setdefault((start, marks[track.key]), []).append(track)
        at_hand = {
            one.key: units_of(self._specs, one.slo, one.objective, padded(raw, end))
            for (start, end), group in wanted.items()
            for one, raw in zip(group, self._slices.read([one.series or 0 for one in group], start, end), strict=True)
        }
        members = []
        for track, _ in ready:
            start = starts[track.key]
            units = at_hand.get(track.key)
            try:
                if units is None:
                    units = self._units(track, start, marks[track.key])
                member = self._replayed(track, units, marks[track.key], turn, resumed=start is not None)
            except DataError as error:  # what one record holds is no matter of the others
                track.error, track.evaluated_to = error.message, None
                self._unready.add(track.key)
                continue
            if start is None or units.start > start:
                self._begins[track.key] = units.start
            members.append(member)
            self._unready.discard(track.key)
        self._evaluator.admit(members)
        for track, _ in ready:
            self._have_at_hand(track, marks[track.key])

    def _have_at_hand(self, track: Track, mark: int) -> None:
        """Take the rows behind a mark from the store, where it has some: they are evaluated as their time comes."""
        if track.series is None or track.step_s is None or track.fed_to is None or track.fed_to <= mark:
            return
        (ahead,) = self._slices.read([track.series], mark, None)
        board = self._boards.setdefault(track.step_s, Board(track.step_s))
        place = board.seat(track)
        for index in np.flatnonzero(ahead.covered).tolist():
            row = board.row(ahead.start // track.step_s + index)
            row.bad[place], row.total[place], row.covered[place] = ahead.bad[index], ahead.total[index], True

    def _replayed(self, track: Track, units: Slices, mark: int, turn: _Turn, *, resumed: bool) -> Member:
        """Bring a track to *mark*: from its memory if that still holds, else from the first slice."""
        plan = track.plan
        if plan is None:
            raise AssertionError("a track has a plan before it is evaluated")
        again = track.evaluated_to is not None
        before, known_to = track.memory, track.evaluated_to if again else (track.saved_to or None)
        asker = Asker() if asks(track.policy) else None
        scope = tuple(out_of_scope_of(track.policy, track.incidents))
        base = self._bases.get(track.key)
        if resumed:
            since, from_then = track.saved_to, track.memory
        elif base is not None and base.definition == track.definition:
            since, from_then = base.evaluated_to, base.memory
        else:
            since, from_then = None, Memory()
        if resumed and mark == track.saved_to:  # nothing new: what is remembered is as of then
            memory, outcome = track.memory, Outcome((), (), (), Peak(), None, 0)
        else:
            memory, outcome = advance(
                plan,
                from_then,
                units,
                since=since,
                incidents=track.incidents,
                out_of_scope=scope,
                ask=asker,
            )
        if outcome.transitions:
            track.reason = outcome.transitions[-1].reason
        elif since is None:
            track.reason = ""
        if known_to is not None and not resumed:  # what happened before was told before
            outcome = replace(
                outcome,
                alerts=tuple(one for one in outcome.alerts if one.at > known_to),
                transitions=tuple(one for one in outcome.transitions if one.at > known_to),
            )
        elif known_to is None:
            outcome = replace(outcome, alerts=(), transitions=outcome.transitions[-1:])
        track.memory, track.evaluated_to = memory, mark
        track.carry = _carry(units)
        self._drawn.pop(track.key, None)  # it may have been drawn up as of the same instant
        if track.watched and (again or known_to is not None or memory != before):
            turn.outcomes.append((track, before if known_to is not None else Memory(), outcome))
        turn.changed[track.key] = track
        turn.services.add(track.slo.service)
        return Member(
            track.key,
            plan,
            mark,
            memory,
            track.incidents,
            scope,
            asker,
            0 if track.slo.method is BudgetingMethod.OCCURRENCES else plan.step_s,
            record=units.between(mark - plan.longest_s - 2 * plan.step_s, mark),
        )

    def _evaluate(self, turn: _Turn) -> None:
        """Tick every objective up to its watermark, slice by slice, all that end at one instant together."""
        due: dict[int, list[tuple[Track, int]]] = {}
        soonest: dict[int, int] = {}  # by resolution: slices that end later are not overdue
        for track in self._tracks.values():
            done, plan = track.evaluated_to, track.plan
            if done is None or plan is None:
                continue
            step = track.step_s or plan.step_s
            overdue = soonest.get(step)
            if overdue is None:
                overdue = soonest[step] = (turn.at - max(GRACE_SLICES * step, GRACE_S)) // step * step
            next_end = done + plan.step_s
            told = track.complete_to if track.kind in RECEIVED else track.asked_to
            mark: int | None
            if track.members or told is None or track.patient_to > turn.at:
                mark = self._watermark(track, turn.at)
            else:  # the same, for the many
                mark = max(overdue, min(told, turn.at) // step * step)
            if mark is not None and mark >= next_end:
                due.setdefault(plan.step_s, []).append((track, mark))
        self._know_outside(turn.at)
        for step_s, group in due.items():
            while group:
                end = min(track.evaluated_to or 0 for track, _ in group) + step_s
                ready = [track for track, _ in group if track.evaluated_to == end - step_s]
                self._tick(step_s, end, ready, turn)
                group = [(track, mark) for track, mark in group if (track.evaluated_to or 0) + step_s <= mark]
        for step_s, board in self._boards.items():
            seated = [self._tracks[key] for key in board.place if key in self._tracks]
            ends = [one.evaluated_to for one in seated if one.evaluated_to is not None and one.step_s == step_s]
            if ends:
                board.trim(min(ends) // step_s - KEPT_ROWS)

    def _tick(self, step_s: int, end: int, ready: Sequence[Track], turn: _Turn) -> None:
        keys = tuple(track.key for track in ready)
        seats = self._seats.get(keys)
        if seats is None:
            if len(self._seats) > 64:
                self._forget_places()
            seats = self._seats[keys] = self._evaluator.seats(keys)
        plain, places = self._places(step_s, keys, ready)
        count = len(ready)
        bad, total = np.zeros(count, np.int64), np.zeros(count, np.int64)
        covered, excluded = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        board = self._boards.get(step_s)
        row = None if board is None else board.rows.get(end // step_s - 1)
        if row is not None:
            bad[plain], total[plain], covered[plain] = row.bad[places], row.total[places], row.covered[places]
        if len(plain) < count:
            for number in np.setdiff1d(np.arange(count), plain).tolist():
                track = ready[number]
                one = self._unit(track, end - step_s, end)
                bad[number], total[number], covered[number] = one.bad[-1], one.total[-1], one.covered[-1]
                excluded[number] = one.excluded is not None and one.excluded[-1]
                if covered[number]:
                    track.carry = int(bad[number]), int(total[number])
        tick = Tick(step_s, end, seats, bad, total, covered, excluded if excluded.any() else None)
        changes = {change.key: change for change in self._evaluator.tick(tick)}
        for track in ready:
            track.evaluated_to = end
            turn.services.add(track.slo.service)
            change = changes.get(track.key)
            if change is not None:
                self._changed(track, change, turn)
            elif end - track.saved_to >= SAVED_EVERY_S:
                turn.changed[track.key] = track

    def _forget_places(self) -> None:
        self._seats.clear()
        self._placed.clear()

    def _places(
        self, step_s: int, keys: tuple[str, ...], ready: Sequence[Track]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Which of some tracks are plain, and their places on the board of the newest rows."""
        board = self._boards.setdefault(step_s, Board(step_s))
        found = self._placed.get(keys)
        if found is None:
            plain = [n for n, one in enumerate(ready) if one.plain and one.key not in self._outside]
            places = [board.seat(ready[number]) for number in plain]
            found = self._placed[keys] = np.array(plain, np.int64), np.array(places, np.int64)
        return found

    def _changed(self, track: Track, change: Change, turn: _Turn) -> None:
        before, track.memory = track.memory, change.memory
        if change.outcome.transitions:
            track.reason = change.outcome.transitions[-1].reason
        turn.changed[track.key] = track
        if track.watched:
            turn.outcomes.append((track, before, change.outcome))

    def _know_outside(self, now: int) -> None:
        """Unroll the exclusions around the present, once in a while."""
        if self._specs is None or now + DAY_S < self._outside_to or not self._specs.exclusions:
            return
        self._outside_to = now + 3 * DAY_S
        self._outside = {}
        for track in self._tracks.values():
            found = stretches_of(self._specs.exclusions, track.slo, now - 3 * DAY_S, self._outside_to)
            if found:
                self._outside[track.key] = found
        self._forget_places()

    def _may_exclude(self, track: Track) -> bool:
        """Whether an exclusion is about a track at all, be it long ago."""
        return self._specs is not None and any(
            (not one.services or track.slo.service in one.services) and (not one.slos or track.slo.name in one.slos)
            for one in self._specs.exclusions
        )

    def _unit(self, track: Track, start: int, end: int) -> Slices:
        """One unit slice of a track that is more than its raw counts."""
        if self._specs is None:
            raise AssertionError("specs are followed before anything is evaluated")
        if track.whole:
            parts = [(self._unit(one, start, end), one.objective.weight) for one in track.members]
            return padded(combine(parts, track.slo.method), end)
        unit = units_of(
            self._specs, replace(track.slo, gaps=Gaps.IGNORE), track.objective, self._raw(track, start, end)
        )
        if track.slo.gaps is not Gaps.IGNORE and track.carry is not None:
            led = Slices(
                unit.start - unit.step_s,
                unit.step_s,
                np.concatenate([[track.carry[0]], unit.bad]),
                np.concatenate([[track.carry[1]], unit.total]),
                np.concatenate([[True], unit.covered]),
                None if unit.excluded is None else np.concatenate([[False], unit.excluded]),
                unit.scale,
            )
            unit = fill_gaps(led, track.slo.gaps).between(unit.start, unit.end)
        return unit

    def _raw(self, track: Track, start: int, end: int) -> Slices:
        """Raw slices of a short stretch, from the rows at hand where they are, else from the store."""
        step = track.step_s or 60
        count = (end - start) // step
        bad, total, covered = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_)
        board = self._boards.get(step)
        place = None if board is None else board.place.get(track.key)
        for index in range(count):
            row = None if board is None else board.rows.get(start // step + index)
            if row is not None and place is not None and row.covered[place]:
                bad[index], total[index], covered[index] = row.bad[place], row.total[place], row.covered[place]
            elif track.series is not None:
                (old,) = self._slices.read([track.series], start + index * step, start + (index + 1) * step)
                if len(old):
                    bad[index], total[index], covered[index] = old.bad[0], old.total[0], old.covered[0]
        return Slices(start, step, bad, total, covered, scale=track.scale)

    def _units(self, track: Track, start: int | None, end: int) -> Slices:
        """The stored unit slices of a track in ``[start, end)``; *start* None: from its first slice on."""
        if self._specs is None:
            raise AssertionError("specs are followed before anything is read")
        if track.whole:
            parts = [(self._units(one, start, end), one.objective.weight) for one in track.members]
            return padded(combine(parts, track.slo.method), end)
        step = track.unit_step_s
        from_the_first = start is None or track.slo.gaps is not Gaps.IGNORE  # what fills a gap may lie far back
        begin = None if from_the_first or start is None else start // step * step
        raw = self._record(track, begin, end)
        units = units_of(self._specs, track.slo, track.objective, raw)
        return units if start is None else units.between(start, end)

    def _record(self, track: Track, start: int | None, end: int) -> Slices:
        """The stored raw slices of a track, padded to *end* with gaps."""
        step = track.step_s or 60
        found = Slices(end, step, *(np.zeros(0, np.int64),) * 2, np.zeros(0, np.bool_), scale=track.scale)
        if track.series is not None:
            (found,) = self._slices.read([track.series], start, end)
        if not len(found):
            at = end // step * step if start is None else start
            found = Slices(at, step, *(np.zeros(0, np.int64),) * 2, np.zeros(0, np.bool_), scale=track.scale)
        return padded(found, end)

    def _rows(self, keys: Sequence[str], start: int, end: int) -> Sequence[Slices]:
        """The unit slices of many tracks in a stretch, plain ones in one question to the store."""
        if self._specs is None:
            raise AssertionError("specs are followed before anything is read")
        tracks = [self._tracks[key] for key in keys]
        nothing = Slices(start, 1, *(np.zeros(0, np.int64),) * 2, np.zeros(0, np.bool_))
        young = {one.key for one in tracks if self._begins.get(one.key, start) >= end}
        plain = [one for one in tracks if one.plain and one.series is not None and one.key not in young]
        raw = self._slices.read([one.series for one in plain if one.series is not None], start, end)
        found = {
            one.key: units_of(self._specs, one.slo, one.objective, slices) if self._may_exclude(one) else slices
            for one, slices in zip(plain, raw, strict=True)
        }
        for one in tracks:
            if one.key in young:
                step = one.unit_step_s
                found[one.key] = replace(nothing, start=start // step * step, step_s=step)
            elif one.key not in found:
                found[one.key] = self._units(one, start, end).between(start, end)
        return [found[key] for key in keys]

    # --- what is stored and told -----------------------------------------------------------------------------------

    def _store_turn(self, turn: _Turn) -> None:
        """Store what the turn changed, in one transaction, events last."""
        due = self._teller is not None and (self._anew or self._teller.due(turn.at))
        if not turn.changed and not turn.outcomes and not due:
            return
        if self._specs is None:
            raise AssertionError("specs are followed before anything is evaluated")
        flows = self._flows(turn)
        try:
            with self._database.writing() as connection:
                self._memories.remember_in(
                    connection,
                    (
                        Remembered(one.key, one.definition, one.evaluated_to or 0, one.memory, one.reason)
                        for one in turn.changed.values()
                    ),
                )
                turn.events += [event for track, _, outcome in turn.outcomes for event in _moves(track, outcome)]
                turn.events += [_flow_event(one) for one in flows]
                if self._teller is not None:
                    watched = {key for key, one in self._tracks.items() if one.watched} if self._anew else None
                    turn.events += self._teller.turn_in(
                        connection, turn.outcomes, flows, self._specs, turn.at, watched=watched
                    )
                if turn.events:
                    self._journal.append_in(connection, turn.events)
        except StoreError:
            self._broken = True
            raise
        self._anew = False
        for track in turn.changed.values():
            track.saved_to = track.evaluated_to or 0

    def _flows(self, turn: _Turn) -> list[Flowed]:
        """Services whose flow is another one than before the turn: the strictest state over their objectives."""
        concerned: dict[str, list[tuple[Track, Memory, Outcome]]] = {}
        for outcome in turn.outcomes:
            if outcome[1].policy.state != outcome[0].memory.policy.state or outcome[2].transitions:
                concerned.setdefault(outcome[0].slo.service, []).append(outcome)
        if not concerned:
            return []
        groups: dict[str, list[Track]] = {}
        for track in self._tracks.values():
            if track.watched and track.slo.service in concerned:
                groups.setdefault(track.slo.service, []).append(track)
        found = []
        for service, outcomes in sorted(concerned.items()):
            group = groups[service]
            before = {track.key: memory for track, memory, _ in reversed(outcomes)}
            policy = group[0].policy
            then = strictest(
                policy, [policy.states[before.get(one.key, one.memory).policy.state].name for one in group]
            )
            now = strictest(policy, [one.state for one in group])
            if then == now:
                continue
            moves = [one.at for _, _, outcome in outcomes for one in outcome.transitions]
            reason = next((one.reason for one in group if one.state == now and one.reason), "")
            found.append(Flowed(service, max(moves, default=turn.at), then, now, reason, policy))
        return found

    # --- who asks --------------------------------------------------------------------------------------------------

    def assessment(self, key: str) -> Assessment:
        """Where one objective stands as of its last evaluation."""
        with self._lock:
            track = self._tracks.get(key)
            if track is None or track.evaluated_to is None or track.plan is None:
                raise KeyError(key)
            drawn = self._drawn.get(key)
            doubts = (track.error,) if track.error else ()
            if drawn is not None and drawn[0] == track.evaluated_to and drawn[1].doubts == doubts:
                return drawn[1]
            statement = self._evaluator.statement(key)
            at = track.evaluated_to
            history = History(
                None,
                (),
                (),
                {},
                track.policy.states[0].name,
                track.state,
                track.memory.policy.since,
                Peak(),
                (),
                0,
                track.memory,
                track.reason,
            )
            found = Assessment(
                track.slo,
                track.objective,
                track.number,
                track.policy,
                track.plan,
                lambda: self._units(track, None, at),
                statement,
                history,
                track.incidents,
                track.quality,
                doubts,
                track.whole,
                track.watched,
            )
            self._drawn[key] = (at, found)
            return found

    def assessments(self, service: str) -> list[Assessment]:
        """Where the objectives of a service stand; raises `NotFoundError` where the specs have no such service."""
        with self._lock:
            keys = self._of_service.get(service, ())
            if not keys and service not in self._snapshot.specs.services:
                raise NotFoundError(f"there is no service named {service!r}", remedy="GET /api/v1/services lists them")
            return [self.assessment(key) for key in keys if self._tracks[key].evaluated_to is not None]

    def history(self, slos: Sequence[Slo], *, specs: Specs | None = None, since: int | None = None) -> list[Assessment]:
        """Replay what is stored of some SLOs, as their specs are, or as other *specs* have them."""
        own = specs if specs is not None else self._snapshot.specs
        with self._lock:
            known = {one.indicator: one for one in self._tracks.values() if one.evaluated_to is not None}
            plan = {track.key: known.get(track.indicator) for track in tracks_of(own, self._incidents)}
            ready = [
                slo
                for slo in slos
                if all(
                    plan.get(one.key) for one in tracks_of(replace(own, slos=(slo,)), self._incidents) if not one.whole
                )
            ]
            found: list[Assessment] = []
            for slo in ready:
                mine = [known[one.indicator] for one in tracks_of(replace(own, slos=(slo,)), ()) if not one.whole]
                at = min(one.evaluated_to for one in mine if one.evaluated_to is not None)
                readings = iter([Reading(self._record(one, None, at), one.quality) for one in mine])

                def read(
                    wanted: Sequence[tuple[Slo, Objective]], readings: Iterator[Reading] = readings
                ) -> Sequence[Reading]:
                    return [next(readings) for _ in wanted]

                found += assess(own, [slo], read, at=at, since=since, incidents=self._incidents)
            return found

    def backfills(self) -> list[Backfill]:
        """How far the histories that are not all here yet have been read, and sources that cannot be."""
        found = []
        with self._lock:
            for track in self._tracks.values():
                if track.whole or (track.caught_up and not track.error):
                    continue
                now = self._now()
                begin = track.asked_from if track.asked_from is not None else self._begin(track, now)
                done = 0 if track.asked_to is None else track.asked_to - begin
                found.append(Backfill(track.key, done, max(1, now - begin), track.asked_to, track.error))
        return found

    def remembered(self, name: str) -> bytes | None:
        """What a feed goes on from: stored together with the slices that it led to. None: nothing."""
        return self._slices.load_state(name)

    def evaluated(self, key: str) -> bool:
        """Whether a track has been evaluated, so that there is something to tell of it."""
        track = self._tracks.get(key)
        return track is not None and track.evaluated_to is not None

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The objectives that are watched; to be read, not changed."""
        return tuple(self._tracks.values())

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """Known incidents."""
        return self._incidents

    def moved(self, shifts: Mapping[str, int]) -> None:
        """Recorded data was moved in time by so many seconds, by service: known incidents move with it."""
        with self._lock:
            self._incidents = tuple(
                replace(one, start=one.start + shifts.get(one.service, 0), end=one.end + shifts.get(one.service, 0))
                for one in self._recorded_incidents
            )
            for track in self._tracks.values():
                track.incidents = self._incidents_of(track)

    def _incidents_of(self, track: Track) -> tuple[Incident, ...]:
        return tuple(one for one in self._incidents if not one.service or one.service == track.slo.service)

    def counts(self) -> dict[str, Any]:
        """What the loop has to say of itself, for metrics."""
        return {
            "turns": self._turns,
            "turn_s": self._turn_s,
            "waiting": self._waiting,
            "taken": self._taken,
            "fed": self._fed.qsize(),
            "accounts": {kind: counting.account for kind, (counting, _) in self._counting.items()},
        }


class _Drawn(Mapping[str, Assessment]):
    """Assessments that are drawn up when somebody looks."""

    def __init__(self, live: Live, keys: tuple[str, ...]) -> None:
        self._live = live
        self._keys = keys

    def __getitem__(self, key: str) -> Assessment:
        return self._live.assessment(key)

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._keys if self._ready(key))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _ready(self, key: str) -> bool:
        return self._live.evaluated(key)


def _carry(units: Slices) -> tuple[int, int] | None:
    covered = np.flatnonzero(units.covered)
    return (int(units.bad[covered[-1]]), int(units.total[covered[-1]])) if len(covered) else None


def _moves(track: Track, outcome: Outcome) -> Iterator[Happening]:
    for one in outcome.transitions:
        data = {
            "slo": track.slo.name,
            "track": track.key,
            "from": one.before,
            "to": one.after,
            "at": time_text(one.at),
            "reason": one.reason,
            "policy": track.policy.name,
        }
        yield _event("dev.tightrope.state.changed.v1", track.slo.service, one.at, data)


def _flow_event(one: Flowed) -> Happening:
    data = {
        "from": one.before,
        "to": one.after,
        "flow": str(named(one.policy, one.after).flow),
        "at": time_text(one.at),
        "reason": one.reason,
        "policy": one.policy.name,
    }
    return _event("dev.tightrope.flow.changed.v1", one.service, one.at, data)


def _event(kind: str, service: str, at: int, data: Mapping[str, Any]) -> Happening:
    """An event whose id follows from what it says, so that telling it twice is telling it once."""
    digest = hashlib.sha256(canonical([kind, service, data]).encode()).hexdigest()[:24]
    return Happening(f"{service}.{at}.{digest}", SOURCE, kind, service, at, data)
