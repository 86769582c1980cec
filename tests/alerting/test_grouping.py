"""One alert for an objective: it opens, gets worse, eases, holds still, ends, and may come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.alerting.worlds import (
    CHECKOUT,
    FAST,
    LAST,
    MINUTE,
    NOON,
    SLOW,
    TICKET,
    TIERS,
    changes,
    course,
    event,
    seen,
)
from tightrope.alerting.grouping import (
    BURN,
    NO_DATA,
    REOPENS_WITHIN_S,
    Alert,
    Change,
    Seen,
    alert_of,
    closed,
    document_of,
    merged,
    rank,
    unfold,
)


def test_slower_tiers_join_without_a_word_and_lead_when_the_faster_ones_end() -> None:
    alert, steps = course(
        seen(NOON, {FAST: NOON}),
        seen(NOON + 60, {FAST: NOON, SLOW: NOON + 60, TICKET: NOON + 60}),
        seen(NOON + 120, {TICKET: NOON + 60}),
        seen(NOON + 180),
    )
    assert [(one.change, one.at, one.alert.severity) for one in steps] == [
        (Change.OPENED, NOON, "page"),
        (Change.EASED, NOON + 120, "ticket"),
        (Change.RESOLVED, NOON + 180, "ticket"),
    ]
    assert [one.name for one in steps[1].alert.out] == ["ticket-1d"]
    assert alert is not None
    assert (alert.worst, alert.resolved_at) == ("page", NOON + 180)


def test_a_ticket_that_becomes_a_page_escalates_the_same_alert() -> None:
    _, steps = course(seen(NOON, {TICKET: NOON}), seen(NOON + 60, {TICKET: NOON, FAST: NOON + 60}))
    assert [one.change for one in steps] == [Change.OPENED, Change.ESCALATED]
    assert steps[1].before == "ticket"
    assert steps[0].alert.id == steps[1].alert.id
    assert [one.name for one in steps[1].alert.out] == ["page-1h", "ticket-1d"]


def test_missing_data_freezes_an_alert_and_neither_fires_nor_ends_it() -> None:
    alert, steps = course(
        seen(NOON, {FAST: NOON}),
        seen(NOON + 600, {FAST: NOON}, stale=True),
        seen(NOON + 660, {FAST: NOON}, stale=True),
    )
    assert [(one.change, one.at) for one in steps] == [(Change.OPENED, NOON), (Change.FROZEN, NOON + 600)]
    assert alert is not None
    assert alert.open
    _, more = unfold(alert, seen(NOON + 720, {FAST: NOON}))
    assert [one.change for one in more] == [Change.THAWED]
    _, more = unfold(alert, seen(NOON + 720, events=[event(NOON + 720, FAST, False)]))
    assert [one.change for one in more] == [Change.THAWED, Change.RESOLVED]


def test_missing_data_of_a_calm_objective_is_an_alert_of_its_own_if_anybody_wants_it() -> None:
    _, steps = course(seen(NOON, stale=True), seen(NOON + 60, stale=True), seen(NOON + 120))
    assert [(one.change, one.alert.name, one.alert.severity) for one in steps] == [
        (Change.OPENED, NO_DATA, "ticket"),
        (Change.RESOLVED, NO_DATA, "ticket"),
    ]
    unwanted = Seen(replace(CHECKOUT, no_data=""), (None,) * 4, True, NOON)
    assert unfold(None, unwanted) == (None, ())
    never = Seen(CHECKOUT, (None,) * 4, True, NOON, measured=False)
    assert unfold(None, never) == (None, ())


def test_data_that_returns_burning_ends_one_alert_and_opens_another() -> None:
    alert, steps = course(seen(NOON, stale=True), seen(NOON + 60, {FAST: NOON + 60}))
    assert [(one.change, one.alert.name) for one in steps] == [
        (Change.OPENED, NO_DATA),
        (Change.RESOLVED, NO_DATA),
        (Change.OPENED, BURN),
    ]
    assert alert is not None
    assert alert.name == BURN


def test_an_alert_that_comes_back_soon_is_the_same_one_and_later_another() -> None:
    soon, late = NOON + 60 + REOPENS_WITHIN_S, NOON + 61 + REOPENS_WITHIN_S
    ended = (seen(NOON, {FAST: NOON}), seen(NOON + 60))
    alert, steps = course(*ended, seen(soon, {TICKET: soon}))
    assert [one.change for one in steps] == [Change.OPENED, Change.RESOLVED, Change.REOPENED]
    assert alert is not None
    assert (alert.id, alert.times, alert.severity, alert.worst) == (steps[0].alert.id, 2, "ticket", "page")
    other, steps = course(*ended, seen(late, {FAST: late}))
    assert [one.change for one in steps] == [Change.OPENED, Change.RESOLVED, Change.OPENED]
    assert other is not None
    assert other.id != alert.id


def test_what_fires_at_the_first_look_is_told_with_its_true_beginning() -> None:
    _, (step,) = course(seen(NOON, {FAST: NOON - 7200, TICKET: NOON - 3600}))
    assert (step.change, step.at, step.alert.opened_at) == (Change.OPENED, NOON - 7200, NOON - 7200)


def test_conditions_of_changed_specs_replace_those_that_were_out() -> None:
    before, _ = course(seen(NOON, {FAST: NOON, TICKET: NOON}))
    fewer = Seen(replace(CHECKOUT, conditions=TIERS[2:]), (None, NOON + 30), False, NOON + 60)
    after, steps = unfold(before, fewer)
    assert [one.change for one in steps] == [Change.EASED]
    assert after is not None
    assert [one.name for one in after.out] == ["ticket-3d"]


def test_an_alert_of_what_is_no_longer_watched_ends_and_says_why() -> None:
    alert, _ = course(seen(NOON, {FAST: NOON}))
    assert alert is not None
    step = closed(alert, NOON + 60, "no longer watched")
    assert (step.change, step.alert.open, step.why) == (Change.RESOLVED, False, "no longer watched")


@pytest.mark.parametrize(("word", "place"), [("page", 0), ("Critical", 0), ("sev2", 1), ("ticket", 2), ("oddly", 2)])
def test_words_of_severity_have_an_order(word: str, place: int) -> None:
    assert rank(word) == place


def test_ids_are_printable_and_follow_from_the_opening() -> None:
    first, second = (course(seen(at, {FAST: at}))[0] for at in (NOON, NOON + 60))
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert first.id == course(seen(NOON, {FAST: NOON}))[0].id  # type: ignore[union-attr]
    assert len(first.id) == 10
    assert first.id[2:].isalnum()


# --- laws ----------------------------------------------------------------------------------------------------------

LOOKS = st.lists(
    st.tuples(st.booleans(), st.frozensets(st.sampled_from([FAST, SLOW, TICKET, LAST]))), min_size=1, max_size=25
)


def _world(rows: list[tuple[bool, frozenset[int]]], gap: int = MINUTE) -> list[Seen]:
    """Minutes of an objective as the engine sees them: while data is missing, what fires stays as it is."""
    looks: list[Seen] = []
    firing: dict[int, int] = {}
    for minute, (stale, wanted) in enumerate(rows):
        at = NOON + minute * gap
        events = []
        if not stale:
            events = [event(at, number, True) for number in sorted(wanted - firing.keys())]
            events += [event(at, number, False) for number in sorted(firing.keys() - wanted)]
            firing = {number: firing.get(number, at) for number in wanted}
        looks.append(seen(at, dict(firing), stale=stale, events=events))
    return looks


@given(LOOKS, st.sampled_from([MINUTE, 5 * MINUTE, 3600]))
def test_an_alert_is_open_exactly_while_something_fires(rows: list[tuple[bool, frozenset[int]]], gap: int) -> None:
    alert: Alert | None = None
    for look in _world(rows, gap):
        alert, _ = unfold(alert, look)
        burning = alert is not None and alert.open and alert.name == BURN
        assert burning is any(since is not None for since in look.firing)
        if alert is not None and alert.open:
            assert (alert.frozen_since is not None) is (look.stale and burning)
            assert (alert.name == NO_DATA) is (look.stale and not burning)
        if burning:
            assert alert is not None
            out = {number for number, since in enumerate(look.firing) if since is not None}
            assert {one.number for one in alert.out} == out
            assert rank(alert.severity) == min(rank(TIERS[number].severity) for number in out)


@given(LOOKS, st.randoms())
def test_the_order_of_what_happens_at_one_instant_never_matters(
    rows: list[tuple[bool, frozenset[int]]], chance: object
) -> None:
    looks = _world(rows)
    mixed = []
    for look in looks:
        events = list(look.events)
        chance.shuffle(events)  # type: ignore[attr-defined]
        mixed.append(replace(look, events=tuple(events)))
    assert course(*looks) == course(*mixed)


@given(LOOKS)
def test_events_only_tell_earlier_what_the_state_tells_anyway(rows: list[tuple[bool, frozenset[int]]]) -> None:
    looks = _world(rows)
    assert course(*looks) == course(*(replace(look, events=()) for look in looks))


@given(LOOKS, st.integers(1, 6))
def test_a_turn_of_many_slices_ends_where_single_slices_end(rows: list[tuple[bool, frozenset[int]]], size: int) -> None:
    looks = _world(rows)
    single, _ = course(*looks)
    turns = [merged(looks[first : first + size])[0] for first in range(0, len(looks), size)]
    together, _ = course(*turns)
    assert (single is not None and single.open) == (together is not None and together.open)
    if single is not None and single.open and together is not None:
        assert (single.severity, single.out, single.name) == (together.severity, together.out, together.name)


@given(LOOKS)
def test_steps_of_an_alert_begin_with_its_opening_and_alternate(rows: list[tuple[bool, frozenset[int]]]) -> None:
    _, steps = course(*_world(rows))
    standing: dict[str, str] = {}
    for step in steps:
        before = standing.get(step.alert.id)
        assert {
            Change.OPENED: before is None,
            Change.REOPENED: before == "ended",
            Change.FROZEN: before == "open",
            Change.THAWED: before == "frozen",
        }.get(step.change, before in {"open", "frozen"})
        standing[step.alert.id] = {Change.RESOLVED: "ended", Change.FROZEN: "frozen"}.get(step.change, "open")
    times = [step.at for step in steps]
    assert times == sorted(times)


@given(LOOKS)
def test_looking_twice_at_the_same_changes_nothing(rows: list[tuple[bool, frozenset[int]]]) -> None:
    looks = _world(rows)
    alert, _ = course(*looks)
    assert unfold(alert, replace(looks[-1], events=())) == (alert, ())


@given(LOOKS)
def test_an_alert_that_was_kept_is_the_alert_that_was(rows: list[tuple[bool, frozenset[int]]]) -> None:
    for step in course(*_world(rows))[1]:
        assert alert_of(document_of(step.alert)) == step.alert


def test_changes_can_be_named() -> None:
    assert changes(seen(NOON, {FAST: NOON})) == [Change.OPENED]
