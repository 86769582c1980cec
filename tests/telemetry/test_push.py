"""The push API: whole slices as JSON, and metrics as text."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telemetry.builders import NOON, data_source, ratio, raw, threshold
from tightrope.base.errors import UsageError
from tightrope.specs.model import Comparison, DataSource
from tightrope.telemetry.counting import AGO_S, AHEAD_S, Counting
from tightrope.telemetry.plan import Request
from tightrope.telemetry.receivers.push import Push
from tightrope.telemetry.samples import labels_of

JSON, LINES, TEXT = (
    {"Content-Type": kind} for kind in ("application/json", "application/x-ndjson", "text/plain; version=0.0.4")
)
OPENMETRICS = {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}
AT = "2026-01-01T12:00:30Z"
SLICE = {"series": "checkout", "time": AT, "good": 3, "total": 4}


def source(**connection: Any) -> DataSource:
    return data_source("push", ".", connection)


def slices_of(series: str = "checkout", **slo: Any) -> Request:
    return ratio(source(), {"series": series}, {"series": series}, **slo)


def sent(counting: Counting, body: Any, headers: Mapping[str, str] = JSON, now: int = NOON + 3600) -> list[Any]:
    """Push a body, and hand out what came of it: objective, minute after noon, good and total, None for a gap."""
    raw_body = body if isinstance(body, bytes) else json.dumps(body).encode()
    receiver = Push()
    checked = receiver.check(raw_body, headers, now)
    counting.take(receiver.read(checked.kept))
    touched = counting.drain()
    rows = zip(
        *(getattr(touched, name).tolist() for name in ("tracks", "slots", "bad", "total", "covered")), strict=True
    )
    return [
        (track, slot - NOON // 60, (total - bad, total) if covered else None)
        for track, slot, bad, total, covered in rows
    ]


def test_a_slice_is_taken_whole_and_replaces_what_was_there() -> None:
    counting = Counting("push", [(7, slices_of())])
    assert sent(counting, SLICE) == [(7, 0, (3, 4))]
    assert sent(counting, [SLICE, {**SLICE, "good": 4}]) == [(7, 0, (3, 4)), (7, 0, (4, 4))]
    long_ago = {**SLICE, "time": "2025-06-01T00:00:00+02:00", "bad": 1, "good": None}
    assert sent(counting, long_ago) == [(7, (1748728800 - NOON) // 60, (3, 4))]


def test_lines_of_json_are_slices() -> None:
    counting = Counting("push", [(0, slices_of())])
    times = ((NOON, 0), (1000 * NOON + 60_000, 2))
    lines = [json.dumps({"series": "checkout", "time": time, "bad": bad, "total": 2}) for time, bad in times]
    assert sent(counting, "\n\n".join([*lines, ""]).encode(), LINES) == [(0, 0, (2, 2)), (0, 1, (0, 2))]


def test_a_slice_may_name_the_slo() -> None:
    spec = {"slo": "checkout-availability"}
    counting = Counting("push", [(0, ratio(source(), spec, spec)), (1, slices_of("checkout-availability"))])
    assert sent(counting, {"slo": "checkout-availability", "time": AT, "bad": 1, "total": 5}) == [(0, 0, (4, 5))]
    assert counting.account.slices == 1


def test_labels_tell_series_apart_in_whatever_order() -> None:
    counting = Counting("push", [(0, slices_of('checkout{region="eu",zone="a"}'))])
    assert sent(counting, {**SLICE, "series": 'checkout{zone="a", region="eu"}'}) == [(0, 0, (3, 4))]
    assert sent(counting, {**SLICE, "series": 'checkout{region="eu"}'}) == []
    assert counting.account.unclaimed == 1


def test_counts_are_exact_in_the_scale_of_the_objective() -> None:
    counting = Counting("push", [(0, slices_of(scale=1000)), (1, slices_of())])
    body = b'{"series": "checkout", "time": 1767268800, "good": 0.1, "total": 0.30}'
    assert sent(counting, body) == [(0, 0, (100, 300))]
    assert counting.account.unusable == 1  # a count is whole, unless the SLO declares a scale


def test_values_are_the_points_of_a_slice() -> None:
    value = threshold(source(), {"series": "latency"}, Comparison.LTE, "3/10")
    ratios = raw(source(), {"series": "share"})
    failures = raw(source(), {"series": "share"}, "failure")
    counting = Counting("push", [(0, value), (1, ratios), (2, failures)])
    assert sent(counting, b'{"series":"latency","time":1767268800,"values":[0.3,0.30000000000000001,1]}') == [
        (0, 0, (1, 3))
    ]
    assert sent(counting, {"series": "latency", "time": NOON, "value": 0}) == [(0, 0, (1, 1))]
    assert sent(counting, {"series": "share", "time": NOON, "value": 0.25}) == [
        (1, 0, (250_000, 1_000_000)),
        (2, 0, (750_000, 1_000_000)),
    ]
    assert sent(counting, {"series": "share", "time": NOON, "value": 2}) == []
    assert sent(counting, {"series": "latency", "time": NOON, "good": 1, "total": 1}) == []
    assert counting.account.unusable == 3


def test_slices_from_the_future_are_not_believed() -> None:
    counting = Counting("push", [(0, slices_of())])
    assert sent(counting, {**SLICE, "time": NOON + AHEAD_S + 1}, now=NOON) == []
    assert counting.account.ahead == 1


def test_slices_of_a_clock_that_lost_its_power_are_not_believed() -> None:
    counting = Counting("push", [(0, slices_of())])
    assert sent(counting, {**SLICE, "time": 86_400}, now=NOON) == []
    assert counting.account.ahead == 1
    assert len(sent(counting, {**SLICE, "time": NOON - AGO_S}, now=NOON)) == 1, "a long history may be sent"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "the body is not JSON"),
        ([], "the body holds nothing"),
        (5, "the body: a slice must be an object"),
        ([SLICE, 5], "record 2: a slice must be an object"),
        ({**SLICE, "goood": 1}, "unknown field 'goood'"),
        ({"time": AT, "good": 1, "total": 1}, "it must name a series or an slo"),
        ({**SLICE, "slo": "x"}, "a series or an slo, not both"),
        ({**SLICE, "series": ""}, "series must be a text"),
        ({**SLICE, "series": "a{b}"}, "is no selector: column 4"),
        ({**SLICE, "series": 'a{b=~"c"}'}, "one series, without patterns"),
        ({**SLICE, "series": 'a{b="c",b="d"}'}, "names a label twice"),
        ({**SLICE, "time": None}, "time is missing"),
        ({**SLICE, "time": "yesterday"}, "it has 'yesterday' where a time should stand"),
        ({**SLICE, "time": -5}, "outside the years 1970 to 2199"),
        ({**SLICE, "good": None}, "needs total, and good or bad"),
        ({**SLICE, "bad": 1}, "needs total, and good or bad"),
        ({**SLICE, "good": 5}, "good is 5 of 4"),
        ({**SLICE, "good": -1}, "good is -1: a count can't be negative"),
        ({**SLICE, "good": "3"}, "good must be a number, not '3'"),
        ({**SLICE, "good": True}, "good must be a number, not True"),
        ({**SLICE, "total": 10**30}, "too large to count"),
        (b'{"series":"x","time":1,"good":NaN,"total":1}', "holds NaN, which is no number"),
        (b'{"series":"x","time":1,"value":1e999999999}', "value is out of range"),
        ({**SLICE, "value": 1}, "a slice has values, or good and total, not both"),
        ({"series": "x", "time": AT, "values": []}, "values must be a list of 1 to"),
        ({"series": "x", "time": AT, "value": 1, "values": [1]}, "value and values exclude each other"),
    ],
)
def test_a_wrong_slice_is_refused_with_its_place(body: Any, why: str) -> None:
    raw_body = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(UsageError, match=re.escape(why)) as refused:
        Push().check(raw_body, JSON, NOON)
    assert refused.value.remedy


def test_a_wrong_line_is_named() -> None:
    with pytest.raises(UsageError, match="line 3: it must name a series"):
        Push().check(json.dumps(SLICE).encode() + b"\n\n{}", LINES, NOON)


def test_the_type_is_known_by_its_first_character_where_nobody_says_it() -> None:
    assert Push().check(json.dumps(SLICE).encode(), {}, NOON).count == 1
    assert Push().check(b"x 1\n", {}, NOON).count == 1
    with pytest.raises(UsageError, match="'image/png' are not read here"):
        Push().check(b"x 1\n", {"Content-Type": "image/png"}, NOON)


@pytest.mark.parametrize(
    ("good", "total", "why"),
    [
        ({"series": "a"}, {"series": "b"}, "name one and the same series"),
        ({"series": 'a{b=~"c"}'}, {"series": 'a{b=~"c"}'}, "name one and the same series"),
        ({"series": ["a", "b"]}, {"series": ["a", "b"]}, "name one and the same series"),
        ({"series": "a", "slo": "b"}, {"series": "a"}, "series and slo exclude each other"),
    ],
)
def test_slices_are_pushed_with_their_parts_together(good: dict[str, Any], total: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Counting("push", [(0, ratio(source(), good, total))])


def test_an_slo_can_not_be_a_counter() -> None:
    with pytest.raises(UsageError, match="slices that are pushed are no counters"):
        Counting("push", [(0, ratio(source(), {"slo": "x"}, {"slo": "x"}, counter=True))])


# --- metrics as text ---------------------------------------------------------------------------------------------

COUNTERS = ratio(source(), {"series": 'http_total{code!~"5.."}'}, {"series": "http_total"}, counter=True)


def exposed(minute: int, unit: int, ok: int, err: int) -> bytes:
    at = (NOON + 60 * minute + 30) * unit
    return (
        "# HELP http_total Requests.\n# TYPE http_total counter\n"
        f'http_total{{code="200",path="/a\\"b\\\\"}} {ok} {at}\n'
        f'http_total{{ code = "500", }} {err}e0 {at}  \n'
        f"other 1\n\n# EOF\n"
    ).encode()


@pytest.mark.parametrize(("headers", "unit"), [(TEXT, 1000), (OPENMETRICS, 1)])
def test_counters_as_text_are_differenced(headers: Mapping[str, str], unit: int) -> None:
    counting = Counting("push", [(0, COUNTERS)])
    found = [sent(counting, exposed(minute, unit, 10 * minute, minute), headers) for minute in range(3)]
    assert found == [[], [(0, 1, (10, 11))], [(0, 2, (10, 11))]]


def test_samples_without_a_time_take_that_of_their_receipt() -> None:
    counting = Counting("push", [(0, threshold(source(), {"series": "depth"}, Comparison.LT, "5"))])
    assert sent(counting, b"depth 3\n", TEXT, NOON + 90) == [(0, 1, (1, 1))]


def test_a_created_time_tells_that_a_counter_began_within_the_record() -> None:
    counting = Counting("push", [(0, COUNTERS)])
    sent(counting, f'http_total{{code="200"}} 5 {NOON + 30}\n'.encode(), OPENMETRICS)
    body = f'http_total{{code="500"}} 2 {NOON + 90}\nhttp_created{{code="500"}} {NOON + 60}.5 {NOON + 90}\n'
    assert sent(counting, body.encode(), OPENMETRICS) == [(0, 1, (0, 2))]


def test_exemplars_behind_a_sample_are_passed_over() -> None:
    body = b'x_bucket{le="0.1"} 8 # {trace_id="a"} 0.067\nx_bucket{le="+Inf"} 9 1767268800 # {} 9.8 1767268800\n'
    delivery = Push().check(body, OPENMETRICS, NOON).delivery
    labels = [labels_of(delivery.samples.book.labels[number]) for number in delivery.samples.numbers.tolist()]
    assert labels == [{"__name__": "x_bucket", "le": "0.1"}, {"__name__": "x_bucket", "le": "+Inf"}]
    assert delivery.samples.values.tolist() == [8, 9]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("x", "line 2 is no sample"),
        ("x y", "line 2 is no sample"),
        ("x 1_0", "line 2 is no sample"),
        ("x{a=b} 1", "its labels can't be read"),
        ('x{a="b",a="c"} 1', "the label 'a' stands there twice"),
        ("x 1 soon", "'soon' is no time"),
        ('x{a="b} 1', "line 2 is no sample"),
        ("5x 1", "line 2 is no sample"),
    ],
)
def test_a_line_that_is_no_sample_is_refused_with_its_number(line: str, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(why)):
        Push().check(f"ok 1\n{line}\n".encode(), TEXT, NOON)


@given(st.binary(max_size=200))
def test_no_body_whatever_ends_in_a_traceback(body: bytes) -> None:
    for headers in (JSON, LINES, TEXT, {}):
        with contextlib.suppress(UsageError):
            Push().check(body, headers, NOON)


@given(
    st.lists(
        st.sampled_from(['{"series":"x"', ",", '"time":', "1", '"good":', "1e400", "}", "[", "]", "null"]), max_size=12
    )
)
def test_no_json_whatever_ends_in_a_traceback(words: list[str]) -> None:
    with contextlib.suppress(UsageError):
        Push().check("".join(words).encode(), JSON, NOON)


@given(st.decimals(0, 10**9, places=6), st.decimals(0, 10**9, places=6))
def test_counts_survive_exactly(one: Decimal, other: Decimal) -> None:
    good, total = sorted((one, other))
    counting = Counting("push", [(0, slices_of(scale=1_000_000))])
    body = f'{{"series": "checkout", "time": {NOON}, "good": {good}, "total": {total}}}'
    assert sent(counting, body.encode()) == [(0, 0, (int(good * 10**6), int(total * 10**6)))]
