"""The gate over HTTP: may this change go out now. It is asked far more often than anything else, so it stands alone.

A decision is made and recorded before it is answered, once for each second, set of facts and question. Who asks the
same within that second is told the same decision from memory: it is about the same instant, and recorded already. While
the first one of a new second is made, that of the second before is told, if the facts are still the same.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tightrope.access.roles import Permission
from tightrope.api.door import Door
from tightrope.api.problems import InvalidError, Refusal, problem_response, told
from tightrope.api.problems import problem as problem_document
from tightrope.api.shapes import Decision
from tightrope.api.visitor import known, needs
from tightrope.base.errors import BusyError, ForbiddenError, TightropeError
from tightrope.loop.server import Server
from tightrope.policy import decision as policy
from tightrope.policy.change_kinds import kind_of_release
from tightrope.policy.decision import GateRequest
from tightrope.policy.rendering import decision_document, decision_lines
from tightrope.specs.model import ChangeKind

PREFIX = "/api/v1/gate/"
MOST_BODY = 1 << 18
MOST_KEPT, MOST_WAITING = 20_000, 256

router = APIRouter(tags=["policy"])

_KINDS = {kind.value: kind for kind in ChangeKind}
_DIALECTS = ("json", "plain")
_TEXTS = ("change", "title", "environment", "as")
_LONGEST = {"change": 500, "title": 500, "environment": 200, "as": 200}
_KNOWN = ("kind", *_TEXTS, "message", "labels", "label", "dialect")
_MATTERING = frozenset(
    name.encode()
    for name in (
        "authorization",
        "cookie",
        "host",
        "origin",
        "sec-fetch-site",
        "accept",
        "content-type",
        "x-csrf-token",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
        "via",
    )
)
"""The headers that an answer depends on."""

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True, eq=False)
class Answer:
    """An answer that is given as it is, but for the name of the request.

    Attributes:
        status, headers, body: For ASGI.
        head: The same status and headers as they go over the wire, without the empty line at their end.
    """

    status: int
    headers: Headers
    body: bytes
    head: bytes = b""


class Gate:
    """The ASGI application at ``/api/v1/gate/{service}``.

    Args:
        server: Decides and records.
        door: Knows which requests are for this server.
    """

    def __init__(self, server: Server, door: Door) -> None:
        self._server = server
        self._door = door
        self._workers = ThreadPoolExecutor(16, "gate")
        self._stamp: tuple[int, int] = (-1, -1)
        self._answers: dict[Hashable, Answer | asyncio.Future[Answer]] = {}
        self._before: dict[Hashable, Answer | asyncio.Future[Answer]] = {}
        self._decided: dict[GateRequest, asyncio.Future[policy.Decision]] = {}
        self._waiting = 0
        self._prefix = secrets.token_hex(5).encode()
        self._number = 0
        self.answered = 0
        self.refused = 0

    def at_hand(self, target: bytes, headers: Headers, peer: str) -> Answer | None:
        """The answer to a GET, where it was given in this second already; None: it has to be made."""
        mattering = [pair for pair in headers if pair[0] in _MATTERING]
        key = ("GET", target, peer, b"", *mattering)
        found = self._present().get(key)
        if found is not None and found.__class__ is not Answer:  # it is being made
            found = self._before.get(key)
        if found.__class__ is not Answer:
            return None
        self.answered += 1
        return found

    def next_name(self) -> bytes:
        """A name for a request."""
        self._number += 1
        return b"%s-%x" % (self._prefix, self._number)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        name = self.next_name()
        method, client, query = scope["method"], scope["client"], scope["query_string"]
        body = b""
        if method == "POST":
            try:
                body = await self._body(receive)
            except Refusal as error:
                response = told(error, request_id=name.decode(), base_url=self._base_url)
                response.headers["X-Request-Id"] = name.decode()
                await response(scope, receive, send)
                return
        target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        mattering = [pair for pair in scope["headers"] if pair[0] in _MATTERING]
        key = (method, target, client[0] if client else "", body, *mattering)
        answers = self._present()
        found = answers.get(key)
        if found is None:
            found = asyncio.get_running_loop().create_task(self._made(scope, body, self._stamp[0], name.decode()))
            if len(answers) < MOST_KEPT:
                answers[key] = found
                found.add_done_callback(partial(_keep, answers, self._before, key))
        if not isinstance(found, Answer):
            old = self._before.get(key)
            found = old if isinstance(old, Answer) else await asyncio.shield(found)
        answer = found
        self.answered += 1
        headers = [*answer.headers, (b"x-request-id", name)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _present(self) -> dict[Hashable, Answer | asyncio.Future[Answer]]:
        """The answers of this second, and of the facts as they are now."""
        server = self._server
        stamp = (server.now(), server.live.snapshot.number)
        if stamp != self._stamp:
            followed = stamp[0] == self._stamp[0] + 1 and stamp[1] == self._stamp[1]
            self._before = self._answers if followed else {}
            self._stamp = stamp
            self._answers, self._decided = {}, {}
        return self._answers

    def close(self) -> None:
        """Let the workers end."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    @property
    def _base_url(self) -> str:
        return self._server.settings.base_url

    async def _body(self, receive: Receive) -> bytes:
        parts = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the body was cut off")
            parts += message.get("body", b"")
            more = message.get("more_body", False)
            if len(parts) > MOST_BODY:
                raise Refusal(413, f"a question to the gate has at most {MOST_BODY >> 10} KiB")
        return bytes(parts)

    async def _made(self, scope: Scope, body: bytes, now: int, name: str) -> Answer:
        """Make the answer to a question that was not asked in this second before."""
        try:
            if scope["method"] not in {"GET", "HEAD", "POST"}:
                raise Refusal(405, "the gate is asked with GET or POST", headers={"Allow": "GET, HEAD, POST"})
            if self._waiting >= MOST_WAITING:
                raise BusyError("too many questions to the gate wait for an answer", retry_after_s=1)
            self._waiting += 1
            try:
                request, plain = await self._on_worker(self._question, scope, body, now)
                decision = await self._decision(request)
            finally:
                self._waiting -= 1
            return _answer_of(decision, self._server.settings.base_url, plain=plain)
        except (TightropeError, Refusal) as error:
            self.refused += 1
            response = told(error, request_id=name, base_url=self._base_url)
        except Exception:  # noqa: BLE001 - a bug is answered as one, and is no verdict
            self.refused += 1
            self._door.bug(name, scope)
            detail = "this is a bug in Tightrope, and no verdict"
            response = problem_response(
                problem_document(500, detail, request_id=name, base_url=self._base_url), {"Cache-Control": "no-store"}
            )
        headers = [pair for pair in response.raw_headers if pair[0] != b"x-request-id"]
        return Answer(response.status_code, _with(headers, self._door.headers), bytes(response.body))

    async def _decision(self, request: GateRequest) -> policy.Decision:
        """The one decision on a question in this second; all who ask it at once wait for the same."""
        decided = self._decided
        found = decided.get(request)
        if found is None:
            found = decided[request] = asyncio.ensure_future(self._on_worker(self._server.decide, request))
            found.add_done_callback(partial(_forget_failed, decided, request))
        return await asyncio.shield(found)

    def _on_worker(self, call: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._workers, call, *args)

    def _question(self, scope: Scope, body: bytes, now: int) -> tuple[GateRequest, bool]:
        """Read a request, and find out whether its sender may ask; whether the answer is wanted as plain text."""
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        self._door.must_be_ours(headers.get("host", ""))
        method, client = scope["method"], scope["client"]
        actor = known(self._server, method, headers, client[0] if client else "", scope.get("scheme") == "https", now)
        if actor.how != "token" and headers.get("sec-fetch-site", "none") in {"cross-site", "same-site"}:
            raise ForbiddenError(
                "a page of another site asks the gate in somebody's name", remedy="programs use a token"
            )
        service = _service(scope)
        actor.must(Permission.GATE, service)
        asked = _asked(scope["query_string"], body, headers) if method == "POST" else _queried(scope["query_string"])
        dialect = asked.pop("dialect", "")
        if dialect and dialect not in _DIALECTS:
            raise _invalid("?dialect", f"there is no dialect {dialect!r}", f"there are {', '.join(_DIALECTS)}")
        plain = dialect == "plain" or (not dialect and headers.get("accept", "").startswith("text/plain"))
        for_whom = asked.pop("as", "")
        by = f"{for_whom} (by {actor.name})" if for_whom and actor.how != "local" else for_whom or actor.name
        kind, found_in = _kind(asked)
        return (
            GateRequest(
                service,
                now,
                asked.get("environment", "production"),
                kind,
                found_in,
                asked.get("change", ""),
                asked.get("title", ""),
                by,
            ),
            plain,
        )


