"""What is written correctly but hardly meant."""

from __future__ import annotations

import pytest

from tests.specs.samples import CONDITION, POLICY, SLO, SOURCE, TIERS, codes, found, only, read, swapped
from tightrope.specs.lints import SOURCE_TYPES
from tightrope.telemetry.received import RECEIVED
from tightrope.telemetry.usecases import SOURCES


def with_tiers(slo: str) -> str:
    return slo + "  alertPolicies: [{alertPolicyRef: tiers}]\n"


def test_a_factor_that_can_never_be_reached_is_told_with_the_ratio_it_needs() -> None:
    findings = found(with_tiers(swapped(SLO, "0.999", "0.9")), SOURCE, TIERS)
    assert [finding.code for finding in findings] == ["TR031"]
    assert "13.44x needs an error ratio of 134.4 % at target 90 %" in findings[0].message
    assert (findings[0].severity, findings[0].path) == ("warning", "spec.tiers[0].budget")


def test_a_factor_that_can_just_be_reached_is_fine_with_gte_and_never_with_gt() -> None:
    inline = """
    - kind: AlertPolicy
      metadata: {name: a}
      spec:
        conditions:
          - kind: AlertCondition
            metadata: {name: c}
            spec: {severity: page, condition: {kind: burnrate, op: OP, threshold: 10, lookbackWindow: 1h}}
        notificationTargets: [{kind: AlertNotificationTarget, metadata: {name: t}, spec: {target: x}}]
"""
    slo = swapped(SLO, "0.999", "0.9") + "  alertPolicies:" + inline
    assert codes(slo.replace("OP", "gte"), SOURCE) == []
    assert codes(slo.replace("OP", "gt"), SOURCE) == ["TR031"]


@pytest.mark.parametrize(("op", "wrong"), [("lte", ["TR032"]), ("lt", ["TR032"]), ("gte", []), ("gt", [])])
def test_an_alert_on_a_low_burn_rate_is_a_warning(op: str, wrong: list[str]) -> None:
    assert codes(swapped(CONDITION, "gte", op)) == wrong


def test_a_minute_where_a_month_is_meant_is_a_warning() -> None:
    finding = only(swapped(SLO, "28d", "1m"), SOURCE)
    assert (finding.code, finding.remedy) == ("TR033", "write 1M for a month")
    assert codes(swapped(SLO, "28d", "90m"), SOURCE) == ["TR033"]
    assert codes(swapped(SLO, "28d", "1M"), SOURCE) == []
    assert codes(swapped(SLO, "28d", "1h"), SOURCE) == ["TR035"]


def test_a_target_of_nothing_is_accepted_with_a_warning() -> None:
    text = swapped(SLO, "0.999", "0")
    assert codes(text, SOURCE) == ["TR034"]
    assert read(text, SOURCE).slos[0].objectives[0].target == 0


def test_a_target_that_allows_less_than_a_minute_is_a_warning() -> None:
    finding = only(swapped(SLO, "0.999", "0.99999"), SOURCE)
    assert finding.code == "TR035"
    assert "24.2 s of outage in 28d" in finding.message
    assert codes(swapped(SLO, "0.999", "0.9999"), SOURCE) == []


def test_lookbacks_and_slices_shorter_than_the_resolution_are_warnings() -> None:
    noted = swapped(SLO, "availability\n", "availability\n  annotations: {tightrope.dev/resolution: 10m}\n")
    findings = found(with_tiers(noted), SOURCE, TIERS)
    assert [(finding.code, finding.path) for finding in findings] == [("TR036", "spec.tiers[0].long")]
    start = findings[0].place.column - 1
    assert findings[0].source_line[start : start + findings[0].place.length] == "1h"
    findings = found(with_tiers(noted), SOURCE, TIERS.replace("long: 1h", "long: 1h, short: 6m"))
    assert [(finding.code, finding.path) for finding in findings] == [("TR036", "spec.tiers[0].short")]


