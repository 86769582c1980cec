"""Bodies of remote write and OTLP, byte by byte; each golden file names its origin in its first lines."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.telemetry.wire import HEADERS
from tightrope.telemetry.counting import ORIGINAL_NAME
from tightrope.telemetry.receivers.otlp import Otlp
from tightrope.telemetry.receivers.remote_write import RemoteWrite
from tightrope.telemetry.samples import Delivery, labels_of

NOW = 1_900_000_000
GOLDEN = Path(__file__).parent / "golden"
STALE = bytes.fromhex("020000000000f07f")


def golden(name: str) -> bytes:
    """The bytes of a golden file; lines that begin with # tell where they are from."""
    lines = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


def samples(delivery: Delivery) -> list[tuple[str, str, int, bytes]]:
    """Name, further labels as text, milliseconds and the eight bytes of the value."""
    found = []
    block = delivery.samples
    for number, time, value in zip(block.numbers.tolist(), block.times.tolist(), block.values.tolist(), strict=True):
        labels = labels_of(block.book.labels[number])
        name = labels.pop("__name__")
        text = ",".join(f"{key}={labels[key]}" for key in sorted(labels))
        found.append((name, text, time, struct.pack("<d", value)))
    return found


@pytest.fixture(params=[False, True], ids=["python", "compiled"], name="receiver")
def _receiver(request: pytest.FixtureRequest) -> RemoteWrite:
    if request.param:
        pytest.importorskip("numba")
    return RemoteWrite(compiled=request.param)


def test_what_prometheus_2_42_writes_is_read(receiver: RemoteWrite) -> None:
    first, second = (
        samples(receiver.check(golden(f"remote_write_prometheus_2_42_{which}.hex"), HEADERS, NOW).delivery)
        for which in ("first", "second")
    )
    names = [name for name, *_ in first]
    assert sorted(names) == sorted(
        [
            "shop_requests_total",
            "shop_requests_total",
            "shop_seconds_bucket",
            "shop_seconds_bucket",
            "shop_seconds_sum",
            "shop_seconds_count",
            "up",
            "scrape_duration_seconds",
            "scrape_samples_scraped",
            "scrape_samples_post_metric_relabeling",
            "scrape_series_added",
        ]
    )
    assert all("cluster=eu" in labels and "job=shop" in labels for _, labels, _, _ in first)
    assert [row[:2] for row in first] == [row[:2] for row in second]
    assert {later - time for (_, _, time, _), (_, _, later, _) in zip(first, second, strict=True)} == {1000}
    grown = {
        (name, labels): struct.unpack("<d", after)[0] - struct.unpack("<d", before)[0]
        for (name, labels, _, before), (_, _, _, after) in zip(first, second, strict=True)
    }
    assert [growth for (name, _), growth in grown.items() if name == "shop_seconds_count"] == [6]


def test_metadata_alone_is_no_sample(receiver: RemoteWrite) -> None:
    checked = receiver.check(golden("remote_write_prometheus_2_42_metadata.hex"), HEADERS, NOW)
    assert (checked.count, checked.delivery.unsupported) == (0, {"metadata": 2})


def test_every_field_of_a_write_request_is_understood_or_counted(receiver: RemoteWrite) -> None:
    for _ in range(2):
        delivery = receiver.check(golden("remote_write_every_field.hex"), HEADERS, NOW).delivery
        labels = "code=200,path=/ä/\U0001f600"
        assert samples(delivery) == [
            ("http_requests_total", labels, 1767268800000, struct.pack("<d", 0)),
            ("http_requests_total", labels, 1767268815000, struct.pack("<d", 12.5)),
            ("http_requests_total", labels, -1, struct.pack("<d", 1e300)),
            ("up", "job=" + "x" * 200, 1767268800000, STALE),
        ]
        assert delivery.unsupported == {"exemplars": 1, "native histograms": 1, "metadata": 1}


def test_otlp_means_the_same_in_protobuf_and_json() -> None:
    protobuf = Otlp().check(golden("otlp_metrics.hex"), {"content-type": "application/x-protobuf"}, NOW)
    json = Otlp().check((GOLDEN / "otlp_metrics.json").read_bytes(), {"content-type": "application/json"}, NOW)
    assert samples(protobuf.delivery) == samples(json.delivery)
    context = (
        "instance=i-1,job=web/shop,otel_scope_name=http,otel_scope_version=1.2,"
        "service_instance_id=i-1,service_name=shop,service_namespace=web"
    )
    told = {
        (name, labels.replace(f"{context}", "…"), time): struct.unpack("<d", value)[0]
        for name, labels, time, value in samples(protobuf.delivery)
    }
    at = 1767268800000
    own, latency = ORIGINAL_NAME, "http.server.request.duration"
    requests, seconds = "http_server_requests_total", "http_server_request_duration_seconds"
    assert told == {
        (requests, f"{own}=http.server.requests,http_response_status_code=200,…", at): 118,
        (requests, f"{own}=http.server.requests,http_response_status_code=503,…", at): 2,
        (
            f"{seconds}_bucket",
            f"{own}={latency}_bucket,{context.replace('job=web/shop', 'job=web/shop,le=0.3')}",
            at,
        ): 100,
        (
            f"{seconds}_bucket",
            f"{own}={latency}_bucket,{context.replace('job=web/shop', 'job=web/shop,le=1')}",
            at,
        ): 115,
        (
            f"{seconds}_bucket",
            f"{own}={latency}_bucket,{context.replace('job=web/shop', 'job=web/shop,le=+Inf')}",
            at,
        ): 120,
        (f"{seconds}_count", f"{own}={latency}_count,…", at): 120,
        (f"{seconds}_sum", f"{own}={latency}_sum,…", at): 17.25,
        ("queue_depth_ratio", f"{own}=queue.depth,…", at): 0.5,
    }
    assert protobuf.delivery.samples.begun is not None
    assert set(protobuf.delivery.samples.begun.tolist()) == {0, at - 600_000}
