"""Commands as Jobs of a Kubernetes cluster, each known by a name that follows from its key.

The cluster refuses a second Job with the same name, and keeps the first until it is removed: that is what makes a start
safe to repeat. Secrets are in a Secret of that name, which goes when the Job goes. It is asked through ``kubectl``.

Source:
    Kubernetes, "Jobs": ``backoffLimit: 0`` and ``restartPolicy: Never`` run a pod once, but for a node that is lost at
    the wrong moment; see docs/runs.md.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from tightrope.runs.commands import Absent, Command, Ended, LogPart, Running, Seen
from tightrope.runs.executors.clients import Said, ask, must, name_of, without_secrets
from tightrope.runs.steps import ExecutorError

_KEY = "tightrope.dev/key"
_CONTAINER = "command"
_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_OF_A_LOG = 64 << 20


class KubernetesExecutor:
    """Runs commands in a cluster.

    Args:
        namespace: Where its Jobs are.
        image: For commands that name none.
        service_account: Of its pods; empty: the namespace's default, whose token no command sees.
        client: ``kubectl``, or where it is, with arguments that choose the cluster.
        variables: For the client, such as ``KUBECONFIG`` or ``HOME``; no command sees them.
    """

    def __init__(
        self,
        namespace: str,
        *,
        image: str = "",
        service_account: str = "",
        client: Sequence[str] = ("kubectl",),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._namespace = namespace
        self._image = image
        self._service_account = service_account
        self._client = tuple(client)
        self._variables = dict(variables or {})

    @property
    def place(self) -> str:
        """Every worker that can reach the cluster sees its Jobs."""
        return ""

    def start(self, key: str, command: Command) -> None:
        """Begin, unless there is a Job of that name."""
        if not (command.image or self._image):
            raise ExecutorError("a Job needs an image", remedy="name one in the step, or for the executor")
        for manifest in manifests(
            key, command, namespace=self._namespace, image=self._image, service_account=self._service_account
        ):
            said = self._ask("create", "-f", "-", told=json.dumps(manifest).encode())
            if said.code != 0 and "AlreadyExists" not in said.complaint:
                must(said, f"the {manifest['kind']} cannot be made")

    def look(self, key: str) -> Seen:
        """Tell what became of it."""
        job = self._get("job", name_of(key))
        if job is None:
            return Absent()
        if (job["metadata"].get("annotations") or {}).get(_KEY) != key:
            raise ExecutorError(f"the Job {name_of(key)} is not ours")
        status = job.get("status") or {}
        conditions = {one["type"]: one for one in status.get("conditions") or () if one.get("status") == "True"}
        began_at = _instant(status.get("startTime"))
        if "Complete" in conditions:
            return Ended(0, began_at=began_at, ended_at=_instant(status.get("completionTime")) or 0)
        if "Failed" in conditions:
            return self._failed(key, conditions["Failed"], began_at)
        return Running(began_at)

    def stop(self, key: str, grace_s: int) -> None:
        """Let its deadline pass: its pod is asked to end, and killed after its own grace; the Job stays to be seen."""
        patch = json.dumps({"spec": {"activeDeadlineSeconds": 1}})
        with suppress(ExecutorError):
            must(self._ask("patch", "job", name_of(key), "--type", "merge", "-p", patch), "the Job cannot be stopped")

    def log(self, key: str, offset: int = 0, limit: int = 1 << 20) -> LogPart:
        """Read a stretch of its output, without the values of its secrets."""
        said = self._ask("logs", f"job/{name_of(key)}", "-c", _CONTAINER, f"--limit-bytes={_MOST_OF_A_LOG}")
        ended = isinstance(self.look(key), Ended)
        if said.code != 0:  # there is no pod yet, or none any more
            return LogPart(offset, b"", ended)
        secret = self._get("secret", name_of(key)) or {}
        values = [base64.b64decode(one).decode(errors="surrogateescape") for one in (secret.get("data") or {}).values()]
        return without_secrets(said.output, values, offset, limit, ended=ended)

    def listen(self, ended: Callable[[str], None]) -> None:
        """Nobody is told: whoever waits looks again by itself."""

    def forget(self, key: str) -> None:
        """Remove a Job that is over, its pod and its Secret."""
        if isinstance(self.look(key), Ended):
            for kind in ("job", "secret"):
                self._ask("delete", kind, name_of(key), "--ignore-not-found", "--wait=false")

    def prune(self, before: int) -> None:
        """What is old is let go of with its run."""

    def close(self) -> None:
        """Nothing is held."""

    def _failed(self, key: str, condition: Mapping[str, Any], began_at: int | None) -> Ended:
        ended_at = _instant(condition.get("lastTransitionTime")) or 0
        why = {"DeadlineExceeded": "timed out, or stopped"}.get(str(condition.get("reason")), "")
        said = self._ask("get", "pods", "-l", f"job-name={name_of(key)}", "-o", "json")
        pods = json.loads(must(said, "the pods cannot be looked at")).get("items") or []
        ends = [
            one["state"]["terminated"]
            for pod in pods
            for one in (pod.get("status") or {}).get("containerStatuses") or ()
            if one["name"] == _CONTAINER and "terminated" in (one.get("state") or {})
        ]
        if not ends:
            return Ended(
                None, why=why or str(condition.get("message") or "failed"), began_at=began_at, ended_at=ended_at
            )
        end = ends[-1]
        if end.get("reason") == "OOMKilled":
            why = "it used more memory than it may"
        signalled = end.get("signal") or None
        code = None if signalled else int(end["exitCode"])
        return Ended(code, signal=signalled, why=why, began_at=began_at, ended_at=ended_at)

    def _get(self, kind: str, name: str) -> dict[str, Any] | None:
        said = self._ask("get", kind, name, "-o", "json", "--ignore-not-found")
        text = must(said, f"the {kind} cannot be looked at")
        if not text.strip():
            return None
        found: dict[str, Any] = json.loads(text)
        return found

    def _ask(self, *argv: str, told: bytes = b"") -> Said:
        command = [*self._client, "--namespace", self._namespace, *argv]
        return ask(command, told=told, variables=self._variables)


def manifests(
    key: str, command: Command, *, namespace: str, image: str = "", service_account: str = ""
) -> list[dict[str, Any]]:
    """The Job of a command, and before it the Secret with its secrets, if it has any; the order they are made in."""
    name, limits = name_of(key), command.limits
    run, _, step = key.partition("/")
    labels = {
        "app.kubernetes.io/managed-by": "tightrope",
        "tightrope.dev/run": _label(run),
        "tightrope.dev/step": _label(step.rpartition("/")[0] or step),
    }
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": {_KEY: key}}
    variables: list[dict[str, Any]] = [
        {"name": one, "value": value}
        for one, value in sorted(command.environment.items())
        if one not in command.secrets
    ]
    variables += [
        {"name": one, "valueFrom": {"secretKeyRef": {"name": name, "key": one}}} for one in sorted(command.secrets)
    ]
    container: dict[str, Any] = {
        "name": _CONTAINER,
        "image": command.image or image,
        "command": [command.argv[0]],
        "args": list(command.argv[1:]),
        "env": variables,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if command.folder:
        container["workingDir"] = command.folder
    if limits.memory_bytes is not None:
        container["resources"] = {
            "limits": {"memory": str(limits.memory_bytes)},
            "requests": {"memory": str(limits.memory_bytes)},
        }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": command.grace_s,
        "automountServiceAccountToken": bool(service_account),
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if service_account:
        pod["serviceAccountName"] = service_account
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if command.timeout_s is not None:
        spec["activeDeadlineSeconds"] = command.timeout_s
    found: list[dict[str, Any]] = []
    if command.secrets:
        data = {
            one: base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
            for one, value in sorted(command.secrets.items())
        }
        found.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data})
    return [*found, {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}]


def _label(text: str) -> str:
    """A text as the value of a label: at most 63 characters, a letter or a digit at both ends."""
    return _LABEL.sub("-", text)[:63].strip("-._")


def _instant(text: object) -> int | None:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return None
