"""Traffic moved by commands of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from tightrope.delivery.commands import RunCommand
from tightrope.delivery.targets import (
    Environment,
    Release,
    Seen,
    argv_of,
    decimal_text,
    done,
    grain_of,
    percent_number,
    read_weight,
    seconds_of,
    secret_of,
)
from tightrope.specs.model import RolloutStrategy


class ShellTarget:
    """Four commands, told everything by variables, ``TIGHTROPE_WEIGHT`` and ``TIGHTROPE_VERSION`` above all."""

    def __init__(self, strategy: RolloutStrategy, release: Release, run: RunCommand, environment: Environment) -> None:
        self._settings = settings = strategy.settings
        self._release = release
        self._run = run
        self._environment = environment
        self._folder = str(Path(strategy.folder, str(settings.get("folder", "."))))
        self._timeout_s = seconds_of(settings, "timeout", 30)
        self.grain = grain_of(settings)

    def begin(self) -> Mapping[str, str]:
        """Nothing is to be made ready."""
        return {}

    def arms(self) -> tuple[str, str]:
        """The telemetry knows both by their versions, if at all."""
        return "", ""

    def observe(self) -> Seen:
        """Run ``observe``: the last line that it writes is the share."""
        said = self._call("observe", "", None).strip().splitlines()
        weight = read_weight(said[-1] if said else "")
        return Seen(weight, weight == 1, "as `observe` says")

    def set_weight(self, weight: Fraction, key: str) -> None:
        """Run ``setWeight``."""
        self._call("setWeight", key, weight)

    def promote(self, key: str) -> None:
        """Run ``promote``, where there is one."""
        if self._settings.get("promote"):
            self._call("promote", key, Fraction(1))
        else:
            self.set_weight(Fraction(1), key)

    def roll_back(self, key: str) -> None:
        """Run ``rollback``, or ``setWeight`` with 0."""
        self._call("rollback" if self._settings.get("rollback") else "setWeight", key, Fraction(0))

    def _call(self, name: str, key: str, weight: Fraction | None) -> str:
        release = self._release
        variables = {str(one): str(value) for one, value in dict(self._settings.get("env") or {}).items()}
        for one, where in dict(self._settings.get("secrets") or {}).items():
            variables[str(one)] = secret_of(where, self._environment, f"the target's secret {one}")
        variables |= {
            "TIGHTROPE_RUN": release.run,
            "TIGHTROPE_KEY": key,
            "TIGHTROPE_SERVICE": release.service,
            "TIGHTROPE_ENVIRONMENT": release.environment,
            "TIGHTROPE_VERSION": release.version,
            "TIGHTROPE_PREVIOUS": release.previous,
        }
        if weight is not None:
            variables["TIGHTROPE_WEIGHT"] = decimal_text(weight)
            variables["TIGHTROPE_PERCENT"] = percent_number(weight)
        finished = self._run(
            argv_of(self._settings[name]), folder=self._folder, variables=variables, timeout_s=self._timeout_s
        )
        return done(finished, name)
