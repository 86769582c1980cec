"""Feeds: what brings the telemetry of objectives to the loop, each at its own pace and in its own thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import Protocol

import numpy as np

from tightrope.base import clock
from tightrope.base.errors import DataError, SourceError, SourceUnreachableError, TightropeError
from tightrope.base.units import DAY_S, HOUR_S
from tightrope.sli.slices import MILLIONTH, Slices
from tightrope.specs.model import DataSource, Objective, RatioMetric, Slo
from tightrope.telemetry.counting import AHEAD_S, LOOKBACK_S, Touched
from tightrope.telemetry.plan import Request
from tightrope.telemetry.probing import Probed, ProbeResult
from tightrope.telemetry.reading import Quality, Reading

OVERLAP = 3
"""Slices that a question reaches back over what was asked before: the newest ones of then may have grown since."""

LATE_S = 2 * HOUR_S
"""How far a question reaches back now and then, for what comes late or is corrected."""

LATE_EVERY_S = 600
"""How often it does, beside the first one after a start."""

CHUNK_S = 7 * DAY_S
"""The longest stretch that is asked for at once; a long history comes in pieces, and goes on where it stopped."""

SHORT_CHUNK_S = DAY_S
"""The stretch that is asked for at once of an objective whose source refused a longer one."""

MOST_REFUSALS = 40
"""Questions about fewer and fewer objectives that may be refused, while those are looked for that the source minds."""

REST_S = 60
"""How long an objective whose question was refused is left alone, at first; each time twice as long, up to 15 min."""

MOST_REST_S = 900

STEPS_KEPT = 16
"""Pieces of a long log that are read between two times of noting how far it was read."""

Read = Callable[[Sequence[tuple[Slo, Objective]], int | None, int | None], Sequence[Reading]]
"""Reads the raw slices of several objectives, from and until an instant (None: no limit)."""


@dataclass(slots=True)
class Wanted:
    """An objective whose telemetry is wanted.

    Attributes:
        track: Its key.
        slo, objective: What is measured.
        begin: The earliest instant of interest, UTC epoch seconds.
        step_s: The resolution, where it is known.
        asked_to: The instant up to which its source was asked; None: never.
        shift_s: By how many seconds what is stored of recorded data was moved in time; None: nothing is stored.
    """

    track: str
    slo: Slo
    objective: Objective
    begin: int
    step_s: int | None = None
    asked_to: int | None = None
    shift_s: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fed:
    """Slices that a feed brought for one track.

    Attributes:
        slices: Raw counts; they may repeat what is known.
        asked: The stretch the source was asked for; its end is how far the record is known now, gaps and all.
        caught_up: Nothing older is still to come.
        error: Why the source brought nothing for this track; empty: it did.
        state: What the feed goes on from after a restart, by a name of its own: to be stored together with the slices,
            never before them.
        shift_s: By how many seconds recorded data was moved in time.
    """

    track: str
    slices: Slices
    asked: tuple[int, int]
    caught_up: bool
    quality: Quality = field(default_factory=Quality)
    error: str = ""
    state: tuple[str, bytes] | None = None
    shift_s: int = 0


class Feed(Protocol):
    """A source of slices that is asked again and again."""

    name: str
    wanted: Sequence[Wanted]
    every_s: float

    def read(self, now: int) -> list[Fed]:
        """Bring what is new; raises `TightropeError` where the source refuses or cannot be reached."""


class Pull:
    """A source that knows the present: asked for what has been since the last time, a long history in pieces.

    A question that the source refuses is asked again in parts, so that one wrong query holds up no other objective.

    Args:
        name: What people call it: the data source.
        wanted: The objectives, with how far each was asked for already.
        read: Asks the source.
        every_s: How often.
        lag_s: Slices are asked for once they are that old; samples need a moment to arrive.
    """

    def __init__(
        self, name: str, wanted: Sequence[Wanted], read: Read, *, every_s: float = 15, lag_s: int = 15
    ) -> None:
        self.name = name
        self.wanted = wanted
        self.every_s = every_s
        self._read = read
        self._lag_s = lag_s
        self._rests: dict[str, tuple[int, int]] = {}  # by track: until when, and for how long
        self._late_at = 0  # when to reach back further again
        self._short: set[str] = set()  # tracks of which the source refuses long stretches

    def read(self, now: int) -> list[Fed]:
        """Ask for the next stretch of those that are the furthest behind, all of them in one question."""
        behind: dict[tuple[int, int, bool], list[Wanted]] = {}
        refused: list[Fed] = []
        for one in self.wanted:
            rest_until, rest_s = self._rests.get(one.track, (0, 0))
            if rest_until - rest_s <= now < rest_until:
                continue
            target = (now - self._lag_s) // _step_of(one) * _step_of(one)
            since = one.begin // _step_of(one) * _step_of(one) if one.asked_to is None else one.asked_to
            if since > now:  # the clock was set back; what has been since then was not there yet when it was asked for
                since = target - DAY_S
            if target > since or (target == since and self._late_is_due(now)):
                until = min(target, since + (SHORT_CHUNK_S if one.track in self._short else CHUNK_S))
                behind.setdefault((since, until, until == target), []).append(one)
        for (since, until, caught_up), group in sorted(behind.items(), key=lambda each: each[0]):
            found = self._next(group, since, until, now, caught_up=caught_up)
            if not all(one.error for one in found):
                return refused + found
            refused += found
        return refused

    def _late_is_due(self, now: int) -> bool:
        return not self._late_at - LATE_EVERY_S <= now < self._late_at

    def _next(self, group: Sequence[Wanted], since: int, until: int, now: int, *, caught_up: bool) -> list[Fed]:
        """Ask for one stretch of some objectives."""
        first = all(one.asked_to is None for one in group)
        begin = since if first else since - OVERLAP * max(_step_of(one) for one in group)
        if caught_up and self._late_is_due(now):
            begin = since if first else min(begin, since - LATE_S)
            self._late_at = now + LATE_EVERY_S
        found = []
        for one, reading in self._parts(group, begin, until, [MOST_REFUSALS]):
            if isinstance(reading, Reading):
                one.asked_to, one.step_s = until, reading.slices.step_s
                self._rests.pop(one.track, None)
                found.append(Fed(one.track, reading.slices, (begin, until), caught_up, reading.quality))
                continue
            if until - since > SHORT_CHUNK_S and one.track not in self._short:
                self._short.add(one.track)  # it is asked for less at once the next time
            else:
                rest_s = min(MOST_REST_S, 2 * self._rests.get(one.track, (0, REST_S // 2))[1])
                self._rests[one.track] = now + rest_s, rest_s
            found.append(Fed(one.track, nothing_of(one, begin), (begin, begin), False, error=reading.message))
        return found

    def _parts(
        self, group: Sequence[Wanted], begin: int, until: int, refusals: list[int]
    ) -> list[tuple[Wanted, Reading | TightropeError]]:
        """Ask for a group; where the source refuses, for each half of it."""
        try:
            readings = self._read([(one.slo, one.objective) for one in group], begin, until)
            return list(zip(group, readings, strict=True))
        except SourceUnreachableError:
            raise
        except TightropeError as error:
            refusals[0] -= 1
            if len(group) == 1 or refusals[0] < 0:
                return [(one, error) for one in group]
        half = len(group) // 2
        return [each for part in (group[:half], group[half:]) for each in self._parts(part, begin, until, refusals)]


class Files:
    """Files that are read again when they have changed.

    Args:
        name: What people call it: the data source.
        wanted: The objectives.
        read: Reads the files.
        look: Tells what the files look like: a value that changes with them.
        every_s: How often to look.
    """

    def __init__(
        self, name: str, wanted: Sequence[Wanted], read: Read, look: Callable[[], object], *, every_s: float = 5
    ) -> None:
        self.name = name
        self.wanted = wanted
        self.every_s = every_s
        self._read = read
        self._look = look
        self._seen: object = None

    def read(self, now: int) -> list[Fed]:
        """Read everything anew if something has changed."""
        seen = self._look()
        if seen == self._seen:
            return []
        self._seen = None  # if they cannot be read they are looked at again, changed or not
        readings = self._read([(one.slo, one.objective) for one in self.wanted], None, None)
        self._seen = seen
        return [
            Fed(one.track, reading.slices, (reading.slices.start, reading.slices.end), True, reading.quality)
            for one, reading in zip(self.wanted, readings, strict=True)
        ]


class Log(Protocol):
    """A growing log that is followed; see `tightrope.telemetry.sources.tailing.Tailing`."""

    def poll(self, until: int | None = None) -> Iterator[None]:
        """Read on to the end, step by step; rows of after *until* are not believed."""

    def drain(self) -> Touched:
        """Hand out the slices that changed."""

    def snapshot(self) -> bytes:
        """Write down how far it was read."""

    def restore(self, blob: bytes) -> bool:
        """Go on from there; False where it was about other metrics."""

    def step_of(self, number: int) -> int:
        """Length of the slices of an objective, seconds."""

    def quality(self) -> Quality:
        """What its rows were like."""


class Follow:
    """A log that grows: every line is counted once, through rotation and restarts.

    Args:
        name: What people call it: the data source.
        wanted: The objectives.
        follow: Opens the log for requests, each with a number.
        remembered: What was stored under a name; None: nothing.
        every_s: How often to look.
    """

    def __init__(
        self,
        name: str,
        wanted: Sequence[Wanted],
        follow: Callable[[Sequence[tuple[int, Request]]], Log],
        remembered: Callable[[str], bytes | None],
        *,
        every_s: float = 2,
    ) -> None:
        self.name = name
        self.wanted = wanted
        self.every_s = every_s
        self._follow = follow
        self._remembered = remembered
        self._state = f"log.{name}"
        self._log: Log | None = None
        self._pieces: Iterator[None] | None = None
        self._count = 0
        self._from: dict[int, int] = {}
        self._caught_up = False

    def read(self, now: int) -> list[Fed]:
        """Read the next piece of what was added."""
        if self._log is None:
            self._log = self._opened()
        if self._pieces is None:
            self._pieces = self._log.poll(now + AHEAD_S)
        try:
            ended = next(self._pieces, self) is self
        except TightropeError:
            self._pieces = None
            raise
        if ended:
            self._pieces = None
        self._count += 1
        touched = self._log.drain()
        if ended and self._caught_up and not len(touched):
            return []
        noted = ended or self._count % STEPS_KEPT == 0
        state = (self._state, self._log.snapshot()) if noted else None
        self._caught_up = self._caught_up or ended
        quality = self._log.quality()
        found = [
            Fed(self.wanted[number].track, slices, (slices.start, slices.end - slices.step_s), ended, quality)
            for number, slices in _runs(self.wanted, touched, self._log.step_of, self._from)
        ]
        if noted:
            told = {one.track for one in found}
            for number, one in enumerate(self.wanted):
                if one.track not in told:
                    at = now if one.asked_to is None else one.asked_to
                    step = self._log.step_of(number)
                    found.append(Fed(one.track, nothing_of(one, at, step), (at, at), ended, quality))
        return _with_state(found, state)

    def _opened(self) -> Log:
        numbered = [(number, Request(one.slo, one.objective)) for number, one in enumerate(self.wanted)]
        log = self._follow(numbered)
        blob = self._remembered(self._state)
        try:
            resumed = blob is not None and log.restore(blob)
        except DataError:  # of another version: all of the log is read again
            resumed = False
            log = self._follow(numbered)
        if not resumed:  # what was counted of lines that were rotated away since must stay
            self._from = {
                number: one.asked_to - LOOKBACK_S for number, one in enumerate(self.wanted) if one.asked_to is not None
            }
        return log


class Probing:
    """An address that is probed by us, again and again.

    Args:
        source: The data source.
        wanted: The objectives that want to know.
        every_s: Seconds from probe to probe.
        probe: Looks at the address.
        remembered: What was stored under a name; None: nothing.
    """

    def __init__(
        self,
        source: DataSource,
        wanted: Sequence[Wanted],
        every_s: float,
        probe: Callable[[int], ProbeResult],
        remembered: Callable[[str], bytes | None],
    ) -> None:
        self.name = source.name
        self.wanted = wanted
        self.every_s = every_s
        self._source = source
        self._probe = probe
        self._state = f"probe.{source.name}"
        self._remembered = remembered
        self._names = {number: one.track for number, one in enumerate(wanted)}
        self._probed: Probed | None = None

    def read(self, now: int) -> list[Fed]:
        """Probe once."""
        if self._probed is None:
            self._probed = self._begun()
            blob = self._remembered(self._state)
            if blob is not None:
                with suppress(DataError):  # of another version: the newest slice begins anew
                    self._probed.restore(blob, self._names)
        result = self._probe(now)
        self._probed.take(self._source, result)
        touched = self._probed.drain()
        if not len(touched):  # the clock was set back: what was counted in the future is not waited for
            self._probed = self._begun()
            self._probed.take(self._source, result)
            touched = self._probed.drain()
        state = self._state, self._probed.snapshot(self._names)
        quality = Quality(notes=(f"the probe fails: {result.why}",)) if result.why else Quality()
        found = []
        for number, slices in _runs(self.wanted, touched, self._probed.step_of, {}):
            until = now // slices.step_s * slices.step_s  # the slice of now may be probed again
            found.append(Fed(self.wanted[number].track, slices, (slices.start, until), True, quality))
        return _with_state(found, state)

    def _begun(self) -> Probed:
        return Probed([(number, Request(one.slo, one.objective)) for number, one in enumerate(self.wanted)])


class Refused:
    """Objectives whose telemetry cannot be had as their specs are: says so, and does nothing else.

    Args:
        name: What people call the source.
        wanted: The objectives.
        error: What is wrong.
    """

    every_s = 3600.0

    def __init__(self, name: str, wanted: Sequence[Wanted], error: TightropeError) -> None:
        self.name = name
        self.wanted = wanted
        self._error = error

    def read(self, now: int) -> list[Fed]:
        """Tell what is wrong."""
        raise self._error


class Replay:
    """Recorded data brought up to the present: moved by whole days so that it ends within the coming day.

    A service of *amid* is moved by whole hours, so that at first it is between a half and one and a half hours past the
    instant named: in the midst of an incident. What was moved and stored once is moved by as much ever after, whatever
    else is edited.

    Args:
        name: What people call it.
        wanted: The objectives.
        read: Reads the whole record.
        ends: Hears how many seconds each track was moved by, once that is known.
        amid: By service, an instant of its record.
    """

    def __init__(
        self,
        name: str,
        wanted: Sequence[Wanted],
        read: Read,
        ends: Callable[[Mapping[str, int]], None],
        amid: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name
        self.wanted = wanted
        self.every_s = 5.0
        self._read = read
        self._ends = ends
        self._amid = dict(amid or {})
        self._records: dict[str, Reading] | None = None
        self._shifts: dict[str, int] = {}  # by service, seconds
        self._told: dict[str, int] = {}

    def read(self, now: int) -> list[Fed]:
        """Bring the whole past at first, and then every slice as its time comes."""
        if self._records is None:
            readings = self._read([(one.slo, one.objective) for one in self.wanted], None, None)
            ends: dict[str, int] = {}
            for one, reading in zip(self.wanted, readings, strict=True):  # objectives of one service stay together
                end = reading.slices.end if len(reading.slices) else 0
                ends[one.slo.service] = max(ends.get(one.slo.service, 0), end)
            self._shifts = {service: _days_between(end, now) * DAY_S if end else 0 for service, end in ends.items()}
            self._shifts |= {
                service: (now - instant - HOUR_S // 2) // HOUR_S * HOUR_S
                for service, instant in self._amid.items()
                if ends.get(service)
            }
            self._shifts |= {one.slo.service: one.shift_s for one in self.wanted if one.shift_s is not None}
            self._records = {
                one.track: replace(
                    reading,
                    slices=replace(reading.slices, start=reading.slices.start + self._shifts[one.slo.service]),
                )
                for one, reading in zip(self.wanted, readings, strict=True)
            }
            self._ends(self._shifts)
        found = []
        for one in self.wanted:
            reading = self._records[one.track]
            slices = reading.slices
            until = min(now // slices.step_s * slices.step_s, slices.end)
            since = self._told.get(one.track, slices.start)
            if until > since:
                quality = Quality() if one.track in self._told else reading.quality
                self._told[one.track] = until
                shift_s = self._shifts[one.slo.service]
                found.append(
                    Fed(one.track, slices.between(since, until), (since, until), True, quality, shift_s=shift_s)
                )
        return found


Hear = Callable[[Feed, list[Fed], TightropeError | None], None]
"""Hears what a feed brought, or why it could not."""


class Turns(Protocol):
    """Whoever turns a feed."""

    def stop(self) -> None:
        """Turn it no more."""


def _days_between(end: int, now: int) -> int:
    """Whole days that bring *end* to within the day after *now*."""
    return -((end - now) // DAY_S)


class Pump:
    """Turns one feed in a thread of its own, so that a source that hangs holds up nobody else.

    Args:
        feed: What is read.
        now: Tells the time, UTC epoch seconds.
        out: Hears what was brought, or why nothing could be.
    """

    def __init__(self, feed: Feed, now: Callable[[], int], out: Hear) -> None:
        self.feed = feed
        self._now = now
        self._out = out
        self._stop = Event()
        self._thread = Thread(target=self._run, name=f"feed {feed.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; a question under way is not waited for, and its answer is dropped."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            found: list[Fed] = []
            error: TightropeError | None = None
            began = clock.ticks()
            try:
                found = self.feed.read(self._now())
            except TightropeError as told:
                error = told
            except Exception as fault:  # noqa: BLE001  a feed that ends in silence would never be missed
                error = SourceError(f"{self.feed.name} cannot be read: {type(fault).__name__}: {fault}")
            if self._stop.is_set():
                return
            if found or error is not None:
                self._out(self.feed, found, error)
            pause = max(min(1.0, self.feed.every_s), self.feed.every_s - (clock.ticks() - began))
            if any(not one.caught_up and not one.error for one in found):
                pause = 0.01  # a long history goes on at once
            self._stop.wait(pause)


def grouped(wanted: Iterable[Wanted], by: Callable[[Wanted], str]) -> dict[str, list[Wanted]]:
    """Objectives by the source that they are read from."""
    found: dict[str, list[Wanted]] = {}
    for one in wanted:
        found.setdefault(by(one), []).append(one)
    return found


def scale_of(slo: Slo, objective: Objective) -> int:
    """The scale of counts that are made here: the same as that of sources which are read."""
    indicator = objective.indicator or slo.indicator
    if indicator is None or not isinstance(indicator.metric, RatioMetric):
        return 1
    return MILLIONTH if indicator.metric.raw is not None else slo.scale


def nothing_of(one: Wanted, at: int, step_s: int | None = None) -> Slices:
    """A record of an objective without a slice."""
    step = step_s or _step_of(one)
    counts = np.zeros(0, np.int64)
    return Slices(
        at // step * step, step, counts, counts, np.zeros(0, np.bool_), scale=scale_of(one.slo, one.objective)
    )


def _step_of(one: Wanted) -> int:
    return one.step_s or one.slo.step_s or 60


def _runs(
    wanted: Sequence[Wanted], touched: Touched, step_of: Callable[[int], int], begins: Mapping[int, int]
) -> Iterator[tuple[int, Slices]]:
    """Slices that changed, as records without holes: what lies between two of them is as it was.

    Of two rows of one slice the later one counts; slices of before an objective's *begins* are left out.
    """
    for number in np.unique(touched.tracks).tolist():
        one, step = wanted[number], step_of(number)
        newest_first = np.flatnonzero(touched.tracks == number)[::-1]
        slots, at = np.unique(touched.slots[newest_first], return_index=True)
        rows = newest_first[at]
        keep = slots * step >= begins.get(number, 0)
        slots, rows = slots[keep], rows[keep]
        for run in np.split(np.arange(len(slots)), np.flatnonzero(np.diff(slots) != 1) + 1):
            if len(run):
                these = rows[run]
                yield (
                    number,
                    Slices(
                        int(slots[run[0]]) * step,
                        step,
                        touched.bad[these],
                        touched.total[these],
                        touched.covered[these],
                        scale=scale_of(one.slo, one.objective),
                    ),
                )


def _with_state(found: list[Fed], state: tuple[str, bytes] | None) -> list[Fed]:
    return [*found[:-1], replace(found[-1], state=state)] if found else []
