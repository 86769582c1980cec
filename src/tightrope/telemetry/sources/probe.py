"""HTTP probes: one look at an address, and whether it was as it should be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tightrope.base.errors import UsageError
from tightrope.base.http import HttpSettings, Look, look
from tightrope.base.settings import environment
from tightrope.specs.model import DataSource
from tightrope.telemetry.options import Options
from tightrope.telemetry.probing import ProbeResult, latency
from tightrope.telemetry.questions import Answer, Ask, Horizon, Tell
from tightrope.telemetry.tally import GRAIN_S

_METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
_TIMEOUT_S = 10
_MOST_BYTES = 1 << 20  # of a body that is searched
_STATUS = re.compile(r"[1-5](\d\d|xx)", re.ASCII)
_UP = ("2xx", "3xx")

Looks = Callable[..., Look]


class HttpProbe:
    """``connectionDetails``: url; method, headers, body, every, timeout, expectStatus, bodyMatch, maxLatency,
    tlsExpiresIn, followRedirects, caFile, tlsInsecure, resolution.

    Nothing here decides when to probe: whoever turns the loop calls `probe` every ``every_s`` seconds.
    """

    asks_the_present = True

    def __init__(self, source: DataSource, looks: Looks = look) -> None:
        where = f"{source.place}: data source {source.name!r}: connectionDetails"
        options = Options(source.connection, where)
        self._name = source.name
        self._looks = looks
        self._url = options.text("url")
        self._method = options.choice("method", _METHODS, "GET")
        self._content = options.text("body", "").encode()
        self.every_s = options.seconds("every") or GRAIN_S
        """Seconds from one probe to the next."""
        self._status = options.texts("expectStatus") or _UP
        for one in self._status:
            if _STATUS.fullmatch(one) is None:
                raise options.wrong(f"expectStatus {one!r} is neither a class nor a code", "write 2xx, or 204")
        pattern = options.text("bodyMatch", "")
        try:
            self._pattern = re.compile(pattern.encode()) if pattern else None
        except re.error as error:
            raise options.wrong(f"bodyMatch {pattern!r} is no regular expression: {error}") from None
        self._max_latency = latency(options, "maxLatency")
        self._tls_left_s = options.seconds("tlsExpiresIn")
        self._follow = options.flag("followRedirects")
        insecure = options.flag("tlsInsecure")
        if insecure and self._tls_left_s is not None:
            raise options.wrong("tlsExpiresIn wants a certificate that is checked", "remove tlsInsecure")
        ca_file = options.text("caFile", "")
        self._settings = HttpSettings(
            _headers(options),
            timeout_s=float(options.seconds("timeout") or _TIMEOUT_S),
            attempts=1,
            ca_file=str(Path(source.folder) / ca_file) if ca_file else "",
            verify=not insecure,
        )
        options.given("resolution")
        options.done()

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        """Refuse: what was not probed in its time can't be read later."""
        raise UsageError(
            f"data source {self._name!r} has the type probe: it is probed, not read",
            remedy="it needs `tightrope serve`, which probes it and remembers what it found",
        )

    def probe(self, now: int) -> ProbeResult:
        """Look once, and judge; raises `UsageError` where the settings can't be used. *now* is UTC epoch seconds."""
        searched = _MOST_BYTES if self._pattern is not None else 0
        seen = self._looks(
            self._url,
            self._settings,
            method=self._method,
            content=self._content,
            follow=self._follow,
            most_bytes=searched,
        )
        left_s = None if seen.certificate_until is None else seen.certificate_until - now
        if seen.status is None:
            return ProbeResult(now, False, seen.why, None, None, left_s)
        why = self._fault(seen, left_s)
        return ProbeResult(now, not why, why, seen.status, seen.micros, left_s)

    def _fault(self, seen: Look, left_s: int | None) -> str:
        status = str(seen.status)
        if status not in self._status and f"{status[0]}xx" not in self._status:
            return f"it answers {status}, not {' or '.join(self._status)}"
        if self._pattern is not None and self._pattern.search(seen.body) is None:
            return f"its body does not match {self._pattern.pattern.decode()!r}"
        if self._max_latency is not None and seen.micros > self._max_latency:
            return f"it took {seen.micros / 1000:.0f} ms, more than {float(self._max_latency) / 1000:g} ms"
        if self._tls_left_s is not None and (left_s is None or left_s < self._tls_left_s):
            return "it shows no certificate" if left_s is None else f"its certificate ends in {left_s // 86400} days"
        return ""


def _headers(options: Options) -> dict[str, str]:
    """Read headers; a value may come from the environment: ``{env: NAME, prefix: "Bearer "}``. No message shows it."""
    headers = {}
    for name, value in options.mapping("headers").items():
        if not isinstance(value, Mapping):
            headers[name] = str(value)
            continue
        found = environment(_variable(options, name, value))
        if not found:
            variable = _variable(options, name, value)
            raise options.wrong(
                f"header {name} wants the environment variable {variable}, which is not set", f"export {variable}=…"
            )
        headers[name] = str(value.get("prefix", "")) + found
    return headers


def _variable(options: Options, name: str, value: Mapping[str, Any]) -> str:
    named = value.get("env") or value.get("fromEnv")
    if not named or set(value) - {"env", "fromEnv", "prefix"}:
        raise options.wrong(f"header {name} must be a text or {{env: NAME}}")
    return str(named)
