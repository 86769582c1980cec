"""From samples that are sent to us to slices: counters differenced series by series, sums per slice, no matter how
often, how late or in what order deliveries come.

What is kept is the newest sample of each series, and the sums of the last hours. So a delivery that comes twice changes
nothing, and whoever restores a snapshot and takes again what came after it has the same sums.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.base.values import dataclass
from tightrope.sli.slices import MILLIONTH, Counts, Mask
from tightrope.specs.model import Comparison
from tightrope.telemetry.cells import LARGEST_COUNT, Numbers, exact, exact_count
from tightrope.telemetry.pieces import read, written
from tightrope.telemetry.plan import Request
from tightrope.telemetry.questions import Role
from tightrope.telemetry.received import Measure, Meter, Track, track
from tightrope.telemetry.samples import STALE_BITS, Book, Delivery, PushedSlice, Samples, Values, labels_of
from tightrope.telemetry.selectors import NAME, Selectors
from tightrope.telemetry.stamps import END_MICROS

ORIGINAL_NAME = "__otel_name__"
"""The label that holds the name a metric has at OpenTelemetry, before it was translated for Prometheus."""

AHEAD_S = 600
"""A sample that is further ahead of the time of its receipt is not believed."""

AGO_S = 3 * 366 * 86400
"""A sample that is older than this when it is received is not believed: clocks that lost their power say 1970."""

LOOKBACK_S = 7200
"""For how long sums are kept, so that a series may lag behind the others."""

QUIET_S = 300
"""A series without a sample for so long is not waited for."""

FORGOTTEN_S = 2 * 86400
"""A series without a sample for so long is forgotten when room is needed."""

_MS = 1000
_END_MS = END_MICROS // _MS
_SHORTEST, _LONGEST = 16, 720  # slices whose sums are kept
_UNSEEN, _UNWANTED = -2, -1
_OPS = (Comparison.LT, Comparison.LTE, Comparison.GT, Comparison.GTE)
_HOLDS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]], np.bool_)  # by operator, and by sign + 1
_ROOM = 1024
_NO_SUMS = [*(np.zeros(0, np.int64) for _ in range(4)), *(np.zeros(0, np.bool_) for _ in range(2))]
_FORMAT = 1


@dataclass(slots=True)
class Account:
    """What became of the samples, counted since the beginning.

    Attributes:
        taken: Samples of series that somebody wants, used.
        unwanted: Samples of series that no metric selects.
        repeated: Samples of a time that their series had already: deliveries that came twice.
        late: Samples older than the newest of their series.
        too_late: Increases for slices whose sums are no longer kept.
        ahead: Samples from too far in the future, or from so long ago that it must be a clock that is wrong.
        unusable: Samples whose value can't be: negative or fractional counts, NaN, infinity. Their slices are gaps.
        ended: Marks that a series has ended.
        resets: Counters that began again.
        first: First values of counters, which are not counted since nothing stands before them.
        impossible: Slices handed out as gaps because their good or bad was above total.
        slices: Slices that were made elsewhere, and taken.
        unclaimed: Slices that were made elsewhere for a series that no metric names.
    """

    taken: int = 0
    unwanted: int = 0
    repeated: int = 0
    late: int = 0
    too_late: int = 0
    ahead: int = 0
    unusable: int = 0
    ended: int = 0
    resets: int = 0
    first: int = 0
    impossible: int = 0
    slices: int = 0
    unclaimed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Touched:
    """Whole slices, each to take the place of what was known of it; a slice may come twice, then the later counts.

    Attributes:
        tracks: The caller's number of the objective, int64 ``(n,)``.
        slots: Number of the slice: its start / its length, int64 ``(n,)``.
        bad, total: In the scale of the objective, int64 ``(n,)``.
        covered: Whether the slice was measured; False makes it a gap.
    """

    tracks: Counts
    slots: Counts
    bad: Counts
    total: Counts
    covered: Mask

    def __len__(self) -> int:
        return len(self.tracks)


class Counting:
    """All that is wanted of one type of received sources. Not for several threads at once.

    Args:
        kind: The type of the data sources.
        wanted: The objectives, each with the number that its slices are handed out by.
        compiled: Count what is of the usual kind with compiled code, which needs numba. It finds the same.

    Raises:
        UsageError: A metric's spec is wrong.
    """

    def __init__(self, kind: str, wanted: Sequence[tuple[int, Request]], *, compiled: bool = False) -> None:
        self.kind = kind
        self.account = Account()
        self._kernel: Any = _kernel() if compiled else None
        tracks = [track(kind, number, request) for number, request in wanted]
        self._numbers = [one.number for one in tracks]
        self._boards: dict[tuple[Measure, int, int], _Board] = {}
        self._meters: dict[str, tuple[_Board, int]] = {}
        self._selectors: Selectors[tuple[_Board, int]] = Selectors()
        self._pushed: dict[bytes, list[Track]] = {}
        for one in tracks:
            if one.pushed:
                self._pushed.setdefault(one.pushed, []).append(one)
            if one.base is not None:
                board, base = self._admit(one.base)
                part = None if one.part is None else self._admit(one.part)[1]
                board.add_track(one, base, part)
        for board in self._boards.values():
            board.prepare()
        self._stored: set[str] = set()  # names of the pieces that are stored as they are
        self._former: set[str] = set()  # names of pieces that are stored, and not wanted any more
        self._series = _Series()
        self._known: dict[bytes, int] = {}
        self._book: Book | None = None
        self._of_book = np.zeros(0, np.int64)
        self._pending: list[Touched] = []

    @property
    def series(self) -> int:
        """How many series are counted."""
        return len(self._known)

    def take(self, *deliveries: Delivery) -> None:
        """Count some deliveries, in their order. One that was taken before changes nothing but the account."""
        waiting: list[Delivery] = []
        for delivery in deliveries:
            if waiting and not _together(waiting[-1].samples, delivery.samples):
                self._take(waiting)
                waiting = []
            waiting.append(delivery)
        if waiting:
            self._take(waiting)

    def drain(self) -> Touched:
        """Hand out the present figures of every slice that changed since the last time."""
        parts = self._pending + [board.drained(self.account) for board in self._boards.values()]
        self._pending = []
        return _joined(parts)

    def complete(self) -> dict[int, int]:
        """Tell, by the objective's number, until when all its series have been heard.

        Returns:
            UTC epoch seconds, the end of the last slice that no series in use can change any more, unless it lags by
            more than `QUIET_S`. Objectives without a sample are missing.
        """
        numbers, until = self.heard()
        return dict(zip(numbers.tolist(), until.tolist(), strict=True))

    def heard(self) -> tuple[Counts, Counts]:
        """As `complete`, as arrays: the numbers of objectives, each once, and until when all of each was heard."""
        found = [board.complete(self._series) for board in self._boards.values()]
        nothing = np.zeros(0, np.int64)
        return (
            np.concatenate([nothing, *(numbers for numbers, _ in found)]),
            np.concatenate([nothing, *(until for _, until in found)]),
        )

    # --- taking ------------------------------------------------------------------------------------------------

    def _admit(self, meter: Meter) -> tuple[_Board, int]:
        known = self._meters.get(meter.identity)
        if known is None:
            board = self._boards.setdefault(
                (meter.measure, meter.scale, meter.step_s),
                _Board(meter.measure, meter.scale, meter.step_s, self._kernel),
            )
            known = self._meters[meter.identity] = (board, board.add_meter(meter))
            for selector in meter.selectors:
                self._selectors.add(selector, known)
        return known

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            for pushed in delivery.slices:
                self._take_slice(pushed, delivery.at)
        samples = [delivery.samples for delivery in deliveries]
        book = samples[0].book
        numbers, times, values = (
            _one([one.numbers for one in samples]),
            _one([one.times for one in samples]),
            _one([one.values for one in samples]),
        )
        begun = None if samples[0].begun is None else _one([one.begun for one in samples if one.begun is not None])
        increments = (
            None
            if samples[0].increments is None
            else _one([one.increments for one in samples if one.increments is not None])
        )
        done = 0
        if self._kernel is not None and begun is None and increments is None and len(numbers):
            received = [delivery.at for delivery in deliveries]
            done = self._take_usual(book, numbers, times, values, min(received), max(received))
        if done == len(numbers):
            return
        latest = _one(
            [
                np.full(len(one), (delivery.at + AHEAD_S) * _MS)
                for one, delivery in zip(samples, deliveries, strict=True)
            ]
        )[done:]
        rows = _Rows(self._resolved(book, numbers[done:]), times[done:], values[done:], begun, increments)
        wanted = rows.series >= 0
        credible = (rows.times > 0) & (rows.times <= latest) & (rows.times < _END_MS)
        credible &= rows.times >= latest - (AHEAD_S + AGO_S) * _MS
        self.account.unwanted += len(wanted) - int(wanted.sum())
        self.account.ahead += int((wanted & ~credible).sum())
        rows = rows.cut(wanted & credible)
        # Sums are kept for some hours: what spans more is counted piece by piece.
        for piece in rows.pieces(self._reach_ms):
            self._count(piece)

    @property
    def _reach_ms(self) -> int:
        """How far apart samples that are counted at once may be."""
        return min((board.reach_ms for board in self._boards.values()), default=_MS)

    def _take_usual(
        self, book: Book, numbers: Counts, times: Counts, values: Values, received_from: int, received_to: int
    ) -> int:
        """Count samples with compiled code as far as they are of the usual kind; tells how many that were."""
        if int(times.max()) - int(times.min()) >= self._reach_ms:
            return 0
        state, size = self._series, len(numbers)
        series, when = np.empty(size, np.int64), np.empty(size, np.int64)
        now, before = np.empty(size, np.float64), np.empty(size, np.float64)
        done, count = self._kernel.pick(
            numbers,
            times,
            values,
            self._followed(book),
            state.times,
            state.values,
            state.known,
            state.ended,
            max(1, (received_to - AGO_S) * _MS),
            min((received_from + AHEAD_S) * _MS, _END_MS - 1),
            series,
            when,
            now,
            before,
        )
        self.account.taken += count
        self.account.unwanted += done - count
        if count:
            rows = _Rows(series[:count], when[:count], now[:count], None, None)
            for board in self._boards.values():
                board.take_usual(rows, before[:count], self.account, self._pending)
        return int(done)

    def _count(self, rows: _Rows) -> None:
        state, account = self._series, self.account
        rows, starts = rows.by_series(state)
        before = state.times[rows.series]
        if starts is not None:
            before = np.where(starts, before, np.maximum(before, _shifted(_running(rows.times, starts))))
        fresh = rows.times > before
        account.repeated += int((rows.times == before).sum())
        account.late += int((rows.times < before).sum())
        if not fresh.all():
            rows, before = rows.cut(fresh), before[fresh]
        ended = rows.values.view(np.int64) == STALE_BITS
        state.times[rows.series] = rows.times
        state.ended[rows.series] = ended
        account.ended += int(ended.sum())
        if ended.any():
            rows, before = rows.cut(~ended), before[~ended]
        account.taken += len(rows)
        if len(rows):
            self._sum(rows, before)

    def _sum(self, rows: _Rows, before: Counts) -> None:
        state = self._series
        with np.errstate(invalid="ignore"):
            sound = np.isfinite(rows.values) & (rows.values >= 0)
        previous, known = state.values[rows.series], state.known[rows.series]
        repeats = np.zeros(len(rows), np.bool_)
        repeats[1:] = rows.series[1:] == rows.series[:-1]
        if repeats.any():
            previous, known = _chained(rows, sound, repeats, previous, known)
        state.values[rows.series[sound]] = rows.values[sound]
        state.known[rows.series[sound]] = True
        restarted = known & sound & (rows.values < previous)
        if rows.begun is not None:
            restarted |= known & sound & (rows.begun >= before) & (rows.begun > 0)
        self.account.resets += int(restarted.sum())
        if rows.increments is not None:
            restarted |= rows.increments
            known = known | rows.increments
        previous = np.where(restarted, 0.0, previous)
        for board in self._boards.values():
            board.take(rows, sound, previous, known, restarted, self.account, self._pending)

    def _followed(self, book: Book) -> Counts:
        """The series by the numbers of a book."""
        if book is not self._book:
            self._book, self._of_book = book, np.full(len(book) + _ROOM, _UNSEEN)
        elif len(book) > len(self._of_book):
            self._of_book = _grown(self._of_book, 2 * len(book), _UNSEEN)
        return self._of_book

    def _resolved(self, book: Book, numbers: Counts) -> Counts:
        """Tell the series of each sample; below 0: nobody wants it."""
        of_book = self._followed(book)
        series = of_book[numbers]
        unseen = series == _UNSEEN
        if unseen.any():
            for number in np.unique(numbers[unseen]).tolist():
                of_book[number] = self._greet(book.labels[number])
            series = of_book[numbers]
        return series

    def _greet(self, written: bytes) -> int:
        """Number a series that is seen first; below 0: nobody wants it."""
        known = self._known.get(written)
        if known is not None:
            return known
        labels = labels_of(written)
        found = set(self._selectors.find(labels))
        original = labels.get(ORIGINAL_NAME)
        if original:
            found |= set(self._selectors.find({**labels, NAME: original}))
        if not found:
            return _UNWANTED
        series = self._known[written] = self._series.admit()
        for board in self._boards.values():
            board.link(series, sorted(meter for owner, meter in found if owner is board))
        return series

    def _take_slice(self, pushed: PushedSlice, at: int) -> None:
        claimed = self._pushed.get(pushed.labels, ())
        if not claimed:
            self.account.unclaimed += 1
        if not at - AGO_S <= pushed.time <= at + AHEAD_S:
            self.account.ahead += 1
            return
        for one in claimed:
            figures = _figures(one, pushed)
            if figures is None:
                self.account.unusable += 1
                continue
            bad, total = figures
            self.account.slices += 1
            self._pending.append(
                Touched(
                    np.array([one.number]),
                    np.array([pushed.time // one.step_s]),
                    np.array([bad]),
                    np.array([total]),
                    np.array([True]),
                )
            )

    # --- remembering -------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Write down all that is needed to go on counting, what is not yet drained included."""
        count = self._series.count
        pending = _joined(self._pending)
        header: dict[str, Any] = {
            "format": _FORMAT,
            "kind": self.kind,
            "account": {one.name: getattr(self.account, one.name) for one in fields(Account)},
            "boards": [board.described() for board in self._boards.values()],
        }
        arrays: list[npt.NDArray[Any]] = [
            np.array([len(one) for one in self._known], np.int64),
            np.frombuffer(b"".join(self._known), np.uint8),
            *(array[:count] for array in self._series.arrays()),
            *(array for board in self._boards.values() for array in board.arrays()),
            *_arrays(pending),
        ]
        header["arrays"] = [[array.dtype.str, len(array)] for array in arrays]
        written = json.dumps(header).encode()
        raw = b"".join([len(written).to_bytes(8, "big"), written, *(array.tobytes() for array in arrays)])
        return zlib.compress(raw, 1)

    def restore(self, blob: bytes) -> None:
        """Go on where a snapshot was taken, perhaps for other objectives: what nobody wants any more is forgotten.

        Raises:
            DataError: It is no snapshot of this kind and version.
        """
        header, arrays = _unpacked(blob, self.kind)
        self._forget_all()
        self.account = Account(**header["account"])
        lengths, raw = next(arrays), next(arrays).tobytes()
        self._restore_series(lengths, raw, [next(arrays) for _ in self._series.arrays()])
        for identities in header["boards"]:
            self._restore_board(identities, [next(arrays) for _ in range(_Board.ARRAYS)])
        left = Touched(*(next(arrays) for _ in range(5)))
        known = np.isin(left.tracks, self._numbers)
        self._pending = [] if not known.any() else [_cut(left, known)]

    def pieces(self) -> dict[str, bytes]:
        """Write down what has changed since the last time, by name; all pieces together are as good as a snapshot.

        What changes seldom, and sums that have not changed, are pieces of their own, so that a fleet's sums are not
        written anew each time. An empty piece tells that one of that name is wanted no more.
        """
        count, pending = self._series.count, _joined(self._pending)
        account = {one.name: getattr(self.account, one.name) for one in fields(Account)}
        found = {
            "state": written(
                {"format": _FORMAT, "kind": self.kind, "account": account},
                [*(array[:count] for array in self._series.arrays()), *_arrays(pending)],
            )
        }
        lazily: dict[str, Callable[[], bytes]] = {f"series.{count}": self._written_series}
        for number, board in enumerate(self._boards.values()):
            lazily |= board.pieces(f"board.{number}")
            self._stored -= board.changed_pieces(f"board.{number}")
        gone = (self._former | {one for one in self._stored if one.startswith("series.")}) - lazily.keys()
        found |= {name: write() for name, write in lazily.items() if name not in self._stored}
        found |= dict.fromkeys(gone, b"")
        self._stored, self._former = set(lazily), set()
        return found

    def _written_series(self) -> bytes:
        lengths = np.array([len(one) for one in self._known], np.int64)
        return written(None, [lengths, np.frombuffer(b"".join(self._known), np.uint8)])

    def restore_pieces(self, pieces: Mapping[str, bytes]) -> None:
        """Go on where pieces were written, perhaps for other objectives; see `restore`.

        Raises:
            DataError: They are none of this kind and version.
        """
        head, state = read(pieces["state"]) if "state" in pieces else ({}, [])
        if (head.get("format"), head.get("kind")) != (_FORMAT, self.kind):
            raise _none_of_ours(self.kind)
        self._forget_all()
        self.account = Account(**head["account"])
        of_series, left = state[:4], Touched(*state[4:])
        for name, piece in pieces.items():
            if name.startswith("series."):
                _, (lengths, raw) = read(piece)
                self._restore_series(lengths, raw.tobytes(), of_series)
        number = 0
        while f"board.{number}" in pieces:
            name = f"board.{number}"
            identities, begun = read(pieces[name])
            rows = [read(piece)[1] for key, piece in sorted(pieces.items()) if key.startswith(f"{name}.")]
            sums = [np.concatenate([row[at] for row in rows]) for at in range(6)] if rows else _NO_SUMS
            self._restore_board(identities, [*begun, *sums])
            number += 1
        known = np.isin(left.tracks, self._numbers)
        self._pending = [] if not known.any() else [_cut(left, known)]
        same = [read(pieces[f"board.{at}"])[0] for at in range(number)] == [
            board.described() for board in self._boards.values()
        ]
        self._former = set(pieces) - {"state"}
        if same:
            self._stored, self._former = self._former, set()
            for board in self._boards.values():
                board.stored()
            if f"series.{self._series.count}" not in self._stored:
                self._former = {one for one in self._stored if one.startswith("series.")}
                self._stored -= self._former

    def _restore_series(self, lengths: npt.NDArray[Any], raw: bytes, state: Sequence[npt.NDArray[Any]]) -> None:
        begin = 0
        for number, length in enumerate(lengths.tolist()):
            series = self._greet(raw[begin : begin + length])
            begin += length
            if series >= 0:
                for array, one in zip(self._series.arrays(), state, strict=True):
                    array[series] = one[number]

    def _restore_board(self, identities: Sequence[str], parts: Sequence[npt.NDArray[Any]]) -> None:
        places = [self._meters.get(identity) for identity in identities]
        board = next((place[0] for place in places if place is not None), None)
        if board is not None:
            board.restore(np.array([-1 if place is None else place[1] for place in places]), parts)

    def _forget_all(self) -> None:
        self._series, self._known = _Series(), {}
        self._book, self._of_book, self._pending = None, np.zeros(0, np.int64), []
        self._stored, self._former = set(), set()
        for board in self._boards.values():
            board.prepare()

    def forget(self, now: int) -> int:
        """Forget the series that have been silent for `FORGOTTEN_S`; tells how many they were."""
        state = self._series
        silent = state.times[: state.count] < (now - FORGOTTEN_S) * _MS
        if not silent.any():
            return 0
        kept = [key for key, gone in zip(self._known, silent.tolist(), strict=True) if not gone]
        values = [array[: state.count][~silent] for array in state.arrays()]
        self._series, self._known = _Series(), {}
        self._book, self._of_book = None, np.zeros(0, np.int64)
        for board in self._boards.values():
            board.unlink()
        for key in kept:
            self._greet(key)
        for array, value in zip(self._series.arrays(), values, strict=True):
            array[: len(value)] = value
        self._former |= {one for one in self._stored if one.startswith("series.")}  # the numbers are others now
        self._stored -= self._former
        return int(silent.sum())


