"""The dashboards are what Grafana takes: a sound document, panels side by side, queries of series that we have."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.cli.world import MINUTES, START, error_of, run, write_world
from tests.live.conftest import StartPrometheus, start_prometheus
from tightrope.api.metrics import written
from tightrope.app import serving
from tightrope.base.errors import UsageError
from tightrope.interchange.grafana import COLUMNS, SCHEMA_VERSION, dashboards
from tightrope.loop.gauges import Family
from tightrope.loop.server import ServeSettings

__all__ = ["start_prometheus"]

END = START + 60 * MINUTES
FOUND = dashboards("https://tightrope.shop.example/")
_PANELS = {"stat", "timeseries", "state-timeline", "table"}
_VARIABLE = re.compile(r"\$\{?(\w+)(?::\w+)?\}?")
_OF_GRAFANA = {"__url_time_range", "__value", "__all"}

both = pytest.mark.parametrize("board", FOUND.values(), ids=FOUND)


def _queries(board: dict[str, Any]) -> list[str]:
    """Every query of a dashboard, its variables filled in as Grafana does for "All"."""
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [_VARIABLE.sub(".*", one) for one in asked]


# --- the document -------------------------------------------------------------------------------------------------


@both
def test_a_dashboard_has_what_grafana_asks_for(board: dict[str, Any]) -> None:
    assert board["schemaVersion"] == SCHEMA_VERSION
    assert re.fullmatch(r"[a-z0-9-]{1,40}", board["uid"])
    assert "id" not in board  # a number of one Grafana's database: a file with one overwrites something else
    assert {"from", "to"} == set(board["time"])
    for panel in board["panels"]:
        assert panel["type"] in _PANELS
        assert panel["title"]
        assert panel["description"]
        assert {"defaults", "overrides"} == set(panel["fieldConfig"])
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        bounds = [step["value"] for step in steps]
        assert bounds[0] is None
        assert bounds[1:] == sorted(bounds[1:])
        assert [target["refId"] for target in panel["targets"]] == [
            chr(ord("A") + number) for number in range(len(panel["targets"]))
        ]
    assert json.loads(json.dumps(board, allow_nan=False)) == board


@both
def test_panels_have_numbers_of_their_own_and_do_not_overlap(board: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers) > 5
    cells = []
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS
        assert place["h"] > 0
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells.append({(x, y) for x in across for y in down})
    assert all(not one & other for one, other in combinations(cells, 2))


@both
def test_every_variable_that_is_used_is_declared_and_nothing_names_a_data_source(board: dict[str, Any]) -> None:
    declared = {one["name"] for one in board["templating"]["list"]}
    used = set(_VARIABLE.findall(json.dumps(board)))
    assert used - _OF_GRAFANA <= declared
    assert "datasource" in used
    sources = [panel["datasource"] for panel in board["panels"]]
    sources += [target["datasource"] for panel in board["panels"] for target in panel["targets"]]
    sources += [one["datasource"] for one in board["templating"]["list"] if one["type"] == "query"]
    assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)


def test_the_dashboards_lead_to_each_other_and_to_tightrope() -> None:
    assert f"/d/{FOUND['service']['uid']}?var-service=" in json.dumps(FOUND["fleet"])
    assert f"/d/{FOUND['fleet']['uid']}" in [link["url"] for link in FOUND["service"]["links"]]
    assert [link["url"] for link in FOUND["fleet"]["links"]] == ["https://tightrope.shop.example/"]
    assert FOUND["service"]["links"][-1]["url"] == "https://tightrope.shop.example/services/${service}"
    assert dashboards()["fleet"]["links"] == []


# --- the queries --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Family]]:
    """What a server exports whose one service overspends its budget and pages right now."""
    folder = tmp_path_factory.mktemp("served")
    specs = write_world(folder, {MINUTES - 120: (120, 90)})
    where = str(folder / "data")
    with serving(ServeSettings(data=where, spec_paths=(str(specs),)), where, clock_now=lambda: END + 20) as server:
        ends = time.monotonic() + 30  # noqa: TID251  the loop turns in a thread of its own
        while not server.live.snapshot.assessments:
            assert time.monotonic() < ends, server.live.failure  # noqa: TID251  as above
            time.sleep(0.02)
        yield server.metrics()


def _labels_by_name(families: list[Family]) -> dict[str, set[str]]:
    return {one.name: {label for labels, _ in one.samples for label in labels} for one in families}


@both
def test_every_query_asks_for_series_and_labels_that_the_server_exports(
    board: dict[str, Any], families: list[Family]
) -> None:
    exported = _labels_by_name(families)
    queries = _queries(board)
    variables = [one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    for query in queries + variables:
        names = re.findall(r"tightrope_\w+", query)
        assert names, query
        assert set(names) <= exported.keys()
        for name, matchers in re.findall(r"(tightrope_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)(?==~?\")", matchers)) <= exported[name], query
        for labels in re.findall(r"by \(([^)]*)\)", query):
            assert all(set(labels.split(", ")) <= exported[name] for name in names), query
    for panel in board["panels"]:
        for target in panel["targets"]:
            names = re.findall(r"tightrope_\w+", target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert all(label in exported[name] for name in names), target


def _asked(prometheus: str, path: str, **parameters: str) -> Any:
    with urllib.request.urlopen(f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as told:
        return json.load(told)["data"]


@pytest.fixture(scope="module")
def prometheus(families: list[Family], start_prometheus: StartPrometheus) -> str:
    """A real Prometheus that scraped the server once."""
    record = written(families, open_metrics=True)
    stamped = re.sub(r"^(tightrope_.*)$", rf"\1 {END}", record, flags=re.MULTILINE)
    return start_prometheus(stamped)


@pytest.mark.live
@both
def test_a_real_prometheus_takes_every_query_and_finds_something(board: dict[str, Any], prometheus: str) -> None:
    for query in _queries(board):
        assert _asked(prometheus, "format_query", query=query)
        found = _asked(prometheus, "query", query=query, time=str(END + 10))
        assert found["result"], query
    for one in board["templating"]["list"]:
        if one["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", one["query"]["query"]).groups()  # type: ignore[union-attr]
            options = {"match[]": _VARIABLE.sub(".*", selector), "start": str(END - 60), "end": str(END + 60)}
            assert _asked(prometheus, f"label/{label}/values", **options) in (["checkout"], ["checkout-availability"])


@pytest.mark.live
def test_the_figures_of_the_fleet_are_those_of_the_world(prometheus: str) -> None:
    """One service, whose two hours at 90 % spent it all and page now."""
    told = {}
    for panel in FOUND["fleet"]["panels"]:
        if panel["type"] == "stat":
            query = _VARIABLE.sub(".*", panel["targets"][0]["expr"])
            (sample,) = _asked(prometheus, "query", query=query, time=str(END + 10))["result"]
            told[panel["title"]] = sample["value"][1]
    assert told == {
        "Services": "1",
        "In stability flow": "1",
        "Budgets overspent": "1",
        "Paging": "1",
        "Data too old": "0",
        "Server troubles": "0",
    }


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_prints_one_or_writes_both(tmp_path: Path) -> None:
    printed = run("generate", "grafana-dashboard", "service", "--server", "https://tightrope.shop.example")
    assert json.loads(printed.stdout) == FOUND["service"]
    done = run("generate", "grafana-dashboard", "-d", tmp_path / "new")
    assert done.exit_code == 0
    assert json.loads((tmp_path / "new" / "tightrope-fleet.json").read_text()) == dashboards()["fleet"]
    assert (tmp_path / "new" / "tightrope-service.json").exists()
    error = error_of(run("generate", "grafana-dashboard"))
    assert isinstance(error, UsageError)
    assert error.message == "there are two dashboards"
