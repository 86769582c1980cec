"""PagerDuty: events by its Events API v2; changes of flow as change events, which page nobody.

Source: PagerDuty, Events API v2: ``POST /v2/enqueue`` with a ``dedup_key``, at most 512 KB, answered with 202.
"""

from __future__ import annotations

from typing import Any

from tightrope.alerting.grouping import rank
from tightrope.base.units import time_text
from tightrope.notify.channels import Environment, Parcel, addresses, secret
from tightrope.notify.channels.posting import Post, json_bytes
from tightrope.notify.messages import Message
from tightrope.notify.retries import Answer
from tightrope.specs.model import NotificationChannel

URL = "https://events.pagerduty.com"
LARGEST = 512 * 1024
_SEVERITIES = ("critical", "error", "warning", "info")
_LONGEST_SUMMARY, _LONGEST_KEY = 1024, 255


class PagerDuty:
    """One integration of a PagerDuty service."""

    def __init__(self, spec: NotificationChannel, environment: Environment, timeout_s: float) -> None:
        self._key = secret(spec, spec.token_from, environment)
        url = addresses(spec, environment, URL)[0].rstrip("/").removesuffix("/v2/enqueue")
        self._post = Post(url, secrets=(self._key,), timeout_s=timeout_s)

    def send(self, parcel: Parcel) -> Answer:
        message = parcel.message
        if message.kind == "flow":
            return self._judged("/v2/change/enqueue", change_event(message, self._key))
        answer = self._judged("/v2/enqueue", alert_event(message, self._key))
        if message.kind == "test" and answer.sent:  # an incident of a test is over at once
            return self._judged("/v2/enqueue", _resolve(message, self._key))
        return answer

    def close(self) -> None:
        self._post.close()

    def _judged(self, path: str, event: dict[str, Any]) -> Answer:
        return self._post.judged(self._post.post(path, event))


def alert_event(message: Message, routing_key: str) -> dict[str, Any]:
    """A message as an event: one incident for each alert, by its id, however severe it becomes."""
    if message.action == "resolve":
        return _resolve(message, routing_key)
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": message.about[:_LONGEST_KEY],
        "client": "Tightrope",
        "payload": {
            "summary": message.title[:_LONGEST_SUMMARY],
            "source": message.service or "tightrope",
            "severity": _SEVERITIES[rank(message.severity)],
            "timestamp": time_text(message.at),
            "component": message.service,
            "group": message.labels.get("slo", ""),
            "class": message.labels.get("alertname", ""),
            "custom_details": _details(message),
        },
    }
    return _fitted(_linked(event, message), "payload")


def change_event(message: Message, routing_key: str) -> dict[str, Any]:
    """A change of flow as a change event."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "payload": {
            "summary": message.title[:_LONGEST_SUMMARY],
            "source": message.service or "tightrope",
            "timestamp": time_text(message.at),
            "custom_details": _details(message),
        },
    }
    if message.link:
        event["links"] = [{"href": message.link, "text": "Open in Tightrope"}]
    return _fitted(event, "payload")


def _resolve(message: Message, routing_key: str) -> dict[str, Any]:
    return {"routing_key": routing_key, "event_action": "resolve", "dedup_key": message.about[:_LONGEST_KEY]}


def _linked(event: dict[str, Any], message: Message) -> dict[str, Any]:
    if message.link:
        event["client_url"] = message.link
        event["links"] = [{"href": message.link, "text": "Open in Tightrope"}]
    return event


def _details(message: Message) -> dict[str, str]:
    details: dict[str, str] = {}
    for label, text in message.lines:
        name = label or "about"
        details[name] = f"{details[name]}\n{text}" if name in details else text
    return details


def _fitted(event: dict[str, Any], part: str) -> dict[str, Any]:
    """Leave out details from the end until the event is as small as it must be."""
    while len(json_bytes(event)) > LARGEST and event[part]["custom_details"]:
        event[part]["custom_details"].popitem()
        event[part]["custom_details_cut"] = "true"
    if event[part].pop("custom_details_cut", ""):
        event[part]["custom_details"]["cut"] = "more was left out: an event has at most 512 KB"
    return event
