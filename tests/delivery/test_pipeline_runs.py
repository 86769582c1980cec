"""Pipelines carried out: real commands, a real repository, a real store."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import ROOT
from tests.delivery.pipeline_world import HEAD, Shop, git, states, world, written
from tightrope.base.clock import ticks
from tightrope.base.errors import ConflictError, NotFoundError, UsageError
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.pipelines.documents import exit_code, run_document
from tightrope.delivery.pipelines.plan import Push, Trigger
from tightrope.delivery.pipelines.store import Shelves
from tightrope.delivery.pipelines.watching import Sight
from tightrope.delivery.rollouts.usecases import Wish, _wish_of
from tightrope.policy.decision import Decision, GateFacts, GateRequest, SloFacts
from tightrope.policy.gate import decide
from tightrope.runs.steps import Action, Answer, Done, Effects, RunState, Step
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import ChangeKind
from tightrope.state.journal import Journal


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "repositories")


def committed(shop: Shop, stages: str, more: str = "", **files: str) -> None:
    shop.commit({"tightrope.yaml": f"{HEAD}{more}  stages:\n{stages}", **files})


# --- commands ------------------------------------------------------------------------------------------------------


def test_a_commit_is_built_tested_in_each_cell_and_its_artifacts_are_kept(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - name: build\n"
        "      steps: [{name: make, run: 'mkdir dist; cp source dist/app; echo built', artifacts: 'dist/*'}]\n"
        "    - name: test\n"
        "      matrix: {python: ['3.11', '3.12']}\n"
        "      steps: [{name: unit, run: 'cat dist/app; echo $MATRIX_PYTHON > cell; sleep 0.2; cat cell'}]\n",
        source="v1\n",
    )
    with world(tmp_path / "data") as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.SUCCEEDED
        assert here.log(run, "test (3.11)/unit") == b"v1\n3.11\n"
        assert here.log(run, "test (3.12)/unit") == b"v1\n3.12\n"
        (artifact,) = run.step("build/make").outcome["artifacts"]
        digest = hashlib.sha256(b"v1\n").hexdigest()
        assert artifact == {"path": "dist/app", "size": 3, "digest": digest}
        assert here.pipelines.shelves.artifact(digest).read_bytes() == b"v1\n"
        events = [entry.event for entry in Journal(here.database).read(subject=run.id)]
        kinds = [event.type for event in events]
        assert kinds.count("dev.cdevents.pipelinerun.started.0.3.0") == 1
        assert kinds.count("dev.cdevents.pipelinerun.finished.0.3.0") == 1
        assert kinds.count("dev.cdevents.taskrun.finished.0.3.0") == 4
        (published,) = [event for event in events if event.type.startswith("dev.cdevents.artifact.published")]
        assert published.data["customData"]["digest"] == digest
        assert exit_code(run_document(run)) == 0


def test_what_fails_ends_the_run_and_what_is_for_failures_and_always_still_runs(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - name: build\n"
        "      steps:\n"
        "        - {name: make, run: 'echo no >&2; exit 3'}\n"
        "        - {name: more, run: 'true'}\n"
        "        - {name: tidy, run: 'echo tidied', if: always}\n"
        "        - {name: cry, run: 'echo cried', if: failure}\n"
        "    - {name: test, steps: [{name: unit, run: 'true'}, {name: after, run: 'true', if: always}]}\n"
        "    - {name: tell, if: failure, steps: [{name: them, run: 'echo told'}]}\n",
    )
    with world(tmp_path / "data") as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.FAILED
        found = {step["name"]: step for stage in run_document(run)["stages"] for step in stage["steps"]}
        assert {name: one["state"] for name, one in found.items()} == {
            "checkout": "succeeded",
            "build/make": "failed",
            "build/more": "skipped",
            "build/tidy": "succeeded",
            "build/cry": "succeeded",
            "test/unit": "skipped",
            "test/after": "skipped",
            "tell/them": "succeeded",
        }
        assert found["build/make"]["why"] == "ended with status 3"
        assert here.log(run, "build/make") == b"no\n"
        assert exit_code(run_document(run)) == 6


def test_a_step_is_tried_again_and_says_how_often(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - name: build\n"
        "      steps:\n"
        "        - {name: flaky, run: 'echo try $TIGHTROPE_ATTEMPT; test $TIGHTROPE_ATTEMPT = 2',"
        " retries: {count: 3, backoff: 1s}}\n"
        "        - {name: soft, run: 'false', continueOnError: true}\n"
        "        - {name: after, run: 'true'}\n",
    )
    with world(tmp_path / "data") as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.SUCCEEDED
        assert run.step("build/flaky").attempt == 2
        assert here.log(run, "build/flaky", 1) == b"try 1\n"
        assert states(run)["build/soft"] == "failed"
        assert states(run)["build/after"] == "succeeded"


def test_a_step_that_ignores_being_asked_to_end_is_killed_with_all_its_children(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - name: build\n"
        "      steps:\n"
        "        - name: stubborn\n"
        "          timeout: 1s\n"
        "          grace: 1s\n"
        "          run: |\n"
        "            trap '' TERM\n"
        "            (trap '' TERM; echo child; while :; do sleep 0.1; done) &\n"
        "            while :; do sleep 0.1; done\n",
    )
    with world(tmp_path / "data") as here:
        began = ticks()
        run = here.until(here.start(shop))
        assert run.state is RunState.FAILED
        assert "timed out" in run.step("build/stubborn").why
        assert ticks() - began < 10
        left = subprocess.run(["pgrep", "-f", "trap '' TERM; echo child"], capture_output=True, check=False)
        assert left.stdout == b""


def test_giant_and_binary_output_is_bounded_and_harmless(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - name: build\n"
        "      steps:\n"
        "        - {name: giant, run: 'yes 0123456789 | head -c 8000000', limits: {logMiB: 1}}\n"
        "        - {name: binary, run: 'head -c 100000 /dev/urandom; printf \"\\\\000\\\\033[2J\\\\377\"'}\n",
    )
    with world(tmp_path / "data") as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.SUCCEEDED
        giant = run.step("build/giant").outcome
        assert giant["logBytes"] < 2_500_000
        assert giant["leftOut"] > 5_000_000
        assert len(here.log(run, "build/binary")) == 100_006


def test_secrets_reach_the_step_that_names_them_and_nothing_else(tmp_path: Path, shop: Shop) -> None:
    secret = "hunter2-very-secret"
    key = tmp_path / "key"
    key.write_text("file-secret-42\n", encoding="utf-8")
    committed(
        shop,
        "    - name: build\n"
        "      steps:\n"
        "        - name: has\n"
        "          secrets: [TOKEN, KEY]\n"
        "          run: |\n"
        "            echo \"$TOKEN $KEY\"; printf 'hunter2-'; sleep 0.3; printf 'very-secret\\n'\n"
        "            test ${#TOKEN} = 19 && test ${#KEY} = 14\n"
        '        - {name: not, run: \'test -z "$TOKEN" && test -z "$SHOP"\'}\n',
        more=f"  secrets: {{TOKEN: {{fromEnvironment: SHOP}}, KEY: {{fromFile: {key}}}}}\n",
    )
    with world(tmp_path / "data", secrets={"SHOP": secret}) as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.SUCCEEDED, [(one.name, one.why) for one in run.steps]
        assert b"hunter2" not in here.log(run, "build/has")
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret.encode() not in content, path
            assert b"file-secret-42" not in content, path


def test_a_secret_that_is_not_there_fails_the_step_in_words(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - {name: build, steps: [{name: has, run: 'true', secrets: [TOKEN]}]}\n",
        more="  secrets: {TOKEN: {fromEnvironment: SHOP}}\n",
    )
    with world(tmp_path / "data") as here:
        run = here.until(here.start(shop))
        assert run.step("build/has").why == "the secret TOKEN is not there: the variable SHOP is not set"


def test_a_cache_is_found_by_its_files_and_made_anew_when_they_change(tmp_path: Path, shop: Shop) -> None:
    stage = (
        "    - name: build\n"
        "      steps: [{name: deps, run: 'test -f .deps/x || { mkdir -p .deps; cp lock .deps/x; echo fetched; }',"
        " cache: {key: [lock], paths: [.deps]}}]\n"
    )
    committed(shop, stage, lock="1")
    with world(tmp_path / "data") as here:
        first = here.until(here.start(shop))
        assert first.step("build/deps").outcome["cache"]["hit"] is False
        second = here.until(here.start(shop))
        assert second.step("build/deps").outcome["cache"]["hit"] is True
        assert (here.log(first, "build/deps"), here.log(second, "build/deps")) == (b"fetched\n", b"")
        shop.commit({"lock": "2"})
        third = here.until(here.start(shop))
        assert third.step("build/deps").outcome["cache"]["hit"] is False
        for packed in (here.folder / "pipelines" / "caches").glob("??/*"):
            packed.write_bytes(b"damaged")
        fourth = here.until(here.start(shop))
        assert fourth.step("build/deps").outcome["cache"]["hit"] is False
        assert fourth.state is RunState.SUCCEEDED


def test_shelves_let_go_of_the_longest_unused(tmp_path: Path) -> None:
    shelves, work = Shelves(tmp_path / "shelves", artifacts_bytes=250), tmp_path / "work"
    work.mkdir()
    kept = []
    for number in range(4):
        (work / "file").write_bytes(bytes([number]) * 100)
        kept += shelves.gather(work, ["file"])
        time.sleep(0.01)
    there = [(shelves.folder / "artifacts" / one.digest[:2] / one.digest).exists() for one in kept]
    assert there == [False, False, True, True]
    with pytest.raises(NotFoundError):
        shelves.artifact(kept[0].digest)
    with pytest.raises(NotFoundError):
        shelves.artifact("../../etc/passwd")


def test_links_out_of_the_workspace_are_no_artifacts(tmp_path: Path) -> None:
    shelves, work = Shelves(tmp_path / "shelves"), tmp_path / "work"
    work.mkdir()
    (work / "passwd").symlink_to("/etc/passwd")
    (work / "etc").symlink_to("/etc")
    with pytest.raises(UsageError, match="no file fits"):
        shelves.gather(work, ["passwd", "etc/**"])


def test_promised_artifacts_that_are_not_there_fail_the_step(tmp_path: Path, shop: Shop) -> None:
    committed(shop, "    - {name: build, steps: [{name: make, run: 'true', artifacts: 'dist/*'}]}\n")
    with world(tmp_path / "data") as here:
        run = here.until(here.start(shop))
        assert run.step("build/make").why == "no file fits dist/*"


def test_a_repository_that_vanishes_is_told(tmp_path: Path, shop: Shop) -> None:
    committed(shop, "    - {name: build, steps: [{name: make, run: 'true'}]}\n")
    found = written("    - {name: build, steps: [{name: make, run: 'true'}]}\n", repository=shop.bare)
    gone = Trigger("manual", "ann", str(tmp_path / "gone.git"), "a" * 40)
    lost = Trigger("manual", "ann", str(shop.bare), "b" * 40)
    with world(tmp_path / "data") as here:
        first = here.until(here.pipelines.start(found, gone))
        assert first.step("checkout").why == f"the repository {tmp_path / 'gone.git'} is not there any more"
        assert states(first)["build/make"] == "skipped"
        second = here.until(here.pipelines.start(found, lost), lambda run: run.step("checkout").attempt > 1)
        assert "cannot be checked out: fatal:" in second.step("checkout").why


# --- queue, cancel, retry, crash -----------------------------------------------------------------------------------


def test_runs_of_one_group_queue_and_none_is_dropped(tmp_path: Path, shop: Shop) -> None:
    trail = tmp_path / "trail"
    committed(
        shop,
        f"    - {{name: build, steps: [{{name: make, run: 'echo in >> {trail}; sleep 0.2; echo out >> {trail}'}}]}}\n",
    )
    with world(tmp_path / "data") as here:
        runs = [here.start(shop) for _ in range(3)]
        assert [run.state for run in runs] == ["running", "queued", "queued"]
        waits = f"waits behind #{runs[0].number} of shop"
        assert here.pipelines.document(runs[2])["summary"] == f"shop #{runs[2].number} {waits}"
        for run in runs:
            assert here.until(run).state is RunState.SUCCEEDED
    assert trail.read_text().split() == ["in", "out"] * 3


def test_the_title_of_a_commit_that_nobody_told_is_known_from_the_checkout(tmp_path: Path, shop: Shop) -> None:
    shop.commit({"tightrope.yaml": f"{HEAD}  stages:\n{MAKE}"}, "feat: a wallet")
    with world(tmp_path / "data") as here:
        trigger = Trigger("manual", "ann", str(shop.clone), git(shop.clone, "rev-parse", "HEAD"))
        run = here.until(here.pipelines.start(written(MAKE), trigger))
        assert here.pipelines.document(run)["title"] == "feat: a wallet"


def test_a_cancelled_run_stops_what_runs_and_begins_only_what_always_runs(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - name: build\n"
        "      steps: [{name: long, run: 'sleep 60', grace: 1s}, {name: next, run: 'true'},"
        " {name: tidy, run: 'echo tidied', if: always}]\n",
    )
    with world(tmp_path / "data") as here:
        run = here.until(here.start(shop), lambda run: states(run)["build/long"] == "running")
        here.pipelines.cancel(run.number, by="bob", reason="wrong one")
        run = here.until(run)
        assert run.state is RunState.CANCELLED
        assert states(run) | {"checkout": ""} == {
            "checkout": "",
            "build/long": "cancelled",
            "build/next": "cancelled",
            "build/tidy": "succeeded",
        }
        with pytest.raises(ConflictError):
            here.pipelines.cancel(run.number, by="bob")


def test_a_retry_goes_on_from_what_failed(tmp_path: Path, shop: Shop) -> None:
    fixed, trail = tmp_path / "fixed", tmp_path / "trail"
    committed(
        shop,
        f"    - {{name: build, steps: [{{name: make, run: 'echo built >> {trail}'}}]}}\n"
        f"    - {{name: test, steps: [{{name: unit, run: 'test -f {fixed}'}}]}}\n",
    )
    with world(tmp_path / "data") as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.FAILED
        fixed.touch()
        again = here.until(here.pipelines.retry(run.number, by="ann"))
        assert again.state is RunState.SUCCEEDED
        assert trail.read_text() == "built\n"
        with pytest.raises(ConflictError):
            here.pipelines.retry(run.number, by="ann")
        assert here.pipelines.shelves.tidy(()) == 1
        here.until(here.pipelines.retry(run.number, by="ann", steps=["test/unit"]))
        assert trail.read_text() == "built\nbuilt\n", "without its workspace it begins anew"


@pytest.mark.timeout(150)
def test_after_a_kill_the_run_goes_on_where_it_was(tmp_path: Path, shop: Shop) -> None:
    trail, go = tmp_path / "trail", tmp_path / "go"
    committed(
        shop,
        f"    - {{name: build, steps: [{{name: make, run: 'echo built >> {trail}'}}]}}\n"
        f"    - {{name: test, steps: [{{name: unit,"
        f" run: 'echo began >> {trail}; while [ ! -f {go} ]; do sleep 0.05; done; echo tested >> {trail}'}}]}}\n"
        f"    - {{name: pack, steps: [{{name: it, run: 'echo packed >> {trail}'}}]}}\n",
    )
    data = tmp_path / "data"
    command = [sys.executable, "-m", "tightrope", "pipeline", "run", "--data", str(data), "-f", "tightrope.yaml"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        command, cwd=shop.clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    end = ticks() + 20
    while not (trail.exists() and "began" in trail.read_text()):
        assert ticks() < end
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    go.touch()
    resumed = subprocess.run(
        [*command[:4], "resume", "1", "--data", str(data)],
        cwd=shop.clone,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=100,
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert trail.read_text().split() == ["built", "began", "tested", "packed"]


# --- the gate, deployments -----------------------------------------------------------------------------------------


def gate(remaining: Fraction) -> tuple[list[GateRequest], AskRecorded]:
    asked: list[GateRequest] = []
    return asked, AskRecorded(asked, remaining)


class AskRecorded:
    """A gate on a budget."""

    def __init__(self, asked: list[GateRequest], remaining: Fraction) -> None:
        self.asked, self.remaining, self.stale = asked, remaining, False

    def __call__(self, request: GateRequest) -> Decision:
        self.asked.append(request)
        facts = SloFacts(
            slo="shop-availability",
            objective=Fraction(999, 1000),
            state="feature" if self.remaining > 0 else "stability",
            state_since=None,
            state_reason="",
            remaining=self.remaining,
            allowed=Fraction(1000),
            consumed=1000 * (1 - self.remaining),
            unit="events",
            unit_s=0,
            window_s=28 * 86_400,
            coverage=Fraction(1),
            data_age_s=1_000 if self.stale else 10,
            stale=self.stale,
            stale_after_s=600,
            burn_rates=(),
        )
        return decide(request, GateFacts(DEFAULT_POLICY, (facts,)))


def delivery(
    tmp_path: Path, *, deploy: str = "", observe: bool = True, look: str = "true", rollback: bool = True
) -> str:
    live = tmp_path / "live"
    run = deploy or f"cp app {live}"
    more = f", observe: 'test -f {live} && cmp -s app {live}'" if observe else ""
    more += f", rollback: 'echo v0 > {live}'" if rollback else ""
    return (
        "    - {name: build, steps: [{name: make, run: 'true'}]}\n"
        "    - {name: ask, gate: {every: 1s, timeout: 2s}}\n"
        f'    - {{name: ship, deploy: {{run: "{run}"{more}, timeout: 3s, grace: 1s}}}}\n'
        f"    - {{name: look, verify: {{run: '{look}'}}}}\n"
    )


def test_a_deployment_is_told_with_the_decision_that_it_went_out_on(tmp_path: Path, shop: Shop) -> None:
    committed(shop, delivery(tmp_path), app="v1")
    asked, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.SUCCEEDED
        assert (tmp_path / "live").read_text() == "v1"
        (deployed,) = here.deliveries.deployments(service="shop")
        assert deployed.state is DeploymentState.SUCCEEDED
        assert deployed.decision == run.step("ask").outcome["decision"] != ""
        assert deployed.revision == run.document["revision"] == asked[0].change
        assert (asked[0].kind, deployed.kind) == (ChangeKind.FEATURE, ChangeKind.FEATURE)
        shop.commit({"app": "v2"}, "fix: broken cart")
        here.until(here.start(shop))
        assert asked[1].kind is ChangeKind.RELIABILITY, "the kind is that of the commits since what is live"
        newest = here.deliveries.deployments(service="shop")[0]
        assert [one.title for one in newest.commits] == ["fix: broken cart"]


def test_a_stop_of_the_gate_ends_the_run_with_its_reason(tmp_path: Path, shop: Shop) -> None:
    committed(shop, delivery(tmp_path), app="v1")
    _, ask = gate(Fraction(-1, 10))
    with world(tmp_path / "data", ask=ask) as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.FAILED
        assert states(run)["ship"] == "skipped"
        assert run.step("ask").outcome["verdict"] == "stop"
        assert run.step("ship/rollback").outcome == {"skipped": "nothing was deployed"}
        document = run_document(run)
        assert exit_code(document) == 3
        assert "stopped by the gate" in document["summary"]
        assert run.step("ask").why in document["summary"]
        assert here.deliveries.deployments(service="shop") == []
        assert not (tmp_path / "live").exists()


def test_a_gate_that_says_wait_is_asked_again_until_it_goes_or_time_is_up(tmp_path: Path, shop: Shop) -> None:
    committed(shop, delivery(tmp_path), app="v1")
    asked, ask = gate(Fraction(1, 2))
    ask.stale = True
    with world(tmp_path / "data", ask=ask) as here:
        run = here.until(here.start(shop))
        assert len(asked) >= 2
        assert run.step("ask").outcome["verdict"] == "wait"
        assert run.step("ask").why.startswith("still waiting after 2 s")
        assert exit_code(run_document(run)) == 4
        ask.stale = False
        assert here.until(here.pipelines.retry(run.number, by="ann")).state is RunState.SUCCEEDED


def test_a_version_that_does_not_verify_is_taken_back_without_asking_the_gate(tmp_path: Path, shop: Shop) -> None:
    committed(shop, delivery(tmp_path, look="false"), app="v1")
    asked, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        run = here.until(here.start(shop))
        assert run.state is RunState.FAILED
        assert (tmp_path / "live").read_text() == "v0\n"
        assert len(asked) == 1
        back = here.deliveries.deployments(service="shop")[0]
        assert (back.rollback, back.state) == (True, DeploymentState.SUCCEEDED)


def test_what_is_there_already_is_not_deployed_again(tmp_path: Path, shop: Shop) -> None:
    trail = tmp_path / "trail"
    committed(shop, delivery(tmp_path, deploy=f"echo x >> {trail}; cp app {tmp_path / 'live'}"), app="v1")
    _, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        here.until(here.start(shop))
        second = here.until(here.start(shop))
        assert second.step("ship").outcome == {"already": True}
        assert len(here.deliveries.deployments(service="shop")) == 1
    assert trail.read_text() == "x\n"


def test_a_command_that_says_it_deployed_and_did_not_is_found_out(tmp_path: Path, shop: Shop) -> None:
    committed(shop, delivery(tmp_path, deploy="true"), app="v1")
    _, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        run = here.until(here.start(shop))
        assert states(run)["ship"] == "failed"
        assert "`observe` says that this version is not there" in run.step("ship").why
        assert (tmp_path / "live").read_text() == "v0\n", "it may have done half of its work"


def test_a_deployment_that_is_cut_short_is_looked_at_and_not_repeated(tmp_path: Path, shop: Shop) -> None:
    committed(shop, delivery(tmp_path, deploy=f"cp app {tmp_path / 'live'}; sleep 60"), app="v1")
    _, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        run = here.until(here.start(shop))
        assert states(run)["ship"] == "succeeded", "it timed out, but this version is there"
        assert run.step("ship").outcome["observed"] is True


@pytest.mark.parametrize(
    ("observe", "says"),
    [
        ("[./gone.sh]", "there is no program './gone.sh'"),
        ("./gone.sh", "status 127"),
        ("./app", "status 126"),
        ("'kill -9 $$'", "ended by signal 9"),
    ],
)
def test_a_look_that_cannot_be_had_ends_a_deployment_before_it_begins(
    tmp_path: Path, shop: Shop, observe: str, says: str
) -> None:
    trail = tmp_path / "trail"
    committed(
        shop, f"    - {{name: ship, deploy: {{run: 'echo x >> {trail}', observe: {observe}, timeout: 1h}}}}\n", app="v1"
    )
    with world(tmp_path / "data") as here:
        step = here.until(here.start(shop)).step("ship")
        assert (step.state, step.attempt, step.outcome) == ("failed", 1, {"untouched": True})
        assert step.why == f"`observe` could not tell what is there, so nothing was deployed: {says}"
        assert here.deliveries.deployments(service="shop") == []
    assert not trail.exists()


def test_a_deployment_without_its_secret_ends_at_once_and_says_which(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - {name: ship, deploy: {run: 'true', observe: 'false', secrets: [TOKEN], timeout: 1h}}\n",
        "  secrets: {TOKEN: {fromEnvironment: GONE_TOKEN}}\n",
        app="v1",
    )
    with world(tmp_path / "data") as here:
        step = here.until(here.start(shop)).step("ship")
        assert (step.state, step.attempt) == ("failed", 1)
        assert "the secret TOKEN is not there: the variable GONE_TOKEN is not set" in step.why


def test_a_deployment_whose_supervisor_was_killed_is_looked_for_once_it_is_over_also_if_it_is_cancelled(
    tmp_path: Path, shop: Shop
) -> None:
    deploy = f"echo $PPID > {tmp_path / 'parent'}; sleep 60; cp app {tmp_path / 'live'}"
    committed(shop, delivery(tmp_path, deploy=deploy).replace("timeout: 3s", "timeout: 1h"), app="v1")
    _, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        run = here.start(shop)
        here.until(run, lambda _: (tmp_path / "parent").exists() and (tmp_path / "parent").read_text() != "")
        os.kill(int((tmp_path / "parent").read_text()), signal.SIGKILL)
        here.until(run, lambda run: run.step("ship").why == "its supervisor was killed, and it runs on")
        here.pipelines.cancel(run.number, by="ann")
        run = here.until(run)
        assert (run.state, run.step("ship").state) == (RunState.CANCELLED, "cancelled")
        assert run.step("ship").outcome["observed"] is False
    assert not (tmp_path / "live").exists()


def test_nobody_knows_what_half_a_deployment_did_until_somebody_says(tmp_path: Path, shop: Shop) -> None:
    trail = tmp_path / "trail"
    deploy = f"echo half >> {trail}; sleep 60"
    committed(shop, delivery(tmp_path, deploy=deploy, observe=False), app="v1")
    _, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        run = here.until(here.start(shop), lambda run: run.state is RunState.UNKNOWN)
        assert run.step("ship").why == "timed out in the midst of it, and there is no `observe` to tell what is there"
        document = run_document(run)
        assert exit_code(document) == 4
        assert "waits for somebody to say what became of ship" in document["summary"]
        assert here.deliveries.deployments(service="shop")[0].state is DeploymentState.STARTED
        time.sleep(0.3)
        assert trail.read_text() == "half\n"
        here.pipelines.settle(run.number, "ship", "succeeded", by="ann", reason="the page shows v1")
        run = here.until(run)
        assert run.state is RunState.SUCCEEDED
        assert here.deliveries.deployments(service="shop")[0].state is DeploymentState.SUCCEEDED


@pytest.mark.parametrize(
    ("sights", "state"),
    [
        ([[Sight("a", (), Fraction(1, 2))]], "succeeded"),
        ([[Sight("a", (), Fraction(1, 2))], [Sight("a", ("page-1h",), Fraction(1, 2))]], "failed"),
        ([[Sight("a", (), Fraction(1, 10))], [Sight("a", (), Fraction(-1, 10))]], "failed"),
        ([[Sight("a", ("old",), None)]] * 2 + [[Sight("a", (), None)]], "succeeded"),
        ([[Sight("a", stale=True)]] * 2 + [[Sight("a")]], "succeeded"),
    ],
)
def test_slos_are_watched_while_a_version_bakes(
    tmp_path: Path, shop: Shop, sights: list[list[Sight]], state: str
) -> None:
    committed(shop, "    - {name: look, verify: {slos: [a], bake: 1s, every: 1s, service: shop}}\n")
    looks = iter(sights)
    last = sights[-1]

    def watch(_service: str, _names: Sequence[str]) -> Sequence[Sight]:
        return next(looks, last)

    with world(tmp_path / "data", watch=watch) as here:
        run = here.until(here.start(shop))
        assert states(run)["look"] == state, run.step("look").why


# --- triggers ------------------------------------------------------------------------------------------------------

MAKE = "    - {name: build, steps: [{name: make, run: 'true'}]}\n"


def test_a_push_to_a_bare_repository_starts_its_pipeline_once(tmp_path: Path, shop: Shop) -> None:
    text = f"{HEAD}  triggers: {{push: {{branches: [main], paths: ['src/**']}}, tags: ['v*']}}\n  stages:\n{MAKE}"
    first = shop.commit({"tightrope.yaml": text, "src/a": "1"})
    second = shop.commit({"docs/a": "1"}, "docs: more")
    third = shop.commit({"src/a": "2"}, "feat: two", tag="v2")
    ref = "refs/heads/main"
    with world(tmp_path / "data") as here:
        said = [
            here.pipelines.received(str(shop.bare), *one, by="ann")
            for one in [
                (ref, "0" * 40, first),
                (ref, first, second),
                (ref, second, third),
                (ref, second, third),
                ("refs/tags/v2", "0" * 40, third),
                ("refs/heads/other", "0" * 40, third),
                (ref, third, "0" * 40),
            ]
        ]
        numbers = [None if run is None else run.number for run in said]
        assert numbers == [1, None, 2, 2, 3, None, None]
        assert said[4] is not None
        assert (said[4].document["trigger"], said[4].document["tag"]) == ("tag", "v2")
        assert here.until(said[4]).state is RunState.SUCCEEDED


def test_a_hook_starts_runs_when_somebody_pushes(tmp_path: Path, shop: Shop) -> None:
    from tightrope.delivery.pipelines.usecases import written_hook

    data = tmp_path / "data"
    line = f"PYTHONPATH={ROOT / 'src'} {sys.executable} -m tightrope pipeline trigger --repo {shop.bare} --data {data}"
    path = Path(written_hook(str(shop.bare), line))
    assert path == shop.bare / "hooks" / "post-receive"
    shop.commit({"tightrope.yaml": f"{HEAD}  triggers: {{push: {{branches: [main]}}}}\n  stages:\n{MAKE}"})
    with world(data) as here:
        (run,) = here.pipelines.recent()
        assert run.document["branch"] == "main"
        assert here.until(run).state is RunState.SUCCEEDED
    path.write_text("#!/bin/sh\necho mine\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is there already"):
        written_hook(str(shop.bare), line)


def test_a_push_is_told_to_the_pipelines_of_its_repository(tmp_path: Path, shop: Shop) -> None:
    sha = shop.commit({"a": "1"})
    mine = written(MAKE, repository=shop.bare, more="  triggers: {push: {branches: [main]}}\n")
    other = written(MAKE, repository=tmp_path / "gone.git", more="  triggers: {push: {}}\n")
    with world(tmp_path / "data", definitions=lambda: [mine, other]) as here:
        push = Push(str(shop.bare), branch="main", after=sha, by="ann")
        assert [run.number for run in here.pipelines.pushed(push)] == [1]
        assert [run.number for run in here.pipelines.pushed(push)] == [1]


def test_what_was_missed_while_nothing_ran_happens_once(tmp_path: Path, shop: Shop) -> None:
    shop.commit({"a": "1"})
    nightly = written(MAKE, repository=shop.bare, more="  triggers: {schedule: [{cron: '0 3 * * *'}]}\n")
    day, three = 86_400, 3 * 3600
    with world(tmp_path / "data", definitions=lambda: [nightly]) as here:
        assert here.pipelines.tick(20_000 * day) == []
        assert here.pipelines.tick(20_000 * day + three - 1) == []
        assert len(here.pipelines.tick(20_000 * day + three)) == 1
        assert here.pipelines.tick(20_000 * day + three + 20) == []
    with world(tmp_path / "data", definitions=lambda: [nightly]) as here:
        shop.commit({"a": "2"})
        assert len(here.pipelines.tick(20_009 * day + 5 * 3600)) == 1
        assert here.pipelines.tick(20_009 * day + 5 * 3600 + 20) == []
        assert [run.document["trigger"] for run in here.pipelines.recent()] == ["schedule"] * 2


def test_a_schedule_whose_repository_is_gone_is_told_as_trouble(tmp_path: Path) -> None:
    nightly = written(MAKE, repository=tmp_path / "gone.git", more="  triggers: {schedule: [{cron: '* * * * *'}]}\n")
    with world(tmp_path / "data", definitions=lambda: [nightly]) as here:
        here.pipelines.tick(1_700_000_000)
        assert here.pipelines.tick(1_700_000_120) == []
        assert "is not there" in here.pipelines.trouble["shop"]


def test_the_repository_says_what_is_done_but_not_with_whose_secrets(tmp_path: Path, shop: Shop) -> None:
    applied = written(
        MAKE, repository=shop.bare, more="  file: tightrope.yaml\n  secrets: {A: {fromEnvironment: SHOP_A}}\n"
    )
    shop.commit({"tightrope.yaml": f"{HEAD}  stages:\n    - {{name: own, steps: [{{name: make, run: 'true'}}]}}\n"})
    with world(tmp_path / "data", definitions=lambda: [applied]) as here:
        run = here.pipelines.run("shop", by="ann", revision="main")
        assert "own/make" in states(run)
        stolen = HEAD + "  secrets: {X: {fromEnvironment: ROOT_KEY}}\n  stages:\n" + MAKE
        shop.commit({"tightrope.yaml": stolen})
        with pytest.raises(UsageError, match="asks for the secret X, which shop was not given"):
            here.pipelines.run("shop", by="ann", revision="main")


def test_what_cannot_be_carried_out_here_is_refused_at_once(tmp_path: Path, shop: Shop) -> None:
    shop.commit({"a": "1"})
    far = written(MAKE, repository=shop.bare, more="  executor: {container: {image: python}}\n")
    with world(tmp_path / "data", definitions=lambda: [far]) as here:
        with pytest.raises(UsageError, match="container"):
            here.pipelines.run("shop", by="ann")
        with pytest.raises(NotFoundError, match="no pipeline 'x'"):
            here.pipelines.run("x", by="ann")
        with pytest.raises(NotFoundError, match="is no commit of"):
            here.pipelines.run("shop", by="ann", revision="nope")


def test_a_folder_that_is_in_no_repository_runs_as_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "tightrope.yaml").write_text(f"{HEAD}  stages:\n{MAKE}", encoding="utf-8")
    from tightrope.delivery.pipelines.usecases import trigger_here
    from tightrope.specs.store import load

    with world(folder / "data") as here:
        found = load([str(folder / "tightrope.yaml")]).pipelines[0]
        trigger, _ = trigger_here(found, by="ann", as_is=False, left_out=str(folder / "data"))
        assert trigger.version.startswith("as-is-")
        run = here.until(here.pipelines.start(found, trigger))
        assert run.state is RunState.SUCCEEDED
    assert git(tmp_path, "--version")


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_ran_on_a_machine_that_is_gone_is_unknown_to_the_others_and_never_done_twice(
    tmp_path: Path, shop: Shop, cancelled: bool
) -> None:
    trail, go, store = tmp_path / "trail", tmp_path / "go", str(tmp_path / "store")
    waiting = f"echo begun >> {trail}; until test -e {go}; do sleep 0.05; done"
    committed(shop, f"    - {{name: build, steps: [{{name: make, run: '{waiting}'}}]}}\n")
    with world(tmp_path / "one", where=store) as here:
        run = here.until(here.start(shop), lambda _: trail.exists())
        with here.database.writing() as connection:  # its machine dies, and says nothing for longer than a lease
            connection.execute(text("UPDATE run_place SET alive_until = 0"))
            connection.execute(text("UPDATE run_step SET leased_until = 0, owner = '', due_at = 0"))
    with world(tmp_path / "other", where=store) as there:
        if cancelled:
            there.pipelines.cancel(run.number, by="ann")
        held = there.until(run, lambda run: run.state is RunState.UNKNOWN)
        assert "which is gone" in held.step("build/make").why
    if not cancelled:
        go.touch()
    with world(tmp_path / "one", where=store) as back:
        back.runs.recall()
        ended = back.until(run)
    assert ended.state is (RunState.CANCELLED if cancelled else RunState.SUCCEEDED)
    assert trail.read_text() == "begun\n"


@pytest.mark.live
def test_a_server_and_a_worker_share_a_run_on_postgresql(
    tmp_path: Path, shop: Shop, new_database: Callable[[], str]
) -> None:
    committed(shop, delivery(tmp_path), app="v1")
    asked, ask = gate(Fraction(1, 2))
    address, folder = new_database(), tmp_path / "work"
    with (
        world(folder, where=address, part="server", ask=ask, watch=lambda _service, _slos: []) as server,
        world(folder, where=address, part="worker") as worker,
    ):
        run = server.start(shop)
        worker.runs.start_working()
        run = server.until(run)
        assert run.state is RunState.SUCCEEDED, [(one.name, one.state, one.why) for one in run.steps]
        assert len(asked) == 1
        assert worker.log(run, "checkout").startswith(b"checked out ")
        worker.runs.stop_working()
        (deployed,) = server.deliveries.deployments(service="shop")
        assert deployed.decision == run.step("ask").outcome["decision"]


def test_a_step_in_a_container_has_the_workspace_its_variables_and_secrets(tmp_path: Path, shop: Shop) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    script = engine / "docker"
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT}:{ROOT}/src exec {sys.executable} -m tests.runs.standin docker {engine} "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    committed(
        shop,
        "    - name: build\n"
        "      matrix: {python: ['3.12']}\n"
        "      executor: {container: {image: 'python:${matrix.python}'}}\n"
        "      steps: [{name: make, run: 'echo $MATRIX_PYTHON ${LANG:-of no land} $TOKEN', secrets: [TOKEN]}]\n",
        more="  secrets: {TOKEN: {fromEnvironment: SHOP}}\n",
    )
    with world(tmp_path / "data", engine=str(script), secrets={"SHOP": "hunter2-secret"}) as here:
        run = here.until(here.start(shop), within_s=30)
        assert run.state is RunState.SUCCEEDED, [(one.name, one.why) for one in run.steps]
        assert here.log(run, "build (3.12)/make") == b"3.12 of no land ***\n"
        workspace = here.pipelines.shelves.workspace(run.id, "build (3.12)", "main")
    asked = (engine / "asked").read_text().splitlines()[0] if (engine / "asked").exists() else ""
    begun = next(line for line in (engine / "asked").read_text().splitlines() if line.startswith('["run"'))
    assert asked
    assert "python:3.12" in begun
    assert f"source={workspace},target=/workspace" in begun
    assert "hunter2" not in begun


@pytest.mark.timeout(150)  # a lease of a killed worker lasts for half a minute
@pytest.mark.parametrize("moment", ["checkout", "building", "gated", "deploying", "verifying"])
def test_a_kill_at_any_moment_repeats_no_step_and_deploys_once(tmp_path: Path, shop: Shop, moment: str) -> None:
    """The process is killed as soon as something is to be seen, and resumed until the run is over."""
    trail, live = tmp_path / "trail", tmp_path / "live"
    (tmp_path / "specs.yaml").write_text(
        "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: shop}\nspec: {}\n", encoding="utf-8"
    )
    committed(
        shop,
        f"    - {{name: build, steps: [{{name: make, run: 'echo built >> {trail}; sleep 0.4'}}]}}\n"
        "    - {name: ask, gate: {}}\n"
        f"    - {{name: ship, deploy: {{run: 'echo deployed >> {trail}; sleep 0.4; cp tightrope.yaml {live}',"
        f" observe: 'test -f {live}'}}}}\n"
        f"    - {{name: look, verify: {{run: 'echo verified >> {trail}; sleep 0.4'}}}}\n",
    )
    data = tmp_path / "data"
    moments: dict[str, Callable[[], bool]] = {
        "checkout": (data / "pipelines" / "workspaces").is_dir,
        "building": trail.exists,
        "gated": lambda: b"dev.tightrope.decision" in b"".join(one.read_bytes() for one in data.glob("tightrope.db*")),
        "deploying": lambda: trail.exists() and "deployed" in trail.read_text(),
        "verifying": lambda: trail.exists() and "verified" in trail.read_text(),
    }
    seen = moments[moment]
    program = [sys.executable, "-m", "tightrope", "pipeline"]
    specs = ["--data", str(data), "--specs", str(tmp_path / "specs.yaml")]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [*program, "run", *specs], cwd=shop.clone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        end = ticks() + 20
        while not seen():
            assert ticks() < end
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    done = subprocess.run(
        [*program, "resume", "1", *specs],
        cwd=shop.clone,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert trail.read_text().split() == ["built", "deployed", "verified"]
    with world(data) as here:
        (deployed,) = here.deliveries.deployments(service="shop")
        assert deployed.state is DeploymentState.SUCCEEDED
        assert deployed.decision


def test_a_rollout_is_handed_what_it_is_to_release(tmp_path: Path, shop: Shop) -> None:
    committed(
        shop,
        "    - {name: build, steps: [{name: make, run: 'true'}]}\n"
        "    - {name: ask, gate: {}}\n"
        "    - {name: ship, deploy: {rollout: careful}}\n"
        "    - {name: after, promote: {run: 'true'}}\n",
    )
    shop.commit({"a": "1"}, "fix: broken cart")
    wishes: list[Wish] = []

    class Release(Action):
        def turn(self, step: Step, now: int, effects: Effects) -> Answer:
            wishes.append(_wish_of(step.document))
            return Done({"weight": 100})

    _, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        with pytest.raises(UsageError, match="nothing here can carry out 'ship': rollout"):
            here.start(shop)
        here.runs.register("rollout", Release())
        run = here.until(here.start(shop))
        assert run.state is RunState.SUCCEEDED, [(one.name, one.why) for one in run.steps]
        (wish,) = wishes
        assert (wish.service, wish.environment, wish.version) == ("shop", "production", run.document["revision"])
        assert (wish.kind, wish.title) == (ChangeKind.RELIABILITY, "fix: broken cart")


def test_who_cannot_ask_the_gate_does_not_begin(tmp_path: Path, shop: Shop) -> None:
    committed(shop, delivery(tmp_path), app="v1")
    with world(tmp_path / "data") as here:
        with pytest.raises(UsageError, match="there is no gate here for 'ask'"):
            here.start(shop)
        assert here.pipelines.recent() == []


def test_what_is_no_name_of_a_commit_is_not_handed_to_git(tmp_path: Path, shop: Shop) -> None:
    shop.commit({"a": "1"})
    found = written(MAKE, repository=shop.bare)
    with world(tmp_path / "data") as here:
        for name in ("--upload-pack=touch gone", "main", "a" * 39, "$(touch gone)"):
            with pytest.raises(UsageError, match="no full name of a commit"):
                here.pipelines.start(found, Trigger("push", "ann", str(shop.bare), name))


def test_a_retry_deploys_again_what_was_taken_back_and_asks_the_gate_again(tmp_path: Path, shop: Shop) -> None:
    fixed, trail = tmp_path / "fixed", tmp_path / "trail"
    look = f"test -f {fixed} && cmp app {tmp_path / 'live'}"
    committed(shop, delivery(tmp_path, deploy=f"echo x >> {trail}; cp app {tmp_path / 'live'}", look=look), app="v1")
    asked, ask = gate(Fraction(1, 2))
    with world(tmp_path / "data", ask=ask) as here:
        run = here.until(here.start(shop))
        assert (tmp_path / "live").read_text() == "v0\n"
        fixed.touch()
        run = here.until(here.pipelines.retry(run.number, by="ann"))
        assert run.state is RunState.SUCCEEDED, [(one.name, one.state, one.why) for one in run.steps]
        assert (tmp_path / "live").read_text() == "v1"
        assert len(asked) == 2
        assert trail.read_text() == "x\nx\n"
        assert run.step("build/make").attempt == 1
        assert states(run)["ship/rollback"] == "skipped"
        newest = here.deliveries.live("shop")
        assert newest is not None
        assert newest.revision == run.document["revision"]
