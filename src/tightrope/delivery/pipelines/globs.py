"""Globs as CI systems have them: ``*`` within a part of a path, ``**`` across parts, ``?``, ``[abc]``, ``{a,b}``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def fits(glob: str, text: str) -> bool:
    """Whether a path, branch or tag fits a glob as a whole."""
    return _compiled(glob).fullmatch(text) is not None


def fits_any(globs: Iterable[str], text: str) -> bool:
    """Whether it fits one of them."""
    return any(fits(glob, text) for glob in globs)


@lru_cache(maxsize=1000)
def _compiled(glob: str) -> re.Pattern[str]:
    parts: list[str] = []
    at, depth = 0, 0
    while at < len(glob):
        sign = glob[at]
        if glob.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
            continue
        if glob.startswith("**", at):
            parts.append(".*")
            at += 2
            continue
        closing = glob.find("]", at + 2) if sign == "[" else -1
        if closing > 0:
            inside = glob[at + 1 : closing].replace("\\", r"\\").replace("[", r"\[")
            parts.append(f"[{'^' + inside[1:] if inside.startswith('!') else inside}]")
            at = closing + 1
            continue
        match sign:
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case "{" if "}" in glob[at:]:
                parts.append("(?:")
                depth += 1
            case "}" if depth:
                parts.append(")")
                depth -= 1
            case "," if depth:
                parts.append("|")
            case _:
                parts.append(re.escape(sign))
        at += 1
    try:
        return re.compile("".join(parts) + ")" * depth, re.DOTALL)
    except re.error:
        return re.compile(re.escape(glob))
