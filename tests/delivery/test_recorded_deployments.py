"""The deployments of a real platform, recorded as they happened: the rollbacks that are found are those that were.

The table is of a public GitOps repository (see the README beside it): a rollback is where the number of a version went
down. What has no number, such as the name of a commit, the table cannot judge; there we know what was live before.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

from tests.delivery.worlds import shop
from tightrope.base.units import parse_time
from tightrope.delivery.changes import DeploymentReport, DeploymentState
from tightrope.specs.model import ChangeKind

# those with the most rollbacks to a deployment; all 43 agree as well, and take two minutes
APPS = frozenset(
    {
        "asset-manager",
        "content-publisher",
        "govspeak-preview",
        "licensify-backend",
        "licensify-feed",
        "licensify-frontend",
        "search-admin",
        "smokey",
    }
)


def rows(recorded: Path) -> list[dict[str, str]]:
    """What happened in production."""
    with gzip.open(recorded / "delivery" / "govuk_image_tags.csv.gz", "rt", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["env"] == "production"]


def test_rollbacks_agree_with_the_known_answers(recorded: Path, tmp_path: Path) -> None:
    table = rows(recorded)
    known = json.loads((recorded / "known_answers.json").read_text("utf-8"))["delivery"]["govuk_image_tags.csv.gz"]
    assert sum(row["change"] == "rollback" for row in table) == known["production_rollbacks"]
    mine = [row for row in table if row["app"] in APPS and row["new_tag"] and row["change"] != "flag_change"]
    reports = [
        DeploymentReport(
            "gitops",
            row["sha"],
            row["app"],
            "production",
            parse_time(row["time"]),
            DeploymentState.SUCCEEDED,
            version=row["new_tag"],
        )
        for row in mine
    ]
    with shop(str(tmp_path / "store")) as here:
        made = here.deliveries.record_all(reports)
        assert not here.deliveries.findings.listed()
    pairs = list(zip(mine, made, strict=True))
    marked = {row["sha"] + row["app"] for row in mine if row["change"] == "rollback"}
    found = {row["sha"] + row["app"]: one for row, one in pairs if one.rollback}
    assert len(marked) == 31
    assert marked <= set(found)
    assert {row["change"] for row, one in pairs if one.rollback and row["sha"] + row["app"] not in marked} <= {
        "deploy_nonversion"
    }
    assert all(one.kind is ChangeKind.ROLLBACK for one in found.values())
    assert all("is below" in one.because for name, one in found.items() if name in marked)
    followed = [(row, one) for row, one in pairs if row["change"] == "deploy"]
    assert all(one.previous_version == row["old_tag"] for row, one in followed)
