"""A rollout as it goes: from what is known at one instant to what is done next, and nothing else.

The same function runs a rollout, shows it again from its record, and answers what would have happened. It decides on
counts and on what was seen of the target, never on what should have happened: a weight counts as taken once it was
seen. Going back comes before all else, and nothing but the target can keep it from landing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

from tightrope.base.errors import DataError
from tightrope.base.units import span_text, time_text
from tightrope.delivery.canary import Analysis, Batch, Harm, LatencyBatch, Rules, Safe, Undecided, update, verdict
from tightrope.delivery.canary import raise_weight as begin_stage
from tightrope.delivery.planner import Act, NextStep, Plan, Progress, next_weight, slower
from tightrope.policy.notation import plain, read_as
from tightrope.specs.model import WhenOver

NOTHING, ALL = Fraction(0), Fraction(1)
PAGES_AT = Fraction(72, 5)
"""The burn rate at which somebody is paged: 2 % of a 30-day budget in an hour."""

NEVER_BEGAN = "the new version never had traffic from this rollout"
"""The proof of one that ended before its first weight."""

_ALONE = "nothing runs beside it to compare with: it is held against the promise itself"
_FEWEST_BAD = 5
GIVE_UP_S = 3600
"""For how long a target is asked again for what does not land; then its state is unknown, and a person is told."""


class Phase(StrEnum):
    """Where a rollout is; the last three are ends."""

    PREPARING = "preparing"
    GATED = "gated"
    STEPPING = "stepping"
    BAKING = "baking"
    HOLDING = "holding"
    PROMOTING = "promoting"
    ROLLING_BACK = "rolling back"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether nothing more happens."""
        return self in {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.FAILED}


