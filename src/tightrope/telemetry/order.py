"""The order of rows: where time runs backwards in a table, one of the times is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tightrope.sli.slices import Counts

Labels = Callable[[int], Sequence[str]]
"""Tells by its line what a row says beside its time and its numbers."""

_MOST_COMPARED = 1000  # steps of one kind, of which rows are compared to see whether they are of one series


class Clock:
    """The order in which the times of rows stand: forth, or back as in tables that are newest first.

    A table of several series may begin again with each of them; so only steps between rows that differ in nothing but
    times and numbers tell. Both kinds of them in one file mean that a clock was wrong, or that the rows are mixed up.
    """

    def __init__(self) -> None:
        self._file, self._line, self._time = "", 0, 0
        self._labels: Sequence[str] = ()
        self._steps = [0, 0]  # forth, and back
        self._first = ["", ""]  # where the first of each stands that is between two rows of one series
        self._compared = [0, 0]
        self.turn = ""
        """The row at which time turns round, as ``file:line``; empty: it does not."""

    def take(self, file: str, lines: Counts, instants: Counts, labels: Labels) -> None:
        """Hear of further rows, in the order in which they stand.

        Args:
            file: Where they stand.
            lines: Line of each row, int64 ``(n,)``.
            instants: Their times, int64 ``(n,)``.
            labels: Tells what the rows say beside.
        """
        if self.turn or not len(lines):
            return
        if file != self._file or int(lines[0]) <= self._line:
            self._file = file
            self._steps, self._first, self._compared = [0, 0], ["", ""], [0, 0]
        elif instants[0] != self._time:
            kind = int(instants[0] < self._time)
            self._steps[kind] += 1
            self._compare(kind, self._labels, int(lines[0]), labels)
        deltas = np.diff(instants)
        for kind, steps in enumerate((np.flatnonzero(deltas > 0), np.flatnonzero(deltas < 0))):
            self._steps[kind] += len(steps)
            for step in steps[:_MOST_COMPARED].tolist():
                if self._first[kind] or self._compared[kind] > _MOST_COMPARED:
                    break
                self._compare(kind, labels(int(lines[step])), int(lines[step + 1]), labels)
        self._line, self._time = int(lines[-1]), int(instants[-1])
        self._labels = labels(self._line)
        if all(self._first):
            rarer = 0 if self._steps[0] < self._steps[1] else 1
            self.turn = self._first[rarer]

    def _compare(self, kind: int, before: Sequence[str], line: int, labels: Labels) -> None:
        self._compared[kind] += 1
        if not self._first[kind] and before == labels(line):
            self._first[kind] = f"{self._file}:{line}"
