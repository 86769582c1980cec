"""CSV files, plain or gzipped: read by the column with NumPy until a cell is quoted, then row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.sli.slices import Counts
from tightrope.specs.model import DataSource
from tightrope.telemetry.cells import Bytes, Cells, Words
from tightrope.telemetry.options import Options, did_you_mean
from tightrope.telemetry.order import Labels
from tightrope.telemetry.questions import Answer, Ask, Horizon, Tell
from tightrope.telemetry.sources.files import NO_ROWS, Pieces, blocks, find
from tightrope.telemetry.stamps import StampColumn, read_stamp, stamp_layout
from tightrope.telemetry.tables import ORDERS, compiled, label_of
from tightrope.telemetry.tally import Batch, columns_of, tally_rows

_DELIMITERS = (",", ";", "\t", "|")
_NEWLINE, _RETURN = ord("\n"), ord("\r")
_ROWS = 20_000  # rows of a batch where cells are quoted
_WIDEST = 1 << 24  # bytes that a column of one batch may take as an array


class CsvFiles:
    """``connectionDetails``: path, timestamp; resolution, delimiter, rows, order, timestampFormat, timestampUnit.

    ``rows`` are ``samples`` (a slice without a row is a gap) or ``events`` (it had no traffic). Their ``order`` is that
    of ``time`` (time that runs backwards is an error) or ``any``.
    """

    asks_the_present = False

    def __init__(self, source: DataSource) -> None:
        self._options = options = Options(
            source.connection, f"{source.place}: data source {source.name!r}: connectionDetails"
        )
        self._folder = source.folder
        self._timestamp = options.text("timestamp")
        self._layout = stamp_layout(options)
        self._resolution_s = options.seconds("resolution")
        self._delimiter = options.text("delimiter", "")
        if self._delimiter == "\\t":
            self._delimiter = "\t"
        if len(self._delimiter) > 1:
            raise options.wrong(
                f"delimiter {self._delimiter!r} is not one character", r'write one, such as ";" or "\t"'
            )
        self._events = options.choice("rows", ("samples", "events"), "samples") == "events"
        self._ordered = options.choice("order", ORDERS, ORDERS[0]) == ORDERS[0]
        options.given("path")
        options.done()

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        """Answer all asks in one pass over the files."""
        row_asks = [compiled(ask, self._resolution_s, self._events) for ask in asks]
        files = find(self._options, self._folder, (".csv", ".tsv"))
        return tally_rows(self._batches(files, columns_of(row_asks), tell), row_asks, horizon.until)

    def _batches(self, files: Sequence[Path], columns: Sequence[str], tell: Tell) -> Iterator[Batch]:
        stamps = StampColumn(self._layout)
        rows = 0
        for path in files:
            file = _File(path, tell, self._timestamp, columns, self._delimiter, stamps, ordered=self._ordered)
            for batch in file.batches():
                rows += len(batch) + len(batch.bad)
                yield batch
        if not rows:
            names = ", ".join(str(path) for path in files[:3])
            raise DataError(f"{names} has no rows", remedy=NO_ROWS)


class _File:
    """One file: the header first, then batches of rows."""

    def __init__(
        self,
        path: Path,
        tell: Tell,
        timestamp: str,
        columns: Sequence[str],
        delimiter: str,
        stamps: StampColumn,
        *,
        ordered: bool,
    ) -> None:
        self._path = path
        self._name = path.name
        self._pieces = Pieces(path, tell)
        self._timestamp = timestamp
        self._columns = columns
        self._delimiter = delimiter
        self._stamps = stamps
        self._ordered = ordered

    def batches(self) -> Iterator[Batch]:
        source = blocks(self._pieces)
        line = 1
        block = b""
        for block in source:
            stripped = block.lstrip(b"\r\n")
            line += block.count(b"\n") - stripped.count(b"\n")
            block = stripped
            if block:
                break
        if not block:
            return
        header, lines, block = self._header(block)
        line += lines
        places = {name: self._place(header, name) for name in dict.fromkeys([self._timestamp, *self._columns])}
        while True:
            if b'"' in block:
                yield from self._quoted(_chain(block, source), line, places, len(header))
                return
            if block:
                yield self._plain(block, line, places, len(header))
                line += block.count(b"\n")
            following = next(source, None)
            if following is None:
                return
            block = following

    def _header(self, block: bytes) -> tuple[list[str], int, bytes]:
        choices = [self._delimiter] if self._delimiter else list(_DELIMITERS)
        rows = []
        for delimiter in choices:
            reader = csv.reader(_texts(block), delimiter=delimiter)
            names = [name.strip() for name in next(reader)]
            rows.append((delimiter, names, reader.line_num))
        self._delimiter, names, lines = next((row for row in rows if self._timestamp in row[1]), rows[0])
        end = 0
        for _ in range(lines):
            end = block.index(b"\n", end) + 1
        return names, lines, block[end:]

    def _place(self, header: list[str], name: str) -> int:
        count = header.count(name)
        if count == 1:
            return header.index(name)
        if count:
            raise DataError(f"{self._path} has {count} columns called {name!r}", remedy="rename all but one")
        if any(not isinstance(read_stamp(cell), str) for cell in header):
            remedy = "its first line must be a header that names the columns"
        elif "\ufffd" in "".join(header):
            remedy = "it is not UTF-8: save it as UTF-8"
        else:
            remedy = did_you_mean(name, header, "it has")
        raise DataError(f"{self._path} has no column {name!r}", remedy=remedy)

    def _plain(self, block: bytes, line: int, places: Mapping[str, int], width: int) -> Batch:
        """Cut a block without quotes into cells, all rows at once."""
        characters = np.frombuffer(block, np.uint8)
        marks = np.flatnonzero((characters == _NEWLINE) | (characters == ord(self._delimiter)))
        row_ends = np.flatnonzero(characters[marks] == _NEWLINE)
        cells = np.diff(row_ends, prepend=-1)
        starts = np.append(0, marks[row_ends[:-1]] + 1)
        ends = marks[row_ends]
        ends = ends - ((ends > starts) & (characters[ends - 1] == _RETURN))
        blank = ends == starts
        fits = (cells == width) & ~blank
        numbers = np.arange(line, line + len(cells))
        bad = [(int(numbers[row]), _ragged(int(cells[row]), width)) for row in np.flatnonzero(~fits & ~blank).tolist()]
        firsts = row_ends[fits] - width + 1  # the mark behind each row's first cell

        def column(place: int) -> Cells:
            begin = starts[fits] if place == 0 else marks[firsts + place - 1] + 1
            end = ends[fits] if place == width - 1 else marks[firsts + place]
            return _cut(block, characters, begin, end)

        def labels(number: int) -> list[str]:
            row = number - line
            text = block[int(starts[row]) : int(ends[row])].decode("utf-8", "replace")
            return _labels(text.split(self._delimiter), places[self._timestamp])

        return self._batch({name: column(place) for name, place in places.items()}, numbers[fits], bad, labels)

    def _quoted(self, source: Iterator[bytes], line: int, places: Mapping[str, int], width: int) -> Iterator[Batch]:
        """Read the rest of a file with the standard library's reader; a quoted cell may span lines and blocks."""
        texts = (text for block in source for text in _texts(block))
        reader = csv.reader(texts, delimiter=self._delimiter)
        rows = _numbered(reader, line)
        while some := list(islice(rows, _ROWS)):
            used = [(number, row) for number, row in some if isinstance(row, list) and len(row) == width]
            bad = [
                (number, row if isinstance(row, str) else _ragged(len(row), width))
                for number, row in some
                if isinstance(row, str) or len(row) != width
            ]
            columns = {name: Words([row[place] for _, row in used]) for name, place in places.items()}
            by_line = dict(used)

            def labels(number: int, rows: Mapping[int, list[str]] = by_line) -> list[str]:
                return _labels(rows[number], places[self._timestamp])

            yield self._batch(columns, np.array([number for number, _ in used], np.int64), bad, labels)

    def _batch(self, columns: Mapping[str, Cells], lines: Counts, bad: list[tuple[int, str]], labels: Labels) -> Batch:
        stamps = self._stamps.instants(columns[self._timestamp], self._name, lines)
        return Batch.timed(self._name, lines, stamps, columns, bad, labels if self._ordered else None)


