"""Commands as Jobs through the real ``kubectl``, against a stand-in of a cluster's API server on loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.live.serving import wait_for
from tests.runs.cluster import CREATED, Cluster, cluster
from tightrope.runs.commands import Absent, Command, Ended, Lost, Running
from tightrope.runs.executors.clients import name_of
from tightrope.runs.executors.kubernetes import KubernetesExecutor
from tightrope.runs.steps import ExecutorError

pytestmark = pytest.mark.live

KEY = "R-12AB/deploy to production/2"
NAME = name_of(KEY)
BEGAN = 1_772_366_401
COMMAND = Command(("make", "deploy"), environment={"STAGE": "x"}, secrets={"TOKEN": "hunter2-hunter2"}, image="busybox")
_WITHIN_S = 60


@pytest.fixture(scope="module")
def kubectl() -> str:
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not installed (Debian: apt-get install kubernetes-client)")
    return found


@pytest.fixture
def world() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


class Clock:
    now = BEGAN + 10

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def executor(kubectl: str, world: Cluster, clock: Clock, tmp_path: Path) -> Iterator[KubernetesExecutor]:
    found = KubernetesExecutor(
        lambda key: "builds" if key.startswith("R-") else "elsewhere",
        clock=clock,
        client=(kubectl, "--server", world.url),
        variables={"HOME": str(tmp_path)},
    )
    yield found
    found.close()


def test_a_job_is_begun_once_and_followed_to_its_end(executor: KubernetesExecutor, world: Cluster) -> None:
    told: list[str] = []
    executor.listen(told.append)
    assert executor.look(KEY) == Absent()
    assert executor.log(KEY).data == b""
    executor.start(KEY, COMMAND)
    executor.start(KEY, COMMAND)
    assert sorted(world.things) == [("jobs", NAME), ("secrets", NAME)]
    made = Running(1_772_366_400)
    assert executor.look(KEY) == made, "to make it anew, if somebody removed it, would be to begin it twice"
    pod = world.begin(phase="Running")
    assert executor.look(KEY) == Running(BEGAN)
    assert executor.log(KEY).data == b"", "its container has no log yet"
    world.logs[pod["metadata"]["name"]] = b"token hunter2-hunter2 and hunt"
    assert executor.log(KEY).data == b"token *** and "
    assert told == []
    world.end("Complete", exitCode=0)
    wait_for(lambda: told == [KEY], _WITHIN_S)
    assert executor.look(KEY) == Ended(0, began_at=BEGAN, ended_at=BEGAN + 6, log_bytes=18)
    assert executor.log(KEY, offset=6).data == b"*** and hunt"
    executor.forget(KEY)
    assert executor.look(KEY) == Absent()
    assert world.things == {}


def test_the_documented_role_is_enough(executor: KubernetesExecutor, world: Cluster) -> None:
    executor.listen(lambda _: None)
    executor.start(KEY, COMMAND)
    executor.look(KEY)
    pod = world.begin(phase="Running")
    world.logs[pod["metadata"]["name"]] = b"up"
    executor.log(KEY)
    executor.stop(KEY, 1)
    world.end("Complete", exitCode=0)
    executor.look(KEY)
    executor.forget(KEY)
    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    documents = [
        one for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) for one in yaml.safe_load_all(block)
    ]
    (role,) = [one for one in documents if one["kind"] == "Role"]
    may = {(verb, what) for one in role["rules"] for what in one["resources"] for verb in one["verbs"]}
    needed = set()
    for verb, path in world.asked:
        resource, _, name = path.partition("/")
        what = f"{resource}/log" if path.endswith("/log") else resource
        needed.add(("list" if verb == "get" and not name else verb, what))
    assert needed <= may
    assert {
        ("create", "jobs"),
        ("patch", "jobs"),
        ("delete", "secrets"),
        ("list", "events"),
        ("get", "pods/log"),
    } <= needed


def test_a_secret_goes_with_its_job_whoever_removes_it(executor: KubernetesExecutor, world: Cluster) -> None:
    executor.start(KEY, COMMAND)
    owners = world.things["secrets", NAME]["metadata"]["ownerReferences"]
    assert [(one["kind"], one["uid"]) for one in owners] == [("Job", world.job()["metadata"]["uid"])]


def test_a_job_that_runs_is_not_forgotten(executor: KubernetesExecutor, world: Cluster) -> None:
    executor.start(KEY, COMMAND)
    world.begin(phase="Running")
    executor.forget(KEY)
    assert isinstance(executor.look(KEY), Running)


def test_a_job_is_stopped_by_its_deadline_and_over_when_its_pod_is(
    executor: KubernetesExecutor, world: Cluster, clock: Clock
) -> None:
    executor.start(KEY, COMMAND)
    pod = world.begin(phase="Running")
    executor.stop(KEY, 3)
    executor.stop(KEY, 3)
    assert world.job()["spec"]["activeDeadlineSeconds"] == 1
    world.end("Failed", "DeadlineExceeded")
    pod["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:20Z"
    assert executor.look(KEY) == Running(BEGAN, "ends")
    clock.now += 600
    assert executor.look(KEY) == Lost("the node node-1 does not answer for its pod")
    del world.things["pods", pod["metadata"]["name"]]
    assert executor.look(KEY) == Ended(None, why="stopped", began_at=BEGAN, ended_at=BEGAN + 6)
    executor.stop("R-0/never/1", 0)


def _terminated(**more: Any) -> dict[str, Any]:
    return {"exitCode": 1, "reason": "Error", "finishedAt": "2026-03-01T12:00:05Z"} | more


@pytest.mark.parametrize(
    ("reason", "terminated", "code", "sent", "why"),
    [
        ("BackoffLimitExceeded", _terminated(exitCode=3), 3, None, ""),
        ("BackoffLimitExceeded", _terminated(exitCode=143), None, 15, ""),
        ("BackoffLimitExceeded", _terminated(exitCode=137, reason="OOMKilled"), 137, None, "more memory than it may"),
        ("BackoffLimitExceeded", _terminated(exitCode=128, reason="StartError", message="exec: no"), 128, None,
         "it cannot be started: exec: no"),
        ("DeadlineExceeded", {}, None, None, "timed out"),
    ],
)  # fmt: skip
def test_why_a_job_failed_is_told(
    executor: KubernetesExecutor,
    world: Cluster,
    reason: str,
    terminated: dict[str, Any],
    code: int | None,
    sent: int | None,
    why: str,
) -> None:
    executor.start(KEY, COMMAND)
    pod = world.begin(phase="Running")
    if not terminated:
        del world.things["pods", pod["metadata"]["name"]]
    world.end("Failed", reason, "Job has reached the specified backoff limit", **terminated)
    seen = executor.look(KEY)
    assert isinstance(seen, Ended)
    assert (seen.code, seen.signal, seen.ok) == (code, sent, False)
    assert why in seen.why


NOBODY = Lost("its pod is gone, or its node is, and nobody saw how it ended")


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."},
         Ended(None, why="Evicted: The node was low on memory.", began_at=BEGAN, ended_at=BEGAN + 6)),
        ({"phase": "Failed", "containerStatuses": [{"name": "command", "state": {"running": {}}}]}, NOBODY),
        (None, NOBODY),
    ],
)  # fmt: skip
def test_what_nobody_saw_end_is_lost(
    executor: KubernetesExecutor, world: Cluster, status: dict[str, Any] | None, seen: Ended | Lost
) -> None:
    executor.start(KEY, COMMAND)
    pod = world.begin()
    if status is None:
        del world.things["pods", pod["metadata"]["name"]]
    else:
        pod["status"] = status
    world.end("Failed")
    assert executor.look(KEY) == seen


_PLACED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T12:00:01Z"}


def _waiting(reason: str) -> dict[str, Any]:
    waiting = {"reason": reason, "message": "manifest unknown"}
    return {"conditions": [_PLACED], "containerStatuses": [{"name": "command", "state": {"waiting": waiting}}]}


def test_a_job_whose_image_cannot_be_had_says_so_and_is_given_up(
    executor: KubernetesExecutor, world: Cluster, clock: Clock
) -> None:
    executor.start(KEY, COMMAND)
    pod = world.begin(**_waiting("ImagePullBackOff"))
    assert executor.look(KEY) == Running(BEGAN, "waits: ImagePullBackOff: manifest unknown")
    assert "activeDeadlineSeconds" not in world.job()["spec"]
    clock.now += 300
    executor.look(KEY)
    assert world.job()["spec"]["activeDeadlineSeconds"] == 1
    del world.things["pods", pod["metadata"]["name"]]
    world.end("Failed", "DeadlineExceeded")
    why = "it did not begin: ImagePullBackOff: manifest unknown"
    assert executor.look(KEY) == Ended(None, why=why, began_at=BEGAN, ended_at=BEGAN + 6)


def test_a_name_of_an_image_that_is_none_is_given_up_at_once(executor: KubernetesExecutor, world: Cluster) -> None:
    executor.start(KEY, COMMAND)
    world.begin(**_waiting("InvalidImageName"))
    executor.look(KEY)
    assert world.job()["spec"]["activeDeadlineSeconds"] == 1


def test_what_a_job_waits_for_is_told(executor: KubernetesExecutor, world: Cluster, clock: Clock) -> None:
    executor.start(KEY, COMMAND)
    quota = {"reason": "FailedCreate", "message": "exceeded quota: cpu", "lastTimestamp": "2026-03-01T12:00:05Z"}
    _warn(world, "first", NAME, quota)
    assert executor.look(KEY) == Running(1_772_366_400, "waits: FailedCreate: exceeded quota: cpu")
    pod = world.begin(conditions=[_PLACED | {"status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}])
    assert executor.look(KEY) == Running(BEGAN, "waits: Unschedulable: 0/3 nodes")
    pod["status"]["conditions"] = [_PLACED]
    _warn(world, "second", pod["metadata"]["name"], {"reason": "FailedMount", "message": 'no claim "work"'})
    assert executor.look(KEY) == Running(BEGAN, 'waits: FailedMount: no claim "work"')
    world.refusals["get", "events"] = (403, "Forbidden", "events is forbidden")
    assert executor.look(KEY) == Running(BEGAN)
    clock.now += 10_000
    executor.look(KEY)
    assert "activeDeadlineSeconds" not in world.job()["spec"], "an autoscaler may bring a node yet; its timeout holds"


def _warn(world: Cluster, name: str, about: str, more: dict[str, Any]) -> None:
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "type": "Warning"}
    world.things["events", name] = event | {"involvedObject": {"name": about}, "lastTimestamp": CREATED} | more


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (403, "Forbidden", 'User "tightrope" cannot create resource "jobs"'),
        (404, "NotFound", 'namespaces "builds" not found'),
        (422, "Invalid", "spec.template.spec.containers[0].image: Required value"),
    ],
)
def test_what_the_cluster_refuses_for_good_has_ended(
    executor: KubernetesExecutor, world: Cluster, code: int, reason: str, message: str
) -> None:
    world.refusals["create", "jobs"] = (code, reason, message)
    executor.start(KEY, COMMAND)
    seen = executor.look(KEY)
    assert isinstance(seen, Ended)
    assert seen.why.startswith("the Job cannot be made: ")
    assert message in seen.why
    assert world.things == {}, "no Secret is left behind"
    executor.forget(KEY)
    assert executor.look(KEY) == Absent()


def test_what_passes_is_tried_again(
    executor: KubernetesExecutor, world: Cluster, kubectl: str, tmp_path: Path, clock: Clock
) -> None:
    world.refusals["create", "jobs"] = (500, "InternalError", "etcdserver: request timed out")
    with pytest.raises(ExecutorError, match=r"the Job cannot be made: .*etcdserver: request timed out"):
        executor.start(KEY, COMMAND)
    world.refusals = {("get", "jobs"): (403, "Forbidden", "jobs.batch is forbidden")}
    with pytest.raises(ExecutorError, match=r"the Job cannot be looked at: .*forbidden"):
        executor.look(KEY)
    world.refusals.clear()
    executor.start(KEY, COMMAND)
    assert isinstance(executor.look(KEY), Running)
    del world.job()["metadata"]["annotations"]
    with pytest.raises(ExecutorError, match="is not ours"):
        executor.look(KEY)
    del world.job()["metadata"]["labels"]
    with pytest.raises(ExecutorError, match="is not ours"):
        executor.start(KEY, COMMAND)
    alone = KubernetesExecutor(
        lambda _: "builds",
        clock=clock,
        client=(kubectl, "--server", "http://127.0.0.1:1"),
        variables={"HOME": str(tmp_path)},
    )
    with pytest.raises(ExecutorError, match=r"the Job cannot be looked at: .*127\.0\.0\.1:1 was refused"):
        alone.look(KEY)


def test_the_output_of_a_job_whose_secret_is_gone_is_not_shown(executor: KubernetesExecutor, world: Cluster) -> None:
    executor.start(KEY, COMMAND)
    pod = world.begin(phase="Running")
    world.logs[pod["metadata"]["name"]] = b"hunter2-hunter2"
    del world.things["secrets", NAME]
    assert b"hunter2" not in executor.log(KEY).data


PIPELINE = """
apiVersion: tightrope.dev/v1
kind: Pipeline
metadata: {name: shop}
spec:
  executor: {kubernetes: {image: busybox, namespace: builds, claim: work}}
  stages:
    - name: build
      steps:
        - {name: pack, run: "echo $((40 + 2)) > out; pwd; cat tightrope.yaml > copy", artifacts: out}
    - name: test
      steps:
        - {name: unit, run: "cat out; exit 4"}
