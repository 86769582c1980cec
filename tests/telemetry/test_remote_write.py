"""The remote write receiver: what the scan finds is what protobuf says, whatever the form; and what it refuses."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.telemetry.wire import HEADERS, MESSAGES, Series, sent, snapped, write_request
from tightrope.base.errors import TooLargeError, UsageError
from tightrope.telemetry.receivers import bodies
from tightrope.telemetry.receivers.remote_write import RemoteWrite
from tightrope.telemetry.samples import STALE_BITS, Delivery, labels_of

NOW = 1_767_268_800
X = {"__name__": "x", "job": "shop"}


@pytest.fixture(params=[False, True], ids=["python", "compiled"], name="receiver")
def _receiver(request: pytest.FixtureRequest) -> RemoteWrite:
    if request.param:
        pytest.importorskip("numba")
    return RemoteWrite(compiled=request.param)


def _read(delivery: Delivery) -> list[tuple[dict[str, str], int, bytes]]:
    samples = delivery.samples
    return [
        (labels_of(samples.book.labels[number]), time, struct.pack("<d", value))
        for number, time, value in zip(
            samples.numbers.tolist(), samples.times.tolist(), samples.values.tolist(), strict=True
        )
    ]


def _meant(series: list[Series]) -> list[tuple[dict[str, str], int, bytes]]:
    return [
        ({name: value for name, value in labels.items() if value}, time, struct.pack("<d", value))
        for labels, samples in series
        for time, value in samples
    ]


_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_TIMES = st.one_of(st.integers(NOW * 1000, NOW * 1000 + 10**6), st.integers(-(2**63), 2**63 - 1), st.just(0))
_VALUES = st.one_of(st.just(0.0), st.floats(allow_nan=False), st.integers(0, 10**6).map(float))
_SERIES = st.tuples(
    st.dictionaries(st.sampled_from(["job", "code", "pod", "z" * 130]), _TEXT, max_size=3).flatmap(
        lambda labels: st.sampled_from(["x", "requests_total"]).map(lambda name: {**labels, "__name__": name})
    ),
    st.lists(st.tuples(_TIMES, _VALUES), max_size=3),
)


@settings(max_examples=60)
@given(st.lists(st.lists(_SERIES, max_size=6), min_size=1, max_size=3), st.booleans())
def test_every_sample_is_found_as_protobuf_has_it(requests: list[list[Series]], compiled: bool) -> None:
    receiver = RemoteWrite(compiled=compiled)
    for series in requests * 2:  # the second time all labels are known
        assert _read(receiver.check(sent(series), HEADERS, NOW).delivery) == _meant(series)


def test_usual_samples_are_found_after_their_labels_are_known(receiver: RemoteWrite) -> None:
    series: list[Series] = [
        ({**X, "code": str(code)}, [(NOW * 1000 + code, 0.0 if code % 3 else code / 7)]) for code in range(200)
    ]
    for _ in range(3):
        assert _read(receiver.check(sent(series), HEADERS, NOW).delivery) == _meant(series)


def test_two_samples_of_0_are_not_taken_for_one(receiver: RemoteWrite) -> None:
    series: list[Series] = [(X, [(NOW * 1000, 0.0), (NOW * 1000 + 1, 0.0)]), (X, [(NOW * 1000 + 2, 1.0)])]
    for _ in range(2):
        assert _read(receiver.check(sent(series), HEADERS, NOW).delivery) == _meant(series)


def test_a_series_may_be_written_in_any_order_of_labels(receiver: RemoteWrite) -> None:
    request = MESSAGES["WriteRequest"]()
    for names in (["job", "__name__"], ["__name__", "job"]):
        one = request.timeseries.add()
        for name in names:
            one.labels.add(name=name, value=X[name])
        one.samples.add(timestamp=5, value=1)
    samples = receiver.check(snapped(request.SerializeToString()), HEADERS, NOW).delivery.samples
    first, second = samples.numbers.tolist()
    assert first != second
    assert samples.book.labels[first] == samples.book.labels[second]


def test_samples_may_stand_before_labels_and_fields_may_be_unknown(receiver: RemoteWrite) -> None:
    label = b"\x0a\x08__name__\x12\x01x"
    sample = b"\x12\x0b\x10\x05\x09" + struct.pack("<d", 2.5)  # the time first
    unknown = b"\x98\x06\x01"  # field 99, a number
    body = sample + unknown + b"\x0a" + bytes([len(label)]) + label
    raw = b"\x0a" + bytes([len(body)]) + body + unknown
    for _ in range(2):
        found = _read(receiver.check(snapped(raw), HEADERS, NOW).delivery)
        assert found == [({"__name__": "x"}, 5, struct.pack("<d", 2.5))]


def test_the_mark_of_an_ended_series_keeps_its_bits(receiver: RemoteWrite) -> None:
    stale = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
    for _ in range(2):
        samples = receiver.check(sent([(X, [(NOW * 1000, stale)])]), HEADERS, NOW).delivery.samples
        assert samples.values.view(np.int64).tolist() == [STALE_BITS]


def test_what_is_not_supported_is_counted(receiver: RemoteWrite) -> None:
    request = MESSAGES["WriteRequest"]()
    one = request.timeseries.add()
    one.labels.add(name="__name__", value="latency")
    one.samples.add(timestamp=1, value=1)
    one.exemplars.add(value=1.0, timestamp=1).labels.add(name="trace_id", value="abc")
    histogram = request.timeseries.add()
    histogram.labels.add(name="__name__", value="latency")
    histogram.histograms.add(count_int=3, sum=1.5, schema=2, timestamp=7)
    request.metadata.add(type=1, metric_family_name="latency", help="how long")
    checked = receiver.check(snapped(request.SerializeToString()), HEADERS, NOW)
    assert checked.count == 1
    assert checked.delivery.unsupported == {"exemplars": 1, "native histograms": 1, "metadata": 1}


def test_what_is_kept_of_a_body_is_read_again_alike() -> None:
    body = sent([(X, [(NOW * 1000, 3.0)])])
    checked = RemoteWrite().check(body, HEADERS, NOW)
    again = RemoteWrite().read(checked.kept)
    assert (again.at, _read(again)) == (NOW, _read(checked.delivery))


def test_an_empty_request_is_fine(receiver: RemoteWrite) -> None:
    assert receiver.check(snapped(b""), HEADERS, NOW).count == 0


# --- refused -----------------------------------------------------------------------------------------------------

GOOD = write_request([(X, [(NOW * 1000, 1.0)])])


def _labelled(*pairs: tuple[str | bytes, str | bytes]) -> bytes:
    inner = b""
    for pair in pairs:
        field = b""
        for tag, part in zip((b"\x0a", b"\x12"), pair, strict=True):
            raw = part if isinstance(part, bytes) else part.encode()
            field += tag + bytes([len(raw)]) + raw
        inner += b"\x0a" + bytes([len(field)]) + field
    inner += b"\x12\x02\x10\x05"
    return b"\x0a" + bytes([len(inner)]) + inner


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (GOOD[:-1], "it is cut off, at byte 0"),
        (GOOD + b"\x0a", "it is cut off"),
        (GOOD + b"\x0a\x80", "it is cut off"),
        (GOOD + b"\x0a\x05\x12\x7f\x01\x01\x01", "a field of a series reaches beyond it"),
        (b"\x0a\x04\x12\x02\x09\x01", "a sample is cut off|reaches beyond"),
        (b"\x0a\x0d" + b"\x12\x0b\x10" + b"\xff" * 10, "a number is longer than ten bytes"),
        (b"\x08\x01", "a series is not a message"),
        (b"\x0b", "a series is not a message"),
        (b"\x13", "a field has the wire type 3"),
        (b"\x02\x01x", "a field has the number 0"),
        (b"\x22\x7f", "a field reaches beyond what holds it"),
        (b"<html>not protobuf</html>", "no WriteRequest"),
        (_labelled(("job", "shop")), "a series has no __name__"),
        (_labelled(("__name__", "")), "a series has no __name__"),
        (_labelled(("__name__", "x"), ("a", "1"), ("a", "2")), "a series has the label 'a' twice"),
        (_labelled(("__name__", "x"), ("", "1")), "a label has no name"),
        (_labelled(("__name__", "x"), ("a", b"\xff\xfe")), "a label is not UTF-8"),
    ],
)
def test_a_malformed_request_is_refused_with_the_place(receiver: RemoteWrite, raw: bytes, why: str) -> None:
    receiver.check(snapped(GOOD), HEADERS, NOW)
    with pytest.raises(UsageError, match=f"no WriteRequest.*(?:{why})|{why}"):
        receiver.check(snapped(raw), HEADERS, NOW)


@given(st.binary(max_size=60), st.integers(0, 200), st.booleans())
def test_no_body_whatever_ends_in_a_traceback(noise: bytes, at: int, compiled: bool) -> None:
    receiver = RemoteWrite(compiled=compiled)
    raw = write_request([({**X, "code": str(code)}, [(NOW * 1000, float(code))]) for code in range(3)])
    receiver.check(snapped(raw), HEADERS, NOW)
    spoilt = raw[:at] + noise + raw[at + len(noise) :]
    for body in (snapped(spoilt), spoilt):
        try:
            receiver.check(body, HEADERS, NOW)
        except (UsageError, TooLargeError):
            continue


@given(st.binary(max_size=80), st.integers(0, 150))
def test_both_scans_refuse_and_find_the_same(noise: bytes, at: int) -> None:
    raw = write_request([({**X, "code": str(code)}, [(NOW * 1000, float(code))]) for code in range(4)])
    spoilt = raw[:at] + noise + raw[at + len(noise) :]
    answers = []
    for compiled in (False, True):
        receiver = RemoteWrite(compiled=compiled)
        receiver.check(snapped(raw), HEADERS, NOW)
        try:
            answers.append(_read(receiver.check(snapped(spoilt), HEADERS, NOW).delivery))
        except UsageError as error:
            answers.append([({"error": error.message}, 0, b"")])
    assert answers[0] == answers[1]


def test_a_body_that_is_not_snappy_is_refused(receiver: RemoteWrite) -> None:
    for body in (b"", GOOD, b"\xff\xff", snapped(GOOD)[:-3]):
        with pytest.raises(UsageError, match="the body is not snappy"):
            receiver.check(body, HEADERS, NOW)


def test_a_body_that_unpacks_to_too_much_is_refused_before_it_does(receiver: RemoteWrite) -> None:
    bomb = snapped(b"\0" * (bodies.MOST_BYTES + 1))
    assert len(bomb) < bodies.MOST_BYTES / 10
    with pytest.raises(TooLargeError, match="are taken at once"):
        receiver.check(bomb, HEADERS, NOW)
    claimed = b"\xff\xff\xff\xff\x0f" + bomb[5:]
    with pytest.raises(TooLargeError):
        receiver.check(claimed, HEADERS, NOW)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Content-Encoding": "gzip"}, "compressed with snappy, not 'gzip'"),
        ({"Content-Type": "application/json"}, "remote write 1.0 is taken here"),
        (
            {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"},
            "remote write 1.0 is taken here",
        ),
        ({"X-Prometheus-Remote-Write-Version": "2.0.0"}, "remote write '2.0.0' is not known"),
    ],
)
def test_other_protocols_are_refused_with_a_remedy(headers: Mapping[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        RemoteWrite().check(snapped(GOOD), {**HEADERS, **headers}, NOW)
    assert refused.value.remedy


def test_header_names_may_have_any_case() -> None:
    lowered = {name.lower(): value for name, value in HEADERS.items()}
    assert RemoteWrite().check(snapped(GOOD), lowered, NOW).count == 1


def test_several_threads_may_read_with_one_receiver(receiver: RemoteWrite) -> None:
    series: list[list[Series]] = [
        [
            ({**X, "pod": f"{number}-{'y' * (code % 90)}", "code": str(code)}, [(NOW * 1000, float(code))])
            for code in range(60)
        ]
        for number in range(40)
    ]
    bodies_sent = [sent(one) for one in series]

    def read(number: int) -> bool:
        turned = series[number:] + series[:number]
        checked = [receiver.check(body, HEADERS, NOW) for body in bodies_sent[number:] + bodies_sent[:number]]
        return all(_read(one.delivery) == _meant(meant) for one, meant in zip(checked, turned, strict=True))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(8)))
