"""CSV files: times, counts, filters, gaps, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telemetry.builders import NOON, counts, csv_source, data_source, ratio, raw, read, threshold
from tightrope.base.errors import DataError, NotFoundError, TightropeError, UsageError
from tightrope.specs.model import Comparison
from tightrope.telemetry.sources.files import PIECE
from tightrope.telemetry.usecases import read_many

THREE_MINUTES = """time,service,good,total
2026-01-01T12:00:00Z,checkout,9,10
2026-01-01T12:00:30Z,checkout,5,5
2026-01-01T12:01:00Z,search,1,7
2026-01-01T12:02:10Z,checkout,0,3
"""


def test_rows_are_summed_into_slices_by_their_time(tmp_path: Path) -> None:
    reading = read(ratio(csv_source(tmp_path, THREE_MINUTES)))
    assert counts(reading) == [(14, 15), (1, 7), (0, 3)]
    assert (reading.slices.start, reading.slices.step_s) == (NOON, 60)
    assert (reading.quality.rows, reading.quality.bad_rows) == (4, 0)


def test_where_takes_a_value_or_a_list_and_leaves_gaps_where_no_row_is(tmp_path: Path) -> None:
    source = csv_source(tmp_path, THREE_MINUTES)
    one = {"where": {"service": "checkout"}}
    two = {"where": {"service": ["checkout", "search"]}}
    assert counts(read(ratio(source, {"column": "good", **one}, {"column": "total", **one}))) == [
        (14, 15),
        None,
        (0, 3),
    ]
    assert counts(read(ratio(source, {"column": "good", **two}, {"column": "total", **two})))[1] == (1, 7)


def test_without_a_column_rows_are_counted(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,code\n1767268800,200\n1767268801,503\n1767268802,200\n")
    assert counts(read(ratio(source, {"where": {"code": 200}}, {}))) == [(2, 3)]


def test_bad_may_stand_in_place_of_good(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,errors,total\n1767268800,2,10\n")
    assert counts(read(ratio(source, bad={"column": "errors"}))) == [(8, 10)]


def test_silence_is_a_gap_between_samples_and_no_traffic_between_events(tmp_path: Path) -> None:
    text = "time,good,total\n1767268800,1,1\n1767268920,1,1\n1767268980,1,1\n"
    assert counts(read(ratio(csv_source(tmp_path, text))))[1] is None
    assert counts(read(ratio(csv_source(tmp_path, text, rows="events"))))[1] == (0, 0)


def test_good_and_total_may_come_from_different_files(tmp_path: Path) -> None:
    good = csv_source(tmp_path, "time,good\n1767268800,3\n1767268920,1\n")
    (tmp_path / "total.csv").write_text("time,total\n1767268800,4\n1767268860,2\n1767268920,1\n")
    total = data_source("csv", tmp_path, {"path": "total.csv", "timestamp": "time"})
    assert counts(read(ratio(good, total_source=total))) == [(3, 4), (0, 2), (1, 1)]


def test_equal_times_are_summed(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,good,total\n1767268800,1,2\n1767268800,1,2\n")
    assert counts(read(ratio(source))) == [(2, 4)]


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-01T12:00:00Z",
        "2026-01-01 12:00:00",
        "2026-01-01T12:00:00.250Z",
        "2026-01-01T13:00:00+01:00",
        "2026-01-01T12:00:00 UTC",
        "1767268800",
        "1767268800.5",
        "1767268800123",
        "1767268800123456",
        "1767268800123456789",
    ],
)
def test_times_are_iso_or_epoch_of_any_unit(tmp_path: Path, written: str) -> None:
    assert read(ratio(csv_source(tmp_path, f"time,good,total\n{written},1,1\n"))).slices.start == NOON


def test_a_strptime_pattern_reads_other_times(tmp_path: Path) -> None:
    text = "time,good,total\n01/02/2026 00:30,1,1\n"
    reading = read(ratio(csv_source(tmp_path, text, timestampFormat="%d/%m/%Y %H:%M")))
    assert reading.slices.start == 1_769_905_800


def test_a_declared_unit_overrules_the_size_of_the_number(tmp_path: Path) -> None:
    reading = read(ratio(csv_source(tmp_path, "time,good,total\n60000,1,1\n", timestampUnit="ms")))
    assert reading.slices.start == 60


def test_different_offsets_are_instants_all_the_same(tmp_path: Path) -> None:
    text = "time,good,total\n2026-01-01T13:00:00+01:00,1,1\n2026-01-01T12:00:30Z,1,1\n"
    assert counts(read(ratio(csv_source(tmp_path, text)))) == [(2, 2)]


def test_times_with_and_without_a_zone_are_refused_with_both_lines(tmp_path: Path) -> None:
    text = "time,good,total\n2026-01-01T12:00:00Z,1,1\n2026-01-01T12:01:00,1,1\n"
    with pytest.raises(DataError, match=r"mixed zones: shop\.csv:2 names a zone, shop\.csv:3 does not"):
        read(ratio(csv_source(tmp_path, text)))


def test_nothing_later_than_until_is_seen(tmp_path: Path) -> None:
    source = csv_source(tmp_path, THREE_MINUTES + "2026-01-01T12:03:00Z,checkout,x,3\n")
    reading = read(ratio(source), until=NOON + 119)
    assert counts(reading) == [(14, 15)]
    assert (reading.quality.rows, reading.quality.bad_rows) == (3, 0)


def test_since_leaves_out_slices_that_begin_earlier(tmp_path: Path) -> None:
    reading = read(ratio(csv_source(tmp_path, THREE_MINUTES)), since=NOON + 1, until=NOON + 180)
    assert (reading.slices.start, counts(reading)) == (NOON + 60, [(1, 7), (0, 3)])


def test_the_resolution_is_declared_by_the_slo_then_by_the_source_then_inferred(tmp_path: Path) -> None:
    text = "time,good,total\n" + "".join(f"{NOON + 300 * k + 7},1,2\n" for k in range(12))
    assert read(ratio(csv_source(tmp_path, text), step_s=600)).slices.step_s == 600
    assert read(ratio(csv_source(tmp_path, text, resolution="15m"))).slices.step_s == 900
    reading = read(ratio(csv_source(tmp_path, text)))
    assert reading.slices.step_s == 300
    assert reading.slices.covered.all()
    assert reading.quality.notes == (
        "resolution 5m, taken from the spacing of the rows; declare tightrope.dev/resolution to make it certain",
    )


def test_uneven_rows_keep_minutes(tmp_path: Path) -> None:
    text = "time,good,total\n" + "".join(f"{NOON + 60 * k * k},1,2\n" for k in range(8))
    assert read(ratio(csv_source(tmp_path, text))).slices.step_s == 60


def test_bad_rows_are_counted_with_line_and_reason_and_the_rest_is_used(tmp_path: Path) -> None:
    text = (
        "time,good,total\n"
        "1767268800,1,2\n"
        "yesterday,1,2\n"
        "\n"
        "1767268860,1e400,2\n"
        "1767268920,1\n"
        "1767268980,x,2\n"
        "1767269040,,2\n"
        "1767269100,1.5,2\n"
        "1767269160,nan,2\n" + "1767269220,2,2\n" * 6
    )
    quality = read(ratio(csv_source(tmp_path, text))).quality
    assert (quality.rows, quality.bad_rows) == (14, 7)
    reasons = {row.line: row.why for row in quality.examples}
    assert list(reasons) == [3, 5, 6, 7, 8, 9, 10]
    assert "'yesterday' where a time should stand" in reasons[3]
    assert "is 1e400: too large to count" in reasons[5]
    assert reasons[6] == "has 2 cells, the header has 3"
    assert "column 'good' is 'x', which is no number" in reasons[7]
    assert "column 'good' is empty" in reasons[8]
    assert "is 1.5: a count is whole" in reasons[9]
    assert "is nan, which is no number" in reasons[10]


def test_a_negative_count_is_refused_and_named(tmp_path: Path) -> None:
    text = "time,good,total\n1767268800,1,2\n1767268860,-1,2\n" + "".join(
        f"{1767268920 + 60 * k},2,2\n" for k in range(20)
    )
    with pytest.raises(DataError, match=r"shop\.csv:3 column 'good' is -1: a count can't be negative") as caught:
        read(ratio(csv_source(tmp_path, text)))
    assert caught.value.remedy.startswith("mend the rows")


_MIXED = "time,good,total\n1767268860,1,2\n1767268920,4,4\n1767268800,3,3\n1767268980,1,1\n"


def test_time_that_runs_backwards_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shop\.csv:4: time runs backwards") as caught:
        read(ratio(csv_source(tmp_path, _MIXED)))
    assert "order: any" in caught.value.remedy
    quoted = _MIXED.replace("1767268800,3", '"1767268800",3')
    with pytest.raises(DataError, match=r"shop\.csv:4: time runs backwards"):
        read(ratio(csv_source(tmp_path, quoted)))


def test_in_any_order_each_row_counts_at_its_own_time(tmp_path: Path) -> None:
    reading = read(ratio(csv_source(tmp_path, _MIXED, order="any")))
    assert counts(reading) == [(3, 3), (1, 2), (4, 4), (1, 1)]
    assert reading.quality.notes == ()


def test_a_table_may_be_newest_first_and_tell_one_time_in_several_rows(tmp_path: Path) -> None:
    rows = [f"{NOON + 60 * (minute // 2)},1,1\n" for minute in range(8)]
    for text in (rows, rows[::-1]):
        assert counts(read(ratio(csv_source(tmp_path, "time,good,total\n" + "".join(text))))) == [(2, 2)] * 4


def test_a_newest_first_table_in_which_time_turns_is_refused(tmp_path: Path) -> None:
    rows = [f"{NOON - 60 * minute},1,1\n" for minute in (0, 1, 2, 1, 4, 5)]
    with pytest.raises(DataError, match=r"shop\.csv:5: time runs backwards"):
        read(ratio(csv_source(tmp_path, "time,good,total\n" + "".join(rows))))


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_table_may_begin_again_with_each_of_its_series(tmp_path: Path, quote: str) -> None:
    def rows(path: str, minutes: Sequence[int]) -> str:
        return "".join(f"{NOON + 60 * minute},{quote}{path}{quote},{minute / 7},1,1\n" for minute in minutes)

    head = "time,path,latency,good,total\n"
    source = csv_source(tmp_path, head + rows("/a", range(5)) + rows("/b", range(5)))
    assert counts(read(ratio(source))) == [(2, 2)] * 5
    source = csv_source(tmp_path, head + rows("/a", range(5)) + rows("/b", (0, 1, 3, 2, 4)))
    with pytest.raises(DataError, match=r"shop\.csv:10: time runs backwards"):
        read(ratio(source))


def test_files_may_come_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "october.csv").write_text(f"time,good,total\n{NOON + 60},1,1\n{NOON + 120},1,1\n")
    source = csv_source(tmp_path, f"time,good,total\n{NOON - 60},1,1\n{NOON},1,1\n", path="*.csv")
    assert counts(read(ratio(source))) == [(1, 1)] * 4


def test_a_bad_row_is_used_for_good_and_for_total_or_for_neither(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,good,total\n1767268800,x,100\n1767268800,1,1\n")
    assert counts(read(ratio(source))) == [(1, 1)]


def test_a_bad_row_that_only_one_part_needs_makes_its_slice_a_gap(tmp_path: Path) -> None:
    text = "time,kind,n\n1767268800,ok,x\n1767268800,all,9\n1767268860,ok,4\n1767268860,all,5\n"
    source = csv_source(tmp_path, text)
    request = ratio(source, {"column": "n", "where": {"kind": "ok"}}, {"column": "n", "where": {"kind": "all"}})
    assert counts(read(request)) == [(4, 5)]


def test_strict_refuses_bad_rows_and_names_them(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,good,total\n1767268800,1,2\n1767268860,x,2\n")
    request = ratio(source)
    with pytest.raises(DataError, match=r"1 of 2 rows can't be used: shop\.csv:3 column 'good' is 'x'"):
        read(request, strict=True)


def test_a_file_of_which_nothing_can_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 2 rows can be used"):
        read(ratio(csv_source(tmp_path, "time,good,total\nx,1,2\ny,1,2\n")))


@pytest.mark.parametrize(
    ("bad_row", "says"),
    [
        ("1767268860,x,2", r"only 2 of 5 rows have a good that can be used: shop\.csv:4 column 'good' is 'x'"),
        ("1767268860,1,x", r"only 2 of 5 rows have a good that can be used: shop\.csv:4 column 'total' is 'x'"),
        ("soon,1,2", r"3 of 5 rows can't be used: shop\.csv:4 has 'soon' where a time should stand"),
        ("1767268860,1", r"3 of 5 rows can't be used: shop\.csv:4 has 2 cells"),
    ],
)
def test_a_budget_is_not_built_on_a_minority_of_the_rows(tmp_path: Path, bad_row: str, says: str) -> None:
    text = "time,good,total\n1767268800,1,2\n1767268800,1,2\n" + f"{bad_row}\n" * 2
    reading = read(ratio(csv_source(tmp_path, text)))
    assert (counts(reading), reading.quality.bad_rows) == ([(2, 4)], 2)
    with pytest.raises(DataError, match=says):
        read(ratio(csv_source(tmp_path, text + f"{bad_row}\n")))


def test_a_minority_among_the_rows_of_one_filter_is_a_minority(tmp_path: Path) -> None:
    text = "time,service,good,total\n" + "1767268800,search,1,2\n" * 20
    text += "1767268800,checkout,1,2\n1767268860,checkout,x,2\n1767268920,checkout,,2\n"
    where = {"where": {"service": "checkout"}}
    with pytest.raises(DataError, match=r"only 1 of 3 rows have a good that can be used: shop\.csv:23 "):
        read(ratio(csv_source(tmp_path, text), {"column": "good", **where}, {"column": "total", **where}))


def test_good_above_total_is_refused_and_named(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,good,total\n1767268800,1,2\n1767268860,3,2\n")
    with pytest.raises(DataError, match="'checkout': at 2026-01-01T12:01:00Z good is 3 of 2"):
        read(ratio(source))


def test_good_above_total_in_a_row_may_be_mended_by_another_row_of_the_slice(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,good,total\n1767268800,3,2\n1767268801,0,2\n")
    assert counts(read(ratio(source))) == [(3, 4)]


def test_fractions_are_kept_in_the_declared_scale(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,good,total\n1767268800,0.25,1.5\n1767268800,1e-3,1\n1767268800,133.0,133.0\n")
    reading = read(ratio(source, scale=1000))
    assert (counts(reading), reading.slices.scale) == ([(133_251, 135_500)], 1000)


def test_a_whole_number_may_be_written_with_a_point(tmp_path: Path) -> None:
    assert counts(read(ratio(csv_source(tmp_path, "time,good,total\n1767268800,3.0,1e1\n")))) == [(3, 10)]


def test_values_are_compared_with_the_bound_exactly(tmp_path: Path) -> None:
    text = "time,ms\n" + "".join(
        f"1767268800,{ms}\n" for ms in ("0.3", "0.30", "0.3000000000000000001", "0.29999999999999999")
    )
    source = csv_source(tmp_path, text)
    assert counts(read(threshold(source, {"column": "ms"}, Comparison.LTE, "0.3"))) == [(3, 4)]
    assert counts(read(threshold(source, {"column": "ms"}, Comparison.LT, "0.3"))) == [(1, 4)]
    assert counts(read(threshold(source, {"column": "ms"}, Comparison.GT, "0.3"))) == [(1, 4)]
    assert counts(read(threshold(source, {"column": "ms"}, Comparison.GTE, "0.3"))) == [(3, 4)]


def test_a_value_metric_needs_a_bound(tmp_path: Path) -> None:
    request = threshold(csv_source(tmp_path, "time,ms\n1767268800,1\n"), {"column": "ms"}, Comparison.LT, "1")
    bare = type(request)(request.slo, type(request.objective)(request.objective.target))
    with pytest.raises(UsageError, match="does not say which values are good"):
        read(bare)


def test_a_raw_ratio_is_kept_in_millionths(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "time,up\n1767268800,0.75\n1767268800,1\n1767268860,1.01\n")
    reading = read(raw(source, {"column": "up"}))
    assert (counts(reading), reading.slices.scale) == ([(1_750_000, 2_000_000)], 1_000_000)
    assert reading.quality.examples[0].why == "column 'up' is above 1: a ratio lies between 0 and 1"
    assert counts(read(raw(source, {"column": "up"}, "failure"))) == [(250_000, 2_000_000)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_may_be_gzipped_quoted_and_marked_as_utf8(tmp_path: Path, pack: Any) -> None:
    text = '\ufefftime;"good";total\r\n"2026-01-01T12:00:00Z";1;"2"\r\n2026-01-01T12:01:00Z;2;2'
    assert counts(read(ratio(csv_source(tmp_path, pack(text.encode()))))) == [(1, 2), (2, 2)]


def test_a_quoted_cell_may_span_lines_and_lines_are_still_counted_right(tmp_path: Path) -> None:
    text = 'time,note,good,total\n1767268800,"a\nb",1,2\n1767268800,"c ""d"", e",1,2\n1767268800,f,x,2\n'
    reading = read(ratio(csv_source(tmp_path, text)))
    assert counts(reading) == [(2, 4)]
    assert [row.line for row in reading.quality.examples] == [5]


def test_a_file_of_many_pieces_is_read_whole_and_its_lines_are_counted_right(tmp_path: Path) -> None:
    rows = [f"{NOON + k % 600},{k % 3},{3 + k % 2},{'x' * 20}" for k in range(70_000)]
    rows[66_000] = f"{NOON},none,3,x"
    late = [*rows[:68_000], f'{NOON},1,3,"quoted, late"', *rows[68_000:], "soon,1,3,x"]
    for lines, bad in ((rows, [66_002]), (late, [66_002, 70_003])):
        text = "time,good,total,note\n" + "\n".join(lines)
        assert len(text) > 2 * PIECE
        reading = read(ratio(csv_source(tmp_path, text, order="any")))
        assert [row.line for row in reading.quality.examples] == bad
        usable = [line.split(",") for number, line in enumerate(lines, start=2) if number not in bad]
        assert int(reading.slices.good.sum()) == sum(int(cells[1]) for cells in usable)
        assert int(reading.slices.total.sum()) == sum(int(cells[2]) for cells in usable)


def test_globs_directories_and_lists_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for day in (2, 1):
        (tmp_path / f"day{day}.csv").write_text(f"time,good,total\n{NOON + 60 * day},{day},9\n")
    (tmp_path / "notes.txt").write_text("nothing to see")
    for path in ("day*.csv", ".", ["day1.csv", "day2.csv"], str(tmp_path / "day?.csv")):
        source = data_source("csv", tmp_path, {"path": path, "timestamp": "time"})
        assert counts(read(ratio(source))) == [(1, 9), (2, 9)]


def test_many_objectives_on_one_file_read_it_once(tmp_path: Path) -> None:
    source = csv_source(tmp_path, THREE_MINUTES)
    requests = [
        ratio(source, {"column": "good", "where": {"service": name}}, {"column": "total", "where": {"service": name}})
        for name in ("checkout", "search", "checkout")
    ]
    heard: list[tuple[str, int, int | None]] = []
    readings = read_many(requests, progress=lambda what, done, of: heard.append((what, done, of)))
    assert [counts(reading)[0] for reading in readings] == [(14, 15), (1, 7), (14, 15)]
    assert heard == [("shop.csv", len(THREE_MINUTES), len(THREE_MINUTES))]


def test_a_filter_that_no_row_passes_says_what_there_is(tmp_path: Path) -> None:
    where = {"where": {"service": "chekout"}}
    reading = read(
        ratio(csv_source(tmp_path, THREE_MINUTES), {"column": "good", **where}, {"column": "total", **where})
    )
    assert len(reading.slices) == 0
    assert reading.quality.notes == ("no row has service chekout; did you mean 'checkout'? it has: checkout, search",)


KINDS = "time,kind,n\n1767268800,ok,4\n1767268800,all,5\n1767268860,ok,1\n1767268860,all,1\n"
ALL = {"column": "n", "where": {"kind": "all"}}


def test_a_good_that_is_never_there_is_a_mistyped_name_and_no_outage(tmp_path: Path) -> None:
    source = csv_source(tmp_path, KINDS)
    with pytest.raises(DataError, match="good has no rows, though total has 2: no row has kind okk") as caught:
        read(ratio(source, {"column": "n", "where": {"kind": "okk"}}, ALL))
    assert caught.value.remedy == "did you mean 'ok'? it has: all, ok"


def test_names_that_are_there_but_never_together_are_named_together(tmp_path: Path) -> None:
    source = csv_source(tmp_path, KINDS)
    with pytest.raises(DataError, match="no row has kind ok and n 5"):
        read(ratio(source, {"column": "n", "where": {"kind": "ok", "n": 5}}, ALL))


def test_a_bad_that_is_never_there_is_0_and_told_of(tmp_path: Path) -> None:
    reading = read(ratio(csv_source(tmp_path, KINDS), bad={"column": "n", "where": {"kind": "failed"}}, total=ALL))
    assert counts(reading) == [(5, 5), (1, 1)]
    assert reading.quality.notes == ("bad has no rows: no row has kind failed; it has: all, ok: taken as 0",)


def test_a_total_that_is_never_there_is_told_of_though_good_is(tmp_path: Path) -> None:
    total = {"column": "n", "where": {"kind": "al"}}
    reading = read(ratio(csv_source(tmp_path, KINDS), {"column": "n", "where": {"kind": "ok"}}, total))
    assert len(reading.slices) == 0
    assert reading.quality.notes == ("no row has kind al; did you mean 'all'? it has: all, ok",)


@pytest.mark.parametrize(
    ("wild", "why"),
    [
        ("9999-12-31T23:59:59Z", "has a time outside the years 1970 to 2199"),
        ("2200-01-01T00:00:00Z", "has a time outside the years 1970 to 2199"),
        ("1969-12-31T23:59:59Z", "has a time outside the years 1970 to 2199"),
        ("-5", "has a time outside the years 1970 to 2199"),
        ("2199-12-31T23:59:59Z", "has the time 2199-12-31T23:59:59Z, more than ten years from most rows"),
        ("1970-01-01T00:00:00Z", "has the time 1970-01-01T00:00:00Z, more than ten years from most rows"),
    ],
)
def test_one_wild_time_is_a_bad_row_and_spoils_no_other(tmp_path: Path, wild: str, why: str) -> None:
    text = f"time,good,total\n1767268800,1,2\n{wild},1,2\n1767268860,2,2\n"
    reading = read(ratio(csv_source(tmp_path, text)))
    assert counts(reading) == [(1, 2), (2, 2)]
    assert [(row.line, row.why) for row in reading.quality.examples] == [(3, why)]


def test_a_wild_time_is_found_in_a_later_piece_of_the_file_too(tmp_path: Path) -> None:
    rows = [f"{NOON + k // 117},1,1,{'x' * 20}" for k in range(70_000)]
    (tmp_path / "a.csv").write_text("time,good,total,note\n" + "\n".join(rows))
    (tmp_path / "b.csv").write_text(f"time,good,total,note\n60,1,1,\n{NOON + 600},1,1,\n")
    reading = read(ratio(data_source("csv", tmp_path, {"path": ".", "timestamp": "time"})))
    assert (len(reading.slices), int(reading.slices.total.sum())) == (11, 70_001)
    assert [(row.source, row.line) for row in reading.quality.examples] == [("b.csv", 2)]


def test_a_long_record_has_no_wild_times(tmp_path: Path) -> None:
    text = "time,good,total\n" + "".join(f"{year}-01-01T00:00:00Z,1,1\n" for year in range(1990, 2026))
    reading = read(ratio(csv_source(tmp_path, text, resolution="1d")))
    assert (int(reading.slices.total.sum()), reading.quality.bad_rows) == (36, 0)


def test_where_no_time_is_that_of_most_rows_both_ends_are_named(tmp_path: Path) -> None:
    text = "time,good,total\n1767268800,1,1\n1,1,1\n"
    with pytest.raises(DataError, match=r"the earliest is shop\.csv:3, the latest shop\.csv:2"):
        read(ratio(csv_source(tmp_path, text)))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", DataError, "has no rows"),
        ("time,good,total\n", DataError, "has no rows"),
        ("\n\n\n", DataError, "has no rows"),
        ("when,good,total\n1,1,1\n", DataError, "has no column 'time'"),
        ("time,godo,total\n1,1,1\n", DataError, "has no column 'good'"),
        ("time,good,good,total\n1,1,1,1\n", DataError, "has 2 columns called 'good'"),
        ("1767268800,1,1\n1767268860,1,1\n", DataError, "has no column 'time'"),
        (b"\x00\x01\x02\x03" * 20, DataError, "is not text"),
        (b"PK\x03\x04zipped", DataError, "a zip archive"),
        (b"PAR1....", DataError, "a parquet file: set the type"),
        ("time,good,total\n1,1,1\n".encode("utf-16"), DataError, "UTF-16: save it as UTF-8"),
        (
            gzip.compress(b"time,good,total\n" + b"1767268800,1,1\n" * 9000, mtime=0)[:60],
            DataError,
            "damaged or cut off",
        ),
        ("time,good,total\n1,1,1\n1767268800,1,1\n", DataError, "look for a wrong timestamp"),
        (f"time,good,total\n1,{2**61},{2**61}\n" * 3, DataError, "sum to more than"),
    ],
)
def test_a_file_that_can_not_be_used_gets_one_clear_message(
    tmp_path: Path, text: str | bytes, error: type[TightropeError], says: str
) -> None:
    with pytest.raises(error) as caught:
        read(ratio(csv_source(tmp_path, text)))
    assert says in f"{caught.value.message} {caught.value.remedy}"


def test_a_missing_column_names_the_nearest_and_all_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(ratio(csv_source(tmp_path, "time,godo,total\n1,1,1\n")))
    assert caught.value.remedy == "did you mean 'godo'? it has: time, godo, total"


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    csv_source(tmp_path, THREE_MINUTES)
    source = data_source("csv", tmp_path, {"path": "shp.csv", "timestamp": "time"})
    with pytest.raises(NotFoundError, match=r"there is no file .*shp\.csv") as caught:
        read(ratio(source))
    assert "did you mean 'shop.csv'?" in caught.value.remedy


def test_a_directory_without_csv_and_a_glob_without_match_are_named(tmp_path: Path) -> None:
    for path, says in ((".", "holds no file that ends in .csv"), ("*.csv", "no file matches")):
        with pytest.raises(NotFoundError, match=says):
            read(ratio(data_source("csv", tmp_path, {"path": path, "timestamp": "time"})))


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        ({"timestamp": None}, "timestamp is missing"),
        ({"path": None}, "path is missing"),
        ({"rows": "lines"}, "rows is 'lines'"),
        ({"delimitor": ";"}, "unknown setting 'delimitor'"),
        ({"delimiter": "::"}, "is not one character"),
        ({"resolution": "5 minutes"}, "'5 minutes' is not a duration"),
        ({"resolution": "0m"}, "longer than nothing"),
        ({"timestampUnit": "h"}, "timestampUnit is 'h'"),
        ({"timestampFormat": "iso"}, "timestampFormat is 'iso'"),
        ({"timestampFormat": "%Y", "timestampUnit": "s"}, "exclude each other"),
    ],
)
def test_wrong_settings_of_a_source_are_named(tmp_path: Path, connection: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(ratio(csv_source(tmp_path, THREE_MINUTES, **connection)))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"colum": "good"}, "unknown setting 'colum'"),
        ({"column": ["good"]}, "column must be one value"),
        ({"column": "good", "where": "x"}, "where must be a map"),
    ],
)
def test_wrong_metric_specs_are_named(tmp_path: Path, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(ratio(csv_source(tmp_path, THREE_MINUTES), spec))


def test_connection_details_that_are_no_map_are_refused(tmp_path: Path) -> None:
    connection: Any = ["shop.csv"]
    with pytest.raises(UsageError, match="connectionDetails: it must be a map"):
        read(ratio(data_source("csv", tmp_path, connection)))


def test_an_unknown_type_of_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="type 'cvs'") as caught:
        read(ratio(data_source("cvs", tmp_path, {"path": "x"})))
    assert "did you mean 'csv'?" in caught.value.remedy


CELLS = st.one_of(
    st.integers(-3, 10**6).map(str),
    st.sampled_from(
        ["", " 7", "7 ", "1.0", "2.5", "1e2", "+4", "nan", "inf", "x", "1_0", "٣", "0007", "9" * 19, "1e400"]
    ),
)
TIMES = st.one_of(
    st.integers(NOON, NOON + 3600).map(str),
    st.sampled_from(
        [
            "2026-01-01T12:00:00Z",
            "2026-01-01T12:07:59.123Z",
            "2026-01-01T14:03:00+02:00",
            "2026-02-30T12:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T12:00Z",
            "1767268800000",
            "1767268800.25",
            "",
            "soon",
        ]
    ),
)


@given(st.lists(st.tuples(TIMES, CELLS, CELLS, st.sampled_from(["a", "b", " a", "ä"])), min_size=1, max_size=30))
def test_reading_by_the_column_and_row_by_row_agree(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("both")
    outcomes: list[object] = []
    for quote in ("", '"'):
        lines = [
            "time,bad,total,tag",
            f"{NOON},1,{10**9},a",
            *(f"{t},{b},{n},{quote}{tag}{quote}" for t, b, n, tag in rows),
        ]
        source = csv_source(folder, "\n".join(lines) + "\n")
        where = {"where": {"tag": ["a", "ä"]}}
        for request in (
            ratio(source, bad={"column": "bad", **where}, total={"column": "total", **where}),
            threshold(source, {"column": "bad"}, Comparison.LTE, "2.5"),
        ):
            try:
                reading = read(request)
            except DataError as error:
                outcomes.append((error.message,))
            else:
                outcomes.append((counts(reading), reading.slices.start, reading.quality))
    assert outcomes[:2] == outcomes[2:]
