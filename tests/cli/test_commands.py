"""What the commands promise: the documents, the exit codes, and one clear message for bad input."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.world import MINUTES, SPECS, START, answer, error_of, run, write_world
from tightrope.base.errors import SpecsInvalidError
from tightrope.base.units import time_text

END = START + 60 * MINUTES


def test_status_has_every_field_of_the_contract(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {40_000: (60, 50)})
    (one,) = answer("status", "-f", specs, "--at", END)
    assert one["service"] == "checkout"
    assert one["slo"] == "checkout-availability"
    assert one["objective"] == 0.999
    assert one["budgetingMethod"] == "Occurrences"
    assert one["window"] == {
        "type": "rolling",
        "duration": "28d",
        "start": time_text(END - 28 * 86400),
        "end": time_text(END),
    }
    assert (one["good"], one["total"]) == (4_032_000 - 3000, 4_032_000)
    assert one["budget"] == {
        "basis": "projected",
        "allowed": 4032,
        "consumed": 3000,
        "consumedRatio": pytest.approx(3000 / 4032, rel=1e-15),
        "remainingRatio": pytest.approx(1032 / 4032, rel=1e-15),
        "unit": "events",
    }
    assert one["coverage"] == 1
    assert list(one["burnRates"]) == ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]
    assert one["burnRates"]["3d"] == pytest.approx(3000 / 432_000 / 0.001)
    assert [alert["severity"] for alert in one["alerts"]] == ["page", "page", "ticket", "ticket"]
    assert one["asOf"] == time_text(END)
    assert "budgets" not in one


def test_nothing_later_than_at_is_visible(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {40_000: (60, 50)})
    before = answer("status", "-f", specs, "--at", START + 60 * 40_000)[0]
    assert before["budget"]["consumed"] == 0
    assert before["state"] == "feature"
    amid = answer("status", "-f", specs, "--at", START + 60 * 40_010)[0]
    assert amid["budget"]["consumed"] == 500


def test_a_young_slo_shows_both_bases_and_a_partly_measured_window(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {100: (1, 14)})
    (one,) = answer("status", "-f", specs, "--at", START + 14 * 86400)
    assert one["coverage"] == 0.5
    assert one["budgets"]["observed"]["allowed"] == 2016
    assert one["budgets"]["projected"]["allowed"] == 4032
    observed = answer("status", "-f", specs, "--at", START + 14 * 86400, "--basis", "observed")[0]
    assert observed["budget"]["basis"] == "observed"
    assert observed["budget"]["consumedRatio"] == pytest.approx(14 / 2016)


def test_the_gate_goes_inside_the_budget_and_stops_beyond_it(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)})
    go = run("gate", "checkout", "-f", specs, "--at", START + 60 * 19_000)
    assert go.exit_code == 0, go.output
    assert go.stdout.startswith("GO")
    after = START + 60 * 20_100
    stop = run("gate", "checkout", "-f", specs, "--at", after)
    assert stop.exit_code == 3
    assert stop.stdout.startswith("STOP")
    for kind in ("reliability", "security", "rollback", "emergency"):
        assert run("gate", "checkout", "-f", specs, "--at", after, "--kind", kind).exit_code == 0
    assert run("gate", "checkout", "-f", specs, "--at", after, "--message", "fix: retry the payment").exit_code == 0
    assert run("gate", "checkout", "-f", specs, "--at", after, "--message", "feat: wallet button").exit_code == 3


def test_the_gate_waits_on_stale_data_and_stops_after_an_hour(tmp_path: Path) -> None:
    specs = write_world(tmp_path)
    assert run("gate", "checkout", "-f", specs, "--at", END + 5 * 60).exit_code == 0
    assert run("gate", "checkout", "-f", specs, "--at", END + 30 * 60).exit_code == 4
    assert run("gate", "checkout", "-f", specs, "--at", END + 3 * 3600).exit_code == 3
    assert run("gate", "checkout", "-f", specs, "--at", END + 3 * 3600, "--kind", "rollback").exit_code == 0


def test_the_same_question_gives_the_same_decision(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)})
    question = ("gate", "checkout", "-f", specs, "--at", START + 60 * 20_100)
    first, again = answer(*question), answer(*question)
    assert first == again
    assert first["verdict"] == "stop"
    assert first["reasons"]
    assert first["id"].startswith("D-")


def test_explain_says_why_and_what_would_change_it(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)})
    at = START + 60 * 20_100
    text = run("explain", "checkout", "-f", specs, "--at", at).stdout
    assert "What would change it" in text
    assert "caution → stability: budget left" in text
    document = answer("explain", "checkout-availability", "-f", specs, "--at", at)
    assert document["objectives"][0]["transitions"][-1]["to"] == "stability"
    assert document["decision"]["forecast"] is not None


def test_explain_and_the_gate_speak_of_the_same_instant_and_agree(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)})
    asked, explained = answer("gate", "checkout", "-f", specs), answer("explain", "checkout", "-f", specs)["decision"]
    for key in ("verdict", "state", "flow", "allows"):
        assert explained[key] == asked[key]
    told = run("explain", "checkout", "-f", specs)
    for line in (told.stdout, run("gate", "checkout", "-f", specs).stdout):
        assert re.search(r"^  as of +20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$", line, re.MULTILINE)
    assert f"--at {time_text(END)} tells how it stood then" in told.stderr


def test_explain_tells_what_a_finding_means() -> None:
    result = run("explain", "TR012")
    assert result.exit_code == 0
    assert "TR012" in result.stdout
    assert "no finding TR999" in error_of(run("explain", "TR999")).message


def test_backtest_scores_alerts_against_labels(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100), 30_000: (30, 60)})
    labels = tmp_path / "incidents.csv"
    labels.write_text(
        "start,end,service,severity,id\n"
        f"{time_text(START + 60 * 20_000)},{time_text(START + 60 * 20_060)},checkout,sev1,INC-1\n"
        f"{time_text(START + 60 * 35_000)},{time_text(START + 60 * 35_010)},checkout,sev2,INC-2\n",
        encoding="utf-8",
    )
    deployments = tmp_path / "deployments.csv"
    deployments.write_text(
        "time,service,kind,change\n"
        f"{START + 60 * 19_000},checkout,feature,v1\n{START + 60 * 20_100},checkout,feature,v2\n"
        f"{START + 60 * 20_100},checkout,rollback,v1\n",
        encoding="utf-8",
    )
    (one,) = answer("backtest", "-f", specs, "--labels", labels, "--deployments", deployments)
    assert one["episodes"][0]["severity"] == "page"
    assert one["recall"] == 0.5
    assert one["timeToDetect"] == 60
    assert [each["incident"] for each in one["postmortemsNeeded"]] == ["INC-1"]
    assert one["postmortemsNeeded"][0]["share"] == pytest.approx(6000 / 4032, rel=0.01)
    assert [transition["to"] for transition in one["transitions"]][:2] == ["caution", "stability"]
    assert sum(one["hoursInState"].values()) == pytest.approx(30 * 24)
    assert [each["change"] for each in one["deploymentsStopped"]] == ["v2"]


def test_a_backtest_from_the_middle_knows_the_state_it_began_in(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)})
    since = START + 60 * 20_200
    (part,) = answer("backtest", "-f", specs, "--from", since)
    (whole,) = answer("backtest", "-f", specs)
    assert part["hoursInState"]["feature"] == 0
    assert part["transitions"] == [one for one in whole["transitions"] if one["at"] > time_text(since)]


def test_a_backtest_writes_reports_that_are_whole(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)})
    page, picture = tmp_path / "out" / "report.html", tmp_path / "burn.svg"
    result = run("backtest", "-f", specs, "--report", page, "--svg", picture)
    assert result.exit_code == 0, result.exception
    assert "checkout-availability" in page.read_text(encoding="utf-8")
    assert picture.read_text(encoding="utf-8").lstrip().startswith("<svg")


def test_what_init_writes_validates_clean(tmp_path: Path) -> None:
    folder = tmp_path / "slo"
    assert run("init", folder, "--service", "shop").exit_code == 0
    result = run("validate", "-f", folder)
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    assert "is there already" in error_of(run("init", folder)).message
    assert run("init", folder, "--force").exit_code == 0


def test_a_policy_test_that_fails_says_where(tmp_path: Path) -> None:
    text = """
