"""What the loop tells of itself: where everything stands after a turn, and how far histories have been read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tightrope.base.errors import SpecError
from tightrope.loop.assess import Assessment
from tightrope.specs.model import Specs


@dataclass(frozen=True, slots=True)
class Turned:
    """A turn of the loop in which something changed: its number, the instant, and the services concerned."""

    number: int
    at: int
    services: tuple[str, ...]
    events: int = 0


@dataclass(frozen=True, slots=True)
class Backfill:
    """How far the history of one record has been read, seconds; *error* tells why it does not go on."""

    series: str
    done_s: int
    of_s: int
    since: int | None
    error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All that stands after a turn; another turn makes another one.

    Attributes:
        number: Grows with every turn that changed something.
        at: The instant up to which the objective furthest behind is evaluated.
        taken_at: When it was made.
        specs, since: The specs that are followed, and since when.
        assessments: Where every objective stands, by track; drawn up when somebody looks.
        problems: What is wrong with a newer edit of the specs, which is not followed.
    """

    number: int
    at: int
    taken_at: int
    specs: Specs
    since: int
    assessments: Mapping[str, Assessment]
    problems: tuple[SpecError, ...] = ()
