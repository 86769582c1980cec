"""The bodies of requests that small servers of tests are sent."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler


def body_of(handler: BaseHTTPRequestHandler) -> bytes | None:
    """The body of a request; None: its sender was killed in the midst of it, and the connection is over."""
    length = int(handler.headers.get("content-length") or 0)
    body = handler.rfile.read(length)
    if len(body) == length:
        return body
    handler.close_connection = True
    return None
