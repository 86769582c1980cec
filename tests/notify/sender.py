"""A process of its own that empties the outbox again and again, to be killed in the middle of it."""

from __future__ import annotations

import sys
import time

from tests.notify.worlds import channel
from tightrope.base.clock import now
from tightrope.notify.usecases import Notifier
from tightrope.state.database import opened


def main(store: str, url: str) -> None:
    channels = tuple(channel(f"hook-{number}", urls=(f"{url}/{number}",)) for number in range(3))
    with opened(store) as database:
        notifier = Notifier(database, lambda: channels)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            notifier.run_once(now())
            time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