apiVersion: tightrope.dev/v1
kind: PolicyTest
metadata: {name: freeze-after-an-outage}
spec:
  policy: default
  slo: {objective: 0.999, window: 28d}
  start: 2026-03-01T00:00:00Z
  resolution: 5m
  slices:
    - {for: 28d, total: 1000}
    - {for: 1h, total: 1000, bad: 1000}
    - {for: 1d, total: 1000}
  expect:
    - {at: 28d, state: feature, flow: feature, gate: {feature: go}}
    - {at: 28d 1h, state: STATE, flow: stability, gate: {feature: stop, rollback: go}}
"""
    good, wrong = tmp_path / "good.yaml", tmp_path / "wrong.yaml"
    good.write_text(text.replace("STATE", "stability"), encoding="utf-8")
    wrong.write_text(text.replace("STATE", "caution"), encoding="utf-8")
    assert run("policy", "test", good).exit_code == 0
    failed = run("policy", "test", wrong)
    assert failed.exit_code == 3
    assert "at 28d 1h (2026-03-29T01:00:00Z): state is stability, not caution" in failed.stdout


def test_schemas_are_valid_json_and_cover_the_kinds(tmp_path: Path) -> None:
    assert run("generate", "schemas", "-d", tmp_path).exit_code == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"SLO.schema.json", "ErrorBudgetPolicy.schema.json"} <= names
    assert json.loads((tmp_path / "SLO.schema.json").read_text(encoding="utf-8"))["$schema"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("target: 0.999", "target: 1"), "no error budget"),
        (("target: 0.999", "targetPercent: 100"), "no error budget"),
        (("target: 0.999", "target: 99.9"), "99.9"),
        (("kind: SLO", "kind: SL0"), "SL0"),
        (("budgetingMethod:", "budgetingMetod:"), "budgetingMetod"),
        (
            ("metricSourceRef: shop-log, spec: {column: good", "metricSourceRef: shop-lag, spec: {column: good"),
            "shop-lag",
        ),
    ],
)
def test_a_wrong_spec_is_told_with_its_place(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    specs = write_world(tmp_path, specs=SPECS.replace(*change))
    result = run("validate", specs)
    assert result.exit_code == 2
    assert says in result.output
    assert f"{specs}:" in result.output
    assert "= help:" in result.output


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        (None, "shop.csv"),
        ("", "has no rows"),
        ("time,service,ok,total\n1772323200,checkout,1,1\n", "good"),
        ("time,service,good,total\n1772323200,checkout,5,4\n", "good is 5 of 4"),
        ("time,service,good,total\n1772323200,checkout,-1,4\n", "-1"),
        ("time,service,good,total\nyesterday,checkout,1,1\n", "yesterday"),
    ],
)
def test_telemetry_that_cannot_be_true_is_one_clear_error(tmp_path: Path, csv: str | None, says: str) -> None:
    specs = tmp_path / "slo.yaml"
    specs.write_text(SPECS, encoding="utf-8")
    if csv is not None:
        (tmp_path / "shop.csv").write_text(csv, encoding="utf-8")
    error = error_of(run("status", "-f", specs))
    assert says in error.message
    assert error.exit_code == 2


def test_bad_rows_are_told_with_their_lines_and_strict_refuses_them(tmp_path: Path) -> None:
    specs = write_world(tmp_path)
    with (tmp_path / "shop.csv").open("a", encoding="utf-8") as file:
        file.write("nonsense,checkout,1,1\n")
    result = run("status", "-f", specs)
    assert result.exit_code == 0
    assert f"line {MINUTES + 2}" in result.stderr
    assert str(MINUTES + 2) in error_of(run("status", "-f", specs, "--strict")).message


def test_an_unknown_service_names_the_nearest(tmp_path: Path) -> None:
    specs = write_world(tmp_path)
    assert "did you mean 'checkout'" in error_of(run("gate", "chekout", "-f", specs)).remedy
    assert "did you mean" in error_of(run("status", "chekout", "-f", specs)).remedy


UNREACHABLE = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: search-availability}
spec:
  service: search
  budgetingMethod: Occurrences
  timeWindow: [{duration: 1d, isRolling: true}]
  objectives: [{target: 0.999}]
  indicator:
    metadata: {name: search-success}
    spec:
      ratioMetric:
        counter: true
        good:  {metricSource: {metricSourceRef: prom, spec: {query: 'ok_total'}}}
        total: {metricSource: {metricSourceRef: prom, spec: {query: 'all_total'}}}
---
apiVersion: openslo/v1
kind: DataSource
metadata: {name: prom}
spec: {type: prometheus, connectionDetails: {url: 'http://127.0.0.1:9'}}
"""


