"""Traffic moved by a service of one's own, which is asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import urlencode

from tightrope.base.errors import SourceError
from tightrope.base.http import HttpClient, HttpSettings, Reply, shown_body
from tightrope.delivery.targets import (
    Environment,
    Release,
    Seen,
    TargetError,
    grain_of,
    percent_number,
    read_weight,
    seconds_of,
    secret_of,
)
from tightrope.specs.model import RolloutStrategy


class HttpTarget:
    """GET tells ``{"weight": "1/20"}``; PUT sets it; POST ``/promote`` and ``/rollback`` end it.

    A GET names the version that it asks for, since one that was promoted has all of the traffic when the next begins.
    Every request that changes something carries an ``Idempotency-Key``.
    """

    def __init__(self, strategy: RolloutStrategy, release: Release, environment: Environment) -> None:
        self._settings = strategy.settings
        self._release = release
        self._environment = environment
        self.grain = grain_of(strategy.settings)

    def begin(self) -> Mapping[str, str]:
        """Nothing is to be made ready."""
        return {}

    def arms(self) -> tuple[str, str]:
        """The telemetry knows both by their versions, if at all."""
        return "", ""

    def observe(self) -> Seen:
        """Ask what the traffic does."""
        release = self._release
        asked = {"service": release.service, "environment": release.environment, "version": release.version}
        found = self._ask("GET", f"?{urlencode(asked)}", None, "")
        try:
            told = json.loads(found.text)
            weight = told["weight"]
            promoted = told.get("promoted")
        except (ValueError, KeyError, TypeError):
            raise TargetError(
                f"the target answers {shown_body(found.text)[:80]!r}, in which there is no weight",
                remedy='let it answer {"weight": "1/20"}',
            ) from None
        share = read_weight(str(weight))
        return Seen(share, share == 1 if promoted is None else bool(promoted), "as the target answers")

    def set_weight(self, weight: Fraction, key: str) -> None:
        """Ask for a share."""
        self._ask("PUT", "", weight, key)

    def promote(self, key: str) -> None:
        """Ask it to keep the new version only."""
        self._ask("POST", "/promote", Fraction(1), key)

    def roll_back(self, key: str) -> None:
        """Ask it to keep the old version only."""
        self._ask("POST", "/rollback", Fraction(0), key)

    def _ask(self, method: str, path: str, weight: Fraction | None, key: str) -> Reply:
        headers = {"content-type": "application/json"} if weight is not None else {}
        if self._settings.get("tokenFrom"):
            token = secret_of(self._settings["tokenFrom"], self._environment, "the target's token")
            headers["authorization"] = f"Bearer {token}"
        body = b""
        if weight is not None:
            headers["idempotency-key"] = key
            body = json.dumps(self._document(weight)).encode()
        timeout_s = float(seconds_of(self._settings, "timeout", 30))
        client = HttpClient(str(self._settings["url"]), HttpSettings(timeout_s=timeout_s, attempts=2))
        try:
            found = client.send(method, path, body, headers) if body else client.get(path, headers)
        except SourceError as error:
            raise TargetError(error.message, remedy=error.remedy) from None
        finally:
            client.close()
        if not 200 <= found.status < 300:
            place = path.partition("?")[0] or "/"
            raise TargetError(
                f"the target answers {found.status} to {method} {place}: {shown_body(found.text)[:120]}",
                remedy="see the log of that service",
            )
        return found

    def _document(self, weight: Fraction) -> dict[str, Any]:
        release = self._release
        return {
            "weight": f"{weight.numerator}/{weight.denominator}",
            "percent": percent_number(weight),
            "run": release.run,
            "service": release.service,
            "environment": release.environment,
            "version": release.version,
            "previous": release.previous,
        }
