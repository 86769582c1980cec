"""Commands as Jobs of a Kubernetes cluster, each known by a name that follows from its key.

The cluster refuses a second Job with the same name, and keeps the first until it is removed: that is what makes a start
safe to repeat. Secrets are in a Secret of that name, which goes when the Job goes. It is asked through ``kubectl``.

Source:
    Kubernetes, "Jobs": ``backoffLimit: 0`` and ``restartPolicy: Never`` run a pod once, but for a node that is lost at
    the wrong moment; ``ttlSecondsAfterFinished`` and "Garbage Collection": what goes with a Job. See docs/runs.md.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tightrope.base.units import DAY_S
from tightrope.runs.commands import Absent, Command, Ended, Limits, LogPart, Lost, Running, Seen
from tightrope.runs.executors.clients import (
    INSIDE,
    PATIENCE_S,
    Followers,
    Hold,
    Said,
    ask,
    home_of,
    last_line,
    must,
    name_of,
    part_of,
    shown_of,
    signal_of,
)
from tightrope.runs.steps import ExecutorError

VARIABLES = (
    *("HOME", "PATH", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECACHEDIR"),
    *("AWS_PROFILE", "AWS_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS"),
    *("CLOUDSDK_CONFIG", "AZURE_CONFIG_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
"""What the client is told of its server's environment: where its cluster is, and what its helpers log in with."""

_KEY = "tightrope.dev/key"
_NAME = "tightrope.dev/name"
_STOPPED = "tightrope.dev/stopped"
_LOG = "tightrope.dev/log-bytes"
_CONTAINER = "command"
_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_KEPT_S = 30 * DAY_S
_REFUSED = re.compile(r"\((Forbidden|NotFound|Invalid|BadRequest)\)|is invalid")
_HOPELESS = frozenset({"InvalidImageName"})
_BAD = _HOPELESS | {
    *("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"),
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
}
_BEGINS_WITHIN_S = 300
"""For so long a pod may be in trouble before its container runs; then it is given up."""

_ANSWERS_WITHIN_S = 60
"""So long after its grace a pod is over, or nobody answers for its node."""