class Said(StrEnum):
    """What a person may say to a rollout: take the next step now, take all of the traffic now, go back, stay, go on."""

    PROMOTE = "promote"
    PROMOTE_ALL = "promote-all"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a rollout is to behave where its plan does not say.

    Attributes:
        planned: Its steps were drawn up by the planner, and may be drawn up anew where care is asked for.
        least_requests, least_s: What the canary must have had at a weight before it goes on.
        longest_s: The longest that all of it may take; *when_over* says what follows then.
        lost_after_s: For how long nobody may watch, or the target stay out of reach; *when_lost*: hold or roll back.
    """

    planned: bool = True
    least_requests: int = 100
    least_s: int = 60
    longest_s: int = 86_400
    when_over: WhenOver = WhenOver.HOLD
    lost_after_s: int = 300
    when_lost: WhenOver = WhenOver.ROLLBACK


# --- what is known --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """What became known of one promise since its tally ended.

    Attributes:
        until: To where it is measured now, UTC epoch seconds.
        canary_bad, canary_total: Requests of the canary, all of them counted, whether there was a baseline or not.
        batches: Both arms over the same intervals, for the analysis; none where they cannot be told apart.
        latencies: Both arms' latency histograms.
        bad_units: Of a time-based promise: slices that were bad, whoever made them so.
        unmeasured_s: Seconds before *until* of which nothing will ever be known.
        canary_at: When the canary's last request came.
    """

    name: str
    until: int
    canary_bad: int = 0
    canary_total: int = 0
    batches: tuple[Batch, ...] = ()
    latencies: tuple[LatencyBatch, ...] = ()
    bad_units: int = 0
    unmeasured_s: int = 0
    canary_at: int | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """What a person said, who, and why; ``row`` counts, and each is heard once."""

    row: int
    said: Said
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the gate answered: go, stop or wait, why, and the decision's id."""

    verdict: str
    why: str
    decision: str = ""
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a turn may go by.

    Attributes:
        seen: Share of the traffic that the target was seen to give the new version; None: it could not be seen.
        promoted: Whether the target was seen to have made the new version its only one.
        trouble: What the target, or the telemetry, had to complain of; empty: nothing.
        measured: What became known, promise by promise.
        pages: Alerts that page for the service and are out now.
        guarded: The policy's state asks for care.
        asked: The gate's answer, where it was asked.
        words: What people said.
    """

    seen: Fraction | None = None
    promoted: bool = False
    trouble: str = ""
    measured: tuple[Measured, ...] = ()
    pages: tuple[str, ...] = ()
    guarded: bool = False
    asked: Asked | None = None
    words: tuple[Word, ...] = ()


# --- the state ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """The account of one promise of the plan.

    Attributes:
        until: To where it is measured, UTC epoch seconds; None: it has not begun.
        spent: Bad units of the canary so far, in the promise's units, and what is *charged* among them.
        charged: What time of which nothing will ever be known could have cost.
        requests, bad: Of the canary, since the beginning.
        at_stage, bad_at_stage: Requests of the canary at the present weight, and the bad ones of them.
        canary_at: When its last request came.
        quiet_at: Since when it was measured to have none; None: it had some at the last look.
    """

    name: str
    until: int | None = None
    spent: Fraction = NOTHING
    charged: Fraction = NOTHING
    requests: int = 0
    bad: int = 0
    at_stage: int = 0
    bad_at_stage: int = 0
    canary_at: int | None = None
    quiet_at: int | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout at one instant. As plain JSON it survives a crash and loses nothing.

    Attributes:
        analysis: Its statistics; None where both versions never serve side by side.
        stage: Index in the plan; None: all of the traffic meets the old version, or should.
        weight: Share of the traffic that the new version should have.
        seen: The share that it was seen to have last.
        heaviest: The greatest share that it was ever asked to have: what blind time is charged by.
        settled_at: Since when the two are the same; None: they are not.
        moved_at: When the weight was last changed.
        created_at, begun_at, turned_at, ended_at: Instants; *begun_at* is that of the first weight.
        tallies: One for each promise, in the plan's order.
        pages: Alerts that were out before it began, and still are: they are no fault of this release.
        why: What it waits for, or why it ended; one sentence.
        told: The last thing a person was asked for.
        heard: Row of the last word that was heard.
        refused: Why the last word could not be followed; empty: it was.
        paused, slowed, waived: A person paused it; the policy asked for care on the way; the proof was waived.
        unreached_at: Since when the target cannot be seen.
        decision: Of the gate.
        turns: How many there were.
        proof: For its end: what was seen, in one sentence.
    """

    plan: Plan
    conduct: Conduct
    analysis: Analysis | None
    tallies: tuple[Tally, ...]
    created_at: int
    turned_at: int
    phase: Phase = Phase.PREPARING
    stage: int | None = None
    weight: Fraction = NOTHING
    seen: Fraction | None = None
    heaviest: Fraction = NOTHING
    settled_at: int | None = None
    moved_at: int = 0
    begun_at: int | None = None
    ended_at: int | None = None
    pages: tuple[str, ...] = ()
    why: str = ""
    told: str = ""
    heard: int = 0
    refused: str = ""
    paused: bool = False
    slowed: bool = False
    waived: bool = False
    unreached_at: int | None = None
    decision: str = ""
    turns: int = 0
    proof: str = ""

    @property
    def rules(self) -> Rules:
        """What its verdicts need."""
        return Rules(self.plan.terms.alpha, self.conduct.least_requests, self.conduct.least_s)

    @property
    def verdict(self) -> Safe | Undecided | Harm | None:
        """What the evidence says; None without any that could. At all of the traffic no more of it is to come."""
        if self.analysis is None:
            return None
        said = verdict(self.analysis, self.rules)
        if self.weight == ALL and isinstance(said, Undecided):
            return replace(said, why=_ALONE, harm_in_s=None, safe_in_s=None)
        return said


def prepared(plan: Plan, conduct: Conduct, analysis: Analysis | None, now: int) -> Rollout:
    """A rollout that has not begun."""
    tallies = tuple(Tally(one.name) for one in plan.promises)
    return Rollout(plan, conduct, analysis, tallies, created_at=now, turned_at=now, why="the gate is asked")


def rollout_memory(state: Rollout) -> dict[str, Any]:
    """Write the state as plain JSON, exactly."""
    written: dict[str, Any] = plain(state)
    return written


def read_rollout(memory: Mapping[str, Any]) -> Rollout:
    """Read what `rollout_memory` wrote; raises `DataError` for anything else."""
    return read_as(Rollout, memory)


# --- what is done ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetWeight:
    """Give the new version this share of the traffic."""

    weight: Fraction


@dataclass(frozen=True, slots=True)
class Promote:
    """Make the new version the only one."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """Give all of the traffic to the old version."""


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Tell people that one of them is needed, and why."""

    why: str