"""


@pytest.fixture
def shop(tmp_path: Path, world: Cluster) -> Callable[..., subprocess.CompletedProcess[str]]:
    source = tmp_path / "shop"
    source.mkdir()
    (source / "tightrope.yaml").write_text(PIPELINE)
    access = {"name": "here", "cluster": {"server": world.url}}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [access],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": ""}}],
        "current-context": "here",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))

    def run(verb: str, *rest: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tightrope", "pipeline", verb, *rest, "--data", str(tmp_path / "data")],
            cwd=source,
            env={
                "PATH": os.environ["PATH"],  # noqa: TID251
                "PYTHONPATH": str(ROOT / "src"),
                "KUBECONFIG": str(tmp_path / "kubeconfig"),
                "HOME": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )

    return run


def test_a_pipeline_goes_through_as_jobs_with_its_workspace_on_a_claim(
    kubectl: str, world: Cluster, shop: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    over = threading.Event()

    def node() -> None:
        done: set[str] = set()
        while not over.wait(0.05):
            jobs = [name for resource, name in list(world.things) if resource == "jobs"]
            if jobs and jobs[-1] not in done:
                done.add(jobs[-1])
                world.carry_out(tmp_path / "data")

    thread = threading.Thread(target=node)
    thread.start()
    try:
        done = shop("run", "--as-is")
    finally:
        over.set()
        thread.join()
    assert done.returncode == 6, done.stdout + done.stderr
    assert "pack: 1 artifact" in done.stdout
    assert "ended with status 4" in done.stdout
    assert "    | 42\n" in done.stdout
    assert shop("logs", "1", "test/unit").stdout == "42\n"
    namespaces = {one["metadata"]["namespace"] for (what, _), one in world.things.items() if what == "jobs"}
    assert namespaces == {"builds"}


def test_a_workspace_that_is_not_on_the_volume_of_its_claim_is_said(
    kubectl: str, world: Cluster, shop: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    file = tmp_path / "shop" / "tightrope.yaml"
    file.write_text(PIPELINE.replace("claim: work", "claim: work, mountPath: /elsewhere"))
    done = shop("run", "--as-is")
    assert done.returncode == 6, done.stdout + done.stderr
    assert "is not on the volume that is mounted at /elsewhere" in done.stdout
    assert world.things == {}
