"""Commands as containers of Docker or Podman, each known by a name that follows from its key.

The engine keeps what became of a container until it is removed, and refuses a second one with the same name: that is
what makes a start safe to repeat. Timeouts are the worker's business here.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from signal import SIGKILL
from tempfile import gettempdir
from typing import Any

from tightrope.base.values import dataclass
from tightrope.runs.commands import MEBIBYTE, Absent, Command, Ended, Limits, LogPart, Lost, Running, Seen
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
    nothing,
    part_of,
    shown_of,
    signal_of,
)
from tightrope.runs.steps import ExecutorError

VARIABLES = (
    *("HOME", "PATH", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS"),
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
    *("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "REGISTRY_AUTH_FILE"),
    *("CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_SSHKEY", "STORAGE_DRIVER"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
"""What a client is told of its server's environment: where its engine, its images and its passwords are."""

_KEY = "dev.tightrope.key"
_PLACE = "dev.tightrope.place"
_SECRETS = "dev.tightrope.secrets"
_LOG = "dev.tightrope.log-bytes"
_MISSING = ("no such object", "no such container", "no container with name or id")
_TAKEN = "already in use"
_NOT_HERE = ("no such image", "image not known", "unable to find image")
_NO_NAME = ("invalid reference", "parsing reference", "must be lowercase", "did not resolve to an alias")
_NOT_TO_BE_HAD = (*_NO_NAME, "manifest unknown", "not found", "does not exist", "denied", "unauthorized", "no matching")
"""What engines and registries say of an image that asking again does not bring."""

