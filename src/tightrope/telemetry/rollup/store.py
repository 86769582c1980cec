"""The door to the hours: what slices that were let go of added up to.

A record has one set of hours of its raw counts, and one for each way in which an objective counted its units then.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, Table, Text, delete, func, select

from tightrope.base.values import dataclass
from tightrope.sli.hours import Hours, added, hour_s, no_hours
from tightrope.state.database import Database
from tightrope.state.tables import TABLES
from tightrope.telemetry.rollup.blocks import pack, per_block, unpack

_HOURS = Table(
    "slice_hours",
    TABLES,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("units", Text, primary_key=True),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("hour_s", Integer, nullable=False),
    Column("rows", LargeBinary, nullable=False),
)

RAW = ""
"""The units of hours that hold the raw counts of a record."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How much is kept of the past by the hour: records, hours of raw counts, bytes, and from when to when."""

    records: int
    hours: int
    size: int
    start: int | None
    end: int | None


class HourStore:
    """The hours of one store. Any number of threads and processes may read and write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fold_in(self, connection: Connection, series: int, units: str, hours: Hours) -> None:
        """Add hours to what is kept of a record, in the transaction in which their slices go."""
        per = per_block(hours.step_s)
        first, last = hours.start // hours.step_s, hours.end // hours.step_s
        for block in range(first // per, -(-last // per)) if len(hours) else ():
            part = hours.from_hour(block * per - first, (block + 1) * per - first)
            here = (_HOURS.c.series == series) & (_HOURS.c.units == units) & (_HOURS.c.block == block)
            row = connection.execute(select(_HOURS.c.first, _HOURS.c.hour_s, _HOURS.c.rows).where(here)).first()
            if row is not None:
                part = added(unpack(row.first * row.hour_s, row.hour_s, hours.scale, row.rows), part)
                connection.execute(delete(_HOURS).where(here))
            connection.execute(
                _HOURS.insert().values(
                    series=series,
                    units=units,
                    block=block,
                    first=part.start // part.step_s,
                    count=len(part),
                    hour_s=part.step_s,
                    rows=pack(part),
                )
            )

    def read(self, series: int, units: str, step_s: int, scale: int) -> Hours:
        """The hours of a record in those units, of slices of that length and scale; none where there are none."""
        with self._database.reading() as connection:
            return self.read_in(connection, series, units, step_s, scale)

    def read_in(self, connection: Connection, series: int, units: str, step_s: int, scale: int) -> Hours:
        """As `read`, as of the connection's transaction."""
        mine = (_HOURS.c.series == series) & (_HOURS.c.units == units)
        query = select(_HOURS.c.first, _HOURS.c.hour_s, _HOURS.c.rows).where(mine).order_by(_HOURS.c.block)
        found = no_hours(step_s, scale)
        for row in connection.execute(query):
            if row.hour_s == hour_s(step_s):
                found = added(found, unpack(row.first * row.hour_s, row.hour_s, scale, row.rows))
        return found

    def spans(self) -> Mapping[int, tuple[int, int]]:
        """From when to when there are hours of each record that has any, UTC epoch seconds."""
        first = func.min(_HOURS.c.first * _HOURS.c.hour_s)
        last = func.max((_HOURS.c.first + _HOURS.c.count) * _HOURS.c.hour_s)
        query = select(_HOURS.c.series, first, last).where(_HOURS.c.units == RAW).group_by(_HOURS.c.series)
        with self._database.reading() as connection:
            return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}

    def kept(self) -> Kept:
        """How much there is."""
        sizes = select(func.coalesce(func.sum(func.length(_HOURS.c.rows)), 0))
        counts = select(func.coalesce(func.sum(_HOURS.c.count), 0)).where(_HOURS.c.units == RAW)
        with self._database.reading() as connection:
            size = int(connection.execute(sizes).scalar() or 0)
            count = int(connection.execute(counts).scalar() or 0)
        spans = self.spans()
        return Kept(
            len(spans),
            count,
            size,
            min((one[0] for one in spans.values()), default=None),
            max((one[1] for one in spans.values()), default=None),
        )

    def prune(self, before: int) -> int:
        """Let go of whole blocks of hours that end by *before*, UTC epoch seconds; returns how many blocks went."""
        with self._database.writing() as connection:
            over = (_HOURS.c.first + _HOURS.c.count) * _HOURS.c.hour_s <= before
            return int(connection.execute(delete(_HOURS).where(over)).rowcount)
