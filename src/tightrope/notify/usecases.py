"""Alerts kept, people told: the loop's side, the notifier that empties the outbox, and what the fronts ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from tightrope.alerting import store as alerts_store
from tightrope.alerting.grouping import Alert, Seen, Step, closed, merged, unfold
from tightrope.alerting.silences import (
    Silence,
    Stretches,
    ended,
    in_maintenance,
    silence_of,
    silencing,
)
from tightrope.base.canonical import digest
from tightrope.base.errors import NotFoundError, TightropeError, UsageError
from tightrope.base.settings import environment
from tightrope.base.units import DAY_S, HOUR_S
from tightrope.notify import store as outbox
from tightrope.notify.channels import Channel, Environment, Parcel, open_channel
from tightrope.notify.messages import (
    REPEATED,
    Facts,
    FlowChange,
    Message,
    Recent,
    alert_message,
    digest_message,
    flow_message,
    trial_message,
)
from tightrope.notify.outgoing import Outgoing, State
from tightrope.notify.planning import Draft, Route, Told, no_data_severity, plan, routes_of
from tightrope.notify.retries import Answer, wait_s
from tightrope.specs.model import ChannelType, NotificationChannel, Slo, Specs, Topic
from tightrope.state.database import Database, opened
from tightrope.state.journal import Event, Journal

SOURCE = "/tightrope/alerts"
RECENT_S = 6 * HOUR_S
"""Of what changed so long before an alert, its message tells."""

LOOKED_AT_EVERY_S = 30
"""While an alert is open, silences and maintenance are looked at so often."""

NEWS_S = HOUR_S
"""A change of flow that is older is no news: it was found while history was read."""

LEASE_S = 60
"""For how long a message that is being sent is nobody else's."""

KEPT_S = 400 * DAY_S
"""For how long alerts and sent messages are kept."""

MOST_SINGLY = 10
"""More messages that arise in one turn become one, for channels that people read."""

_PEOPLE = frozenset({ChannelType.SLACK, ChannelType.EMAIL})
_MOST_AT_ONCE = 100
_SIDE_BY_SIDE = 8

Connection = Any
"""A transaction of the store; its library stays behind the stores."""

FactsOf = Callable[[str], "Facts | None"]
RecentOf = Callable[[str, int], Sequence[Recent]]


# --- the loop's side -----------------------------------------------------------------------------------------------


