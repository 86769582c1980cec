"""Charts as a page sets them: both drawings, a table that says the same, and a legend of the marks in them."""

from __future__ import annotations

from dataclasses import dataclass

from tightrope.base.units import percent_text
from tightrope.budget.series import Ledger, fewer
from tightrope.loop.assess import Assessment
from tightrope.web.charts import burn_down, rows_of
from tightrope.web.marks import sparkline
from tightrope.web.pictures import Picture, Told, narrowed

_NARROW_POINTS = 150


@dataclass(frozen=True, slots=True)
class Plot:
    """One chart in both drawings, with its table."""

    title: str
    hint: str
    wide: str
    narrow: str
    rows: list[tuple[str, str, str]]
    legend: frozenset[str]


def plot_of(
    picture: Picture,
    title: str,
    hint: str,
    *,
    rows: int = 40,
    told: Told = percent_text,
) -> Plot:
    """Draw a picture in both sizes.

    Args:
        picture: What is shown.
        title, hint: The question that the chart answers, and its unit.
        rows: At most so many rows of its table.
        told: Writes a share of the budget, with so many digits.
    """
    small = burn_down(narrowed(picture, _NARROW_POINTS), narrow=True, told=told)
    wide = burn_down(picture, told=told)
    return Plot(title, hint, wide, small, rows_of(picture, rows, told=told), legend_of(picture))


def spark_of(one: Assessment, account: Ledger) -> str:
    """The sparkline of one window; empty where nothing was measured."""
    if one.history.memory.history_start is None:
        return ""
    end = one.statement.at
    start = end - (one.statement.window_end - one.statement.window_start)
    return sparkline(fewer(account.remaining(start, end), 40))


def legend_of(picture: Picture) -> frozenset[str]:
    """Which marks stand in the picture."""
    marks = {stay.kind for stay in picture.stays}
    marks |= {
        "needless" if call.use == "needless" else "found" if call.use else call.severity for call in picture.calls
    }
    marks |= {"missed" if one.missed else "incident" for one in picture.troubles}
    marks |= {"stopped" if one.stopped else "deploy" for one in picture.ships}
    marks |= {"silent"} if picture.silent else set()
    marks |= {"forecast"} if picture.ahead is not None else set()
    return frozenset(marks)
