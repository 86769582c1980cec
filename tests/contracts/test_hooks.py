"""Webhooks of others: what they prove, what they tell, and what is ignored; see hooks.py for where bodies come from."""

from __future__ import annotations

import base64
import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts import hooks
from tests.contracts.hooks import AT, NOON, SECRET, ZERO, encoded, sha, signature
from tightrope.base.errors import DataError, TightropeError, UsageError
from tightrope.delivery.cdevents import VERSIONS, artifact_purl, event_document, read_event
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.facts import BuildState, Built, Deployed, Fact, Merged, Published, Pushed
from tightrope.delivery.receivers import receiver_of
from tightrope.specs.model import IntegrationType

Sent = tuple[dict[str, str], bytes]
NOW = NOON + 5
STARTED, SUCCEEDED, FAILED = DeploymentState


def genuine(kind: IntegrationType, sent: Sent, secret: str = SECRET) -> bool:
    return receiver_of(kind).genuine(*sent, secret, NOW)


def facts(kind: IntegrationType, sent: Sent) -> tuple[Fact, ...]:
    assert genuine(kind, sent)
    return receiver_of(kind).read(*sent, NOW).facts


def deployed(kind: IntegrationType, sent: Sent) -> Deployed:
    (fact,) = facts(kind, sent)
    assert isinstance(fact, Deployed)
    return fact


def ignored(kind: IntegrationType, sent: Sent) -> str:
    told = receiver_of(kind).read(*sent, NOW)
    assert told.facts == ()
    return told.ignored


# --- proofs --------------------------------------------------------------------------------------------------------


def test_the_known_answer_of_github_is_met() -> None:
    body = b"Hello, World!"
    known = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert signature(body) == known
    assert genuine(IntegrationType.GITHUB, ({"x-hub-signature-256": f"sha256={known}"}, body))
    assert genuine(IntegrationType.FLUX, ({"x-signature": f"sha256={known}"}, body))
    for kin in ("gitea", "forgejo", "gogs"):
        assert genuine(IntegrationType.GITEA, ({f"x-{kin}-signature": known}, body))


@pytest.mark.parametrize("kind", [IntegrationType.GITHUB, IntegrationType.GITEA, IntegrationType.FLUX])
@pytest.mark.parametrize(
    "given",
    ["", "sha256=", "sha256=é", "757107", f"sha256={'0' * 64}", "sha1=2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"],
)
def test_a_missing_or_wrong_signature_proves_nothing(kind: IntegrationType, given: str) -> None:
    names = ("x-hub-signature-256", "x-gitea-signature", "x-signature")
    assert not genuine(kind, (dict.fromkeys(names, given), b"Hello, World!"))
    assert not genuine(kind, ({}, b"Hello, World!"))


@given(st.binary(max_size=200), st.integers(0, 10**6))
def test_a_body_that_was_changed_is_not_genuine(body: bytes, where: int) -> None:
    changed = bytearray(body or b"x")
    changed[where % len(changed)] ^= 1
    headers = {"x-hub-signature-256": f"sha256={signature(body or b'x')}"}
    assert genuine(IntegrationType.GITHUB, (headers, body or b"x"))
    assert not genuine(IntegrationType.GITHUB, (headers, bytes(changed)))
    assert not genuine(IntegrationType.GITHUB, (headers, body or b"x"), "another secret")


