"""Everything that can go wrong, as one tree.

TightropeError                 something a person can mend; has a message and a remedy
├── UsageError                 the command or request itself is wrong            (exit 2, 400)
├── SpecError                  one finding in a spec file, with its place
├── SpecsInvalidError          all findings of a set of specs at once            (exit 2, 422)
├── NotFoundError              no such service, SLO, file                        (exit 2, 404)
├── UnauthorizedError          nobody knows who asks                             (exit 2, 401)
├── ForbiddenError             who asks may not do this                          (exit 2, 403)
├── ConflictError              it was changed meanwhile, or is there already     (exit 2, 409 or 412)
├── TooLargeError              more than is taken at once                        (exit 2, 413)
├── BusyError                  too much is waiting; try again later              (exit 2, 429)
├── DataError                  telemetry was read, but it cannot be true         (exit 2, 422)
├── SourceError                a telemetry source refused, or answered nonsense  (exit 2, 502)
│   └── SourceUnreachableError a telemetry source could not be reached           (exit 2, gate 5, 503)
└── StoreError                 our own store can't be opened, read or written    (exit 2, gate 5, 503)
"""

from __future__ import annotations

from tightrope.base.values import dataclass


class TightropeError(Exception):
    """A problem that a person can mend: what is wrong, and how to mend it."""

    exit_code = 2

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(TightropeError):
    """The command or request is wrong in itself."""


class NotFoundError(TightropeError):
    """What was asked for does not exist."""


class UnauthorizedError(TightropeError):
    """Nobody knows who asks: no token, a wrong one, or one that has expired."""


class ForbiddenError(TightropeError):
    """Who asks is known, and may not do this."""


class ConflictError(TightropeError):
    """What was to be changed is not what it was taken to be; *precondition* tells whether the asker had named it."""

    def __init__(self, message: str, *, remedy: str = "", precondition: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.precondition = precondition


class TooLargeError(TightropeError):
    """More than is taken at once."""


class BusyError(TightropeError):
    """Too much is waiting already; nothing of this was taken. Worth another try after ``retry_after_s`` seconds."""

    def __init__(self, message: str, *, retry_after_s: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class DataError(TightropeError):
    """Telemetry was read, but cannot be true: good above total, negative counts, time running backwards."""


class SourceError(TightropeError):
    """A telemetry source refused the question, or its answer makes no sense."""


class SourceUnreachableError(SourceError):
    """A telemetry source could not be reached at all; the gate answers this with exit code 5."""


class StoreError(TightropeError):
    """The store of decisions and events can't be opened, read or written; the gate answers this with exit code 5."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file: lines and columns count from 1; ``length`` characters are meant."""

    file: str
    line: int = 1
    column: int = 1
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class SpecError(TightropeError):
    """One finding in a spec file.

    Attributes:
        code: Stable id of the rule, such as ``TR012``; ``tightrope explain TR012`` tells more.
        place: File, line and column of the offending text.
        path: Where it stands in the document, such as ``spec.objectives[0].target``.
        severity: ``error`` or ``warning``.
        note: What stands next to the caret, short.
        source_line: The text of that line, for the excerpt.
    """

    def __init__(
        self,
        code: str,
        message: str,
        place: Place,
        *,
        path: str = "",
        severity: str = "error",
        note: str = "",
        remedy: str = "",
        source_line: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        self.place = place
        self.path = path
        self.severity = severity
        self.note = note
        self.source_line = source_line


class SpecsInvalidError(TightropeError):
    """A set of specs has errors; all of them are here, in the order of files and lines."""

    def __init__(self, findings: tuple[SpecError, ...]) -> None:
        count = sum(1 for finding in findings if finding.severity == "error")
        super().__init__(f"{count} error{'s' if count != 1 else ''} in the specs")
        self.findings = findings
