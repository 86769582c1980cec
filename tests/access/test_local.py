"""When a request without a token is taken for that of whoever sits at this machine."""

from __future__ import annotations

import pytest

from tightrope.access.local import is_local, is_loopback, neighbourhood


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "127.0.0.1:8080",
        "::1",
        "[::1]",
        "[::1]:8080",
        "::ffff:127.0.0.1",
        "localhost",
        "localhost:80",
    ],
)
def test_addresses_of_this_machine(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "0.0.0.0",
        "10.0.0.1",
        "::",
        "fe80::1",
        "::ffff:10.0.0.1",
        "tightrope.example",
        "localhost.example",
        "127.0.0.1.example",
    ],
)
def test_addresses_of_others(address: str) -> None:
    assert not is_loopback(address)


def test_a_request_from_here_to_here_is_local() -> None:
    assert is_local("127.0.0.1", "127.0.0.1:8080", forwarded=False)
    assert is_local("::1", "localhost:8080", forwarded=False)
    assert is_local("", "localhost", forwarded=False)


def test_a_proxy_on_this_machine_speaks_for_others() -> None:
    assert not is_local("127.0.0.1", "127.0.0.1:8080", forwarded=True)


def test_a_page_whose_name_was_turned_to_this_machine_is_not_local() -> None:
    assert not is_local("127.0.0.1", "evil.example:8080", forwarded=False)
    assert not is_local("127.0.0.1", "", forwarded=False)


def test_another_machine_is_not_local() -> None:
    assert not is_local("10.0.0.7", "localhost:8080", forwarded=False)


def test_one_line_counts_as_one_address() -> None:
    assert neighbourhood("10.0.0.7:5123") == neighbourhood("10.0.0.7") == "10.0.0.7"
    assert neighbourhood("2001:db8:1:2::1") == neighbourhood("[2001:db8:1:2:ffff::9]:443") == "2001:db8:1:2::/64"
    assert neighbourhood("2001:db8:1:3::1") != neighbourhood("2001:db8:1:2::1")
    assert neighbourhood("::ffff:10.0.0.7") == "10.0.0.7"
    assert neighbourhood(" ") == "unknown"
    assert len(neighbourhood("x" * 5000)) == 100
