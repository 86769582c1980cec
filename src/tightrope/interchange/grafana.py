"""Grafana dashboards on the gauges that a server exports at ``/metrics``: one of the fleet, one of a service.

Both are plain documents: nothing of them depends on a Grafana, a data source's id, or the time.

Source:
    Grafana's dashboard JSON model, schema version 39 (Grafana 10.4 and later).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 39
COLUMNS = 24
"""How many columns Grafana's grid has."""

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OF_SERVICE = 'service=~"$service"'
_GREEN, _YELLOW, _ORANGE, _RED, _GREY = "green", "yellow", "orange", "red", "text"

_BUDGET_STEPS = [(None, _RED), (0, _ORANGE), (0.25, _YELLOW), (0.5, _GREEN)]
_YES_IS_BAD = [(None, _GREEN), (1, _RED)]


@dataclass(frozen=True, slots=True)
class _Ask:
    """One query: PromQL, how its series are called, and whether it asks for this moment only."""

    expr: str
    legend: str = ""
    instant: bool = False


def dashboards(server: str = "") -> dict[str, dict[str, Any]]:
    """Both dashboards by name; *server* is the address of Tightrope's own pages, linked where it is given."""
    return {"fleet": fleet(server), "service": service(server)}


def fleet(server: str = "") -> dict[str, Any]:
    """The dashboard of all services: who may ship, whose budget is tightest, what fires, what is not measured."""
    flows = f"tightrope_flow{{{_OF_SERVICE}}} == 1"
    left = f"min by (service) (tightrope_budget_remaining_ratio{{{_OF_SERVICE}}})"
    burn = f'max by (service) (tightrope_burn_rate{{{_OF_SERVICE}, lookback="1h"}})'
    firing = f'max by (service) (tightrope_alert_firing{{{_OF_SERVICE}, severity="%s"}})'
    features = f'{_OF_SERVICE}, kind="feature"'
    stability = f'tightrope_flow{{{_OF_SERVICE}, flow="stability"}} == 1'
    panels = _placed(
        [
            (_stat("Services", "Services with a budget.", _Ask(_count(flows))), 4, 4),
            (
                _stat(
                    "In stability flow",
                    "Services whose policy lets no features out now.",
                    _Ask(_count(stability)),
                    steps=_YES_IS_BAD,
                ),
                4,
                4,
            ),
            (
                _stat(
                    "Budgets overspent",
                    "Objectives that have lost more than they may.",
                    _Ask(_count(f"tightrope_budget_remaining_ratio{{{_OF_SERVICE}}} < 0")),
                    steps=_YES_IS_BAD,
                ),
                4,
                4,
            ),
            (
                _stat(
                    "Paging",
                    "Objectives of which an alert pages somebody.",
                    _Ask(_count(f'tightrope_alert_firing{{{_OF_SERVICE}, severity="page"}} == 1')),
                    steps=_YES_IS_BAD,
                ),
                4,
                4,
            ),
            (
                _stat(
                    "Data too old",
                    "Objectives whose telemetry is too old to go by.",
                    _Ask(_count(f"tightrope_sli_stale{{{_OF_SERVICE}}} == 1")),
                    steps=_YES_IS_BAD,
                ),
                4,
                4,
            ),
            (
                _stat(
                    "Server troubles",
                    "Turns that could not be completed, and findings of a spec edit that is not followed.",
                    _Ask("sum(tightrope_loop_failing) + sum(tightrope_spec_problems)"),
                    steps=_YES_IS_BAD,
                ),
                4,
                4,
            ),
            (
                _table(
                    "Services, tightest budget first",
                    "The tightest objective of each service counts. Click a service to look closer.",
                    [
                        ("Budget left", _Ask(left), "percentunit", _BUDGET_STEPS),
                        ("Burn, 1 h", _Ask(burn), "none", [(None, _GREEN), (1, _YELLOW), (6, _RED)]),
                        ("Page", _Ask(firing % "page"), "bool_yes_no", _YES_IS_BAD),
                        ("Ticket", _Ask(firing % "ticket"), "bool_yes_no", [(None, _GREEN), (1, _ORANGE)]),
                        (
                            "Features go",
                            _Ask(f'max by (service) (tightrope_gate_decision{{{features}, verdict="go"}})'),
                            "bool_yes_no",
                            [(None, _RED), (1, _GREEN)],
                        ),
                        (
                            "Coverage",
                            _Ask(f"min by (service) (tightrope_sli_coverage_ratio{{{_OF_SERVICE}}})"),
                            "percentunit",
                            [(None, _ORANGE), (0.99, _GREEN)],
                        ),
                    ],
                ),
                24,
                10,
            ),
            (
                _series(
                    "Error budget left",
                    "Share of each service's tightest budget; below 0 it is overspent.",
                    [_Ask(left, "{{service}}")],
                    unit="percentunit",
                    steps=_BUDGET_STEPS,
                ),
                12,
                9,
            ),
            (
                _series(
                    "Burn rate over an hour",
                    "1 spends exactly the budget in one window.",
                    [_Ask(burn, "{{service}}")],
                    steps=[(None, _GREEN), (1, _YELLOW)],
                ),
                12,
                9,
            ),
            (
                _timeline(
                    "Policy state",
                    "The state of each service by its error budget policy.",
                    [_Ask(f"tightrope_state{{{_OF_SERVICE}}} == 1", "{{service}}: {{state}}")],
                ),
                24,
                9,
            ),
        ]
    )
    links = _links(server, "/", "Tightrope")
    return _dashboard("tightrope-fleet", "Tightrope / Fleet", panels, [_service_variable(many=True)], links)


