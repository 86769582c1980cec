"""The page of one service: where did my budget go, and can I ship?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from shlex import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.base.errors import NotFoundError, UsageError
from tightrope.base.units import (
    DAY_S,
    HOUR_S,
    WEEK_S,
    duration_text,
    parse_duration,
    parse_time,
    percent_text,
    span_text,
    time_text,
)
from tightrope.budget.attribution import Cause
from tightrope.budget.words import amount_text, burn_meaning, moment_text
from tightrope.loop.assess import Assessment
from tightrope.loop.attribution import Share, accounts_of
from tightrope.loop.forecasting import forecast_of
from tightrope.loop.gatekeeper import gather
from tightrope.loop.standing import standing_of, tightest
from tightrope.policy.decision import Decision, GateRequest
from tightrope.policy.gate import decide
from tightrope.policy.wording import kinds_text
from tightrope.specs.model import ChangeKind
from tightrope.web.blocks import block_of, verdict_word
from tightrope.web.marks import TONES, budget_bar, burn_bars, cause_bar, share_bar
from tightrope.web.overview import lately
from tightrope.web.pictures import ledger_of, picture_of
from tightrope.web.plots import Plot, plot_of
from tightrope.web.sections import Line, line_of, section_of
from tightrope.web.settings import fillings
from tightrope.web.visit import Desk, Visit

_POINTS = 420
_DECISIONS = 8
_CAUSES = 7
_CLASSES = {
    Cause.DEPLOY: "Deploys",
    Cause.UPSTREAM: "Upstream",
    Cause.INFRA: "Other incidents",
    Cause.BACKGROUND: "Background",
}


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch that a page shows, UTC epoch seconds.

    Attributes:
        start, end: From when to when; *end* is None up to now.
        key: As it stands in the address: ``7d``, or two instants with ``..`` between them.
        words: For a person.
    """

    start: int
    end: int | None
    key: str
    words: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate would say to one kind of change."""

    kind: str
    word: str
    tone: str
    decision: Decision
    why: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What one cause took: its letter, its name, the share of the budget, the amount, and a bar."""

    letter: str
    name: str
    share: str
    amount: str
    bar: str


@dataclass(frozen=True, slots=True)
class Spent:
    """Where the budget went: the drawing of both sizes, the whole, the largest causes, and how many more there are."""

    bars: tuple[str, str]
    whole: str
    rows: list[Taken]
    more: int


@dataclass(frozen=True, slots=True)
class Goal:
    """One of the service's objectives, in the list beside the chart."""

    line: Line
    title: str
    bar: str
    chosen: bool


def routes(desk: Desk) -> list[BaseRoute]:
    """The page of a service."""
    return [desk.route("/services/{service:path}", service)]


def service(visit: Visit) -> Response:
    """Say where the budget of a service went, and whether its changes may ship."""
    name = visit.path("service")
    if name not in visit.board.groups:
        return _unmeasured(visit, name)
    post = visit.board.post(name)
    window_s = post.worst.slo.window.duration.seconds
    group = _replayed(visit, name, window_s)
    one = _chosen(group, visit.asked("slo"))
    window_s = one.statement.window_end - one.statement.window_start
    now = max(visit.now, one.statement.at)
    span = span_of(visit.asked("range"), one.statement.at, one.slo.window.duration.seconds)
    standing = standing_of(one, now)
    section = section_of(one, standing, "slo", asks=visit.asks, most_rows=8)
    answers = answers_of(visit, name, visit.server.assessments(name))
    feature = next(one for one in answers if one.kind == ChangeKind.FEATURE.value)
    unit = "amount" if visit.asked("unit") == "amount" else ""
    return visit.page(
        "service.html",
        title=name,
        current="services",
        service=name,
        one=one,
        section=section,
        lead=_lead(one, window_s, feature.decision),
        plot=plot(one, span, unit),
        span=span,
        spans=_spans(one),
        unit=unit,
        units=(("", "%"), ("amount", "min" if one.statement.unit_s else "events")),
        pinned=_pinned(span, one.statement.at),
        answers=answers,
        block=block_of(feature.decision, visit.asks),
        burns={row.name: burn_bars([rate for _, rate in row.rates], row.limit) for row in section.alerts if row.rates},
        goals=_goals(group, one, now),
        decisions=[
            (each, *verdict_word(each.record.decision))
            for each in visit.server.decisions(service=name, limit=_DECISIONS)
        ],
        events=lately(visit, 6, name),
        incidents=_incidents(one, span),
        command=f"tightrope status {quote(one.slo.name)} {visit.asks}",
        spent=spent_of(visit, one),
        owner=one.slo.owner,
        spec=one.slo.name,
        kinds=[kind.value for kind in ChangeKind],
    )


