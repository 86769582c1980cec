"""The gate: may this change go out now, and why. Pure: the same request and facts give the same answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from tightrope.base.errors import TightropeError
from tightrope.base.units import duration_text, percent_text, span_text
from tightrope.policy import expressions
from tightrope.policy.answer import UNREADABLE, Outcome, liftable, summary, would_change
from tightrope.policy.decision import Decision, GateFacts, GateRequest, Reason, SloFacts, Verdict
from tightrope.policy.digest import canonical_json, inputs_digest
from tightrope.policy.question import Question
from tightrope.policy.silver_bullets import exceptions_left, period_around, refusal
from tightrope.policy.states import named, words
from tightrope.policy.wording import budget_text, count, instant_text, kinds_text, listing, plural
from tightrope.specs.model import ChangeKind, ErrorBudgetPolicy, Expression, GateRule, ShipHow, SilverBullet

VALID_S = 600
"""How long a decision may be acted on, seconds, unless something is known to turn it sooner."""

COVERAGE_FLOOR = Fraction(95, 100)
"""Below this share of measured slices a decision warns that its budget is known in part."""

_OK, _WARN, _WAIT, _STOP = "ok", "warn", "wait", "stop"
_BLOCKING = frozenset({_WAIT, _STOP})


def decide(request: GateRequest, facts: GateFacts) -> Decision:
    """Answer whether the change may go out now, and why.

    The rules speak in a fixed order (docs/policy.md) and the worst word wins: stop, wait, go. Three things stand above
    it: a rollback always goes, whatever is missing or frozen; an emergency passes freezes and blackout hours; and a
    valid silver bullet turns a stop or wait into an exempt go if nothing but state, freezes and blackout hours stand in
    the way. A silver bullet does not lift missing data.

    Args:
        request: Who asks for what, and when: service, environment, change, ``asked_at`` in UTC epoch seconds.
        facts: What was true then, gathered by the caller. Nothing is read or written here: a replay agrees.

    Returns:
        A verdict, how to ship, and for each rule that spoke its id, the measured value and the bound. The order of
        SLOs, exceptions and incidents in *facts* makes no difference.

    Raises:
        UsageError: An SLO is in a state that the policy does not have. A calendar or expression that can't be used is
            no error here but a reason: features wait, rollbacks go.
    """
    question = Question.of(request, facts)
    reasons = _reasons(question, request.kind)
    verdict = _worst(reasons)
    bullet: SilverBullet | None = None
    if verdict is not Verdict.GO:
        bullet, spoken = _exception(question, reasons)
        reasons += spoken
    exempt = bullet is not None
    kind = request.kind.value
    reasons += (Reason("change-kind", _OK, f"the change counts as {kind}", kind, request.kind_from),)
    allows = tuple(kind for kind in ChangeKind if _worst(_reasons(question, kind)) is Verdict.GO)
    outcome = Outcome(Verdict.GO if exempt else verdict, bullet, reasons, allows)
    quota = facts.policy.exceptions
    first = question.slos[0] if question.slos else None
    digest = inputs_digest(request, facts)
    return Decision(
        id=f"D-{digest[:10]}",
        verdict=outcome.verdict,
        exempt=exempt,
        request=request,
        flow=question.state.flow,
        state=question.state.name,
        state_since=first.state_since if first else None,
        ship=ShipHow.GUARDED if exempt or question.guarded else ShipHow.STANDARD,
        summary=summary(question, outcome),
        reasons=reasons,
        slos=question.slos,
        allows=allows,
        forecast=first.forecast if first else None,
        would_change=tuple(would_change(question, outcome)),
        exception=bullet.name if bullet else "",
        exceptions_left=exceptions_left(quota, request.service, facts.bullets, request.asked_at) if quota else None,
        policy=facts.policy.name,
        policy_version=facts.policy.version,
        inputs_digest=digest,
        decided_at=request.asked_at,
        expires_at=_expires_at(question, bullet),
        quota=quota,
    )


def _expires_at(question: Question, bullet: SilverBullet | None) -> int:
    """The end of the decision's validity: sooner where a freeze, a blackout, missing data or an exception turns it."""
    turns = [one.stretch.ends_at for one in question.closed] + [one.stretch.starts_at for one in question.coming]
    turns += [at for slo in question.slos if slo.stale and (at := question.stops_at(slo)) is not None]
    if bullet is not None:
        turns.append(bullet.expires_at)
    return min([question.at + VALID_S, *(at for at in turns if at > question.at)])