Deed = SetWeight | Promote | RollBack | AskPerson
"""What a turn has done; all of it may be done again without harm."""


def turn(state: Rollout, facts: Facts, now: int) -> tuple[Rollout, tuple[Deed, ...]]:
    """Take one turn of a rollout. To be called at least every `Reaction.evaluate_s`, and again after every crash.

    Args:
        state: As the last turn left it.
        facts: What is known now; what was measured begins where the tallies of *state* end.
        now: UTC epoch seconds.

    Returns:
        The state to remember, and what is to be done to the world, before or after that: nothing of it does harm twice.
    """
    if state.phase.over:
        return state, ()
    away_s = now - state.turned_at
    following = replace(state, turned_at=max(now, state.turned_at), turns=state.turns + 1)
    following = _seen(following, facts, now)
    following = _counted(following, facts)
    following, said = _heard(following, facts)
    if Said.ABORT in said and following.phase is not Phase.ROLLING_BACK:
        last = next(one for one in reversed(facts.words) if one.said is Said.ABORT)
        return _going_back(following, now, aborted_by(last.by, last.reason))
    match following.phase:
        case Phase.PREPARING | Phase.GATED:
            return _before(following, facts, now)
        case Phase.ROLLING_BACK:
            return _landing(following, facts, now)
        case Phase.PROMOTING:
            return _ending(following, facts, now)
        case _:
            return _stepping(following, facts, now, said, away_s)


def _seen(state: Rollout, facts: Facts, now: int) -> Rollout:
    """Take in what was seen of the target."""
    if facts.seen is None:
        lost = now if state.unreached_at is None else state.unreached_at
        return replace(state, unreached_at=lost)
    settled = (state.settled_at if state.settled_at is not None else now) if facts.seen == state.weight else None
    return replace(state, seen=facts.seen, settled_at=settled, unreached_at=None)


def _counted(state: Rollout, facts: Facts) -> Rollout:
    """Take in what was measured; before the first weight nothing of it is the canary's."""
    if state.begun_at is None:
        return state
    known = {one.name: one for one in facts.measured}
    tallies, analysis = [], state.analysis
    for promise, tally in zip(state.plan.promises, state.tallies, strict=True):
        one = known.get(promise.name)
        if one is None or tally.until is None:
            tallies.append(tally)
            continue
        if one.until < tally.until or one.canary_bad > one.canary_total or min(one.bad_units, one.unmeasured_s) < 0:
            raise DataError(
                f"what was measured of {one.name} cannot be true",
                remedy="time runs on, and bad requests are some of all; a counter that began anew must be read as such",
            )
        charged = promise.worst(state.heaviest, one.unmeasured_s) if one.unmeasured_s else NOTHING
        bad = Fraction(one.bad_units if promise.unit_s else one.canary_bad)
        quiet_at = None if one.canary_total else tally.until if tally.quiet_at is None else tally.quiet_at
        tallies.append(
            replace(
                tally,
                until=one.until,
                spent=tally.spent + bad + charged,
                charged=tally.charged + charged,
                requests=tally.requests + one.canary_total,
                bad=tally.bad + one.canary_bad,
                at_stage=tally.at_stage + one.canary_total,
                bad_at_stage=tally.bad_at_stage + one.canary_bad,
                canary_at=tally.canary_at if one.canary_at is None else one.canary_at,
                quiet_at=quiet_at,
            )
        )
    if analysis is not None:
        tests = {one.name for one in analysis.errors}
        slow = {one.name for one in analysis.latencies}
        for one in facts.measured:
            for batch in one.batches if one.name in tests else ():
                analysis = update(analysis, {one.name: batch})
            for histogram in one.latencies if f"{one.name} latency" in slow else ():
                analysis = update(analysis, {f"{one.name} latency": histogram})
    return replace(state, tallies=tuple(tallies), analysis=analysis)


def _heard(state: Rollout, facts: Facts) -> tuple[Rollout, frozenset[Said]]:
    """Take in what people said, in order; of pausing and going on the last word counts."""
    fresh = [one for one in facts.words if one.row > state.heard]
    if not fresh:
        return state, frozenset()
    paused = state.paused
    for one in fresh:
        paused = one.said is Said.PAUSE or (paused and one.said not in {Said.RESUME, Said.PROMOTE, Said.PROMOTE_ALL})
    refused = _out_of_place(state.phase, fresh[-1].said)
    heard = max(one.row for one in fresh)
    return replace(state, heard=heard, paused=paused, refused=refused), frozenset(one.said for one in fresh)


