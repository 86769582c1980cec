"""A webhook of anybody's: CloudEvents in the structured mode, signed if there is a key.

Source: CloudEvents 1.0.2 (JSON event format, HTTP structured mode); Standard Webhooks (``webhook-id``,
``webhook-timestamp``, ``webhook-signature: v1,…``, HMAC-SHA256 over id, timestamp and body).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

from tightrope.base.errors import UsageError
from tightrope.base.units import time_text
from tightrope.notify.channels import Environment, Parcel, addresses, secret
from tightrope.notify.channels.posting import Post, json_bytes
from tightrope.notify.messages import Message
from tightrope.notify.retries import Answer
from tightrope.specs.model import NotificationChannel

SOURCE = "/tightrope/notify"
_CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_SHORTEST_KEY = 16


class Webhook:
    """One receiver of CloudEvents."""

    def __init__(self, spec: NotificationChannel, environment: Environment, timeout_s: float) -> None:
        self._key = _key(spec, secret(spec, spec.secret_from, environment))
        token = secret(spec, spec.token_from, environment)
        password = secret(spec, spec.password_from, environment)
        self._post = Post(
            addresses(spec, environment)[0],
            secrets=(token, password),
            headers={"authorization": f"Bearer {token}"} if token else {},
            auth=(spec.user, password) if spec.user else None,
            timeout_s=timeout_s,
        )

    def send(self, parcel: Parcel) -> Answer:
        body = json_bytes(cloud_event(parcel.message, parcel.key))
        headers = {"content-type": _CONTENT_TYPE, **signature(self._key, parcel.key, parcel.now, body)}
        return self._post.judged(self._post.post("", body, headers=headers))

    def close(self) -> None:
        self._post.close()


def cloud_event(message: Message, key: str) -> dict[str, Any]:
    """A message as a CloudEvent; (source, id) names it, and is the same when it is sent again."""
    event = {
        "specversion": "1.0",
        "id": key,
        "source": SOURCE,
        "type": f"dev.tightrope.notification.{message.kind}.{message.change}.v1",
        "subject": message.service or message.about,
        "time": time_text(message.at),
        "datacontenttype": "application/json",
        "data": message.document(),
    }
    for name in ("atSeconds", "startsAtSeconds"):
        event["data"].pop(name)  # type: ignore[attr-defined]
    return event


def signature(key: bytes, name: str, now: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks; without a key those that need none."""
    headers = {"webhook-id": name, "webhook-timestamp": str(now)}
    if key:
        digest = hmac.new(key, f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _key(spec: NotificationChannel, text: str) -> bytes:
    if not text:
        return b""
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _SHORTEST_KEY:
        raise UsageError(
            f"channel {spec.name}: the variable {spec.secret_from} holds no key of a webhook",
            remedy=f"make one: whsec_ and {_SHORTEST_KEY} random bytes or more as base64 (openssl rand -base64 24)",
        )
    return key
