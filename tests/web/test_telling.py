"""What happened, told in a line: deployments and what went past the gate."""

from __future__ import annotations

from pathlib import Path

from tests.contracts import hooks
from tests.delivery.test_inbox import Post
from tests.delivery.worlds import NOON, commit, report, shop
from tests.specs.samples import SLO, SOURCE, read
from tightrope.delivery.changes import DeploymentState
from tightrope.web.telling import told


def test_deployments_and_findings_are_told_in_plain_words(tmp_path: Path) -> None:
    with shop(str(tmp_path / "store")) as here:
        here.specs = read(SLO, SOURCE)
        here.deliveries.record(report("1", 0, DeploymentState.STARTED))
        here.deliveries.record(report("1", 60, commits=(commit(1, "fix: a"), commit(2, "perf: b"))))
        here.deliveries.record(report("2", 90, DeploymentState.FAILED))
        here.deliveries.record(report("3", 120, version="v0"))
        (finding,) = [
            one
            for one in here.deliveries.findings.listed()
            if one.deployment == here.deliveries.recent("checkout", NOON)[0].id
        ]
        here.deliveries.findings.close(finding.id, by="ann", reason="agreed")
        lines = [told(entry) for entry in here.journal.read()]
    assert [(one.sign, f"{one.head} {one.subject}", one.detail) for one in lines] == [
        ("none", "First deployment to production: checkout", ""),
        ("none", "Deploying v1 in production of checkout", "feature"),
        ("warn", "Went past the gate: checkout", "checkout v1 went to production without a decision of the gate"),
        ("none", "2 commits known of checkout", "perf: b"),
        ("good", "Deployed v1 in production of checkout", "reliability · 2 commits · by Ann"),
        ("bad", "Deployment of v2 failed in production of checkout", "feature"),
        ("warn", "Went past the gate: checkout", "checkout v2 went to production without a decision of the gate"),
        ("warn", "Rolled back to v0 in production of checkout", "version v0 is below v1, which was live"),
        ("good", "Finding closed of checkout", "agreed"),
    ]
    assert lines[4].href == "/services/checkout"


def test_what_others_told_of_changes_builds_and_artifacts_is_told_in_plain_words(tmp_path: Path) -> None:
    with shop(str(tmp_path / "store")) as here:
        post = Post(here)
        post.send("github", hooks.github("pull_request", hooks.github_pull(("bug",)), "t-1"))
        post.send("github", hooks.github("workflow_run", hooks.github_run("completed", "failure"), "t-2"))
        event = hooks.cdevent("artifact.published", {}, custom={"repository": "github.com/acme/shop"})
        token = {"authorization": f"Bearer {hooks.SECRET}", "content-type": "application/json"}
        post.send("cdevents", (token, hooks.encoded(event)))
        post.inbox.process()
        lines = [told(entry) for entry in here.journal.read()]
    assert [(one.sign, f"{one.head} {one.subject}", one.detail) for one in lines] == [
        ("none", "Merged 7 into checkout", "Bump the library"),
        ("warn", "Build failed of checkout", f"Build · {hooks.sha(3)[:12]}"),
        ("none", "Artifact published of checkout", "checkout"),
    ]