def _out_of_place(phase: Phase, said: Said) -> str:
    """Why a word changes nothing in this phase; empty: it does."""
    pushes = said in {Said.PROMOTE, Said.PROMOTE_ALL}
    if pushes and phase in {Phase.PREPARING, Phase.GATED}:
        return "not promoted: it has not begun, and the gate comes first"
    if said is not Said.ABORT and phase is Phase.ROLLING_BACK:
        return f"{said}: too late, it is rolling back"
    if said is Said.PAUSE and phase is Phase.PROMOTING:
        return "pause: too late, it is being promoted; abort still takes it back"
    return ""


def aborted_by(who: str, reason: str) -> str:
    """Say who called it off, and why."""
    return f"aborted by {who}" + (f": {reason}" if reason else "")


# --- before it begins -----------------------------------------------------------------------------------------------


def _before(state: Rollout, facts: Facts, now: int) -> tuple[Rollout, tuple[Deed, ...]]:
    if now - state.created_at >= state.conduct.longest_s:
        return _gone(state, now, f"it waited for {span_text(state.conduct.longest_s)} and never began"), ()
    asked = facts.asked
    if asked is None:
        return replace(state, why="the gate was not asked yet"), ()
    if asked.verdict != "go":
        return replace(state, phase=Phase.GATED, why=f"the gate says {asked.verdict}: {asked.why}"), ()
    state = replace(state, decision=asked.decision)
    if state.paused:
        return replace(state, phase=Phase.GATED, why="a person paused it"), ()
    if facts.seen is None:
        return replace(state, why=f"the target cannot be seen: {facts.trouble or 'no answer'}"), ()
    if facts.seen != NOTHING:
        why = f"the target already gives {_percent(facts.seen)} to the new version; end what moved it first"
        return replace(state, why=why), ()
    if (asked.guarded or facts.guarded) and not state.plan.terms.guarded and not state.slowed:
        state = replace(state, plan=slower(state.plan, None, planned=state.conduct.planned), slowed=True)
    nothing = (0,) * len(state.tallies)
    step = next_weight(state.plan, Progress(None, 0, tuple(one.spent for one in state.tallies), nothing))
    if step.act is not Act.RAISE:
        held, deeds = _held(state, step.why, late=False, ask=step.why)
        return replace(held, phase=Phase.GATED), deeds
    tallies = tuple(replace(one, until=now) for one in state.tallies)
    state = replace(state, begun_at=now, pages=facts.pages, tallies=tallies)
    return _moved(state, step, now)


# --- step by step ---------------------------------------------------------------------------------------------------


