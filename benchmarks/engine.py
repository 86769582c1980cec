"""How fast history replays: N SLOs over a year of minutes, streamed, with NumPy and with the compiled scan."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.bandwidth import copy_bytes_per_s
from benchmarks.tables import figure, show
from benchmarks.traffic import traffic
from tightrope.base.units import DAY_S, HOUR_S, MINUTE_S, WEEK_S, Duration
from tightrope.engine.plan import Plan, compile_plan
from tightrope.engine.replay import replay_fleet
from tightrope.engine.scanners import best_scanner
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY, burn_factor
from tightrope.specs.model import Condition, RollingWindow

DAYS = 365
WINDOW_S = 30 * DAY_S
LOOKBACKS_S = (5 * MINUTE_S, 30 * MINUTE_S, HOUR_S, 2 * HOUR_S, 6 * HOUR_S, DAY_S, 3 * DAY_S, WEEK_S)
_TIERS = (
    ("page", Fraction(2, 100), HOUR_S, 5 * MINUTE_S),
    ("page", Fraction(5, 100), 6 * HOUR_S, 30 * MINUTE_S),
    ("ticket", Fraction(10, 100), 3 * DAY_S, 6 * HOUR_S),
)
_BATCH = 16
_BYTES_A_SLICE = 8 + 8 + 1
"""What has to be read at the very least: bad, total, and whether the slice was covered."""

KINDS = {
    "quiet": "outages only, no error in between",
    "busy": "errors in nearly every minute, and outages",
    "hovering": "busy, with the ratio kept about where alerts fire",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table: a fleet, shared out over processes, each with so many threads."""

    kind: str
    slos: int
    compiled: bool
    threads: int
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured: wall and processor seconds of the replays alone, and the peak memory of the whole process."""

    slices: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    events: int


def watched() -> Plan:
    """A 30 d budget at 99.9 %, eight burn windows, three multiwindow alerts and the default policy."""
    conditions = [
        Condition(f"{severity}-{long_s}", severity, burn_factor(share, WINDOW_S, long_s), (long_s, short_s))
        for severity, share, long_s, short_s in _TIERS
    ]
    return compile_plan(
        step_s=MINUTE_S,
        target=Fraction(999, 1000),
        window=RollingWindow(Duration(30, "d")),
        conditions=conditions,
        policy=DEFAULT_POLICY,
        lookbacks_s=LOOKBACKS_S,
    )


def records(kind: str, count: int) -> Iterator[Slices]:
    """Fresh records: a few years of traffic, each shifted by a time of its own."""
    random = np.random.default_rng(len(kind))
    seeds = [_made(kind, traffic(number, DAYS), random) for number in range(min(4, count))]
    for number in range(count):
        seed = seeds[number % len(seeds)]
        shift = int(random.integers(len(seed)))
        yield replace(seed, bad=np.roll(seed.bad, shift), total=np.roll(seed.total, shift), covered=seed.covered.copy())


def _made(kind: str, seed: Slices, random: np.random.Generator) -> Slices:
    if kind == "quiet":
        return replace(seed, bad=np.where(seed.bad > seed.total * 0.005, seed.bad, 0))
    if kind == "hovering":
        share = 0.0144 * np.exp(0.3 * random.standard_normal(len(seed)))
        return replace(seed, bad=np.minimum(random.poisson(seed.total * share), seed.total))
    return seed


def measure(case: Case) -> Figures:
    """Replay in batches, so that data is made outside of the time that counts and let go before more is made."""
    plan, scanner = watched(), best_scanner(0, compiled=case.compiled)
    list(replay_fleet(((plan, units) for units in records(case.kind, 1)), workers=1, scanner=scanner))
    stream = records(case.kind, case.slos // case.processes)
    slices, wall, cpu, events = 0, 0.0, 0.0, 0
    while batch := list(islice(stream, _BATCH)):
        began, spent = time.perf_counter(), time.process_time()
        for history in replay_fleet(((plan, units) for units in batch), workers=case.threads, scanner=scanner):
            events += len(history.episodes) + len(history.transitions)
        wall += time.perf_counter() - began
        cpu += time.process_time() - spent
        slices += sum(map(len, batch))
    return Figures(slices, wall, cpu, _peak_bytes(), events)


def _peak_bytes() -> int:
    """The most memory this process ever held; what `getrusage` tells begins with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def cases(*, quick: bool) -> Iterator[Case]:
    """Every row: the fleets by size with traffic as it is, then other kinds of data."""
    scanners = (False, True) if find_spec("numba") is not None else (False,)
    for slos in (10,) if quick else (10, 100, 1000):
        for compiled in scanners:
            yield Case("busy", slos, compiled, 1)
            yield Case("busy", slos, compiled, 2)
            yield Case("busy", slos, compiled, 1, processes=2)
    for kind, slos in (("quiet", 10 if quick else 100), ("hovering", 2 if quick else 10)):
        yield from (Case(kind, slos, compiled, 1, processes=2) for compiled in scanners)


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table; each row is measured in processes of its own, for their peak memory."""
    parser = argparse.ArgumentParser(prog="benchmarks.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten SLOs at most")
    quick = parser.parse_args(arguments).quick
    bandwidth = copy_bytes_per_s(2)
    rows = []
    for case in cases(quick=quick):
        with ProcessPoolExecutor(case.processes, mp_context=multiprocessing.get_context("spawn")) as alone:
            told = list(alone.map(measure, [case] * case.processes))
        rate = sum(one.slices / one.wall_s for one in told)
        slices = sum(one.slices for one in told)
        rows.append(
            [
                f"{case.kind}, {case.slos:,} SLOs",
                "compiled" if case.compiled else "NumPy",
                f"{case.processes} processes"
                if case.processes > 1
                else f"{case.threads} thread{'s' if case.threads > 1 else ''}",
                figure(rate) + "/s",
                f"{sum(one.cpu_s for one in told) / slices * 1e9:.1f} ns",
                f"{sum(one.peak_bytes for one in told) / 2**20:.0f} MiB",
                f"{rate * _BYTES_A_SLICE / bandwidth:.1%}",
                f"{sum(one.events for one in told) / case.slos:,.0f}",
            ]
        )
    show(
        f"Replay of {DAYS} d of minutes: 8 burn windows, 30 d budget, 3 multiwindow alerts, default policy",
        ["data", "scan", "on", "SLO-slices", "CPU a slice", "peak memory", "of bandwidth", "events an SLO"],
        rows,
        notes=[
            *(f"{kind}: {what}" for kind, what in KINDS.items()),
            f"running sums included, data generation not; load of this machine when done: {os.getloadavg()[0]:.1f}",
            f"of bandwidth: input read once ({_BYTES_A_SLICE} B a slice) / {figure(bandwidth)}B/s, copied by 2 threads",
        ],
    )


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
