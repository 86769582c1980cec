"""Random worlds, small enough for the oracle: slices with gaps, silence and bursts, promises, conditions, policies."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from fractions import Fraction

from hypothesis import strategies as st

from tests.oracle.bridge import epoch
from tests.oracle.reference import GAP, NO_TRAFFIC, Incident, Member, Promise, Record, Row, Stretch, exclude, fill
from tightrope.base.units import Duration
from tightrope.specs.model import (
    AlertFiring,
    AllOf,
    AnyOf,
    Basis,
    BurnRateIs,
    CalendarWindow,
    ChangeKind,
    Comparison,
    Condition,
    ConditionKind,
    ErrorBudgetPolicy,
    Flow,
    Gaps,
    IncidentOpen,
    Not,
    PolicyState,
    Predicate,
    RemainingIs,
    RollingWindow,
    Window,
)

SMALL = 12
LARGE = 10**12
HUGE = 10**15  # sums of these leave the integers that a float64 can hold

ZONES = ("UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo")

TURNS = tuple(
    epoch(text)
    for text in (
        "1970-01-02T00:00:00Z",
        "2024-02-28T00:00:00Z",  # a leap day follows
        "2026-03-07T12:00:00Z",  # New York goes to summer time
        "2026-10-24T12:00:00Z",  # London comes back from it
        "2026-10-03T00:00:00Z",  # Lord Howe moves by half an hour
        "2026-12-30T00:00:00Z",
    )
)


# --- slices ------------------------------------------------------------------------------------------------------


@st.composite
def rows(draw: st.DrawFn, most: int) -> Row:
    """A measured slice of up to *most* units."""
    total = draw(st.integers(0, most))
    return Row(draw(st.integers(0, total)), total)


@st.composite
def runs(draw: st.DrawFn, most: int, longest: int = 12) -> list[Row]:
    """A run of slices of one mood: a gap, silence, steady traffic, an outage, or noise."""
    length = draw(st.integers(1, longest))
    mood = draw(st.sampled_from(("gap", "silence", "steady", "outage", "noise")))
    if mood == "gap":
        return [GAP] * length
    if mood == "silence":
        return [NO_TRAFFIC] * length
    if mood == "noise":
        random = draw(st.randoms(use_true_random=False))
        totals = [random.randint(0, most) for _ in range(length)]
        return [Row(random.randint(0, total), total) for total in totals]
    total = draw(st.integers(1, most))
    bad = total if mood == "outage" else draw(st.integers(0, max(1, total // 4)))
    return [Row(bad, total)] * length


@st.composite
def records(draw: st.DrawFn, *, most: int = LARGE, step_s: int | None = None, run: int = 12) -> Record:
    """Raw slices, some of them gaps, the first ones too, in up to eight runs of up to *run*."""
    step = draw(st.sampled_from((1, 60, 300))) if step_s is None else step_s
    moods = draw(st.lists(runs(most, run), min_size=1, max_size=8))
    first = draw(st.sampled_from(TURNS)) // step + draw(st.integers(0, 3))
    return Record(first * step, step, tuple(row for mood in moods for row in mood))


@st.composite
def stretches(draw: st.DrawFn, record: Record, most: int = 3) -> tuple[Stretch, ...]:
    """Stretches of time in and around a record, on no grid; they may overlap."""
    margin = 2 * record.step_s
    instants = st.integers(record.start - margin, record.end + margin)
    lengths = st.integers(1, 8 * record.step_s)
    return tuple(
        (start, start + length) for start, length in draw(st.lists(st.tuples(instants, lengths), max_size=most))
    )


# --- promises ----------------------------------------------------------------------------------------------------

targets = st.one_of(
    st.sampled_from([Fraction(text) for text in ("0", "0.5", "0.9", "0.95", "0.99", "0.999", "0.9999")]),
    st.integers(0, 9999).map(lambda n: Fraction(n, 10000)),
)

comparisons = st.sampled_from(tuple(Comparison))

burn_bounds = st.one_of(
    st.sampled_from([Fraction(text) for text in ("0", "1", "2", "3", "6", "14.4", "1/3")]),
    st.fractions(Fraction(0), Fraction(20), max_denominator=12),
)

share_bounds = st.one_of(
    st.sampled_from([Fraction(text) for text in ("-1", "0", "0.1", "0.25", "0.35", "1")]),
    st.fractions(Fraction(-5), Fraction(1), max_denominator=12),
)


@st.composite
def windows(draw: st.DrawFn, step_s: int, most: int = 40) -> Window:
    """A rolling window of up to *most* slices, or a calendar where slices are long enough for one."""
    if step_s >= 1800 and draw(st.booleans()):
        month, day = draw(st.sampled_from(((1, 1), (3, 15), (8, 31))))
        hour, minute = draw(st.sampled_from(((0, 0), (2, 30), (9, 0))))
        duration = Duration(draw(st.integers(1, 2)), draw(st.sampled_from(("d", "d", "w", "M", "Q", "Y"))))
        return CalendarWindow(duration, datetime(2025, month, day, hour, minute), draw(st.sampled_from(ZONES)))
    return RollingWindow(Duration(draw(st.integers(1, most * step_s)), "s"))


def lookbacks(step_s: int, most: int = 40) -> st.SearchStrategy[int]:
    """A lookback of up to *most* slices, not always a whole number of them, sometimes of less than one."""
    return st.one_of(
        st.integers(1, most).map(lambda n: n * step_s), st.integers(step_s, most * step_s), st.integers(1, step_s)
    )


def waits(step_s: int) -> st.SearchStrategy[int]:
    """How long something must hold: mostly not at all, sometimes several slices and a bit."""
    return st.one_of(st.just(0), st.integers(0, 6).map(lambda n: n * step_s), st.integers(0, 6 * step_s))


@st.composite
def conditions(draw: st.DrawFn, name: str, step_s: int, *, few: bool, most: int = 40) -> Condition:
    """An alert condition; *few* says that counts are small enough for exact binomial tails."""
    kinds = [ConditionKind.BURN_RATE, ConditionKind.BURN_RATE, ConditionKind.CONSUMED]
    kind = draw(st.sampled_from([*kinds, ConditionKind.SIGNIFICANCE] if few else kinds))
    floors = st.one_of(st.just(0), st.integers(0, 40))
    return Condition(
        name=name,
        severity=draw(st.sampled_from(("page", "ticket"))),
        threshold=draw(burn_bounds),
        lookbacks_s=tuple(draw(st.lists(lookbacks(step_s, most), min_size=1, max_size=3))),
        kind=kind,
        op=draw(st.one_of(st.just(Comparison.GTE), comparisons)),
        alert_after_s=draw(waits(step_s)),
        at_least_bad=draw(floors),
        at_least_total=draw(floors),
        confidence=draw(st.sampled_from([Fraction(text) for text in ("0.5", "0.9", "0.95", "0.99")]))
        if kind is ConditionKind.SIGNIFICANCE
        else None,
    )


severities = st.frozensets(st.sampled_from(("sev1", "sev2")), max_size=2)


def predicates(step_s: int, *, depth: int = 2) -> st.SearchStrategy[Predicate]:
    """Whatever a state may be entered or left by, CEL apart."""
    leaves: st.SearchStrategy[Predicate] = st.one_of(
        st.builds(RemainingIs, comparisons, share_bounds),
        st.builds(BurnRateIs, lookbacks(step_s), comparisons, burn_bounds),
        st.builds(IncidentOpen, severities),
        st.builds(AlertFiring, st.frozensets(st.sampled_from(("page", "ticket")), max_size=2)),
    )
    if depth == 0:
        return leaves
    inner = predicates(step_s, depth=depth - 1)
    parts = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(leaves, leaves, st.builds(AllOf, parts), st.builds(AnyOf, parts), st.builds(Not, inner))


@st.composite
def policies(draw: st.DrawFn, step_s: int, basis: Basis) -> ErrorBudgetPolicy:
    """One to four states; the further ones with conditions that may contradict each other."""
    strict = [
        PolicyState(
            name=f"rung-{rung}",
            flow=Flow.STABILITY,
            allows=frozenset({ChangeKind.ROLLBACK}),
            enter=draw(predicates(step_s)),
            exit=draw(predicates(step_s)),
            enter_for_s=draw(waits(step_s)),
            exit_for_s=draw(waits(step_s)),
            minimum_stay_s=draw(waits(step_s)),
        )
        for rung in range(1, draw(st.integers(1, 4)))
    ]
    return ErrorBudgetPolicy("random", (PolicyState("free", Flow.FEATURE, frozenset(ChangeKind)), *strict), basis=basis)


@st.composite
def incidents(draw: st.DrawFn, record: Record) -> tuple[Incident, ...]:
    """Incidents in and around a record."""
    return tuple(
        Incident(start, end, draw(st.sampled_from(("sev1", "sev2", "sev3")))) for start, end in draw(stretches(record))
    )


@st.composite
def promises(draw: st.DrawFn, *, run: int = 12, reach: int = 40) -> Promise:
    """A record with all that may be asked of it; gaps are filled as the promise says.

    Records have up to eight runs of up to *run* slices, windows and lookbacks up to *reach*.
    """
    few = run <= 12 and draw(st.booleans())
    most = SMALL if few else draw(st.sampled_from((SMALL, 100, LARGE, HUGE)))
    step_s = draw(st.sampled_from((1, 60, 300, 1800, 21600)))
    raw = draw(records(most=most, step_s=step_s, run=run))
    gaps = draw(st.one_of(st.just(Gaps.IGNORE), st.sampled_from(tuple(Gaps))))
    record = fill(exclude(raw, draw(stretches(raw, most=2))), gaps)
    basis = draw(st.sampled_from(tuple(Basis)))
    weight = draw(st.sampled_from([Fraction(text) for text in ("1", "1", "2", "1/3")]))
    names = [f"condition-{n}" for n in range(draw(st.integers(0, 3)))]
    if not few:
        record = replace(record, scale=draw(st.sampled_from((1, 1, 1000))))
    return Promise(
        members=(Member(record, draw(targets), weight),),
        window=draw(windows(step_s, reach)),
        basis=basis,
        gaps=gaps,
        stale_after=draw(st.one_of(st.integers(1, 3), st.integers(1, 12))),
        conditions=tuple(draw(conditions(name, step_s, few=few, most=reach)) for name in names),
        policy=draw(policies(step_s, basis)),
        incidents=draw(incidents(record)),
        out_of_scope=draw(stretches(record, most=2)),
    )