def _stepping(
    state: Rollout, facts: Facts, now: int, said: frozenset[Said], away_s: int
) -> tuple[Rollout, tuple[Deed, ...]]:
    assert state.stage is not None
    conduct, reaction = state.conduct, state.plan.terms.reaction
    if (facts.guarded and not state.plan.terms.guarded) and not state.slowed:
        state = replace(state, plan=slower(state.plan, state.stage, planned=conduct.planned), slowed=True)
    state, progress, step = _judged(state, facts, now)
    since_s, said_now = progress.since_s, progress.verdict
    if step.act is Act.ROLL_BACK:
        return _going_back(state, now, step.why)
    unwatched = max(away_s, 0 if state.unreached_at is None else now - state.unreached_at)
    if unwatched > max(conduct.lost_after_s, reaction.evaluate_s) and conduct.when_lost is WhenOver.ROLLBACK:
        what = "the target was out of reach" if state.unreached_at is not None else "nobody watched"
        return _going_back(state, now, f"{what} for {span_text(unwatched)}")
    if step.act is Act.LOWER:
        return _moved(state, step, now)
    late = now - state.created_at >= conduct.longest_s
    if late and conduct.when_over is WhenOver.ROLLBACK:
        return _going_back(state, now, f"it took longer than {span_text(conduct.longest_s)}")
    state, again = _put_right(state, facts, now)
    if again:
        return state, again
    lost = f"the target cannot be seen: {facts.trouble or 'no answer'}" if facts.seen is None else ""
    exposed = _exposed(state, since_s)
    if Said.PROMOTE in said or Said.PROMOTE_ALL in said:
        refused = lost or _not_pushed(state, progress, whole=Said.PROMOTE_ALL in said)
        if not refused:
            return _pushed(state, now, whole=Said.PROMOTE_ALL in said)
        state = replace(state, refused=f"not promoted: {refused}")
    if state.paused:
        return replace(state, phase=Phase.HOLDING, why="a person paused it"), ()
    if lost:  # for a moment that is nothing: nginx reloads
        brief = now - (state.unreached_at or now) < reaction.act_s and not late
        asked = "the target cannot be seen" if unwatched > conduct.lost_after_s else ""
        return (replace(state, why=lost), ()) if brief else _held(state, lost, late, asked)
    if late and conduct.when_over is WhenOver.PROMOTE and not exposed and since_s >= reaction.total_s:
        refused = _not_pushed(state, progress, whole=False)
        return _held(state, f"not promoted: {refused}", late) if refused else _pushed(state, now, whole=False)
    if step.act in {Act.RAISE, Act.DONE} and exposed:
        return _held(state, exposed, late)
    if step.act is Act.RAISE:
        return _moved(state, step, now)
    if step.act is Act.DONE:
        return replace(state, phase=Phase.PROMOTING, why=step.why, moved_at=now), (Promote(),)
    if step.act is Act.ASK:
        return _held(state, step.why, late, step.why)
    blind = max(progress.unseen_s) > reaction.measure_s
    compared = state.weight < ALL and since_s >= reaction.total_s
    silent = compared and isinstance(said_now, Undecided) and said_now.silent
    why = step.why + (f" ({facts.trouble})" if blind and facts.trouble else "")
    if silent and not blind and any(one.at_stage for one in state.tallies):
        why = "no request of the old version is known to compare with: check what the telemetry calls it"
    if blind or silent or late:
        return _held(state, why, late)
    return replace(state, phase=Phase.STEPPING if state.settled_at is None else Phase.BAKING, why=why), ()


def _held(state: Rollout, why: str, late: bool, ask: str = "") -> tuple[Rollout, tuple[Deed, ...]]:
    """Stay, and tell a person where one is needed; each thing once."""
    asked = ask or (f"it took longer than {span_text(state.conduct.longest_s)}" if late else "")
    deeds = (AskPerson(asked),) if asked and asked != state.told else ()
    return replace(state, phase=Phase.HOLDING, why=why, told=asked or state.told), deeds


def _judged(state: Rollout, facts: Facts, now: int) -> tuple[Rollout, Progress, NextStep]:
    """What the plan says of where it is. Pages that were out before it began are no fault of it until they end."""
    pages = tuple(one for one in state.pages if one in facts.pages)
    fresh = [one for one in facts.pages if one not in pages]
    progress = Progress(
        state.stage,
        now - state.settled_at if state.settled_at is not None else 0,
        tuple(one.spent for one in state.tallies),
        tuple(max(0, now - (one.until or now)) for one in state.tallies),
        state.verdict,
        paging=bool(fresh),
    )
    step = next_weight(state.plan, progress)
    if step.act is Act.ROLL_BACK and fresh and not isinstance(progress.verdict, Harm):
        step = replace(step, why=f"{step.why} ({', '.join(fresh)})")
    if (state.analysis is None or state.weight == ALL) and step.act is not Act.ROLL_BACK:
        step = _uncompared(state, step)
    return replace(state, pages=pages), progress, step


def _uncompared(state: Rollout, step: NextStep) -> NextStep:
    """Where there is nothing to compare with, the new version is held against the promise itself.

    A burn that would page takes it back; one that is above the usual, and above what the promise bears, takes a person.
    """
    for promise, tally in zip(state.plan.promises, state.tallies, strict=True):
        if promise.unit_s or tally.at_stage < max(1, state.conduct.least_requests):
            continue
        share = Fraction(tally.bad_at_stage, tally.at_stage)
        burn = share / promise.allowed_ratio
        said = (
            f"{tally.bad_at_stage:,} of {tally.at_stage:,} requests were bad, {float(burn):.1f} times what "
            f"{promise.name} bears"
        )
        if share <= max(promise.allowed_ratio, 2 * promise.bad_ratio):
            continue
        if burn >= PAGES_AT and tally.bad_at_stage >= _FEWEST_BAD:
            return NextStep(Act.ROLL_BACK, NOTHING, None, said)
        if step.act in {Act.RAISE, Act.DONE}:
            return replace(step, act=Act.ASK, weight=state.weight, stage=state.stage, why=said)
    return step


