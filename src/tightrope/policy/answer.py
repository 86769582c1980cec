"""The answer in words: the sentence that every surface opens with, and what would turn the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from tightrope.base.units import duration_text, span_text
from tightrope.base.values import dataclass
from tightrope.budget.words import sentence_case
from tightrope.policy.decision import Forecast, Reason, SloFacts, Verdict
from tightrope.policy.question import Question
from tightrope.policy.silver_bullets import exceptions_left, period_around, period_word
from tightrope.policy.states import words
from tightrope.policy.wording import (
    count,
    forecast_text,
    instant_text,
    kinds_text,
    listing,
    plural,
    standing,
)
from tightrope.specs.model import ChangeKind, SilverBullet

UNREADABLE = "unreadable"
"""What a freeze measures whose calendar can't be read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: the verdict, the exception behind it if any, every reason, and the kinds that may ship."""

    verdict: Verdict
    bullet: SilverBullet | None
    reasons: tuple[Reason, ...]
    allows: tuple[ChangeKind, ...]

    @property
    def blocking(self) -> list[Reason]:
        return [reason for reason in self.reasons if reason.outcome in {"wait", "stop"}]


def liftable(reason: Reason) -> bool:
    """Tell whether a silver bullet can take a reason out of the way: state, freezes and blackout hours."""
    return reason.rule == "state-allows-kind" or reason.rule.startswith(("freeze:", "blackout:"))


def summary(question: Question, outcome: Outcome) -> str:
    """The one sentence that answers: how it stands, what that means for this kind, what else may ship."""
    kind = question.request.kind
    blocking = outcome.blocking
    if outcome.bullet is not None:
        until = instant_text(outcome.bullet.expires_at, question.at)
        may = f"{plural(kind)} may ship by exception {outcome.bullet.name} until {until}, guarded"
        return f"{_leading(question, blocking)}; {may}."
    if outcome.verdict is not Verdict.GO:
        ways = f"; {kinds_text(outcome.allows)} may ship" if outcome.allows else ""
        return f"{_leading(question, blocking)}; {plural(kind)} {_until(question, blocking)}{ways}."
    if kind is ChangeKind.ROLLBACK:
        return f"{_stands(question)}; rollbacks always ship."
    return f"{_stands(question)}; {plural(kind)} may ship{', guarded' if question.guarded else ''}."


def _stands(question: Question) -> str:
    """How the service stands, for a go: what is missing comes first, then the budget that decides."""
    if not question.slos:
        return f"nothing is promised for {question.service}"
    stale = next((slo for slo in question.slos if slo.stale), None)
    if stale is not None:
        return _missing(question, stale)
    slo = question.slos[0]
    text = standing(question.service, slo, alone=len(question.slos) == 1)
    if question.state is question.policy.states[0]:
        return text
    return f"{text} and is in {question.state.name}"


def _missing(question: Question, slo: SloFacts) -> str:
    if slo.unread:
        return f"the telemetry of {question.service} can't be read"
    if slo.data_age_s is None:
        return f"{question.service} has never had any telemetry"
    since = instant_text(question.at - slo.data_age_s, question.at)
    return f"{question.service} has had no telemetry since {since} ({span_text(slo.data_age_s)})"


def _main(blocking: list[Reason]) -> Reason:
    """The reason that the sentence is about: the first of those that stop, else the first that makes wait."""
    return next((one for one in blocking if one.outcome == "stop"), blocking[0])


def _leading(question: Question, blocking: list[Reason]) -> str:
    """What the answer rests on, as the sentence's first part."""
    reason = _main(blocking)
    slo = next((one for one in question.slos if one.slo == reason.slo), None)
    if reason.rule == "telemetry-fresh" and slo is not None:
        return _missing(question, slo)
    if reason.rule == "state-allows-kind" and slo is not None:
        text = standing(question.service, slo, alone=len(question.slos) == 1)
        return text if slo.remaining is not None and slo.remaining <= 0 else f"{text} and is in {slo.state}"
    if reason.rule.startswith(("freeze:", "blackout:")):
        if reason.measured == UNREADABLE:
            return f"{question.service} may be frozen by {reason.rule.partition(':')[2]}, whose calendar can't be read"
        return f"{question.service} is in {reason.measured}"
    if reason.rule == "concurrent-rollouts":
        return f"{question.service} has {count(question.facts.rollouts_running, 'rollout')} under way"
    return f"{question.service}: {reason.says.rstrip('.')}"


