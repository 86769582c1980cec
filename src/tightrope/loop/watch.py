"""The watch: all that the loop holds in memory of the objectives it watches, for its parts to work on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tightrope.base.units import DAY_S
from tightrope.engine.live import LiveEvaluator
from tightrope.engine.plan import Incident
from tightrope.engine.ticks import Rows
from tightrope.loop.board import Board
from tightrope.loop.corrections import Correction
from tightrope.loop.exclusions import stretches_of
from tightrope.loop.marks import Column, Marks
from tightrope.loop.store import Remembered
from tightrope.loop.tracks import Track
from tightrope.sli.coverage import Stretch
from tightrope.specs.model import Specs

CREWS_KEPT = 32


@dataclass(frozen=True, slots=True, eq=False)
class Crew:
    """Tracks that are evaluated together, with all that does not change from tick to tick.

    Attributes:
        columns: Theirs in `Marks`, ascending.
        seats: Theirs in the evaluator.
        plain, places: Those whose units are their raw counts, by their number in the crew, and their places on the
            board.
        others: The rest, by their number in the crew.
        closed: When plain ones are taken out by exclusions: their number in the crew, from and until when; of shape
            ``(3, n)``.
        services: Their services.
    """

    columns: Column
    seats: Column
    plain: Column
    places: Column
    others: tuple[tuple[int, Track], ...]
    closed: Column
    services: frozenset[str]

    def excluded(self, start: int, end: int) -> npt.NDArray[np.bool_] | None:
        """Which plain ones are taken out of the slice ``[start, end)``; None: none is."""
        if not self.closed.size:
            return None
        number, begin, until = self.closed
        hit = number[(begin < end) & (until > start)]
        if not len(hit):
            return None
        found = np.zeros(len(self.columns), np.bool_)
        found[hit] = True
        return found


class Watch:
    """The objectives that are watched, and what is at hand of them. Changed by the turn of the loop only."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.specs: Specs | None = None
        self.tracks: dict[str, Track] = {}
        self.in_order: list[Track] = []
        self.marks = Marks(0)
        self.of_service: dict[str, list[str]] = {}
        self.boards: dict[int, Board] = {}
        self.evaluator = LiveEvaluator(rows)
        self.bases: dict[str, Remembered] = {}
        self.incidents: tuple[Incident, ...] = ()
        self.corrections: dict[str, Correction] = {}
        self.begins: dict[str, int] = {}  # where the records of tracks begin, if nothing older is kept
        self.outside: dict[str, tuple[Stretch, ...]] = {}
        self._outside_from = self._outside_to = 0
        self._wholes: list[Track] = []
        self._crews: dict[int, list[Crew]] = {}
        self._excluding: dict[tuple[str, str], bool] = {}

    @property
    def following(self) -> Specs:
        """The specs that are followed; there must be some."""
        if self.specs is None:
            raise AssertionError("specs are followed before anything is evaluated")
        return self.specs

    def begin_anew(self) -> None:
        """Hold nothing but what is stored."""
        self.evaluator = LiveEvaluator(self._rows)
        self.boards.clear()
        self.begins.clear()
        self.forget_crews()

    def adopt(self, specs: Specs, tracks: Sequence[Track]) -> None:
        """Watch other objectives from now on."""
        before = self.tracks
        self.specs = specs
        self.tracks = {one.key: one for one in tracks}
        self.in_order = list(tracks)
        self.marks = tracks[0].marks if tracks else Marks(0)
        self._wholes = [one for one in tracks if one.whole]
        self.of_service = {}
        for one in tracks:
            self.of_service.setdefault(one.slo.service, []).append(one.key)
        for key, known in before.items():
            if key not in self.tracks or self.tracks[key].indicator != known.indicator:
                for board in self.boards.values():
                    board.vacate(key)
        self.corrections = {
            key: one
            for key, one in self.corrections.items()
            if key in self.tracks and (key not in before or before[key].indicator == self.tracks[key].indicator)
        }
        gone = [key for key in before if key not in self.tracks or self.tracks[key].evaluated_to is None]
        self.evaluator.dismiss([key for key in gone if key in self.evaluator])
        self._outside_from = self._outside_to = 0
        self.outside = {}
        self._excluding.clear()
        self.forget_crews()

    def take_seats(self, tracks: Sequence[Track] | None = None) -> None:
        """Note where tracks sit, on the boards and in the evaluator; None: all of them."""
        seated = []
        for one in self.in_order if tracks is None else tracks:
            if one.step_s is not None and not one.whole:
                self.board(one.step_s).seat(one)
            if one.evaluated_to is not None and one.key in self.evaluator:
                seated.append(one)
        seats = self.evaluator.seats([one.key for one in seated])
        self.marks.seat[[one.column for one in seated]] = seats
        self.forget_crews()

    def board(self, step_s: int) -> Board:
        """The board of a resolution."""
        found = self.boards.get(step_s)
        if found is None:
            found = self.boards[step_s] = Board(step_s)
        return found

    def watermarks(self, now: int) -> Column:
        """Up to where every track may be evaluated, wholes included; see `Marks.watermarks`."""
        marks = self.marks.watermarks(now)
        for whole in self._wholes:
            marks[whole.column] = min(marks[one.column] for one in whole.members)
        return marks

    # --- crews -----------------------------------------------------------------------------------------------------

    def crew(self, unit_s: int, columns: Column) -> Crew:
        """The crew of some columns, ascending, that have units of one length."""
        known = self._crews.setdefault(unit_s, [])
        for number, one in enumerate(known):
            if len(one.columns) == len(columns) and np.array_equal(one.columns, columns):
                if number:
                    known.insert(0, known.pop(number))
                return one
        tracks = [self.in_order[column] for column in columns.tolist()]
        places = self.marks.place[columns]
        plain = self.marks.plain[columns] & (places >= 0)
        closed = [
            (number, *stretch)
            for number, one in enumerate(tracks if self.outside else ())
            if plain[number]
            for stretch in self.outside.get(one.key, ())
            if stretch[1] > stretch[0]
        ]
        made = Crew(
            columns,
            self.marks.seat[columns],
            np.flatnonzero(plain),
            places[plain],
            tuple((number, tracks[number]) for number in np.flatnonzero(~plain).tolist()),
            np.array(closed, np.int64).reshape(-1, 3).T,
            frozenset(one.slo.service for one in tracks),
        )
        known.insert(0, made)
        del known[CREWS_KEPT:]
        return made

    def forget_crews(self) -> None:
        """Seats or exclusions are others than before."""
        self._crews.clear()

    # --- exclusions ------------------------------------------------------------------------------------------------

    def know_outside(self, begin: int, now: int) -> None:
        """Unroll the exclusions from *begin* to beyond the present, once in a while."""
        if self.specs is None or not self.specs.exclusions:
            return
        begin = min(begin, now)
        if self._outside_from <= begin and now + DAY_S < self._outside_to:
            return
        self._outside_from, self._outside_to = begin - 3 * DAY_S, now + 3 * DAY_S
        self.outside = {}
        for track in self.in_order:
            if self.may_exclude(track):
                found = stretches_of(self.specs.exclusions, track.slo, self._outside_from, self._outside_to)
                if found:
                    self.outside[track.key] = found
        self.forget_crews()

    def may_exclude(self, track: Track) -> bool:
        """Whether an exclusion is about a track at all, be it long ago."""
        if self.specs is None or not self.specs.exclusions:
            return False
        whose = track.slo.service, track.slo.name
        found = self._excluding.get(whose)
        if found is None:
            found = self._excluding[whose] = any(
                (not one.services or whose[0] in one.services) and (not one.slos or whose[1] in one.slos)
                for one in self.specs.exclusions
            )
        return found

    def incidents_of(self, track: Track) -> tuple[Incident, ...]:
        """Known incidents of a track's service."""
        return tuple(one for one in self.incidents if not one.service or one.service == track.slo.service)