# --- the rules ---------------------------------------------------------------------------------------------------


def _reasons(question: Question, kind: ChangeKind) -> tuple[Reason, ...]:
    """What each rule says of a change of this kind, exceptions apart, in the order of docs/policy.md."""
    reasons = (
        *_telemetry(question, kind),
        *_coverage(question),
        *_certainty(question),
        *_state(question, kind),
        *_closed(question, kind),
        *_rollouts(question),
        *_own_rules(question, kind),
        *_incidents(question),
        *_pages(question),
    )
    if kind is not ChangeKind.ROLLBACK:
        return reasons
    softened = tuple(replace(one, outcome=_WARN) if one.outcome in _BLOCKING else one for one in reasons)
    return (*softened, Reason("rollback-never-gated", _OK, "rollbacks are never gated", "rollback", "always goes"))


def _worst(reasons: Iterable[Reason]) -> Verdict:
    outcomes = {reason.outcome for reason in reasons}
    return Verdict.STOP if _STOP in outcomes else Verdict.WAIT if _WAIT in outcomes else Verdict.GO


def _unknown_outcome(question: Question, kind: ChangeKind) -> str:
    """What a rule that can't be asked says: the kinds that pass without data pass, the others wait."""
    return _WARN if kind in question.policy.unknown.passes else _WAIT


def _telemetry(question: Question, kind: ChangeKind) -> Iterator[Reason]:
    service = question.service
    if not question.slos:
        says = f"nothing is promised for {service}, so nothing gates it"
        yield Reason("slo-exists", _WARN, says, "no SLO", "one SLO or more")
        return
    stale = [slo for slo in question.slos if slo.stale]
    for slo in stale:
        bound = f"at most {duration_text(slo.stale_after_s)}"
        if slo.unread:
            measured, missing = "out of reach", f"the telemetry of {slo.slo} can't be read: {slo.unread}"
        elif slo.data_age_s is None:
            measured, missing = "never any data", f"{slo.slo} has never had any data"
        else:
            measured = span_text(slo.data_age_s)
            missing = f"{slo.slo} has had no data for {measured}"
        turns_at = question.stops_at(slo)
        if kind in question.policy.unknown.passes:
            yield Reason(
                "telemetry-fresh", _WARN, f"{missing}; {plural(kind)} pass all the same", measured, bound, slo.slo
            )
        elif turns_at is not None and turns_at > question.at:
            until = f"stops at {instant_text(turns_at, question.at)}"
            yield Reason(
                "telemetry-fresh", _WAIT, f"{missing}; {plural(kind)} wait", measured, f"{bound}; {until}", slo.slo
            )
        else:
            yield Reason(
                "telemetry-fresh", _STOP, f"{missing}; {plural(kind)} stop until it returns", measured, bound, slo.slo
            )
    if not stale:
        oldest = max(question.slos, key=lambda slo: (slo.data_age_s or 0, slo.slo))
        measured = span_text(oldest.data_age_s or 0)
        bound = f"at most {duration_text(oldest.stale_after_s)}"
        yield Reason("telemetry-fresh", _OK, f"the newest data is {measured} old", measured, bound, oldest.slo)


def _coverage(question: Question) -> Iterator[Reason]:
    for slo in question.slos:
        if slo.coverage < COVERAGE_FLOOR:
            measured = percent_text(slo.coverage)
            says = f"the window of {slo.slo} is measured only in part"
            yield Reason(
                "window-measured", _WARN, says, measured, f"at least {float(COVERAGE_FLOOR) * 100:g} %", slo.slo
            )


def _certainty(question: Question) -> Iterator[Reason]:
    for slo in question.slos:
        for doubt in slo.doubts:
            yield Reason("state-certain", _WARN, doubt, "in doubt", "", slo.slo)