def _labels(cells: Sequence[str], time: int) -> list[str]:
    """What a row says beside its time and its numbers."""
    return ["" if place == time else label_of(cell) for place, cell in enumerate(cells)]


def _numbered(reader: Iterator[list[str]], line: int) -> Iterator[tuple[int, list[str] | str]]:
    """Number the rows by the line they begin on; a row that the reader refuses is its reason."""
    while True:
        number = line + reader.line_num  # type: ignore[attr-defined]
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, f"is not CSV: {error}"
            continue
        if row:
            yield number, row


def _texts(block: bytes) -> Iterator[str]:
    # Not str.splitlines, which also cuts at form feeds and the like.
    start = 0
    while start < len(block):
        end = block.index(b"\n", start) + 1
        yield block[start:end].decode("utf-8", "replace")
        start = end


def _chain(block: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    yield block
    yield from source


def _cut(block: bytes, characters: npt.NDArray[np.uint8], begin: Counts, end: Counts) -> Cells:
    lengths = end - begin
    width = max(1, int(lengths.max(initial=0)))
    if len(begin) * width > _WIDEST:
        return Words([block[a:b].decode("utf-8", "replace") for a, b in zip(begin.tolist(), end.tolist(), strict=True)])
    across = np.arange(width)
    matrix = characters.take(begin[:, None] + across, mode="clip")
    matrix[across >= lengths[:, None]] = 0
    return Bytes(matrix.view(f"S{width}").reshape(len(begin)))


def _ragged(cells: int, width: int) -> str:
    return f"has {cells} cell{'s' * (cells != 1)}, the header has {width}"
