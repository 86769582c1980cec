"""Alertmanager: alerts by its API v2, said again while they fire, and their end said for some minutes.

Source: Alertmanager, ``api/v2/openapi.yaml`` and ``docs/alerts_api.md``: an alert fires until its ``endsAt``; whoever
sends it says it again before that, and repeats the end, since an Alertmanager may just be starting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tightrope.base.units import time_text
from tightrope.notify.channels import Environment, Parcel, addresses, secret
from tightrope.notify.channels.posting import Post
from tightrope.notify.messages import Message
from tightrope.notify.retries import Answer
from tightrope.specs.model import NotificationChannel

REFRESHED_EVERY_S = 60
FIRES_FOR_S = 4 * REFRESHED_EVERY_S
"""How long an alert fires if it is not said again: as Prometheus has it, four times the interval."""

END_REPEATED_FOR_S = 5 * 60
_NOTED_FOR_S = 5 * 60

Standing = tuple[Message, int | None]
"""What was told of an alert last, and when it ended; None: it fires."""


class Alertmanager:
    """One Alertmanager, or several equal ones; each is told everything, and one that takes it is enough."""

    def __init__(self, spec: NotificationChannel, environment: Environment, timeout_s: float) -> None:
        token = secret(spec, spec.token_from, environment)
        password = secret(spec, spec.password_from, environment)
        self._posts = [
            Post(
                url.rstrip("/").removesuffix("/api/v2/alerts").removesuffix("/api/v2"),
                secrets=(token, password),
                headers={"authorization": f"Bearer {token}"} if token else {},
                auth=(spec.user, password) if spec.user else None,
                timeout_s=timeout_s,
            )
            for url in addresses(spec, environment)
        ]

    def send(self, parcel: Parcel) -> Answer:
        return self._post(alerts_of(parcel.message, parcel.now))

    def refresh(self, standing: Sequence[Standing], now: int) -> Answer:
        """Say again what fires, and what ended lately."""
        alerts = [alert for message, ended_at in standing for alert in alerts_of(message, now, ended_at=ended_at)]
        return self._post(alerts) if alerts else Answer(sent=True)

    def close(self) -> None:
        for post in self._posts:
            post.close()

    def _post(self, alerts: list[dict[str, Any]]) -> Answer:
        answers = [post.judged(post.post("/api/v2/alerts", alerts)) for post in self._posts]
        for kind in ("sent", "passing"):
            found = next((answer for answer in answers if getattr(answer, kind)), None)
            if found is not None:
                return found
        return answers[0]


def alerts_of(message: Message, now: int, *, ended_at: int | None = None) -> list[dict[str, Any]]:
    """A message as Alertmanager's alerts: with another severity it is another alert there, so the old one ends."""
    over = message.action == "resolve" or ended_at is not None
    lasts_s = FIRES_FOR_S if message.kind == "alert" else _NOTED_FOR_S
    end = (now if ended_at is None else ended_at) if over else now + lasts_s
    found = [_alert(message, message.severity, max(end, message.starts_at))]
    if message.before and message.before != message.severity:
        changed = min(now, message.at) if message.action != "resolve" else end
        found.append(_alert(message, message.before, max(changed, message.starts_at)))
    return found


def _alert(message: Message, severity: str, ends_at: int) -> dict[str, Any]:
    labels = {name: value for name, value in message.labels.items() if value}
    if severity:
        labels["severity"] = severity
    labels.setdefault("alertname", "TightropeFlow" if message.kind == "flow" else "Tightrope")
    alert: dict[str, Any] = {
        "labels": labels,
        "annotations": {"summary": message.title, "description": message.plain},
        "startsAt": time_text(message.starts_at),
        "endsAt": time_text(ends_at),
    }
    if message.link:
        alert["generatorURL"] = message.link
    return alert