# --- sums per slice ------------------------------------------------------------------------------------------------


class _Board:
    """Meters of one measure, scale and step, and the objectives on them: sums of the last slices, in a ring each."""

    ARRAYS = 8

    def __init__(self, measure: Measure, scale: int, step_s: int, kernel: Any) -> None:
        self._kernel: Any = kernel if measure is Measure.COUNTER else None
        self._measure = measure
        self._scale = scale
        self._step_s = step_s
        self._depth = min(max(-(-LOOKBACK_S // step_s), _SHORTEST), _LONGEST)
        self.reach_ms = (self._depth - 1) * step_s * _MS
        self._meters: list[Meter] = []
        self._identities: list[str] = []
        self._tracks: list[tuple[Track, int, int]] = []  # with the meters of base and part, -1: none
        self.prepare()

    def add_meter(self, meter: Meter) -> int:
        self._meters.append(meter)
        return len(self._meters) - 1

    def add_track(self, one: Track, base: int, part: int | None) -> None:
        self._tracks.append((one, base, -1 if part is None else part))

    def prepare(self) -> None:
        """Make room for all meters, and begin with nothing."""
        cells = len(self._meters) * self._depth
        self._slots = np.full(cells, -1, np.int64)
        self._amounts = np.zeros(cells, np.int64)
        self._points = np.zeros(cells, np.int64)
        self._spoilt = np.zeros(cells, np.bool_)
        self._dirty = np.zeros(cells, np.bool_)
        self._touched = np.zeros(self._depth, np.bool_)  # rows of the ring in which something is dirty
        self._unstored = np.zeros(self._depth, np.bool_)  # rows that have changed since they were written down
        self._begun = np.zeros(len(self._meters), np.int64)
        self._begun_anew = True
        self._from_nothing = np.array([meter.from_nothing for meter in self._meters], np.bool_)
        bounds = [meter.bound or Fraction(0) for meter in self._meters]
        self._near = np.array([float(bound) for bound in bounds], np.float64)
        self._at_near = np.array([_sign(near, bound) for near, bound in zip(self._near, bounds, strict=True)], np.int64)
        self._op = np.array([_OPS.index(meter.op) if meter.op else 0 for meter in self._meters], np.int64)
        self._numbers = np.array([one.number for one, _, _ in self._tracks], np.int64)
        self._base = np.array([base for _, base, _ in self._tracks], np.int64)
        self._part = np.array([part for _, _, part in self._tracks], np.int64)
        self._is_bad = np.array([one.role is Role.BAD or one.failure for one, _, _ in self._tracks], np.bool_)
        owners = np.concatenate([self._base, self._part])
        order = np.argsort(owners, kind="stable")
        order = order[owners[order] >= 0]
        self._users = order % max(1, len(self._tracks))
        self._users_from = np.searchsorted(owners[order], np.arange(len(self._meters) + 1))
        self._used = np.zeros(len(self._tracks), np.bool_)
        self.unlink()

    def unlink(self) -> None:
        """Forget which series feed which meter."""
        self._link_from = np.zeros(_ROOM, np.int64)
        self._link_count = np.zeros(_ROOM, np.int64)
        self._linked_meters = np.zeros(_ROOM, np.int64)
        self._linked_series = np.zeros(_ROOM, np.int64)
        self._links = 0

    def link(self, series: int, meters: Sequence[int]) -> None:
        """Let a series feed some meters."""
        if series >= len(self._link_from):
            self._link_from = _grown(self._link_from, 2 * series)
            self._link_count = _grown(self._link_count, 2 * series)
        end = self._links + len(meters)
        if end > len(self._linked_meters):
            self._linked_meters = _grown(self._linked_meters, 2 * end)
            self._linked_series = _grown(self._linked_series, 2 * end)
        self._link_from[series], self._link_count[series] = self._links, len(meters)
        self._linked_meters[self._links : end] = meters
        self._linked_series[self._links : end] = series
        self._links = end

    # --- counting ----------------------------------------------------------------------------------------------

    def take(
        self,
        rows: _Rows,
        sound: Mask,
        previous: Values,
        known: Mask,
        restarted: Mask,
        account: Account,
        pending: list[Touched],
    ) -> None:
        """Add rows to the sums.

        Args:
            rows: At most one slice more than a ring apart.
            sound: Which values are finite and not negative.
            previous: The value before, 0 where there is none or the counter began again.
            known: Whether there is something before.
            restarted: Whether the counter began again.
            account: Hears of what can't be used.
            pending: Takes slices whose place in the ring is needed before they were drained.
        """
        counts = self._link_count[rows.series]
        total = int(counts.sum())
        if not total:
            return
        row = np.arange(len(rows))
        if total == len(rows) and int(counts.min()) == 1:
            meters = self._linked_meters[self._link_from[rows.series]]
        else:
            row = np.repeat(row, counts)
            within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
            meters = self._linked_meters[self._link_from[rows.series][row] + within]
        times = rows.times[row]
        if self._measure is Measure.VALUE:
            amounts, usable = self._compared(rows.values[row], meters)
            used = usable
        else:
            of_rows, usable_rows = self._counted(rows.values, sound)
            usable = usable_rows[row]
            if self._measure is Measure.COUNTER:
                used = usable & self._continued(rows, row, meters, times, known)
                account.first += _distinct(row[usable & ~used])
                before, fit = self._counted(np.where(known & ~restarted, previous, 0.0), np.ones(len(rows), np.bool_))
                of_rows = of_rows - before
                used &= fit[row]
            else:
                used = usable
            amounts = of_rows[row]
        spoilt = ~usable
        if spoilt.any():
            account.unusable += _distinct(row[spoilt])
        told = used | spoilt
        if not told.all():
            row, meters, times, amounts, used = row[told], meters[told], times[told], amounts[told], used[told]
        # A sample tells of the time before it: at the very end of a slice it belongs to that slice.
        slots = (times - 1) // (self._step_s * _MS)
        self._add(row, self._cells(meters, slots), slots, amounts, used, account, pending)

    def take_usual(self, rows: _Rows, previous: Values, account: Account, pending: list[Touched]) -> None:
        """Add rows of counters that go on from the value before; see `take`."""
        done = 0
        if self._kernel is not None:
            done = self._kernel.add(
                rows.series,
                rows.times,
                rows.values,
                previous,
                self._link_from,
                self._link_count,
                self._linked_meters,
                self._begun,
                self._slots,
                self._amounts,
                self._points,
                self._spoilt,
                self._dirty,
                self._touched,
                self._unstored,
                len(self._meters),
                self._step_s * _MS,
                self._scale,
                float(min(LARGEST_COUNT // self._scale, 2**53)),
            )
        if done < len(rows):
            rows, count = rows.cut(np.arange(done, len(rows))), len(rows) - done
            every, none = np.ones(count, np.bool_), np.zeros(count, np.bool_)
            self.take(rows, every, previous[done:], every, none, account, pending)

    def _add(
        self,
        row: Counts,
        cells: Counts,
        slots: Counts,
        amounts: Counts,
        used: Mask,
        account: Account,
        pending: list[Touched],
    ) -> None:
        there = self._slots[cells]
        newer = slots > there
        if newer.any():
            fresh = cells[newer]
            if self._dirty[fresh].any():
                pending.append(self.drained(account))
            self._slots[fresh] = slots[newer]
            self._amounts[fresh] = 0
            self._points[fresh] = 0
            self._spoilt[fresh] = False
        older = slots < there
        if older.any():
            account.too_late += _distinct(row[older & used])
            keep = ~older
            cells, amounts, used = cells[keep], amounts[keep], used[keep]
        np.add.at(self._amounts, cells, np.where(used, amounts, 0))
        np.add.at(self._points, cells, used.astype(np.int64))
        if not used.all():
            self._spoilt[cells[~used]] = True
        self._dirty[cells] = True
        rows = slots % self._depth
        self._touched[rows] = self._unstored[rows] = True

    def _cells(self, meters: Counts, slots: Counts) -> Counts:
        # The sums of one slice stand side by side, since most of what comes in one delivery is of one slice.
        return slots % self._depth * len(self._meters) + meters

    def _counted(self, values: Values, sound: Mask) -> tuple[Counts, Mask]:
        """Read values as counts, and tell which can be."""
        counts, bad = Numbers(values, ~sound).counts(self._scale)
        usable = sound.copy()
        if bad:
            usable[list(bad)] = False
        if self._measure is Measure.RATIO:
            usable &= counts <= MILLIONTH
        return counts, usable

    def _continued(self, rows: _Rows, row: Counts, meters: Counts, times: Counts, known: Mask) -> Mask:
        """Tell which entries of a counter have something before them, or began within the record."""
        unset = meters[self._begun[meters] == 0]
        if len(unset):
            new = self._begun[meters] == 0
            self._begun_anew = True
            self._begun[unset] = np.iinfo(np.int64).max
            np.minimum.at(self._begun, meters[new], times[new])
        continued = known[row]
        if continued.all():
            return continued
        begun = self._begun[meters]
        if rows.begun is not None:
            started = rows.begun[row]
            continued = continued | ((started > 0) & (started >= begun))
        return continued | (self._from_nothing[meters] & (times > begun + 2 * self._step_s * _MS))

    def _compared(self, values: Values, meters: Counts) -> tuple[Counts, Mask]:
        # Rounding to a float keeps order: only a value equal to the rounded bound needs the exact answer, known before.
        usable = np.isfinite(values)
        near = self._near[meters]
        with np.errstate(invalid="ignore"):
            signs = (values > near).astype(np.int64) - (values < near)
        signs = np.where(values == near, self._at_near[meters], signs)
        return _HOLDS[self._op[meters], signs + 1].astype(np.int64), usable

    # --- handing out -------------------------------------------------------------------------------------------

    def drained(self, account: Account) -> Touched:
        """Put together the slices of which a part changed."""
        rows = np.flatnonzero(self._touched).tolist()
        self._touched[:] = False
        if self._kernel is not None and (self._part >= 0).all():
            return _joined([self._drained_row(row, account) for row in rows])
        return self._drained_rows(rows, account)

    def _drained_row(self, row: int, account: Account) -> Touched:
        """The slices of one row of the ring of which a part changed, by compiled code where they have one slot."""
        size = len(self._tracks)
        tracks, bad, total = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
        covered = np.empty(size, np.bool_)
        slot, count = self._kernel.hand_out(
            row,
            self._slots,
            self._amounts,
            self._points,
            self._spoilt,
            self._dirty,
            self._users,
            self._users_from,
            self._base,
            self._part,
            self._is_bad,
            self._used,
            tracks,
            bad,
            total,
            covered,
        )
        if count < 0:
            return self._drained_rows([row], account)
        numbers, slots = self._numbers[tracks[:count]], np.full(count, slot, np.int64)
        return Touched(numbers, slots, bad[:count], total[:count], covered[:count])

    def _drained_rows(self, rows: Sequence[int], account: Account) -> Touched:
        parts = [(self._users_of(meters), slot) for row in rows for meters, slot in self._dirty_in(row)]
        nothing = np.zeros(0, np.int64)
        tracks = np.concatenate([nothing, *(tracks for tracks, _ in parts)])
        slots = np.concatenate([nothing, *(np.full(len(tracks), slot, np.int64) for tracks, slot in parts)])
        return self._figures(tracks, slots, account)

    def _dirty_in(self, row: int) -> Iterator[tuple[Counts, int]]:
        """The meters of a row of the ring of which a sum changed, by their slot."""
        cells = slice(row * len(self._meters), (row + 1) * len(self._meters))
        meters = np.flatnonzero(self._dirty[cells])
        self._dirty[cells] = False
        slots = self._slots[cells][meters]
        for slot in np.unique(slots).tolist() if len(meters) else ():
            yield meters[slots == slot], slot

    def _users_of(self, meters: Counts) -> Counts:
        """The objectives that are put together from some meters, each once."""
        begin = self._users_from[meters]
        counts = self._users_from[meters + 1] - begin
        used = np.zeros(len(self._tracks), np.bool_)
        while len(begin):
            begin, counts = begin[counts > 0], counts[counts > 0]
            used[self._users[begin]] = True
            begin, counts = begin + 1, counts - 1
        return np.flatnonzero(used)

    def _figures(self, tracks: Counts, slots: Counts, account: Account) -> Touched:
        amounts, points, spoilt = self._of(self._base[tracks], slots)
        covered = (points > 0) & ~spoilt
        measured = points > 0
        is_bad = self._is_bad[tracks]
        if self._measure in {Measure.COUNTER, Measure.COUNT}:
            total = amounts
            part, _, part_spoilt = self._of(self._part[tracks], slots)
            covered &= ~part_spoilt
            above = part > total
            if self._measure is Measure.COUNTER:
                part = np.minimum(part, total)  # counters that are read at different moments
            else:
                account.impossible += int((above & covered).sum())
                covered &= ~above
        else:
            total = points * (MILLIONTH if self._measure is Measure.RATIO else 1)
            part = amounts
        bad = np.where(is_bad, part, total - part)
        told = measured | spoilt
        return Touched(
            self._numbers[tracks[told]],
            slots[told],
            np.where(covered, bad, 0)[told],
            np.where(covered, total, 0)[told],
            covered[told],
        )

    def _of(self, meters: Counts, slots: Counts) -> tuple[Counts, Counts, Mask]:
        cells = self._cells(meters, slots)
        there = self._slots[cells] == slots
        return (
            np.where(there, self._amounts[cells], 0),
            np.where(there, self._points[cells], 0),
            there & self._spoilt[cells],
        )

    def complete(self, state: _Series) -> tuple[Counts, Counts]:
        meters, series = self._linked_meters[: self._links], self._linked_series[: self._links]
        if self._kernel is not None:
            until = np.empty(len(self._tracks), np.int64)
            of_tracks = (self._base, self._part, len(self._meters))
            self._kernel.heard(meters, series, state.times, state.ended, *of_tracks, QUIET_S * _MS, self._step_s, until)
            return self._numbers[until >= 0], until[until >= 0]
        times = state.times[series]
        newest = np.zeros(len(self._meters), np.int64)
        np.maximum.at(newest, meters, times)
        of_track = np.maximum(newest[self._base], np.where(self._part >= 0, newest[self._part], 0))
        latest = np.zeros(len(self._meters), np.int64)
        for owners in (self._base, self._part):
            np.maximum.at(latest, owners[owners >= 0], of_track[owners >= 0])
        awaited = ~state.ended[series] & (times > latest[meters] - QUIET_S * _MS)
        lowest = np.where(newest > 0, np.iinfo(np.int64).max, 0)
        np.minimum.at(lowest, meters[awaited], times[awaited])
        base, part = lowest[self._base], np.where(self._part >= 0, lowest[self._part], 0)
        until = np.where(part > 0, np.minimum(base, part), base)
        until = np.minimum(until, of_track) // (self._step_s * _MS) * self._step_s
        heard = newest[self._base] > 0
        return self._numbers[heard], until[heard]

    # --- remembering -------------------------------------------------------------------------------------------

    def described(self) -> list[str]:
        if len(self._identities) != len(self._meters):
            self._identities = [meter.identity for meter in self._meters]
        return self._identities

    def arrays(self) -> list[npt.NDArray[Any]]:
        """The sums that are not empty, by meter; `ARRAYS` of them."""
        cells = np.flatnonzero(self._slots >= 0)
        return [
            self._begun,
            np.array([self._depth]),
            cells % len(self._meters),
            self._slots[cells],
            self._amounts[cells],
            self._points[cells],
            self._spoilt[cells],
            self._dirty[cells],
        ]

    def pieces(self, name: str) -> dict[str, Callable[[], bytes]]:
        """How to write down the sums, row by row of the ring, and what they are of."""
        found: dict[str, Callable[[], bytes]] = {
            name: lambda: written(self.described(), [self._begun, np.array([self._depth])])
        }
        size = len(self._meters)
        for row in np.flatnonzero((self._slots.reshape(self._depth, size) >= 0).any(axis=1)).tolist() if size else ():
            found[f"{name}.{row}"] = partial(self._written_row, row)
        return found

    def changed_pieces(self, name: str) -> set[str]:
        """The names of pieces that are not as they were written last; from now on they are held to be."""
        found = {f"{name}.{row}" for row in np.flatnonzero(self._unstored).tolist()}
        if self._begun_anew:
            found.add(name)
        self.stored()
        return found

    def stored(self) -> None:
        """What was written down is as everything is."""
        self._unstored[:] = False
        self._begun_anew = False

    def _written_row(self, row: int) -> bytes:
        size = len(self._meters)
        cells = slice(row * size, (row + 1) * size)
        owners = np.flatnonzero(self._slots[cells] >= 0)
        arrays = (self._slots, self._amounts, self._points, self._spoilt, self._dirty)
        return written(None, [owners, *(array[cells][owners] for array in arrays)])

    def restore(self, meters: Counts, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Take the sums that a board wrote down; *meters* are the present numbers of that board's, -1: gone."""
        begun, _, owners, slots, amounts, points, spoilt, dirty = arrays
        kept = meters >= 0
        self._begun[meters[kept]] = begun[kept]
        mine = meters[owners] >= 0
        cells = self._cells(meters[owners[mine]], slots[mine])
        self._touched[:] = self._unstored[:] = True
        for array, values in (
            (self._slots, slots),
            (self._amounts, amounts),
            (self._points, points),
            (self._spoilt, spoilt),
            (self._dirty, dirty),
        ):
            array[cells] = values[mine]


# --- rows and series -----------------------------------------------------------------------------------------------


class _Series:
    """The newest sample of each series."""

    def __init__(self) -> None:
        self.count = 0
        self.times = np.zeros(_ROOM, np.int64)
        self.values = np.zeros(_ROOM, np.float64)
        self.known = np.zeros(_ROOM, np.bool_)
        self.ended = np.zeros(_ROOM, np.bool_)
        self.marks = np.zeros(_ROOM, np.int64)

    def arrays(self) -> list[npt.NDArray[Any]]:
        return [self.times, self.values, self.known, self.ended]

    def admit(self) -> int:
        if self.count == len(self.times):
            size = 2 * self.count
            self.times, self.known = _grown(self.times, size), _grown(self.known, size)
            self.values, self.ended = _grown(self.values, size), _grown(self.ended, size)
            self.marks = _grown(self.marks, size)
        self.count += 1
        return self.count - 1


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Samples of series that are wanted."""

    series: Counts
    times: Counts
    values: Values
    begun: Counts | None
    increments: Mask | None

    def __len__(self) -> int:
        return len(self.series)

    def cut(self, rows: Mask | Counts) -> _Rows:
        if rows.dtype == np.bool_ and rows.all():
            return self
        return _Rows(
            self.series[rows],
            self.times[rows],
            self.values[rows],
            None if self.begun is None else self.begun[rows],
            None if self.increments is None else self.increments[rows],
        )

    def pieces(self, reach_ms: int) -> Iterator[_Rows]:
        """Cut into stretches of time, the earliest first."""
        if not len(self):
            return
        if len(self) < _MOST_ROWS and int(self.times.max()) - int(self.times.min()) < reach_ms:
            yield self
            return
        order = np.argsort(self.times, kind="stable")
        times = self.times[order]
        at = 0
        while at < len(order):
            end = int(np.searchsorted(times, times[at] + reach_ms))
            end = min(end, at + _MOST_ROWS)
            yield self.cut(order[at:end])
            at = end

    def by_series(self, state: _Series) -> tuple[_Rows, Mask | None]:
        """Bring the rows of each series together, in their order, and mark the first of each; None: all are."""
        places = np.arange(len(self))
        state.marks[self.series] = places
        if (state.marks[self.series] == places).all():
            return self, None
        order = np.argsort(self.series, kind="stable")
        sorted_rows = self.cut(order)
        return sorted_rows, np.append(True, np.diff(sorted_rows.series) != 0)


_MOST_ROWS = 1 << 19
_TIME_BITS = 43  # milliseconds until the year 2248


def _running(times: Counts, starts: Mask) -> Counts:
    """The latest time so far within each series."""
    groups = np.cumsum(starts) << _TIME_BITS
    latest: Counts = np.maximum.accumulate(groups | times) & ((1 << _TIME_BITS) - 1)
    return latest


def _shifted(values: Counts) -> Counts:
    return np.append(np.zeros(1, np.int64), values[:-1])


def _chained(rows: _Rows, sound: Mask, repeats: Mask, previous: Values, known: Mask) -> tuple[Values, Mask]:
    """Find the value before each row where its series has several: the last sound one of the same series."""
    places = np.arange(len(rows))
    last = np.append(-1, np.maximum.accumulate(np.where(sound, places, -1))[:-1])
    first = np.maximum.accumulate(np.where(repeats, 0, places))
    inside = last >= first
    return np.where(inside, rows.values[last], previous), known | inside


def _figures(one: Track, pushed: PushedSlice) -> tuple[int, int] | None:
    """Bring a slice made elsewhere into the units of an objective: bad and total; None: it has not what is wanted."""
    if one.role is Role.VALUE:
        if not pushed.values or one.bound is None:
            return None
        signs = [(value > one.bound) - (value < one.bound) for value in pushed.values]
        op = _OPS.index(one.op) if one.op else 0
        good = sum(int(_HOLDS[op, sign + 1]) for sign in signs)
        return len(signs) - good, len(signs)
    if one.role is Role.RAW:
        if not pushed.values or not all(0 <= value <= 1 for value in pushed.values):
            return None
        share = sum(round(value * MILLIONTH) for value in pushed.values)
        total = len(pushed.values) * MILLIONTH
        return share if one.failure else total - share, total
    if pushed.total is None or pushed.good is None:
        return None
    total_count, good_count = (exact_count(_decimal(value), one.scale) for value in (pushed.total, pushed.good))
    if isinstance(total_count, str) or isinstance(good_count, str):
        return None
    return total_count - good_count, total_count


def _decimal(value: Fraction) -> str:
    """Write a fraction that was read from decimal digits as such."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    return f"{(value * 10**places).numerator}e-{places}"


def _sign(near: float, bound: Fraction) -> int:
    value = exact(repr(float(near)))
    assert not isinstance(value, str)
    return (value > bound) - (value < bound)


def _kernel() -> Any:
    from tightrope.telemetry import kernel  # a second to load, and not installed with everybody

    return kernel


def _distinct(ascending: Counts) -> int:
    return int(np.count_nonzero(np.diff(ascending, prepend=-1)))


def _together(one: Samples, other: Samples) -> bool:
    return (
        one.book is other.book
        and (one.begun is None) == (other.begun is None)
        and (one.increments is None) == (other.increments is None)
    )


def _one(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _grown(array: npt.NDArray[Any], size: int, filling: int = 0) -> npt.NDArray[Any]:
    grown = np.full(max(size, _ROOM), filling, array.dtype)
    grown[: len(array)] = array
    return grown


def _cut(touched: Touched, rows: Mask) -> Touched:
    return Touched(*(getattr(touched, one.name)[rows] for one in fields(Touched)))


def _joined(parts: Sequence[Touched]) -> Touched:
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Touched(nothing, nothing, nothing, nothing, np.zeros(0, np.bool_))
    return Touched(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Touched)))


def _none_of_ours(kind: str) -> DataError:
    return DataError(f"what is kept of the counters of {kind} is none of this version's", remedy="begin without it")


def _arrays(touched: Touched) -> list[npt.NDArray[Any]]:
    return [touched.tracks, touched.slots, touched.bad, touched.total, touched.covered]


def _unpacked(blob: bytes, kind: str) -> tuple[dict[str, Any], Iterator[npt.NDArray[Any]]]:
    try:
        raw = zlib.decompress(blob)
        size = int.from_bytes(raw[:8], "big")
        header: dict[str, Any] = json.loads(raw[8 : 8 + size])
        if (header["format"], header["kind"]) != (_FORMAT, kind):
            raise ValueError(header)
    except (zlib.error, ValueError, KeyError, TypeError):
        raise _none_of_ours(kind) from None
    arrays = []
    at = 8 + size
    for kind_of, length in header["arrays"]:
        dtype = np.dtype(kind_of)
        arrays.append(np.frombuffer(raw, dtype, length, at))
        at += length * dtype.itemsize
    return header, iter(arrays)
