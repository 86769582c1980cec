"""From the answers of sources to the slices of one objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import lcm

import numpy as np

from tightrope.base.errors import DataError
from tightrope.base.units import duration_text, time_text
from tightrope.sli.slices import EVENT, MILLIONTH, Counts, Mask, Slices, checked
from tightrope.telemetry.plan import Request
from tightrope.telemetry.questions import EXAMPLES, Answer, Ask, Horizon, Role, Tally
from tightrope.telemetry.reading import Quality, Reading

FAR = 2**62
_REGULAR = 0.9  # share of the rows that must stand one step apart for the step to be taken from them
_INSTANTS = 1000  # of the first instants the step is taken, so that it stays as a record grows
_NAMED = 5  # bad rows that an error names


def assemble(
    request: Request, parts: Sequence[tuple[Ask, Answer]], horizon: Horizon, *, strict: bool = False
) -> Reading:
    """Put the answers to one objective's questions together.

    Args:
        request: The objective.
        parts: What was asked of each source, and its answer.
        horizon: Only slices that begin at *since* or later and end by *until* are handed out.
        strict: Refuse bad rows instead of counting them.

    Returns:
        Slices from the first measured one to the last (none at all: length 0), and the quality of the rows. A slice is
        covered where the total, value or ratio was measured; where rows are single events, all slices from the
        first row to the last are. Good or bad from another source than total are known only from that source's first
        row to its last: elsewhere a slice is a gap, whatever its total.

    Raises:
        DataError: Good or bad above total in a slice; most rows could not be used; *strict* and some row could not.
    """
    answers = [answer for _, answer in parts]
    quality = _quality(answers)
    _check_rows(request, [quality] if strict else [answer for answer in answers if answer.hopeless], strict)
    by_role = {
        question.role: (tally, answer)
        for ask, answer in parts
        for question, tally in zip(ask.questions, answer.tallies, strict=True)
    }
    base, base_answer = by_role[_base_role(list(by_role))]
    step_s, notes = _resolution(request, base, base_answer)
    step_s = lcm(step_s, *(tally.grain_s for tally, _ in by_role.values()))
    counter = any(question.counter for ask, _ in parts for question in ask.questions)
    coarse = {role: _coarser(tally, step_s) for role, (tally, _) in by_role.items()}
    alive = _alive(base, base_answer, step_s)
    reach = [(tally.first, tally.first + len(tally.points)) for tally in coarse.values() if len(tally.points)]
    reach += [(alive[0], alive[1] + 1)] if alive else []
    first, end = (min(low for low, _ in reach), max(high for _, high in reach)) if reach else (0, 0)
    dense = {role: _between(tally, first, end) for role, tally in coarse.items()}
    covered = dense[_base_role(list(by_role))][1] > 0
    if alive:
        covered[alive[0] - first : alive[1] + 1 - first] = True
    seen = slice(
        0 if horizon.since is None else max(0, -(-horizon.since // step_s) - first),
        end - first if horizon.until is None else max(0, horizon.until // step_s - first),
    )
    for role, (tally, answer) in by_role.items():
        if answer is not base_answer:
            reached = _reached(coarse[role], _alive(tally, answer, step_s), first, end)
            notes += _unreached(role, covered, reached, seen, first, step_s)
            covered &= reached
    for _, answer in parts:
        for spoilt in answer.spoilt:
            at = spoilt * answer.tallies[0].grain_s // step_s - first
            if 0 <= at < end - first:
                covered[at] = False
    if Role.TOTAL not in dense:
        scale, total, good, clamps = _of_points(request, dense)
    else:
        scale = request.slo.scale
        total, good, clamps = _of_counts(request, dense, covered, counter, first, step_s)
    bad = np.where(covered, total - good, 0)
    whole = Slices(first * step_s, step_s, bad, np.where(covered, total, 0), covered, None, scale)
    asked = whole.between(
        -FAR if horizon.since is None else horizon.since, FAR if horizon.until is None else horizon.until
    )
    return Reading(checked(_trimmed(asked)), replace(quality, notes=quality.notes + notes + clamps))


def _base_role(roles: Sequence[Role]) -> Role:
    """Tell which question says whether a slice was measured."""
    return next(role for role in (Role.TOTAL, Role.RAW, Role.VALUE) if role in roles)


def _alive(tally: Tally, answer: Answer, step_s: int) -> tuple[int, int] | None:
    """First and last slice of *step_s* between which silence means that nobody came."""
    if answer.alive is None:
        return None
    return answer.alive[0] * tally.grain_s // step_s, answer.alive[1] * tally.grain_s // step_s


def _reached(tally: Tally, alive: tuple[int, int] | None, first: int, end: int) -> Mask:
    """Mark the slices from the first row of a source to its last, bool of shape ``(end - first,)``."""
    reached = np.zeros(end - first, np.bool_)
    if len(tally.points):
        reached[tally.first - first : tally.first + len(tally.points) - first] = True
    if alive:
        reached[max(0, alive[0] - first) : max(0, alive[1] + 1 - first)] = True
    return reached


def _unreached(role: Role, covered: Mask, reached: Mask, seen: slice, first: int, step_s: int) -> tuple[str, ...]:
    """Tell which of the visible slices are gaps because the source of *role* does not reach them."""
    lost = int((covered & ~reached)[seen].sum())
    if not lost:
        return ()
    at = np.flatnonzero(reached)
    where = "has no rows"
    if len(at):
        begin, stop = ((first + int(number)) * step_s for number in (at[0], at[-1] + 1))
        where = f"is there from {time_text(begin)} to {time_text(stop)} only"
    return (f"{role} {where}; slices that have a total alone are gaps: {lost}",)


def inferred_step(tally: Tally) -> int:
    """Infer the resolution of samples, in seconds, from the spacing of the first slices that hold some.

    At least nine of ten must stand one and the same number of grains apart, on one beat; else it is the grain.
    """
    at = np.flatnonzero(tally.points)[:_INSTANTS] + tally.first
    if len(at) < 3:
        return tally.grain_s
    spacing, seen = np.unique(np.diff(at), return_counts=True)
    step = int(spacing[np.argmax(seen)])
    _, on_beat = np.unique(at % step, return_counts=True)
    regular = seen.max() >= _REGULAR * (len(at) - 1) and on_beat.max() >= _REGULAR * len(at)
    return step * tally.grain_s if regular else tally.grain_s


def _quality(answers: Sequence[Answer]) -> Quality:
    notes = dict.fromkeys(note for answer in answers for note in answer.notes)
    return Quality(
        sum(answer.rows for answer in answers),
        sum(answer.bad_rows for answer in answers),
        tuple(row for answer in answers for row in answer.examples)[:EXAMPLES],
        tuple(notes),
    )


def _check_rows(request: Request, refused: Sequence[Quality | Answer], strict: bool) -> None:
    account = next((account for account in refused if account.bad_rows), None)
    if account is None:
        return
    named = "; ".join(f"{row.source}:{row.line} {row.why}" for row in account.examples[:_NAMED])
    more = ", …" if account.bad_rows > _NAMED else ""
    count = f"{account.bad_rows} of {account.rows}" if account.bad_rows < account.rows else f"none of {account.rows}"
    says = "rows can't be used" if account.bad_rows < account.rows else "rows can be used"
    raise DataError(
        f"SLO {request.slo.name!r}: {count} {says}: {named}{more}",
        remedy="mend the rows or the spec" + ("; without --strict bad rows are counted and left out" if strict else ""),
    )


def _resolution(request: Request, base: Tally, answer: Answer) -> tuple[int, tuple[str, ...]]:
    declared = request.slo.step_s or answer.resolution_s
    if declared is not None:
        return declared, ()
    if answer.alive is not None:
        return base.grain_s, ()
    step_s = inferred_step(base)
    if step_s == base.grain_s:
        return step_s, ()
    taken = f"resolution {duration_text(step_s)}, taken from the spacing of the rows"
    return step_s, (f"{taken}; declare tightrope.dev/resolution to make it certain",)


def _coarser(tally: Tally, step_s: int) -> Tally:
    """Sum a tally into longer slices; *step_s* is a multiple of its grain."""
    if step_s == tally.grain_s or not len(tally.points):
        return replace(tally, grain_s=step_s)
    times = step_s // tally.grain_s
    numbers = (np.arange(len(tally.points)) + tally.first) // times
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    return Tally(step_s, int(numbers[0]), np.add.reduceat(tally.amounts, starts), np.add.reduceat(tally.points, starts))


def _between(tally: Tally, first: int, end: int) -> tuple[Counts, Counts]:
    amounts, points = np.zeros(end - first, np.int64), np.zeros(end - first, np.int64)
    at = tally.first - first
    if len(tally.points):
        amounts[at : at + len(tally.points)] = tally.amounts
        points[at : at + len(tally.points)] = tally.points
    return amounts, points


def _of_points(
    request: Request, dense: dict[Role, tuple[Counts, Counts]]
) -> tuple[int, Counts, Counts, tuple[str, ...]]:
    if Role.VALUE in dense:
        amounts, points = dense[Role.VALUE]
        return EVENT, points, amounts, ()
    amounts, points = dense[Role.RAW]
    total = points * MILLIONTH
    metric = request.indicator.metric
    failure = getattr(metric, "raw_type", None) == "failure"
    return MILLIONTH, total, total - amounts if failure else amounts, ()


def _of_counts(
    request: Request, dense: dict[Role, tuple[Counts, Counts]], covered: Mask, counter: bool, first: int, step_s: int
) -> tuple[Counts, Counts, tuple[str, ...]]:
    total, _ = dense[Role.TOTAL]
    role = Role.GOOD if Role.GOOD in dense else Role.BAD
    amounts, _ = dense[role]
    notes: tuple[str, ...] = ()
    above = np.flatnonzero((amounts > total) & covered)
    if len(above):
        if not counter:
            at = int(above[0])
            raise DataError(
                f"SLO {request.slo.name!r}: at {time_text((first + at) * step_s)} "
                f"{role} is {_units(amounts[at], request.slo.scale)} "
                f"of {_units(total[at], request.slo.scale)}"
                + (f", and so in {len(above) - 1} more slices" if len(above) > 1 else ""),
                remedy=f"{role} can't be above total: check that both count the same events over the same time",
            )
        notes = (
            f"{role} was above total in {len(above)} slices, as counters read at different moments can be: cut off",
        )
        amounts = np.minimum(amounts, total)
    return total, amounts if role is Role.GOOD else total - amounts, notes


def _units(count: int, scale: int) -> str:
    return str(count) if scale == 1 else f"{count / scale:g}"


def _trimmed(slices: Slices) -> Slices:
    at = np.flatnonzero(slices.covered)
    if not len(at):
        return slices.between(slices.start, slices.start)
    return slices.between(slices.start + int(at[0]) * slices.step_s, slices.start + (int(at[-1]) + 1) * slices.step_s)
