"""The door to the hours: what slices that were let go of added up to."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, Table, delete, func, select

from tightrope.base.values import dataclass
from tightrope.sli.hours import Hours, added, no_hours
from tightrope.state.database import Database
from tightrope.state.tables import TABLES
from tightrope.telemetry.rollup.blocks import pack, per_block, unpack

_HOURS = Table(
    "slice_hours",
    TABLES,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("hour_s", Integer, nullable=False),
    Column("rows", LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """How much is kept of the past by the hour: records, hours, bytes, and from when to when."""

    records: int
    hours: int
    size: int
    start: int | None
    end: int | None


class HourStore:
    """The hours of one store. Any number of threads and processes may read and write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fold_in(self, connection: Connection, series: int, hours: Hours) -> None:
        """Add hours to what is kept of a record, in the transaction in which their slices go."""
        per = per_block(hours.step_s)
        first, last = hours.start // hours.step_s, hours.end // hours.step_s
        for block in range(first // per, -(-last // per)) if len(hours) else ():
            part = hours.from_hour(block * per - first, (block + 1) * per - first)
            here = (_HOURS.c.series == series) & (_HOURS.c.block == block)
            row = connection.execute(select(_HOURS.c.first, _HOURS.c.hour_s, _HOURS.c.rows).where(here)).first()
            if row is not None:
                part = added(unpack(row.first * row.hour_s, row.hour_s, hours.scale, row.rows), part)
                connection.execute(delete(_HOURS).where(here))
            connection.execute(
                _HOURS.insert().values(
                    series=series,
                    block=block,
                    first=part.start // part.step_s,
                    count=len(part),
                    hour_s=part.step_s,
                    rows=pack(part),
                )
            )

    def read(self, series: int, step_s: int, scale: int) -> Hours:
        """The hours of a record, of slices of that length and scale; none where there are none."""
        columns = (_HOURS.c.first, _HOURS.c.hour_s, _HOURS.c.rows)
        found = no_hours(step_s, scale)
        with self._database.reading() as connection:
            for row in connection.execute(select(*columns).where(_HOURS.c.series == series).order_by(_HOURS.c.block)):
                found = added(found, unpack(row.first * row.hour_s, row.hour_s, scale, row.rows))
        return found

    def kept(self) -> Kept:
        """How much there is."""
        first = func.min(_HOURS.c.first * _HOURS.c.hour_s)
        last = func.max((_HOURS.c.first + _HOURS.c.count) * _HOURS.c.hour_s)
        records = func.count(_HOURS.c.series.distinct())
        query = select(records, func.sum(_HOURS.c.count), func.sum(func.length(_HOURS.c.rows)), first, last)
        with self._database.reading() as connection:
            row = connection.execute(query).one()
        return Kept(int(row[0]), int(row[1] or 0), int(row[2] or 0), row[3], row[4])

    def prune(self, before: int) -> int:
        """Let go of whole blocks of hours that end by *before*, UTC epoch seconds; returns how many blocks went."""
        with self._database.writing() as connection:
            over = (_HOURS.c.first + _HOURS.c.count) * _HOURS.c.hour_s <= before
            return int(connection.execute(delete(_HOURS).where(over)).rowcount)
