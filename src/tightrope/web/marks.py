"""Small drawings: the budget bar of a table row, its sparkline, and the whole fleet on one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escaped

import numpy as np

from tightrope.base.units import percent_text
from tightrope.budget.series import Series

LOWEST, HIGHEST = -0.25, 1.0
"""Ends of the scale of budget left: the same in every row and on the fleet line."""

TONES = {"Healthy": "good", "At risk": "warn", "Exhausted": "bad", "No data": "none"}
"""The colour of each word that says how a budget stands."""


def safe(text: str) -> str:
    """Make text fit to stand in a drawing: markup escaped, and signs that no XML may hold replaced."""
    return escaped("".join(sign if sign.isprintable() else "\ufffd" for sign in text))


def within(share: float) -> float:
    """Cut a share of the budget to the scale, for a picture only."""
    return min(HIGHEST, max(LOWEST, share))


def budget_bar(remaining: float | None, tone: str) -> str:
    """Draw what is left from −25 to 100 %, growing right from a dark tick at 0; dashed where nothing is known.

    Args:
        remaining: Share of the budget left, or None.
        tone: ``good``, ``warn``, ``bad`` or ``none``.
    """
    zero, width = 22.4, 112.0
    dash = ' stroke-dasharray="3 3"' if remaining is None else ""
    parts = [
        '<svg class="bar" width="112" height="18" viewBox="0 0 112 18" aria-hidden="true">',
        f'<path class="base" d="M0 9H112"{dash}/>',
    ]
    if remaining is not None:
        end = zero + within(remaining) * (width - zero)
        left, right = min(zero, end), max(zero, end)
        parts.append(
            f'<rect class="f{tone}" x="{left:.1f}" y="6" width="{max(right - left, 1):.1f}" height="6" rx="1.5"/>'
        )
        if remaining < LOWEST:
            parts.append(f'<path class="f{tone}" d="M6 4 0 9l6 5z"/>')
    parts.append(f'<path class="zt" d="M{zero} 2V16"/></svg>')
    return "".join(parts)


def sparkline(series: Series) -> str:
    """Draw the budget left over time on the scale of the bar, without axes; what is not known is left out."""
    if len(series.times) < 2:
        return ""
    span = max(1, int(series.times[-1] - series.times[0]))
    shares = np.clip(series.values, LOWEST, HIGHEST)
    xs = 1 + (series.times - series.times[0]) * 87.0 / span
    ys = 20 - (shares - LOWEST) / (HIGHEST - LOWEST) * 18
    zero = 20 - (0 - LOWEST) / (HIGHEST - LOWEST) * 18
    path, pen = [], "M"
    for x, y, known in zip(xs.tolist(), ys.tolist(), series.known.tolist(), strict=True):
        if known:
            path.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    dot = f'<circle cx="{xs[-1]:.1f}" cy="{ys[-1]:.1f}" r="2"/>' if series.known[-1] else ""
    return (
        '<svg class="spark" width="92" height="22" viewBox="0 0 92 22" aria-hidden="true">'
        f'<path class="sz" d="M0 {zero:.1f}H92"/><path class="sl" d="{"".join(path)}"/>{dot}</svg>'
    )


@dataclass(frozen=True, slots=True)
class OnLine:
    """One service on the fleet line: its name, the share left, the tone, and whether it is named in bold."""

    name: str
    remaining: float
    tone: str
    loud: bool = False


_CROWD = 150

_SHAPES = {
    "good": '<circle class="fgood" cx="{x:.1f}" cy="{y}" r="4.6"/>',
    "warn": '<path class="fwarn" d="M{x:.1f} {top}l5.8 10.4h-11.6z"/>',
    "bad": '<path class="fbad" d="M{left:.1f} {top}h4.4l3 3v4.4l-3 3h-4.4l-3-3v-4.4z"/>',
}


def fleet_line(services: Sequence[OnLine], *, narrow: bool = False) -> str:
    """Draw every service's budget left on one line from −25 to 100 %, overspend hatched, labels where there is room.

    Args:
        services: Those whose budget is known.
        narrow: The drawing for small screens: at most three labels.
    """
    width, left, right = (358, 14, 344) if narrow else (1160, 14, 1146)
    labelled = _labelled(services, left, right, 3 if narrow else 40)
    rows = 1 + max((row for _, _, row in labelled), default=0)
    axis = 26 + rows * 20
    zero = _at(0, left, right)
    ids = f"hf{'n' if narrow else 'w'}"
    risk = _at(0.25, left, right) - zero
    parts = [
        opened(width, axis + 34, _finding(services), narrow=narrow),
        hatch(ids, "hz"),
        f'<rect fill="url(#{ids})" x="{left}" y="{axis - 5}" width="{zero - left:.1f}" height="10"/>',
        f'<rect class="risk" x="{zero:.1f}" y="{axis - 5}" width="{risk:.1f}" height="10"/>',
        f'<path class="base" d="M{left} {axis}H{right}"/>',
    ]
    for tick in (LOWEST, 0.0, 0.25, 0.5, 0.75, HIGHEST):
        line, text, reach = ("zt", "axb", 8) if tick == 0 else ("base", "ax", 4)
        anchor, shift = {LOWEST: ("start", -8), HIGHEST: ("end", 8)}.get(tick, ("middle", 0))
        x = _at(tick, left, right)
        parts.append(f'<path class="{line}" d="M{x:.1f} {axis - reach}v{2 * reach}"/>')
        parts.append(
            f'<text class="{text}" x="{x + shift:.1f}" y="{axis + 24}" text-anchor="{anchor}">'
            f"{percent_text(tick, 0)}</text>"
        )
    for one, x, row in labelled:
        y = 16 + (rows - 1 - row) * 20
        parts.append(f'<path class="lead" d="M{x:.1f} {y + 5}V{axis - 6}"/>')
        parts.append(
            f'<text class="{"lbl b" if one.loud else "lbl"}" x="{_kept(x, one.name, left, right):.1f}" y="{y}" '
            f'text-anchor="middle">{safe(_short(one.name))}</text>'
        )
    crowd = len(services) > _CROWD
    if crowd:
        parts.append(_crowd([one for one in services if not one.loud and one.tone == "good"], axis, left, right))
    for one in sorted(services, key=lambda one: one.loud):
        if crowd and not one.loud and one.tone == "good":
            continue
        x = _at(within(one.remaining), left, right)
        parts.append(_SHAPES[one.tone].format(x=x, y=axis, top=axis - 5.2, left=x - 2.2))
    return "".join([*parts, "</svg>"])


def _crowd(services: Sequence[OnLine], y: float, left: float, right: float) -> str:
    """Those that are fine in one shape, where there are too many for one each; who stands in one place is one mark."""
    places = sorted({round(_at(within(one.remaining), left, right)) for one in services})
    ring = "a4.6 4.6 0 1 0 9.2 0a4.6 4.6 0 1 0-9.2 0z"
    return f'<path class="fgood" d="{"".join(f"M{x - 4.6:.1f} {y}{ring}" for x in places)}"/>'


def _finding(services: Sequence[OnLine]) -> str:
    if not services:
        return "Budget left of the whole fleet: nothing is known."
    worst = sorted(services, key=lambda one: one.remaining)
    told = ", ".join(f"{one.name} {percent_text(one.remaining)}" for one in worst[:3])
    rest = f"; the other {len(worst) - 3} up to {percent_text(worst[-1].remaining)}" if len(worst) > 3 else ""
    return f"Budget left of each service on a line from minus 25 to 100 percent: {told}{rest}."


def _at(share: float, left: float, right: float) -> float:
    return left + (share - LOWEST) / (HIGHEST - LOWEST) * (right - left)


def _labelled(services: Sequence[OnLine], left: float, right: float, most: int) -> list[tuple[OnLine, float, int]]:
    """Choose who is named, and in which row above the line: who needs attention first, then from the worst up."""
    taken: list[tuple[float, float, int]] = []
    leads: list[tuple[float, int]] = []
    found = []
    for one in sorted(services, key=lambda one: (not one.loud, one.remaining))[:most]:
        x = _at(within(one.remaining), left, right)
        half = _width(one.name) / 2 + 6
        middle = _kept(x, one.name, left, right)
        for row in range(3):
            crossed = any(
                high > lead - 2 and low < lead + 2
                for lead, top in leads
                if top > row
                for low, high in [(middle - half, middle + half)]
            )
            under = any(low - 2 < x < high + 2 for low, high, at in taken if at < row)
            clash = any(at == row and low < middle + half and high > middle - half for low, high, at in taken)
            if not clash and not crossed and not under:
                taken.append((middle - half, middle + half, row))
                leads.append((x, row))
                found.append((one, x, row))
                break
    return found


def _kept(x: float, name: str, left: float, right: float) -> float:
    half = _width(name) / 2
    return min(max(x, left + half - 8), right - half + 8)


def _width(name: str) -> float:
    return len(_short(name)) * 6.6


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"


def opened(width: int, height: float, label: str, *, narrow: bool) -> str:
    """Open a chart: one of two drawings of which the page shows the one that fits; *label* states the finding."""
    kind = "n" if narrow else "w"
    return f'<svg class="chart {kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{safe(label)}">'


def hatch(name: str, kind: str) -> str:
    """Define a hatched filling, to be used as ``url(#name)``; *kind* is the class of its lines."""
    return (
        f'<defs><pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<path class="{kind}" d="M0 0V6"/></pattern></defs>'
    )


def burn_bars(rates: Sequence[float], limit: float) -> str:
    """Draw burn rates, one bar below the other, against the limit that all of them must pass; what is over is red."""
    width, mark = 160, 94.0
    parts = [f'<svg class="burns" width="{width}" height="22" viewBox="0 0 {width} 22" aria-hidden="true">']
    for number, rate in enumerate(rates[:2]):
        long = min(max(rate / limit * mark if limit > 0 else 0.0, 2.0), 150.0)
        kind = "fbad" if rate >= limit else "fplain"
        parts.append(f'<rect class="{kind}" y="{2 + 11 * number}" width="{long:.1f}" height="5" rx="1.5"/>')
        if long == 150.0:
            parts.append(f'<path class="{kind}" d="M151 {2 + 11 * number}l5 2.5-5 2.5z"/>')
    parts.append(f'<path class="limit" d="M{mark} 0V22"/></svg>')
    return "".join(parts)


_NAMED_FROM = {False: (110.0, 30.0), True: (96.0, 16.0)}  # widths from which a part has its name, and its letter


def cause_bar(parts: Sequence[tuple[str, str, float]]) -> tuple[str, str]:
    """Draw what a budget was spent on as one bar, with a mark where the budget ends if more was spent: both sizes.

    Args:
        parts: Of each class of cause its letter, its name, and the share of the budget that it took.
    """
    return _causes(parts, 680, narrow=False), _causes(parts, 330, narrow=True)


def _causes(parts: Sequence[tuple[str, str, float]], width: int, *, narrow: bool) -> str:
    whole = sum(share for _, _, share in parts)
    scale = (width - 2 * len(parts)) / max(whole, 1.0)
    named, lettered = _NAMED_FROM[narrow]
    told = ", ".join(f"{name.lower()} {percent_text(share)}" for _, name, share in parts)
    drawn = [opened(width, 52, f"Of the budget was spent: {told}", narrow=narrow)]
    x = 0.0
    for letter, name, share in parts:
        long = max(share * scale, 1.5)
        drawn.append(f'<rect class="f{letter}" x="{x:.1f}" y="6" width="{long:.1f}" height="26" rx="3"/>')
        text = f"{name} {share * 100:.1f}" if long >= named else letter if long >= lettered else ""
        if text:
            drawn.append(f'<text class="in" x="{x + 9:.1f}" y="23.5">{safe(text)}</text>')
        x += long + 2
    if whole > 1:
        at = scale + 2 * sum(1 for _ in parts[:-1])
        drawn.append(f'<path class="zt" d="M{at:.1f} 0V40"/><text class="axb" x="{at - 5:.1f}" y="48" ')
        drawn.append(f'text-anchor="end">the budget</text><text class="lbl bad" x="{width}" y="48" text-anchor="end">')
        drawn.append(f"+{(whole - 1) * 100:.1f}</text>")
    else:
        drawn.append(f'<rect class="rest" x="{x:.1f}" y="6" width="{max(width - x, 0):.1f}" height="26" rx="3"/>')
        drawn.append(f'<text class="axb" x="{width}" y="48" text-anchor="end">{percent_text(1 - whole)} left</text>')
    return "".join([*drawn, "</svg>"])


def share_bar(letter: str, share: float) -> str:
    """Draw one cause's share of the largest."""
    long = max(round(120 * share), 2)
    part = f'<rect class="f{letter}" width="{long}" height="8" rx="2"/>'
    return f'<svg class="bar" width="120" height="8" aria-hidden="true">{part}</svg>'
