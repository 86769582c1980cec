"""Every route answers, with the documents that the command line prints."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.api.world import World, extra, until
from tightrope.loop.documents import status_document
from tightrope.policy.rendering import decision_document, decision_lines


def items(world: World, path: str, who: str = "admin") -> list[dict[str, Any]]:
    answer = world.get(path, who)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


# --- budgets -------------------------------------------------------------------------------------------------------


def test_services_are_listed_with_the_sentence_that_every_surface_opens_with(world: World) -> None:
    found = {one["name"]: one for one in items(world, "/api/v1/services")}
    assert set(found) == {"basket", "checkout", "depot", "quiet", "search"}
    assert found["checkout"]["remainingRatio"] == 1
    assert found["checkout"]["summary"].startswith("checkout has 100.0 % of its budget left")
    assert found["basket"]["remainingRatio"] < 0
    assert found["basket"]["flow"] == "stability"
    assert found["basket"]["displayName"] == "The basket"
    assert found["quiet"]["flow"] is None


def test_a_service_is_shown_with_its_objectives(world: World) -> None:
    found = world.get("/api/v1/services/checkout").json()
    assert found["slos"] == ["checkout-availability"]
    assert found["objectives"][0]["budget"]["remainingRatio"] == 1


def test_status_is_the_list_that_the_command_line_prints(world: World) -> None:
    answer = world.get("/api/v1/status", params={"service": "basket"})
    expected = [status_document(one) for one in world.server.assessments("basket")]
    assert answer.json() == json.loads(json.dumps(expected))


@pytest.mark.parametrize(
    ("query", "services"),
    [
        ("", ["basket", "checkout"]),
        ("?service=checkout", ["checkout"]),
        ("?service=checkout&service=basket", ["basket", "checkout"]),
        ("?slo=basket-availability", ["basket"]),
        ("?flow=stability", ["basket"]),
        ("?flow=feature&service=checkout", ["checkout"]),
        ("?state=stability", ["basket"]),
        ("?firing=false&service=checkout", ["checkout"]),
        ("?service=quiet", []),
    ],
)
def test_status_can_be_narrowed(world: World, query: str, services: list[str]) -> None:
    found = world.get(f"/api/v1/status{query}").json()
    assert sorted({one["service"] for one in found} - {"search", "depot"}) == services


def test_the_basis_of_status_can_be_chosen(world: World) -> None:
    for basis in ("observed", "projected"):
        found = world.get("/api/v1/status", params={"service": "basket", "basis": basis}).json()
        assert found[0]["budget"]["basis"] == basis


def test_an_explanation_tells_how_the_service_came_there_and_records_nothing(world: World) -> None:
    before = len(world.server.decisions(service="basket", limit=1000))
    found = world.get("/api/v1/services/basket/explain").json()
    assert found["decision"]["verdict"] == "stop"
    assert [one["to"] for one in found["objectives"][0]["transitions"]][-1] == "stability"
    assert len(world.server.decisions(service="basket", limit=1000)) == before
    assert world.get("/api/v1/services/basket/explain?slo=basket-availability").json()["objectives"]
    assert world.get("/api/v1/services/basket/explain?slo=other").status_code == 404


# --- decisions and the journal -------------------------------------------------------------------------------------


def test_a_recorded_decision_is_found_and_comes_out_again(world: World) -> None:
    asked = world.post("/api/v1/gate/basket", json={"change": "recorded"}).json()
    found = world.get(f"/api/v1/decisions/{asked['id']}").json()
    assert found["decision"] == asked
    assert found["inputs"]["request"]["change"] == "recorded"
    again = world.post(f"/api/v1/decisions/{asked['id']}/recompute").json()
    assert (again["agrees"], again["differs"]) == (True, "")


def test_decisions_are_paged_newest_first(world: World) -> None:
    for change in ("one", "two", "three"):
        world.post("/api/v1/gate/checkout", json={"change": change})
    seen: list[int] = []
    path: str | None = "/api/v1/decisions?service=checkout&limit=2"
    while path is not None:
        page = world.get(path).json()
        seen += [one["sequence"] for one in page["items"]]
        path = page["next"]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) == len(world.server.decisions(service="checkout", limit=1000))


def test_events_are_cloud_events_that_an_export_repeats(world: World) -> None:
    world.post("/api/v1/gate/checkout", json={"change": "exported"})
    listed = items(world, "/api/v1/journal?limit=1000")
    lines = world.get("/api/v1/journal/export")
    assert lines.headers["content-type"] == "application/x-ndjson"
    exported = {one["sequence"]: one for one in map(json.loads, lines.text.splitlines())}
    assert all(exported[one["sequence"]] == one for one in listed)
    narrowed = items(world, "/api/v1/journal?type=dev.tightrope.decision.made.v1&subject=checkout&since=2020-01-01")
    assert {one["subject"] for one in narrowed} == {"checkout"}
    assert items(world, "/api/v1/journal?since=2100-01-01") == []


def test_the_journal_is_checked_and_every_decision_decided_again(world: World) -> None:
    world.post("/api/v1/gate/checkout", "operator", json={})
    found = world.get("/api/v1/journal/verify", params={"recompute": True}).json()
    assert (found["holds"], found["broken"], found["differing"]) == (True, [], [])
    assert found["recomputed"] >= 1
    assert len(found["head"]) == 64


# --- specs ---------------------------------------------------------------------------------------------------------


def test_a_document_is_put_read_changed_and_withdrawn_by_its_etag(world: World) -> None:
    path = "/api/v1/specs/SLO/etag-slo"
    made = world.ask("PUT", path, content=extra("etag-slo"))
    assert (made.status_code, made.json()["changed"]) == (
        201,
        [{"kind": "SLO", "name": "etag-slo", "change": "created"}],
    )
    read = world.get(path)
    tag = read.headers["etag"]
    assert read.json()["text"].strip() == extra("etag-slo").strip()
    assert tag == made.headers["etag"]
    assert world.get(path, headers={"If-None-Match": tag}).status_code == 304
    assert (
        world.get(path, headers={"Accept": "application/yaml"}).headers["content-type"].startswith("application/yaml")
    )
    assert world.ask("PUT", path, content=extra("etag-slo", target="0.9")).status_code == 428
    assert world.ask("PUT", path, content=extra("etag-slo"), headers={"If-None-Match": "*"}).status_code == 412
    changed = world.ask("PUT", path, content=extra("etag-slo", target="0.9"), headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["changed"][0]["change"]) == (200, "updated")
    late = world.ask("PUT", path, content=extra("etag-slo", target="0.8"), headers={"If-Match": tag})
    assert late.status_code == 412
    assert world.ask("DELETE", path).status_code == 428
    assert world.ask("DELETE", path, headers={"If-Match": tag}).status_code == 412
    gone = world.ask("DELETE", path, headers={"If-Match": changed.headers["etag"]})
    assert gone.json()["changed"] == [{"kind": "SLO", "name": "etag-slo", "change": "withdrawn"}]
    assert world.get(path).status_code == 404


def test_a_file_is_not_changed_over_http(world: World) -> None:
    path = "/api/v1/specs/SLO/basket-availability"
    text = world.get(path).json()["text"].replace("0.99", "0.9")
    answer = world.ask("PUT", path, content=text, headers={"If-Match": "*"})
    assert answer.status_code == 409
    assert "shop.yaml" in answer.json()["detail"]
    assert world.ask("DELETE", path, headers={"If-Match": "*"}).status_code == 409


def test_many_documents_are_applied_at_once_and_a_dry_run_keeps_nothing(world: World) -> None:
    text = extra("many-one") + "---\n" + extra("many-two")
    tried = world.ask("PUT", "/api/v1/specs?dryRun=true", content=text).json()
    assert [one["change"] for one in tried["changed"]] == ["created", "created"]
    assert world.get("/api/v1/specs/SLO/many-one").status_code == 404
    world.ask("PUT", "/api/v1/specs", content=text, headers={"Content-Type": "application/yaml"})
    until(lambda: "many-two" in world.get("/api/v1/services/depot").json()["slos"])
    again = world.ask("PUT", "/api/v1/specs", content=text).json()
    assert {one["change"] for one in again["changed"]} == {"unchanged"}
    for name in ("many-one", "many-two"):
        assert world.ask("DELETE", f"/api/v1/specs/SLO/{name}", headers={"If-Match": "*"}).status_code == 200


def test_a_document_is_put_only_at_its_own_address(world: World) -> None:
    answer = world.ask("PUT", "/api/v1/specs/SLO/elsewhere", content=extra("here"))
    assert answer.status_code == 400
    assert "SLO here" in answer.json()["detail"]


def test_all_findings_come_with_their_places(world: World) -> None:
    text = extra("wrong", target="1.5")
    checked = world.post("/api/v1/specs/validate", content=text)
    assert checked.status_code == 200
    assert checked.json()["valid"] is False
    finding = next(one for one in checked.json()["findings"] if one["pointer"] == "#/spec/objectives/0/target")
    assert (finding["severity"], finding["line"]) == ("error", 9)
    refused = world.ask("PUT", "/api/v1/specs", content=text)
    assert refused.status_code == 422
    assert "#/spec/objectives/0/target" in [one["pointer"] for one in refused.json()["errors"]]
    fine = world.post("/api/v1/specs/validate", content=extra("fine")).json()
    assert (fine["valid"], fine["changed"][0]["change"]) == (True, "created")


def test_specs_are_listed_by_kind(world: World) -> None:
    found = items(world, "/api/v1/specs?kind=DataSource")
    assert [one["name"] for one in found] == ["pushed", "shop-log", "written"]


def test_what_is_wrong_with_an_edited_file_is_told(world: World) -> None:
    path = world.server.settings.spec_paths[0]
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - one file, read and put back
        good = file.read()
    try:
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(good.replace("target: 0.9}", "target: 9}"))
        until(lambda: items(world, "/api/v1/problems"))
        assert items(world, "/api/v1/problems")[0]["pointer"] == "#/spec/objectives/0/target"
    finally:
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(good)
    until(lambda: not items(world, "/api/v1/problems"))


# --- backtests -----------------------------------------------------------------------------------------------------


def test_a_backtest_tells_what_the_specs_did(world: World) -> None:
    found = world.post("/api/v1/backtest", json={"names": ["basket"]}).json()
    assert [one["slo"] for one in found["documents"]] == ["basket-availability"]
    assert found["documents"][0]["finalState"] == "stability"
    assert found["documents"][0]["episodes"]
    assert found["preview"] is None


def test_a_backtest_of_edited_specs_previews_pages_and_frozen_days(world: World) -> None:
    text = world.get("/api/v1/specs/SLO/basket-availability").json()["text"].replace("0.99", "0.5")
    found = world.post("/api/v1/backtest", json={"specs": text}).json()
    row = found["preview"]["slos"][0]
    assert row["slo"] == "basket-availability"
    assert row["now"]["pages"] > row["then"]["pages"] == 0
    assert row["now"]["frozenHours"] > 0
    assert "would have paged never" in found["preview"]["summary"]


def test_a_backtest_scores_alerts_by_labels_and_deployments_by_states(world: World) -> None:
    now = int(time.time())  # noqa: TID251 - the server runs on the real clock
    asked = {
        "names": ["basket"],
        "labels": [{"start": str(now - 4 * 3600), "end": str(now - 2 * 3600), "service": "basket", "id": "INC-1"}],
        "deployments": [{"time": str(now - 1800), "service": "basket", "change": "v2"}],
        "from": str(now - 86400),
        "to": str(now),
    }
    found = world.post("/api/v1/backtest", json=asked).json()["documents"][0]
    assert found["scores"]["all"]["found"] == 1
    assert [one["change"] for one in found["deploymentsStopped"]] == ["v2"]
    assert "postmortemsNeeded" in found
    asked["to"] = str(now - 10 * 3600)
    asked["from"] = str(now - 20 * 3600)
    assert world.post("/api/v1/backtest", json=asked).json()["documents"][0]["episodes"] == []


# --- alerts --------------------------------------------------------------------------------------------------------


def test_a_silence_is_added_listed_and_ended(world: World) -> None:
    wanted = {"matchers": ["service=checkout"], "duration": "2h", "reason": "Migration"}
    added = world.post("/api/v1/silences", "operator", json=wanted)
    assert added.status_code == 201
    name = added.json()["id"]
    assert added.headers["location"] == f"/api/v1/silences/{name}"
    assert (added.json()["createdBy"], added.json()["active"]) == ("operator", True)
    assert name in [one["id"] for one in items(world, "/api/v1/silences")]
    over = world.ask("DELETE", f"/api/v1/silences/{name}", "operator")
    assert (over.status_code, over.json()["active"]) == (200, False)
    assert name not in [one["id"] for one in items(world, "/api/v1/silences")]
    assert name in [one["id"] for one in items(world, "/api/v1/silences?ended=true")]
    assert world.get(f"/api/v1/silences/{name}").json()["endedBy"] == "operator"
    assert world.ask("DELETE", f"/api/v1/silences/{name}", "operator").status_code == 409


def test_a_channel_is_tested_and_the_outbox_shows_what_became_of_it(world: World) -> None:
    channel = items(world, "/api/v1/channels")[0]
    assert (channel["name"], channel["type"]) == ("nowhere", "webhook")
    assert "127.0.0.1" not in json.dumps(channel["problem"])
    sent = world.post("/api/v1/channels/nowhere/test")
    assert sent.status_code == 202
    until(lambda: any(one["error"] for one in items(world, "/api/v1/messages?channel=nowhere")))
    message = next(one for one in items(world, "/api/v1/messages") if one["id"] == sent.json()["id"])
    assert message["state"] == "waiting"
    assert message["error"]
    assert world.post(f"/api/v1/messages/{message['id']}/retry").status_code == 202
    assert world.post("/api/v1/channels/none/test").status_code == 404


def test_alerts_can_be_listed(world: World) -> None:
    found = items(world, "/api/v1/alerts")
    for one in found:
        told = world.get(f"/api/v1/alerts/{one['id']}").json()
        assert told["history"]
        assert told["service"] == one["service"]
    assert world.get("/api/v1/alerts/A-NONE").status_code == 404


# --- access --------------------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_works_until_it_is_revoked(world: World) -> None:
    made = world.post("/api/v1/tokens", json={"name": "short-lived", "role": "viewer", "expiresIn": "1d"})
    assert made.status_code == 201
    text = made.json()["token"]
    headers = {"Authorization": f"Bearer {text}"}
    assert world.get("/api/v1/me", "", headers=headers).json()["name"] == "short-lived"
    listed = world.get("/api/v1/tokens?limit=1000")
    assert text not in listed.text
    assert next(one for one in listed.json()["items"] if one["name"] == "short-lived")["standing"] == "active"
    assert world.post("/api/v1/tokens", json={"name": "short-lived", "role": "viewer"}).status_code == 409
    gone = world.ask("DELETE", f"/api/v1/tokens/{made.json()['id']}").json()
    assert gone["standing"] == "revoked"
    assert world.get("/api/v1/me", "", headers=headers).status_code == 401


def test_a_token_may_be_the_password_of_basic_authentication(world: World) -> None:
    answer = world.get("/api/v1/me", "", auth=("prometheus", world.tokens["operator"]))
    assert answer.json()["name"] == "operator"


def test_a_browser_logs_in_changes_something_with_its_csrf_token_and_logs_out(world: World) -> None:
    begun = world.post("/api/v1/session", "", json={"token": world.tokens["operator"]})
    assert begun.status_code == 201
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    world.client("").cookies.clear()
    headers = {"Cookie": cookie.partition(";")[0]}
    told = world.get("/api/v1/session", "", headers=headers).json()
    assert (told["name"], told["csrf"]) == ("operator", begun.json()["csrf"])
    wanted = {"matchers": ["service=search"], "duration": "1h", "reason": "By hand"}
    refused = world.post("/api/v1/silences", "", json=wanted, headers=headers)
    assert refused.status_code == 403
    assert "X-CSRF-Token" in refused.json()["detail"]
    with_token = headers | {"X-CSRF-Token": told["csrf"]}
    assert world.post("/api/v1/silences", "", json=wanted, headers=with_token).status_code == 201
    assert world.ask("DELETE", "/api/v1/session", "", headers=with_token).status_code == 204
    until(lambda: world.get("/api/v1/me", "", headers=headers).status_code == 401)


def test_who_asks_is_told_what_they_may(world: World) -> None:
    found = world.get("/api/v1/me", "basket").json()
    assert (found["role"], found["services"]) == ("operator", ["basket"])
    assert set(found["permissions"]) == {"read", "push", "gate", "record", "run", "break-glass", "silence"}


# --- telemetry -----------------------------------------------------------------------------------------------------


def test_pushed_slices_are_counted(world: World) -> None:
    now = int(time.time())  # noqa: TID251 - the server runs on the real clock
    slot = now - now % 60 - 120
    body = [{"series": "search", "time": slot, "good": 90, "total": 100}]
    answer = world.post("/api/v1/push", "operator", json=body)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1}), answer.text
    until(lambda: [one["total"] for one in world.get("/api/v1/status?service=search").json()] == [100])
    twice = world.post("/api/v1/push", "operator", json=body)
    assert twice.status_code == 202
    time.sleep(0.5)
    assert world.get("/api/v1/status?service=search").json()[0]["total"] == 100


# --- the server itself ---------------------------------------------------------------------------------------------


def test_health_and_readiness_need_no_token(world: World) -> None:
    assert world.get("/healthz", "").text == "ok\n"
    assert (world.get("/readyz", "").status_code, world.get("/readyz", "").text) == (200, "ready\n")


def test_a_head_request_is_a_get_without_its_body(world: World) -> None:
    for path in ("/healthz", "/api/v1/services", "/api/v1/gate/checkout"):
        answer = world.ask("HEAD", path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_the_type_of_a_problem_leads_to_what_it_means(world: World) -> None:
    told = world.get("/api/v1/services/none").json()
    page = world.get(told["type"].replace(world.server.settings.base_url, ""), "")
    assert page.text.startswith("404 Not found")


def test_the_version_tells_the_time(world: World) -> None:
    found = world.get("/api/v1/version").json()
    assert (found["version"], found["api"]) == (world.server.version, "v1")


def test_the_gate_answers_with_the_whole_decision(world: World) -> None:
    answer = world.post("/api/v1/gate/basket", json={"kind": "feature", "change": "v1", "title": "More"})
    found = answer.json()
    assert (found["verdict"], found["exitCode"], found["askedBy"]) == ("stop", 3, "admin")
    kept = world.server.decision(found["id"])
    assert kept is not None
    assert found == json.loads(json.dumps(decision_document(kept.record.decision)))
    plain = world.get("/api/v1/gate/basket", params={"change": "v1", "title": "More", "dialect": "plain"})
    kept = world.server.decision(world.server.decisions(service="basket", limit=1)[0].record.decision.id)
    assert kept is not None
    address = f"{world.server.settings.base_url}/decisions/{kept.record.decision.id}"
    assert plain.text == "\n".join(decision_lines(kept.record.decision, more=address)) + "\n"
