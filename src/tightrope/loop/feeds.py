"""Feeds: what brings the telemetry of objectives to the loop, each at its own pace and in its own thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import Protocol

from tightrope.base.errors import TightropeError
from tightrope.base.units import DAY_S
from tightrope.sli.slices import Slices
from tightrope.specs.model import Objective, Slo
from tightrope.telemetry.reading import Quality, Reading

OVERLAP = 3
"""Slices that a question reaches back over what was asked before: the newest ones of then may have grown since."""

CHUNK_S = 7 * DAY_S
"""The longest stretch that is asked for at once; a long history comes in pieces, and goes on where it stopped."""

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
    """

    track: str
    slo: Slo
    objective: Objective
    begin: int
    step_s: int | None = None
    asked_to: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fed:
    """Slices that a feed brought for one track.

    Attributes:
        slices: Raw counts; they may repeat what is known.
        asked: The stretch the source was asked for; its end is how far the record is known now, gaps and all.
        caught_up: Nothing older is still to come.
    """

    track: str
    slices: Slices
    asked: tuple[int, int]
    caught_up: bool
    quality: Quality = field(default_factory=Quality)


class Feed(Protocol):
    """A source of slices that is asked again and again."""

    name: str
    wanted: Sequence[Wanted]
    every_s: float

    def read(self, now: int) -> list[Fed]:
        """Bring what is new; raises `TightropeError` where the source refuses or cannot be reached."""


class Pull:
    """A source that knows the present: asked for what has been since the last time, a long history in pieces.

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

    def read(self, now: int) -> list[Fed]:
        """Ask for the next stretch of those that are the furthest behind, all of them in one question."""
        behind: dict[tuple[int, int], list[Wanted]] = {}
        for one in self.wanted:
            step = one.step_s or one.slo.step_s or 60
            until = (now - self._lag_s) // step * step
            since = one.begin // step * step if one.asked_to is None else one.asked_to
            if until > since:
                behind.setdefault((since, min(until, since + CHUNK_S)), []).append(one)
        if not behind:
            return []
        (since, until), group = min(behind.items(), key=lambda each: each[0])
        longest = max(one.step_s or one.slo.step_s or 60 for one in group)
        first = all(one.asked_to is None for one in group)
        begin = since if first else since - OVERLAP * longest
        readings = self._read([(one.slo, one.objective) for one in group], begin, until)
        found = []
        for one, reading in zip(group, readings, strict=True):
            one.asked_to, one.step_s = until, reading.slices.step_s
            caught_up = until + CHUNK_S > now
            found.append(Fed(one.track, reading.slices, (begin, until), caught_up, reading.quality))
        return found


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
        readings = self._read([(one.slo, one.objective) for one in self.wanted], None, None)
        self._seen = seen
        return [
            Fed(one.track, reading.slices, (reading.slices.start, reading.slices.end), True, reading.quality)
            for one, reading in zip(self.wanted, readings, strict=True)
        ]


class Replay:
    """Recorded data brought up to the present: moved by whole days so that it ends within the coming day.

    Args:
        name: What people call it.
        wanted: The objectives.
        read: Reads the whole record.
        ends: Hears how many seconds each track was moved by, once that is known.
    """

    def __init__(
        self, name: str, wanted: Sequence[Wanted], read: Read, ends: Callable[[Mapping[str, int]], None]
    ) -> None:
        self.name = name
        self.wanted = wanted
        self.every_s = 5.0
        self._read = read
        self._ends = ends
        self._records: dict[str, Reading] | None = None
        self._told: dict[str, int] = {}

    def read(self, now: int) -> list[Fed]:
        """Bring the whole past at first, and then every slice as its time comes."""
        if self._records is None:
            readings = self._read([(one.slo, one.objective) for one in self.wanted], None, None)
            ends: dict[str, int] = {}
            for one, reading in zip(self.wanted, readings, strict=True):  # objectives of one service stay together
                ends[one.slo.service] = max(ends.get(one.slo.service, 0), reading.slices.end)
            shifts = {service: _days_between(end, now) for service, end in ends.items() if end}
            self._records = {
                one.track: replace(
                    reading,
                    slices=replace(reading.slices, start=reading.slices.start + shifts.get(one.slo.service, 0) * DAY_S),
                )
                for one, reading in zip(self.wanted, readings, strict=True)
            }
            self._ends({one.slo.service: shifts.get(one.slo.service, 0) * DAY_S for one in self.wanted})
        found = []
        for one in self.wanted:
            reading = self._records[one.track]
            slices = reading.slices
            until = min(now // slices.step_s * slices.step_s, slices.end)
            since = self._told.get(one.track, slices.start)
            if until > since:
                quality = Quality() if one.track in self._told else reading.quality
                self._told[one.track] = until
                found.append(Fed(one.track, slices.between(since, until), (since, until), True, quality))
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
            pause = self.feed.every_s
            try:
                found = self.feed.read(self._now())
                error = None
            except TightropeError as told:
                found, error = [], told
            if self._stop.is_set():
                return
            if found or error is not None:
                self._out(self.feed, found, error)
            if found and not all(one.caught_up for one in found):
                pause = 0.01  # a long history goes on at once
            self._stop.wait(pause)


def grouped(wanted: Iterable[Wanted], by: Callable[[Wanted], str]) -> dict[str, list[Wanted]]:
    """Objectives by the source that they are read from."""
    found: dict[str, list[Wanted]] = {}
    for one in wanted:
        found.setdefault(by(one), []).append(one)
    return found
