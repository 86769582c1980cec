"""A process that lets go of slices day by day and sums them up, to be killed in the middle of it."""

from __future__ import annotations

import sys

from sqlalchemy import Connection

from tightrope.sli.hours import by_the_hour
from tightrope.sli.slices import Slices
from tightrope.state.database import opened
from tightrope.telemetry.rollup.store import HourStore
from tightrope.telemetry.store import SliceStore


def main(where: str) -> None:
    """Let go of one day after another, and say so, from where it stopped."""
    with opened(where) as database:
        store, hours = SliceStore(database), HourStore(database)

        def fold(connection: Connection, series: int, slices: Slices) -> None:
            hours.fold_in(connection, series, by_the_hour(slices))

        for day in range(1, 61):
            store.prune(day * 86_400, None, fold)
            print(day, flush=True)  # noqa: T201  its one way to tell


if __name__ == "__main__":
    main(sys.argv[1])
