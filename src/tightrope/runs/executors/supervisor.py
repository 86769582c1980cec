"""The process that stands between a server and one command: starts it, keeps its log, and writes down how it ended.

It is forked by a small process of the server's (`nurse`), which imports nothing of Tightrope and little else, and is
told what to do on its standard input, so that secrets are in no file, no argument and no variable but those of the
command. It lives in a session of its own: a server that ends, however it does, leaves it alone.

In its folder it keeps

* ``lock``, held as long as it lives, by which others know that it does;
* ``started``, on the disk before the command begins: who finds it will never begin the command a second time;
* ``log``, what the command wrote, without secrets and no longer than allowed;
* ``status``, how the command ended, on the disk before the supervisor ends; and it reads
* ``stop``, which says how long the command has between being asked to end and being killed.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import resource
import select
import signal
import time

TYPE_CHECKING = False  # `json` and `typing` would take longer than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import IO, Any, NoReturn

MARK = b"***"
"""What stands in a log where a secret was."""

TAIL = 64 * 1024
"""So much of the end of an output is kept where it is longer than its log may be."""

_CHUNK = 64 * 1024
_LOCKED_WITHIN_S = 2.0
_REMAINS_GRACE_S = 1.0
_KILLED_EVERY_S = 0.2
_PR_SET_CHILD_SUBREAPER = 36


# --- secrets -------------------------------------------------------------------------------------------------------


class Redactor:
    """Takes secrets out of a stream, however it is cut into pieces: all bytes of every occurrence, also overlapping.

    What may be the beginning of a secret is held back until more is known.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted(set(secrets) - {b""}, key=len, reverse=True)
        self._firsts = {secret[0] for secret in self._secrets}
        self._held = b""
        self._covered = 0  # so many of the held bytes belong to an occurrence whose mark is out already

    def feed(self, chunk: bytes, *, last: bool = False) -> bytes:
        """The next stretch without secrets; with *last* nothing is held back any more."""
        if not self._secrets:
            return chunk
        data = self._held + chunk
        limit = len(data) if last else self._beginning(data)
        spans = self._spans(data)
        written, at, covered = [], 0, 0
        for start, end in spans:
            if start >= limit and not (start == 0 and self._covered):
                break
            written.append(data[at:start])
            if start > 0 or not self._covered:
                written.append(MARK)
            at = min(end, limit)
            covered = end - limit if end > limit else 0
        written.append(data[at:limit])
        self._held, self._covered = data[limit:], covered
        return b"".join(written)

    def _beginning(self, data: bytes) -> int:
        """Where the earliest stretch begins that may become a secret; the end of the data where there is none."""
        for at in range(max(0, len(data) - len(self._secrets[0]) + 1), len(data)):
            if data[at] in self._firsts:
                rest = data[at:]
                if any(len(secret) > len(rest) and secret.startswith(rest) for secret in self._secrets):
                    return at
        return len(data)

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Stretches that are covered by secrets, in order; those that overlap are one."""
        found = [(0, self._covered)] if self._covered else []
        for secret in self._secrets:
            at = data.find(secret)
            while at >= 0:
                found.append((at, at + len(secret)))
                at = data.find(secret, at + 1)
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged


class Log:
    """A log of a limited length: the beginning as it comes, and of what is beyond only the end, and says so."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file = file
        self._most = most
        self._tail = bytearray()
        self._beyond = 0
        self.length = 0
        self.left_out = 0
        self.failure = ""

    def write(self, data: bytes) -> None:
        """Keep what there is room for."""
        room = max(0, self._most - self.length) if not self._beyond else 0
        if data[:room]:
            self._put(data[:room])
        rest = data[room:]
        if rest:
            if not self._beyond:
                self._put(
                    f"\n[tightrope: {self._most} bytes are enough: of what follows, only the end is kept]\n".encode()
                )
            self._beyond += len(rest)
            self._tail += rest
            if len(self._tail) > 2 * TAIL:
                del self._tail[:-TAIL]

    def close(self) -> None:
        """Write the end, and bring all of it to the disk."""
        if self._beyond:
            tail = bytes(self._tail[-TAIL:])
            self.left_out += self._beyond - len(tail)
            self._put(f"[tightrope: {self._beyond - len(tail)} bytes are left out here]\n".encode())
            self._put(tail)
        try:
            if self.length:
                os.fsync(self._file.fileno())
        except OSError as error:
            self.failure = self.failure or error.strerror or str(error)
        self._file.close()

    def _put(self, data: bytes) -> None:
        try:
            while data:
                written = self._file.write(data)
                self.length += written
                data = data[written:]
        except OSError as error:  # a full disk must not keep the command from ending
            self.failure = error.strerror or str(error)
            self.left_out += len(data)


