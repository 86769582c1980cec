"""A turn writes alerts and messages or neither; the notifier sends each in order until it is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from tests.alerting.worlds import CHECKOUT, FAST, NOON, TICKET, seen
from tests.notify.worlds import HOUR, Receiver, channel, facts, promised, receiver, specs
from tightrope.alerting.grouping import Change, Seen
from tightrope.base.errors import ConflictError, NotFoundError, UsageError
from tightrope.notify.messages import FlowChange
from tightrope.notify.outgoing import State
from tightrope.notify.usecases import LEASE_S, Alerting, Notifications, Notifier, Run
from tightrope.specs.model import AlertPolicy, ChannelType, Flow, NotificationChannel, Specs, Topic
from tightrope.state.database import Database, opened
from tightrope.state.journal import Journal


class World:
    """A store, the loop's side, and what the fronts see of it."""

    def __init__(self, database: Database, followed: Specs) -> None:
        self.database = database
        self.specs = followed
        self.alerting = Alerting(base_url="https://tightrope.example", facts=lambda _: facts())
        self.fronts = Notifications(database, lambda: self.specs.channels, changed=self.alerting.nudge)
        self.notifier = Notifier(database, lambda: self.specs.channels)

    def turn(self, now: int, *looks: Seen, flows: Sequence[FlowChange] = (), watched: set[str] | None = None) -> None:
        with self.database.writing() as connection:
            events = self.alerting.turn_in(connection, looks, self.specs, now, flows=flows, watched=watched)
            Journal(self.database).append_in(connection, events)

    def waiting(self) -> list[str]:
        return [one.message.change for one in reversed(self.fronts.messages(state="waiting"))]

    def journal(self) -> list[str]:
        return [
            one.event.type.removeprefix("dev.tightrope.").removesuffix(".v1") for one in Journal(self.database).read()
        ]


@contextmanager
def world(store: str, *channels: NotificationChannel) -> Iterator[World]:
    with opened(store, create=True) as database:
        yield World(database, specs(*channels))


@pytest.fixture
def here(tmp_path: Path) -> str:
    """A store in a folder, where the kind of database makes no difference."""
    return str(tmp_path / "store")


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


def test_a_turn_keeps_alerts_messages_and_events_together(store: str) -> None:
    with world(store, channel()) as one:
        one.turn(NOON, seen(NOON, {TICKET: NOON}))
        one.turn(NOON + 60, seen(NOON + 60, {TICKET: NOON, FAST: NOON + 60}))
        one.turn(NOON + 120, seen(NOON + 120))
        (alert,) = one.fronts.alerts()
        account = one.fronts.alert(alert.id, now=NOON + 120)
        assert [step.change for step in account.steps] == [Change.OPENED, Change.ESCALATED, Change.RESOLVED]
        assert account.steps[-1].alert == account.alert == alert
        assert one.waiting() == ["opened", "escalated", "resolved"]
        assert one.journal() == ["alert.opened", "alert.escalated", "alert.resolved"]
        assert one.fronts.alerts(open_only=True) == []


def test_a_turn_that_fails_leaves_nothing_and_is_simply_done_again(store: str) -> None:
    with world(store, channel()) as one:
        with suppress(RuntimeError), one.database.writing() as connection:
            one.alerting.turn_in(connection, [seen(NOON, {FAST: NOON})], one.specs, NOON)
            raise RuntimeError
        assert (one.fronts.alerts(), one.waiting()) == ([], [])
        for _ in range(3):
            one.turn(NOON, seen(NOON, {FAST: NOON}))
        assert (len(one.fronts.alerts()), one.waiting(), one.journal()) == (1, ["opened"], ["alert.opened"])


def test_another_process_goes_on_where_one_was_killed(here: str) -> None:
    with world(here, channel()) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
    with world(here, channel()) as one:
        assert one.alerting.due(NOON + 1)
        one.turn(NOON + 60, seen(NOON + 60, {FAST: NOON}))
        one.turn(NOON + 120, seen(NOON + 120))
        assert one.waiting() == ["opened", "resolved"]


