"""Telemetry over HTTP: what is answered is taken, what is not says why."""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from tests.api.world import World
from tests.telemetry.wire import sent
from tightrope.base.errors import BusyError, StoreError

_SNAPPY = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
_PROTOBUF = {"Content-Type": "application/x-protobuf"}


def test_remote_write_is_taken_at_the_address_that_prometheus_users_expect(world: World) -> None:
    at = int(time.time() * 1000)  # noqa: TID251 - the server runs on the real clock
    body = sent([({"__name__": "up", "job": "x"}, [(at, 1.0)])])
    answer = world.post("/api/v1/write", "operator", content=body, headers=_SNAPPY)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["x-prometheus-remote-write-samples-written"] == "1"
    basic = world.post("/api/v1/write", "", content=body, headers=_SNAPPY, auth=("x", world.tokens["operator"]))
    assert basic.status_code == 204


@pytest.mark.parametrize("body", [b"", b"nonsense", b"\x05\x10nope!", sent([])[:-1] + b"\xff"])
def test_a_body_that_is_no_remote_write_is_refused_for_good(world: World, body: bytes) -> None:
    answer = world.post("/api/v1/write", "operator", content=body, headers=_SNAPPY)
    assert answer.status_code in {204, 400} if not body else answer.status_code == 400
    if answer.status_code == 400:
        assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/metrics", "/api/v1/otlp/v1/metrics"])
def test_otlp_is_answered_in_the_encoding_of_the_request(world: World, path: str) -> None:
    nothing = ExportMetricsServiceRequest().SerializeToString()
    answer = world.post(path, "operator", content=nothing, headers=_PROTOBUF)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportMetricsServiceResponse.FromString(answer.content) == ExportMetricsServiceResponse()
    packed = _PROTOBUF | {"Content-Encoding": "gzip"}
    assert world.post(path, "operator", content=gzip.compress(nothing), headers=packed).status_code == 200
    as_json = world.post(path, "operator", json={"resourceMetrics": []})
    assert (as_json.status_code, as_json.json()) == (200, {})


def test_otlp_errs_with_a_status_of_grpc(world: World) -> None:
    refused = world.post("/v1/metrics", "operator", content=b"\xff\xff", headers=_PROTOBUF)
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/x-protobuf")
    assert refused.content[:2] == b"\x08\x03"  # code: INVALID_ARGUMENT
    as_json = world.post("/v1/metrics", "operator", content=b"{", headers={"Content-Type": "application/json"})
    assert (as_json.status_code, as_json.json()["code"]) == (400, 3)
    assert as_json.json()["message"] == as_json.json()["detail"]
    nobody = world.post("/v1/metrics", "", content=b"", headers=_PROTOBUF)
    assert (nobody.status_code, nobody.content[:2]) == (401, b"\x08\x10")


def test_a_full_queue_and_a_full_disk_say_when_to_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        raise BusyError("4,000,000 samples are waiting to be counted", retry_after_s=5)

    def full(kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        raise StoreError("the disk is full", remedy="make room")

    monkeypatch.setattr(world.server, "receive", busy)
    answer = world.post("/api/v1/write", "operator", content=sent([]), headers=_SNAPPY)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    monkeypatch.setattr(world.server, "receive", full)
    answer = world.post("/api/v1/push", "operator", json=[])
    assert (answer.status_code, answer.json()["remedy"]) == (503, "make room")


def test_who_may_not_send_is_refused_before_the_body_is_read(world: World) -> None:
    for path in ("/api/v1/write", "/api/v1/push", "/v1/metrics"):
        assert world.post(path, "viewer", content=b"nonsense").status_code == 403


def test_metrics_in_the_text_form_can_be_pushed(world: World) -> None:
    text = '# TYPE http_requests_total counter\nhttp_requests_total{code="200"} 7\n'
    answer = world.post("/api/v1/push", "operator", content=text, headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    wrong = world.post("/api/v1/push", "operator", json=[{"series": "x", "time": "soon", "good": 1, "total": 1}])
    assert wrong.status_code == 400
