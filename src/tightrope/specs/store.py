"""The door to spec files: files, directories and standard input, read together and checked together."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from tightrope.base.errors import NotFoundError, Place, SpecError, SpecsInvalidError
from tightrope.base.values import dataclass
from tightrope.specs.defaults import policy_of
from tightrope.specs.documents import Document, Library, documents_in, library_of, may_be_ours
from tightrope.specs.lints import lint_condition, lint_slo, lint_unwritten
from tightrope.specs.model import ErrorBudgetPolicy, Slo, Specs
from tightrope.specs.openslo import Reader
from tightrope.specs.policies import (
    error_budget_policies,
    exclusions,
    integrations,
    mapped_services,
    notification_channels,
    silver_bullets,
)
from tightrope.specs.positions import (
    BYTES_MAX,
    ListNode,
    MapNode,
    Node,
    Report,
    ScalarNode,
    canonical,
    clipped,
    plain_value,
    read_documents,
)
from tightrope.specs.shapes import Table
from tightrope.specs.strategies import rollout_strategies

STANDARD_INPUT = "-"
ENDINGS = (".yaml", ".yml", ".json")
_MARK = re.compile(r"---(\s|$)")


@dataclass(frozen=True, slots=True)
class Written:
    """A text of specs: the name that findings call it by, the folder that relative paths start from, and the text."""

    file: str
    folder: str
    text: str


@dataclass(frozen=True, slots=True)
class Shelved:
    """One document as it was written: where it begins, and its own text."""

    kind: str
    name: str
    place: Place
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class WrittenTest:
    """A PolicyTest as it was written: where its name stands, plain YAML values, and what tells the place of each."""

    place: Place
    values: Mapping[str, Any]
    node: MapNode
    lines: Sequence[str]

    def located(self, error: SpecError) -> SpecError:
        """The same finding where its path leads to in the text, or where the field that is missing should be."""
        place = self._place_of(error.path)
        return SpecError(
            error.code,
            error.message,
            place,
            path=error.path,
            severity=error.severity,
            note=error.note,
            remedy=error.remedy,
            source_line=self.lines[place.line - 1] if place.line <= len(self.lines) else "",
        )

    def _place_of(self, path: str) -> Place:
        node: Node | None = self.node
        place = self.place
        for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
            if name and isinstance(node, MapNode):
                key, node = next(((key, value) for key, value in node.entries if key.text == name), (None, None))
                if key is None or node is None:
                    break
                place = _both(key.place, node.place) if isinstance(node, ScalarNode) else key.place
            elif index and isinstance(node, ListNode) and int(index) < len(node.items):
                node = node.items[int(index)]
                place = node.place
            else:
                break
        return place


def _both(key: Place, value: Place) -> Place:
    """A key with its value, as far as they stand on one line."""
    return replace(key, length=value.column + value.length - key.column) if value.line == key.line else key


@dataclass(frozen=True, slots=True)
class Survey:
    """All that was found in some files.

    Attributes:
        specs: The specs; None where there are errors.
        findings: Errors and warnings, by file and line.
        policy_tests: Documents of kind PolicyTest; another room reads them.
        documents: Every document by kind and name, with the text that it was read from.
    """

    specs: Specs | None
    findings: tuple[SpecError, ...]
    policy_tests: tuple[WrittenTest, ...]
    documents: tuple[Shelved, ...] = ()


def load(paths: Sequence[str], *, stdin: str | None = None) -> Specs:
    """Read and check all specs of *paths* together.

    Args:
        paths: Files, directories (``*.yaml``, ``*.yml``, ``*.json`` in them, at any depth, hidden ones left out), or
            ``-`` for *stdin*.
        stdin: The text of standard input.

    Raises:
        NotFoundError: A path does not exist.
        SpecsInvalidError: There are errors; it holds all findings, warnings too, by file and line.
    """
    specs, findings = examine(paths, stdin=stdin)
    if specs is None:
        raise SpecsInvalidError(findings)
    return specs


def examine(paths: Sequence[str], *, stdin: str | None = None) -> tuple[Specs | None, tuple[SpecError, ...]]:
    """As `load`, but hands back the findings; the specs are None when there are errors.

    Raises:
        NotFoundError: A path does not exist.
    """
    shelf = survey(paths, stdin=stdin)
    return shelf.specs, shelf.findings


def survey(
    paths: Sequence[str],
    *,
    stdin: str | None = None,
    texts: Sequence[Written] = (),
    instead: AbstractSet[tuple[str, str]] = frozenset(),
    may_be_empty: bool = False,
) -> Survey:
    """As `examine`, with the policy tests as well.

    Args:
        paths: Files, directories or ``-``, as in `load`.
        stdin: The text of standard input.
        texts: More texts of specs, read after the files.
        instead: Kinds and names of documents that the files are read without: *texts* stand in for them.
        may_be_empty: A directory without a spec is no error: one may still come, or be in *texts*.

    Raises:
        NotFoundError: A path does not exist.
    """
    report = Report()
    documents, files = _read(paths, stdin, report, may_be_empty=may_be_empty)
    if instead:
        documents = tuple(one for one in documents if (one.kind, one.name) not in instead)
    more, names = _documents_of(texts, report)
    documents, files = documents + more, (*files, *names)
    library = library_of(documents, report)
    for document in library.of_kind("SLO"):
        lint_slo(document.spec, report)
        for policy in document.spec.tables("alertPolicies"):
            _lint_alert_policy(policy.get("spec", Table), report)
    for document in library.of_kind("AlertPolicy"):
        _lint_alert_policy(document.spec, report)
    for document in library.of_kind("AlertCondition"):
        lint_condition(document.spec, report)
    reader = Reader(library)
    slos = reader.slos()
    policies = error_budget_policies(library, _read_beside)
    rollouts = rollout_strategies(library)
    pipelines = _pipelines(library)
    services = reader.services()
    _tell_strangers(library, report)
    if not report.unread and all(document.good for document in library.of_kind("ErrorBudgetPolicy")):
        _tell_divided(slos, policies, report)
        for slo in slos:
            lint_unwritten(slo, policy_of(policies, slo.service, slo.policy), report)
    findings = in_order(report.findings)
    tests = tuple(
        WrittenTest(
            document.place, plain_value(document.node), document.node, report.lines.get(document.place.file, [])
        )
        for document in library.of_kind("PolicyTest")
        if document.good
    )
    if any(finding.severity == "error" for finding in findings):
        return Survey(None, findings, tests, _shelved(documents, report))
    calendars = sorted(freeze.calendar for policy in policies for freeze in policy.freezes)
    specs = Specs(
        slos=slos,
        policies=policies,
        exclusions=exclusions(library),
        silver_bullets=silver_bullets(library),
        services=services,
        warnings=findings,
        files=files,
        digest=_digest(documents, calendars),
        channels=notification_channels(library),
        integrations=integrations(library),
        rollouts=rollouts,
        pipelines=pipelines,
        mapped=mapped_services(library),
    )
    return Survey(specs, findings, tests, _shelved(documents, report))


def _pipelines(library: Library) -> tuple[Any, ...]:
    if not library.of_kind("Pipeline"):
        return ()
    from tightrope.specs.stages import pipelines  # most specs have none, and `validate` is quick without

    return pipelines(library)


def _shelved(documents: Sequence[Document], report: Report) -> tuple[Shelved, ...]:
    """The documents with their texts: their part of a file of several, comments and all."""
    return tuple(
        Shelved(one.kind, one.name, one.table.place, _text_around(one, report)) for one in documents if one.name
    )


def _text_around(document: Document, report: Report) -> str:
    place = document.table.place
    lines = report.lines.get(place.file, [])
    marks = [number for number, line in enumerate(lines, 1) if _MARK.match(line)]
    first = max((mark for mark in marks if mark < place.line), default=0)
    last = min((mark for mark in marks if mark > place.line), default=len(lines) + 1)
    return "\n".join(lines[first : last - 1]).strip("\n") + "\n"


# --- files -------------------------------------------------------------------------------------------------------


def _read(
    paths: Sequence[str], stdin: str | None, report: Report, *, may_be_empty: bool
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Read the documents of all paths; also tell which files they came from. A file named twice is read once."""
    texts = (text for path in paths for text in _texts(path, stdin, report, may_be_empty=may_be_empty))
    return _documents_of(texts, report)


