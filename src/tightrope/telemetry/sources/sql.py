"""SQL databases: rows of a query or table, read only, in one stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, exc, inspect, make_url, text

from tightrope.base.errors import SourceError, SourceUnreachableError, UsageError
from tightrope.base.settings import environment
from tightrope.base.values import dataclass, field
from tightrope.specs.model import DataSource
from tightrope.telemetry.cells import Cells, Words
from tightrope.telemetry.options import Options, did_you_mean
from tightrope.telemetry.questions import Answer, Ask, Horizon, Question, Role, Tell
from tightrope.telemetry.stamps import EPOCH_UNITS, StampColumn, stamp_layout
from tightrope.telemetry.tables import where_tests
from tightrope.telemetry.tally import GRAIN_S, Batch, RowAsk, RowQuestion, Test, columns_of, tally_rows

CONNECTION_OPTIONS = (
    "url",
    "urlFrom",
    "passwordFrom",
    "timeout",
    "timestamp",
    "timestampUnit",
    "timestampFormat",
    "resolution",
    "rows",
)
"""``connectionDetails`` of a database."""

METRIC_OPTIONS = ("query", "table", "column", "where", "series")
"""``spec`` of a metric."""

_ROWS = 10_000  # rows of a batch
_TIMEOUT_S = 30
_QUERY = "\0query"  # the column that tells which query a row is of
_READS = re.compile(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:select|with|values|table)\b", re.IGNORECASE | re.DOTALL)
_UNITS = {**{unit: 1_000_000 // size for unit, size in EPOCH_UNITS.items()}, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class _Query:
    """What is asked of the database once: a statement, or a table of which the columns are asked."""

    statement: str = ""
    table: str = ""

    @property
    def says(self) -> str:
        return self.statement or f"table {self.table}"


@dataclass(slots=True)
class _Connection:
    """Where the database is, and what no message may show."""

    url: URL
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def shown(self) -> str:
        return self.url.set(username=None, password=None, query={}).render_as_string(hide_password=True)

    def told(self, error: Exception) -> str:
        """What the driver says, on one line and without secrets."""
        words = " ".join(str(getattr(error, "orig", None) or error).split())
        for secret in self.secrets:
            words = words.replace(secret, "***")
        return words[:300]


class SqlDatabase:
    """``connectionDetails``: url or urlFrom, passwordFrom, timeout, timestamp, timestampUnit, resolution, rows.

    A metric is a ``query``, in which ``:since`` and ``:until`` stand for the times that are wanted, or a ``table``;
    ``column`` holds the count, ratio or value, and is called like the part of the indicator where nothing is said.
    """

    asks_the_present = True

    def __init__(self, source: DataSource) -> None:
        where = f"{source.place}: data source {source.name!r}: connectionDetails"
        options = Options(source.connection, where)
        self._name = source.name
        self._connection = _connection(options, source.folder)
        self._timeout_s = options.seconds("timeout") or _TIMEOUT_S
        self._timestamp = options.text("timestamp", "time")
        self._layout = stamp_layout(options)
        self._resolution_s = options.seconds("resolution")
        self._events = options.choice("rows", ("samples", "events"), "samples") == "events"
        options.done()

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        """Answer all asks; equal queries are sent once."""
        assert horizon.since is not None
        assert horizon.until is not None
        queries: dict[_Query, None] = {}
        row_asks = []
        for ask in asks:
            resolution_s = ask.step_s or self._resolution_s
            questions = tuple(self._question(question, queries) for question in ask.questions)
            row_asks.append(RowAsk(questions, resolution_s or GRAIN_S, resolution_s, events=self._events))
        wanted = [name for name in columns_of(row_asks) if name != _QUERY]
        needed = {query: self._needed(query, row_asks) for query in queries}
        with self._opened() as connection:
            batches = self._batches(connection, needed, wanted, (horizon.since, horizon.until), tell)
            return tally_rows(batches, row_asks, horizon.until)

    def _question(self, question: Question, queries: dict[_Query, None]) -> RowQuestion:
        options = Options(question.spec, f"{question.place}: metric ({question.role})")
        query = _Query(options.text("query", "").strip().rstrip(";"), options.text("table", ""))
        if bool(query.statement) == bool(query.table):
            both = "query and table exclude each other" if query.table else "query is missing"
            raise options.wrong(both, "give one: a SELECT with :since and :until, or the name of a table")
        if query.statement and not _READS.match(query.statement):
            raise options.wrong("query must be a SELECT", "what is asked is only ever read")
        queries[query] = None
        tests, series = where_tests(options.mapping("where"))
        default = "value" if question.role in {Role.RAW, Role.VALUE} else str(question.role)
        column = options.text("column", default)
        series += options.texts("series")
        options.done()
        return RowQuestion(
            question.role,
            (Test(_QUERY, query.says, query.says.__eq__, named=False), *tests),
            column=column,
            series=series if question.counter else (),
            counter=question.counter,
            scale=question.scale,
            op=question.op,
            bound=question.bound,
        )

    def _needed(self, query: _Query, asks: Sequence[RowAsk]) -> list[str]:
        """List the columns that a query must have: those that the questions to it read."""
        own = [question for ask in asks for question in ask.questions if question.tests[0].says == query.says]
        names = [name for name in columns_of([RowAsk(tuple(own), GRAIN_S)]) if name != _QUERY]
        return list(dict.fromkeys([self._timestamp, *names]))

    def _batches(
        self,
        connection: Connection,
        needed: Mapping[_Query, list[str]],
        wanted: Sequence[str],
        times: tuple[int, int],
        tell: Tell,
    ) -> Iterator[Batch]:
        stamps = StampColumn(self._layout)
        for done, (query, names) in enumerate(needed.items(), start=1):
            line = 1
            for rows, places in self._rows(connection, query, names, times):
                lines = np.arange(line, line + len(rows))
                line += len(rows)
                columns: dict[str, Cells] = {_QUERY: Words([query.says] * len(rows))}
                for name in wanted:
                    place = places.get(name)
                    cells = [""] * len(rows) if place is None else [_text(row[place]) for row in rows]
                    columns[name] = Words(cells)
                read = stamps.instants(Words([_text(row[places[self._timestamp]]) for row in rows]), self._name, lines)
                yield Batch.timed(f"{self._name} {query.says[:80]}", lines, read, columns, ())
            tell(self._name, done, len(needed))

    def _rows(
        self, connection: Connection, query: _Query, names: Sequence[str], times: tuple[int, int]
    ) -> Iterator[tuple[Sequence[Any], dict[str, int]]]:
        """Hand out the rows in batches, with the place of each column in them."""
        statement = query.statement or self._of_table(connection, query.table, names)
        bound = {
            name: self._bound(connection, at)
            for name, at in zip(("since", "until"), times, strict=True)
            if re.search(rf"(?<!:):{name}\b", statement)
        }
        with self._told(f"the query {statement[:120]!r}"), _interrupted(connection, self._timeout_s) as late:
            try:
                with connection.execution_options(yield_per=_ROWS).execute(text(statement), bound) as result:
                    places = {name: place for place, name in enumerate(result.keys())}
                    for name in names:
                        if name not in places:
                            raise SourceError(
                                f"the query {statement[:120]!r} of data source {self._name!r} has no column {name!r}",
                                remedy=did_you_mean(name, list(places), "it has"),
                            )
                    for rows in result.partitions():
                        yield rows, places
            except exc.OperationalError:
                if late():
                    raise SourceUnreachableError(
                        f"{self._connection.shown} did not answer within {self._timeout_s} s",
                        remedy="make the query cheaper, or raise timeout in connectionDetails",
                    ) from None
                raise

    def _of_table(self, connection: Connection, table: str, names: Sequence[str]) -> str:
        """Write the query for columns of a table, names quoted as the database wants them."""
        with self._told(f"a look at the table {table}"):
            schema, _, name = table.rpartition(".")
            found = inspect(connection)
            if not found.has_table(name, schema or None):
                near = did_you_mean(name, sorted(found.get_table_names(schema or None)), "it has")
                raise SourceError(f"data source {self._name!r} has no table {table!r}", remedy=near)
        quote = connection.dialect.identifier_preparer.quote
        whole = ".".join(quote(part) for part in table.split("."))
        columns = ", ".join(quote(one) for one in names)
        time = quote(self._timestamp)
        return f"SELECT {columns} FROM {whole} WHERE {time} >= :since AND {time} < :until ORDER BY {time}"  # noqa: S608  quoted

    def _bound(self, connection: Connection, at: int) -> Any:
        if self._layout in _UNITS:
            return at * _UNITS[self._layout]
        moment = datetime.fromtimestamp(at, UTC)
        # SQLite has no times, only texts: without a fraction, since its end is then before those with one.
        return moment.strftime("%Y-%m-%d %H:%M:%S") if connection.dialect.name == "sqlite" else moment

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        engine = _engine(self._connection, self._timeout_s)
        try:
            with self._told("a connection", connecting=True):
                connection = engine.connect()
            try:
                yield connection
            finally:
                connection.rollback()
                connection.close()
        finally:
            engine.dispose()

    @contextmanager
    def _told(self, what: str, *, connecting: bool = False) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except exc.SQLAlchemyError as error:
            says = self._connection.told(error)
            if "statement timeout" in says or "canceling statement" in says:
                raise SourceUnreachableError(
                    f"{self._connection.shown} did not answer within {self._timeout_s} s",
                    remedy="make the query cheaper, or raise timeout in connectionDetails",
                ) from None
            if connecting or getattr(error, "connection_invalidated", False):
                raise SourceUnreachableError(
                    f"{self._connection.shown} can't be reached: {says}",
                    remedy="check url, and that the database is up and lets this user in",
                ) from None
            raise SourceError(
                f"{self._connection.shown} refuses {what}: {says}", remedy="mend the query of the metric"
            ) from None


def _connection(options: Options, folder: str) -> _Connection:
    """Read where the database is; a secret may come from the environment, and no message shows one."""
    written = options.given("url")
    if (written is None) == (options.given("urlFrom") is None):
        both = "url is missing" if written is None else "url and urlFrom exclude each other"
        raise options.wrong(both, "write url: postgresql://reader@host/database, or urlFrom: {env: NAME}")
    named = _from_environment(options, "urlFrom")
    password = _from_environment(options, "passwordFrom")
    try:
        url = make_url(named or str(written))
    except (exc.ArgumentError, ValueError):
        raise options.wrong(
            "the address of the database can't be read", "write one such as postgresql://reader@host/database"
        ) from None
    secrets = tuple(secret for secret in (password, url.password) if secret)
    if password:
        url = url.set(password=password)
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        if not url.database:
            raise options.wrong("url names no file", "write sqlite:///shop.db, relative to the spec file")
        path = Path(folder) / url.database
        url = URL.create("sqlite+pysqlite", database=f"file:{path}", query={"mode": "ro", "uri": "true"})
    return _Connection(url, secrets)


def _from_environment(options: Options, key: str) -> str:
    value = options.given(key)
    if value is None:
        return ""
    if not isinstance(value, Mapping) or set(value) != {"env"}:
        raise options.wrong(f"{key} must name an environment variable", f"write {key}: {{env: NAME}}")
    found = environment(str(value["env"]))
    if not found:
        raise options.wrong(
            f"{key} wants the environment variable {value['env']}, which is not set", f"export {value['env']}=…"
        )
    return found


def _engine(connection: _Connection, timeout_s: int) -> Engine:
    """Make an engine whose connections can't write."""
    kind = connection.url.get_backend_name()
    arguments: dict[str, Any] = {}
    if kind == "postgresql":
        settings = f"-c default_transaction_read_only=on -c statement_timeout={timeout_s * 1000} -c timezone=UTC"
        arguments = {"connect_timeout": max(2, timeout_s), "options": settings}
    elif kind == "sqlite":
        arguments = {"timeout": timeout_s, "check_same_thread": False}
    try:
        engine = create_engine(connection.url, connect_args=arguments, poolclass=NullPool)
    except (ImportError, exc.NoSuchModuleError) as error:
        remedy = "pip install 'tightrope[postgresql]'" if kind == "postgresql" else "install a driver for SQLAlchemy"
        raise UsageError(f"there is no driver for {kind} databases: {error}", remedy=remedy) from None
    if kind == "sqlite":

        @event.listens_for(engine, "connect")
        def _only_reads(raw: Any, _: object) -> None:
            raw.execute("PRAGMA query_only = ON")

    return engine


@contextmanager
def _interrupted(connection: Connection, timeout_s: int) -> Iterator[Callable[[], bool]]:
    """Stop a statement of SQLite that takes too long, which has no time limit of its own; tells whether it was."""
    if connection.dialect.name != "sqlite":
        yield lambda: False
        return
    stopped: list[bool] = []

    def stop() -> None:
        stopped.append(True)
        driver: Any = connection.connection.driver_connection
        driver.interrupt()

    timer = Timer(timeout_s, stop)
    timer.daemon = True
    timer.start()
    try:
        yield lambda: bool(stopped)
    finally:
        timer.cancel()


def _text(value: Any) -> str:
    """Write a value of a database as the cells of other sources are written; NULL is empty."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    return str(value)