def _until(question: Question, blocking: list[Reason]) -> str:
    """What the change does, and until when: ``wait, about until 21 Mar 09:40 UTC``."""
    reason = _main(blocking)
    if reason.rule == "telemetry-fresh":
        if reason.outcome == "stop":
            return "stop until it returns"
        turns = [question.stops_at(slo) for slo in question.slos if slo.stale and slo.slo == reason.slo]
        at = next(turn for turn in turns if turn is not None)
        return f"wait and stop at {instant_text(at, question.at)}"
    if reason.rule == "state-allows-kind":
        forecast = next((slo.forecast for slo in question.slos if slo.slo == reason.slo), None)
        if forecast is not None and forecast.what == "recovered" and forecast.at is not None:
            return f"wait, about until {instant_text(forecast.at, question.at)}"
        return "wait"
    if reason.rule.startswith(("freeze:", "blackout:")):
        ends = [one.stretch.ends_at for one in question.closed if one.rule == reason.rule]
        return f"wait until {instant_text(ends[0], question.at)}" if ends else "wait"
    if reason.rule == "concurrent-rollouts":
        return "wait until one ends"
    return "stop" if reason.outcome == "stop" else "wait"


def would_change(question: Question, outcome: Outcome) -> Iterator[str]:
    """What would turn the verdict, sentence by sentence; for a go, what would end it."""
    if question.request.kind is ChangeKind.ROLLBACK:
        yield "Nothing: rollbacks are never gated."
        return
    if outcome.verdict is Verdict.GO:
        yield from _would_stop(question, outcome)
    else:
        blocking = outcome.blocking
        for reason in blocking:
            yield from _would_free(question, reason)
        others = [kind for kind in outcome.allows if kind is not question.request.kind]
        yield f"A change of kind {listing([kind.value for kind in others], 'or')} may ship now."
        if all(liftable(reason) for reason in blocking):
            yield from _would_except(question)


def _would_free(question: Question, reason: Reason) -> Iterator[str]:
    """What would take one reason out of the way."""
    if reason.rule == "telemetry-fresh":
        yield f"Data of {reason.slo} returning would let its budget decide."
    elif reason.rule == "state-allows-kind":
        slo = next(one for one in question.slos if one.slo == reason.slo)
        if reason.bound:
            yield f"{sentence_case(reason.bound)} would end {slo.state}; now {reason.measured}."
        if slo.forecast is not None and slo.forecast.what == "recovered":
            yield _expected(slo.forecast, question.at)
    elif reason.rule.startswith(("freeze:", "blackout:")):
        if reason.measured == UNREADABLE:
            yield f"A calendar of {reason.rule.partition(':')[2]} that can be read would tell."
        else:
            yield f"{sentence_case(reason.measured)} lasts {reason.bound}."
    elif reason.rule == "concurrent-rollouts":
        yield f"A rollout that ends makes room: {reason.measured} under way, {reason.bound}."
    else:
        yield f"Rule {reason.rule.partition(':')[2]} would have to fall silent: `{reason.bound}`."


def _would_except(question: Question) -> Iterator[str]:
    quota = question.policy.exceptions
    if quota is None:
        return
    left = exceptions_left(quota, question.service, question.facts.bullets, question.at)
    word = period_word(quota)
    if left:
        who = listing(list(quota.approvers), "or") if quota.approvers else "somebody else than who asks"
        yield f"An exception approved by {who} would let it through; {left} of {quota.count} left this {word}."
    else:
        anew = instant_text(period_around(question.at, quota.period)[1], question.at)
        yield f"No exception is left this {word} ({quota.count} granted); the next {word} begins {anew}."


def _would_stop(question: Question, outcome: Outcome) -> Iterator[str]:
    """What would turn a go: the next stricter state that refuses the kind, missing data, the next freeze."""
    policy, kind, at = question.policy, question.request.kind, question.at
    if outcome.bullet is not None:
        yield f"The exception expires {instant_text(outcome.bullet.expires_at, at)}."
        return
    rank = policy.states.index(question.state)
    stricter = next((state for state in policy.states[rank + 1 :] if kind not in state.allows), None)
    if question.slos and stricter is not None and stricter.enter is not None:
        yield f"{sentence_case(words(stricter.enter))} would enter {stricter.name} and stop {plural(kind)}."
        forecast = question.slos[0].forecast
        if forecast is not None and forecast.what == "exhausted":
            yield _expected(forecast, at)
    if question.slos and kind not in policy.unknown.passes:
        missing = duration_text(question.slos[0].stale_after_s)
        yield f"Data missing for longer than {missing} would make {plural(kind)} wait."
    closing = next((one for one in question.coming if kind not in one.stretch.allows | {ChangeKind.EMERGENCY}), None)
    if closing is not None:
        begins = instant_text(closing.stretch.starts_at, at)
        ends = instant_text(closing.stretch.ends_at, at)
        yield f"{sentence_case(closing.called)} stops {plural(kind)} from {begins} until {ends}."


def _expected(forecast: Forecast, at: int) -> str:
    assumption = f", if {forecast.assumption}" if forecast.assumption else ""
    return f"Expected {forecast_text(forecast, at)}{assumption}."
