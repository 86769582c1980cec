"""The small Prometheus: what Argo, Flagger, KEDA and Grafana ask is answered as Prometheus answers it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.world import World
from tightrope.api.prometheus import QueryError, Result, Sample, parse, vector_of
from tightrope.loop.gauges import Family

SERIES = vector_of(
    [
        Family(
            "tightrope_burn_rate",
            "",
            "gauge",
            tuple(
                ({"service": service, "lookback": lookback}, value)
                for service, lookback, value in (("a", "1h", 0.5), ("a", "6h", 2.0), ("b", "1h", 14.4))
            ),
        ),
        Family("up", "", "gauge", (({}, 1.0),)),
    ]
)


def answer(query: str) -> Result:
    return parse(query)(SERIES)


def vector(query: str) -> list[tuple[dict[str, str], float]]:
    found = answer(query)
    assert isinstance(found, list)
    return [(dict(one.labels), one.value) for one in found]


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("1", 1.0),
        ("1+1", 2.0),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("2 * -3", -6.0),
        ("- 1 - - 2", 1.0),
        ("7 % 4", 3.0),
        ("-7 % 4", -3.0),
        ("6 / 4", 1.5),
        ("1 / 0", math.inf),
        ("-1 / 0", -math.inf),
        ("0x1F", 31.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1 > bool 2", 0.0),
        ("2 >= bool 2", 1.0),
        ("1 == bool 1 + 0", 1.0),
        ("Inf", math.inf),
        ("1 # a comment\n + 1", 2.0),
    ],
)
def test_numbers_are_reckoned_with_as_in_promql(query: str, value: float) -> None:
    assert answer(query) == value


@pytest.mark.parametrize("query", ["0 / 0", "1 % 0", "NaN", "Inf % 2", "(0-1) ^ 0.5"])
def test_what_is_no_number_says_so(query: str) -> None:
    found = answer(query)
    assert isinstance(found, float)
    assert math.isnan(found)


def test_a_selector_keeps_names_and_a_calculation_drops_them() -> None:
    assert vector('tightrope_burn_rate{service="b"}') == [
        ({"__name__": "tightrope_burn_rate", "service": "b", "lookback": "1h"}, 14.4)
    ]
    assert vector('tightrope_burn_rate{service="b"} * 2') == [({"service": "b", "lookback": "1h"}, 28.8)]
    assert vector('-tightrope_burn_rate{service="b"}') == [({"service": "b", "lookback": "1h"}, -14.4)]
    assert vector('{__name__=~"tight.*",service!="a"}')[0][1] == 14.4
    assert [value for _, value in vector('tightrope_burn_rate{service=~"a|b",lookback="1h"}')] == [0.5, 14.4]
    assert vector("nothing") == []


def test_a_comparison_filters_or_with_bool_answers() -> None:
    assert [value for _, value in vector("tightrope_burn_rate < 2")] == [0.5]
    assert [value for _, value in vector("2 <= tightrope_burn_rate")] == [2.0, 14.4]
    assert [value for _, value in vector("tightrope_burn_rate < bool 2")] == [1.0, 0.0, 0.0]
    assert "__name__" not in vector("tightrope_burn_rate < bool 2")[0][0]
    assert "__name__" in vector("tightrope_burn_rate < 2")[0][0]
    assert [value for _, value in vector("tightrope_burn_rate > 1 < 10")] == [2.0]


def test_aggregations_group_by_labels() -> None:
    assert vector("max(tightrope_burn_rate)") == [({}, 14.4)]
    assert vector("sum by (service) (tightrope_burn_rate)") == [({"service": "a"}, 2.5), ({"service": "b"}, 14.4)]
    assert vector("count(tightrope_burn_rate) by (service)") == [({"service": "a"}, 2.0), ({"service": "b"}, 1.0)]
    assert vector("avg without (lookback) (tightrope_burn_rate)") == [
        ({"service": "a"}, 1.25),
        ({"service": "b"}, 14.4),
    ]
    assert vector("min(nothing)") == []
    assert vector("max(tightrope_burn_rate) < 20") == [({}, 14.4)]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "no expression found"),
        ("rate(up[5m])", "function 'rate'"),
        ("up[5m]", "ranges"),
        ("up offset 5m", "only the present"),
        ("up @ 0", "only the present"),
        ("up + up", "between two vectors"),
        ("up and up", "operator 'and'"),
        ("1 > 2", "must use BOOL"),
        ("1 + bool 2", "bool modifier"),
        ("up == on(service) 1", "matching"),
        ("(1", "unexpected"),
        ("1 +", "unexpected end of input"),
        ("up{service=}", "parse error"),
        ("up{service=\"a\"", "inside braces"),
        ("max(1)", "expected type instant vector"),
        ("sum by (1) (up)", "grouping"),
        ("5m", "unexpected"),
        ("up up", "unexpected"),
        ("(" * 200 + "1", "nested too deeply"),
        ("1" + "+1" * 6000, "characters"),
        ("{}", "parse error"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_in_the_words_of_prometheus(query: str, says: str) -> None:
    with pytest.raises(QueryError, match="invalid parameter") as error:
        parse(query)
    assert says in str(error.value)


@given(st.text(alphabet='up{}()[]"=~!<>+-*/^% 0123456789.eE,abysumboolNaI\n#\\', max_size=60))
def test_no_text_does_more_harm_than_to_be_refused(query: str) -> None:
    try:
        found = parse(query)(SERIES)
    except QueryError:
        return
    assert isinstance(found, float) or all(isinstance(one, Sample) for one in found)


@given(
    st.recursive(
        st.integers(0, 9).map(str),
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({' '.join(parts)})"),
        max_leaves=12,
    )
)
def test_arithmetic_of_whole_numbers_is_that_of_everybody(query: str) -> None:
    assert answer(query) == float(eval(query))


# --- over HTTP -----------------------------------------------------------------------------------------------------


def data(world: World, path: str, **params: Any) -> Any:
    found = world.get(path, params=params)
    assert found.status_code == 200, found.text
    assert found.headers["content-type"] == "application/json"
    assert found.json()["status"] == "success"
    return found.json()["data"]


def test_a_gauge_is_read_as_argo_rollouts_reads_it(world: World) -> None:
    query = 'tightrope_budget_remaining_ratio{service="checkout"}'
    found = data(world, "/api/v1/query", query=query)
    assert found["resultType"] == "vector"
    stamp, value = found["result"][0]["value"]
    assert (value, isinstance(stamp, int)) == ("1", True)
    assert found["result"][0]["metric"]["__name__"] == "tightrope_budget_remaining_ratio"
    posted = world.post("/api/v1/query", data={"query": query, "time": str(world.server.now())})
    assert posted.json()["data"]["result"][0]["metric"] == found["result"][0]["metric"]


def test_grafana_finds_its_data_source_healthy(world: World) -> None:
    assert data(world, "/api/v1/query", query="1+1", time="4")["result"] == [4, "2"]


def test_the_past_is_not_known(world: World) -> None:
    found = world.get("/api/v1/query", params={"query": "tightrope_flow", "time": "1600000000"})
    assert found.status_code == 400
    assert found.json()["errorType"] == "bad_data"
    assert "only the present" in found.json()["error"]


def test_a_range_holds_the_newest_value_since_it_was_taken(world: World) -> None:
    taken = world.server.live.snapshot.taken_at
    asked = {"query": "tightrope_budget_remaining_ratio", "start": taken - 600, "end": taken + 60, "step": "30"}
    found = data(world, "/api/v1/query_range", **asked)
    assert found["resultType"] == "matrix"
    assert {len(one["values"]) for one in found["result"]} <= {2, 3}
    constant = data(world, "/api/v1/query_range", query="1", start=0, end=60, step="30s")
    assert constant["result"] == [{"metric": {}, "values": [[0, "1"], [30, "1"], [60, "1"]]}]


@pytest.mark.parametrize(
    "params",
    [
        {"query": "up", "start": "0", "end": "1"},
        {"query": "up", "start": "1", "end": "0", "step": "1"},
        {"query": "up", "start": "0", "end": "1", "step": "0"},
        {"query": "up", "start": "0", "end": "100000000", "step": "1"},
        {"query": "up", "end": "1", "step": "1"},
        {"query": "up", "start": "nan", "end": "1", "step": "1"},
    ],
)
def test_a_range_that_makes_no_sense_is_refused(world: World, params: dict[str, str]) -> None:
    found = world.get("/api/v1/query_range", params=params)
    assert (found.status_code, found.json()["status"]) == (400, "error")


def test_labels_values_series_and_meanings_are_listed(world: World) -> None:
    assert "service" in data(world, "/api/v1/labels")
    assert {"basket", "checkout"} <= set(data(world, "/api/v1/label/service/values"))
    selected = {"match[]": 'tightrope_burn_rate{service="checkout"}'}
    assert data(world, "/api/v1/label/service/values", **selected) == ["checkout"]
    assert "tightrope_burn_rate" in data(world, "/api/v1/label/__name__/values")
    assert {one["service"] for one in data(world, "/api/v1/series", **selected)} == {"checkout"}
    assert data(world, "/api/v1/metadata", metric="tightrope_burn_rate")["tightrope_burn_rate"][0]["type"] == "gauge"
    assert world.get("/api/v1/series").json()["error"] == "no match[] parameter provided"
    assert world.get("/api/v1/label/0/values").status_code == 400
