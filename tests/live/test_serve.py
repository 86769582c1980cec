"""``tightrope serve`` beside a real Prometheus: it agrees with the stateless answer, and survives what ends it."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live.conftest import StartPrometheus
from tests.live.serving import Served, listening, stateless_status, wait_for
from tests.state.conftest import new_database, postgresql, store  # noqa: F401  the fixtures
from tightrope.base.units import DAY_S, time_text

pytestmark = pytest.mark.live

DAYS = 16
MINUTES = 420
STEP = 60


def spec(kind: str, connection: str, good: str, total: str, *, name: str = "checkout", more: str = "") -> str:
    """A data source, and an SLO of a week on it."""
    return f"""
apiVersion: openslo/v1
kind: DataSource
metadata: {{name: {name}-source}}
spec: {{type: {kind}, connectionDetails: {connection}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {{name: {name}{more}}}
spec:
  service: {name}
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 7d, isRolling: true}}]
  objectives: [{{target: 0.99}}]
  indicator:
    metadata: {{name: {name}}}
    spec:
      ratioMetric:
        counter: {"false" if kind == "push" else "true"}
        good: {{metricSource: {{metricSourceRef: {name}-source, spec: {good}}}}}
        total: {{metricSource: {{metricSourceRef: {name}-source, spec: {total}}}}}
---
"""


def pushed(name: str = "checkout") -> str:
    return spec("push", "{}", f"{{series: {name}}}", f"{{series: {name}}}", name=name)


def webhook(url: str) -> str:
    return f"""
apiVersion: tightrope.dev/v1
kind: NotificationChannel
metadata: {{name: hook}}
spec: {{type: webhook, url: "{url}", default: true}}
---
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(text: str, data: str = "") -> Served:
        folder = tmp_path / "slo"
        folder.mkdir(exist_ok=True)
        (folder / "slo.yaml").write_text(text, encoding="utf-8")
        made.append(Served(folder, data or str(tmp_path / "data")))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def _history(end: int) -> str:
    """Minutes of traffic of the last days with bursts of errors, as the states of two counters."""
    chance = np.random.default_rng(7)
    count = DAYS * DAY_S // STEP
    total = chance.poisson(30, count)
    ratio = np.full(count, 0.002)
    for begin in chance.integers(0, count, 40):
        ratio[begin : begin + 30] = 0.3
    bad = chance.binomial(total, ratio)
    lines = ["# TYPE shop_requests counter"]
    for code, series in (("200", total - bad), ("500", bad)):
        lines += [
            f'shop_requests_total{{code="{code}"}} {value} {end - (count - number) * STEP}'
            for number, value in enumerate(accumulate(series.tolist()), 1)
        ]
    return "\n".join([*lines, "# EOF", ""])


class Gate:
    """Stands before a Prometheus: notes which stretches are asked for, and holds questions back once it is shut."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.starts: list[float] = []
        self.open_for = 10**9
        self.shut = threading.Event()

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        asked = urllib.parse.parse_qs(body.decode() or urllib.parse.urlsplit(path).query)
        if "query_range" in path:
            if len(self.starts) >= self.open_for:
                self.shut.set()
                time.sleep(30)
            self.starts.append(float(asked["start"][0]))
        request = urllib.request.Request(
            f"{self.behind}{path}", body or None, {"content-type": "application/x-www-form-urlencoded"}, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()


def test_a_history_is_read_through_a_kill_and_agrees_with_the_stateless_status(
    serve: Callable[..., Served], start_prometheus: StartPrometheus
) -> None:
    end = int(time.time()) // STEP * STEP  # noqa: TID251
    gate = Gate(start_prometheus(_history(end)))
    with listening(gate) as url:
        gate.open_for = 2
        server = serve(
            spec(
                "prometheus",
                f'{{url: "{url}"}}',
                "{query: 'shop_requests_total{code=\"200\"}'}",
                "{query: shop_requests_total}",
            )
        ).start()
        assert gate.shut.wait(20)
        wait_for(lambda: server.document("/api/v1/backfills")["items"][0]["doneSeconds"] > 0)
        (progress,) = server.document("/api/v1/backfills")["items"]
        assert progress["doneSeconds"] < progress["ofSeconds"] - DAY_S
        assert server.status() == {}, "half a history is no ground to judge on"
        server.kill()
        first, gate.open_for = len(gate.starts), 10**9
        server.start()
        wait_for(server.status)
        assert server.document("/api/v1/backfills")["items"] == []
        assert min(gate.starts[first:]) > min(gate.starts[:first]) + 6 * DAY_S, "it went on where it stopped"
        live = server.status()["checkout"]
        server.stop()
        then = stateless_status(server.folder, live["asOf"])["checkout"]
        assert live == then
        assert 0 < live["good"] < live["total"]
        server.start()
        assert server.ready_after_s < 3
        assert server.status()["checkout"]["total"] > 0


class Told:
    """A receiver of webhooks, which is away from time to time."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.away = False

    def __call__(self, _method: str, _path: str, body: bytes) -> tuple[int, bytes]:
        if self.away:
            return 503, b"{}"
        self.events.append(json.loads(body))
        return 200, b"{}"

    def opened(self) -> list[str]:
        opened = [one for one in self.events if one["type"].endswith("alert.opened.v1")]
        return [one["id"] for one in opened if one["data"]["labels"]["alertname"] == "ErrorBudgetBurn"]


