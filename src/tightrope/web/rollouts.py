"""A rollout as a page sets it: one sentence, the plan and what became of it, the evidence, what it may still cost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tightrope.base.units import percent_text, span_text
from tightrope.budget.words import amount_text, sentence_case
from tightrope.delivery.canary import Harm, LatencyTest, Safe, Undecided, evidence_of_each, evidence_text
from tightrope.delivery.canary import difference as difference_of
from tightrope.delivery.planner import Cost, Promise
from tightrope.delivery.rollout import ALL, Phase, Rollout
from tightrope.delivery.rollouts.usecases import Shown as Turn
from tightrope.web.charts import ticks
from tightrope.web.marks import opened, safe

_LABEL_WIDTH = 36  # of a time such as 22:30, pixels
_TONES = {
    Phase.PREPARING: ("Preparing", "wait"),
    Phase.GATED: ("Waiting", "wait"),
    Phase.STEPPING: ("Stepping", "wait"),
    Phase.BAKING: ("Baking", "wait"),
    Phase.HOLDING: ("Holding", "warn"),
    Phase.PROMOTING: ("Promoting", "wait"),
    Phase.ROLLING_BACK: ("Rolling back", "bad"),
    Phase.PROMOTED: ("Promoted", "good"),
    Phase.ROLLED_BACK: ("Rolled back", "bad"),
    Phase.FAILED: ("Unknown", "none"),
}


@dataclass(frozen=True, slots=True)
class Stop:
    """One stage of the plan: its weight, how it stands, and two lines about it."""

    name: str
    icon: str
    kind: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What one test says: counts of both arms, the difference, and how far the evidence of harm has come.

    Attributes:
        band: Which differences are still believable, whenever one looks; percentage points.
        share: Of the way from no evidence to the bound, by its logarithm: 0 to 1.
    """

    name: str
    canary: str
    baseline: str
    difference: str
    band: str
    evidence: str
    share: float
    word: str
    tone: str


