"""Findings for people: the message, the line, a caret under the text that is meant, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from unicodedata import east_asian_width

from tightrope.base.errors import SpecError

Style = Callable[[str, str], str]
"""Colours a text by its role: ``error``, ``warning``, ``place``, ``frame``, ``caret`` or ``help``."""

_WIDTH = 96
_LEAD = 24  # characters kept before the caret when a long line is cut


def render(finding: SpecError, style: Style | None = None) -> str:
    """Render one finding: message, place, source line with caret and note, path, remedy. No newline at the end."""

    def paint(text: str, role: str) -> str:
        return style(text, role) if style else text

    gutter = " " * len(str(finding.place.line))
    lines = [
        f"{paint(f'{finding.severity}[{finding.code}]', finding.severity)}: {finding.message}",
        f"{gutter}{paint('-->', 'frame')} {paint(str(finding.place), 'place')}",
    ]
    bar = f"{gutter} {paint('|', 'frame')}"
    if finding.source_line.strip():
        shown, before, length = _window(finding.source_line, finding.place.column - 1, finding.place.length)
        caret = "^" * length + (f" {finding.note}" if finding.note else "")
        lines += [
            bar,
            f"{paint(f'{finding.place.line} |', 'frame')} {shown}",
            f"{bar} {' ' * before}{paint(caret, 'caret')}",
        ]
    if finding.path:
        lines.append(f"{gutter} {paint('=', 'frame')} at: {finding.path}")
    if finding.remedy:
        lines.append(f"{gutter} {paint('=', 'frame')} {paint('help', 'help')}: {finding.remedy}")
    return "\n".join(lines)


def _window(line: str, column: int, length: int) -> tuple[str, int, int]:
    """Cut a long line around the caret; hand back the text, the columns before the caret, and the caret's length."""
    text = "".join(" " if char == "\t" else char if char.isprintable() else "�" for char in line)
    column = min(column, len(text))
    start = column - _LEAD if column + min(length, 20) > _WIDTH else 0
    cut = text[start : start + _WIDTH]
    if start:
        cut = "…" + cut[1:]
    if start + _WIDTH < len(text):
        cut = cut[:-1] + "…"
    meant = cut[column - start : column - start + length]
    return cut.rstrip(), _columns(cut[: column - start]), max(1, _columns(meant))


def _columns(text: str) -> int:
    """Columns of a terminal that the text takes: wide characters take two."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
