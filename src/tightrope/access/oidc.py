"""Logging in by OpenID Connect: the authorization code flow with PKCE, state and nonce, and roles from groups.

What a browser begins is kept in one cookie, the flow: a time, 256 random bits and the page to return to. State, nonce
and code verifier follow from it by hashes with names of their own, so the server keeps nothing, any replica may finish
what another began, and an answer that belongs to another browser does not fit.

Source:
    OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7; RFC 7636 (PKCE); RFC 9207 (``iss`` in the answer).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tightrope.access.local import is_loopback
from tightrope.access.roles import parse_role
from tightrope.access.sessions import PersonalGrant, local_path
from tightrope.access.tokens import random_text
from tightrope.base.errors import SourceError, UnauthorizedError, UsageError

FLOW_COOKIE = "tightrope_login"
FLOW_S = 600
"""For how long somebody may take at the identity provider."""

LEEWAY_S = 60
"""By how much the clocks of the provider and ours may differ."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures that are taken: with a key pair only, since a shared secret would let every holder log in as anybody."""

EVERYBODY = "*"
_TIMES = (("exp", None), ("iat", None), ("nbf", 0))
_LAST_INSTANT = 1 << 40
_FLOW = re.compile(r"(\d{1,12})\.([0-9A-Za-z]{43})\.([0-9A-Za-z_-]*)")
_AGAIN = "begin again at the login page"
_WRONG = "log in again; if it stays so, look at the settings of the identity provider"


@dataclass(frozen=True, slots=True)
class Rule:
    """What the members of a group get; the group ``*`` is everybody whom the provider lets in."""

    group: str
    grant: PersonalGrant


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """How people log in.

    Attributes:
        issuer: The provider's address, as it names itself.
        client_id, client_secret: As registered there; without a secret PKCE alone protects the code.
        rules: Which groups get which roles.
        groups_claim: Where the groups stand in the ID token or the user info: a name, or a path such as
            ``realm_access.roles``.
        name_claim: What names a person in the journal. An e-mail address counts only where it is not called unverified.
        scopes: What is asked for.
        ca_file: Certificates to trust instead of the system's; empty: the system's.
    """

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    rules: tuple[Rule, ...] = ()
    groups_claim: str = "groups"
    name_claim: str = "email"
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the provider says of itself; ``basic`` tells how it wants to hear the client's secret."""

    authorization: str
    token: str
    keys: str
    user_info: str = ""
    basic: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """Where to send the browser, and the cookie that it is to bring back until ``ends_at``."""

    url: str
    flow: str = field(repr=False)
    ends_at: int


@dataclass(frozen=True, slots=True)
class Begun:
    """What this browser had begun."""

    verifier: str = field(repr=False)
    nonce: str
    return_to: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom the provider vouches for; ``issuer`` and ``subject`` name them for good."""

    name: str
    issuer: str
    subject: str
    grants: tuple[PersonalGrant, ...]
    teams: tuple[str, ...]


# --- settings -----------------------------------------------------------------------------------------------------


def settings_from(read: Callable[[str], str]) -> OidcSettings | None:
    """Read the settings from variables of the environment; None where TIGHTROPE_OIDC_ISSUER is not set.

    Raises:
        UsageError: One is missing or makes no sense.
    """
    issuer = read("TIGHTROPE_OIDC_ISSUER").strip()
    if not issuer:
        return None
    secure(issuer, "TIGHTROPE_OIDC_ISSUER")
    client = read("TIGHTROPE_OIDC_CLIENT_ID").strip()
    if not client:
        raise UsageError(
            "TIGHTROPE_OIDC_CLIENT_ID is not set", remedy="give the id that the provider has for Tightrope"
        )
    secret = read("TIGHTROPE_OIDC_CLIENT_SECRET")
    rules = parse_rules(read("TIGHTROPE_OIDC_ROLES"))
    if not rules:
        raise UsageError(
            "TIGHTROPE_OIDC_ROLES is not set, so nobody who logs in could do anything",
            remedy="write GROUP=ROLE, separated by commas, such as sre=admin,developers=operator:own,*=viewer",
        )
    plain = OidcSettings(issuer, client, secret, rules)
    return OidcSettings(
        issuer,
        client,
        secret,
        rules,
        groups_claim=read("TIGHTROPE_OIDC_GROUPS_CLAIM").strip() or plain.groups_claim,
        name_claim=read("TIGHTROPE_OIDC_NAME_CLAIM").strip() or plain.name_claim,
        scopes=tuple(read("TIGHTROPE_OIDC_SCOPES").split()) or plain.scopes,
        ca_file=read("TIGHTROPE_OIDC_CA_FILE").strip(),
    )


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Read ``GROUP=ROLE`` and ``GROUP=ROLE:own``, separated by commas; raises `UsageError`."""
    rules = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        group, equals, right = part.rpartition("=")
        role, colon, reach = right.partition(":")
        if not equals or not group.strip() or (colon and reach.strip() != "own"):
            raise UsageError(
                f"{part!r} does not say which group gets which role",
                remedy="write GROUP=ROLE, or GROUP=ROLE:own for the services of one's own teams",
            )
        rules.append(Rule(group.strip(), PersonalGrant(parse_role(role), bool(colon))))
    return tuple(rules)


