"""A provider of OpenID Connect: what it says of itself, its keys, and who came with a code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from threading import Lock
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from tightrope.access.oidc import Begun, Endpoints, OidcSettings, Person, groups_of, key_named, person, secure, verified
from tightrope.base.errors import SourceError, SourceUnreachableError, UnauthorizedError, UsageError
from tightrope.base.http import HttpClient, HttpSettings, Reply, shown_url

KEPT_S = 3600
"""For how long what the provider says of itself is taken as it was."""

KEYS_ASKED_EVERY_S = 30
"""An unknown key lets us ask for the keys anew, but not more often than this."""

_TIMEOUT_S = 10
_REMEDY = "look at TIGHTROPE_OIDC_ISSUER, and whether the identity provider is up"


class OidcProvider:
    """One provider, asked over HTTP; any number of threads may use it."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._endpoints: Endpoints | None = None
        self._endpoints_at = 0
        self._keys: list[dict[str, Any]] = []
        self._keys_at: int | None = None

    def endpoints(self, now: int) -> Endpoints:
        """What the provider says of itself.

        Raises:
            SourceUnreachableError: It does not answer.
            SourceError: It is another one than the settings say, or sends secrets where they must not go.
        """
        with self._lock:
            if self._endpoints is None or not 0 <= now - self._endpoints_at < KEPT_S:
                self._endpoints, self._endpoints_at = self._discover(), now
            return self._endpoints

    def person(self, code: str, begun: Begun, redirect_url: str, now: int) -> Person:
        """Redeem the code that somebody brought, and tell who they are.

        Raises:
            UnauthorizedError: The provider does not take the code, or its ID token is not for us and this browser.
            SourceUnreachableError, SourceError: As with `endpoints`.
        """
        endpoints = self.endpoints(now)
        answer = self._redeem(endpoints, code, begun.verifier, redirect_url)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            self._nonsense("there is no ID token in its answer")
        claims = verified(id_token, self._signing_keys(endpoints, id_token, now), self._settings, begun.nonce, now)
        access_token = answer.get("access_token")
        missing = groups_of(claims, self._settings.groups_claim) is None or self._settings.name_claim not in claims
        if missing and endpoints.user_info and isinstance(access_token, str):
            claims = self._user_info(endpoints, access_token, claims)
        return person(claims, self._settings)

    def _discover(self) -> Endpoints:
        issuer = self._settings.issuer
        told = self._document(self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
        if told.get("issuer") != issuer:
            self._nonsense(f"it calls itself {str(told.get('issuer'))[:200]!r}")
        named = {
            name: told.get(name)
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
        }
        for name, address in named.items():
            if address is None and name == "userinfo_endpoint":
                continue
            try:
                secure(address if isinstance(address, str) else "", name)
            except UsageError as error:
                self._nonsense(error.message)
        ways = told.get("token_endpoint_auth_methods_supported")
        return Endpoints(
            str(named["authorization_endpoint"]),
            str(named["token_endpoint"]),
            str(named["jwks_uri"]),
            str(named["userinfo_endpoint"] or ""),
            basic=not isinstance(ways, list) or "client_secret_basic" in ways,
        )

    def _redeem(self, endpoints: Endpoints, code: str, verifier: str, redirect_url: str) -> Mapping[str, Any]:
        settings = self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_url,
            "code_verifier": verifier,
        }
        auth = None
        if settings.client_secret and endpoints.basic:
            auth = (quote(settings.client_id, safe=""), quote(settings.client_secret, safe=""))
        else:
            form["client_id"] = settings.client_id
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        reply = self._ask(endpoints.token, form=form, auth=auth)
        if 400 <= reply.status < 500:
            said = _document(reply.text).get("error")
            why = f": {said[:100]}" if isinstance(said, str) and said.isprintable() else ""
            raise UnauthorizedError(
                f"the identity provider did not take the code{why}",
                remedy="log in again; for invalid_client, look at the client's id and secret in the settings",
            )
        return self._document(reply)

    def _signing_keys(self, endpoints: Endpoints, id_token: str, now: int) -> list[dict[str, Any]]:
        with self._lock:
            age = None if self._keys_at is None else now - self._keys_at
            old = age is None or not 0 <= age < KEPT_S
            unknown = age is not None and age >= KEYS_ASKED_EVERY_S and not key_named(id_token, self._keys)
            if old or unknown:
                found = self._document(self._get(endpoints.keys)).get("keys")
                if not isinstance(found, list):
                    self._nonsense("there are no keys at its jwks_uri")
                self._keys = [one for one in found if isinstance(one, dict)]
                self._keys_at = now
            return self._keys

    def _user_info(self, endpoints: Endpoints, access_token: str, claims: dict[str, Any]) -> dict[str, Any]:
        """The claims of the ID token, and those that stand only in the user info."""
        told = self._document(self._get(endpoints.user_info, {"Authorization": f"Bearer {access_token}"}))
        if told.get("sub") != claims["sub"]:
            self._nonsense("its user info is of somebody else")
        return {**told, **claims}

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self._ask(url, headers=headers)

    def _ask(
        self,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> Reply:
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        # A code is good once: what was sent with it is not sent again.
        how = HttpSettings(
            auth=auth, timeout_s=_TIMEOUT_S, attempts=1 if form is not None else 2, ca_file=self._settings.ca_file
        )
        client = HttpClient(f"{parts.scheme}://{parts.netloc}", how)
        try:
            return client.post_form(path, form) if form is not None else client.get(path, headers)
        except SourceUnreachableError:
            raise SourceUnreachableError(
                f"the identity provider does not answer at {shown_url(url)}", remedy=_REMEDY
            ) from None
        except SourceError as error:
            raise SourceError(f"the identity provider makes no sense: {error.message}", remedy=_REMEDY) from None
        finally:
            client.close()

    def _document(self, reply: Reply) -> Mapping[str, Any]:
        found = _document(reply.text)
        if reply.status != 200 or not found:
            self._nonsense(f"it answers {reply.status}{'' if found else ', and not with a JSON object'}")
        return found

    def _nonsense(self, what: str) -> NoReturn:
        raise SourceError(f"the identity provider {self._settings.issuer} makes no sense: {what}", remedy=_REMEDY)


def _document(text: str) -> dict[str, Any]:
    """The JSON object that a text is; empty for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
