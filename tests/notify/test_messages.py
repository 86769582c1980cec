"""What people read: one sentence that says it all, three ways of saying how much, and what to do."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.alerting.worlds import NOON, TICKET, seen
from tests.notify.worlds import DAY, HOUR, RECENT, facts, paging
from tightrope.alerting.grouping import Alert, Change, unfold
from tightrope.budget.words import Standing
from tightrope.notify.messages import (
    LONGEST_TITLE,
    REPEATED,
    FlowChange,
    Message,
    alert_message,
    flow_message,
    message_of,
    trial_message,
)
from tightrope.specs.model import ChangeKind, Flow, ShipHow

BASE = "https://tightrope.example"


def told(
    change: str, alert: Alert | None = None, *, now: int = NOON + 120, before: str = "", **others: object
) -> Message:
    one = alert if alert is not None else paging()
    given: dict[str, object] = {"facts": facts(now=now), "recent": RECENT, "base_url": BASE}
    return alert_message(one, change, severity=one.severity, out=one.out, now=now, before=before, **(given | others))  # type: ignore[arg-type]


def test_a_page_says_what_burns_how_much_is_lost_and_when_the_budget_ends() -> None:
    message = told(Change.OPENED)
    assert message.title == (
        "checkout-availability burns its budget 21.4× as fast as planned: 3.2 % lost in 1h, the rest runs out in 4 h"
    )
    assert message.plain.splitlines() == [
        "Promise: checkout-availability promises 99.9 % over 28d",
        "Lost: 3.2 % of the budget, 77 s of full outage, 107 events of 5,000, in the last 1h; burn 21.4×",
        "Left: 12.4 %, 620 events left of 5,000 events",
        "Ends: about 1 Mar 16:02 UTC at this burn, in 4 h",
        "Rule: page-1h, since 12:00 UTC",
        "Changed: 11:55 UTC deployment v2.35.0 of checkout (production), 5.0 min before",
        "Do: look at what changed; a rollback is never held back",
        'Or: be quiet about it: tightrope alert silence slo=checkout-availability --for 1h --why "…"',
    ]
    assert message.link == f"{BASE}/alerts/{paging().id}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            Change.ESCALATED,
            "burns its budget 21.4× as fast as planned: 3.2 % lost in 1h, the rest runs out in 4 h (now page,",
        ),
        (Change.FROZEN, "sends no data: its page is frozen, it neither fires nor resolves until data is back"),
        (Change.THAWED, "sends data again and still burns its budget 21.4× as fast as planned"),
        (REPEATED, "still burns its budget 21.4× as fast as planned"),
        (Change.REOPENED, "checkout-availability, the 1st time since 12:00 UTC, burns its budget"),
    ],
)
def test_each_change_has_its_sentence(change: str, says: str) -> None:
    assert says in told(change, before="ticket").title


def test_the_end_says_how_long_it_took_and_what_is_left_and_asks_for_nothing() -> None:
    message = told(Change.RESOLVED, replace(paging(), resolved_at=NOON + 2520), now=NOON + 2520)
    assert message.title == (
        "checkout-availability no longer burns its budget too fast, after 42.0 min; "
        "12.4 %, 620 events left of its budget"
    )
    assert message.action == "resolve"
    assert {label for label, _ in message.lines} == {"Promise", "Left"}


def test_an_alert_that_eases_out_of_a_channel_ends_there() -> None:
    alert, _ = unfold(paging(), seen(NOON + 60, {TICKET: NOON}))
    assert alert is not None
    message = told(Change.EASED, alert, before="page", ends=True)
    assert (message.action, message.before) == ("resolve", "page")
    assert "burns its budget more slowly (now ticket, was page)" in message.title


def test_missing_data_says_for_how_long_and_that_nothing_is_known() -> None:
    alert, _ = unfold(None, seen(NOON, stale=True))
    assert alert is not None
    silent = replace(facts().standing, stale=True, age_s=720)
    message = told(Change.OPENED, alert, facts=replace(facts(), standing=silent))
    assert message.title == ("checkout-availability has sent no data for 12.0 min: how it is doing is unknown")
    assert message.plain.startswith("Changed: ")
    assert "find out why no telemetry of checkout arrives" in message.plain
    assert told(Change.RESOLVED, replace(alert, resolved_at=NOON + 60)).title.endswith("sends data again")


def test_time_based_budgets_are_told_in_time() -> None:
    timed = replace(facts(), standing=replace(facts().standing, unit_s=60))
    lost = dict(told(Change.OPENED, facts=timed).lines)["Lost"]
    assert lost.startswith("3.2 % of the budget, 77 s of bad time, in the last")


def test_without_facts_the_rule_is_named() -> None:
    message = told(Change.OPENED, facts=None, recent=())
    assert message.title == "checkout-availability burns its error budget too fast (page-1h)"


def test_an_empty_budget_has_no_end_to_come() -> None:
    spent = facts(remaining=Fraction(-124, 1000))
    message = told(Change.OPENED, facts=replace(spent, standing=replace(spent.standing, coming=None, coming_at=None)))
    assert message.title.endswith("3.2 % lost in 1h, none is left")
    assert dict(message.lines)["Left"] == "−12.4 %, 620 events over budget of 5,000 events"


def _flow(before: Flow, after: Flow, *, holds: bool, coming_at: int | None = None) -> Message:
    standing: Standing = replace(
        facts(remaining=Fraction(-124, 1000)).standing,
        flow=after,
        ship=ShipHow.GUARDED if holds else ShipHow.STANDARD,
        coming="recovered" if coming_at else None,
        coming_at=coming_at,
        holds_features=holds,
    )
    allows = frozenset({ChangeKind.RELIABILITY, ChangeKind.ROLLBACK}) if holds else frozenset(ChangeKind)
    change = FlowChange("checkout", NOON, "feature", "stability", before, after, "budget ≤ 0 %", standing, allows)
    return flow_message(change, NOON + 60, base_url=BASE)


def test_stability_flow_says_until_when_features_wait() -> None:
    message = _flow(Flow.FEATURE, Flow.STABILITY, holds=True, coming_at=NOON + 20 * DAY)
    assert message.title == "checkout is in stability flow: features wait until about 21 Mar"
    assert dict(message.lines)["May ship"] == "reliability, rollback"
    assert message.lines[0][1] == "checkout is 620 events over budget. Features wait until about 21 Mar."
    assert message.link == f"{BASE}/services/checkout"


def test_feature_flow_says_that_features_may_ship_again() -> None:
    message = _flow(Flow.STABILITY, Flow.FEATURE, holds=False)
    assert message.title == "checkout is in feature flow: features may ship again"
    assert message.action == "note"


def test_a_message_that_was_kept_is_the_message_that_was() -> None:
    for message in (told(Change.OPENED), trial_message("hook", "mara", NOON)):
        assert message_of(message.document()) == message


@given(st.text(max_size=300), st.sampled_from([*map(str, Change), REPEATED]))
def test_no_title_is_longer_than_allowed_or_steers_a_terminal(service: str, change: str) -> None:
    alert = replace(paging(), service=service or "x", resolved_at=NOON + 60 if change == Change.RESOLVED else None)
    title = told(change, alert, before="ticket").title
    assert len(title) <= LONGEST_TITLE
    assert title.isprintable()


def test_what_comes_from_outside_makes_no_marks() -> None:
    message = told(Change.OPENED, replace(paging(), service="<b>*shop*</b>"))
    assert "\\*shop\\*" in message.markdown
    assert "<b>" not in message.markdown.replace("\\<b\\>", "")


def test_hours_are_counted_from_what_is_known() -> None:
    assert told(REPEATED, now=NOON + 4 * HOUR).title.endswith("for 4 h")
    alert = replace(paging(), out=())
    assert told(Change.OPENED, alert).title.endswith("burns its error budget too fast")
