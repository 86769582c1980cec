"""Findings for people: the message, the line, a caret under the text that is meant, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from unicodedata import east_asian_width

from tightrope.base.errors import SpecError

Style = Callable[[str, str], str]
"""Colours a part of the text: given its role (``error``, ``warning``, ``caret``, ``frame``, ``help``) and the text."""

_WIDTH = 96
_LEAD = 24  # characters kept before the caret when a long line is cut


def excerpt(finding: SpecError, style: Style | None = None) -> str:
    """Render one finding: message, place, source line with caret and note, path, remedy. No newline at the end."""
    paint = style or _plain
    lines = [paint(finding.severity, f"{finding.severity}[{finding.code}]") + f": {finding.message}"]
    number = str(finding.place.line)
    margin = " " * (len(number) + 1)
    lines.append(paint("frame", f"{' ' * len(number)}--> ") + str(finding.place))
    if finding.source_line.strip():
        shown, before, length = _window(finding.source_line, finding.place.column - 1, finding.place.length)
        caret = " " * before + "^" * length
        lines.append(paint("frame", f"{margin}|"))
        lines.append(paint("frame", f"{number} |") + f" {shown}")
        note = f" {finding.note}" if finding.note else ""
        lines.append(paint("frame", f"{margin}|") + f" {paint('caret', caret + note)}")
    if finding.path:
        lines.append(paint("frame", f"{margin}= ") + f"at: {finding.path}")
    if finding.remedy:
        lines.append(paint("frame", f"{margin}= ") + f"{paint('help', 'help')}: {finding.remedy}")
    return "\n".join(lines)


def excerpts(findings: Sequence[SpecError], files: int, style: Style | None = None) -> str:
    """Render all findings and a line that counts them, ending in a newline."""
    parts = [excerpt(finding, style) for finding in findings]
    parts.append(summary(findings, files))
    return "\n".join(parts) + "\n"


def summary(findings: Sequence[SpecError], files: int) -> str:
    """Count findings in a sentence: ``1 error, 1 warning in 12 files. tightrope explain TR012``."""
    errors = sum(finding.severity == "error" for finding in findings)
    counts = [_counted(errors, "error"), _counted(len(findings) - errors, "warning")]
    said = ", ".join(count for count in counts if count) or "no findings"
    first = next((finding for finding in findings if finding.severity == "error"), findings[0] if findings else None)
    explain = f". tightrope explain {first.code}" if first else ""
    return f"{said} in {files} file{'' if files == 1 else 's'}{explain}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}" if count else ""


def _plain(role: str, text: str) -> str:
    return text


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