def test_a_time_slice_that_is_no_multiple_of_the_resolution_is_an_error() -> None:
    noted = swapped(SLO, "availability\n", "availability\n  annotations: {tightrope.dev/resolution: 10m}\n")
    sliced = swapped(noted, "Occurrences", "RatioTimeslices").replace("0.999", "0.999\n      timeSliceWindow: 15m")
    for window in ("15m", "5m"):
        wrong = next(one for one in found(sliced.replace("15m", window), SOURCE) if one.severity == "error")
        assert (wrong.code, wrong.path) == ("TR044", "spec.objectives[0].timeSliceWindow")
        assert f"timeSliceWindow {window} is no whole multiple of the resolution of 10m" in wrong.message
        start = wrong.place.column - 1
        assert wrong.source_line[start : start + wrong.place.length] == window
    assert "TR044" not in codes(sliced.replace("15m", "20m"), SOURCE)


def test_a_resolution_that_only_the_source_declares_counts_as_well() -> None:
    coarse = swapped(SOURCE, "timestamp: time", "timestamp: time, resolution: 2h")
    findings = found(with_tiers(SLO), coarse.replace("2h", "10m"), TIERS)
    assert [(finding.code, finding.path) for finding in findings] == [("TR036", "spec.tiers[0].long")]
    short = swapped(SLO, "28d", "1h").replace("0.999", "0.9")
    assert "duration 1h is shorter than the resolution of 2h" in [one.message for one in found(short, coarse)]
    sliced = swapped(SLO, "Occurrences", "RatioTimeslices").replace("0.999", "0.999\n      timeSliceWindow: 3h")
    assert "TR044" in codes(sliced, coarse)
    states = SLO.replace("{column: good}", "{state: up, in: [yes], every: 10m}")
    states = states.replace("{column: total}", "{state: up, every: 10m}")
    assert [one.code for one in found(with_tiers(states), SOURCE, TIERS)] == ["TR036"]
    finer = swapped(SLO, "availability\n", "availability\n  annotations: {tightrope.dev/resolution: 1m}\n")
    assert codes(with_tiers(finer), coarse, TIERS) == []


def test_a_source_that_cannot_be_read_is_a_warning_once_and_only_where_an_slo_needs_it() -> None:
    other = swapped(SOURCE, "type: csv", "type: Prometeus")
    finding = only(SLO, other)
    assert (finding.code, finding.severity, finding.path) == ("TR043", "warning", "spec.type")
    assert "type 'Prometeus' cannot be read" in finding.message
    assert finding.note == "did you mean prometheus?"
    assert finding.remedy.endswith("access-log, openmetrics, prometheus, sql, probe, remote-write, otlp, push")
    start = finding.place.column - 1
    assert finding.source_line[start : start + finding.place.length] == "Prometeus"
    assert codes(other) == []
    assert codes(SLO, swapped(SOURCE, "type: csv", "type: CSV")) == []
    inline = SLO.replace("metricSourceRef: shop", "type: datadog")
    assert [(one.code, one.path.rpartition(".")[2]) for one in found(inline)] == [("TR043", "type")] * 2


def test_the_types_that_can_be_read_are_those_with_a_door() -> None:
    assert set(SOURCE_TYPES) == {*SOURCES, *RECEIVED}


def test_a_target_of_many_nines_is_shown_with_all_of_them() -> None:
    finding = only(swapped(SLO, "0.999", "0.9999999"), SOURCE)
    assert finding.code == "TR035"
    assert "target 99.99999 % allows 0.242 s" in finding.message


