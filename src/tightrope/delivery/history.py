"""Commits and their parents: what a deployment carried, and whether one commit is in the past of another.

What is known of a repository may have gaps: pushes that never reached us, clones that are cut off. So each answer says
whether it is whole, and what cannot be told is None.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Carried:
    """The commits between two revisions, newest first; ``complete`` if none of them is missing."""

    shas: tuple[str, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Past:
    """A commit with all that leads to it: what is known, and what is only named as a parent of something known."""

    known: tuple[str, ...]
    edge: frozenset[str]

    def holds(self, sha: str) -> bool:
        """Whether a commit is surely in this past."""
        return sha in self.edge or sha in self.known


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a repository's commits: the parents of each, none for the first."""

    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def past(self, sha: str, without: Iterable[str] = ()) -> Past:
        """A commit and all before it, newest first as far as that can be told; *without* is where to stop."""
        stop = set(without)
        known: dict[str, None] = {}
        edge: set[str] = set()
        waiting = deque([sha])
        while waiting:
            one = waiting.popleft()
            if one in known or one in stop:
                continue
            if one in self.parents:
                known[one] = None
                waiting.extend(self.parents[one])
            else:
                edge.add(one)
        return Past(tuple(known), frozenset(edge))

    def is_ancestor(self, older: str, newer: str) -> bool | None:
        """Whether *older* is *newer* or in its past; None where that is not known."""
        if older == newer:
            return True
        if not older or not newer or newer not in self.parents:
            return None
        past = self.past(newer)
        if past.holds(older):
            return True
        return None if past.edge else False

    def carried(self, previous: str, revision: str) -> Carried | None:
        """The commits that are in *revision* and not in *previous*; None where nothing can be said of them."""
        if not previous or not revision:
            return None
        if previous == revision:
            return Carried((), complete=True)
        if revision not in self.parents:
            return None
        before = self.past(previous)
        behind = {*before.known, *before.edge}
        after = self.past(revision, without=behind)
        if previous not in self.parents and previous not in self._named(after.known):
            return None  # where the two meet is unknown: all that came before would count as carried
        if after.edge and not behind & self._named(after.known):
            return None
        return Carried(after.known, complete=not after.edge)

    def _named(self, shas: Iterable[str]) -> set[str]:
        return {parent for sha in shas for parent in self.parents[sha]}
