"""Pipelines over the API: applied, started, followed live, cancelled, retried, settled; by people and by hooks."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.api.world import World, running, until, write_fleet
from tests.cli.world import run as command
from tests.contracts.hooks import SECRET, github, github_commit, github_push
from tests.delivery.pipeline_world import Shop
from tightrope.cli.main import cli
from tightrope.delivery.pipelines.usecases import who

PIPELINE = """\
apiVersion: tightrope.dev/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  service: checkout
  repository: {repository}
  triggers: {{push: {{branches: [main]}}, manual: {{inputs: {{region: {{default: eu, oneOf: [eu, us]}}}}}}}}
  stages:
{stages}
"""
STAGES = """\
    - name: build
      steps: [{name: make, run: 'echo "built for $INPUT_REGION"; echo v1 > app', artifacts: app}]
    - {name: ask, gate: {}}
    - {name: ship, deploy: {run: 'cp app LIVE', observe: 'test -f LIVE'}}
    - {name: look, verify: {run: 'printf "\\377\\000no text\\n"'}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of its own: what others asked the gate would count as having asked for these deployments."""
    folder = tmp_path_factory.mktemp("pipelines")
    write_fleet(folder, int(time.time()))  # noqa: TID251 - the server runs on the real clock
    with running(folder, required=True) as found:
        yield found


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "repositories")
    shop.commit({"a": "1"})
    return shop


@pytest.fixture
def applied(world: World, shop: Shop, tmp_path: Path) -> Iterator[str]:
    name = f"deliver-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"
    text = PIPELINE.format(name=name, repository=shop.bare, stages=STAGES.replace("LIVE", str(tmp_path / "live")))
    assert world.ask("PUT", "/api/v1/specs", content=text).status_code == 200
    until(lambda: world.get(f"/api/v1/pipelines/{name}").status_code == 200)
    yield name
    gone = world.ask("DELETE", f"/api/v1/specs/Pipeline/{name}", headers={"If-Match": "*"})
    assert gone.status_code in {200, 204}, gone.text


def over(world: World, number: int) -> Any:
    until(lambda: world.get(f"/api/v1/runs/{number}").json()["finishedAt"] is not None)
    return world.get(f"/api/v1/runs/{number}").json()


def test_a_pipeline_is_started_followed_and_shown(world: World, applied: str, tmp_path: Path) -> None:
    started = world.post(f"/api/v1/pipelines/{applied}/runs", "operator", json={"inputs": {"region": "us"}})
    assert started.status_code == 201, started.text
    number = started.json()["number"]
    assert started.headers["location"] == f"/api/v1/runs/{number}"
    kinds: list[str] = []
    written = ""
    last: Any = {}
    with world.client("viewer").stream("GET", f"/api/v1/runs/{number}/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))
                written += last["text"] if kinds[-1] == "log" and last["step"] == "build/make" else ""
    assert kinds[0] == "run"
    assert kinds[-1] == "end"
    assert last == {"state": "succeeded"}
    assert written == "built for us\n"
    found = over(world, number)
    assert found["by"] == "operator"
    assert [stage["state"] for stage in found["stages"]] == ["succeeded"] * 5
    decision = found["stages"][2]["steps"][0]["outcome"]["decision"]
    assert world.get(f"/api/v1/decisions/{decision}").json()["decision"]["service"] == "checkout"
    deployed = world.get("/api/v1/deployments?service=checkout&limit=1").json()["items"][0]
    assert (deployed["decision"], deployed["revision"]) == (decision, found["revision"])
    assert (tmp_path / "live").read_text() == "v1\n"
    (artifact,) = found["stages"][1]["steps"][0]["outcome"]["artifacts"]
    fetched = world.get(f"/api/v1/runs/{number}/artifacts/{artifact['digest']}", "viewer")
    assert hashlib.sha256(fetched.content).hexdigest() == artifact["digest"]
    assert world.get(f"/api/v1/runs/{number}/artifacts/{'0' * 64}").status_code == 404
    assert world.get(f"/api/v1/pipelines/{applied}").json()["lastRun"]["number"] == number
    assert number in [one["number"] for one in world.get(f"/api/v1/runs?pipeline={applied}").json()["items"]]


def test_logs_are_read_from_any_byte_on(world: World, applied: str) -> None:
    number = world.post(f"/api/v1/pipelines/{applied}/runs", json={}).json()["number"]
    over(world, number)
    plain = world.get(f"/api/v1/runs/{number}/logs?step=build/make&offset=6")
    assert plain.text == "for eu\n"
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert (plain.headers["x-next-offset"], plain.headers["x-log-ended"]) == ("13", "true")
    told = world.get(f"/api/v1/runs/{number}/logs?step=build/make&form=json").json()
    assert told == {"step": "build/make", "offset": 0, "nextOffset": 13, "ended": True, "text": "built for eu\n"}
    assert world.get(f"/api/v1/runs/{number}/logs?step=nope").status_code == 404


def test_what_does_not_fit_is_refused_in_words(world: World, applied: str) -> None:
    mars = world.post(f"/api/v1/pipelines/{applied}/runs", json={"inputs": {"region": "mars"}})
    assert (mars.status_code, mars.json()["detail"]) == (400, "region is 'mars'")
    gone = world.post(f"/api/v1/pipelines/{applied}/runs", json={"revision": "nope"})
    assert gone.status_code == 404
    assert "'nope' is no commit of" in gone.json()["detail"]
    assert world.post(f"/api/v1/pipelines/{applied}/runs", "viewer", json={}).status_code == 403
    assert world.post(f"/api/v1/pipelines/{applied}/runs", "basket", json={}).status_code == 403
    assert world.get(f"/api/v1/pipelines/{applied}", "basket").status_code == 403
    assert applied not in [one["name"] for one in world.get("/api/v1/pipelines", "basket").json()["items"]]


def test_a_push_that_is_told_twice_starts_once(world: World, applied: str, shop: Shop) -> None:
    sha = shop.commit({"a": "2"})
    told = {"repository": str(shop.bare), "ref": "refs/heads/main", "after": sha}
    first = world.post("/api/v1/pipelines/pushes", "operator", json=told).json()["items"]
    second = world.post("/api/v1/pipelines/pushes", "operator", json=told).json()["items"]
    assert [one["pipeline"] for one in first] == [applied]
    assert [one["number"] for one in first] == [one["number"] for one in second]
    assert over(world, first[0]["number"])["trigger"] == "push"
    bad = world.post("/api/v1/pipelines/pushes", "operator", json=told | {"ref": "main"})
    assert bad.status_code == 422


def test_a_hook_tells_who_pushed_which_run_began_and_what_was_not_started(
    world: World, applied: str, shop: Shop
) -> None:
    def hooked(sha: str) -> Any:
        where = ["--repo", str(shop.bare), "--server", world.url]
        return CliRunner().invoke(
            cli, ["pipeline", "trigger", *where], input=f"{'0' * 40} {sha} refs/heads/main\n", env=environment
        )

    environment = {"TIGHTROPE_TOKEN": world.tokens["operator"]}
    done = hooked(shop.commit({"a": "2"}, "feat: told by a hook"))
    (run,) = world.get(f"/api/v1/runs?pipeline={applied}").json()["items"]
    assert done.stdout == (
        f"tightrope: run {run['number']} of {applied} started\ntightrope: {world.url}/delivery/runs/{run['number']}\n"
    )
    assert (run["by"], run["title"]) == (who(), "feat: told by a hook")
    over(world, run["number"])
    told = hooked("1" * 40)
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr.startswith(f"tightrope: {applied} was not started: ")
    assert world.server.pipelines.trouble_of("https://example.org/another.git") == {}
    hooked(shop.commit({"a": "3"}))
    over(world, world.get(f"/api/v1/runs?pipeline={applied}").json()["items"][0]["number"])
    assert world.server.pipelines.trouble_of(str(shop.bare)) == {}


def test_the_command_line_starts_and_follows_what_a_server_carries_out(world: World, applied: str) -> None:
    environment = {"TIGHTROPE_TOKEN": world.tokens["operator"]}
    done = CliRunner().invoke(cli, ["pipeline", "run", applied, "--server", world.url], env=environment)
    assert done.exit_code == 0, done.output
    assert [line.split()[:2] for line in done.stdout.splitlines()[:4]] == [
        ["ok", "checkout"],
        ["ok", "build"],
        ["ok", "ask"],
        ["ok", "ship"],
    ]
    assert "GO, standard D-" in done.stdout
    number = over(world, world.get(f"/api/v1/runs?pipeline={applied}&limit=1").json()["items"][0]["number"])["number"]
    logs = CliRunner().invoke(
        cli, ["pipeline", "logs", str(number), "build/make", "--server", world.url], env=environment
    )
    assert logs.output == "built for eu\n"
    raw = CliRunner().invoke(cli, ["pipeline", "logs", str(number), "look", "--server", world.url], env=environment)
    assert raw.stdout_bytes == b"\xff\x00no text\n"
    retried = CliRunner().invoke(cli, ["pipeline", "retry", str(number), "--server", world.url], env=environment)
    assert "nothing in run" in str(retried.exception)
    assert command("pipeline", "list").exit_code == 2


def test_a_webhook_starts_what_its_push_starts(
    world: World, applied: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIGHTROPE_TEST_HOOK_SECRET", SECRET)
    name = f"forge-{applied}"
    text = (
        "apiVersion: tightrope.dev/v1\nkind: Integration\n"
        f"metadata: {{name: {name}}}\nspec: {{type: github, secretFrom: {{env: TIGHTROPE_TEST_HOOK_SECRET}}}}\n"
    )
    assert world.ask("PUT", "/api/v1/specs", content=text).status_code == 200
    after = shop.commit({"a": "3"}, "feat: by webhook")
    commit = github_commit(2, "feat: by webhook") | {"id": after}
    document = github_push(commit) | {"repository": {"clone_url": str(shop.bare), "full_name": "acme/shop"}}
    headers, body = github("push", document, delivery=f"delivery-{applied}")
    until(lambda: name in {one.name for one in world.server.live.snapshot.specs.integrations})
    sent = world.post(f"/api/v1/hooks/{name}", "", content=body, headers=headers)
    assert sent.status_code == 202, sent.text
    until(lambda: world.get(f"/api/v1/runs?pipeline={applied}").json()["items"])
    (run,) = world.get(f"/api/v1/runs?pipeline={applied}").json()["items"]
    assert (run["trigger"], run["revision"], run["title"], run["by"]) == ("push", after, "feat: by webhook", "ann")
    over(world, run["number"])
    assert world.ask("DELETE", f"/api/v1/specs/Integration/{name}", headers={"If-Match": "*"}).status_code < 300


def test_a_deployment_that_asked_is_no_way_around_the_gate_and_one_that_did_not_is(
    world: World, applied: str, shop: Shop, tmp_path: Path
) -> None:
    def found(number: int) -> list[str]:
        over(world, number)
        items = world.get("/api/v1/deployments?service=checkout&limit=20").json()["items"]
        (deployed,) = [one for one in items if one["url"].endswith(f"/runs/{number}")]
        findings = world.get("/api/v1/findings?service=checkout&limit=100").json()["items"]
        return [one["says"] for one in findings if one["deployment"] == deployed["id"]]

    asked = world.post(f"/api/v1/pipelines/{applied}/runs", json={}).json()["number"]
    assert found(asked) == []
    (tmp_path / "live").unlink()
    stages = STAGES.replace("    - {name: ask, gate: {}}\n", "").replace("LIVE", str(tmp_path / "live"))
    text = PIPELINE.format(name=applied, repository=shop.bare, stages=stages)
    put = world.ask("PUT", f"/api/v1/specs/Pipeline/{applied}", content=text, headers={"If-Match": "*"})
    assert put.status_code == 200, put.text
    until(lambda: len(world.get(f"/api/v1/pipelines/{applied}").json()["stages"]) == 3)
    shop.commit({"a": "not asked"}, "feat: not asked")
    unasked = world.post(f"/api/v1/pipelines/{applied}/runs", json={}).json()["number"]
    assert len(found(unasked)) == 1
