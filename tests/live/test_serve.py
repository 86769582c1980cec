"""``tightrope serve`` beside a real Prometheus: it agrees with the stateless answer, and survives what ends it."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlalchemy import event as events

from tests.live.conftest import StartPrometheus, _running
from tests.live.serving import Served, listening, stateless_status, wait_for
from tests.state.conftest import new_database, postgresql, store  # noqa: F401  the fixtures
from tests.telemetry.builders import data_source, ratio, read
from tightrope.app import serving
from tightrope.base.errors import StoreError
from tightrope.base.units import DAY_S, time_text
from tightrope.loop.server import Server, ServeSettings
from tightrope.state.database import opened
from tightrope.telemetry.store import SliceStore

pytestmark = [pytest.mark.live, pytest.mark.kills]

DAYS = 16
MINUTES = 300
KILLS = 4
RESTARTS_WITHIN_S = 10  # 2 s where nothing else runs
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
        assert server.ready_after_s < RESTARTS_WITHIN_S
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


def test_kills_lose_nothing_that_was_acknowledged_and_open_no_alert_twice(
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
        for kills in range(1, KILLS):
            wait_for(lambda kills=kills: len(acknowledged) >= 75 * kills, 30)  # type: ignore[misc]
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
        assert len(set(told.opened())) == 1
        # What was being sent when its sender was killed comes again, as it was and under its id; nothing else does.
        several = Counter(one["id"] for one in told.events)
        assert len({json.dumps(one, sort_keys=True) for one in told.events}) == len(several)
        assert sum(several.values()) - len(several) <= KILLS
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


def _shop(began: float) -> Callable[[str, str, bytes], tuple[int, bytes]]:
    """A service whose counters grow by known steps, and which restarts once."""

    def page(_method: str, _path: str, _body: bytes) -> tuple[int, bytes]:
        seconds = int(time.monotonic() - began)  # noqa: TID251
        since_restart = seconds if seconds < 7 else seconds - 7
        return 200, (
            f'# TYPE shop_requests_total counter\nshop_requests_total{{code="200"}} {7 * since_restart}\n'
            f'shop_requests_total{{code="500"}} {since_restart // 2}\n'
        ).encode()

    return page


def test_what_prometheus_writes_is_counted_through_kills_as_prometheus_tells_it(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    all_of_it, fine = "shop_requests_total", 'shop_requests_total{code="200"}'
    text = spec(
        "remote-write",
        "{}",
        f"{{series: '{fine}'}}",
        f"{{series: {all_of_it}}}",
        more=", annotations: {tightrope.dev/resolution: 1s}",
    )
    server = serve(text).start()
    with listening(_shop(time.monotonic())) as shop:  # noqa: TID251
        target = shop.removeprefix("http://")
        (tmp_path / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}]\n"
            f"remote_write: [{{url: '{server.url}/api/v1/write', "
            "queue_config: {batch_send_deadline: 300ms, min_backoff: 50ms, max_backoff: 200ms}}]\n",
            encoding="utf-8",
        )
        with _running(program, tmp_path) as url:
            for least in (5, 20):
                wait_for(lambda least=least: server.status().get("checkout", {}).get("total", 0) > least)  # type: ignore[misc]
                server.kill()
                server.start()
                assert server.ready_after_s < RESTARTS_WITHIN_S
            wait_for(lambda: server.status()["checkout"]["total"] > 60)
            server.stop()
            with opened(server.data) as database:
                slices = SliceStore(database)
                (number,) = slices.records()
                (counted,) = slices.read([number])
            first, last = counted.start + 1, counted.end - 2  # the ends may be half
            pulled = data_source("prometheus", ".", {"url": url, "step": "1s"})
            told = read(
                ratio(pulled, {"query": fine}, {"query": all_of_it}, counter=True, step_s=1), since=first, until=last
            ).slices
    mine = counted.between(first, last)
    assert len(mine) >= 3
    assert mine.start == told.start
    assert mine.covered.all()
    assert (mine.bad.tolist(), mine.total.tolist()) == (told.bad.tolist(), told.total.tolist())


def test_a_full_disk_is_told_of_loses_nothing_acknowledged_and_passes(tmp_path: Path) -> None:
    folder = tmp_path / "slo"
    folder.mkdir()
    (folder / "slo.yaml").write_text(pushed(), encoding="utf-8")
    settings = ServeSettings(spec_paths=(str(folder),))
    room = [1 << 30]

    def capped(one: Any) -> None:
        one.exec_driver_sql(f"PRAGMA max_page_count = {room[0]}").close()

    begin = int(time.time()) // STEP * STEP - 600 * STEP  # noqa: TID251

    def push(server: Server, first: int, count: int = 1) -> None:
        slices = [
            {"series": "checkout", "time": begin + (first + n) * STEP, "good": 1, "total": 1} for n in range(count)
        ]
        server.receive("push", json.dumps(slices).encode(), {"content-type": "application/json"})

    events.listen(Engine, "begin", capped)  # before there are threads that begin
    with ExitStack() as after, serving(settings, str(tmp_path / "data"), every_s=0.05) as server:
        after.callback(events.remove, Engine, "begin", capped)
        wait_for(lambda: server.ready()[0])
        push(server, 0)
        wait_for(lambda: server.live.snapshot.assessments)
        room[0] = 1  # no page more than there are
        accepted = 1
        with suppress(StoreError):
            while accepted < 500:
                push(server, accepted)
                accepted += 1
        with pytest.raises(StoreError, match="the disk is full"):
            push(server, 550)
        wait_for(lambda: not server.ready()[0])
        assert "the disk is full" in server.ready()[1]
        assert server.assessments("checkout"), "what is known is still told"
        room[0] = 1 << 30
        wait_for(lambda: server.ready()[0])
        assert server.assessments("checkout")[0].statement.total == accepted
        push(server, 500)
        wait_for(lambda: server.assessments("checkout")[0].statement.total == accepted + 1)


def test_a_log_a_database_and_probes_go_on_where_a_kill_left_them(serve: Callable[..., Served], tmp_path: Path) -> None:
    log, base = tmp_path / "access.log", tmp_path / "shop.db"
    begin = int(time.time()) // STEP * STEP - 60 * STEP  # noqa: TID251
    probes = 0

    def page(_method: str, _path: str, _body: bytes) -> tuple[int, bytes]:
        nonlocal probes
        probes += 1
        return 200, b"{}"

    def write(minutes: range) -> None:
        with log.open("a", encoding="utf-8") as out, sqlite3.connect(base) as connection:
            for minute in minutes:
                at = datetime.fromtimestamp(begin + minute * STEP, UTC)
                out.write(f'10.0.0.1 - - [{at:%d/%b/%Y:%H:%M:%S} +0000] "GET / HTTP/1.1" 200 5 "-" "-"\n')
                connection.execute("INSERT INTO minutes VALUES (?, 9, 10)", (f"{at:%Y-%m-%d %H:%M:%S}",))
        connection.close()

    with sqlite3.connect(base) as connection:
        connection.execute("CREATE TABLE minutes (time timestamp, good integer, total integer)")
    connection.close()
    write(range(40))
    with listening(page) as url:
        text = (
            spec("access-log", f'{{path: "{log}"}}', "{not: 5xx}", "{not: 3xx}", name="logged")
            + spec("sql", f'{{url: "sqlite:///{base}"}}', "{table: minutes}", "{table: minutes}", name="queried")
            + spec("probe", f'{{url: "{url}", every: 1s}}', "{check: up}", "{check: any}", name="probed")
        ).replace("counter: true", "counter: false")
        server = serve(text).start()
        wait_for(lambda: len(server.status()) == 3)
        known = server.status()
        assert (known["logged"]["total"], known["queried"]["total"]) == (40, 400)
        server.kill()
        write(range(40, 59))
        log.rename(tmp_path / "access.log.1")
        write(range(59, 60))
        server.start()
        wait_for(lambda: server.status()["logged"]["total"] >= 59)
        wait_for(lambda: server.status()["queried"]["total"] >= 590)
        assert server.document("/api/v1/backfills")["items"] == []
        assert server.status()["logged"]["total"] in (59, 60)  # the newest line may be of a minute that still goes on
        assert server.status()["queried"]["good"] * 10 == server.status()["queried"]["total"] * 9
        assert probes > 0
        assert server.status()["probed"]["total"] <= probes, "no probe counts twice, whatever was killed"
