"""Command-line clients of container engines and clusters: asked, and understood where they refuse."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from tightrope.base.values import dataclass
from tightrope.runs.commands import LogPart
from tightrope.runs.executors.local import PATH, spellings
from tightrope.runs.executors.supervisor import Redactor
from tightrope.runs.steps import ExecutorError

PATIENCE_S = 30
"""For how long a client may take to answer."""

INSIDE = "/workspace"
"""Where a container finds its workspace."""

_LAST_SIGNAL = 64
_CHUNK = 1 << 16
_GOES_ON = b"\n[it goes on; only the beginning is shown here]\n"
_UNFIT = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Said:
    """How a client ended, and what it said."""

    code: int
    output: bytes
    complaint: str


Hold = Callable[[Callable[[], None]], None]
"""Is handed a function that ends a client at once, as soon as there is one."""


def nothing() -> None:
    """What ends a client that is none yet."""


class Followers:
    """Threads that wait for commands to end, one for each, and tell who listens; a client in each does the waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[str, Callable[[], None]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, ended: Callable[[str], None]) -> None:
        """Call *ended* with the key of each command that is followed and ends."""
        self._listeners.append(ended)

    def follow(self, key: str, wait: Callable[[Hold], bool]) -> None:
        """Let *wait* wait for the end of a command, unless somebody does: it answers whether it has ended."""

        def hold(kill: Callable[[], None]) -> None:
            with self._lock:
                self._ends[key] = kill

        def follow() -> None:
            ended = False
            with suppress(ExecutorError):
                ended = wait(hold)
            with self._lock:
                self._ends.pop(key, None)
                listeners = list(self._listeners) if ended else []
            for listener in listeners:
                listener(key)

        with self._lock:
            if key in self._ends or not self._listeners:
                return
            self._ends[key] = nothing
        threading.Thread(target=follow, name="tightrope-end", daemon=True).start()

    def close(self) -> None:
        """Follow nothing any more."""
        with self._lock:
            self._listeners.clear()
            ends = list(self._ends.values())
        for end in ends:
            end()


def name_of(key: str, prefix: str = "tightrope") -> str:
    """The name of what runs under a key: always the same, good as a DNS label, at most 63 characters."""
    plain = _UNFIT.sub("-", key.lower()).strip("-")[:30].strip("-")
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return "-".join(part for part in (prefix, plain, digest) if part)


def ask(
    argv: Sequence[str],
    *,
    told: bytes = b"",
    variables: Mapping[str, str] | None = None,
    merged: bool = False,
    patience_s: float | None = PATIENCE_S,
    most: int | None = None,
    folder: str | None = None,
    began: Hold | None = None,
) -> Said:
    """Run a client to its end.

    Args:
        argv: The client and its arguments.
        told: What it reads.
        variables: All of its environment but for a plain PATH.
        merged: What it complains of is part of its output.
        patience_s: How long it may take; None: as long as it takes.
        most: So much of its output is enough: then it is ended, and has done well. None: all of it.
        folder: Where it works; None: where this process does.
        began: Is handed a function that ends it at once.

    Raises:
        ExecutorError: There is no such program, or it did not end in time.
    """
    try:
        client = subprocess.Popen(  # noqa: S603  a client that the operator named
            list(argv),
            stdin=subprocess.PIPE if told else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            env={"PATH": PATH, **(variables or {})},
            cwd=folder,
        )
    except FileNotFoundError:
        raise ExecutorError(f"there is no program {argv[0]!r}", remedy="install it, or name another") from None
    except OSError as error:
        raise ExecutorError(f"{argv[0]} cannot be run: {error.strerror}") from None
    with client:
        if began is not None:
            began(client.kill)
        if most is not None:
            return _head_of(client, argv, most, patience_s)
        try:
            output, complaint = client.communicate(told or None, patience_s)
        except subprocess.TimeoutExpired:
            client.kill()
            raise ExecutorError(_slow(argv, patience_s)) from None
    return _said(client, output, complaint)


def _head_of(client: subprocess.Popen[bytes], argv: Sequence[str], most: int, patience_s: float | None) -> Said:
    """The beginning of what a client writes; it is ended once that is there, however much would follow."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        client.kill()

    timer = None if patience_s is None else threading.Timer(patience_s, give_up)
    if timer is not None:
        timer.daemon = True
        timer.start()
    assert client.stdout is not None
    found = bytearray()
    try:
        while len(found) < most and (more := os.read(client.stdout.fileno(), min(_CHUNK, most - len(found)))):
            found += more
        if len(found) >= most:
            client.kill()
            return Said(0, bytes(found), "")
        complaint = None if client.stderr is None else client.stderr.read()
        client.wait()
    finally:
        if timer is not None:
            timer.cancel()
        with suppress(OSError):
            client.kill()
    if late.is_set():
        raise ExecutorError(_slow(argv, patience_s))
    return _said(client, bytes(found), complaint)


def _said(client: subprocess.Popen[bytes], output: bytes, complaint: bytes | None) -> Said:
    said = output[-_CHUNK:] if complaint is None and client.returncode != 0 else complaint or b""
    return Said(client.returncode, output, said.decode(errors="replace").strip())


def _slow(argv: Sequence[str], patience_s: float | None) -> str:
    return f"{argv[0]} {argv[1]} did not answer within {patience_s:g} s"


def must(said: Said, what: str) -> bytes:
    """The output of a client that did what it was asked; raises `ExecutorError` with its complaint."""
    if said.code != 0:
        raise ExecutorError(f"{what}: {last_line(said)}")
    return said.output


def last_line(said: Said) -> str:
    """What a client complained of in the end."""
    return said.complaint.splitlines()[-1] if said.complaint else f"status {said.code}"


def signal_of(code: int) -> int | None:
    """The signal that ended a command, as a shell would tell by its status; None: it ended by itself."""
    return code - 128 if 128 < code <= 128 + _LAST_SIGNAL else None


def home_of(user: str) -> dict[str, str]:
    """A home for a user, ``UID:GID``, whom an image may not know: somewhere that it may write."""
    return {} if user.startswith("0:") else {"HOME": "/tmp"}  # noqa: S108  in a container of its own


def shown_of(whole: bytes, most: int, secrets: Iterable[str], *, ended: bool) -> bytes:
    """What is shown of a log that others keep: its beginning, without secrets. They know none, so all of it is read."""
    cut = len(whole) > most
    redactor = Redactor({one for secret in secrets for one in spellings(secret)})
    clean = redactor.feed(whole[:most], last=ended or cut)
    return clean + _GOES_ON if cut else clean


def part_of(shown: bytes, offset: int, limit: int, *, ended: bool) -> LogPart:
    """A stretch of what is shown of a log."""
    data = shown[offset : offset + limit]
    return LogPart(offset, data, ended and offset + len(data) >= len(shown))
