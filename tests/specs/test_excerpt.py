"""Findings as a person sees them."""

from __future__ import annotations

from tests.specs.samples import SLO, SOURCE, only, swapped
from tightrope.base.errors import Place, SpecError
from tightrope.specs.excerpt import render


def test_a_finding_shows_the_line_with_a_caret_and_how_to_mend_it() -> None:
    assert render(only(swapped(SLO, "0.999", "99.9"), SOURCE)) == (
        "error[TR012]: target 99.9 is read as 9990 %; OpenSLO wants a ratio here\n"
        "  --> <stdin>:12:15\n"
        "   |\n"
        "12 |     - target: 99.9\n"
        "   |               ^^^^ between 0 and 1\n"
        "   = at: spec.objectives[0].target\n"
        "   = help: write `target: 0.999` or `targetPercent: 99.9`"
    )


def shown(line: str, column: int, length: int = 1, note: str = "") -> tuple[str, str]:
    finding = SpecError("TR001", "m", Place("f", 1, column, length), source_line=line, note=note)
    _, _, _, text, caret = render(finding).splitlines()
    return text.removeprefix("1 | "), caret.removeprefix("  | ")


def test_a_finding_without_a_line_has_no_excerpt() -> None:
    assert render(SpecError("TR004", "f is empty", Place("f"))) == "error[TR004]: f is empty\n --> f:1:1"


def test_the_caret_stands_below_wide_characters_and_tabs() -> None:
    assert shown("日本: x", 5) == ("日本: x", "      ^")
    assert shown("\tname: x", 8) == (" name: x", "       ^")


def test_a_long_line_is_cut_around_what_is_meant() -> None:
    text, caret = shown("a" * 300 + "BAD" + "c" * 300, 301, 3, "here")
    assert len(text) < 100
    assert text.startswith("…")
    assert text.endswith("…")
    at = caret.index("^")
    assert text[at : at + 3] == "BAD"
    assert caret.endswith("^^^ here")


def test_what_cannot_be_printed_is_shown_as_such() -> None:
    assert shown("a\x1b[31mb", 1)[0] == "a�[31mb"


def test_a_place_beyond_the_line_still_has_a_caret() -> None:
    assert shown("ab", 50, 9)[1] == "  ^"


def test_colour_is_up_to_the_caller() -> None:
    finding = only(swapped(SLO, "0.999", "99.9"), SOURCE)
    roles: set[str] = set()

    def style(text: str, role: str) -> str:
        roles.add(role)
        return f"<{role}>{text}</{role}>"

    painted = render(finding, style)
    assert roles == {"error", "place", "frame", "caret", "help"}
    assert "<error>error[TR012]</error>: target" in painted
    assert "<caret>^^^^ between 0 and 1</caret>" in painted