def secure(url: str, what: str) -> str:
    """The address, if secrets may go there: https, or http on this machine; raises `UsageError`."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
        return url
    raise UsageError(
        f"{what} is {url[:100]!r}, where no secret may go", remedy="give an address that begins with https://"
    )


# --- there and back -----------------------------------------------------------------------------------------------


def start(settings: OidcSettings, endpoints: Endpoints, now: int, redirect_url: str, return_to: str) -> Start:
    """Make the flow of a browser, and the address at the provider to send it to."""
    page = base64.urlsafe_b64encode(return_to.encode()).decode().rstrip("=")
    flow = f"{now}.{random_text()}.{page}"
    challenge = base64.urlsafe_b64encode(hashlib.sha256(_derived(flow, "verifier").encode()).digest())
    asked = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": redirect_url,
        "scope": " ".join(settings.scopes),
        "state": _derived(flow, "state"),
        "nonce": _derived(flow, "nonce"),
        "code_challenge": challenge.decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    joint = "&" if urlsplit(endpoints.authorization).query else "?"
    return Start(f"{endpoints.authorization}{joint}{urlencode(asked)}", flow, now + FLOW_S)


def resume(flow: str, answer: Mapping[str, str], settings: OidcSettings, now: int) -> Begun:
    """Hold the provider's answer against what this browser began.

    Raises:
        UnauthorizedError: They do not belong together, too much time went by, or the provider says no.
    """
    found = _FLOW.fullmatch(flow)
    if found is None or not hmac.compare_digest(_derived(flow, "state"), _plain(answer.get("state", ""))):
        raise UnauthorizedError("this browser did not begin that login", remedy=_AGAIN)
    if not 0 <= now - int(found[1]) <= FLOW_S:
        raise UnauthorizedError("the login took too long", remedy=_AGAIN)
    if answer.get("iss", settings.issuer) != settings.issuer:
        raise UnauthorizedError("another identity provider answered", remedy=_AGAIN)
    if "error" in answer:
        raise UnauthorizedError(f"the identity provider says {_plain(answer['error'])}", remedy=_AGAIN)
    if not answer.get("code"):
        raise UnauthorizedError("the identity provider gave no code", remedy=_AGAIN)
    page = base64.urlsafe_b64decode(found[3] + "=" * (-len(found[3]) % 4)).decode(errors="replace")
    return Begun(_derived(flow, "verifier"), _derived(flow, "nonce"), local_path(page))


def _derived(flow: str, name: str) -> str:
    """43 signs that nobody can tell without the flow, and that tell nothing about the others."""
    digest = hmac.new(flow.encode(), f"tightrope login {name}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _plain(text: str) -> str:
    return "".join(sign for sign in text[:100] if sign.isascii() and sign.isprintable())


# --- who it is ----------------------------------------------------------------------------------------------------


def key_named(id_token: str, keys: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the key that signed is among those that the provider published when we last asked."""
    name = _header(id_token).get("kid")
    return name is None or any(key.get("kid") == name for key in keys)


