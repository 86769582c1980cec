"""The same budgets and alert windows on the same data: Prometheus, VictoriaMetrics and our engine in one run."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks import servers
from benchmarks.answers import plan_for, spent_by_engine, spent_exactly, window_counts
from benchmarks.servers import Server
from benchmarks.tables import figure, seconds, show
from benchmarks.traffic import traffic
from tightrope.base.units import DAY_S, HOUR_S, MINUTE_S, Duration, duration_text
from tightrope.budget.statement import state_of
from tightrope.engine.plan import Plan
from tightrope.engine.record import Workspace
from tightrope.engine.replay import replay
from tightrope.engine.scanners import best_scanner
from tightrope.engine.step import Memory, advance
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY, default_conditions
from tightrope.specs.model import RollingWindow

SLOS = 4
DAYS = 365
WINDOW_S = 30 * DAY_S
LOADED_S = 61 * DAY_S
"""What the peers are given: the end of the year, as much as their queries look back."""
LOOKBACKS_S = (5 * MINUTE_S, 30 * MINUTE_S, HOUR_S, 2 * HOUR_S, 6 * HOUR_S, DAY_S, 3 * DAY_S, WINDOW_S)
TARGET = Fraction(999, 1000)

_COUNTERS = "increase(bad_ever_total[{w}]) / increase(events_ever_total[{w}])"
_GAUGES = "sum_over_time(bad[{w}]) / sum_over_time(events[{w}])"

Start = Callable[[list[Slices], Path], AbstractContextManager[Server]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask a peer: the ratio of a window as a query, the sum of bad events, over how long, how often."""

    start: Start
    label: str
    ratio: str
    bad: str
    span_s: int
    rounds: int


