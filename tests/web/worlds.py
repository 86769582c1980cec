"""A small fleet by hand: one service for each way to stand, with names that try to break out of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from functools import cache

import numpy as np

from tightrope.backtest.labels import Deployment
from tightrope.base.units import DAY_S, Duration
from tightrope.engine.plan import Incident
from tightrope.loop.assess import Assessment, assess
from tightrope.loop.gatekeeper import ask_gate
from tightrope.policy.decision import Decision, GateRequest
from tightrope.sli.slices import Slices
from tightrope.specs.model import (
    BudgetingMethod,
    CalendarWindow,
    Indicator,
    Objective,
    RatioMetric,
    RollingWindow,
    Slo,
    Specs,
)
from tightrope.telemetry.reading import BadRow, Quality, Reading

STEP_S = 300
START = 1_767_225_600  # 2026-01-01
DAYS = 20
END = START + DAYS * DAY_S
PER_DAY = DAY_S // STEP_S
MONDAY = datetime.fromisoformat("2025-12-29T00:00:00")

WICKED = '<script>alert("1")</script> & 🚪 „Tür“'

QUALITY = Quality(5760, 1, (BadRow("probes.csv", 17, "status '<b>?</b>' is no state"),), ("resolution 5m",))


def slices(bad: dict[int, int], *, total: int = 100, silent_from: int | None = None) -> Slices:
    """Twenty days of five minutes with *total* events each; *bad* gives bad events by slice."""
    count = DAYS * PER_DAY
    covered = np.ones(count, np.bool_)
    if silent_from is not None:
        covered[silent_from:] = False
    counts = np.zeros(count, np.int64)
    for at, some in bad.items():
        counts[at] = some
    return Slices(START, STEP_S, counts * covered, np.full(count, total, np.int64) * covered, covered)


def slo(service: str, target: str = "0.99", *, method: BudgetingMethod = BudgetingMethod.OCCURRENCES) -> Slo:
    """A promise over seven rolling days."""
    return Slo(
        name=f"{service}-slo",
        service=service,
        method=method,
        window=RollingWindow(Duration(7, "d")),
        objectives=(Objective(Fraction(target), time_slice_target=Fraction(1, 2)),),
        indicator=Indicator("probe", RatioMetric()),
        step_s=STEP_S,
    )


def records() -> dict[str, tuple[Slo, Slices]]:
    """The promise and the record of each service of the fleet."""
    day = PER_DAY
    return {
        "fine": (slo("fine"), slices({5 * day: 40})),
        "burning": (slo("burning"), slices(dict.fromkeys(range(19 * day, 20 * day), 5))),
        WICKED: (
            slo(WICKED, method=BudgetingMethod.TIMESLICES),
            slices(dict.fromkeys(range(16 * day, 16 * day + 60), 90)),
        ),
        "silent": (slo("silent"), slices({}, silent_from=18 * day)),
    }


def reading(wanted: Sequence[tuple[Slo, Objective]]) -> list[Reading]:
    """Hands over the records of the fleet."""
    known = records()
    return [Reading(known[one.service][1], QUALITY) for one, _ in wanted]


def fleet() -> list[Assessment]:
    """Fine, burning, overspent and silent, in this order; the overspent one bears the wicked name."""
    return list(_fleet())


@cache
def _fleet() -> tuple[Assessment, ...]:
    slos = tuple(one for one, _ in records().values())
    return tuple(assess(Specs(slos=slos), slos, reading, at=END, incidents=INCIDENTS))


INCIDENTS = (Incident(START + 16 * DAY_S, START + 16 * DAY_S + 60 * STEP_S, "sev3", "deploy", "INC-<7>", WICKED),)

DEPLOYMENTS = (
    Deployment(START + 10 * DAY_S, WICKED, "feature", "v1"),
    Deployment(START + 18 * DAY_S, WICKED, "feature", "v2<b>"),
)


def decisions(assessments: Sequence[Assessment]) -> list[Decision]:
    """A feature asks in every service."""
    specs = Specs(slos=tuple(one.slo for one in assessments))
    return [
        ask_gate(specs, GateRequest(one.slo.service, END, change="abc123", title="<i>wallet</i>"), assessments)
        for one in assessments
    ]


def corner_cases() -> list[Assessment]:
    """A composite with its parts, a calendar window, one that was never measured, one without traffic."""
    fine = slices({5 * PER_DAY: 40})
    never = replace(fine, covered=np.zeros(len(fine), np.bool_), total=fine.total * 0, bad=fine.bad * 0)
    quiet = replace(fine, total=fine.total * 0, bad=fine.bad * 0)
    parts = tuple(
        Objective(Fraction("0.99"), name, time_slice_target=Fraction(1, 2), indicator=Indicator(name, RatioMetric()))
        for name in ("front", "<back>")
    )
    promised: list[tuple[Slo, Slices]] = [
        (
            replace(slo("whole", method=BudgetingMethod.TIMESLICES), objectives=parts, indicator=None),
            slices(dict.fromkeys(range(100), 90)),
        ),
        (replace(slo("calendar"), window=CalendarWindow(Duration(1, "w"), MONDAY, "Europe/Zurich")), fine),
        (slo("never"), never),
        (slo("quiet"), quiet),
    ]
    of = {one.service: units for one, units in promised}
    slos = tuple(one for one, _ in promised)
    return assess(Specs(slos=slos), slos, lambda wanted: [Reading(of[one.service]) for one, _ in wanted], at=END)
