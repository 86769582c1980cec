"""``tightrope rollout plan``: what a release may cost, and how fast it may go for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.world import MINUTES, START, answer, error_of, run, write_world

END = START + 60 * MINUTES
SPENT_FROM = 30_000


def _plan(folder: Path, *more: object) -> tuple[object, ...]:
    return ("rollout", "plan", "checkout", "-f", folder / "slo.yaml", *more)


def test_the_plan_stays_inside_the_allowance_and_tells_what_it_can_cost(tmp_path: Path) -> None:
    write_world(tmp_path, {SPENT_FROM: (60, 10)})
    found = answer(*_plan(tmp_path, "--allowance", "10%", "--at", END))
    assert found["service"] == "checkout"
    assert found["possible"] is True
    assert found["guarded"] is False
    assert found["reactionSeconds"] == 60 + 15 + 30
    (cost,) = found["costsAtMost"]
    assert cost["slo"] == "checkout-availability"
    assert cost["allowance"] == pytest.approx((4032 - 600) / 10)
    assert cost["atMost"] == cost["allowance"] + cost["inFlight"]
    assert cost["share"] == pytest.approx(cost["atMost"] / 4032)
    assert cost["peakPerSecond"] == pytest.approx(100 / 60 * 1.1)
    weights = [stage["weight"] for stage in found["stages"]]
    assert weights == sorted(weights)
    assert weights[-1] == 1
    for stage in found["stages"]:
        assert stage["worst"][0] == pytest.approx(stage["weight"] * cost["peakPerSecond"] * 105)
        assert stage["insideAllowance"] is not stage["needsProof"]
        if stage["insideAllowance"]:
            assert stage["worst"][0] <= cost["allowance"]
    assert [one["ratio"] for one in found["detects"]] == [2, 5, 10]
    assert all(one["trafficTooLow"] is (one["withinSeconds"] is None) for one in found["detects"])


def test_a_small_allowance_takes_a_proof_and_declares_the_flight(tmp_path: Path) -> None:
    write_world(tmp_path)
    small, large = (answer(*_plan(tmp_path, "--allowance", one)) for one in ("1%", "50%"))
    assert small["stages"][-1]["needsProof"]
    assert small["costsAtMost"][0]["inFlight"] == pytest.approx(100 / 60 * 1.1 * 105)
    assert not large["stages"][-1]["needsProof"]
    assert large["costsAtMost"][0]["inFlight"] == 0
    assert large["durationSeconds"] < small["durationSeconds"]
    assert "no such proof is to be expected within 6 h; then a person decides" in small["notes"]


def test_in_caution_the_plan_is_guarded_and_slower(tmp_path: Path) -> None:
    write_world(tmp_path, {SPENT_FROM: (60, 56)})
    state = answer("status", "-f", tmp_path / "slo.yaml")[0]["state"]
    assert state == "caution"
    found = answer(*_plan(tmp_path, "--allowance", "100%"))
    assert found["guarded"] is True
    assert found["allowance"] == 0.5
    assert found["costsAtMost"][0]["allowance"] == pytest.approx((4032 - 3360) / 2)
    text = run(*_plan(tmp_path, "--allowance", "100%")).stdout
    assert text.startswith("PLAN  checkout · guarded · may spend 50.00 %")


def test_without_budget_there_is_no_plan_and_the_exit_code_says_stop(tmp_path: Path) -> None:
    write_world(tmp_path, {SPENT_FROM: (60, 100)})
    for form in ("table", "json"):
        result = run(*_plan(tmp_path, "-o", form))
        assert result.exit_code == 3
    assert answer(*_plan(tmp_path))["possible"] is False
    text = run(*_plan(tmp_path)).stdout
    assert text.startswith("NO PLAN  checkout")
    assert "nothing is left of the budget of checkout-availability" in text


def test_the_table_tells_weights_bakes_cost_and_what_shows(tmp_path: Path) -> None:
    write_world(tmp_path)
    result = run(*_plan(tmp_path, "--allowance", "10%"))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("PLAN  checkout · standard · may spend 10.00 % · ")
    assert lines[2].split() == ["weight", "bake", "total", "failure", "costs", "allowance", "the", "bake"]
    assert any(line.startswith("  at most  10.00 % of checkout-availability: 403 events") for line in lines)
    assert "   2× errors  traffic too low to tell in 6 h" in lines
    assert "traffic too low" in result.stderr
    assert run(*_plan(tmp_path, "-o", "yaml")).stdout.startswith("service: checkout")


def test_nothing_later_than_at_is_planned_on(tmp_path: Path) -> None:
    write_world(tmp_path, {SPENT_FROM: (60, 100)})
    before = answer(*_plan(tmp_path, "--at", START + 60 * SPENT_FROM))
    assert before["possible"] is True
    assert before["asOf"] == "2026-03-21T20:00:00Z"


def test_wrong_questions_are_answered_clearly(tmp_path: Path) -> None:
    write_world(tmp_path)
    assert "cannot be allowed" in error_of(run(*_plan(tmp_path, "--allowance", "0%"))).message
    assert "is not a number" in error_of(run(*_plan(tmp_path, "--allowance", "much"))).message
    assert "is not a duration" in error_of(run(*_plan(tmp_path, "--act-within", "soon"))).message
    assert "takes time" in error_of(run(*_plan(tmp_path, "--evaluate-every", "0s"))).message
    assert "sharpen" in error_of(run(*_plan(tmp_path, "--cluster-guard", "0.5"))).message
    assert "too old" in error_of(run(*_plan(tmp_path, "--at", END + 86_400))).message
    unknown = run("rollout", "plan", "nobody", "-f", tmp_path / "slo.yaml")
    assert "no service or SLO named 'nobody'" in error_of(unknown).message


def test_a_strategy_of_the_service_is_followed_but_for_what_an_option_says(tmp_path: Path) -> None:
    write_world(tmp_path)
    (tmp_path / "release.yaml").write_text(
        "apiVersion: tightrope.dev/v1\nkind: RolloutStrategy\nmetadata: {name: checkout}\nspec:\n"
        "  service: checkout\n  steps: [{weight: 20%, bake: 10m}]\n  allowance: 80%\n  reaction: {act: 7s}\n"
        "  analysis: {arms: {push: true}}\n  target: {shell: {setWeight: ./set, observe: ./see}}\n",
        encoding="utf-8",
    )
    both = ("-f", tmp_path / "release.yaml")
    found = answer(*_plan(tmp_path, *both))
    assert [(one["weight"], one["purpose"]) for one in found["stages"]] == [(0.2, "as given"), (1, "as given")]
    assert found["allowance"] == pytest.approx(0.8)
    other = answer(*_plan(tmp_path, *both, "--allowance", "50%"))
    assert other["allowance"] == pytest.approx(0.5)
    assert all(one["purpose"] != "as given" for one in other["stages"])
    assert other["reactionSeconds"] == found["reactionSeconds"]
    elsewhere = answer(*_plan(tmp_path, *both, "--environment", "staging"))
    assert elsewhere["allowance"] == pytest.approx(0.01)
