"""Logging in by OpenID Connect against a real provider on loopback, and everything that must not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import OctKey

from tests.access.provider import (
    CALLBACK,
    CLIENT,
    SECRET,
    Provider,
    signed_by_somebody_else,
    signed_with_a_shared_secret,
    unsigned,
)
from tightrope.access.oidc import FLOW_S, LEEWAY_S, OidcSettings, Rule, groups_of, parse_rules, person
from tightrope.access.providers.oidc import KEYS_ASKED_EVERY_S
from tightrope.access.roles import LOCAL, Permission, Role
from tightrope.access.sessions import PersonalGrant
from tightrope.access.usecases import Access, Credentials, oidc_settings
from tightrope.base.errors import (
    ForbiddenError,
    NotFoundError,
    SourceError,
    SourceUnreachableError,
    TightropeError,
    UnauthorizedError,
    UsageError,
)
from tightrope.state.database import Database, opened
from tightrope.state.journal import Journal

NOON = 1_772_366_400
OWNED = {"payments": frozenset({"checkout"}), "search": frozenset({"search"})}
RULES = "sre=admin,developers=operator:own,staff=viewer"
MARA = {"email": "mara@shop.example", "email_verified": True, "groups": ["developers", "staff", "payments"]}


@pytest.fixture
def database(tmp_path: Path) -> Any:
    """What OpenID Connect keeps, it keeps as sessions; they are tested on each kind of database."""
    with opened(str(tmp_path), create=True) as one:
        yield one


def _settings(provider: Provider) -> OidcSettings:
    return OidcSettings(provider.issuer, CLIENT, SECRET, parse_rules(RULES))


def _access(database: Database, settings: OidcSettings) -> Access:
    return Access(database, owned=lambda: OWNED, oidc=settings)


@pytest.fixture
def access(database: Database, provider: Provider) -> Access:
    provider.claims = dict(MARA)
    return _access(database, _settings(provider))


def _log_in(access: Access, provider: Provider, now: int = NOON) -> Any:
    begun = access.begin_oidc(now, redirect_url=CALLBACK, return_to="/services/checkout")
    answer = provider.visit(begun.url, now)
    return access.finish_oidc(begun.flow, answer, now, redirect_url=CALLBACK)


def test_a_person_logs_in_and_has_the_roles_of_their_groups(
    access: Access, provider: Provider, database: Database
) -> None:
    entered = _log_in(access, provider)
    assert entered.return_to == "/services/checkout"
    actor = access.actor_of(Credentials(cookie=entered.cookie), NOON + 5)
    assert actor == entered.actor
    assert (actor.name, actor.role, actor.how) == ("mara@shop.example", Role.OPERATOR, "session")
    assert actor.teams == ("developers", "payments", "staff")
    assert actor.may(Permission.GATE, "checkout")
    assert not actor.may(Permission.GATE, "search")
    assert actor.may(Permission.READ, "search")
    (entry,) = Journal(database).read()
    assert entry.event.type == "dev.tightrope.access.session.begun.v1"
    assert entry.event.data["person"] == "u-1"
    assert entry.event.data["issuer"] == provider.issuer
    assert entry.event.data["grants"] == ["operator:own", "viewer"]


def test_a_member_named_by_an_admin_is_in_the_team_too(access: Access, provider: Provider) -> None:
    access.set_members("search", ["mara@shop.example"], by=LOCAL, now=NOON)
    entered = _log_in(access, provider)
    assert entered.actor.may(Permission.GATE, "search")
    access.set_members("search", [], by=LOCAL, now=NOON)
    assert not access.actor_of(Credentials(cookie=entered.cookie), NOON).may(Permission.GATE, "search")


def test_somebody_without_a_role_does_not_get_in(access: Access, provider: Provider, database: Database) -> None:
    provider.claims["groups"] = ["guests"]
    with pytest.raises(ForbiddenError, match=r"mara@shop\.example has no role here"):
        _log_in(access, provider)
    assert list(Journal(database).read()) == []


def test_an_address_that_is_called_unverified_names_nobody(access: Access, provider: Provider) -> None:
    provider.claims["email_verified"] = False
    assert _log_in(access, provider).actor.name == "u-1"


def test_groups_may_stand_in_the_user_info_only(access: Access, provider: Provider) -> None:
    provider.claims = {}
    provider.user_info = {"sub": "u-1", **MARA}
    assert _log_in(access, provider).actor.name == "mara@shop.example"
    provider.user_info["sub"] = "u-2"
    with pytest.raises(SourceError, match="its user info is of somebody else"):
        _log_in(access, provider)


def test_a_provider_may_want_the_secret_in_the_form(access: Access, provider: Provider) -> None:
    provider.discovery["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    assert _log_in(access, provider).actor.name == "mara@shop.example"


def test_new_keys_are_asked_for_when_they_come_up_but_not_all_the_time(access: Access, provider: Provider) -> None:
    _log_in(access, provider)
    provider.signing, provider.published = "second", ["first", "second"]
    with pytest.raises(UnauthorizedError, match="not signed with a key"):
        _log_in(access, provider, NOON + KEYS_ASKED_EVERY_S - 1)
    assert provider.requests.count("/realm/keys") == 1
    assert _log_in(access, provider, NOON + KEYS_ASKED_EVERY_S).actor.name == "mara@shop.example"
    assert provider.requests.count("/realm/keys") == 2
    assert provider.requests.count("/realm/.well-known/openid-configuration") == 1


# --- what must not pass -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [signed_with_a_shared_secret, unsigned, signed_by_somebody_else])
def test_a_forged_token_does_not_pass(
    access: Access, provider: Provider, sign: Callable[[dict[str, Any]], str]
) -> None:
    provider.sign = sign
    with pytest.raises(UnauthorizedError, match="is not signed with a key of the identity provider"):
        _log_in(access, provider)


def test_a_shared_secret_does_not_pass_even_where_the_provider_publishes_it(access: Access, provider: Provider) -> None:
    provider.shared = OctKey.import_key(SECRET, {"kid": "first", "use": "sig"}).as_dict(private=True)
    provider.sign = signed_with_a_shared_secret
    with pytest.raises(UnauthorizedError, match="is not signed with a key of the identity provider"):
        _log_in(access, provider)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"iss": "https://elsewhere.example"}, "is of another issuer"),
        ({"aud": "another"}, "is for another client"),
        ({"aud": ["another"]}, "is for another client"),
        ({"aud": [CLIENT, "another"]}, "was issued to another client"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "was issued to another client"),
        ({"azp": "another"}, "was issued to another client"),
        ({"sub": ""}, "names nobody"),
        ({"sub": 7}, "names nobody"),
        ({"exp": None}, "does not say when it is good"),
        ({"exp": "tomorrow"}, "does not say when it is good"),
        ({"exp": float("inf")}, "does not say when it is good"),
        ({"iat": True}, "does not say when it is good"),
        ({"exp": NOON - LEEWAY_S}, "has expired"),
        ({"iat": NOON + LEEWAY_S + 1}, "is of a time to come"),
        ({"nbf": NOON + LEEWAY_S + 1}, "is of a time to come"),
        ({"nonce": None}, "is not for this login"),
        ({"nonce": "another"}, "is not for this login"),
        ({"nonce": "größer"}, "is not for this login"),
    ],
)
def test_a_token_that_is_not_for_us_and_now_does_not_pass(
    access: Access, provider: Provider, claims: dict[str, Any], message: str
) -> None:
    provider.claims |= claims
    with pytest.raises(UnauthorizedError, match=f"the ID token {message}"):
        _log_in(access, provider)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "another"], "azp": CLIENT},
        {"exp": NOON - LEEWAY_S + 1},
        {"iat": NOON + LEEWAY_S},
        {"iat": NOON + 0.5},
    ],
)
def test_a_token_at_the_edge_of_what_is_allowed_passes(
    access: Access, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims |= claims
    assert _log_in(access, provider).actor.name == "mara@shop.example"


def test_an_answer_that_another_browser_began_does_not_fit(access: Access, provider: Provider) -> None:
    mine = access.begin_oidc(NOON, redirect_url=CALLBACK)
    theirs = access.begin_oidc(NOON, redirect_url=CALLBACK)
    answer = provider.visit(theirs.url, NOON)
    for flow in (mine.flow, "", "nonsense", theirs.flow.replace(str(NOON), str(NOON + 1))):
        with pytest.raises(UnauthorizedError, match="this browser did not begin that login"):
            access.finish_oidc(flow, answer, NOON, redirect_url=CALLBACK)
    stateless = {name: value for name, value in answer.items() if name != "state"}
    with pytest.raises(UnauthorizedError, match="this browser did not begin that login"):
        access.finish_oidc(theirs.flow, stateless, NOON, redirect_url=CALLBACK)
    assert access.finish_oidc(theirs.flow, answer, NOON, redirect_url=CALLBACK).actor.name == "mara@shop.example"


def test_a_code_of_another_browser_is_not_redeemed(access: Access, provider: Provider) -> None:
    """Whoever puts a stolen code into a login of their own lacks the verifier that the provider asks for."""
    stolen = provider.visit(access.begin_oidc(NOON, redirect_url=CALLBACK).url, NOON)["code"]
    mine = access.begin_oidc(NOON, redirect_url=CALLBACK)
    answer = provider.visit(mine.url, NOON) | {"code": stolen}
    with pytest.raises(UnauthorizedError, match="did not take the code: invalid_grant"):
        access.finish_oidc(mine.flow, answer, NOON, redirect_url=CALLBACK)


def test_a_login_is_finished_once_and_in_time(access: Access, provider: Provider) -> None:
    begun = access.begin_oidc(NOON, redirect_url=CALLBACK)
    answer = provider.visit(begun.url, NOON)
    for when in (NOON + FLOW_S + 1, NOON - 1):
        with pytest.raises(UnauthorizedError, match="took too long"):
            access.finish_oidc(begun.flow, answer, when, redirect_url=CALLBACK)
    access.finish_oidc(begun.flow, answer, NOON + FLOW_S - 400, redirect_url=CALLBACK)
    with pytest.raises(UnauthorizedError, match="did not take the code"):
        access.finish_oidc(begun.flow, answer, NOON + 1, redirect_url=CALLBACK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iss": "https://elsewhere.example"}, "another identity provider answered"),
        ({"error": "access_denied\x1b[31m"}, r"the identity provider says access_denied\[31m$"),
        ({"code": ""}, "gave no code"),
    ],
)
def test_an_answer_that_is_a_refusal_is_told(
    access: Access, provider: Provider, change: dict[str, str], message: str
) -> None:
    begun = access.begin_oidc(NOON, redirect_url=CALLBACK)
    answer = provider.visit(begun.url, NOON) | change
    with pytest.raises(UnauthorizedError, match=message):
        access.finish_oidc(begun.flow, answer, NOON, redirect_url=CALLBACK)


def test_a_wrong_secret_is_told_without_showing_it(database: Database, provider: Provider) -> None:
    access = _access(database, replace(_settings(provider), client_secret="wr0ng-secret"))
    with pytest.raises(UnauthorizedError, match="did not take the code: invalid_client") as told:
        _log_in(access, provider)
    assert "wr0ng-secret" not in told.value.message + told.value.remedy


def test_after_logging_in_nobody_is_sent_elsewhere(access: Access, provider: Provider) -> None:
    begun = access.begin_oidc(NOON, redirect_url=CALLBACK, return_to="//evil.example")
    answer = provider.visit(begun.url, NOON)
    assert access.finish_oidc(begun.flow, answer, NOON, redirect_url=CALLBACK).return_to == "/"


def test_the_address_of_the_login_gives_nothing_away(access: Access) -> None:
    begun = access.begin_oidc(NOON, redirect_url=CALLBACK)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
    _, random, _ = begun.flow.split(".")
    assert random not in begun.url
    assert SECRET not in begun.url
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert begun.flow not in repr(begun)


# --- a provider that fails ----------------------------------------------------------------------------------------


def test_a_provider_that_is_down_is_told(database: Database, provider: Provider) -> None:
    access = _access(database, replace(_settings(provider), issuer="http://127.0.0.1:1/realm"))
    with pytest.raises(SourceUnreachableError, match=r"does not answer at http://127\.0\.0\.1:1/realm"):
        access.begin_oidc(NOON, redirect_url=CALLBACK)


@pytest.mark.parametrize(
    ("discovery", "message"),
    [
        ({"issuer": "https://elsewhere.example"}, "it calls itself 'https://elsewhere.example'"),
        ({"token_endpoint": "http://elsewhere.example/token"}, "token_endpoint is 'http://elsewhere.example/token'"),
        ({"jwks_uri": None}, "jwks_uri is ''"),
        ({"authorization_endpoint": 7}, "authorization_endpoint is ''"),
    ],
)
def test_a_provider_that_makes_no_sense_is_told(
    access: Access, provider: Provider, discovery: dict[str, Any], message: str
) -> None:
    provider.discovery = discovery
    with pytest.raises(SourceError, match=message):
        access.begin_oidc(NOON, redirect_url=CALLBACK)


def test_an_answer_without_an_id_token_or_with_none_is_told(access: Access, provider: Provider) -> None:
    provider.sign = lambda _: "no.jwt"
    with pytest.raises(SourceError, match="is no JWT"):
        _log_in(access, provider)
    provider.sign = lambda _: 7  # type: ignore[assignment, return-value]
    with pytest.raises(SourceError, match="there is no ID token"):
        _log_in(access, provider)


def test_a_provider_that_answers_with_an_error_is_told(access: Access, provider: Provider) -> None:
    provider.status = 404
    with pytest.raises(SourceError, match="it answers 404"):
        access.begin_oidc(NOON, redirect_url=CALLBACK)


def test_without_a_provider_nobody_logs_in_so(database: Database) -> None:
    access = Access(database)
    assert not access.oidc
    with pytest.raises(NotFoundError):
        access.begin_oidc(NOON, redirect_url=CALLBACK)


# --- settings and rules -------------------------------------------------------------------------------------------

GIVEN = {
    "TIGHTROPE_OIDC_ISSUER": "https://id.shop.example",
    "TIGHTROPE_OIDC_CLIENT_ID": "tightrope",
    "TIGHTROPE_OIDC_CLIENT_SECRET": "hush",
    "TIGHTROPE_OIDC_ROLES": "sre=admin, a=b=operator:own ,*=viewer",
}


def _read(given: dict[str, str]) -> OidcSettings | None:
    return oidc_settings(lambda name: given.get(name, ""))


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    found = _read(GIVEN)
    assert found == OidcSettings(
        "https://id.shop.example",
        "tightrope",
        "hush",
        (
            Rule("sre", PersonalGrant(Role.ADMIN)),
            Rule("a=b", PersonalGrant(Role.OPERATOR, own=True)),
            Rule("*", PersonalGrant(Role.VIEWER)),
        ),
    )
    assert "hush" not in repr(found)
    (tmp_path / "secret").write_text("from a file\n")
    others = {
        "TIGHTROPE_OIDC_CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        "TIGHTROPE_OIDC_GROUPS_CLAIM": "realm_access.roles",
        "TIGHTROPE_OIDC_NAME_CLAIM": "preferred_username",
        "TIGHTROPE_OIDC_SCOPES": "openid groups",
        "TIGHTROPE_OIDC_CA_FILE": "ca.pem",
    }
    found = _read(GIVEN | others)
    assert found is not None
    assert (found.client_secret, found.groups_claim) == ("from a file", "realm_access.roles")
    assert (found.name_claim, found.scopes, found.ca_file) == ("preferred_username", ("openid", "groups"), "ca.pem")
    assert _read({}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"TIGHTROPE_OIDC_ISSUER": "http://id.shop.example"}, "where no secret may go"),
        ({"TIGHTROPE_OIDC_ISSUER": "id.shop.example"}, "where no secret may go"),
        ({"TIGHTROPE_OIDC_CLIENT_ID": ""}, "CLIENT_ID is not set"),
        ({"TIGHTROPE_OIDC_ROLES": ""}, "ROLES is not set"),
        ({"TIGHTROPE_OIDC_ROLES": "sre"}, "does not say which group"),
        ({"TIGHTROPE_OIDC_ROLES": "=admin"}, "does not say which group"),
        ({"TIGHTROPE_OIDC_ROLES": "sre=admin:all"}, "does not say which group"),
        ({"TIGHTROPE_OIDC_ROLES": "sre=root"}, "there is no role 'root'"),
        ({"TIGHTROPE_OIDC_CLIENT_SECRET_FILE": "nowhere/secret"}, "the client's secret can't be read"),
    ],
)
def test_settings_that_make_no_sense_are_told(change: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as told:
        _read(GIVEN | change)
    assert isinstance(told.value, TightropeError)
    assert "hush" not in told.value.message


def test_groups_are_found_where_the_settings_say() -> None:
    assert groups_of({"groups": ["b", "a", 7, "a\nb"]}, "groups") == ("a", "b")
    assert groups_of({"groups": "one"}, "groups") == ("one",)
    assert groups_of({"realm_access": {"roles": ["a"]}}, "realm_access.roles") == ("a",)
    assert groups_of({"https://shop.example/groups": ["a"]}, "https://shop.example/groups") == ("a",)
    assert groups_of({"realm_access": ["a"]}, "realm_access.roles") is None
    assert groups_of({}, "groups") is None


def test_everybody_may_be_given_a_role() -> None:
    settings = OidcSettings("https://id.shop.example", "tightrope", rules=parse_rules("*=viewer,sre=admin"))
    assert person({"sub": "u"}, settings).grants == (PersonalGrant(Role.VIEWER),)
    both = person({"sub": "u", "groups": ["sre"]}, settings).grants
    assert both == (PersonalGrant(Role.ADMIN), PersonalGrant(Role.VIEWER))
    star = person({"sub": "u", "groups": ["*"]}, OidcSettings("https://i.example", "t", rules=parse_rules("sre=admin")))
    assert star.grants == ()
