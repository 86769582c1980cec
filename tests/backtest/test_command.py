"""``backtest`` of several SLOs of one service: deployments meet the state of the service, and are told once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.world import SPECS, START, answer, run, write_world
from tightrope.base.errors import TightropeError

LOOSE = SPECS.partition("---")[2].replace("checkout-availability", "checkout-loose").replace("0.999", "0.5")


def world(folder: Path) -> tuple[Path, Path]:
    """One SLO that is overspent after an outage, one that hardly notices; and what was deployed."""
    specs = write_world(folder, {20_000: (60, 100)}, f"{SPECS}---{LOOSE}")
    deployments = folder / "deployments.csv"
    rows = [
        f"{START + 60 * minute},checkout,{kind},v{minute}" for minute in (19_000, 20_100) for kind in ("", "Revert")
    ]
    deployments.write_text("time,service,kind,change\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return specs, deployments


def test_each_slo_of_a_service_tells_the_same_stops(tmp_path: Path) -> None:
    specs, deployments = world(tmp_path)
    both = answer("backtest", "-f", specs, "--deployments", deployments)
    assert [one["slo"] for one in both] == ["checkout-availability", "checkout-loose"]
    assert [[(each["change"], each["state"]) for each in one["deploymentsStopped"]] for one in both] == [
        [("v20100", "stability")]
    ] * 2


def test_one_slo_alone_is_told_with_the_stops_of_its_service(tmp_path: Path) -> None:
    specs, deployments = world(tmp_path)
    (loose,) = answer("backtest", "checkout-loose", "-f", specs, "--deployments", deployments)
    assert loose["finalState"] == "feature"
    assert [each["change"] for each in loose["deploymentsStopped"]] == ["v20100"]


def test_the_table_tells_the_stops_of_a_service_once(tmp_path: Path) -> None:
    specs, deployments = world(tmp_path)
    shown = run("backtest", "-f", specs, "--deployments", deployments).stdout
    assert shown.count("would have been stopped") == 1
    assert "checkout: 1 deployment would have been stopped" in shown


def test_a_kind_that_nobody_knows_is_refused_with_its_line(tmp_path: Path) -> None:
    specs, deployments = world(tmp_path)
    deployments.write_text("time,service,kind\n1772323200,checkout,weekly\n", encoding="utf-8")
    result = run("backtest", "-f", specs, "--deployments", deployments)
    assert f"{deployments}:2: column kind: 'weekly' is no kind of change" in str(result.exception)


def test_a_variant_is_what_the_edited_specs_would_have_told(tmp_path: Path) -> None:
    specs, _ = world(tmp_path)
    labels = tmp_path / "incidents.csv"
    labels.write_text(f"start,end,service\n{START + 60 * 19_990},{START + 60 * 20_010},checkout\n", encoding="utf-8")
    asked = ("backtest", "checkout-availability", "-f", specs, "--labels", labels)
    now, then = answer(*asked, "--set", "objective=0.9")
    assert (now["variant"], then["variant"]) == ("now", "objective=0.9")
    before = answer(*asked)[0]
    text = next(Path(specs).glob("*.yaml")) if Path(specs).is_dir() else Path(specs)
    text.write_text(text.read_text(encoding="utf-8").replace("target: 0.999", "target: 0.9"), encoding="utf-8")
    after = answer(*asked)[0]
    for variant, alone in ((now, before), (then, after)):
        assert {key: alone[key] for key in variant if key != "variant"} == {
            key: variant[key] for key in variant if key != "variant"
        }
    assert now["scores"] != then["scores"]
    assert now["worstRemaining"] < 0 < then["worstRemaining"]


def test_variants_stand_side_by_side(tmp_path: Path) -> None:
    specs, _ = world(tmp_path)
    lines = run("backtest", "checkout-availability", "-f", specs, "--set", "objective=0.9").stdout.splitlines()
    assert lines[0] == "checkout-availability"
    assert [line.split()[0] for line in lines[2:4]] == ["now", "objective=0.9"]
    assert "needless" not in lines[1], "nothing to score by"
    assert "never" in lines[3]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("objective", "sets nothing"),
        ("target=0.9", "is no path"),
        ("spec.nowhere[3].at=1", "has no spec.nowhere"),
        ("ErrorBudgetPolicy/none:spec.basis=observed", "there is no ErrorBudgetPolicy called 'none'"),
        ("objective=[", "no value that YAML knows"),
        ("objective=99", "errors in the specs"),
    ],
)
def test_what_cannot_be_set_is_told(tmp_path: Path, setting: str, why: str) -> None:
    specs, _ = world(tmp_path)
    error = run("backtest", "-f", specs, "--set", setting).exception
    assert isinstance(error, TightropeError)
    assert why in error.message
