"""What pipelines see of the SLOs that they watch: whether they page, and what is left of their budgets."""

from __future__ import annotations

from collections.abc import Sequence

from tightrope.delivery.pipelines.watching import Sight
from tightrope.loop.assess import Assessment


def sights_of(assessments: Sequence[Assessment], names: Sequence[str]) -> list[Sight]:
    """What is to be seen of SLOs, by their names; of one with several objectives, each."""
    found = []
    for one in assessments:
        if one.watched and one.slo.name in names:
            paging = tuple(each.name for each in one.firing if each.severity == "page")
            found.append(Sight(one.slo.name, paging, one.budget.remaining_ratio, one.stale))
    return found