def _documents_of(texts: Iterable[Written], report: Report) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    documents: list[Document] = []
    files: list[str] = []
    for text in texts:
        if text.file in files:
            continue
        files.append(text.file)
        unread_before = len(report.unread)
        found = documents_in(read_documents(text.text, text.file, report), text.folder, report)
        told = len(report.unread) > unread_before or any(finding.place.file == text.file for finding in report.findings)
        if not found and not told:
            report.add(
                "TR004",
                f"{text.file} is empty",
                Place(text.file),
                remedy="write a spec into it; `tightrope init` shows one",
            )
        documents += found
    return tuple(documents), tuple(files)


def _texts(path: str, stdin: str | None, report: Report, *, may_be_empty: bool) -> list[Written]:
    if path == STANDARD_INPUT:
        name, given = "<stdin>", stdin or ""
        if len(given.encode("utf-8", "surrogatepass")) > BYTES_MAX:
            report.add(
                "TR006",
                f"standard input has over {BYTES_MAX} bytes, more than a spec may have",
                Place(name),
                remedy="a spec is small; split it, or give the right one",
            )
            report.unread.add(name)
            return []
        return [Written(name, ".", given)]
    file = _tidy(path)
    try:
        os.stat(file)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "the path holds a zero byte"
        raise NotFoundError(
            f"{clipped(path, 200)!r} cannot be found: {said}",
            remedy="check the path; `tightrope init` writes a first spec",
        ) from None
    if os.path.isdir(file):
        return _texts_below(file, report, may_be_empty=may_be_empty)
    text = _text_of(file, report)
    return [] if text is None else [Written(file, _folder_of(file), text)]