def test_alerts_and_states_that_look_back_less_than_a_slice_are_warnings() -> None:
    sliced = swapped(SLO, "Occurrences", "Timeslices").replace(
        "0.999", "0.999\n      timeSliceTarget: 0.9\n      timeSliceWindow: 10m"
    )
    finding = only(sliced, SOURCE)
    assert (finding.code, finding.severity, finding.path) == ("TR036", "warning", "spec.alertPolicies")
    assert "its default alerts would look back 5m, but there is one slice in 10m" in finding.message
    assert finding.note == "one whole slice counts instead"
    daily = swapped(SLO, "availability\n", "availability\n  annotations: {tightrope.dev/resolution: 1d}\n")
    alerts, state = found(daily, SOURCE)
    assert "its default alerts would look back 5m and 30m and 1h and 2h and 6h" in alerts.message
    assert "state caution of policy default would look back 6h" in state.message
    assert codes(with_tiers(sliced), SOURCE, TIERS.replace("long: 1h", "long: 2h")) == []


def test_a_window_shorter_than_the_resolution_is_a_warning() -> None:
    noted = swapped(SLO, "availability\n", "availability\n  annotations: {tightrope.dev/resolution: 1d}\n")
    assert "TR036" in codes(swapped(noted, "28d", "12h").replace("0.999", "0.9"), SOURCE)


def test_a_lookback_longer_than_the_window_is_a_warning() -> None:
    finding = only(with_tiers(swapped(SLO, "28d", "2d")), SOURCE, TIERS)
    assert (finding.code, finding.path) == ("TR037", "spec.tiers[1].long")


def test_a_weight_that_nobody_reads_is_a_warning() -> None:
    head, _, tail = SLO.partition("  indicator:\n")
    own = "      indicator:\n" + "".join(f"    {line}\n" for line in tail.splitlines())
    member = (
        f"    - target: 0.99\n      timeSliceTarget: 0.9\n      timeSliceWindow: 1m\n      compositeWeight: 2\n{own}"
    )
    composite = swapped(head, "    - target: 0.999\n", member).replace("Occurrences", "METHOD")
    assert codes(composite.replace("METHOD", "Timeslices"), SOURCE) == ["TR038"]
    assert codes(composite.replace("METHOD", "RatioTimeslices"), SOURCE) == []


@pytest.mark.parametrize(
    ("enter", "leave", "said"),
    [
        ('{remaining: "< 30%"}', '{remaining: "> 20%"}', "flaps"),
        ('{remaining: "<= 0%"}', '{remaining: ">= 0%"}', "flaps"),
        ('{remaining: "<= 0%"}', '{remaining: "> 0%"}', ""),
        ('{any: [{remaining: "< 30%"}, {openIncident: [sev1]}]}', '{remaining: "> 35%"}', "flaps"),
        ('{burnRate: {over: 6h, is: ">= 3"}}', '{burnRate: {over: 6h, is: "< 1"}}', ""),
        ('{burnRate: {over: 6h, is: ">= 3"}}', '{burnRate: {over: 1h, is: "< 1"}}', "flaps"),
        ('{remaining: "> 100%"}', '{remaining: "< 50%"}', "never be entered"),
        ('{burnRate: {over: 6h, is: "< 0"}}', '{burnRate: {over: 6h, is: ">= 1"}}', "never be entered"),
        ('{remaining: "<= 0%"}', '{remaining: ">= 110%"}', "never be left"),
        ("{openIncident: []}", "{not: {openIncident: [sev1]}}", "flaps"),
        ("{openIncident: [sev1]}", "{not: {openIncident: []}}", ""),
        ("{alertFiring: [page]}", "{not: {alertFiring: [page]}}", ""),
        ("{cel: remaining < 0.0}", '{remaining: ">= 0%"}', ""),
    ],
)
def test_contradictions_between_enter_and_exit_are_warnings(enter: str, leave: str, said: str) -> None:
    text = swapped(swapped(POLICY, '{remaining: "<= 0%"}', enter), '{remaining: ">= 10%", for: 24h}', leave)
    findings = found(text)
    assert [finding.code for finding in findings] == (["TR040"] if said else [])
    assert all(said in finding.message and finding.severity == "warning" for finding in findings)