def service(server: str = "") -> dict[str, Any]:
    """The dashboard of one service: may it ship, what is left, how fast it goes, what is measured."""
    slo = f'{_OF_SERVICE}, slo=~"$slo"'
    verdicts = [
        _Ask(f'tightrope_gate_decision{{{_OF_SERVICE}, kind="{kind}"}} == 1', f"{kind}: {{{{verdict}}}}", instant=True)
        for kind in ("feature", "reliability", "security", "rollback")
    ]
    panels = _placed(
        [
            (
                _stat(
                    "Flow",
                    "What the service works on: features, or stability.",
                    _Ask(f"tightrope_flow{{{_OF_SERVICE}}} == 1", "{{flow}}"),
                    names=True,
                ),
                4,
                4,
            ),
            (
                _stat(
                    "State",
                    "By the error budget policy.",
                    _Ask(f"tightrope_state{{{_OF_SERVICE}}} == 1", "{{state}}"),
                    names=True,
                ),
                4,
                4,
            ),
            (_stat("The gate", "What state and telemetry say to each kind of change.", *verdicts, names=True), 8, 4),
            (
                _stat(
                    "Budget left",
                    "The tightest objective.",
                    _Ask(f"min(tightrope_budget_remaining_ratio{{{slo}}})"),
                    unit="percentunit",
                    steps=_BUDGET_STEPS,
                ),
                4,
                4,
            ),
            (
                _stat(
                    "Newest data",
                    "Age of the newest slice of the objective that lags most.",
                    _Ask(f"max(tightrope_sli_age_seconds{{{slo}}})"),
                    unit="s",
                    steps=[(None, _GREEN), (600, _ORANGE), (3600, _RED)],
                ),
                4,
                4,
            ),
            (
                _series(
                    "Error budget left",
                    "Share of the budget of each objective; below 0 it is overspent.",
                    [_Ask(f"tightrope_budget_remaining_ratio{{{slo}}}", "{{objective}}")],
                    unit="percentunit",
                    steps=_BUDGET_STEPS,
                ),
                12,
                9,
            ),
            (
                _series(
                    "Burn rates",
                    "1 spends exactly the budget in one window; 14.4 spends 2 % of a 30-day budget in an hour.",
                    [_Ask(f"tightrope_burn_rate{{{slo}}}", "{{objective}} {{lookback}}")],
                    steps=[(None, _GREEN), (1, _YELLOW), (6, _ORANGE), (14.4, _RED)],
                ),
                12,
                9,
            ),
            (
                _series(
                    "Indicator and objective",
                    "Share of good events in the window, and what was promised.",
                    [
                        _Ask(f"tightrope_sli_ratio{{{slo}}}", "{{objective}}"),
                        _Ask(f"tightrope_objective_ratio{{{slo}}}", "{{objective}}, promised"),
                    ],
                    unit="percentunit",
                    decimals=3,
                ),
                12,
                8,
            ),
            (
                _series(
                    "Coverage",
                    "Share of the window that was measured; what was not is neither good nor bad.",
                    [_Ask(f"tightrope_sli_coverage_ratio{{{slo}}}", "{{objective}}")],
                    unit="percentunit",
                ),
                12,
                8,
            ),
            (
                _timeline(
                    "Alerts",
                    "When an alert of each severity fired.",
                    [_Ask(f"tightrope_alert_firing{{{slo}}}", "{{objective}} {{severity}}")],
                    texts={0: ("quiet", _GREEN), 1: ("fires", _RED)},
                ),
                24,
                7,
            ),
            (
                _timeline(
                    "Policy state",
                    "The state by the error budget policy.",
                    [_Ask(f"tightrope_state{{{_OF_SERVICE}}} == 1", "{{state}}")],
                ),
                24,
                6,
            ),
        ]
    )
    objectives = _variable("slo", "SLO", f"label_values(tightrope_objective_ratio{{{_OF_SERVICE}}}, slo)", many=True)
    links = [
        {
            "title": "Fleet",
            "type": "link",
            "icon": "apps",
            "url": "/d/tightrope-fleet",
            "keepTime": True,
            "includeVars": False,
            "targetBlank": False,
            "asDropdown": False,
            "tags": [],
            "tooltip": "",
        },
        *_links(server, "/services/${service}", "Tightrope"),
    ]
    variables = [_service_variable(many=False), objectives]
    return _dashboard("tightrope-service", "Tightrope / Service", panels, variables, links)


