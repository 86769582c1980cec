"""A column of a batch of rows, as text or typed, read into exact numbers; what can't be read says why, row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tightrope.sli.slices import Counts, Mask
from tightrope.telemetry.options import remembered

T = TypeVar("T")
Signs = npt.NDArray[np.int8]
Bad = dict[int, str]
"""Row within the batch, counted from 0, and why its cell can't be used."""

LARGEST_COUNT = 2**62
NEGATIVE = "a count can't be negative"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DIGITS_OF_INT64 = 18


class Cells(Protocol):
    """One column of a batch."""

    def __len__(self) -> int: ...

    def words(self) -> Sequence[str]:
        """Hand out the cells as text, without the blanks around them; an empty cell is ``""``."""
        ...

    def numbered(self) -> tuple[Counts, list[str]]:
        """Number the distinct texts; hands out each row's number, and the texts by number."""
        ...

    def counts(self, scale: int) -> tuple[Counts, Bad]:
        """Read counts in units of ``1 / scale``: whole, not negative, int64. Bad rows hold 0.

        A fraction finer than the scale is rounded half to even where a scale above 1 is declared, and bad otherwise.
        """
        ...

    def signs(self, bound: Fraction) -> tuple[Signs, Bad]:
        """Compare each value with a bound, exactly: -1 below, 0 equal, 1 above."""
        ...

    def keep(self, rows: Mask) -> Cells:
        """Cut out some rows."""
        ...


def exact(text: str) -> Fraction | str:
    """Read one number exactly; a text in return says why it is none."""
    if not text:
        return "is empty"
    if _NUMBER.fullmatch(text) is None:
        if text.lstrip("+-").lower() in ("nan", "inf", "infinity"):
            return f"is {text}, which is no number"
        return f"is {_short(text)}, which is no number"
    return Fraction(Decimal(text))


def exact_count(text: str, scale: int) -> int | str:
    """Read one count in units of ``1 / scale``; a text in return says why it is none."""
    value = exact(text)
    if isinstance(value, str):
        return value
    if value < 0:
        return f"is {text}: {NEGATIVE}"
    scaled = value * scale
    if scaled > LARGEST_COUNT:
        return f"is {text}: too large to count"
    if scaled.denominator == 1:
        return scaled.numerator
    if scale == 1:
        return f"is {text}: a count is whole, unless the SLO declares a scale"
    return round(scaled)


class Words:
    """A column of Python texts."""

    def __init__(self, cells: Sequence[str]) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    def words(self) -> Sequence[str]:
        return [cell.strip() for cell in self._cells]

    def numbered(self) -> tuple[Counts, list[str]]:
        return numbered(self.words())

    def counts(self, scale: int) -> tuple[Counts, Bad]:
        return gathered(self.words(), remembered(lambda text: exact_count(text, scale)))

    def signs(self, bound: Fraction) -> tuple[Signs, Bad]:
        def sign(text: str) -> int | str:
            value = exact(text)
            return value if isinstance(value, str) else (value > bound) - (value < bound)

        signs, bad = gathered(self.words(), remembered(sign))
        return signs.astype(np.int8), bad

    def keep(self, rows: Mask) -> Words:
        return Words([self._cells[row] for row in np.flatnonzero(rows).tolist()])


class Bytes:
    """A column of short UTF-8 texts in one array of dtype ``S``: read by the column where that is simple."""

    def __init__(self, cells: npt.NDArray[np.bytes_]) -> None:
        self.cells = np.ascontiguousarray(cells)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def characters(self) -> npt.NDArray[np.uint8]:
        """The cells as bytes of shape ``(n, width)``, 0 after the end."""
        return self.cells.view(np.uint8).reshape(len(self.cells), self.cells.dtype.itemsize)

    def words(self) -> Sequence[str]:
        return [_text(cell) for cell in self.cells.tolist()]

    def numbered(self) -> tuple[Counts, list[str]]:
        codes, cells = numbered(self.cells.tolist())
        same, texts = numbered([_text(cell) for cell in cells])  # " a" and "a" are one text
        return same[codes], texts

    def counts(self, scale: int) -> tuple[Counts, Bad]:
        values, plain = plain_integers(self.characters)
        plain &= values <= LARGEST_COUNT // scale
        counts = np.where(plain, values, 0) * scale
        bad: Bad = {}
        odd = np.flatnonzero(~plain)
        if len(odd):
            counts[odd], odd_bad = Bytes(self.cells[odd]).slowly().counts(scale)
            bad = {int(odd[row]): why for row, why in odd_bad.items()}
        return counts, bad

    def signs(self, bound: Fraction) -> tuple[Signs, Bad]:
        characters = self.characters
        if ((characters == ord("_")) | (characters > ord("e"))).any():
            return self.slowly().signs(bound)
        try:
            values = self.cells.astype(np.float64)
        except ValueError:
            return self.slowly().signs(bound)
        return _signs(values, bound, lambda rows: Bytes(self.cells[rows]).slowly())

    def keep(self, rows: Mask) -> Bytes:
        return Bytes(self.cells[rows])

    def slowly(self) -> Words:
        """The same column as Python texts, for what can't be read by the column."""
        return Words(self.words())