class Forward(Response):
    """Hands a request that came another way to the gate."""

    def __init__(self, gate: ASGIApp) -> None:
        super().__init__()
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the gate answer."""
        await self._gate(scope, receive, send)


_ANSWERS: dict[int | str, Any] = {
    200: {
        "model": Decision,
        "description": "The decision: whatever the verdict is, it was answered. It is recorded already.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


def _parameter(name: str, says: str, *, where: str = "query", **schema: Any) -> dict[str, Any]:
    kind = schema or {"type": "string", "maxLength": _LONGEST.get(name, 500)}
    return {"name": name, "in": where, "required": where == "path", "description": says, "schema": kind}


_MANY: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_SERVICE = _parameter("service", "Its name.", where="path", type="string", minLength=1)
_DIALECT = _parameter("dialect", "`plain` for people.", type="string", enum=[*_DIALECTS], default="json")
_QUERY = [
    _SERVICE,
    _parameter("kind", "Given, it counts; else `message` and `label` tell.", type="string", enum=[*_KINDS]),
    _parameter("environment", "Where it goes.", type="string", minLength=1, maxLength=200, default="production"),
    _parameter("change", "Commit, tag or release that asks."),
    _parameter("title", "What it is, for people."),
    _parameter("message", "Commit messages to derive the kind from (Conventional Commits).", **_MANY),
    _parameter("label", "Labels of the change to derive the kind from.", **_MANY),
    _parameter("as", "For whom the caller asks."),
    _DIALECT,
]
_QUESTION = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/AskGate"}}}}


@router.get(
    "/gate/{service}",
    summary="Ask whether a change may go out",
    **needs(Permission.GATE, also=_ANSWERS, extra={"parameters": _QUERY}),
)
async def ask(request: Request) -> Response:
    """Go, stop or wait, from memory, with all the reasons; `exitCode` is what `tightrope gate` exits with."""
    return Forward(request.app.state.gate)


@router.post(
    "/gate/{service}",
    summary="Ask whether a change may go out",
    **needs(Permission.GATE, also=_ANSWERS, extra={"parameters": [_SERVICE, _DIALECT], "requestBody": _QUESTION}),
)
async def ask_with_body(request: Request) -> Response:
    """As GET, with the question in the body."""
    return Forward(request.app.state.gate)


# --- reading a question --------------------------------------------------------------------------------------------


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    kind: str = ""
    environment: str = ""
    change: str = ""
    title: str = ""
    message: str | list[str] | None = None
    labels: list[str] | None = None
    as_: str = msgspec.field(default="", name="as")


def _service(scope: Scope) -> str:
    raw = scope.get("raw_path")
    tail = unquote(raw.decode("latin-1")[len(PREFIX) :]) if raw else scope["path"][len(PREFIX) :]
    if "\ufffd" in tail or not tail.isprintable():
        raise _invalid("path:service", "the name of the service is not valid UTF-8", "")
    return str(tail)


def _queried(query: bytes) -> dict[str, Any]:
    """The parameters of a question in the address."""
    asked: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=200, errors="strict")
    except ValueError:
        raise Refusal(400, "the query is not valid UTF-8, or too long") from None
    for name, value in pairs:
        if name not in _KNOWN:
            close = get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_KNOWN)}"
            raise _invalid(f"?{name}", f"the gate is asked for no {name!r}", hint)
        if name in {"message", "label", "labels"}:
            asked.setdefault("labels" if name == "label" else name, []).append(value)
        else:
            asked[name] = value
    return _checked(asked, "?")


def _asked(query: bytes, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The question in a body, with the dialect from the address."""
    told_in_query = _queried(query)
    if set(told_in_query) - {"dialect"}:
        raise _invalid("?" + next(iter(set(told_in_query) - {"dialect"})), "a POST has its question in the body", "")
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in {"", "application/json"}:
        raise Refusal(415, f"a question is sent as JSON, not as {kind}", remedy="set Content-Type: application/json")
    if not body.strip():
        return told_in_query
    try:
        read = msgspec.json.decode(body, type=_Body)
    except msgspec.ValidationError as error:
        says, _, where = str(error).partition(" - at `$.")
        pointer = f"#/{where.rstrip('`').replace('.', '/').replace('[', '/').replace(']', '')}" if where else "#"
        raise _invalid(pointer, says, "see AskGate in the OpenAPI document") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}", pointer="#") from None
    given = {name: getattr(read, name) for name in ("kind", "environment", "change", "title", "message", "labels")}
    asked = {name: value for name, value in (given | {"as": read.as_}).items() if value}
    if isinstance(asked.get("message"), str):
        asked["message"] = [asked["message"]]
    return _checked(asked | told_in_query, "#/")


