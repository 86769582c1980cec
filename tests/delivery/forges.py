"""A GitHub and a GitLab on loopback that are as strict as the real ones about what is sent to them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from tests.bodies import body_of
from tightrope.base.units import time_text

APP, INSTALLATION = 4711, 815
Reply = tuple[int, Any, dict[str, str]]


@cache
def app_key() -> str:
    """The private key of the App, in PEM; made once, for it takes a while."""
    return RSAKey.generate_key(2048).as_pem(private=True).decode()


@dataclass
class Got:
    """A request that arrived."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


@dataclass
class Forge:
    """What a forge was asked, and how it misbehaves.

    Attributes:
        next: Statuses (with headers) that the next requests are answered with, whatever they are; 0 cuts the connection
            after the request was taken.
    """

    got: list[Got] = field(default_factory=list)
    next: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    lock: Lock = field(default_factory=Lock)

    def answer(self, got: Got) -> Reply:
        raise NotImplementedError

    def told(self, path: str) -> list[Any]:
        """The bodies that arrived at a path."""
        return [one.body for one in self.got if re.fullmatch(path, one.path)]


@dataclass
class GitHubServer(Forge):
    """GitHub: JWTs are checked, tokens expire, ten comments at most, 1,024 signs at most, one review only."""

    now: Callable[[], int] = lambda: int(time.time())  # noqa: TID251 - a server of others has a clock of its own
    tokens: dict[str, int] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)
    reviews: dict[str, str] = field(default_factory=dict)
    checks: dict[int, dict[str, Any]] = field(default_factory=dict)
    runs: set[int] = field(default_factory=lambda: {42, 43, 44})
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    again: list[int] = field(default_factory=list)

    def answer(self, got: Got) -> Reply:
        found = re.fullmatch(r"/app/installations/(\d+)/access_tokens", got.path)
        if found:
            return self._token(got, int(found[1]))
        if got.path.startswith("/app/hook/deliveries"):
            return self._hook(got)
        token = got.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0) <= self.now():
            return 401, {"message": "Bad credentials"}, {}
        found = re.fullmatch(r"/repos/([^/]+/[^/]+)/actions/runs/(\d+)/deployment_protection_rule", got.path)
        if found and got.method == "POST":
            return self._review(got, found[1], int(found[2]))
        found = re.fullmatch(r"/repos/([^/]+/[^/]+)/check-runs(?:/(\d+))?", got.path)
        if found and (got.method, bool(found[2])) in {("POST", False), ("PATCH", True)}:
            return self._check(got, found[2])
        return 404, {"message": "Not Found"}, {}

    def _hook(self, got: Got) -> Reply:
        if self._refused(got):
            return 401, {"message": "A JSON web token could not be decoded"}, {}
        found = re.fullmatch(r"/app/hook/deliveries/(\d+)/attempts", got.path)
        if found and got.method == "POST":
            self.again.append(int(found[1]))
            return 202, {}, {}
        return 200, self.deliveries, {}

    def _refused(self, got: Got) -> str:
        """What is wrong with the App's own token; empty where nothing is."""
        shown = got.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(shown, RSAKey.import_key(app_key()), algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return "A JSON web token could not be decoded"
        sound = claims["iat"] <= self.now() + 5 and self.now() < claims["exp"] <= self.now() + 600
        return "" if sound and claims["iss"] == str(APP) else "'exp' is too far in the future"

    def _token(self, got: Got, installation: int) -> Reply:
        if why := self._refused(got):
            return 401, {"message": why}, {}
        if installation != INSTALLATION:
            return 404, {"message": "Not Found"}, {}
        token = f"ghs_{len(self.tokens):036d}"
        self.tokens[token] = self.now() + 3600
        return 201, {"token": token, "expires_at": time_text(self.tokens[token])}, {}

    def _review(self, got: Got, repository: str, run: int) -> Reply:
        body, key = got.body, f"{repository} {run} {got.body.get('environment_name')}"
        if run not in self.runs or not body.get("environment_name"):
            return 404, {"message": "Not Found"}, {}
        if len(body.get("comment", "")) > 1024:
            return 422, {"message": "comment is too long"}, {}
        if key in self.reviews:
            return 422, {"message": "this gate was reviewed already"}, {}
        state = body.get("state")
        if state is None:
            if len(self.comments.get(key, [])) >= 10:
                return 422, {"message": "too many comments"}, {}
            self.comments.setdefault(key, []).append(body["comment"])
            return 204, None, {}
        if state not in {"approved", "rejected"}:
            return 422, {"message": "no such state"}, {}
        self.reviews[key] = state
        return 204, None, {}

    def _check(self, got: Got, known: str | None) -> Reply:
        body = got.body
        done = body["status"] == "completed"
        if done != ("conclusion" in body) or len(body["output"]["summary"]) > 65_535:
            return 422, {"message": "Validation Failed"}, {}
        number = int(known) if known else len(self.checks) + 1
        if known and number not in self.checks:
            return 404, {"message": "Not Found"}, {}
        self.checks[number] = body
        return (200 if known else 201), {"id": number}, {}


@dataclass
class GitLabServer(Forge):
    """GitLab: 409 for a commit that is not the newest, one approval for each user, a job is played once approved."""

    token: str = "glpat-secret"
    newest: dict[int, str] = field(default_factory=dict)
    statuses: list[tuple[str, str]] = field(default_factory=list)
    approvals: dict[int, str] = field(default_factory=dict)
    played: list[int] = field(default_factory=list)
    blocked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, got: Got) -> Reply:
        if got.headers.get("private-token") != self.token:
            return 401, {"message": "401 Unauthorized"}, {}
        if found := re.fullmatch(r"/api/v4/projects/acme%2Fshop/merge_requests/(\d+)/status_check_responses", got.path):
            if got.body["sha"] != self.newest.get(int(found[1])):
                return 409, {"message": "sha does not match HEAD"}, {}
            self.statuses.append((got.body["sha"], got.body["status"]))
            return 201, {"id": 1}, {}
        if found := re.fullmatch(r"/api/v4/projects/acme%2Fshop/deployments/(\d+)/approval", got.path):
            number = int(found[1])
            if number in self.approvals:
                return 400, {"message": "This deployment is not waiting for approvals."}, {}
            self.approvals[number] = got.body["status"]
            return 201, {"status": got.body["status"]}, {}
        if found := re.fullmatch(r"/api/v4/projects/acme%2Fshop/jobs/(\d+)/play", got.path):
            if int(found[1]) in self.played:
                return 400, {"message": "400 Bad request - Unplayable Job"}, {}
            if "approved" not in self.approvals.values():
                return 403, {"message": "403 Forbidden"}, {}
            self.played.append(int(found[1]))
            return 200, {"id": int(found[1])}, {}
        if got.method == "GET" and got.path == "/api/v4/projects/acme%2Fshop/deployments":
            return 200, self.blocked, {}
        return 404, {"message": "404 Not Found"}, {}


@contextmanager
def listening(forge: Forge) -> Iterator[Forge]:
    """Let a forge answer on loopback until the block ends; ``forge.url`` is where."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            raw = body_of(self)
            if raw is None:
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            got = Got(self.command, urlsplit(self.path).path, json.loads(raw) if raw else None, headers)
            with forge.lock:
                forge.got.append(got)
                cut = forge.next.pop(0) if forge.next else None
                status, document, more = (
                    (cut[0], {"message": "as the test wants it"}, cut[1]) if cut and cut[0] else forge.answer(got)
                )
            if cut is not None and not cut[0]:  # taken, and nobody learns of it
                self.close_connection = True
                return
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {**more, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - the names that the library looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Be silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    forge.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
