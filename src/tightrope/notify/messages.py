"""What people read when they are called: a title that says it all, and below it what helps to act.

The same words on every channel: what burns, how much is lost (in percent, minutes and events), when the budget ends at
this rate, what changed lately, where to look and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tightrope.alerting.grouping import NO_DATA, Alert, Change, Out, rank
from tightrope.base.units import duration_text, percent_text, span_text, time_text
from tightrope.budget.burn import Burn, allowed_share
from tightrope.budget.statement import Budget, Statement
from tightrope.budget.words import (
    EXHAUSTED,
    RECOVERED,
    Standing,
    amount_text,
    budget_text,
    burn_text,
    day_text,
    moment_text,
    service_sentence,
)
from tightrope.specs.model import ChangeKind, Flow, Objective, Slo

LONGEST_TITLE = 150
REPEATED = "repeated"
"""The change of a message that tells once more what still fires."""

_SHOWN_CHANGES, _SHOWN_IN_DIGEST = 5, 20
_TRIGGER, _RESOLVE, _NOTE = "trigger", "resolve", "note"


@dataclass(frozen=True, slots=True)
class Facts:
    """What an objective looks like at the moment somebody is told of it.

    Attributes:
        target, window_s: The promise.
        standing: How it stands.
        burns: Burn rates by lookback.
        scale: What one count is a part of.
    """

    slo: str
    target: Fraction
    window_s: int
    standing: Standing
    burns: tuple[Burn, ...] = ()
    scale: int = 1

    @property
    def budget(self) -> Budget:
        """The budget that the policy sees."""
        return self.standing.budget


@dataclass(frozen=True, slots=True)
class Recent:
    """Something that changed lately, such as a deployment, UTC epoch seconds."""

    at: int
    what: str


@dataclass(frozen=True, slots=True)
class FlowChange:
    """The policy state of a service changed: what it was, what it is, why, and what may ship now."""

    service: str
    at: int
    before: str
    after: str
    flow_before: Flow
    flow_after: Flow
    reason: str
    standing: Standing
    allows: frozenset[ChangeKind] = frozenset(ChangeKind)


@dataclass(frozen=True, slots=True)
class Message:
    """A message, whole, whatever channel it leaves by.

    Attributes:
        kind: ``alert``, ``flow`` or ``test``.
        change: What happened: of an alert its `Change` or ``repeated``, else a word.
        action: ``trigger`` (it is so, or still so), ``resolve`` (it is over) or ``note`` (nothing to act on).
        about: What messages of one matter share: an alert's id.
        title: One sentence of at most 150 characters.
        lines: What helps to act: a short label and a text each; the label of a plain line is empty.
        at: When it became so, UTC epoch seconds; *starts_at* is when the whole matter began.
        severity: As the channel was told; *before* what it was told before, where that differs.
        labels: What other systems know the matter by.
        link: Where to look; empty where nobody serves pages.
    """

    kind: str
    change: str
    action: str
    about: str
    title: str
    lines: tuple[tuple[str, str], ...]
    at: int
    starts_at: int
    service: str = ""
    severity: str = ""
    before: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    link: str = ""

    @property
    def plain(self) -> str:
        """The text below the title, without any marks."""
        return "\n".join(f"{label}: {text}" if label else text for label, text in self.lines)

    @property
    def markdown(self) -> str:
        """The whole message in Markdown; what comes from outside is escaped."""
        rows = [
            f"- **{_marked(label)}:** {_marked(text)}" if label else f"- {_marked(text)}" for label, text in self.lines
        ]
        more = [f"[Open in Tightrope]({self.link})"] if self.link else []
        return "\n\n".join([f"**{_marked(self.title)}**", *(["\n".join(rows)] if rows else []), *more])

    def document(self) -> dict[str, Any]:
        """The message as plain JSON values: what is kept, and what webhooks get."""
        return {
            "kind": self.kind,
            "change": self.change,
            "action": self.action,
            "about": self.about,
            "title": self.title,
            "text": self.plain,
            "markdown": self.markdown,
            "details": [[label, text] for label, text in self.lines],
            "at": time_text(self.at),
            "startsAt": time_text(self.starts_at),
            "atSeconds": self.at,
            "startsAtSeconds": self.starts_at,
            "service": self.service,
            "severity": self.severity,
            "before": self.before,
            "labels": dict(self.labels),
            "link": self.link,
        }


def message_of(document: Mapping[str, Any]) -> Message:
    """Read what `Message.document` wrote."""
    return Message(
        **{
            name: document[name]
            for name in ("kind", "change", "action", "about", "title", "service", "severity", "before", "link")
        },
        lines=tuple((label, text) for label, text in document["details"]),
        at=document["atSeconds"],
        starts_at=document["startsAtSeconds"],
        labels=dict(document["labels"]),
    )


def facts_of(slo: Slo, objective: Objective, statement: Statement, standing: Standing, *, scale: int = 1) -> Facts:
    """Gather what a message needs from where an objective stands; *scale* is that of its units."""
    window_s = statement.window_end - statement.window_start
    return Facts(slo.name, objective.target, window_s, standing, statement.burns, scale)


# --- alerts --------------------------------------------------------------------------------------------------------


def alert_message(
    alert: Alert,
    change: str,
    *,
    severity: str,
    out: Sequence[Out],
    now: int,
    before: str = "",
    facts: Facts | None = None,
    recent: Sequence[Recent] = (),
    base_url: str = "",
    ends: bool = False,
) -> Message:
    """Say what happened to an alert.

    Args:
        alert: As it is now.
        change: A `Change`, or `REPEATED`.
        severity: As this reader is told; *before*, as they were told before.
        out: The conditions that this reader is told of, the leading one first.
        now: When it is told, UTC epoch seconds.
        facts: How the objective stands; None where that is not known.
        recent: What changed in the hours before.
        base_url: Where the pages are; empty: nowhere.
        ends: For this reader it is over, whatever the change is called.
    """
    over = ends or change == Change.RESOLVED
    title = _alert_title(alert, change, out, facts, now, before=before, severity=severity)
    lines = [] if alert.name == NO_DATA else _alert_lines(alert, out, facts, now, over=over)
    lines += _recent_lines(recent, alert.opened_at, now) if not over else []
    lines += _advice(alert, change, over=over)
    link = f"{base_url.rstrip('/')}/alerts/{alert.id}" if base_url else ""
    known = {REPEATED: now, Change.RESOLVED: alert.resolved_at, Change.FROZEN: alert.frozen_since, Change.THAWED: now}
    at = known.get(change, alert.since)
    return Message(
        kind="alert",
        change=str(change),
        action=_RESOLVE if over else _TRIGGER,
        about=alert.id,
        title=_fitted(title),
        lines=tuple(lines),
        at=now if at is None else at,
        starts_at=alert.opened_at,
        service=alert.service,
        severity=severity,
        before=before if before != severity else "",
        labels=alert.labels(severity),
        link=link,
    )


def _alert_title(
    alert: Alert, change: str, out: Sequence[Out], facts: Facts | None, now: int, *, before: str, severity: str
) -> str:
    who = _who(alert)
    if alert.name == NO_DATA:
        age = facts.standing.age_s if facts is not None else None
        since = span_text(max(0, now - alert.opened_at) if age is None else age)
        if change == Change.RESOLVED:
            return f"{who} sends data again"
        still = "still " if change == REPEATED else ""
        return f"{who} has {still}sent no data for {since}: how it is doing is unknown"
    if change == Change.RESOLVED:
        left = f"; {_left(facts)}" if facts is not None else ""
        lasted = span_text(max(0, (alert.resolved_at or now) - alert.opened_at))
        return f"{who} no longer burns its budget too fast, after {lasted}{left}"
    if change == Change.FROZEN:
        return f"{who} sends no data: its {severity} is frozen, it neither fires nor resolves until data is back"
    burning = _burning(out, facts, now)
    if change == Change.THAWED:
        return f"{who} sends data again and still {burning}"
    if change == Change.ESCALATED:
        return f"{who} {burning} (now {severity}, was {before})"
    if change == Change.EASED:
        return f"{who} burns its budget more slowly (now {alert.severity}, was {before}); {_left(facts)}".rstrip("; ")
    if change == REPEATED:
        return f"{who} still {burning}, for {span_text(max(0, now - alert.opened_at))}"
    if change == Change.REOPENED:
        return f"{who}, the {_ordinal(alert.times)} time since {_clock(alert.opened_at, now)}, {burning}"
    return f"{who} {burning}"


def _burning(out: Sequence[Out], facts: Facts | None, now: int) -> str:
    """What burns how fast, how much went, and when the rest is gone: never a burn rate alone."""
    burn = _leading_burn(out, facts)
    if facts is None or burn is None:
        rule = f" ({out[0].name})" if out else ""
        return f"burns its error budget too fast{rule}"
    lost = f"{percent_text(_share(burn, facts))} lost in {duration_text(burn.lookback_s)}"
    return f"burns its budget {burn_text(burn.rate)} as fast as planned: {lost}, {_ending(facts, now)}"


def _ending(facts: Facts, now: int) -> str:
    standing = facts.standing
    remaining = standing.budget.remaining_ratio
    if remaining is not None and remaining <= 0:
        return "none is left"
    if standing.coming == EXHAUSTED and standing.coming_at is not None:
        return f"the rest runs out in {span_text(max(0, standing.coming_at - now))}"
    return "no budget is known" if remaining is None else f"{percent_text(remaining)} is left"


def _left(facts: Facts | None) -> str:
    if facts is None:
        return ""
    remaining = facts.budget.remaining_ratio
    if remaining is None:
        return "what is left is not known"
    return f"{budget_text(facts.budget, facts.standing.unit_s)} of its budget" if remaining > 0 else "none is left"


def _alert_lines(
    alert: Alert, out: Sequence[Out], facts: Facts | None, now: int, *, over: bool
) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    if facts is not None:
        promise = f"{alert.track} promises {_percent(facts.target)} over {duration_text(facts.window_s)}"
        lines.append(("Promise", promise))
        burn = _leading_burn(out, facts)
        if burn is not None and not over:
            lines.append(("Lost", _lost(burn, facts)))
        lines.append(("Left", f"{budget_text(facts.budget, facts.standing.unit_s)} of {_allowed(facts)}"))
        ends = _end_line(facts, now)
        if ends and not over:
            lines.append(("Ends", ends))
    if alert.frozen_since is not None and not over:
        lines.append(("Frozen", f"no data since {_clock(alert.frozen_since, now)}: it neither fires nor resolves"))
    if out and not over:
        lead, *more = out
        also = f"; also {', '.join(one.name for one in more)}" if more else ""
        lines.append(("Rule", f"{lead.name}, since {_clock(lead.since, now)}{also}"))
    return lines


def _lost(burn: Burn, facts: Facts) -> str:
    """Percent, minutes and events, in that order."""
    share = _share(burn, facts)
    minutes_s = float(share * allowed_share(facts.target) * facts.window_s)
    parts = [f"{percent_text(share)} of the budget", span_text(minutes_s)]
    if facts.standing.unit_s:
        parts[1] += " of bad time"
    else:
        parts[1] += " of full outage"
        bad, total = Fraction(burn.bad, facts.scale), Fraction(burn.total, facts.scale)
        parts.append(f"{amount_text(bad, 0)} of {amount_text(total, 0).removesuffix(' events')}")
    return f"{', '.join(parts)}, in the last {duration_text(burn.lookback_s)}; burn {burn_text(burn.rate)}"


def _allowed(facts: Facts) -> str:
    return amount_text(facts.budget.allowed, facts.standing.unit_s)


def _end_line(facts: Facts, now: int) -> str:
    standing = facts.standing
    if standing.coming == EXHAUSTED and standing.coming_at is not None:
        when = moment_text(standing.coming_at, now)
        return f"about {when} UTC at this burn, in {span_text(max(0, standing.coming_at - now))}"
    if standing.coming == RECOVERED and standing.coming_at is not None:
        return f"spent; back about {day_text(standing.coming_at, now)} if it stays calm"
    return ""


def _recent_lines(recent: Sequence[Recent], opened_at: int, now: int) -> list[tuple[str, str]]:
    lately = sorted((one for one in recent if one.at <= now), key=lambda one: -one.at)
    lines = []
    for one in lately[:_SHOWN_CHANGES]:
        gap = opened_at - one.at
        when = f"{span_text(gap)} before" if gap >= 0 else f"{span_text(-gap)} after it began"
        lines.append(("Changed", f"{_clock(one.at, now)} {one.what}, {when}"))
    if len(lately) > _SHOWN_CHANGES:
        lines.append(("Changed", f"and {len(lately) - _SHOWN_CHANGES} more"))
    return lines


def _advice(alert: Alert, change: str, *, over: bool) -> list[tuple[str, str]]:
    if over:
        return []
    if alert.name == NO_DATA or change == Change.FROZEN:
        return [("Do", f"find out why no telemetry of {alert.service} arrives; until then the gate waits")]
    quiet = f'tightrope alert silence slo={alert.slo} --for 1h --why "…"'
    return [
        ("Do", "look at what changed; a rollback is never held back"),
        ("Or", f"be quiet about it: {quiet}"),
    ]


def _leading_burn(out: Sequence[Out], facts: Facts | None) -> Burn | None:
    """The burn rate over the lookback of the leading condition, or the one measured that comes closest."""
    if facts is None or not out:
        return None
    known = [burn for burn in facts.burns if not burn.no_traffic]
    return min(known, key=lambda burn: abs(burn.lookback_s - out[0].lookback_s), default=None)


def _share(burn: Burn, facts: Facts) -> Fraction:
    """The share of a whole budget that went within the lookback."""
    return burn.rate * burn.lookback_s / facts.window_s


def digest_message(messages: Sequence[Message], now: int, *, base_url: str = "") -> Message:
    """Make one message of many that arose at the same moment: who is called a hundred times reads none of them."""
    opened = sum(one.action == _TRIGGER for one in messages)
    services = sorted({one.service for one in messages})
    missing = sum(one.labels.get("alertname") == NO_DATA and one.action == _TRIGGER for one in messages)
    over = len(messages) - opened
    parts = [f"{opened} alerts at once"] if opened else []
    parts += [f"{missing} of them for missing data"] if missing else []
    parts += [f"{over} {'more ended' if opened else 'alerts ended at once'}"] if over else []
    where = f"in {services[0]}" if len(services) == 1 else f"in {len(services)} services"
    worst = min((one.severity for one in messages), key=rank)
    shown = sorted(messages, key=lambda one: (one.action != _TRIGGER, rank(one.severity), one.service))
    lines = [(one.severity, one.title) for one in shown[:_SHOWN_IN_DIGEST]]
    if len(shown) > _SHOWN_IN_DIGEST:
        lines.append(("", f"and {len(shown) - _SHOWN_IN_DIGEST} more: tightrope alert list"))
    if missing > 1:
        lines.append(("Do", "look first at what all of them are measured by: one source may be down"))
    return Message(
        kind="alert",
        change="digest",
        action=_TRIGGER if opened else _RESOLVE,
        about=f"digest/{now}",
        title=_fitted(f"{', '.join(parts)}, {where}"),
        lines=tuple(lines),
        at=now,
        starts_at=min(one.starts_at for one in messages),
        service=services[0] if len(services) == 1 else "",
        severity=worst,
        labels={"alertname": "Digest", "severity": worst},
        link=f"{base_url.rstrip('/')}/alerts" if base_url else "",
    )


# --- flow ----------------------------------------------------------------------------------------------------------


def flow_message(change: FlowChange, now: int, *, base_url: str = "") -> Message:
    """Say that a service changed its flow, and what that means for what is shipped."""
    standing = change.standing
    into = change.flow_after is not change.flow_before
    waits = ChangeKind.FEATURE not in change.allows
    until = ""
    if waits:
        known = standing.coming == RECOVERED and standing.coming_at is not None
        until = f": features wait until about {day_text(standing.coming_at or 0, now)}" if known else ": features wait"
    elif into and change.flow_after is Flow.FEATURE:
        until = ": features may ship again"
    guarded = "" if waits or standing.ship.value == "standard" else ", guarded"
    where = f"{change.flow_after} flow" if into else f"state {change.after}"
    lines = [("", service_sentence(standing, now))]
    lines.append(("State", f"{change.before} to {change.after}, {_clock(change.at, now)}"))
    if change.reason:
        lines.append(("Why", change.reason))
    if waits:
        lines.append(("May ship", ", ".join(sorted(kind.value for kind in change.allows)) or "nothing"))
        lines.append(("Do", f"ask for an exception if it can't wait: tightrope explain {change.service}"))
    return Message(
        kind="flow",
        change=str(change.flow_after) if into else "state",
        action=_NOTE,
        about=f"flow/{change.service}",
        title=_fitted(f"{change.service} is in {where}{guarded}{until}"),
        lines=tuple(lines),
        at=change.at,
        starts_at=change.at,
        service=change.service,
        labels={"service": change.service, "flow": str(change.flow_after), "state": change.after},
        link=f"{base_url.rstrip('/')}/services/{change.service}" if base_url else "",
    )


def trial_message(channel: str, who: str, now: int, *, base_url: str = "") -> Message:
    """Make a message that only shows that a channel works."""
    return Message(
        kind="test",
        change="test",
        action=_NOTE,
        about=f"test/{channel}",
        title=_fitted(f"This is a test of the channel {channel}, asked for by {who}: nothing is wrong"),
        lines=(("", "Alerts that name this channel arrive here, in this form."),),
        at=now,
        starts_at=now,
        severity="info",
        labels={"alertname": "TightropeTest", "channel": channel, "severity": "info"},
        link=base_url,
    )


# --- words ---------------------------------------------------------------------------------------------------------


def _who(alert: Alert) -> str:
    """The objective, and the service where the name of that does not say it."""
    return alert.track if alert.service in alert.track else f"{alert.service} ({alert.track})"


def _percent(share: Fraction) -> str:
    text = f"{float(share) * 100:.6f}".rstrip("0").rstrip(".")
    return f"{text} %"


def _clock(at: int, now: int) -> str:
    """An instant for a person, UTC: the day only where it is another one."""
    text = moment_text(at, now)
    return text.rpartition(" ")[2] + " UTC" if at // 86400 == now // 86400 else f"{text} UTC"


def _ordinal(number: int) -> str:
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"


def _fitted(text: str) -> str:
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1] + "…"


def _marked(text: str) -> str:
    """Escape what Markdown would take for marks."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|" else sign for sign in text)
