"""The only place that asks what time it is."""

from __future__ import annotations

import time


def now() -> int:
    """Tell the present instant in UTC epoch seconds."""
    return int(time.time())


def ticks() -> float:
    """Tell seconds that only ever grow, from no particular beginning: to measure how long something takes."""
    return time.monotonic()
