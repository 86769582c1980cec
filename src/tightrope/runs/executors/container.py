"""Commands as containers of Docker or Podman, each known by a name that follows from its key.

The engine keeps what became of a container until it is removed, and refuses a second one with the same name: that is
what makes a start safe to repeat. Timeouts are the worker's business here.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from tightrope.runs.commands import Absent, Command, Ended, LogPart, Lost, Running, Seen
from tightrope.runs.executors.clients import Said, ask, must, name_of, without_secrets
from tightrope.runs.steps import ExecutorError

_INSIDE = "/workspace"
_SECRETS = "dev.tightrope.secrets"
_KEY = "dev.tightrope.key"
_MISSING = ("no such object", "no such container", "no container with name or id")
_FRACTION = re.compile(r"\.\d+")
_TAKEN = ("already in use",)


class ContainerExecutor:
    """Runs commands in containers of one engine.

    Args:
        engine: The client: ``docker`` or ``podman``, or where it is.
        place: Who can see the engine's containers; see `Executor`.
        image: For commands that name none.
        variables: For the client itself, such as ``DOCKER_HOST`` or ``HOME``; no command sees them.
    """

    def __init__(self, engine: str, *, place: str, image: str = "", variables: Mapping[str, str] | None = None) -> None:
        self._engine = engine
        self._place = place
        self._image = image
        self._variables = dict(variables or {})

    @property
    def place(self) -> str:
        """The engine that the containers are in."""
        return self._place

    def start(self, key: str, command: Command) -> None:
        """Begin, unless there is a container of that name that ever began."""
        if not (command.image or self._image):
            raise ExecutorError("a container needs an image", remedy="name one in the step, or for the executor")
        values = {**command.environment, **command.secrets}
        said = self._ask(*run_argv(key, command, self._image), variables=values)
        if said.code == 0:
            return
        if not any(word in said.complaint.lower() for word in _TAKEN):
            must(said, "the container cannot be started")
        if isinstance(self.look(key), Absent):  # it was made, and whoever made it was cut short
            must(self._ask("start", name_of(key)), "the container cannot be started")

    def look(self, key: str) -> Seen:
        """Tell what became of it."""
        found = self._inspect(key)
        if found is None:
            return Absent()
        state = found["State"]
        match str(state.get("Status", "")).lower():
            case "created" | "configured" | "initialized":
                return Absent()
            case "running" | "paused" | "restarting" | "stopping":
                return Running(_instant(state.get("StartedAt")))
            case "exited" | "stopped":
                return _ended(state)
            case other:
                return Lost(f"the container engine says that it is {other or 'nowhere'}")

    def stop(self, key: str, grace_s: int) -> None:
        """Ask it to end; the engine kills it after the grace, and nobody waits for that here."""

        def stop() -> None:
            with suppress(ExecutorError):
                self._ask("stop", "--time", str(grace_s), name_of(key))

        threading.Thread(target=stop, name="tightrope-container-stop", daemon=True).start()

    def log(self, key: str, offset: int = 0, limit: int = 1 << 20) -> LogPart:
        """Read a stretch of its output, without the values of its secrets."""
        found = self._inspect(key)
        if found is None:
            return LogPart(offset, b"", ended=True)
        names = set(str((found["Config"].get("Labels") or {}).get(_SECRETS, "")).split(","))
        values = dict(one.partition("=")[::2] for one in found["Config"].get("Env") or ())
        whole = must(self._ask("logs", name_of(key), merged=True), "the log cannot be read")
        secrets = [value for name, value in values.items() if name in names]
        return without_secrets(whole, secrets, offset, limit, ended=isinstance(self.look(key), Ended | Lost))

    def listen(self, ended: Callable[[str], None]) -> None:
        """Nobody is told: whoever waits looks again by itself."""

    def forget(self, key: str) -> None:
        """Remove a container that does not run."""
        self._ask("rm", name_of(key))

    def prune(self, before: int) -> None:
        """What is old is let go of with its run."""

    def close(self) -> None:
        """Nothing is held."""

    def _inspect(self, key: str) -> dict[str, Any] | None:
        said = self._ask("inspect", "--type", "container", "--format", "{{json .}}", name_of(key))
        if said.code != 0 and any(word in said.complaint.lower() for word in _MISSING):
            return None
        found = json.loads(must(said, "the container cannot be looked at"))
        if not isinstance(found, dict) or (found["Config"].get("Labels") or {}).get(_KEY) != key:
            raise ExecutorError(f"the container {name_of(key)} is not ours")
        return found

    def _ask(self, *argv: str, variables: Mapping[str, str] | None = None, merged: bool = False) -> Said:
        return ask([self._engine, *argv], variables={**(variables or {}), **self._variables}, merged=merged)


def run_argv(key: str, command: Command, image: str = "") -> list[str]:
    """The arguments that begin a container. Variables are named only: the client takes their values from its own."""
    limits = command.limits
    found = ["run", "--detach", "--name", name_of(key), "--label", f"{_KEY}={key}"]
    if command.secrets:
        found += ["--label", f"{_SECRETS}={','.join(sorted(command.secrets))}"]
    found += ["--init", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    found += ["--stop-timeout", str(command.grace_s)]
    if command.folder:
        found += ["--volume", f"{command.folder}:{_INSIDE}", "--workdir", _INSIDE]
    for name in sorted({*command.environment, *command.secrets}):
        found += ["--env", name]
    if limits.memory_bytes is not None:
        found += ["--memory", str(limits.memory_bytes)]
    if limits.processes is not None:
        found += ["--pids-limit", str(limits.processes)]
    for name, most in (("cpu", limits.cpu_s), ("fsize", limits.file_bytes), ("nofile", limits.open_files)):
        if most is not None:
            found += ["--ulimit", f"{name}={most}"]
    return [*found, "--entrypoint", command.argv[0], command.image or image, *command.argv[1:]]


def _ended(state: Mapping[str, Any]) -> Ended:
    code = int(state.get("ExitCode", -1))
    why = str(state.get("Error") or "")
    if state.get("OOMKilled"):
        why = "it used more memory than it may"
    killed = code > 128 and not why
    return Ended(
        None if killed else code,
        signal=code - 128 if killed else None,
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