def test_gitlab_shows_a_token_or_signs_as_standard_webhooks_do() -> None:
    body = b'{"object_kind": "push"}'
    assert genuine(IntegrationType.GITLAB, ({"x-gitlab-token": SECRET}, body))
    assert not genuine(IntegrationType.GITLAB, ({"x-gitlab-token": SECRET + "x"}, body))
    assert not genuine(IntegrationType.GITLAB, ({"x-gitlab-token": "ü"}, body))
    assert genuine(IntegrationType.GITLAB, ({"x-gitlab-signature": signature(body)}, body))
    assert not genuine(IntegrationType.GITLAB, ({"x-gitlab-signature": signature(body)}, body + b" "))
    for secret in (SECRET, "whsec_" + base64.b64encode(b"a key of bytes").decode()):
        headers = hooks.standard(body, "msg_1", NOON, secret)
        assert genuine(IntegrationType.GITLAB, (headers, body), secret)
        rotated = headers | {"webhook-signature": f"v1,c29tZXRoaW5n v2,x {headers['webhook-signature']}"}
        assert genuine(IntegrationType.GITLAB, (rotated, body), secret)
        for wrong in (
            {"webhook-id": "msg_2"},
            {"webhook-timestamp": str(NOON + 1)},
            {"webhook-timestamp": "soon"},
            {"webhook-signature": headers["webhook-signature"].removeprefix("v1,")},
        ):
            assert not genuine(IntegrationType.GITLAB, (headers | wrong, body), secret)
        assert not genuine(IntegrationType.GITLAB, (headers, body + b" "), secret)
        old = hooks.standard(body, "msg_1", NOON - 2 * 86400, secret)
        assert not genuine(IntegrationType.GITLAB, (old, body), secret)


