"""Alerts as people know them: one for an objective, with a severity, made of all its conditions that fire.

The engine tells when conditions fire and end. People want one alert that opens, gets worse, eases and ends; that
holds still while telemetry is missing; and that is the same alert if it comes back a moment after its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tightrope.alerting.alerts import AlertEvent
from tightrope.base.units import MINUTE_S
from tightrope.specs.model import Condition

BURN = "ErrorBudgetBurn"
"""The name of an alert whose conditions fire."""

NO_DATA = "NoData"
"""The name of an alert that tells of missing telemetry."""

REOPENS_WITHIN_S = 5 * MINUTE_S
"""An alert that comes back so soon after its end is the same one; at least two slices."""

_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no letter that looks like a digit
_RANKS = {
    word: rank
    for rank, words in enumerate(
        (
            ("page", "critical", "emergency", "fatal", "sev1", "p1"),
            ("high", "error", "major", "sev2", "p2"),
            ("ticket", "warning", "warn", "medium", "sev3", "p3"),
            ("info", "low", "notice", "minor", "sev4", "p4", "p5"),
        )
    )
    for word in words
}
_USUAL_RANK = 2


class Change(StrEnum):
    """What happened to an alert."""

    OPENED = "opened"
    REOPENED = "reopened"
    ESCALATED = "escalated"
    EASED = "eased"
    FROZEN = "frozen"
    THAWED = "thawed"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Watched:
    """An objective whose alerts are looked after.

    Attributes:
        track: Its name: the SLO's, and the objective's where there are several.
        service, slo: As the spec has them.
        conditions: As the engine numbers them.
        step_s: Length of its slices, seconds.
        no_data: Severity of the alert that tells of missing telemetry; empty: nobody wants to hear of that.
    """

    track: str
    service: str
    slo: str
    conditions: tuple[Condition, ...]
    step_s: int = MINUTE_S
    no_data: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What evaluations of an objective found.

    Attributes:
        watched: The objective.
        firing: For each condition, since when its alert is out; None: it is not. What counts in the end.
        stale: The last evaluation was stale.
        at: The last evaluation, UTC epoch seconds.
        events: Firings and ends on the way there; may be left out, then they are taken to be as of *at*.
        measured: There was telemetry at some time.
    """

    watched: Watched
    firing: tuple[int | None, ...]
    stale: bool
    at: int
    events: tuple[AlertEvent, ...] = ()
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Out:
    """A condition that fires, and since when; *number* is its place, *lookback_s* its longest."""

    number: int
    name: str
    severity: str
    since: int
    lookback_s: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, from its opening to its end.

    Attributes:
        id: Short and printable, ``A-…``; follows from track, name and opening, so a replay finds the same.
        name: `BURN` or `NO_DATA`.
        track, service, slo: What it is about.
        severity, since: That of the most severe condition that is out, and since when it is so.
        worst: The most severe it ever was.
        opened_at, resolved_at: UTC epoch seconds; it is open where it has no end.
        out: Conditions that are out, the leading one first; of a resolved alert, those that were out last.
        frozen_since: Telemetry is missing since then, so it neither fires anew nor ends; None: it is not.
        times: How often it opened: once, and again each time it came back a moment after its end.
    """

    id: str
    name: str
    track: str
    service: str
    slo: str
    severity: str
    since: int
    worst: str
    opened_at: int
    out: tuple[Out, ...] = ()
    frozen_since: int | None = None
    resolved_at: int | None = None
    times: int = 1

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.resolved_at is None

    def labels(self, severity: str = "") -> dict[str, str]:
        """What matchers and other systems know it by; *severity* is the one that somebody is told."""
        return {
            "alertname": self.name,
            "service": self.service,
            "slo": self.slo,
            "objective": self.track,
            "severity": severity or self.severity,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """Something happened to an alert, which was then as *alert* says; *before* is the severity that it had."""

    change: Change
    at: int
    alert: Alert
    before: str = ""
    why: str = ""


def rank(severity: str) -> int:
    """Tell how severe a word is: 0 calls people, 3 is for the record; an unknown word counts as a ticket."""
    return _RANKS.get(severity.lower(), _USUAL_RANK)


def leading(out: Iterable[Out], *, now: str = "") -> tuple[Out, ...]:
    """Order conditions from the one that leads: the most severe, then the fastest; *now* wins among equals."""
    return tuple(sorted(out, key=lambda one: (rank(one.severity), one.severity != now, one.lookback_s, one.number)))


def merged(seen: Iterable[Seen]) -> list[Seen]:
    """Make one of all that was seen of each objective; the later counts in the end."""
    found: dict[str, Seen] = {}
    for one in seen:
        before = found.get(one.watched.track)
        if before is None:
            found[one.watched.track] = one
        else:
            last = one if one.at >= before.at else before
            found[one.watched.track] = replace(last, events=before.events + one.events)
    return list(found.values())


def unfold(alert: Alert | None, seen: Seen) -> tuple[Alert | None, tuple[Step, ...]]:
    """Carry the alert of an objective through evaluations.

    Args:
        alert: Its newest alert, open or not; None: there was none yet.
        seen: What was found. The order of events of one instant never matters.

    Returns:
        Its newest alert then, and what happened, oldest first. An alert may change without a step: a slower condition
        joins or leaves without a word.
    """
    course = _Course(seen.watched, alert)
    instants: dict[int, list[AlertEvent]] = {}
    for event in seen.events:
        if event.at <= seen.at:
            instants.setdefault(event.at, []).append(event)
    if instants or not seen.stale:
        course.wake(min([*instants, seen.at]))
    for at in sorted(instants):
        for event in sorted(instants[at], key=lambda one: (one.number, one.fired)):
            if event.number < len(seen.firing):
                course.note(event.number, event.at if event.fired else None)
        course.settle(at)
    course.agree(seen.firing)
    course.settle(seen.at)
    if seen.stale:
        course.freeze(seen.at, measured=seen.measured)
    return course.alert, tuple(course.steps)


def closed(alert: Alert, at: int, why: str) -> Step:
    """End an alert because what it is about is no longer watched."""
    at = max(at, alert.opened_at)
    ended = replace(alert, resolved_at=at, frozen_since=None)
    return Step(Change.RESOLVED, at, ended, alert.severity, why)


@dataclass(slots=True, eq=False)
class _Course:
    """The walk over evaluations."""

    watched: Watched
    alert: Alert | None
    steps: list[Step] = field(default_factory=list)
    out: dict[int, Out] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.alert is not None and self.alert.open and self.alert.name == BURN:
            self.out = {one.number: one for one in self.alert.out}

    def wake(self, at: int) -> None:
        """Telemetry is there again."""
        alert = self.alert
        if alert is None or not alert.open:
            return
        if alert.name == NO_DATA:
            self._tell(Change.RESOLVED, at, replace(alert, resolved_at=max(at, alert.opened_at)))
        elif alert.frozen_since is not None:
            self._tell(Change.THAWED, max(at, alert.frozen_since), replace(alert, frozen_since=None))

    def note(self, number: int, since: int | None) -> None:
        """A condition fires since then, or does not."""
        if since is None:
            self.out.pop(number, None)
        else:
            condition = self.watched.conditions[number]
            self.out.setdefault(
                number, Out(number, condition.name, condition.severity, since, max(condition.lookbacks_s, default=0))
            )

    def agree(self, firing: Sequence[int | None]) -> None:
        """Make what is out just what fires; the conditions may be others than before."""
        before, self.out = self.out, {}
        for number, since in enumerate(firing):
            if since is not None:
                old = before.get(number)
                self.note(number, since if old is None else old.since)

    def settle(self, at: int) -> None:
        """Bring the alert into line with what is out."""
        alert = self.alert if self.alert is not None and self.alert.open and self.alert.name == BURN else None
        if not self.out:
            if alert is not None:
                self._tell(Change.RESOLVED, at, replace(alert, resolved_at=max(at, alert.opened_at), frozen_since=None))
            return
        if alert is None:
            self._open(at)
            return
        order = leading(self.out.values(), now=alert.severity)
        severity = order[0].severity
        if severity == alert.severity:
            self.alert = replace(alert, out=order)
            return
        worst = min(severity, alert.worst, key=lambda word: (rank(word), word != alert.worst))
        changed = replace(alert, severity=severity, since=max(at, alert.since), out=order, worst=worst)
        if rank(severity) == rank(alert.severity):
            self.alert = changed
        else:
            worse = rank(severity) < rank(alert.severity)
            self._tell(Change.ESCALATED if worse else Change.EASED, at, changed, alert.severity)

    def freeze(self, at: int, *, measured: bool) -> None:
        """Telemetry is missing."""
        alert = self.alert
        if alert is not None and alert.open:
            if alert.name == BURN and alert.frozen_since is None:
                self._tell(Change.FROZEN, at, replace(alert, frozen_since=at))
        elif self.watched.no_data and measured:
            self._begin(NO_DATA, self.watched.no_data, at, at, ())

    def _open(self, at: int) -> None:
        order = leading(self.out.values())
        self._begin(BURN, order[0].severity, min(at, *(one.since for one in order)), at, order)

    def _begin(self, name: str, severity: str, opened_at: int, at: int, out: tuple[Out, ...]) -> None:
        """Open an alert, or the one that ended a moment ago once more."""
        old, one = self.alert, self.watched
        again_s = max(REOPENS_WITHIN_S, 2 * one.step_s)
        if old is not None and old.name == name and old.resolved_at is not None:
            opened_at = max(opened_at, old.resolved_at)
            if opened_at - old.resolved_at <= again_s:
                worst = min(severity, old.worst, key=lambda word: (rank(word), word != old.worst))
                again = replace(
                    old, severity=severity, since=opened_at, worst=worst, out=out, resolved_at=None, times=old.times + 1
                )
                self._tell(Change.REOPENED, max(at, opened_at), again)
                return
        alert = Alert(
            id_of(one.track, name, opened_at),
            name,
            one.track,
            one.service,
            one.slo,
            severity,
            opened_at,
            severity,
            opened_at,
            out,
        )
        self._tell(Change.OPENED, opened_at, alert)

    def _tell(self, change: Change, at: int, alert: Alert, before: str = "") -> None:
        last = self.steps[-1].at if self.steps else at
        self.steps.append(Step(change, max(at, last), alert, before))
        self.alert = alert


def id_of(*parts: object) -> str:
    """Make the printable id of an alert: 40 bits of a digest."""
    digest = int.from_bytes(hashlib.sha256("\n".join(map(str, parts)).encode()).digest()[:5])
    return "A-" + "".join(_LETTERS[digest >> shift & 31] for shift in range(35, -1, -5))


# --- as plain JSON values ------------------------------------------------------------------------------------------


def document_of(alert: Alert) -> dict[str, object]:
    """Write an alert as plain JSON values, to be kept."""
    return {
        "id": alert.id,
        "name": alert.name,
        "track": alert.track,
        "service": alert.service,
        "slo": alert.slo,
        "severity": alert.severity,
        "since": alert.since,
        "worst": alert.worst,
        "openedAt": alert.opened_at,
        "out": [[one.number, one.name, one.severity, one.since, one.lookback_s] for one in alert.out],
        "frozenSince": alert.frozen_since,
        "resolvedAt": alert.resolved_at,
        "times": alert.times,
    }


def alert_of(document: Mapping[str, object]) -> Alert:
    """Read what `document_of` wrote."""
    text = {name: str(document[name]) for name in ("id", "name", "track", "service", "slo", "severity", "worst")}
    out, whole = document["out"], {name: document[name] for name in ("since", "openedAt", "times")}
    assert isinstance(out, list)
    since, opened_at, times = (value for value in whole.values() if isinstance(value, int))
    frozen, resolved = document["frozenSince"], document["resolvedAt"]
    return Alert(
        **text,
        since=since,
        opened_at=opened_at,
        times=times,
        out=tuple(Out(*one) for one in out),
        frozen_since=frozen if isinstance(frozen, int) else None,
        resolved_at=resolved if isinstance(resolved, int) else None,
    )
