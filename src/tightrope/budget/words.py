"""The sentences that every surface opens with: what is left of a budget, what is coming, how a service stands.

Web, command line and messages say the same words, so they are made here, from plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from tightrope.base.units import DAY_S, percent_text, span_text
from tightrope.base.values import dataclass
from tightrope.budget.statement import Budget
from tightrope.specs.model import Flow, ShipHow

SOON_S = 7 * DAY_S
"""A budget that runs out within this time is at risk, however much is left."""

AT_RISK = Fraction(1, 4)
"""Below this share left a budget is at risk."""

EXHAUSTED = "exhausted"
RECOVERED = "recovered"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SMALL = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one service stands, by its tightest objective: all that a sentence about it needs.

    Attributes:
        service: Its name.
        budget: The budget that the policy sees.
        unit_s: Seconds that one unit stands for, 0 for events.
        flow, ship: What the policy's state asks for.
        stale: The newest data is too old to go by.
        age_s: Age of the newest data, seconds; None if there never was any.
        coming: What is forecast, ``exhausted`` or ``recovered``, or None.
        coming_at: When, UTC epoch seconds; None: not within one window.
        holds_features: Whether the state refuses features.
        at: The instant it is told for, UTC epoch seconds; None: that of the sentence. Recorded services end apart.
    """

    service: str
    budget: Budget
    unit_s: int
    flow: Flow
    ship: ShipHow
    stale: bool = False
    age_s: int | None = None
    coming: str | None = None
    coming_at: int | None = None
    holds_features: bool = False
    at: int | None = None

    @property
    def remaining(self) -> Fraction | None:
        """Share of the budget left; None where it is not known, and where the data is too old to say."""
        return None if self.stale else self.budget.remaining_ratio


# --- pieces --------------------------------------------------------------------------------------------------------


def amount_text(amount: Fraction, unit_s: int) -> str:
    """Write units of a budget: as time under the time-based methods (``36.7 min``), else as events (``5,977 events``).

    Args:
        amount: Units of the method; may be negative.
        unit_s: Seconds that one unit stands for; 0 means events.
    """
    if unit_s:
        return span_text(float(amount * unit_s))
    size = abs(amount)
    number = f"{float(size):.1f}" if size.denominator != 1 and size < 10 else f"{round(size):,}"
    sign = "−" if amount < 0 and float(number.replace(",", "")) else ""
    return f"{sign}{number} {'event' if number == '1' else 'events'}"


def left_text(budget: Budget, unit_s: int) -> str:
    """Say what is left in units, in words: ``5.0 min left``, ``5.0 min over budget``, ``nothing left``."""
    left = budget.allowed - budget.consumed
    if left < 0:
        return f"{amount_text(-left, unit_s)} over budget"
    return f"{amount_text(left, unit_s)} left" if left else "nothing left"


def budget_text(budget: Budget, unit_s: int) -> str:
    """Say what is left as share and in units: ``12.4 %, 5.0 min left``; ``−12.4 %, 5.0 min over budget``."""
    remaining = budget.remaining_ratio
    return "no data" if remaining is None else f"{percent_text(remaining)}, {left_text(budget, unit_s)}"


def burn_text(rate: Fraction | float | None) -> str:
    """Write a burn rate: ``2.1×``; a dash where there was no traffic to tell it from."""
    if rate is None:
        return "–"
    return f"{float(rate):,.1f}×" if rate < 100 else f"{float(rate):,.0f}×"


def burn_meaning(rate: Fraction | float | None, window_s: int) -> str:
    """Say what a burn rate means if it goes on: ``spends the budget in 13.3 d``; within plan at 1 and below."""
    if rate is None:
        return "no traffic"
    if not rate:
        return "nothing is spent"
    return "within plan" if rate <= 1 else f"spends a whole budget in {span_text(window_s / float(rate))}"


def outlook_text(forecast_what: str | None, at: int | None, now: int) -> str:
    """Say what is coming, to follow a name or stand in a column; `sentence_case` makes it open a sentence.

    Args:
        forecast_what: ``exhausted``, ``recovered``, or None where nothing is forecast.
        at: When, UTC epoch seconds; None: not within one window.
        now: The instant it is told, UTC epoch seconds.
    """
    if forecast_what == EXHAUSTED:
        if at is None:
            return "lasts this window at this burn"
        return f"runs out in {span_text(max(0, at - now))} at this burn"
    if forecast_what == RECOVERED:
        return "no way back within one window" if at is None else f"recovers about {day_text(at, now)}"
    return "steady"


def status_word(
    remaining: Fraction | None, flow: Flow, ship: ShipHow, stale: bool, *, runs_out_in_s: int | None = None
) -> tuple[str, str]:
    """Name how a budget stands, and its letter: ``Healthy ok``, ``At risk !``, ``Exhausted x``, ``No data ?``.

    At risk is also what the policy treats so (guarded, or stability flow), and what runs out within a week.
    """
    if stale or remaining is None:
        return "No data", "?"
    if remaining <= 0:
        return "Exhausted", "x"
    soon = runs_out_in_s is not None and runs_out_in_s <= SOON_S
    if remaining < AT_RISK or soon or flow is Flow.STABILITY or ship is ShipHow.GUARDED:
        return "At risk", "!"
    return "Healthy", "ok"


def flow_word(flow: Flow, ship: ShipHow) -> tuple[str, str]:
    """Name a flow and its letter on the command line: ``Feature F``, ``Guarded G``, ``Stability S``."""
    if flow is Flow.STABILITY:
        return "Stability", "S"
    return ("Guarded", "G") if ship is ShipHow.GUARDED else ("Feature", "F")


