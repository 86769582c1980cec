"""Parquet files, also gzipped: typed columns, read a group of rows at a time. Needs the extra ``parquet`` (pyarrow)."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.base.errors import DataError, UsageError
from tightrope.sli.slices import Counts
from tightrope.specs.model import DataSource
from tightrope.telemetry.cells import Bad, Cells, Numbers, Words
from tightrope.telemetry.options import Options, did_you_mean
from tightrope.telemetry.questions import Answer, Ask, Horizon, Tell
from tightrope.telemetry.sources.files import NO_ROWS, find
from tightrope.telemetry.stamps import StampColumn, stamp_layout
from tightrope.telemetry.tables import ORDERS, compiled, label_of
from tightrope.telemetry.tally import Batch, columns_of, tally_rows

_ROWS = 1 << 16  # rows of a batch


class ParquetFiles:
    """``connectionDetails`` as for csv, without a delimiter. A row's "line" is its number in the file, from 1."""

    asks_the_present = False

    def __init__(self, source: DataSource) -> None:
        where = f"{source.place}: data source {source.name!r}: connectionDetails"
        self._options = options = Options(source.connection, where)
        self._folder = source.folder
        self._timestamp = options.text("timestamp")
        self._stamps = StampColumn(stamp_layout(options))
        self._resolution_s = options.seconds("resolution")
        self._events = options.choice("rows", ("samples", "events"), "samples") == "events"
        self._ordered = options.choice("order", ORDERS, ORDERS[0]) == ORDERS[0]
        options.given("path")
        options.done()

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        """Answer all asks in one pass over the files."""
        row_asks = [compiled(ask, self._resolution_s, self._events) for ask in asks]
        files = find(self._options, self._folder, (".parquet", ".pq"))
        return tally_rows(self._batches(files, columns_of(row_asks), tell), row_asks, horizon.until)

    def _batches(self, files: Sequence[Path], columns: Sequence[str], tell: Tell) -> Iterator[Batch]:
        rows = 0
        for path in files:
            for batch in self._of_file(path, columns, tell):
                rows += len(batch) + len(batch.bad)
                yield batch
        if not rows:
            raise DataError(f"{', '.join(map(str, files[:3]))} has no rows", remedy=NO_ROWS)

    def _of_file(self, path: Path, columns: Sequence[str], tell: Tell) -> Iterator[Batch]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise UsageError(
                "reading parquet needs pyarrow", remedy="install tightrope[parquet], or export csv"
            ) from None
        names = list(dict.fromkeys([self._timestamp, *columns]))
        with ExitStack() as stack:
            try:
                table = pq.ParquetFile(_unpacked(path, stack))
                missing = [name for name in names if name not in table.schema_arrow.names]
                if missing:
                    known = did_you_mean(missing[0], table.schema_arrow.names, "it has")
                    raise DataError(f"{path} has no column {missing[0]!r}", remedy=known)
                told = [one.name for one in table.schema_arrow if self._ordered and _tells_apart(one.type, pa)]
                told = [name for name in told if name != self._timestamp]
                line = 1
                for some in table.iter_batches(batch_size=_ROWS, columns=list(dict.fromkeys([*names, *told]))):
                    tell(path.name, line + some.num_rows - 1, table.metadata.num_rows)
                    arrays = {name: some.column(name) for name in names}
                    yield self._batch(path.name, line, arrays, [some.column(name) for name in told], pa)
                    line += some.num_rows
            except (pa.ArrowInvalid, pa.ArrowException, OSError, EOFError) as error:
                raise DataError(
                    f"{path} is not a parquet file that can be read: {str(error).splitlines()[0]}",
                    remedy="check path and type of the data source",
                ) from None

    def _batch(self, file: str, line: int, arrays: dict[str, Any], told: Sequence[Any], pa: Any) -> Batch:
        columns = {name: _cells(array, pa) for name, array in arrays.items()}
        stamps = arrays[self._timestamp]
        lines = np.arange(line, line + len(stamps))
        if pa.types.is_timestamp(stamps.type) or pa.types.is_date(stamps.type):
            read = _typed_instants(stamps, pa)
        else:
            read = self._stamps.instants(columns[self._timestamp], file, lines)

        def labels(number: int) -> list[str]:
            return [label_of(str(one[number - line].as_py() or "")) for one in told]

        return Batch.timed(file, lines, read, columns, [], labels if self._ordered else None)


def _unpacked(path: Path, stack: ExitStack) -> Any:
    with path.open("rb") as raw:
        if raw.read(2) != b"\x1f\x8b":
            return path
    # Parquet is read from its end, so a gzipped one goes to disk first, not to memory.
    whole = tempfile.TemporaryFile()  # noqa: SIM115  the stack closes it
    stack.enter_context(whole)
    with gzip.open(path) as packed:
        shutil.copyfileobj(packed, whole)
    whole.seek(0)
    return whole


def _tells_apart(kind: Any, pa: Any) -> bool:
    """Whether a column of this type may tell one series from another: texts and yes or no, no numbers and no times."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind))


def _cells(array: Any, pa: Any) -> Cells:
    empty = np.asarray(array.is_null().to_numpy(zero_copy_only=False), np.bool_)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return Numbers(array.fill_null(0).to_numpy(zero_copy_only=False), empty)
    return Words(["" if value is None else str(value) for value in array.to_pylist()])


def _typed_instants(array: Any, pa: Any) -> tuple[Counts, Bad]:
    empty = np.asarray(array.is_null().to_numpy(zero_copy_only=False), np.bool_)
    micros = array.cast(pa.timestamp("us", tz=getattr(array.type, "tz", None)), safe=False)
    instants = np.where(empty, 0, micros.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))
    return instants, {int(row): "has no time" for row in np.flatnonzero(empty)}