_NOT_INVOKED = (126, 127)  # of `run`: the program in the image is none, or is not there
_LOOKED_EVERY_S = 0.25
_FRACTION = re.compile(r"\.\d+")


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine that answered: its client, and the user whose files a command in it may write.

    The superuser in the containers of a rootless engine is the user who runs it; any other engine takes a number.
    """

    client: str
    user: str


class _Start:
    """A start that takes its time, or came to nothing."""

    def __init__(self, ended: Ended | None = None) -> None:
        self.ended = ended
        self.trouble = ""
        self.stopped = False
        self.kill: Callable[[], None] = nothing

    def hold(self, kill: Callable[[], None]) -> None:
        """Know how to end it."""
        self.kill = kill
        if self.stopped:
            kill()

    def stop(self) -> None:
        """End it."""
        self.stopped = True
        self.kill()


class ContainerExecutor:
    """Runs commands in containers of one engine.

    Args:
        engines: Clients, ``docker`` or ``podman``, or where they are: the first whose engine answers is taken, once it
            is needed.
        place: Who can see the engine's containers; see `Executor`.
        image: For commands that name none.
        variables: For the client itself, see `VARIABLES`; no command sees them.
        begins_within_s: So long after a container was made whoever made it may still begin it.
    """

    def __init__(
        self,
        *engines: str,
        place: str,
        image: str = "",
        variables: Mapping[str, str] | None = None,
        begins_within_s: float = 3,
    ) -> None:
        self._begins_within_s = begins_within_s
        self._engines = engines
        self._place = place
        self._image = image
        self._variables = dict(variables or {})
        self._chosen: Engine | None = None
        self._choosing, self._lock = threading.Lock(), threading.Lock()
        self._starts: dict[str, _Start] = {}
        self._stopping: set[str] = set()
        self._followers = Followers()

    @property
    def place(self) -> str:
        """The engine that the containers are in."""
        return self._place

    def start(self, key: str, command: Command) -> None:
        """Begin, unless there is a container of that name that ever began.

        An image that is not here is fetched first, which takes its time: meanwhile the command is about to run, and
        can be stopped.
        """
        if not (command.image or self._image):
            raise ExecutorError("a container needs an image", remedy="name one in the step, or for the executor")
        with self._lock:
            if (before := self._starts.get(key)) is not None and before.ended is None:
                return
        steering = [name for name in sorted(command.secrets) if name in VARIABLES or name.startswith("LD_")]
        if steering:
            why = f"the client of the container engine would heed the secret {steering[0]} itself: give it another name"
            self._keep(key, _Start(Ended(None, why=why)))
        elif not self._begun(key, command):
            start = self._keep(key, _Start())
            threading.Thread(
                target=self._fetch, args=(key, command, start), name="tightrope-container-start", daemon=True
            ).start()

    def look(self, key: str) -> Seen:
        """Tell what became of it."""
        with self._lock:
            start = self._starts.get(key)
            if start is not None and start.trouble:
                del self._starts[key]
                raise ExecutorError(start.trouble)
        found = self._inspect(key)
        seen = Absent() if found is None else self._seen(found)
        if isinstance(seen, Absent) and start is not None:
            return start.ended or Running(why="fetches its image")
        if isinstance(seen, Running) and not seen.why:
            self._followers.follow(key, lambda hold: self._over(key, hold))
        if found is not None and isinstance(seen, Ended):
            return replace(seen, log_bytes=len(self._output(found, ended=True)))
        return seen

    def stop(self, key: str, grace_s: int) -> None:
        """Ask it to end; the engine kills it after the grace, and nobody waits for that here."""
        with self._lock:
            if (start := self._starts.get(key)) is not None:
                start.stop()
            if key in self._stopping:
                return
            self._stopping.add(key)

        def stop() -> None:
            with suppress(ExecutorError):
                self._ask("stop", "-t", str(grace_s), name_of(key), patience_s=grace_s + PATIENCE_S)
            with self._lock:
                self._stopping.discard(key)

        threading.Thread(target=stop, name="tightrope-container-stop", daemon=True).start()

    def log(self, key: str, offset: int = 0, limit: int = 1 << 20) -> LogPart:
        """Read a stretch of its output, without the values of its secrets."""
        found = self._inspect(key)
        if found is None:
            return LogPart(offset, b"", ended=True)
        ended = not isinstance(self._seen(found), Running)
        return part_of(self._output(found, ended=ended), offset, limit, ended=ended)

    def listen(self, ended: Callable[[str], None]) -> None:
        """Tell *ended* what ends while this process follows it, which it does from when it saw it run."""
        self._followers.listen(ended)

    def forget(self, key: str) -> None:
        """Remove a container that does not run, and what it kept for itself."""
        with self._lock:
            self._starts.pop(key, None)
        with suppress(ExecutorError):
            self._ask("rm", "--volumes", name_of(key))

    def prune(self, before: int) -> None:
        """Remove containers of this place that ended before an instant; who never needed an engine asks none."""
        if self._chosen is None:
            return
        with suppress(ExecutorError):
            over = ("--filter", "status=exited", "--filter", "status=created")
            asked = self._ask("ps", "--all", "--quiet", "--filter", f"label={_PLACE}={self._place}", *over)
            there = must(asked, "the containers cannot be listed").decode().split()
            said = self._ask("inspect", "--type", "container", *there) if there else None
            for one in _documents(said.output) if said is not None else ():
                ended_at = _instant(one["State"].get("FinishedAt")) or _instant(one.get("Created"))
                if ended_at is not None and ended_at < before:
                    self._ask("rm", "--volumes", str(one["Id"]))

    def close(self) -> None:
        """Follow nothing any more, and fetch nothing."""
        self._followers.close()
        with self._lock:
            starts = list(self._starts.values())
        for start in starts:
            start.stop()

    def _over(self, key: str, hold: Hold) -> bool:
        return self._ask("wait", name_of(key), patience_s=None, began=hold).code == 0

    def _keep(self, key: str, start: _Start) -> _Start:
        with self._lock:
            self._starts[key] = start
        return start

    def _begun(self, key: str, command: Command) -> bool:
        """Begin it; False: its image is not here. What can never begin has ended."""
        engine = self._engine()
        argv = run_argv(key, command, self._image, place=self._place, user=engine.user)
        said = self._ask(*argv, variables=command.secrets)
        complaint = said.complaint.lower()
        if said.code == 0:
            return True
        if any(word in complaint for word in _NOT_HERE):
            return False
        if said.code in _NOT_INVOKED or any(word in complaint for word in _NO_NAME):
            self._keep(key, _Start(Ended(None, why=f"it cannot be started: {last_line(said)}")))
        elif _TAKEN not in complaint:
            must(said, "the container cannot be started")
        elif self._stays_made(key):  # whoever made it was cut short, and what is left of it may not begin
            self._ask("rm", "--force", "--volumes", name_of(key))
            must(self._ask(*argv, variables=command.secrets), "the container cannot be started")
        return True

    def _stays_made(self, key: str) -> bool:
        """Whether its name is taken and it does not begin, nor is anybody just about to begin it."""
        for _ in range(math.ceil(self._begins_within_s / _LOOKED_EVERY_S)):
            time.sleep(_LOOKED_EVERY_S)
            found = self._inspect(key)
            if found is not None and not isinstance(self._seen(found), Absent):
                return False
        return True

    def _fetch(self, key: str, command: Command, start: _Start) -> None:
        image = command.image or self._image
        try:
            said = self._ask("pull", "--quiet", image, patience_s=None, began=start.hold)
            if said.code != 0 and not start.stopped:
                if not any(word in said.complaint.lower() for word in _NOT_TO_BE_HAD):
                    must(said, f"the image {image} cannot be fetched")
                start.ended = Ended(None, why=f"the image {image} cannot be had: {last_line(said)}")
                return
            if not start.stopped and not self._begun(key, command):
                raise ExecutorError(f"the image {image} was fetched, and is not here")
        except ExecutorError as error:
            start.trouble = error.message
            return
        with self._lock:
            if self._starts.get(key) is start:
                del self._starts[key]

    def _seen(self, found: Mapping[str, Any]) -> Seen:
        """What became of a container. Where its client was killed, one that is only made may have begun."""
        seen = _seen(found)
        ready_at = _written_at(str(found.get("PidFile") or "")) if isinstance(seen, Absent) else None
        if ready_at is None:
            return seen
        if time.time() - ready_at < self._begins_within_s:  # noqa: TID251  beside the time of a file
            return Running(why="begins")
        return Lost("whoever was beginning it was killed, and nobody saw whether it began")

    def _output(self, found: Mapping[str, Any], *, ended: bool) -> bytes:
        labels, kept = _labels(found), found["Config"].get("Env") or ()
        names = set(labels.get(_SECRETS, "").split(","))
        secrets = [value for name, _, value in (one.partition("=") for one in kept) if name in names]
        most = int(labels.get(_LOG) or Limits().log_bytes)
        said = self._ask("logs", str(found["Name"]).lstrip("/"), merged=True, most=most + 1)
        return shown_of(must(said, "the log cannot be read"), most, secrets, ended=ended)

    def _inspect(self, key: str) -> dict[str, Any] | None:
        said = self._ask("inspect", "--type", "container", name_of(key))
        if said.code != 0 and any(word in said.complaint.lower() for word in _MISSING):
            return None
        found = _documents(must(said, "the container cannot be looked at"))
        if len(found) != 1 or _labels(found[0]).get(_KEY) != key:
            raise ExecutorError(f"the container {name_of(key)} is not ours")
        return found[0]

    def _ask(
        self,
        *argv: str,
        variables: Mapping[str, str] | None = None,
        merged: bool = False,
        patience_s: float | None = PATIENCE_S,
        most: int | None = None,
        began: Hold | None = None,
    ) -> Said:
        told = {**(variables or {}), **self._variables}
        client = self._engine().client
        folder = gettempdir()  # some of Podman's helpers leave a note where they are, when memory ran out
        return ask(
            [client, *argv], variables=told, merged=merged, patience_s=patience_s, most=most, folder=folder, began=began
        )

    def _engine(self) -> Engine:
        with self._choosing:
            if self._chosen is None:
                self._chosen = self._first_that_answers()
            return self._chosen

    def _first_that_answers(self) -> Engine:
        complaints = []
        for client in self._engines:
            try:
                asked = ask([client, "info", "--format", "{{json .}}"], variables=self._variables)
                return Engine(client, _user(must(asked, f"{client} has no engine that answers")))
            except ExecutorError as error:
                complaints.append(error.message)
        raise ExecutorError("; ".join(complaints), remedy="start the engine, or name another")


def run_argv(key: str, command: Command, image: str = "", *, place: str = "", user: str = "") -> list[str]:
    """The arguments that begin a container, if its image is here. The client takes secrets from its own environment."""
    limits = command.limits
    found = ["run", "--detach", "--pull=never", "--name", name_of(key), "--label", f"{_KEY}={key}"]
    found += ["--label", f"{_PLACE}={place}", "--label", f"{_LOG}={limits.log_bytes}"]
    if command.secrets:
        found += ["--label", f"{_SECRETS}={','.join(sorted(command.secrets))}"]
    found += ["--init", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    found += ["--stop-timeout", str(command.grace_s)]
    environment = {name: value for name, value in command.environment.items() if name not in command.secrets}
    if user:
        found += ["--user", user]
        environment = home_of(user) | environment
    workspace = command.workspace or command.folder
    if workspace:
        source = f"source={workspace}"
        if any(one in source for one in ',"\n'):
            source = '"' + source.replace('"', '""') + '"'  # a field of CSV
        below = Path(command.folder).relative_to(workspace) if command.folder else Path()
        found += ["--mount", f"type=bind,{source},target={INSIDE}", "--workdir", str(Path(INSIDE, below))]
    for name, value in sorted(environment.items()):
        found += ["--env", f"{name}={value}"]
    for name in sorted(command.secrets):
        found += ["--env", name]
    if limits.memory_bytes is not None:
        found += ["--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes)]
    if limits.processes is not None:
        found += ["--pids-limit", str(limits.processes)]
    for name, most in (("cpu", limits.cpu_s), ("fsize", limits.file_bytes), ("nofile", limits.open_files)):
        if most is not None:
            found += ["--ulimit", f"{name}={most}"]
    return [*found, "--entrypoint", command.argv[0], command.image or image, *command.argv[1:]]


def _user(told: bytes) -> str:
    """Who owns the server's files, as containers see it; Podman and Docker each tell whether they are rootless."""
    found = json.loads(told)
    security = (found.get("host") or {}).get("security") or {}
    rootless = security.get("rootless") or "name=rootless" in (found.get("SecurityOptions") or ())
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def _written_at(path: str) -> float | None:
    """When a file was written: Podman's with the number of a process is there once only its start is to come."""
    with suppress(OSError):
        return Path(path).stat().st_mtime if path else None
    return None


