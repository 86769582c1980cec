"""Marks: how far the evaluation and the telemetry of every track have come, as arrays over all tracks at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GRACE_SLICES = 2
GRACE_S = 60
"""How long a slice is waited for after its end, in slices and seconds, before it counts as a gap."""

PATIENCE_S = 60
"""For how long the first word of a source is waited for after a start, before its silence counts as a gap."""

UNKNOWN = -1
"""What an array holds where nothing is known; outside of the arrays it is None."""

Column = npt.NDArray[np.int64]


class Marks:
    """One column for each track; times are UTC epoch seconds.

    Attributes:
        evaluated_to: End of the last slice that was evaluated.
        saved_to: The evaluation at which the memory was last stored; 0: never.
        asked_from, asked_to: The stretch its source was asked for.
        fed_to: End of its newest slice with data.
        complete_to: End of the last slice that is whole, where the source tells.
        patient_to: Until then its source has not had the time to say what it has; 0: it is not waited for.
        rests_to: Until then it is left alone, since its record could not be read.
        step_s, unit_s: Resolution of the record, and length of a unit slice, seconds.
        series: Its record in the slice store.
        place: Its place on the board of its resolution.
        seat: Its seat in the evaluator.
        received: Its telemetry is sent to us.
        caught_up: Its history is here.
        late: A slice that was evaluated has changed since.
        plain: What one slice says is all there is to know of a unit.
    """

    INSTANTS = ("evaluated_to", "asked_from", "asked_to", "fed_to", "complete_to")
    NUMBERS = ("saved_to", "patient_to", "rests_to")
    WHOLE = ("step_s", "unit_s", "series", "place", "seat")
    FLAGS = ("received", "caught_up", "late", "plain")

    def __init__(self, size: int) -> None:
        def unknown() -> Column:
            return np.full(size, UNKNOWN, np.int64)

        def flags() -> npt.NDArray[np.bool_]:
            return np.zeros(size, np.bool_)

        self.evaluated_to, self.asked_from, self.asked_to = unknown(), unknown(), unknown()
        self.fed_to, self.complete_to = unknown(), unknown()
        self.saved_to, self.patient_to, self.rests_to = (np.zeros(size, np.int64) for _ in range(3))
        self.step_s, self.unit_s, self.series, self.place, self.seat = (unknown() for _ in range(5))
        self.received, self.caught_up, self.late, self.plain = (flags() for _ in range(4))

    def __len__(self) -> int:
        return len(self.evaluated_to)

    def watermarks(self, now: int) -> Column:
        """Up to where each track may be evaluated: as far as its telemetry is whole, and not much behind the present.

        `UNKNOWN` where its history is not here yet. The whole of a composite has no telemetry of its own, and is
        `UNKNOWN` here.
        """
        step = np.maximum(self.step_s, 1)
        ready = self.caught_up & (self.step_s > 0) & (self.series >= 0) & (self.fed_to >= 0)
        mark = np.where(self.evaluated_to >= 0, self.evaluated_to, self.saved_to)
        # after a start its source is heard first
        patient = (now < self.patient_to) & (self.patient_to <= now + PATIENCE_S)
        overdue = (now - np.maximum(GRACE_SLICES * step, GRACE_S)) // step * step
        mark = np.maximum(mark, np.where(patient, 0, overdue))
        of_received = np.where(self.complete_to >= 0, self.complete_to, self.fed_to)
        told = np.where(self.received, of_received, self.asked_to)
        mark = np.maximum(mark, np.minimum(told, now))
        mark = mark // step * step
        return np.where(ready & (mark > 0), mark, UNKNOWN)
