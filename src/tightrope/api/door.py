"""The door: what every request passes before anybody reads it, and what every answer carries.

Names each request, turns away who means another server, bounds and unpacks bodies, and tells whose clock is off.
"""

from __future__ import annotations

import logging
import re
import secrets
import zlib
from collections import Counter
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tightrope.access.local import is_loopback
from tightrope.api.problems import Refusal, told
from tightrope.loop.server import Server

MIB = 1 << 20
LIMITS = (
    ("/api/v1/write", 32 * MIB),
    ("/api/v1/push", 32 * MIB),
    ("/api/v1/otlp/", 32 * MIB),
    ("/v1/metrics", 32 * MIB),
    ("/api/v1/specs", 4 * MIB + 65_536),
    ("/api/v1/backtest", 5 * MIB),
    ("/api/v1/hooks/", 25 * MIB),  # GitHub sends no more
    ("/api/v1/deployments", 8 * MIB),
    ("/api/", MIB),
    ("/", 6 * MIB),
)
"""Bytes that a body may have, by the beginning of the path; the first that fits counts."""

SELF_UNPACKING = ("/api/v1/write", "/api/v1/push", "/api/v1/otlp/", "/v1/metrics")
"""Where ``Content-Encoding`` is for whoever reads the body."""

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""What every answer carries that does not say otherwise."""

SKEW_S = 30
"""By how much a sender's clock may be off without being told."""

_DRAINED = 64 * MIB
_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_LOG = logging.getLogger("tightrope.api")


class Door:
    """Stands in front of the application.

    Args:
        app: What stands behind it.
        server: For whom it stands.
    """

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app = app
        self._server = server
        self._loopback = is_loopback(server.settings.host)
        self._named = urlsplit(server.settings.base_url).hostname or ""
        self._prefix = secrets.token_hex(4)
        self._number = 0
        self.headers = list(HEADERS)
        self.counts: Counter[tuple[str, str, int]] = Counter()

    def must_be_ours(self, host: str) -> None:
        """Refuse a request that means another server: a name that was turned to this machine's own address."""
        if not self._loopback or is_loopback(host):
            return
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        if self._named and name.lower() == self._named.lower():
            return
        raise Refusal(
            421,
            f"this server is not {host[:200]!r}" if host else "the request does not say which server it means",
            remedy="use localhost, or start the server with --base-url and that name",
        )

    def bug(self, name: str, scope: Scope) -> None:
        """Log what nobody foresaw, with its traceback; to be called while it is handled."""
        _LOG.exception("a bug in the answer to %s, %s %s", name, scope["method"], scope["path"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it at once."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        name = headers.get("x-request-id", "")
        if not _ID.fullmatch(name):
            self._number += 1
            name = f"{self._prefix}-{self._number:x}"
        inner = dict(scope)
        inner["request_id"] = name
        if scope["method"] == "HEAD" and scope["path"].startswith(("/api/", "/healthz", "/readyz", "/metrics")):
            inner["method"] = "GET"
        carried = self._sender(inner, send, name, headers)
        body = _Body(receive, headers, scope["path"])
        try:
            self.must_be_ours(headers.get("host", ""))
            body.take_measure()
            await body.unpack(inner)
        except Refusal as error:
            await body.drain()
            await told(error, request_id=name, base_url=self._server.settings.base_url)(inner, receive, carried)
            return
        await self._app(inner, body.receive, carried)

    def _sender(self, scope: Scope, send: Send, name: str, headers: dict[str, str]) -> Send:
        skew = self._skew(headers.get("date", ""))

        async def carried(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {key.lower() for key, _ in message["headers"]}
                more = [pair for pair in self.headers if pair[0] not in there]
                more.append((b"x-request-id", name.encode()))
                if skew:
                    more.append((b"x-clock-skew-seconds", str(skew).encode()))
                message = {**message, "headers": [*message["headers"], *more]}
                self.counts[scope["method"], _route(scope), message["status"]] += 1
            await send(message)

        return carried

    def _skew(self, date: str) -> int:
        """By how many seconds the sender's clock is ahead of ours; 0 where it is not off by much, or not told."""
        if not date:
            return 0
        try:
            ahead = int(parsedate_to_datetime(date).timestamp()) - self._server.now()
        except (ValueError, TypeError, OverflowError):
            return 0
        return ahead if abs(ahead) > SKEW_S else 0


class _Body:
    """A body on its way in: no more bytes than its place takes, packed and unpacked."""

    def __init__(self, receive: Receive, headers: dict[str, str], path: str) -> None:
        self._receive = receive
        self._limit = next(limit for beginning, limit in LIMITS if path.startswith(beginning) or beginning == "/")
        self._taken = 0
        self._over = False
        self._whole: bytes | None = None
        declared = headers.get("content-length", "")
        self._declared = int(declared) if declared.isdecimal() and len(declared) < 18 else 0
        encoding = headers.get("content-encoding", "").strip().lower()
        self._packed = "" if path.startswith(SELF_UNPACKING) or encoding in {"", "identity"} else encoding

    def take_measure(self) -> None:
        """Refuse a body that says of itself that it is too large, or packed in a way that is not known."""
        if self._declared > self._limit:
            raise self._too_large()
        if self._packed and self._packed not in {"gzip", "deflate"}:
            raise Refusal(415, f"the content encoding {self._packed[:50]!r} is not known", remedy="send gzip, or plain")

    async def drain(self) -> None:
        """Read away what still comes, within bounds: a sender that is still sending does not see an answer."""
        while not self._over and self._taken < self._declared <= _DRAINED:
            message = await self._receive()
            self._taken += len(message.get("body", b""))
            self._over = message["type"] != "http.request" or not message.get("more_body", False)

    async def unpack(self, scope: dict[str, Any]) -> None:
        """Read a packed body as a whole, and put the plain one in its place."""
        if not self._packed:
            return
        parts = bytearray()
        more = True
        while more:
            message = await self._bounded()
            parts += message.get("body", b"")
            more = message.get("more_body", False)
        reader = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever its head says
        try:
            whole = reader.decompress(bytes(parts), self._limit + 1)
        except zlib.error as error:
            raise Refusal(400, f"the body is not {self._packed}: {error}") from None
        if len(whole) > self._limit:
            raise self._too_large()
        if not reader.eof:
            raise Refusal(400, f"the {self._packed} body is cut off", remedy="send it again, whole")
        self._whole = whole
        dropped = {b"content-encoding", b"content-length"}
        scope["headers"] = [
            *(pair for pair in scope["headers"] if pair[0] not in dropped),
            (b"content-length", str(len(whole)).encode()),
        ]

    async def receive(self) -> Message:
        """The next piece; raises `Refusal` once there are too many bytes."""
        if self._whole is not None:
            whole, self._whole = self._whole, None
            self._packed = "done"
            return {"type": "http.request", "body": whole, "more_body": False}
        return await (self._receive() if self._packed == "done" else self._bounded())

    async def _bounded(self) -> Message:
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        self._over = message["type"] != "http.request" or not message.get("more_body", False)
        if self._taken > self._limit:
            raise self._too_large()
        if message["type"] == "http.disconnect" and self._packed:
            raise Refusal(400, "the body was cut off")
        return message

    def _too_large(self) -> Refusal:
        return Refusal(
            413, f"the body has over {self._limit:,} bytes, which is what is taken here", remedy="send smaller pieces"
        )


def _route(scope: Scope) -> str:
    """The path as it is in the table of routes, so that metrics have few of them."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    return path if isinstance(path, str) else "other"
