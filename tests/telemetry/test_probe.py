"""Probes against real servers on loopback, with and without TLS, and the slices that are made of them."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import free_port
from tests.telemetry.builders import NOON, data_source, ratio, raw, read, threshold
from tightrope.base.errors import DataError, UsageError
from tightrope.specs.model import Comparison, DataSource
from tightrope.telemetry.probing import Probed, ProbeResult
from tightrope.telemetry.usecases import open_probe, open_source

DAY_S = 86400
NOW = int(time.time()) + 3600  # noqa: TID251  a real certificate ends in real time


class _Pages(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        sent = self.rfile.read(length)
        path, _, query = self.path.partition("?")
        if path == "/slow":
            time.sleep(float(query))
        if path == "/dripping":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            for _ in range(50):
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(0.1)
            return
        if path == "/moved":
            self.send_response(302)
            self.send_header("location", "/")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        body = {
            "/": b'{"status": "fine"}',
            "/echo": sent,
            "/token": self.headers.get("authorization", "").encode(),
            "/big": b"x" * 3_000_000,
        }.get(path, b"no such page")
        self.send_response(int(query) if path == "/status" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = _answer  # noqa: N815  the names that the library calls

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # a client that leaves early is meant to


@contextmanager
def _serving(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), _Pages)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module", name="url")
def _url() -> Iterator[str]:
    with _serving() as url:
        yield url


@pytest.fixture(scope="module", name="secured")
def _secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server whose certificate ends in 30 days, and the file to trust."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with _serving(context) as url:
        yield url, folder / "cert.pem"


def probe(url: str, **connection: Any) -> ProbeResult:
    return open_probe(data_source("probe", ".", {"url": url, **connection})).probe(NOW)


def test_a_page_that_answers_is_up(url: str) -> None:
    result = probe(url)
    assert (result.up, result.why, result.status, result.at, result.tls_left_s) == (True, "", 200, NOW, None)
    assert result.micros is not None
    assert 0 < result.micros < 5_000_000


@pytest.mark.parametrize(
    ("path", "connection", "why"),
    [
        ("/status?503", {}, "it answers 503, not 2xx or 3xx"),
        ("/status?404", {}, "it answers 404, not 2xx or 3xx"),
        ("/status?404", {"expectStatus": ["4xx", 204]}, ""),
        ("/status?204", {"expectStatus": 204}, ""),
        ("/moved", {}, ""),
        ("/moved", {"expectStatus": 200}, "it answers 302, not 200"),
        ("/moved", {"expectStatus": 200, "followRedirects": True}, ""),
        ("/", {"bodyMatch": '"status":\\s*"fine"'}, ""),
        ("/", {"bodyMatch": "^ok$"}, "its body does not match '^ok$'"),
        ("/big", {"bodyMatch": "x{1000}"}, ""),
        ("/echo", {"method": "POST", "body": "ping", "bodyMatch": "^ping$"}, ""),
        ("/", {"method": "HEAD", "bodyMatch": "fine"}, "its body does not match 'fine'"),
        ("/slow?0.2", {"maxLatency": "100ms"}, "more than 100 ms"),
        ("/slow?0.2", {"maxLatency": "5s"}, ""),
        ("/slow?5", {"timeout": "1s"}, "no answer within 1 s"),
        ("/dripping", {"timeout": "1s", "bodyMatch": "never"}, "no answer within 1 s"),
        ("/", {"tlsExpiresIn": "7d"}, "it shows no certificate"),
    ],
)
def test_a_probe_demands_what_its_source_says(url: str, path: str, connection: dict[str, Any], why: str) -> None:
    result = probe(url + path, **connection)
    assert why in result.why
    assert result.up is (why == "")


def test_headers_come_from_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_TOKEN", "sesame")
    headers = {"Authorization": {"env": "PROBE_TOKEN", "prefix": "Bearer "}}
    assert probe(f"{url}/token", headers=headers, bodyMatch="^Bearer sesame$").up


def test_nobody_there_is_down_and_not_an_error() -> None:
    result = probe(f"http://127.0.0.1:{free_port()}", timeout="1s")
    assert (result.up, result.status, result.micros) == (False, None, None)
    assert result.why
    nowhere = probe("http://no-such-host.invalid", timeout="1s")
    assert not nowhere.up


def test_a_certificate_is_checked_and_its_end_is_seen(secured: tuple[str, Path]) -> None:
    url, certificate = secured
    result = probe(url, caFile=str(certificate))
    assert result.up
    assert result.tls_left_s is not None
    assert 29 * DAY_S < result.tls_left_s <= 30 * DAY_S
    assert probe(url, caFile=str(certificate), tlsExpiresIn="14d").up
    soon = probe(url, caFile=str(certificate), tlsExpiresIn="60d")
    assert soon.why == "its certificate ends in 29 days"


def test_a_certificate_that_nobody_vouches_for_is_down(secured: tuple[str, Path]) -> None:
    url, _ = secured
    result = probe(url)
    assert not result.up
    assert "certificate" in result.why
    assert probe(url, tlsInsecure=True).up


@pytest.mark.parametrize(
    ("connection", "why"),
    [
        ({"url": "ftp://x"}, "is no address of a server"),
        ({"method": "TRACE"}, "method is 'TRACE'"),
        ({"expectStatus": "6xx"}, "neither a class nor a code"),
        ({"bodyMatch": "("}, "is no regular expression"),
        ({"maxLatency": "fast"}, "maxLatency is 'fast'"),
        ({"tlsExpiresIn": "7d", "tlsInsecure": True}, "wants a certificate that is checked"),
        ({"headers": {"A": {"env": "NOT_SET_ANYWHERE"}}}, "NOT_SET_ANYWHERE, which is not set"),
        ({"headers": {"A": {"file": "x"}}}, "header A must be a text or"),
        ({"caFile": "gone.pem", "url": "https://127.0.0.1:1"}, "caFile gone.pem can't be used"),
        ({"expect": 200}, "unknown setting 'expect'"),
    ],
)
def test_wrong_settings_are_refused(connection: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        probe(**{"url": "http://127.0.0.1:1", **connection})


def test_a_probe_is_not_read() -> None:
    source = data_source("probe", ".", {"url": "http://127.0.0.1:1"})
    assert open_source(source).asks_the_present
    with pytest.raises(UsageError, match="it is probed, not read"):
        read(ratio(source, {"check": "up"}, {"check": "any"}), since=NOON, until=NOON + 60)


# --- slices ------------------------------------------------------------------------------------------------------

SITE = data_source("probe", ".", {"url": "http://127.0.0.1:1"})


def found(probed: Probed) -> list[tuple[int, int, int, int]]:
    touched = probed.drain()
    assert touched.covered.all()
    rows = zip(*(getattr(touched, name).tolist() for name in ("tracks", "slots", "bad", "total")), strict=True)
    return [(track, slot - NOON // 60, total - bad, total) for track, slot, bad, total in rows]


def result(after: int, **what: Any) -> ProbeResult:
    return ProbeResult(NOON + after, **{"up": True, "status": 200, "micros": 50_000, **what})


def test_the_metric_says_which_probes_are_good() -> None:
    total = {"check": "any"}
    probed = Probed(
        [
            (0, ratio(SITE, {"check": "up"}, total)),
            (1, ratio(SITE, {"latencyBelow": "50ms"}, total)),
            (2, ratio(SITE, {"check": "any", "tlsExpiresIn": "14d"}, total)),
            (3, ratio(SITE, bad={"check": "down"}, total=total)),
            (4, threshold(SITE, {"value": "latency"}, Comparison.LTE, "5/100")),
            (5, threshold(SITE, {"value": "tlsDays"}, Comparison.GT, "7")),
        ]
    )
    cases = [
        (result(0), [1, 0, 0, 1, 1, 0]),
        (result(60, micros=49_999, tls_left_s=14 * DAY_S), [1, 1, 1, 1, 1, 1]),
        (result(120, up=False, status=500, micros=60_000, tls_left_s=7 * DAY_S), [0, 0, 0, 0, 0, 0]),
        (ProbeResult(NOON + 180, False, "no answer"), [0, 0, 0, 0, 0, 0]),
    ]
    for number, (one, good) in enumerate(cases):
        probed.take(SITE, one)
        assert found(probed) == [(track, number, count, 1) for track, count in enumerate(good)]


def test_probes_of_one_slice_add_up_and_older_ones_are_left_out() -> None:
    probed = Probed([(7, ratio(SITE, {"check": "up"}, {"check": "any"}, scale=1000))])
    for after, up in ((0, True), (20, False), (40, True)):
        probed.take(SITE, result(after, up=up))
    assert found(probed)[-1] == (7, 0, 2000, 3000)
    probed.take(SITE, result(60))
    probed.take(SITE, result(59))
    probed.take(data_source("probe", "elsewhere", {}), result(60))
    assert found(probed) == [(7, 1, 1000, 1000)]


def test_slices_are_as_long_as_the_time_between_probes() -> None:
    slow = DataSource("slow", "probe", {"url": "http://127.0.0.1:1", "every": "5m"})
    probed = Probed([(0, ratio(slow, {"check": "up"}, {"check": "any"}))])
    probed.take(slow, result(600))
    assert probed.drain().slots.tolist() == [(NOON + 600) // 300]
    assert [source.name for source in probed.sources] == ["slow"]


def test_the_sums_of_the_newest_slice_are_remembered() -> None:
    request = ratio(SITE, {"check": "up"}, {"check": "any"})
    probed = Probed([(0, request)])
    probed.take(SITE, result(0))
    blob = probed.snapshot({0: "checkout"})
    again = Probed([(5, request)])
    again.restore(blob, {5: "checkout", 6: "gone"})
    again.take(SITE, result(30, up=False))
    assert found(again) == [(5, 0, 1, 2)]
    for nonsense in (b"", b"[]", b'{"format": 0}', b'{"format": 1, "sums": 5}'):
        with pytest.raises(DataError, match="what is kept of the probes"):
            again.restore(nonsense, {})


@pytest.mark.parametrize(
    ("good", "total", "why"),
    [
        ({"check": "sideways"}, {}, "check is 'sideways'"),
        ({}, {"latencyBelow": "1s"}, "tell the good probes"),
        ({"status": 200}, {}, "unknown setting 'status'"),
        ({"latencyBelow": "soon"}, {}, "latencyBelow is 'soon'"),
    ],
)
def test_a_wrong_metric_is_refused(good: dict[str, Any], total: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Probed([(0, ratio(SITE, good, total))])


def test_what_can_not_be_probed_for_is_refused() -> None:
    other = DataSource("other", "probe", SITE.connection)
    for request, why in (
        (raw(SITE, {"value": "latency"}), "a probe gives counts, or values"),
        (ratio(SITE, {}, {}, counter=True), "probes are no counters"),
        (ratio(SITE, {}, {}, total_source=other), "good and total are of the same probe"),
    ):
        with pytest.raises(UsageError, match=why):
            Probed([(0, request)])