class KubernetesExecutor:
    """Runs commands in a cluster.

    Args:
        namespace: Where the Job of a key is.
        clock: Tells the time, UTC epoch seconds.
        image: For commands that name none.
        service_account: Of its pods; empty: the namespace's default, whose token no command sees.
        client: ``kubectl``, or where it is, with arguments that choose the cluster.
        variables: For the client, see `VARIABLES`; no command sees them.
    """

    def __init__(
        self,
        namespace: Callable[[str], str],
        *,
        clock: Callable[[], int],
        image: str = "",
        service_account: str = "",
        client: Sequence[str] = ("kubectl",),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._namespace = namespace
        self._clock = clock
        self._image = image
        self._service_account = service_account
        self._client = tuple(client)
        self._variables = dict(variables or {})
        self._followers = Followers()
        self._refused: dict[str, Ended] = {}
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """Every worker that can reach the cluster sees its Jobs."""
        return ""

    def start(self, key: str, command: Command) -> None:
        """Begin, unless there is a Job of that name; what the cluster refuses for good has ended."""
        if not (command.image or self._image):
            raise ExecutorError("a Job needs an image", remedy="name one in the step, or for the executor")
        secret, job = manifests(
            key,
            command,
            namespace=self._namespace(key),
            image=self._image,
            service_account=self._service_account,
            user=f"{os.getuid()}:{os.getgid()}",
        )
        if secret is not None and not self._made(key, secret):
            return
        if not self._made(key, job):
            if secret is not None:
                self._ask(key, "delete", "secret", name_of(key), "--ignore-not-found", "--wait=false")
            return
        there, _ = self._there(key)
        if there is None:
            raise ExecutorError(f"the Job {name_of(key)} is not ours")
        if secret is not None:
            self._tie(key, there)

    def look(self, key: str) -> Seen:
        """Tell what became of it; a Job whose pod cannot begin is given up after a while."""
        job, pods = self._there(key)
        if job is None:
            with self._lock:
                return self._refused.get(key, Absent())
        seen = _seen(job, pods, self._clock())
        if isinstance(seen, Ended):
            return replace(seen, log_bytes=len(self._output(key, job, pods, ended=True)))
        if isinstance(seen, Running) and not seen.why:
            self._followers.follow(key, lambda hold: self._over(key, hold))
        begins = not pods or _phase(pods[-1]) == "Pending"
        return self._begins(key, job, pods) if isinstance(seen, Running) and not seen.why and begins else seen

    def stop(self, key: str, grace_s: int) -> None:
        """Let its deadline pass: its pod is asked to end, and killed after its own grace; the Job stays to be seen."""
        self._stop(key, "stopped")

    def log(self, key: str, offset: int = 0, limit: int = 1 << 20) -> LogPart:
        """Read a stretch of its output, without the values of its secrets; it goes when its pod goes."""
        job, pods = self._there(key)
        if job is None:
            return LogPart(offset, b"", ended=True)
        ended = not isinstance(_seen(job, pods, self._clock()), Running)
        return part_of(self._output(key, job, pods, ended=ended), offset, limit, ended=ended)

    def listen(self, ended: Callable[[str], None]) -> None:
        """Tell *ended* what ends while this process follows it, which it does from when it saw it run."""
        self._followers.listen(ended)

    def forget(self, key: str) -> None:
        """Remove a Job that is over, its pod and its Secret."""
        with self._lock:
            self._refused.pop(key, None)
        with suppress(ExecutorError):
            job, pods = self._there(key)
            if job is not None and not isinstance(_seen(job, pods, self._clock()), Running):
                for kind in ("job", "secret"):
                    self._ask(key, "delete", kind, name_of(key), "--ignore-not-found", "--wait=false")

    def prune(self, before: int) -> None:
        """The cluster removes what has been over for 30 days."""

    def close(self) -> None:
        """Follow nothing any more."""
        self._followers.close()

    def _over(self, key: str, hold: Hold) -> bool:
        """Wait until the Job has a condition that ends it; who may not watch is not told."""
        end = "".join(f'{{.status.conditions[?(@.type=="{one}")].status}}' for one in ("Complete", "Failed"))
        watch = ("get", "job", name_of(key), "--watch", "-o", f"jsonpath={end}")
        return bool(self._ask(key, *watch, patience_s=None, most=1, began=hold).output)

    def _made(self, key: str, manifest: Mapping[str, Any]) -> bool:
        """Make something, unless it is there; False: the cluster will not have it, ever."""
        said = self._ask(key, "create", "--validate=false", "-f", "-", told=json.dumps(manifest).encode())
        if said.code == 0 or "(AlreadyExists)" in said.complaint:
            return True
        what = f"the {manifest['kind']} cannot be made"
        if not _REFUSED.search(said.complaint):
            must(said, what)
        with self._lock:
            self._refused[key] = Ended(None, why=f"{what}: {last_line(said)}")
        return False

    def _tie(self, key: str, job: Mapping[str, Any]) -> None:
        """Let the Secret go when the Job goes, whoever removes it."""
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name_of(key), "uid": job["metadata"]["uid"]}
        patch = json.dumps({"metadata": {"ownerReferences": [owner]}})
        self._ask(key, "patch", "secret", name_of(key), "--type", "merge", "-p", patch)

    def _begins(self, key: str, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Running:
        """What it waits for; where that is in vain, it is stopped."""
        began_at = _began(job)
        reason, why, since = _trouble(pods)
        if not why:
            why = self._warned(key, pods[-1]["metadata"]["name"] if pods else name_of(key))
        patience_s = 0 if reason in _HOPELESS else _BEGINS_WITHIN_S
        if reason in _BAD and since is not None and self._clock() - since >= patience_s:
            self._stop(key, f"it did not begin: {why}")
        return Running(began_at, f"waits: {why}" if why else "")

    def _warned(self, key: str, name: str) -> str:
        """The last warning of the cluster about a Job or a pod; where it may not be read, there is none."""
        selector = f"involvedObject.name={name},type=Warning"
        said = self._ask(key, "get", "events", "--field-selector", selector, "-o", "json")
        events = json.loads(said.output).get("items", []) if said.code == 0 else []
        if not events:
            return ""
        last = max(events, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
        return f"{last.get('reason', '')}: {last.get('message', '')}"[:500]

    def _stop(self, key: str, why: str) -> None:
        patch = {"metadata": {"annotations": {_STOPPED: why}}, "spec": {"activeDeadlineSeconds": 1}}
        with suppress(ExecutorError):
            self._ask(key, "patch", "job", name_of(key), "--type", "merge", "-p", json.dumps(patch))

    def _there(self, key: str) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """The Job of a key and its pods, oldest first; None: there is none."""
        said = self._ask(key, "get", "jobs,pods", "-l", f"{_NAME}={name_of(key)}", "-o", "json")
        items = json.loads(must(said, "the Job cannot be looked at")).get("items") or []
        jobs = [one for one in items if one["kind"] == "Job"]
        pods = sorted((one for one in items if one["kind"] == "Pod"), key=lambda one: _instant(_born(one)) or 0)
        if jobs and (jobs[0]["metadata"].get("annotations") or {}).get(_KEY) != key:
            raise ExecutorError(f"the Job {name_of(key)} is not ours")
        return (jobs[0] if jobs else None), pods

    def _output(self, key: str, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], *, ended: bool) -> bytes:
        if not pods:
            return b""
        most = int((job["metadata"].get("annotations") or {}).get(_LOG) or Limits().log_bytes)
        pod = str(pods[-1]["metadata"]["name"])
        said = self._ask(key, "logs", pod, "-c", _CONTAINER, f"--limit-bytes={most + 1}")
        if said.code != 0:  # it has not begun, or its node does not answer
            return b""
        secret: dict[str, Any] = {}
        if any("valueFrom" in one for one in job["spec"]["template"]["spec"]["containers"][0].get("env") or ()):
            asked = self._ask(key, "get", "secret", name_of(key), "-o", "json", "--ignore-not-found")
            secret = json.loads(must(asked, "the Secret cannot be looked at") or b"{}")
            if not secret:
                return b"[its Secret is gone, so nobody knows what to hide of its output]\n"
        values = [base64.b64decode(one).decode(errors="surrogateescape") for one in (secret.get("data") or {}).values()]
        return shown_of(said.output, most, values, ended=ended)

    def _ask(
        self,
        key: str,
        *argv: str,
        told: bytes = b"",
        patience_s: float | None = PATIENCE_S,
        most: int | None = None,
        began: Hold | None = None,
    ) -> Said:
        limit = () if patience_s is None else ("--request-timeout=20s",)
        command = [*self._client, *argv, "--namespace", self._namespace(key), *limit]
        return ask(command, told=told, variables=self._variables, patience_s=patience_s, most=most, began=began)


def manifests(
    key: str,
    command: Command,
    *,
    namespace: str,
    image: str = "",
    service_account: str = "",
    user: str = "0:0",
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The Secret of a command with secrets, which is made first, and its Job.

    Args:
        key: Of the command.
        command: What to run.
        namespace, image, service_account: See `KubernetesExecutor`.
        user: Who owns the workspace, ``UID:GID``; a command without one runs as its image says.
    """
    name, limits = name_of(key), command.limits
    run, _, step = key.partition("/")
    labels = {
        "app.kubernetes.io/managed-by": "tightrope",
        "tightrope.dev/run": _label(run),
        "tightrope.dev/step": _label(step.rpartition("/")[0] or step),
        _NAME: name,
    }
    annotations = {_KEY: key, _LOG: str(limits.log_bytes)}
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
    environment = home_of(user) | dict(command.environment) if command.claim else command.environment
    variables: list[dict[str, Any]] = [
        {"name": one, "value": _literal(value)}
        for one, value in sorted(environment.items())
        if one not in command.secrets
    ]
    variables += [
        {"name": one, "valueFrom": {"secretKeyRef": {"name": name, "key": one}}} for one in sorted(command.secrets)
    ]
    container: dict[str, Any] = {
        "name": _CONTAINER,
        "image": command.image or image,
        "command": [_literal(command.argv[0])],
        "args": [_literal(one) for one in command.argv[1:]],
        "env": variables,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": command.grace_s,
        "automountServiceAccountToken": bool(service_account),
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if command.claim:
        workspace = command.workspace or command.folder
        below = Path(workspace).relative_to(command.mounted_at)
        container["workingDir"] = str(Path(INSIDE, Path(command.folder).relative_to(workspace)))
        container["volumeMounts"] = [{"name": "workspace", "mountPath": INSIDE, "subPath": str(below)}]
        pod["volumes"] = [{"name": "workspace", "persistentVolumeClaim": {"claimName": command.claim}}]
        uid, _, gid = user.partition(":")
        container["securityContext"] |= {
            "runAsUser": int(uid),
            "runAsGroup": int(gid),
            "runAsNonRoot": uid != "0",
        }
    if limits.memory_bytes is not None:
        container["resources"] = {
            "limits": {"memory": str(limits.memory_bytes)},
            "requests": {"memory": str(limits.memory_bytes)},
        }
    if service_account:
        pod["serviceAccountName"] = service_account
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "ttlSecondsAfterFinished": _KEPT_S,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if command.timeout_s is not None:
        spec["activeDeadlineSeconds"] = command.timeout_s
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    if not command.secrets:
        return None, job
    data = {
        one: base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
        for one, value in sorted(command.secrets.items())
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}, job


def _seen(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: int) -> Seen:
    """What became of a Job."""
    status = job.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or () if one.get("status") == "True"}
    if "Complete" in conditions:
        return Ended(0, began_at=_began(job), ended_at=_instant(status.get("completionTime")) or 0)
    failed = conditions.get("Failed")
    if failed is None:
        return Running(_began(job))
    alive = [one for one in pods if _phase(one) not in {"Succeeded", "Failed"}]
    for pod in alive:  # clusters before 1.31 say so while it still ends
        over_at = _instant(pod["metadata"].get("deletionTimestamp"))
        if over_at is not None and now > over_at + _ANSWERS_WITHIN_S:
            return Lost(f"the node {pod['spec'].get('nodeName', '')} does not answer for its pod")
    if alive:
        return Running(_began(job), "ends")
    return _failed(job, pods, failed)


def _failed(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], condition: Mapping[str, Any]) -> Ended | Lost:
    stopped = (job["metadata"].get("annotations") or {}).get(_STOPPED, "")
    late = condition.get("reason") == "DeadlineExceeded"
    status = (pods[-1].get("status") or {}) if pods else {}
    own = [one.get("state") or {} for one in status.get("containerStatuses") or () if one["name"] == _CONTAINER]
    end = own[0].get("terminated") if own else None
    why = (stopped or "timed out") if late else ""
    if not why and status.get("reason"):
        why = f"{status['reason']}: {status.get('message', '')}".rstrip(": ")
    code = signal = None
    if end is not None:
        if end.get("reason") == "OOMKilled":
            why = "it used more memory than it may"
        elif end.get("reason") in {"StartError", "ContainerCannotRun"}:
            why = f"it cannot be started: {end.get('message', '')}"[:500]
        code, signal = int(end["exitCode"]), None if why else end.get("signal") or signal_of(int(end["exitCode"]))
        code = None if signal is not None else code
    elif not late and (not pods or (own and "waiting" not in own[0])):
        return Lost("its pod is gone, or its node is, and nobody saw how it ended")
    elif not why:
        why = str(condition.get("message") or "failed")
    ended_at = _instant((end or {}).get("finishedAt")) or _instant(condition.get("lastTransitionTime")) or 0
    return Ended(code, signal=signal, why=why, began_at=_began(job), ended_at=ended_at)


def _trouble(pods: Sequence[Mapping[str, Any]]) -> tuple[str, str, int | None]:
    """What keeps the newest pod from running: a word, in more words, and since when it is on its node."""
    status = (pods[-1].get("status") or {}) if pods else {}
    placed: Mapping[str, Any] = next(
        (one for one in status.get("conditions") or () if one["type"] == "PodScheduled"), {}
    )
    if placed.get("status") == "False":
        return str(placed.get("reason", "")), f"{placed.get('reason')}: {placed.get('message', '')}"[:500], None
    since = _instant(placed.get("lastTransitionTime"))
    for one in status.get("containerStatuses") or ():
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _BAD:
            said = f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
            return str(waiting["reason"]), said[:500], since
    return "", "", since


def _began(job: Mapping[str, Any]) -> int | None:
    """From when on there is a Job: to make it anew would be to begin it twice."""
    started = _instant((job.get("status") or {}).get("startTime"))
    return _instant(_born(job)) if started is None else started


def _born(one: Mapping[str, Any]) -> object:
    return one["metadata"].get("creationTimestamp")


def _phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _literal(text: str) -> str:
    """A text that the cluster leaves as it is: there ``$(NAME)`` is a variable, and ``$$`` a dollar."""
    return text.replace("$", "$$")


def _label(text: str) -> str:
    """A text as the value of a label: at most 63 characters, a letter or a digit at both ends."""
    return _LABEL.sub("-", text)[:63].strip("-._")


def _instant(text: object) -> int | None:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return None
