"""The command line against a server: the same documents, the same tables, the same exit codes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.api.world import World, extra, until
from tightrope.base.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    SourceUnreachableError,
    SpecsInvalidError,
    TightropeError,
    UnauthorizedError,
    UsageError,
)
from tightrope.cli import remote
from tightrope.cli.main import cli
from tightrope.cli.remote import gathered
from tightrope.loop.documents import status_document
from tightrope.policy.rendering import decision_document

Run = Any


@pytest.fixture
def run(world: World) -> Run:
    """Run a command against the server, as somebody."""

    def ran(*arguments: object, who: str = "approver", server: str = "") -> Result:
        settings = {"TIGHTROPE_SERVER": server or world.url, "TIGHTROPE_TOKEN": world.tokens.get(who, "")}
        return CliRunner(env=settings).invoke(cli, [str(one) for one in arguments])

    return ran


def error(result: Result) -> TightropeError:
    assert isinstance(result.exception, TightropeError), result.output
    return result.exception


def test_status_is_the_same_as_from_the_specs(world: World, run: Run) -> None:
    def same() -> bool:
        told = json.loads(run("status", "basket", "checkout", "-o", "json").stdout)
        expected = [status_document(one) for name in ("basket", "checkout") for one in world.server.assessments(name)]
        return bool(told == json.loads(json.dumps(expected)))

    until(same)
    as_yaml = yaml.safe_load(run("status", "basket-availability", "-o", "yaml").stdout)
    assert [one["slo"] for one in as_yaml] == ["basket-availability"]
    both = json.loads(run("status", "checkout", "basket-availability", "-o", "json").stdout)
    assert {one["service"] for one in both} == {"checkout", "basket"}
    projected = json.loads(run("status", "basket", "--basis", "projected", "-o", "json").stdout)
    assert projected[0]["budget"]["basis"] == "projected"


def test_status_prints_the_table_of_people(run: Run) -> None:
    result = run("status", "basket", "checkout")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "in stability flow" in lines[0]
    basket = next(line for line in lines if line.strip().startswith("x"))
    assert basket.split()[:4] == ["x", "S", "basket", "basket-availability"]
    assert "services, " in lines[-1]


def test_the_gate_exits_as_ever(world: World, run: Run) -> None:
    stopped = run("gate", "basket", "--change", "v1", "-o", "json", who="operator")
    assert stopped.exit_code == 3
    document = json.loads(stopped.stdout)
    kept = world.server.decision(document["id"])
    assert kept is not None
    assert document == json.loads(json.dumps(decision_document(kept.record.decision)))
    assert run("gate", "checkout", who="operator").exit_code == 0
    assert run("gate", "basket", "--kind", "rollback", who="operator").exit_code == 0
    shown = run("gate", "basket", "--title", "More", who="operator")
    assert shown.exit_code == 3
    assert shown.stdout.startswith('STOP    basket · "More" · feature\n')
    fixed = run("gate", "basket", "--message", "fix: round", "--as", "maria", "-o", "json", who="operator")
    assert (json.loads(fixed.stdout)["kind"], json.loads(fixed.stdout)["askedBy"]) == (
        "reliability",
        "maria (by operator)",
    )


def test_a_gate_out_of_reach_exits_5_or_lets_pass(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    nobody = "http://127.0.0.1:9"
    blocked = run("gate", "checkout", server=nobody)
    assert blocked.exit_code == 5
    assert "could not be asked" in blocked.stderr
    assert "tightrope serve" in blocked.stderr
    allowed = run("gate", "checkout", "--on-unavailable", "allow", server=nobody)
    assert allowed.exit_code == 0
    assert "going on" in allowed.stderr
    assert isinstance(error(run("status", server=nobody)), SourceUnreachableError)


@pytest.mark.parametrize("told", [("--kind", "rollback", "--wait"), ("--message", 'Revert "feat: cart"')])
def test_a_rollback_goes_on_where_no_gate_can_be_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, told: tuple[str, ...]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    gone = run("gate", "checkout", *told, server="http://127.0.0.1:9")
    assert gone.exit_code == 0
    assert "rollbacks are never gated" in gone.stderr


def test_a_gate_that_waits_is_asked_again_until_it_answers_or_time_is_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    def ask_gate(*_: object, **__: object) -> tuple[str, list[str]]:
        return "wait" if len(slept) < 3 else "go", ["GO      search", "  why      it may"]

    monkeypatch.setattr(remote, "ask_gate", ask_gate)
    assert run("gate", "search").exit_code == 4
    assert slept == []
    assert run("gate", "search", "--wait", "--timeout", "1h").exit_code == 0
    assert slept == [15, 15, 15]
    slept.clear()
    monkeypatch.setattr("tightrope.app.now", lambda: 1000 * len(slept))
    assert run("gate", "search", "--wait", "--timeout", "1500s").exit_code == 4
    assert slept == [15, 15]


def test_an_explanation_is_the_same_and_reads_well(world: World, run: Run) -> None:
    told = json.loads(run("explain", "basket", "-o", "json").stdout)
    assert told["decision"]["verdict"] == "stop"
    assert set(told["objectives"][0]) >= {"transitions", "firing", "budget"}
    assert "outlook" not in told["objectives"][0]
    shown = run("explain", "basket-availability").stdout
    assert shown.startswith("STOP    basket · feature")
    assert "What would change it" in shown
    assert "basket-availability  99 % over 1d, Occurrences" in shown
    assert "TR012" in run("explain", "TR012").stdout


def test_where_a_budget_went_is_told_as_from_the_specs_and_the_parts_sum_to_the_whole(world: World, run: Run) -> None:
    (told,) = json.loads(run("explain", "basket", "--budget", "-o", "json").stdout)
    assert told["slo"] == "basket-availability"
    assert told["causes"]
    spent = sum(one["shareOfBudget"] for one in told["causes"])
    assert spent == pytest.approx(told["consumedRatio"])
    (of_slo,) = json.loads(run("explain", "basket-availability", "--budget", "-o", "json").stdout)
    assert of_slo["slo"] == told["slo"]
    shown = run("explain", "basket", "--budget").stdout
    assert shown.startswith(f"basket-availability: {told['summary']}"[:40])
    assert "of budget" in shown
    assert isinstance(error(run("explain", "nothing", "--budget")), NotFoundError)


def test_a_recorded_decision_is_explained_by_its_id(run: Run) -> None:
    made = json.loads(run("gate", "basket", "--change", "4f2a9c1", "-o", "json").stdout)
    shown = run("explain", made["id"]).stdout
    assert shown.startswith("STOP    basket · 4f2a9c1 · feature")
    assert made["summary"] in shown
    assert "recorded as row" in shown
    kept = json.loads(run("explain", made["id"], "-o", "json").stdout)
    assert kept["decision"]["reasons"] == made["reasons"]
    assert isinstance(error(run("explain", "D-0000000000")), NotFoundError)


def test_a_backtest_is_the_same_and_tells_what_an_edit_would_change(world: World, run: Run, tmp_path: Path) -> None:
    found = json.loads(run("backtest", "basket", "-o", "json").stdout)
    assert (found[0]["slo"], found[0]["finalState"]) == ("basket-availability", "stability")
    edited = tmp_path / "edit.yaml"
    text = world.get("/api/v1/specs/SLO/basket-availability").json()["text"]
    edited.write_text(text.replace("0.99", "0.5"), encoding="utf-8")
    labels = tmp_path / "labels.csv"
    labels.write_text("start,end,service\n2026-01-01,2026-01-02,basket\n2026-01-03,,basket\n", encoding="utf-8")
    result = run("backtest", "--server", world.url, "-f", edited, "--labels", labels)
    assert result.exit_code == 0, result.output
    assert "worst budget left" in result.stdout
    assert "would have paged never" in result.stderr
    deployments = tmp_path / "deployments.csv"
    deployments.write_text("time,service\n2026-01-01,basket\n", encoding="utf-8")
    scored = json.loads(run("backtest", "basket", "--deployments", deployments, "-o", "json").stdout)
    assert scored[0]["deploymentsStopped"] == []


def test_specs_are_applied_from_a_directory(world: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.yaml").write_text(extra("applied-one"), encoding="utf-8")
    (tmp_path / "deep" / "two.yml").write_text(extra("applied-two").rstrip("\n"), encoding="utf-8")
    (tmp_path / "deployment.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\n", encoding="utf-8")
    tried = run("apply", "-f", tmp_path, "--server", world.url, "--dry-run")
    assert tried.stdout.splitlines() == ["SLO applied-two: would be created", "SLO applied-one: would be created"]
    done = json.loads(run("apply", "-f", tmp_path, "--server", world.url, "-o", "json").stdout)
    assert {(one["name"], one["change"]) for one in done["changed"]} == {
        ("applied-one", "created"),
        ("applied-two", "created"),
    }
    again = run("apply", "-f", tmp_path, "--server", world.url)
    assert "SLO applied-one: unchanged" in again.stdout
    for name in ("applied-one", "applied-two"):
        world.ask("DELETE", f"/api/v1/specs/SLO/{name}", headers={"If-Match": "*"})


def test_a_finding_has_its_place_in_the_file_that_it_came_from(world: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(extra("fine-one"), encoding="utf-8")
    wrong = tmp_path / "b.yaml"
    wrong.write_text(extra("wrong-one", target="1.5"), encoding="utf-8")
    refused = error(run("apply", "-f", tmp_path, "--server", world.url))
    assert isinstance(refused, SpecsInvalidError)
    finding = next(one for one in refused.findings if one.severity == "error")
    assert (finding.place.file, finding.place.line) == (str(wrong), 9)
    assert "1.5" in finding.source_line


def test_what_the_server_refuses_is_told_as_here(world: World, run: Run, tmp_path: Path) -> None:
    spec = tmp_path / "x.yaml"
    spec.write_text(extra("refused"), encoding="utf-8")
    assert isinstance(error(run("status", "nothing")), NotFoundError)
    assert isinstance(error(run("gate", "nothing")), NotFoundError)
    assert isinstance(error(run("gate", "checkout", who="viewer")), ForbiddenError)
    assert isinstance(error(run("apply", "-f", spec, who="viewer", server=world.url)), ForbiddenError)
    refused = error(run("status", who="nobody"))
    assert isinstance(refused, UnauthorizedError)
    assert "TIGHTROPE_TOKEN" in refused.remedy
    text = world.get("/api/v1/specs/SLO/basket-availability").json()["text"].replace("0.99", "0.9")
    spec.write_text(text, encoding="utf-8")
    assert isinstance(error(run("apply", "-f", spec, "--server", world.url)), ConflictError)
    assert isinstance(error(run("status", "--at", "2026-01-01")), UsageError)
    assert isinstance(error(run("status", server="ftp://nowhere")), UsageError)
    assert isinstance(error(run("apply", "-f", spec, server=" ")), UsageError)


def test_specs_given_go_before_the_server_of_the_environment(run: Run, tmp_path: Path) -> None:
    assert isinstance(error(run("status", "-f", tmp_path / "missing.yaml")), TightropeError)
    assert "missing.yaml" in str(error(run("status", "-f", tmp_path / "missing.yaml")))


def test_clocks_that_differ_are_told_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightrope.app.now", lambda: int(time.time()) + 600)  # noqa: TID251 - a clock that is off
    result = run("status", "checkout")
    assert re.search(r"this machine's clock is 10\.\d min ahead of the server's", result.stderr)
    assert result.stderr.count("clock") == 1


def test_only_specs_are_gathered(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        gathered([str(tmp_path / "none")])
    with pytest.raises(NotFoundError, match="there is no spec"):
        gathered([str(tmp_path)])
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.yaml").write_text(extra("hidden"), encoding="utf-8")
    (tmp_path / "x.json").write_text('{"apiVersion": "openslo/v1"}', encoding="utf-8")
    text, lines = gathered([str(tmp_path)])
    assert text == '{"apiVersion": "openslo/v1"}\n'
    assert lines == [(0, str(tmp_path / "x.json"))]
    (tmp_path / "y.yaml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"y\.yaml cannot be read"):
        gathered([str(tmp_path)])