def _tidy(path: str) -> str:
    """The path without doubled slashes and dots that say nothing, so that a file has one name; `..` stays."""
    root = "/" if path.startswith("/") else ""
    return root + "/".join(part for part in path.split("/") if part not in {"", "."}) or "."


def _folder_of(file: str) -> str:
    return os.path.dirname(file) or "."


def _texts_below(directory: str, report: Report, *, may_be_empty: bool) -> list[Written]:
    """The spec files of a directory, sorted; foreign files are passed over, and told in one warning."""
    found: list[Written] = []
    skipped: list[str] = []
    refused = report.errors()
    for file in sorted(_files_below(directory, report), key=lambda file: file.split("/")):
        text = _text_of(file, report, ours_only=True)
        if text is not None and may_be_ours(text):
            found.append(Written(file, _folder_of(file), text))
        elif text is not None:
            skipped.append(os.path.basename(file))
    if skipped:
        shown = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
        said = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
        report.add(
            "TR041",
            f"no spec in {said} of {directory}, passed over: {shown}",
            Place(directory),
            remedy="nothing to do, unless one of them should be a spec: then it needs an apiVersion",
        )
    if not found and not may_be_empty and report.errors() == refused:
        report.add(
            "TR004",
            f"the directory {directory} holds no spec",
            Place(directory),
            remedy="specs end in .yaml, .yml or .json; `tightrope init` writes a first one",
        )
    return found


def _files_below(directory: str, report: Report) -> Iterator[str]:
    """Files that may be specs, at any depth. Hidden ones are left out, and links to directories are not followed."""

    def tell(error: OSError) -> None:
        _tell_closed(str(error.filename), error, report)

    for folder, folders, names in os.walk(directory, onerror=tell):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                yield _tidy(os.path.join(folder, name))


def _text_of(file: str, report: Report, *, ours_only: bool = False) -> str | None:
    """The text of a file; None after a finding. With *ours_only*, files that are not ours are not judged."""
    place = Place(file)
    try:
        content = _content(file)
    except _TooLargeError as error:
        if ours_only and not may_be_ours(error.head.decode("utf-8", "replace")):
            return ""
        report.add("TR006", f"{file} {error}", place, remedy="a spec is small; split the file, or give the right one")
    except OSError as error:
        _tell_closed(file, error, report)
    else:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if ours_only and not may_be_ours(content.decode("utf-8", "replace")):
                return ""
            line = content.count(b"\n", 0, error.start) + 1
            column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
            wide = content[:2] in {b"\xff\xfe", b"\xfe\xff"}
            report.add(
                "TR005",
                f"{file} is UTF-16" if wide else f"the byte 0x{content[error.start]:02x} is not UTF-8",
                Place(file, line, column),
                remedy="save the file as UTF-8",
            )
    report.unread.add(file)
    return None


def _tell_closed(file: str, error: OSError, report: Report) -> None:
    said = error.strerror or str(error)
    report.add("TR009", f"{file} cannot be opened: {said}", Place(file), remedy="check its permissions")
    report.unread.add(file)