def test_the_example_of_standard_webhooks_is_met() -> None:
    """The example of the specification: its secret, id, timestamp and signature."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    assert receiver_of(IntegrationType.GITLAB).genuine(headers, body, secret, 1614265330)


@pytest.mark.parametrize("kind", [IntegrationType.ARGOCD, IntegrationType.ARGO_ROLLOUTS, IntegrationType.CDEVENTS])
def test_who_cannot_sign_shows_a_token(kind: IntegrationType) -> None:
    basic = base64.b64encode(f"argocd:{SECRET}".encode()).decode()
    for value in (f"Bearer {SECRET}", f"bearer {SECRET}", f"Basic {basic}"):
        assert genuine(kind, ({"authorization": value}, b"{}"))
    for value in ("", "Bearer", "Bearer x", f"Token {SECRET}", "Basic x", "Basic eA==", SECRET):
        assert not genuine(kind, ({"authorization": value}, b"{}"))


def test_who_only_asks_the_gate_sends_nothing() -> None:
    for kind in (IntegrationType.FLAGGER, IntegrationType.KUBERNETES, IntegrationType.SPINNAKER, IntegrationType.DRONE):
        with pytest.raises(UsageError, match="sends no deliveries"):
            receiver_of(kind)


# --- GitHub --------------------------------------------------------------------------------------------------------

GITHUB = IntegrationType.GITHUB


def test_github_tells_of_commits_as_a_line() -> None:
    push = hooks.github_push(hooks.github_commit(2, "fix: a\n\nbody"), hooks.github_commit(3, "feat: b"))
    (fact,) = facts(GITHUB, hooks.github("push", push))
    assert isinstance(fact, Pushed)
    assert (fact.repository, fact.branch) == ("github.com/acme/shop", "main")
    first, second = fact.commits
    assert (first.sha, first.parents, first.author, first.committed_at) == (sha(2), (sha(1),), "Ann Lee", NOON)
    assert (second.parents, second.files, second.exact) == ((sha(2),), ("shop/a.py", "shop/new.py"), False)
    assert first.message == "fix: a\n\nbody"


def test_a_push_that_was_forced_or_made_a_branch_builds_on_nothing_that_is_known() -> None:
    commit = hooks.github_commit(2, "fix: a")
    for more in ({"forced": True}, {"created": True, "before": ZERO}):
        (fact,) = facts(GITHUB, hooks.github("push", hooks.github_push(commit) | more))
        assert isinstance(fact, Pushed)
        assert fact.commits[0].parents == ()


def test_the_same_delivery_has_the_same_name_and_a_form_is_read_as_well() -> None:
    sent = hooks.github("push", hooks.github_push(hooks.github_commit(2, "fix: a")))
    assert receiver_of(GITHUB).named(*sent) == ("push", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
    body = urlencode({"payload": sent[1].decode()}).encode()
    headers = sent[0] | {
        "content-type": "application/x-www-form-urlencoded",
        "x-hub-signature-256": f"sha256={signature(body)}",
    }
    assert facts(GITHUB, (headers, body)) == facts(GITHUB, sent)


@pytest.mark.parametrize(
    ("state", "found"), [("in_progress", STARTED), ("success", SUCCEEDED), ("failure", FAILED), ("error", FAILED)]
)
def test_github_tells_of_deployments(state: str, found: DeploymentState) -> None:
    fact = deployed(GITHUB, hooks.github("deployment_status", hooks.github_deployment(state)))
    assert (fact.state, fact.at, fact.environment, fact.revision, fact.version) == (
        found,
        NOON,
        "prod",
        sha(3),
        "v2.36.0",
    )
    assert (fact.external, fact.by) == ("github.com/acme/shop#145988746", "ann")
    assert (fact.url, fact.rollback) == ("https://github.com/acme/shop/actions/runs/1", None)


def test_what_github_was_told_beside_a_deployment_is_heard() -> None:
    payload = {"decision": "D-1", "service": "checkout", "rollback": True, "version": "v9"}
    for written in (payload, json.dumps(payload)):
        document = hooks.github_deployment("success", payload=written, ref="main")
        fact = deployed(GITHUB, hooks.github("deployment_status", document))
        assert (fact.decision, fact.service, fact.rollback, fact.version) == ("D-1", "checkout", True, "v9")
    assert (
        deployed(GITHUB, hooks.github("deployment_status", hooks.github_deployment("success", ref="main"))).version
        == ""
    )
    back = hooks.github_deployment("success", task="rollback", payload="no json")
    assert deployed(GITHUB, hooks.github("deployment_status", back)).rollback is True


def test_github_tells_of_merged_changes_and_of_builds() -> None:
    (merged,) = facts(GITHUB, hooks.github("pull_request", hooks.github_pull(("security", "bug"))))
    assert merged == Merged(
        "github.com/acme/shop", "7", "Bump the library", sha(3), NOON, "ben", ("bug", "security"),
        "https://github.com/acme/shop/pull/7",
    )  # fmt: skip
    states = []
    for status, conclusion in (
        ("requested", None),
        ("in_progress", None),
        ("completed", "success"),
        ("completed", "timed_out"),
        ("completed", "cancelled"),
    ):
        (built,) = facts(GITHUB, hooks.github("workflow_run", hooks.github_run(status, conclusion)))
        assert isinstance(built, Built)
        assert (built.external, built.revision, built.name) == ("workflow_run/30433642/1", sha(3), "Build")
        states.append(built.state)
    assert states == [
        BuildState.QUEUED,
        BuildState.RUNNING,
        BuildState.SUCCEEDED,
        BuildState.FAILED,
        BuildState.CANCELLED,
    ]


@pytest.mark.parametrize(
    ("event", "document", "why"),
    [
        ("ping", {"zen": "Design for failure."}, "only shows"),
        ("issues", {"action": "opened"}, "no matter of ours"),
        ("something_new", {}, "no matter of ours"),
        ("push", hooks.github_push() | {"deleted": True}, "no commits"),
        ("push", hooks.github_push(hooks.github_commit(2, "a"), ref="refs/tags/v1"), "no branch"),
        ("deployment", {"action": "created"}, "deployment_status"),
        ("deployment_status", hooks.github_deployment("inactive"), "not that it began"),
        ("deployment_status", hooks.github_deployment("queued"), "not that it began"),
        ("pull_request", hooks.github_pull(merged=False, merged_at=None), "not merged"),
        ("check_run", {"check_run": {"app": {"slug": "github-actions"}}}, "workflow_job"),
    ],
)
def test_what_github_tells_of_other_matters_is_ignored(event: str, document: Any, why: str) -> None:
    assert why in ignored(GITHUB, hooks.github(event, document))


# --- GitLab --------------------------------------------------------------------------------------------------------

GITLAB = IntegrationType.GITLAB


def test_gitlab_tells_of_commits() -> None:
    (fact,) = facts(GITLAB, hooks.gitlab(hooks.gitlab_push(2, 3)))
    assert isinstance(fact, Pushed)
    assert fact.repository == "gitlab.example.org/acme/shop"
    assert [(one.sha, one.parents, one.committed_at) for one in fact.commits] == [
        (sha(2), (sha(1),), NOON),
        (sha(3), (sha(2),), NOON),
    ]
    (cut,) = facts(GITLAB, hooks.gitlab(hooks.gitlab_push(2, 3, total=25)))
    assert isinstance(cut, Pushed)
    assert cut.commits[0].parents == ()


@pytest.mark.parametrize(
    ("status", "found"), [("running", STARTED), ("success", SUCCEEDED), ("failed", FAILED), ("canceled", FAILED)]
)
@pytest.mark.parametrize("at", ["2026-03-17 13:00:00 +0100", "2026-03-17 12:00:00 UTC", "2026-03-17T12:00:00.123Z"])
def test_gitlab_tells_of_deployments_in_each_of_its_ways_to_write_time(
    status: str, found: DeploymentState, at: str
) -> None:
    fact = deployed(GITLAB, hooks.gitlab(hooks.gitlab_deployment(status, at)))
    assert (fact.state, fact.at, fact.environment, fact.revision) == (found, NOON, "prod", sha(3))
    assert (fact.external, fact.by, fact.title) == ("gitlab.example.org/acme/shop#15", "ann", "fix: number 3")


def test_gitlab_tells_of_merged_changes_pipelines_and_jobs() -> None:
    request = {
        "object_kind": "merge_request",
        "user": {"username": "ben"},
        "project": hooks.PROJECT,
        "labels": [{"title": "security"}],
        "object_attributes": {
            "iid": 9,
            "title": "Bump",
            "state": "merged",
            "action": "merge",
            "merge_commit_sha": sha(3),
            "updated_at": "2026-03-17 12:00:00 UTC",
            "url": "https://gitlab.example.org/acme/shop/-/merge_requests/9",
        },
    }
    (merged,) = facts(GITLAB, hooks.gitlab(request))
    assert isinstance(merged, Merged)
    assert (merged.name, merged.sha, merged.labels, merged.merged_at) == ("9", sha(3), ("security",), NOON)
    pipeline = {
        "object_kind": "pipeline",
        "project": hooks.PROJECT,
        "object_attributes": {
            "id": 31,
            "ref": "main",
            "sha": sha(3),
            "status": "success",
            "created_at": "2026-03-17 11:00:00 UTC",
            "finished_at": "2026-03-17 12:00:00 UTC",
            "url": "https://gitlab.example.org/acme/shop/-/pipelines/31",
        },
    }
    (built,) = facts(GITLAB, hooks.gitlab(pipeline))
    assert isinstance(built, Built)
    assert (built.external, built.state, built.at) == ("pipeline/31", BuildState.SUCCEEDED, NOON)
    job = {
        "object_kind": "build",
        "ref": "main",
        "sha": sha(3),
        "build_id": 1977,
        "build_name": "test",
        "build_status": "failed",
        "build_created_at": "2026-03-17 11:00:00 UTC",
        "build_started_at": None,
        "build_finished_at": None,
        "repository": {"homepage": "https://gitlab.example.org/acme/shop"},
    }
    (one,) = facts(GITLAB, hooks.gitlab(job))
    assert isinstance(one, Built)
    assert (one.external, one.state, one.repository) == ("job/1977", BuildState.FAILED, "gitlab.example.org/acme/shop")


def test_hooks_of_gitlab_that_one_event_sets_off_are_told_apart() -> None:
    receiver = receiver_of(GITLAB)
    first, second = (hooks.gitlab(hooks.gitlab_push(number), key="") for number in (2, 3))
    assert receiver.named(*first).key != receiver.named(*second).key
    assert receiver.named(*first) == receiver.named(*first)
    assert receiver.named(*hooks.gitlab(hooks.gitlab_push(2), key="k")) == ("push", "k")
    assert "no matter" in ignored(GITLAB, hooks.gitlab({"object_kind": "wiki_page"}))


# --- Gitea ---------------------------------------------------------------------------------------------------------

GITEA = IntegrationType.GITEA


@pytest.mark.parametrize("kin", ["gitea", "forgejo", "gogs"])
def test_gitea_and_its_kin_list_the_newest_commit_first(kin: str) -> None:
    sent = hooks.gitea("push", hooks.gitea_push(2, 3), kin)
    (fact,) = facts(GITEA, sent)
    assert isinstance(fact, Pushed)
    assert [(one.sha, one.parents) for one in fact.commits] == [(sha(2), (sha(1),)), (sha(3), (sha(2),))]
    assert fact.repository == "git.example.org/acme/shop"
    assert receiver_of(GITEA).named(*sent) == ("push", "f6266f16")


def test_a_header_that_looks_like_github_does_not_make_gitea() -> None:
    headers, body = hooks.github("push", hooks.github_push(hooks.github_commit(2, "a")))
    assert genuine(GITEA, (headers, body))
    with pytest.raises(DataError, match="X-Gitea-Event"):
        receiver_of(GITEA).named(headers, body)


def test_gitea_tells_of_merged_changes() -> None:
    (fact,) = facts(GITEA, hooks.gitea("pull_request", hooks.github_pull(("bug",))))
    assert isinstance(fact, Merged)
    assert fact.labels == ("bug",)


# --- Argo CD, Argo Rollouts, Flux ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "state", "at"),
    [("on-sync-running", STARTED, NOON - 60), ("on-deployed", SUCCEEDED, NOON), ("on-sync-failed", FAILED, NOON)],
)
def test_argo_cd_tells_of_one_sync_by_one_name(trigger: str, state: DeploymentState, at: int) -> None:
    fact = deployed(IntegrationType.ARGOCD, hooks.bearer(hooks.argocd(trigger)))
    assert (fact.state, fact.at, fact.app, fact.started_at) == (state, at, "argocd/checkout", NOON - 60)
    assert (fact.version, fact.revision, fact.repository) == ("v2.36.0", sha(4), "github.com/acme/deploy")
    assert fact.external == f"argocd/checkout@{sha(4)}#{NOON - 60}"
    assert (fact.environment, fact.decision, fact.by) == ("production", "", "ann")


def test_argo_cd_tells_of_other_matters_as_well() -> None:
    assert "not that a deployment" in ignored(IntegrationType.ARGOCD, hooks.bearer(hooks.argocd("on-health-degraded")))
    with pytest.raises(DataError, match="trigger"):
        receiver_of(IntegrationType.ARGOCD).named(*hooks.bearer({"app": "checkout"}))
    with pytest.raises(DataError, match="app is missing"):
        receiver_of(IntegrationType.ARGOCD).read(*hooks.bearer(hooks.argocd("on-deployed", app="")), NOW)


def test_argo_rollouts_tells_of_one_revision_by_one_name() -> None:
    told = [
        deployed(IntegrationType.ARGO_ROLLOUTS, hooks.bearer(hooks.rollout(trigger)))
        for trigger in ("on-rollout-updated", "on-rollout-completed", "on-rollout-aborted")
    ]
    assert [one.state for one in told] == [STARTED, SUCCEEDED, FAILED]
    assert {one.external for one in told} == {"shop/checkout#6c54544bf9#7"}
    assert (told[0].version, told[0].decision, told[0].at, told[0].title) == ("v2.36.0", "D-7", NOW, "")
    assert "not that" in ignored(IntegrationType.ARGO_ROLLOUTS, hooks.bearer(hooks.rollout("on-rollout-paused")))


def test_flux_says_again_and_again_that_a_revision_is_applied() -> None:
    revision = f"main@sha1:{sha(4)}"
    told = [
        deployed(
            IntegrationType.FLUX,
            hooks.flux(reason, **{"kustomize.toolkit.fluxcd.io/revision": revision, "env": "production"}),
        )
        for reason in ("Progressing", "ReconciliationSucceeded", "ReconciliationSucceeded", "HealthCheckFailed")
    ]
    assert [one.state for one in told] == [STARTED, SUCCEEDED, SUCCEEDED, FAILED]
    assert {one.external for one in told} == {f"Kustomization/flux-system/checkout@{revision}"}
    assert (told[1].revision, told[1].version, told[1].environment, told[1].at) == (sha(4), "", "production", NOON)
    old = deployed(IntegrationType.FLUX, hooks.flux("ReconciliationSucceeded", revision=f"main/{sha(4)}"))
    assert old.revision == sha(4)


def test_flux_tells_of_charts_by_their_versions() -> None:
    fact = deployed(IntegrationType.FLUX, hooks.flux("UpgradeSucceeded", "HelmRelease", revision="6.5.4"))
    assert (fact.version, fact.revision, fact.rollback) == ("6.5.4", "", None)
    back = deployed(IntegrationType.FLUX, hooks.flux("RollbackSucceeded", "HelmRelease", revision="6.5.3"))
    assert back.rollback is True
    assert "deploys nothing" in ignored(IntegrationType.FLUX, hooks.flux("NewArtifact", "GitRepository", revision="x"))
    assert "no revision" in ignored(IntegrationType.FLUX, hooks.flux("Progressing"))
    assert "not that" in ignored(IntegrationType.FLUX, hooks.flux("DependencyNotReady", revision="x"))


# --- CDEvents ------------------------------------------------------------------------------------------------------

CDEVENTS = IntegrationType.CDEVENTS
DEPLOYED = {
    "environment": {"id": "production", "source": "/k8s"},
    "artifactId": "pkg:oci/shop@v2.36.0?repository_url=ghcr.io/acme/shop",
}


def test_an_event_is_the_same_in_each_mode_of_cloud_events() -> None:
    event = hooks.cdevent("service.deployed", DEPLOYED, custom={"revision": sha(3), "decision": "D-1"})
    token = {"authorization": f"Bearer {SECRET}"}
    structured = token | {"content-type": "application/cloudevents+json; charset=utf-8"}
    batch = token | {"content-type": "application/cloudevents-batch+json"}
    wrapped = hooks.envelope(event)
    in_base64 = {key: value for key, value in wrapped.items() if key != "data"} | {
        "data_base64": base64.b64encode(encoded(event)).decode()
    }
    sent: list[Sent] = [
        (token | hooks.binary(event), encoded(event)),
        (structured, encoded(wrapped)),
        (structured, encoded(in_base64)),
        (batch, encoded([wrapped])),
        (token | {"content-type": "application/json"}, encoded(event)),
    ]
    found = [deployed(CDEVENTS, one) for one in sent]
    assert len(set(found)) == 1
    assert len({receiver_of(CDEVENTS).named(*one) for one in sent}) == 1
    fact = found[0]
    assert (fact.service, fact.environment, fact.version, fact.revision) == (
        "checkout",
        "production",
        "v2.36.0",
        sha(3),
    )
    assert (fact.decision, fact.at, fact.rollback) == ("D-1", NOON, None)
    assert deployed(CDEVENTS, (token, encoded(hooks.cdevent("service.rolledback", DEPLOYED)))).rollback is True


def test_a_batch_tells_all_of_its_events() -> None:
    events = [
        hooks.cdevent("service.upgraded", DEPLOYED, id="1"),
        hooks.cdevent("build.finished", {"artifactId": "pkg:oci/shop@sha256%3Aabc"}, id="2"),
        hooks.cdevent("artifact.published", {}, id="3"),
        hooks.cdevent("change.merged", {"repository": {"id": "acme/shop"}}, id="4", custom={"labels": ["bug", 7]}),
        hooks.cdevent("pipelinerun.finished", {"outcome": "failure", "pipelineName": "main"}, id="5"),
        hooks.cdevent("environment.created", {}, id="6"),
    ]
    headers = {"content-type": "application/cloudevents-batch+json", "authorization": f"Bearer {SECRET}"}
    found = facts(CDEVENTS, (headers, encoded([hooks.envelope(one) for one in events])))
    assert [type(one) for one in found] == [Deployed, Built, Published, Published, Merged, Built]
    failed = found[-1]
    assert isinstance(failed, Built)
    assert (failed.state, failed.name) == (BuildState.FAILED, "main")
    forwards = receiver_of(CDEVENTS).named(headers, encoded([hooks.envelope(one) for one in events]))
    backwards = receiver_of(CDEVENTS).named(headers, encoded([hooks.envelope(one) for one in reversed(events)]))
    assert forwards == backwards
    assert ignored(CDEVENTS, (headers, encoded([]))) == "nothing is no matter of ours"


def test_values_of_headers_are_percent_encoded_and_may_be_quoted() -> None:
    event = hooks.cdevent("service.deployed", DEPLOYED, id="a b%é")
    headers = {"authorization": f"Bearer {SECRET}"} | hooks.binary(event)
    for written in ("a%20b%25%C3%A9", '"a b%25%C3%A9"'):
        assert deployed(CDEVENTS, (headers | {"ce-id": written}, encoded(event))).service == "checkout"
    with pytest.raises(DataError, match="UTF-8"):
        receiver_of(CDEVENTS).named(headers | {"ce-id": "a%FF"}, encoded(event))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "another"}, "another event"),
        ({"subject": "search"}, "another subject"),
        ({"specversion": "0.3"}, "0.3"),
        ({"source": ""}, "no source"),
        ({"data": "text"}, "no mapping"),
        ({"data": None}, "missing"),
    ],
)
def test_an_envelope_that_tells_otherwise_is_refused(change: dict[str, Any], says: str) -> None:
    wrapped = hooks.envelope(hooks.cdevent("service.deployed", DEPLOYED)) | change
    headers = {"content-type": "application/cloudevents+json"}
    with pytest.raises(DataError, match=says):
        receiver_of(CDEVENTS).named(headers, encoded(wrapped))


def test_custom_events_and_those_of_other_matters_are_ignored() -> None:
    custom = hooks.cdevent("service.deployed", {})
    custom["context"]["type"] = "dev.cdeventsx.mytool-resource.created.0.1.0"
    assert "no matter" in ignored(CDEVENTS, ({}, encoded(custom)))
    incident = hooks.cdevent("incident.detected", {"environment": {"id": "prod"}})
    assert "incident.detected is no matter" in ignored(CDEVENTS, ({}, encoded(incident)))


def conformance(recorded: Path) -> list[Any]:
    folder = recorded / "fixtures" / "cdevents_spec" / "conformance"
    return [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]


def test_all_examples_of_the_standard_are_accepted(recorded: Path) -> None:
    found = [read_event(document) for document in conformance(recorded)]
    assert len(found) == 17
    assert {one.at for one in found} == {1679322425, 1668174740}


# what the schemas of cdevents/spec require in the content of each of the examples
REQUIRED = {
    "service.deployed": ("environment", "artifactId"),
    "service.upgraded": ("environment", "artifactId"),
    "service.rolledback": ("environment", "artifactId"),
    "incident.detected": ("environment",),
    "incident.reported": ("environment", "ticketURI"),
    "incident.resolved": ("environment",),
    "testcaserun.queued": ("environment",),
    "testcaserun.started": ("environment",),
    "testcaserun.finished": ("outcome", "environment"),
}


def test_every_example_without_a_field_that_is_required_is_rejected(recorded: Path) -> None:
    tried = 0
    for document in conformance(recorded):
        kind = read_event(document).kind
        paths: list[tuple[str, ...]] = [
            ("context", name) for name in ("specversion", "id", "source", "type", "timestamp")
        ]
        paths += [("context",), ("subject",), ("subject", "id"), ("subject", "content")]
        paths += [("subject", "content", name) for name in REQUIRED.get(kind, ())]
        paths += [
            ("subject", "content", "environment", "id") for name in REQUIRED.get(kind, ()) if name == "environment"
        ]
        for path in paths:
            for change in ("delete", "empty", "number"):
                mutant = copy.deepcopy(document)
                part = mutant
                for name in path[:-1]:
                    part = part[name]
                if change == "delete":
                    del part[path[-1]]
                else:
                    part[path[-1]] = "" if change == "empty" else 7
                with pytest.raises(DataError):
                    read_event(mutant)
                tried += 1
    assert tried > 400


def test_links_lead_somewhere(recorded: Path) -> None:
    document = conformance(recorded)[0]
    for number, name in ((0, "linkKind"), (0, "target"), (1, "from"), (0, "linkType")):
        mutant = copy.deepcopy(document)
        del mutant["context"]["links"][number][name]
        with pytest.raises(DataError, match="links"):
            read_event(mutant)


def test_the_events_that_we_write_are_read_again() -> None:
    content = {
        "environment": {"id": "production"},
        "artifactId": "pkg:generic/shop@v1",
        "outcome": "success",
        "ticketURI": "https://t/1",
        "approvalDetailsUrl": "https://a/1",
        "resourceTargetUrl": "https://a/2",
        "requestor": {"id": "ann"},
        "responder": {"id": "ben"},
        "decision": "approved",
        "status": "closed",
    }
    for kind in VERSIONS:
        document = event_document(
            kind, id="1", source="/x", at=NOON, subject="shop", content=content, custom={"a": 1}, chain="c"
        )
        event = read_event(json.loads(json.dumps(document)))
        assert (event.kind, event.at, event.custom, event.chain) == (kind, NOON, {"a": 1}, "c")
        assert document["context"]["timestamp"] == AT


def test_artifacts_are_named_as_the_standard_wants() -> None:
    assert artifact_purl("shop", "v1", "", "") == "pkg:generic/shop@v1"
    assert artifact_purl("shop", "", "", "pkg:npm/shop@1") == "pkg:npm/shop@1"
    assert (
        artifact_purl("shop", "", "", "ghcr.io/acme/shop:v1@sha256:ab")
        == "pkg:oci/shop@sha256%3Aab?repository_url=ghcr.io/acme/shop"
    )
    assert artifact_purl("shop", "", "", "localhost:5000/shop:v1") == (
        "pkg:oci/shop@v1?repository_url=localhost%3A5000/shop"
    )


# --- nothing breaks a reader ---------------------------------------------------------------------------------------

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SAMPLES: list[tuple[IntegrationType, Sent]] = [
    (GITHUB, hooks.github("push", hooks.github_push(hooks.github_commit(2, "a"), hooks.github_commit(3, "b")))),
    (GITHUB, hooks.github("deployment_status", hooks.github_deployment("success"))),
    (GITHUB, hooks.github("pull_request", hooks.github_pull(("bug",)))),
    (GITHUB, hooks.github("workflow_run", hooks.github_run("completed", "success"))),
    (GITLAB, hooks.gitlab(hooks.gitlab_push(2, 3))),
    (GITLAB, hooks.gitlab(hooks.gitlab_deployment("success"))),
    (GITEA, hooks.gitea("push", hooks.gitea_push(2, 3))),
    (IntegrationType.ARGOCD, hooks.bearer(hooks.argocd("on-deployed"))),
    (IntegrationType.ARGO_ROLLOUTS, hooks.bearer(hooks.rollout("on-rollout-completed"))),
    (IntegrationType.FLUX, hooks.flux("ReconciliationSucceeded", revision="1.0")),
    (CDEVENTS, ({"content-type": "application/json"}, encoded(hooks.cdevent("service.deployed", DEPLOYED)))),
]


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in parts:
        found += places(value, (*path, key))
    return found


@given(st.sampled_from(SAMPLES), any_json, st.data())
def test_whatever_stands_in_the_place_of_a_field_is_read_or_refused(
    sample: tuple[IntegrationType, Sent], value: Any, data: st.DataObject
) -> None:
    kind, (headers, body) = sample
    document = json.loads(body)
    path = data.draw(st.sampled_from(places(document)))
    part = document
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    written = json.dumps(document).encode("utf-8", "surrogatepass")
    with suppress(TightropeError):
        receiver_of(kind).named(headers, written)
        receiver_of(kind).read(headers, written, NOW)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b"[1, 2", b"null", b"7", b'{"a": NaN}', b"[" * 100_000])
@pytest.mark.parametrize(
    "kind", [one for one in IntegrationType if one.value not in ("flagger", "kubernetes", "spinnaker", "drone")]
)
def test_what_is_no_json_object_is_refused(kind: IntegrationType, body: bytes) -> None:
    headers = {"x-github-event": "push", "x-gitea-event": "push", "x-gitlab-event": "Push Hook"}
    with pytest.raises(DataError):
        receiver_of(kind).named(headers, body)
