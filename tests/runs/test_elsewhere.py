"""Commands in containers and as Jobs: rendered as engines and clusters take them, begun once, found by their names."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.conftest import ROOT
from tests.live.serving import wait_for
from tightrope.runs.commands import Absent, Command, Ended, Limits, Running
from tightrope.runs.executors import Executor
from tightrope.runs.executors.clients import name_of
from tightrope.runs.executors.container import ContainerExecutor, run_argv
from tightrope.runs.executors.kubernetes import KubernetesExecutor, manifests
from tightrope.runs.executors.local import LocalExecutor
from tightrope.runs.steps import ExecutorError

KEY = "R-12AB/deploy to production/2"
FULL = Command(
    ("make", "deploy"),
    folder="/srv/shop",
    environment={"STAGE": "production", "TOKEN": "is hidden by the secret"},
    secrets={"TOKEN": "hunter2-hunter2"},
    timeout_s=600,
    grace_s=20,
    limits=Limits(cpu_s=60, memory_bytes=1 << 29, file_bytes=1 << 30, processes=50, open_files=100),
    image="registry.example/build@sha256:12",
)


def _standin(folder: Path, which: str) -> list[str]:
    script = folder / which
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT}:{ROOT}/src exec {sys.executable} -m tests.runs.standin {which} {folder} "$@"\n'
    )
    script.chmod(0o755)
    return [str(script)]


def _containers(folder: Path) -> ContainerExecutor:
    return ContainerExecutor(_standin(folder, "docker")[0], place="here", image="busybox")


def _cluster(folder: Path) -> KubernetesExecutor:
    return KubernetesExecutor("builds", image="busybox", client=_standin(folder, "kubectl"))


def test_all_executors_have_one_shape(tmp_path: Path) -> None:
    local = LocalExecutor(tmp_path / "work")
    several: list[Executor] = [local, _containers(tmp_path), _cluster(tmp_path)]
    assert [bool(one.place) for one in several] == [True, True, False]
    for one in several:
        one.close()


@given(st.text(max_size=80), st.text(max_size=80))
def test_names_follow_from_keys_and_are_good_everywhere(one: str, other: str) -> None:
    first, second = name_of(one), name_of(other)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", first)
    assert len(first) <= 63
    assert (first == second) == (one == other)


# --- containers ----------------------------------------------------------------------------------------------------


def test_a_container_is_begun_with_all_that_the_command_may_and_no_secret_among_the_arguments() -> None:
    argv = run_argv(KEY, FULL)
    assert argv == [
        *("run", "--detach", "--name", name_of(KEY), "--label", f"dev.tightrope.key={KEY}"),
        *("--label", "dev.tightrope.secrets=TOKEN"),
        *("--init", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--stop-timeout", "20"),
        *("--volume", "/srv/shop:/workspace", "--workdir", "/workspace"),
        *("--env", "STAGE", "--env", "TOKEN", "--memory", "536870912", "--pids-limit", "50"),
        *("--ulimit", "cpu=60", "--ulimit", "fsize=1073741824", "--ulimit", "nofile=100"),
        *("--entrypoint", "make", "registry.example/build@sha256:12", "deploy"),
    ]


def test_a_container_is_begun_once_and_what_became_of_it_is_found_by_its_name(tmp_path: Path) -> None:
    executor = _containers(tmp_path)
    assert executor.look(KEY) == Absent()
    command = Command(("/bin/sh", "-c", 'echo "$STAGE $TOKEN"; exit 3'), environment={"STAGE": "x"},
                      secrets={"TOKEN": "hunter2"})  # fmt: skip
    executor.start(KEY, command)
    executor.start(KEY, command)
    asked = [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert [one[0] for one in asked].count("start") == 0
    assert "hunter2" not in (tmp_path / "asked").read_text()
    seen = executor.look(KEY)
    assert isinstance(seen, Ended)
    assert (seen.code, seen.ended_at - (seen.began_at or 0)) == (3, 5)
    assert executor.log(KEY).data == b"x ***\n"
    assert executor.log(KEY, offset=2).data == b"***\n"
    executor.forget(KEY)
    assert executor.look(KEY) == Absent()
    assert executor.log(KEY).data == b""


def test_a_container_that_was_made_and_not_begun_is_begun(tmp_path: Path) -> None:
    executor = _containers(tmp_path)
    executor.start(KEY, Command(("stays",)))
    file = tmp_path / f"{name_of(KEY)}.json"
    document = json.loads(file.read_text())
    document["State"]["Status"] = "created"
    file.write_text(json.dumps(document))
    assert executor.look(KEY) == Absent()
    executor.start(KEY, Command(("stays",)))
    assert isinstance(executor.look(KEY), Running)
    executor.stop(KEY, 5)
    wait_for(lambda: isinstance(executor.look(KEY), Ended), 10)
    seen = executor.look(KEY)
    assert isinstance(seen, Ended)
    assert (seen.code, seen.signal) == (None, 15)


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, "it used more memory than it may"),
        ({"Status": "exited", "ExitCode": 127, "Error": "exec: no such file"}, "exec: no such file"),
        ({"Status": "dead"}, "the container engine says that it is dead"),
    ],
)
def test_why_a_container_ended_is_told(tmp_path: Path, state: dict[str, Any], seen: str) -> None:
    executor = _containers(tmp_path)
    executor.start(KEY, Command(("true",)))
    file = tmp_path / f"{name_of(KEY)}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"State": state}))
    assert getattr(executor.look(KEY), "why", "") == seen


def test_what_is_wrong_with_an_engine_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="no program"):
        ContainerExecutor("no-such-engine", place="", image="x").look(KEY)
    with pytest.raises(ExecutorError, match="needs an image"):
        ContainerExecutor("docker", place="").start(KEY, Command(("true",)))
    executor = _containers(tmp_path)
    executor.start("another", Command(("true",)))
    (tmp_path / f"{name_of('another')}.json").rename(tmp_path / f"{name_of(KEY)}.json")
    with pytest.raises(ExecutorError, match="is not ours"):
        executor.look(KEY)


# --- Jobs ----------------------------------------------------------------------------------------------------------


def _problems(version: str, document: dict[str, Any]) -> list[str]:
    told = json.loads((ROOT / "tests" / "contracts" / "kubernetes" / f"v{version}.json").read_text(encoding="utf-8"))
    validator = Draft202012Validator({**told["kinds"][document["kind"]], "$defs": told["$defs"]})
    return [f"{'.'.join(map(str, error.path))}: {error.message[:200]}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("version", ["1.25", "1.37"])
@pytest.mark.parametrize("command", [FULL, Command(("true",))])
def test_a_job_is_what_kubernetes_takes(version: str, command: Command) -> None:
    *_, job = manifests(KEY, command, namespace="builds", image="busybox", service_account="deployer")
    assert job["kind"] == "Job"
    assert _problems(version, job) == []
    job["spec"]["backofLimit"] = 3
    assert _problems(version, job) != []


def test_a_job_runs_once_for_so_long_and_no_secret_is_in_it() -> None:
    secret, job = manifests(KEY, FULL, namespace="builds")
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["template"]["spec"]["restartPolicy"]) == (
        0,
        600,
        "Never",
    )
    assert spec["template"]["spec"]["automountServiceAccountToken"] is False
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] + container["args"] == ["make", "deploy"]
    assert container["env"] == [
        {"name": "STAGE", "value": "production"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": name_of(KEY), "key": "TOKEN"}}},
    ]
    assert "hunter2" not in json.dumps(job)
    assert (secret["kind"], secret["metadata"]["name"]) == ("Secret", name_of(KEY))
    for value in job["metadata"]["labels"].values():
        assert re.fullmatch(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", value)


def _job(folder: Path, **status: Any) -> None:
    file = folder / f"job-{name_of(KEY)}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": status}))


def test_a_job_is_begun_once_and_what_became_of_it_is_found_by_its_name(tmp_path: Path) -> None:
    executor = _cluster(tmp_path)
    assert executor.look(KEY) == Absent()
    executor.start(KEY, FULL)
    executor.start(KEY, FULL)
    assert executor.look(KEY) == Running(None)
    assert executor.log(KEY).data == b""
    _job(tmp_path, startTime="2026-03-01T12:00:00Z", active=1)
    (tmp_path / f"log-{name_of(KEY)}").write_bytes(b"token hunter2-hunter2 and hunt")
    assert executor.look(KEY) == Running(1_772_366_400)
    assert executor.log(KEY).data == b"token *** and "
    done = {"type": "Complete", "status": "True"}
    _job(tmp_path, startTime="2026-03-01T12:00:00Z", completionTime="2026-03-01T12:00:07Z", conditions=[done])
    assert executor.look(KEY) == Ended(0, began_at=1_772_366_400, ended_at=1_772_366_407)
    assert executor.log(KEY).data == b"token *** and hunt"
    executor.forget(KEY)
    assert executor.look(KEY) == Absent()
    assert not (tmp_path / f"secret-{name_of(KEY)}.json").exists()


@pytest.mark.parametrize(
    ("reason", "terminated", "code", "why"),
    [
        ("BackoffLimitExceeded", {"exitCode": 3, "reason": "Error"}, 3, ""),
        ("BackoffLimitExceeded", {"exitCode": 137, "reason": "OOMKilled"}, 137, "it used more memory than it may"),
        ("DeadlineExceeded", None, None, "timed out, or stopped"),
        ("BackoffLimitExceeded", None, None, "Job has reached the specified backoff limit"),
    ],
)
def test_why_a_job_failed_is_told(
    tmp_path: Path, reason: str, terminated: dict[str, Any] | None, code: int | None, why: str
) -> None:
    executor = _cluster(tmp_path)
    executor.start(KEY, FULL)
    executor.stop(KEY, 3)
    assert json.loads((tmp_path / f"job-{name_of(KEY)}.json").read_text())["spec"]["activeDeadlineSeconds"] == 1
    message = "Job has reached the specified backoff limit"
    failed = {"type": "Failed", "status": "True", "reason": reason, "message": message}
    _job(tmp_path, conditions=[failed | {"lastTransitionTime": "2026-03-01T12:00:07Z"}])
    if terminated is not None:
        status = {"containerStatuses": [{"name": "command", "state": {"terminated": terminated}}]}
        (tmp_path / "pods.json").write_text(json.dumps({"items": [{"status": status}]}))
    seen = executor.look(KEY)
    assert isinstance(seen, Ended)
    assert (seen.code, seen.why, seen.ended_at, seen.ok) == (code, why, 1_772_366_407, False)


def test_what_is_wrong_with_a_cluster_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="no program"):
        KubernetesExecutor("builds", client=("no-such-client",)).look(KEY)
    with pytest.raises(ExecutorError, match="needs an image"):
        _cluster_without_image(tmp_path).start(KEY, Command(("true",)))
    executor = _cluster(tmp_path)
    executor.start(KEY, FULL)
    file = tmp_path / f"job-{name_of(KEY)}.json"
    document = json.loads(file.read_text())
    document["metadata"]["annotations"] = {}
    file.write_text(json.dumps(document))
    with pytest.raises(ExecutorError, match="is not ours"):
        executor.look(KEY)


def _cluster_without_image(folder: Path) -> KubernetesExecutor:
    return KubernetesExecutor("builds", client=_standin(folder, "kubectl"))
