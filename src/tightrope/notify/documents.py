"""Alerts, silences, channels and messages as the JSON that every front gives out: a stable contract."""

from __future__ import annotations

from typing import Any

from tightrope.alerting.grouping import Alert, Step
from tightrope.alerting.silences import Silence
from tightrope.base.units import duration_text, time_text
from tightrope.notify.outgoing import Outgoing
from tightrope.notify.usecases import Account, ChannelHealth


def alert_document(alert: Alert) -> dict[str, Any]:
    """One alert; instants are ISO 8601 in UTC, null is what has not happened."""
    return {
        "id": alert.id,
        "name": alert.name,
        "service": alert.service,
        "slo": alert.slo,
        "objective": alert.track,
        "state": "resolved" if not alert.open else "frozen" if alert.frozen_since is not None else "firing",
        "severity": alert.severity,
        "severitySince": time_text(alert.since),
        "worstSeverity": alert.worst,
        "openedAt": time_text(alert.opened_at),
        "resolvedAt": _time(alert.resolved_at),
        "frozenSince": _time(alert.frozen_since),
        "times": alert.times,
        "conditions": [
            {"name": one.name, "severity": one.severity, "since": time_text(one.since)} for one in alert.out
        ],
        "labels": alert.labels(),
    }


def account_document(account: Account) -> dict[str, Any]:
    """All about one alert."""
    return alert_document(account.alert) | {
        "history": [_step_document(step) for step in account.steps],
        "messages": [message_document(one) for one in account.messages],
        "silencedBy": [silence_document(one) for one in account.silences],
    }


def silence_document(silence: Silence) -> dict[str, Any]:
    """One silence."""
    return {
        "id": silence.id,
        "matchers": [str(one) for one in silence.matchers],
        "startsAt": time_text(silence.starts_at),
        "endsAt": time_text(silence.until),
        "createdBy": silence.who,
        "reason": silence.why,
        "createdAt": time_text(silence.created_at),
        "endedBy": silence.ended_by or None,
    }


def channel_document(health: ChannelHealth) -> dict[str, Any]:
    """One channel and how it does; addresses and secrets are left out."""
    channel = health.channel
    return {
        "name": channel.name,
        "type": channel.type.value,
        "default": channel.default,
        "severities": sorted(channel.severities),
        "services": sorted(channel.services),
        "what": sorted(topic.value for topic in channel.what),
        "repeatInterval": duration_text(channel.repeat_s) if channel.repeat_s else None,
        "sendResolved": channel.send_resolved,
        "waiting": health.waiting,
        "dead": health.dead,
        "lastSentAt": _time(health.last_sent_at),
        "lastError": health.last_error,
        "problem": health.problem,
    }


def message_document(one: Outgoing) -> dict[str, Any]:
    """One message of the outbox."""
    return {
        "id": one.id,
        "key": one.key,
        "channel": one.channel,
        "about": one.about,
        "kind": one.message.kind,
        "change": one.message.change,
        "title": one.message.title,
        "text": one.message.plain,
        "state": one.state.value,
        "createdAt": time_text(one.created_at),
        "dueAt": time_text(one.due_at) if one.sent_at is None else None,
        "sentAt": _time(one.sent_at),
        "attempts": one.attempts,
        "error": one.error,
    }


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "at": time_text(step.at),
        "change": step.change.value,
        "severity": step.alert.severity,
        "before": step.before,
        "conditions": [one.name for one in step.alert.out],
        "why": step.why,
    }


def _time(at: int | None) -> str | None:
    return None if at is None else time_text(at)
