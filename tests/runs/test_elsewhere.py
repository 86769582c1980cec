"""Commands in containers and as Jobs: rendered as engines and clusters take them, begun once, found by their names."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
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
from tightrope.runs.executors.clients import INSIDE, name_of
from tightrope.runs.executors.container import ContainerExecutor, run_argv
from tightrope.runs.executors.kubernetes import KubernetesExecutor, manifests
from tightrope.runs.executors.local import LocalExecutor
from tightrope.runs.steps import ExecutorError

KEY = "R-12AB/deploy to production/2"
FULL = Command(
    ("make", "deploy"),
    folder="/srv/shop/web",
    workspace="/srv/shop",
    environment={"STAGE": "production", "TOKEN": "is hidden by the secret"},
    secrets={"TOKEN": "hunter2-hunter2"},
    timeout_s=600,
    grace_s=20,
    limits=Limits(cpu_s=60, memory_bytes=1 << 29, file_bytes=1 << 30, processes=50, open_files=100),
    image="registry.example/build@sha256:12",
)


def _standin(folder: Path) -> str:
    script = folder / "docker"
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT}:{ROOT}/src exec {sys.executable} -m tests.runs.standin docker {folder} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def _containers(folder: Path, *before: str) -> ContainerExecutor:
    return ContainerExecutor(*before, _standin(folder), place="here", image="busybox", begins_within_s=0.5)


def _cluster() -> KubernetesExecutor:
    return KubernetesExecutor(lambda _: "builds", clock=lambda: 0, image="busybox", client=["no-such-client"])


def test_all_executors_have_one_shape(tmp_path: Path) -> None:
    local = LocalExecutor(tmp_path / "work")
    several: list[Executor] = [local, _containers(tmp_path), _cluster()]
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
    argv = run_argv(KEY, FULL, place="here", user="1000:100")
    assert argv == [
        *("run", "--detach", "--pull=never", "--name", name_of(KEY), "--label", f"dev.tightrope.key={KEY}"),
        *("--label", "dev.tightrope.place=here", "--label", "dev.tightrope.log-bytes=10485760"),
        *("--label", "dev.tightrope.secrets=TOKEN"),
        *("--init", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--stop-timeout", "20"),
        *(
            "--user",
            "1000:100",
            "--mount",
            "type=bind,source=/srv/shop,target=/workspace",
            "--workdir",
            f"{INSIDE}/web",
        ),
        *("--env", "HOME=/tmp", "--env", "STAGE=production", "--env", "TOKEN"),
        *("--memory", "536870912", "--memory-swap", "536870912", "--pids-limit", "50"),
        *("--ulimit", "cpu=60", "--ulimit", "fsize=1073741824", "--ulimit", "nofile=100"),
        *("--entrypoint", "make", "registry.example/build@sha256:12", "deploy"),
    ]


def test_a_folder_with_a_comma_is_mounted_too() -> None:
    argv = run_argv(KEY, Command(("true",), folder='/srv/a,"b"'), "busybox")
    assert argv[argv.index("--mount") + 1] == 'type=bind,"source=/srv/a,""b""",target=/workspace'
    assert argv[argv.index("--workdir") + 1] == "/workspace"


def test_a_command_cannot_steer_the_client_of_its_engine(tmp_path: Path) -> None:
    executor = _containers(tmp_path)
    executor.start(
        KEY, Command(("/usr/bin/env",), environment={"DOCKER_HOST": "tcp://elsewhere", "LD_LIBRARY_PATH": "/no"})
    )
    assert executor.log(KEY).data == b"DOCKER_HOST=tcp://elsewhere\nLD_LIBRARY_PATH=/no\n"
    executor.start("another", Command(("true",), secrets={"DOCKER_HOST": "tcp://elsewhere"}))
    seen = executor.look("another")
    assert isinstance(seen, Ended)
    assert "the secret DOCKER_HOST" in seen.why
    executor.forget("another")
    assert executor.look("another") == Absent()


