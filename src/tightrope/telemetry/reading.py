"""What a source hands over: slices, and an honest account of what was wrong with the rows."""

from __future__ import annotations

from tightrope.base.values import dataclass, field
from tightrope.sli.slices import Slices


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that could not be used: where it stands (line 1 is the first line of the file) and why."""

    source: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Quality:
    """How much of the input was used.

    Attributes:
        rows: Rows looked at, the bad ones among them.
        bad_rows: How many could not be used, all of them counted.
        examples: The first few of them, with line numbers.
        notes: Facts worth telling, such as ``resolution 5m, taken from the spacing of the rows``.
    """

    rows: int = 0
    bad_rows: int = 0
    examples: tuple[BadRow, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """Slices of one objective, oldest first, and the quality of what they were made of."""

    slices: Slices
    quality: Quality = field(default_factory=Quality)
