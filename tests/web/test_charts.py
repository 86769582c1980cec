"""Charts tell the truth: gaps are gaps, overspend is hatched, zero is where it is, nothing is lost or made up."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.worlds import DEPLOYMENTS, END, PER_DAY, START, WICKED, fleet, slices, slo
from tightrope.backtest.labels import Deployment
from tightrope.base.units import DAY_S, HOUR_S, percent_text
from tightrope.budget.series import Series
from tightrope.loop.assess import Assessment, assess
from tightrope.policy.decision import Forecast
from tightrope.specs.model import Basis, Specs
from tightrope.telemetry.reading import Reading
from tightrope.web.charts import burn_down, rows_of, ticks
from tightrope.web.marks import OnLine, budget_bar, fleet_line, sparkline
from tightrope.web.pictures import Note, Picture, ledger_of, narrowed, picture_of

FLEET = {one.slo.service: one for one in fleet()}


def shown(
    one: Assessment,
    *,
    points: int = 200,
    deployments: Sequence[tuple[Deployment, bool]] = (),
    forecast: Forecast | None = None,
) -> Picture:
    picture = picture_of(one, ledger_of(one), "p", points, deployments=deployments, forecast=forecast)
    assert picture is not None
    return picture


def marks(drawing: str, kind: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(drawing).iter() if kind in (one.get("class") or "").split()]


def texts(drawing: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(drawing).iter() if one.tag.endswith("text")]


@pytest.mark.parametrize("service", list(FLEET))
@pytest.mark.parametrize("narrow", [False, True])
def test_every_drawing_is_well_formed_and_states_its_finding(service: str, narrow: bool) -> None:
    one = FLEET[service]
    tree = ET.fromstring(burn_down(shown(one), narrow=narrow))
    assert tree.get("role") == "img"
    assert one.title in (tree.get("aria-label") or "")
    assert percent_text(1 - one.history.worst_consumed.value) in (tree.get("aria-label") or "")


def test_silence_is_dashed_and_the_line_goes_on_nowhere_else() -> None:
    silent, fine = burn_down(shown(FLEET["silent"])), burn_down(shown(FLEET["fine"]))
    assert marks(silent, "gap")
    assert marks(silent, "held")
    assert marks(fine, "gap") == []


def test_what_is_not_known_is_not_drawn() -> None:
    series = Series(np.array([60, 120, 180, 240]), np.array([1.0, 0.0, 0.0, 0.5]), np.array([True, False, False, True]))
    picture = replace(shown(FLEET["fine"]), start=0, end=240, series=series, silent=(), stays=(), notes=())
    (line,) = marks(burn_down(picture), "ln")
    assert (line.get("d") or "").count("M") == 2


def test_overspend_is_hatched_and_a_budget_that_lasts_is_not() -> None:
    assert "url(#h-p-w)" in burn_down(shown(FLEET[WICKED]))
    assert "url(#h-p-w)" not in burn_down(shown(FLEET["fine"]))


def test_a_deep_overspend_is_shown_whole() -> None:
    picture = shown(FLEET[WICKED])
    lowest = float(picture.series.values.min())
    floors = [float(text[1:-2]) / -100 for text in texts(burn_down(picture)) if re.fullmatch(r"−\d+ %", text)]
    assert lowest < -1
    assert min(floors) <= lowest


def test_a_fall_is_named_after_its_incident_in_the_colour_of_its_cause() -> None:
    labels = [one.text or "" for one in marks(burn_down(shown(FLEET[WICKED])), "cD")]
    assert any(label.endswith("INC-<7>") and label.startswith("−") for label in labels)


def test_a_fall_because_data_is_missing_says_so() -> None:
    spent = dict.fromkeys(range(16 * PER_DAY, 16 * PER_DAY + 20), 30)
    record = slices(spent, silent_from=17 * PER_DAY)
    promise = replace(slo("gone"), basis=Basis.OBSERVED)
    (one,) = assess(Specs(slos=(promise,)), (promise,), lambda _: [Reading(record)], at=END)
    first, second = shown(one).notes
    assert first.label.startswith("−")
    assert not first.label.endswith("missing")
    assert second.label.endswith("as data is missing")


def test_small_screens_show_at_most_three_labels() -> None:
    notes = tuple(
        Note(START + day * DAY_S, START + day * DAY_S + HOUR_S, 0.9, 0.2, f"−{day}", "B") for day in range(1, 18, 3)
    )
    picture = replace(shown(FLEET["fine"]), notes=notes)
    assert len(marks(burn_down(picture, narrow=True), "cB")) <= 3
    assert len(marks(burn_down(picture), "cB")) > 3


def test_stopped_deployments_have_another_shape() -> None:
    drawing = burn_down(shown(FLEET[WICKED], deployments=[(DEPLOYMENTS[0], False), (DEPLOYMENTS[1], True)]))
    titles = [one.text or "" for one in ET.fromstring(drawing).iter() if one.tag.endswith("title")]
    assert len(marks(drawing, "fD")) == 1
    assert any(title.startswith("v2<b>") and title.endswith("stopped") for title in titles)


def test_deployments_of_other_services_are_left_out() -> None:
    assert shown(FLEET["fine"], deployments=[(DEPLOYMENTS[0], False)]).ships == ()


def test_a_forecast_is_drawn_after_the_end_with_its_interval() -> None:
    forecast = Forecast("exhausted", END + DAY_S, END + DAY_S // 2, END + 2 * DAY_S, "")
    drawing = burn_down(shown(FLEET["burning"], forecast=forecast))
    assert marks(drawing, "fc")
    assert marks(drawing, "band")
    assert any("runs out about 22 Jan" in text for text in texts(drawing))
    assert marks(burn_down(shown(FLEET["burning"])), "fc") == []


def test_states_fill_the_flow_lane_without_a_hole() -> None:
    picture = shown(FLEET[WICKED])
    assert picture.stays[0].start == picture.start
    assert picture.stays[-1].end == picture.end
    assert [one.end for one in picture.stays[:-1]] == [one.start for one in picture.stays[1:]]
    assert {"feature", "stability"} <= {one.kind for one in picture.stays}


def test_a_table_has_the_worst_and_the_last_of_the_picture() -> None:
    picture = shown(FLEET[WICKED])
    rows = rows_of(picture, 10)
    assert len(rows) <= 12
    assert percent_text(float(picture.series.values.min())) in [share for _, share, _ in rows]
    assert rows[-1][1] == percent_text(float(picture.series.values[-1]))


@given(st.integers(2, 60))
def test_a_smaller_drawing_keeps_the_lowest_point(points: int) -> None:
    picture = shown(FLEET[WICKED])
    small = narrowed(picture, points)
    assert len(small.series.times) <= points
    assert small.series.values.min() == picture.series.values.min()


def test_a_time_axis_of_minutes_is_told_in_minutes() -> None:
    at = 1_767_225_600
    assert [text for _, text, _ in ticks(at + 10, at + 200, 6)] == ["00:01", "00:02", "00:03"]
    assert [text for _, text, _ in ticks(at + 3600, at + 3600 + 1800, 6)] == [
        "01:00",
        "01:05",
        "01:10",
        "01:15",
        "01:20",
        "01:25",
    ]


@given(st.integers(0, 2_000_000_000), st.integers(600, 20 * 366 * DAY_S), st.integers(2, 9))
def test_a_time_axis_has_few_ticks_within_it_and_in_order(start: int, span: int, most: int) -> None:
    found = ticks(start, start + span, most)
    instants = [at for at, _, _ in found]
    assert instants == sorted(set(instants))
    assert all(start <= at < start + span for at in instants)
    assert len(found) <= most + 2


@given(st.one_of(st.none(), st.floats(-1000, 1)))
def test_a_budget_bar_grows_right_of_zero_or_left_of_it(remaining: float | None) -> None:
    bar = ET.fromstring(budget_bar(remaining, "good"))
    boxes = [one for one in bar.iter() if one.tag.endswith("rect")]
    if remaining is None:
        assert boxes == []
        return
    left, width = float(boxes[0].get("x") or ""), float(boxes[0].get("width") or "")
    assert left + width <= 112.1
    assert left >= -0.1
    assert (left >= 22.3) if remaining >= 0 else (left < 22.5)


def test_a_sparkline_leaves_out_what_is_not_known() -> None:
    series = Series(np.array([1, 2, 3]), np.array([1.0, 0.0, 0.5]), np.array([True, False, True]))
    (line,) = marks(sparkline(series), "sl")
    assert (line.get("d") or "").count("M") == 2
    assert sparkline(Series(series.times[:1], series.values[:1], series.known[:1])) == ""


@given(st.lists(st.tuples(st.text(max_size=40), st.floats(-20, 1)), max_size=30))
def test_a_fleet_line_places_everybody_whatever_the_name(
    services: list[tuple[str, float]],
) -> None:
    shown = [OnLine(name, share, "bad" if share <= 0 else "good", share <= 0) for name, share in services]
    wide, narrow = fleet_line(shown), fleet_line(shown, narrow=True)
    assert len(marks(wide, "fgood")) + len(marks(wide, "fbad")) == len(services)
    assert len(marks(narrow, "lbl")) <= 3
