"""A process that writes slices and says what it has written, to be killed in the middle of it."""

from __future__ import annotations

import sys
from itertools import count

import numpy as np

from tightrope.state.database import opened
from tightrope.telemetry.store import Batch, SeriesKey, SliceStore


def main(where: str) -> None:
    """Write a tick after another, fold now and then, and tell of each tick that is kept."""
    with opened(where, create=True) as database:
        store = SliceStore(database)
        ids = np.array(store.admit([SeriesKey(f"slo-{number}", "d", 60) for number in range(20)]), np.int32)
        for number in count():
            slots = np.full(len(ids), number, np.int64)
            total = np.full(len(ids), number + 1, np.int64)
            store.write(Batch(ids, slots, np.zeros(len(ids), np.int64), total, np.ones(len(ids), np.bool_)))
            print(number, flush=True)  # noqa: T201  its one way to tell
            if number % 7 == 6:
                store.compact()


if __name__ == "__main__":
    main(sys.argv[1])