def _state(question: Question, kind: ChangeKind) -> Iterator[Reason]:
    """The strictest state decides; a kind must be allowed by the states of all SLOs."""
    if not question.slos:
        return
    refusing = next((slo for slo in question.slos if kind not in named(question.policy, slo.state).allows), None)
    slo = refusing or question.slos[0]
    measured = budget_text(slo)
    if refusing is None:
        says = f"{plural(kind)} may ship in {slo.state}"
        yield Reason("state-allows-kind", _OK, says, measured, "", slo.slo)
        return
    says = f"{plural(kind)} may not ship in {slo.state}"
    yield Reason("state-allows-kind", _STOP, says, measured, _way_out(question.policy, slo), slo.slo)


def _way_out(policy: ErrorBudgetPolicy, slo: SloFacts) -> str:
    """The condition on which the state of an SLO is left, in words; empty if there is none."""
    state = named(policy, slo.state)
    if state.exit is None:
        return ""
    held = f" for {duration_text(state.exit_for_s)}" if state.exit_for_s else ""
    return f"{words(state.exit)}{held}"


def _closed(question: Question, kind: ChangeKind) -> Iterator[Reason]:
    for rule, message in question.unreadable:
        outcome = _WARN if kind is ChangeKind.EMERGENCY else _unknown_outcome(question, kind)
        yield Reason(rule, outcome, f"whether it is frozen is unknown: {message}", UNREADABLE)
    for one in question.closed:
        freeze = one.stretch
        why = f" ({freeze.reason})" if freeze.reason else ""
        until = f"until {instant_text(freeze.ends_at, question.at)}"
        allowed = kinds_text(freeze.allows) or "nothing"
        if kind in freeze.allows:
            yield Reason(one.rule, _OK, f"{plural(kind)} may ship in {one.called}{why}", one.called, until)
        elif kind is ChangeKind.EMERGENCY:
            yield Reason(one.rule, _WARN, f"emergency fixes pass {one.called}{why}", one.called, until)
        else:
            yield Reason(one.rule, _STOP, f"{one.called}{why} lets only {allowed} through", one.called, until)


def _rollouts(question: Question) -> Iterator[Reason]:
    bound, running = question.policy.max_concurrent_rollouts, question.facts.rollouts_running
    if bound is None:
        return
    outcome = _OK if running < bound else _WAIT
    says = f"{count(running, 'rollout')} {'is' if running == 1 else 'are'} under way"
    yield Reason("concurrent-rollouts", outcome, says, str(running), f"at most {bound} at once")


def _own_rules(question: Question, kind: ChangeKind) -> Iterator[Reason]:
    if not question.policy.rules:
        return
    seen = _seen(question, kind)
    for rule in question.policy.rules:
        try:
            holds = expressions.evaluate(Expression(rule.when, rule.place), seen)
        except TightropeError as error:
            yield _unasked(question, kind, rule, error.message)
            continue
        if holds is None:
            yield _unasked(question, kind, rule, "it asks for something that is not known")
        elif holds:
            yield Reason(f"rule:{rule.id}", rule.verdict, rule.message or f"`{rule.when}` holds", "holds", rule.when)
        else:
            yield Reason(f"rule:{rule.id}", _OK, f"`{rule.when}` does not hold", "does not hold", rule.when)


def _unasked(question: Question, kind: ChangeKind, rule: GateRule, why: str) -> Reason:
    outcome = _WARN if rule.verdict == _WARN else _unknown_outcome(question, kind)
    return Reason(f"rule:{rule.id}", outcome, f"the rule can't be asked: {why}", "unknown", rule.when)


