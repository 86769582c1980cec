"""Policy tests: nothing passes because nothing was asked, and whatever cannot be meant is refused with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tightrope.app import run_policy_tests
from tightrope.backtest.scenario import Result, Scenario, read_scenario
from tightrope.base.errors import Place, SpecError, SpecsInvalidError

PLACE = Place("outage.yaml", 3, 1)

TEXT = """
apiVersion: tightrope.dev/v1
kind: PolicyTest
metadata: {name: an-outage-stops-features}
spec:
  slo: {objective: 0.999, window: 28d}
  start: 2026-01-01T00:00:00Z
  resolution: 5m
  slices:
    - {for: 28d}
    - {for: 1h, total: 1000, bad: 1000}
    - {for: 1d}
  expect:
    - {at: 28d, state: feature, gate: {feature: go}}
    - {at: 28d 1h, state: stability, flow: stability, gate: {feature: stop, rollback: go}}
"""


def scenario(**spec: Any) -> Scenario:
    """Read a sound test in which some fields are others."""
    sound: dict[str, Any] = {
        "slo": {"objective": "0.999", "window": "28d"},
        "start": "2026-01-01T00:00:00Z",
        "resolution": "5m",
        "slices": [{"for": "1d"}],
        "expect": [{"at": "1d", "state": "feature"}],
    }
    return read_scenario({"metadata": {"name": "outage"}, "spec": sound | spec}, PLACE)


def played(folder: Path, text: str) -> Result:
    path = folder / "test.yaml"
    path.write_text(text, encoding="utf-8")
    (result,) = run_policy_tests([str(path)])
    return result


def test_a_sound_test_counts_its_checks(tmp_path: Path) -> None:
    assert played(tmp_path, TEXT) == Result("an-outage-stops-features", 6, ())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"expect": []}, "spec.expect is empty"),
        ({"expect": [{"at": "1d"}]}, r"spec.expect\[0\] asks nothing"),
        ({"expect": [{"at": "1d", "state": "feature"}, {"at": "1d", "gate": {}}]}, r"spec.expect\[1\] asks nothing"),
        ({"expect": [{"at": "1d", "gate": {"feature": "pass"}}]}, "'pass' is no verdict"),
        ({"expect": [{"at": "1d", "gate": {"features": "go"}}]}, "'features' is no kind of change"),
        ({"expect": [{"at": "1d", "flow": "features"}]}, "'features' is no flow"),
        ({"expect": [{"at": "2025-12-31T23:00:00Z", "flow": "feature"}]}, "lies before the start"),
        ({"expect": [{"at": "", "flow": "feature"}]}, "'' is not a time"),
        ({"slices": []}, "spec.slices is empty"),
        ({"slices": [{"for": "1d", "total": 0, "bad": 5}]}, r"spec.slices\[0\].bad is 5 of a total of 0"),
        ({"slices": [{"for": "1d", "total": 4, "bad": 5}]}, r"spec.slices\[0\].bad is 5 of a total of 4"),
        ({"slices": [{"for": "1d", "total": 1.5}]}, r"spec.slices\[0\].total is 1.5, not a whole number"),
        ({"slices": [{"for": "1d", "total": "many"}]}, r"spec.slices\[0\].total is 'many', not a whole number"),
        ({"slices": [{"for": "1d", "total": True}]}, r"spec.slices\[0\].total is True, not a whole number"),
        (
            {"slices": [{"for": "1d", "bad": -1}]},
            r"spec.slices\[0\].bad is -1, not a whole number from 0 to 100,000,000,000",
        ),
        ({"slices": [{"for": "1d", "total": 2**63}]}, r"spec.slices\[0\].total is 9223372036854775808"),
        ({"slices": [{"for": "1d", "badRatio": 1.5}]}, r"spec.slices\[0\].badRatio is 1.5"),
        ({"slices": [{"for": "1d", "badRatio": 0.5, "bad": 1}]}, r"spec.slices\[0\] has both bad and badRatio"),
        ({"slices": [{"for": "1d", "gap": True, "bad": 1}]}, r"spec.slices\[0\] is a gap, and has bad"),
        ({"slices": [{"for": "1d", "gap": "no"}]}, r"spec.slices\[0\].gap is 'no', not true or false"),
        ({"slices": [{"for": "1d"}, {"for": "0m"}]}, r"spec.slices\[1\].for is 0s, no time at all"),
        ({"slices": [{"for": "9000Y"}]}, "more than 16,777,216 slices"),
        ({"slo": {"budgetingMethod": "Slices"}}, "'Slices' is no budgeting method"),
        ({"slo": {"basis": "guessed"}}, "'guessed' is no basis"),
        ({"incidents": [{"from": "2d", "to": "1d"}]}, r"spec.incidents\[0\] ends before it begins"),
        ({"exceptions": [{"from": "2d", "to": "1d"}]}, r"spec.exceptions\[0\] ends before it begins"),
    ],
)
def test_a_test_that_cannot_be_meant_is_refused(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        scenario(**spec)
    assert caught.value.code == "TR090"
    assert caught.value.place == PLACE
    assert caught.value.remedy


def test_a_state_that_the_policy_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecsInvalidError) as caught:
        played(tmp_path, TEXT.replace("state: stability", "state: stabilty"))
    (finding,) = caught.value.findings
    assert "'stabilty', which the policy 'default' does not have" in finding.message
    assert finding.remedy == "states are feature, caution, stability"
    assert finding.source_line[finding.place.column - 1 :].startswith("state: stabilty")


def test_a_test_that_asks_nothing_is_an_error_of_the_specs(tmp_path: Path) -> None:
    with pytest.raises(SpecsInvalidError):
        played(tmp_path, TEXT.partition("  expect:")[0] + "  expect: []\n")


def test_exclusions_of_the_specs_are_no_part_of_a_made_up_world(tmp_path: Path) -> None:
    exclusion = """---
apiVersion: tightrope.dev/v1
kind: Exclusion
metadata: {name: always}
spec: {startsAt: 2026-01-01 00:00:00, duration: 90d}
"""
    assert played(tmp_path, TEXT + exclusion).failures == ()


def test_a_ratio_makes_whole_counts() -> None:
    slices = scenario(slices=[{"for": "5m", "total": 30, "badRatio": 0.1}, {"for": "5m", "gap": True}]).slices
    assert (slices.bad.tolist(), slices.total.tolist(), slices.covered.tolist()) == ([3, 0], [30, 0], [True, False])