def test_the_first_engine_that_answers_is_taken_and_kept(tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "down").touch()
    executor = _containers(tmp_path, "no-such-engine", _standin(silent))
    assert executor.look(KEY) == Absent()
    (silent / "down").unlink()
    executor.start(KEY, Command(("true",)))
    assert not (silent / "asked").read_text().count('"run"')
    (tmp_path / "down").touch()
    with pytest.raises(ExecutorError, match="Cannot connect to the Docker daemon"):
        executor.look(KEY)
    executor.prune(2_000_000_000)
    alone = ContainerExecutor("no-such-engine", str(tmp_path / "docker"), place="here")
    with pytest.raises(
        ExecutorError, match=r"no program 'no-such-engine'; .* has no engine that answers: Cannot connect"
    ):
        alone.look(KEY)


def test_an_image_that_is_not_here_is_fetched_first(tmp_path: Path) -> None:
    executor = _containers(tmp_path)
    executor.start(KEY, Command(("/bin/echo", "fine"), image="quay.io/other"))
    wait_for(lambda: isinstance(executor.look(KEY), Ended), 10)
    assert executor.log(KEY).data == b"fine\n"


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
        ({"Status": "exited", "ExitCode": 255}, ""),
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


CLAIMED = replace(FULL, claim="work", mounted_at="/srv")


@pytest.mark.parametrize("version", ["1.25", "1.37"])
@pytest.mark.parametrize("command", [FULL, CLAIMED, Command(("true",))])
def test_a_job_is_what_kubernetes_takes(version: str, command: Command) -> None:
    _, job = manifests(KEY, command, namespace="builds", image="busybox", service_account="deployer")
    assert job["kind"] == "Job"
    assert _problems(version, job) == []
    job["spec"]["backofLimit"] = 3
    assert _problems(version, job) != []


def test_a_job_runs_once_for_so_long_and_no_secret_is_in_it() -> None:
    secret, job = manifests(KEY, FULL, namespace="builds")
    spec = job["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], pod["restartPolicy"]) == (0, 600, "Never")
    assert spec["ttlSecondsAfterFinished"] == 30 * 86400
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["command"] + container["args"] == ["make", "deploy"]
    assert container["env"] == [
        {"name": "STAGE", "value": "production"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": name_of(KEY), "key": "TOKEN"}}},
    ]
    assert "hunter2" not in json.dumps(job)
    assert secret is not None
    assert (secret["kind"], secret["metadata"]["name"]) == ("Secret", name_of(KEY))
    for value in job["metadata"]["labels"].values():
        assert re.fullmatch(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", value)


def test_a_job_is_given_its_workspace_and_no_other_and_runs_as_its_owner() -> None:
    _, job = manifests(KEY, CLAIMED, namespace="builds", user="1000:100")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["workingDir"] == f"{INSIDE}/web"
    assert container["volumeMounts"] == [{"name": "workspace", "mountPath": "/workspace", "subPath": "shop"}]
    assert pod["volumes"] == [{"name": "workspace", "persistentVolumeClaim": {"claimName": "work"}}]
    assert (container["securityContext"]["runAsUser"], container["securityContext"]["runAsGroup"]) == (1000, 100)
    assert {"name": "HOME", "value": "/tmp"} in container["env"]
    _, job = manifests(KEY, FULL, namespace="builds", user="1000:100")
    pod = job["spec"]["template"]["spec"]
    assert "volumes" not in pod
    assert not {"workingDir", "volumeMounts"} & set(pod["containers"][0])


@given(st.text(alphabet="$()aB_ ", max_size=12))
def test_kubernetes_leaves_the_words_of_a_command_as_they_are(text: str) -> None:
    command = Command(("echo", text), environment={"aB": "expanded", "TEXT": text})
    _, job = manifests(KEY, command, namespace="builds", image="busybox")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert [_expanded(one, {"aB": "expanded"}) for one in container["args"]] == [text]
    assert [_expanded(one["value"], {"aB": "expanded"}) for one in container["env"]] == [text, "expanded"]


def _expanded(text: str, values: dict[str, str]) -> str:
    """As kubelets do, see k8s.io/kubernetes/third_party/forked/golang/expansion."""
    return re.sub(r"\$(\$|\(([^)]*)\))", lambda found: "$" if found[1] == "$" else values.get(found[2], found[0]), text)


def test_what_is_wrong_with_a_cluster_is_told() -> None:
    with pytest.raises(ExecutorError, match="no program"):
        _cluster().look(KEY)
    nameless = KubernetesExecutor(lambda _: "builds", clock=lambda: 0)
    with pytest.raises(ExecutorError, match="needs an image"):
        nameless.start(KEY, Command(("true",)))
