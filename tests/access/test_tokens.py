"""How tokens are spelt: recognized, told when mistyped, and never written where somebody could find them."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tightrope.access.roles import Role
from tightrope.access.tokens import PATTERN, Issued, Token, fits, hash_of, new_text, spelt
from tightrope.base.errors import UnauthorizedError

_SIGNS = string.ascii_letters + string.digits
GOLDEN = "tr_0a1b2c3d4e_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg" + "11COl7"


def test_a_new_token_is_spelt_as_promised() -> None:
    text = new_text()
    assert re.fullmatch(PATTERN, text)
    assert re.search(PATTERN, f"curl -H 'Authorization: Bearer {text}' http://somewhere")
    parts = spelt(text)
    assert text.startswith(f"tr_{parts.id}_{parts.secret}")
    assert len(parts.secret) == 43
    assert 62**43 > 2**256


def test_no_two_tokens_are_alike() -> None:
    made = [spelt(new_text()) for _ in range(200)]
    assert len({one.id for one in made}) == len({one.secret for one in made}) == 200


@given(st.integers(0, 62), st.sampled_from(_SIGNS))
def test_one_wrong_sign_is_told(place: int, sign: str) -> None:
    text = new_text()
    wrong = text[:place] + sign + text[place + 1 :]
    assume(wrong != text)
    with pytest.raises(UnauthorizedError) as told:
        spelt(wrong)
    assert wrong not in told.value.message + told.value.remedy


@given(st.integers(3, 61))
def test_two_signs_that_changed_places_are_told(place: int) -> None:
    text = new_text()
    wrong = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    assume(wrong != text)
    with pytest.raises(UnauthorizedError):
        spelt(wrong)


@given(st.text(max_size=100) | st.integers(0, 62).map(lambda length: new_text()[:length]))
def test_what_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UnauthorizedError) as told:
        spelt(text)
    assert told.value.message == "that is not a token of Tightrope"


def test_only_the_right_secret_fits_its_hash() -> None:
    secret = spelt(new_text()).secret
    assert fits(secret, hash_of(secret))
    assert not fits(secret, hash_of(spelt(new_text()).secret))
    assert not fits(secret, "")
    assert secret not in hash_of(secret)


def test_a_secret_is_in_no_repr() -> None:
    text = new_text()
    parts = spelt(text)
    token = Token(parts.id, "ci", Role.VIEWER, (), (), None, 0, "mara", None)
    for value in (parts, Issued(token, text)):
        assert parts.secret not in f"{value!r} {value}"
        assert parts.id in repr(value)


def test_the_checksum_stays_what_it_is() -> None:
    """Tokens that are in use must be taken by later versions."""
    assert spelt(GOLDEN).id == "0a1b2c3d4e"