def test_a_prometheus_out_of_reach_is_exit_5_for_the_gate_and_2_elsewhere(tmp_path: Path) -> None:
    specs = tmp_path / "slo.yaml"
    specs.write_text(UNREACHABLE, encoding="utf-8")
    assert run("gate", "search", "-f", specs).exit_code == 5
    allowed = run("gate", "search", "-f", specs, "--on-unavailable", "allow")
    assert allowed.exit_code == 0
    assert "warning" in allowed.stderr
    assert error_of(run("status", "-f", specs)).exit_code == 2
    rollback = run("gate", "search", "-f", specs, "--kind", "rollback")
    assert rollback.exit_code == 0
    assert "can't be read" in rollback.stdout


def test_an_instant_in_milliseconds_or_in_another_age_is_refused_in_words(tmp_path: Path) -> None:
    specs = write_world(tmp_path)
    for command in (["status"], ["gate", "checkout"], ["explain", "checkout"]):
        result = run(*command, "-f", specs, "--at", END * 1000)
        assert result.exit_code == 2
        assert f"it looks like milliseconds; write 2026-03-31T00:00:00Z or {END}" in result.stderr
        assert "not between 1970 and 2200" in run(*command, "-f", specs, "--at", "2999-01-01").stderr
        assert "after the end of the data" in error_of(run(*command, "-f", specs, "--at", "2199-01-01")).message
    assert run("status", "-f", specs, "--at", "2030-01-01").exit_code == 0


