"""Alerts: what fires, what is rising, who was told, and what is silenced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.base.units import span_text
from tightrope.budget.words import left_text
from tightrope.loop.assess import Assessment
from tightrope.web.board import Board
from tightrope.web.marks import burn_bars
from tightrope.web.sections import AlertRow, alert_rows
from tightrope.web.visit import Desk, Visit

_ORDER = {"Firing": 0, "Firing, held": 1, "Rising": 2, "Recovering": 3, "Held": 4, "Quiet": 5}
_MOST = 300


@dataclass(frozen=True, slots=True)
class Burning:
    """One condition that is not quiet, with its objective and since when it is out."""

    row: AlertRow
    service: str
    title: str
    since: int | None
    lasts: str
    left: str
    bars: str


def routes(desk: Desk) -> list[BaseRoute]:
    """The page of alerts."""
    return [desk.route("/alerts", alerts)]


def alerts(visit: Visit) -> Response:
    """Say what fires, what comes near, and what is quiet."""
    rows = list(_all(visit.board))
    counts = Counter(row.row.word for row in rows)
    loud = [row for row in rows if row.row.word not in {"Quiet", "Held"}]
    state = visit.asked("state").lower()
    shown = [row for row in rows if row.row.word.lower().startswith(state)] if state else loud
    return visit.page(
        "alerts.html",
        title="Alerts",
        current="alerts",
        answer=sentence(loud, counts),
        rows=sorted(shown, key=_urgency)[:_MOST],
        count=len(shown),
        state=state,
        states=[("", "Loud", len(loud))]
        + [
            (word.lower(), word, counts[word])
            for word in ("Firing", "Rising", "Recovering", "Quiet", "Held")
            if counts[word]
        ],
        total=len(rows),
    )


def sentence(loud: Sequence[Burning], counts: Counter[str]) -> str:
    """Say in one sentence whether anybody is called."""
    out = [row for row in loud if row.row.word.startswith("Firing")]
    near = counts["Rising"]
    more = f" {near:,} {'is' if near == 1 else 'are'} rising." if near else ""
    if not out:
        return f"Nothing fires; {near:,} {'is' if near == 1 else 'are'} rising." if near else "All is quiet."
    kinds = Counter(row.row.severity for row in out)
    told = " and ".join(f"{count:,} {name}{'s' if count > 1 else ''}" for name, count in kinds.most_common())
    services = sorted({row.service for row in out})
    where = f"for {services[0]}" if len(services) == 1 else f"in {len(services):,} services"
    return f"{told} {'fires' if len(out) == 1 else 'fire'} {where}.{more}"


def _all(board: Board) -> Iterator[Burning]:
    for service, group in board.groups.items():
        for one in group:
            if one.watched:
                yield from _of(one, board, service)


def _of(one: Assessment, board: Board, service: str) -> Iterator[Burning]:
    since = {
        condition.name: memory.firing_since
        for condition, memory in zip(one.plan.conditions, one.history.memory.alerts, strict=False)
    }
    for row in alert_rows(one, one.stale):
        at = since.get(row.name) if row.word.startswith("Firing") else None
        yield Burning(
            row,
            service,
            one.title,
            at,
            "" if at is None else span_text(board.now - at),
            left_text(one.budget, one.statement.unit_s) if one.budget.remaining_ratio is not None else "not known",
            burn_bars([rate for _, rate in row.rates], row.limit) if row.rates and row.word != "Quiet" else "",
        )


def _urgency(one: Burning) -> tuple[int, bool, int, str]:
    return _ORDER.get(one.row.word, 9), one.row.severity != "page", one.since or 0, one.service
