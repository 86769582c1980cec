"""The specs that a server follows: files of a directory and documents that were applied, read and checked together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from tightrope.base.errors import ConflictError, NotFoundError, Place, SpecError, SpecsInvalidError, UsageError
from tightrope.base.values import dataclass
from tightrope.specs.model import Specs
from tightrope.specs.store import ENDINGS, Survey, Written, survey
from tightrope.state.database import Database
from tightrope.state.documents import Kept, etag_of, hold_in, keep_in, newest, versions
from tightrope.state.journal import Event, Journal

SOURCE = "/tightrope/specs"
APPLIED, WITHDRAWN = "dev.tightrope.specs.applied.v1", "dev.tightrope.specs.withdrawn.v1"

_TRIES = 20
"""How often a change is judged anew because somebody else was quicker."""

Exam = tuple[Specs | None, tuple[SpecError, ...]]
Judge = Callable[[Survey], Exam]
"""Checks what takes more than reading, such as calendars and expressions."""


@dataclass(frozen=True, slots=True)
class SpecDocument:
    """One document as the server has it.

    Attributes:
        kind, name: Which one.
        source: ``file:PATH`` or ``applied``.
        version: Counts from 1 with every application; 1 for a file.
        etag: Names this text; to be given back when it is changed.
        text: Its YAML.
        place: Where it stands.
        at, actor: When it was applied, and by whom; 0 and empty for a file.
    """

    kind: str
    name: str
    source: str
    version: int
    etag: str
    text: str
    place: Place
    at: int = 0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an application changed, or would: ``(kind, name, created | updated | unchanged | withdrawn)``."""

    findings: tuple[SpecError, ...]
    changed: tuple[tuple[str, str, str], ...]
    digest: str
    specs: Specs | None = None


