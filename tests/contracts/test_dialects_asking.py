"""Callers that ask by themselves, against a real server: Flagger, Argo Rollouts, Kubernetes, Spinnaker, Drone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import socket
from email.utils import formatdate
from itertools import count
from typing import Any

import httpx2
import pytest

from tests.api.world import World, until
from tests.contracts.callers import ApiServer, ArgoKayenta, ArgoMetric, Flagger, SpinnakerStage
from tests.contracts.dialect_world import GO, HELD, PAGE, STOP, UNKNOWN, WAIT, close_gate, open_gate
from tests.policy.test_dialects import deployment, review

WRONG = "tr_0000000000_" + "0" * 49


def keyed(world: World, path: str, token: str = "") -> str:
    """An address with the token in its path."""
    return f"{world.url}/api/v1/dialects/key/{token or world.tokens['operator']}/{path}"


def plain(world: World, path: str) -> str:
    return f"{world.url}/api/v1/dialects/{path}"


def nowhere() -> str:
    """An address where nobody listens: what a caller sees of a server that is down."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


# --- Flagger -------------------------------------------------------------------------------------------------------

KINDS = ("confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "rollback")


def canary(world: World, service: str, *kinds: str, token: str = "", **more: Any) -> Flagger:
    chosen = kinds or KINDS
    hooks = [(kind, keyed(world, f"flagger/{kind}?service={service}", token)) for kind in chosen]
    return Flagger(hooks, **more)


def run(one: Flagger, intervals: int = 12) -> Flagger:
    for _ in range(intervals):
        one.interval()
    return one


def test_a_canary_goes_all_the_way_when_the_gate_is_open(fleet: World) -> None:
    done = run(canary(fleet, GO))
    assert (done.phase, done.failed_checks) == ("Succeeded", 0)


def test_a_canary_waits_and_does_not_fail_while_the_gate_is_closed(fleet: World) -> None:
    waiting = run(canary(fleet, STOP))
    assert (waiting.phase, waiting.failed_checks, waiting.weight) == ("Waiting", 0, 0)


def test_a_canary_goes_on_by_itself_when_the_gate_opens(fleet: World) -> None:
    close_gate(fleet, HELD[0])
    held = run(canary(fleet, HELD[0]), 3)
    assert held.phase == "Waiting"
    open_gate(fleet, HELD[0])
    assert run(held).phase == "Succeeded"


def test_a_stop_during_the_rollout_is_a_failed_check_with_a_reason_that_can_be_read(fleet: World) -> None:
    stopped = run(canary(fleet, STOP, "rollout", weight=25))
    assert (stopped.phase, stopped.failed_checks) == ("Failed", 3)
    assert "stop: basket has overspent its budget" in stopped.events[0]


def test_retries_do_not_eat_the_reason(fleet: World) -> None:
    """With 429 or 5xx the library would drain the body after the last try."""
    stopped = run(canary(fleet, STOP, "rollout", weight=25, retries=2))
    assert "stop: basket has overspent its budget" in stopped.events[0]


def test_harm_rolls_a_canary_back_at_once(fleet: World) -> None:
    assert run(canary(fleet, PAGE, "rollback", weight=25), 1).phase == "Failed"


@pytest.mark.parametrize("service", [UNKNOWN, WAIT, GO, STOP])
def test_the_rollback_hook_rolls_nothing_back_but_harm(fleet: World, service: str) -> None:
    """An unknown canary, lost telemetry, a closed gate: a generic yes would roll back a healthy release."""
    assert run(canary(fleet, service, "rollback", weight=25), 5).phase == "Succeeded"


@pytest.mark.parametrize("service", [UNKNOWN, WAIT])
def test_an_unknown_service_and_lost_telemetry_fail_no_check(fleet: World, service: str) -> None:
    done = run(canary(fleet, service, "pre-rollout", "rollout", "rollback"))
    assert (done.phase, done.failed_checks) == ("Succeeded", 0)


@pytest.mark.parametrize("service", [GO, STOP, PAGE])
def test_a_bad_token_holds_and_never_rolls_back(fleet: World, service: str) -> None:
    assert run(canary(fleet, service, token=WRONG)).phase == "Waiting"
    done = run(canary(fleet, service, "pre-rollout", "rollout", "rollback", token=WRONG))
    assert (done.phase, done.failed_checks) == ("Succeeded", 0)


def test_a_server_that_is_down_only_makes_confirming_hooks_wait(fleet: World) -> None:
    down = nowhere()
    hooks = [(kind, f"{down}/{kind}") for kind in ("confirm-rollout", "confirm-promotion", "rollback")]
    assert run(Flagger(hooks)).phase == "Waiting"
    # What nothing of ours can change, and docs/integrations/flagger.md warns of:
    assert run(Flagger([("rollout", down)], weight=25)).phase == "Failed"


def test_204_would_mean_halt_so_it_is_never_said(fleet: World) -> None:
    for kind in (*KINDS, "post-rollout", "event"):
        for service in (GO, STOP, PAGE, WAIT, UNKNOWN):
            answer = httpx2.post(keyed(fleet, f"flagger/{kind}?service={service}"), json={"name": "shop"})
            assert answer.status_code in {200, 202, 403, 404}, (kind, service)
            assert answer.headers["content-type"].startswith("text/plain")


def test_flagger_can_show_a_token_in_its_metadata_only(fleet: World) -> None:
    url = plain(fleet, "flagger/confirm-rollout")
    body = {"name": GO, "namespace": "prod", "metadata": {"token": fleet.tokens["operator"]}}
    assert httpx2.post(url, json=body).status_code == 200
    assert httpx2.post(url, json={**body, "metadata": {"token": WRONG}}).status_code == 401
    assert httpx2.post(url, json={**body, "metadata": {}}).status_code == 401
    limited = {**body, "metadata": {"token": fleet.tokens["basket"]}}
    assert httpx2.post(url, json=limited).status_code == 401


def test_a_release_that_ended_is_a_deployment_for_who_may_record_it(fleet: World) -> None:
    body = {"name": "shop", "namespace": "prod", "checksum": "c0ffee", "phase": "Succeeded"}
    known, found = f"/api/v1/deployments?service={GO}", []
    for token, recorded in ((WRONG, 0), (fleet.tokens["viewer"], 0), ("", 1), ("", 1)):
        url = keyed(fleet, f"flagger/post-rollout?service={GO}", token)
        assert httpx2.post(url, json=body).status_code == 202
        found = [one for one in fleet.get(known).json()["items"] if one["source"] == "flagger"]
        assert len(found) == recorded
    assert (found[0]["version"], found[0]["state"]) == ("c0ffee", "succeeded")
    odd_ones: list[Any] = [{}, [], *({**body, **odd} for odd in ({"phase": "Progressing"}, {"checksum": "\0"}))]
    for odd in odd_ones:
        assert httpx2.post(keyed(fleet, f"flagger/post-rollout?service={GO}"), json=odd).status_code == 202
    assert len([one for one in fleet.get(known).json()["items"] if one["source"] == "flagger"]) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"metadata": 7}'])
