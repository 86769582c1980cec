"""Pictures in numbers: what a chart of one objective shows, gathered from its assessment before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tightrope.backtest.labels import Deployment
from tightrope.base.units import percent_text
from tightrope.budget.series import Ledger, Series, fewer, ledger, silent_stretches
from tightrope.budget.words import flow_word, moment_text
from tightrope.engine.plan import Incident
from tightrope.loop.assess import Assessment
from tightrope.policy.decision import Forecast
from tightrope.policy.states import named
from tightrope.sli.coverage import Stretch
from tightrope.specs.model import RemainingIs, RollingWindow, leaves

Told = Callable[[float, int], str]
"""Writes a share of the budget, with so many digits after the point: as a percentage, or in units."""

_CAUSES = {"deploy": "D", "deployment": "D", "change": "D", "dependency": "U", "upstream": "U", "infrastructure": "I"}
_NOTABLE = 0.03
_MOST_NOTES = 6


@dataclass(frozen=True, slots=True)
class Stay:
    """A stretch in one policy state: ``kind`` is its flow word in small letters (feature, guarded, stability)."""

    start: int
    end: int
    kind: str
    state: str


@dataclass(frozen=True, slots=True)
class Call:
    """An alert episode within the picture. ``use`` is ``found``, ``needless``, or empty where no incident is known."""

    start: int
    end: int
    severity: str
    use: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """A known incident: where it stands, its label and its cause letter (``D U I B``), and whether a page found it."""

    start: int
    end: int
    label: str
    cause: str
    missed: bool


@dataclass(frozen=True, slots=True)
class Ship:
    """A deployment, and whether the policy would have stopped it."""

    at: int
    label: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class Note:
    """A fall or a return of the budget worth naming: from one share to another between two instants."""

    start: int
    end: int
    before: float
    after: float
    label: str
    cause: str


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """All that a chart of the budget over time shows. Times are UTC epoch seconds, shares are of the budget.

    Attributes:
        start, end: The stretch shown; *end* is the last evaluation.
        series: Budget left, thinned.
        silent: Stretches without data.
        ahead: What is forecast after *end*, with the share it will have reached (0, or the way out), or None.
        finding: What the chart shows, as a sentence.
        name: For ids in the drawing.
    """

    start: int
    end: int
    series: Series
    silent: tuple[Stretch, ...]
    stays: tuple[Stay, ...]
    calls: tuple[Call, ...]
    troubles: tuple[Trouble, ...]
    ships: tuple[Ship, ...]
    notes: tuple[Note, ...]
    ahead: tuple[Forecast, float] | None
    finding: str
    name: str


def ledger_of(assessment: Assessment) -> Ledger:
    """The running sums of an objective, for all its pictures."""
    plan, began = assessment.plan, assessment.history.memory.history_start
    return ledger(assessment.units, plan.target, plan.window, plan.basis, began, weight=plan.weight)


def narrowed(picture: Picture, points: int) -> Picture:
    """The same picture with fewer points, for a smaller drawing."""
    return replace(picture, series=fewer(picture.series, points))


def picture_of(
    assessment: Assessment,
    account: Ledger,
    name: str,
    points: int,
    *,
    since: int | None = None,
    until: int | None = None,
    forecast: Forecast | None = None,
    deployments: Sequence[tuple[Deployment, bool]] = (),
    told: Told | None = None,
) -> Picture | None:
    """Gather the picture of one objective; None where nothing was evaluated.

    Args:
        assessment: The objective.
        account: Its running sums (`ledger_of`).
        name: For ids in the drawing; letters, digits and hyphens.
        points: At most so many points of the budget line.
        since: Show only what came after this instant.
        until: Show nothing later; None goes on to the last evaluation.
        forecast: Drawn after the end, if there is one.
        deployments: Known deployments, each with whether the policy would have stopped it; those of other services
            are left out.
        told: Writes how much a fall or a return is, a share of the budget, with so many digits; None takes percent.
    """
    history, plan = assessment.history, assessment.plan
    if history.evaluated is None:
        return None
    start = max(history.evaluated[0] - plan.step_s, since if since is not None else history.evaluated[0] - plan.step_s)
    end = history.evaluated[1] if until is None else min(history.evaluated[1], until)
    if start >= end:
        return None
    series = fewer(account.remaining(start, end), points)
    stays = _stays(assessment, start, end)
    incidents = [one for one in assessment.incidents if one.start < end and one.end > start]
    calls, troubles = _calls(assessment, start, end, incidents)
    ships = tuple(
        Ship(one.at, one.change or one.kind, refused)
        for one, refused in deployments
        if one.service == assessment.slo.service and start <= one.at <= end
    )
    silent = tuple(
        (max(low, start), min(high, end))
        for low, high in silent_stretches(assessment.units, assessment.slo.stale_after)
        if high > start and low < end
    )
    return Picture(
        start,
        end,
        series,
        silent,
        stays,
        calls,
        troubles,
        ships,
        _notes(series, incidents, silent, told or _points, rolling=isinstance(plan.window, RollingWindow)),
        _ahead(assessment, forecast),
        _finding(assessment, series, start, end),
        name,
    )


def _stays(assessment: Assessment, start: int, end: int) -> tuple[Stay, ...]:
    moves = [(one.at, one.after) for one in assessment.history.transitions]
    edges = [(start, assessment.history.state_at(start)), *((at, name) for at, name in moves if start < at < end)]
    ends = [*(at for at, _ in edges[1:]), end]
    found = []
    for (at, name), stop in zip(edges, ends, strict=True):
        state = named(assessment.policy, name)
        found.append(Stay(at, stop, flow_word(state.flow, state.ship)[0].lower(), name))
    return tuple(found)


def _calls(
    assessment: Assessment, start: int, end: int, incidents: Sequence[Incident]
) -> tuple[tuple[Call, ...], tuple[Trouble, ...]]:
    calls, found = [], set[int]()
    for episode in assessment.history.episodes:
        stop = end if episode.end is None else min(episode.end, end)
        if stop < start or episode.start > end:
            continue
        met = {number for number, one in enumerate(incidents) if one.start <= stop and one.end >= episode.start}
        if episode.severity == "page":
            found |= met
        use = "" if not assessment.incidents else "found" if met else "needless"
        calls.append(Call(max(episode.start, start), stop, episode.severity, use))
    troubles = tuple(
        Trouble(
            max(one.start, start),
            min(one.end, end),
            one.id or one.severity or "incident",
            _CAUSES.get(one.cause, "B"),
            number not in found,
        )
        for number, one in enumerate(incidents)
    )
    return tuple(calls), troubles


def _notes(
    series: Series, incidents: Sequence[Incident], silent: Sequence[Stretch], told: Told, *, rolling: bool
) -> tuple[Note, ...]:
    """The largest falls, named by the incident they meet, and the largest returns, named by why budget comes back."""
    times, values, known = (column.tolist() for column in series)
    runs: list[tuple[int, int]] = []
    at = 1
    while at < len(times):
        sign = _sign(values[at] - values[at - 1]) if known[at] and known[at - 1] else 0
        if not sign:
            at += 1
            continue
        begin = at - 1
        while at < len(times) and known[at] and sign * (values[at] - values[at - 1]) > 0:
            at += 1
        runs.append((begin, at - 1))
    runs.sort(key=lambda run: -abs(values[run[1]] - values[run[0]]))
    notes: list[Note] = []
    for begin, end in runs[: 2 * _MOST_NOTES]:
        change = values[end] - values[begin]
        if abs(change) < _NOTABLE or len(notes) == _MOST_NOTES:
            break
        size = f"{'+' if change > 0 else ''}{told(change, 1)}"
        met = [one for one in incidents if one.start <= times[end] and one.end >= times[begin]]
        if change > 0:
            label, cause = f"{size} {'aged out' if rolling else 'new period'}", ""
        elif met:
            causes = {_CAUSES.get(one.cause, "B") for one in met}
            who = met[0].id or met[0].severity or "incident" if len(met) == 1 else f"in {len(met)} incidents"
            label, cause = f"{size} {who}", causes.pop() if len(causes) == 1 else "B"
        elif any(low < times[end] and high > times[begin] for low, high in silent):
            label, cause = f"{size} as data is missing", "B"  # good units leave the window, and none come
        else:
            label, cause = size, "B"
        notes.append(Note(times[begin], times[end], values[begin], values[end], label, cause))
    return tuple(notes)


def _points(share: float, digits: int) -> str:
    """A share in percentage points, without their sign: the axis beside it has that."""
    return percent_text(share, digits)[:-2]


def _ahead(assessment: Assessment, forecast: Forecast | None) -> tuple[Forecast, float] | None:
    if forecast is None or forecast.at is None:
        return None
    if forecast.what == "exhausted":
        return forecast, 0.0
    state = named(assessment.policy, assessment.history.final_state)
    bounds = [one.bound for one in leaves(state.exit) if isinstance(one, RemainingIs)] if state.exit else []
    return forecast, float(bounds[0]) if bounds else 0.0


def _finding(assessment: Assessment, series: Series, start: int, end: int) -> str:
    told = series.values[series.known]
    if not len(told):
        return f"Budget left of {assessment.title}: nothing is known."
    low = int(series.values[series.known].argmin())
    worst_at = int(series.times[series.known][low])
    return (
        f"Budget left of {assessment.title} from {moment_text(start, end)} to {moment_text(end, end)} UTC: "
        f"lowest {percent_text(float(told[low]))} on {moment_text(worst_at, end)}, "
        f"{percent_text(float(told[-1]))} at the end."
    )


def _sign(value: float) -> int:
    return (value > 1e-12) - (value < -1e-12)
