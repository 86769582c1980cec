"""The gate, rule by rule: what it answers, why, how to ship, and for how long the answer holds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from tests.policy.worlds import NOW, asking, bullet, calendar, facts, freeze, overspent, silent, slo
from tightrope.base.errors import Place, UsageError
from tightrope.base.units import parse_time
from tightrope.policy.decision import Decision, Forecast, Reason, Verdict
from tightrope.policy.digest import inputs_digest
from tightrope.policy.gate import VALID_S, decide
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import (
    BlackoutHours,
    ChangeKind,
    ExceptionQuota,
    Flow,
    GateRule,
    ShipHow,
    WhenUnknown,
)

GO, STOP, WAIT = Verdict.GO, Verdict.STOP, Verdict.WAIT
FEATURE, RELIABILITY, SECURITY = ChangeKind.FEATURE, ChangeKind.RELIABILITY, ChangeKind.SECURITY
EMERGENCY, ROLLBACK, CONFIG = ChangeKind.EMERGENCY, ChangeKind.ROLLBACK, ChangeKind.CONFIG
TODAY = calendar("DTSTART;VALUE=DATE:20260312\nDTEND;VALUE=DATE:20260314\nSUMMARY:Spring sale")


def said(decision: Decision, rule: str) -> Reason:
    return next(reason for reason in decision.reasons if reason.rule == rule)


def rules(decision: Decision) -> list[str]:
    return [reason.rule for reason in decision.reasons]


@pytest.mark.parametrize(
    ("state", "kind", "verdict", "ship"),
    [
        ("feature", FEATURE, GO, ShipHow.STANDARD),
        ("feature", CONFIG, GO, ShipHow.STANDARD),
        ("caution", FEATURE, GO, ShipHow.GUARDED),
        ("caution", ROLLBACK, GO, ShipHow.GUARDED),
        ("stability", FEATURE, STOP, ShipHow.GUARDED),
        ("stability", CONFIG, STOP, ShipHow.GUARDED),
        ("stability", RELIABILITY, GO, ShipHow.GUARDED),
        ("stability", SECURITY, GO, ShipHow.GUARDED),
        ("stability", EMERGENCY, GO, ShipHow.GUARDED),
        ("stability", ROLLBACK, GO, ShipHow.GUARDED),
    ],
)
def test_the_default_policy_answers_as_its_table_says(
    state: str, kind: ChangeKind, verdict: Verdict, ship: ShipHow
) -> None:
    decision = decide(asking(kind), facts(slo(state, remaining=Fraction(1, 20))))
    assert (decision.verdict, decision.ship) == (verdict, ship)


def test_at_or_above_the_objective_releases_proceed_under_the_normal_policy() -> None:
    decision = decide(asking(), facts(slo()))
    assert decision.verdict is GO
    assert decision.flow is Flow.FEATURE
    assert decision.allows == tuple(ChangeKind)
    assert decision.summary == "checkout has 60.0 % of its budget left (24.2 min); features may ship."


def test_an_overspent_budget_halts_features_until_the_way_out_is_met() -> None:
    decision = decide(asking(), facts(overspent()))
    assert decision.verdict is STOP
    assert decision.flow is Flow.STABILITY
    assert decision.allows == (RELIABILITY, SECURITY, EMERGENCY, ROLLBACK)
    assert decision.summary == (
        "checkout has overspent its budget by 12.4 % (5.0 min); features wait, about until 21 Mar 09:40 UTC; "
        "reliability, security, emergency and rollback may ship."
    )
    assert said(decision, "state-allows-kind") == Reason(
        "state-allows-kind",
        "stop",
        "features may not ship in stability",
        "budget −12.4 % (−5.0 of 40.3 min)",
        "budget left ≥ 10 % for 1d",
        "checkout-availability",
    )


def test_a_stop_says_what_would_turn_it() -> None:
    policy = replace(DEFAULT_POLICY, exceptions=ExceptionQuota(2, "Q", ("payments lead", "SRE lead")))
    assert decide(asking(), facts(overspent(), policy=policy)).would_change == (
        "Budget left ≥ 10 % for 1d would end stability; now budget −12.4 % (−5.0 of 40.3 min).",
        "Expected about 21 Mar 09:40 UTC (80 %: 21 to 27 Mar), if quiet days.",
        "A change of kind reliability, security, emergency or rollback may ship now.",
        "An exception approved by payments lead or SRE lead would let it through; 2 of 2 left this quarter.",
    )


def test_a_go_says_what_would_end_it() -> None:
    exhausted = Forecast("exhausted", NOW + 8 * 86400, assumption="the burn goes on")
    sale = freeze(calendar("DTSTART:20260320T000000Z\nDTEND:20260322T000000Z"))
    policy = replace(DEFAULT_POLICY, freezes=(sale,))
    assert decide(asking(), facts(slo(forecast=exhausted), policy=policy)).would_change == (
        "Budget left ≤ 0 % would enter stability and stop features.",
        "Expected about 20 Mar 14:12 UTC, if the burn goes on.",
        "Data missing for longer than 10m would make features wait.",
        "The freeze spring-sale stops features from 20 Mar 00:00 UTC until 22 Mar 00:00 UTC.",
    )


def test_the_strictest_slo_decides_and_is_named() -> None:
    latency = overspent("checkout-latency")
    decision = decide(asking(), facts(slo(), slo("caution", name="checkout-freshness"), latency))
    assert decision.state == "stability"
    assert decision.slos[0].slo == "checkout-latency"
    assert said(decision, "state-allows-kind").slo == "checkout-latency"
    assert decision.summary.startswith("checkout has overspent the budget of checkout-latency by 12.4 %")
    assert decision.forecast == latency.forecast


def test_a_state_that_still_holds_while_the_budget_recovers_is_named() -> None:
    decision = decide(asking(), facts(slo("stability", remaining=Fraction(42, 1000))))
    assert decision.summary.startswith("checkout has 4.2 % of its budget left (1.7 min) and is in stability; features")


def test_an_event_budget_is_told_in_events() -> None:
    spent = slo("stability", unit_s=0, allowed=Fraction(43_140), remaining=Fraction(-1, 10))
    assert "by 10.0 % (47,454 of 43,140 events)" in decide(asking(), facts(spent)).summary
    left = slo(unit_s=0, allowed=Fraction(43_140), remaining=Fraction(1, 2))
    assert "has 50.0 % of its budget left (21,570 of 43,140 events)" in decide(asking(), facts(left)).summary


# --- missing data --------------------


@pytest.mark.parametrize(
    ("age_s", "kind", "verdict"),
    [
        (1_800, FEATURE, WAIT),
        (1_800, CONFIG, WAIT),
        (3_599, FEATURE, WAIT),
        (3_600, FEATURE, STOP),
        (90_000, FEATURE, STOP),
        (None, FEATURE, STOP),
        (1_800, RELIABILITY, GO),
        (90_000, SECURITY, GO),
        (90_000, EMERGENCY, GO),
        (None, ROLLBACK, GO),
    ],
)
def test_missing_data_waits_then_stops_but_repairs_pass(age_s: int | None, kind: ChangeKind, verdict: Verdict) -> None:
    decision = decide(asking(kind), facts(silent(age_s)))
    assert decision.verdict is verdict
    assert decision.ship is ShipHow.GUARDED
    assert said(decision, "telemetry-fresh").outcome == {GO: "warn", WAIT: "wait", STOP: "stop"}[verdict]


def test_a_wait_for_data_says_since_when_and_when_it_will_stop() -> None:
    decision = decide(asking(), facts(silent(1_800)))
    assert decision.summary.startswith(
        "checkout has had no telemetry since 13:42 UTC (30.0 min); features wait and stop at 14:42 UTC;"
    )
    assert said(decision, "telemetry-fresh").bound == "at most 10m; stops at 14:42 UTC"


def test_the_policy_says_who_passes_without_data_and_for_how_long_others_wait() -> None:
    policy = replace(DEFAULT_POLICY, unknown=WhenUnknown(frozenset({FEATURE}), 7200))
    assert decide(asking(FEATURE), facts(silent(90_000), policy=policy)).verdict is GO
    assert decide(asking(SECURITY), facts(silent(7_000), policy=policy)).verdict is WAIT
    assert decide(asking(SECURITY), facts(silent(7_200), policy=policy)).verdict is STOP


def test_one_slo_without_data_is_enough_to_wait() -> None:
    assert decide(asking(), facts(slo(), silent(1_800, "checkout-latency"))).verdict is WAIT


def test_a_known_stop_is_not_softened_by_missing_data_elsewhere() -> None:
    assert decide(asking(), facts(overspent(), silent(1_800, "checkout-latency"))).verdict is STOP


def test_a_service_without_a_promise_goes_with_a_warning() -> None:
    decision = decide(asking(), facts())
    assert decision.verdict is GO
    assert said(decision, "slo-exists").outcome == "warn"
    assert decision.summary == "nothing is promised for checkout; features may ship."


def test_a_freeze_holds_also_where_nothing_is_promised() -> None:
    assert decide(asking(), facts(policy=replace(DEFAULT_POLICY, freezes=(freeze(TODAY),)))).verdict is STOP


def test_a_window_measured_in_part_warns_and_does_not_block() -> None:
    decision = decide(asking(), facts(slo(coverage=Fraction(94, 100))))
    assert decision.verdict is GO
    assert said(decision, "window-measured").measured == "94.0 %"
    assert "window-measured" not in rules(decide(asking(), facts(slo(coverage=Fraction(95, 100)))))


def test_an_unknown_budget_is_never_called_good() -> None:
    decision = decide(asking(), facts(slo(remaining=None)))
    assert decision.summary == "checkout has no known budget yet; features may ship."
    assert said(decision, "state-allows-kind").measured == "budget unknown"


# --- freezes and blackout hours --------------------


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [(FEATURE, STOP), (CONFIG, STOP), (RELIABILITY, GO), (SECURITY, GO), (EMERGENCY, GO), (ROLLBACK, GO)],
)
def test_a_freeze_stops_what_it_does_not_allow_but_never_emergencies_and_rollbacks(
    kind: ChangeKind, verdict: Verdict
) -> None:
    policy = replace(DEFAULT_POLICY, freezes=(freeze(TODAY),))
    assert decide(asking(kind), facts(slo(), policy=policy)).verdict is verdict


def test_a_freeze_says_until_when() -> None:
    decision = decide(asking(), facts(slo(), policy=replace(DEFAULT_POLICY, freezes=(freeze(TODAY),))))
    assert decision.summary == (
        "checkout is in the freeze spring-sale; features wait until 14 Mar 00:00 UTC; "
        "reliability, security, emergency and rollback may ship."
    )
    assert said(decision, "freeze:spring-sale").bound == "until 14 Mar 00:00 UTC"


def test_of_several_freezes_only_what_all_allow_ships() -> None:
    both = (
        freeze(TODAY, "one", frozenset({RELIABILITY, SECURITY})),
        freeze(TODAY, "two", frozenset({SECURITY, CONFIG})),
    )
    decision = decide(asking(RELIABILITY), facts(slo(), policy=replace(DEFAULT_POLICY, freezes=both)))
    assert decision.verdict is STOP
    assert decision.allows == (SECURITY, EMERGENCY, ROLLBACK)


def test_a_freeze_of_another_environment_does_not_count() -> None:
    staging = freeze(TODAY, environments=frozenset({"staging"}))
    policy = replace(DEFAULT_POLICY, freezes=(staging,))
    assert decide(asking(), facts(slo(), policy=policy)).verdict is GO
    assert decide(asking(env="staging"), facts(slo(), policy=policy)).verdict is STOP


def test_blackout_hours_stop_like_a_freeze() -> None:
    afternoon = BlackoutHours("thursday", frozenset({3}), 14 * 60, 16 * 60, "UTC", frozenset({SECURITY}))
    decision = decide(asking(), facts(slo(), policy=replace(DEFAULT_POLICY, blackouts=(afternoon,))))
    assert decision.verdict is STOP
    assert decision.summary.startswith("checkout is in the blackout hours thursday; features wait until 16:00 UTC;")


def test_a_calendar_that_cannot_be_read_makes_features_wait_and_lets_repairs_pass() -> None:
    policy = replace(DEFAULT_POLICY, freezes=(freeze("junk"),))
    decision = decide(asking(), facts(slo(), policy=policy))
    assert decision.verdict is WAIT
    assert "not an iCalendar text" in said(decision, "freeze:spring-sale").says
    assert decision.allows == (RELIABILITY, SECURITY, EMERGENCY, ROLLBACK)


# --- the other rules --------------------


@pytest.mark.parametrize(("running", "verdict"), [(0, GO), (1, GO), (2, WAIT), (3, WAIT)])
def test_rollouts_wait_for_each_other(running: int, verdict: Verdict) -> None:
    policy = replace(DEFAULT_POLICY, max_concurrent_rollouts=2)
    assert decide(asking(), facts(slo(), policy=policy, rollouts_running=running)).verdict is verdict


def test_a_rollback_does_not_wait_for_other_rollouts() -> None:
    policy = replace(DEFAULT_POLICY, max_concurrent_rollouts=1)
    assert decide(asking(ROLLBACK), facts(slo(), policy=policy, rollouts_running=1)).verdict is GO


@pytest.mark.parametrize(
    ("when", "verb", "verdict"),
    [
        ("remaining < 0.7", "stop", STOP),
        ("remaining < 0.7", "wait", WAIT),
        ("remaining < 0.7", "warn", GO),
        ("remaining < 0.5", "stop", GO),
        ("burn['6h'] >= 0.5 && kind == 'feature'", "stop", STOP),
        ("slos['checkout-availability'].remaining < 0.7 && rollouts == 0", "stop", STOP),
        ("weekday == 3 && hour >= 14", "wait", WAIT),
        ("incidents.exists(i, i == 'sev1')", "stop", STOP),
        ("'page' in firing && askedBy == 'dev'", "stop", STOP),
        ("state == 'feature' && flow == 'feature' && environment == 'production'", "stop", STOP),
    ],
)
def test_a_rule_of_ones_own_sees_the_facts(when: str, verb: str, verdict: Verdict) -> None:
    policy = replace(DEFAULT_POLICY, rules=(GateRule("own", when, verb, "ask the release lead"),))
    known = facts(slo(firing=(("page-1h", "page"),)), policy=policy, open_incidents=(("INC-1", "sev1"),))
    assert decide(asking(), known).verdict is verdict


@pytest.mark.parametrize("when", ["remaining <", "remaining", "consumed > 1.0", "burn['9h'] > 1.0"])
def test_a_rule_that_cannot_be_asked_makes_features_wait_and_says_why(when: str) -> None:
    policy = replace(DEFAULT_POLICY, rules=(GateRule("own", when, "stop", "no"),))
    known = facts(slo(remaining=None if "consumed" in when else Fraction(1, 2)), policy=policy)
    decision = decide(asking(), known)
    assert decision.verdict is WAIT
    assert said(decision, "rule:own").says.startswith("the rule can't be asked: ")
    assert decide(asking(SECURITY), known).verdict is GO
    assert decide(asking(ROLLBACK), known).verdict is GO


def test_open_incidents_and_firing_pages_warn_and_a_page_guards() -> None:
    decision = decide(asking(), facts(slo(), open_incidents=(("INC-2", "sev2"),)))
    assert decision.verdict is GO
    assert decision.ship is ShipHow.STANDARD
    assert said(decision, "incidents-closed").says == "INC-2 (sev2) is open"
    paged = decide(asking(), facts(slo(firing=(("page-1h", "page"), ("ticket-1d", "ticket")))))
    assert paged.verdict is GO
    assert paged.ship is ShipHow.GUARDED
    assert said(paged, "no-page-firing").measured == "page-1h"
    assert decide(asking(), facts(slo(firing=(("ticket-1d", "ticket"),)))).ship is ShipHow.STANDARD


def test_a_rollback_goes_through_everything_at_once_and_says_so() -> None:
    policy = replace(
        DEFAULT_POLICY,
        freezes=(freeze(TODAY, allows=frozenset()), freeze("junk", "broken")),
        max_concurrent_rollouts=0,
        rules=(GateRule("never", "true", "stop", "never"),),
        unknown=WhenUnknown(frozenset(), 0),
    )
    decision = decide(asking(ROLLBACK), facts(silent(None, state="stability"), policy=policy))
    assert decision.verdict is GO
    assert not decision.exempt
    assert said(decision, "rollback-never-gated").says == "rollbacks are never gated"
    assert {reason.outcome for reason in decision.reasons} == {"ok", "warn"}
    assert decision.allows == (ROLLBACK,)


# --- exceptions --------------------


def test_a_valid_silver_bullet_turns_a_stop_into_an_exempt_and_guarded_go() -> None:
    decision = decide(asking(), facts(overspent(), bullets=(bullet(),)))
    assert decision.verdict is GO
    assert decision.exempt
    assert decision.exception == "contract-date"
    assert decision.ship is ShipHow.GUARDED
    assert decision.exceptions_left == 1
    assert FEATURE not in decision.allows
    assert said(decision, "state-allows-kind").outcome == "stop"
    assert decision.summary == (
        "checkout has overspent its budget by 12.4 % (5.0 min); "
        "features may ship by exception contract-date until 18:12 UTC, guarded."
    )


def test_a_silver_bullet_lifts_freezes_and_blackout_hours_too() -> None:
    afternoon = BlackoutHours("thursday", frozenset({3}), 14 * 60, 16 * 60, "UTC", frozenset())
    policy = replace(DEFAULT_POLICY, freezes=(freeze(TODAY),), blackouts=(afternoon,))
    assert decide(asking(), facts(slo(), policy=policy, bullets=(bullet(),))).exempt


def test_a_silver_bullet_is_not_spent_where_the_answer_is_go_anyway() -> None:
    decision = decide(asking(), facts(slo(), bullets=(bullet(),)))
    assert (decision.verdict, decision.exempt, decision.exception) == (GO, False, "")


@pytest.mark.parametrize("blocked", ["data", "rollouts", "rule"])
def test_a_silver_bullet_does_not_lift_missing_data_rollouts_or_own_rules(blocked: str) -> None:
    policy = replace(
        DEFAULT_POLICY,
        max_concurrent_rollouts=0 if blocked == "rollouts" else None,
        rules=(GateRule("own", "true", "stop", "no"),) if blocked == "rule" else (),
    )
    missing = (silent(1_800, "checkout-latency"),) if blocked == "data" else ()
    decision = decide(asking(), facts(overspent(), *missing, policy=policy, bullets=(bullet(),)))
    assert decision.verdict is STOP
    assert not decision.exempt
    assert "does not lift" in said(decision, "exception:contract-date").says


def test_a_silver_bullet_that_does_not_count_says_why() -> None:
    expired = bullet(expires_at=NOW)
    decision = decide(asking(), facts(overspent(), bullets=(expired,)))
    assert decision.verdict is STOP
    assert said(decision, "exception:contract-date").says == (
        "the exception contract-date was not used: it expired 14:12 UTC"
    )


def test_an_exception_of_a_period_long_past_is_not_worth_a_word() -> None:
    old = bullet(granted_at=parse_time("2025-11-03"), expires_at=parse_time("2025-11-04"))
    assert "exception:contract-date" not in rules(decide(asking(), facts(overspent(), bullets=(old,))))


def test_of_several_valid_exceptions_the_one_that_expires_first_is_used() -> None:
    later = bullet("later", expires_at=NOW + 86400)
    assert decide(asking(), facts(overspent(), bullets=(later, bullet()))).exception == "contract-date"


# --- the record --------------------


def test_a_decision_holds_for_ten_minutes() -> None:
    assert decide(asking(), facts(slo())).expires_at == NOW + VALID_S


def test_a_decision_holds_no_longer_than_what_it_rests_on() -> None:
    ends = calendar("DTSTART:20260312T000000Z\nDTEND:20260312T141500Z")
    begins = calendar("DTSTART:20260312T141600Z\nDTEND:20260313T000000Z")
    frozen = facts(slo(), policy=replace(DEFAULT_POLICY, freezes=(freeze(ends),)))
    assert decide(asking(), frozen).expires_at == NOW + 180
    coming = facts(slo(), policy=replace(DEFAULT_POLICY, freezes=(freeze(begins),)))
    assert decide(asking(), coming).expires_at == NOW + 240
    assert decide(asking(), facts(silent(3_500))).expires_at == NOW + 100
    soon = facts(overspent(), bullets=(bullet(expires_at=NOW + 60),))
    assert decide(asking(), soon).expires_at == NOW + 60


def test_the_id_follows_from_the_inputs_alone() -> None:
    request, known = asking(), facts(slo(), overspent("checkout-latency"), bullets=(bullet(), bullet("b")))
    other_order = replace(known, slos=known.slos[::-1], bullets=known.bullets[::-1])
    decision = decide(request, known)
    assert decision == decide(request, other_order)
    assert decision.id == f"D-{inputs_digest(request, known)[:10]}"
    assert inputs_digest(replace(request, asked_at=NOW + 1), known) != decision.inputs_digest
    assert inputs_digest(request, replace(known, rollouts_running=1)) != decision.inputs_digest


def test_where_a_policy_was_read_from_makes_no_other_decision() -> None:
    elsewhere = replace(DEFAULT_POLICY, place=Place("elsewhere.yaml", 7))
    assert decide(asking(), facts(slo(), policy=elsewhere)) == decide(asking(), facts(slo()))


def test_a_decision_says_how_the_kind_was_found() -> None:
    reason = said(decide(replace(asking(), kind_from="label"), facts(slo())), "change-kind")
    assert (reason.measured, reason.bound) == ("feature", "label")


def test_a_state_that_the_policy_does_not_have_is_named() -> None:
    with pytest.raises(UsageError, match="'sunny', which policy default does not have"):
        decide(asking(), facts(slo("sunny")))