class _TooLargeError(Exception):
    """The file is larger than any spec; ``head`` is its beginning."""

    def __init__(self, size: int, head: bytes) -> None:
        super().__init__(f"has {size} bytes, and a spec at most {BYTES_MAX}")
        self.head = head


def _content(file: str) -> bytes:
    """The bytes of a regular file; `OSError` where it cannot be had, and no waiting at a pipe."""
    status = os.stat(file)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is no regular file")
    with open(file, "rb") as opened:
        content = opened.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise _TooLargeError(status.st_size, content)
    return content


def _read_beside(folder: str, name: str) -> str:
    """The text of a file beside a spec; `OSError` or `ValueError` in words where it cannot be had."""
    try:
        return _content(os.path.join(folder, name)).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except _TooLargeError as error:
        raise ValueError(f"it {error}") from None


# --- what is seen only when all is read ---------------------------------------------------------------------------


def _lint_alert_policy(spec: Table | None, report: Report) -> None:
    for condition in spec.tables("conditions") if spec else ():
        inline = condition.get("spec", Table)
        if inline is not None:
            lint_condition(inline, report)


def _tell_strangers(library: Library, report: Report) -> None:
    """Warn of names that nothing else here knows: a service without its document, an exclusion of nothing."""
    documented = {document.name for document in library.of_kind("Service")}
    promised = {document.spec.text("service") for document in library.of_kind("SLO")}
    names = {document.name for document in library.of_kind("SLO")}
    for document in library.of_kind("SLO"):
        service = document.spec.text("service")
        if documented and service and service not in documented:
            _warn_stranger(
                f"service {service!r} has no Service document, though others have", document.spec, "service", report
            )
    if not promised or report.unread:
        return
    for document in library.of_kind("Exclusion", "ErrorBudgetPolicy", "NotificationChannel"):
        for service in document.spec.texts("services"):
            if service not in promised:
                _warn_stranger(f"no SLO here is on a service {service!r}", document.spec, "services", report)
        for name in document.spec.texts("slos"):
            if name not in names:
                _warn_stranger(f"no SLO here is called {name!r}", document.spec, "slos", report)
    for document in library.of_kind("Integration"):
        for table in document.spec.tables("map"):
            service = table.text("service")
            if service and service not in promised | documented:
                _warn_stranger(f"nothing here is a service called {service!r}", table, "service", report)
    for document in library.of_kind("SilverBullet"):
        if document.spec.text("service") not in promised:
            _warn_stranger(
                f"no SLO here is on a service {document.spec.text('service')!r}", document.spec, "service", report
            )


def _tell_divided(slos: Sequence[Slo], policies: Sequence[ErrorBudgetPolicy], report: Report) -> None:
    """Refuse SLOs of one service that follow different policies: the gate has one answer for a service."""
    first: dict[str, tuple[Slo, str]] = {}
    for slo in slos:
        followed = policy_of(policies, slo.service, slo.policy).name
        other, before = first.setdefault(slo.service, (slo, followed))
        if followed != before:
            report.add(
                "TR042",
                f"{slo.name} follows policy {followed}, but {other.name} ({other.place}) of the same service "
                f"{slo.service} follows {before}",
                slo.place,
                path="metadata.annotations.tightrope.dev/policy" if slo.policy else "spec.service",
                remedy=f"list {slo.service} in the services of one policy, or name it in tightrope.dev/policy of both",
            )


def _warn_stranger(message: str, spec: Table, name: str, report: Report) -> None:
    report.add(
        "TR039", message, spec.at(name), path=spec.path(name), remedy="check the spelling, or add what is missing"
    )


def in_order(findings: Iterable[SpecError]) -> tuple[SpecError, ...]:
    """Findings by file, line and column; one that several references lead to is told once."""
    unique = {(finding.code, finding.place, finding.message): finding for finding in findings}
    return tuple(
        sorted(
            unique.values(),
            key=lambda finding: (finding.place.file, finding.place.line, finding.place.column, finding.code),
        )
    )


def _digest(documents: Iterable[Document], calendars: Iterable[str]) -> str:
    """SHA-256 of what the documents say: the same whatever files, order, comments or layout they come in."""
    parts = [
        json.dumps(canonical(document.node), sort_keys=True) for document in documents if document.kind != "PolicyTest"
    ]
    return hashlib.sha256(json.dumps([sorted(parts), list(calendars)]).encode()).hexdigest()