DIVIDED = (
    SPECS
    + """---
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout-latency, annotations: {tightrope.dev/policy: own}}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 28d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: checkout-fast}
    spec:
      ratioMetric:
        counter: false
        good:  {metricSource: {metricSourceRef: shop-log, spec: {column: good, where: {service: checkout}}}}
        total: {metricSource: {metricSourceRef: shop-log, spec: {column: total, where: {service: checkout}}}}
---
apiVersion: tightrope.dev/v1
kind: ErrorBudgetPolicy
metadata: {name: own}
spec:
  services: [SERVICE]
  states:
    - {name: open, flow: feature, allows: all}
    - {name: shut, flow: stability, allows: [security], enter: {remaining: "<= 0%"}, exit: {remaining: ">= 10%"}}
"""
)


@pytest.mark.parametrize("around", [False, True])
def test_a_service_whose_slos_follow_different_policies_is_refused(tmp_path: Path, around: bool) -> None:
    text = DIVIDED.replace("SERVICE", "search")
    documents = text.split("---\n")
    specs = write_world(tmp_path, specs="---\n".join(reversed(documents) if around else documents))
    error = error_of(run("gate", "checkout", "-f", specs, "--at", END))
    assert isinstance(error, SpecsInvalidError)
    (finding,) = [one for one in error.findings if one.severity == "error"]
    assert finding.code == "TR042"
    assert f"{specs}:" in finding.message
    assert {"own", "default"} <= set(finding.message.replace(",", " ").split())
    assert finding.place.line != int(finding.message.partition(f"{specs}:")[2].partition(":")[0])


def test_slos_of_a_service_may_come_to_one_policy_by_different_ways(tmp_path: Path) -> None:
    specs = write_world(tmp_path, specs=DIVIDED.replace("SERVICE", "checkout"))
    assert answer("gate", "checkout", "-f", specs, "--at", END)["policy"] == "own"


def test_explain_speaks_of_one_slo_and_decides_on_all_of_the_service(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)}, DIVIDED.replace("SERVICE", "checkout"))
    at = START + 60 * 20_100
    document = answer("explain", "checkout-latency", "-f", specs, "--at", at)
    assert [one["slo"] for one in document["objectives"]] == ["checkout-latency"]
    assert document["decision"] == answer("gate", "checkout", "-f", specs, "--at", at)


BROKEN = (
    SPECS
    + """---
apiVersion: tightrope.dev/v1
kind: ErrorBudgetPolicy
metadata: {name: asking}
spec:
  states:
    - {name: open, flow: feature, allows: all}
    - name: shut
      flow: stability
      allows: [security, rollback]
      enter: {any: [{remaining: "<= 0%"}, {cel: "burn['9h'] > 1.0"}]}
      exit: {remaining: ">= 10%"}
"""
)


