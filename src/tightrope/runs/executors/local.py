"""Commands as processes of this machine, each under a supervisor of its own that outlives the server.

See `supervisor` for the files. What is known of a command is read from them each time, so that a server that comes back
finds what it had started; only who is told when a command ends is kept in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import marshal
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from tightrope.runs.commands import Absent, Command, Ended, LogPart, Lost, Running, Seen
from tightrope.runs.executors import supervisor
from tightrope.runs.steps import ExecutorError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for unless the command's environment says otherwise."""

_ANSWERS_WITHIN_S = 10
SHORTEST = 4
"""Shorter secrets are not looked for in logs: their letters are everywhere."""

_NURSE = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import supervisor; supervisor.nurse()"
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


class LocalExecutor:
    """Runs commands on this machine.

    Args:
        folder: Where logs, statuses and the folders of commands are kept; made where it is not there. Servers and
            workers of one machine that share it can go on with each other's commands.

    Raises:
        ExecutorError: The folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._nurse: subprocess.Popen[bytes] | None = None
        self._ordering = threading.Lock()
        self._listeners: list[Callable[[str], None]] = []
        self._lock = threading.Lock()
        self._watched: dict[int, str] = {}
        self._watching: threading.Thread | None = None
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._wake, False)
        self._closing = False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._place = _place(self._folder)
        except OSError as error:
            raise ExecutorError(
                f"{folder} cannot hold the logs of commands: {error.strerror}", remedy="give a directory to write to"
            ) from None

    @property
    def place(self) -> str:
        """This machine and this folder."""
        return self._place

    def start(self, key: str, command: Command) -> None:
        """Begin, unless it ever began."""
        if not command.argv or not command.argv[0]:
            raise ExecutorError("a command without a program cannot be started")
        if not isinstance(self.look(key), Absent):
            return
        folder = self._of(key)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            cwd = command.folder
            if not cwd:
                (folder / "work").mkdir(exist_ok=True)
                cwd = str(folder / "work")
            pid = self._order(os.fsencode(folder), marshal.dumps(_told(command, cwd)))
        except OSError as error:
            raise ExecutorError(f"the command cannot be started: {error.strerror}") from None
        if pid and not self._watch(key, pid):
            threading.Thread(target=self._wait, args=(key, pid), name="tightrope-command", daemon=True).start()

    def _order(self, folder: bytes, body: bytes) -> int:
        """Have a supervisor begun; its process id, or 0 where the command began before."""
        with self._ordering:
            for _ in range(2):  # the nurse may have been killed since the last order; to give one twice is harmless
                if self._nurse is None:
                    self._nurse = subprocess.Popen(  # noqa: S603  our own interpreter
                        [sys.executable, "-I", "-S", "-c", _NURSE],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        cwd="/",
                        env={},
                        start_new_session=True,
                    )
                stdin, stdout = self._nurse.stdin, self._nurse.stdout
                assert stdin is not None
                assert stdout is not None
                with suppress(BrokenPipeError):
                    stdin.write(b"%08d%08d" % (len(folder), len(body)) + folder + body)
                    stdin.flush()
                    poll = select.poll()
                    poll.register(stdout, select.POLLIN)
                    answer = stdout.readline() if poll.poll(_ANSWERS_WITHIN_S * 1000) else b""
                    if answer.endswith(b"\n"):
                        return int(answer)
                self._dismiss()
        raise ExecutorError("no supervisor can be started for the command", remedy="look at the machine's processes")

    def _dismiss(self) -> None:
        """Let the nurse go; the supervisors that it began stay."""
        nurse, self._nurse = self._nurse, None
        if nurse is not None:
            for pipe in (nurse.stdin, nurse.stdout):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()
            nurse.kill()
            nurse.wait()

    def look(self, key: str) -> Seen:
        """Tell what became of it."""
        folder = self._of(key)
        if not folder.is_dir():
            return Absent()
        ended = _read(folder, "status")
        if ended is not None:
            return _ended(ended)
        lock = supervisor.locked(str(folder))
        started = _read(folder, "started")
        if lock is None:
            if started is not None:
                self._watch(key, started["pid"], started["since"])
            return Running(None if started is None else started["at"])
        try:
            ended = _read(folder, "status")
            if ended is not None:
                return _ended(ended)
            if started is None:
                return Absent()
        finally:
            os.close(lock)
        if started["boot"] != supervisor.boot_id():
            return Lost("the machine was restarted while it ran")
        if supervisor.start_time(started["child"]) == started["child_since"] != "":
            # nobody may begin it again, or look for what it did, while it still does it
            self._watch(key, started["child"], started["child_since"])
            return Running(started["at"], "its supervisor was killed, and it runs on")
        return Lost("its supervisor was killed")

    def stop(self, key: str, grace_s: int) -> None:
        """Ask it to end; after the grace it is killed."""
        folder = self._of(key)
        if not folder.is_dir() or _read(folder, "status") is not None:
            return
        _ask_to_stop(folder, grace_s)
        started = _read(folder, "started")
        if started is None:
            return
        if supervisor.start_time(started["pid"]) == started["since"]:
            with suppress(ProcessLookupError):
                os.kill(started["pid"], signal.SIGTERM)
        elif supervisor.start_time(started["child"]) == started["child_since"] != "":
            with suppress(ProcessLookupError):  # nobody supervises it any more, so nobody waits for it either
                os.killpg(started["child"], signal.SIGKILL)

    def log(self, key: str, offset: int = 0, limit: int = 1 << 20) -> LogPart:
        """Read a stretch of its output."""
        ended = isinstance(self.look(key), Ended | Lost)
        try:
            with (self._of(key) / "log").open("rb") as file:
                file.seek(offset)
                data = file.read(limit)
                return LogPart(offset, data, ended and not file.read(1))
        except FileNotFoundError:
            return LogPart(offset, b"", ended)

    def listen(self, ended: Callable[[str], None]) -> None:
        """Call *ended* with the key of each command that ends."""
        self._listeners.append(ended)

    def forget(self, key: str) -> None:
        """Let go of its files."""
        if not isinstance(self.look(key), Running):
            shutil.rmtree(self._of(key), ignore_errors=True)
            with suppress(OSError):
                self._of(key).parent.rmdir()  # of the last step of a run

    def prune(self, before: int) -> None:
        """Let go of the files of commands that ended before an instant."""
        for status in self._folder.glob("*/*/status"):
            ended = _read(status.parent, "status")
            if ended is not None and ended["ended_at"] < before:
                shutil.rmtree(status.parent, ignore_errors=True)
                with suppress(OSError):
                    status.parent.parent.rmdir()

    def close(self) -> None:
        """Tell nobody any more; commands run on."""
        self._closing = True
        os.write(self._woken, b".")
        if self._watching is not None:
            self._watching.join(5)
        with self._ordering:
            self._dismiss()
        os.close(self._wake)
        os.close(self._woken)

    def _of(self, key: str) -> Path:
        """The folder of a command: readable for people, and never that of another."""
        first, _, rest = key.partition("/")
        digest = hashlib.sha256(key.encode()).hexdigest()[:10]
        return (
            self._folder / (_UNFIT.sub("_", first).lstrip(".")[:40] or "_") / f"{_UNFIT.sub('_', rest)[:80]}-{digest}"
        )

    # --- who ends

    def _watch(self, key: str, pid: int, since: str = "") -> bool:
        """Hear when a process ends, once for each command; whether the system can tell."""
        with self._lock:
            if self._closing or key in self._watched.values():
                return True
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                return True  # it ended just now: whoever waits looks again by itself
            except (OSError, AttributeError):
                return False
            if since and supervisor.start_time(pid) != since:
                os.close(descriptor)
                return True
            self._watched[descriptor] = key
            if self._watching is None:
                self._watching = threading.Thread(target=self._hear, name="tightrope-commands", daemon=True)
                self._watching.start()
        os.write(self._woken, b".")
        return True

    def _wait(self, key: str, pid: int) -> None:
        """Where the system cannot tell of the end of processes: look now and then."""
        with suppress(OSError):
            while not self._closing:
                os.kill(pid, 0)
                time.sleep(0.05)
        for listener in () if self._closing else self._listeners:
            listener(key)

    def _hear(self) -> None:
        while not self._closing:
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            with self._lock:
                for descriptor in self._watched:
                    poll.register(descriptor, select.POLLIN)
            for descriptor, _ in poll.poll():
                if descriptor == self._wake:
                    with suppress(BlockingIOError):
                        os.read(self._wake, 4096)
                    continue
                with self._lock:
                    key = self._watched.pop(descriptor)
                os.close(descriptor)
                for listener in self._listeners:
                    listener(key)
        with self._lock:
            for descriptor in self._watched:
                os.close(descriptor)
            self._watched.clear()


def _read(folder: Path, name: str) -> dict[str, Any] | None:
    """Read a small file of the supervisor; None where it is not there, or not whole."""
    try:
        document = json.loads((folder / name).read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _ask_to_stop(folder: Path, grace_s: int) -> None:
    """Leave a word for the supervisor, as a whole and once; the signal only tells it to look."""
    if not (folder / "stop").exists():
        new = folder / f"stop.{uuid.uuid4().hex}"
        new.write_text(f"{max(0, grace_s)}", encoding="ascii")
        new.replace(folder / "stop")


def spellings(secret: str) -> set[bytes]:
    """How a secret may stand in an output: as it is, line by line, in JSON, a URL, HTML, a shell, hex and Base64."""
    plain = secret.encode("utf-8", "surrogateescape")
    found = {plain, plain.strip()}
    for url in (quote(plain), quote(plain, safe=""), quote_plus(plain), quote(plain, safe="!~*'()")):
        found |= {url.encode(), re.sub("%..", lambda code: code[0].lower(), url).encode()}
    lines = plain.splitlines()
    if len(lines) > 1:
        found |= {line.strip() for line in lines if len(line.strip()) >= 2 * SHORTEST}
    found.add(json.dumps(secret, ensure_ascii=False)[1:-1].encode("utf-8", "surrogateescape"))
    found.add(json.dumps(secret)[1:-1].encode())
    web = escape(secret, quote=False)
    for page in (web, web.replace('"', "&quot;"), escape(secret), escape(secret).replace("&#x27;", "&#39;")):
        found.add(page.encode("utf-8", "surrogateescape"))
    for quoted in ("'\\''", "'\"'\"'"):
        found.add(secret.replace("'", quoted).encode("utf-8", "surrogateescape"))
    if len(plain) >= SHORTEST:
        found |= {plain.hex().encode(), plain.hex().upper().encode()}
    if len(plain) >= 2 * SHORTEST:
        for shift, first in ((0, 0), (1, 2), (2, 3)):  # what stands before it moves it by so many bytes of three
            text = base64.b64encode(b"\0" * shift + plain)
            inner = text[first : (shift + len(plain)) * 8 // 6]
            found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
        whole = base64.b64encode(plain)
        for width in (64, 76):  # the lines that openssl and base64 break it into
            lines_of = [whole[at : at + width] for at in range(0, len(whole), width)]
            found |= {line.rstrip(b"=") for line in lines_of if len(lines_of) > 1 and len(line) >= 2 * SHORTEST}
    return {one for one in found if len(one) >= SHORTEST}


def _place(folder: Path) -> str:
    """Who this folder on this machine is: the same for all processes that use it, and for ever."""
    mark = folder / "place"
    with suppress(FileExistsError), mark.open("x", encoding="ascii") as file:
        file.write(uuid.uuid4().hex[:12])
    return f"{socket.gethostname()}:{mark.read_text(encoding='ascii')}"


def _told(command: Command, cwd: str) -> dict[str, Any]:
    """What the supervisor is told."""
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        home = cwd
    plain = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8"}
    return {
        "argv": list(command.argv),
        "cwd": cwd,
        "env": {**plain, **command.environment, **command.secrets},
        "hide": [one for value in (*command.secrets.values(), *command.hidden) for one in spellings(value)],
        "timeout_s": command.timeout_s,
        "grace_s": command.grace_s,
        "limits": asdict(command.limits),
    }


def _ended(status: Mapping[str, Any]) -> Ended:
    return Ended(**{name: status[name] for name in (
        "code", "signal", "why", "began_at", "ended_at", "cpu_ms", "memory_bytes", "log_bytes", "left_out"
    )})  # fmt: skip
