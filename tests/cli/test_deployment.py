"""What the commands on deployments and findings promise, on a store without a server."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.world import answer, error_of, run
from tests.specs.samples import SLO, SOURCE
from tightrope.base.errors import ConflictError, NotFoundError, TightropeError, UsageError


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "data")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with three commits, the second of them tagged."""
    folder = tmp_path / "shop"
    folder.mkdir()

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=Ann Lee", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for number, message in enumerate(("feat: one", "fix: two", "docs: three"), 1):
        git("commit", "-q", "--allow-empty", "-m", message)
        if number == 2:
            git("tag", "v2")
    git("remote", "add", "origin", "https://ann:word@github.com/acme/shop.git")
    return folder


def record(data: str, *arguments: str) -> Any:
    return answer("deployment", "record", "checkout", "--data", data, "-o", "json", *arguments)


def test_a_deployment_is_recorded_listed_and_shown(data: str) -> None:
    made = record(data, "--version", "v1", "--by", "ann", "--at", "2026-03-17T12:00:00Z", "--url", "https://ci/1")
    assert (made["service"], made["environment"], made["state"], made["by"]) == (
        "checkout",
        "production",
        "succeeded",
        "ann",
    )
    assert (made["finishedAt"], made["source"]) == ("2026-03-17T12:00:00Z", "cli")
    record(data, "--version", "v2", "--at", "2026-03-17T13:00:00Z")
    back = record(data, "--version", "v1", "--at", "2026-03-17T14:00:00Z")
    assert (back["rollback"], back["because"]) == (True, "version v1 is below v2, which was live")
    listed = answer("deployment", "list", "--data", data, "-o", "json", "--service", "checkout", "--limit", "2")
    assert [one["version"] for one in listed] == ["v1", "v2"]
    assert answer("deployment", "show", made["id"], "--data", data, "-o", "json") == made
    table = run("deployment", "list", "--data", data).output
    assert "rollback" in table
    assert made["id"] in table
    shown = run("deployment", "show", back["id"], "--data", data).output
    assert "checkout v1 to production: succeeded" in shown
    assert "version v1 is below v2" in shown


def test_a_clone_tells_commits_version_and_repository(data: str, clone: Path) -> None:
    first = record(
        data, "--repo", str(clone), "--revision", "HEAD~2", "--version", "v1", "--at", "2026-03-17T12:00:00Z"
    )
    assert (first["commits"], first["repository"]) == ([], "github.com/acme/shop")
    made = record(data, "--repo", str(clone), "--revision", "v2", "--at", "2026-03-17T13:00:00Z")
    assert (made["version"], made["kind"], [one["title"] for one in made["commits"]]) == (
        "v2",
        "reliability",
        ["fix: two"],
    )
    assert made["authors"] == ["Ann Lee"]
    head = record(data, "--repo", str(clone), "--at", "2026-03-17T14:00:00Z")
    assert ([one["title"] for one in head["commits"]], head["kind"]) == (["docs: three"], "config")
    back = record(data, "--repo", str(clone), "--revision", "HEAD~1", "--at", "2026-03-17T15:00:00Z")
    assert (back["rollback"], "is in the past of" in back["because"]) == (True, True)
    given = record(
        data, "--repo", str(clone), "--previous", "HEAD~2", "--environment", "qa", "--at", "2026-03-17T15:00:00Z"
    )
    assert [one["title"] for one in given["commits"]] == ["docs: three", "fix: two"]
    text = run("deployment", "show", made["id"], "--data", data).output
    assert "commits   1" in text
    assert "Ann Lee  fix: two" in text
    assert "word" not in str(first)


def test_what_goes_on_is_ended_by_the_same_version(data: str) -> None:
    began = record(data, "--version", "v1", "--state", "started", "--at", "2026-03-17T12:00:00Z")
    assert began["finishedAt"] is None
    ended = record(data, "--version", "v1", "--at", "2026-03-17T12:05:00Z")
    assert (ended["id"], ended["startedAt"]) == (began["id"], "2026-03-17T12:00:00Z")
    named = record(data, "--id", "run-7", "--version", "v1", "--state", "failed")
    assert record(data, "--id", "run-7", "--version", "v1", "--state", "failed")["id"] == named["id"]


def test_a_finding_is_listed_and_closed(data: str, tmp_path: Path) -> None:
    specs = tmp_path / "slo.yaml"
    specs.write_text(f"{SLO}---\n{SOURCE}", encoding="utf-8")
    made = record(data, "--version", "v1", "-f", str(specs))
    (finding,) = made["findings"]
    assert (finding["kind"], finding["open"]) == ("no-decision", True)
    assert answer("finding", "list", "--data", data, "-o", "json") == [finding]
    assert "without a decision of the gate" in run("finding", "list", "--data", data).output
    closed = answer(
        "finding", "close", finding["id"], "--data", data, "-o", "json", "--reason", "agreed", "--who", "ben"
    )
    assert (closed["open"], closed["closedBy"], closed["reason"]) == (False, "ben", "agreed")
    assert run("finding", "list", "--data", data).output == "no finding is open\n"
    assert "closed by ben" in run("finding", "list", "--all", "--data", data).output
    assert isinstance(
        error_of(run("finding", "close", finding["id"], "--data", data, "--reason", "again")), ConflictError
    )


def test_nothing_is_known_of_a_new_store(data: str) -> None:
    record(data, "--version", "v1", "--environment", "qa")
    assert run("deployment", "list", "--data", data, "--service", "nobody").output == "no deployment is known\n"
    assert run("finding", "list", "--all", "--data", data).output == "nothing went past the gate\n"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("record", "checkout"), UsageError, "what was deployed"),
        (("record", " ", "--version", "v1"), UsageError, "without service"),
        (("record", "checkout", "--version", "a\x1bb"), UsageError, "version"),
        (("record", "checkout", "--repo", "/nowhere"), NotFoundError, "no repository"),
        (("show", "DEP-0"), NotFoundError, "DEP-0"),
    ],
)
def test_what_cannot_be_done_is_told(
    data: str, arguments: tuple[str, ...], error: type[TightropeError], says: str
) -> None:
    record(data, "--version", "v0", "--environment", "qa")
    found = error_of(run("deployment", *arguments, "--data", data))
    assert isinstance(found, error)
    assert says in found.message


def test_a_missing_revision_is_told(data: str, clone: Path) -> None:
    found = error_of(run("deployment", "record", "checkout", "--data", data, "--repo", clone, "--revision", "v9"))
    assert isinstance(found, NotFoundError)
    assert "'v9' is no commit of" in found.message


def test_what_is_live_may_be_unknown_to_the_clone(data: str, clone: Path) -> None:
    record(data, "--version", "v0", "--revision", "f" * 40, "--at", "2026-03-17T12:00:00Z")
    done = run("deployment", "record", "checkout", "--data", data, "--repo", str(clone))
    assert "is not in" in done.stderr
    assert "commits   not known" in done.output


def test_a_store_or_a_server_is_needed() -> None:
    assert "--server URL, or --data DIR" in run("deployment", "list").output