# --- processes -----------------------------------------------------------------------------------------------------


def start_time(pid: int) -> str:
    """When a process began, as the kernel tells it: no later one with the same number has that; empty: it is over."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  pathlib would take longer than all of this
            told = file.read().rsplit(b")", 1)[1].split()
            return "" if told[0] in {b"Z", b"X"} else told[19].decode()
    except (OSError, IndexError):
        return ""


def this_process() -> str:
    """Names this process, so that others on this machine can tell whether it still is."""
    return f"{os.getpid()}.{start_time(os.getpid())}"


def is_gone(process: str) -> bool:
    """Whether a process of that name is over for sure."""
    number, _, since = process.partition(".")
    return number.isdigit() and since != "" and start_time(int(number)) != since


def boot_id() -> str:
    """Names the time since the machine was started; empty where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123  as above
            return file.read().strip()
    except OSError:
        return ""


def descendants(of: int) -> list[int]:
    """All processes that stem from one, as long as their parents are known."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")  # noqa: PTH208  as above
    except OSError:
        return []
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123  as above
                    parent = int(file.read().rsplit(b")", 1)[1].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, ahead = [], [of]
    while ahead:
        more = children.get(ahead.pop(), [])
        found += more
        ahead += more
    return found


def _libc() -> Any:
    """The C library, loaded once; None where there is none that Python could call."""
    if not _LIBC:
        try:
            import ctypes

            _LIBC.append(ctypes.CDLL(None))
        except (ImportError, OSError):
            _LIBC.append(None)
    return _LIBC[0]


_LIBC: list[Any] = []


def _adopt() -> None:
    """Become the parent of grandchildren whose parents end, so that none gets away; on Linux only."""
    prctl = getattr(_libc(), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


# --- files ---------------------------------------------------------------------------------------------------------


def put(folder: str, name: str, document: Mapping[str, int | str | None], *, surely: bool = True) -> None:
    """Write a small file of JSON, there as a whole or not at all.

    With *surely* it is there even if the power fails right after; without, it may then be missing.
    """
    parts = [f"{_quoted(key)}: {_quoted(value)}" for key, value in document.items()]
    path = f"{folder}/{name}"
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, f"{{{', '.join(parts)}}}\n".encode("utf-8", "replace"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(f"{path}.new", path)  # noqa: PTH105  as above
    if surely:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _quoted(value: int | str | None) -> str:
    if not isinstance(value, str):
        return "null" if value is None else str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join([one if one >= " " else "\\u" + f"{ord(one):04x}" for one in escaped]) + '"'


def _there(folder: str, name: str) -> bool:
    return os.path.exists(f"{folder}/{name}")  # noqa: PTH110  as above


def locked(folder: str, within_s: float = 0.0) -> int | None:
    """Take the lock of a folder, and hand out its descriptor; None where another holds it all that time."""
    descriptor = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT, 0o600)
    end = _ticks() + within_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if _ticks() >= end:
                os.close(descriptor)
                return None
            time.sleep(0.02)


def _now() -> int:
    return int(time.time())  # noqa: TID251  a process of its own, without the rest of Tightrope


def _ticks() -> float:
    return time.monotonic()  # noqa: TID251  a process of its own, without the rest of Tightrope


# --- the command ---------------------------------------------------------------------------------------------------


class Supervisor:
    """Runs one command to its end."""

    def __init__(self, folder: str, told: dict[str, Any]) -> None:
        self.folder = folder
        self.told = told
        self.why = ""
        self._began_at = 0
        self._child = 0
        self._status: int | None = None
        self._kill_at: float | None = None
        self._stop_asked = False

    def run(self) -> None:
        """Begin the command, follow it, and write down how it ended."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._asked_to_stop)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(ignored, signal.SIG_IGN)
        self._began_at = _now()
        output, refused, go = self._begin()
        _adopt()
        put(
            self.folder,
            "started",
            {
                "pid": os.getpid(),
                "since": start_time(os.getpid()),
                "child": self._child,
                "child_since": start_time(self._child),
                "boot": boot_id(),
                "at": self._began_at,
            },
        )
        log = Log(open(f"{self.folder}/log", "ab", buffering=0), self.told["limits"]["log_bytes"])  # noqa: PTH123, SIM115  as above
        redactor = Redactor(self.told["hide"])
        if _there(self.folder, "stop"):
            self._stop_asked, self.why = True, "stopped before it began"
            os.close(go)
        else:
            os.write(go, b"g")
            os.close(go)
        self._refused(refused)
        self._follow(output, wake, lambda chunk: log.write(redactor.feed(chunk)))
        log.write(redactor.feed(b"", last=True))
        log.close()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        code, signalled = self._ending()
        put(
            self.folder,
            "status",
            {
                "code": code,
                "signal": signalled,
                "why": self.why or self._limit(signalled or (code or 0) - 128),  # as a shell tells of a signal
                "began_at": self._began_at,
                "ended_at": _now(),
                "cpu_ms": round((used.ru_utime + used.ru_stime) * 1000),
                "memory_bytes": used.ru_maxrss * 1024,
                "log_bytes": log.length,
                "left_out": log.left_out,
                "log_failure": log.failure,
            },
            surely=False,  # without it the outcome is unknown, and told to be
        )

    def _begin(self) -> tuple[int, int, int]:
        """Fork; the child waits for a word before it becomes the command. Returns output, refusals, and that word."""
        output, out = os.pipe()
        refused, refusal = os.pipe()
        waits, go = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(go)
            self._become(out, refusal, waits)
        for end in (out, refusal, waits):
            os.close(end)
        return output, refused, go

    def _become(self, out: int, refusal: int, waits: int) -> NoReturn:
        """In the child: become the command, or say why not."""
        stage = "start"
        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(out, 1)
            os.dup2(out, 2)
            if os.read(waits, 1) != b"g":
                os._exit(125)
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT,
                           signal.SIGPIPE, signal.SIGXFSZ):  # fmt: skip
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            os.umask(0o022)
            stage = "folder"
            os.chdir(self.told["cwd"])
            try:  # noqa: SIM105  without another module to import
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            except (OSError, ValueError):
                pass  # who has asked for no limit can do without
            stage = "limit"
            for which, soft, hard in _limits(self.told["limits"]):
                resource.setrlimit(which, (soft, hard))
            stage = "program"
            os.execvpe(self.told["argv"][0], self.told["argv"], self.told["env"])  # noqa: S606  what it is for
        except (OSError, ValueError, MemoryError) as error:
            refused = error.errno if isinstance(error, OSError) else None
            os.write(refusal, f"{stage}\0{refused or 0}\0{error}".encode("utf-8", "replace"))
        finally:
            os._exit(127)

    def _refused(self, refused: int) -> None:
        """Wait until the child has become the command, or hear why it could not."""
        said = b""
        while True:
            piece = os.read(refused, 4096)
            if not piece:
                break
            said += piece
        os.close(refused)
        if not said:
            return
        stage, number, text = said.decode().split("\0", 2)
        program, folder = self.told["argv"][0], self.told["cwd"]
        match stage, int(number):
            case "program", errno.ENOENT:
                self.why = f"there is no program {program!r}"
            case "program", errno.EACCES:
                self.why = f"{program!r} cannot be executed"
            case "program", errno.ENOEXEC:
                self.why = f"{program!r} is no program: it has no first line that names its interpreter"
            case "folder", errno.ENOENT | errno.ENOTDIR:
                self.why = f"there is no folder {folder!r}"
            case _:
                self.why = f"it cannot be started ({stage}): {text}"

    def _follow(self, output: int, wake: int, keep: Callable[[bytes], None]) -> None:
        """Read what is written until the command and all that stems from it is gone."""
        timeout_s = self.told["timeout_s"]
        late = None if timeout_s is None else _ticks() + timeout_s
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(wake, select.POLLIN)
        reading, alone = True, False
        while reading or not alone:
            now = _ticks()
            if self._stop_asked and self._kill_at is None:
                self._stop(self.why or "stopped", now)
            if late is not None and now >= late and self._kill_at is None and self._status is None:
                self._stop("timed out", now)
            if self._kill_at is not None and now >= self._kill_at:
                self._signal(signal.SIGKILL)
                self._kill_at = now + _KILLED_EVERY_S
            waits = [moment - now for moment in (self._kill_at, late if self._status is None else None) if moment]
            # When all processes are gone the last words may still be on their way, but nobody can write any more.
            wait_ms = 0 if alone else None if not waits else max(1, round(min(waits) * 1000))
            ready = {descriptor for descriptor, _ in poll.poll(wait_ms)}
            if wake in ready:
                _drain(wake)
            if output in ready:
                chunk = os.read(output, _CHUNK)
                keep(chunk)
                if not chunk:
                    poll.unregister(output)
                    reading = False
            elif alone:
                return
            alone = self._reap()
            if self._status is not None and not alone and self._kill_at is None:
                self._signal(signal.SIGTERM)  # what the command left behind ends with it
                self._kill_at = _ticks() + _REMAINS_GRACE_S

    def _reap(self) -> bool:
        """Hear of children that ended; whether none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._child:
                self._status = status

    def _stop(self, why: str, now: float) -> None:
        grace_s = self.told["grace_s"]
        if _there(self.folder, "stop"):
            with open(f"{self.folder}/stop", encoding="ascii") as file:  # noqa: PTH123  as above
                grace_s = int(file.read())
        self.why = why
        self._signal(signal.SIGTERM)
        self._kill_at = now + max(0, grace_s)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the group of the command, and to all that stems from it."""
        for send, whom in ((os.killpg, self._child), *((os.kill, pid) for pid in descendants(os.getpid()))):
            try:
                send(whom, number)
            except (ProcessLookupError, PermissionError):
                continue

    def _asked_to_stop(self, _signal: int, _frame: object) -> None:
        self._stop_asked = True

    def _ending(self) -> tuple[int | None, int | None]:
        if self._status is None:
            return None, None
        if os.WIFSIGNALED(self._status):
            return None, os.WTERMSIG(self._status)
        return os.WEXITSTATUS(self._status), None

    def _limit(self, signalled: int) -> str:
        limits = self.told["limits"]
        over = signalled == signal.SIGXCPU and limits["cpu_s"] is not None
        if over or (signalled == signal.SIGKILL and self._used_up(limits["cpu_s"])):
            return f"it used more than {limits['cpu_s']} s of processor time"
        if signalled == signal.SIGXFSZ and limits["file_bytes"] is not None:
            return f"it wrote a file of more than {limits['file_bytes']} bytes"
        return ""

    @staticmethod
    def _used_up(cpu_s: int | None) -> bool:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cpu_s is not None and used.ru_utime + used.ru_stime >= cpu_s