def _documents(told: bytes) -> list[dict[str, Any]]:
    found = json.loads(told or b"[]")
    return found if isinstance(found, list) else [found]


def _labels(found: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = found["Config"].get("Labels") or {}
    return labels


def _seen(found: Mapping[str, Any]) -> Seen:
    state = found["State"]
    match str(state.get("Status", "")).lower():
        case "created" | "configured" | "initialized":
            return Absent()
        case "running" | "paused" | "restarting" | "stopping":
            return Running(_instant(state.get("StartedAt")))
        case "exited" | "stopped":
            return _ended(state, found.get("HostConfig") or {})
        case other:
            return Lost(f"the container engine says that it is {other or 'nowhere'}")


def _ended(state: Mapping[str, Any], host: Mapping[str, Any]) -> Ended:
    code = int(state.get("ExitCode", -1))
    why = str(state.get("Error") or "")
    if state.get("OOMKilled"):
        why = "it used more memory than it may"
    signal = None if why else signal_of(code)
    if signal == SIGKILL and host.get("Memory"):  # not every engine notices
        why = f"killed; its memory is limited to {int(host['Memory']) // MEBIBYTE} MiB"
    return Ended(
        None if signal is not None else code,
        signal=signal,
        why=why,
        began_at=_instant(state.get("StartedAt")),
        ended_at=_instant(state.get("FinishedAt")) or 0,
    )


def _instant(text: object) -> int | None:
    """UTC epoch seconds of what an engine writes; None for nothing, which Docker writes as the year 1."""
    try:
        found = datetime.fromisoformat(_FRACTION.sub("", str(text)))
    except ValueError:
        return None
    return None if found.year < 1970 else int(found.timestamp())
