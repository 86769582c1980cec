"""What a page says about each objective, in words and numbers ready to be set; templates only place them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from tightrope.alerting.alerts import AlertMemory
from tightrope.backtest.labels import Deployment
from tightrope.backtest.score import Score
from tightrope.base.units import duration_text, percent_text, span_text, time_text
from tightrope.budget.burn import Burn, burn_rate
from tightrope.budget.words import (
    Standing,
    amount_text,
    burn_meaning,
    burn_text,
    flow_word,
    left_text,
    moment_text,
    outlook_text,
    sentence_case,
    service_sentence,
    standing_word,
)
from tightrope.engine.plan import Incident
from tightrope.engine.replay import Episode
from tightrope.loop.assess import Assessment
from tightrope.policy.states import compare, named
from tightrope.specs.model import CalendarWindow, Condition, ConditionKind
from tightrope.web.marks import TONES

MOST_ROWS = 12
"""Rows of a table of moves, episodes or stopped deployments; the newest, and the rest is counted."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the numbers on top of a section: what it is, the number, a smaller word beside it, and what it means."""

    name: str
    value: str
    beside: str
    meaning: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert condition: its rule and present burn in words, how it stands (word, tone), and how often it was out.

    *rates* are the burn rates over its lookbacks and *limit* is what they are held against, for a drawing; no rates
    where there is nothing to draw.
    """

    name: str
    severity: str
    rule: str
    burn: str
    word: str
    tone: str
    fired: int
    out: str
    rates: tuple[tuple[str, float], ...] = ()
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """One time an alert was out, beginning *at*."""

    at: int
    when: str
    lasted: str
    severity: str
    condition: str
    use: str


@dataclass(frozen=True, slots=True)
class MoveRow:
    """One move of the policy, with the flow words of both states and the reason."""

    at: int
    when: str
    before: str
    after: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class StopRow:
    """One deployment that the policy would have stopped."""

    when: str
    change: str
    kind: str
    environment: str
    state: str


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """Alerts held against labelled incidents."""

    name: str
    score: Score
    precision: str
    recall: str
    detects: str
    resets: str


@dataclass(frozen=True, slots=True)
class Section:
    """Everything about one objective, in words; times are UTC."""

    anchor: str
    title: str
    service: str
    promise: str
    sentence: str
    word: str
    tone: str
    flow: str
    since: str
    watched: bool
    figures: tuple[Figure, ...]
    window_words: str
    alerts: tuple[AlertRow, ...]
    episodes: tuple[EpisodeRow, ...]
    episodes_more: int
    moves: tuple[MoveRow, ...]
    moves_more: int
    stays: tuple[tuple[str, str, str], ...]
    scores: tuple[ScoreRow, ...]
    stops: tuple[StopRow, ...]
    stops_more: int
    facts: tuple[tuple[str, str], ...]
    bad_rows: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One service in the table of the fleet, by its tightest objective."""

    anchor: str
    service: str
    about: str
    word: str
    letter: str
    tone: str
    flow: str
    held: bool
    share: str
    amount: str
    burn_1h: str
    burn_6h: str
    burning: bool
    burn_words: str
    outlook: str
    as_of: str
    remaining: float | None


def section_of(
    one: Assessment,
    standing: Standing,
    anchor: str,
    *,
    scores: Mapping[str, Score] | None = None,
    stopped: Sequence[tuple[Deployment, str]] = (),
    asks: str,
    most_rows: int = MOST_ROWS,
) -> Section:
    """Say everything about one objective.

    Args:
        one: The objective.
        standing: How it stands.
        anchor: Its id on the page.
        scores: By name of the severities, where incidents are labelled.
        stopped: Deployments that the policy would have stopped, with the state that would have.
        asks: What tells a command line where to ask, such as ``-f slo`` or ``--server URL``.
        most_rows: The newest rows of each table; the rest is counted.
    """
    history, now = one.history, one.statement.at
    word, _ = standing_word(standing, now)
    flow = flow_word(standing.flow, standing.ship)[0]
    episodes = sorted(history.episodes, key=lambda each: each.start, reverse=True)
    moves = history.transitions[::-1]
    return Section(
        anchor=anchor,
        title=one.title,
        service=one.slo.service,
        promise=promise_text(one),
        sentence=service_sentence(replace(standing, service=one.title), now),
        word=word,
        tone=TONES[word],
        flow=flow,
        since="" if history.since is None else moment_text(history.since, now),
        watched=one.watched,
        figures=_figures(one, standing, TONES[word]),
        window_words=_window_words(one),
        alerts=tuple(alert_rows(one, standing.stale)) if one.watched else (),
        episodes=tuple(_episode_row(each, one.incidents, now) for each in episodes[:most_rows]),
        episodes_more=max(0, len(episodes) - most_rows),
        moves=tuple(
            MoveRow(each.at, moment_text(each.at, now), each.before, each.after, _kind(one, each.after), each.reason)
            for each in moves[:most_rows]
        ),
        moves_more=max(0, len(moves) - most_rows),
        stays=_stays(one),
        scores=tuple(score_row(name, score) for name, score in (scores or {}).items()),
        stops=tuple(
            StopRow(moment_text(each.at, now), each.change, each.kind, each.environment, state)
            for each, state in list(stopped)[: -most_rows - 1 : -1]
        ),
        stops_more=max(0, len(stopped) - most_rows),
        facts=_facts(one),
        bad_rows=tuple(f"{row.source}:{row.line}: {row.why}" for row in one.quality.examples),
        commands=_commands(one, asks),
    )


