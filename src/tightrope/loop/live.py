"""The live loop: slices in, every objective evaluated, what changed on the disk before anybody is told.

One thread turns it. A turn first stores the slices that came in; then it evaluates every objective whose record has
grown, and stores in one transaction what changed: memories, alerts, messages, and the events of the journal. A process
that is killed in between finds the slices, remembers what was evaluated, and goes on: nothing that was acknowledged is
lost, and nothing is told twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from queue import Full, Queue
from threading import Condition, Event, RLock, Thread
from typing import Any

from tightrope.base import clock
from tightrope.base.errors import NotFoundError, SourceUnreachableError, SpecError, StoreError, TightropeError
from tightrope.engine.plan import Incident
from tightrope.loop.assess import Assessment, reach_s
from tightrope.loop.catching_up import CatchingUp
from tightrope.loop.corrections import Correction
from tightrope.loop.drawing import Drawing, Drawn
from tightrope.loop.feeds import Fed, Feed, Hear, Pump, Turns, Wanted
from tightrope.loop.intake import Intake, Taken
from tightrope.loop.marks import PATIENCE_S
from tightrope.loop.moves import flow_event, found_late, moves_of, specs_event
from tightrope.loop.receiving import Receiving
from tightrope.loop.records import Records
from tightrope.loop.retention import BASE, Retention
from tightrope.loop.snapshot import Backfill, Snapshot, Turned
from tightrope.loop.store import Asked, LiveStore, Remembered
from tightrope.loop.telling import Teller
from tightrope.loop.tracks import Track, tracks_of
from tightrope.loop.turning import Turn, Turning
from tightrope.specs.model import Slo, Specs
from tightrope.state.database import Database
from tightrope.state.journal import Journal
from tightrope.telemetry.store import SliceStore

MOST_PAUSE_S = 5.0
"""How long to wait at most before a turn that failed is tried again."""

LATE = "late"
"""The name under which corrections are stored whose replay is still to be."""

PHASES = ("follow", "take in", "catch up", "evaluate", "store", "publish", "read ahead")
"""What a turn does, in this order; reading ahead is for later turns, when all is told."""

Exam = tuple[Specs | None, tuple[SpecError, ...]]


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
        self._now = now
        self._recorded_incidents = tuple(incidents)
        self._teller = teller
        if teller is not None:
            teller.look_after(self)
        self._every_s, self._tidy_s = every_s, tidy_s
        self._lock = RLock()
        self._wake = Condition()
        self._asked = False
        self._stop = Event()
        self._threads: list[Thread] = []
        self._records = Records(slices)
        self._watch = self._records.watch
        self._watch.incidents = self._recorded_incidents
        self._intake = Intake(self._records, slices, now, self.nudge, pump)
        self._receiving = Receiving(self._records, database, slices, receivers, now, self.nudge)
        self._catching_up = CatchingUp(self._records)
        self._turning = Turning(self._records)
        self._drawing = Drawing(self._records, self._lock)
        self._retention = Retention(
            self._records, database, slices, memories, keep_s=keep_s, lock=self._lock, ends=self._stop.is_set
        )
        self._announced = ""  # the digest of the specs that the journal says are followed
        self._since = 0
        self._seen: object = None
        self._problems: tuple[SpecError, ...] = ()
        self._anew = True  # the specs were followed anew: alerts of objectives that are gone end
        self._late_stored: frozenset[str] = frozenset()
        self._broken = True
        self._failure = ""
        self._turn_s = 0.0
        self._turns = 0
        self._phases: dict[str, float] = {}
        self._number = 0
        self._keys: tuple[str, ...] = ()
        self._concerned: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), ())
        self._listeners: list[Queue[Turned]] = []
        self._snapshot = Snapshot(0, 0, 0, Specs(), 0, {})

    # --- running ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Turn the loop in a thread of its own until `stop`."""
        self._threads = [
            Thread(target=self._run, name="turner", daemon=True),
            Thread(target=self._tidying, name="tidier", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the turn under way."""
        self._stop.set()
        with self._wake:
            self._wake.notify_all()
        self._intake.stop()
        for thread in self._threads:
            thread.join(30)

    def nudge(self) -> None:
        """Let the next turn begin at once."""
        with self._wake:
            self._asked = True
            self._wake.notify_all()

    def tidy(self) -> None:
        """Fold what was stored turn by turn into chunks, and let go of what nobody looks back at any more."""
        self._retention.tidy(self._now())

    def _tidying(self) -> None:
        while not self._stop.wait(self._tidy_s):
            with suppress(Exception):  # the next time will do; what is wrong with the store, turns tell
                self.tidy()

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

    # --- a turn ----------------------------------------------------------------------------------------------------

    def turn(self) -> Snapshot:
        """Take in what came, evaluate, store, and tell.

        Raises:
            StoreError: What was found out could not be stored; the next turn begins anew from what is.
        """
        began = clock.ticks()
        with self._lock:
            now = self._now()
            self._receiving.look_for_room()
            adopted = self._follow_specs(now)
            turn = Turn(now)
            if self._watch.specs is None:
                return self._publish(turn, adopted)
            marks = [began, clock.ticks()]
            self._take_in(now)
            marks.append(clock.ticks())
            self._catching_up.bring(turn)
            marks.append(clock.ticks())
            self._turning.evaluate(turn)
            marks.append(clock.ticks())
            self._store(turn)
            marks.append(clock.ticks())
            self._turn_s = marks[-1] - began
            told = self._publish(turn, adopted)
            marks.append(clock.ticks())
        with self._lock:  # whoever waited to ask was answered meanwhile
            self._watch.evaluator.prepare()
        marks.append(clock.ticks())
        self._phases = {name: end - start for name, start, end in zip(PHASES, marks[:-1], marks[1:], strict=True)}
        return told

    def _take_in(self, now: int) -> None:
        """Store what feeds and receivers brought, and note whose history has changed."""
        taken = Taken()
        self._intake.take(now, taken)
        self._receiving.take(taken)
        batch = taken.news.batch()
        covered = self._receiving.covers(now, busy=batch is not None)
        if batch is None and not taken.asked and not taken.states and not covered:
            return
        corrections = self._watch.corrections
        for key, one in taken.corrections.items():
            corrections[key] = corrections[key].and_then(one) if key in corrections else one
        try:
            with self._database.writing() as connection:
                if batch is not None:
                    self._slices.write_in(connection, batch)
                self._memories.asked_in(connection, taken.asked.values())
                for name, content in taken.states.items():
                    self._slices.save_state_in(connection, name, content)
                if taken.corrections:
                    self._keep_late(connection)
                if covered:
                    self._receiving.cover_in(connection, now)
        except StoreError:
            self._broken = True
            raise

    def _keep_late(self, connection: Any) -> None:
        """Store which corrections are still to be replayed: a process that is killed before finds them."""
        late = {key: one.document() for key, one in self._watch.corrections.items()}
        self._slices.save_state_in(connection, LATE, json.dumps(late).encode())
        self._late_stored = frozenset(late)

    def _store(self, turn: Turn) -> None:
        """Store what the turn changed, in one transaction, events last."""
        watch = self._watch
        due = self._teller is not None and (self._anew or self._teller.due(turn.at))
        replayed = self._late_stored != watch.corrections.keys()
        if not turn.changed and not turn.outcomes and not due and not replayed:
            return
        flows = self._turning.flows(turn)
        try:
            with self._database.writing() as connection:
                self._memories.remember_in(
                    connection,
                    (
                        Remembered(one.key, one.definition, one.evaluated_to or 0, one.memory, one.reason)
                        for one in turn.changed.values()
                    ),
                )
                if replayed:
                    self._keep_late(connection)
                turn.events += [event for track, _, outcome in turn.outcomes for event in moves_of(track, outcome)]
                turn.events += [event for one in turn.found for event in found_late(one, turn.at)]
                turn.events += [flow_event(one) for one in flows]
                if self._teller is not None:
                    watched = {key for key, one in watch.tracks.items() if one.watched} if self._anew else None
                    turn.events += self._teller.turn_in(
                        connection, turn.outcomes, flows, watch.following, turn.at, watched=watched
                    )
                if turn.events:
                    self._journal.append_in(connection, turn.events)
        except StoreError:
            self._broken = True
            raise
        self._anew = False
        for track in turn.changed.values():
            track.saved_to = track.evaluated_to or 0

    def _publish(self, turn: Turn, adopted: bool) -> Snapshot:
        """Put the newest snapshot in the place of the one before, and tell who listens."""
        self._turns += 1
        self._drawing.forget(turn.redrawn)
        evaluated = self._watch.marks.evaluated_to
        evaluated = evaluated[evaluated >= 0]
        at = int(evaluated.min()) if len(evaluated) else 0
        services, events = self._services_of(turn), len(turn.events)
        if not (services or events or adopted or at != self._snapshot.at or self._problems != self._snapshot.problems):
            return self._snapshot
        self._number += 1
        self._snapshot = Snapshot(
            self._number,
            at,
            turn.at,
            self._watch.specs or Specs(),
            self._since,
            Drawn(self._drawing, self.evaluated, self._keys),
            self._problems,
        )
        turned = Turned(self._number, turn.at, services, events)
        for ear in list(self._listeners):
            try:
                ear.put_nowait(turned)
            except Full:  # somebody who does not listen any more holds up nobody
                continue
        return self._snapshot

    def _services_of(self, turn: Turn) -> tuple[str, ...]:
        """The services of which something was found out; most often they are those of the turn before."""
        crews = list(turn.crews.values())
        if len(crews) == 1 and turn.services <= crews[0]:
            if self._concerned[0] is not crews[0]:
                self._concerned = crews[0], tuple(sorted(crews[0]))
            return self._concerned[1]
        return tuple(sorted(turn.services.union(*crews)))

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
            if self._watch.specs is None or not self._broken:
                return True
            specs = self._watch.specs
        else:
            self._problems = ()
        changed = specs.digest != self._announced
        if changed or self._broken:
            self._adopt(specs, now, announce=changed)
        return True

    def _adopt(self, specs: Specs, now: int, *, announce: bool) -> None:
        """Follow *specs*: keep what they leave as it is, begin anew what they change."""
        watch = self._watch
        before = {} if self._broken else watch.tracks
        fresh = watch.specs is None or self._broken
        remembered, asked = self._memories.tracks(), self._memories.feeds()
        watch.bases = {key.removeprefix(BASE): one for key, one in remembered.items() if key.startswith(BASE)}
        self._intake.stop()
        if self._receiving.counts and not self._broken:
            with self._database.writing() as connection:
                self._receiving.cover_in(connection, now)
        if fresh:
            watch.begin_anew()
            self._find_late()
        self._since, self._anew = now, True
        found = tracks_of(specs, self._recorded_incidents)
        for track in found:
            track.incidents = watch.incidents_of(track)
            if track.key in before:
                track.succeed(before[track.key])
        if fresh:
            watch.tracks = {}
        watch.adopt(specs, found)
        self._find_records(asked, remembered, now)
        watch.take_seats()
        self._drawing.forget_all()
        self._keys = tuple(watch.tracks)
        self._receiving.listen_for(now, fresh=fresh)
        wanted = self._intake.wanted(lambda track: self._begin(track, now))
        for one in wanted:
            series = watch.tracks[one.track].series
            one.shift_s = None if series is None or series not in asked else asked[series].shift_s
        self._intake.follow(self._feeds(wanted, self))
        self._broken = False
        if announce:
            with self._database.writing() as connection:
                self._journal.append_in(connection, [specs_event(specs, now)])
            self._announced = specs.digest

    def _find_late(self) -> None:
        """Find the corrections that were stored and not replayed."""
        late = json.loads(self._slices.load_state(LATE) or b"{}")
        self._watch.corrections = {key: Correction.of(one) for key, one in late.items()}
        self._late_stored = frozenset(late)

    def _begin(self, track: Track, now: int) -> int:
        return now - reach_s(self._watch.following, track.slo)

    def _find_records(self, asked: Mapping[int, Asked], remembered: Mapping[str, Remembered], now: int) -> None:
        """Find the stored records of tracks that are new to this process, and what is remembered of them."""
        new = [one for one in self._watch.in_order if not one.whole and one.series is None]
        stored = self._slices.known([(one.key, one.indicator) for one in new])
        found = []
        for one, record in zip(new, stored, strict=True):
            if record is not None:
                one.series, one.step_s, one.scale = record
                found.append((one, record[0]))
                feed = asked.get(record[0])
                if feed is not None:
                    one.asked_from, one.asked_to = feed.asked_from, feed.asked_to
        spans = self._slices.spans([series for _, series in found])
        for (one, _), span in zip(found, spans, strict=True):
            one.fed_to = None if span is None else span[1]
        for one in self._watch.in_order:
            known = remembered.get(one.key)
            if one.evaluated_to is None and known is not None and known.definition == one.definition:
                one.memory, one.reason = known.memory, known.reason
                one.saved_to = known.evaluated_to
                one.caught_up = True  # it was evaluated before, so its history was here
                one.patient_to = now + PATIENCE_S

    # --- who sends and who asks ------------------------------------------------------------------------------------

    def _hear(self, feed: Feed, found: list[Fed], error: TightropeError | None) -> None:
        self._intake.hear(feed, found, error)

    def receive(self, kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Take what was sent: when this returns it is on the disk, and will be counted.

        Returns:
            The number of samples.

        Raises:
            UsageError: It cannot be read. TooLargeError: There is too much of it.
            BusyError: So much is waiting that nothing more is taken for now.
            StoreError: It cannot be stored; nothing was taken.
        """
        return self._receiving.receive(kind, body, headers)

    def not_stored(self, error: StoreError) -> None:
        """Hear that something could not be stored: the loop says so until there is room again."""
        self._receiving.unstored = error.message

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
        return self._failure or self._receiving.unstored

    @property
    def following(self) -> bool:
        """Whether there are specs that are followed: at the first start they may all be broken."""
        return self._watch.specs is not None

    def unknown(self, service: str) -> TightropeError:
        """What whoever names a service that is not there is told: while no specs are followed, nobody knows."""
        if not self.following:
            return SourceUnreachableError("no specs are followed yet", remedy="ask again in a moment; see /readyz")
        return NotFoundError(f"there is no service named {service!r}", remedy="GET /api/v1/services lists them")

    @contextmanager
    def listen(self) -> Iterator[Queue[Turned]]:
        """Hear of every turn that changed something; a listener that does not keep up misses some."""
        ear: Queue[Turned] = Queue(maxsize=64)
        self._listeners.append(ear)
        try:
            yield ear
        finally:
            self._listeners.remove(ear)

    def assessment(self, key: str) -> Assessment:
        """Where one objective stands as of its last evaluation; raises `KeyError` where there was none."""
        return self._drawing.assessment(key)

    def assessments(self, service: str) -> list[Assessment]:
        """Where the objectives of a service stand; raises as `unknown` has it where there is no such service."""
        with self._lock:
            keys = self._watch.of_service.get(service, ())
            if not keys and service not in self._snapshot.specs.services:
                raise self.unknown(service)
            return [self.assessment(key) for key in keys if self.evaluated(key)]

    def history(self, slos: Sequence[Slo], *, specs: Specs | None = None, since: int | None = None) -> list[Assessment]:
        """Replay what is stored of some SLOs, as their specs are, or as other *specs* have them.

        The loop turns on meanwhile: what is replayed is what had been evaluated when it was asked for.
        """
        return self._drawing.history(slos, specs if specs is not None else self._snapshot.specs, since)

    def backfills(self) -> list[Backfill]:
        """How far the histories that are not all here yet have been read, and sources that cannot be."""
        found = []
        with self._lock:
            now = self._now()
            for track in self._watch.in_order:
                if track.whole or (track.caught_up and not track.error):
                    continue
                begin = track.asked_from if track.asked_from is not None else self._begin(track, now)
                done = 0 if track.asked_to is None else track.asked_to - begin
                found.append(Backfill(track.key, done, max(1, now - begin), track.asked_to, track.error))
        return found

    def remembered(self, name: str) -> bytes | None:
        """What a feed goes on from: stored together with the slices that it led to. None: nothing."""
        return self._slices.load_state(name)

    def evaluated(self, key: str) -> bool:
        """Whether a track has been evaluated, so that there is something to tell of it."""
        track = self._watch.tracks.get(key)
        return track is not None and track.evaluated_to is not None

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The objectives that are watched; to be read, not changed."""
        return tuple(self._watch.in_order)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """Known incidents."""
        return self._watch.incidents

    def moved(self, shifts: Mapping[str, int]) -> None:
        """Recorded data was moved in time by so many seconds, by service: known incidents move with it."""
        with self._lock:
            self._watch.incidents = tuple(
                replace(one, start=one.start + shifts.get(one.service, 0), end=one.end + shifts.get(one.service, 0))
                for one in self._recorded_incidents
            )
            for track in self._watch.in_order:
                track.incidents = self._watch.incidents_of(track)

    def counts(self) -> dict[str, Any]:
        """What the loop has to say of itself, for metrics."""
        return {
            "turns": self._turns,
            "turn_s": self._turn_s,
            "phases": self._phases,
            "waiting": self._receiving.waiting,
            "taken": self._receiving.taken,
            "fed": self._intake.waiting,
            "accounts": self._receiving.accounts(),
            "too_late": self._slices.too_late,
        }
