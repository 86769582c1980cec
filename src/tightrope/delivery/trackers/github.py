"""GitHub's API: as an App, or with a token.

Source:
    github/docs: authenticating as a GitHub App (a JWT of at most ten minutes, RS256), generating an installation access
    token, rate limits (403 and 429 with ``retry-after`` or ``x-ratelimit-remaining: 0``).
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from tightrope.base.errors import UsageError
from tightrope.base.http import Reply
from tightrope.base.units import parse_time
from tightrope.delivery.trackers import Sent
from tightrope.delivery.trackers.asking import Line, document, seconds
from tightrope.policy.dialects.hearing import at

API_VERSION = "2022-11-28"
MISSED_S, SETTLED_S, MOST_ATTEMPTS = 3 * 86_400, 60, 5
"""Deliveries that failed are asked for again: those of three days, a minute after they failed, so often at most."""

_EARLY_S = 60
"""An installation token is taken for over so long before it is."""

_BACKDATED_S, _JWT_S = 60, 540


class GitHub:
    """One GitHub, as one installation of an App or one user. Any thread may call it.

    Args:
        api: Address of the API.
        token: Of a user or installation; empty: the App's own.
        app, installation: Numbers of the App and its installation.
        key: The App's private key, in PEM.

    Raises:
        UsageError: There is neither a token nor a whole App.
    """

    def __init__(
        self, api: str, *, token: str = "", app: int | None = None, installation: int | None = None, key: str = ""
    ) -> None:
        if not token and not (app and installation and key):
            raise UsageError(
                "GitHub is answered with a token, or as an App",
                remedy="set tokenFrom, or app with id, installation and privateKeyFrom",
            )
        self._token = token
        self._app, self._installation, self._key = app, installation, key
        self._line = Line(api, token, key)
        self._lock = Lock()
        self._given = ""
        self._given_until = 0

    def send(self, method: str, path: str, body: Mapping[str, Any], now: int) -> Sent:
        """Make one call; see `Tracker.send`."""
        with self._lock:
            token = self._token or self._installation_token(now)
        if isinstance(token, Sent):
            return token
        reply = self._line.ask(method, path, body, _headers(token))
        if isinstance(reply, Sent):
            return reply
        if reply.status == 401 and not self._token:
            with self._lock:
                self._given_until = 0
        return self._judged(reply, now)

    def has(self, path: str, text: str, now: int) -> bool | Sent:
        """Whether a comment is there; see `Tracker.has`."""
        with self._lock:
            token = self._token or self._installation_token(now)
        return token if isinstance(token, Sent) else self._line.has(path, text, _headers(token))

    def missed(self, now: int) -> list[int] | Sent:
        """The newest attempts of deliveries that never reached us: GitHub makes none again by itself.

        Only the App is told of them; with a token there are none. What went wrong, where it did.
        """
        if not self._app:
            return []
        reply = self._line.ask("GET", "/app/hook/deliveries?per_page=100", None, _headers(self._jwt(now)))
        if isinstance(reply, Sent):
            return reply
        told = document(reply.text)
        return _missed(told, now) if reply.status == 200 and isinstance(told, list) else self._line.judged(reply)

    def send_again(self, delivery: int, now: int) -> Sent:
        """Ask GitHub to make a delivery again."""
        reply = self._line.ask("POST", f"/app/hook/deliveries/{delivery}/attempts", {}, _headers(self._jwt(now)))
        return reply if isinstance(reply, Sent) else self._line.judged(reply)

    def close(self) -> None:
        """Let go of the connections."""
        self._line.close()

    def _judged(self, reply: Reply, now: int) -> Sent:
        found = self._line.judged(reply)
        if found.done or reply.status not in {403, 429}:
            return found
        waits_s = found.retry_after_s
        if not waits_s and reply.headers.get("x-ratelimit-remaining") == "0":
            reset = reply.headers.get("x-ratelimit-reset", "")
            waits_s = min(max(1, int(reset) - now), 3600) if reset.isascii() and reset.isdigit() else 60
        return Sent(done=False, passing=reply.status == 429 or waits_s > 0, said=found.said, retry_after_s=waits_s)

    def _installation_token(self, now: int) -> str | Sent:
        if self._given and now < self._given_until - _EARLY_S:
            return self._given
        path = f"/app/installations/{self._installation}/access_tokens"
        reply = self._line.ask("POST", path, {}, _headers(self._jwt(now)))
        if isinstance(reply, Sent):
            return reply
        told = document(reply.text)
        token = told.get("token") if isinstance(told, dict) else None
        if reply.status != 201 or not isinstance(token, str) or not token:
            # A wrong key or installation can be mended while a job waits, so it is tried again.
            said = f"{self._line.host} gives the App no token: it answers {reply.status}"
            return Sent(
                done=False, passing=True, said=said, retry_after_s=seconds(reply.headers.get("retry-after", ""))
            )
        expires = told.get("expires_at")
        self._given, self._given_until = token, _expiry(expires, now)
        self._line.secrets = [one for one in (self._key, token) if one]
        return token

    def _jwt(self, now: int) -> str:
        """A token of the App itself: dated back a little, for clocks differ, and good for less than ten minutes."""
        try:
            from joserfc import jwt
            from joserfc.errors import JoseError
            from joserfc.jwk import RSAKey
        except ModuleNotFoundError:
            raise UsageError(
                "answering as a GitHub App needs a library that is not installed",
                remedy="pip install 'tightrope[oidc]', or use tokenFrom",
            ) from None
        claims = {"iat": now - _BACKDATED_S, "exp": now + _JWT_S, "iss": str(self._app)}
        try:
            return jwt.encode({"alg": "RS256", "typ": "JWT"}, claims, RSAKey.import_key(self._key))
        except (JoseError, ValueError):
            raise UsageError(
                "the private key of the GitHub App cannot be read",
                remedy="put the PEM that GitHub gave into the variable",
            ) from None


def _headers(token: str) -> dict[str, str]:
    return {
        "accept": "application/vnd.github+json",
        "authorization": f"Bearer {token}",
        "x-github-api-version": API_VERSION,
        "user-agent": "tightrope",
    }


def _missed(attempts: list[Any], now: int) -> list[int]:
    by_guid: dict[str, list[tuple[int, int, int]]] = {}
    for one in attempts:
        guid, number, status = (at(one, name) for name in ("guid", "id", "status_code"))
        if isinstance(guid, str) and isinstance(number, int) and isinstance(status, int):
            by_guid.setdefault(guid, []).append((_expiry(at(one, "delivered_at"), 0), number, status))
    found = []
    for tries in by_guid.values():
        when, number, _ = max(tries)
        reached = any(200 <= status < 300 for _, _, status in tries)
        if not reached and SETTLED_S <= now - when <= MISSED_S and len(tries) < MOST_ATTEMPTS:
            found.append(number)
    return found


def _expiry(text: Any, now: int) -> int:
    try:
        return parse_time(text) if isinstance(text, str) else now + 600
    except UsageError:
        return now + 600
