"""Hold releases, let them go when the gate opens, and tell whoever waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any

from tightrope.base import clock
from tightrope.base.errors import ForbiddenError, NotFoundError, TightropeError, UsageError
from tightrope.base.settings import environment
from tightrope.base.units import DAY_S, time_text
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.facts import Deployed
from tightrope.delivery.holds import store
from tightrope.delivery.holds.hold import (
    POLLED_S,
    POLLING,
    Caller,
    Hold,
    HoldState,
    Step,
    Turned,
    ended,
    holds_up,
    opened,
    patience_s,
    reopened,
    turned,
)
from tightrope.delivery.holds.store import CallState, Outgoing
from tightrope.delivery.holds.telling import (
    SOURCE,
    Call,
    Verb,
    calls,
    comments,
    event_document,
    event_id,
    event_type,
    hold_document,
    mark_of,
)
from tightrope.delivery.mapping import Whom, mapped_for, repository_name, whom
from tightrope.delivery.trackers import Environment, Sent, Tracker, api_of, is_under, open_tracker
from tightrope.delivery.trackers.github import GitHub
from tightrope.delivery.trackers.gitlab import GitLab
from tightrope.policy.decision import Decision, GateRequest, Verdict
from tightrope.policy.dialects import github, gitlab
from tightrope.policy.dialects.hearing import Asking, Heard, NoDecision, Trouble, word
from tightrope.policy.dialects.kubernetes import Review
from tightrope.specs.model import Integration, IntegrationType, OnStop, Specs
from tightrope.state.database import Database
from tightrope.state.database import opened as opened_store
from tightrope.state.journal import Event, Journal

AskGate = Callable[[GateRequest], Decision]
"""Asks the gate."""

Concerns = Callable[[GateRequest], bool]
"""Tells whether a change is about a service at all; so it is wherever nobody knows."""

LOOKS_EVERY_S = 15
"""A hold is decided anew at least so often."""

KEPT_S = 400 * DAY_S
"""For how long holds that ended are kept."""

MOST_TRIED_S = 30 * DAY_S
"""For how long a call is tried."""

UNDELIVERED = "dev.tightrope.hold.undelivered.v1"
BROKEN_GLASS = "dev.tightrope.admission.break-glass.v1"
_LEASE_S = 60
_MOST_AT_ONCE = 100
_MOST_WAITING = 2000
_SWEPT_EVERY_S = {IntegrationType.GITLAB: 60, IntegrationType.GITHUB: 600}
_NOTED_EVERY_S = 60
_NOBODY = Whom("", "production")
_LOG = logging.getLogger("tightrope.holds")


class Holds:
    """All that is held. Any thread may call it; a thread of the server turns it.

    Args:
        database: The open store.
        specs: The specs that are followed now.
        ask: Asks the gate, and records the decision.
        weigh: Asks the gate, and records nothing: a hold is decided again and again, and most of it is no news.
        concerns: Of several services of one repository, those that a change leaves as they are need not be asked about.
        ready: Whether there is something to decide on yet; until then nobody is told anything.
        base_url: Where our pages are.
        now: Tells the time, UTC epoch seconds.
        variable: Tells the value of a variable of the environment.
    """

    def __init__(
        self,
        database: Database,
        specs: Callable[[], Specs],
        *,
        ask: AskGate,
        weigh: AskGate,
        concerns: Concerns = lambda _request: True,
        ready: Callable[[], bool] = lambda: True,
        base_url: str = "",
        now: Callable[[], int] = clock.now,
        variable: Environment = environment,
    ) -> None:
        self._database = database
        self._journal = Journal(database)
        self._specs = specs
        self._ask, self._weigh, self._concerns = ask, weigh, concerns
        self._ready = ready
        self._base_url = base_url
        self._now = now
        self._variable = variable
        self._trackers: dict[str, tuple[Integration, Tracker]] = {}
        self._opening = Lock()
        self._swept_at: dict[str, int] = {}

    # --- what is asked of us ---------------------------------------------------------------------------------------

    def open(
        self,
        caller: Caller,
        key: str,
        asking: Asking,
        address: Mapping[str, Any],
        *,
        integration: str = "",
        on_stop: OnStop = OnStop.HOLD,
        limit_s: int | None = None,
        again: bool = False,
    ) -> Hold:
        """Hold somebody, and look at once whether they may go. Who asks again for the same waits once.

        Args:
            caller, key: Who waits, and for what.
            asking: The question.
            address: What it takes to answer.
            integration: Through which it is answered.
            on_stop: What a stop does.
            limit_s: For how long it is held at most.
            again: Whether a hold that ended begins anew: its caller forgot the answer, and wants one again.
        """
        now = self._now()
        hold = opened(caller, key, asking, address, now, integration=integration, on_stop=on_stop, limit_s=limit_s)
        hold = _one_more(hold)
        with self._database.writing() as connection:
            if store.add_in(connection, hold):
                self._journal.append_in(connection, [self._event(hold, Step.CREATED, now)])
            else:
                known = store.hold_in(connection, hold.id) or hold
                if again and known.state is not HoldState.WAITING:
                    hold = _one_more(replace(reopened(known, now), told="", told_at=0, until=hold.until))
                    store.keep_in(connection, hold, known)
                    self._journal.append_in(connection, [self._event(hold, Step.UPDATED, now)])
                else:
                    hold = known
        return self._looked_at(hold, now) if hold.state is HoldState.WAITING else hold

    def take(self, integration: Integration, event: str, payload: Any) -> Hold | None:
        """Hold what a forge tells us to wait for.

        Args:
            integration: Through which it came; whoever calls has verified that.
            event: What the sender calls it: ``X-GitHub-Event`` or ``X-Gitlab-Event``.
            payload: The JSON document.

        Returns:
            The hold; None where nothing of it waits for us.

        Raises:
            ForbiddenError: The answer was to go elsewhere than to the API that the integration names.
        """
        if integration.type is IntegrationType.GITHUB:
            return self._take_github(integration, event, payload)
        if integration.type is IntegrationType.GITLAB:
            return self._take_gitlab(integration, payload)
        return None

    def answer(self, integration: Integration, repository: str, environment: str, asking: Asking) -> Heard | None:
        """Ask the gate at once, for who cannot be held, about all that is built from a repository.

        Args:
            integration: Through which it came; its map says which services and environment are meant.
            asking: The question, of no service yet.

        Returns:
            The answer that holds the release up most; None where nobody says whose the repository is.
        """
        now = self._now()
        meant = self._whose(integration, repository, environment)
        if not meant:
            return None
        questions = self._each(asking, meant, now)
        most, heard = self._heard(self._weigh, questions, now)
        return self._heard(self._ask, questions if word(heard) is Verdict.GO else [most], now)[1]

    def polled(self, name: str) -> Hold | None:
        """Look at a hold because its caller asks how it stands; None where there is none.

        Who polls is held for as long as they do; one that came back after a pause waits again.
        """
        now = self._now()
        with self._database.reading() as connection:
            hold = store.hold_in(connection, name)
        if hold is None or hold.caller not in POLLING:
            return None
        if hold.state is HoldState.EXPIRED and hold.caller is Caller.KAYENTA:
            hold = self._reopen(hold, now)
        if hold.state is HoldState.WAITING:
            hold = self._looked_at(replace(hold, until=now + POLLED_S), now)
        return hold

    def cancel(self, name: str, *, by: str, reason: str = "") -> Hold:
        """End a hold that nobody waits for any longer; raises `NotFoundError`."""
        now = self._now()
        hold = self.hold(name)
        says = f"given up by {by}" + (f": {reason}" if reason else "")
        return self._keep(hold, ended(hold, HoldState.CANCELLED, says, now), None, now)

    def hold(self, name: str) -> Hold:
        """One hold; raises `NotFoundError`."""
        with self._database.reading() as connection:
            found = store.hold_in(connection, name)
        if found is None:
            raise NotFoundError(f"there is no hold {name!r}", remedy="GET /api/v1/holds lists them")
        return found

    def holds(
        self, *, service: str = "", state: str = "", before: tuple[int, str] | None = None, limit: int = 100
    ) -> list[Hold]:
        """Holds, newest first."""
        with self._database.reading() as connection:
            return store.holds_in(connection, service=service, state=state, before=before, limit=limit)

    def counts(self) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
        """How many wait, by service and caller; and how many calls are not taken, by integration and state."""
        with self._database.reading() as connection:
            return store.counts_in(connection), store.call_counts_in(connection)

    def document(self, hold: Hold) -> dict[str, Any]:
        """A hold with what its caller was told, as the API shows it."""
        with self._database.reading() as connection:
            told = [_call_document(one) for one in store.calls_in(connection, hold.id)]
        return hold_document(hold, told)

    # --- what turns them -------------------------------------------------------------------------------------------

    def turn(self) -> int:
        """Decide every waiting hold anew, and let go of those that the gate lets through; tells how many ended."""
        now = self._now()
        with self._database.reading() as connection:
            waiting = store.waiting_in(connection, _MOST_WAITING)
        gone = 0
        for hold in waiting:
            try:
                gone += self._looked_at(hold, now).state is not HoldState.WAITING
            except TightropeError as error:
                _LOG.warning("hold %s: %s", hold.id, error.message)
        return gone

    def take_over(self) -> None:
        """Send at once what another was sending who is gone; only for whoever has the store alone."""
        with self._database.writing() as connection:
            store.release_in(connection)

    def deliver(self) -> int | None:
        """Send the calls that are due; tells when the next one is, None where none waits.

        An approval that could not be sent while its decision was valid is not sent: the hold waits again. A forge that
        cannot be reached is left alone for the rest of this round, so that the others do not wait for it.
        """
        down: set[str] = set()
        for _ in range(_MOST_AT_ONCE):
            now = self._now()
            with self._database.writing() as connection:
                taken = store.claim_in(connection, now, lease_s=_LEASE_S, without=down)
                if taken is not None and taken.call.not_after is not None and now > taken.call.not_after:
                    self._lapse_in(connection, taken, now)
                    continue
            if taken is None:
                break
            sent = self._sent(taken, now)
            if not sent.done and sent.passing:
                down.add(taken.call.integration)
            self._settle(taken, sent)
        with self._database.reading() as connection:
            return store.next_due_in(connection)

    def say(self, calls: Sequence[Call]) -> None:
        """Plan calls that belong to no hold; what is planned already stays as it is."""
        with self._database.writing() as connection:
            store.plan_in(connection, calls, self._now())

    def was_said(self, prefix: str) -> bool:
        """Whether calls whose key begins so were planned before."""
        with self._database.reading() as connection:
            return store.planned_in(connection, prefix)

    def sweep(self) -> int:
        """Look for what no webhook told us of; tells how many were found.

        GitLab is asked for deployments that wait for an approval, every minute; GitHub for deliveries of its App that
        never reached us, every ten, and to make them again.
        """
        now, found = self._now(), 0
        for integration in self._specs().integrations:
            every_s = _SWEPT_EVERY_S.get(integration.type)
            if every_s is None or now - self._swept_at.get(integration.name, 0) < every_s:
                continue
            self._swept_at[integration.name] = now
            try:
                if integration.type is IntegrationType.GITLAB and integration.token_from and integration.map:
                    found += self._sweep_gitlab(integration)
                elif integration.type is IntegrationType.GITHUB and integration.app:
                    found += self._sweep_github(integration, now)
            except TightropeError as error:
                _LOG.warning("%s: %s", integration.name, error.message)
        return found

    def prune(self, now: int) -> int:
        """Forget holds that ended long ago."""
        with self._database.writing() as connection:
            return store.prune_in(connection, now - KEPT_S)

    def close(self) -> None:
        """Let go of the connections to forges."""
        for _, tracker in self._trackers.values():
            tracker.close()
        self._trackers.clear()

    # --- pod templates ---------------------------------------------------------------------------------------------

    def goes_back(self, review: Review, before: str) -> bool:
        """Whether a pod template was let in before the one that it replaces was: then the change is a rollback."""
        with self._database.reading() as connection:
            known = store.admitted_in(connection, review.place)
        if review.template not in known or review.template == before:
            return False
        return before not in known or known[review.template] < known[before]

    def let_in(self, review: Review) -> None:
        """Note that a pod template was let in; and in the journal, if somebody broke the glass for it."""
        now = self._now()
        with self._database.writing() as connection:
            if review.template:
                store.admit_in(connection, review.place, review.template, now)
            if review.break_glass and review.goes_in is None:
                data = {
                    "place": review.place,
                    "reason": review.break_glass,
                    "by": review.user,
                    "template": review.template,
                    "environment": review.asking.environment,
                }
                event = Event(
                    review.uid, "/tightrope/admission", BROKEN_GLASS, review.asking.service or review.place, now, data
                )
                self._journal.append_in(connection, [event])

    # --- inside ----------------------------------------------------------------------------------------------------

    def _take_github(self, integration: Integration, event: str, payload: Any) -> Hold | None:
        if event == "deployment_protection_rule":
            found = github.read_protection(payload)
            if found is None:
                return None
            api = api_of(integration)
            path = f"/repos/{found.repository}/actions/runs/{found.run}/deployment_protection_rule"
            if found.callback and not is_under(found.callback, api):
                raise ForbiddenError(
                    f"{integration.name} wants to be answered elsewhere than at {api}",
                    remedy="set url of the integration to the API of that GitHub",
                )
            if found.run is None:
                raise UsageError("the payload does not say which run waits", remedy="look at the delivery in GitHub")
            self._must_be_installed(integration, found.installation)
            meant = self._whose(integration, found.repository, found.environment) or [_NOBODY]
            address = {"repository": found.repository, "run": found.run, "environment": found.environment}
            return self.open(
                Caller.GITHUB_DEPLOYMENT,
                f"{path} {found.environment} {found.sha} {found.deployment or ''}",
                github.question(found, meant[0].service, meant[0].environment),
                address,
                again=found.deployment is None,
                **_terms(integration),
            )
        check = github.read_check(event, payload)
        if check is None:
            return None
        meant = self._whose(integration, check.repository, "production")
        if not meant:
            return None
        self._must_be_installed(integration, check.installation)
        key = f"{check.repository} {check.sha}"
        if at_again := (payload.get("action") == "rerequested"):
            key += f" {self._now()}"
        address = {"repository": check.repository, "sha": check.sha, "environment": "production", "again": at_again}
        asking = github.check_question(check, meant[0].service, meant[0].environment)
        return self.open(Caller.GITHUB_CHECK, key, asking, address, **_terms(integration))

    def _must_be_installed(self, integration: Integration, installation: int | None) -> None:
        if integration.installation and installation and installation != integration.installation:
            raise ForbiddenError(
                f"installation {installation} is not the one that {integration.name} names",
                remedy="write an integration for each installation of the App",
            )

    def _take_gitlab(self, integration: Integration, payload: Any) -> Hold | None:
        check = gitlab.read_status_check(payload)
        if check is not None:
            meant = self._branch(integration, check.repository, check.branch) or [_NOBODY]
            place = f"{check.project} {check.merge_request} {check.check}"
            address = {
                "project": check.project,
                "repository": check.repository,
                "merge_request": check.merge_request,
                "sha": check.sha,
                "check": check.check,
                "environment": check.branch,
                "place": place,
            }
            self._supersede(integration.name, place, check.sha)
            asking = gitlab.question(check, meant[0].service, meant[0].environment)
            return self.open(
                Caller.GITLAB_CHECK, f"{place} {check.sha}", asking, address, again=True, **_terms(integration)
            )
        blocked = gitlab.read_deployment(payload)
        return None if blocked is None else self._hold_blocked(integration, blocked)

    def _branch(self, integration: Integration, repository: str, branch: str) -> list[Whom]:
        """Whose repository it is, and where its branch goes: as a map translates the branch, else to production."""
        usual = {one.service: one for one in self._whose(integration, repository, "")}
        found = self._whose(integration, repository, branch)
        return [one if one.environment != branch else usual.get(one.service, one) for one in found]

    def _hold_blocked(self, integration: Integration, blocked: gitlab.Blocked) -> Hold:
        meant = self._whose(integration, blocked.repository, blocked.environment) or [_NOBODY]
        address = {
            "repository": blocked.repository,
            "deployment": blocked.deployment,
            "job": blocked.job,
            "environment": blocked.environment,
        }
        return self.open(
            Caller.GITLAB_DEPLOYMENT,
            f"{blocked.repository.lower()} {blocked.deployment}",
            gitlab.question(blocked, meant[0].service, meant[0].environment),
            address,
            **_terms(integration),
        )

    def _sweep_gitlab(self, integration: Integration) -> int:
        tracker, count = self._tracker(integration), 0
        assert isinstance(tracker, GitLab)
        for repository in sorted({_path_of(one.repository) for one in integration.map if one.repository}):
            listed = tracker.blocked(repository)
            if isinstance(listed, Sent):
                _LOG.warning("%s: deployments of %s: %s", integration.name, repository, listed.said)
                return count
            for row in listed:
                blocked = gitlab.read_listed(row, repository)
                if blocked is not None:
                    self._hold_blocked(integration, blocked)
                    count += 1
        return count

    def _sweep_github(self, integration: Integration, now: int) -> int:
        tracker = self._tracker(integration)
        assert isinstance(tracker, GitHub)
        missed = tracker.missed(now)
        if isinstance(missed, Sent):
            _LOG.warning("%s: deliveries that were missed: %s", integration.name, missed.said)
            return 0
        return sum(tracker.send_again(delivery, now).done for delivery in missed)

    def _supersede(self, integration: str, place: str, sha: str) -> None:
        """A newer commit takes the place of what waits: an answer for the old one would be a conflict."""
        now = self._now()
        with self._database.reading() as connection:
            waiting = store.waiting_like_in(connection, Caller.GITLAB_CHECK, integration)
        for hold in waiting:
            if hold.address.get("place") == place and hold.address.get("sha") != sha:
                self._keep(hold, ended(hold, HoldState.SUPERSEDED, f"commit {sha[:12]} took its place", now), None, now)

    def _looked_at(self, hold: Hold, now: int) -> Hold:
        """Decide a waiting hold anew, keep what came of it, and plan what its caller is told."""
        if not self._ready():
            return hold
        questions = self._questions(hold, now)
        if not questions[0].service:
            says = f"no integration says which service {hold.address.get('repository', 'it')} belongs to"
            unknown = NoDecision(Trouble.UNKNOWN, says)
            return self._keep(hold, turned(hold, unknown, now), unknown, now)
        asking, heard = self._heard(self._weigh, questions, now)
        turn = turned(replace(hold, asking=asking), heard, now)
        if turn.opens:  # what is acted on is recorded, and what was recorded is acted on
            asking, heard = self._heard(self._ask, questions if word(heard) is Verdict.GO else [asking], now)
            turn = turned(replace(hold, asking=asking), heard, now)
        return self._keep(hold, turn, heard, now)

    def _questions(self, hold: Hold, now: int) -> list[Asking]:
        """What the gate is asked for a hold: whose it is may have been said, or changed, since it was opened."""
        integration = self._integration(hold.integration) if hold.integration else None
        if integration is None:
            return [hold.asking]
        repository, where = str(hold.address.get("repository", "")), str(hold.address.get("environment", ""))
        of = self._branch if hold.caller is Caller.GITLAB_CHECK else self._whose
        return self._each(hold.asking, of(integration, repository, where), now)

    def _each(self, asking: Asking, meant: Sequence[Whom], now: int) -> list[Asking]:
        """The question for each service that goes out with it, but for those that the change leaves as they are."""
        found = [replace(asking, service=one.service, environment=one.environment) for one in meant]
        if len(found) > 1:
            found = [one for one in found if self._concerns(one.at(now))] or found[:1]
        return found or [asking]

    def _heard(self, ask: AskGate, questions: Sequence[Asking], now: int) -> tuple[Asking, Heard]:
        """The question whose answer holds a release up most, and the answer."""
        found = [(one, self._answered(ask, one, now)) for one in questions]
        return max(found, key=lambda pair: holds_up(pair[1]))

    def _answered(self, ask: AskGate, asking: Asking, now: int) -> Heard:
        try:
            return ask(asking.at(now))
        except NotFoundError as error:
            return NoDecision(Trouble.UNKNOWN, error.message)
        except TightropeError as error:
            return NoDecision(Trouble.FAILED, error.message)

    def _keep(self, before: Hold, turn: Turned, heard: Heard | None, now: int) -> Hold:
        hold = turn.hold
        tells = turn.tells and (hold.state is not HoldState.WAITING or comments(hold))
        quiet = turn.step is None and not tells and hold.until == before.until and hold.asking == before.asking
        if quiet and now - before.decided_at < _NOTED_EVERY_S:
            return hold
        planned = calls(hold, heard, now, self._base_url) if tells else ()
        if hold.state is HoldState.WAITING and planned:
            hold = replace(hold, comments=hold.comments + 1)
        if turn.step is not None:
            hold = _one_more(hold)
        with self._database.writing() as connection:
            if not store.keep_in(connection, hold, before):
                return store.hold_in(connection, hold.id) or hold
            if planned or turn.step is Step.CLOSED:
                store.drop_waiting_in(connection, hold.id, (Verb.COMMENT, Verb.CHECK), now)
            store.plan_in(connection, planned, now)
            if turn.step is not None:
                self._journal.append_in(connection, [self._event(hold, turn.step, now)])
        return hold

    def _reopen(self, hold: Hold, now: int) -> Hold:
        again = _one_more(replace(reopened(hold, now), until=now + POLLED_S))
        with self._database.writing() as connection:
            if not store.keep_in(connection, again, hold):
                return store.hold_in(connection, hold.id) or hold
            self._journal.append_in(connection, [self._event(again, Step.UPDATED, now)])
        return again

    def _lapse_in(self, connection: Any, taken: Outgoing, now: int) -> None:
        store.settle_in(connection, taken, CallState.LAPSED, now=now, error="its decision was valid no longer")
        hold = store.hold_in(connection, taken.call.hold)
        if hold is None or hold.state is not HoldState.APPROVED:
            return
        again = _one_more(reopened(hold, now))
        store.drop_waiting_in(connection, hold.id, tuple(Verb), now)
        store.keep_in(connection, again, hold)
        self._journal.append_in(connection, [self._event(again, Step.UPDATED, now)])

    def _sent(self, taken: Outgoing, now: int) -> Sent:
        call = taken.call
        integration = self._integration(call.integration)
        if integration is None:
            said = f"there is no integration {call.integration} any more"
            return Sent(done=False, passing=True, said=said)
        method, path = call.method, call.path
        if call.creates:
            with self._database.reading() as connection:
                hold = store.hold_in(connection, call.hold)
            known = hold.address.get(call.creates) if hold is not None else None
            if known:
                method, path = "PATCH", f"{path}/{known}"
        try:
            tracker = self._tracker(integration)
            if taken.attempts > 1 and any(mark_of(call.key) in str(text) for text in call.body.values()):
                there = tracker.has(path, mark_of(call.key), now)
                if there is True:  # it was taken, and we were gone before we heard of it
                    return Sent(done=True)
                if isinstance(there, Sent) and there.passing:
                    return there
            return tracker.send(method, path, call.body, now)
        except TightropeError as error:  # a secret that is not set can be set while somebody waits
            return Sent(done=False, passing=True, said=error.message)
        except Exception as fault:  # noqa: BLE001 - one call that cannot be made must not keep the others from being made
            _LOG.exception("call %s of hold %s", call.verb, call.hold)
            return Sent(done=False, passing=True, said=f"a bug in Tightrope: {type(fault).__name__}")

    def _settle(self, taken: Outgoing, sent: Sent) -> None:
        now, call = self._now(), taken.call
        with self._database.writing() as connection:
            if not sent.done and sent.passing and now - taken.created_at < MOST_TRIED_S:
                due = now + patience_s(taken.attempts, call.key, sent.retry_after_s)
                store.settle_in(connection, taken, CallState.WAITING, now=now, due_at=due, error=sent.said)
                return
            state = CallState.DONE if sent.done else CallState.DEAD
            if not store.settle_in(connection, taken, state, now=now, error=sent.said):
                return
            hold = store.hold_in(connection, call.hold)
            if hold is None:
                return
            events = []
            if call.creates and sent.id is not None:
                store.keep_in(connection, replace(hold, address={**hold.address, call.creates: sent.id}), hold)
            elif not sent.done and sent.gone and hold.state is HoldState.WAITING:
                says = f"nobody waits for it any longer: {sent.said}"
                over = _one_more(ended(hold, HoldState.SUPERSEDED, says, now).hold)
                store.keep_in(connection, over, hold)
                events.append(self._event(over, Step.CLOSED, now))
            if not sent.done and call.verb in {Verb.APPROVE, Verb.REFUSE, Verb.PLAY}:
                _LOG.warning("hold %s: %s could not be told: %s", hold.id, call.verb, sent.said)
                data = {"hold": hold.id, "verb": call.verb.value, "why": sent.said, "integration": hold.integration}
                events.append(Event(call.key, SOURCE, UNDELIVERED, hold.service or hold.id, now, data))
            if events:
                self._journal.append_in(connection, events)

    def _event(self, hold: Hold, step: Step, now: int) -> Event:
        document = event_document(hold, step, now, self._base_url)
        return Event(event_id(hold), SOURCE, event_type(step), hold.service or hold.id, now, document)

    def _whose(self, integration: Integration, repository: str, environment: str) -> list[Whom]:
        """Which services are meant, each with its environment; none: nobody says."""
        specs = self._specs()
        known = {*specs.services, *(slo.service for slo in specs.slos)}
        named = Deployed("", 0, DeploymentState.STARTED, repository=repository, environment=environment)
        return whom(named, mapped_for(integration, specs.mapped), known)

    def _integration(self, name: str) -> Integration | None:
        return next((one for one in self._specs().integrations if one.name == name), None)

    def _tracker(self, integration: Integration) -> Tracker:
        with self._opening:
            kept = self._trackers.get(integration.name)
            if kept is not None and kept[0] == integration:
                return kept[1]
            if kept is not None:
                kept[1].close()
                del self._trackers[integration.name]
            made = open_tracker(integration, self._variable)
            self._trackers[integration.name] = (integration, made)
            return made


@contextmanager
def at_hand(where: str) -> Iterator[Holds]:
    """The holds of a store, to be looked at and given up: nobody is decided on, and nobody is told anything.

    Raises:
        NotFoundError: There is no store.
    """

    def nobody(request: GateRequest) -> Decision:
        raise NotFoundError(f"the gate of {request.service} is asked by the server only")

    with opened_store(where) as database:
        yield Holds(database, Specs, ask=nobody, weigh=nobody, ready=lambda: False)


def _one_more(hold: Hold) -> Hold:
    """The hold with one more event in the journal."""
    return replace(hold, steps=hold.steps + 1)


def _path_of(repository: str) -> str:
    """A repository as its forge calls it, without the host: ``owner/name``."""
    name = repository_name(repository)
    host, _, rest = name.partition("/")
    return rest if "." in host and "/" in rest else name


def _terms(integration: Integration) -> dict[str, Any]:
    return {"integration": integration.name, "on_stop": integration.on_stop, "limit_s": integration.wait_s}


def _call_document(one: Outgoing) -> dict[str, Any]:
    return {
        "verb": one.call.verb.value,
        "state": one.state.value,
        "attempts": one.attempts,
        "error": one.error,
        "createdAt": time_text(one.created_at),
        "doneAt": None if one.done_at is None else time_text(one.done_at),
    }
