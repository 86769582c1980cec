"""What a CEL condition sees slice by slice is what the statement says, and nobody is asked the same twice."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import strategies
from tests.oracle.bridge import slices_of
from tests.oracle.reference import Record, Row
from tightrope.base.units import Duration
from tightrope.budget.statement import state_of
from tightrope.engine.plan import Incident, compile_plan
from tightrope.engine.replay import replay
from tightrope.sli.slices import Slices
from tightrope.specs.model import (
    Basis,
    ChangeKind,
    ErrorBudgetPolicy,
    Expression,
    Flow,
    PolicyState,
    RollingWindow,
    Window,
)

TARGET = Fraction(9, 10)
HOUR = RollingWindow(Duration(1, "h"))
EVERYTHING = 'remaining < consumed && burn["5m"] > burn["1h"] && coverage > 0.5 || incidents == []'
LOOKBACKS_S = (300, 1800, 3600)


def asked(
    text: str, units: Slices, window: Window, basis: Basis, weight: Fraction, incidents: tuple[Incident, ...]
) -> list[dict[str, object]]:
    """The facts on which a replay asked about *text*, in order."""
    kinds = frozenset(ChangeKind)
    strict = PolicyState("strict", Flow.STABILITY, kinds, enter=Expression(text))
    plan = compile_plan(
        step_s=units.step_s,
        target=TARGET,
        window=window,
        conditions=(),
        policy=ErrorBudgetPolicy("asking", (PolicyState("free", Flow.FEATURE, kinds), strict)),
        basis=basis,
        lookbacks_s=LOOKBACKS_S,
        weight=weight,
    )
    seen: list[dict[str, object]] = []

    def ask(asked_text: str, facts: Mapping[str, object]) -> bool:
        assert asked_text == text
        seen.append(dict(facts))
        return False

    replay(plan, units, incidents=incidents, ask=ask)
    return seen


@settings(max_examples=60)
@given(st.data(), st.sampled_from(list(Basis)), st.sampled_from((Fraction(1), Fraction(2))))
def test_an_expression_sees_the_statement_of_every_slice_once(
    data: st.DataObject, basis: Basis, weight: Fraction
) -> None:
    step_s = data.draw(st.sampled_from((60, 1800)))
    record: Record = data.draw(strategies.records(most=data.draw(st.sampled_from((12, 10**15))), step_s=step_s))
    window = data.draw(strategies.windows(step_s))
    known = data.draw(strategies.incidents(record))
    incidents = tuple(Incident(one.start, one.end or 2**40, one.severity) for one in known)
    units = slices_of(record)
    told = asked(EVERYTHING, units, window, basis, weight, incidents)
    expected: list[dict[str, object]] = []
    history = record.history if record.history is not None else units.end
    for at in range(history + step_s, units.end + 1, step_s):
        statement = state_of(units, TARGET, window, at, lookbacks_s=(300, 3600), weight=weight)
        consumed = statement.budget(basis).consumed_ratio
        facts: dict[str, object] = {
            "remaining": None if consumed is None else 1 - float(consumed),
            "consumed": None if consumed is None else float(consumed),
            "burn": {"5m": float(statement.burns[0].rate), "1h": float(statement.burns[1].rate)},
            "coverage": float(statement.coverage),
            "incidents": [one.severity for one in incidents if one.start <= at < one.end],
        }
        if facts not in expected:
            expected.append(facts)
    assert told == expected


@pytest.mark.parametrize(
    ("text", "names", "lookbacks"),
    [
        ("remaining < 0.5", {"remaining"}, None),
        ("burn['30m'] > 2.0", {"burn"}, {"30m"}),
        ("burn.exists(k, burn[k] > 2.0)", {"burn"}, {"5m", "30m", "1h"}),
        ("'sev1' in incidents", {"incidents"}, None),
        ("true", set(), None),
    ],
)
def test_an_expression_sees_no_more_than_it_names(text: str, names: set[str], lookbacks: set[str] | None) -> None:
    record = Record(0, 60, (Row(1, 2),) * 30)
    (facts,) = asked(text, slices_of(record), HOUR, Basis.OBSERVED, Fraction(1), ())
    assert set(facts) == names
    burns = facts.get("burn")
    assert (set(burns) if isinstance(burns, dict) else None) == lookbacks
