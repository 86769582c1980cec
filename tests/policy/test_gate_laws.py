"""Laws of the gate, over all worlds that hypothesis can think of."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.worlds import NOW, ONLY_STABILITY, asking, bullet, calendar, facts, freeze, slo
from tightrope.policy.decision import GateFacts, SloFacts, Verdict
from tightrope.policy.gate import VALID_S, decide
from tightrope.policy.rendering import decision_document, decision_lines, exit_code
from tightrope.policy.silver_bullets import refusal
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import BlackoutHours, ChangeKind, GateRule, ShipHow

STRICTNESS = {Verdict.GO: 0, Verdict.WAIT: 1, Verdict.STOP: 2}
STATES = [state.name for state in DEFAULT_POLICY.states]
HELD = calendar("DTSTART;VALUE=DATE:20260312")
COMING = calendar("DTSTART:20260312T141500Z\nDURATION:PT1H")

kinds = st.sampled_from(ChangeKind)
Item = TypeVar("Item")
a_few_worlds = settings(max_examples=40)


@st.composite
def slos(draw: st.DrawFn, name: str) -> SloFacts:
    known = draw(st.booleans())
    age = draw(st.none() | st.integers(0, 10_000))
    return slo(
        draw(st.sampled_from(STATES)),
        name=name,
        remaining=draw(st.fractions(-2, 1, max_denominator=50)) if known else None,
        unit_s=draw(st.sampled_from([0, 60])),
        age_s=age,
        stale=age is None or age >= 600,
        coverage=draw(st.fractions(0, 1, max_denominator=20)),
        burn=draw(st.none() | st.fractions(0, 20, max_denominator=10)),
        firing=draw(st.sampled_from([(), (("page-1h", "page"),), (("ticket-1d", "ticket"),)])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> GateFacts:
    policy = replace(
        DEFAULT_POLICY,
        freezes=draw(st.sampled_from([(), (freeze(HELD),), (freeze(COMING),), (freeze("junk"), freeze(HELD, "b"))])),
        blackouts=draw(
            st.sampled_from([(), (BlackoutHours("hours", frozenset(range(7)), 840, 900, "UTC", ONLY_STABILITY),)])
        ),
        rules=draw(st.sampled_from([(), (GateRule("one", "rollouts > 1", "stop", "no"),)])),
        max_concurrent_rollouts=draw(st.none() | st.integers(0, 2)),
    )
    bullets = draw(
        st.lists(
            st.builds(
                bullet,
                st.sampled_from(["a", "b", "c", "d"]),
                granted_at=st.integers(NOW - 9000, NOW + 10),
                expires_at=st.integers(NOW - 100, NOW + 900_000),
                approved_by=st.sampled_from(["lead", "DEV ", ""]),
                service=st.sampled_from(["checkout", "search"]),
                change=st.sampled_from(["", "abc123", "fff"]),
            ),
            max_size=4,
        )
    )
    return facts(
        *[draw(slos(f"slo-{number}")) for number in range(draw(st.integers(0, 3)))],
        policy=policy,
        bullets=tuple(bullets),
        bullets_used=frozenset(draw(st.sets(st.sampled_from(["a", "b"])))),
        open_incidents=draw(st.sampled_from([(), (("INC-1", "sev1"), ("INC-2", "sev3"))])),
        rollouts_running=draw(st.integers(0, 3)),
    )


@a_few_worlds
@given(worlds(), kinds, st.randoms(use_true_random=False))
def test_the_order_of_facts_never_matters(world: GateFacts, kind: ChangeKind, random: Random) -> None:
    shuffled = replace(
        world,
        slos=tuple(_shuffled(world.slos, random)),
        bullets=tuple(_shuffled(world.bullets, random)),
        open_incidents=tuple(_shuffled(world.open_incidents, random)),
    )
    assert decide(asking(kind), shuffled) == decide(asking(kind), world)


def _shuffled(items: tuple[Item, ...], random: Random) -> list[Item]:
    mixed = list(items)
    random.shuffle(mixed)
    return mixed


@a_few_worlds
@given(worlds())
def test_a_rollback_always_goes(world: GateFacts) -> None:
    decision = decide(asking(ChangeKind.ROLLBACK), world)
    assert decision.verdict is Verdict.GO
    assert not decision.exempt
    assert ChangeKind.ROLLBACK in decision.allows


@a_few_worlds
@given(worlds(), slos("extra"), kinds)
def test_one_more_slo_never_makes_the_verdict_freer(world: GateFacts, extra: SloFacts, kind: ChangeKind) -> None:
    before = decide(asking(kind), world)
    after = decide(asking(kind), replace(world, slos=(*world.slos, extra)))
    assert STRICTNESS[after.verdict] >= STRICTNESS[before.verdict]
    assert set(after.allows) <= set(before.allows)
    assert not (before.ship is ShipHow.GUARDED and after.ship is ShipHow.STANDARD)


@a_few_worlds
@given(worlds(), kinds)
def test_exempt_means_a_valid_exception_and_nothing_that_it_cannot_lift(world: GateFacts, kind: ChangeKind) -> None:
    request = asking(kind)
    decision = decide(request, world)
    if not decision.exempt:
        assert decision.exception == ""
        return
    used = [one for one in world.bullets if one.name == decision.exception]
    quota = world.policy.exceptions
    assert any(refusal(one, request, quota, world.bullets, world.bullets_used) == "" for one in used)
    assert decision.verdict is Verdict.GO
    assert decision.ship is ShipHow.GUARDED
    assert kind not in decision.allows
    blocking = {one.rule.partition(":")[0] for one in decision.reasons if one.outcome in {"stop", "wait"}}
    assert blocking <= {"state-allows-kind", "freeze", "blackout"}


@a_few_worlds
@given(worlds(), kinds)
def test_every_verdict_has_its_reason(world: GateFacts, kind: ChangeKind) -> None:
    decision = decide(asking(kind), world)
    outcomes = {reason.outcome for reason in decision.reasons}
    worst = Verdict.STOP if "stop" in outcomes else Verdict.WAIT if "wait" in outcomes else Verdict.GO
    assert decision.exempt or decision.verdict is worst
    assert (kind in decision.allows) == (worst is Verdict.GO)
    assert all(reason.says and reason.rule for reason in decision.reasons)
    assert decision.summary.endswith(".")
    assert decision.verdict is Verdict.GO or decision.would_change


@a_few_worlds
@given(worlds(), kinds)
def test_a_decision_is_valid_for_a_while_and_never_too_long(world: GateFacts, kind: ChangeKind) -> None:
    decision = decide(asking(kind), world)
    assert NOW < decision.expires_at <= NOW + VALID_S


@a_few_worlds
@given(worlds(), kinds, st.integers(40, 120))
def test_every_decision_can_be_shown(world: GateFacts, kind: ChangeKind, width: int) -> None:
    decision = decide(asking(kind), world)
    document = decision_document(decision)
    assert document["exitCode"] == exit_code(decision) == {"go": 0, "stop": 3, "wait": 4}[document["verdict"]]
    lines = decision_lines(decision, width=width, ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert all(len(line) <= width or " " not in line[11:].strip() for line in lines[1:])


@given(st.fractions(-3, 1, max_denominator=500))
def test_the_sentence_and_the_figure_agree_on_the_sign(remaining: Fraction) -> None:
    state = "stability" if remaining <= 0 else "feature"
    summary = decide(asking(), facts(slo(state, remaining=remaining))).summary
    assert ("overspent" in summary) == (remaining < 0)
    assert ("left" in summary) == (remaining > 0)
