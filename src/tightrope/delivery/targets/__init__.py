"""What moves the traffic of a release: one file for each kind, all of one shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Protocol

from tightrope.base.errors import TightropeError, UsageError
from tightrope.base.units import parse_duration, parse_fraction
from tightrope.base.values import dataclass
from tightrope.delivery.commands import Finished, RunCommand
from tightrope.specs.model import RolloutStrategy, TargetType

Environment = Callable[[str], str]
"""Tells the value of an environment variable; empty where it is not set."""

GRAIN = Fraction(1, 10_000)


class TargetError(TightropeError):
    """The target refused, or could not be seen; what it has is to be looked at again."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is released: the run that does it, and versions as people call them; *previous* may not be known."""

    run: str
    service: str
    environment: str
    version: str
    previous: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a target: the share of the new version, whether it is the only one now, and how it is known."""

    weight: Fraction
    promoted: bool
    how: str = ""


class Target(Protocol):
    """Moves traffic to a new version, and sees where it is. Each verb may be repeated without harm."""

    grain: Fraction
    """The smallest share that it can give."""

    def begin(self) -> Mapping[str, str]:
        """Make ready, and tell what is to be remembered of it for all that follows; raises `TargetError`."""
        ...

    def arms(self) -> tuple[str, str]:
        """What the telemetry calls the new and the old version; empty where it does not know."""
        ...

    def observe(self) -> Seen:
        """See what the traffic does now, not what it was asked for; raises `TargetError`."""
        ...

    def set_weight(self, weight: Fraction, key: str) -> None:
        """Give the new version this share; *key* is the same for the same wish. Raises `TargetError`."""
        ...

    def promote(self, key: str) -> None:
        """Make the new version the only one; raises `TargetError`."""
        ...

    def roll_back(self, key: str) -> None:
        """Give everything to the old version; raises `TargetError`."""
        ...


def open_target(
    strategy: RolloutStrategy,
    release: Release,
    kept: Mapping[str, str],
    *,
    run: RunCommand,
    environment: Environment,
) -> Target:
    """Open the target of a strategy for one release.

    Args:
        kept: What `Target.begin` said, once it was asked.
        run: Runs commands.
        environment: For secrets.
    """
    from tightrope.delivery.targets.http import HttpTarget
    from tightrope.delivery.targets.kubernetes import ArgoTarget, KubernetesTarget
    from tightrope.delivery.targets.nginx import NginxTarget
    from tightrope.delivery.targets.shell import ShellTarget

    match strategy.target:
        case TargetType.NGINX:
            return NginxTarget(strategy, release, kept, run)
        case TargetType.SHELL:
            return ShellTarget(strategy, release, run, environment)
        case TargetType.HTTP:
            return HttpTarget(strategy, release, environment)
        case TargetType.KUBERNETES:
            return KubernetesTarget(strategy, release, run)
        case TargetType.ARGO_ROLLOUTS:
            return ArgoTarget(strategy, release, run)


# --- what several targets share -------------------------------------------------------------------------------------


def argv_of(command: object) -> list[str]:
    """A command as a list: text is read by a shell, a list is not."""
    if isinstance(command, str):
        return ["/bin/sh", "-c", command]
    assert isinstance(command, (list, tuple))
    return [str(part) for part in command]


def seconds_of(settings: Mapping[str, Any], name: str, default: int) -> int:
    """A duration among the settings of a target, seconds."""
    return parse_duration(str(settings[name])).seconds if settings.get(name) is not None else default


def grain_of(settings: Mapping[str, Any]) -> Fraction:
    """The smallest share that a target says it can give."""
    return parse_fraction(str(settings["grain"])) if settings.get("grain") is not None else GRAIN


def done(finished: Finished, what: str) -> str:
    """What a command wrote; raises `TargetError` where it failed."""
    if finished.code == 0:
        return finished.out
    said = finished.out.strip().splitlines()
    last = f": {said[-1][:200]}" if said else ""
    raise TargetError(f"{what}: {finished.why}{last}", remedy="run the command by hand to see why")


_WEIGHT = re.compile(r"\s*(\d+)\s*/\s*(\d+)\s*|\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


def read_weight(text: str) -> Fraction:
    """Read a share that a target tells: ``0``, ``0.05``, ``5%`` or ``1/20``; raises `TargetError`."""
    match = _WEIGHT.fullmatch(text)
    if match is None or match[2] == "0" * len(match[2] or "x"):
        raise TargetError(
            f"the target says {text.strip()[:60]!r}, which is no share of traffic", remedy="let it say 0.05, 5% or 1/20"
        )
    share = Fraction(int(match[1]), int(match[2])) if match[1] else Fraction(match[3]) / (100 if match[4] else 1)
    if share > 1:
        raise TargetError(
            f"the target says {text.strip()[:60]!r}, which is more than all of the traffic", remedy="write 5% or 0.05"
        )
    return share


def decimal_text(weight: Fraction, digits: int = 6) -> str:
    """A share as a decimal, for programs: ``0.05``."""
    return f"{float(weight):.{digits}f}".rstrip("0").rstrip(".") or "0"


def percent_number(weight: Fraction) -> str:
    """A share in percent, for programs: ``5``, ``0.1``."""
    return decimal_text(weight * 100, 4)


def secret_of(value: object, environment: Environment, what: str) -> str:
    """A secret by the variable that holds it; raises `UsageError` where it is not set."""
    name = str(value["env"]) if isinstance(value, Mapping) else ""
    found = environment(name) if name else ""
    if not found:
        raise UsageError(f"{what}: the environment variable {name} is not set", remedy=f"set {name} for the server")
    return found