def line_of(one: Assessment, standing: Standing, anchor: str, others: int, seen_from: int) -> Line:
    """Set one row of the fleet's table, told at *seen_from*; *others* objectives of the service are not shown in it."""
    now, remaining = one.statement.at, one.budget.remaining_ratio
    word, letter = standing_word(standing, now)
    rates = {burn.lookback_s: None if burn.no_traffic else burn.rate for burn in one.statement.burns}
    hour, six = rates.get(3600), rates.get(6 * 3600)
    share = "No data" if remaining is None or standing.stale else percent_text(remaining)
    amount = (
        amount_text(one.budget.allowed - one.budget.consumed, one.statement.unit_s) if remaining is not None else ""
    )
    if standing.stale:
        amount = "" if remaining is None else f"was {percent_text(remaining)}"
    outlook = sentence_case(outlook_text(standing.coming, standing.coming_at, now))
    if standing.stale:
        outlook = "Never measured" if standing.age_s is None else f"Silent for {span_text(standing.age_s)}"
    elif remaining is None:
        outlook = "No traffic in the window"
    more = f" · {others} more" if others else ""
    return Line(
        anchor=anchor,
        service=one.slo.service,
        about=f"{share_text(one.objective.target)} good, {one.slo.window.duration}{more}",
        word=word,
        letter=letter,
        tone=TONES[word],
        flow=flow_word(standing.flow, standing.ship)[0],
        held=standing.stale,
        share=share,
        amount=amount,
        burn_1h="–" if standing.stale else burn_text(hour),
        burn_6h="–" if standing.stale else burn_text(six),
        burning=not standing.stale and any(rate is not None and rate > 1 for rate in (hour, six)),
        burn_words="" if standing.stale else burn_meaning(six, _window_s(one)),
        outlook=outlook,
        as_of=moment_text(now, seen_from),
        remaining=None if standing.remaining is None else float(standing.remaining),
    )


def promise_text(one: Assessment) -> str:
    """Say what was promised: ``99.9 % of slices good in 28d``."""
    unit = "slices" if one.statement.unit_s else "events"
    return f"{share_text(one.objective.target)} of {unit} good, {_window_words(one)}"


def share_text(share: Fraction | float) -> str:
    """Write a share with as many decimals as it needs, three at most: ``99.95 %``."""
    text = percent_text(share, 3)[:-2]
    return f"{text.rstrip('0').rstrip('.')} %"


def score_row(name: str, score: Score) -> ScoreRow:
    """Set one row of scores; a dash where there is nothing to tell."""
    return ScoreRow(
        name,
        score,
        "–" if score.precision is None else percent_text(score.precision, 0),
        "–" if score.recall is None else percent_text(score.recall, 0),
        "–" if score.detect_s is None else span_text(score.detect_s),
        "–" if score.reset_s is None else span_text(score.reset_s),
    )


def anchors(names: Iterable[str]) -> list[str]:
    """Give each name an id that is safe in an address and used only once."""
    found: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(names, 1):
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or str(number)
        anchor = f"slo-{plain}"
        while anchor in taken:
            anchor += f"-{number}"
        taken.add(anchor)
        found.append(anchor)
    return found


# --- parts ---------------------------------------------------------------------------------------------------------