class Shelf:
    """All specs of a server.

    Args:
        database: Where applied documents are kept.
        paths: Files and directories that are followed.
        judge: Checks what takes more than reading.
        folder: Where relative paths in applied documents start.
    """

    def __init__(self, database: Database, paths: Sequence[str], judge: Judge, *, folder: str = ".") -> None:
        self._database = database
        self._paths = tuple(paths)
        self._judge = judge
        self._folder = folder
        self._had_files = False

    def look(self) -> object:
        """A value that changes when the files or the applied documents do."""
        seen: list[Any] = []
        for path in self._paths:
            if Path(path).is_dir():
                for folder, folders, names in os.walk(path):
                    folders[:] = [name for name in folders if not name.startswith(".")]
                    seen += [_glance(Path(folder, name)) for name in sorted(names) if not name.startswith(".")]
            else:
                seen.append(_glance(Path(path)))
        with self._database.reading() as connection:
            seen += [(one.kind, one.name, one.version) for one in newest(connection)]
        return seen

    def examine(self) -> Exam:
        """Read and check everything; None instead of specs where there are errors."""
        return self._judge(self._survey(_standing(self._newest())))

    def documents(self) -> list[SpecDocument]:
        """Every document, by kind and name."""
        return self._documents(_standing(self._newest()))

    def document(self, kind: str, name: str) -> SpecDocument:
        """One document; raises `NotFoundError`."""
        return self._document(kind, name, _standing(self._newest()))

    def versions(self, kind: str, name: str) -> list[Kept]:
        """Every version of an applied document, newest first."""
        with self._database.reading() as connection:
            return versions(connection, kind, name)

    def candidate(self, text: str) -> tuple[Exam, tuple[SpecDocument, ...]]:
        """The specs as they would be with *text* in the place of documents of the same names; nothing is kept."""
        return self._candidate(text, _standing(self._newest()))

    def apply(self, text: str, *, actor: str, now: int, if_match: str | None = None, dry_run: bool = False) -> Applied:
        """Take documents over, all or none, judged together with everything that is there at that moment.

        Args:
            text: One or several YAML documents, or JSON.
            actor: Who applies them.
            now: The present, UTC epoch seconds.
            if_match: The etag that the one document has until now; ``*``: it must exist; empty: none of them may.
            dry_run: Only tell what would happen.

        Raises:
            SpecsInvalidError: Something is wrong with them, or with what they mean for others.
            ConflictError: A document stands in a file, or is another one than *if_match* says; or others change
                documents without end.
            UsageError: There is no document in *text*, or several where *if_match* can mean only one.
        """
        for _ in range(_TRIES):
            seen = self._newest()
            (specs, findings), given = self._candidate(text, _standing(seen))
            if not given and not any(one.severity == "error" for one in findings):
                raise UsageError("there is no spec in what was sent", remedy="send OpenSLO or tightrope.dev documents")
            if specs is None:
                raise SpecsInvalidError(findings)
            if if_match and len(given) != 1:
                raise UsageError(f"If-Match goes with one document, not with {len(given)}", remedy="send one at a time")
            kept, changed = self._changes(given, seen, actor, now, if_match)
            if not kept or dry_run or self._kept(kept, seen, APPLIED):
                return Applied(findings, tuple(changed), specs.digest, specs)
        raise _never_settled()

    def withdraw(self, kind: str, name: str, *, actor: str, now: int, if_match: str | None = None) -> Applied:
        """Let an applied document count no more; raises as `apply`, and `NotFoundError`."""
        for _ in range(_TRIES):
            seen = self._newest()
            standing = self._document(kind, name, _standing(seen))
            if standing.source != "applied":
                raise ConflictError(f"{kind} {name} stands in {standing.place}", remedy="remove it there")
            _hold(standing, standing, if_match)
            rest = [one for one in _standing(seen) if (one.kind, one.name) != (kind, name)]
            specs, findings = self._judge(self._survey(rest))
            if specs is None:
                raise SpecsInvalidError(findings)
            gone = Kept(kind, name, standing.version + 1, standing.text, standing.etag, now, actor, withdrawn=True)
            if self._kept([gone], seen, WITHDRAWN):
                return Applied(findings, ((kind, name, "withdrawn"),), specs.digest, specs)
        raise _never_settled()

    def _changes(
        self, given: Sequence[SpecDocument], seen: Sequence[Kept], actor: str, now: int, if_match: str | None
    ) -> tuple[list[Kept], list[tuple[str, str, str]]]:
        """The versions that *given* adds to what was *seen*, and what becomes of each document."""
        there = {(one.kind, one.name): one for one in self._documents(_standing(seen))}
        latest = {(one.kind, one.name): one for one in seen}
        kept, changed = [], []
        for one in given:
            key = (one.kind, one.name)
            standing = there.get(key)
            if standing is not None and standing.source != "applied":
                if standing.text == one.text:
                    changed.append((*key, "unchanged"))
                    continue
                raise ConflictError(
                    f"{one.kind} {one.name} stands in {standing.place}", remedy="edit it there, or rename this one"
                )
            last = latest.get(key)
            current = last if last is not None and not last.withdrawn else None
            _hold(one, current, if_match)
            if current is not None and current.etag == one.etag:
                changed.append((*key, "unchanged"))
                continue
            version = 1 if last is None else last.version + 1
            kept.append(Kept(one.kind, one.name, version, one.text, one.etag, now, actor))
            changed.append((*key, "created" if current is None else "updated"))
        return kept, changed

    def _kept(self, documents: Sequence[Kept], seen: Sequence[Kept], what: str) -> bool:
        """Keep versions if everything is still as it was *seen* when they were judged; tell whether it was."""
        with self._database.writing() as connection:
            hold_in(connection)
            if newest(connection) != list(seen):
                return False
            keep_in(connection, documents)
            Journal(self._database).append_in(connection, [_event(one, what) for one in documents])
        return True

    def _candidate(self, text: str, applied: Sequence[Kept]) -> tuple[Exam, tuple[SpecDocument, ...]]:
        given = self._given(text)
        names = {(one.kind, one.name) for one in given}
        others = [one for one in applied if (one.kind, one.name) not in names]
        texts = [*map(self._written, others), Written("<given>", self._folder, text)]
        return self._judge(self._surveyed(texts, names)), given

    def _document(self, kind: str, name: str, applied: Sequence[Kept]) -> SpecDocument:
        found = next((one for one in self._documents(applied) if (one.kind, one.name) == (kind, name)), None)
        if found is None:
            raise NotFoundError(f"there is no {kind} called {name!r}", remedy="GET /api/v1/specs lists what there is")
        return found

    def _newest(self) -> list[Kept]:
        with self._database.reading() as connection:
            return newest(connection)

    def _written(self, one: Kept) -> Written:
        return Written(f"applied/{one.kind}/{one.name}.yaml", self._folder, one.text)

    def _survey(self, applied: Sequence[Kept]) -> Survey:
        return self._surveyed([self._written(one) for one in applied], frozenset())

    def _surveyed(self, texts: Sequence[Written], instead: AbstractSet[tuple[str, str]]) -> Survey:
        """Read the paths and some texts.

        A directory may be empty as long as it always was. One that has become so is more probably a volume that is
        gone than an edit.
        """
        found = survey(self._paths, texts=texts, instead=instead, may_be_empty=not self._had_files)
        if any(not one.place.file.startswith(("applied/", "<")) for one in found.documents):
            self._had_files = True
        return found

    def _given(self, text: str) -> tuple[SpecDocument, ...]:
        found = survey((), texts=[Written("<given>", self._folder, text)])
        return tuple(
            SpecDocument(one.kind, one.name, "given", 1, etag_of(one.text), one.text, one.place)
            for one in found.documents
        )

    def _documents(self, applied: Sequence[Kept]) -> list[SpecDocument]:
        by_name = {(one.kind, one.name): one for one in applied}
        found = []
        for one in self._survey(applied).documents:
            kept = by_name.get((one.kind, one.name)) if one.place.file.startswith("applied/") else None
            if kept is None:
                source = f"file:{one.place.file}"
                found.append(SpecDocument(one.kind, one.name, source, 1, etag_of(one.text), one.text, one.place))
            else:
                found.append(
                    SpecDocument(
                        one.kind,
                        one.name,
                        "applied",
                        kept.version,
                        kept.etag,
                        kept.text,
                        one.place,
                        kept.at,
                        kept.actor,
                    )
                )
        return sorted(found, key=lambda one: (one.kind, one.name))


