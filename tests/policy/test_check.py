"""What validating a policy finds in its calendars and expressions."""

from __future__ import annotations

from dataclasses import replace

from tests.policy.worlds import calendar, freeze
from tightrope.base.errors import Place
from tightrope.policy.check import findings
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import AnyOf, Expression, GateRule, Not


def test_the_default_policy_has_no_findings() -> None:
    assert findings(DEFAULT_POLICY) == ()


def test_all_findings_come_at_once_each_at_its_place() -> None:
    first, caution, stability = DEFAULT_POLICY.states
    wrong = Expression("remaining <", Place("p.yaml", 3))
    fine = Expression("burn['6h'] > 2.0")
    policy = replace(
        DEFAULT_POLICY,
        states=(first, replace(caution, enter=AnyOf((fine, Not(wrong)))), stability),
        freezes=(freeze("junk", "sale"), freeze(calendar("DTSTART;VALUE=DATE:20251224"))),
        rules=(
            GateRule("good", "kind == 'feature'", "stop", "no"),
            GateRule("bad", "kid == 'feature'", "stop", "no", Place("p.yaml", 9)),
        ),
    )
    found = findings(policy)
    assert [one.place.line for one in found] == [3, 1, 9]
    assert "`remaining <`" in found[0].message
    assert "freeze 'sale'" in found[1].message
    assert "'kid' is not a fact" in found[2].message
