"""What a live tick costs a fleet, and what the same costs a Prometheus that evaluates generated rules."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from ctypes import CDLL
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks import servers
from benchmarks.tables import figure, seconds, show
from benchmarks.traffic import traffic
from tightrope.base.units import DAY_S, HOUR_S, MINUTE_S, Duration, duration_text
from tightrope.engine.fleet import LiveFleet
from tightrope.engine.plan import Plan, compile_plan
from tightrope.engine.step import Memory, advance
from tightrope.engine.ticks import Member, Tick
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY, default_conditions
from tightrope.specs.model import Condition, RollingWindow

WINDOW_S = 30 * DAY_S
DAYS = 31
"""Of history, a day of which is left to tick through."""

_TICKS = 240
_WARM = 10
_SEEDS = 8
_TARGETS = [Fraction(9_990 + n, 10_000) for n in range(0, 10, 2)]
_WINDOWS_S = (5 * MINUTE_S, 30 * MINUTE_S, HOUR_S, 2 * HOUR_S, 6 * HOUR_S, DAY_S, 3 * DAY_S)
_ROUND_S = 10
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Figures:
    """What ticks cost, seconds, and how much memory a member keeps."""

    tick_s: float
    slowest_s: float
    cpu_s: float
    ahead_s: float
    admit_s: float
    gauges_s: float
    member_bytes: float
    changes: int


def plan_of(number: int, shapes: int) -> Plan:
    """A 30 d budget with the default alerts and policy; plans of other shapes have an alert of their own lookback."""
    more = [Condition("own", "ticket", Fraction(50), (MINUTE_S * (6 + number % shapes),))] if shapes > 1 else []
    return compile_plan(
        step_s=MINUTE_S,
        target=_TARGETS[number % len(_TARGETS)],
        window=RollingWindow(Duration(30, "d")),
        conditions=[*default_conditions(WINDOW_S), *more],
        policy=DEFAULT_POLICY,
    )


def measure(slos: int, shapes: int) -> Figures:
    """Admit a fleet with 30 days of history and tick on; making the data does not count."""
    records = [traffic(number, DAYS) for number in range(_SEEDS)]
    start = records[0].start + WINDOW_S
    plans = [plan_of(number, shapes) for number in range(len(_TARGETS) * shapes)]
    pairs = {(n % _SEEDS, n % len(plans)) for n in range(slos)}
    memories = {(r, p): advance(plans[p], Memory(), records[r].between(0, start))[0] for r, p in pairs}
    names = {f"service-{n:05}": n for n in range(slos)}

    def rows(keys: Sequence[str], begin: int, end: int) -> list[Slices]:
        return [records[names[key] % _SEEDS].between(begin, end) for key in keys]

    CDLL(None).malloc_trim(0)
    before = _resident_bytes()
    fleet = LiveFleet(MINUTE_S, rows)
    began = time.perf_counter()
    for first in range(0, slos, 1000):
        some = [
            Member(
                key,
                plans[n % len(plans)],
                start,
                memories[n % _SEEDS, n % len(plans)],
                record=records[n % _SEEDS].between(0, start),
            )
            for key, n in list(names.items())[first : first + 1000]
        ]
        fleet.admit(some)
    admit_s = time.perf_counter() - began
    seats = np.arange(slos)
    at = (start - records[0].start) // MINUTE_S
    chosen = np.arange(slos) % _SEEDS
    bad, total = (np.stack([getattr(one, name)[at:] for one in records]) for name in ("bad", "total"))
    covered = np.ones(slos, np.bool_)
    taken, cpu, ahead, changes = [], [], [], 0
    for number in range(_TICKS):
        tick = Tick(
            MINUTE_S, start + (number + 1) * MINUTE_S, seats, bad[chosen, number], total[chosen, number], covered
        )
        began, spent = time.perf_counter(), time.process_time()
        changes += len(fleet.tick(tick))
        taken.append(time.perf_counter() - began)
        cpu.append(time.process_time() - spent)
        began = time.perf_counter()
        fleet.prepare()
        ahead.append(time.perf_counter() - began)
    began = time.perf_counter()
    fleet.gauges((HOUR_S, 6 * HOUR_S))
    gauges_s = time.perf_counter() - began
    CDLL(None).malloc_trim(0)
    return Figures(
        float(np.median(taken[_WARM:])),
        max(taken[_WARM:]),
        float(np.mean(cpu[_WARM:])),
        float(np.mean(ahead)),
        admit_s / slos * 1000,
        gauges_s,
        (_resident_bytes() - before) / slos,
        changes,
    )


def _resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


# --- the peer ------------------------------------------------------------------------------------------------------


def rules_of(number: int) -> list[dict[str, object]]:
    """The 17 rules that Sloth generates for an SLO of 99.9 % over 30 d, in its three groups."""
    labels = {"sloth_id": f"shop-{number}", "sloth_service": "shop", "sloth_slo": f"slo-{number}"}
    chosen = ",".join(f'{name}="{value}"' for name, value in labels.items())
    joined = "on(sloth_id, sloth_slo, sloth_service) group_left"

    def ratio(window_s: int) -> str:
        return f"slo:sli_error:ratio_rate{duration_text(window_s)}"

    def record(name: str, expression: str, **more: str) -> dict[str, object]:
        return {"record": name, "expr": expression, "labels": {**labels, **more}}

    def alert(quick: tuple[int, int, str], slow: tuple[int, int, str], severity: str) -> dict[str, object]:
        pairs = [
            " and ".join(
                f"max({ratio(window_s)}{{{chosen}}} > ({factor} * 0.001)) without (sloth_window)"
                for window_s in (short_s, long_s)
            )
            for short_s, long_s, factor in (quick, slow)
        ]
        expression = " or ".join(f"({pair})" for pair in pairs)
        return {"alert": "Burning", "expr": expression, "labels": {"sloth_severity": severity}}

    recordings = [
        record(
            ratio(window_s),
            f'(sum(rate(bad_ever_total{{slo="{number}"}}[{duration_text(window_s)}])))'
            f' / (sum(rate(events_ever_total{{slo="{number}"}}[{duration_text(window_s)}])))',
            sloth_window=duration_text(window_s),
        )
        for window_s in _WINDOWS_S
    ]
    short = f"{ratio(5 * MINUTE_S)}{{{chosen}}}"
    recordings.append(
        record(
            ratio(WINDOW_S),
            f"sum_over_time({short}[30d]) / ignoring (sloth_window) count_over_time({short}[30d])",
            sloth_window="30d",
        )
    )
    budget = f"{joined} slo:error_budget:ratio{{{chosen}}}"
    told = [
        record("slo:objective:ratio", "vector(0.999)"),
        record("slo:error_budget:ratio", "vector(1-0.999)"),
        record("slo:time_period:days", "vector(30)"),
        record("slo:current_burn_rate:ratio", f"{short} / {budget}"),
        record("slo:period_burn_rate:ratio", f"{ratio(WINDOW_S)}{{{chosen}}} / {budget}"),
        record("slo:period_error_budget_remaining:ratio", f"1 - slo:period_burn_rate:ratio{{{chosen}}}"),
        record("sloth_slo_info", "vector(1)"),
    ]
    alerts = [
        alert((5 * MINUTE_S, HOUR_S, "14.4"), (30 * MINUTE_S, 6 * HOUR_S, "6"), "page"),
        alert((2 * HOUR_S, DAY_S, "3"), (6 * HOUR_S, 3 * DAY_S, "1"), "ticket"),
    ]
    groups = (("sli", recordings), ("meta", told), ("alerts", alerts))
    return [{"name": f"{kind}-{number}", "rules": rules} for kind, rules in groups]


def _samples(fleet: Sequence[Slices]) -> Iterator[str]:
    """Counters a minute apart, and 30 days of what the rules have recorded of them."""
    counters = ("bad_ever", "events_ever")
    for name in counters:
        yield f"# TYPE {name} counter"
        for number, slices in enumerate(fleet):
            counts = np.cumsum(slices.bad if name == "bad_ever" else slices.total) + 1_000_000
            ends = slices.start + slices.step_s * np.arange(1, len(slices) + 1)
            yield from (
                f'{name}_total{{slo="{number}"}} {value} {at}'
                for value, at in zip(counts.tolist(), ends.tolist(), strict=True)
            )
    yield "# TYPE slo:sli_error:ratio_rate5m gauge"
    for number, slices in enumerate(fleet):
        labels = f'sloth_id="shop-{number}",sloth_service="shop",sloth_slo="slo-{number}",sloth_window="5m"'
        ratio = slices.bad / np.maximum(1, slices.total)
        ends = slices.start + slices.step_s * np.arange(1, len(slices) + 1)
        yield from (
            f"slo:sli_error:ratio_rate5m{{{labels}}} {value:.6g} {at}"
            for value, at in zip(ratio.tolist(), ends.tolist(), strict=True)
        )
    yield "# EOF"


def peer(slos: int, now: int) -> tuple[str, float, float]:
    """Let Prometheus evaluate the rules; its name, and seconds of its groups and of its processor, per SLO and tick."""
    end = now - now % MINUTE_S
    fleet = [replace(one, start=end - 30 * DAY_S) for one in (traffic(number, 30) for number in range(slos))]
    settings = f"global: {{evaluation_interval: {_ROUND_S}s}}\nrule_files: [rules.json]\nscrape_configs: []\n"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        groups = [group for number in range(slos) for group in rules_of(number)]
        (folder / "rules.json").write_text(json.dumps({"groups": groups}), encoding="utf-8")
        with servers.prometheus_of(_samples(fleet), folder, settings) as server:
            time.sleep(2 * _ROUND_S)
            before = server.metrics()
            time.sleep(_ROUNDS * _ROUND_S)
            after = server.metrics()
    if after["prometheus_rule_evaluation_failures_total"]:
        raise RuntimeError("some of the rules could not be evaluated")
    ticks = after["prometheus_rule_group_iterations_total"] - before["prometheus_rule_group_iterations_total"]
    spent = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    # an SLO has three groups
    return server.name, after["prometheus_rule_group_last_duration_seconds"] / slos, spent / (ticks / 3)


def main(arguments: Sequence[str] = ()) -> None:
    """Print what ticks of fleets cost, each in a process of its own, and what the same costs a peer."""
    parser = argparse.ArgumentParser(prog="benchmarks.live", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small fleets, and no peer")
    parser.add_argument("--slos", type=int, default=100, help="SLOs whose rules the peer evaluates")
    given = parser.parse_args(arguments)
    cases = [(100, 1), (1_000, 1)] if given.quick else [(given.slos, 1), (1_000, 1), (10_000, 1), (10_000, 10)]
    rows, ours = [], {}
    for slos, shapes in cases:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            told = ours[slos, shapes] = alone.submit(measure, slos, shapes).result()
        rows.append(
            [
                f"{slos:,} SLOs of {shapes} shape{'s' if shapes > 1 else ''}",
                seconds(told.tick_s),
                seconds(told.slowest_s),
                seconds(told.cpu_s / slos),
                seconds(told.ahead_s),
                seconds(told.admit_s),
                seconds(told.gauges_s),
                f"{told.member_bytes / 1024:.1f} KiB",
                f"{told.changes:,}",
            ]
        )
    show(
        f"A live tick: 8 windows up to 30 d, budget, 4 multiwindow alerts, default policy; {_TICKS} ticks of minutes",
        ["fleet", "tick", "slowest", "CPU an SLO", "reading ahead", "admit 1,000", "gauges", "an SLO keeps", "changes"],
        rows,
        notes=[
            "NumPy alone, one thread, slices in memory; reading ahead is done between ticks;",
            "plans are of one shape if they differ in nothing but targets and factors;",
            f"{_SEEDS} records are shared, so changes come many at a time: these are the slowest ticks;",
            f"load of this machine when done: {os.getloadavg()[0]:.1f}",
        ],
    )
    if given.quick:
        return
    if servers.missing("prometheus") or servers.missing("promtool"):
        print("  prometheus is not on this machine: no comparison")
        return
    name, group_s, cpu_s = peer(given.slos, int(time.time()))
    show(
        f"The same of an SLO at one tick: {name} with {given.slos} SLOs, 17 rules each as Sloth generates them",
        ["who", "wall time", "CPU", "Tightrope is x"],
        [
            [name, seconds(group_s), seconds(cpu_s), ""],
            *(
                [
                    f"Tightrope, in a fleet of {slos:,}",
                    seconds(ours[slos, 1].tick_s / slos),
                    seconds(ours[slos, 1].cpu_s / slos),
                    figure(cpu_s / (ours[slos, 1].cpu_s / slos)),
                ]
                for slos in dict.fromkeys([given.slos, 1_000, 10_000])
            ),
        ],
        notes=[
            "The peer: 30 d of minutes in its blocks, one series a counter; it also writes what it records.",
            f"Wall time: what the three rule groups of an SLO took last. CPU: of the process, over {_ROUNDS} rounds.",
            "Tightrope: the tick alone, without decoding what came in and writing down what changed.",
        ],
    )


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
