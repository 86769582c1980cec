"""What forges tell of pushes, as triggers of pipelines; and a delivery that starts a run, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.hooks import ZERO, gitea, gitea_push, github, github_commit, github_push, gitlab, gitlab_push, sha
from tests.delivery.pipeline_world import Shop, world, written
from tightrope.delivery.pipelines.pushes import push_of
from tightrope.specs.model import IntegrationType

GITHUB, GITLAB, GITEA = IntegrationType.GITHUB, IntegrationType.GITLAB, IntegrationType.GITEA
Sent = tuple[dict[str, str], bytes]


def push(kind: IntegrationType, sent: Sent) -> Any:
    headers, body = sent
    return push_of(kind, headers, json.loads(body))


def test_github_tells_of_a_push_with_its_paths() -> None:
    commits = [
        github_commit(2, "feat: a\n\nlong") | {"added": ["src/a"], "modified": ["b"], "removed": []},
        github_commit(3, "fix: b") | {"added": [], "modified": ["b"], "removed": ["c"]},
    ]
    found = push(GITHUB, github("push", github_push(*commits)))
    assert (found.repository, found.branch, found.tag) == ("https://github.com/acme/shop.git", "main", "")
    assert found.after == sha(3)
    assert found.paths == ("src/a", "b", "c")
    assert found.title == "fix: b"


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        ({"forced": True}, None),
        ({"before": ZERO}, None),
        ({"commits": []}, None),
        ({}, ("a",)),
    ],
)
def test_of_a_push_that_is_not_told_in_full_nobody_knows_the_paths(more: dict[str, Any], paths: Any) -> None:
    commit = github_commit(2, "feat: a") | {"added": ["a"], "modified": [], "removed": []}
    assert push(GITHUB, github("push", github_push(commit) | more)).paths == paths


def test_a_tag_is_one_and_what_was_removed_starts_nothing() -> None:
    commit = github_commit(2, "feat: a")
    tag = github_push(commit) | {"ref": "refs/tags/v1", "after": sha(9), "before": ZERO, "head_commit": commit}
    found = push(GITHUB, github("push", tag))
    assert (found.tag, found.branch, found.after) == ("v1", "", sha(2)), "of an annotated tag it is the commit"
    assert push(GITHUB, github("push", tag | {"after": ZERO, "deleted": True})) is None
    assert push(GITHUB, github("ping", {})) is None
    assert push(GITHUB, github("push", {"ref": "refs/notes/x", "after": sha(1)})) is None
    assert push(GITHUB, github("push", [])) is None


def test_gitlab_and_gitea_tell_the_same_in_their_words() -> None:
    found = push(GITLAB, gitlab(gitlab_push(1, 2), event="Push Hook"))
    assert (found.branch, found.after) == ("main", sha(2))
    assert found.repository == "https://gitlab.example.org/acme/shop"
    assert push(GITLAB, gitlab(gitlab_push(1, 2, total=30), event="Push Hook")).paths is None
    assert push(GITLAB, gitlab(gitlab_push(1, 2), event="Pipeline Hook")) is None
    for kin in ("gitea", "forgejo"):
        found = push(GITEA, gitea("push", gitea_push(1, 2), kin))
        assert (found.branch, found.after) == ("main", sha(2))


def test_a_delivery_starts_what_wants_it_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "repositories")
    after = shop.commit({"a": "1"})
    stages = "    - {name: build, steps: [{name: make, run: 'true'}]}\n"
    mine = written(stages, repository=shop.bare, more="  triggers: {push: {branches: [main], paths: ['a']}}\n")
    commit = github_commit(2, "feat: a") | {"id": after, "added": ["a"], "modified": [], "removed": []}
    document = github_push(commit) | {"after": after, "head_commit": commit}
    document["repository"] = {"clone_url": str(shop.bare)}
    headers, body = github("push", document)
    with world(tmp_path / "data", definitions=lambda: [mine]) as here:
        first = here.pipelines.told(GITHUB, headers, json.loads(body))
        second = here.pipelines.told(GITHUB, headers, json.loads(body))
        assert [run.number for run in first] == [run.number for run in second] == [1]
        assert here.until(first[0]).state == "succeeded"