class Alerting:
    """Turns what evaluations found into alerts and messages, within the transaction of a turn.

    It keeps nothing but a hint when it is due: what it does follows from the store and its arguments, so a turn whose
    transaction failed is simply done again.

    Args:
        base_url: Where the pages are; empty: nowhere.
        facts: Tells how a track stands; asked only where somebody is to be told.
        recent: Tells what changed in a service since an instant.
        stretches: Lists maintenance of an SLO.
    """

    def __init__(
        self,
        *,
        base_url: str = "",
        facts: FactsOf | None = None,
        recent: RecentOf | None = None,
        stretches: Stretches | None = None,
    ) -> None:
        self.base_url = base_url
        self.facts = facts
        self.recent = recent
        self.stretches = stretches
        self._due: int | None = 0
        self._slos: tuple[Specs | None, dict[str, Slo]] = (None, {})

    def due(self, now: int) -> bool:
        """Whether `turn_in` has something to look at although nothing was evaluated."""
        return self._due is not None and now >= self._due

    def nudge(self) -> None:
        """Look at everything in the next turn: a silence came or went."""
        self._due = 0

    def turn_in(
        self,
        connection: Connection,
        seen: Sequence[Seen],
        specs: Specs,
        now: int,
        *,
        flows: Sequence[FlowChange] = (),
        watched: Collection[str] | None = None,
    ) -> list[Event]:
        """Keep what became of alerts, and put into the outbox what is to be told.

        Args:
            connection: The writing transaction of the turn.
            seen: What evaluations found, oldest first.
            specs: What is followed now.
            now: UTC epoch seconds.
            flows: Changes of flow.
            watched: All tracks that are watched; alerts of others end. None: as before.

        Returns:
            Events for the journal, to be appended last.
        """
        if self._slos[0] is not specs:
            self._slos = specs, {slo.name: slo for slo in specs.slos}
        slos = self._slos[1]
        steps, changed = self._unfolded(connection, seen, slos, now, watched)
        alerts_store.keep_in(connection, changed, steps)
        due = self._tell(connection, steps, specs, slos, now)
        for flow in flows:
            self._tell_flow(connection, flow, specs, now)
        self._due = due
        return [_event(step) for step in steps]

    def _unfolded(
        self,
        connection: Connection,
        seen: Sequence[Seen],
        slos: Mapping[str, Slo],
        now: int,
        watched: Collection[str] | None,
    ) -> tuple[list[Step], list[Alert]]:
        """What happened, and alerts that changed without a word."""
        steps: list[Step] = []
        changed: list[Alert] = []
        together = merged(seen)
        newest = alerts_store.newest_in(connection, [one.watched.track for one in together])
        for one in together:
            slo = slos.get(one.watched.slo)
            if slo is not None:
                one = replace(one, watched=replace(one.watched, no_data=no_data_severity(slo)))
            before = newest.get(one.watched.track)
            after, happened = unfold(before, one)
            steps += happened
            if after is not None and after != before:
                changed.append(after)
        if watched is not None:
            known = {alert.id: alert for alert in alerts_store.open_in(connection)}
            known |= {alert.id: alert for alert in changed}
            steps += [
                closed(alert, now, "no longer watched")
                for alert in known.values()
                if alert.open and alert.track not in watched
            ]
        latest = {alert.id: alert for alert in (*changed, *(step.alert for step in steps))}
        return steps, list(latest.values())

    def _tell(
        self, connection: Connection, steps: Sequence[Step], specs: Specs, slos: Mapping[str, Slo], now: int
    ) -> int | None:
        """Hold what is so against what was told; returns when to look again."""
        firing = outbox.told_firing_in(connection)
        alerts = {alert.id: alert for alert in alerts_store.open_in(connection)}
        for name in {one.alert for one in firing} - set(alerts):
            alert = alerts_store.alert_in(connection, name)
            if alert is not None:
                alerts[name] = alert
        if not alerts:
            return None
        told: dict[str, list[Told]] = {}
        for one in outbox.told_in(connection, list(alerts)):
            told.setdefault(one.alert, []).append(one)
        silences = alerts_store.silences_in(connection, now=now)
        written: dict[str, list[tuple[str, Message]]] = {}
        now_told: list[Told] = []
        why = {step.alert.id: step.why for step in steps if step.why}
        due = [now + LOOKED_AT_EVERY_S] if any(alert.open for alert in alerts.values()) else []
        for alert in alerts.values():
            slo = slos.get(alert.slo)
            muted = bool(silencing(silences, alert.labels(), now)) or in_maintenance(slo, now, self.stretches)
            before = told.get(alert.id, [])
            routes = _with_former(routes_of(slo, specs.channels, alert.service), before, specs.channels)
            made = plan(alert, routes, before, muted=muted, now=now)
            spared = self._write(connection, made.drafts, now, why.get(alert.id, ""), written)
            now_told += [one for one in made.told if one.channel not in spared]
            if made.due is not None:
                due.append(made.due)
        outbox.tell_in(connection, now_told)
        read_by_people = {one.name for one in specs.channels if one.type in _PEOPLE}
        for channel, messages in written.items():
            if len(messages) > MOST_SINGLY and channel in read_by_people:
                several = digest_message([message for _, message in messages], now, base_url=self.base_url)
                keys = hashlib.sha256("\n".join(key for key, _ in messages).encode()).hexdigest()[:16]
                messages = [(f"{several.about}/{channel}/{keys}", several)]
            _enqueue(connection, channel, messages, now)
        return min(due, default=None)

    def _write(
        self,
        connection: Connection,
        drafts: Sequence[Draft],
        now: int,
        why: str,
        written: dict[str, list[tuple[str, Message]]],
    ) -> set[str]:
        """Write messages with their keys, by channel; returns the channels that are spared a reminder: one waits."""
        spared: set[str] = set()
        if not drafts:
            return spared
        alert = drafts[0].alert
        facts = self.facts(alert.track) if self.facts is not None else None
        recent = self.recent(alert.service, alert.opened_at - RECENT_S) if self.recent is not None else ()
        for draft in drafts:
            if draft.change == REPEATED and outbox.waits_in(connection, draft.channel.name, alert.id):
                spared.add(draft.channel.name)
                continue
            message = alert_message(
                alert,
                draft.change,
                severity=draft.severity,
                out=draft.out,
                now=now,
                before=draft.before,
                facts=facts,
                recent=recent,
                base_url=self.base_url,
                ends=draft.ends,
            )
            if why:
                message = replace(message, lines=(*message.lines, ("Why", why)))
            written.setdefault(draft.channel.name, []).append((draft.key, message))
        return spared

    def _tell_flow(self, connection: Connection, flow: FlowChange, specs: Specs, now: int) -> None:
        if now - flow.at > NEWS_S or (flow.before, flow.flow_before) == (flow.after, flow.flow_after):
            return
        message = flow_message(flow, now, base_url=self.base_url)
        for channel in specs.channels:
            if Topic.FLOW in channel.what and (not channel.services or flow.service in channel.services):
                key = f"flow/{flow.service}/{flow.at}/{flow.after}/{channel.name}"
                _enqueue(connection, channel.name, [(key, message)], now)