def test_a_silence_holds_messages_back_until_it_ends(store: str) -> None:
    with world(store, channel()) as one:
        silence = one.fronts.add_silence(
            ["service=checkout"], ends_at=NOON + HOUR, who="mara", why="load test", now=NOON - 60
        )
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        assert one.waiting() == []
        (alert,) = one.fronts.alerts()
        assert one.fronts.alert(alert.id, now=NOON).silences == (silence,)
        one.fronts.end_silence(silence.id, who="jo", now=NOON + 60)
        assert one.alerting.due(NOON + 60)
        one.turn(NOON + 60)
        assert one.waiting() == ["opened"]
        assert one.journal() == ["silence.added", "alert.opened", "silence.ended"]
        assert one.fronts.silences(now=NOON + 60) == []
        (over,) = one.fronts.silences(now=NOON + 60, ended=True)
        assert (over.ended_at, over.ended_by) == (NOON + 60, "jo")
        with pytest.raises(ConflictError):
            one.fronts.end_silence(silence.id, who="jo", now=NOON + 61)
        with pytest.raises(NotFoundError):
            one.fronts.end_silence("S-NONE", who="jo", now=NOON)


def test_maintenance_holds_messages_back_too(here: str) -> None:
    with world(here, channel()) as one:
        one.alerting.stretches = lambda *when: [(NOON, NOON + HOUR)] if when[1] < NOON + HOUR else []
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        assert one.waiting() == []
        one.turn(NOON + HOUR)
        assert one.waiting() == ["opened"]


def test_the_loop_is_asked_only_while_an_alert_is_open(here: str) -> None:
    with world(here, channel()) as one:
        one.turn(NOON)
        assert not one.alerting.due(NOON + 10**6)
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        assert [one.alerting.due(NOON + seconds) for seconds in (29, 30)] == [False, True]
        one.turn(NOON + 60, seen(NOON + 60))
        assert not one.alerting.due(NOON + 10**6)


def test_alerts_of_what_is_no_longer_watched_end_and_say_why(here: str) -> None:
    with world(here, channel()) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        one.turn(NOON + 60, watched={"another"})
        (alert,) = one.fronts.alerts()
        assert alert.resolved_at == NOON + 60
        assert one.waiting() == ["opened", "resolved"]
        assert ("Why", "no longer watched") in one.fronts.messages(limit=1)[0].message.lines


def test_a_channel_that_is_meant_no_more_is_told_the_end(here: str) -> None:
    with world(here, channel("first"), channel("second")) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        one.specs = specs(channel("first", default=False), channel("second"))
        one.turn(NOON + 60, seen(NOON + 60, {FAST: NOON}))
        first = one.fronts.messages(channel="first")
        assert [(sent.message.change, sent.message.action) for sent in first] == [
            ("eased", "resolve"),
            ("opened", "trigger"),
        ]
        assert len(one.fronts.messages(channel="second")) == 1


def test_missing_data_is_told_as_the_policy_wants_it(here: str) -> None:
    quiet = AlertPolicy("quiet", CHECKOUT.conditions, ("hook",))
    with world(here, channel()) as one:
        one.specs = specs(channel(), slo=promised(quiet))
        one.turn(NOON, seen(NOON, stale=True))
        assert one.fronts.alerts() == []
        one.specs = specs(channel(), slo=promised(replace(quiet, alert_when_no_data=True)))
        one.turn(NOON + 60, seen(NOON + 60, stale=True))
        assert [(alert.name, alert.severity) for alert in one.fronts.alerts()] == [("NoData", "ticket")]
        assert one.waiting() == ["opened"]


def test_a_change_of_flow_goes_to_those_who_want_it_and_old_news_to_nobody(here: str) -> None:
    flow = FlowChange("checkout", NOON, "feature", "stability", Flow.FEATURE, Flow.STABILITY, "", facts().standing)
    wants = channel("chat", what=frozenset({Topic.ALERTS, Topic.FLOW}))
    with world(here, channel(), wants) as one:
        one.turn(NOON + 60, flows=[flow, flow, replace(flow, at=NOON - 2 * HOUR)])
        assert [(sent.channel, sent.message.kind) for sent in one.fronts.messages()] == [("chat", "flow")]


def test_no_reminder_queues_up_behind_a_message_that_still_waits(here: str) -> None:
    with world(here, channel(repeat_s=60)) as one:
        for minute in range(10):
            one.turn(NOON + 60 * minute, seen(NOON + 60 * minute, {FAST: NOON}))
        assert one.waiting() == ["opened"]


# --- the notifier --------------------------------------------------------------------------------------------------


def test_messages_about_one_alert_arrive_in_order(here: str, hook: Receiver) -> None:
    with world(here, channel(urls=(hook.url,))) as one:
        one.turn(NOON, seen(NOON, {TICKET: NOON}))
        one.turn(NOON + 60, seen(NOON + 60, {TICKET: NOON, FAST: NOON + 60}))
        one.turn(NOON + 120, seen(NOON + 120))
        assert one.notifier.run_once(NOON + 120) == Run(sent=3)
        assert [got.json["data"]["change"] for got in hook.got] == ["opened", "escalated", "resolved"]
        assert one.notifier.run_once(NOON + 121) == Run()
        assert {sent.state for sent in one.fronts.messages()} == {State.SENT}


