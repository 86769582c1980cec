"""Live changes as a stream of server-sent events: every turn of the loop, and every row of the journal.

Source:
    WHATWG HTML, server-sent events: ``Last-Event-ID`` is the sequence of the last journal row that a client has seen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from queue import Empty
from threading import Event as Flag
from threading import Lock, Thread
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tightrope.access.roles import Permission
from tightrope.api.journal import event_document, visible
from tightrope.api.visitor import Visitor, needs, visitor
from tightrope.base.errors import BusyError, TightropeError, UsageError
from tightrope.loop.record import Entry
from tightrope.loop.server import Server

router = APIRouter(tags=["journal"])

HEARTBEAT_S = 15.0
PATIENCE_S = 30.0
"""How long a client may leave an answer lying before it is given up."""

MOST_LISTENERS = 500
MOST_BEHIND = 1000
"""Messages that may wait for a client; who falls further behind is let go, and comes back where it stopped."""

_EVERY_S = 1.0
_AT_ONCE = 500


@dataclass(slots=True, eq=False)
class _Listener:
    """One client, in the thread of the server's event loop."""

    waiting: deque[tuple[str, Any]] = field(default_factory=deque)
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    behind: bool = False

    def put(self, kind: str, what: Any) -> None:
        if len(self.waiting) >= MOST_BEHIND:
            self.behind = True
            self.waiting.clear()
        if not self.behind:
            self.waiting.append((kind, what))
        self.awake.set()


class Hub:
    """Hears once of what happens, for all clients. Its thread runs while there are any.

    Args:
        server: Where it happens.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listeners: set[_Listener] = set()
        self._lock = Lock()
        self._stop: Flag | None = None
        self._begun = asyncio.Event()
        self.dropped = 0

    async def join(self) -> _Listener:
        """Take a client in: all that is recorded from now on is put before it."""
        if len(self._listeners) >= MOST_LISTENERS:
            raise BusyError(f"{MOST_LISTENERS} clients listen already", retry_after_s=30)
        listener = _Listener()
        with self._lock:
            self._listeners.add(listener)
            if self._stop is None:
                self._stop, self._begun = Flag(), asyncio.Event()
                args = (self._stop, self._begun, asyncio.get_running_loop())
                Thread(target=self._run, args=args, name="events", daemon=True).start()
            begun = self._begun
        await begun.wait()
        return listener

    def leave(self, listener: _Listener) -> None:
        """Let a client go."""
        with self._lock:
            self._listeners.discard(listener)
            if not self._listeners and self._stop is not None:
                self._stop.set()
                self._stop = None

    @property
    def listeners(self) -> int:
        """How many clients there are."""
        return len(self._listeners)

    def close(self) -> None:
        """Let all clients go."""
        for listener in list(self._listeners):
            listener.behind = True
            listener.awake.set()

    def _run(self, stop: Flag, begun: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        head: int | None = None
        with self._server.listen() as ear:
            while not stop.is_set():
                if head is None:
                    head = self._first_head()
                    loop.call_soon_threadsafe(begun.set)
                messages: list[tuple[str, Any]] = []
                try:
                    turned = ear.get(timeout=_EVERY_S)
                    told = {"number": turned.number, "at": turned.at, "services": list(turned.services)}
                    messages.append(("turn", told | {"events": turned.events}))
                except Empty:
                    pass
                try:
                    rows = self._server.events(after=head, newest_first=False, limit=_AT_ONCE)
                except TightropeError:
                    rows = []  # the store is busy or gone for now; what was missed comes with the next look
                if rows:
                    head = rows[-1].sequence
                    messages[:0] = [("journal", row) for row in rows]
                if messages:
                    try:
                        loop.call_soon_threadsafe(self._tell, messages)
                    except RuntimeError:
                        return  # the event loop is closed: the server has ended

    def _first_head(self) -> int:
        try:
            return self.head()
        except TightropeError:
            return 0  # it can't be read just now; who listens is told of everything it has not seen

    def _tell(self, messages: Sequence[tuple[str, Any]]) -> None:
        for listener in list(self._listeners):
            for kind, what in messages:
                listener.put(kind, what)

    def head(self) -> int:
        """The sequence of the journal's newest row; 0 for none."""
        newest = self._server.events(limit=1)
        return newest[0].sequence if newest else 0


