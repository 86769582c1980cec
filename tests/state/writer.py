"""A process of its own that writes to a journal and tells of each event that was acknowledged, until it is killed.

Usage: python -m tests.state.writer STORE NAME EVENTS   (0 events: without an end)
"""

from __future__ import annotations

import sys
from itertools import count

from tests.state.worlds import event
from tightrope.state.database import opened
from tightrope.state.journal import Journal


def main() -> None:
    where, name, events = sys.argv[1:]
    with opened(where, create=True, patience_s=30) as database:
        journal = Journal(database)
        for number in range(int(events)) if int(events) else count():
            pair = [event(number, id=f"{name}-{number}-{half}") for half in "ab"]
            first, second = journal.append(pair)
            print(name, number, first, second, flush=True)  # noqa: T201  its one way to tell


if __name__ == "__main__":
    main()
