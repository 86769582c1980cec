"""The logbook: each trouble once when it comes, once when it has gone; many with the same cause are one."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from tightrope.base.errors import Place, SpecError
from tightrope.loop.logbook import Logbook, troubles_of
from tightrope.loop.server import Server
from tightrope.loop.snapshot import Backfill

NOW = 1_772_323_200


@dataclass
class Book:
    """A logbook whose server is what the test says."""

    troubles: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.book = Logbook(lambda: self.troubles, lambda: NOW, self.lines.append)

    def look(self, **troubles: str) -> list[str]:
        self.lines.clear()
        self.troubles = {name.replace("_", " "): text for name, text in troubles.items()}
        self.book.turn()
        return [line.removeprefix("2026-03-01T00:00:00Z ") for line in self.lines]


def server(*, failure: str = "", problems: tuple[SpecError, ...] = (), since: int = 0, fills: Any = ()) -> Server:
    live = SimpleNamespace(failure=failure, snapshot=SimpleNamespace(since=since))
    return cast("Server", SimpleNamespace(live=live, problems=lambda: problems, backfills=lambda: list(fills)))


def test_a_trouble_is_written_when_it_comes_and_when_it_has_gone() -> None:
    book = Book()
    assert book.look() == []
    assert book.look(loop_full="the disk is full") == ["trouble: the disk is full"]
    assert book.look(loop_full="the disk is full") == []
    assert book.look() == ["over: the disk is full"]


def test_a_trouble_that_becomes_another_is_not_called_over() -> None:
    book = Book()
    book.look(specs_a="two errors")
    assert book.look(specs_b="one error") == ["trouble: one error"]


def test_each_source_is_over_by_itself() -> None:
    book = Book()
    book.look(source_a="no telemetry for a", source_b="no telemetry for b")
    assert book.look(source_b="no telemetry for b") == ["over: no telemetry for a"]


def test_specs_that_were_never_good_are_told_with_the_place_of_the_first_error() -> None:
    wrong = SpecError("TR013", "spec.service is missing", Place("slo/a.yaml", 4, 1, 1))
    (text,) = troubles_of(server(problems=(wrong, wrong))).values()
    assert text == (
        "the specs have 2 errors, and nothing is watched until they are mended; "
        "the first: TR013 at slo/a.yaml:4:1: spec.service is missing"
    )
    (text,) = troubles_of(server(problems=(wrong,), since=NOW)).values()
    assert "1 error, and the last good set stays live" in text


def test_a_thousand_objectives_of_a_dead_source_are_one_line() -> None:
    fills = [Backfill(f"slo-{number}", 0, 10, None, "prom:9090 refused the connection") for number in range(1_000)]
    troubles = troubles_of(server(failure="the disk is full", fills=[*fills, Backfill("fine", 1, 2, None)]))
    assert list(troubles.values()) == [
        "nothing can be stored, or the loop fails: the disk is full",
        "no telemetry for slo-0 and 999 more: prom:9090 refused the connection",
    ]
