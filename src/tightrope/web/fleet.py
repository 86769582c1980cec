"""The fleet on one page: who needs attention first, how many stand under each word, everybody on one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tightrope.budget.words import Standing, service_sentence
from tightrope.web.marks import TONES, OnLine, fleet_line
from tightrope.web.sections import Line

_ORDER = {"x": 0, "!": 1, "?": 2, "ok": 3}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the fleet's table with its two small drawings."""

    line: Line
    bar: str
    spark: str


def urgency(line: Line) -> tuple[int, float, str]:
    """Sorts rows: exhausted, at risk, silent, fine; the least budget first."""
    return _ORDER[line.letter], 2.0 if line.remaining is None else line.remaining, line.service


def lead_of(services: Sequence[Standing], lines: Sequence[Line], now: int) -> str:
    """The two most urgent services, in a sentence each, where the answer did not name them already."""
    if len(services) < 2:
        return ""
    of = {one.service: one for one in services}
    return " ".join(service_sentence(of[line.service], now) for line in lines[:2] if line.letter != "ok")


def drawn(lines: Sequence[Line]) -> tuple[str, str] | None:
    """Everybody whose budget is known on one line, in both drawings; None where that are fewer than two."""
    shown = [
        OnLine(line.service, line.remaining, line.tone, line.letter != "ok")
        for line in lines
        if line.remaining is not None
    ]
    return (fleet_line(shown), fleet_line(shown, narrow=True)) if len(shown) > 1 else None


def tally(lines: Sequence[Line]) -> list[tuple[str, str, int]]:
    """How many services stand under each word, with its tone."""
    counts = dict.fromkeys(TONES, 0)
    for line in lines:
        counts[line.word] += 1
    return [(word, TONES[word], count) for word, count in counts.items() if count]