def _with_former(
    routes: Sequence[Route], told: Sequence[Told], channels: Sequence[NotificationChannel]
) -> tuple[Route, ...]:
    """The routes, and with nothing to hear any more the channels that were told and are meant no longer."""
    meant = {one.channel.name for one in routes}
    former = {one.channel for one in told if one.firing} - meant
    return (*routes, *(Route(one, frozenset()) for one in channels if one.name in former))


def _enqueue(connection: Connection, channel: str, messages: Sequence[tuple[str, Message]], now: int) -> None:
    """Put messages with their keys into the outbox, in this order."""
    rows = [
        (f"M-{hashlib.sha256(key.encode()).hexdigest()[:15].upper()}", channel, key, message)
        for key, message in messages
    ]
    outbox.enqueue_in(connection, rows, now)


def _event(step: Step) -> Event:
    """What happened to an alert, for the journal; named by what it says, so that it is recorded once."""
    alert = step.alert
    data = {
        "alert": alert.id,
        "name": alert.name,
        "track": alert.track,
        "service": alert.service,
        "slo": alert.slo,
        "severity": alert.severity,
        "before": step.before,
        "conditions": [one.name for one in alert.out],
        "condition": alert.out[0].name if alert.out else "",
        "openedAt": alert.opened_at,
        "times": alert.times,
        "why": step.why,
        "href": f"/alerts/{alert.id}",
    }
    kind = f"dev.tightrope.alert.{step.change}.v1"
    return Event(f"{alert.id}.{step.change}.{digest([step.at, data])[:12]}", SOURCE, kind, alert.service, step.at, data)


# --- the notifier --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """What one run over the outbox did, and when the next is due if nothing new comes; None: never."""

    sent: int = 0
    failed: int = 0
    dead: int = 0
    due: int | None = None


