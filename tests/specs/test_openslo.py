"""OpenSLO documents: what they mean, and what is refused where."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest

from tests.specs.samples import (
    ALERT_POLICY,
    CONDITION,
    NOTIFICATION,
    SLI,
    SLO,
    SOURCE,
    TIERS,
    codes,
    found,
    only,
    read,
    swapped,
)
from tightrope.base.units import Duration
from tightrope.specs.model import (
    Basis,
    BudgetingMethod,
    CalendarWindow,
    Comparison,
    ConditionKind,
    Gaps,
    RatioMetric,
    RollingWindow,
    ThresholdMetric,
)
from tightrope.specs.store import examine


def annotated(*lines: str) -> str:
    notes = "".join(f"    tightrope.dev/{line}\n" for line in lines)
    return swapped(SLO, "availability\n", f"availability\n  annotations:\n{notes}")


def with_alerts(policies: str) -> str:
    return SLO + f"  alertPolicies: {policies}\n"


def test_a_whole_slo_becomes_exact_values() -> None:
    specs = read(SLO, SOURCE)
    (slo,) = specs.slos
    assert (slo.name, slo.service, slo.method) == ("checkout-availability", "checkout", BudgetingMethod.OCCURRENCES)
    assert slo.window == RollingWindow(Duration(28, "d"))
    assert slo.objectives[0].target == Fraction(999, 1000)
    assert slo.indicator is not None
    metric = slo.indicator.metric
    assert isinstance(metric, RatioMetric)
    assert metric.good is not None
    assert metric.total is not None
    assert (metric.good.spec, metric.total.spec) == ({"column": "good"}, {"column": "total"})
    assert metric.good.source.connection == {"path": "shop.csv", "timestamp": "time"}
    assert metric.good.source == metric.total.source
    assert metric.counter is False
    assert slo.alert_policies == ()
    assert not slo.composite


def test_a_percentage_is_the_same_target() -> None:
    (slo,) = read(swapped(SLO, "target: 0.999", "targetPercent: 99.9"), SOURCE).slos
    assert slo.objectives[0].target == Fraction(999, 1000)


def test_a_calendar_window_keeps_its_wall_clock() -> None:
    calendar = "duration: 1M\n      calendar: {startTime: 2026-01-01 12:00:00, timeZone: America/New_York}"
    (slo,) = read(swapped(SLO, "duration: 28d\n      isRolling: true", calendar), SOURCE).slos
    assert slo.window == CalendarWindow(Duration(1, "M"), datetime(2026, 1, 1, 12), "America/New_York")


def test_annotations_say_what_openslo_has_no_field_for() -> None:
    text = annotated(
        "resolution: 5m",
        "gaps: hold",
        "basis: observed",
        'staleAfter: "15"',
        "dependsOn: payments, stock",
        "compositeTarget: '0.99'",
        "owner: shop team",
        "scale: '1000000'",
    )
    (slo,) = read(text, SOURCE).slos
    assert (slo.step_s, slo.gaps, slo.basis, slo.stale_after) == (300, Gaps.HOLD, Basis.OBSERVED, 15)
    assert (slo.depends_on, slo.owner, slo.scale) == (("payments", "stock"), "shop team", 1_000_000)
    assert slo.composite_target == Fraction(99, 100)


@pytest.mark.parametrize(
    ("line", "code", "note"),
    [
        ("resolutoin: 5m", "TR023", "did you mean tightrope.dev/resolution?"),
        ("team: x", "TR023", "did you mean tightrope.dev/owner?"),
        ("gaps: maybe", "TR016", ""),
        ("staleAfter: 10", "TR014", "text needed"),
        ("staleAfter: '0'", "TR012", "a whole number at least 1"),
        ("staleAfter: '1.5'", "TR012", "a whole number at least 1"),
        ("resolution: often", "TR017", "a number and a unit"),
        ("policy: nobody", "TR026", ""),
        ("compositeTarget: '99'", "TR012", "between 0 and 1"),
    ],
)
def test_a_wrong_annotation_is_an_error(line: str, code: str, note: str) -> None:
    finding = only(annotated(line), SOURCE)
    assert (finding.code, finding.note, finding.place.line) == (code, note, 6)


def test_our_annotations_belong_on_an_slo() -> None:
    finding = only("""\
        apiVersion: openslo/v1
        kind: Service
        metadata: {name: shop, annotations: {tightrope.dev/owner: x}}
        spec: {}
        """)
    assert finding.code == "TR023"


def test_labels_are_a_text_or_a_list_of_texts() -> None:
    (slo,) = read(swapped(SLO, "availability\n", "availability\n  labels: {env: prod, team: [a, b]}\n"), SOURCE).slos
    assert slo.labels == {"env": ("prod",), "team": ("a", "b")}


def test_an_indicator_may_be_referred_to() -> None:
    head, _, _ = SLO.partition("  indicator:\n")
    text = swapped(head, "target: 0.999", "{target: 0.999, op: lte, value: 300}") + "  indicatorRef: latency\n"
    (slo,) = read(text, SLI, SOURCE).slos
    assert slo.indicator is not None
    assert slo.indicator.name == "latency"
    assert isinstance(slo.indicator.metric, ThresholdMetric)
    assert (slo.objectives[0].op, slo.objectives[0].value) == (Comparison.LTE, Fraction(300))


def test_a_threshold_that_is_referred_to_needs_op_and_value() -> None:
    head, _, _ = SLO.partition("  indicator:\n")
    assert codes(head + "  indicatorRef: latency\n", SLI, SOURCE) == ["TR013", "TR013"]


def test_an_inline_source_carries_its_connection_beside_the_question() -> None:
    text = SLO.replace("metricSourceRef: shop, spec: {", "type: csv, spec: {connectionDetails: {path: x.csv}, ")
    (slo,) = read(text).slos
    assert slo.indicator is not None
    metric = slo.indicator.metric
    assert isinstance(metric, RatioMetric)
    assert metric.good is not None
    assert metric.good.source.type == "csv"
    assert metric.good.source.connection == {"path": "x.csv"}
    assert metric.good.spec == {"column": "good"}


def test_connection_details_may_be_a_list_of_mappings() -> None:
    text = swapped(SOURCE, "{path: shop.csv, timestamp: time}", "[{path: shop.csv}, {timestamp: time}]")
    (slo,) = read(SLO, text).slos
    assert slo.indicator is not None
    metric = slo.indicator.metric
    assert isinstance(metric, RatioMetric)
    assert metric.good is not None
    assert metric.good.source.connection == {"path": "shop.csv", "timestamp": "time"}


def test_a_composite_has_an_indicator_for_each_objective() -> None:
    head, _, tail = SLO.partition("  indicator:\n")
    own = "      indicator:\n" + "".join(f"    {line}\n" for line in tail.splitlines())
    member = f"    - target: 0.99\n      compositeWeight: 2\n{own}"
    (slo,) = read(head.replace("    - target: 0.999\n", member + member), SOURCE).slos
    assert slo.composite
    assert [objective.weight for objective in slo.objectives] == [2, 2]
    assert [objective.indicator is not None for objective in slo.objectives] == [True, True]


def test_an_indicator_both_at_the_slo_and_at_an_objective_is_refused() -> None:
    text = swapped(SLO, "- target: 0.999", "- target: 0.999\n      indicatorRef: latency")
    assert codes(text, SLI, SOURCE) == ["TR018"]


def test_every_member_of_a_composite_needs_an_indicator() -> None:
    head, _, _ = SLO.partition("  indicator:\n")
    text = swapped(
        head, "- target: 0.999", "- {target: 0.99, indicatorRef: latency, op: lt, value: 5}\n    - target: 0.9"
    )
    finding = only(text, SLI, SOURCE)
    assert (finding.code, finding.path) == ("TR018", "spec.objectives[1].indicator")


def test_an_alert_policy_is_one_condition_and_whom_to_tell() -> None:
    (slo,) = read(with_alerts("[{alertPolicyRef: burning}]"), SOURCE, ALERT_POLICY, CONDITION, NOTIFICATION).slos
    (policy,) = slo.alert_policies
    (condition,) = policy.conditions
    assert policy.notification_targets == ("pagerduty",)
    assert (condition.name, condition.severity, condition.threshold) == ("fast-burn", "page", Fraction(144, 10))
    assert (condition.lookbacks_s, condition.alert_after_s, condition.op) == ((3600,), 300, Comparison.GTE)


def test_an_alert_policy_may_be_written_out_in_the_slo() -> None:
    inline = """
    - kind: AlertPolicy
      metadata: {name: inline}
      spec:
        alertWhenNoData: true
        conditions:
          - kind: AlertCondition
            metadata: {name: fast}
            spec: {severity: page, condition: {kind: burnrate, op: gt, threshold: 2, lookbackWindow: 1h}}
        notificationTargets:
          - kind: AlertNotificationTarget
            metadata: {name: mail}
            spec: {target: email}"""
    (slo,) = read(with_alerts(inline), SOURCE).slos
    (policy,) = slo.alert_policies
    assert (policy.name, policy.alert_when_no_data, policy.notification_targets) == ("inline", True, ("email",))
    assert (policy.conditions[0].name, policy.conditions[0].op) == ("fast", Comparison.GT)


def test_the_factor_of_a_tier_follows_from_the_window_of_the_slo() -> None:
    month = swapped(with_alerts("[{alertPolicyRef: tiers}]"), "28d", "30d")
    (slo,) = read(month, SOURCE, TIERS).slos
    page, slow, spent, sure = slo.alert_policies[0].conditions
    assert (page.threshold, page.lookbacks_s) == (Fraction(144, 10), (3600, 300))
    assert (slow.threshold, slow.lookbacks_s) == (Fraction(9, 10), (259200, 21600))
    assert (slow.alert_after_s, slow.at_least_bad) == (600, 20)
    assert (spent.kind, spent.threshold, spent.lookbacks_s) == (ConditionKind.CONSUMED, Fraction(1, 20), (21600,))
    assert spent.at_least_total == 100
    assert (sure.kind, sure.confidence) == (ConditionKind.SIGNIFICANCE, Fraction(99, 100))
    (slo,) = read(with_alerts("[{alertPolicyRef: tiers}]"), SOURCE, TIERS).slos
    assert slo.alert_policies[0].conditions[0].threshold == Fraction(1344, 100)


def test_conditions_of_the_same_name_are_told_apart_by_their_policy() -> None:
    other = swapped(TIERS, "name: tiers", "name: more")
    (slo,) = read(with_alerts("[{alertPolicyRef: tiers}, {alertPolicyRef: more}]"), SOURCE, TIERS, other).slos
    names = [condition.name for policy in slo.alert_policies for condition in policy.conditions]
    assert len(set(names)) == len(names)
    assert "tiers/page-1h" in names


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("  service: checkout", "  servcie: checkout", "TR011", "spec.servcie"),
        ("- target: 0.999", "- {target: 0.999, tarGet: 1}", "TR011", "spec.objectives[0].tarGet"),
        ("{column: good}", "{}", "TR019", "spec.indicator.spec.ratioMetric.good.metricSource.spec"),
        ("metadata:\n  name: checkout-availability\n", "", "TR013", "metadata"),
        ("name: checkout-availability", "name: Checkout_SLO", "TR015", "metadata.name"),
        ("name: checkout-availability", f"name: {'a' * 64}", "TR015", "metadata.name"),
        ("name: checkout-availability", "name: 5", "TR014", "metadata.name"),
        ("name: checkout-availability", f"name: a\n  displayName: {'x' * 64}", "TR015", "metadata.displayName"),
        ("name: checkout-availability", "name: a\n  labels: {-x: y}", "TR015", "metadata.labels.-x"),
        ("name: checkout-availability", "name: a\n  labels: {x: 5}", "TR014", "metadata.labels.x"),
        ("name: checkout-availability", "name: a\n  annotations: {a/b/c: y}", "TR015", "metadata.annotations.a/b/c"),
        ("  service: checkout", f"  service: checkout\n  description: {'x' * 1051}", "TR015", "spec.description"),
        ("Occurrences", "occurrences", "TR016", "spec.budgetingMethod"),
        ("Occurrences", "RatioTimeslices", "TR013", "spec.objectives[0].timeSliceWindow"),
        ("28d", "28 days", "TR017", "spec.timeWindow[0].duration"),
        ("28d", "28", "TR017", "spec.timeWindow[0].duration"),
        ("28d", "30s", "TR017", "spec.timeWindow[0].duration"),
        ("28d", "0d", "TR017", "spec.timeWindow[0].duration"),
        ("28d", "[28d]", "TR014", "spec.timeWindow[0].duration"),
        ("28d", "99999999999999999999d", "TR017", "spec.timeWindow[0].duration"),
        ("isRolling: true", "isRolling: false", "TR018", "spec.timeWindow[0].calendar"),
        ("isRolling: true", "isRolling: yes", "TR014", "spec.timeWindow[0].isRolling"),
        (
            "isRolling: true",
            "calendar: {startTime: 2026-01-01, timeZone: UTC}",
            "TR020",
            "spec.timeWindow[0].calendar.startTime",
        ),
        (
            "isRolling: true",
            "calendar: {startTime: 2026-02-30 00:00:00, timeZone: UTC}",
            "TR020",
            "spec.timeWindow[0].calendar.startTime",
        ),
        (
            "isRolling: true",
            "calendar: {startTime: 2026-01-01 00:00:00, timeZone: Europe/Berln}",
            "TR020",
            "spec.timeWindow[0].calendar.timeZone",
        ),
        (
            "isRolling: true",
            "isRolling: true\n      calendar: {startTime: 2026-01-01 00:00:00, timeZone: UTC}",
            "TR018",
            "spec.timeWindow[0].calendar",
        ),
        ("    - duration: 28d\n      isRolling: true\n", "    []\n", "TR019", "spec.timeWindow"),
        ("    - target: 0.999\n", "    []\n", "TR019", "spec.objectives"),
        ("target: 0.999", "displayName: none", "TR018", "spec.objectives[0]"),
        ("target: 0.999", "{target: 0.9, targetPercent: 90}", "TR018", "spec.objectives[0].targetPercent"),
        ("target: 0.999", "target: '0.999'", "TR014", "spec.objectives[0].target"),
        ("target: 0.999", "target: .nan", "TR014", "spec.objectives[0].target"),
        ("target: 0.999", "target: 99.9", "TR012", "spec.objectives[0].target"),
        ("target: 0.999", "target: 1", "TR012", "spec.objectives[0].target"),
        ("target: 0.999", "target: 1.0", "TR012", "spec.objectives[0].target"),
        ("target: 0.999", "targetPercent: 100", "TR012", "spec.objectives[0].targetPercent"),
        ("target: 0.999", "target: 1e99", "TR012", "spec.objectives[0].target"),
        ("target: 0.999", "target: 1e999", "TR014", "spec.objectives[0].target"),
        ("target: 0.999", "target: -0.1", "TR012", "spec.objectives[0].target"),
        ("target: 0.999", "{target: 0.999, op: gt}", "TR021", "spec.objectives[0].op"),
        ("target: 0.999", "{target: 0.999, value: 5}", "TR021", "spec.objectives[0].value"),
        ("        good: ", "        raw: ", "TR018", "spec.indicator.spec.ratioMetric.total"),
        ("        good: ", "        gut: ", "TR011", "spec.indicator.spec.ratioMetric.gut"),
        ("  indicator:", "  indicatorRef: latency\n  indicator:", "TR018", "spec.indicator"),
        ("apiVersion: openslo/v1", "apiVersion: openslo.com/v2alpha", "TR029", "apiVersion"),
        ("apiVersion: openslo/v1", "apiVersion: openslo/v1alpha", "TR029", "apiVersion"),
        ("apiVersion: openslo/v1", "apiVersion: tightrope.dev/v2", "TR010", "apiVersion"),
        ("apiVersion: openslo/v1", "apiVersion: apps/v1", "TR008", "apiVersion"),
        ("apiVersion: openslo/v1", "apiVersion: tightrope.dev/v1", "TR010", "kind"),
        ("kind: SLO", "kind: Slo", "TR010", "kind"),
        ("kind: SLO\n", "", "TR010", "kind"),
    ],
)
def test_one_wrong_thing_is_found_at_its_place(old: str, new: str, code: str, path: str) -> None:
    findings = found(swapped(SLO, old, new), SOURCE, SLI)
    assert (code, path) in [(finding.code, finding.path) for finding in findings]
    assert all(finding.remedy for finding in findings)


def test_all_errors_of_a_document_come_at_once() -> None:
    text = SLO.replace("0.999", "99.9").replace("28d", "28").replace("  service: checkout", "  servce: checkout")
    assert codes(text, SOURCE) == ["TR011", "TR017", "TR012"]


def test_a_kind_in_the_wrong_case_or_under_the_wrong_version_is_read_all_the_same() -> None:
    text = swapped(SLO, "kind: SLO", "kind: Slo")
    assert codes(swapped(text, "target: 0.999", "target: 1"), SOURCE) == ["TR010", "TR012"]
    ours = swapped(TIERS, "apiVersion: tightrope.dev/v1", "apiVersion: openslo/v1")
    assert codes(with_alerts("[{alertPolicyRef: tiers}]"), SOURCE, ours) == ["TR010"]


def test_a_misspelt_field_is_one_finding_and_what_stands_in_it_is_checked() -> None:
    text = swapped(SLO, "budgetingMethod", "budgetMethod")
    assert codes(text, SOURCE) == ["TR011"]
    text = swapped(swapped(SLO, "objectives:", "objetives:"), "target: 0.999", "target: 99")
    assert [(one.code, one.path) for one in found(text, SOURCE)] == [
        ("TR011", "spec.objetives"),
        ("TR012", "spec.objetives[0].target"),
    ]
    twice = swapped(SLO, "target: 0.999", "target: 0.999\n      tagret: 0.9")
    assert codes(twice, SOURCE) == ["TR011"]


def test_what_is_missing_is_named_as_it_must_be_written() -> None:
    method = only(swapped(SLO, "  budgetingMethod: Occurrences\n", ""), SOURCE)
    assert method.remedy == "add `budgetingMethod:` (`Occurrences`, `Timeslices` or `RatioTimeslices`)"
    window = "duration: 1M\n      calendar: {startTime: 2026-01-01 00:00:00}\n"
    zone = only(swapped(SLO, "duration: 28d\n      isRolling: true\n", window), SOURCE)
    assert zone.remedy == "add `timeZone:` (IANA name such as Europe/Berlin)"


def test_a_mapping_where_one_or_several_are_meant_is_told_both_forms() -> None:
    labelled = swapped(SLO, "availability\n", "availability\n  labels: {team: {name: a}}\n")
    assert only(labelled, SOURCE).message == "team should be one value or a list of them, not a mapping"


def test_a_percentage_as_target_is_told_both_ways_to_mend() -> None:
    finding = only(swapped(SLO, "0.999", "99.9"), SOURCE)
    assert finding.message == "target 99.9 is read as 9990 %; OpenSLO wants a ratio here"
    assert finding.remedy == "write `target: 0.999` or `targetPercent: 99.9`"
    assert (finding.place.line, finding.place.column, finding.place.length) == (12, 15, 4)


@pytest.mark.parametrize("text", ["target: 1", "target: 1.0", "targetPercent: 100", "targetPercent: 1e2"])
def test_a_target_of_everything_is_told_to_leave_no_budget(text: str) -> None:
    finding = only(swapped(SLO, "target: 0.999", text), SOURCE)
    assert "no error budget" in finding.message
    assert "0.9999" in finding.remedy


def test_a_bare_minute_is_told_its_unit() -> None:
    finding = only(
        swapped(SLO, "Occurrences", "RatioTimeslices").replace("0.999", "0.999\n      timeSliceWindow: 5"), SOURCE
    )
    assert finding.code == "TR017"
    assert finding.remedy.startswith("write 5m for minutes")


@pytest.mark.parametrize(
    ("metric", "wrong"),
    [
        ("{total: ~}", ["TR018"]),
        ("{good: ~}", ["TR018"]),
        ("{total: ~, good: ~, bad: ~}", ["TR018"]),
        ("{total: ~, raw: ~, rawType: success}", ["TR018", "TR018"]),
        ("{raw: ~}", ["TR018"]),
        ("{raw: ~, rawType: sucess}", ["TR016"]),
        ("{raw: ~, rawType: success}", []),
        ("{total: ~, bad: ~}", []),
        ("{total: {metricSource: {spec: {q: 1}}}, good: ~}", ["TR013"]),
        ("{total: {metricSource: {metricSourceRef: Not_A_Label, spec: {q: 1}}}, good: ~}", ["TR015"]),
        ("{total: {}, good: ~}", ["TR013"]),
    ],
)
def test_a_ratio_is_good_or_bad_of_total_or_raw(metric: str, wrong: list[str]) -> None:
    head, _, _ = SLO.partition("      ratioMetric:\n")
    part = "{metricSource: {metricSourceRef: shop, spec: {column: x}}}"
    assert codes(head + f"      ratioMetric: {metric.replace('~', part)}\n", SOURCE) == wrong


def test_an_indicator_measures_one_thing() -> None:
    head, _, _ = SLO.partition("      ratioMetric:\n")
    assert codes(head + "      description: nothing\n", SOURCE) == ["TR018"]


def test_an_alert_policy_has_exactly_one_condition_and_somebody_to_tell() -> None:
    two = swapped(ALERT_POLICY, "[{conditionRef: fast-burn}]", "[{conditionRef: fast-burn}, {conditionRef: fast-burn}]")
    assert codes(two, CONDITION, NOTIFICATION) == ["TR019"]
    nobody = swapped(ALERT_POLICY, "[{targetRef: on-call}]", "[]")
    assert codes(nobody, CONDITION) == ["TR019"]
    both = swapped(ALERT_POLICY, "{targetRef: on-call}", "{targetRef: on-call, kind: AlertNotificationTarget}")
    assert codes(both, CONDITION, NOTIFICATION) == ["TR018"]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("kind: burnrate, ", "", "TR013"),
        ("burnrate", "burnRate", "TR016"),
        ("op: gte, ", "", "TR013"),
        ("op: gte", "op: '>='", "TR016"),
        ("threshold: 14.4, ", "", "TR013"),
        ("lookbackWindow: 1h, ", "", "TR013"),
        ("severity: page", "severity: ''", "TR015"),
    ],
)
def test_a_condition_needs_all_its_parts(old: str, new: str, code: str) -> None:
    assert codes(swapped(CONDITION, old, new)) == [code]


# --- references --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documents", "path"),
    [
        ((SLO,), "spec.indicator.spec.ratioMetric.good.metricSource.metricSourceRef"),
        ((SLI,), "spec.thresholdMetric.metricSource.metricSourceRef"),
        ((ALERT_POLICY, NOTIFICATION), "spec.conditions[0].conditionRef"),
        ((ALERT_POLICY, CONDITION), "spec.notificationTargets[0].targetRef"),
        ((SLO + "  alertPolicies: [{alertPolicyRef: tiers}]\n", SOURCE), "spec.alertPolicies[0].alertPolicyRef"),
        ((SLO.partition("  indicator:")[0] + "  indicatorRef: latency\n", SOURCE), "spec.indicatorRef"),
    ],
)
def test_a_reference_to_nothing_is_an_error(documents: tuple[str, ...], path: str) -> None:
    findings = found(*documents)
    assert {finding.code for finding in findings} == {"TR026"}
    assert findings[0].path == path


def test_a_reference_that_is_nearly_right_gets_a_proposal() -> None:
    assert {finding.note for finding in found(SLO.replace("shop", "shopp"), SOURCE)} == {"did you mean shop?"}


def test_a_document_with_errors_is_still_there_to_refer_to() -> None:
    assert codes(SLO, swapped(SOURCE, "type: csv", "tpye: csv")) == ["TR013", "TR011"]


def test_nothing_is_missed_while_a_file_cannot_be_read() -> None:
    assert codes(SLO, "a: [\n") == ["TR001"]


def test_two_documents_of_one_name_name_both_places() -> None:
    finding = only(SLO, SOURCE, SLO)
    assert finding.code == "TR027"
    assert "<stdin>:4:9" in finding.message
    assert finding.place.line > 20


def test_alert_policies_of_both_kinds_share_their_names() -> None:
    clash = swapped(TIERS, "name: tiers", "name: burning")
    assert codes(ALERT_POLICY, CONDITION, NOTIFICATION, clash) == ["TR027"]


def test_a_service_document_is_optional_until_there_is_one() -> None:
    service = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: NAME, displayName: The shop}\nspec: {}\n"
    assert codes(SLO, SOURCE) == []
    assert codes(SLO, SOURCE, service.replace("NAME", "stock")) == ["TR039"]
    assert read(SLO, SOURCE, service.replace("NAME", "checkout")).services == {"checkout": "The shop"}


# --- the standard's own material ---------------------------------------------------------------------------------

_REFERENCES = {"TR026", "TR027"}
"""What follows from reading one file of a set alone, or a file of samples that reuses a name."""


def _upstream(recorded: Path, file: str) -> list[tuple[str, int]]:
    findings = examine([str(recorded / "fixtures" / file)])[1]
    return [(finding.code, finding.place.line) for finding in findings if finding.code not in _REFERENCES]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("OpenSLO_OpenSLO/examples/budgeting-method/occurences-slo.yaml", [("TR043", 17)]),
        # The next three carry `op` beside a ratio, which the SDK forbids.
        ("OpenSLO_OpenSLO/examples/budgeting-method/ratio-timeslices.yaml", [("TR021", 32)]),
        ("OpenSLO_OpenSLO/examples/budgeting-method/timeslices-slo.yaml", [("TR033", 27), ("TR021", 35)]),
        ("OpenSLO_go-sdk/pkg/openslo/v1/examples/slos.yaml", [("TR021", 40)]),
        ("OpenSLO_go-sdk/pkg/openslo/v1/examples/alert_conditions.yaml", [("TR032", 17)]),
        ("OpenSLO_go-sdk/pkg/openslo/v1/examples/alert_notification_targets.yaml", []),
        ("OpenSLO_go-sdk/pkg/openslo/v1/examples/alert_policies.yaml", []),
        ("OpenSLO_go-sdk/pkg/openslo/v1/examples/data_sources.yaml", []),
        ("OpenSLO_go-sdk/pkg/openslo/v1/examples/services.yaml", []),
        ("OpenSLO_go-sdk/pkg/openslo/v1/examples/slis.yaml", []),
        ("slok_sloth/examples/openslo-getting-started.yml", [("TR029", 6)]),
    ],
)
def test_the_examples_of_the_standard_are_read_and_their_mistakes_found(
    recorded: Path, file: str, expected: list[tuple[str, int]]
) -> None:
    assert _upstream(recorded, file) == expected


@pytest.mark.parametrize("name", ["ratio-timeslices.yaml", "timeslices-slo.yaml"])
def test_without_the_forbidden_op_the_examples_of_the_standard_are_good(recorded: Path, name: str) -> None:
    text = (recorded / "fixtures/OpenSLO_OpenSLO/examples/budgeting-method" / name).read_text("utf-8")
    assert len(read(text.replace("      op: gt\n", "")).slos) == 1


def test_a_wrong_annotation_is_named_with_its_full_key() -> None:
    noted = swapped(SLO, "availability\n", "availability\n  annotations: {tightrope.dev/resolution: 5 minutes}\n")
    finding = only(noted, SOURCE)
    assert (finding.code, finding.message) == ("TR017", "tightrope.dev/resolution '5 minutes' is not a duration")
    assert finding.path == "metadata.annotations.tightrope.dev/resolution"