def test_a_hook_with_a_body_that_is_none_rolls_nothing_back(fleet: World, body: bytes) -> None:
    assert httpx2.post(keyed(fleet, "flagger/rollback?service=checkout"), content=body).status_code >= 400
    assert httpx2.post(keyed(fleet, "flagger/confirm-rollout"), content=body).status_code >= 400


def test_no_hook_answers_for_another(fleet: World) -> None:
    assert httpx2.post(keyed(fleet, "flagger/nonsense"), json={"name": GO}).status_code == 404
    assert httpx2.post(keyed(fleet, "flagger/"), json={"name": GO}).status_code == 404
    assert httpx2.get(keyed(fleet, "flagger/rollback")).status_code == 405


def test_the_token_of_the_path_is_in_no_answer_and_no_log(fleet: World, caplog: pytest.LogCaptureFixture) -> None:
    token = fleet.tokens["operator"]
    with caplog.at_level(logging.DEBUG):
        for path in ("flagger/nonsense", "flagger/rollback?service=nobody", "nothing/here", "kayenta/canary/none"):
            for method in ("GET", "POST"):
                answer = httpx2.request(method, keyed(fleet, path), content=b"{")
                assert token not in answer.text + str(answer.headers)
    server_side = [one for one in caplog.records if not one.name.startswith("http")]
    assert token not in "".join(one.getMessage() for one in server_side)
    assert token not in fleet.get("/metrics").text