def test_a_receiver_that_is_down_delays_and_never_loses(store: str, hook: Receiver) -> None:
    with world(store, channel(urls=(hook.url,))) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        one.turn(NOON + 60, seen(NOON + 60))
        now, waits = NOON + 60, []
        for _ in range(6):
            hook.will(503, "down for maintenance")
            run = one.notifier.run_once(now)
            assert (run.sent, run.failed) == (0, 1)
            assert run.due is not None
            waits.append(run.due - now)
            now = run.due
        assert all(later > sooner for sooner, later in pairwise(waits))
        assert {got.json["data"]["change"] for got in hook.got} == {"opened"}  # the end waits for the beginning
        (health,) = one.fronts.channels()
        assert (health.waiting, health.last_error) == (2, "127.0.0.1 answers 503: down for maintenance")
        assert one.notifier.run_once(now) == Run(sent=2)
        assert [got.headers["webhook-id"] for got in hook.got[:7]] == [hook.got[0].headers["webhook-id"]] * 7


def test_a_receiver_that_asks_for_time_is_given_it(here: str, hook: Receiver) -> None:
    with world(here, channel(urls=(hook.url,))) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        hook.will(429, retry_after="120")
        assert one.notifier.run_once(NOON).due == NOON + 120
        assert one.notifier.run_once(NOON + 119) == Run(due=NOON + 120)
        assert one.notifier.run_once(NOON + 120) == Run(sent=1)


def test_a_refusal_for_good_is_shown_and_holds_up_nothing(here: str, hook: Receiver) -> None:
    with world(here, channel(urls=(hook.url,))) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        one.turn(NOON + 60, seen(NOON + 60))
        hook.will(400, "no such field")
        assert one.notifier.run_once(NOON + 60) == Run(sent=1, dead=1)
        (dead,) = one.fronts.messages(state="dead")
        assert dead.error == "127.0.0.1 answers 400: no such field"
        one.fronts.retry_message(dead.id, now=NOON + 90)
        assert one.notifier.run_once(NOON + 90) == Run(sent=1)
        with pytest.raises(UsageError, match="was sent already"):
            one.fronts.retry_message(dead.id, now=NOON + 91)
        with pytest.raises(NotFoundError):
            one.fronts.retry_message("M-NONE", now=NOON)


def test_a_channel_that_hangs_does_not_hold_up_another(here: str, hook: Receiver) -> None:
    gone = channel("gone", urls=("http://127.0.0.1:9/secret-path",))
    with world(here, gone, channel(urls=(hook.url,))) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        run = one.notifier.run_once(NOON)
        assert (run.sent, run.failed) == (1, 1)
        (waits,) = one.fronts.messages(state="waiting")
        assert (waits.channel, waits.error) == ("gone", "127.0.0.1 can't be reached")


def test_a_secret_that_is_not_set_delays_and_says_which(here: str) -> None:
    with world(here, channel(urls=(), url_from="TIGHTROPE_TEST_URL")) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        assert one.notifier.run_once(NOON).failed == 1
        (health,) = one.fronts.channels()
        said = "channel hook: the environment variable TIGHTROPE_TEST_URL is not set"
        assert (health.problem, health.last_error, health.waiting) == (said, said, 1)


def test_a_fault_of_one_door_keeps_no_other_shut(here: str, hook: Receiver) -> None:
    odd = channel("odd", type=ChannelType.EMAIL, urls=("smtp://127.0.0.1:9",), sender="a\nb", recipients=("c@d.e",))
    with world(here, odd, channel(urls=(hook.url,))) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        assert one.notifier.run_once(NOON).sent == 1
        (waits,) = one.fronts.messages(channel="odd")
        assert (waits.state, waits.error) == (State.WAITING, "a fault in Tightrope: ValueError")


def test_messages_of_a_channel_that_is_gone_are_told_so(here: str) -> None:
    with world(here, channel()) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        one.specs = specs()
        assert one.notifier.run_once(NOON).dead == 1
        assert one.fronts.messages()[0].error == "there is no channel hook any more"