def _standing(applied: Sequence[Kept]) -> list[Kept]:
    """The documents that count, of the newest versions of all."""
    return [one for one in applied if not one.withdrawn]


def _never_settled() -> ConflictError:
    return ConflictError("others change documents again and again", remedy="try again in a moment")


def _hold(one: SpecDocument, current: SpecDocument | Kept | None, if_match: str | None) -> None:
    if if_match is None or (current is not None and not if_match and current.etag == one.etag):
        return
    if not if_match:
        if current is not None:
            raise ConflictError(
                f"there is a {one.kind} called {one.name} already", remedy="change that one", precondition=True
            )
        return
    wanted = if_match.strip().removeprefix("W/").strip('"')
    if current is None or wanted not in {"*", current.etag}:
        raise ConflictError(
            f"{one.kind} {one.name} is another one by now" if current else f"{one.kind} {one.name} does not exist yet",
            remedy="read it anew, and change what is there now",
            precondition=True,
        )


def _event(one: Kept, kind: str) -> Event:
    data = {"kind": one.kind, "name": one.name, "version": one.version, "etag": one.etag, "actor": one.actor}
    return Event(f"{one.kind}.{one.name}.{one.version}", SOURCE, kind, f"{one.kind}/{one.name}", one.at, data)


def _glance(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), status.st_mtime_ns, status.st_size if path.name.lower().endswith((*ENDINGS, ".ics")) else 0