def _seen(question: Question, kind: ChangeKind) -> Mapping[str, Any]:
    """The facts that an expression sees: `expressions.GATE_FACTS`, in the table of docs/policy.md."""
    request, slos = question.request, question.slos
    moment = datetime.fromtimestamp(question.at, tz=UTC)
    burn: dict[str, Fraction | None] = {}
    for slo in slos:
        for lookback, rate in slo.burn_rates:
            known = burn.get(lookback)
            burn[lookback] = rate if known is None else known if rate is None else max(known, rate)
    left = min((slo.remaining for slo in slos if slo.remaining is not None), default=None)
    return {
        "service": request.service,
        "environment": request.environment,
        "kind": kind.value,
        "change": request.change,
        "title": request.title,
        "askedBy": request.asked_by,
        "state": question.state.name,
        "flow": question.state.flow.value,
        "remaining": left,
        "consumed": None if left is None else 1 - left,
        "burn": burn,
        "coverage": min((slo.coverage for slo in slos), default=None),
        "incidents": sorted(severity for _, severity in question.facts.open_incidents),
        "firing": sorted(severity for slo in slos for _, severity in slo.firing),
        "rollouts": question.facts.rollouts_running,
        "slos": {
            slo.slo: {
                "remaining": slo.remaining,
                "consumed": None if slo.remaining is None else 1 - slo.remaining,
                "burn": dict(slo.burn_rates),
                "coverage": slo.coverage,
                "state": slo.state,
                "stale": slo.stale,
                "firing": [condition for condition, _ in slo.firing],
            }
            for slo in slos
        },
        "weekday": moment.weekday(),
        "hour": moment.hour,
        "minute": moment.minute,
    }


def _incidents(question: Question) -> Iterator[Reason]:
    for incident, severity in sorted(set(question.facts.open_incidents)):
        says = f"{incident} ({severity}) is open" if severity else f"{incident} is open"
        yield Reason("incidents-closed", _WARN, says, severity or incident, "no open incident")


def _pages(question: Question) -> Iterator[Reason]:
    for slo in question.slos:
        for condition, severity in slo.firing:
            if severity == "page":
                yield Reason("no-page-firing", _WARN, f"{condition} pages for {slo.slo}", condition, "no page", slo.slo)


# --- exceptions --------------------------------------------------------------------------------------------------


def _exception(question: Question, reasons: tuple[Reason, ...]) -> tuple[SilverBullet | None, tuple[Reason, ...]]:
    """The silver bullet that lifts all that stands in the way, or why none does."""
    request, facts, quota = question.request, question.facts, question.policy.exceptions
    unlifted = sorted({one.rule for one in reasons if one.outcome in _BLOCKING and not liftable(one)})
    spoken: list[Reason] = []
    for bullet in sorted(set(facts.bullets), key=_in_turn):
        why_not = refusal(bullet, request, quota, facts.bullets, facts.bullets_used)
        until = f"until {instant_text(bullet.expires_at, question.at)}"
        if why_not:
            if not _long_past(question, bullet):
                spoken.append(
                    Reason(
                        f"exception:{bullet.name}", _WARN, f"the exception {bullet.name} was not used: {why_not}", until
                    )
                )
        elif unlifted and not bullet.break_glass:
            says = f"the exception {bullet.name} was not used: it does not lift {listing(unlifted)}"
            spoken.append(Reason(f"exception:{bullet.name}", _WARN, says, until))
        elif bullet.break_glass:
            says = f"{bullet.requested_by} broke the glass {until}, “{bullet.reason}”"
            return bullet, (Reason(f"exception:{bullet.name}", _OK, says, bullet.requested_by, until),)
        else:
            says = f"granted by {bullet.approved_by} to {bullet.requested_by} {until}, “{bullet.reason}”"
            return bullet, (Reason(f"exception:{bullet.name}", _OK, says, bullet.approved_by, until),)
    return None, tuple(spoken)


def _in_turn(bullet: SilverBullet) -> tuple[bool, int, str, str]:
    """What ends first is tried first, and broken glass last."""
    return bullet.break_glass, bullet.expires_at, bullet.name, canonical_json(bullet)


def _long_past(question: Question, bullet: SilverBullet) -> bool:
    """Whether an exception is over and belongs to an earlier period: no longer worth a word."""
    quota = question.policy.exceptions
    begin = period_around(question.at, quota.period)[0] if quota else question.at
    return bullet.expires_at <= question.at and bullet.granted_at < begin