def _unmeasured(visit: Visit, name: str) -> Response:
    """A service that is known, and of which nothing was evaluated yet; raises `NotFoundError` where it is not known."""
    specs, allowed = visit.board.snapshot.specs, visit.actor.services
    slos = specs.of_service(name)
    if (not slos and name not in specs.services) or (allowed is not None and name not in allowed):
        raise NotFoundError(f"there is no service named {name!r}", remedy="the overview lists all there are")
    reading = [one for one in visit.server.backfills() if any(one.series.startswith(slo.name) for slo in slos)]
    return visit.page(
        "unmeasured.html",
        title=name,
        current="services",
        service=name,
        slos=[slo.name for slo in slos],
        answer=f"{name} is not evaluated yet." if slos else f"Nothing is promised of {name} yet: it has no SLO.",
        reading=fillings(reading),
    )


def spent_of(visit: Visit, one: Assessment) -> Spent | None:
    """Say what the budget of an objective was spent on; None where nothing was, or nobody answers for it."""
    if not one.watched or not one.budget.consumed_ratio:
        return None
    (account,) = accounts_of([one], lambda name: visit.server.history(name, None), visit.server.shipped([one]))
    shares = [share for share in account.shares if share.of_budget]
    if not shares:
        return None
    longest = max(float(share.of_budget or 0) for share in shares)
    return Spent(
        cause_bar([(cause.value, _CLASSES[cause], _sum(found)) for cause, found in account.by_cause().items()]),
        percent_text(account.consumed or 0),
        [
            Taken(
                share.part.cause.value,
                share.part.name or "Background, not tied to any event",
                percent_text(share.of_budget or 0),
                share.amount,
                share_bar(share.part.cause.value, float(share.of_budget or 0) / longest),
            )
            for share in shares[:_CAUSES]
        ],
        max(0, len(shares) - _CAUSES),
    )


def _sum(shares: Sequence[Share]) -> float:
    return float(sum((share.of_budget or Fraction(0) for share in shares), Fraction(0)))


def answers_of(visit: Visit, service: str, group: Sequence[Assessment]) -> list[Answer]:
    """Ask the gate about each kind of change, for the page only: nothing is recorded."""
    request = GateRequest(service, visit.now)
    facts = gather(visit.board.snapshot.specs, request, group)
    found = []
    for kind in ChangeKind:
        decision = decide(replace(request, kind=kind), facts)
        word, tone = verdict_word(decision)
        blocking = next((one for one in decision.reasons if one.outcome in {"stop", "wait"}), None)
        how = "guarded: smaller steps, longer bake" if decision.ship.value == "guarded" else "at the usual pace"
        found.append(Answer(kind.value, word, tone, decision, blocking.says if blocking is not None else how))
    return found


def span_of(text: str, now: int, window_s: int) -> Span:
    """Read a time range as an address has it; what can't be read means one window."""
    if ".." in text:
        try:
            start, end = (parse_time(part) for part in text.split("..", 1))
        except UsageError:
            pass
        else:
            if start < end:
                words = f"{moment_text(start, now)} to {moment_text(end, now)} UTC"
                return Span(start, min(end, now), text, words)
    try:
        length = parse_duration(text).seconds if text else window_s
    except UsageError:
        length = window_s
    length = min(max(length, 60), 3660 * DAY_S)
    return Span(now - length, None, text if length != window_s else "", f"last {_length(length)}")