# --- Argo Rollouts: web --------------------------------------------------------------------------------------------


def analysis(world: World, service: str, *, token: str = "", query: str = "", **limits: Any) -> ArgoMetric:
    bearer = {"Authorization": f"Bearer {token or world.tokens['operator']}"}
    terms: dict[str, Any] = {"inconclusive_limit": 1000, "consecutive_error_limit": 1000, **limits}
    return ArgoMetric(plain(world, f"argo-rollouts/{service}{query}"), bearer, **terms)


def test_go_completes_and_stop_aborts_an_analysis(fleet: World) -> None:
    assert analysis(fleet, GO).measure() == "Successful"
    assert analysis(fleet, STOP).measure() == "Failed"


@pytest.mark.parametrize("service", [WAIT, UNKNOWN])
def test_wait_is_inconclusive_and_polls_on(fleet: World, service: str) -> None:
    polling = analysis(fleet, service)
    assert [polling.measure() for _ in range(8)] == ["Running"] * 8
    assert set(polling.phases) == {"Inconclusive"}


def test_with_the_default_inconclusive_limit_the_first_wait_pauses(fleet: World) -> None:
    """Why the template sets a large one."""
    assert analysis(fleet, UNKNOWN, inconclusive_limit=0).measure() == "Inconclusive"


def test_an_analysis_that_waited_completes_when_the_gate_opens(fleet: World) -> None:
    close_gate(fleet, HELD[1])
    polling = analysis(fleet, HELD[1], failure_limit=1000)
    assert polling.measure() == "Running"
    open_gate(fleet, HELD[1])
    assert polling.measure() == "Successful"


def test_a_bad_token_is_no_error_that_aborts(fleet: World) -> None:
    polling = analysis(fleet, GO, token=WRONG, consecutive_error_limit=4)
    assert [polling.measure() for _ in range(8)][-1] == "Running"


def test_errors_in_a_row_abort_unless_the_template_bears_them(fleet: World) -> None:
    down = ArgoMetric(nowhere(), inconclusive_limit=1000)
    assert [down.measure() for _ in range(5)][-1] == "Error"
    borne = ArgoMetric(nowhere(), inconclusive_limit=1000, consecutive_error_limit=1000)
    assert [borne.measure() for _ in range(20)][-1] == "Running"


def test_the_measurement_holds_decision_reason_and_evidence(fleet: World) -> None:
    done = analysis(fleet, STOP)
    done.measure()
    value = json.loads(done.values[-1])
    assert value["decision"] == "stop"
    assert value["reason"].startswith("basket has overspent")
    assert value["url"].endswith(f"/decisions/{value['id']}")
    assert fleet.get(f"/api/v1/decisions/{value['id']}").json()["decision"]["verdict"] == "stop"


def test_a_background_analysis_aborts_for_harm_only(fleet: World) -> None:
    assert analysis(fleet, STOP, query="?running=true").measure() == "Running"
    assert analysis(fleet, PAGE, query="?running=true").measure() == "Failed"
    assert analysis(fleet, GO, query="?running=true").measure() == "Successful"


def test_the_question_may_be_posted(fleet: World) -> None:
    bearer = {"Authorization": f"Bearer {fleet.tokens['operator']}"}
    url = plain(fleet, f"argo-rollouts/{STOP}")
    assert httpx2.post(url, json={"kind": "reliability"}, headers=bearer).json()["decision"] == "go"
    assert httpx2.post(url, json={"message": "feat: x"}, headers=bearer).json()["decision"] == "stop"
    assert httpx2.get(f"{url}?kind=rollback", headers=bearer).json()["decision"] == "go"


# --- Argo Rollouts: kayenta ----------------------------------------------------------------------------------------


def judge(world: World, service: str, token: str = "", **more: Any) -> ArgoKayenta:
    return ArgoKayenta(keyed(world, "kayenta", token), service, **more)


@pytest.mark.parametrize(
    ("service", "phase"), [(GO, "Successful"), (STOP, "Failed"), (WAIT, "Running"), (UNKNOWN, "Running")]
)
def test_kayenta_scores_go_and_stop_and_leaves_a_wait_incomplete(fleet: World, service: str, phase: str) -> None:
    one = judge(fleet, service)
    assert one.run() == "Running"
    assert [one.resume() for _ in range(3)] == [phase] * 3


