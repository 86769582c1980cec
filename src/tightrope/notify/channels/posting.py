"""One HTTP request to a receiver, and what its answer means for the message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tightrope.base.errors import SourceError, SourceUnreachableError, UsageError
from tightrope.base.http import HttpClient, HttpSettings, Reply, shown_body
from tightrope.notify.retries import Answer, may_pass, retry_after


class Post:
    """Posts to one address, once each time: the outbox tries again. No part of the address but its host is told.

    Args:
        url: The address; its path and query may be secret.
        secrets: Texts that no message may repeat.
        headers: Sent with every request.
        auth: User and password.
        timeout_s: For connecting, and for each read.
    """

    def __init__(
        self,
        url: str,
        *,
        secrets: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout_s: float,
    ) -> None:
        self.host = urlsplit(url).hostname or "the receiver"
        self._secrets = tuple(one for one in (*secrets, url, urlsplit(url).path) if len(one) > 3)
        self._timeout_s = timeout_s
        settings = HttpSettings(headers=headers or {}, auth=auth, timeout_s=timeout_s, attempts=1)
        try:
            self._client = HttpClient(url, settings)
        except UsageError:
            raise UsageError(
                "a channel's address is no address of a server", remedy="write one such as https://example.org/hook"
            ) from None

    def post(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> Reply | Answer:
        """Post a JSON document, or bytes as they are; an answer where there is no reply."""
        content = body if isinstance(body, bytes) else json_bytes(body)
        whole = {"content-type": "application/json", **(headers or {})}
        try:
            return self._client.post(path, content, whole)
        except SourceUnreachableError as error:
            late = " within" in error.message
            said = (
                f"{self.host} did not answer within {self._timeout_s:g} s" if late else f"{self.host} can't be reached"
            )
            return Answer(sent=False, passing=True, said=said)
        except SourceError:
            return Answer(sent=False, said=f"{self.host} points to another address; write the final one")

    def judged(self, reply: Reply | Answer) -> Answer:
        """What a reply means: 2xx took the message, what may pass is tried again, anything else is final."""
        if isinstance(reply, Answer):
            return reply
        if 200 <= reply.status < 300:
            return Answer(sent=True)
        return self.refused(reply, reply.status, reply.text)

    def refused(self, reply: Reply, status: int, why: str) -> Answer:
        """A refusal in words, without secrets."""
        text = shown_body(why)
        for one in self._secrets:
            text = text.replace(one, "…")
        said = f"{self.host} answers {status}" + (f": {text}" if text else "")
        return Answer(
            sent=False,
            passing=may_pass(status),
            said=said,
            retry_after_s=retry_after(reply.headers.get("retry-after", "")),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def json_bytes(document: Any) -> bytes:
    """Write JSON as it goes over the wire."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def headline(severity: str, action: str, change: str, title: str) -> str:
    """Put the word that matters before a title: ``[page] …``, ``[resolved] …``."""
    word = "resolved" if action == "resolve" else change if change in {"frozen", "test"} else severity
    return f"[{word}] {title}" if word else title