def plot(one: Assessment, span: Span, unit: str = "") -> Plot | None:
    """Draw the budget over a stretch; None where nothing is known of it."""
    account = ledger_of(one)
    told = told_in(one, unit)
    picture = picture_of(
        one,
        account,
        "budget",
        _POINTS,
        since=span.start,
        until=span.end,
        forecast=forecast_of(one) if one.watched and span.end is None else None,
        told=told if unit else None,
    )
    if picture is None:
        return None
    unit_words = "in percent" if not unit else "in minutes" if one.statement.unit_s else "in events"
    kind = "rolling" if not hasattr(one.slo.window, "time_zone") else "calendar"
    return plot_of(picture, "Budget left over time", f"{kind} {one.slo.window.duration}, {unit_words}", told=told)


def told_in(one: Assessment, unit: str) -> Callable[[float, int], str]:
    """Makes a function that writes a share of the budget: in percent, or in minutes or events of today's budget."""
    if not unit:
        return percent_text
    allowed, unit_s = one.budget.allowed, one.statement.unit_s

    def written(share: float, digits: int) -> str:
        text = amount_text(allowed * Fraction(share).limit_denominator(10**9), unit_s)
        return text.removesuffix(" events").removesuffix(" event") if not digits else text

    return written


def _replayed(visit: Visit, service: str, window_s: int) -> list[Assessment]:
    """The objectives of a service, with what happened in the stretch that is shown."""
    now = visit.now
    span = span_of(visit.asked("range"), now, window_s)
    return visit.server.history(service, min(span.start, now - window_s)) or visit.server.assessments(service)


def _chosen(group: Sequence[Assessment], title: str) -> Assessment:
    if not title:
        return tightest(group)
    for one in group:
        if title in {one.title, one.slo.name}:
            return one
    raise NotFoundError(f"there is no SLO named {title!r} on this service")


def _lead(one: Assessment, window_s: int, feature: Decision) -> str:
    """What burns, and what ships all the same."""
    parts = []
    rate = next((burn for burn in one.statement.burns if burn.lookback_s == HOUR_S), None)
    if one.stale:
        parts.append("The gate answers as the policy says for missing data.")
    elif rate is not None and not rate.no_traffic:
        if rate.rate > 1:
            parts.append(
                f"In the last hour it burned at {float(rate.rate):,.1f}×, which {burn_meaning(rate.rate, window_s)}."
            )
        else:
            parts.append("Nothing burns now." if not rate.rate else "What burns now is within plan.")
    if feature.verdict.value != "go":
        kinds = kinds_text(feature.allows)
        parts.append(f"{kinds[:1].upper()}{kinds[1:]} may ship now." if feature.allows else "Nothing may ship now.")
    return " ".join(parts)


def _spans(one: Assessment) -> list[tuple[str, str]]:
    """The time ranges that are offered: as the address has them, and for a person."""
    window = one.slo.window.duration.seconds
    lengths = [length for length in (3 * window, WEEK_S, DAY_S, HOUR_S) if length != window]
    lengths = sorted({window, *lengths}, reverse=True)
    step = one.plan.step_s
    return [
        ("" if length == window else duration_text(length), _length(length)) for length in lengths if length >= 4 * step
    ]


def _length(seconds: int) -> str:
    text = (
        duration_text(seconds)
        if seconds > DAY_S
        else f"{seconds // HOUR_S}h"
        if seconds >= HOUR_S
        else f"{seconds // 60}m"
    )
    return f"{text[:-1]} {text[-1]}"


def _pinned(span: Span, now: int) -> str:
    """The same stretch by its instants, so that a link shows the same tomorrow; empty where it is so already."""
    return "" if span.end is not None else f"{time_text(span.start)}..{time_text(now)}"


def _goals(group: Sequence[Assessment], chosen: Assessment, now: int) -> list[Goal]:
    found = []
    for one in group:
        standing = standing_of(one, now)
        line = line_of(one, standing, "", 0, now)
        found.append(Goal(line, one.title, budget_bar(line.remaining, TONES[line.word]), one is chosen))
    return found


def _incidents(one: Assessment, span: Span) -> list[tuple[int, str, str, str]]:
    """Known incidents of the stretch, newest first: when, name, how long, cause."""
    end = one.statement.at if span.end is None else span.end
    met = [each for each in one.incidents if each.start < end and each.end > span.start]
    return [
        (
            each.start,
            each.id or each.severity or "incident",
            "still open" if each.end > one.statement.at else span_text(each.end - each.start),
            each.cause or "unknown",
        )
        for each in sorted(met, key=lambda each: -each.start)[:12]
    ]
