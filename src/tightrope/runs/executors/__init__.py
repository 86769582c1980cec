"""Where commands run: as processes of this machine, as containers, as Jobs of a Kubernetes cluster.

All of them know a command by its key, and tell what became of it by looking, whoever had started it: a server that was
killed and comes back asks again, and never needs to remember.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tightrope.runs.commands import Command, LogPart, Seen


class Executor(Protocol):
    """Runs commands, each under a key of its own; any thread may call it.

    Attributes:
        place: Who can see the commands: only workers with the same place. Empty: every worker can.
    """

    @property
    def place(self) -> str:
        """Where the commands are: workers with another place cannot see them; empty: all workers can."""
        ...

    def start(self, key: str, command: Command) -> None:
        """Begin, unless a command with this key has ever begun: doing so again is harmless.

        A command that cannot be started at all (no such program, no such folder) has *ended*, and `look` says why.

        Raises:
            ExecutorError: It is not known whether it began; `look` tells, now or later.
        """
        ...

    def look(self, key: str) -> Seen:
        """Tell what became of it, from what is there and not from memory; may raise `ExecutorError`."""
        ...

    def stop(self, key: str, grace_s: int) -> None:
        """Ask it and all its processes to end, and kill what is left after *grace_s* seconds; may be repeated."""
        ...

    def log(self, key: str, offset: int = 0, limit: int = 1 << 20) -> LogPart:
        """Read at most *limit* bytes of its output, as raw as they are; empty where there is none."""
        ...

    def listen(self, ended: Callable[[str], None]) -> None:
        """Call *ended* with the key of each command that ends here, soon after; it may be told late or never."""
        ...

    def forget(self, key: str) -> None:
        """Let go of all that is kept of a command that is over; one that runs is left alone."""
        ...

    def prune(self, before: int) -> None:
        """Let go of all that is kept here of commands that ended before an instant, UTC epoch seconds."""
        ...

    def close(self) -> None:
        """Let go of what this process holds; commands run on."""
        ...
