"""Labels: incidents and deployments that are known to have happened, read from CSV."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

from tightrope.base.errors import DataError, NotFoundError, UsageError
from tightrope.base.units import parse_time
from tightrope.base.values import dataclass
from tightrope.engine.plan import Incident
from tightrope.policy.change_kinds import kind_of_change
from tightrope.specs.model import ChangeKind

_OPEN_END = 2**62


@dataclass(frozen=True, slots=True)
class Deployment:
    """A change that went live: when, on which service, of which kind (the name of a `ChangeKind`)."""

    at: int
    service: str
    kind: str = ChangeKind.FEATURE.value
    change: str = ""
    environment: str = "production"


def read_incidents(path: str) -> tuple[Incident, ...]:
    """Read labelled incidents from a CSV with ``start`` and ``end``, and if there ``service severity cause id``.

    Times are ISO 8601 or epoch seconds; an empty ``end`` means still open; an empty ``service`` means all.

    Raises:
        NotFoundError: No such file.
        DataError: A column is missing or a row cannot be read; the message names the line.
    """
    found = []
    for line, row in _rows(path, ("start", "end")):
        start = _time(path, line, "start", row["start"])
        end = _time(path, line, "end", row["end"]) if row["end"].strip() else _OPEN_END
        if end < start:
            raise DataError(f"{path}:{line}: the incident ends ({row['end']}) before it starts ({row['start']})")
        found.append(
            Incident(start, end, *(row.get(name, "").strip() for name in ("severity", "cause", "id", "service")))
        )
    return tuple(sorted(found, key=lambda one: one.start))


def read_deployments(path: str) -> tuple[Deployment, ...]:
    """Read deployments from a CSV with ``time`` and ``service``, and if there ``kind change environment``.

    A kind is one of `ChangeKind`, or a word that labels and commits have for one, such as ``fix`` or ``revert``, in any
    case; an empty one is a feature.

    Raises:
        NotFoundError: No such file.
        DataError: A column is missing or a row cannot be read; the message names the line.
    """
    found = []
    for line, row in _rows(path, ("time", "service")):
        if not row["service"].strip():
            raise DataError(f"{path}:{line}: the deployment is of no service", remedy="name it in the column service")
        found.append(
            Deployment(
                _time(path, line, "time", row["time"]),
                row["service"].strip(),
                _kind(path, line, row.get("kind", "").strip()).value,
                row.get("change", "").strip(),
                row.get("environment", "").strip() or "production",
            )
        )
    return tuple(sorted(found, key=lambda one: one.at))


def _time(path: str, line: int, column: str, text: str) -> int:
    try:
        return parse_time(text)
    except UsageError as error:
        raise DataError(f"{path}:{line}: column {column}: {error.message}", remedy=error.remedy) from None


def _kind(path: str, line: int, text: str) -> ChangeKind:
    if not text:
        return ChangeKind.FEATURE
    # The word as a label, or else as the type of a commit.
    found = kind_of_change(f"{text}: a deployment", [text])
    if found.source.startswith("default"):
        raise DataError(
            f"{path}:{line}: column kind: {text!r} is no kind of change",
            remedy=f"write one of {', '.join(ChangeKind)}, or a type of commit such as fix or chore; empty: feature",
        )
    return found.kind


def _rows(path: str, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    file = Path(path)
    if not file.is_file():
        raise NotFoundError(f"{path}: no such file", remedy="give a CSV file with a header row")
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restval="")
            columns = reader.fieldnames or []
            missing = [name for name in needed if name not in columns]
            if missing:
                raise DataError(
                    f"{path}:1: no column {' and no column '.join(missing)}; "
                    f"the columns are {', '.join(columns) or 'none'}",
                    remedy=f"name them {', '.join(needed)} in the header row",
                )
            for row in reader:
                yield reader.line_num, {key: value or "" for key, value in row.items() if key is not None}
    except (UnicodeDecodeError, gzip.BadGzipFile, csv.Error, EOFError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from None
