"""Silences: for a while, nobody is told of alerts that some matchers fit; maintenance silences, too.

Source: Alertmanager's silences: matchers with ``=  !=  =~  !~``, all of which must fit, regular expressions that must
fit the whole value, and a label that is missing counts as empty.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from tightrope.base.errors import ConflictError, UsageError
from tightrope.specs.model import Slo

LABELS = ("alertname", "service", "slo", "severity", "objective")
"""What an alert can be known by."""

Stretches = Callable[[Slo, int, int], Sequence[tuple[int, int]]]
"""Lists the stretches within some time that do not count for an SLO, such as maintenance."""

_MATCHER = re.compile(
    r"""\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s]*))\s*""", re.DOTALL
)
_LONGEST_PATTERN = 300
_REPEATED_REPETITION = re.compile(r"\([^()]*[*+}][^()]*\)[*+{]")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label: ``=``, ``!=``, ``=~`` or ``!~``."""

    name: str
    op: str
    value: str

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fit."""
        value = labels.get(self.name, "")
        hit = re.fullmatch(self.value, value, re.DOTALL) is not None if "~" in self.op else value == self.value
        return hit is not self.op.startswith("!")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{escaped}"'


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence, UTC epoch seconds: from *starts_at* until before *ends_at*, or *ended_at* if somebody ended it."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: int
    ends_at: int
    who: str
    why: str
    created_at: int
    ended_at: int | None = None
    ended_by: str = ""

    @property
    def until(self) -> int:
        """When it ends, or ended."""
        return self.ends_at if self.ended_at is None else min(self.ended_at, self.ends_at)

    def active(self, now: int) -> bool:
        """Whether it holds at *now*."""
        return self.starts_at <= now < self.until

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether it means an alert with these labels."""
        return all(one.fits(labels) for one in self.matchers)


def parse_matcher(text: str) -> Matcher:
    """Read ``service=checkout``, ``severity=~"page|ticket"``; raises `UsageError`."""
    match = _MATCHER.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is no matcher", remedy='write NAME=VALUE, with one of = != =~ !~, such as service=~"check.*"'
        )
    name, op, quoted, bare = match.groups()
    if name not in LABELS:
        close = get_close_matches(name, LABELS, n=1)
        raise UsageError(
            f"alerts have no label {name!r}",
            remedy=f"did you mean {close[0]}?" if close else f"they have {', '.join(LABELS)}",
        )
    value = bare if quoted is None else re.sub(r"\\(.)", lambda one: {"n": "\n"}.get(one[1], one[1]), quoted)
    if "~" in op:
        _refuse_pattern(value)
    return Matcher(name, op, value)


def _refuse_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{pattern[:80]!r} is no regular expression: {error}") from None
    if len(pattern) > _LONGEST_PATTERN or _REPEATED_REPETITION.search(pattern):
        raise UsageError(
            f"the regular expression {pattern[:80]!r} could take forever",
            remedy=f"write at most {_LONGEST_PATTERN} characters, and repeat nothing that is repeated",
        )


def silence_of(
    matchers: Iterable[str | Matcher], *, starts_at: int, ends_at: int, who: str, why: str, now: int
) -> Silence:
    """Make a silence.

    Raises:
        UsageError: A matcher cannot be read, all of them fit anything, the end is past or before the start, or nobody
            says who and why.
    """
    read = tuple(one if isinstance(one, Matcher) else parse_matcher(one) for one in matchers)
    if not any(not one.fits({}) for one in read):
        raise UsageError(
            "the silence would mean every alert", remedy="give at least one matcher that says what, such as service=…"
        )
    if ends_at <= max(starts_at, now):
        raise UsageError("the silence ends before it begins", remedy="give an end in the future, after its start")
    if not who.strip() or not why.strip():
        raise UsageError("a silence needs who set it, and why", remedy="say both: somebody will wonder")
    parts = [*map(str, read), str(starts_at), str(ends_at), who, why, str(now)]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8].upper()
    return Silence(f"S-{name}", read, starts_at, ends_at, who.strip(), why.strip(), now)


def ended(silence: Silence, *, who: str, now: int) -> Silence:
    """End a silence before its time; raises `ConflictError` where it is over already."""
    if now >= silence.until:
        raise ConflictError(f"the silence {silence.id} is over already")
    return replace(silence, ended_at=now, ended_by=who)


def silencing(silences: Iterable[Silence], labels: Mapping[str, str], now: int) -> list[Silence]:
    """The silences that hold for an alert with these labels at *now*."""
    return [one for one in silences if one.active(now) and one.fits(labels)]


def in_maintenance(slo: Slo | None, now: int, stretches: Stretches | None) -> bool:
    """Whether *now* lies in a stretch that does not count for the SLO."""
    if slo is None or stretches is None:
        return False
    return any(start <= now < end for start, end in stretches(slo, now, now + 1))
