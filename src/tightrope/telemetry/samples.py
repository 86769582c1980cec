"""What senders deliver: samples of series, the series by number in a book of label sets; and slices made elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from threading import Lock

import numpy as np
import numpy.typing as npt

from tightrope.base.values import dataclass, field
from tightrope.sli.slices import Counts, Mask

Values = npt.NDArray[np.float64]

STALE_BITS = 0x7FF0000000000002
"""The NaN by which Prometheus says that a series has ended."""

MOST_LABEL_SETS = 500_000
"""Label sets that a book holds before a new one is begun."""


def varint(value: int) -> bytes:
    """Write a number as protobuf does, seven bits a byte, the lowest first."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def label_bytes(labels: Mapping[str, str]) -> bytes:
    """Write labels as a Prometheus sender does: protobuf fields, sorted by name, without those that are empty."""
    out = bytearray()
    for name, value in sorted(labels.items()):
        if value:
            key, text = name.encode(), value.encode()
            inner = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(text)) + text
            out += b"\x0a" + varint(len(inner)) + inner
    return bytes(out)


def labels_of(written: bytes) -> dict[str, str]:
    """Read what `label_bytes` wrote."""
    labels = {}
    at = 0
    while at < len(written):
        _, at = _length(written, at + 1)
        size, at = _length(written, at + 1)
        name = written[at : at + size].decode()
        at += size
        size, at = _length(written, at + 1)
        labels[name] = written[at : at + size].decode()
        at += size
    return labels


def _length(written: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = written[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


class Book:
    """Label sets by number. It only grows, so that numbers handed out stay true; one writer at a time.

    A label set is known by bytes, which a sender repeats with every sample, and is read once. The bytes of two numbers
    may mean the same labels: ``labels[number]`` tells what they mean, in one form. ``index`` is for a reader that looks
    bytes up in a way of its own.
    """

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self.keys: list[bytes] = []
        self.labels: list[bytes] = []
        self.lock = Lock()
        self.index: object = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def full(self) -> bool:
        """Whether a new book should be begun."""
        return len(self.labels) >= MOST_LABEL_SETS

    def add(self, key: bytes, labels: bytes) -> int:
        """Number a label set by the bytes it is known by; *labels* is what they mean, as `label_bytes` has it."""
        with self.lock:
            number = self.numbers.get(key)
            if number is None:
                number = len(self.labels)
                self.labels.append(labels)
                self.keys.append(key)
                self.numbers[key] = number
        return number


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples in the order in which they were sent.

    Attributes:
        book: Tells what the numbers of series mean.
        numbers: Series of each sample, int64 ``(n,)``.
        times: Milliseconds since the epoch, int64 ``(n,)``.
        values: float64 ``(n,)``; the bits `STALE_BITS` say that the series has ended.
        begun: For counters: when the count was 0, milliseconds since the epoch, int64 ``(n,)``; 0: not known. None:
            of none it is known.
        increments: Which values are increments already, and no counter's state; None: none is.
    """

    book: Book
    numbers: Counts
    times: Counts
    values: Values
    begun: Counts | None = None
    increments: Mask | None = None

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class PushedSlice:
    """One whole slice of a series, made elsewhere; it takes the place of what was there before.

    Attributes:
        labels: Which series, as `label_bytes` has it.
        time: Any instant within the slice, UTC epoch seconds.
        total, good: Counts, ``0 <= good <= total``; None: values were pushed.
        values: Readings of a value or ratio, for indicators that have such.
    """

    labels: bytes
    time: int
    total: Fraction | None = None
    good: Fraction | None = None
    values: tuple[Fraction, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """What one body held.

    Attributes:
        samples: Samples of series.
        slices: Slices that were made elsewhere.
        at: When it was received, UTC epoch seconds.
        unsupported: What it held and nobody can use, by its name, such as ``native histograms``, and how many.
    """

    samples: Samples
    slices: tuple[PushedSlice, ...] = ()
    at: int = 0
    unsupported: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples) + len(self.slices)


@dataclass(frozen=True, slots=True)
class Checked:
    """A body that can be read, before anything is stored.

    Attributes:
        count: Samples and slices in it.
        kept: What to store of it: the body and all that is needed to read it again.
        delivery: It, read.
        answer, answer_type: What the protocol wants to hear once the body is stored, and its media type.
    """

    count: int
    kept: bytes
    delivery: Delivery
    answer: bytes = b""
    answer_type: str = ""


def samples_of(
    book: Book,
    rows: Iterable[tuple[int, int, float]],
    begun: Iterable[int] | None = None,
    increments: Iterable[bool] | None = None,
) -> Samples:
    """Make samples of rows of number, time (ms) and value."""
    listed = list(rows)
    return Samples(
        book,
        np.array([number for number, _, _ in listed], np.int64),
        np.array([time for _, time, _ in listed], np.int64),
        np.array([value for _, _, value in listed], np.float64),
        None if begun is None else np.fromiter(begun, np.int64, len(listed)),
        None if increments is None else np.fromiter(increments, np.bool_, len(listed)),
    )
