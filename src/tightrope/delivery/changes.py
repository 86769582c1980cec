"""Changes and deployments as values: what is told of them in any order, and what follows from all of it.

Whoever tells of deployments tells twice, late, and in the wrong order. So an `Account` keeps for every fact the newest
that was told, by the time at which it was so and not by the time at which we heard of it: two accounts of the same
reports are the same account. What follows, such as whether it was a rollback, is worked out from accounts alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tightrope.base.errors import UsageError
from tightrope.delivery.history import Carried, History
from tightrope.policy.change_kinds import FoundKind, kind_of_change
from tightrope.specs.model import ChangeKind

MOST_STATES = 100
"""So many changes of state are kept of one deployment: the first, and the newest."""

MOST_COMMITS = 500
"""So many commits of one deployment are kept, the newest."""

_ORDER = tuple(ChangeKind)
_TEXTS = (
    "source",
    "service",
    "environment",
    "version",
    "revision",
    "previous",
    "repository",
    "artifact",
    "change",
    "title",
    "decision",
    "by",
    "url",
    "external",
)
_VERSION = re.compile(
    r"(?P<prefix>\D*?)v?(?P<numbers>\d{1,9}(?:\.\d{1,9}){0,5})(?P<rest>(?:-[0-9A-Za-z.-]+)?)(?:\+\S*)?"
)
_SHA = re.compile(r"[0-9a-f]{7,64}")
_WHOLE_SHA = 40


class DeploymentState(StrEnum):
    """How far a deployment is. A rollback is a deployment of its own, and no state of another one."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


_RANK = {state: rank for rank, state in enumerate(DeploymentState)}


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, and what it is for.

    Attributes:
        authored_at: None where only the time of the commit is known.
        silent: Users meet nothing of it: in a release it leaves the word to the others.
    """

    sha: str
    title: str
    author: str
    authored_at: int | None
    committed_at: int
    kind: ChangeKind
    kind_from: str
    url: str = ""
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """A commit as somebody told of it.

    Attributes:
        message: All of it: subject, blank line, body.
        parents: The commits it builds on.
        exact: Git itself told the parents; else they are inferred from the order in a push.
        files: Paths that it touches; empty: not told.
    """

    sha: str
    message: str
    author: str
    committed_at: int
    authored_at: int | None = None
    url: str = ""
    parents: tuple[str, ...] = ()
    exact: bool = False
    files: tuple[str, ...] = ()

    def merged(self, other: Recorded) -> Recorded:
        """What both tell, in any order and however often: git's own word on parents, else the fuller of each."""
        if self.exact != other.exact:
            parents = self.parents if self.exact else other.parents
        else:
            parents = self.parents if self.parents == other.parents else tuple(sorted({*self.parents, *other.parents}))
        authored = [one.authored_at for one in (self, other) if one.authored_at is not None]
        return Recorded(
            self.sha,
            max(self.message, other.message, key=_fullness),
            max(self.author, other.author, key=_fullness),
            min(self.committed_at, other.committed_at),
            min(authored, default=None),
            max(self.url, other.url, key=_fullness),
            parents,
            self.exact or other.exact,
            tuple(sorted({*self.files, *other.files})),
        )

    def touches(self, paths: Sequence[str]) -> bool:
        """Whether it belongs to what lies under *paths*; so it does where nobody knows.

        A merge that changes no file itself does not: what it brings are commits of their own.
        """
        if not paths:
            return True
        if not self.files:
            return not (self.exact and len(self.parents) > 1)
        return any(
            file == path.rstrip("/") or file.startswith(path.rstrip("/") + "/") for path in paths for file in self.files
        )

    def commit(self, labels: Iterable[str] = ()) -> Commit:
        """The commit with its kind."""
        found = kind_of_change(self.message, labels)
        return Commit(
            self.sha,
            _shown(self.message.strip().partition("\n")[0].strip()),
            _shown(self.author),
            self.authored_at,
            self.committed_at,
            found.kind,
            found.source,
            self.url,
            found.silent,
        )