_WAYS = (
    Way(servers.prometheus, "increase()", _COUNTERS, "increase(bad_ever_total[{w}])", DAY_S, 2),
    Way(servers.prometheus, "sum_over_time()", _GAUGES, "sum_over_time(bad[{w}])", DAY_S, 2),
    Way(servers.victoria_metrics, "increase()", _COUNTERS, "increase(bad_ever_total[{w}])", DAY_S, 5),
    Way(servers.victoria_metrics, "increase()", _COUNTERS, "increase(bad_ever_total[{w}])", WINDOW_S, 5),
    Way(servers.victoria_metrics, "sum_over_time()", _GAUGES, "sum_over_time(bad[{w}])", DAY_S, 2),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """What one way took, and how far its answers are from the integers."""

    who: str
    evaluated: int  # slices of SLOs, each with all windows
    taken_s: float
    event_error: float
    wrong: int

    @property
    def rate(self) -> float:
        """Slices of SLOs a second."""
        return self.evaluated / self.taken_s


def _best(rounds: int, work: Callable[[], object]) -> float:
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def _peer(server: Server, way: Way, fleet: list[Slices]) -> Figure:
    end, step = fleet[0].end, fleet[0].step_s
    start = end - way.span_s + step
    queries = [way.ratio.format(w=duration_text(lookback)) for lookback in LOOKBACKS_S]
    with ThreadPoolExecutor(servers.cores()) as pool:
        taken = _best(way.rounds, lambda: list(pool.map(lambda one: server.ask(one, start, end, step), queries)))
    count = way.span_s // step
    bad = server.columns(way.bad.format(w=duration_text(WINDOW_S)), start, end, step)
    ratio = server.columns(queries[-1], start, end, step)
    error, wrong = 0.0, 0
    for number, slices in enumerate(fleet):
        exact = np.array(window_counts(slices.bad.tolist(), WINDOW_S // step)[-count:], np.float64)
        error = max(error, float(np.abs(bad[str(number)] - exact).max()))
        said = ratio[str(number)] >= 1 - 0.999  # as generated rules write the allowed share
        wrong += int(np.count_nonzero(said != spent_exactly(slices, TARGET, WINDOW_S)[-count:]))
    label = f"{server.name}, {way.label}, {duration_text(way.span_s)}"
    return Figure(label, SLOS * count, taken, error, wrong)


_AT_ONCE = 4
"""Times that a process works through its share on one call: what the call costs by itself is no part of the figure."""

_share: list[Callable[[], object]] = []
"""What this process is there to do, over and over; each process of a crew has a share of its own."""


def _take(numbers: Sequence[int], span_s: int | None, compiled: bool) -> None:
    """Take some services as this process's share: to replay their year, or only its end with the window before it."""
    scanner, space = best_scanner(0, compiled=compiled), Workspace()
    for number in numbers:
        units = traffic(number, DAYS)
        plan = _plan(units)
        if span_s is None:
            _share.append(partial(replay, plan, units, scanner=scanner, workspace=space))
        else:
            since = units.end - span_s
            record = units.between(since - WINDOW_S, units.end)
            before = Memory(history_start=record.start)
            _share.append(partial(advance, plan, before, record, since=since, scanner=scanner, workspace=space))


def _work() -> None:
    for _ in range(_AT_ONCE):
        for job in _share:
            job()


def _together(span_s: int | None, *, compiled: bool) -> float:
    """How long it takes to work through the fleet once, shared out over a process for each core."""
    crew = servers.cores()
    spawned = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                ProcessPoolExecutor(1, spawned, initializer=_take, initargs=(range(SLOS)[one::crew], span_s, compiled))
            )
            for one in range(crew)
        ]

        def once() -> None:
            for done in [process.submit(_work) for process in processes]:
                done.result()

        once()  # the compiled code is read, memory is there
        return _best(9, once) / _AT_ONCE


def _replay(fleet: list[Slices], *, compiled: bool) -> Figure:
    """Our replay with the burn rates of all windows, the budget, four multiwindow alerts and the policy."""
    scanner = best_scanner(0, compiled=compiled)
    error = max(_statement_error(one) for one in fleet)
    wrong = sum(
        int(
            np.count_nonzero(
                spent_by_engine(one, TARGET, WINDOW_S, scanner=scanner) != spent_exactly(one, TARGET, WINDOW_S)
            )
        )
        for one in fleet
    )
    label = f"Tightrope, {_scan(compiled)}, replay of {DAYS}d"
    return Figure(label, sum(len(one) for one in fleet), _together(None, compiled=compiled), error, wrong)


def _span(fleet: list[Slices], span_s: int, *, compiled: bool) -> Figure:
    """The same for a span at the end alone, with the window before it summed up each time."""
    label = f"Tightrope, {_scan(compiled)}, the last {duration_text(span_s)}"
    return Figure(label, SLOS * span_s // fleet[0].step_s, _together(span_s, compiled=compiled), 0.0, 0)


def _scan(compiled: bool) -> str:
    return "compiled" if compiled else "NumPy"


def _plan(slices: Slices) -> Plan:
    return plan_for(slices, TARGET, WINDOW_S, conditions=default_conditions(WINDOW_S), policy=DEFAULT_POLICY)


def _statement_error(slices: Slices) -> float:
    """Largest difference between the bad events of a statement and the integers, hour by hour of the last day."""
    exact = window_counts(slices.bad.tolist(), WINDOW_S // slices.step_s)
    window = RollingWindow(Duration(WINDOW_S, "s"))
    hours = range(slices.end - DAY_S, slices.end + 1, HOUR_S)
    told = [state_of(slices, TARGET, window, at).observed.consumed for at in hours]
    return max(
        abs(float(bad - exact[(at - slices.start) // slices.step_s - 1])) for at, bad in zip(hours, told, strict=True)
    )


def main() -> None:
    """Print the times, as ratios too, beside the errors of the answers."""
    fleet = [traffic(number, DAYS) for number in range(SLOS)]
    best = find_spec("numba") is not None
    replays = [_replay(fleet, compiled=compiled) for compiled in ((False, True) if best else (False,))]
    spans = {span_s: _span(fleet, span_s, compiled=best) for span_s in sorted({way.span_s for way in _WAYS})}
    none = [""] * (len(replays) + 1)
    rows = [[one.who, seconds(one.taken_s), figure(one.rate), *none, *_errors(one)] for one in replays]
    rows += [[one.who, seconds(one.taken_s), figure(one.rate), *none, "", ""] for one in spans.values()]
    absent: list[str] = []
    cores = servers.cores()
    loaded = [one.between(one.end - LOADED_S, one.end) for one in fleet]
    for start, program in ((servers.prometheus, "prometheus"), (servers.victoria_metrics, "victoria-metrics")):
        if servers.missing(program):
            absent.append(f"{program} is not on this machine and is left out")
            continue
        with tempfile.TemporaryDirectory() as folder, start(loaded, Path(folder)) as server:
            for way in _WAYS:
                if way.start is start:
                    one = _peer(server, way, fleet)
                    times = [figure(mine.rate / one.rate) for mine in (*replays, spans[way.span_s])]
                    rows.append([one.who, seconds(one.taken_s), figure(one.rate), *times, *_errors(one)])
    show(
        f"{SLOS} SLOs, 30 d budget and windows {' '.join(duration_text(one) for one in LOOKBACKS_S)}, every minute",
        [
            "who",
            "time",
            "SLO-slices/s",
            *(f"{one.who.split(', ')[1]} is x" for one in replays),
            "same span is x",
            "event error",
            'wrong "spent?"',
        ],
        rows,
        notes=(
            f"Tightrope: slices in memory, {cores} processes, alerts and policy included.",
            f"A peer: the last {LOADED_S // DAY_S}d on disk, one range query for each window over loopback,",
            f"{cores} at a time, nothing cached, nothing parsed; the span of the queries stands beside their kind.",
            *absent,
        ),
    )


def _errors(one: Figure) -> list[str]:
    return [figure(one.event_error), str(one.wrong)]


if __name__ == "__main__":
    main()
