"""Commands on this machine, each in a process group of its own, so that a timeout ends all of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tightrope.base.settings import environment
from tightrope.delivery.commands import Finished

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "KUBECONFIG")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHOWN = 4000  # characters of what it wrote


def run_command(
    argv: Sequence[str],
    *,
    folder: str = ".",
    variables: Mapping[str, str] | None = None,
    given: str = "",
    timeout_s: float = 30.0,
) -> Finished:
    """Run one command to its end; see `RunCommand`. Nothing that it does is an error here."""
    surroundings = {name: value for name in _KEPT if (value := environment(name))}
    surroundings.setdefault("PATH", _PATH)
    if not Path(folder).is_dir():
        return Finished(None, "", f"there is no folder {folder}")
    try:
        process = subprocess.Popen(  # noqa: S603 - a command that the spec holds, as a list
            list(argv),
            cwd=folder,
            env=surroundings | dict(variables or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        return Finished(None, "", f"{argv[0]} cannot be started: {(said or 'no').lower()}")
    try:
        content, _ = process.communicate(given.encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        content, _ = process.communicate()
        return Finished(None, _text(content), f"{argv[0]} took longer than {timeout_s:g} s and was ended")
    why = "" if process.returncode == 0 else f"{argv[0]} ended with {_ending(process.returncode)}"
    return Finished(process.returncode, _text(content), why)


def _ending(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {-code}"


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")[:_SHOWN]
