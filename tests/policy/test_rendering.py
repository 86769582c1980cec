"""A decision as others get it: the JSON document, the block of text, the words for numbers and instants."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.policy.worlds import NOW, asking, bullet, calendar, facts, freeze, overspent, silent, slo
from tightrope.base.units import parse_time
from tightrope.policy.decision import Forecast
from tightrope.policy.gate import decide
from tightrope.policy.rendering import decision_document, decision_lines, exit_code
from tightrope.policy.wording import forecast_text, instant_text, kinds_text, listing, part_text
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import ChangeKind, ErrorBudgetPolicy, ExceptionQuota

ASKED = replace(DEFAULT_POLICY, exceptions=ExceptionQuota(2, "Q", ("payments lead", "SRE lead")))


def frozen(policy: ErrorBudgetPolicy = ASKED) -> ErrorBudgetPolicy:
    return replace(policy, freezes=(freeze(calendar("DTSTART;VALUE=DATE:20260312\nSUMMARY:Spring sale")),))


def test_a_stop_tells_why_since_until_what_may_ship_and_whom_to_ask() -> None:
    assert decision_lines(decide(asking(), facts(overspent(), policy=ASKED))) == [
        'STOP    checkout · abc123 "Express wallet button" · feature',
        "  why      budget −12.4 % (−5.0 of 40.3 min); feature needs budget left ≥ 10 % for 1d",
        "  since    03:19 UTC, 10 h 53 m ago · budget left −12.4 % (≤ 0 %)",
        "  until    about 21 Mar 09:40 UTC (80 %: 21 to 27 Mar)",
        "  now ok   reliability, security, emergency and rollback",
        "  or ask   payments lead, SRE lead · 2 of 2 exceptions left this quarter",
        '           tightrope exception request checkout --change abc123 --reason "..."',
        "  as of    2026-03-12T14:12:00Z",
        "  more     tightrope explain checkout",
    ]


def test_an_exempt_go_names_who_granted_it_and_until_when() -> None:
    lines = decision_lines(decide(asking(), facts(overspent(), policy=ASKED, bullets=(bullet(),))))
    assert lines[0].startswith("EXEMPT  checkout · abc123")
    assert "  exempt   granted by payments lead to dev until 18:12 UTC, “contract date”" in lines


def test_a_wait_tells_when_it_will_turn_into_a_stop() -> None:
    lines = decision_lines(decide(asking(), facts(silent(1_800))))
    assert lines[0].startswith("WAIT    checkout")
    assert "  until    data returns; stops at 14:42 UTC" in lines
    assert not any(line.startswith("  or ask") for line in lines)


def test_a_guarded_go_says_how_to_ship() -> None:
    lines = decision_lines(decide(asking(env="staging"), facts(slo("caution", remaining=Fraction(182, 1000)))))
    assert lines == [
        'GO      checkout · abc123 "Express wallet button" · feature · staging · guarded: smaller steps, longer bake',
        "  why      checkout has 18.2 % of its budget left (7.3 min) and is in caution",
        "  as of    2026-03-12T14:12:00Z",
    ]


def test_a_freeze_tells_its_end_and_warnings_are_notes() -> None:
    known = facts(slo(), policy=frozen(), open_incidents=(("INC-7", "sev2"),))
    lines = decision_lines(decide(asking(), known), more="https://tightrope.example/decisions")
    assert "  until    13 Mar 00:00 UTC, the end of the freeze spring-sale" in lines
    assert "  note     INC-7 (sev2) is open" in lines
    assert lines[-1] == "  more     https://tightrope.example/decisions"


def test_lines_fit_the_width_and_can_be_ascii() -> None:
    decision = decide(asking(), facts(overspent(), policy=frozen()))
    lines = decision_lines(decision, width=60, ascii_only=True)
    assert max(len(line) for line in lines[1:]) <= 60
    assert all(line.isascii() for line in lines)
    assert lines[1] == "  why      budget -12.4 % (-5.0 of 40.3 min); feature needs"


def test_colours_are_the_callers_and_sit_on_the_verdict_and_the_labels() -> None:
    lines = decision_lines(decide(asking(), facts(slo())), style=lambda text, role: f"<{role}>{text}</>")
    assert lines[0].startswith("<go>GO</>      checkout")
    assert lines[1].startswith("  <label>why</>      checkout has")


def test_a_title_cannot_steer_the_terminal() -> None:
    evil = replace(asking(), title="\x1b[2J\nGO  fine")
    lines = decision_lines(decide(evil, facts(overspent())))
    assert all(line.isprintable() for line in lines)


def test_the_document_is_a_stable_contract() -> None:
    forecast = Forecast("recovered", parse_time("2026-03-21T09:40:00Z"), None, None, "quiet days")
    known = facts(replace(overspent(), forecast=forecast, firing=(("page-1h", "page"),)), policy=ASKED)
    decision = decide(asking(), known)
    document = decision_document(decision)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document == {
        "id": decision.id,
        "verdict": "stop",
        "exempt": False,
        "service": "checkout",
        "environment": "production",
        "kind": "feature",
        "kindFrom": "given",
        "change": "abc123",
        "title": "Express wallet button",
        "askedBy": "dev",
        "flow": "stability",
        "state": "stability",
        "stateSince": "2026-03-12T03:19:00Z",
        "ship": "guarded",
        "summary": decision.summary,
        "reasons": [
            {
                "rule": reason.rule,
                "outcome": reason.outcome,
                "says": reason.says,
                "measured": reason.measured,
                "bound": reason.bound,
                "slo": reason.slo,
            }
            for reason in decision.reasons
        ],
        "slos": [
            {
                "slo": "checkout-availability",
                "objective": 0.999,
                "state": "stability",
                "budget": {"remainingRatio": -0.124, "consumed": 45.31968, "allowed": 40.32, "unit": "minutes"},
                "coverage": 0.997,
                "burnRates": {"1h": 0.5, "6h": 0.5},
                "dataAgeSeconds": 21,
                "stale": False,
                "firing": [{"condition": "page-1h", "severity": "page"}],
            }
        ],
        "allows": ["reliability", "security", "emergency", "rollback"],
        "forecast": {
            "what": "recovered",
            "at": "2026-03-21T09:40:00Z",
            "earliest": None,
            "latest": None,
            "assumption": "quiet days",
        },
        "wouldChange": list(decision.would_change),
        "exception": "",
        "exceptionsLeft": 2,
        "policy": "default",
        "policyVersion": "built-in-1",
        "inputsDigest": decision.inputs_digest,
        "decidedAt": "2026-03-12T14:12:00Z",
        "expiresAt": "2026-03-12T14:22:00Z",
        "exitCode": 3,
    }


def test_what_is_not_known_is_null_in_the_document() -> None:
    document = decision_document(decide(asking(), facts(slo(remaining=None, burn=None, age_s=None, stale=True))))
    (one,) = document["slos"]
    assert one["budget"] == {"remainingRatio": None, "consumed": None, "allowed": None, "unit": "minutes"}
    assert one["burnRates"] == {"1h": None, "6h": None}
    assert one["dataAgeSeconds"] is None
    assert document["forecast"] is None


@pytest.mark.parametrize(
    ("decided", "code"),
    [
        (facts(slo()), 0),
        (facts(overspent()), 3),
        (facts(silent(1_800)), 4),
        (facts(overspent(), bullets=(bullet(),)), 0),
    ],
)
def test_the_exit_code_is_the_verdict(decided: object, code: int) -> None:
    assert exit_code(decide(asking(), decided)) == code  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("at", "text"),
    [
        ("2026-03-12T14:42:59Z", "14:42 UTC"),
        ("2026-03-21T09:40:00Z", "21 Mar 09:40 UTC"),
        ("2027-01-01T00:00:00Z", "1 Jan 2027 00:00 UTC"),
        ("2025-12-31T23:59:00Z", "31 Dec 2025 23:59 UTC"),
    ],
)
def test_an_instant_says_as_much_as_is_needed(at: str, text: str) -> None:
    assert instant_text(parse_time(at), NOW) == text


def test_a_forecast_has_its_range() -> None:
    at, early, late = (parse_time(f"2026-{day}T09:40:00Z") for day in ("03-21", "03-20", "04-02"))
    assert forecast_text(Forecast("recovered", at, early, late), NOW).endswith("(80 %: 20 Mar to 2 Apr)")
    assert forecast_text(Forecast("recovered", at, early, None), NOW).endswith("(80 %: 20 Mar or later)")
    assert forecast_text(Forecast("recovered", at, None, late), NOW).endswith("(80 %: 2 Apr or sooner)")
    assert forecast_text(Forecast("recovered", at, at, at), NOW).endswith("(80 %: the same day)")
    assert forecast_text(Forecast("recovered", at, early, early), NOW).endswith("(80 %: 20 Mar)")
    next_year = parse_time("2027-03-25T00:00:00Z")
    assert forecast_text(Forecast("recovered", at, early, next_year), NOW).endswith("(80 %: 20 Mar to 25 Mar 2027)")
    assert forecast_text(Forecast("recovered", None), NOW) == "not within the forecast's horizon"


def test_numbers_and_lists_read_like_language() -> None:
    assert part_text(Fraction(1240), Fraction(43_140)) == "1,240 of 43,140 events"
    assert part_text(Fraction(-5, 2), Fraction(13, 10)) == "−2.5 of 1.3 events"
    assert [listing(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert kinds_text({ChangeKind.ROLLBACK, ChangeKind.FEATURE}) == "feature and rollback"
