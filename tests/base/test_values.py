"""Quick dataclasses are what the standard library's are."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, astuple, fields, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base import values


def _point(dataclass: Callable[..., Any]) -> Any:
    @dataclass(frozen=True, slots=True)
    class Point:
        """A place, its name and its marks."""

        x: int
        name: str = "here"
        marks: tuple[str, ...] = ()
        seen: list[int] = values.field(default_factory=list)

        @property
        def twice(self) -> int:
            return self.x * 2

        def __str__(self) -> str:
            return self.name

    return Point


def _lone(dataclass: Callable[..., Any]) -> Any:
    @dataclass(frozen=True, slots=True)
    class Lone:
        """One value."""

        only: object

    return Lone


QUICK, USUAL = _point(values.dataclass), _point(dataclasses.dataclass)


@values.dataclass(frozen=True, slots=True)
class Checked:
    """A share, which is none of more than the whole."""

    share: int

    def __post_init__(self) -> None:
        if self.share > 100:
            raise ValueError("too much")


@values.dataclass(frozen=True, slots=True)
class Nothing:
    """No field at all."""


POINTS = st.tuples(st.integers(-3, 3), st.sampled_from("ab"), st.lists(st.text(max_size=1), max_size=2).map(tuple))


def test_it_is_the_quick_one_that_is_compared_here() -> None:
    assert QUICK.__eq__.__module__ == Checked.__eq__.__module__ == Nothing.__eq__.__module__ == values.__name__
    assert USUAL.__eq__.__module__ == __name__


@given(POINTS, POINTS)
def test_values_are_equal_and_hash_by_their_fields(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (QUICK(*one) == QUICK(*other)) == (one == other) == (USUAL(*one) == USUAL(*other))
    assert QUICK(*one) != USUAL(*one)
    lone = _lone(values.dataclass)
    assert (lone(one) == lone(other)) == (one == other)
    assert hash(lone(one)) == hash(lone(tuple(one)))
    assert {Checked(one[0]): 1}[Checked(one[0])] == 1


def test_it_looks_and_takes_arguments_as_the_usual_one() -> None:
    assert repr(QUICK(1, marks=("a",))) == repr(USUAL(1, marks=("a",)))
    assert str(QUICK(1)) == "here"
    assert QUICK(4).twice == 8
    assert list(inspect.signature(QUICK).parameters) == list(inspect.signature(USUAL).parameters)
    assert repr(Nothing()) == "Nothing()"
    assert QUICK.__match_args__ == USUAL.__match_args__
    assert QUICK.__slots__ == USUAL.__slots__
    assert not hasattr(QUICK(1), "__dict__")
    wrongs: tuple[tuple[Any, ...], ...] = ((), (1, "a", (), [], 5))
    for wrong in wrongs:
        with pytest.raises(TypeError, match="argument"):
            QUICK(*wrong)


def test_a_list_by_default_is_a_new_one_each_time() -> None:
    assert QUICK(1).seen == []
    assert QUICK(1).seen is not QUICK(1).seen
    assert QUICK(1, seen=None).seen is None


def test_a_value_cannot_be_changed() -> None:
    point = QUICK(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    with pytest.raises(FrozenInstanceError):
        point.new = 2


def test_the_tools_of_the_standard_library_take_it() -> None:
    point = QUICK(1, "b")
    assert replace(point, name="c") == QUICK(1, "c")
    assert asdict(point) == asdict(USUAL(1, "b"))
    assert astuple(point) == astuple(USUAL(1, "b"))
    assert dataclasses.is_dataclass(QUICK)
    usual = [str(one).replace(str(one.default_factory), "") for one in fields(USUAL)]
    assert [str(one).replace(str(one.default_factory), "") for one in fields(QUICK)] == usual
    assert copy.deepcopy(point) == point
    assert pickle.loads(pickle.dumps(Checked(7))) == Checked(7)
    match Checked(7):
        case Checked(share):
            assert share == 7


def test_it_is_checked_once_made() -> None:
    with pytest.raises(ValueError, match="too much"):
        Checked(101)


def test_the_usual_kind_may_grow_from_it() -> None:
    @values.dataclass(frozen=True, slots=True)
    class More(Checked):
        """And one more."""

        more: int = 1

    assert More(5, 6) == More(share=5, more=6)
    with pytest.raises(TypeError, match="frozen"):
        values.dataclass(type("Loose", (Checked,), {"__doc__": "Not frozen."}))


def test_what_is_more_than_plain_is_left_to_the_standard_library() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Apart:
        """A field that does not count, one of the class, and one with a default that may change."""

        kind: ClassVar[str] = "apart"
        name: str
        place: int = values.field(default=0, compare=False)

    @values.dataclass(slots=True)
    class Loose:
        """May be changed."""

        name: str

    assert Apart("a", 1) == Apart("a", 2)
    assert [one.name for one in fields(Apart)] == ["name", "place"]
    loose = Loose("a")
    loose.name = "b"
    assert loose == Loose("b")
    with pytest.raises(ValueError, match="mutable default"):
        values.dataclass(frozen=True, slots=True)(
            type("Bad", (), {"__doc__": "A list for all.", "__annotations__": {"x": "list"}, "x": []})
        )
