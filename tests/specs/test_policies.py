"""Documents of our own kinds: what they mean, and what is refused where."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest

from tests.specs.samples import BULLET, EXCLUSION, POLICY, SLO, SOURCE, TIERS, codes, found, only, read, swapped
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import (
    AlertFiring,
    BlackoutHours,
    ChangeKind,
    Comparison,
    ErrorBudgetPolicy,
    ExceptionQuota,
    Expression,
    IncidentOpen,
    RemainingIs,
)
from tightrope.specs.store import load

SAFE = frozenset({ChangeKind.RELIABILITY, ChangeKind.SECURITY, ChangeKind.ROLLBACK, ChangeKind.EMERGENCY})
CALENDAR = "BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n"


def policy_of(text: str) -> ErrorBudgetPolicy:
    (policy,) = read(text).policies
    return policy


def test_the_default_policy_can_be_written_down() -> None:
    written = policy_of(swapped(POLICY, "      minimumStay: 30m\n", ""))
    assert written.states == DEFAULT_POLICY.states


def test_states_keep_their_minimum_stay_and_their_waits() -> None:
    strict = policy_of(POLICY).states[2]
    assert (strict.exit_for_s, strict.minimum_stay_s, strict.enter_for_s) == (86400, 1800, 0)


def test_a_policy_may_say_everything() -> None:
    text = POLICY + (
        "  basis: observed\n"
        "  unknown: {passes: [security], stopAfter: 10m}\n"
        "  blackoutHours:\n"
        '    - {name: weekend, days: [fri, sat], from: 16:00, to: "08:00", timeZone: Europe/Berlin, allows: none}\n'
        "  exceptions: {count: 3, per: month, approvers: [sre lead], longest: 12h}\n"
        "  postmortem: {share: 30%}\n"
        "  recurring: off\n"
        "  outOfScope: [dependency]\n"
        "  maxConcurrentRollouts: 2\n"
        "  rules:\n"
        "    - {id: friday, when: \"kind == 'feature'\", verdict: warn, message: It is late}\n"
    )
    policy = policy_of(text)
    assert policy.basis == "observed"
    assert (policy.unknown.passes, policy.unknown.stop_after_s) == (frozenset({ChangeKind.SECURITY}), 600)
    assert policy.blackouts == (
        BlackoutHours("weekend", frozenset({4, 5}), 16 * 60, 8 * 60, "Europe/Berlin", frozenset()),
    )
    assert policy.exceptions == ExceptionQuota(3, "M", ("sre lead",), 12 * 3600)
    assert (policy.postmortem_share, policy.recurring_share) == (Fraction(3, 10), None)
    assert (policy.out_of_scope, policy.max_concurrent_rollouts) == (frozenset({"dependency"}), 2)
    assert (policy.rules[0].id, policy.rules[0].verdict) == ("friday", "warn")


def test_a_silent_policy_keeps_the_defaults_of_the_model() -> None:
    policy = policy_of(POLICY)
    bare = ErrorBudgetPolicy(policy.name, policy.states)
    assert (policy.unknown, policy.postmortem_share) == (bare.unknown, bare.postmortem_share)
    assert (policy.exceptions, policy.freezes, policy.rules) == (None, (), ())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{remaining: "<= -10 %"}', RemainingIs(Comparison.LTE, Fraction(-1, 10))),
        ("{openIncident: []}", IncidentOpen(frozenset())),
        ("{alertFiring: [page]}", AlertFiring(frozenset({"page"}))),
    ],
)
def test_each_condition_reads_as_itself(written: str, meant: object) -> None:
    text = swapped(POLICY, '{remaining: "<= 0%"}', written)
    assert policy_of(text).states[2].enter == meant


def test_a_cel_condition_knows_its_place() -> None:
    enter = policy_of(swapped(POLICY, '{remaining: "<= 0%"}', "{cel: remaining < 0.0}")).states[2].enter
    assert isinstance(enter, Expression)
    assert (enter.text, enter.place.line) == ("remaining < 0.0", 20)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('{remaining: "<= 0%"}', "{remaining: 0%}", "TR022"),
        ('{remaining: "<= 0%"}', '{remaining: "=< 0%"}', "TR022"),
        ('{remaining: "<= 0%"}', "{}", "TR022"),
        ('{remaining: "<= 0%"}', "{for: 5m}", "TR022"),
        ('{remaining: "<= 0%"}', '{remaining: "<= 0%", openIncident: []}', "TR022"),
        ('{remaining: "<= 0%"}', "{any: []}", "TR019"),
        ('{remaining: "<= 0%"}', '{all: [{remaining: "<= 0%", for: 1h}]}', "TR011"),
        ('{remaining: "<= 0%"}', "{remianing: 5}", "TR011"),
        ('over: 6h, is: "< 1"', 'is: "< 1"', "TR013"),
        ("allows: [reliability, security, rollback, emergency]", "allows: [bugfix]", "TR016"),
        ("allows: [reliability, security, rollback, emergency]", "allows: some", "TR016"),
        ("      flow: stability\n", "", "TR013"),
        ("- name: stability\n", "- name: caution\n", "TR024"),
        ('      exit: {remaining: ">= 10%", for: 24h}\n', "", "TR024"),
        (
            "      flow: feature\n      allows: all\n",
            "      flow: feature\n      allows: all\n      enter: {openIncident: []}\n",
            "TR024",
        ),
        ("minimumStay: 30m", "minimumStay: 30 minutes", "TR017"),
    ],
)
def test_a_wrong_state_is_an_error(old: str, new: str, code: str) -> None:
    findings = found(swapped(POLICY, old, new))
    assert code in [finding.code for finding in findings]
    assert all(finding.severity == "error" and finding.remedy for finding in findings)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("unknown: {passes: [x]}", "TR016"),
        ("blackoutHours: [{name: a, days: [fri], from: '25:00', to: '08:00'}]", "TR020"),
        ("blackoutHours: [{name: a, days: [fri], from: '08:00', to: '08:00'}]", "TR020"),
        ("blackoutHours: [{name: a, days: [], from: '08:00', to: '09:00'}]", "TR019"),
        ("blackoutHours: [{name: a, days: [friday], from: '08:00', to: '09:00'}]", "TR016"),
        ("exceptions: {count: -1, per: quarter}", "TR012"),
        ("exceptions: {count: 1.5, per: quarter}", "TR012"),
        ("exceptions: {count: 1, per: week}", "TR016"),
        ("postmortem: {share: 20}", "TR012"),
        ("postmortem: never", "TR016"),
        ("maxConcurrentRollouts: 0", "TR012"),
        ("rules: [{id: a, when: b, verdict: go, message: c}]", "TR016"),
        ("freezes: [{name: a, calendar: nowhere.ics}]", "TR028"),
        ("freezes: [{name: a, calendar: ..}]", "TR028"),
        ('freezes: [{name: a, calendar: "no\\ncalendar"}]', "TR028"),
    ],
)
def test_a_wrong_rule_of_a_policy_is_an_error(line: str, code: str) -> None:
    assert codes(POLICY + f"  {line}\n") == [code]


def test_a_share_without_its_percent_sign_is_told_to_add_it() -> None:
    finding = only(POLICY + "  postmortem: {share: 20}\n")
    assert finding.remedy == "for 20 % write 20%"


def test_a_freeze_takes_its_calendar_from_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "holidays.ics").write_text(CALENDAR, "utf-8")
    (tmp_path / "policy.yaml").write_text(
        POLICY + "  freezes: [{name: holidays, calendar: holidays.ics, environments: [production]}]\n", "utf-8"
    )
    (policy,) = load([str(tmp_path)]).policies
    (freeze,) = policy.freezes
    assert (freeze.calendar, freeze.allows, freeze.environments) == (CALENDAR, SAFE, frozenset({"production"}))


def test_a_freeze_may_hold_its_calendar_itself() -> None:
    block = "".join(f"        {line}\n" for line in CALENDAR.splitlines())
    policy = policy_of(POLICY + f"  freezes:\n    - name: own\n      calendar: |\n{block}")
    assert policy.freezes[0].calendar == CALENDAR


def test_a_file_that_is_no_calendar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.ics").write_bytes(b"\xff\xfe")
    (tmp_path / "other.ics").write_text("hello", "utf-8")
    for name, said in (("notes.ics", "not UTF-8"), ("other.ics", "not iCalendar")):
        text = POLICY + f"  freezes: [{{name: a, calendar: {tmp_path / name}}}]\n"
        finding = only(text)
        assert finding.code == "TR028"
        assert said in finding.message


def test_the_version_of_a_policy_follows_its_content_alone() -> None:
    policy = policy_of(POLICY)
    moved = policy_of("# a note\n\n" + POLICY.replace("< 25%", " < 25.0%"))
    assert policy_of("# a note\n" + POLICY).version == policy.version
    assert moved.version != policy.version
    assert replace(moved, version=policy.version, place=policy.place) == policy


def test_no_service_follows_two_policies() -> None:
    assert codes(POLICY, swapped(POLICY, "careful", "other")) == ["TR030"]
    assert codes(POLICY, swapped(swapped(POLICY, "careful", "other"), "[checkout]", "[search]")) == []
    everything = swapped(POLICY, "  services: [checkout]\n", "")
    assert codes(POLICY, swapped(everything, "careful", "other")) == []
    assert codes(everything, swapped(everything, "careful", "other")) == ["TR030"]


# --- alert tiers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "wrong"),
    [
        ("budget: 2%, factor: 14.4", ["TR018"]),
        ("alertAfter: 5m", ["TR018"]),
        ("budget: 2", ["TR012"]),
        ("budget: 0%", ["TR012"]),
        ("budget: two", ["TR014"]),
        ("factor: 0", ["TR012"]),
        ("share: 5%, budget: 2%", ["TR021"]),
        ("budget: 2%, confidence: 95%", ["TR021"]),
        ("budget: 2%, short: 2h", ["TR012"]),
        ("type: consumed, budget: 2%", ["TR018", "TR021"]),
        ("type: consumed, share: 5%, short: 5m", ["TR021"]),
        ("type: burnRate, budget: 2%", ["TR016"]),
        ("type: significance, budget: 2%, confidence: 200%", ["TR012"]),
        ("budget: 2%, atLeastBad: -1", ["TR012"]),
        ("type: significance, budget: 2%", []),
    ],
)
def test_each_type_of_tier_has_its_own_measure(tier: str, wrong: list[str]) -> None:
    text = f"""\
        apiVersion: tightrope.dev/v1
        kind: MultiWindowAlertPolicy
        metadata: {{name: tiers}}
        spec: {{tiers: [{{name: a, severity: page, long: 1h, {tier}}}]}}
        """
    assert codes(text) == wrong


def test_tiers_have_different_names() -> None:
    assert codes(TIERS.replace("name: slow", "name: page-1h")) == ["TR027"]


# --- exclusions and silver bullets -------------------------------------------------------------------------------


def test_an_exclusion_keeps_local_time_and_zone() -> None:
    (exclusion,) = read(EXCLUSION).exclusions
    assert (exclusion.starts_at, exclusion.duration_s) == (datetime(2026, 3, 1, 2), 7200)
    assert (exclusion.time_zone, exclusion.rrule, exclusion.cause) == (
        "Europe/Berlin",
        "FREQ=WEEKLY;BYDAY=SU",
        "maintenance",
    )
    assert (exclusion.slos, exclusion.retroactive) == (frozenset({"checkout-availability"}), False)
    assert exclusion.declared_at == 1769904000


@pytest.mark.parametrize(
    "rule", ["FREQ=DAILY;UNTIL=20260401T000000Z", "RRULE:FREQ=MONTHLY;BYDAY=1SU;COUNT=3", "FREQ=DAILY;UNTIL=20260401"]
)
def test_recurrences_of_all_forms_are_read(rule: str) -> None:
    (exclusion,) = read(swapped(EXCLUSION, "FREQ=WEEKLY;BYDAY=SU", rule)).exclusions
    assert exclusion.rrule == rule.removeprefix("RRULE:")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("FREQ=WEEKLY;BYDAY=SU", "every sunday", "TR020"),
        ("FREQ=WEEKLY;BYDAY=SU", "FREQ=SOMETIMES", "TR020"),
        ("FREQ=WEEKLY;BYDAY=SU", "FREQ=WEEKLY;BYDAY=XX", "TR020"),
        ("FREQ=WEEKLY;BYDAY=SU", "BYDAY=SU", "TR020"),
        ("FREQ=WEEKLY;BYDAY=SU", "FREQ=HOURLY", "TR020"),
        ("FREQ=WEEKLY;BYDAY=SU", "freq=minutely;interval=5", "TR020"),
        ("FREQ=WEEKLY;BYDAY=SU", "FREQ=DAILY;COUNT=2;UNTIL=20270101", "TR020"),
        ("FREQ=WEEKLY;BYDAY=SU", "FREQ=DAILY;INTERVAL=0", "TR020"),
        ("2026-03-01 02:00:00", "2026-03-01T02:00:00+01:00", "TR020"),
        ("2026-03-01 02:00:00", "2026-13-01 02:00:00", "TR020"),
        ("duration: 2h", "duration: 0h", "TR017"),
        ("Europe/Berlin", "Europe", "TR020"),
        ("Europe/Berlin", "../../etc/passwd", "TR020"),
        ("declaredAt: 2026-02-01T00:00:00Z", "declaredAt: yesterday", "TR020"),
        ("declaredAt: 2026-02-01T00:00:00Z", "declaredAt: 2026-02-31", "TR020"),
        ("duration: 2h", "durations: 2h", "TR011"),
    ],
)
def test_a_wrong_exclusion_is_an_error(old: str, new: str, code: str) -> None:
    assert code in codes(swapped(EXCLUSION, old, new))


def test_an_exclusion_of_nothing_is_a_warning() -> None:
    assert codes(SLO, SOURCE, EXCLUSION) == []
    assert codes(SLO, SOURCE, swapped(EXCLUSION, "checkout-availability", "chekout-availability")) == ["TR039"]


def test_a_silver_bullet_names_two_people_and_an_end() -> None:
    (bullet,) = read(BULLET).silver_bullets
    assert (bullet.granted_at, bullet.expires_at) == (1773309600, 1773338400)
    assert codes(swapped(BULLET, "sre lead", "Shop Team")) == ["TR025"]
    assert codes(swapped(BULLET, "2026-03-12T18:00:00Z", "2026-03-12T10:00:00Z")) == ["TR025"]
    assert codes(swapped(BULLET, "  reason: contract date\n", "")) == ["TR013"]
