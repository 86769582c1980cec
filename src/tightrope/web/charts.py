"""The chart of a budget over time: the line, what it meets, and lanes of flow, alerts, incidents and deployments."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from operator import itemgetter

import numpy as np

from tightrope.base.units import DAY_S, HOUR_S, percent_text
from tightrope.budget.words import day_text, moment_text
from tightrope.web.marks import hatch, opened, safe
from tightrope.web.pictures import Call, Note, Picture, Ship, Told

_STEPS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)
_MOST_TICKS = 7
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LANE = 19

_Draw = Callable[[Picture, "_Frame", float], list[str]]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where things stand: ``[start, end]`` on *left* to *right*, shares from *floor* to 1 on *bottom* to *top*."""

    left: float
    right: float
    top: float
    bottom: float
    start: int
    end: int
    floor: float
    step: float

    def x(self, at: float) -> float:
        return self.left + (min(max(at, self.start), self.end) - self.start) / (self.end - self.start) * self.width

    def y(self, share: float) -> float:
        kept = min(1.0, max(self.floor, share))
        return self.bottom - (kept - self.floor) / (1 - self.floor) * (self.bottom - self.top)

    @property
    def width(self) -> float:
        return self.right - self.left


def burn_down(picture: Picture, *, narrow: bool = False, told: Told = percent_text) -> str:
    """Draw the budget over time.

    Args:
        picture: What is shown.
        narrow: The drawing for screens below 600 px: a drawing of its own, with at most three labels.
        told: Writes a share of the budget, with so many digits after the point.

    Returns:
        One ``<svg>`` with a label that states the finding; all text in it is escaped.
    """
    known = picture.series.values[picture.series.known]
    lowest = float(known.min()) if len(known) else 0.0
    step = next((one for one in _STEPS if (1 - lowest) / one <= _MOST_TICKS - 1.5), -lowest)
    floor = min(-0.25, -step * ceil(max(-lowest, 0.0) / step))
    lanes = _lanes(picture)
    width, left, right = (358, 62, 350) if narrow else (1160, 62, 1142)
    top, bottom = 26, 206 if narrow else 262
    frame = _Frame(left, right, top, bottom, picture.start, _last(picture), floor, step)
    height = bottom + 14 + _LANE * len(lanes) + 26
    ids = f"h-{picture.name}-{'n' if narrow else 'w'}"
    parts = [
        opened(width, height, picture.finding, narrow=narrow),
        hatch(ids, "hb"),
        *_axis(frame, told),
        *_beyond(picture, frame, narrow, told),
        *_clock(frame, height - 8, 3 if narrow else 8),
        *_line(picture, frame, ids),
        *_now(picture, frame, told),
        *_labels(picture, frame, 3 if narrow else 6),
    ]
    if not len(known):
        middle = (left + right) / 2
        parts.append(f'<text class="lbl" x="{middle}" y="{top + 60}" text-anchor="middle">nothing is known here</text>')
    for number, (name, marks) in enumerate(lanes):
        y = bottom + 24 + number * _LANE
        parts.append(f'<text class="ax" x="{left - 8}" y="{y + 4}" text-anchor="end">{name}</text>')
        parts += marks(picture, frame, y)
    return "".join([*parts, "</svg>"])


