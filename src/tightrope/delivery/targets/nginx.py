"""Traffic moved by nginx: one included file, written whole or not at all, and seen in the workers that run.

Two slots take turns: the one that has all of the traffic is the old version's, the other one is the new version's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from tightrope.base.http import HttpSettings, look
from tightrope.base.values import dataclass
from tightrope.delivery.commands import RunCommand
from tightrope.delivery.targets import GRAIN, Release, Seen, TargetError, argv_of, done, percent_number
from tightrope.specs.model import RolloutStrategy

_HEAD = "# Written by Tightrope; edits are lost. "
_TOLD = re.compile(r"^canary=(\S+) weight=(\d+)/(\d+) generation=([0-9a-f]+)\s*$")
_PROBES = 3
_PROBE_S = 3.0
_SERIOUS = ("[emerg]", "[alert]", "[crit]", "[error]")
_OLD_WORKER = "worker process is shutting down"


@dataclass(frozen=True, slots=True)
class Written:
    """What the file says: whose slot the canary's is, its share, the share before that, and the file's own name."""

    canary: str
    weight: Fraction
    before: Fraction
    generation: str


def render(
    slots: Mapping[str, str], canary: str, weight: Fraction, before: Fraction, *, variable: str, mode: str, key: str
) -> str:
    """The file that nginx includes in its ``http`` block.

    Args:
        slots: Two names and addresses.
        canary: The new version's slot.
        weight, before: Its share of the traffic, and the one before that.
        variable: Name of the variable of a request's slot; in ``upstream`` mode of the upstream.
        mode: ``split``: each request by a hash of *key*; ``upstream``: weights of one upstream's servers.
    """
    baseline = next(name for name in slots if name != canary)
    facts = {"canary": canary, "weight": str(weight), "before": str(before)}
    generation = hashlib.sha256(json.dumps([facts, dict(slots), variable, mode, key]).encode()).hexdigest()[:12]
    lines = [_HEAD + json.dumps(facts | {"generation": generation})]
    if mode == "upstream":
        parts, whole = weight.numerator, weight.denominator
        lines.append(f"upstream {variable} {{")
        for name, part in ((baseline, whole - parts), (canary, parts)):
            lines.append(f"    server {slots[name]} {f'weight={part}' if part else 'down'};  # {name}")
        lines.append("}")
    else:
        lines += [f"upstream {name} {{ server {address}; }}" for name, address in slots.items()]
        lines.append(f'split_clients "{key}" ${variable} {{')
        if 0 < weight < 1:
            lines.append(f"    {percent_number(weight)}% {canary};")
        lines += [f"    * {canary if weight == 1 else baseline};", "}"]
    share = f"{weight.numerator}/{weight.denominator}"
    lines.append(f'map "" ${variable}_now {{ default "canary={canary} weight={share} generation={generation}"; }}')
    return "\n".join(lines) + "\n"


def read_written(text: str) -> Written:
    """Read what `render` wrote; raises `TargetError`."""
    first = text.partition("\n")[0]
    try:
        facts: Any = json.loads(first.removeprefix(_HEAD)) if first.startswith(_HEAD) else None
        return Written(
            str(facts["canary"]), Fraction(facts["weight"]), Fraction(facts["before"]), str(facts["generation"])
        )
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise TargetError(
            "the file of weights was not written by Tightrope", remedy="move it away; a new one is written at the start"
        ) from None


class NginxTarget:
    """An nginx on this machine. A weight counts once all workers that answer, and all that still serve, have it."""

    grain = GRAIN

    def __init__(self, strategy: RolloutStrategy, release: Release, kept: Mapping[str, str], run: RunCommand) -> None:
        self._settings: Mapping[str, Any] = strategy.settings
        self._folder = strategy.folder
        self._kept = kept
        self._run = run
        self._release = release
        self._file = Path(strategy.folder, str(self._settings["file"]))
        self._slots = {str(name): str(address) for name, address in self._settings["slots"].items()}
        self._variable = str(self._settings.get("variable", "tightrope_slot"))
        self._mode = str(self._settings.get("mode", "split"))
        self._key = str(self._settings.get("key", "$request_id"))

    def begin(self) -> Mapping[str, str]:
        """Find the slot of the old version, and write the file where there is none yet."""
        first, second = self._slots
        if not self._file.exists():
            self._write(second, Fraction(0))
            return {"canary": second, "baseline": first}
        written = self._written()
        if written.canary not in self._slots:
            raise TargetError(
                f"{self._file} speaks of a slot {written.canary!r}", remedy=f"the slots are {first} and {second}"
            )
        other = first if written.canary == second else second
        live, free = (written.canary, other) if written.weight == 1 else (other, written.canary)
        if written.weight == 1:  # the last release stays where it is; its slot is the old version's from now on
            self._write(free, Fraction(0))
        return {"canary": free, "baseline": live}

    def arms(self) -> tuple[str, str]:
        """The addresses of both slots, as ``$upstream_addr`` has them."""
        if not self._kept:
            return "", ""
        return self._slots[self._kept["canary"]], self._slots[self._kept["baseline"]]

    def observe(self) -> Seen:
        """See the weight of the workers that answer, and of those that still have requests of before."""
        written = self._written()
        told = self._probed()
        canary = self._kept.get("canary", written.canary)
        shares = []
        for slot, weight, _ in told:
            shares.append(weight if slot == canary else 1 - weight)
        generations = sorted({generation for _, _, generation in told})
        if len(generations) > 1:
            raise TargetError("the workers of nginx disagree: it is reloading", remedy="look again in a moment")
        share = shares[0]
        old = self._old_workers()
        if old:
            share = max(share, written.before if written.canary == canary else 1 - written.before)
        how = f"{len(told)} probes of the running workers say so"
        if generations != [written.generation]:
            how += f", and {self._file.name} says {percent_number(written.weight)} %"
        if old:
            how += f"; {old} old worker{'s' if old > 1 else ''} still serve"
        return Seen(share, share == 1, how)

    def set_weight(self, weight: Fraction, key: str) -> None:
        """Write the file, have it checked, and reload."""
        self._write(self._canary(), weight)

    def promote(self, key: str) -> None:
        """Leave all of the traffic where it is, and run what is to be run besides."""
        self._write(self._canary(), Fraction(1))
        if self._settings.get("promote"):
            release = self._release
            variables = {
                "TIGHTROPE_RUN": release.run,
                "TIGHTROPE_KEY": key,
                "TIGHTROPE_SERVICE": release.service,
                "TIGHTROPE_ENVIRONMENT": release.environment,
                "TIGHTROPE_VERSION": release.version,
                "TIGHTROPE_PREVIOUS": release.previous,
                "TIGHTROPE_SLOT": self._canary(),
            }
            argv = argv_of(self._settings["promote"])
            done(self._run(argv, folder=self._folder, variables=variables, timeout_s=300), "promote")

    def roll_back(self, key: str) -> None:
        """Give everything to the old version's slot."""
        self._write(self._canary(), Fraction(0))

    # --- the file

    def _canary(self) -> str:
        return self._kept.get("canary", list(self._slots)[1])

    def _written(self) -> Written:
        try:
            return read_written(self._file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise TargetError(f"{self._file} cannot be read: {said}", remedy="check its permissions") from None

    def _write(self, canary: str, weight: Fraction) -> None:
        before: str | None = None
        last = Fraction(0)
        if self._file.exists():
            before = self._file.read_text(encoding="utf-8")
            written = self._written()
            same = written.canary == canary and written.weight == weight
            last = written.before if same else written.weight if written.canary == canary else 1 - written.weight
        text = render(self._slots, canary, weight, last, variable=self._variable, mode=self._mode, key=self._key)
        if text != before:
            self._put(text)
            checked = self._nginx("-t")
            if checked:
                if before is not None:
                    self._put(before)
                raise TargetError(f"nginx does not take the weights: {checked}", remedy="run nginx -t to see why")
        told = {generation for _, _, generation in self._probed(quietly=True)}
        if told != {read_written(text).generation}:
            failed = self._nginx("-s", "reload")
            if failed:
                raise TargetError(f"nginx cannot be reloaded: {failed}", remedy="check that it runs")

    def _put(self, text: str) -> None:
        """Write the file whole or not at all."""
        try:
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=".tightrope-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
                Path(name).chmod(0o644)
                Path(name).replace(self._file)
            except OSError:
                with suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise TargetError(f"{self._file} cannot be written: {error.strerror}", remedy="check its folder") from None

    def _nginx(self, *words: str) -> str:
        """Run nginx; what it complains of, empty where it does not."""
        argv = [str(self._settings.get("program", "nginx"))]
        for flag, name in (("-p", "prefix"), ("-c", "configuration")):
            if self._settings.get(name):
                argv += [flag, str(Path(self._folder, str(self._settings[name])).resolve())]
        finished = self._run([*argv, *words], folder=self._folder, timeout_s=20)
        if finished.code == 0:
            return ""
        lines = [line for line in finished.out.splitlines() if any(one in line for one in _SERIOUS)]
        return (lines[0] if lines else finished.why)[:300]

    # --- what runs

    def _probed(self, *, quietly: bool = False) -> list[tuple[str, Fraction, str]]:
        """Ask the running workers several times, over connections of their own, for slot, share and generation."""
        found = []
        for _ in range(_PROBES):
            seen = look(str(self._settings["probe"]), HttpSettings(timeout_s=_PROBE_S, attempts=1), most_bytes=200)
            match = _TOLD.match(seen.body.decode("utf-8", "replace")) if seen.status == 200 else None
            if match is None:
                if quietly:
                    return []
                why = seen.why or f"it answers {seen.status}"
                raise TargetError(
                    f"nginx does not tell its weight: {why}",
                    remedy=f"add a location that returns ${self._variable}_now, see docs/rollouts.md",
                )
            found.append((match[1], Fraction(int(match[2]), int(match[3])), match[4]))
        return found

    def _old_workers(self) -> int:
        """How many workers of before a reload still serve requests; 0 where that cannot be seen."""
        if not self._settings.get("pidFile"):
            return 0
        try:
            master = Path(self._folder, str(self._settings["pidFile"])).read_text(encoding="ascii").strip()
            children = Path("/proc", master, "task", master, "children").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return 0
        found = 0
        for child in children:
            with suppress(OSError):
                found += _OLD_WORKER in Path("/proc", child, "cmdline").read_text(encoding="utf-8", errors="replace")
        return found
