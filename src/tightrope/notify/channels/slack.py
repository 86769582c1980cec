"""Slack: by an incoming webhook; or by a bot's token, so that one alert is one message that is kept up to date.

Source: Slack, incoming webhooks, ``chat.postMessage``, ``chat.update``; at most 50 blocks, 3,000 characters in a
section and 150 in a header, and about 13,200 in all; ``& < >`` are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tightrope.notify.channels import Environment, Parcel, addresses, secret
from tightrope.notify.channels.posting import Post, headline
from tightrope.notify.messages import Message
from tightrope.notify.retries import Answer
from tightrope.specs.model import NotificationChannel

URL = "https://slack.com"
HEADER, SECTION, ALL = 150, 3000, 12_000
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_PASSING = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
_GONE = frozenset({"message_not_found", "cant_update_message", "thread_not_found", "edit_window_closed"})


class Slack:
    """One channel of a Slack workspace."""

    def __init__(self, spec: NotificationChannel, environment: Environment, timeout_s: float) -> None:
        self._token = secret(spec, spec.token_from, environment)
        self._room = spec.room
        url = addresses(spec, environment, URL if self._token else "")[0]
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        self._post = Post(url.rstrip("/"), secrets=(self._token,), headers=headers, timeout_s=timeout_s)

    def send(self, parcel: Parcel) -> Answer:
        if not self._token:
            return self._post.judged(self._post.post("", body_of(parcel.message)))
        return self._threaded(parcel) if parcel.thread else self._first(parcel)

    def close(self) -> None:
        self._post.close()

    def _first(self, parcel: Parcel) -> Answer:
        return self._ask("chat.postMessage", {"channel": self._room, **body_of(parcel.message)})

    def _threaded(self, parcel: Parcel) -> Answer:
        """Answer in the thread of the first message, and bring that up to date."""
        room, _, moment = parcel.thread.partition(" ")
        body = body_of(parcel.message)
        loud = parcel.message.change in {"escalated", "reopened"}
        reply = self._ask("chat.postMessage", {"channel": room, "thread_ts": moment, "reply_broadcast": loud, **body})
        if reply.said in _GONE:
            return self._first(parcel)
        if not reply.sent:
            return reply
        # The reply is there, and that is what counts: to send it again because of this would tell it twice.
        self._ask("chat.update", {"channel": room, "ts": moment, **body})
        return Answer(sent=True, reference=parcel.thread)

    def _ask(self, method: str, body: dict[str, Any]) -> Answer:
        reply = self._post.post(f"/api/{method}", body, headers={"content-type": "application/json; charset=utf-8"})
        judged = self._post.judged(reply)
        if isinstance(reply, Answer) or not judged.sent:
            return judged
        try:
            said = json.loads(reply.text)
            if said["ok"] is True:
                return Answer(sent=True, reference=f"{said.get('channel', self._room)} {said.get('ts', '')}".strip())
            problem = str(said["error"])
        except (ValueError, KeyError, TypeError):
            return Answer(sent=False, said=f"{self._post.host} answers what is no answer of Slack")
        if problem in _GONE:
            return Answer(sent=False, said=problem)
        return Answer(sent=False, passing=problem in _PASSING, said=f"Slack says {problem}"[:200])


def body_of(message: Message) -> dict[str, Any]:
    """A message as text (for notifications) and blocks."""
    title = headline(message.severity, message.action, message.change, message.title)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": fitted(title, HEADER), "emoji": False}}
    ]
    blocks += [{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in _sections(message)]
    if message.link:
        link = {"type": "mrkdwn", "text": f"<{escaped(message.link)}|Open in Tightrope>"}
        blocks.append({"type": "context", "elements": [link]})
    return {"text": fitted(title, SECTION), "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def _sections(message: Message) -> Iterator[str]:
    """The lines below the title, in pieces that Slack takes."""
    piece, left = "", ALL
    for label, text in message.lines:
        row = f"*{escaped(label)}*  " if label else ""
        row += fitted(text, min(SECTION, left) - len(row) - 1)
        if left < 200:
            break
        left -= len(row) + 1
        if len(piece) + len(row) + 1 > SECTION:
            yield piece
            piece = ""
        piece += ("\n" if piece else "") + row
    if piece:
        yield piece


def escaped(text: str) -> str:
    """Escape what Slack would take for links and mentions."""
    return "".join(_ESCAPES.get(sign, sign) for sign in text)


def fitted(text: str, longest: int) -> str:
    """Escape a text, and cut it where it is too long, but never within an escape."""
    whole = escaped(text)
    if len(whole) <= longest:
        return whole
    kept, room = [], longest - 1
    for sign in text:
        piece = _ESCAPES.get(sign, sign)
        if len(piece) > room:
            break
        kept.append(piece)
        room -= len(piece)
    return "".join(kept) + "…"