def _exposed(state: Rollout, since_s: int) -> str:
    """What the canary has not had yet at this weight; empty: it had enough of everything."""
    counted = [
        tally.at_stage
        for promise, tally in zip(state.plan.promises, state.tallies, strict=True)
        if not promise.unit_s or tally.at_stage
    ]
    if since_s < state.conduct.least_s:
        return f"it had {span_text(since_s)} of at least {span_text(state.conduct.least_s)} at this weight"
    if counted and min(counted) < state.conduct.least_requests:
        return f"it had {min(counted):,} of at least {state.conduct.least_requests:,} requests at this weight"
    return ""


def _pushed(state: Rollout, now: int, *, whole: bool) -> tuple[Rollout, tuple[Deed, ...]]:
    """Take the next step at a person's word: no bake and no proof is waited for."""
    number = _pushed_to(state, whole=whole)
    if number is None:
        return replace(state, phase=Phase.PROMOTING, why="promoted by a person", moved_at=now), (Promote(),)
    after = state.plan.stages[number]
    return _moved(replace(state, waived=True), NextStep(Act.RAISE, after.weight, number, after.purpose), now)


def _pushed_to(state: Rollout, *, whole: bool) -> int | None:
    """The stage that a person's word leads to; None: it has all of the traffic already."""
    assert state.stage is not None
    last = len(state.plan.stages) - 1
    return None if state.stage == last else last if whole else state.stage + 1


def _not_pushed(state: Rollout, progress: Progress, *, whole: bool) -> str:
    """Why a person's word is not enough: the allowance holds all the same. Empty: it is."""
    number = _pushed_to(state, whole=whole)
    if number is None:
        return ""
    after, reaction = state.plan.stages[number], state.plan.terms.reaction
    if max(progress.unseen_s) > reaction.measure_s:
        return "nothing is measured, and no weight is raised blindly"
    ahead = reaction.evaluate_s + reaction.act_s
    if after.reserved and any(
        spent + one.worst(after.weight, unseen + ahead) > state.plan.terms.allowance_of(one)
        for one, spent, unseen in zip(state.plan.promises, progress.spent, progress.unseen_s, strict=True)
    ):
        return f"what is left of the allowance does not bear {_percent(after.weight)}"
    return ""


def _put_right(state: Rollout, facts: Facts, now: int) -> tuple[Rollout, tuple[Deed, ...]]:
    """Ask the target again where it does not have the weight that it was asked for."""
    if state.settled_at is not None or facts.seen is None or now - state.moved_at < state.plan.terms.reaction.act_s:
        return state, ()
    why = f"the target has {_percent(facts.seen)}, and was asked for {_percent(state.weight)}"
    if now - state.moved_at > GIVE_UP_S:
        return _going_back(state, now, f"{why}, for {span_text(now - state.moved_at)}")
    return replace(state, phase=Phase.STEPPING, why=why), (SetWeight(state.weight),)


def _moved(state: Rollout, step: NextStep, now: int) -> tuple[Rollout, tuple[Deed, ...]]:
    """Take a weight."""
    analysis = None if state.analysis is None else begin_stage(state.analysis)
    moved = replace(
        state,
        phase=Phase.STEPPING,
        stage=step.stage,
        weight=step.weight,
        heaviest=max(state.heaviest, step.weight),
        settled_at=None,
        moved_at=now,
        analysis=analysis,
        tallies=tuple(replace(one, at_stage=0, bad_at_stage=0) for one in state.tallies),
        why=step.why if step.act is Act.LOWER else f"{_percent(step.weight)} was asked for",
        told="",
        refused="",
    )
    return moved, (SetWeight(step.weight),)


# --- its ends -------------------------------------------------------------------------------------------------------