class Notifier:
    """Empties the outbox: messages of a channel one after the other, channels side by side.

    A message is claimed, sent, and noted as sent, each on the disk before the next. Whoever is killed in between leaves
    a claim that runs out, or that the next one takes over; then the message goes out again, under the same key.

    Args:
        database: The store.
        channels: The channels as they are now.
        ready: Whether *channels* are known yet; until then messages wait, and none is taken for one to nobody.
        environment: Tells the value of environment variables.
        clock: Tells the time where sending takes some; None: the time that `run_once` was given.
        patience_s: For how long a run waits for receivers; those that take longer go on by themselves.
    """

    def __init__(
        self,
        database: Database,
        channels: Callable[[], Sequence[NotificationChannel]],
        *,
        ready: Callable[[], bool] = lambda: True,
        environment: Environment = environment,
        clock: Callable[[], int] | None = None,
        patience_s: float = 12.0,
    ) -> None:
        self._database = database
        self._channels = channels
        self._ready = ready
        self._environment = environment
        self._clock = clock
        self._patience_s = patience_s
        self._doors: dict[str, tuple[NotificationChannel, Channel]] = {}
        self._refreshed: dict[str, int] = {}
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(_SIDE_BY_SIDE, "tightrope-channel")
        self._running: dict[str, Future[Run]] = {}

    def take_over(self) -> None:
        """Send at once what another was sending who is gone; only for whoever has the store alone."""
        with self._database.writing() as connection:
            outbox.release_in(connection)

    def run_once(self, now: int) -> Run:
        """Send what is due, and say again to Alertmanagers what fires.

        Raises:
            StoreError: The store can't be read or written; nothing is lost.
        """
        if not self._ready():
            return Run()
        channels = {one.name: one for one in self._channels()}
        self._let_go(channels)
        with self._database.reading() as connection:
            waiting = outbox.channels_waiting_in(connection)
        busy = [name for name, ready in waiting.items() if ready <= now]
        refreshing = [
            one
            for one in channels.values()
            if one.type is ChannelType.ALERTMANAGER and self._due_again(one.name) <= now
        ]
        for name in sorted({*busy, *(one.name for one in refreshing)} - set(self._running)):
            self._running[name] = self._pool.submit(self._of_channel, name, channels.get(name), now)
        # A receiver that is slow holds up nobody else: it goes on by itself, and the next run hears what came of it.
        wait(self._running.values(), timeout=self._patience_s)
        done = [name for name, job in self._running.items() if job.done()]
        runs = [self._running.pop(name).result() for name in done]
        sent, failed, dead = (sum(getattr(run, what) for run in runs) for what in ("sent", "failed", "dead"))
        with self._database.reading() as connection:
            later = list(outbox.channels_waiting_in(connection).values())
        later += [self._due_again(one.name) for one in channels.values() if one.type is ChannelType.ALERTMANAGER]
        return Run(sent, failed, dead, min(later, default=None))

    def close(self) -> None:
        """Wait for what is being sent, and let go of all connections."""
        self._pool.shutdown(cancel_futures=True)
        with self._lock:
            for _, door in self._doors.values():
                door.close()
            self._doors.clear()

    def _due_again(self, name: str) -> int:
        from tightrope.notify.channels.alertmanager import REFRESHED_EVERY_S

        last = self._refreshed.get(name)
        return 0 if last is None else last + REFRESHED_EVERY_S

    def _of_channel(self, name: str, channel: NotificationChannel | None, now: int) -> Run:
        """Send what waits for one channel, until nothing is due or something does not go through."""
        run = Run()
        for _ in range(_MOST_AT_ONCE):
            moment = self._clock() if self._clock is not None else now
            with self._database.writing() as connection:
                taken = outbox.claim_in(connection, name, moment, lease_s=LEASE_S)
                thread = outbox.thread_in(connection, name, taken.about) if taken is not None else ""
            if taken is None:
                break
            answer = self._sent(channel, taken, thread, moment)
            run = self._noted(run, taken, answer)
            if not answer.sent and answer.passing:
                return run
        if channel is not None and channel.type is ChannelType.ALERTMANAGER and self._due_again(name) <= now:
            self._refresh(channel, now)
        return run

    def _sent(self, channel: NotificationChannel | None, taken: Outgoing, thread: str, now: int) -> Answer:
        if channel is None:
            return Answer(sent=False, said=f"there is no channel {taken.channel} any more")
        try:
            return self._door(channel).send(Parcel(taken.key, taken.message, now, thread))
        except TightropeError as error:
            return Answer(sent=False, passing=True, said=error.message)
        except Exception as error:  # noqa: BLE001  a fault of one door must not keep the others shut
            return Answer(sent=False, passing=True, said=f"a fault in Tightrope: {type(error).__name__}")

    def _noted(self, run: Run, taken: Outgoing, answer: Answer) -> Run:
        moment = self._clock() if self._clock is not None else taken.leased_until - LEASE_S
        with self._database.writing() as connection:
            if answer.sent:
                outbox.settle_in(connection, taken, State.SENT, now=moment, error=answer.said)
                if answer.reference:
                    outbox.keep_thread_in(connection, taken.channel, taken.about, answer.reference)
                return replace(run, sent=run.sent + 1)
            if answer.passing:
                due_at = moment + wait_s(taken.attempts, taken.key, answer.retry_after_s)
                outbox.settle_in(connection, taken, State.WAITING, now=moment, due_at=due_at, error=answer.said)
                return replace(run, failed=run.failed + 1)
            outbox.settle_in(connection, taken, State.DEAD, now=moment, error=answer.said)
            return replace(run, dead=run.dead + 1)

    def _refresh(self, channel: NotificationChannel, now: int) -> None:
        """Say again to Alertmanagers what they were told: what was not heard is heard a minute later."""
        from tightrope.notify.channels.alertmanager import END_REPEATED_FOR_S, Alertmanager, Standing

        standing: list[Standing] = []
        with self._database.reading() as connection:
            for told in outbox.told_by_in(connection, channel.name, now - END_REPEATED_FOR_S):
                newest = outbox.messages_in(connection, about=told.alert, channel=channel.name, limit=1)
                if newest and newest[0].state is State.SENT:
                    message = newest[0].message
                    lately = now - told.changed_at <= END_REPEATED_FOR_S
                    before = told.previous if told.firing and lately else ""
                    message = replace(message, before=before, at=told.changed_at)
                    standing.append((message, None if told.firing else told.changed_at))
        if standing:
            try:
                door = self._door(channel)
            except TightropeError:
                return
            if isinstance(door, Alertmanager):
                door.refresh(standing, now)
        self._refreshed[channel.name] = now

    def _door(self, channel: NotificationChannel) -> Channel:
        with self._lock:
            known = self._doors.get(channel.name)
            if known is not None and known[0] == channel:
                return known[1]
            if known is not None:
                known[1].close()
            door = open_channel(channel, self._environment)
            self._doors[channel.name] = channel, door
            return door

    def _let_go(self, channels: Mapping[str, NotificationChannel]) -> None:
        with self._lock:
            for name in [name for name in self._doors if name not in channels]:
                self._doors.pop(name)[1].close()


