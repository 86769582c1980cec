"""Every error is a problem: what, where, how to mend it, and which request it was."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import zlib
from email.utils import formatdate
from typing import Any

import httpx2
import pytest

from tests.api.world import World, extra
from tightrope.api.door import LIMITS, MIB
from tightrope.api.problems import MEDIA_TYPE, SORTS, place_of, pointer_of, status_of
from tightrope.base import errors

TWO_ENDS = {"name": "x", "role": "viewer", "expiresIn": "1d", "expiresAt": "2100-01-01"}


def problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem that an answer is, after a check that it is a whole one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["request_id"] == answer.headers["x-request-id"]
    assert found["type"].rpartition("/")[2] in SORTS
    assert SORTS[found["type"].rpartition("/")[2]].title == found["title"]
    assert found["detail"]
    return found


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/api/v1/nothing", 404, "there is nothing at /api/v1/nothing"),
        ("POST", "/api/v1/nothing", 404, "there is nothing at /api/v1/nothing"),
        ("GET", "/api/v2/services", 404, "there is nothing at /api/v2/services"),
        ("GET", "/nothing", 404, "there is nothing at /nothing"),
        ("POST", "/api/v1/services", 405, "POST is nothing that can be done here"),
        ("PATCH", "/api/v1/specs/SLO/x", 405, "PATCH is nothing"),
        ("DELETE", "/healthz", 405, "DELETE is nothing"),
        ("PUT", "/api/v1/gate/checkout", 405, "the gate is asked with GET or POST"),
        ("GET", "/api/v1/services/none", 404, "there is no service named 'none'"),
        ("GET", "/api/v1/services/none/explain", 404, "there is no service named 'none'"),
        ("GET", "/api/v1/gate/none", 404, "there is no service named 'none'"),
        ("GET", "/api/v1/status?service=none", 404, "there is no service named 'none'"),
        ("GET", "/api/v1/status?slo=none", 404, "there is no SLO named 'none'"),
        ("GET", "/api/v1/decisions/D-none", 404, "there is no decision 'D-none'"),
        ("POST", "/api/v1/decisions/D-none/recompute", 404, "there is no decision 'D-none'"),
        ("GET", "/api/v1/specs/SLO/none", 404, "there is no SLO called 'none'"),
        ("DELETE", "/api/v1/specs/SLO/none", 404, "there is no SLO called 'none'"),
        ("GET", "/api/v1/silences/S-NONE", 404, "there is no silence 'S-NONE'"),
        ("DELETE", "/api/v1/tokens/none", 404, "there is no token 'none'"),
        ("GET", "/api/v1/session", 404, "this request belongs to no session"),
        ("GET", "/api/v1/errors/none", 404, "there is no sort of problem 'none'"),
        ("POST", "/api/v1/messages/M-NONE/retry", 404, "there is no message 'M-NONE'"),
        ("GET", "/api/v1/decisions?cursor=nonsense!", 400, "the cursor is none of this list"),
        ("GET", "/api/v1/alerts?cursor=bm9uc2Vuc2U", 400, "the cursor is none of this list"),
        ("GET", "/api/v1/journal?since=yesterday", 400, "yesterday"),
        ("GET", "/api/v1/journal/verify?head=nonsense", 400, "'nonsense' is not the hash of a row"),
        ("POST", "/api/v1/specs/validate", 400, "the body is empty"),
        ("GET", "/api/v1/gate/checkout?kind=%ff", 400, "the query is not valid UTF-8"),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_said(
    world: World, method: str, path: str, status: int, detail: str
) -> None:
    found = problem(world.ask(method, path), status)
    assert detail in found["detail"]
    if status == 405:
        assert "GET" in world.ask(method, path).headers["allow"]


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("GET", "/api/v1/services?limit=0", None, "?limit"),
        ("GET", "/api/v1/services?limit=many", None, "?limit"),
        ("GET", "/api/v1/status?flow=sideways", None, "?flow"),
        ("GET", "/api/v1/messages?state=lost", None, "?state"),
        ("GET", "/api/v1/gate/checkout?kind=featur", None, "?kind"),
        ("GET", "/api/v1/gate/checkout?kin=feature", None, "?kin"),
        ("GET", "/api/v1/gate/checkout?dialect=latin", None, "?dialect"),
        ("GET", "/api/v1/gate/checkout?environment=", None, "?environment"),
        ("GET", "/api/v1/gate/checkout?change=" + "x" * 501, None, "?change"),
        ("POST", "/api/v1/gate/checkout", {"kind": "featur"}, "#/kind"),
        ("POST", "/api/v1/gate/checkout", {"labels": [1]}, "#/labels/"),
        ("POST", "/api/v1/gate/checkout", {"surprise": 1}, "#"),
        ("POST", "/api/v1/gate/checkout?kind=feature", {}, "?kind"),
        ("POST", "/api/v1/backtest", {"from": "yesterday"}, "#/from"),
        ("POST", "/api/v1/backtest", {"from": "2100-01-01"}, "#/from"),
        ("POST", "/api/v1/backtest", {"surprise": 1}, "#/surprise"),
        ("POST", "/api/v1/backtest", {"labels": [{"start": "soon"}]}, "#/labels/0/start"),
        ("POST", "/api/v1/backtest", {"labels": [{"start": "2026-01-02", "end": "2026-01-01"}]}, "#/labels/0/end"),
        ("POST", "/api/v1/silences", {"matchers": ["nonsense"], "duration": "1h", "reason": "x"}, "#/matchers/0"),
        ("POST", "/api/v1/silences", {"matchers": ["service=x"], "reason": "x"}, "#/endsAt"),
        ("POST", "/api/v1/silences", {"matchers": [], "duration": "1h", "reason": "x"}, "#/matchers"),
        ("POST", "/api/v1/tokens", {"name": "x", "role": "king"}, "#/role"),
        ("POST", "/api/v1/tokens", TWO_ENDS, "#/expiresIn"),
        ("POST", "/api/v1/session", {}, "#/token"),
    ],
)  # fmt: skip
def test_a_fault_has_its_place(world: World, method: str, path: str, body: Any, pointer: str) -> None:
    found = problem(world.ask(method, path, **({} if body is None else {"json": body})), 422)
    assert found["errors"][0]["pointer"].startswith(pointer)


def test_a_body_that_is_not_json_is_told_apart_from_one_that_does_not_fit(world: World) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/api/v1/gate/checkout", "/api/v1/silences", "/api/v1/backtest"):
        found = problem(world.post(path, content="{", headers=headers), 400)
        assert "the body is not JSON" in found["detail"]
    found = problem(world.post("/api/v1/specs/validate", content=b"\xff\xfe\xfa"), 400)
    assert "the body is not UTF-8" in found["detail"]


def test_a_body_of_another_type_is_refused(world: World) -> None:
    headers = {"Content-Type": "application/xml"}
    problem(world.post("/api/v1/gate/checkout", content="<a/>", headers=headers), 415)
    problem(world.ask("PUT", "/api/v1/specs", content="<a/>", headers=headers), 415)
    packed = {"Content-Type": "application/yaml", "Content-Encoding": "br"}
    problem(world.ask("PUT", "/api/v1/specs", content="x", headers=packed), 415)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_packed_body_is_unpacked(world: World, encoding: str) -> None:
    text = extra("packed").encode()
    body = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
    headers = {"Content-Type": "application/yaml", "Content-Encoding": encoding}
    assert world.post("/api/v1/specs/validate", content=body, headers=headers).json()["valid"] is True
    cut_off = problem(world.post("/api/v1/specs/validate", content=body[:-6], headers=headers), 400)
    assert "is cut off" in cut_off["detail"]
    broken = problem(world.post("/api/v1/specs/validate", content=b"nonsense", headers=headers), 400)
    assert f"the body is not {encoding}" in broken["detail"]


def test_a_body_that_unpacks_to_too_much_is_refused(world: World) -> None:
    bomb = gzip.compress(b"#" * (20 * MIB))
    assert len(bomb) < 50_000
    headers = {"Content-Type": "application/yaml", "Content-Encoding": "gzip"}
    problem(world.post("/api/v1/specs/validate", content=bomb, headers=headers), 413)


@pytest.mark.parametrize(
    ("path", "beginning"),
    [
        ("/api/v1/silences", "/api/"),
        ("/api/v1/specs/validate", "/api/v1/specs"),
        ("/api/v1/backtest", "/api/v1/backtest"),
        ("/api/v1/write", "/api/v1/write"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(world: World, path: str, beginning: str, chunked: bool) -> None:
    limit = next(limit for one, limit in LIMITS if one == beginning)
    piece = b" " * 65_536
    pieces = [piece] * (limit // len(piece) + 2)
    content: Any = iter(pieces) if chunked else b"".join(pieces)
    headers = {"Content-Type": "application/json" if beginning != "/api/v1/specs" else "application/yaml"}
    try:
        answer = world.post(path, content=content, headers=headers)
    except httpx2.TransportError:
        pytest.skip("the connection was closed before all was sent, which HTTP allows")
    found = problem(answer, 413)
    assert f"{limit:,} bytes" in found["detail"]


def test_a_question_to_the_gate_has_an_end(world: World) -> None:
    found = problem(world.post("/api/v1/gate/checkout", json={"title": "x" * (1 << 19)}), 413)
    assert "256 KiB" in found["detail"]


def test_who_shows_nothing_or_something_wrong_is_told_how_to_ask(world: World) -> None:
    for path in ("/api/v1/services", "/api/v1/gate/checkout", "/metrics", "/api/v1/query?query=1"):
        answer = world.get(path, "")
        found = problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "Authorization: Bearer" in found["remedy"]
        wrong = problem(world.get(path, "", headers={"Authorization": "Bearer tr_nonsense"}), 401)
        assert "tr_nonsense" not in json.dumps(wrong)


def test_a_request_keeps_the_name_that_it_came_with(world: World) -> None:
    answer = world.get("/api/v1/services/none", headers={"X-Request-Id": "trace-0123456789"})
    assert problem(answer, 404)["request_id"] == "trace-0123456789"
    odd = world.get("/api/v1/services/none", headers={"X-Request-Id": "<script>"})
    assert problem(odd, 404)["request_id"] != "<script>"


def test_every_answer_carries_what_keeps_browsers_safe(world: World) -> None:
    for path in ("/healthz", "/api/v1/services", "/api/v1/nothing", "/metrics"):
        headers = world.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    assert world.get("/api/v1/gate/checkout").headers["x-content-type-options"] == "nosniff"


def test_a_clock_that_is_off_is_told(world: World) -> None:
    now = world.server.now()
    off = world.get("/healthz", headers={"Date": formatdate(now + 3600, usegmt=True)})
    assert 3590 <= int(off.headers["x-clock-skew-seconds"]) <= 3610
    for date in (formatdate(now, usegmt=True), "nonsense"):
        assert "x-clock-skew-seconds" not in world.get("/healthz", headers={"Date": date}).headers
    assert "date" in off.headers


@pytest.mark.parametrize("path", ["/api/v1/services", "/api/v1/gate/checkout", "/healthz"])
def test_a_name_that_was_turned_to_this_machine_is_refused(local: World, path: str) -> None:
    for host in ("evil.example", "evil.example:8080", "localhost.evil.example"):
        found = problem(local.get(path, "", headers={"Host": host}), 421)
        assert host in found["detail"]
    for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]:80"):
        assert local.get(path, "", headers={"Host": host}).status_code == 200


def test_a_page_of_another_site_changes_nothing_on_this_machine(local: World) -> None:
    wanted = {"matchers": ["service=checkout"], "duration": "1h", "reason": "x"}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        found = problem(local.post("/api/v1/silences", "", json=wanted, headers=headers), 403)
        assert "another site" in found["detail"]
    problem(local.get("/api/v1/gate/checkout", "", headers={"Sec-Fetch-Site": "cross-site"}), 403)
    assert local.post("/api/v1/silences", "", json=wanted).status_code == 201
    assert local.get("/api/v1/services", "", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_who_comes_through_a_proxy_is_not_taken_for_local(local: World) -> None:
    problem(local.get("/api/v1/services", "", headers={"X-Forwarded-For": "198.51.100.7"}), 401)


def test_what_is_no_http_does_no_harm(world: World) -> None:
    host, port = world.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert b"400 Bad Request" in connection.recv(1000)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /api/v1/silences HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
    assert world.get("/healthz").status_code == 200


def test_requests_in_a_row_on_one_connection_are_answered_in_their_order(world: World) -> None:
    host, port = world.url.removeprefix("http://").split(":")
    token = world.tokens["admin"]
    asked = [f"/api/v1/gate/{service}" for service in ("checkout", "basket", "checkout", "none", "basket")]
    head = f"HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall("".join(f"GET {path} {head}" for path in asked).encode())
        stream = connection.makefile("rb")
        told = []
        for _ in asked:
            status = int(stream.readline().split()[1])
            headers = http.client.parse_headers(stream)
            body = json.loads(stream.read(int(headers["Content-Length"])))
            told.append((status, body.get("service")))
    assert told == [(200, "checkout"), (200, "basket"), (200, "checkout"), (404, None), (200, "basket")]


def test_every_error_has_the_status_of_its_tree() -> None:
    tree = [
        (errors.UsageError("x"), 400),
        (errors.UnauthorizedError("x"), 401),
        (errors.ForbiddenError("x"), 403),
        (errors.NotFoundError("x"), 404),
        (errors.ConflictError("x"), 409),
        (errors.ConflictError("x", precondition=True), 412),
        (errors.TooLargeError("x"), 413),
        (errors.SpecsInvalidError(()), 422),
        (errors.SpecError("TR001", "x", errors.Place("f")), 422),
        (errors.DataError("x"), 422),
        (errors.BusyError("x", retry_after_s=1), 429),
        (errors.SourceError("x"), 502),
        (errors.SourceUnreachableError("x"), 503),
        (errors.StoreError("x"), 503),
        (errors.TightropeError("x"), 400),
    ]
    assert [(type(error), status_of(error)) for error, _ in tree] == [(type(error), status) for error, status in tree]


def test_places_are_json_pointers() -> None:
    assert pointer_of("spec.objectives[0].target") == "#/spec/objectives/0/target"
    assert pointer_of("metadata.annotations[tightrope.dev/owner]") is not None
    assert pointer_of("") is None
    assert place_of(("body", "labels", 0, "a/b~c")) == "#/labels/0/a~1b~0c"
    assert place_of(("query", "limit")) == "?limit"
    assert place_of(("header", "If-Match")) == "header:If-Match"