def rows_of(picture: Picture, most: int = 40, *, told: Told = percent_text) -> list[tuple[str, str, str]]:
    """What "Show as table" lists: when, budget left, policy state; *most* rows, evenly, the worst among them."""
    times, values, known = (column.tolist() for column in picture.series)
    count = len(times)
    chosen = set(range(0, count, max(1, -(-count // most)))) | {count - 1}
    if any(known):
        chosen.add(min((at for at in range(count) if known[at]), key=lambda at: values[at]))
    rows = []
    for at in sorted(chosen):
        state = next((one.state for one in reversed(picture.stays) if one.start <= times[at]), "")
        share = told(values[at], 1) if known[at] else "not known"
        rows.append((f"{moment_text(times[at], picture.end)}", share, state))
    return rows


def _last(picture: Picture) -> int:
    """Where the picture ends: a forecast gets room after *end* where it lies near enough to be seen."""
    span = max(picture.end - picture.start, 1)
    if picture.ahead is None or picture.ahead[0].at is None:
        return picture.start + span
    furthest = picture.ahead[0].latest or picture.ahead[0].at
    return picture.end + int(min(max(furthest - picture.end, 0) * 1.15 + span * 0.04, span * 0.6))


def _axis(frame: _Frame, told: Told) -> list[str]:
    parts = []
    below = round(-frame.floor / frame.step)
    above = [0.25, 0.5, 0.75, 1.0] if frame.step == 0.25 else [0.5, 1.0] if frame.step < 1 else [1.0]
    zero = frame.y(0)
    for tick in [-frame.step * part for part in range(below, 0, -1)] + [0.0, *above]:
        y = frame.y(tick)
        line, text = ("zl", "axb") if tick == 0 else ("gl", "ax")
        parts.append(f'<path class="{line}" d="M{frame.left} {y:.1f}H{frame.right}"/>')
        if tick == 0 or zero - y > 13 or tick < 0:
            share = told(tick, 0)
            parts.append(f'<text class="{text}" x="{frame.left - 8}" y="{y + 4:.1f}" text-anchor="end">{share}</text>')
    return parts


# --- the line ------------------------------------------------------------------------------------------------------


def _line(picture: Picture, frame: _Frame, hatch: str) -> list[str]:
    """The step line; where nothing was measured it is dashed, where nothing is known it is not drawn."""
    times, values, known = (column.tolist() for column in picture.series)
    silent = _silent(picture)
    lines: dict[bool, list[str]] = {True: [], False: []}
    areas: list[str] = []
    overs: list[str] = []
    zero = frame.y(0)
    for at in range(len(times)):
        if not known[at]:
            continue
        begin = times[at - 1] if at else picture.start
        x0, x1, y = frame.x(begin), frame.x(times[at]), frame.y(values[at])
        joined = at > 0 and known[at - 1]
        before = frame.y(values[at - 1]) if joined else y
        solid = lines[True] if not silent[at] else lines[False]
        follows = joined and silent[at] == silent[at - 1] and bool(solid)
        solid.append(f"{'' if follows else f'M{x0:.1f} {before:.1f}'}{f'V{y:.1f}' if before != y else ''}H{x1:.1f}")
        if not silent[at]:
            areas.append(f"M{x0:.1f} {zero:.1f}V{min(y, zero):.1f}H{x1:.1f}V{zero:.1f}z" if y < zero else "")
            overs.append(f"M{x0:.1f} {zero:.1f}V{y:.1f}H{x1:.1f}V{zero:.1f}z" if y > zero else "")
    parts = []
    if any(areas):
        parts.append(f'<path class="area" d="{"".join(areas)}"/>')
    if any(overs):
        parts.append(f'<path fill="url(#{hatch})" d="{"".join(overs)}"/>')
    if lines[False]:
        parts.append(f'<path class="ln gap" d="{"".join(lines[False])}"/>')
    parts.append(f'<path class="ln" d="{"".join(lines[True])}"/>')
    return parts


def _silent(picture: Picture) -> list[bool]:
    times = picture.series.times
    marks = np.zeros(len(times), np.bool_)
    for low, high in picture.silent:
        marks |= (times > low) & (times <= high)
    return [bool(one) for one in marks]


def _now(picture: Picture, frame: _Frame, told: Told) -> list[str]:
    if not picture.series.known[-1:].any():
        return []
    share = float(picture.series.values[-1])
    x, y = frame.x(picture.end), frame.y(share)
    tone = "bad" if share <= 0 else "good"
    parts = [f'<circle class="f{tone} edge" cx="{x:.1f}" cy="{y:.1f}" r="4"/>']
    room = frame.right - x
    text = f"{day_text(picture.end, picture.end)}: {told(share, 1)}"
    if room > 120:
        parts.append(f'<path class="nl" d="M{x:.1f} {frame.top - 8}V{frame.bottom}"/>')
        parts.append(f'<text class="axb" x="{x + 6:.1f}" y="{frame.top - 10}">{text}</text>')
    else:
        parts.append(f'<text class="axb" x="{frame.right}" y="{frame.top - 10}" text-anchor="end">{text}</text>')
    return parts


def _beyond(picture: Picture, frame: _Frame, narrow: bool, told: Told) -> list[str]:
    """What is forecast: the instant expected, its 80 % interval, and the share it will have reached."""
    if frame.end <= picture.end or picture.ahead is None or not picture.series.known[-1]:
        return []
    forecast, bound = picture.ahead
    x0, y = frame.x(picture.end), frame.y(bound)
    width, height = frame.right - x0, frame.bottom - frame.top
    parts = [f'<rect class="beyond" x="{x0:.1f}" y="{frame.top}" width="{width:.1f}" height="{height}"/>']
    if forecast.what == "recovered":
        parts.append(f'<path class="way" d="M{x0:.1f} {y:.1f}H{frame.right}"/>')
    if forecast.earliest is not None:
        low, high = frame.x(forecast.earliest), frame.x(forecast.latest) if forecast.latest else frame.right
        parts.append(f'<rect class="band" x="{low:.1f}" y="{y - 6:.1f}" width="{max(high - low, 2):.1f}" height="12"/>')
    if forecast.at is not None:
        shown = forecast.at <= frame.end
        x = frame.x(forecast.at)
        if shown:
            then = frame.y(float(picture.series.values[-1]))
            parts.append(f'<path class="fc" d="M{x0:.1f} {then:.1f}L{x:.1f} {y:.1f}"/>')
            parts.append(f'<circle class="fp" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
        word = "runs out" if forecast.what == "exhausted" else f"back at {told(bound, 0)}"
        if not narrow:
            end = x > frame.right - 130
            text = f"{word} about {day_text(forecast.at, picture.end)}{'' if shown else ' →'}"
            parts.append(
                f'<text class="lbl acc halo" x="{x - (8 if shown else 0) if end else x + 8:.1f}" y="{y - 12:.1f}" '
                f'text-anchor="{"end" if end else "start"}">{text}</text>'
            )
    return parts


def _labels(picture: Picture, frame: _Frame, most: int) -> list[str]:
    """The notes that find room: beside or near their step, over neither the line nor one another."""
    parts: list[str] = []
    taken: list[tuple[float, float, float]] = []
    line = [(frame.x(at), frame.y(share)) for at, share in zip(*picture.series[:2], strict=True)]
    for note in picture.notes:
        if len(taken) == most:
            break
        size = len(note.label) * 6.5
        for x, y, anchor in _places(note, frame):
            low, high = (x, x + size) if anchor == "start" else (x - size, x)
            inside = frame.left <= low and high <= frame.x(picture.end) and frame.top < y < frame.bottom
            clash = any(low < b + 4 and high > a - 4 and abs(y - at) < 14 for a, b, at in taken)
            if inside and not clash and not _covers(line, low - 2, high + 2, y):
                taken.append((low, high, y))
                tone = f"c{note.cause}" if note.cause else "quiet"
                parts.append(
                    f'<text class="lbl halo {tone}" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">'
                    f"{safe(note.label)}</text>"
                )
                break
    return parts


def _places(note: Note, frame: _Frame) -> list[tuple[float, float, str]]:
    """Where a note may stand, the best place first: in the free corner of its step, then over and under its end."""
    x0, x1 = frame.x(note.start), frame.x(note.end)
    before, after = frame.y(note.before), frame.y(note.after)
    middle = (before + after) / 2
    if note.cause:
        return [
            (x1 + 6, middle, "start"),
            (x1 + 6, after - 12, "start"),
            (x0 - 6, middle, "end"),
            (x1 + 6, after + 13, "start"),
            (x0 - 6, after + 13, "end"),
        ]
    return [(x0 - 6, middle, "end"), (x0 - 6, after - 2, "end"), (x1, after - 13, "end"), (x1 + 6, after + 15, "start")]


def _covers(line: Sequence[tuple[float, float]], low: float, high: float, y: float) -> bool:
    """Whether the line passes through a label that stands from *low* to *high* at the height *y*."""
    first = bisect_left(line, low, key=itemgetter(0))
    last = min(bisect_right(line, high, key=itemgetter(0)) + 1, len(line))
    heights = [height for _, height in line[max(0, first - 1) : last]]
    return bool(heights) and min(heights) < y + 8 and max(heights) > y - 9


# --- lanes ---------------------------------------------------------------------------------------------------------


def _lanes(picture: Picture) -> list[tuple[str, _Draw]]:
    lanes: list[tuple[str, _Draw]] = [("Flow", _flow_lane)]
    severities = {one.severity for one in picture.calls}
    if "page" in severities:
        lanes.append(("Pages", lambda shown, frame, y: _call_lane(shown, frame, y, page=True)))
    if severities - {"page"}:
        lanes.append(("Tickets", lambda shown, frame, y: _call_lane(shown, frame, y, page=False)))
    if picture.troubles:
        lanes.append(("Incidents", _trouble_lane))
    if picture.ships:
        lanes.append(("Deploys", _ship_lane))
    return lanes


def _flow_lane(picture: Picture, frame: _Frame, y: float) -> list[str]:
    parts = []
    for stay in picture.stays:
        x0, x1 = frame.x(stay.start), frame.x(stay.end)
        parts.append(
            f'<rect class="w-{stay.kind}" x="{x0:.1f}" y="{y - 4}" width="{max(x1 - x0, 0.7):.1f}" height="8">'
            f"<title>{safe(stay.state)} from {moment_text(stay.start, picture.end)}</title></rect>"
        )
    for low, high in picture.silent:
        x0, x1 = frame.x(low), frame.x(high)
        if x1 - x0 >= 1.5:
            parts.append(f'<path class="held" d="M{x0:.1f} {y}H{x1:.1f}"/>')
    return parts


def _call_lane(picture: Picture, frame: _Frame, y: float, *, page: bool) -> list[str]:
    calls = [one for one in picture.calls if (one.severity == "page") == page]
    parts = []
    for use in ("", "needless", "found"):
        tone = {"": "bad" if page else "warn", "needless": "warn", "found": "good"}[use]
        size = 6 if use == "needless" else 10
        for x0, x1 in _spans(calls, frame, use):
            box = f'x="{x0:.1f}" y="{y - size / 2:.0f}" width="{x1 - x0:.1f}" height="{size}"'
            parts.append(f'<rect class="f{tone}" {box} rx="1"/>')
    return parts


def _spans(calls: Sequence[Call], frame: _Frame, use: str) -> list[tuple[float, float]]:
    """The episodes as stretches of the drawing, at least 2 wide; those that touch are one."""
    joined: list[tuple[float, float]] = []
    for one in sorted((one for one in calls if one.use == use), key=lambda one: one.start):
        x0 = frame.x(one.start)
        x1 = max(frame.x(one.end), x0 + 2)
        if joined and x0 <= joined[-1][1] + 0.5:
            joined[-1] = (joined[-1][0], max(joined[-1][1], x1))
        else:
            joined.append((x0, x1))
    return joined


def _trouble_lane(picture: Picture, frame: _Frame, y: float) -> list[str]:
    parts: list[str] = []
    last = -9.0
    for one in sorted(picture.troubles, key=lambda one: (one.missed, one.start)):
        x0 = frame.x(one.start)
        if abs(x0 - last) < 3:
            continue
        last = x0
        word = ", no page" if one.missed else ""
        told = f"<title>{safe(one.label)} {moment_text(one.start, picture.end)}{word}</title>"
        if one.missed:
            parts.append(
                f'<g class="miss">{told}<circle cx="{x0:.1f}" cy="{y}" r="4.6"/>'
                f'<path d="M{x0 - 3.2:.1f} {y + 3.2:.1f}l6.4-6.4"/></g>'
            )
        else:
            parts.append(f'<path class="fbad" d="M{x0:.1f} {y - 5}l5.4 9.6h-10.8z">{told}</path>')
    return parts


def _ship_lane(picture: Picture, frame: _Frame, y: float) -> list[str]:
    parts: list[str] = []
    last: dict[bool, float] = {True: -9.0, False: -9.0}
    for one in sorted(picture.ships, key=_by_stop):
        x = frame.x(one.at)
        if abs(x - last[one.stopped]) < 2:
            continue
        last[one.stopped] = x
        told = (
            f"<title>{safe(one.label)} {moment_text(one.at, picture.end)}{', stopped' if one.stopped else ''}</title>"
        )
        if one.stopped:
            parts.append(
                f'<path class="fbad" d="M{x - 2.2:.1f} {y - 5}h4.4l3.2 3v4l-3.2 3h-4.4l-3.2-3v-4z">{told}</path>'
                f'<path class="bit" d="M{x - 3:.1f} {y}h6"/>'
            )
        else:
            parts.append(f'<circle class="fD" cx="{x:.1f}" cy="{y}" r="2.8">{told}</circle>')
    return parts


def _by_stop(ship: Ship) -> tuple[bool, int]:
    return ship.stopped, ship.at


# --- time ----------------------------------------------------------------------------------------------------------


def _clock(frame: _Frame, y: float, most: int) -> list[str]:
    parts = []
    for at, text, strong in ticks(frame.start, frame.end, most):
        x = frame.x(at)
        if frame.left <= x <= frame.right - 14:
            parts.append(f'<path class="gl" d="M{x:.1f} {frame.top}V{frame.bottom}"/>')
            kind = "axb" if strong else "ax"
            parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="middle">{text}</text>')
    return parts


def ticks(start: int, end: int, most: int) -> list[tuple[int, str, bool]]:
    """Choose instants for a time axis in UTC, at most about *most*: minutes to years; years are strong."""
    span = max(1, end - start)
    for step in (60, 120, 300, 600, 900, 1800, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S):
        if span / step <= most:
            first = -(-start // step) * step
            return [(at, _clock_text(at), at % DAY_S == 0) for at in range(first, end, step)]
    for days in (1, 2, 7, 14):
        if span / (days * DAY_S) <= most:
            first = -(-start // DAY_S) * DAY_S
            return [(at, _day(at), False) for at in range(first, end, days * DAY_S)]
    for months in (1, 2, 3, 6):
        if span / (months * 30 * DAY_S) <= most:
            return [
                (at, str(when.year) if when.month == 1 else _MONTHS[when.month - 1], when.month == 1)
                for at, when in _months(start, end, months)
            ]
    years = max(1, -(-span // (365 * DAY_S * most)))
    return [(at, str(when.year), True) for at, when in _months(start, end, 12) if when.year % years == 0]


def _months(start: int, end: int, every: int) -> list[tuple[int, datetime]]:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first = epoch + timedelta(seconds=start)
    found: list[tuple[int, datetime]] = []
    number = first.year * 12 + first.month - 1
    while True:
        when = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
        at = int((when - epoch).total_seconds())
        if at >= end:
            return found
        if at >= start and (when.month - 1) % every == 0:
            found.append((at, when))
        number += 1


def _clock_text(at: int) -> str:
    return _day(at) if at % DAY_S == 0 else f"{at % DAY_S // HOUR_S:02d}:{at % HOUR_S // 60:02d}"


def _day(at: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
    return f"{moment.day} {_MONTHS[moment.month - 1]}"