def _figures(one: Assessment, standing: Standing, tone: str) -> tuple[Figure, ...]:
    statement, budget = one.statement, one.budget
    remaining, unit_s = budget.remaining_ratio, statement.unit_s
    if remaining is None:
        left = Figure("Budget left", "Not known", "", "no valid unit in the window", "none")
    else:
        allowed = amount_text(budget.allowed, unit_s)
        basis = "" if statement.projected == statement.observed or not _young(one) else ", projected to the full window"
        basis = basis if one.plan.basis.value == "projected" else ""
        left = Figure(
            "Budget left" if not standing.stale else "Budget left, when last seen",
            percent_text(remaining),
            "",
            f"{left_text(budget, unit_s)}, of {allowed}{basis}",
            tone if tone != "good" else "",
        )
    unit = "slices" if unit_s else "events"
    sli = statement.sli
    good = Figure(
        f"Good {unit}, {one.slo.window.duration}",
        "Not known" if sli is None else share_text(sli),
        "",
        f"objective {share_text(one.objective.target)} · {round(statement.total):,} {unit}",
    )
    hour = next(
        (burn for burn in statement.burns if burn.lookback_s == 3600), statement.burns[0] if statement.burns else None
    )
    rate = None if hour is None or hour.no_traffic or standing.stale else hour.rate
    burn = Figure(
        "Burn now",
        burn_text(rate),
        "" if hour is None else duration_text(hour.lookback_s),
        "no data to tell it from" if standing.stale else burn_meaning(rate, _window_s(one)),
    )
    missing = (1 - statement.coverage) * max(0, statement.at - max(statement.window_start, _began(one)))
    measured = Figure(
        "Measured",
        percent_text(statement.coverage),
        "",
        f"of the window had data; {span_text(float(missing))} missing" if missing > 0 else "of the window had data",
        "" if statement.coverage > Fraction(9, 10) else "warn",
    )
    return left, good, burn, measured


def _young(one: Assessment) -> bool:
    statement = one.statement
    return statement.window_end > statement.at or _began(one) > statement.window_start


def _began(one: Assessment) -> int:
    start = one.history.memory.history_start
    return one.units.start if start is None else start


def _window_s(one: Assessment) -> int:
    return one.statement.window_end - one.statement.window_start


def _window_words(one: Assessment) -> str:
    window = one.slo.window
    if isinstance(window, CalendarWindow):
        return f"calendar {window.duration}, {window.time_zone}"
    return f"rolling {window.duration}"


def _kind(one: Assessment, name: str) -> str:
    state = named(one.policy, name)
    return flow_word(state.flow, state.ship)[0].lower()


def alert_rows(one: Assessment, stale: bool) -> Iterable[AlertRow]:
    """Set a row for each of an objective's alert conditions; what is *stale* neither fires nor resolves."""
    memories = one.history.memory.alerts
    for number, condition in enumerate(one.plan.conditions):
        memory = memories[number] if number < len(memories) else AlertMemory()
        rates = _rates(one, condition)
        word, tone = _alert_word(condition, memory, rates, stale)
        out = [each for each in one.history.episodes if each.condition == condition.name]
        lasted = sum((one.statement.at if each.end is None else each.end) - each.start for each in out)
        yield AlertRow(
            name=condition.name,
            severity=condition.severity,
            rule=_rule(condition),
            burn="–" if stale else " and ".join(burn_text(None if each.no_traffic else each.rate) for each in rates),
            word=word,
            tone=tone,
            fired=len(out),
            out=span_text(lasted) if out else "–",
            rates=()
            if stale or condition.kind is ConditionKind.CONSUMED
            else tuple(
                (duration_text(each.lookback_s), 0.0 if each.no_traffic else float(each.rate)) for each in rates
            ),
            limit=float(condition.threshold),
        )


def _rates(one: Assessment, condition: Condition) -> list[Burn]:
    """The burn over each lookback of a condition: as the statement has it, else from the record."""
    known = {burn.lookback_s: burn for burn in one.statement.burns}
    return [
        known[lookback]
        if lookback in known
        else burn_rate(one.units, one.plan.target, one.statement.at, lookback, weight=one.plan.weight)
        for lookback in condition.lookbacks_s
    ]


def _rule(condition: Condition) -> str:
    lookbacks = " and ".join(duration_text(lookback) for lookback in condition.lookbacks_s)
    if condition.kind is ConditionKind.CONSUMED:
        return f"{percent_text(condition.threshold)} of the budget in {lookbacks}"
    sure = ", and significant" if condition.kind is ConditionKind.SIGNIFICANCE else ""
    return f"{_factor(condition.threshold)}× over {lookbacks}{sure}"


