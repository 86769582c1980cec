"""Who is to be told: what each channel was last told of an alert, held against what is so.

Not what happened is told but what differs: a channel that was told nothing yet, or something else, gets one message,
and is then told. So no transition is told twice however often this is asked, what is silenced is told when the silence
ends if it is still so, and an end is told only where a beginning was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tightrope.alerting.grouping import (
    NO_DATA,
    REOPENS_WITHIN_S,
    Alert,
    Change,
    Out,
    leading,
    rank,
)
from tightrope.notify.messages import REPEATED
from tightrope.specs.model import AlertPolicy, Condition, NotificationChannel, Slo, Topic

DEFAULT_NO_DATA = "ticket"
"""Severity of the alert that tells of missing telemetry, where the SLO names no alert policy."""


@dataclass(frozen=True, slots=True)
class Route:
    """Why a channel is told of an SLO's alerts.

    Attributes:
        channel: The channel.
        numbers: The conditions it is told of, by their places; None: all.
        no_data: Told of missing telemetry.
        resolved: Told of the end.
    """

    channel: NotificationChannel
    numbers: frozenset[int] | None = None
    no_data: bool = False
    resolved: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """What a channel was last told of an alert.

    Attributes:
        firing, severity, frozen: What it was told.
        count: How many messages that took.
        at: When the last one was made, UTC epoch seconds.
        changed_at, previous: When the severity last changed, and what it was before; empty: it did not.
    """

    alert: str
    channel: str
    firing: bool = False
    severity: str = ""
    frozen: bool = False
    count: int = 0
    at: int = 0
    changed_at: int = 0
    previous: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be written: to which channel, of what change, and what it shows.

    ``key`` names it for ever: the same message, sent again, has the same key.
    """

    channel: NotificationChannel
    alert: Alert
    change: str
    severity: str
    before: str
    out: tuple[Out, ...]
    ends: bool
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be told of one alert now, what was told then, and when to ask again; None: when something happens."""

    drafts: tuple[Draft, ...] = ()
    told: tuple[Told, ...] = ()
    due: int | None = None


def routes_of(slo: Slo | None, channels: Sequence[NotificationChannel], service: str = "") -> tuple[Route, ...]:
    """Tell which channels hear of an SLO's alerts.

    The channels that its alert policies name; where a policy names none that exists, or the SLO no policy, the default
    ones. What a policy says of breaches, missing data and ends is kept.
    """
    told = [one for one in channels if Topic.ALERTS in one.what]
    named = {one.name: one for one in told}
    default = [one for one in told if one.default]
    found: dict[str, Route] = {}
    first = 0
    for policy in slo.alert_policies if slo is not None else ():
        numbers = frozenset(range(first, first + len(policy.conditions)))
        first += len(policy.conditions)
        own = [named[name] for name in policy.notification_targets if name in named] or default
        for channel in own:
            found[channel.name] = _joined(found.get(channel.name), channel, policy, numbers)
    if slo is None or not slo.alert_policies:
        found = {one.name: Route(one, None, no_data=True, resolved=one.send_resolved) for one in default}
    service = slo.service if slo is not None else service
    return tuple(one for one in found.values() if not one.channel.services or service in one.channel.services)


def _joined(route: Route | None, channel: NotificationChannel, policy: AlertPolicy, numbers: frozenset[int]) -> Route:
    heard = frozenset() if policy.alert_when_breaching is False else numbers
    resolved = channel.send_resolved and policy.alert_when_resolved is not False
    no_data = policy.alert_when_no_data is True
    if route is None:
        return Route(channel, heard, no_data, resolved)
    return Route(channel, (route.numbers or frozenset()) | heard, route.no_data or no_data, route.resolved or resolved)


def no_data_severity(slo: Slo) -> str:
    """The severity of the alert on missing telemetry: the mildest of the policies that want one; empty: none does."""
    if not slo.alert_policies:
        return DEFAULT_NO_DATA
    wanting = [one for one in slo.alert_policies if one.alert_when_no_data is True]
    conditions: list[Condition] = [condition for policy in wanting for condition in policy.conditions]
    return max(conditions, key=lambda one: rank(one.severity)).severity if conditions else ""


def plan(alert: Alert, routes: Iterable[Route], told: Iterable[Told], *, muted: bool, now: int) -> Plan:
    """Tell what each channel is to be told of an alert now.

    Args:
        alert: As it is.
        routes: Who hears of it.
        told: What was told of it before, to any channel.
        muted: A silence or maintenance holds: nothing but ends is told.
        now: UTC epoch seconds.
    """
    before = {one.channel: one for one in told}
    drafts: list[Draft] = []
    after: list[Told] = []
    due: int | None = None
    for route in sorted(routes, key=lambda one: one.channel.name):
        last = before.get(route.channel.name, Told(alert.id, route.channel.name))
        draft, new, later = _of_route(alert, route, last, muted=muted, now=now)
        if draft is not None:
            drafts.append(draft)
        if new != last:
            after.append(new)
        if later is not None:
            due = later if due is None else min(due, later)
    return Plan(tuple(drafts), tuple(after), due)


def _of_route(
    alert: Alert, route: Route, told: Told, *, muted: bool, now: int
) -> tuple[Draft | None, Told, int | None]:
    channel = route.channel
    out = heard(alert, route)
    severity = _severity(alert, route, out)
    if not severity:
        return _no_more(alert, route, told, now)
    change = _change(alert, told, severity)
    due: int | None = None
    if change is None and channel.repeat_s:
        due = told.at + channel.repeat_s
        if now >= due and alert.frozen_since is None:
            change, due = REPEATED, now + channel.repeat_s
    if change is None or muted:
        return None, told, due
    new = Told(
        alert.id,
        channel.name,
        True,
        severity,
        alert.frozen_since is not None,
        told.count + 1,
        now,
        now if severity != told.severity else told.changed_at,
        told.severity if told.firing and severity != told.severity else told.previous if told.firing else "",
    )
    draft = Draft(channel, alert, change, severity, told.severity if told.firing else "", out, False, _key(new))
    return draft, new, due


def heard(alert: Alert, route: Route) -> tuple[Out, ...]:
    """The conditions of an alert that a channel is told of, the leading one first."""
    return leading(
        (one for one in alert.out if route.numbers is None or one.number in route.numbers), now=alert.severity
    )


def _severity(alert: Alert, route: Route, out: Sequence[Out]) -> str:
    """The severity of the alert for a channel; empty: for that channel it is not out."""
    if not alert.open:
        return ""
    if alert.name == NO_DATA and not route.no_data:
        return ""
    severity = alert.severity if alert.name == NO_DATA else out[0].severity if out else ""
    return severity if not route.channel.severities or severity in route.channel.severities else ""


def _change(alert: Alert, told: Told, severity: str) -> str | None:
    """What is to be told; None: nothing new."""
    frozen = alert.frozen_since is not None
    if not told.firing:
        return Change.REOPENED if told.count else Change.OPENED
    if told.frozen is not frozen:
        return Change.FROZEN if frozen else Change.THAWED
    if severity == told.severity or frozen:
        return None
    return Change.ESCALATED if rank(severity) < rank(told.severity) else Change.EASED


def _no_more(alert: Alert, route: Route, told: Told, now: int) -> tuple[Draft | None, Told, int | None]:
    """For this channel the alert is not out, or no longer."""
    if not told.firing:
        return None, told, None
    if alert.resolved_at is not None and alert.times > 1:
        # It has come back before: its end is told when it has stayed away for as long as it could come back.
        settled = alert.resolved_at + REOPENS_WITHIN_S
        if now < settled:
            return None, told, settled
    new = replace(
        told, firing=False, frozen=False, count=told.count + 1, at=now, changed_at=now, previous=told.severity
    )
    if not route.resolved:
        return None, new, None
    change = Change.RESOLVED if not alert.open else Change.EASED
    draft = Draft(route.channel, alert, change, told.severity, told.severity, heard(alert, route), True, _key(new))
    return draft, new, None


def _key(told: Told) -> str:
    return f"{told.alert}/{told.channel}/{told.count}"
