"""``backtest`` of several SLOs of one service: deployments meet the state of the service, and are told once."""

from __future__ import annotations

from pathlib import Path

from tests.cli.world import SPECS, START, answer, run, write_world

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