def _checked(asked: dict[str, Any], sign: str) -> dict[str, Any]:
    for name in _TEXTS:
        text = asked.get(name, "")
        if len(text) > _LONGEST[name]:
            raise _invalid(f"{sign}{name}", f"{name} has over {_LONGEST[name]} characters", "shorten it")
        if any("\ud800" <= one <= "\udfff" or one == "\0" for one in text):
            raise _invalid(f"{sign}{name}", f"{name} is no text", "give it in UTF-8")
    if asked.get("environment") == "":
        raise _invalid(f"{sign}environment", "environment is empty", "leave it out, or name one")
    kind = asked.get("kind", "")
    if kind and kind not in _KINDS:
        close = get_close_matches(kind, _KINDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_KINDS)}"
        raise _invalid(f"{sign}kind", f"there is no kind of change {kind!r}", hint)
    return asked


def _kind(asked: Mapping[str, Any]) -> tuple[ChangeKind, str]:
    """The kind of the change and how it was found, as on the command line."""
    if asked.get("kind"):
        return _KINDS[asked["kind"]], "given"
    messages: Sequence[str] = asked.get("message", ())
    labels: Sequence[str] = asked.get("labels", ())
    if messages or labels:
        found = kind_of_release(messages, labels)
        return found.kind, found.source
    return ChangeKind.FEATURE, "default"


