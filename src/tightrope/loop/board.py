"""The newest rows of all records at hand, slice by slice; and the rows of a turn that are to be stored."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tightrope.loop.tracks import Track
from tightrope.sli.slices import Slices
from tightrope.telemetry.store import Batch

KEPT_ROWS = 16
"""Slices of every record that are kept at hand behind the newest; corrections of older ones are read back."""


@dataclass(slots=True, eq=False)
class Row:
    """The raw counts of one slice of all records of one resolution, by their places."""

    bad: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]
    covered: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, size: int) -> Row:
        return cls(np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.bool_))

    def grown(self, size: int) -> Row:
        """The same with room for more places."""
        more = Row.empty(size - len(self.bad))
        return Row(
            np.concatenate([self.bad, more.bad]),
            np.concatenate([self.total, more.total]),
            np.concatenate([self.covered, more.covered]),
        )


@dataclass(slots=True, eq=False)
class Board:
    """The newest rows of all records of one resolution."""

    step_s: int
    place: dict[str, int] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    room: int = 64

    def seat(self, track: Track) -> int:
        """The place of a track, made where it has none."""
        found = self.place.get(track.key)
        if found is None:
            found = self.place[track.key] = len(self.place)
            if found == self.room:
                self.room *= 2
                self.rows = {slot: row.grown(self.room) for slot, row in self.rows.items()}
        track.marks.place[track.column] = found
        return found

    def vacate(self, key: str) -> None:
        """Forget the rows of a track: what comes under its name from now on is another record."""
        place = self.place.get(key)
        if place is not None:
            for row in self.rows.values():
                row.bad[place], row.total[place], row.covered[place] = 0, 0, False

    def row(self, slot: int) -> Row:
        """The row of a slice, empty at first."""
        found = self.rows.get(slot)
        if found is None:
            found = self.rows[slot] = Row.empty(self.room)
        return found

    def take(self, place: int, first: int, slices: Slices, *, covered_only: bool = False) -> None:
        """Keep slices of one record from slice number *first* on; of gaps nothing, where *covered_only*."""
        at = first - slices.start // self.step_s
        chosen = range(max(0, at), len(slices))
        for index in chosen:
            if covered_only and not slices.covered[index]:
                continue
            row = self.row(slices.start // self.step_s + index)
            row.bad[place], row.total[place] = slices.bad[index], slices.total[index]
            row.covered[place] = slices.covered[index]

    def trim(self, before: int) -> None:
        """Let go of rows of slices that begin before slice number *before*."""
        for slot in [one for one in self.rows if one < before]:
            del self.rows[slot]


@dataclass(slots=True, eq=False)
class News:
    """Rows of a turn that are new or changed, to be stored."""

    series: list[npt.NDArray[np.int32]] = field(default_factory=list)
    slots: list[npt.NDArray[np.int64]] = field(default_factory=list)
    bad: list[npt.NDArray[np.int64]] = field(default_factory=list)
    total: list[npt.NDArray[np.int64]] = field(default_factory=list)
    covered: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def add(
        self,
        series: npt.NDArray[np.int32],
        slots: npt.NDArray[np.int64],
        bad: npt.NDArray[np.int64],
        total: npt.NDArray[np.int64],
        covered: npt.NDArray[np.bool_],
    ) -> None:
        self.series.append(series)
        self.slots.append(slots)
        self.bad.append(bad)
        self.total.append(total)
        self.covered.append(covered)

    def batch(self) -> Batch | None:
        if not self.series:
            return None
        parts = (self.series, self.slots, self.bad, self.total, self.covered)
        return Batch(*(np.concatenate(part) for part in parts))  # type: ignore[arg-type]