def test_what_is_being_sent_by_one_is_not_sent_by_another(store: str, hook: Receiver) -> None:
    with world(store, channel(urls=(hook.url,))) as one, world(store, channel(urls=(hook.url,))) as other:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        from tightrope.notify import store as outbox

        with one.database.writing() as connection:
            taken = outbox.claim_in(connection, "hook", NOON, lease_s=LEASE_S)
        assert taken is not None
        assert other.notifier.run_once(NOON + 1) == Run(due=NOON + LEASE_S)
        assert other.notifier.run_once(NOON + LEASE_S) == Run(sent=1)
        with one.database.writing() as connection:  # the first, thought dead, comes back and says that it failed
            outbox.settle_in(connection, taken, State.WAITING, now=NOON + 90, due_at=NOON + 90, error="late")
        assert [sent.state for sent in one.fronts.messages()] == [State.SENT]


def test_a_test_of_a_channel_goes_the_way_of_all_messages(here: str, hook: Receiver) -> None:
    with world(here, channel(urls=(hook.url,))) as one:
        asked = one.fronts.test_channel("hook", who="mara", now=NOON)
        assert one.fronts.deliver(NOON) == Run(sent=1)
        assert hook.got[0].json["data"]["title"].startswith("This is a test of the channel hook, asked for by mara")
        assert one.fronts.messages(about=asked.about)[0].state is State.SENT
        with pytest.raises(NotFoundError, match="no channel 'hok'"):
            one.fronts.test_channel("hok", who="mara", now=NOON)


def test_what_is_old_is_forgotten_and_what_is_open_never(store: str, hook: Receiver) -> None:
    with world(store, channel(urls=(hook.url,))) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        one.turn(NOON + 60, seen(NOON + 60))
        later = NOON + 401 * 86400
        one.turn(later, seen(later, {FAST: NOON + 3600}))
        one.notifier.run_once(NOON + 60)
        assert one.fronts.prune(later) == 3  # the alert that ended, and the two messages of it
        assert [alert.open for alert in one.fronts.alerts()] == [True]


def test_states_of_messages_are_words(here: str) -> None:
    with world(here, channel()) as one, pytest.raises(UsageError, match="no state 'lost'"):
        one.fronts.messages(state="lost")


def _silent(number: int) -> Seen:
    look = seen(NOON, stale=True)
    track = f"service-{number}-availability"
    return replace(look, watched=replace(CHECKOUT, track=track, service=f"service-{number}"))


def test_a_storm_is_one_message_for_people_and_each_by_itself_for_machines(store: str) -> None:
    chat = channel("chat", type=ChannelType.SLACK)
    with world(store, chat, channel("hook")) as one:
        one.turn(NOON, *map(_silent, range(40)))
        (digest,) = one.fronts.messages(channel="chat")
        assert digest.message.title == "40 alerts at once, 40 of them for missing data, in 40 services"
        assert len(digest.message.lines) == 22
        assert len(one.fronts.messages(channel="hook")) == 40
        one.turn(NOON + 30)
        assert len(one.fronts.messages(channel="chat")) == 1
        one.turn(NOON + 60, *(replace(_silent(number), stale=False, at=NOON + 60) for number in range(40)))
        ended = one.fronts.messages(channel="chat")[0].message
        assert (ended.title, ended.action) == ("40 alerts ended at once, in 40 services", "resolve")


def test_a_receiver_that_is_slow_goes_on_by_itself(here: str) -> None:
    hold = Event()
    with receiver(hold=hold) as slow, receiver() as quick:
        both = channel("slow", urls=(slow.url,)), channel("quick", urls=(quick.url,))
        with world(here, *both) as one:
            one.turn(NOON, seen(NOON, {FAST: NOON}))
            notifier = Notifier(one.database, lambda: both, patience_s=0.05)
            sent = 0
            while not sent:
                sent += notifier.run_once(NOON).sent
            assert [message.channel for message in one.fronts.messages(state="sent")] == ["quick"]
            hold.set()
            while sent < 2:
                sent += notifier.run_once(NOON + 1).sent
            notifier.close()
            assert (sent, len(slow.got), len(quick.got)) == (2, 1, 1)


def test_whoever_has_the_store_alone_sends_at_once_what_a_dead_one_was_sending(store: str, hook: Receiver) -> None:
    with world(store, channel(urls=(hook.url,))) as one:
        one.turn(NOON, seen(NOON, {FAST: NOON}))
        from tightrope.notify import store as outbox

        with one.database.writing() as connection:
            assert outbox.claim_in(connection, "hook", NOON, lease_s=LEASE_S) is not None
        assert one.notifier.run_once(NOON + 1) == Run(due=NOON + LEASE_S)
        one.notifier.take_over()
        assert one.notifier.run_once(NOON + 1) == Run(sent=1)
