"""Counting what is sent to us: the same slices as a file of the same samples, however it was delivered."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.telemetry.builders import NOON, data_source, ratio, raw, read, threshold
from tests.telemetry.wire import HEADERS, Series, sent
from tightrope.base.errors import DataError, UsageError
from tightrope.sli.slices import MILLIONTH
from tightrope.specs.model import Comparison
from tightrope.telemetry.counting import AGO_S, AHEAD_S, FORGOTTEN_S, LOOKBACK_S, Counting
from tightrope.telemetry.plan import Request
from tightrope.telemetry.receivers.remote_write import RemoteWrite
from tightrope.telemetry.samples import STALE_BITS, Book, Delivery, label_bytes, samples_of
from tightrope.telemetry.usecases import open_receiver, read_many

STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
ALL, GOOD = {"series": "x"}, {"series": 'x{code!~"5.."}'}
Rows = Iterable[tuple[Mapping[str, str], float, float]]
"""Labels (the name is x unless they say so), seconds after noon, value."""


def wanted(**slo: Any) -> Request:
    return ratio(data_source("remote-write", ".", {}), GOOD, ALL, counter=True, **slo)


class Sender:
    """Delivers to one counting, and keeps the slices that came out, as a store would."""

    def __init__(self, *requests: Request, kind: str = "remote-write") -> None:
        self.requests = requests
        self.counting = Counting(kind, list(enumerate(requests)))
        self.book = Book()
        self.slices: dict[tuple[int, int], tuple[int, int] | None] = {}

    def delivery(self, rows: Rows, at: float | None = None) -> Delivery:
        samples = []
        for labels, after, value in rows:
            key = label_bytes({"__name__": "x", **labels})
            samples.append((self.book.add(key, key), round((NOON + after) * 1000), value))
        latest = max((time for _, time, _ in samples), default=0) // 1000
        return Delivery(samples_of(self.book, samples), (), latest if at is None else round(NOON + at))

    def send(self, rows: Rows, at: float | None = None) -> dict[int, tuple[int, int] | None]:
        """Deliver, and hand out what came of it: good and total by the minute after noon, None for a gap."""
        return self.take(self.delivery(rows, at))

    def take(self, *deliveries: Delivery, track: int = 0) -> dict[int, tuple[int, int] | None]:
        self.counting.take(*deliveries)
        touched = self.counting.drain()
        found = {}
        for number, slot, bad, total, covered in zip(
            touched.tracks.tolist(),
            touched.slots.tolist(),
            touched.bad.tolist(),
            touched.total.tolist(),
            touched.covered.tolist(),
            strict=True,
        ):
            self.slices[number, slot] = (total - bad, total) if covered else None
            step_s = self.requests[number].slo.step_s or 60
            if number == track:
                found[slot - NOON // step_s] = self.slices[number, slot]
        return found


def of(code: int, pod: str = "a") -> dict[str, str]:
    return {"code": str(code), "pod": pod}


def minute(number: int, **values: float) -> list[tuple[dict[str, str], float, float]]:
    """One scrape 30 s into a minute: ok and err of a pod."""
    return [(of(200 if name == "ok" else 500), 60 * number + 30, value) for name, value in values.items()]


# --- counters ----------------------------------------------------------------------------------------------------


def test_increases_are_taken_per_series_before_the_sum_and_resets_are_resolved() -> None:
    sender = Sender(wanted())
    assert sender.send([(of(200), 30, 0), (of(200, "b"), 30, 7), (of(500), 30, 0)]) == {}
    assert sender.send([(of(200), 90, 50), (of(200, "b"), 90, 8), (of(500), 90, 2)]) == {1: (51, 53)}
    assert sender.send([(of(200), 150, 10), (of(200, "b"), 150, 9), (of(500), 150, 2)]) == {2: (11, 11)}
    assert sender.counting.account.resets == 1


def test_a_series_that_goes_0_to_50_twice_gives_100() -> None:
    sender = Sender(ratio(data_source("remote-write", ".", {}), ALL, ALL, counter=True))
    for number, value in enumerate((0, 50, 0, 50)):
        sender.send([(of(200), 60 * number + 30, value)])
    assert sum(found[1] for found in sender.slices.values() if found) == 100


def test_an_increase_belongs_to_the_slice_of_the_later_sample() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0))
    assert sender.send(minute(10, ok=600)) == {10: (600, 600)}


def test_a_sample_at_the_end_of_a_slice_tells_of_that_slice() -> None:
    sender = Sender(wanted())
    sender.send([(of(200), 0, 0)])
    assert sender.send([(of(200), 60, 5)]) == {0: (5, 5)}
    assert sender.send([(of(200), 60.001, 6)]) == {1: (1, 1)}


def test_several_scrapes_of_one_slice_add_up() -> None:
    sender = Sender(wanted())
    found: dict[int, tuple[int, int] | None] = {}
    for number in range(9):
        found |= sender.send([(of(200), 15 * number + 1, 10 * number)])
    assert found == {0: (30, 30), 1: (40, 40), 2: (10, 10)}


def test_a_late_series_completes_a_slice_that_was_handed_out_before() -> None:
    sender = Sender(wanted())
    sender.send([(of(200, pod), 30, 0) for pod in "ab"])
    assert sender.send([(of(200, "a"), 90, 5)]) == {1: (5, 5)}
    assert sender.send([(of(200, "a"), 150, 9)]) == {2: (4, 4)}
    assert sender.send([(of(200, "b"), 90, 3)]) == {1: (8, 8)}


def test_good_that_is_absent_beside_a_total_is_0() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, err=0))
    assert sender.send(minute(1, err=4)) == {1: (0, 4)}


def test_a_slice_without_a_sample_is_a_gap() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0))
    sender.send(minute(1, ok=1))
    assert sender.send(minute(4, ok=9)) == {4: (8, 8)}
    assert sorted(slot - NOON // 60 for _, slot in sender.slices) == [1, 4]


def test_a_good_above_total_is_cut_off_as_in_other_sources() -> None:
    source = data_source("remote-write", ".", {})
    sender = Sender(ratio(source, {"series": "good"}, {"series": "total"}, counter=True))
    sender.send([({"__name__": name}, 30, 0) for name in ("good", "total")])
    assert sender.send([({"__name__": "good"}, 90, 6), ({"__name__": "total"}, 90, 5)]) == {1: (5, 5)}


def test_the_first_value_of_a_series_is_not_counted_unless_the_source_says_so() -> None:
    for choice, expected in (("ignore", (10, 10)), ("count", (10, 13))):
        source = data_source("remote-write", ".", {"newSeries": choice})
        sender = Sender(ratio(source, GOOD, ALL, counter=True))
        sender.send(minute(0, ok=100))
        sender.send(minute(3, ok=110))
        assert sender.send(minute(4, ok=120, err=3)) == {4: expected}
    source = data_source("remote-write", ".", {"newSeries": "count"})
    sender = Sender(ratio(source, GOOD, ALL, counter=True))
    sender.send(minute(0, ok=100))
    assert sender.send(minute(1, ok=100, err=70)) == {1: (0, 0)}  # the record has only just begun


def test_a_counter_that_is_known_to_have_begun_within_the_record_counts_in_full() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=100))
    key = label_bytes({"__name__": "x", "code": "500", "pod": "new"})
    number = sender.book.add(key, key)
    for begun, expected in ((NOON + 40, 7), (NOON - 3600, 0), (0, 0)):
        fresh = Sender(wanted())
        fresh.book = sender.book
        fresh.send(minute(0, ok=100))
        fresh.send(minute(1, ok=110))
        rows = [(number, (NOON + 95) * 1000, 7.0)]
        found = fresh.take(Delivery(samples_of(sender.book, rows, [begun * 1000]), (), NOON + 100))
        assert found == ({1: (10, 10 + expected)} if expected else {})


def test_a_start_after_the_last_sample_is_a_reset_even_if_the_value_grew() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=5))
    number = sender.delivery(minute(1, ok=9)).samples.numbers.tolist()[0]
    rows = [(number, (NOON + 90) * 1000, 9.0)]
    found = sender.take(Delivery(samples_of(sender.book, rows, [(NOON + 60) * 1000]), (), NOON + 90))
    assert found == {1: (9, 9)}


def test_increments_need_nothing_before_them() -> None:
    sender = Sender(wanted())
    number = sender.delivery(minute(0, ok=9)).samples.numbers.tolist()[0]
    for at, value in ((30, 9.0), (90, 4.0), (90, 4.0), (60, 1.0)):
        rows = [(number, (NOON + at) * 1000, value)]
        sender.take(Delivery(samples_of(sender.book, rows, None, [True]), (), NOON + 90))
    assert sender.slices == {(0, NOON // 60): (9, 9), (0, NOON // 60 + 1): (4, 4)}
    assert (sender.counting.account.repeated, sender.counting.account.late) == (1, 1)


# --- what can't be used ------------------------------------------------------------------------------------------


def test_the_end_of_a_series_is_no_value() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=3))
    assert sender.send(minute(1, ok=STALE)) == {}
    assert sender.send(minute(2, ok=5)) == {2: (2, 2)}
    assert sender.counting.account.ended == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 2.5, 1e300])
def test_a_value_that_can_be_no_count_makes_its_slice_a_gap(value: float) -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0, err=0))
    assert sender.send(minute(1, ok=4, err=value)) == {1: None}
    assert sender.counting.account.unusable == 1
    assert sender.send(minute(2, ok=6, err=3))[2] is not None or value in {2.5, 1e300}


def test_fractions_are_counted_in_the_declared_scale() -> None:
    sender = Sender(wanted(scale=1000))
    sender.send(minute(0, ok=0.25))
    assert sender.send(minute(1, ok=2.5)) == {1: (2250, 2250)}


def test_counts_beyond_the_reach_of_floats_are_differenced_exactly() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=2.0**53))
    assert sender.send(minute(1, ok=2.0**53 + 2)) == {1: (2, 2)}


def test_samples_from_the_future_or_before_1970_are_not_believed() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0))
    assert sender.send([(of(200), 90 + AHEAD_S + 1, 5)], at=90) == {}
    assert sender.send([(of(200), -NOON - 5, 5)], at=90) == {}
    assert sender.send([(of(200), 90, 5)]) == {1: (5, 5)}
    assert sender.counting.account.ahead == 2


def test_samples_of_a_clock_that_lost_its_power_are_not_believed() -> None:
    sender = Sender(wanted())
    assert sender.send([(of(200), 60 - NOON, 0), (of(200), 120 - NOON, 7)], at=90) == {}, "1970"
    assert sender.counting.account.ahead == 2
    assert sender.send([(of(200), -AGO_S, 0), (of(200), 90 - AGO_S, 5)], at=0) == {1 - AGO_S // 60: (5, 5)}


def test_what_is_older_than_the_sums_that_are_kept_is_counted_as_such() -> None:
    sender = Sender(wanted())
    sender.send([(of(200, pod), 30, 0) for pod in "ab"])
    sender.send([(of(200, "b"), 90, 1)])
    sender.send([(of(200, "a"), LOOKBACK_S + 90, 5)])
    before = dict(sender.slices)
    assert sender.send([(of(200, "b"), 95, 3)]) == {}
    assert sender.slices == before
    assert sender.counting.account.too_late == 1


def test_series_that_nobody_wants_are_counted_and_forgotten() -> None:
    sender = Sender(wanted())
    sender.send([({"__name__": "y"}, 30, 1), (of(200), 30, 1)])
    assert (sender.counting.account.unwanted, sender.counting.account.taken) == (1, 1)
    assert sender.counting.series == 1


# --- values and ratios -------------------------------------------------------------------------------------------


def test_values_are_compared_exactly_and_every_sample_is_a_point() -> None:
    source = data_source("remote-write", ".", {})
    sender = Sender(
        *(threshold(source, {"series": "x"}, op, "3/10") for op in (Comparison.LTE, Comparison.LT)),
        *(threshold(source, {"series": "x"}, op, "3/10") for op in (Comparison.GTE, Comparison.GT)),
    )
    sender.send([(of(200, pod), 30, value) for pod, value in (("a", 0.3), ("b", 0.30000000000000004), ("c", -1))])
    assert list(sender.slices.values()) == [(2, 3), (1, 3), (2, 3), (1, 3)]


def test_a_value_that_is_nan_is_a_gap() -> None:
    sender = Sender(threshold(data_source("remote-write", ".", {}), {"series": "x"}, Comparison.LT, "1"))
    assert sender.send([(of(200), 30, float("nan"))]) == {0: None}
    assert sender.send([(of(200), 90, 0.5)]) == {1: (1, 1)}


@pytest.mark.parametrize(("kind", "good"), [("success", 250_000), ("failure", 750_000)])
def test_ratios_are_kept_in_millionths(kind: str, good: int) -> None:
    sender = Sender(raw(data_source("remote-write", ".", {}), {"series": "x"}, kind))
    assert sender.send([(of(200), 30, 0.25)]) == {0: (good, MILLIONTH)}
    assert sender.send([(of(200), 90, 1.5)]) == {1: None}


def test_counts_that_are_no_counters_are_summed() -> None:
    source = data_source("remote-write", ".", {})
    sender = Sender(ratio(source, bad={"series": "bad"}, total={"series": "total"}))
    assert sender.send([({"__name__": "total"}, 30, 5), ({"__name__": "bad"}, 30, 2)]) == {0: (3, 5)}
    assert sender.send([({"__name__": "total"}, 40, 5)]) == {0: (8, 10)}
    assert sender.send([({"__name__": "total"}, 90, 1), ({"__name__": "bad"}, 90, 2)]) == {1: None}
    assert sender.counting.account.impossible == 1


# --- deliveries --------------------------------------------------------------------------------------------------


def test_a_delivery_that_comes_twice_changes_nothing() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0, err=0))
    delivery = sender.delivery(minute(1, ok=5, err=1))
    assert sender.take(delivery) == {1: (5, 6)}
    assert sender.take(delivery, delivery) == {}
    assert sender.counting.account.repeated == 4


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([200, 500]),
        st.integers(1, 90),  # seconds to the next sample of the series
        st.integers(-1, 30),  # what it grows by; below 0: it begins again
    ),
    max_size=60,
)


def _record(events: list[tuple[str, int, int, int]]) -> list[tuple[dict[str, str], int, float]]:
    state: dict[tuple[str, int], tuple[int, int]] = {}
    rows = []
    for pod, code, pause, growth in events:
        at, value = state.get((pod, code), (0, 5))
        at, value = at + pause, 3 if growth < 0 else value + growth
        state[pod, code] = at, value
        rows.append((of(code, pod), at, float(value)))
    return rows


@settings(max_examples=60)
@given(_EVENTS, st.data())
def test_however_it_is_delivered_the_slices_are_the_same(
    events: list[tuple[str, int, int, int]], data: st.DataObject
) -> None:
    rows = _record(events)
    whole = Sender(wanted())
    whole.send(rows, at=10**5)
    parts = Sender(wanted())
    at, sent_before = 0, []
    while at < len(rows):
        size = data.draw(st.integers(1, 20))
        delivery = parts.delivery(rows[at : at + size], at=10**5)
        sent_before.append(delivery)
        again = data.draw(st.lists(st.sampled_from(sent_before), max_size=2))
        parts.take(delivery, *again)
        if data.draw(st.booleans()):
            fresh = Counting("remote-write", list(enumerate(parts.requests)))
            fresh.restore(parts.counting.snapshot())
            parts.counting = fresh
        at += size
    assert parts.slices == whole.slices


@settings(max_examples=40)
@given(_EVENTS)
def test_a_file_of_the_same_samples_gives_the_same_slices(events: list[tuple[str, int, int, int]]) -> None:
    # Off the minute, where a sample that is sent tells of the slice before and a row of a file of the one after.
    rows = [(labels, at + 0.5, value) for labels, at, value in _record(events)]
    request = wanted()
    sender = Sender(request)
    sender.send(rows, at=10**5)
    lines = sorted(
        (at, f'x{{code="{labels["code"]}",pod="{labels["pod"]}"}} {value:g} {NOON + at}') for labels, at, value in rows
    )
    if not sender.slices or not any(labels["code"] == "200" for labels, _, _ in rows):
        return
    with TemporaryDirectory() as folder:
        Path(folder, "record.om").write_text("\n".join([*(line for _, line in lines), ""]), encoding="utf-8")
        file = data_source("openmetrics", folder, {"path": "record.om", "resolution": "60s"})
        reading = read(ratio(file, {"selector": 'x{code!~"5.."}'}, {"selector": "x"}, counter=True))
    slices = reading.slices
    listed = zip(slices.good.tolist(), slices.total.tolist(), slices.covered.tolist(), strict=True)
    of_file = {
        (0, slices.start // 60 + number): (good, total)
        for number, (good, total, covered) in enumerate(listed)
        if covered
    }
    assert sender.slices == of_file


def test_a_body_that_spans_more_than_the_sums_that_are_kept_is_counted_whole() -> None:
    minutes = 3 * LOOKBACK_S // 60
    sender = Sender(wanted())
    rows = [(of(200), 60 * number + 30, float(number * (number + 1) // 2)) for number in range(minutes)]
    found = sender.send(rows)
    assert found == {number: (number, number) for number in range(1, minutes)}


def test_real_bodies_are_counted() -> None:
    receiver, counting = RemoteWrite(), Counting("remote-write", [(7, wanted())])
    for number in range(4):
        series: list[Series] = [
            ({"__name__": "x", **of(code)}, [((NOON + 60 * number + 30) * 1000, float(number * code))])
            for code in (200, 500)
        ]
        counting.take(receiver.check(sent(series), HEADERS, NOON + 60 * number + 31).delivery)
    touched = counting.drain()
    assert touched.tracks.tolist() == [7, 7, 7]
    assert (touched.bad.tolist(), touched.total.tolist()) == ([500] * 3, [700] * 3)


# --- complete ----------------------------------------------------------------------------------------------------


def test_a_slice_is_complete_when_every_series_has_passed_its_end() -> None:
    sender = Sender(wanted())
    assert sender.counting.complete() == {}
    sender.send(minute(0, ok=0, err=0))
    assert sender.counting.complete() == {0: NOON}
    sender.send(minute(1, err=1))
    assert sender.counting.complete() == {0: NOON}
    sender.send(minute(1, ok=1))
    assert sender.counting.complete() == {0: NOON + 60}


def test_a_series_that_ended_or_is_quiet_is_not_waited_for() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0, err=0))
    sender.send(minute(1, ok=1, err=STALE))
    assert sender.counting.complete() == {0: NOON + 60}
    quiet = Sender(wanted())
    quiet.send(minute(0, ok=0, err=0))
    for number in range(1, 8):
        quiet.send(minute(number, ok=number))
    assert quiet.counting.complete() == {0: NOON + 420}


# --- remembering -------------------------------------------------------------------------------------------------


def test_a_snapshot_holds_all_also_what_is_not_drained() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0, err=0))
    sender.counting.take(sender.delivery(minute(1, ok=5, err=1)))
    blob = sender.counting.snapshot()
    fresh = Counting("remote-write", [(0, wanted())])
    fresh.restore(blob)
    assert fresh.snapshot() == blob
    assert fresh.account == sender.counting.account
    sender.counting = fresh
    assert sender.send(minute(2, ok=6, err=1)) == {1: (5, 6), 2: (1, 1)}


def test_taking_again_what_came_after_a_snapshot_gives_the_same_slices() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0, err=0))
    blob = sender.counting.snapshot()
    later = [sender.delivery(minute(number, ok=number**2, err=number)) for number in range(1, 6)]
    first = sender.take(*later)
    sender.counting = Counting("remote-write", [(0, wanted())])
    sender.counting.restore(blob)
    assert sender.take(*later) == first


def test_a_snapshot_serves_other_objectives_as_far_as_they_want_the_same() -> None:
    sender = Sender(wanted())
    sender.send(minute(0, ok=0, err=0))
    sender.send(minute(1, ok=5, err=1))
    source = data_source("remote-write", ".", {})
    other = ratio(source, bad={"series": 'x{code=~"5.."}'}, total=ALL, counter=True)
    changed = Sender(other, wanted())
    changed.book = sender.book
    changed.counting.restore(sender.counting.snapshot())
    assert changed.send(minute(2, ok=9, err=2)) == {2: (4, 5)}
    nothing = Sender(ratio(source, {"series": "y"}, {"series": "y"}, counter=True))
    nothing.counting.restore(sender.counting.snapshot())
    assert nothing.counting.series == 0


def test_what_is_no_snapshot_is_refused() -> None:
    counting = Counting("remote-write", [(0, wanted())])
    for blob in (b"", b"nonsense", Counting("otlp", []).snapshot()):
        with pytest.raises(DataError, match="what is kept of the counters of remote-write"):
            counting.restore(blob)


def test_silent_series_are_forgotten_and_the_others_go_on() -> None:
    sender = Sender(wanted())
    sender.send([(of(200, pod), 30, 0) for pod in "abc"])
    late = FORGOTTEN_S + 7230
    sender.send([(of(200, "b"), late, 5)])
    assert sender.counting.forget(NOON + late) == 2
    assert sender.counting.series == 1
    assert sender.send([(of(200, "b"), late + 60, 8), (of(200, "a"), late + 60, 100)]) == {(late + 60) // 60: (3, 3)}
    assert sender.counting.forget(NOON + late) == 0


def test_many_series_and_objectives_are_kept_apart() -> None:
    source = data_source("remote-write", ".", {})
    requests = [
        ratio(source, {"series": f'x{{shop="s{n}",code="200"}}'}, {"series": f'x{{shop="s{n}"}}'}, counter=True)
        for n in range(300)
    ]
    sender = Sender(*requests)
    chance = random.Random(7)
    expected: dict[tuple[int, int], tuple[int, int]] = {}
    for number in range(5):
        rows = [
            ({"shop": f"s{n}", "code": code}, 60 * number + 30, float(number * (n + 1 if code == "200" else 1)))
            for n in range(300)
            for code in ("200", "500")
        ]
        chance.shuffle(rows)
        sender.send(rows)
        if number:
            expected |= {(n, NOON // 60 + number): (n + 1, n + 2) for n in range(300)}
    assert sender.slices == expected


# --- specs -------------------------------------------------------------------------------------------------------


def test_labels_of_the_source_narrow_every_selector_and_resolutions_are_kept() -> None:
    source = data_source("remote-write", ".", {"labels": {"cluster": "eu"}, "resolution": "5m"})
    sender = Sender(ratio(source, {"series": ["x", "y"]}, {"series": ["x", "y"]}, counter=True, step_s=300))
    found = [
        sender.send([({"__name__": name, "cluster": cluster}, at, value) for name in "xy" for cluster in ("eu", "us")])
        for at, value in ((10, 0.0), (310, 5.0))
    ]
    assert found == [{}, {1: (10, 10)}]


@pytest.mark.parametrize(
    ("connection", "good", "why"),
    [
        ({}, {"query": "x"}, "unknown setting 'query'"),
        ({}, {}, "series is missing"),
        ({}, {"series": "x{"}, "metric \\(good\\): series: 'x{' is no selector: column 3"),
        ({}, {"series": "x", "slo": "y"}, "unknown setting 'slo'"),
        ({"url": "http://x"}, {"series": "x"}, "unknown setting 'url'"),
        ({"newSeries": "maybe"}, {"series": "x"}, "newSeries is 'maybe'"),
    ],
)
def test_a_wrong_spec_is_refused(connection: dict[str, Any], good: dict[str, Any], why: str) -> None:
    source = data_source("remote-write", ".", connection)
    with pytest.raises(UsageError, match=why):
        Counting("remote-write", [(0, ratio(source, good, ALL, counter=True))])


def test_parts_from_sources_of_two_types_are_refused() -> None:
    request = ratio(
        data_source("remote-write", ".", {}), GOOD, ALL, total_source=data_source("otlp", ".", {}), counter=True
    )
    with pytest.raises(UsageError, match="takes total from"):
        Counting("remote-write", [(0, request)])


@pytest.mark.parametrize("kind", ["remote-write", "otlp", "push"])
def test_received_sources_are_not_read(kind: str) -> None:
    request = ratio(data_source(kind, ".", {}), GOOD, ALL, counter=True)
    with pytest.raises(UsageError, match="received, not read") as refused:
        read_many([request])
    assert "tightrope serve" in refused.value.remedy


def test_an_unknown_receiver_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing of the type 'graphite' is received"):
        open_receiver("graphite")


def test_thresholds_keep_fractions_exact() -> None:
    source = data_source("remote-write", ".", {})
    sender = Sender(threshold(source, {"series": "x"}, Comparison.LTE, str(Fraction(1, 3))))
    assert sender.send([(of(200, "a"), 30, 1 / 3), (of(200, "b"), 30, 0.3333333333333334)]) == {0: (1, 2)}