class Numbers:
    """A column of typed numbers, integers or floats, with a mask of the rows that hold none."""

    def __init__(self, values: npt.NDArray[Any], empty: Mask) -> None:
        self._values = values
        self._empty = empty

    def __len__(self) -> int:
        return len(self._values)

    def words(self) -> Sequence[str]:
        # A float's shortest text is what its writer meant: 0.1 is 1/10, not 3602879701896397/36028797018963968.
        return [
            "" if empty else str(value)
            for value, empty in zip(self._values.tolist(), self._empty.tolist(), strict=True)
        ]

    def numbered(self) -> tuple[Counts, list[str]]:
        return numbered(self.words())

    def counts(self, scale: int) -> tuple[Counts, Bad]:
        values = self._values
        with np.errstate(invalid="ignore"):
            whole = ~self._empty & (values >= 0) & (values <= min(LARGEST_COUNT // scale, 2**53))
            if values.dtype.kind == "f":
                whole &= values == np.floor(values)
        counts = np.where(whole, values, 0).astype(np.int64) * scale
        bad: Bad = {}
        odd = np.flatnonzero(~whole)
        if len(odd):
            slow = Words(Numbers(values[odd], self._empty[odd]).words())
            counts[odd], odd_bad = slow.counts(scale)
            bad = {int(odd[row]): why for row, why in odd_bad.items()}
        return counts, bad

    def signs(self, bound: Fraction) -> tuple[Signs, Bad]:
        values = np.where(self._empty, np.nan, self._values.astype(np.float64))
        return _signs(values, bound, lambda rows: Words(Numbers(self._values[rows], self._empty[rows]).words()))

    def keep(self, rows: Mask) -> Numbers:
        return Numbers(self._values[rows], self._empty[rows])


def numbered(values: Sequence[T]) -> tuple[Counts, list[T]]:
    """Number the distinct values in the order they are met; hands out each place's number, and the values by number."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.fromiter(map(numbers.__getitem__, values), np.int64, len(values)), list(numbers)


def plain_integers(characters: npt.NDArray[np.uint8]) -> tuple[Counts, Mask]:
    """Read cells of nothing but 1 to 18 digits; of the others the mask says False and the value means nothing.

    Args:
        characters: Cells as bytes of shape ``(n, width)``, 0 after the end of each.
    """
    rows, width = characters.shape
    values = np.zeros(rows, np.int64)
    plain = np.full(rows, width > 0)
    for column in range(min(width, _DIGITS_OF_INT64)):
        character = characters[:, column]
        digit = character - np.uint8(48)  # wraps around below "0", so that one comparison finds the digits
        is_digit = digit < 10
        ended = character == 0
        plain &= ~ended if column == 0 else is_digit | ended
        if column == 0:
            plain &= is_digit
        values = np.where(is_digit, values * 10 + digit, values)
    if width > _DIGITS_OF_INT64:
        plain &= characters[:, _DIGITS_OF_INT64] == 0
    return values, plain


def gathered(words: Sequence[str], read: Callable[[str], int | str]) -> tuple[Counts, Bad]:
    """Read every word into an integer; texts in return are reasons, and their rows hold 0."""
    bad: Bad = {}
    values = np.zeros(len(words), np.int64)
    for row, word in enumerate(words):
        value = read(word)
        if isinstance(value, str):
            bad[row] = value
        else:
            values[row] = value
    return values, bad


def _signs(
    values: npt.NDArray[np.float64], bound: Fraction, exactly: Callable[[npt.NDArray[np.intp]], Words]
) -> tuple[Signs, Bad]:
    # Rounding to a float keeps order, so only values that round to the same float as the bound need exact arithmetic.
    near = float(bound)
    signs = (values > near).astype(np.int8) - (values < near).astype(np.int8)
    unsure = np.flatnonzero((values == near) | ~np.isfinite(values))
    bad: Bad = {}
    if len(unsure):
        signs[unsure], unsure_bad = exactly(unsure).signs(bound)
        bad = {int(unsure[row]): why for row, why in unsure_bad.items()}
    return signs, bad


def _text(cell: bytes) -> str:
    return cell.decode("utf-8", "replace").strip()


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
