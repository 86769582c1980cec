"""A body of a known layout is read as if it were scanned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telemetry.wire import HEADERS, Series, sent
from tightrope.telemetry.receivers.bodies import Raw
from tightrope.telemetry.receivers.layouts import Layouts
from tightrope.telemetry.receivers.remote_write import RemoteWrite
from tightrope.telemetry.samples import Book, Delivery

NOW = 1_772_323_200
VALUES = st.one_of(st.just(0.0), st.floats(allow_nan=False), st.integers(0, 1 << 53).map(float))
TIMES = st.one_of(st.just(NOW * 1000), st.integers(NOW * 1000 - 10**7, NOW * 1000 + 10**5), st.just(0))


def told(delivery: Delivery) -> list[tuple[bytes, int, float]]:
    samples = delivery.samples
    labels = [samples.book.labels[number] for number in samples.numbers.tolist()]
    return list(zip(labels, samples.times.tolist(), samples.values.tolist(), strict=True))


def body(samples: list[tuple[float, int]]) -> bytes:
    series: list[Series] = [
        ({"__name__": "all_total", "slo": str(number), "pod": "x" * (number % 7)}, [(time, value)])
        for number, (value, time) in enumerate(samples)
    ]
    return sent(series)


@given(st.lists(st.lists(st.tuples(VALUES, TIMES), min_size=5, max_size=5), min_size=3, max_size=8))
def test_whatever_came_before_a_body_says_the_same(bodies: list[list[tuple[float, int]]]) -> None:
    known, compiled = RemoteWrite(compiled=False), RemoteWrite()
    for one in bodies:
        written = body(one)
        first = RemoteWrite(compiled=False).check(written, HEADERS, NOW).delivery
        assert told(known.check(written, HEADERS, NOW).delivery) == told(first)
        assert told(compiled.check(written, HEADERS, NOW).delivery) == told(first)


@pytest.mark.parametrize("compiled", [False, None])
def test_a_layout_is_known_from_the_third_time_on(compiled: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = RemoteWrite(compiled=compiled)
    found: list[bool] = []
    real = Layouts.read

    def heard(self: Layouts, raw: Raw) -> object:
        samples = real(self, raw)
        found.append(samples is not None)
        return samples

    monkeypatch.setattr(Layouts, "read", heard)
    for minute in range(5):
        samples = [(float(value * minute), (NOW + 60 * minute) * 1000) for value in range(1, 200)]
        delivery = receiver.check(body(samples if minute else samples[:-1]), HEADERS, NOW + 60 * minute).delivery
        assert delivery.samples.values.tolist() == [value for value, _ in (samples if minute else samples[:-1])]
    assert found[0] is False
    assert found[-1] is True


def test_a_body_that_differs_in_one_label_is_another_one() -> None:
    receiver = RemoteWrite(compiled=False)
    for _ in range(4):
        receiver.check(body([(1.0, NOW * 1000)] * 5), HEADERS, NOW)
    other = sent(
        [({"__name__": "all_total", "slo": str(n), "pod": "y" * (n % 7)}, [(NOW * 1000, 1.0)]) for n in range(5)]
    )
    samples = receiver.check(other, HEADERS, NOW).delivery.samples
    assert any(b"y" in samples.book.labels[number] for number in samples.numbers.tolist())


def test_a_layout_takes_no_more_than_its_share() -> None:
    layouts = Layouts(Book())
    raw = b"\x0a\x7f" + bytes(300)
    for _ in range(3):
        layouts.learn(raw, np.zeros(1, np.int64), np.array([100], np.int64))
    assert layouts.read(Raw.of(b"")) is None
    assert layouts.read(Raw.of(raw)) is not None
