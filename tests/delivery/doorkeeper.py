"""A process of its own that lets go of what is held, to be killed in the middle of it."""

from __future__ import annotations

import sys
import time

from tests.delivery.hold_worlds import Gate, github_of, holds_of
from tightrope.base.clock import now
from tightrope.state.database import opened


def main(store: str, url: str, says: str, ahead_s: int) -> None:
    with opened(store) as database:
        holds = holds_of(database, Gate(says), lambda: now() + ahead_s, github_of(url))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            holds.turn()
            holds.deliver()
            time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