# --- the frame ----------------------------------------------------------------------------------------------------


def _dashboard(
    uid: str, title: str, panels: list[dict[str, Any]], variables: list[dict[str, Any]], links: list[dict[str, Any]]
) -> dict[str, Any]:
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
        "current": {},
        "skipUrlSync": False,
    }
    return {
        "uid": uid,
        "title": title,
        "description": "Error budgets, burn and gate of services, as Tightrope sees them.",
        "tags": ["tightrope", "slo"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "timezone": "",
        "time": {"from": "now-24h", "to": "now"},
        "timepicker": {},
        "refresh": "1m",
        "templating": {"list": [source, *variables]},
        "annotations": {"list": []},
        "links": links,
        "panels": panels,
    }


def _service_variable(*, many: bool) -> dict[str, Any]:
    return _variable("service", "Service", "label_values(tightrope_flow, service)", many=many)


def _variable(name: str, label: str, query: str, *, many: bool) -> dict[str, Any]:
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "variable", "qryType": 1},
        "regex": "",
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": many,
        "includeAll": many,
        "options": [],
        "current": everything if many else {},
        "skipUrlSync": False,
    }


def _links(server: str, path: str, title: str) -> list[dict[str, Any]]:
    if not server:
        return []
    return [
        {
            "title": title,
            "type": "link",
            "icon": "external link",
            "url": f"{server.rstrip('/')}{path}",
            "keepTime": False,
            "includeVars": False,
            "targetBlank": True,
            "asDropdown": False,
            "tags": [],
            "tooltip": "",
        }
    ]


def _placed(panels: Sequence[tuple[dict[str, Any], int, int]]) -> list[dict[str, Any]]:
    """Number the panels, and lay them out from left to right in rows; each with its width and height."""
    placed: list[dict[str, Any]] = []
    x = y = tallest = 0
    for number, (panel, width, height) in enumerate(panels, start=1):
        if x + width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        placed.append({"id": number, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, tallest = x + width, max(tallest, height)
    return placed


# --- panels -------------------------------------------------------------------------------------------------------

_Steps = Sequence[tuple[float | None, str]]


def _count(expr: str) -> str:
    """How many series there are; 0 where there is none."""
    return f"count({expr}) or vector(0)"


def _panel(kind: str, title: str, says: str, asks: Sequence[_Ask]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": _DATASOURCE,
            "expr": ask.expr,
            "legendFormat": ask.legend or "__auto",
            "instant": ask.instant,
            "range": not ask.instant,
            "editorMode": "code",
        }
        for number, ask in enumerate(asks)
    ]
    return {"type": kind, "title": title, "description": says, "datasource": _DATASOURCE, "targets": targets}


def _field(unit: str, steps: _Steps, decimals: int | None = None, **custom: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "unit": unit,
        "color": {"mode": "thresholds" if not custom else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]},
        "mappings": [],
        "custom": custom,
    }
    return plain if decimals is None else plain | {"decimals": decimals}