# --- what the fronts ask for ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """All about one alert: what happened, oldest first, who was told, newest first, and what keeps it quiet now."""

    alert: Alert
    steps: tuple[Step, ...]
    messages: tuple[Outgoing, ...]
    silences: tuple[Silence, ...]


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """How a channel does.

    Attributes:
        waiting, dead: Messages that wait, and that were refused for good.
        last_sent_at: When it last took one; None: never.
        last_error: What the newest message that it has not taken came to; empty: nothing went wrong.
        problem: Why it cannot be used as it stands, such as a variable that is not set; empty: it can.
    """

    channel: NotificationChannel
    waiting: int
    dead: int
    last_sent_at: int | None
    last_error: str
    problem: str


class Notifications:
    """What command line, API and pages ask and do.

    Args:
        database: The store.
        channels: The channels as they are now.
        base_url: Where the pages are.
        changed: Told when something changed that the loop should look at.
    """

    def __init__(
        self,
        database: Database,
        channels: Callable[[], Sequence[NotificationChannel]] = tuple,
        *,
        base_url: str = "",
        environment: Environment = environment,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self._database = database
        self._channels = channels
        self._base_url = base_url
        self._environment = environment
        self._changed = changed if changed is not None else lambda: None

    # --- alerts

    def alerts(
        self, *, open_only: bool = False, service: str = "", before: int | None = None, limit: int = 100
    ) -> list[Alert]:
        """Alerts, newest first."""
        with self._database.reading() as connection:
            return alerts_store.alerts_in(connection, open_only=open_only, service=service, before=before, limit=limit)

    def alert(self, name: str, *, now: int) -> Account:
        """All about one alert; raises `NotFoundError`."""
        with self._database.reading() as connection:
            alert = alerts_store.alert_in(connection, name)
            if alert is None:
                raise NotFoundError(f"there is no alert {name!r}", remedy="`tightrope alert list` shows what there is")
            silences = alerts_store.silences_in(connection, now=now)
            return Account(
                alert,
                alerts_store.steps_in(connection, name),
                tuple(outbox.messages_in(connection, about=name)),
                tuple(silencing(silences, alert.labels(), now)),
            )

    # --- silences

    def silences(self, *, now: int, ended: bool = False) -> list[Silence]:
        """Silences that hold or are to come; with *ended* all there ever were."""
        with self._database.reading() as connection:
            return alerts_store.silences_in(connection, now=now, ended=ended)

    def add_silence(
        self, matchers: Sequence[str], *, ends_at: int, who: str, why: str, now: int, starts_at: int | None = None
    ) -> Silence:
        """Be quiet about alerts that all matchers fit; raises `UsageError` where that makes no sense."""
        start = now if starts_at is None else starts_at
        silence = silence_of(matchers, starts_at=start, ends_at=ends_at, who=who, why=why, now=now)
        with self._database.writing() as connection:
            alerts_store.keep_silence_in(connection, silence)
            self._record(connection, silence, "added", who, now)
        self._changed()
        return silence

    def end_silence(self, name: str, *, who: str, now: int) -> Silence:
        """End a silence before its time; raises `NotFoundError`, or `ConflictError` where it is over."""
        with self._database.writing() as connection:
            silence = alerts_store.silence_in(connection, name)
            if silence is None:
                raise NotFoundError(
                    f"there is no silence {name!r}", remedy="`tightrope alert list --silences` shows them"
                )
            over = ended(silence, who=who, now=now)
            alerts_store.keep_silence_in(connection, over)
            self._record(connection, over, "ended", who, now)
        self._changed()
        return over

    def _record(self, connection: Connection, silence: Silence, verb: str, who: str, now: int) -> None:
        event = Event(
            id=f"{silence.id}.{verb}",
            source=SOURCE,
            type=f"dev.tightrope.silence.{verb}.v1",
            subject=silence.id,
            time=now,
            data={
                "silence": silence.id,
                "matchers": [str(one) for one in silence.matchers],
                "startsAt": silence.starts_at,
                "endsAt": silence.until,
                "by": who,
                "reason": silence.why,
            },
        )
        Journal(self._database).append_in(connection, [event])

    # --- channels and messages

    def channels(self) -> list[ChannelHealth]:
        """Every channel, and how it does; also those that are gone but for which messages wait."""
        found = []
        with self._database.reading() as connection:
            counts = outbox.counts_in(connection)
            for channel in self._channels():
                sent_at, error = outbox.last_in(connection, channel.name)
                waiting = counts.get((channel.name, State.WAITING.value), 0)
                dead = counts.get((channel.name, State.DEAD.value), 0)
                found.append(ChannelHealth(channel, waiting, dead, sent_at, error, self._problem(channel)))
        return found

    def _problem(self, channel: NotificationChannel) -> str:
        try:
            open_channel(channel, self._environment).close()
        except TightropeError as error:
            return error.message
        return ""

    def messages(self, *, state: str = "", channel: str = "", about: str = "", limit: int = 100) -> list[Outgoing]:
        """Messages, newest first; *state* is waiting, sent or dead, or empty for all."""
        if state and state not in tuple(State):
            raise UsageError(f"messages have no state {state!r}", remedy=f"there are {', '.join(State)}")
        with self._database.reading() as connection:
            return outbox.messages_in(connection, state=state, channel=channel, about=about, limit=limit)

    def retry_message(self, name: str, *, now: int) -> Outgoing:
        """Send a message at the next opportunity; raises `NotFoundError`, or `UsageError` where it was sent."""
        with self._database.writing() as connection:
            known = outbox.outgoing_in(connection, name)
            if known is None:
                raise NotFoundError(f"there is no message {name!r}", remedy="`tightrope alert outbox` shows them")
            if known.state is State.SENT:
                raise UsageError(f"the message {name} was sent already")
            outbox.revive_in(connection, name, now)
            return replace(known, state=State.WAITING, due_at=now, leased_until=0, attempts=0)

    def test_channel(self, name: str, *, who: str, now: int) -> Outgoing:
        """Put a message into the outbox that only shows that a channel works; raises `NotFoundError`."""
        channel = next((one for one in self._channels() if one.name == name), None)
        if channel is None:
            known = ", ".join(one.name for one in self._channels())
            raise NotFoundError(
                f"there is no channel {name!r}", remedy=f"there are {known}" if known else "the specs hold none"
            )
        message = trial_message(name, who, now, base_url=self._base_url)
        message = replace(message, about=f"test/{name}/{now}")
        key = f"test/{name}/{now}"
        with self._database.writing() as connection:
            _enqueue(connection, name, [(key, message)], now)
            found = outbox.messages_in(connection, about=message.about, limit=1)
        return found[0]

    def deliver(self, now: int) -> Run:
        """Send what waits, now, without a server."""
        notifier = Notifier(self._database, self._channels, environment=self._environment)
        try:
            return notifier.run_once(now)
        finally:
            notifier.close()

    def prune(self, now: int) -> int:
        """Forget alerts and sent messages that are older than 400 days; returns how many."""
        with self._database.writing() as connection:
            return alerts_store.prune_in(connection, now - KEPT_S) + outbox.prune_in(connection, now - KEPT_S)


@contextmanager
def at_hand(
    where: str, channels: Sequence[NotificationChannel] = (), *, create: bool = False
) -> Iterator[Notifications]:
    """What there is to ask and do of a store that no server of this process holds open."""
    with opened(where, create=create) as database:
        yield Notifications(database, lambda: channels)