@pytest.mark.parametrize("thresholds", [(100, 0), (0, 0), (95, 75), (1000, 100)])
def test_whatever_the_thresholds_go_passes_and_stop_fails(fleet: World, thresholds: tuple[int, int]) -> None:
    for service, phase in ((GO, "Successful"), (STOP, "Failed")):
        one = judge(fleet, service, least=thresholds[0], marginal=thresholds[1])
        one.run()
        assert one.resume() == phase


def test_kayenta_errs_for_nothing_that_is_not_known(fleet: World) -> None:
    """An error would be counted, and five of them abort."""
    for one in (judge(fleet, GO, WRONG), judge(fleet, GO, config_name="of another name")):
        assert one.run() == "Running"
    lost = judge(fleet, GO, WRONG)
    lost.execution, lost.phase = "H-of-a-store-that-was-lost", "Running"
    assert lost.resume() == "Running"


def test_an_execution_completes_when_the_gate_opens(fleet: World) -> None:
    close_gate(fleet, HELD[2])
    url = keyed(fleet, f"kayenta/canary/tightrope?application={HELD[2]}&onStop=hold")
    execution = httpx2.post(url, json={"thresholds": {"pass": 95, "marginal": 75}}).json()["canaryExecutionId"]
    one = judge(fleet, HELD[2])
    one.execution, one.phase = execution, "Running"
    assert one.resume() == "Running"
    open_gate(fleet, HELD[2])
    assert one.resume() == "Successful"


def test_standalone_analysis_is_answered_too(fleet: World) -> None:
    for service, passed in ((GO, True), (STOP, False)):
        url = keyed(fleet, f"kayenta/standalone_canary_analysis/tightrope?application={service}")
        begun = httpx2.post(url, json={"executionRequest": {"thresholds": {"pass": 95, "marginal": 75}}}).json()
        url = keyed(fleet, f"kayenta/standalone_canary_analysis/{begun['canaryAnalysisExecutionId']}")
        told = httpx2.get(url).json()
        assert told["complete"] is True
        assert told["canaryAnalysisExecutionResult"]["didPassThresholds"] is passed


def test_kayenta_can_ask_us_to_judge(fleet: World) -> None:
    same = [float(number % 7) for number in range(60)]
    payload = {
        "canaryConfig": {"applications": [STOP], "metrics": [{"name": "m", "groups": ["g"]}]},
        "scoreThresholds": {"pass": 95.0, "marginal": 75.0},
        "metricSetPairList": [{"name": "m", "id": "1", "values": {"experiment": same, "control": same}}],
    }
    stopped = httpx2.post(keyed(fleet, "kayenta/judge"), json=payload).json()
    assert stopped["score"]["classification"] == "Fail"
    assert "basket has overspent" in stopped["score"]["classificationReason"]
    for url in (keyed(fleet, "kayenta/judge?service=checkout"), keyed(fleet, "kayenta/judge", WRONG)):
        assert httpx2.post(url, json=payload).json()["score"]["classification"] == "Pass"
    assert httpx2.post(keyed(fleet, "kayenta/judge"), content=b"[]").status_code == 400


# --- Kubernetes ----------------------------------------------------------------------------------------------------


def admission(world: World, token: str = "", policy: str = "Fail") -> ApiServer:
    return ApiServer(keyed(world, "kubernetes/admission", token), policy)


_names = count()