@router.get(
    "/events/stream",
    summary="Listen to what happens",
    **needs(
        Permission.READ,
        also={
            200: {
                "description": (
                    "Server-sent events: `hello`, then `turn` for each turn of the loop that changed something, and "
                    "`journal` for each row of the journal, a CloudEvent whose `id` is its sequence; `reset` if the "
                    "stream cannot go on where the client stopped. A comment comes every 15 s."
                ),
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            }
        },
    ),
)
async def stream(
    request: Request,
    last_event_id: Annotated[str, Header(max_length=40, description="Go on after this row of the journal.")] = "",
    after: Annotated[str, Query(max_length=40, description="The same, for who can set no header.")] = "",
) -> Response:
    """Goes on after `Last-Event-ID`, so that a client that comes back misses nothing."""
    visit = await run_in_threadpool(visitor, request)
    visit.must(Permission.READ)
    from_row = last_event_id or after
    if from_row and not (from_row.isascii() and from_row.isdecimal() and len(from_row) < 18):
        raise UsageError(f"{from_row!r} is no row of the journal", remedy="send the `id` of the last event as it was")
    hub: Hub = request.app.state.hub
    return _Stream(hub, visit, await hub.join(), int(from_row) if from_row else None)


class _Stream(Response):
    """An answer that goes on until the client leaves, falls behind, or may not listen any more."""

    def __init__(self, hub: Hub, visit: Visitor, listener: _Listener, after: int | None) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.headers["Cache-Control"] = "no-store"
        self.headers["X-Accel-Buffering"] = "no"
        self._hub = hub
        self._visit = visit
        self._listener = listener
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell, until there is nobody to tell."""
        gone = asyncio.ensure_future(_left(receive))
        gone.add_done_callback(lambda _: self._listener.awake.set())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self._pieces(gone):
                told = send({"type": "http.response.body", "body": piece, "more_body": True})
                try:
                    await asyncio.wait_for(told, PATIENCE_S)
                except TimeoutError:
                    self._hub.dropped += 1
                    return
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._hub.leave(self._listener)

    async def _pieces(self, gone: asyncio.Future[None]) -> AsyncIterator[bytes]:
        server, listener, visit = self._visit.server, self._listener, self._visit
        head = await run_in_threadpool(self._hub.head)
        snapshot = server.live.snapshot
        seen = head if self._after is None else self._after
        hello = {"number": snapshot.number, "at": snapshot.at, "version": server.version, "head": head}
        yield b"retry: 3000\n" + _piece("hello", hello, None)
        if self._after is not None and not 0 <= head - self._after <= MOST_BEHIND:
            seen = head
            why = "more happened since than a stream repeats" if self._after < head else "the journal has no such row"
            yield _piece("reset", {"reason": why, "head": head}, head)
        while seen < head:
            rows = await run_in_threadpool(self._read, seen)
            if not rows:
                break
            for row in rows:
                if visible(visit, row):
                    yield _piece("journal", event_document(row), row.sequence)
            seen = rows[-1].sequence
        while not gone.done():
            if not listener.waiting and not listener.behind:
                listener.awake.clear()
                try:
                    await asyncio.wait_for(listener.awake.wait(), HEARTBEAT_S)
                except TimeoutError:
                    if not await run_in_threadpool(self._still):
                        return
                    yield b": still here\n\n"
                    continue
            if listener.behind:
                self._hub.dropped += 1
                return
            if not listener.waiting:
                continue
            kind, what = listener.waiting.popleft()
            if kind == "turn":
                services = [one for one in what["services"] if visit.sees(one)]
                yield _piece("turn", what | {"services": services}, None)
            elif what.sequence > seen:
                seen = what.sequence
                if visible(visit, what):
                    yield _piece("journal", event_document(what), seen)

    def _read(self, seen: int) -> Sequence[Entry]:
        return self._visit.server.events(after=seen, newest_first=False, limit=_AT_ONCE)

    def _still(self) -> bool:
        """Whether the client may still listen: tokens are revoked, and sessions end."""
        try:
            return visitor(self._visit.request).actor.may(Permission.READ)
        except TightropeError:
            return False


async def _left(receive: Receive) -> None:
    """Return once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _piece(kind: str, document: Any, row: int | None) -> bytes:
    name = b"" if row is None else f"id: {row}\n".encode()
    return name + f"event: {kind}\n".encode() + b"data: " + msgspec.json.encode(document) + b"\n\n"
