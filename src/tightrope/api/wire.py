"""How the application is served; and the gate on the wire, where an answer that is at hand is written at once.

uvicorn makes a task, an event and two messages of every request, which takes longer than the answer. Its protocol is
asked first here whether the gate has the answer at hand. All else goes the usual way.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket
from threading import current_thread, main_thread
from types import FrameType, SimpleNamespace
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tightrope.api.application import Api
from tightrope.api.gate import PREFIX, Gate

SWITCH_S = 0.0001
"""How long a thread may go on when another has something to do: fifty times less than usual, so that an answer at hand
does not wait for a turn of the loop. Connections that have something to say wait so long one after the other: with half
a millisecond, sixteen of them waited 8 ms while a decision was made."""

GRACE_S = 5
"""How long requests that are under way may go on once the server is to end."""

_GATE = PREFIX.encode()
_DONE: Any = SimpleNamespace(response_complete=True, message_event=SimpleNamespace(set=lambda: None))
"""Stands for an exchange that is over, for uvicorn to see."""


def quick(gate: Gate) -> type[HttpToolsProtocol]:
    """Make the protocol for a server, to be given to uvicorn as ``http``.

    Args:
        gate: Of the application that the server runs.
    """

    class Quick(HttpToolsProtocol):
        """HTTP/1.1, with the gate asked first."""

        def on_headers_complete(self) -> None:
            if not (self.url.startswith(_GATE) and self._answered()):
                super().on_headers_complete()

        def _answered(self) -> bool:
            """Write an answer that is at hand; whether there was one."""
            parser, flow = self.parser, self.flow
            cycle: Any = self.cycle
            idle = (cycle is None or cycle.response_complete) and not self.pipeline
            if not (
                idle
                and self.client is not None
                and not flow.write_paused
                and parser.get_method() == b"GET"
                and parser.get_http_version() == "1.1"
                and parser.should_keep_alive()
                and not parser.should_upgrade()
            ):
                return False
            found = gate.at_hand(self.url, self.headers, self.client[0])
            if found is None:
                return False
            parts = [found.head]
            for name, value in self.server_state.default_headers:
                parts += (name, b": ", value, b"\r\n")
            parts += (b"x-request-id: ", gate.next_name(), b"\r\n\r\n", found.body)
            self.cycle = _DONE
            self.transport.write(b"".join(parts))
            self.on_response_complete()
            return True

    return Quick


class Serving(uvicorn.Server):
    """Runs the application until SIGINT or SIGTERM, and lets requests that are under way end.

    Args:
        app: What answers.
    """

    def __init__(self, app: Api) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=quick(app.state.gate),
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; who listens to live changes is let go of at once, and would go on for ever."""
        self._app.state.hub.close()
        super().handle_exit(sig, frame)


def serve(app: Api, listener: socket) -> None:
    """Answer requests until SIGINT or SIGTERM, and return then: the loop ends its turn, and the store is closed."""
    sys.setswitchinterval(SWITCH_S)
    with _heard(signal.SIGINT, signal.SIGTERM):
        Serving(app).run(sockets=[listener])


@contextmanager
def _heard(*signals: signal.Signals) -> Iterator[None]:
    """Let signals do nothing by themselves: uvicorn sends them again when it has ended, which would end us at once."""
    if current_thread() is not main_thread():
        yield
        return
    before = {one: signal.signal(one, lambda *_: None) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
