"""Which scan to use: NumPy's, or the compiled one. They answer alike."""

from __future__ import annotations

from importlib.util import find_spec

from tightrope.base.errors import UsageError
from tightrope.engine.scan import Scanner, scan

WORTHWHILE = 100_000_000
"""SLO-slices of a replay above which the compiled scan wins back the time it takes to load."""


def best_scanner(slices: int, *, compiled: bool | None = None) -> Scanner:
    """Choose the scan that is done soonest.

    Args:
        slices: How many SLO-slices there are to replay, all told.
        compiled: Asked for (True) or ruled out (False) whatever the length; None goes by the length.

    Raises:
        UsageError: The compiled scan is asked for, and numba is not installed.
    """
    found = find_spec("numba") is not None
    if compiled and not found:
        raise UsageError(
            "the compiled scan needs numba, which is not installed",
            remedy="install tightrope[fast], or do not ask for the compiled scan",
        )
    if not found or not (slices >= WORTHWHILE if compiled is None else compiled):
        return scan
    from tightrope.engine.kernel import compiled_scanner

    return compiled_scanner()
