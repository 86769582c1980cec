"""The Prometheus source against a server that answers from memory, and misbehaves in every way."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest

from tests.telemetry.builders import NOON, counts, data_source, ratio, raw, read, threshold
from tightrope.base.errors import DataError, SourceError, SourceUnreachableError, UsageError
from tightrope.base.http import HttpClient, HttpSettings
from tightrope.specs.model import Comparison, DataSource
from tightrope.telemetry.plan import Request
from tightrope.telemetry.reading import Reading
from tightrope.telemetry.sources.prometheus import MOST_POINTS, Prometheus

Handler = Callable[[httpx2.Request], httpx2.Response]
Series = dict[str, dict[int, str]]


class Server:
    """A Prometheus that knows a few expressions by heart."""

    def __init__(self, answers: dict[str, Series]) -> None:
        self.answers = answers
        self.asked: list[dict[str, str]] = []
        self.headers: httpx2.Headers | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.headers = request.headers
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        self.asked.append(form)
        instants = range(int(form["start"]), int(form["end"]) + 1, int(form["step"]))
        if len(instants) > MOST_POINTS:
            return httpx2.Response(400, json={"status": "error", "errorType": "bad_data", "error": "too many points"})
        result = [
            {"metric": {"pod": pod}, "values": [[at, values[at]] for at in instants if at in values]}
            for pod, values in self.answers.get(form["query"], {}).items()
        ]
        return httpx2.Response(200, json=_matrix([one for one in result if one["values"]]))


def _matrix(result: list[dict[str, Any]]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def _ask(request: Request, handler: Handler, minutes: int = 3, waits: list[float] | None = None) -> Reading:
    def opens(url: str, settings: HttpSettings) -> HttpClient:
        heard: Callable[[float], None] = (waits if waits is not None else []).append
        known = {name: getattr(settings, name) for name in ("headers", "auth", "timeout_s", "attempts", "verify")}
        return HttpClient(url, HttpSettings(**known, transport=httpx2.MockTransport(handler)), heard)

    return read(request, since=NOON, until=NOON + 60 * minutes, connect=partial(Prometheus, opens=opens))


def _prometheus(**connection: Any) -> DataSource:
    return data_source("prometheus", ".", {"url": "http://127.0.0.1:9090", **connection})


def _points(*values: str | int | None, start: int = NOON, step: int = 60) -> dict[int, str]:
    return {start + step * k: str(value) for k, value in enumerate(values) if value is not None}


GOOD_TOTAL = ({"query": "good"}, {"query": "total"})


def test_increments_are_taken_per_series_before_the_sum_and_resets_are_resolved() -> None:
    server = Server(
        {
            "good": {"a": _points(0, 50, 0, 50), "b": _points(7, 8, 9, 10)},
            "total": {"a": _points(0, 50, 0, 50), "b": _points(70, 80, 90, 100)},
        }
    )
    reading = _ask(ratio(_prometheus(), *GOOD_TOTAL, counter=True), server)
    assert counts(reading) == [(51, 60), (1, 10), (51, 60)]
    assert reading.slices.start == NOON
    assert "1 counter reset resolved (total)" in reading.quality.notes


def test_good_and_total_are_asked_at_the_same_instants() -> None:
    server = Server({"good": {"a": _points(1, 2)}, "total": {"a": _points(1, 2)}})
    _ask(ratio(_prometheus(), *GOOD_TOTAL, counter=True), server)
    assert [{key: form[key] for key in ("start", "end", "step")} for form in server.asked] == [
        {"start": str(NOON), "end": str(NOON + 180), "step": "60"}
    ] * 2


def test_a_value_at_the_end_of_a_slice_is_its_events_and_the_window_is_filled_in() -> None:
    query = "sum(increase(x[1m]))"
    server = Server({query: {"": _points(None, 5, 6, 7)}})
    spec = {"query": "sum(increase(x[{{.window}}]))"}
    reading = _ask(ratio(_prometheus(), {"query": "sum(increase(x[$__interval]))"}, spec), server)
    assert counts(reading) == [(5, 5), (6, 6), (7, 7)]
    assert [form["query"] for form in server.asked] == [query]


def test_an_absent_numerator_is_0_and_told_of() -> None:
    server = Server({"total": {"a": _points(1, 5, 9, 9)}})
    reading = _ask(ratio(_prometheus(), bad={"query": "errors"}, total={"query": "total"}, counter=True), server)
    assert counts(reading) == [(4, 4), (4, 4), (0, 0)]
    assert "bad is absent in 2 slices with traffic, first at 2026-01-01T12:00:00Z: taken as 0" in reading.quality.notes


def test_absent_and_nan_are_gaps() -> None:
    server = Server({"v": {"a": _points(None, 1, "NaN", 3)}, "w": {"a": _points(None, 1, None, 3)}})
    for query in "vw":
        reading = _ask(threshold(_prometheus(), {"query": query}, Comparison.LTE, "2"), server)
        assert counts(reading) == [(1, 1), None, (0, 1)]
        assert reading.quality.bad_rows == 0


def test_a_numerator_that_is_nan_makes_a_gap_not_a_failure() -> None:
    server = Server({"good": {"a": _points(None, 1, "NaN", 3)}, "total": {"a": _points(None, 2, 2, 3)}})
    assert counts(_ask(ratio(_prometheus(), *GOOD_TOTAL), server)) == [(1, 2), None, (3, 3)]


def test_a_ratio_that_already_is_one_is_read() -> None:
    server = Server({"r": {"": _points(None, "0.5", "1")}})
    assert counts(_ask(raw(_prometheus(), {"query": "r"}, "failure"), server)) == [(500_000, 10**6), (0, 10**6)]


def test_fractional_counts_need_a_scale() -> None:
    server = Server({"good": {"a": _points(None, "1.5")}, "total": {"a": _points(None, "2.25")}})
    with pytest.raises(DataError, match=r"is 1\.5: a count is whole, unless the SLO declares a scale"):
        _ask(ratio(_prometheus(), *GOOD_TOTAL), server)
    assert counts(_ask(ratio(_prometheus(), *GOOD_TOTAL, scale=100), server)) == [(150, 225)]


def test_long_stretches_are_asked_in_chunks_and_lose_nothing_at_the_seams() -> None:
    minutes = 25_000
    counter = {NOON + 60 * k: str(3 * k) for k in range(minutes + 1)}
    server = Server({"good": {"a": counter}, "total": {"a": counter}})
    reading = _ask(ratio(_prometheus(), *GOOD_TOTAL, counter=True), server, minutes)
    assert [len(reading.slices), int(reading.slices.total.sum())] == [minutes, 3 * minutes]
    assert len(server.asked) == 2 * 3


def test_counters_may_be_read_more_often_than_slices_are_long() -> None:
    counter = {NOON: "0", NOON + 15: "9", NOON + 30: "2", NOON + 45: "4", NOON + 60: "10"}
    server = Server({"good": {"a": counter}, "total": {"a": counter}})
    assert counts(_ask(ratio(_prometheus(step="15s"), *GOOD_TOTAL, counter=True), server, 1)) == [(19, 19)]
    assert counts(_ask(ratio(_prometheus(), *GOOD_TOTAL, counter=True), server, 1)) == [(10, 10)]


def test_a_query_that_takes_differences_itself_is_no_counter() -> None:
    with pytest.raises(UsageError, match=r"the query takes its rate\(\) already"):
        _ask(ratio(_prometheus(), {"query": "rate(x[5m])"}, {"query": "x"}, counter=True), Server({}))


def test_no_series_at_all_is_a_record_without_slices() -> None:
    assert len(_ask(ratio(_prometheus(), *GOOD_TOTAL), Server({})).slices) == 0


def test_secrets_come_from_the_environment_and_go_into_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROM_TOKEN", "s3cret")
    server = Server({})
    headers = {"Authorization": {"fromEnv": "PROM_TOKEN", "prefix": "Bearer "}, "X-Scope-OrgID": "shop"}
    _ask(ratio(_prometheus(headers=headers), *GOOD_TOTAL), server)
    assert server.headers is not None
    assert (server.headers["authorization"], server.headers["x-scope-orgid"]) == ("Bearer s3cret", "shop")
    basic = {"username": "shop", "password": {"fromEnv": "PROM_TOKEN"}}
    _ask(ratio(_prometheus(basicAuth=basic), *GOOD_TOTAL), server)
    assert server.headers["authorization"] == "Basic c2hvcDpzM2NyZXQ="
    monkeypatch.delenv("PROM_TOKEN")
    with pytest.raises(UsageError, match="environment variable PROM_TOKEN, which is not set"):
        _ask(ratio(_prometheus(headers=headers), *GOOD_TOTAL), server)


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (
            httpx2.Response(
                400, json={"status": "error", "errorType": "bad_data", "error": "parse error: unexpected )"}
            ),
            "answers 400 to the query 'good': parse error: unexpected )",
        ),
        (httpx2.Response(401, text="who are you?"), "answers 401 to the query 'good': who are you?"),
        (httpx2.Response(404, text="no such page"), "answers 404"),
        (httpx2.Response(500, text="on fire"), "answers 500 to the query 'good': on fire"),
        (httpx2.Response(503, text=""), "answers 503 to the query 'good': nothing more"),
        (httpx2.Response(507, text="disk full"), "answers 507 to the query 'good': disk full"),
        (httpx2.Response(429, text="slow down"), "answers 429 to the query 'good': slow down"),
        (httpx2.Response(200, html="<html>Sign in</html>"), "text/html instead of JSON: <html>Sign in</html>"),
        (
            httpx2.Response(200, headers={"content-type": "application/json"}, content=b'{"status":"succ'),
            "JSON that is cut off or broken",
        ),
        (
            httpx2.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": []}}),
            "other than series",
        ),
        (httpx2.Response(200, json=_matrix([{"metric": {}, "histograms": []}])), "other than series of numbers"),
        (
            httpx2.Response(302, headers={"location": "https://u:p@login.example/x?token=1"}),
            "points to https://login.example/x",
        ),
    ],
)
def test_an_answer_that_is_none_is_told_in_its_own_words(response: httpx2.Response, says: str) -> None:
    source = _prometheus(url="http://me:hush@127.0.0.1:9090/prometheus")
    with pytest.raises(SourceError) as caught:
        _ask(ratio(source, *GOOD_TOTAL), lambda _: response)
    assert says in caught.value.message
    assert isinstance(caught.value, SourceUnreachableError) == (response.status_code in {429, 500, 503, 507})
    assert caught.value.remedy
    assert "hush" not in caught.value.message + caught.value.remedy


def test_what_may_pass_is_tried_again_and_the_server_says_how_long_to_wait() -> None:
    answers = iter(
        [
            httpx2.Response(429, headers={"retry-after": "7"}),
            httpx2.Response(503),
            httpx2.Response(200, json=_matrix([{"metric": {}, "values": [[NOON + 60, "1"]]}])),
        ]
    )
    waits: list[float] = []
    spec = {"query": "x"}
    assert counts(_ask(ratio(_prometheus(), spec, spec), lambda _: next(answers), waits=waits)) == [(1, 1)]
    assert 7 <= waits[0] <= 9 <= waits[1]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (httpx2.ConnectError("connection refused"), "can't be reached, after 4 attempts: connection refused"),
        (httpx2.ReadTimeout("slow"), "did not answer within 5 s, after 4 attempts"),
    ],
)
def test_a_server_that_does_not_answer_is_unreachable(error: Exception, says: str) -> None:
    tries: list[float] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        raise error

    with pytest.raises(SourceUnreachableError) as caught:
        _ask(ratio(_prometheus(timeout="5s"), *GOOD_TOTAL), handler, waits=tries)
    assert says in caught.value.message
    assert len(tries) == 3


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        ({"url": "prometheus:9090"}, "no address of a server"),
        ({"headers": {"Authorization": ["x"]}}, "Authorization must be a text or"),
        ({"timeout": "soon"}, "is not a duration"),
        ({"caFile": "nowhere.pem"}, "caFile .*nowhere.pem can't be used"),
        ({"tlsInsecure": "yes"}, "must be true or false"),
    ],
)
def test_wrong_settings_are_named(connection: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(ratio(_prometheus(**connection), *GOOD_TOTAL), since=NOON, until=NOON + 60)


def test_recorded_answers_of_another_tool_are_read(recorded: Path) -> None:
    folder = recorded / "fixtures/spinnaker_kayenta/kayenta-prometheus/src/test/resources/prometheus"
    text = (folder / "rangeQueryWithTags.json").read_text(encoding="utf-8")
    points = [one["values"] for one in json.loads(text)["data"]["result"]]
    spec = {"query": "x"}
    request = ratio(_prometheus(), spec, spec)
    first = int(min(at for values in points for at, _ in values)) // 60 * 60

    def opens(url: str, settings: HttpSettings) -> HttpClient:
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, text=text))
        return HttpClient(url, HttpSettings(transport=transport))

    reading = read(request, since=first, until=first + 3600, connect=partial(Prometheus, opens=opens))
    assert int(reading.slices.total.sum()) == sum(int(value) for values in points for _, value in values)
