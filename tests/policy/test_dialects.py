"""Every dialect, for every verdict and for everything that keeps us from one: what the caller hears does no harm."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from tests.policy.worlds import NOW, asking, facts, overspent, silent, slo
from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects import (
    argo_rollouts,
    drone,
    flagger,
    github,
    gitlab,
    hearing,
    kayenta,
    kubernetes,
    remote_judge,
)
from tightrope.policy.dialects.flagger import Hook
from tightrope.policy.dialects.hearing import Course, NoDecision, Trouble, cut, firm_word, kind_of, running
from tightrope.policy.gate import decide
from tightrope.specs.model import ChangeKind

BURNING = slo("stability", remaining=Fraction(-1, 10), firing=(("page-1h", "page"),))
GO = decide(asking(), facts(slo()))
STOP = decide(asking(), facts(overspent()))
WAIT = decide(asking(), facts(silent(900)))
LOST = decide(asking(), facts(silent(None)))
PAGING = decide(asking(), facts(BURNING))
FIX = decide(asking(ChangeKind.RELIABILITY), facts(BURNING))
NONE: list[hearing.Heard] = [NoDecision(one, f"it is {one.value}") for one in Trouble]
NAMES = ["go", "stop", "wait", "lost", "paging", "fix", *Trouble]
EVERYTHING: list[hearing.Heard] = [GO, STOP, WAIT, LOST, PAGING, FIX, *NONE]


def test_the_worlds_of_these_tests_are_what_they_are_called() -> None:
    assert [one.verdict for one in (GO, STOP, WAIT, LOST, PAGING, FIX)] == [
        Verdict.GO,
        Verdict.STOP,
        Verdict.WAIT,
        Verdict.STOP,
        Verdict.STOP,
        Verdict.GO,
    ]


# --- what must never happen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", [WAIT, LOST, *NONE], ids=["wait", "lost", *Trouble])
def test_no_outage_of_ours_and_no_lost_telemetry_takes_a_release_back(heard: hearing.Heard) -> None:
    """In every dialect in which a no, or an error, aborts what is running."""
    assert firm_word(heard) is Verdict.WAIT
    assert running(heard).course is Course.WAIT
    for under_way in (False, True):
        answer = argo_rollouts.answer(heard, under_way=under_way)
        assert (answer.status, answer.document["decision"]) == (200, "wait")
    assert flagger.answer(Hook.ROLLOUT, heard).status == 202
    assert flagger.answer(Hook.PRE_ROLLOUT, heard).status == 202
    assert flagger.answer(Hook.ROLLBACK, heard).status >= 400


def test_a_running_release_goes_back_for_harm_only_and_never_the_remedy() -> None:
    assert running(PAGING).course is Course.ROLLBACK
    assert running(STOP).course is Course.WAIT
    assert running(GO).course is Course.GO
    assert running(FIX).course is Course.GO
    stale = decide(asking(), facts(slo("stability", stale=True, age_s=900, firing=(("page-1h", "page"),))))
    assert running(stale).course is Course.WAIT


# --- Flagger -------------------------------------------------------------------------------------------------------

_YES, _NO = range(200, 203), range(400, 429)


@pytest.mark.parametrize("heard", EVERYTHING, ids=NAMES)
@pytest.mark.parametrize("hook", [*Hook])
def test_flagger_is_never_told_204_429_or_5xx(hook: Hook, heard: hearing.Heard) -> None:
    answer = flagger.answer(hook, heard)
    assert answer.status in {200, 202, 400, 401, 403, 404, 409}
    assert answer.text.endswith("\n")
    assert len(answer.text) <= 330


@pytest.mark.parametrize("hook", [Hook.CONFIRM_ROLLOUT, Hook.CONFIRM_PROMOTION, Hook.CONFIRM_TRAFFIC_INCREASE])
def test_flagger_confirms_when_the_gate_is_open_and_waits_for_everything_else(hook: Hook) -> None:
    assert flagger.answer(hook, GO).status in _YES
    assert all(flagger.answer(hook, one).status in _NO for one in EVERYTHING if one not in (GO, FIX))


def test_flagger_rolls_back_after_a_stop_by_the_policy() -> None:
    for hook in (Hook.PRE_ROLLOUT, Hook.ROLLOUT):
        assert flagger.answer(hook, GO).status == 200
        assert flagger.answer(hook, STOP).status == 403
        assert flagger.answer(hook, STOP).text.startswith("stop: checkout has overspent")


def test_the_rollback_hook_has_the_inverted_meaning() -> None:
    assert flagger.answer(Hook.ROLLBACK, PAGING).status == 200
    assert all(flagger.answer(Hook.ROLLBACK, one).status in _NO for one in (GO, STOP, FIX))


def test_hooks_that_only_tell_are_thanked_whatever_happened() -> None:
    assert {flagger.answer(hook, one).status for hook in (Hook.EVENT, Hook.POST_ROLLOUT) for one in EVERYTHING} == {202}


def test_what_flagger_posts_is_read_with_whatever_is_missing() -> None:
    call = flagger.read(
        {
            "name": "shop",
            "namespace": "prod",
            "phase": "Progressing",
            "checksum": "85d557f47b",
            "metadata": {"service": "checkout", "token": "tr_x", "kind": "reliability", "message": "feat: no"},
        },
    )
    assert (call.asking.service, call.asking.kind, call.asking.change) == (
        "checkout",
        ChangeKind.RELIABILITY,
        "85d557f47b",
    )
    assert (call.token, call.asking.title) == ("tr_x", "prod/shop")
    assert flagger.read({"name": "shop"}).asking.service == "shop"
    assert flagger.read({"name": "shop"}, "basket").asking.service == "basket"


_KEYS = [
    "name",
    "namespace",
    "metadata",
    "request",
    "object",
    "oldObject",
    "uid",
    "kind",
    "spec",
    "template",
    "labels",
    "annotations",
    "project",
    "object_attributes",
    "last_commit",
    "id",
    "iid",
    "repository",
    "full_name",
    "deployment",
    "environment",
    "build",
    "repo",
    "event",
    "canaryConfig",
    "metrics",
    "metricSetPairList",
    "values",
    "experiment",
    "control",
    "scopes",
    "thresholds",
    "pull_requests",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(_KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_whatever_comes_is_read_or_refused_and_never_a_crash(payload: object) -> None:
    flagger.read(payload)
    drone.read(payload)
    github.read_protection(payload)
    github.read_check("check_suite", payload)
    gitlab.read_status_check(payload)
    gitlab.read_deployment(payload)
    gitlab.read_listed(payload, "a/b")
    kayenta.read({}, payload)
    if isinstance(payload, dict):
        remote_judge.answer(payload, GO)
        whole = {"kind": "AdmissionReview", "apiVersion": kubernetes.API_VERSION, "request": {**payload, "uid": "u"}}
        kubernetes.answer(kubernetes.read(whole), GO)


@given(st.text(max_size=60), st.integers(1, 40))
def test_texts_from_outside_are_short_and_on_one_line(text: str, most: int) -> None:
    kept = cut(text, most)
    assert len(kept) <= most
    assert kept.isprintable()


def test_a_kind_that_is_none_counts_as_a_feature() -> None:
    assert kind_of("nonsense") == (ChangeKind.FEATURE, "default: there is no kind 'nonsense'")
    assert kind_of(None, ["fix: x"])[0] is ChangeKind.RELIABILITY
    assert kind_of(7, 7, 7) == (ChangeKind.FEATURE, "default")


# --- Kubernetes ----------------------------------------------------------------------------------------------------


def deployment(image: str = "shop:1", notes: Mapping[str, str] | None = None, *, replicas: int = 3) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "shop",
            "namespace": "prod",
            "annotations": dict(notes or {}),
            "labels": {"app": "checkout"},
        },
        "spec": {"replicas": replicas, "template": {"metadata": {}, "spec": {"containers": [{"image": image}]}}},
    }


def review(new: object, old: object = None, **more: object) -> dict[str, object]:
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "operation": "UPDATE" if old else "CREATE",
        "namespace": "prod",
        "name": "shop",
        "userInfo": {"username": "dev"},
        "object": new,
        "oldObject": old,
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def test_an_admission_review_is_answered_in_its_own_shape() -> None:
    answer = kubernetes.answer(kubernetes.read(review(deployment("shop:2"), deployment())), STOP)
    document = answer.document
    assert (answer.status, document["apiVersion"], document["kind"]) == (200, "admission.k8s.io/v1", "AdmissionReview")
    assert document["response"]["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert document["response"]["allowed"] is False
    assert document["response"]["status"]["code"] == 403
    assert "overspent" in document["response"]["status"]["message"]
    assert document["response"]["auditAnnotations"]["verdict"] == "stop"


@pytest.mark.parametrize(
    ("new", "old", "more", "why"),
    [
        (deployment(replicas=9), deployment(), {}, kubernetes.Pass.NOTHING_NEW),
        (deployment("shop:2"), deployment(), {"namespace": "kube-system"}, kubernetes.Pass.SYSTEM),
        (deployment("shop:2"), deployment(), {"subResource": "scale"}, kubernetes.Pass.NOT_A_CHANGE),
        (None, deployment(), {"operation": "DELETE"}, kubernetes.Pass.NOT_A_CHANGE),
        ({"metadata": {"name": "x"}, "data": {}}, None, {}, kubernetes.Pass.NOT_OURS),
        (deployment("shop:2"), deployment(), {}, None),
        (deployment(), None, {}, None),
    ],
)
def test_only_a_changed_pod_template_is_a_change(
    new: object, old: object, more: dict[str, object], why: object
) -> None:
    assert kubernetes.read(review(new, old, **more)).goes_in == why


def test_a_restart_is_no_change() -> None:
    restarted = deployment()
    restarted["spec"]["template"]["metadata"] = {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}
    assert kubernetes.read(review(restarted, deployment())).goes_in is kubernetes.Pass.NOTHING_NEW


def test_the_glass_is_broken_once_and_not_for_ever() -> None:
    note = {kubernetes.BREAK_GLASS: "the shop is on fire"}
    first = kubernetes.read(review(deployment("shop:2", note), deployment()))
    answer = kubernetes.answer(first, STOP)
    assert answer.document["response"]["allowed"] is True
    assert "on fire" in answer.document["response"]["warnings"][0]
    assert answer.document["response"]["auditAnnotations"]["break-glass"] == "the shop is on fire"
    later = kubernetes.read(review(deployment("shop:3", note), deployment("shop:2", note)))
    assert kubernetes.answer(later, STOP).document["response"]["allowed"] is False


def test_our_own_failure_is_no_verdict_and_leaves_the_word_to_the_failure_policy() -> None:
    asked = kubernetes.read(review(deployment("shop:2"), deployment()))
    statuses = {one.trouble: kubernetes.answer(asked, one).status for one in NONE if isinstance(one, NoDecision)}
    assert statuses == {Trouble.UNKNOWN: 200, Trouble.STRANGER: 401, Trouble.UNREADABLE: 400, Trouble.FAILED: 500}
    unknown = kubernetes.answer(asked, NONE[0]).document["response"]
    assert unknown["allowed"] is True
    assert "tightrope.dev/service" in unknown["warnings"][0]


def test_warnings_keep_to_what_kubernetes_shows() -> None:
    many = [slo(name=f"slo-{number}-{'x' * 300}", coverage=Fraction(1, 2)) for number in range(60)]
    asked = kubernetes.read(review(deployment("shop:2"), deployment()))
    warnings = kubernetes.answer(asked, decide(asking(), facts(*many))).document["response"]["warnings"]
    assert warnings
    assert max(map(len, warnings)) <= 120
    assert sum(len(one.encode()) for one in warnings) <= 4096


def test_the_service_is_what_annotations_say_then_labels_then_the_name() -> None:
    named = deployment("shop:2", {"tightrope.dev/service": "basket", "tightrope.dev/kind": "security"})
    asked = kubernetes.read(review(named, deployment())).asking
    assert (asked.service, asked.kind, asked.asked_by) == ("basket", ChangeKind.SECURITY, "dev")
    assert kubernetes.read(review(deployment("shop:2"), deployment())).asking.service == "checkout"


# --- GitHub and GitLab ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", EVERYTHING, ids=NAMES)
def test_a_comment_is_never_longer_than_github_takes(heard: hearing.Heard) -> None:
    text = github.comment(heard, "https://tightrope.example", "More. " * 300)
    assert len(text) <= 1024
    assert text.startswith("**")


def test_a_comment_links_to_the_decision_and_defuses_what_came_from_outside() -> None:
    text = github.comment(STOP, "https://tightrope.example")
    assert f"[{STOP.id}](https://tightrope.example/decisions/{STOP.id})" in text
    loud = NoDecision(Trouble.UNKNOWN, "@everyone [click](http://evil) <img>")
    defused = github.comment(loud)
    assert "@everyone" not in defused
    assert "[click]" not in defused
    assert "<img>" not in defused


def test_a_check_run_is_in_progress_while_it_waits_and_wants_action_for_a_stop() -> None:
    runs = [github.check_run("a" * 40, one, NOW, hold="H-1") for one in (GO, WAIT, STOP)]
    assert [(one["status"], one.get("conclusion")) for one in runs] == [
        ("completed", "success"),
        ("in_progress", None),
        ("completed", "action_required"),
    ]
    assert all(len(one["output"]["title"]) <= 255 and len(one["output"]["summary"]) < 65_535 for one in runs)


def test_the_callback_must_be_about_the_repository_that_asks() -> None:
    payload = {
        "action": "requested",
        "environment": "production",
        "deployment_callback_url": "https://api.github.com/repos/acme/shop/actions/runs/42/deployment_protection_rule",
        "repository": {"full_name": "acme/shop"},
    }
    found = github.read_protection(payload)
    assert found is not None
    assert found.run == 42
    other = github.read_protection({**payload, "repository": {"full_name": "acme/other"}})
    assert other is not None
    assert other.run is None
    assert github.read_protection({**payload, "action": "completed"}) is None


def test_gitlab_hears_passed_pending_failed() -> None:
    assert [gitlab.status("a", 1, one)["status"] for one in Verdict] == ["passed", "failed", "pending"]
    assert gitlab.approval(GO)["status"] == "approved"
    assert gitlab.approval(STOP)["status"] == "rejected"


# --- scores --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_score_is_on_the_right_side_of_any_thresholds(least: int, marginal: int) -> None:
    """Argo drops the fraction and compares: at or above pass, at or above marginal, below."""
    thresholds = {"pass": max(least, marginal), "marginal": min(least, marginal)}
    for state, passes in (("approved", True), ("refused", False)):
        document = kayenta.execution("H-1", state, "", thresholds).document
        score = int(document["result"]["judgeResult"]["score"]["score"])
        assert (score >= thresholds["pass"]) is passes
        assert (score < thresholds["marginal"]) is not passes
    assert kayenta.execution("H-1", "waiting", "", thresholds).document["complete"] is False


@settings(max_examples=50)
@given(st.lists(st.integers(0, 20), min_size=5, max_size=25), st.lists(st.integers(0, 20), min_size=5, max_size=25))
def test_the_rank_sum_is_that_of_the_literature(experiment: list[int], control: list[int]) -> None:
    larger, surely = remote_judge.rank_sum([Fraction(one) for one in experiment], [Fraction(one) for one in control])
    if len({*experiment, *control}) == 1:
        assert (larger, surely) == (0, Fraction(0))
        return
    peer = mannwhitneyu(experiment, control, method="asymptotic", alternative="two-sided")
    apart = peer.statistic - len(experiment) * len(control) / 2
    assert larger == int(apart > 0) - int(apart < 0)
    significant = float(surely) > float(remote_judge.Z_SQUARED)
    if abs(peer.pvalue - 0.02) > 1e-4:
        assert significant == (peer.pvalue < 0.02)


def judge(experiment: list[object], control: list[object], heard: hearing.Heard = GO, **terms: object) -> Any:
    payload = {
        "canaryConfig": {
            "applications": ["checkout"],
            "metrics": [{"name": "errors", "groups": ["g"], "analysisConfigurations": {"canary": terms}}],
            "classifier": {"groupWeights": {"g": 100}},
        },
        "scoreThresholds": {"pass": 95, "marginal": 75},
        "metricSetPairList": [
            {"name": "errors", "id": "1", "tags": {}, "values": {"experiment": experiment, "control": control}}
        ],
    }
    return remote_judge.answer(payload, heard).document


def test_the_remote_judge_fails_what_is_higher_and_passes_what_is_not() -> None:
    rng = random.Random(7)
    control: list[object] = [rng.gauss(10, 1) for _ in range(60)]
    worse: list[object] = [rng.gauss(14, 1) for _ in range(60)]
    failed = judge(worse, control, direction="increase")
    assert failed["results"][0]["classification"] == "High"
    assert failed["score"] == {
        "score": 0.0,
        "classification": "Fail",
        "classificationReason": "1 of 1 metrics failed: errors",
    }
    for fine in (judge(control, control), judge(worse, control, direction="decrease")):
        assert fine["score"]["classification"] == "Pass"
    allowed = judge(worse, control, direction="increase", effectSize={"allowedIncrease": 2})
    assert allowed["score"]["classification"] == "Pass"


def test_a_stop_of_the_gate_fails_a_canary_whose_metrics_are_fine_and_nothing_else_does() -> None:
    same: list[object] = [float(one % 7) for one in range(40)]
    assert judge(same, same, STOP)["score"]["classification"] == "Fail"
    for heard in [*NONE, WAIT]:
        assert judge(same, same, heard)["score"]["classification"] == "Pass"


def test_no_data_is_no_failure_unless_it_must_be_there() -> None:
    assert judge([], [1.0])["score"]["classification"] == "Nodata"
    assert judge(["NaN", None], [1.0])["results"][0]["classification"] == "Nodata"
    must = judge([], [1.0], mustHaveData=True, critical=True)
    assert must["results"][0]["classification"] == "NodataFailMetric"
    assert must["score"]["classification"] == "Fail"


# --- Drone ---------------------------------------------------------------------------------------------------------


def test_drone_lets_go_blocks_or_is_told_that_it_is_not_known() -> None:
    everybody: list[hearing.Heard] = [GO, STOP, WAIT, *NONE]
    statuses = [drone.answer(one).status for one in everybody]
    assert statuses == [204, 499, 499, 204, 400, 400, 499]
    assert all(not drone.answer(one).text for one in EVERYTHING), "a body would make another error of it"


def test_only_deployments_of_drone_are_gated() -> None:
    assert drone.read({"build": {"event": "push"}, "repo": {"slug": "acme/shop"}}) is None
    found = drone.read(
        {"build": {"event": "rollback", "deploy_to": "prod", "after": "abc"}, "repo": {"slug": "acme/shop"}}
    )
    assert found is not None
    assert (found[0], found[1], found[2].kind) == ("acme/shop", "prod", ChangeKind.ROLLBACK)


def test_every_dialect_says_the_same_of_one_decision() -> None:
    """One decision, many dialects: where go, wait and stop can be said, they are the same."""
    for heard, go in itertools.product((GO, STOP, WAIT), ("go",)):
        assert isinstance(heard, Decision)
        opens = heard.verdict.value == go
        assert (argo_rollouts.answer(heard).document["decision"] == go) is opens
        assert (flagger.answer(Hook.CONFIRM_ROLLOUT, heard).status == 200) is opens
        asked = kubernetes.read(review(deployment("shop:2"), deployment()))
        assert kubernetes.answer(asked, heard).document["response"]["allowed"] is opens
        assert (drone.answer(heard).status == 204) is opens
        assert (github.check_run("a" * 40, heard, NOW, hold="").get("conclusion") == "success") is opens


def test_only_a_stop_that_rests_on_telemetry_alone_is_soft() -> None:
    frozen = decide(asking(), facts(silent(None), overspent("checkout-latency")))
    assert {reason.rule for reason in frozen.reasons if reason.outcome == "stop"} == {
        "telemetry-fresh",
        "state-allows-kind",
    }
    assert [firm_word(one) for one in (STOP, frozen, LOST)] == [Verdict.STOP, Verdict.STOP, Verdict.WAIT]


@pytest.mark.parametrize("name", ["../..", "acme/..", "./shop", "acme", "acme/shop/../..", "acme/sh op", "a%2Fb/c", ""])
def test_a_repository_whose_name_leads_elsewhere_is_none(name: str) -> None:
    payload = {
        "action": "requested",
        "object_kind": "deployment",
        "status": "blocked",
        "deployment_id": 1,
        "repository": {"full_name": name},
        "project": {"id": 1, "path_with_namespace": name},
        "external_approval_rule": {"id": 1},
        "object_attributes": {"iid": 1, "last_commit": {"id": "a" * 40}},
    }
    assert github.read_protection(payload) is None
    assert gitlab.read_status_check(payload) is None
    assert gitlab.read_deployment(payload) is None