def test_an_expression_that_fails_warns_wherever_the_state_is_told(tmp_path: Path) -> None:
    specs = write_world(tmp_path, specs=BROKEN)
    for command in (["status"], ["explain", "checkout"], ["gate", "checkout"], ["gate", "checkout", "--kind=rollback"]):
        result = run(*command, "-f", specs, "--at", START + 2 * 86400)
        assert result.exit_code == 0, result.exception
        assert "counts as not holding" in " ".join(result.output.split()), command
    document = answer("gate", "checkout", "-f", specs, "--at", START + 2 * 86400)
    assert [one["outcome"] for one in document["reasons"] if one["rule"] == "state-certain"] == ["warn"]


def test_the_program_ends_without_traceback_and_with_the_right_code(tmp_path: Path) -> None:
    for arguments, code in (
        (["validate", "-f", str(tmp_path / "none.yaml")], 2),
        (["status", "--at", "soon", "-f", "x"], 2),
        (["stauts"], 2),
        (["--version"], 0),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "tightrope", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
    assert (
        "Did you mean 'status'"
        in subprocess.run(
            [sys.executable, "-m", "tightrope", "stauts"], capture_output=True, text=True, check=False, timeout=60
        ).stderr
    )


def test_ascii_output_has_only_ascii(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)})
    result = run("--ascii", "status", "-f", specs)
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout


def test_a_reader_that_goes_away_changes_no_verdict(tmp_path: Path) -> None:
    specs = write_world(tmp_path, {20_000: (60, 100)})
    for arguments, code in (
        (["gate", "checkout", "-f", str(specs), "--at", str(START + 60 * 20_100)], 3),
        (["gate", "checkout", "-f", str(specs), "--at", str(START + 60 * 19_000)], 0),
        (["--help"], 0),
    ):
        script = f"{sys.executable} -m tightrope {shlex.join(arguments)} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr


def test_the_gate_tells_of_rows_that_could_not_be_used(tmp_path: Path) -> None:
    specs = write_world(tmp_path)
    with (tmp_path / "shop.csv").open("a", encoding="utf-8") as file:
        file.write("nonsense,checkout,1,1\n")
    document = answer("gate", "checkout", "-f", specs, "--at", END)
    assert any("1 of 43,201 rows" in reason["says"] for reason in document["reasons"])
    assert answer("backtest", "-f", specs)[0]["quality"]["badRows"] == 1


def test_a_report_is_no_picture(tmp_path: Path) -> None:
    result = run("backtest", "-f", write_world(tmp_path), "--report", tmp_path / "burn.svg")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--report writes HTML. For a picture give --svg" in result.stderr
    assert not (tmp_path / "burn.svg").exists()


def test_a_picture_of_several_objectives_is_refused_before_the_work(tmp_path: Path) -> None:
    specs = write_world(tmp_path)
    path = next(tmp_path.rglob("*.yaml"))
    documents = path.read_text(encoding="utf-8").split("---\n")
    promise = next(one for one in documents if "kind: SLO" in one)
    path.write_text("---\n".join([*documents, promise.replace("checkout-availability", "second")]), encoding="utf-8")
    result = run("backtest", "-f", specs, "--svg", tmp_path / "burn.svg")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--svg draws one objective, not those of 2 SLOs" in result.stderr


def test_a_narrow_terminal_gets_lines_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = write_world(tmp_path, {40_000: (60, 50)})
    for columns in (40, 60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = run("status", "-f", specs).stdout.splitlines()[2:4]
        assert all(len(line) <= columns for line in lines)
        assert "checkout-avail" in lines[1]
        assert re.search(r"\d %", lines[1])
        assert ("outlook" in lines[0]) == (columns >= 60)


def test_ascii_output_knows_no_dash(tmp_path: Path) -> None:
    specs = write_world(tmp_path)
    assert "–" in run("status", "--at", "2020-01-01T00:00:00Z", "-f", specs).stdout
    for words in (["status", "--at", "2020-01-01T00:00:00Z"], ["status", "--all"], ["backtest"]):
        assert run("--ascii", *words, "-f", specs).stdout.isascii()
