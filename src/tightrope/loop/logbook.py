"""The logbook: what whoever runs the server reads there, each trouble once when it comes and once when it has gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Thread

from tightrope.base.units import time_text
from tightrope.loop.server import Server

EVERY_S = 2.0
"""How often the server is looked at."""

Write = Callable[[str], None]


def troubles_of(server: Server) -> dict[str, str]:
    """What is wrong with a server just now: by what tells one trouble from another, in words.

    Many objectives that suffer from the same are one trouble.
    """
    found: dict[str, str] = {}
    snapshot = server.live.snapshot
    if server.live.failure:
        found[f"loop {server.live.failure}"] = f"nothing can be stored, or the loop fails: {server.live.failure}"
    problems = server.problems()
    if problems:
        first = problems[0]
        count = f"{len(problems)} {'error' if len(problems) == 1 else 'errors'}"
        meanwhile = "the last good set stays live" if snapshot.since else "nothing is watched until they are mended"
        found[f"specs {[(one.code, str(one.place)) for one in problems]}"] = (
            f"the specs have {count}, and {meanwhile}; the first: {first.code} at {first.place}: {first.message}"
        )
    suffering: dict[str, list[str]] = {}
    for one in server.backfills():
        if one.error:
            suffering.setdefault(one.error, []).append(one.series)
    for error, tracks in suffering.items():
        more = f" and {len(tracks) - 1} more" if len(tracks) > 1 else ""
        found[f"source {error}"] = f"no telemetry for {tracks[0]}{more}: {error}"
    return found


def _replaced(key: str, found: Mapping[str, str]) -> bool:
    """Whether a trouble has only become another: of specs, and of the loop, there is one at a time."""
    sort = key.partition(" ")[0]
    return sort != "source" and any(one.partition(" ")[0] == sort for one in found)


@dataclass(slots=True)
class Logbook:
    """Writes down what begins and what ends.

    Args:
        look: Tells what is wrong just now.
        now: Tells the time.
        write: Takes a line.
    """

    look: Callable[[], Mapping[str, str]]
    now: Callable[[], int]
    write: Write
    _known: dict[str, str] = field(default_factory=dict)
    _ended: Event = field(default_factory=Event)

    def turn(self) -> None:
        """Look once."""
        found = dict(self.look())
        at = time_text(self.now())
        for key, text in found.items():
            if key not in self._known:
                self.write(f"{at} trouble: {text}")
        for key, text in self._known.items():
            if key not in found and not _replaced(key, found):
                self.write(f"{at} over: {text}")
        self._known = found

    def start(self) -> None:
        """Look again and again, in a thread of its own."""
        Thread(target=self._run, name="logbook", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.turn()
