"""The table of ``status``: a sentence about the fleet and a line for each objective, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import click

from tightrope.base.units import percent_text, time_text
from tightrope.cli.output import budget_bar, say, table

_COLOURS = {"x": "red", "!": "yellow", "?": "bright_black", "ok": "green"}
_FLOW_COLOURS = {"S": "red", "G": "yellow", "F": "green"}


@dataclass(frozen=True, slots=True)
class Line:
    """One objective in the table of ``status``: what is printed of it, and in what order.

    Attributes:
        letter, flow: How it stands (``ok``, ``!``, ``x``, ``?``), and the letter of its flow; empty: none is shown.
        bar, left: Share of the budget left for the bar and in figures; None: not known.
        amount: The same in its unit.
        burns: Burn over 1 h and 6 h, written.
    """

    letter: str
    flow: str
    service: str
    title: str
    target: Fraction
    bar: Fraction | float | None
    left: Fraction | float | None
    amount: str
    burns: tuple[str, str]
    outlook: str


def show_lines(headline: str, lines: Sequence[Line], as_of: set[int], *, everything: bool) -> None:
    """Print a sentence, a table of objectives, and as of when they stand so."""
    say(headline, bold=True)
    say()
    rows, fine, order = [], 0, {"x": 0, "!": 1, "?": 2, "ok": 3}
    for one in sorted(lines, key=lambda one: order[one.letter]):
        if one.letter == "ok" and not everything:
            fine += 1
            continue
        rows.append(
            [
                click.style(f"{one.letter:>2}", fg=_COLOURS[one.letter]),
                click.style(one.flow, fg=_FLOW_COLOURS[one.flow]) if one.flow else " ",
                one.service,
                one.title if one.title != one.service else "",
                target_text(one.target),
                budget_bar(None if one.bar is None else float(one.bar)),
                "no data" if one.left is None else percent_text(one.left),
                one.amount,
                *one.burns,
                one.outlook,
            ]
        )
    header = ["", "", "service", "slo", "target", "budget left", "", "", "1h", "6h", "outlook"]
    # what a narrow terminal can do without, first to go first
    for line in table(rows, right=(6, 7, 8, 9), header=header, expendable=(4, 9, 8, 5, 7, 2, 10)):
        say(line)
    services = len({one.service for one in lines})
    newest = max(as_of)
    when = f"as of {time_text(newest)}" if len(as_of) == 1 else "each as of the end of its data (-o json tells)"
    tail = f"{fine} more are fine (--all). " if fine else ""
    say()
    say(f"{tail}{services} service{'s' if services != 1 else ''}, {when}", dim=True)


def target_text(target: Fraction) -> str:
    """Write an objective for a person: ``99.95 %``."""
    return f"{float(target * 100):.6g} %"