def standing_word(standing: Standing, now: int) -> tuple[str, str]:
    """`status_word` of a service as it stands at *now*."""
    lasts_s = _lasts_s(standing, now)
    return status_word(standing.remaining, standing.flow, standing.ship, standing.stale, runs_out_in_s=lasts_s)


# --- sentences -----------------------------------------------------------------------------------------------------


def service_sentence(standing: Standing, now: int) -> str:
    """Answer how one service stands, in one or two plain sentences with the number and the date in them."""
    name, budget = standing.service, standing.budget
    remaining = budget.remaining_ratio
    if standing.stale or remaining is None:
        if standing.age_s is None:
            return f"{name} has sent no data yet."
        if standing.stale:
            return f"{name} has sent no data for {span_text(standing.age_s)}."
        return f"{name} had no traffic in its window, so its budget is not known."
    if remaining < 0:
        head = f"{name} is {left_text(budget, standing.unit_s)}."
    elif not remaining:
        head = f"{name} has spent its budget."
    else:
        left = amount_text(budget.allowed - budget.consumed, standing.unit_s)
        head = f"{name} has {percent_text(remaining)} of its budget left, {left}."
    tail = _what_follows(standing, now)
    return f"{head} {tail}" if tail else head


def fleet_sentence(standings: Sequence[Standing], now: int) -> str:
    """Answer whether anything is wrong, in one sentence: who is in stability flow, and who runs out next."""
    if not standings:
        return "No service is watched yet."
    if len(standings) == 1:
        return service_sentence(standings[0], now)
    count = len(standings)
    stable = [one for one in standings if one.flow is Flow.STABILITY]
    rest = [one for one in standings if one.flow is not Flow.STABILITY]
    soon = sorted(
        left
        for one, left in ((one, _lasts_s(one, now)) for one in rest)
        if not one.stale and left is not None and left <= SOON_S
    )
    silent = sum(one.stale for one in standings)
    guarded = sum(one.ship is ShipHow.GUARDED and not one.stale for one in rest)
    parts: list[str] = []
    if stable:
        parts.append(f"{_number(len(stable), count)} in stability flow")
    if soon:
        when = _long_span(soon[0])
        more = "more " if stable else ""
        if len(soon) == 1:
            who = f"one {more}runs" if stable else f"One of {count} services runs"
            parts.append(f"{who} out of budget in {when}")
        else:
            who = f"{_small(len(soon)).lower()} {more}run" if stable else f"{_small(len(soon))} of {count} services run"
            parts.append(f"{who} out of budget within a week, the first in {when}")
    elif guarded:
        parts.append(
            f"{_small(guarded).lower()} more {'ships' if guarded == 1 else 'ship'} guarded"
            if stable
            else f"{_small(guarded)} of {count} services {'ships' if guarded == 1 else 'ship'} guarded"
        )
    if silent:
        sends = "sends" if silent == 1 else "send"
        who = _small(silent).lower() if parts else f"{_small(silent)} of {count} services"
        parts.append(f"{who} {sends} no data")
    empty = sum(one.remaining is not None and one.remaining <= 0 for one in rest)
    if empty:
        spent = f"{'has' if empty == 1 else 'have'} no budget left"
        who = _small(empty).lower() if parts else f"{_small(empty)} of {count} services"
        parts.append(f"{who} {'more ' if stable else ''}{spent}")
    if not parts:
        left = " with budget left" if all(one.remaining is not None for one in rest) else ""
        return f"All {count} services are in feature flow{left}."
    return f"{_joined(parts)}."


def _lasts_s(standing: Standing, now: int) -> int | None:
    """How long the budget lasts, seconds from the instant it is told for; None where no end is forecast."""
    if standing.coming != EXHAUSTED or standing.coming_at is None:
        return None
    return standing.coming_at - (now if standing.at is None else standing.at)


def sentence_case(text: str) -> str:
    """Write the first letter large; the rest stays as it is."""
    return text[:1].upper() + text[1:]


# --- dates ---------------------------------------------------------------------------------------------------------


def day_text(at: int, now: int) -> str:
    """Write a day in UTC for a person: ``21 Mar``, with the year where it is not the one of *now*."""
    moment, present = _moment(at), _moment(now)
    year = f" {moment.year}" if moment.year != present.year else ""
    return f"{moment.day} {_MONTHS[moment.month - 1]}{year}"


def moment_text(at: int, now: int) -> str:
    """Write an instant in UTC for a person: ``21 Mar 09:40``, with the year where it is not the one of *now*."""
    return f"{day_text(at, now)} {_moment(at):%H:%M}"


def _moment(at: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)


def _what_follows(standing: Standing, now: int) -> str:
    if standing.holds_features:
        if standing.coming == RECOVERED and standing.coming_at is not None:
            return f"Features wait until about {day_text(standing.coming_at, now)}."
        return "Features wait."
    if standing.coming == EXHAUSTED and standing.coming_at is not None:
        return f"It {outlook_text(EXHAUSTED, standing.coming_at, now)}."
    if standing.ship is ShipHow.GUARDED:
        return "Changes ship guarded."
    return ""


def _number(some: int, of: int) -> str:
    if some == of:
        return f"All {of} services are"
    return f"{_small(some)} of {of} services {'is' if some == 1 else 'are'}"


def _small(number: int) -> str:
    return _SMALL[number] if number < len(_SMALL) else f"{number:,}"


def _long_span(seconds: int) -> str:
    """A stretch of time as a sentence has it: ``2.4 days``."""
    text = span_text(max(0, seconds))
    return f"{text[:-2]} days" if text.endswith(" d") else text


def _joined(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])}, and {parts[-1]}"
