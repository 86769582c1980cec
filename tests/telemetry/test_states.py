"""State rows: what holds until the next row, held against a publisher's own account."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.telemetry.builders import NOON, counts, csv_source, data_source, ratio, read
from tightrope.base.errors import UsageError
from tightrope.telemetry.plan import Request
from tightrope.telemetry.usecases import read_many


def _states(source: Any, where: dict[str, Any] | None = None, **extra: Any) -> Request:
    spec = {"state": "status", "every": "5m", **({"where": where} if where else {}), **extra}
    return ratio(source, {**spec, "in": ["up"]}, spec)


def _log(*rows: tuple[int, str]) -> str:
    return "time,status\n" + "".join(f"{NOON + at},{state}\n" for at, state in rows)


def test_a_state_holds_until_the_next_row_and_is_sampled(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _log((10, "up"), (700, "down"), (1300, "up"), (1500, "up")))
    reading = read(_states(source))
    assert reading.slices.start == NOON + 300
    assert reading.slices.step_s == 300
    assert counts(reading) == [(1, 1), (1, 1), (0, 1), (0, 1), (1, 1)]


def test_a_row_at_the_instant_of_a_sample_counts_at_once(tmp_path: Path) -> None:
    assert counts(read(_states(csv_source(tmp_path, _log((0, "up"), (300, "down")))))) == [(1, 1), (0, 1)]


def test_of_equal_times_the_later_row_wins_and_order_does_not_matter_else(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _log((600, "up"), (0, "up"), (300, "up"), (300, "down")))
    assert counts(read(_states(source))) == [(1, 1), (0, 1), (1, 1)]


def test_a_row_is_not_held_longer_than_it_may_be(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _log((0, "up"), (2400, "up")))
    assert counts(read(_states(source, holdAtMost="10m"))) == [(1, 1), (1, 1), (1, 1), *[None] * 5, (1, 1)]


def test_the_state_goes_on_to_until_but_not_past_its_hold(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _log((0, "up")))
    assert len(read(_states(source)).slices) == 1
    assert len(read(_states(source), until=NOON + 1800).slices) == 6
    assert len(read(_states(source), until=NOON + 30 * 86400).slices) == 26 * 12 + 1


def test_a_later_row_is_not_seen_before_its_time(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _log((0, "up"), (600, "down")))
    assert counts(read(_states(source), until=NOON + 600)) == [(1, 1), (1, 1)]


def test_a_state_that_no_row_has_is_told_with_those_that_were_seen(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _log((0, "Up"), (300, "down"), (600, "degraded")))
    assert [note for note in read(_states(source)).quality.notes if "no row" in note] == [
        "no row has status 'up', which counts as good: did you mean 'Up'? it has: Up, degraded, down"
    ]
    spec = {"state": "status", "every": "5m"}
    for states, told in ((["Up", "degrded"], 1), (["Up", "maintenance"], 0), (["Up", "degraded"], 0), ([], 0)):
        notes = read(ratio(source, {**spec, "in": states}, spec)).quality.notes
        assert len([note for note in notes if "did you mean 'degraded'?" in note]) == told, states
        assert not told or len([note for note in notes if "no row has" in note]) == 1


def test_each_thing_has_its_own_state(tmp_path: Path) -> None:
    text = "time,site,status\n" + "".join(
        f"{NOON + at},{site},{state}\n"
        for at, site, state in [(0, "a", "up"), (0, "b", "up"), (300, "b", "down"), (600, "a", "up")]
    )
    source = csv_source(tmp_path, text)
    assert counts(read(_states(source, {"site": ["a", "b"]}))) == [(2, 2), (1, 2), (1, 2)]
    assert counts(read(_states(source, series="site"))) == [(2, 2), (1, 2), (1, 2)]
    assert counts(read(_states(source, {"site": "a"}))) == [(1, 1)] * 3


def test_finer_samples_are_summed_into_coarser_slices(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _log((0, "up"), (600, "down"), (899, "down")))
    spec = {"state": "status", "every": "1m"}
    assert counts(read(ratio(source, {**spec, "in": "up"}, spec, step_s=900))) == [(10, 15)]


def test_a_row_without_a_state_is_bad(tmp_path: Path) -> None:
    quality = read(_states(csv_source(tmp_path, _log((0, "up"), (300, ""), (600, "up"))))).quality
    assert [(row.line, row.why) for row in quality.examples] == [(3, "column 'status' is empty")]


def test_states_are_no_counters(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="state rows count samples"):
        read(ratio(csv_source(tmp_path, _log((0, "up"))), {"state": "status"}, {"state": "status"}, counter=True))


def test_shuffled_rows_give_the_same_slices(tmp_path: Path) -> None:
    chance = random.Random(7)
    rows = [(at, chance.choice(["up", "down"])) for at in chance.sample(range(200_000), 300)]
    ordered = read(_states(csv_source(tmp_path, _log(*sorted(rows)))))
    shuffled = read(_states(csv_source(tmp_path, _log(*rows))))
    assert counts(ordered) == counts(shuffled)


def _sites(recorded: Path, group: str) -> list[tuple[dict[str, str], Any]]:
    """Every site that the publisher still watches, sampled each minute like the outages are counted."""
    folder = recorded / "uptime-probes" / group
    source = data_source("csv", folder, {"path": "probes.csv.gz", "timestamp": "timestamp"})
    with (folder / "sites.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["publisher_uptime_pct"] and row["derived_uptime_pct"]]
    requests = [_states(source, {"site": row["site"]}, every="1m", holdAtMost="30d") for row in rows]
    return list(zip(rows, [reading.slices for reading in read_many(requests)], strict=True))


def test_availability_agrees_with_the_time_weighted_truth_and_with_the_publisher(recorded: Path) -> None:
    agrees = sites = 0
    for folder in sorted((recorded / "uptime-probes").iterdir()):
        for row, slices in _sites(recorded, folder.name):
            share = 100 * (1 - int(slices.bad.sum()) / int(slices.total.sum()))
            # A minute more or less at each end of each outage is what sampling by the minute may differ by.
            slack = 100 * 2 * (int(row["n_outages"]) + 1) / int(slices.total.sum()) + 0.0006
            assert abs(share - float(row["derived_uptime_pct"])) <= slack, row["site"]
            sites += 1
            agrees += abs(share - float(row["publisher_uptime_pct"])) <= 0.02
    print(f"{agrees} of {sites} sites agree with the publisher within 0.02 percentage points")  # noqa: T201
    assert sites > 0
    if sites == 86:  # the five groups that are recorded here
        assert agrees == 53


def test_nearly_all_days_agree_with_the_publishers_minutes_of_downtime(recorded: Path) -> None:
    agree = days = 0
    for folder in sorted((recorded / "uptime-probes").iterdir()):
        with (folder / "publisher_daily_minutes_down.csv").open(encoding="utf-8", newline="") as file:
            published = {(row["site"], row["date"]): int(row["minutes_down"]) for row in csv.DictReader(file)}
        for row, slices in _sites(recorded, folder.name):
            of_day = (slices.start + 60 * np.arange(len(slices))) // 86400
            down = np.bincount(of_day - of_day[0], weights=slices.bad)
            for offset, minutes in enumerate(down.tolist()):
                date = str(np.datetime64(int(of_day[0]) + offset, "D"))
                days += 1
                agree += abs(published.get((row["site"], date), 0) - minutes) <= 2
    print(f"{agree} of {days} days agree with the publisher within 2 minutes")  # noqa: T201
    assert agree >= days * 98 // 100
