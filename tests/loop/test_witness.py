"""The witness: what incidents cost, each slice once and within one window, and what a service as a whole refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tightrope.backtest.labels import Deployment
from tightrope.base.units import HOUR_S, Duration
from tightrope.engine.plan import Incident
from tightrope.loop.assess import Assessment, assess
from tightrope.loop.witness import costs_of, stopped_of
from tightrope.sli.slices import Slices
from tightrope.specs.model import (
    BudgetingMethod,
    Indicator,
    Objective,
    RatioMetric,
    RollingWindow,
    Slo,
    Specs,
)
from tightrope.telemetry.reading import Reading

START = 1_767_225_600  # 2026-01-01
HOURS = 10 * 24


def slo(name: str = "shop-up", days: int = 2, target: str = "0.9") -> Slo:
    return Slo(
        name,
        "shop",
        BudgetingMethod.OCCURRENCES,
        RollingWindow(Duration(days, "d")),
        (Objective(Fraction(target)),),
        Indicator("probe", RatioMetric()),
        step_s=HOUR_S,
    )


def record(bad: Mapping[int, int]) -> Slices:
    """Ten days of hours with 100 events each; *bad* gives bad events by hour."""
    counts = np.zeros(HOURS, np.int64)
    for at, some in bad.items():
        counts[at] = some
    return Slices(START, HOUR_S, counts, np.full(HOURS, 100, np.int64), np.ones(HOURS, np.bool_))


def assessed(*promised: tuple[Slo, Slices], incidents: tuple[Incident, ...] = ()) -> list[Assessment]:
    records = {one.name: units for one, units in promised}
    slos = tuple(one for one, _ in promised)
    return assess(
        Specs(slos=slos),
        slos,
        lambda wanted: [Reading(records[one.name]) for one, _ in wanted],
        at=START + HOURS * HOUR_S,
        incidents=incidents,
    )


def incident(first: int, last: int, name: str) -> Incident:
    """An incident from the beginning of hour *first* to that of hour *last*."""
    return Incident(START + first * HOUR_S, START + last * HOUR_S, "sev1", "deploy", name)


def costs(bad: Mapping[int, int], *incidents: Incident) -> dict[str, Fraction]:
    (one,) = assessed((slo(), record(bad)), incidents=incidents)
    return {cost.id: cost.share for cost in costs_of(one)}


def test_an_incident_longer_than_the_window_costs_what_the_window_holds() -> None:
    # Two days hold 4,800 events, of which 480 may be bad: 12 bad ones an hour make 576.
    assert costs(dict.fromkeys(range(72, 168), 12), incident(72, 168, "long")) == {"long": Fraction(576, 480)}


def test_overlapping_incidents_share_no_slice() -> None:
    bad = dict.fromkeys(range(100, 110), 24)
    both = costs(bad, incident(100, 108, "first"), incident(104, 110, "second"))
    assert both == {"first": Fraction(8 * 24, 480), "second": Fraction(2 * 24, 480)}
    assert sum(both.values()) == costs(bad, incident(100, 110, "one"))["one"]


@pytest.mark.parametrize("turned", [False, True])
def test_an_incident_within_another_costs_nothing_of_its_own(turned: bool) -> None:
    told = (incident(100, 110, "outer"), incident(102, 104, "inner"), incident(109, 112, "after"))
    found = costs(dict.fromkeys(range(100, 112), 24), *(reversed(told) if turned else told))
    assert found == {"outer": Fraction(240, 480), "after": Fraction(48, 480)}


def test_an_incident_that_is_still_open_costs_what_it_has_cost() -> None:
    still = replace(incident(HOURS - 4, HOURS, "open"), end=2**62)
    assert costs(dict.fromkeys(range(HOURS - 4, HOURS), 30), still) == {"open": Fraction(120, 480)}


def test_the_cost_of_a_member_is_of_its_weighted_budget() -> None:
    parts = (
        Objective(Fraction("0.9"), "front", indicator=Indicator("front", RatioMetric()), weight=Fraction(2)),
        Objective(Fraction("0.9"), "back", indicator=Indicator("back", RatioMetric())),
    )
    whole = replace(slo(), objectives=parts, indicator=None)
    one = incident(100, 110, "one")
    front, back = assessed((whole, record(dict.fromkeys(range(100, 110), 24))), incidents=(one,))
    assert [cost.share for cost in costs_of(front)] == [Fraction(2 * 240, 480)]
    assert [cost.share for cost in costs_of(back)] == [Fraction(240, 480)]


def test_a_deployment_is_judged_by_the_strictest_objective_of_its_service() -> None:
    spent = dict.fromkeys(range(100, 110), 100)
    found = assessed((slo("latency"), record({})), (slo("availability"), record(spent)))
    shipped = [
        Deployment(START + hour * HOUR_S, service, kind, f"{service}-{kind}-{hour}")
        for hour in (90, 112)
        for service in ("shop", "other")
        for kind in ("feature", "reliability", "rollback")
    ]
    for one in found:
        assert [(ship.change, state) for ship, state in stopped_of(one, shipped, found)] == [
            ("shop-feature-112", "stability")
        ]
    assert stopped_of(found[0], shipped) == ()


def test_a_member_that_is_not_watched_has_no_say() -> None:
    spent = dict.fromkeys(range(100, 110), 100)
    fine, shown = assessed((slo("latency"), record({})), (slo("availability"), record(spent)))
    shipped = [Deployment(START + 112 * HOUR_S, "shop")]
    assert stopped_of(fine, shipped, [fine, replace(shown, watched=False)]) == ()