def change(new: dict[str, Any], old: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A review of a workload of its own, unless it is named."""
    return review(new, old, **{"name": f"shop-{next(_names)}", **more})


def named(service: str, image: str, **notes: str) -> dict[str, Any]:
    return deployment(image, {"tightrope.dev/service": service, **notes})


def test_a_new_pod_template_asks_the_gate(fleet: World) -> None:
    server = admission(fleet)
    assert server.admit(change(named(GO, "shop:2"), named(GO, "shop:1"))) == (True, "")
    let_in, why = server.admit(change(named(STOP, "shop:2"), named(STOP, "shop:1")))
    assert not let_in
    assert "stop: basket has overspent its budget" in why


def test_replicas_and_system_namespaces_ask_nobody(fleet: World) -> None:
    server = admission(fleet)
    scaled = deployment("shop:1", {"tightrope.dev/service": STOP}, replicas=9)
    assert server.admit(change(scaled, named(STOP, "shop:1")))[0]
    assert server.admit(change(named(STOP, "dns:2"), named(STOP, "dns:1"), namespace="kube-system"))[0]


def test_the_way_back_to_what_ran_before_is_open(fleet: World) -> None:
    server, place = admission(fleet), {"name": "way-back"}
    first, second = named(HELD[3], "shop:1"), named(HELD[3], "shop:2")
    assert server.admit(change(first, None, **place))[0]
    assert server.admit(change(second, first, **place))[0]
    close_gate(fleet, HELD[3])
    assert not server.admit(change(named(HELD[3], "shop:3"), second, **place))[0]
    assert server.admit(change(first, second, **place))[0], "back"
    assert not server.admit(change(second, first, **place))[0], "and forward again is no way back"


def test_an_unknown_service_is_let_in_with_a_warning(fleet: World) -> None:
    server = admission(fleet)
    assert server.admit(change(named(UNKNOWN, "shop:2"), named(UNKNOWN, "shop:1")))[0]
    assert "not gated: there is no service named 'nobody'" in server.warnings[0]


def test_a_bad_token_leaves_the_word_to_the_failure_policy(fleet: World) -> None:
    asked = change(named(GO, "shop:2"), named(GO, "shop:1"))
    assert admission(fleet, WRONG, "Ignore").admit(asked)[0] is True
    assert admission(fleet, WRONG, "Fail").admit(asked)[0] is False
    assert ApiServer(nowhere(), "Ignore").admit(asked)[0] is True


def test_a_dry_run_leaves_no_trace(fleet: World) -> None:
    before = len(fleet.server.decisions(service=STOP, limit=1000))
    server = admission(fleet)
    asked = change(named(STOP, "shop:2"), named(STOP, "shop:1"), dryRun=True, name="dry")
    assert not server.admit(asked)[0]
    assert len(fleet.server.decisions(service=STOP, limit=1000)) == before
    assert server.admit(change(named(GO, "shop:1"), None, dryRun=True, name="dry"))[0]


def test_broken_glass_is_in_the_journal(fleet: World) -> None:
    server = admission(fleet)
    note = {"tightrope.dev/break-glass": "the shop is on fire"}
    asked = change(named(STOP, "shop:2", **note), named(STOP, "shop:1"), uid="glass-1")
    assert server.admit(asked) == (True, "")
    assert "on fire" in server.warnings[0]
    events = fleet.get("/api/v1/journal?type=dev.tightrope.admission.break-glass.v1").json()["items"]
    assert [one["data"]["reason"] for one in events] == ["the shop is on fire"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"kind": "AdmissionReview"}', b"\xff"])
def test_what_is_no_review_is_refused(fleet: World, body: bytes) -> None:
    assert httpx2.post(keyed(fleet, "kubernetes/admission"), content=body).status_code == 400


# --- Spinnaker -----------------------------------------------------------------------------------------------------


def stage(world: World, service: str, **payload: str) -> SpinnakerStage:
    bearer = {"Authorization": f"Bearer {world.tokens['operator']}"}
    return SpinnakerStage(plain(world, f"spinnaker/{service}"), payload, bearer)


def test_a_stage_is_taken_at_once_and_ends_with_the_verdict(fleet: World) -> None:
    for service, terms, status in ((GO, "hold", "SUCCEEDED"), (STOP, "refuse", "TERMINAL"), (STOP, "hold", "RUNNING")):
        one = stage(fleet, service, onStop=terms)
        assert one.create() == "RUNNING"
        assert one.poll() == status
        assert one.progress


def test_a_stage_goes_on_when_the_gate_opens(fleet: World) -> None:
    close_gate(fleet, HELD[4])
    one = stage(fleet, HELD[4])
    one.create()
    assert [one.poll() for _ in range(3)] == ["RUNNING"] * 3
    open_gate(fleet, HELD[4])
    assert one.poll() == "SUCCEEDED"


def test_cancel_releases_the_hold(fleet: World) -> None:
    one = stage(fleet, STOP)
    one.create()
    assert one.cancel() == 200
    assert one.poll() == "CANCELED"
    assert one.cancel() == 200


def test_the_same_execution_asks_once(fleet: World) -> None:
    first, second = (stage(fleet, STOP, execution="01HXYZ", change="abc") for _ in range(2))
    first.create(), second.create()
    assert first.status_url == second.status_url


def test_the_status_is_a_scalar_and_progress_a_string_whatever_happens(fleet: World) -> None:
    """Anything else ends the stage at once."""
    one = stage(fleet, UNKNOWN)
    one.create()
    assert one.poll() == "RUNNING"
    one.status_url = plain(fleet, f"spinnaker/{GO}/H-unknown")
    assert one.poll() == "RUNNING"
    assert "no such hold" in one.progress


def test_a_stage_of_somebody_who_may_not_is_terminal(fleet: World) -> None:
    one = stage(fleet, GO)
    one.headers = {"Authorization": f"Bearer {WRONG}"}
    assert one.create() == "TERMINAL"


def test_holds_are_listed_and_shown(fleet: World) -> None:
    one, another = stage(fleet, STOP, change="listed", title="Listed"), stage(fleet, STOP)
    one.create(), another.create()
    name = one.status_url.rpartition("/")[2]
    listed = fleet.get("/api/v1/holds?state=waiting&service=basket&limit=1000").json()["items"]
    assert name in {each["id"] for each in listed}
    shown = fleet.get(f"/api/v1/holds/{name}", "viewer").json()
    assert (shown["caller"], shown["state"], shown["verdict"], shown["calls"]) == ("spinnaker", "waiting", "stop", [])
    assert fleet.get(f"/api/v1/holds/{name}", "basket").status_code == 200
    first = fleet.get("/api/v1/holds?limit=1").json()
    second = fleet.get(first["next"]).json()
    assert first["items"][0]["id"] != second["items"][0]["id"]
    assert fleet.post(f"/api/v1/holds/{name}/cancel", "viewer").status_code == 403
    assert fleet.post(f"/api/v1/holds/{name}/cancel", "operator").json()["state"] == "cancelled"


def test_who_waits_can_be_scraped(fleet: World) -> None:
    stage(fleet, STOP, change="scraped").create()
    query = 'tightrope_holds_waiting{service="basket",caller="spinnaker"}'
    until(lambda: fleet.get("/api/v1/query", params={"query": query}).json()["data"]["result"])
    assert "tightrope_holds_waiting{" in fleet.get("/metrics").text
    assert "checkout" not in fleet.get("/metrics", "basket").text


# --- Drone ---------------------------------------------------------------------------------------------------------


def drone(
    world: World, payload: object, *, secret: str = "s3cret", date: float | None = None, tampered: bool = False
) -> int:
    """Send what drone-go's client sends: HMAC over five headers, the digest of the body among them."""
    body = json.dumps(payload).encode()
    headers = {
        "accept": "application/vnd.drone.validate.v1+json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "date": formatdate(date, usegmt=True),
        "digest": "SHA-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode(),
    }
    text = "\n".join(f"{name}: {value}" for name, value in headers.items())
    signature = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()
    named = " ".join(headers)
    headers["signature"] = f'keyId="hmac-key",algorithm="hmac-sha256",headers="{named}",signature="{signature}"'
    content = body + b" " if tampered else body
    return httpx2.post(plain(world, "drone/drone"), content=content, headers=headers).status_code


def build(repository: str, event: str = "promote") -> dict[str, object]:
    return {"build": {"event": event, "deploy_to": "prod", "after": "abc"}, "repo": {"slug": repository}}


def test_drone_is_let_go_or_blocked(fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTROPE_TEST_DRONE", "s3cret")
    assert drone(fleet, build("acme/shop")) == 204
    assert drone(fleet, build("acme/basket")) == 499
    assert drone(fleet, build("acme/basket", "rollback")) == 204
    assert drone(fleet, build("acme/basket", "push")) == 204
    assert drone(fleet, build("acme/unknown")) == 204


def test_drone_must_sign_this_body_and_now(fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTROPE_TEST_DRONE", "s3cret")
    assert drone(fleet, build("acme/shop"), secret="guessed") == 400
    assert drone(fleet, build("acme/shop"), tampered=True) == 400
    assert drone(fleet, build("acme/shop"), date=1_700_000_000) == 400
    assert httpx2.post(plain(fleet, "drone/drone"), json=build("acme/shop")).status_code == 400
    assert httpx2.post(plain(fleet, "drone/nobody"), json=build("acme/shop")).status_code == 400
