"""Who is told what: each difference once, nothing while silenced, no end without a beginning."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.alerting.test_grouping import LOOKS, _world
from tests.alerting.worlds import FAST, NOON, TICKET, TIERS, seen
from tests.notify.worlds import HOUR, SLO, channel, paging, promised
from tightrope.alerting.grouping import REOPENS_WITHIN_S, Alert, Change, Seen, unfold
from tightrope.notify.messages import REPEATED
from tightrope.notify.planning import Draft, Route, Told, no_data_severity, plan, routes_of
from tightrope.specs.model import AlertPolicy, NotificationChannel, Topic

HOOK = channel(repeat_s=4 * HOUR)


class Teller:
    """Remembers what was told, as the store does."""

    def __init__(self, *routes: Route) -> None:
        self.routes = routes
        self.told: dict[tuple[str, str], Told] = {}
        self.drafts: list[Draft] = []
        self.due: int | None = None

    def tell(self, alert: Alert, now: int, *, muted: bool = False) -> list[str]:
        before = [one for (name, _), one in self.told.items() if name == alert.id]
        made = plan(alert, self.routes, before, muted=muted, now=now)
        self.told |= {(one.alert, one.channel): one for one in made.told}
        self.drafts += made.drafts
        self.due = made.due
        return [str(draft.change) for draft in made.drafts]


def _alert(*looks: Seen) -> list[Alert]:
    """The alert after each look."""
    found: list[Alert] = []
    alert: Alert | None = None
    for look in looks:
        alert, _ = unfold(alert, look)
        assert alert is not None
        found.append(alert)
    return found


def test_a_difference_is_told_once_and_again_only_when_reminding_is_due() -> None:
    teller, alert = Teller(Route(HOOK)), paging()
    assert teller.tell(alert, NOON) == [Change.OPENED]
    assert teller.tell(alert, NOON + 60) == []
    assert teller.due == NOON + 4 * HOUR
    assert teller.tell(alert, NOON + 4 * HOUR) == [REPEATED]
    assert teller.tell(alert, NOON + 4 * HOUR + 1) == []


def test_an_alert_that_gets_worse_eases_and_ends_is_told_so() -> None:
    teller = Teller(Route(HOOK))
    looks = (
        seen(NOON, {TICKET: NOON}),
        seen(NOON + 60, {TICKET: NOON, FAST: NOON + 60}),
        seen(NOON + 120, {TICKET: NOON}),
        seen(NOON + 180),
    )
    told = [teller.tell(alert, NOON + 60 * number) for number, alert in enumerate(_alert(*looks))]
    assert told == [[Change.OPENED], [Change.ESCALATED], [Change.EASED], [Change.RESOLVED]]
    assert [(one.before, one.severity) for one in teller.drafts] == [
        ("", "ticket"),
        ("ticket", "page"),
        ("page", "ticket"),
        ("ticket", "ticket"),
    ]
    assert [one.ends for one in teller.drafts] == [False, False, False, True]


def test_for_a_channel_of_pages_an_alert_ends_when_it_becomes_a_ticket() -> None:
    teller = Teller(Route(replace(HOOK, severities=frozenset({"page"}))))
    ticket, page, eased = _alert(
        seen(NOON, {TICKET: NOON}), seen(NOON + 60, {TICKET: NOON, FAST: NOON + 60}), seen(NOON + 120, {TICKET: NOON})
    )
    assert teller.tell(ticket, NOON) == []
    assert teller.tell(page, NOON + 60) == [Change.OPENED]
    assert teller.tell(eased, NOON + 120) == [Change.EASED]
    assert teller.drafts[-1].ends


def test_a_channel_of_tickets_hears_nothing_while_the_alert_pages() -> None:
    teller = Teller(Route(replace(HOOK, severities=frozenset({"ticket"}))))
    both, eased = _alert(seen(NOON, {FAST: NOON, TICKET: NOON}), seen(NOON + 60, {TICKET: NOON}))
    assert teller.tell(both, NOON) == []
    assert teller.tell(eased, NOON + 60) == [Change.OPENED]


def test_what_is_silenced_is_told_when_the_silence_ends_if_it_still_fires() -> None:
    teller, alert = Teller(Route(HOOK)), paging()
    assert teller.tell(alert, NOON, muted=True) == []
    assert teller.tell(alert, NOON + HOUR) == [Change.OPENED]
    quiet = Teller(Route(HOOK))
    assert quiet.tell(alert, NOON, muted=True) == []
    ended = replace(alert, resolved_at=NOON + 60)
    assert quiet.tell(ended, NOON + HOUR) == []


def test_an_end_is_told_even_while_silenced_to_whoever_was_called() -> None:
    teller, alert = Teller(Route(HOOK)), paging()
    teller.tell(alert, NOON)
    assert teller.tell(replace(alert, resolved_at=NOON + 60), NOON + 60, muted=True) == [Change.RESOLVED]


def test_who_wants_no_ends_is_told_none_and_hears_of_the_next_beginning() -> None:
    teller, alert = Teller(Route(HOOK, resolved=False)), paging()
    teller.tell(alert, NOON)
    assert teller.tell(replace(alert, resolved_at=NOON + 60), NOON + 60) == []
    assert teller.tell(replace(alert, times=2), NOON + 120) == [Change.REOPENED]


def test_an_alert_that_flaps_must_stay_away_before_its_end_is_told() -> None:
    teller, alert = Teller(Route(HOOK)), replace(paging(), times=2)
    teller.tell(alert, NOON)
    ended = replace(alert, resolved_at=NOON + 60)
    assert teller.tell(ended, NOON + 60) == []
    assert teller.due == NOON + 60 + REOPENS_WITHIN_S
    assert teller.tell(replace(ended, resolved_at=None, times=3), NOON + 120) == []
    assert teller.tell(ended, NOON + 60 + REOPENS_WITHIN_S) == [Change.RESOLVED]


def test_frozen_alerts_say_so_once_and_are_not_reminded_of() -> None:
    teller, alert = Teller(Route(HOOK)), paging()
    teller.tell(alert, NOON)
    frozen = replace(alert, frozen_since=NOON + 60)
    assert teller.tell(frozen, NOON + 60) == [Change.FROZEN]
    assert teller.tell(frozen, NOON + 9 * HOUR) == []
    assert teller.tell(alert, NOON + 10 * HOUR) == [Change.THAWED]


# --- routes --------------------------------------------------------------------------------------------------------


def _policy(name: str, *targets: str, **flags: bool) -> AlertPolicy:
    return AlertPolicy(name, TIERS[:2] if name == "fast" else TIERS[2:], targets, **flags)  # type: ignore[arg-type]


def _routes(*policies: AlertPolicy, channels: tuple[NotificationChannel, ...]) -> dict[str, Route]:
    return {one.channel.name: one for one in routes_of(promised(*policies), channels)}


PAGER, CHAT = channel("pager", default=False), channel("chat")


def test_without_alert_policies_the_default_channels_hear_everything() -> None:
    assert [(one.channel.name, one.numbers, one.no_data) for one in routes_of(SLO, (PAGER, CHAT))] == [
        ("chat", None, True)
    ]


def test_each_policy_tells_the_channels_that_it_names() -> None:
    found = _routes(_policy("fast", "pager"), _policy("slow", "chat"), channels=(PAGER, CHAT))
    assert {name: route.numbers for name, route in found.items()} == {
        "pager": frozenset({0, 1}),
        "chat": frozenset({2, 3}),
    }


def test_a_target_that_leads_nowhere_is_made_up_for_by_the_default_channels() -> None:
    assert list(_routes(_policy("fast", "email"), channels=(PAGER, CHAT))) == ["chat"]


def test_a_channel_hears_only_of_its_services_and_topics() -> None:
    others = channel("others", services=frozenset({"search"}))
    flows = channel("flows", what=frozenset({Topic.FLOW}))
    assert [one.channel.name for one in routes_of(SLO, (others, flows, CHAT))] == ["chat"]


@pytest.mark.parametrize(
    ("flags", "heard", "no_data", "resolved"),
    [
        ({}, True, False, True),
        ({"alert_when_breaching": False, "alert_when_no_data": True}, False, True, True),
        ({"alert_when_resolved": False}, True, False, False),
        ({"alert_when_breaching": True, "alert_when_resolved": True}, True, False, True),
    ],
)
def test_what_a_policy_says_of_breaches_missing_data_and_ends_is_kept(
    flags: dict[str, bool], heard: bool, no_data: bool, resolved: bool
) -> None:
    route = _routes(_policy("fast", "pager", **flags), channels=(PAGER,))["pager"]
    assert (bool(route.numbers), route.no_data, route.resolved) == (heard, no_data, resolved)


def test_missing_data_has_the_mildest_severity_of_the_policies_that_want_to_hear_of_it() -> None:
    assert no_data_severity(SLO) == "ticket"
    assert no_data_severity(promised(_policy("fast", "pager"))) == ""
    assert no_data_severity(promised(_policy("fast", "pager", alert_when_no_data=True))) == "page"


# --- laws ----------------------------------------------------------------------------------------------------------

CHANNELS = st.sampled_from(
    [
        Route(HOOK, no_data=True),
        Route(channel("pages", severities=frozenset({"page"}))),
        Route(channel("tickets", severities=frozenset({"ticket"})), no_data=True),
        Route(channel("fast"), frozenset({FAST})),
        Route(channel("mute-ends"), resolved=False),
    ]
)


@given(LOOKS, st.lists(st.booleans(), min_size=25, max_size=25), CHANNELS)
def test_beginnings_and_ends_alternate_and_nothing_begins_in_silence(
    rows: list[tuple[bool, frozenset[int]]], silenced: list[bool], route: Route
) -> None:
    teller = Teller(route)
    alert: Alert | None = None
    keys: list[str] = []
    firing: dict[str, bool] = {}
    for look, muted in zip(_world(rows), silenced, strict=False):
        alert, steps = unfold(alert, look)
        concerned = {step.alert.id: step.alert for step in steps} | ({alert.id: alert} if alert is not None else {})
        for one in concerned.values():
            count = len(teller.drafts)
            teller.tell(one, look.at, muted=muted)
            for draft in teller.drafts[count:]:
                keys.append(draft.key)
                begins = draft.change in {Change.OPENED, Change.REOPENED}
                assert begins is not firing.get(one.id, False)
                assert not (muted and not draft.ends)
                firing[one.id] = not draft.ends
            if teller.told.get((one.id, route.channel.name), Told("", "")).firing is False:
                firing[one.id] = False
            assert teller.tell(one, look.at, muted=muted) == []  # asked again, there is nothing to say
    assert len(keys) == len(set(keys))


@given(LOOKS, CHANNELS)
def test_at_the_end_of_every_silence_each_channel_knows_what_is_so(
    rows: list[tuple[bool, frozenset[int]]], route: Route
) -> None:
    loud, quiet = Teller(route), Teller(route)
    alert: Alert | None = None
    for look in _world(rows):
        alert, steps = unfold(alert, look)
        for one in [step.alert for step in steps] + ([alert] if alert is not None else []):
            loud.tell(one, look.at)
            quiet.tell(one, look.at, muted=True)
    if alert is not None:
        quiet.tell(alert, look.at)
        key = (alert.id, route.channel.name)
        heard, heard_late = loud.told.get(key), quiet.told.get(key)
        if alert.open and heard is not None and heard.firing:
            assert heard_late is not None
            assert (heard_late.firing, heard_late.severity, heard_late.frozen) == (True, heard.severity, heard.frozen)
        else:
            assert heard_late is None or not heard_late.firing or not alert.open
