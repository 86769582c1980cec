"""What holds for every test: fixed habits for hypothesis, no network beyond this machine, and the recorded data."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# A shared machine may be slow for a moment; a slow example is no wrong example.
settings.register_profile("tightrope", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("tightrope")

_LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})


def _only_this_machine(event: str, facts: tuple[object, ...]) -> None:
    """Let every attempt to reach another machine fail as if the network were down."""
    if event == "socket.connect" and isinstance(facts[1], tuple) and facts[1][0] not in _LOOPBACK:
        raise ConnectionRefusedError(f"tests speak to this machine only, not to {facts[1][0]}")
    if event == "socket.getaddrinfo" and facts[0] not in (None, *_LOOPBACK):
        raise socket.gaierror(socket.EAI_NONAME, f"tests ask for no names but localhost, not for {facts[0]!r}")


sys.addaudithook(_only_this_machine)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded data of other projects, which lies beside the repository where there is one."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recorded data (../shared/data) is not on this machine")
    return folder


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they want to be: what runs tests side by side gives its workers a width of its own."""
    monkeypatch.delenv("COLUMNS", raising=False)