def _invalid(pointer: str, detail: str, remedy: str) -> InvalidError:
    fault = {"detail": detail, "pointer": pointer} | ({"remedy": remedy} if remedy else {})
    return InvalidError(detail, [fault], remedy=remedy)


# --- writing an answer ---------------------------------------------------------------------------------------------


def _answer_of(decision: policy.Decision, base_url: str, *, plain: bool) -> Answer:
    if plain:
        more = f"{base_url.rstrip('/')}/decisions/{decision.id}" if base_url else ""
        body = ("\n".join(decision_lines(decision, more=more)) + "\n").encode()
        kind = b"text/plain; charset=utf-8"
    else:
        body, kind = msgspec.json.encode(decision_document(decision)), b"application/json"
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    lines = [b"HTTP/1.1 200 OK", *(b"%s: %s" % pair for pair in headers)]
    return Answer(200, headers, body, b"\r\n".join(lines) + b"\r\n")


def _with(headers: Headers, more: Headers) -> Headers:
    there = {name for name, _ in headers}
    return [*headers, *(pair for pair in more if pair[0] not in there)]


def _keep(
    kept: dict[Hashable, Answer | asyncio.Future[Answer]],
    before: dict[Hashable, Answer | asyncio.Future[Answer]],
    key: Hashable,
    done: asyncio.Future[Answer],
) -> None:
    """Put the answer in the place of the work on it; an error is made anew each time, with a name of its own."""
    before.pop(key, None)
    if not done.cancelled() and done.exception() is None and done.result().status == 200:
        kept[key] = done.result()
    else:
        kept.pop(key, None)


def _forget_failed(
    decided: dict[GateRequest, asyncio.Future[policy.Decision]],
    request: GateRequest,
    done: asyncio.Future[policy.Decision],
) -> None:
    if done.cancelled() or done.exception() is not None:
        decided.pop(request, None)
