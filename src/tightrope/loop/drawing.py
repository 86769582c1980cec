"""Drawing up: where objectives stand, from what the loop holds of them, when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from threading import RLock

from tightrope.engine.replay import History
from tightrope.engine.scan import Peak
from tightrope.loop.assess import Assessment, assess
from tightrope.loop.records import Records
from tightrope.loop.tracks import Track, tracks_of
from tightrope.sli.slices import Slices
from tightrope.specs.model import Objective, Slo, Specs
from tightrope.telemetry.reading import Reading


class Drawing:
    """Draws up assessments, each once for each evaluation.

    Args:
        records: What is known of slices.
        lock: Held while the loop is looked at.
    """

    def __init__(self, records: Records, lock: RLock) -> None:
        self._records = records
        self._watch = records.watch
        self._lock = lock
        self._drawn: dict[str, tuple[int, Assessment]] = {}

    def forget(self, keys: Iterable[str]) -> None:
        """What was drawn up of these tracks is not so any more, though it is of the same instant."""
        for key in keys:
            self._drawn.pop(key, None)

    def forget_all(self) -> None:
        """Other objectives are watched."""
        self._drawn = {}

    def assessment(self, key: str) -> Assessment:
        """Where a track stands; raises `KeyError` where it was not evaluated yet.

        What was drawn up since its last evaluation is there at once, also while the loop turns.
        """
        drawn = self._known(key)
        if drawn is not None:
            return drawn
        with self._lock:
            drawn = self._known(key)
            if drawn is not None:
                return drawn
            track = self._watch.tracks.get(key)
            if track is None or track.evaluated_to is None or track.plan is None:
                raise KeyError(key)
            found = Assessment(
                track.slo,
                track.objective,
                track.number,
                track.policy,
                track.plan,
                self._units(track, track.evaluated_to),
                self._watch.evaluator.statement(key),
                _history(track),
                track.incidents,
                track.quality,
                _doubts(track),
                track.whole,
                track.watched,
            )
            self._drawn[key] = (track.evaluated_to, found)
            return found

    def _known(self, key: str) -> Assessment | None:
        """What was drawn up of a track, if it was not evaluated since; a turn under way may evaluate it any moment."""
        track, drawn = self._watch.tracks.get(key), self._drawn.get(key)
        if track is None or drawn is None or drawn[0] != track.evaluated_to or drawn[1].doubts != _doubts(track):
            return None
        return drawn[1]

    def _units(self, track: Track, at: int) -> Callable[[], Slices]:
        return lambda: self._records.units(track, None, at)

    def history(self, slos: Sequence[Slo], own: Specs, since: int | None) -> list[Assessment]:
        """Replay what is stored of some SLOs as the specs *own* have them.

        The loop turns on meanwhile: what is replayed is what had been evaluated when it was asked for.
        """
        measured = [
            (slo, [one.indicator for one in tracks_of(replace(own, slos=(slo,)), ()) if not one.whole]) for slo in slos
        ]
        wanted = {one for _, indicators in measured for one in indicators}
        with self._lock:
            incidents = self._watch.incidents
            known = {
                one.indicator: (one, one.evaluated_to, one.quality)
                for one in self._watch.in_order
                if one.indicator in wanted and one.evaluated_to is not None
            }
        found: list[Assessment] = []
        for slo, indicators in measured:
            if not all(one in known for one in indicators):
                continue
            mine = [known[one] for one in indicators]
            at = min(evaluated_to for _, evaluated_to, _ in mine)
            readings = [Reading(self._records.record(one, None, at), quality) for one, _, quality in mine]

            def read(_: Sequence[tuple[Slo, Objective]], readings: Sequence[Reading] = readings) -> Sequence[Reading]:
                return readings

            found += assess(own, [slo], read, at=at, since=since, incidents=incidents)
        return found


class Drawn(Mapping[str, Assessment]):
    """Assessments that are drawn up when somebody looks.

    Args:
        drawing: Draws them up.
        evaluated: Tells whether a track was evaluated.
        keys: All tracks.
    """

    def __init__(self, drawing: Drawing, evaluated: Callable[[str], bool], keys: tuple[str, ...]) -> None:
        self._drawing = drawing
        self._evaluated = evaluated
        self._keys = keys

    def __getitem__(self, key: str) -> Assessment:
        return self._drawing.assessment(key)

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._keys if self._evaluated(key))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _doubts(track: Track) -> tuple[str, ...]:
    return (track.error,) if track.error else ()


def _history(track: Track) -> History:
    """Where the policy of a track stands: nothing of how it got there is kept but the memory."""
    return History(
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
