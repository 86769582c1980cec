"""The SQL source, on SQLite and on a real PostgreSQL: what it reads, and that it only reads."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.live.conftest import free_port
from tests.state.conftest import postgresql  # noqa: F401  the fixture
from tests.telemetry.builders import NOON, counts, data_source, ratio, raw, read, threshold
from tightrope.base.errors import DataError, NotFoundError, SourceError, SourceUnreachableError, UsageError
from tightrope.specs.model import Comparison, DataSource

MINUTES = 5
MADE = (
    "CREATE TABLE minutes (time timestamp, good integer, total integer, share real, latency double precision, "
    "pod text, ups bigint)"
)
ROWS = [
    (
        f"2026-01-01 12:{minute:02}:{30 if minute % 2 else 0:02}",
        10 + minute,
        12 + minute,
        0.25,
        0.1 * minute,
        pod,
        7 * minute,
    )
    for minute in range(MINUTES)
    for pod in "ab"
]
QUERY = (
    "SELECT time, sum(good) AS good, sum(total) AS total FROM minutes "
    "WHERE time >= :since AND time < :until GROUP BY time ORDER BY time"
)
ASKED = {"since": NOON, "until": NOON + 60 * MINUTES}


@pytest.fixture(name="sqlite")
def _sqlite(tmp_path: Path) -> DataSource:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute(MADE)
        database.executemany("INSERT INTO minutes VALUES (?, ?, ?, ?, ?, ?, ?)", ROWS)
    database.close()
    return data_source("sql", tmp_path, {"url": "sqlite:///shop.db"})


@pytest.fixture(name="postgres")
def _postgres(postgresql: str, tmp_path: Path) -> DataSource:  # noqa: F811  the fixture
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS shop")
        server.execute("CREATE DATABASE shop")
    with psycopg.connect(f"{postgresql}/shop") as database:
        database.execute(MADE)
        database.cursor().executemany("INSERT INTO minutes VALUES (%s, %s, %s, %s, %s, %s, %s)", ROWS)
    return data_source("sql", tmp_path, {"url": f"{postgresql}/shop"})


@pytest.fixture(
    name="source", params=["sqlite", pytest.param("postgres", marks=pytest.mark.live)], ids=["sqlite", "postgresql"]
)
def _source(request: pytest.FixtureRequest) -> DataSource:
    found: DataSource = request.getfixturevalue(request.param)
    return found


def _of(query: str) -> dict[str, Any]:
    return {"query": query}


def test_a_query_gives_good_and_total_of_one_row(source: DataSource) -> None:
    reading = read(ratio(source, _of(QUERY), _of(QUERY)), **ASKED)
    assert counts(reading) == [(20 + 2 * minute, 24 + 2 * minute) for minute in range(MINUTES)]
    assert reading.slices.start == NOON


def test_only_what_is_asked_for_is_read(source: DataSource) -> None:
    reading = read(ratio(source, _of(QUERY), _of(QUERY)), since=NOON + 60, until=NOON + 180)
    assert (reading.quality.rows, reading.slices.start) == (2, NOON + 60)


def test_a_table_needs_no_query(source: DataSource) -> None:
    spec = {"table": "minutes", "where": {"pod": "a"}}
    reading = read(ratio(source, {**spec, "column": "good"}, spec), **ASKED)
    assert counts(reading) == [(10 + minute, 12 + minute) for minute in range(MINUTES)]
    assert reading.quality.rows == 2 * MINUTES


def test_two_queries_make_one_indicator(source: DataSource) -> None:
    bad = _of("SELECT time, 1 AS bad FROM minutes WHERE pod = 'a' AND time >= :since AND time < :until")
    reading = read(ratio(source, bad=bad, total=_of(QUERY)), **ASKED)
    assert counts(reading) == [(23 + 2 * minute, 24 + 2 * minute) for minute in range(MINUTES)]


def test_counters_are_differenced_by_series(source: DataSource) -> None:
    spec = {"table": "minutes", "column": "ups", "series": ["pod"]}
    reading = read(ratio(source, spec, spec, counter=True), **ASKED)
    assert counts(reading) == [(14, 14)] * (MINUTES - 1)


def test_values_and_ratios_are_exact(source: DataSource) -> None:
    slow = threshold(source, {"table": "minutes", "column": "latency", "where": {"pod": "a"}}, Comparison.LTE, "2/10")
    assert counts(read(slow, **ASKED)) == [(1, 1), (1, 1), (1, 1), (0, 1), (0, 1)]
    share = raw(source, {"table": "minutes", "column": "share"})
    assert counts(read(share, **ASKED)) == [(500_000, 2_000_000)] * MINUTES


def test_rows_may_be_events(source: DataSource) -> None:
    events = DataSource(source.name, source.type, {**source.connection, "rows": "events"}, source.folder)
    query = "SELECT time, good, total FROM minutes WHERE time >= :since AND time < :until AND good <> 12"
    reading = read(ratio(events, _of(query), _of(query)), **ASKED)
    assert counts(reading)[2] == (0, 0)
    assert counts(read(ratio(source, _of(query), _of(query)), **ASKED))[2] is None


def test_times_may_be_epoch_numbers(sqlite: DataSource) -> None:
    query = (
        "SELECT 1767268800000 + 60000 * n AS t, n AS good, n AS total FROM (SELECT 1 AS n UNION SELECT 2) "
        "WHERE t >= :since AND t < :until"
    )
    source = DataSource("x", "sql", {**sqlite.connection, "timestamp": "t", "timestampUnit": "ms"}, sqlite.folder)
    reading = read(ratio(source, _of(query), _of(query)), **ASKED)
    assert (counts(reading), reading.slices.start) == ([(1, 1), (2, 2)], NOON + 60)


def test_null_is_a_bad_row_and_told_of(source: DataSource) -> None:
    query = QUERY.replace("sum(good)", "nullif(sum(good), 22)")
    reading = read(ratio(source, _of(query), _of(query)), **ASKED)
    assert counts(reading)[1] is None
    assert [(row.line, row.why) for row in reading.quality.examples] == [(2, "column 'good' is empty")]


# --- it only reads -----------------------------------------------------------------------------------------------


def test_nothing_can_be_written(source: DataSource) -> None:
    for statement in ("DELETE FROM minutes", "INSERT INTO minutes (good) VALUES (1)", "  -- x\n drop table minutes"):
        with pytest.raises(UsageError, match="query must be a SELECT"):
            read(ratio(source, _of(statement), _of(statement)), **ASKED)
    sly = "WITH gone AS (DELETE FROM minutes RETURNING *) SELECT time, good, total FROM gone"
    with pytest.raises(SourceError, match="refuses the query"):
        read(ratio(source, _of(sly), _of(sly)), **ASKED)
    several = QUERY + "; DELETE FROM minutes"
    with pytest.raises(SourceError, match="refuses the query"):
        read(ratio(source, _of(several), _of(several)), **ASKED)
    assert counts(read(ratio(source, _of(QUERY), _of(QUERY)), **ASKED))[0] == (20, 24)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    source = data_source("sql", tmp_path, {"url": "sqlite:///gone.db"})
    with pytest.raises((SourceUnreachableError, NotFoundError), match=r"gone\.db"):
        read(ratio(source, _of(QUERY), _of(QUERY)), **ASKED)
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_takes_too_long_is_stopped(source: DataSource) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) "
        "SELECT count(*) AS total, count(*) AS good, '2026-01-01' AS time FROM n"
    )
    hasty = DataSource("x", "sql", {**source.connection, "timeout": "1s"}, source.folder)
    with pytest.raises(SourceUnreachableError, match="did not answer within 1 s") as late:
        read(ratio(hasty, _of(endless), _of(endless)), **ASKED)
    assert "timeout" in late.value.remedy


# --- what is wrong -----------------------------------------------------------------------------------------------


def test_a_mistyped_column_or_table_names_the_nearest(source: DataSource) -> None:
    with pytest.raises(SourceError, match="has no column 'god'") as column:
        read(ratio(source, {**_of(QUERY), "column": "god"}, _of(QUERY)), **ASKED)
    assert "did you mean 'good'?" in column.value.remedy
    with pytest.raises(SourceError, match="has no table 'minute'") as table:
        read(ratio(source, {"table": "minute"}, {"table": "minute"}), **ASKED)
    assert "did you mean 'minutes'?" in table.value.remedy


def test_the_words_of_the_database_are_told(source: DataSource) -> None:
    broken = "SELECT time, good, total FROM nowhere"
    with pytest.raises(SourceError, match=r"refuses the query .*nowhere"):
        read(ratio(source, _of(broken), _of(broken)), **ASKED)


def test_good_above_total_is_refused(source: DataSource) -> None:
    query = QUERY.replace("sum(good)", "sum(total) + 1")
    with pytest.raises(DataError, match="good is 25 of 24"):
        read(ratio(source, _of(query), _of(query)), **ASKED)


@pytest.mark.parametrize(
    ("connection", "why"),
    [
        ({}, "url is missing"),
        ({"url": "postgresql://h/d", "urlFrom": {"env": "SHOP_URL"}}, "url and urlFrom exclude each other"),
        ({"url": "://"}, "the address of the database can't be read"),
        ({"url": "sqlite://"}, "url names no file"),
        ({"urlFrom": {"env": "NOT_SET_ANYWHERE"}}, "the environment variable NOT_SET_ANYWHERE, which is not set"),
        ({"url": "postgresql://h/d", "passwordFrom": "secret"}, "passwordFrom must name an environment variable"),
        ({"url": "mysql://h/d"}, "there is no driver for mysql databases"),
        ({"url": "nonsense://h/d"}, "there is no driver for nonsense databases"),
        ({"url": "sqlite:///x.db", "path": "x"}, "unknown setting 'path'"),
    ],
)
def test_wrong_settings_are_refused(connection: dict[str, Any], why: str) -> None:
    source = data_source("sql", ".", connection)
    with pytest.raises(UsageError, match=why):
        read(ratio(source, _of(QUERY), _of(QUERY)), **ASKED)


def test_a_metric_is_a_query_or_a_table(sqlite: DataSource) -> None:
    for spec, why in (({}, "query is missing"), ({"query": QUERY, "table": "x"}, "exclude each other")):
        with pytest.raises(UsageError, match=why):
            read(ratio(sqlite, spec, spec), **ASKED)


def test_no_message_shows_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sesame-42"
    monkeypatch.setenv("SHOP_PASSWORD", secret)
    monkeypatch.setenv("SHOP_URL", f"postgresql://reader:{secret}@127.0.0.1:{free_port()}/shop")
    for connection in (
        {"urlFrom": {"env": "SHOP_URL"}},
        {"url": f"postgresql://reader@127.0.0.1:{free_port()}/shop", "passwordFrom": {"env": "SHOP_PASSWORD"}},
    ):
        source = data_source("sql", ".", {**connection, "timeout": "2s"})
        with pytest.raises(SourceUnreachableError, match="can't be reached") as refused:
            read(ratio(source, _of(QUERY), _of(QUERY)), **ASKED)
        assert secret not in refused.value.message + refused.value.remedy
        assert "127.0.0.1" in refused.value.message


@pytest.mark.live
def test_a_password_comes_from_the_environment(postgres: DataSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "any: the server trusts everybody here")
    source = DataSource("x", "sql", {**postgres.connection, "passwordFrom": {"env": "SHOP_PASSWORD"}}, ".")
    assert counts(read(ratio(source, _of(QUERY), _of(QUERY)), **ASKED))[0] == (20, 24)