@dataclass(frozen=True, slots=True)
class Spending:
    """What a rollout has spent of one promise, what its present step can still cost, and what it may spend at all."""

    name: str
    spent: str
    allowed: str
    worst: str
    used: float
    at_risk: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A rollout as the page sets it."""

    word: str
    tone: str
    sentence: str
    lead: str
    stops: tuple[Stop, ...]
    checks: tuple[Check, ...]
    why: str
    notes: tuple[str, ...]
    explained: tuple[str, ...]
    spending: tuple[Spending, ...]
    over: bool
    begun: bool
    returning: bool
    paused: bool
    decision: str
    chart: str
    narrow: str


def shown(state: Rollout, turns: Sequence[Turn], now: int, trouble: str = "") -> Shown:
    """Set a rollout as it stands, with all its *turns* until now, and what its target or telemetry complain of."""
    word, tone = _TONES[state.phase]
    judged = state.verdict
    return Shown(
        word=word,
        tone=tone,
        sentence=sentence(state),
        lead=_lead(state),
        stops=tuple(_stops(state, turns, now)),
        checks=tuple(_checks(state)),
        why=_why(state),
        notes=() if state.phase.over else tuple(sentence_case(one) for one in (state.refused, trouble) if one),
        explained=() if judged is None else tuple(f"{one.name}: {one}" for one in judged.explanations if one.bad),
        spending=tuple(_spending(state)),
        over=state.phase.over,
        begun=state.begun_at is not None,
        returning=state.phase is Phase.ROLLING_BACK,
        paused=state.paused,
        decision=state.decision,
        chart=evidence_chart(state, turns),
        narrow=evidence_chart(state, turns, narrow=True),
    )


def sentence(state: Rollout) -> str:
    """Say in one sentence, or two, how it goes."""
    at = _weight(state.seen if state.seen is not None else state.weight)
    match state.phase:
        case Phase.PREPARING | Phase.GATED:
            return f"Nothing is out yet: {state.why or 'the gate is asked'}."
        case Phase.STEPPING:
            return f"Going to {_weight(state.weight)}; {at} was seen last."
        case Phase.BAKING:
            return f"{_finding(state)} at {at}.{_expected(state)}"
        case Phase.HOLDING:
            return f"Holding at {at}: {state.why}."
        case Phase.PROMOTING:
            return "All is well; the new version is being made the only one."
        case Phase.ROLLING_BACK:
            return f"Rolling back: {state.why}."
        case Phase.PROMOTED:
            return "Promoted: all of the traffic meets the new version."
        case Phase.ROLLED_BACK:
            return f"Rolled back: {state.why}."
        case Phase.FAILED:
            return f"Nobody knows how the target stands: {state.why}."


def _finding(state: Rollout) -> str:
    match state.verdict:
        case Harm():
            return "Harm"
        case Safe():
            return "Proven to do no harm"
        case _ if state.weight == ALL:
            return "No alarm"
        case Undecided(silent=True) | None:
            return "Nothing to compare yet"
        case _:
            return "No sign of harm"


def _expected(state: Rollout) -> str:
    judged = state.verdict
    if state.weight == ALL and not isinstance(judged, Harm):
        return f" {sentence_case(state.why)}."
    if not isinstance(judged, Undecided):
        return ""
    if judged.safe_in_s is not None:
        return f" Verdict expected in about {span_text(judged.safe_in_s)}."
    if judged.harm_in_s is not None:
        return f" It leans towards harm; verdict expected in about {span_text(judged.harm_in_s)}."
    return ""


def _why(state: Rollout) -> str:
    """What the evidence lacks or says, where it is still asked for, and is not said in the counts anyway."""
    judged = state.verdict
    if judged is None or isinstance(judged, Harm) or state.phase.over:
        return ""
    return sentence_case(judged.why)


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)Z")


def _lead(state: Rollout) -> str:
    if state.phase.over:
        proof = _INSTANT.sub(r"\1", state.proof)
        return f"{sentence_case(proof)}{' UTC' if proof != state.proof else ''}." if proof else ""
    if state.phase is Phase.ROLLING_BACK:
        return "The old version is asked to take all of the traffic, again and again until weight 0 is seen."
    dearest = max(
        ((_share(one, worst), _share(one, cost.at_most)) for one, worst, cost in _dangers(state)),
        key=lambda each: each[0] or 0,
        default=(None, None),
    )
    if dearest[0] is None or dearest[1] is None:
        return ""
    if state.begun_at is None:
        return f"The release may spend {percent_text(dearest[1], 2)} of the budget."
    return (
        f"Even if the canary failed completely from now on, this step could cost at most {percent_text(dearest[0], 2)} "
        f"of the budget before it is pulled back. The release may spend {percent_text(dearest[1], 2)}."
    )


def _dangers(state: Rollout) -> Iterator[tuple[Promise, Fraction, Cost]]:
    """Each promise with the most that its present weight can still cost, and the plan's account of it."""
    heaviest = max(state.weight, state.seen or Fraction(0)) if state.begun_at is not None else Fraction(0)
    for promise, cost in zip(state.plan.promises, state.plan.costs, strict=True):
        yield promise, promise.worst(heaviest, state.plan.terms.reaction.total_s), cost


def _share(promise: Promise, units: Fraction) -> Fraction | None:
    return units / promise.allowed if promise.allowed > 0 else None