def _limits(limits: dict[str, int | None]) -> Iterator[tuple[int, int, int]]:
    """The limits of the kernel, soft and hard; of memory last, for it may not suffice to set others."""
    if limits["cpu_s"] is not None:
        yield resource.RLIMIT_CPU, limits["cpu_s"], limits["cpu_s"] + 1
    for which, name in (
        (resource.RLIMIT_FSIZE, "file_bytes"),
        (resource.RLIMIT_NPROC, "processes"),
        (resource.RLIMIT_NOFILE, "open_files"),
        (resource.RLIMIT_AS, "memory_bytes"),
    ):
        most = limits[name]
        if most is not None:
            yield which, most, most


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass


# --- where supervisors come from -----------------------------------------------------------------------------------


def nurse() -> None:
    """Begin a supervisor for each order on standard input until that ends, and tell its process id, or 0 for none.

    To fork is quicker than to start an interpreter each time. An order is two numbers of eight digits, then so many
    bytes of the folder's name, and of what to do. The latter is read by the supervisor only: it may hold secrets.
    """
    _libc()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors end unattended
    while True:
        head = _exactly(16)
        folder = None if head is None or not head.isdigit() else _exactly(int(head[:8]))
        if head is None or folder is None:
            return
        heard, hears = os.pipe()
        if os.fork() == 0:
            os.close(heard)
            try:
                _born(os.fsdecode(folder), int(head[8:]), hears)
            except BaseException as error:  # noqa: BLE001  told to a file, for nobody waits
                os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "replace"))
            finally:
                os._exit(1)
        os.close(hears)
        whole = os.read(heard, 1)
        os.close(heard)
        if not whole:
            return  # whoever gave the order was cut short


def _born(folder: str, length: int, hears: int) -> NoReturn:
    """In the child: become the supervisor of one command, unless that began before."""
    os.setsid()
    body = _exactly(length)
    if body is None:
        os._exit(1)
    os.write(hears, b"k")
    os.close(hears)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(os.open(f"{folder}/supervisor.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    free = locked(folder, _LOCKED_WITHIN_S) is not None and not (_there(folder, "started") or _there(folder, "status"))
    os.write(1, b"%d\n" % (os.getpid() if free else 0))
    os.dup2(nothing, 1)
    if free:
        Supervisor(folder, marshal.loads(body)).run()  # noqa: S302  from whoever started us
    os._exit(0)  # all is on the disk; to take an interpreter apart takes time


def _exactly(length: int) -> bytes | None:
    """So many bytes of standard input; None where it ends before."""
    found = b""
    while len(found) < length:
        piece = os.read(0, length - len(found))
        if not piece:
            return None
        found += piece
    return found