def _going_back(state: Rollout, now: int, why: str) -> tuple[Rollout, tuple[Deed, ...]]:
    """Give all traffic to the old version, now; where it never had any other, that is all."""
    if state.begun_at is None:
        return _gone(state, now, why), ()
    back = replace(
        state, phase=Phase.ROLLING_BACK, stage=None, weight=NOTHING, settled_at=None, moved_at=now, why=why, told=""
    )
    return back, (RollBack(),)


def _landing(state: Rollout, facts: Facts, now: int) -> tuple[Rollout, tuple[Deed, ...]]:
    """Until the old version was seen to have all of the traffic, and no request of the canary came after that."""
    reaction = state.plan.terms.reaction
    if state.settled_at is None:
        if now - state.moved_at > GIVE_UP_S:
            last = "never seen" if state.seen is None else f"last seen at {_percent(state.seen)}"
            proof = f"the rollback was asked for again and again for {span_text(GIVE_UP_S)}; the target was {last}"
            return replace(state, phase=Phase.FAILED, ended_at=now, proof=proof), (AskPerson(proof),)
        asked = f"the rollback has not landed after {span_text(3 * reaction.total_s)}"
        if now - state.moved_at <= 3 * reaction.total_s or state.told == asked:
            return state, (RollBack(),)
        return replace(state, told=asked), (RollBack(), AskPerson(asked))
    waited = now - state.settled_at
    landed_at = state.settled_at + reaction.act_s
    counted = [one for one in state.tallies if one.until is not None]
    told = all((one.until or 0) > landed_at for one in counted)
    quiet = all(one.quiet_at is not None for one in counted)
    if facts.seen is None or waited < reaction.act_s or (not (told and quiet) and waited < 3 * reaction.total_s):
        return state, ()
    proof = f"weight 0 seen at {time_text(state.settled_at)}"
    latest = max((one.canary_at for one in counted if one.canary_at is not None), default=None)
    if not told:
        proof += ", and nothing was measured since"
    elif quiet:
        measured = min((one.until or 0 for one in counted), default=now)
        ended = "none" if latest is None else time_text(latest)
        proof += f", its last request {ended}, measured to {time_text(measured)}"
    else:
        proof += f", and yet requests of the canary came until {time_text(latest or now)}"
    deeds = (AskPerson(proof),) if told and not quiet else ()
    return replace(state, phase=Phase.ROLLED_BACK, ended_at=now, proof=proof), deeds


def _gone(state: Rollout, now: int, why: str) -> Rollout:
    return replace(state, phase=Phase.ROLLED_BACK, ended_at=now, why=why, proof=NEVER_BEGAN)


def _ending(state: Rollout, facts: Facts, now: int) -> tuple[Rollout, tuple[Deed, ...]]:
    """Until the new version was seen to be the only one; until then it can go back."""
    if facts.promoted and facts.seen == ALL:
        proof = f"all of the traffic seen on the new version at {time_text(now)}"
        return replace(state, phase=Phase.PROMOTED, weight=ALL, ended_at=now, proof=proof), ()
    state, _, step = _judged(state, facts, now)
    if step.act is Act.ROLL_BACK:
        return _going_back(state, now, step.why)
    if now - state.moved_at > GIVE_UP_S:
        proof = f"the target was asked to promote for {span_text(GIVE_UP_S)} and was not seen to have done it"
        return replace(state, phase=Phase.FAILED, ended_at=now, proof=proof), (AskPerson(proof),)
    if now - state.moved_at < state.plan.terms.reaction.act_s and facts.seen is not None and facts.seen == ALL:
        return state, ()
    return state, (Promote(),)


def again_s(state: Rollout, deeds: tuple[Deed, ...], done: tuple[Deed, ...], before: Phase) -> int:
    """When the next turn is due, seconds from now: at once where there is something new to do, or to tell.

    Args:
        state: As the turn left it.
        deeds: What it wants done, and *done* what was done just before it: the same again is not asked for in a rush.
        before: The phase before it.
    """
    reaction = state.plan.terms.reaction
    if state.phase.over or state.phase is not before or any(one not in done for one in deeds):
        return 0
    brisk = bool(deeds) and state.turned_at - state.moved_at < reaction.act_s
    return 1 if brisk else reaction.evaluate_s


def _percent(share: Fraction) -> str:
    return f"{float(share * 100):.4g} %"