def _stops(state: Rollout, turns: Sequence[Turn], now: int) -> Iterator[Stop]:
    here = state.stage if state.stage is not None else _furthest(state, turns)
    for number, stage in enumerate(state.plan.stages):
        name, bake = _weight(stage.weight), span_text(stage.bake_s)
        if state.phase is Phase.PROMOTED or (here is not None and number < here):
            yield Stop(name, "good", "ok", ("done",))
        elif here == number and state.stage is not None and not state.phase.over:
            since = span_text(max(0, now - state.moved_at)) if state.moved_at else "just begun"
            seen = max((one.at_stage for one in state.tallies), default=0)
            yield Stop(name, "wait", "run", (f"{since} of {bake}", f"{seen:,} requests"))
        elif here == number:
            back = state.phase in {Phase.ROLLING_BACK, Phase.ROLLED_BACK}
            yield Stop(name, "bad" if back else "none", "bad" if back else "", ("ended here",))
        elif state.phase.over or state.phase is Phase.ROLLING_BACK:
            yield Stop(name, "none", "", ("not reached",))
        else:
            yield Stop(name, "none", "", (bake, "inside the allowance" if stage.reserved else "after proof"))


def _furthest(state: Rollout, turns: Sequence[Turn]) -> int | None:
    """The stage at which a rollout that went back had been; None: it never had traffic."""
    most = max((Fraction(str(one.shown["weight"])) for one in turns), default=Fraction(0))
    reached = [number for number, stage in enumerate(state.plan.stages) if stage.weight <= most]
    return reached[-1] if reached else None


def _checks(state: Rollout) -> Iterator[Check]:
    judged = state.verdict
    if state.analysis is None or judged is None or state.begun_at is None:
        return
    each = evidence_of_each(state.analysis, state.plan.terms.alpha)
    strongest = max(each, key=lambda name: each[name][0])
    for test in state.analysis.tests:
        difference, band = "–", ""
        if isinstance(test, LatencyTest):
            counts = f"{test.canary:,}", f"{test.baseline:,}"
        else:
            canary, baseline = test.canary, test.baseline
            counts = f"{canary.bad:,} of {canary.total:,}", f"{baseline.bad:,} of {baseline.total:,}"
            found = difference_of(canary, baseline, test.promised, state.plan.terms.alpha, test.inflation)
            if found is not None:
                difference, band = f"{_points(found.value)} pp", f"{_points(found.low)} to {_points(found.high)}"
        evidence, alone = each[test.name]
        evidence = judged.harm_nano if len(each) == 1 else max(0, evidence)
        word, tone = _said(judged)
        spared = isinstance(judged, Harm) and evidence < alone and test.name != strongest
        if spared or (state.phase.over and isinstance(judged, Undecided)):
            word, tone = "No proof of harm", "none"
        share = min(1.0, max(0.0, evidence / alone))
        yield Check(test.name, *counts, difference, band, evidence_text(evidence, alone), share, word, tone)


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _said(judged: Safe | Undecided | Harm) -> tuple[str, str]:
    match judged:
        case Harm():
            return "Harm", "bad"
        case Safe():
            return "Safe", "good"
        case Undecided(safe_in_s=None, harm_in_s=None):
            return "Undecided", "wait"
        case Undecided(safe_in_s=None):
            return "Undecided, leaning harm", "wait"
        case _:
            return "Undecided, leaning safe", "wait"


def _spending(state: Rollout) -> Iterator[Spending]:
    for (promise, worst, cost), tally in zip(_dangers(state), state.tallies, strict=True):
        most = cost.at_most
        if not most:
            continue
        used = float(tally.spent / most)
        share = _share(promise, most)
        yield Spending(
            promise.name if share is None else f"{promise.name}: {percent_text(share, 2)} of its budget",
            amount_text(tally.spent, promise.unit_s),
            amount_text(most, promise.unit_s),
            "" if state.phase.over or not worst else amount_text(worst, promise.unit_s),
            min(1.0, used),
            0.0 if state.phase.over else max(0.0, min(1.0 - used, float(worst / most))),
        )


def _weight(share: Fraction) -> str:
    return f"{float(100 * share):.4g} %"


# --- the chart -----------------------------------------------------------------------------------------------------


