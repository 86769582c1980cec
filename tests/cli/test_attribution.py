"""``explain --budget`` tells where a budget went, and the parts sum to the whole."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from tests.conftest import ROOT
from tightrope.cli.main import cli

REAL = ROOT / "examples" / "real"
AT = "2025-06-18T23:15:00Z"
MINUTES_ALLOWED = 28 * 1440 / 100
"""What 99 % allow in 28 days."""


def told(*more: str) -> str:
    asked = ["explain", "github-actions", "--budget", "-f", str(REAL / "slo"), "--at", AT]
    done = CliRunner().invoke(cli, [*asked, "--incidents", str(REAL / "incidents.csv"), *more])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_parts_sum_to_what_is_spent() -> None:
    (account,) = json.loads(told("-o", "json"))
    assert sum(one["bad"] for one in account["causes"]) == account["bad"]
    shares = sum(one["shareOfBudget"] for one in account["causes"])
    assert abs(shares - account["consumedRatio"]) < 1e-9
    assert [one["cause"] for one in account["causes"]].count("B") == 1
    for one in account["causes"]:
        assert abs(one["minutes"] - one["shareOfBudget"] * MINUTES_ALLOWED) < 1e-9


def test_a_person_reads_one_line_and_a_table() -> None:
    first, header, *rows = told().splitlines()
    assert first.startswith("github-actions-up: spent 153.8 % = I 145.1 (github-25287025 43.4, ")
    assert header.split() == ["cause", "of", "budget", "amount", "as", "outage"]
    assert rows[0].split()[:2] == ["I", "github-25287025"]


def test_a_deployment_that_made_it_worse_has_a_price(tmp_path: Path) -> None:
    rows = ["time,service,change", "2025-06-18T22:00:00Z,github-actions,v7", "2025-05-01T00:00:00Z,github-actions,v1"]
    (tmp_path / "deployments.csv").write_text("\n".join(rows) + "\n")
    (account,) = json.loads(told("-o", "json", "--deployments", str(tmp_path / "deployments.csv")))
    assert sum(one["bad"] for one in account["causes"]) == account["bad"]
