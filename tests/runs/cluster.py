"""A stand-in for the API server of a cluster, on loopback, for the real ``kubectl``.

It has what executors ask for: Jobs, Pods, Secrets and events, to be made, found by name and by labels, changed by merge
and removed; and the logs of pods. No controller is there: a test says what becomes of a Job.

Source:
    Kubernetes API concepts (discovery, Status, resource names) and the reference of batch/v1 Job and core/v1 Pod.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

CREATED = "2026-03-01T12:00:00Z"
_KINDS = {"jobs": "Job", "pods": "Pod", "secrets": "Secret", "events": "Event"}
_SHORT = {"jobs": [], "pods": ["po"], "secrets": [], "events": ["ev"]}
_VERBS = ["create", "delete", "get", "list", "patch", "watch"]


class Cluster:
    """What is in it: by resource and name in one namespace; and what it refuses, as codes, reasons and messages."""

    def __init__(self) -> None:
        self.url = ""
        self.closed = False
        self.things: dict[tuple[str, str], dict[str, Any]] = {}
        self.logs: dict[str, bytes] = {}
        self.refusals: dict[tuple[str, str], tuple[int, str, str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.lock = threading.RLock()

    def job(self) -> dict[str, Any]:
        """The newest Job."""
        return [one for (resource, _), one in self.things.items() if resource == "jobs"][-1]

    def begin(self, **status: Any) -> dict[str, Any]:
        """What the controller does first: the newest Job has a start, and a pod."""
        with self.lock:
            job = self.job()
            job["status"] = {"startTime": "2026-03-01T12:00:01Z", "active": 1}
            name = f"{job['metadata']['name']}-x7k2p"
            template = job["spec"]["template"]
            self.things["pods", name] = pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": job["metadata"]["namespace"],
                    "creationTimestamp": CREATED,
                    "ownerReferences": [
                        {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
                    ],
                    "labels": {**template["metadata"]["labels"], "job-name": job["metadata"]["name"]},
                },
                "spec": template["spec"] | {"nodeName": "node-1"},
                "status": {"phase": "Pending", **status},
            }
            return pod

    def end(self, kind: str, reason: str = "BackoffLimitExceeded", message: str = "", /, **terminated: Any) -> None:
        """What the controller does last, and before it the node: the newest Job, and its pod, if it was told of."""
        with self.lock:
            job = self.job()
            pod = self.things.get(("pods", f"{job['metadata']['name']}-x7k2p"))
            if pod is not None and terminated:
                phase = "Succeeded" if kind == "Complete" else "Failed"
                own = [{"name": "command", "state": {"terminated": terminated}}]
                pod["status"] |= {"phase": phase, "containerStatuses": own}
            condition = {"type": kind, "status": "True", "lastTransitionTime": "2026-03-01T12:00:07Z"}
            job.setdefault("status", {})["conditions"] = [condition | {"reason": reason, "message": message}]
            if kind == "Complete":
                job["status"]["completionTime"] = "2026-03-01T12:00:07Z"

    def carry_out(self, volume: Path) -> None:
        """Run the command of the newest Job as a node would, its workspace being on a volume that is a folder here."""
        pod = self.begin(phase="Running")
        (container,) = pod["spec"]["containers"]
        (mount,) = container["volumeMounts"]
        workspace = volume / mount["subPath"]
        folder = workspace / os.path.relpath(container["workingDir"], mount["mountPath"])
        argv = [one.replace("$$", "$") for one in container["command"] + container["args"]]
        environment = {one["name"]: one["value"].replace("$$", "$") for one in container["env"] if "value" in one}
        done = subprocess.run(
            argv, cwd=folder, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, check=False
        )
        self.logs[pod["metadata"]["name"]] = done.stdout + done.stderr
        self.end("Complete" if done.returncode == 0 else "Failed", exitCode=done.returncode)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """One that listens."""
    found = Cluster()

    class Handler(_Handler):
        there = found

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        found.closed = True
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    there: Cluster

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        discovered = _discovery(urlsplit(self.path).path)
        if discovered is not None:
            self._say(200, discovered)
            return
        if "watch=true" in self.path:
            self._watch()
            return
        with self.there.lock:
            self._answer("get")

    def do_POST(self) -> None:
        with self.there.lock:
            self._answer("create")

    def do_PATCH(self) -> None:
        with self.there.lock:
            self._answer("patch")

    def do_DELETE(self) -> None:
        with self.there.lock:
            self._answer("delete")

    def _answer(self, verb: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        parts = address.path.strip("/").split("/")
        if "namespaces" not in parts:
            self._refuse(404, "NotFound", f"the server could not find {address.path}")
            return
        parts = parts[parts.index("namespaces") + 2 :]
        if not parts:  # clients ask for the namespace itself where something in it is not found
            self._say(200, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "builds"}})
            return
        resource, name = parts[0], parts[1] if len(parts) > 1 else ""
        self.there.asked.append((verb, "/".join(parts)))
        things = self.there.things
        refusal = self.there.refusals.get((verb, resource))
        if refusal is not None:
            self._refuse(*refusal)
        elif verb == "create":
            thing = json.loads(body)
            key = (resource, thing["metadata"]["name"])
            if key in things:
                self._refuse(409, "AlreadyExists", f'{resource} "{key[1]}" already exists')
                return
            thing["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": CREATED}
            things[key] = thing
            self._say(201, thing)
        elif verb == "get" and not name:
            found = [one for (what, _), one in things.items() if what == resource and _fits(one, query)]
            kind = {"kind": f"{_KINDS[resource]}List", "apiVersion": _version(resource)}
            self._say(200, kind | {"metadata": {"resourceVersion": "7"}, "items": found})
        elif (resource, name) not in things:
            self._refuse(404, "NotFound", f'{resource} "{name}" not found')
        elif verb == "get" and parts[-1] == "log":
            log = self.there.logs.get(name)
            if log is None:
                self._refuse(400, "BadRequest", f'container "command" in pod "{name}" is waiting to start')
                return
            self._write(200, log[: int(query.get("limitBytes", len(log)))], "text/plain")
        elif verb == "get":
            self._say(200, things[resource, name])
        elif verb == "patch":
            _merge(things[resource, name], json.loads(body))
            self._say(200, things[resource, name])
        elif verb == "delete":
            gone = things.pop((resource, name))
            uid = gone["metadata"].get("uid")
            for key, one in list(things.items()):  # the garbage collector
                if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences") or ()):
                    del things[key]
            self._say(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _watch(self) -> None:
        """Tell of every change of one Job, until it is gone or nobody hears it."""
        self.there.asked.append(("watch", "jobs"))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        told = ""
        while not self.there.closed:
            with self.there.lock:
                found = [one for (what, _), one in self.there.things.items() if what == "jobs" and _fits(one, query)]
                now = json.dumps(found[0]) if found else ""
            if not now:
                break
            if now != told:
                try:
                    self.wfile.write(f'{{"type": "MODIFIED", "object": {now}}}\n'.encode())
                    self.wfile.flush()
                except OSError:
                    break
                told = now
            time.sleep(0.02)
        self.close_connection = True

    def _refuse(self, code: int, reason: str, message: str) -> None:
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        if reason == "Invalid":
            field, _, said = message.partition(": ")
            status["details"] = {"kind": "Job", "causes": [{"field": field, "message": said}]}
        self._say(code, status | {"message": message, "reason": reason, "code": code})

    def _say(self, code: int, document: Any) -> None:
        self._write(code, json.dumps(document).encode(), "application/json")

    def _write(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _version(resource: str) -> str:
    return "batch/v1" if resource == "jobs" else "v1"


def _discovery(path: str) -> dict[str, Any] | None:
    match path.rstrip("/"):
        case "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        case "/apis":
            batch = {"groupVersion": "batch/v1", "version": "v1"}
            return {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [{"name": "batch", "versions": [batch], "preferredVersion": batch}],
            }
        case "/api/v1" | "/apis/batch/v1":
            version = path.rstrip("/").removeprefix("/api/").removeprefix("/apis/")
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": [
                    {
                        "name": name,
                        "singularName": kind.lower(),
                        "namespaced": True,
                        "kind": kind,
                        "verbs": _VERBS,
                        "shortNames": _SHORT[name],
                    }
                    for name, kind in _KINDS.items()
                    if _version(name) == version
                ],
            }
    return None


def _fits(thing: dict[str, Any], query: dict[str, str]) -> bool:
    labels = thing["metadata"].get("labels") or {}
    for one in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = one.partition("=")
        if labels.get(name) != value:
            return False
    for one in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, value = one.partition("=")
        found: Any = thing
        for part in name.split("."):
            found = (found or {}).get(part)
        if found != value:
            return False
    return True


def _merge(thing: dict[str, Any], patch: dict[str, Any]) -> None:
    for name, value in patch.items():
        if value is None:
            thing.pop(name, None)
        elif isinstance(value, dict):
            _merge(thing.setdefault(name, {}), value)
        else:
            thing[name] = value