def _factor(threshold: Fraction) -> str:
    """A threshold for the screen: two decimals, none of them a useless zero; tiny ones keep two digits."""
    value = float(threshold)
    return f"{value:.2f}".rstrip("0").rstrip(".") if value >= 0.01 else f"{value:.2g}"


def _alert_word(condition: Condition, memory: AlertMemory, rates: Sequence[Burn], stale: bool) -> tuple[str, str]:
    """Firing, rising (the short lookback is over), recovering (only the long one is), quiet; held while stale."""
    if stale:
        return ("Firing, held", "bad") if memory.firing else ("Held", "none")
    if memory.firing:
        return "Firing", "bad"
    if condition.kind is ConditionKind.CONSUMED:
        return "Quiet", "good"
    over = [compare(one.rate, condition.op, condition.threshold) for one in rates]
    if len(over) > 1 and over[0] and not over[-1]:
        return "Recovering", "warn"
    return ("Rising", "warn") if over[-1] else ("Quiet", "good")


def _episode_row(one: Episode, incidents: Sequence[Incident], now: int) -> EpisodeRow:
    end = now if one.end is None else one.end
    met = any(each.start <= end and each.end >= one.start for each in incidents)
    use = "" if not incidents else "Found an incident" if met else "Needless"
    lasted = f"{span_text(end - one.start)}{', still out' if one.end is None else ''}"
    return EpisodeRow(one.start, moment_text(one.start, now), lasted, one.severity, one.condition, use)


def _stays(one: Assessment) -> tuple[tuple[str, str, str], ...]:
    whole = sum(one.history.state_s.values())
    return tuple(
        (name, _kind(one, name), f"{span_text(seconds)}, {percent_text(seconds / whole)}")
        for name, seconds in one.history.state_s.items()
        if whole
    )


def _facts(one: Assessment) -> tuple[tuple[str, str], ...]:
    statement, quality, now = one.statement, one.quality, one.statement.at
    facts = [("As of", time_text(now)), ("Covered", f"{percent_text(statement.coverage, 2)} of the window's slices")]
    if statement.interval is not None and statement.coverage < 1:
        low, high = (percent_text(bound) for bound in statement.interval)
        facts.append(("If gaps were all good or all bad", f"{low} to {high} of the budget spent"))
    facts.append(("Gaps count as", "nothing (ignored)" if one.slo.gaps.value == "ignore" else one.slo.gaps.value))
    if one.history.evaluated is not None:
        facts.append(("Stale for", span_text(one.history.stale_s) if one.history.stale_s else "never"))
    if one.units.excluded is not None and one.units.excluded.any():
        facts.append(("Excluded", span_text(int(one.units.excluded.sum()) * one.units.step_s)))
    if statement.last_covered is not None:
        facts.append(("Newest data", f"{moment_text(statement.last_covered, now)} UTC"))
    if one.history.evaluated is not None:
        facts.append(("Replayed", f"{time_text(one.history.evaluated[0])} to {time_text(one.history.evaluated[1])}"))
        worst, worst_at = one.history.worst_consumed.value, one.history.worst_consumed.at
        at = "" if worst_at is None else f" on {moment_text(worst_at, now)}"
        facts.append(("Least budget left", f"{percent_text(1 - worst)}{at}"))
    facts.append(("Rows", f"{quality.rows:,} read, {quality.bad_rows:,} could not be used"))
    facts += [("Note", note) for note in quality.notes]
    facts.append(("Policy", one.policy.name))
    forgiven = sorted({incident.cause for incident in one.incidents} & one.policy.out_of_scope)
    if forgiven:
        facts.append(("Not counted for the flow", f"incidents caused by {' or '.join(forgiven)}"))
    return tuple(facts)


def _commands(one: Assessment, asks: str) -> tuple[str, ...]:
    """What prints the same; a server speaks of now, so it is given no instant."""
    name = shlex.quote(one.slo.name)
    at = "" if asks.startswith("--server") else f" --at {time_text(one.statement.at)}"
    commands = [f"tightrope {verb} {name} {asks}{at}" for verb in ("status", "explain")]
    if one.history.evaluated is not None:
        commands.append(f"tightrope backtest {name} {asks} --to {time_text(one.history.evaluated[1])}")
    return tuple(commands)
