"""Sessions end, forged forms are told, and nobody is sent to another site after logging in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.access.roles import LOCAL, Grant, Role
from tightrope.access.sessions import (
    IDLE_S,
    LogIn,
    PersonalGrant,
    Session,
    cookie_hash,
    csrf_fits,
    csrf_of,
    grants_of,
    is_cookie,
    local_path,
    new_cookie,
)

NOON = 1_772_366_400


def _session(used_at: int, ends_at: int) -> Session:
    return Session("h", "mara", (), (), "", NOON, used_at, ends_at)


def test_a_session_ends_when_it_is_not_used_and_in_any_case() -> None:
    session = _session(NOON, NOON + 10 * IDLE_S)
    assert [session.stands(NOON + after) for after in (0, IDLE_S - 1, IDLE_S)] == [True, True, False]
    short = _session(NOON + 50, NOON + 60)
    assert [short.stands(NOON + after) for after in (59, 60)] == [True, False]


def test_a_form_of_another_session_does_not_fit() -> None:
    mine, theirs = new_cookie(), new_cookie()
    assert csrf_fits(mine, csrf_of(mine))
    assert not csrf_fits(mine, csrf_of(theirs))
    assert not csrf_fits(mine, "")
    assert not csrf_fits(mine, "größer")


def test_neither_the_stored_hash_nor_the_form_tell_the_cookie() -> None:
    cookie = new_cookie()
    assert is_cookie(cookie)
    assert not is_cookie(cookie_hash(cookie))
    assert cookie not in cookie_hash(cookie) + csrf_of(cookie)
    assert cookie_hash(cookie) != csrf_of(cookie)
    shown = repr(LogIn(cookie, csrf_of(cookie), LOCAL, NOON))
    assert cookie not in shown
    assert csrf_of(cookie) not in shown


@pytest.mark.parametrize(
    "text",
    ["", "https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "javascript:alert(1)", "/a\nb"],
)
def test_a_path_that_leads_elsewhere_is_not_followed(text: str) -> None:
    assert local_path(text) == "/"


def test_a_path_of_ours_is_followed() -> None:
    assert local_path("/services/checkout?range=7d#alerts") == "/services/checkout?range=7d#alerts"


@given(st.text())
def test_whatever_is_wanted_the_path_stays_on_this_site(text: str) -> None:
    path = local_path(text)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert "\n" not in path


def test_a_role_for_ones_own_services_is_for_those_only() -> None:
    person = (PersonalGrant(Role.OPERATOR, own=True), PersonalGrant(Role.VIEWER))
    own = frozenset({"checkout"})
    assert grants_of(person, own) == (Grant(Role.OPERATOR, own), Grant(Role.VIEWER, None))
