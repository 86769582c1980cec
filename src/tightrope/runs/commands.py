"""A command that a step runs, and what can be seen of it: values that every executor understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightrope.base.errors import UsageError
from tightrope.base.values import dataclass, field

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command may use; None: as much as the machine has.

    Attributes:
        cpu_s: Processor time of each process, seconds.
        memory_bytes: Address space of each process; for containers and pods the memory of all together.
        file_bytes: The largest file that it may write.
        processes: How many processes its user may have at once; not enforced for the superuser.
        open_files: How many files each process may have open at once.
        log_bytes: How much of its output is kept from the beginning; of the rest only the end is kept, and said so.
    """

    cpu_s: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    processes: int | None = None
    open_files: int | None = None
    log_bytes: int = 10 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Command:
    """What to run.

    Attributes:
        argv: The program and its arguments; no shell reads them.
        folder: The working directory, which must be there; empty: one of its own, made for it and empty.
        environment: All variables of the command but for a few plain ones (PATH, HOME, LANG); it inherits none.
        secrets: Further variables; their values never reach a log or a file of ours.
        hidden: Further values to be kept out of the log, such as those written into a file for it.
        timeout_s: When it is stopped, seconds after its start, also while no server runs; None: never.
        grace_s: How long it has between being asked to end and being killed, seconds.
        limits: What it may use.
        image: For executors that run containers: the image; empty: the executor's own.
        workspace: For them too: the folder around *folder* that they are given whole; empty: *folder* itself.
        claim: For Jobs: the PersistentVolumeClaim that *workspace* is on; empty: they are given none.
        mounted_at: Where the volume of *claim* is mounted here.
    """

    argv: tuple[str, ...]
    folder: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    timeout_s: int | None = None
    grace_s: int = 10
    limits: Limits = field(default_factory=Limits)
    image: str = ""
    workspace: str = ""
    claim: str = ""
    mounted_at: str = ""


def command_of(document: Mapping[str, Any]) -> Command:
    """Read a command from plain values: ``argv``, ``folder``, ``environment``, ``grace_s``, ``limits``, ``image``.

    Raises:
        UsageError: There is no program, or something else is not what it must be.
    """
    argv = document.get("argv")
    if not isinstance(argv, (list, tuple)) or not argv or not all(isinstance(one, str) for one in argv):
        raise UsageError("the step names no command", remedy="give argv: the program and its arguments, as texts")
    environment, limits = document.get("environment", {}), document.get("limits", {})
    if not isinstance(environment, Mapping) or not all(isinstance(one, str) for one in environment.values()):
        raise UsageError("the variables of a command are texts by their names")
    if not isinstance(limits, Mapping) or not all(isinstance(one, int) and one > 0 for one in limits.values()):
        raise UsageError("the limits of a command are whole numbers above 0")
    try:
        return Command(
            tuple(argv),
            folder=str(document.get("folder", "")),
            environment=dict(environment),
            grace_s=int(document.get("grace_s", 10)),
            limits=Limits(**limits),
            image=str(document.get("image", "")),
        )
    except TypeError:
        known = ", ".join(Limits.__match_args__)
        raise UsageError(f"there are limits for {known}, and no others") from None


@dataclass(frozen=True, slots=True)
class Absent:
    """It never began: to start it is safe."""


@dataclass(frozen=True, slots=True)
class Running:
    """It runs, or is about to: ``began_at`` in UTC epoch seconds, if known; ``why``: what it waits for, if at all."""

    began_at: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over, and this is how.

    Attributes:
        code: The exit status; None where a signal or something else ended it.
        signal: The number of the signal that ended it; None: none did.
        why: In words why it failed, where the status does not say it: no such command, timed out, stopped; else empty.
        began_at, ended_at: UTC epoch seconds; *began_at* is None for what could not be started.
        cpu_ms, memory_bytes: Processor time and the largest memory of its processes, where known.
        log_bytes, left_out: How long the log is, and how many bytes of output are not in it.
    """

    code: int | None
    signal: int | None = None
    why: str = ""
    began_at: int | None = None
    ended_at: int = 0
    cpu_ms: int | None = None
    memory_bytes: int | None = None
    log_bytes: int = 0
    left_out: int = 0

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked to."""
        return self.code == 0 and not self.why


@dataclass(frozen=True, slots=True)
class Lost:
    """It began, and nobody can tell how it ended, or whether it did."""

    why: str


Seen = Absent | Running | Ended | Lost


@dataclass(frozen=True, slots=True)
class LogPart:
    """A stretch of a log: the bytes from *offset* on, where the next begin, and whether more may come."""

    offset: int
    data: bytes
    ended: bool

    @property
    def next_offset(self) -> int:
        """Where to go on reading."""
        return self.offset + len(self.data)