def evidence_chart(state: Rollout, turns: Sequence[Turn], *, narrow: bool = False) -> str:
    """Draw how the evidence of harm went against its bound, and below it the traffic that the new version had.

    Args:
        state: The rollout.
        turns: What every turn showed, oldest first.
        narrow: The drawing for screens below 600 px.

    Returns:
        One ``<svg>`` whose label states the finding; empty without two turns that compared anything.
    """
    begun_at = state.begun_at
    if begun_at is None:
        return ""
    points = [(one.at, one.shown) for one in turns if one.at >= begun_at and one.shown.get("harmNano") is not None]
    if len(points) < 2 or state.verdict is None:
        return ""
    start, end = points[0][0], max(points[-1][0], points[0][0] + 60)
    width, left, right = (358, 40, 350) if narrow else (700, 48, 620)
    top, bottom, lane, height = 14, 150, 198, 232

    def x(at: int) -> float:
        return left + (at - start) / (end - start) * (right - left)

    def y(share: float) -> float:
        return bottom - min(1.25, max(0.0, share)) / 1.25 * (bottom - top)

    def seen(one: Mapping[str, Any]) -> float:
        return float(Fraction(str(one["seen"] if one["seen"] is not None else one["weight"])))

    line = [(x(at), y(one["harmNano"] / one["boundNano"])) for at, one in points]
    weights = [(x(at), lane - 26 * seen(one)) for at, one in points]
    bound = y(1.0)
    odds = f"{float(1 / state.plan.terms.alpha):.3g}"
    finding = f"Evidence of harm {state.verdict.evidence}; the canary has {_weight(state.seen or state.weight)}"
    parts = [
        opened(width, height, finding, narrow=narrow),
        f'<rect class="zone-bad" x="{left}" y="{top}" width="{right - left}" height="{bound - top:.1f}"/>',
        f'<path class="limit" d="M{left} {bound:.1f}H{right}"/>',
        f'<text class="ax" x="{left - 6}" y="{bound + 4:.1f}" text-anchor="end">{odds}</text>',
        f'<text class="ax" x="{left - 6}" y="{bottom}" text-anchor="end">1</text>',
        f'<path class="zl" d="M{left} {bottom}H{right}"/>',
        f'<path class="grew" d="M{_path(line)}"/>',
        f'<circle class="here" cx="{line[-1][0]:.1f}" cy="{line[-1][1]:.1f}" r="3"/>',
        f'<path class="taken" d="M{weights[0][0]:.1f} {lane}L{_stairs(weights)}V{lane}z"/>',
        f'<path class="zl" d="M{left} {lane}H{right}"/>',
    ]
    if not narrow:
        parts.append(f'<text class="ax bad" x="{right + 6}" y="{bound - 4:.1f}">pulled back</text>')
        share = safe(_weight(Fraction(_last_weight(points))))
        parts.append(f'<text class="ax" x="{right + 6}" y="{lane - 4}">{share}</text>')
    parts += [
        f'<text class="ax" x="{x(at):.1f}" y="{height - 8}" text-anchor="{_anchor(x(at), width)}">{safe(text)}</text>'
        for at, text, _ in ticks(start, end, 3 if narrow else 6)
    ]
    return "".join([*parts, "</svg>"])


def _anchor(across: float, width: float) -> str:
    """Where a label is held: one at the right edge is to be read whole."""
    return "end" if across + _LABEL_WIDTH / 2 > width else "middle"


def _last_weight(points: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    """The share of the traffic that was seen last, as a fraction."""
    last = points[-1][1]
    return str(last["seen"] if last["seen"] is not None else last["weight"])


def _path(line: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{across:.1f} {up:.1f}" for across, up in line)


def _stairs(line: Sequence[tuple[float, float]]) -> str:
    """A line that holds each value until the next begins."""
    found = [f"{line[0][0]:.1f} {line[0][1]:.1f}"]
    for (_, before), (across, up) in pairwise(line):
        found += [f"{across:.1f} {before:.1f}", f"{across:.1f} {up:.1f}"]
    return "L".join(found)
