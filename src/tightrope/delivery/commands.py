"""Short commands of a target: what is asked of whoever runs them, and how they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tightrope.base.values import dataclass


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended.

    Attributes:
        code: Its exit status; None: it was not there, or took too long and was killed.
        out: What it wrote, decoded, at most some thousand characters of it.
        why: What was wrong, in words; empty where it ended with 0.
    """

    code: int | None
    out: str
    why: str = ""


class RunCommand(Protocol):
    """Runs one short command to its end."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        folder: str = ".",
        variables: Mapping[str, str] | None = None,
        given: str = "",
        timeout_s: float = 30.0,
    ) -> Finished:
        """Start *argv* with *variables* beside a plain PATH, HOME and LANG, give it *given* to read, and wait."""
        ...
