"""The pages on a server that runs: specs from files, telemetry from CSV, a loop that turns."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.web.conftest import HERE
from tests.web.test_pages import csrf, shown
from tests.web.test_report import Page
from tests.web.worlds import END, PER_DAY, STEP_S
from tightrope.app import serving
from tightrope.base.units import time_text
from tightrope.loop.server import Server, ServeSettings
from tightrope.web.routes import web_routes

DAYS = 9

SPECS = """\
apiVersion: openslo/v1
kind: DataSource
metadata: {name: shop}
spec:
  type: csv
  connectionDetails: {path: shop.csv, timestamp: time}
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-success
  annotations: {tightrope.dev/resolution: 5m}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 7d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: checkout-success}
    spec:
      ratioMetric:
        counter: false
        bad: {metricSource: {metricSourceRef: shop, spec: {column: bad}}}
        total: {metricSource: {metricSourceRef: shop, spec: {column: total}}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over nine days of a shop that overspent its budget two days ago."""
    folder = tmp_path_factory.mktemp("served")
    slo = folder / "slo"
    slo.mkdir()
    count = DAYS * PER_DAY
    rows = [
        f"{time_text(END - (count - at) * STEP_S)},{60 if count - 620 < at < count - 560 else 0},100"
        for at in range(count)
    ]
    (slo / "shop.csv").write_text("\n".join(["time,bad,total", *rows, ""]), encoding="utf-8")
    (slo / "shop.yaml").write_text(SPECS, encoding="utf-8")
    where = str(folder / "data")
    settings = ServeSettings(base_url="http://127.0.0.1:8080", data=where, spec_paths=(str(slo),))
    with serving(settings, where, every_s=0.05, clock_now=lambda: END + 20) as server:
        ends = time.monotonic() + 20  # noqa: TID251  the loop turns in a thread of its own
        while not len(server.live.snapshot.assessments):
            assert time.monotonic() < ends, server.live.failure or server.backfills()  # noqa: TID251  as above
            time.sleep(0.02)
        yield server


@pytest.fixture
def client(served: Server) -> Iterator[TestClient]:
    pages = Starlette(routes=web_routes(served))
    with TestClient(pages, base_url="http://127.0.0.1:8080", client=HERE, follow_redirects=False) as found:
        yield found


def test_the_overview_and_the_service_tell_the_same(client: TestClient) -> None:
    sentence = shown(client, "/").text("h1")
    assert sentence.startswith("checkout is ")
    assert "over budget. Features wait" in sentence
    page = shown(client, "/services/checkout")
    assert page.wrong == []
    assert page.text("h1").removeprefix("checkout-success") == sentence.removeprefix("checkout")
    assert "20 days" not in page.text("h1")


def test_the_chart_shows_when_it_fell(client: TestClient) -> None:
    figure = client.get("/services/checkout").text.split("<figure", 1)[1].split("</figure>", 1)[0]
    assert 'class="w-stability"' in figure
    assert "Show as table" in figure


def test_every_page_answers(client: TestClient) -> None:
    for path in ("/services", "/decisions", "/alerts", "/journal", "/specs", "/settings", "/start", "/more"):
        page = shown(client, path)
        assert page.wrong == [], path
        assert page.text("h1"), path


def test_a_stop_is_recorded_and_can_be_recomputed(client: TestClient) -> None:
    form = {"csrf": csrf(client), "service": "checkout", "kind": "feature", "change": "4f2a9c1"}
    where = client.post("/decisions", data=form).headers["location"]
    page = shown(client, where)
    assert "Decided again just now from its recorded inputs: the same." in page.text("span")
    assert "Stop" in page.text("span")
    assert "Gate stopped 4f2a9c1 feature in" in shown(client, "/journal").text("b")
    assert "come out alike" in shown(client, "/journal?verify=1").text("h1").replace("comes", "come")


def test_a_changed_target_is_previewed_on_the_stored_history(client: TestClient) -> None:
    path = "/specs/SLO/checkout-success"
    text = SPECS.partition("---\n")[2].replace("target: 0.99", "target: 0.9")
    form = {"csrf": csrf(client, path), "text": text, "do": "preview"}
    said = Page(client.post(f"{path}?piece=1", data=form).text).text("p")
    assert said.startswith("This change would have paged ")
    assert "frozen features never in the last 90 days (now: " in said
