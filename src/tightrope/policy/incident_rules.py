"""What incidents oblige to: a postmortem for one that spends much, an objective for a class that keeps returning.

Source: the example error budget policy of The Site Reliability Workbook, appendix B.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction

from tightrope.base.values import dataclass
from tightrope.policy.silver_bullets import period_around
from tightrope.specs.model import ErrorBudgetPolicy


@dataclass(frozen=True, slots=True)
class IncidentCost:
    """What one incident spent: ``share`` of the window's budget (1 is all of it), and its class of outage."""

    id: str
    outage_class: str
    started_at: int
    share: Fraction


@dataclass(frozen=True, slots=True)
class RecurringClass:
    """A class of outage that spent ``share`` of the budget of the UTC calendar quarter from ``quarter_start`` on."""

    outage_class: str
    quarter_start: int
    share: Fraction
    incidents: tuple[str, ...]


def postmortems_needed(policy: ErrorBudgetPolicy, costs: Iterable[IncidentCost]) -> tuple[IncidentCost, ...]:
    """Tell which incidents alone spent more than the policy's share of the window's budget, the dearest first.

    Causes out of scope count too: they do not freeze, yet a postmortem may show that a dependency could be softened.
    """
    bound = policy.postmortem_share
    if bound is None:
        return ()
    dear = [cost for cost in costs if cost.share > bound]
    return tuple(sorted(dear, key=lambda cost: (-cost.share, cost.id)))


def recurring_classes(
    policy: ErrorBudgetPolicy, costs: Iterable[IncidentCost], window_s: int
) -> tuple[RecurringClass, ...]:
    """Tell which classes of outage spent more than the policy's share of a quarter's budget, quarter by quarter.

    Args:
        policy: With ``recurring_share``; None means no such rule.
        costs: Incidents; each belongs to the quarter it began in. One without a class is in none.
        window_s: Length of the window that ``share`` is of, seconds. The budget of a quarter is that of the window
            times quarter / window, as though traffic were even.
    """
    bound = policy.recurring_share
    if bound is None:
        return ()
    quarters: dict[tuple[int, int, str], list[IncidentCost]] = defaultdict(list)
    for cost in costs:
        if cost.outage_class:
            quarters[*period_around(cost.started_at, "Q"), cost.outage_class].append(cost)
    found = []
    for (begin, end, outage_class), members in sorted(quarters.items()):
        share = sum((cost.share for cost in members), Fraction(0)) * window_s / (end - begin)
        if share > bound:
            ids = tuple(cost.id for cost in sorted(members, key=lambda cost: (cost.started_at, cost.id)))
            found.append(RecurringClass(outage_class, begin, share, ids))
    return tuple(found)