def verified(
    id_token: str, keys: Sequence[Mapping[str, Any]], settings: OidcSettings, nonce: str, now: int
) -> dict[str, Any]:
    """Read an ID token that the provider signed for us, for this browser, and just now.

    Args:
        id_token: A JWT.
        keys: The provider's public keys, as JWKs.
        settings: Who the provider is, and who we are.
        nonce: What this browser had begun with.
        now: UTC epoch seconds.

    Raises:
        UnauthorizedError: It is not.
    """
    from joserfc import jwt
    from joserfc.errors import JoseError

    for key in _fitting(keys, _header(id_token)):
        try:
            claims = dict(jwt.decode(id_token, key, algorithms=list(ALGORITHMS)).claims)
            break
        except (JoseError, ValueError, TypeError):
            continue
    else:
        raise UnauthorizedError("the ID token is not signed with a key of the identity provider", remedy=_WRONG)
    problem = _problem(claims, settings, nonce, now)
    if problem:
        raise UnauthorizedError(f"the ID token {problem}", remedy=_WRONG)
    return claims


def person(claims: Mapping[str, Any], settings: OidcSettings) -> Person:
    """Tell who somebody is, and what the rules give them."""
    subject = str(claims["sub"])
    named = claims.get(settings.name_claim)
    if settings.name_claim == "email" and claims.get("email_verified") is False:
        named = None
    name = named.strip() if isinstance(named, str) else ""
    groups = groups_of(claims, settings.groups_claim) or ()
    grants = {rule.grant for rule in settings.rules if rule.group in {EVERYBODY, *groups}}
    order = sorted(grants, key=lambda one: (one.role, not one.own), reverse=True)
    printable = name if name.isprintable() and len(name) <= 200 else ""
    return Person(printable or subject, settings.issuer, subject, tuple(order), groups)


def groups_of(claims: Mapping[str, Any], claim: str) -> tuple[str, ...] | None:
    """The groups that stand under a claim or a path of claims; None where there is nothing of that name."""
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if found is None:
        return None
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return tuple(sorted({one for one in listed if isinstance(one, str) and one.isprintable() and len(one) <= 200}))


def _header(id_token: str) -> Mapping[str, Any]:
    from joserfc.errors import JoseError
    from joserfc.jws import extract_compact

    try:
        header: Mapping[str, Any] = extract_compact(id_token.encode()).headers()
    except (JoseError, ValueError):
        raise SourceError("the identity provider's ID token is no JWT", remedy=_WRONG) from None
    return header


def _fitting(keys: Sequence[Mapping[str, Any]], header: Mapping[str, Any]) -> Iterator[Any]:
    """The public keys that may have signed; what can't be read as a key is passed over, and shared secrets always."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    name = header.get("kid")
    for one in keys:
        if one.get("kty") == "oct" or one.get("use", "sig") != "sig" or (name and one.get("kid") != name):
            continue
        try:
            yield import_key(dict(one))
        except (JoseError, ValueError, TypeError, KeyError):
            continue


def _problem(claims: Mapping[str, Any], settings: OidcSettings, nonce: str, now: int) -> str:
    """What is wrong with the claims of a token whose signature holds; empty: nothing."""
    if claims.get("iss") != settings.issuer:
        return "is of another issuer"
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    if settings.client_id not in listed:
        return "is for another client"
    if claims.get("azp", settings.client_id) != settings.client_id or (len(listed) > 1 and "azp" not in claims):
        return "was issued to another client"
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        return "names nobody"
    ends, issued, begins = (_instant(claims.get(name, other)) for name, other in _TIMES)
    if ends is None or issued is None or begins is None:
        return "does not say when it is good"
    if now >= ends + LEEWAY_S:
        return "has expired"
    if max(issued, begins) > now + LEEWAY_S:
        return "is of a time to come: are the clocks right?"
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        return "is not for this login"
    return ""


def _instant(value: object) -> float | None:
    """A NumericDate of a JWT, which may have a fraction; None for anything else."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _LAST_INSTANT
    return value if good and isinstance(value, (int, float)) else None
