"""Documents: told apart by apiVersion and kind, checked against their tables, found by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from tightrope.base.errors import Place
from tightrope.base.values import dataclass, field
from tightrope.specs.kinds import ANNOTATED, KINDS, OPENSLO, PREFIX, TIGHTROPE
from tightrope.specs.positions import ListNode, MapNode, Node, Report, ScalarNode, clipped, described, is_text
from tightrope.specs.shapes import Spot, Table, nearest

_OURS_TEXT = re.compile(r"""apiVersion["']?\s*:\s*["']?(openslo|tightrope\.dev)""", re.IGNORECASE)

# Kinds that are referred to by the same field share their names.
_NAMESPACES = {"MultiWindowAlertPolicy": "AlertPolicy"}


@dataclass(frozen=True, slots=True)
class Document:
    """One document whose kind is known. ``good`` is False when it has errors; its name is known all the same."""

    kind: str
    name: str
    table: Table
    node: MapNode
    folder: str
    good: bool

    @property
    def place(self) -> Place:
        """Where its name stands."""
        metadata = self.table.get("metadata", Table)
        return metadata.at("name") if metadata else self.table.place

    @property
    def metadata(self) -> Table:
        """Its metadata; empty where they are missing."""
        return self.table.get("metadata", Table) or Table(self.table.spot, self.table.place)

    @property
    def spec(self) -> Table:
        """Its spec; empty where it is missing."""
        return self.table.get("spec", Table) or Table(self.table.spot, self.table.place)


@dataclass(slots=True)
class Library:
    """All documents that were read together, by kind and name; the first of a name wins."""

    documents: tuple[Document, ...]
    report: Report
    by_name: dict[tuple[str, str], Document] = field(default_factory=dict)

    def find(self, kind: str, name: str, place: Place, path: str) -> Document | None:
        """Find the document that a reference means; a finding and None where there is none.

        Nothing is said while some file could not be read: the missing document may well be in it.
        """
        document = self.by_name.get((kind, name))
        if document is None and not self.report.unread:
            close = nearest(name, (known for group, known in self.by_name if group == kind))
            self.report.add(
                "TR026",
                f"there is no {kind} called {clipped(name)!r} in these files",
                place,
                path=path,
                note=f"did you mean {close}?" if close else "",
                remedy=f"write {close}" if close else f"add the {kind}, or give its file as well",
            )
        return document

    def of_kind(self, *kinds: str) -> tuple[Document, ...]:
        """All documents of some kinds, in the order of files."""
        return tuple(document for document in self.documents if document.kind in kinds)


def may_be_ours(text: str) -> bool:
    """Tell whether a file holds any document of ours, by a glance at its text."""
    return _OURS_TEXT.search(text) is not None


def documents_in(roots: Iterable[Node], folder: str, report: Report) -> tuple[Document, ...]:
    """Check the documents of one file; a root that is a list holds several."""
    found: list[Document] = []
    for root in roots:
        items = root.items if isinstance(root, ListNode) else (root,)
        for node in items:
            document = _document(node, folder, report)
            if document is not None:
                found.append(document)
    return tuple(found)


def library_of(documents: Iterable[Document], report: Report) -> Library:
    """Shelve documents by kind and name; two of the same name are a finding that names both places."""
    library = Library(tuple(documents), report)
    for document in library.documents:
        if not document.name:
            continue
        key = (_NAMESPACES.get(document.kind, document.kind), document.name)
        first = library.by_name.setdefault(key, document)
        if first is not document:
            report.add(
                "TR027",
                f"a second {document.kind} is called {document.name}; the first is at {first.place}",
                document.place,
                path="metadata.name",
                note="taken",
                remedy="rename one of the two, or remove it",
            )
    return library


def _document(node: Node, folder: str, report: Report) -> Document | None:
    if not isinstance(node, MapNode):
        report.add(
            "TR008",
            f"a document should be a mapping with apiVersion and kind, not {described(node)}",
            node.place,
            remedy="begin with `apiVersion: openslo/v1`",
        )
        return None
    record = _record_for(node, report)
    if record is None:
        return None
    errors_before = report.errors()
    node = _headed(node, *record)
    table = KINDS[record[0]][record[1]].read(node, Spot("", node.place), report)
    if table is None:
        return None
    metadata = table.get("metadata", Table)
    _check_annotations(metadata, record[1], report)
    name = metadata.text("name") if metadata else ""
    return Document(record[1], name, table, node, folder, report.errors() == errors_before)


def _record_for(node: MapNode, report: Report) -> tuple[str, str] | None:
    """Find the apiVersion and kind of a document, or say why they cannot be."""
    version_node, kind_node = node.get("apiVersion"), node.get("kind")
    version = version_node.text if isinstance(version_node, ScalarNode) else ""
    kind = kind_node.text if isinstance(kind_node, ScalarNode) else ""
    place = version_node.place if isinstance(version_node, ScalarNode) else node.place
    if version not in KINDS:
        if version.startswith("openslo"):
            report.add(
                "TR029",
                f"OpenSLO {clipped(version)} is not supported yet; {OPENSLO} is",
                place,
                path="apiVersion",
                note=f"only {OPENSLO}",
                remedy=f"rewrite the document for `apiVersion: {OPENSLO}`",
            )
        elif version.startswith(PREFIX):
            report.add(
                "TR010",
                f"there is no apiVersion {clipped(version)!r}",
                place,
                path="apiVersion",
                note=f"did you mean {TIGHTROPE}?",
                remedy=f"write {TIGHTROPE}",
            )
        else:
            said = f"has the apiVersion {clipped(version)!r}" if version else "has no apiVersion"
            report.add(
                "TR008",
                f"this document {said}, so it is no spec of ours",
                place,
                path="apiVersion",
                remedy=f"write `apiVersion: {OPENSLO}` or `apiVersion: {TIGHTROPE}`, or leave the file out",
            )
        return None
    if kind not in KINDS[version]:
        other = next((known for known, kinds in KINDS.items() if kind in kinds), "")
        close = nearest(kind, KINDS[version])
        place = kind_node.place if isinstance(kind_node, ScalarNode) else place
        report.add(
            "TR010",
            f"{version} has no kind {clipped(kind)!r}" if kind else "the document has no kind",
            place,
            path="kind",
            note=f"a kind of {other}" if other else f"did you mean {close}?" if close else "",
            remedy=f"write `apiVersion: {other}`" if other else f"write one of {', '.join(KINDS[version])}",
        )
        # Where it is clear what is meant, the rest is read as that, so that all errors come at once.
        if other:
            return other, kind
        return (version, close) if close.lower() == kind.lower() and close else None
    return version, kind


def _headed(node: MapNode, version: str, kind: str) -> MapNode:
    """The document with the apiVersion and kind that it is read as."""
    head = {"apiVersion": version, "kind": kind}
    entries = tuple(
        (key, replace(value, text=head[key.text]) if key.text in head and isinstance(value, ScalarNode) else value)
        for key, value in node.entries
    )
    return MapNode(entries, node.place)


def _check_annotations(metadata: Table | None, kind: str, report: Report) -> None:
    """Refuse annotations under our prefix that nobody reads: unknown ones, and any on a kind that has none."""
    node = metadata.nodes.get("annotations") if metadata else None
    if metadata is None or not isinstance(node, MapNode):
        return
    for key, value in node.entries:
        if not key.text.startswith(PREFIX):
            continue
        name = key.text.removeprefix(PREFIX)
        path = f"{metadata.path('annotations')}.{clipped(key.text)}"
        known = ANNOTATED.get(kind, {})
        if not known or (name not in known and any(name in others for others in ANNOTATED.values())):
            owner = next((other for other, names in ANNOTATED.items() if name in names), "SLO")
            report.add(
                "TR023",
                f"{clipped(key.text)} has no effect on a {kind}",
                key.place,
                path=path,
                remedy=f"move it to the {owner}",
            )
        elif name not in known:
            close = "owner" if name == "team" and "owner" in known else nearest(name, known)
            report.add(
                "TR023",
                f"unknown annotation {clipped(key.text)}",
                key.place,
                path=path,
                note=f"did you mean {PREFIX}{close}?" if close else "",
                remedy=f"write {PREFIX}{close}" if close else f"known are: {', '.join(known)}",
            )
        elif isinstance(value, ScalarNode) and is_text(value):
            unquoted = ScalarNode(value.text, True, value.place)
            good = known[name].shape.read(unquoted, Spot(path, key.place, clipped(key.text)), report)
            if good is not None:
                metadata.values[key.text] = good