def _shown(text: str) -> str:
    """A text of somebody else as one line that does nothing to a terminal."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _fullness(text: str) -> tuple[int, str]:
    return len(text), text


@dataclass(frozen=True, slots=True)
class DeploymentReport:
    """What somebody tells of a deployment; empty and None: nothing is said of that.

    Attributes:
        source, external: Who tells, and the name of the deployment there: the same pair is the same deployment.
        at: When it was so, UTC epoch seconds.
        previous: The revision or version that was live before.
        kind: Of the change, where it is known better than from commits; ``kind_from`` says how.
        commits: What it carried, where the sender lists that; they count in place of a range.
        change: What the gate was asked about: commit, tag or release; the revision or version, if absent.
        decision: Id of the gate's decision.
    """

    source: str
    external: str
    service: str
    environment: str
    at: int
    state: DeploymentState
    version: str = ""
    revision: str = ""
    previous: str = ""
    repository: str = ""
    artifact: str = ""
    kind: ChangeKind | None = None
    kind_from: str = ""
    rollback: bool | None = None
    commits: tuple[Recorded, ...] = ()
    change: str = ""
    title: str = ""
    decision: str = ""
    by: str = ""
    url: str = ""
    started_at: int | None = None

    def checked(self) -> DeploymentReport:
        """The report, fit to be kept; raises `UsageError` where it says too little."""
        for name in ("source", "external", "service", "environment"):
            if not getattr(self, name).strip():
                raise UsageError(f"a deployment without {name} cannot be told apart", remedy=f"give the {name}")
        for name in _TEXTS:
            if not getattr(self, name).isprintable():
                raise UsageError(
                    f"{name} holds a character that cannot be shown", remedy=f"write {name} as one line of plain text"
                )
        if not (self.version or self.revision or self.artifact):
            raise UsageError("nobody could tell what was deployed", remedy="give a version, a revision or an artifact")
        if self.started_at is not None and self.started_at > self.at:
            raise UsageError("the deployment began after the report of it", remedy="give times in their order")
        return replace(self, revision=_lower(self.revision), previous=_lower(self.previous))


def _lower(text: str) -> str:
    return text.lower() if is_sha(text.lower()) else text


Fact = tuple[int, str]
"""Something told, and when it was so."""


@dataclass(frozen=True, slots=True)
class Account:
    """All that was told of one deployment.

    Attributes:
        facts: By name the newest of each: where two were so at one instant, the one that sorts later.
        states: Every change of state that was told, in order: the instant, and the state.
    """

    source: str
    external: str
    service: str
    environment: str
    facts: Mapping[str, Fact]
    states: tuple[tuple[int, DeploymentState], ...]

    @property
    def id(self) -> str:
        """Follows from who tells, what it is called there, and where it goes."""
        return deployment_id(self.source, self.external, self.service, self.environment)

    def fact(self, name: str) -> str:
        """The newest that was told; empty: nothing."""
        return self.facts.get(name, (0, ""))[1]

    @property
    def state(self) -> DeploymentState:
        return self.states[-1][1]

    @property
    def started_at(self) -> int:
        return self.states[0][0]

    @property
    def finished_at(self) -> int | None:
        """When it came to the state in which it ended; None while it goes on."""
        if self.state is DeploymentState.STARTED:
            return None
        ended = self.states[-1][0]
        for at, state in reversed(self.states):
            if state is not self.state:
                break
            ended = at
        return ended

    @property
    def at(self) -> int:
        """Its place in time among the deployments of its environment."""
        finished = self.finished_at
        return self.started_at if finished is None else finished

    def merged(self, other: Account) -> Account:
        """Both accounts as one; the order of all reports never matters, nor whether one came twice."""
        facts = dict(self.facts)
        for name, fact in other.facts.items():
            facts[name] = max(fact, facts.get(name, fact))
        states = sorted({*self.states, *other.states}, key=lambda one: (one[0], _RANK[one[1]]))
        kept = states if len(states) <= MOST_STATES else [states[0], *states[1 - MOST_STATES :]]
        return replace(self, facts=dict(sorted(facts.items())), states=tuple(kept))


def deployment_id(source: str, external: str, service: str, environment: str) -> str:
    """What we call a deployment that somebody else calls *external*."""
    digest = hashlib.sha256(f"{source}\n{external}\n{service}\n{environment}".encode()).hexdigest()
    return f"DEP-{digest[:12].upper()}"


def account_of(report: DeploymentReport) -> Account:
    """What one report tells."""
    said = {
        "version": report.version,
        "revision": report.revision,
        "previous": report.previous,
        "repository": report.repository,
        "artifact": report.artifact,
        "kind": f"{report.kind.value} {report.kind_from or 'given'}" if report.kind is not None else "",
        "rollback": "" if report.rollback is None else "yes" if report.rollback else "no",
        "commits": " ".join(one.sha for one in report.commits[:MOST_COMMITS]),
        "change": report.change,
        "title": report.title,
        "decision": report.decision,
        "by": report.by,
        "url": report.url,
    }
    states = [(report.at, report.state)]
    if report.started_at is not None and (report.started_at, DeploymentState.STARTED) not in states:
        states.insert(0, (report.started_at, DeploymentState.STARTED))
    states.sort(key=lambda one: (one[0], _RANK[one[1]]))
    facts = {name: (report.at, text) for name, text in sorted(said.items()) if text}
    return Account(report.source, report.external, report.service, report.environment, facts, tuple(states))


# --- what follows --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deployment:
    """An artifact came, or is to come, into an environment.

    Attributes:
        id: Ours; `source` and ``external`` are who told and the name there.
        previous: The revision that was live before; empty: not known. ``previous_version`` likewise.
        rollback: It went back to something older; ``because`` says how that is known.
        commits: What it carried, newest first; none for a rollback. ``complete``: none of them is missing.
        decision: Id of the gate's decision; empty: it was told none.
    """

    id: str
    service: str
    environment: str
    version: str
    revision: str
    previous: str
    artifact: str
    kind: ChangeKind
    kind_from: str
    rollback: bool
    commits: tuple[Commit, ...]
    state: DeploymentState
    started_at: int
    finished_at: int | None
    decision: str
    by: str
    source: str
    url: str
    external: str = ""
    previous_version: str = ""
    because: str = ""
    complete: bool = False
    change: str = ""
    title: str = ""
    repository: str = ""

    @property
    def at(self) -> int:
        """When it ended, or began where it goes on."""
        return self.started_at if self.finished_at is None else self.finished_at

    @property
    def untouched(self) -> bool:
        """Whether the service stayed as it was: all commits are known, and none is about what lies under its paths."""
        return self.complete and not self.commits and not self.rollback and self.revision != self.previous

    @property
    def called(self) -> str:
        """What people call what was deployed."""
        return called(self.version, self.revision, self.artifact)


@dataclass(frozen=True, slots=True)
class Lived:
    """Something that was live in an environment, and since when it had been known there for the first time."""

    version: str
    revision: str
    artifact: str
    first_at: int


@dataclass(frozen=True, slots=True)
class Around:
    """What a deployment is held against.

    Attributes:
        previous: What was live in the environment just before; None: nothing that is known.
        first_at: When this very thing was first live there, before this deployment; None: never.
        revision: The full name of its revision, where the account has a short one.
        repository: Whose commits count, where the account does not say.
        history: Of its repository.
        commits: Those of the repository that may matter, by sha.
        labels: Of merged changes, by sha.
        paths: What in the repository belongs to the service; empty: all.
    """

    previous: Lived | None = None
    first_at: int | None = None
    revision: str = ""
    repository: str = ""
    history: History = field(default_factory=History)
    commits: Mapping[str, Recorded] | None = None
    labels: Mapping[str, tuple[str, ...]] | None = None
    paths: tuple[str, ...] = ()


def deployment_of(account: Account, around: Around) -> Deployment:
    """Work out what a deployment was."""
    version, artifact = account.fact("version"), account.fact("artifact")
    revision = around.revision or account.fact("revision")
    lived = around.previous
    previous = _previous(account, lived)
    because = _rolled_back(account, around, revision, previous)
    if because:  # what only the numbers of versions say, git may yet deny
        carried: Carried | None = Carried((), bool(account.fact("rollback")) or _git_knows(around, revision, previous))
    else:
        carried = _carried(account, around, revision, previous)
    known = around.commits or {}
    labels = around.labels or {}
    commits = tuple(known[sha].commit(labels.get(sha, ())) for sha in (carried.shas if carried else ()) if sha in known)
    commits = tuple(one for one, whole in ((one, known[one.sha]) for one in commits) if whole.touches(around.paths))[
        :MOST_COMMITS
    ]
    complete = (
        carried is not None and carried.complete and (not carried.shas or all(sha in known for sha in carried.shas))
    )
    again = bool(revision) and revision == previous
    kind = _kind(account, because, commits, complete=complete, again=again)
    return Deployment(
        id=account.id,
        service=account.service,
        environment=account.environment,
        version=version,
        revision=revision,
        previous=previous,
        artifact=artifact,
        kind=kind.kind,
        kind_from=kind.source,
        rollback=bool(because),
        commits=commits,
        state=account.state,
        started_at=account.started_at,
        finished_at=account.finished_at,
        decision=account.fact("decision"),
        by=account.fact("by"),
        source=account.source,
        url=account.fact("url"),
        external=account.external,
        previous_version=_previous_version(account, lived),
        because=because,
        complete=complete,
        change=account.fact("change"),
        title=account.fact("title"),
        repository=around.repository or account.fact("repository"),
    )


def touched(account: Account, before: Account | None, following: Sequence[Account]) -> list[Account]:
    """Those of later deployments to an environment that may come out otherwise by what was told of one.

    That is whatever directly follows on it, where it stands now and where it stood, and whatever brings the same thing
    again or replaces it then: when that was live for the first time tells rollbacks.

    Args:
        account: All that was told of the one.
        before: The same as it was known before; None: it is new.
        following: The accounts from its place on, or from the place where it stood if that is earlier, in order.
    """
    mine = [one for one in (account, before) if one is not None]
    marks = {(one.at, one.id) for one in mine}
    things = [_things(one) for one in mine]
    found: list[Account] = []
    near = True  # what was live last is this very deployment, or the same thing
    for one in following:
        if one.id == account.id:
            continue
        passed = {mark for mark in marks if mark < (one.at, one.id)}
        if passed:
            marks -= passed
            near = True
        again = any(_alike(_things(one), thing) for thing in things)
        if near or again:
            found.append(one)
        if one.state is DeploymentState.SUCCEEDED:
            near = again
    return found


def _things(account: Account) -> tuple[str, str, str]:
    return account.fact("version"), account.fact("revision"), account.fact("artifact")


def _alike(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    """Whether two things may be one; of commits the shorter name may be the beginning of the longer."""
    (version, revision, artifact), (its_version, its_revision, its_artifact) = one, other
    return (
        (bool(version) and version == its_version)
        or (bool(artifact) and artifact == its_artifact)
        or (
            bool(revision)
            and bool(its_revision)
            and (revision.startswith(its_revision) or its_revision.startswith(revision))
        )
    )


def _previous(account: Account, lived: Lived | None) -> str:
    """The revision that was live before, as told, or as we know it."""
    told = account.fact("previous")
    if is_sha(told):
        return told
    return lived.revision if lived and (not told or told == lived.version) else ""


def _previous_version(account: Account, lived: Lived | None) -> str:
    told = account.fact("previous")
    if told and not is_sha(told):
        return told
    return lived.version if lived and (not told or told == lived.revision) else ""


def _git_knows(around: Around, revision: str, previous: str) -> bool:
    """Whether git has said which of two revisions is the older, or will never be able to."""
    if not revision or not previous:
        return True
    back = around.history.is_ancestor(revision, previous)
    return bool(back) or (back is False and around.history.is_ancestor(previous, revision) is not None)


def called(version: str, revision: str, artifact: str = "") -> str:
    """What people call a version; where that is a commit, by a short name."""
    if len(version) >= _WHOLE_SHA and is_sha(version):
        version = version[:12]
    return version or revision[:12] or artifact


def is_sha(text: str) -> bool:
    """Whether a text looks like the name of a commit, perhaps a short one."""
    return _SHA.fullmatch(text) is not None


def _carried(account: Account, around: Around, revision: str, previous: str) -> Carried | None:
    listed = account.fact("commits").split()
    if listed:
        return Carried(tuple(listed), complete=True)
    return around.history.carried(previous, revision)


def _rolled_back(account: Account, around: Around, revision: str, previous: str) -> str:
    """Say how it is known that something older came back; empty: it did not, as far as anybody knows.

    The sender's word counts first, then git, then the numbers of versions. Where none of them can tell, what was live
    before the live one was for the first time is older than it.
    """
    told = account.fact("rollback")
    if told:
        return "the sender says so" if told == "yes" else ""
    lived = around.previous
    if revision and previous:
        if revision == previous:
            return ""
        if around.history.is_ancestor(revision, previous):
            return f"{revision[:12]} is in the past of {previous[:12]}, which was live"
        if around.history.is_ancestor(previous, revision):
            return ""
    version, before = account.fact("version"), _previous_version(account, lived)
    older = is_older(version, before)
    if older is not None:
        return f"version {version} is below {before}, which was live" if older else ""
    if lived is None:
        return ""
    if around.first_at is not None and around.first_at < lived.first_at and not _same(account, revision, lived):
        return "it was live before what was live was for the first time"
    return ""


def _same(account: Account, revision: str, lived: Lived) -> bool:
    """Whether what is deployed is what was live already."""
    pairs = (
        (account.fact("version"), lived.version),
        (revision, lived.revision),
        (account.fact("artifact"), lived.artifact),
    )
    told = [(mine, theirs) for mine, theirs in pairs if mine and theirs]
    return bool(told) and all(mine == theirs for mine, theirs in told)


def _kind(account: Account, because: str, commits: Sequence[Commit], *, complete: bool, again: bool) -> FoundKind:
    if because:
        return FoundKind(ChangeKind.ROLLBACK, f"rollback: {because}")
    told, _, how = account.fact("kind").partition(" ")
    if told:
        return FoundKind(ChangeKind(told), how)
    if commits and complete:
        return kind_of_commits(commits)
    if commits:
        kind = kind_of_commits(commits)
        if kind.kind is ChangeKind.FEATURE:
            return kind
        return FoundKind(ChangeKind.FEATURE, "default: not all commits are known")
    title = account.fact("title")
    if title:
        found = kind_of_change(title)
        if not found.source.startswith("default"):
            return found
    if again:
        return FoundKind(ChangeKind.CONFIG, "the same revision again")
    if complete:
        return FoundKind(ChangeKind.CONFIG, "no commit of it belongs to the service")
    return FoundKind(ChangeKind.FEATURE, "default: no commit is known")


def kind_of_commits(commits: Sequence[Commit]) -> FoundKind:
    """What a release is for: as feature-like as its most feature-like commit; silent ones leave the word to others."""
    spoken = [one for one in commits if not one.silent] or list(commits)
    if not spoken:
        return FoundKind(ChangeKind.FEATURE, "default: no commit is known")
    most = min(spoken, key=lambda one: _ORDER.index(one.kind))
    return FoundKind(most.kind, most.kind_from, most.title, most.silent)


def history_of(commits: Iterable[Recorded]) -> History:
    """The history that commits tell of; one whose parents nobody told has some that nobody knows."""
    return History({one.sha: one.parents or (() if one.exact else (f"before {one.sha}",)) for one in commits})


# --- versions ------------------------------------------------------------------------------------------------------


def is_older(version: str, other: str) -> bool | None:
    """Whether a version's number is below another's; None where the two have no order, such as names of branches.

    Source:
        Semantic Versioning 2.0.0, section 11, for as many numbers as there are.
    """
    mine, theirs = _VERSION.fullmatch(version.strip()), _VERSION.fullmatch(other.strip())
    if mine is None or theirs is None or mine["prefix"] != theirs["prefix"]:
        return None
    return _order(mine) < _order(theirs)


def _order(version: re.Match[str]) -> tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]:
    numbers = [int(part) for part in version["numbers"].split(".")]
    numbers += [0] * (6 - len(numbers))
    parts = version["rest"].removeprefix("-").split(".") if version["rest"] else []
    ranked = tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)
    return tuple(numbers), not parts, ranked
