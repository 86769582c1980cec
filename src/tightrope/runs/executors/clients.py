"""Command-line clients of container engines and clusters: asked, and understood where they refuse."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from tightrope.base.values import dataclass
from tightrope.runs.commands import LogPart
from tightrope.runs.executors.local import PATH, spellings
from tightrope.runs.executors.supervisor import Redactor
from tightrope.runs.steps import ExecutorError

PATIENCE_S = 30
"""For how long a client may take to answer."""

_UNFIT = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Said:
    """How a client ended, and what it said."""

    code: int
    output: bytes
    complaint: str


def name_of(key: str, prefix: str = "tightrope") -> str:
    """The name of what runs under a key: always the same, good as a DNS label, at most 63 characters."""
    plain = _UNFIT.sub("-", key.lower()).strip("-")[:30].strip("-")
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return "-".join(part for part in (prefix, plain, digest) if part)


def ask(
    argv: Sequence[str], *, told: bytes = b"", variables: Mapping[str, str] | None = None, merged: bool = False
) -> Said:
    """Run a client to its end; with *merged* what it complains of is part of its output.

    Raises:
        ExecutorError: There is no such program, or it did not end in time.
    """
    try:
        done = subprocess.run(  # noqa: S603  a client that the operator named
            list(argv),
            input=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            env={"PATH": PATH, **(variables or {})},
            timeout=PATIENCE_S,
            check=False,
        )
    except FileNotFoundError:
        raise ExecutorError(f"there is no program {argv[0]!r}", remedy="install it, or name another") from None
    except OSError as error:
        raise ExecutorError(f"{argv[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ExecutorError(f"{argv[0]} {argv[1]} did not answer within {PATIENCE_S} s") from None
    return Said(done.returncode, done.stdout, (done.stderr or b"").decode(errors="replace").strip())


def must(said: Said, what: str) -> bytes:
    """The output of a client that did what it was asked; raises `ExecutorError` with its complaint."""
    if said.code != 0:
        complaint = said.complaint.splitlines()[-1] if said.complaint else f"status {said.code}"
        raise ExecutorError(f"{what}: {complaint}")
    return said.output


def without_secrets(whole: bytes, secrets: Iterable[str], offset: int, limit: int, *, ended: bool) -> LogPart:
    """A stretch of a log that others keep, without secrets: they know none, so all of it is read from the beginning."""
    redactor = Redactor({one for secret in secrets for one in spellings(secret)})
    clean = redactor.feed(whole, last=ended)
    data = clean[offset : offset + limit]
    return LogPart(offset, data, ended and offset + len(data) >= len(clean))