def test_kills_lose_nothing_that_was_acknowledged_and_tell_nothing_twice(
    serve: Callable[..., Served],
    store: str,  # noqa: F811
) -> None:
    told = Told()
    with listening(told) as url:
        server = serve(pushed() + pushed("search") + webhook(url), store).start()
        begin = int(time.time()) // STEP * STEP - MINUTES * STEP  # noqa: TID251
        acknowledged: dict[int, int] = {}
        pace = threading.Event()

        def send(first: int) -> None:
            for minute in range(first, MINUTES, 4):
                at = {"time": begin + minute * STEP, "total": 2}
                slices = [
                    {"series": "checkout", "bad": int(minute % 3 == 0), **at},
                    {"series": "search", "bad": 0, **at},
                ]
                while server.push(slices) != 202:
                    time.sleep(0.05)
                acknowledged[minute] = 2
                pace.wait(0.01)

        senders = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for one in senders:
            one.start()
        for kills in range(1, 4):
            wait_for(lambda kills=kills: len(acknowledged) >= 100 * kills, 30)  # type: ignore[misc]
            server.kill()
            server.start()
        for one in senders:
            one.join(30)
        assert len(acknowledged) == MINUTES
        wait_for(lambda: server.status().get("checkout", {}).get("total") == 2 * MINUTES, 30)
        assert server.status()["search"]["total"] == 2 * MINUTES
        assert server.status()["checkout"]["good"] == 2 * MINUTES - MINUTES // 3
        wait_for(told.opened)
        server.kill()
        server.start()
        time.sleep(1.5)
        assert len(told.opened()) == 1
        assert len({one["id"] for one in told.events}) == len(told.events)
        status, text = server.get("/api/v1/gate/search")
        assert (status, json.loads(text)["verdict"]) == (200, "go")
        server.stop()


def test_a_source_that_never_answers_holds_up_nobody(serve: Callable[..., Served]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = serve(
            pushed("search")
            + spec("prometheus", f'{{url: "{hanging}"}}', "{query: a}", "{query: b}")
            + spec("probe", f'{{url: "{hanging}", timeout: 5s}}', "{check: up}", "{check: any}", name="site").replace(
                "counter: true", "counter: false"
            )
        ).start()
        now = int(time.time())  # noqa: TID251
        slices = [{"series": "search", "time": now - minute * STEP, "good": 9, "total": 9} for minute in range(1, 90)]
        assert server.push(slices) == 202
        wait_for(lambda: "search" in server.status(), 10)
        began = time.monotonic()  # noqa: TID251
        status, text = server.get("/api/v1/gate/search")
        assert time.monotonic() - began < 1  # noqa: TID251
        assert (status, json.loads(text)["verdict"]) == (200, "go")
        assert server.push([{"series": "search", "time": now - 90 * STEP, "good": 9, "total": 9}]) == 202
        wait_for(lambda: server.status()["search"]["total"] == 90 * 9, 10)
        began = time.monotonic()  # noqa: TID251
        server.stop()
        assert time.monotonic() - began < 5  # noqa: TID251


def test_telemetry_from_another_time_is_counted_and_told_and_changes_nothing(serve: Callable[..., Served]) -> None:
    server = serve(pushed()).start()
    now = int(time.time())  # noqa: TID251
    slices = [{"series": "checkout", "time": now - minute * STEP, "good": 9, "total": 9} for minute in range(1, 60)]
    strange = {"series": "checkout", "good": 0, "total": 1000}
    assert server.push([*slices, {**strange, "time": now + 3 * DAY_S}]) == 202
    wait_for(lambda: server.status().get("checkout", {}).get("total") == 59 * 9)
    _, text = server.get("/metrics")
    assert 'tightrope_received_total{fate="ahead",source="push"} 1' in text.replace(
        'source="push",fate="ahead"', 'fate="ahead",source="push"'
    )
    assert server.push([{**strange, "time": now - 400 * DAY_S}]) == 202
    time.sleep(1.5)
    assert server.status()["checkout"]["total"] == 59 * 9, "what is older than the window changes no budget"
    assert time_text(now)[:10] <= server.status()["checkout"]["asOf"][:10]