def _stat(
    title: str,
    says: str,
    *asks: _Ask,
    unit: str = "none",
    steps: _Steps = ((None, _GREY),),
    names: bool = False,
) -> dict[str, Any]:
    """One large figure, or with *names* what its series are called."""
    now = [_Ask(ask.expr, ask.legend, instant=True) for ask in asks]
    return _panel("stat", title, says, now) | {
        "fieldConfig": {"defaults": _field(unit, steps), "overrides": []},
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "name" if names else "value",
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "wideLayout": True,
        },
    }


def _series(
    title: str,
    says: str,
    asks: Sequence[_Ask],
    *,
    unit: str = "none",
    steps: _Steps = ((None, _GREY),),
    decimals: int | None = None,
) -> dict[str, Any]:
    lines = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter",
        "lineWidth": 1,
        "fillOpacity": 0,
        "showPoints": "never",
        "spanNulls": False,  # a gap is shown as one
        "thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"},
    }
    return _panel("timeseries", title, says, asks) | {
        "fieldConfig": {"defaults": _field(unit, steps, decimals, **lines), "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "asc"},
        },
    }


def _timeline(
    title: str, says: str, asks: Sequence[_Ask], texts: dict[int, tuple[str, str]] | None = None
) -> dict[str, Any]:
    texts = texts if texts is not None else {1: ("here", "blue")}
    defaults = _field("none", ((None, _GREY),), lineWidth=0, fillOpacity=80, spanNulls=False)
    defaults["mappings"] = [
        {
            "type": "value",
            "options": {
                str(value): {"text": text, "color": colour, "index": number}
                for number, (value, (text, colour)) in enumerate(texts.items())
            },
        }
    ]
    return _panel("state-timeline", title, says, asks) | {
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "mergeValues": True,
            "showValue": "never",
            "alignValue": "left",
            "rowHeight": 0.8,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    }


def _table(title: str, says: str, columns: Sequence[tuple[str, _Ask, str, _Steps]]) -> dict[str, Any]:
    """A row for each service, a column for each query; the first column's lowest value comes first."""
    asks = [_Ask(ask.expr, instant=True) for _, ask, _, _ in columns]
    panel = _panel("table", title, says, asks)
    for target in panel["targets"]:
        target["format"] = "table"
    values = [f"Value #{target['refId']}" for target in panel["targets"]]
    renamed = {value: name for value, (name, *_) in zip(values, columns, strict=True)}
    overrides = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [
                {"id": "unit", "value": unit},
                {
                    "id": "thresholds",
                    "value": {
                        "mode": "absolute",
                        "steps": [{"value": value, "color": colour} for value, colour in steps],
                    },
                },
                {"id": "custom.cellOptions", "value": {"type": "color-text"}},
            ],
        }
        for name, _, unit, steps in columns
    ]
    closer = {"title": "Look closer", "url": "/d/tightrope-service?var-service=${__value.raw}&${__url_time_range}"}
    overrides.append(
        {"matcher": {"id": "byName", "options": "Service"}, "properties": [{"id": "links", "value": [closer]}]}
    )
    return panel | {
        "fieldConfig": {
            "defaults": _field("none", ((None, _GREY),)) | {"custom": {"align": "auto", "filterable": False}},
            "overrides": overrides,
        },
        "options": {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": columns[0][0], "desc": False}]},
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {"service": 0, **{value: number for number, value in enumerate(values, start=1)}},
                    "renameByName": {"service": "Service", **renamed},
                },
            },
        ],
    }
