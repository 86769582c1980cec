"""The kind of a change, from its commit messages and labels. What nobody can tell counts as a feature, and says so."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tightrope.base.values import dataclass
from tightrope.specs.model import ChangeKind

_TYPES: dict[str, ChangeKind] = {
    "feat": ChangeKind.FEATURE,
    "feature": ChangeKind.FEATURE,
    "refactor": ChangeKind.FEATURE,
    "fix": ChangeKind.RELIABILITY,
    "bugfix": ChangeKind.RELIABILITY,
    "hotfix": ChangeKind.RELIABILITY,
    "perf": ChangeKind.RELIABILITY,
    "reliability": ChangeKind.RELIABILITY,
    "security": ChangeKind.SECURITY,
    "sec": ChangeKind.SECURITY,
    "config": ChangeKind.CONFIG,
    "chore": ChangeKind.CONFIG,
    "build": ChangeKind.CONFIG,
    "deps": ChangeKind.CONFIG,
    "ci": ChangeKind.CONFIG,
    "docs": ChangeKind.CONFIG,
    "doc": ChangeKind.CONFIG,
    "test": ChangeKind.CONFIG,
    "tests": ChangeKind.CONFIG,
    "style": ChangeKind.CONFIG,
    "revert": ChangeKind.ROLLBACK,
}
_UNMET = frozenset({"ci", "docs", "doc", "test", "tests", "style"})  # users meet nothing of these
_MAY_BE_SECURITY = frozenset({"fix", "bugfix", "hotfix", "chore", "build", "deps"})

_LABELS: dict[str, ChangeKind] = {
    **{kind.value: kind for kind in ChangeKind},
    "feat": ChangeKind.FEATURE,
    "enhancement": ChangeKind.FEATURE,
    "bug": ChangeKind.RELIABILITY,
    "bugfix": ChangeKind.RELIABILITY,
    "fix": ChangeKind.RELIABILITY,
    "dependencies": ChangeKind.CONFIG,
    "configuration": ChangeKind.CONFIG,
    "revert": ChangeKind.ROLLBACK,
}

_CONVENTIONAL = re.compile(r"^(?P<type>[A-Za-z]+)(?:\((?P<scope>[^()]*)\))?(?P<breaking>!)?:\s+\S")
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE:\s", re.MULTILINE)
_TRAILER = re.compile(r"^(?:Tightrope-Kind|Change-Kind):[ \t]*(.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_LABEL = re.compile(r"^(?P<prefix>tightrope|change-kind|kind|type)\s*[:/]\s*(?P<word>.+)$")
_REVERT = re.compile(r'^(?P<word>Revert|Reapply)\s+"(?P<inner>.*)$', re.IGNORECASE)
_ROLL_BACK = re.compile(
    r"^(?:roll(?:ing)?[ -]?back|revert)(?: \(#\d+\))?$"
    r"|^(?:roll(?:ing)?[ -]?back|revert)\s+(?:to\s+)?(?:the\s+)?(?:previous|last)\b"
    r"|^(?:roll(?:ing)?[ -]?back|revert)\s+to\s+\S*\d",
    re.IGNORECASE,
)
_MERGE = re.compile(r"^Merge (?:pull request|branch|branches|remote-tracking branch|tag|commit)\b")
_FIXUP = re.compile(r"^(?:(?:fixup|squash|amend)! )+")
_ADVISORY = re.compile(r"\bCVE-\d{4}-\d{4,}\b|\bGHSA(?:-[0-9a-z]{4}){3}\b|\[security\]", re.IGNORECASE)

_ORDER = tuple(ChangeKind)


@dataclass(frozen=True, slots=True)
class FoundKind:
    """The kind of a change, how it was found (``GateRequest.kind_from``), and the line that told it.

    ``silent`` changes (merges, documentation, tests) carry nothing that users meet: in a release they leave the word to
    the other commits.
    """

    kind: ChangeKind
    source: str
    text: str = ""
    silent: bool = False


def kind_of_change(message: str, labels: Iterable[str] = ()) -> FoundKind:
    """Tell what one change is for.

    Labels speak first (those with the prefix ``tightrope`` before all others), then the trailers ``Tightrope-Kind`` and
    ``Change-Kind``, then the subject: a revert, or a type of Conventional Commits. A breaking change is a feature
    whatever its type, and text that says nothing counts as a feature.

    Args:
        message: The commit message or title: subject, blank line, body.
        labels: Labels of the change or of its pull request.

    Source:
        Conventional Commits 1.0.0; the subjects that ``git revert`` and the merge buttons of code hosts write.
    """
    return _labelled(labels) or _told(message)


def kind_of_release(messages: Iterable[str], labels: Iterable[str] = ()) -> FoundKind:
    """Tell what a release is for: it is as feature-like as its most feature-like commit, in the order of `ChangeKind`.

    Silent commits do not count beside others. Labels are those of the release as a whole and speak first. A release
    without a commit is a feature: nothing is known of it.
    """
    labelled = _labelled(labels)
    if labelled is not None:
        return labelled
    found = [_told(message) for message in messages]
    if not found:
        return FoundKind(ChangeKind.FEATURE, "default: no commit is known")
    spoken = [one for one in found if not one.silent] or found
    return min(spoken, key=lambda one: _ORDER.index(one.kind))


def _labelled(labels: Iterable[str]) -> FoundKind | None:
    """What labels tell; of several of one rank, the most feature-like."""
    told: list[tuple[bool, int, str]] = []
    for label in labels:
        text = label.strip().lower()
        match = _LABEL.match(text)
        kind = _LABELS.get(match["word"].strip() if match else text)
        if kind is not None:
            told.append((match is None or match["prefix"] != "tightrope", _ORDER.index(kind), label.strip()))
    if not told:
        return None
    _, kind_index, label = min(told)
    return FoundKind(_ORDER[kind_index], "label", label)


def _told(message: str) -> FoundKind:
    trailers = _TRAILER.findall(message)
    if trailers:
        return _of_trailers(trailers)
    subject, _, body = message.strip().partition("\n")
    subject = _FIXUP.sub("", subject.strip())
    if _MERGE.match(subject):
        return _of_merge(subject, body)
    reverted = _of_revert(subject)
    if reverted is not None:
        return reverted
    conventional = _CONVENTIONAL.match(subject)
    name = conventional["type"].lower() if conventional else ""
    if name not in _TYPES:
        return FoundKind(ChangeKind.FEATURE, "default: nothing tells the kind", subject)
    assert conventional is not None
    if conventional["breaking"] or _BREAKING.search(body):
        return FoundKind(ChangeKind.FEATURE, "conventional commit, breaking", subject)
    scope = (conventional["scope"] or "").lower()
    if name in _MAY_BE_SECURITY and (scope in {"security", "sec"} or _ADVISORY.search(subject)):
        return FoundKind(ChangeKind.SECURITY, "conventional commit", subject)
    return FoundKind(_TYPES[name], "conventional commit", subject, silent=name in _UNMET)


def _of_trailers(trailers: list[str]) -> FoundKind:
    kinds = [_LABELS.get(trailer.lower()) for trailer in trailers]
    for kind, trailer in zip(kinds, trailers, strict=True):
        if kind is None:
            return FoundKind(ChangeKind.FEATURE, "default: the trailer names no kind", trailer)
    index = min(_ORDER.index(kind) for kind in kinds if kind is not None)
    return FoundKind(_ORDER[index], "trailer", ", ".join(trailers))


def _of_merge(subject: str, body: str) -> FoundKind:
    """A merge commit: the merge buttons put the title of the pull request into the body; it tells, if it can."""
    title = next((line.strip() for line in body.splitlines() if line.strip()), "")
    told = _told(title) if title and not _MERGE.match(title) else None
    if told is not None and not told.source.startswith("default"):
        return told
    return FoundKind(ChangeKind.FEATURE, "default: a merge tells no kind", subject, silent=True)


def _of_revert(subject: str) -> FoundKind | None:
    """A change taken back is a rollback; one taken back twice, or applied again, is what it was."""
    taken_back = False
    inner, nested = subject, False
    while match := _REVERT.match(inner):
        nested = True
        taken_back = not taken_back if match["word"].lower() == "revert" else taken_back
        inner = match["inner"].strip()
    if nested and not taken_back:
        told = _told(inner.rstrip('"'))
        return FoundKind(told.kind, f"applied again; {told.source}", subject, told.silent)
    if nested or _ROLL_BACK.match(subject):
        return FoundKind(ChangeKind.ROLLBACK, "revert", subject)
    return None
