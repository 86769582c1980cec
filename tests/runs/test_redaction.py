"""No secret in a log, however the stream is cut into pieces."""

from __future__ import annotations

import base64
import html
import io
import json
import shlex
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.runs.executors.local import spellings
from tightrope.runs.executors.supervisor import MARK, Log, Redactor

_letters = st.sampled_from([b"a", b"b", b"ab", b"c"])
_streams = st.lists(_letters, max_size=40).map(b"".join)
_secrets = st.lists(st.lists(_letters, min_size=1, max_size=4).map(b"".join), min_size=1, max_size=3)


def _cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(stream) + 1) for cut in cuts})
    return [stream[start:end] for start, end in zip([0, *at], [*at, len(stream)], strict=True)]


def _redacted(secrets: list[bytes], pieces: list[bytes]) -> bytes:
    one = Redactor(secrets)
    return b"".join([one.feed(piece) for piece in pieces] + [one.feed(b"", last=True)])


def _covered(stream: bytes, secrets: list[bytes]) -> bytes:
    """The stream, naively: every byte of every occurrence gone, one mark for each stretch that hangs together."""
    spans = sorted({
        (at, at + len(secret))
        for secret in secrets
        for at in range(len(stream))
        if stream.startswith(secret, at)
    })  # fmt: skip
    out, at, end = b"", 0, 0
    for start, stop in spans:
        if start >= end:
            out += stream[at:start] + MARK
        end = max(end, stop)
        at = max(at, end)
    return out + stream[at:]


@given(_streams, _secrets, st.lists(st.integers(0, 99), max_size=8))
def test_however_it_is_cut_every_byte_of_every_occurrence_is_gone(
    stream: bytes, secrets: list[bytes], cuts: list[int]
) -> None:
    assert _redacted(secrets, _cut(stream, cuts)) == _covered(stream, secrets)


@given(st.binary(max_size=200), st.lists(st.integers(0, 199), max_size=5))
def test_without_secrets_nothing_changes(stream: bytes, cuts: list[int]) -> None:
    assert _redacted([], _cut(stream, cuts)) == stream
    assert _redacted([b"\xff" * 300], _cut(stream, cuts)) == stream


def test_only_what_may_become_a_secret_is_held_back() -> None:
    one = Redactor([b"hunter2"])
    assert one.feed(b"plain text") == b"plain text"
    assert one.feed(b" and hunt") == b" and "
    assert one.feed(b"ing") == b"hunting"


@given(st.text(min_size=8, max_size=30), st.binary(max_size=5), st.binary(max_size=5))
def test_a_secret_is_known_in_json_in_urls_and_within_base64(secret: str, before: bytes, after: bytes) -> None:
    try:
        plain = secret.encode()
    except UnicodeEncodeError:
        return
    known = spellings(secret)
    assert any(one in json.dumps({"it": secret}).encode() for one in known)
    assert any(one in f"?t={quote(secret, safe='')}".encode() for one in known)
    assert any(one in f"/t/{quote(secret)}".encode() for one in known)
    assert any(one in urlencode({"t": secret}).encode() for one in known)
    assert any(one in quote_plus(secret).lower().encode() for one in known) or secret != secret.lower()
    assert any(one in base64.b64encode(before + plain + after) for one in known)
    assert any(one in base64.urlsafe_b64encode(before + plain + after) for one in known)


@given(st.text(min_size=8, max_size=30))
def test_a_secret_is_known_in_html_in_shells_and_in_hex(secret: str) -> None:
    try:
        plain = secret.encode()
    except UnicodeEncodeError:
        return
    known = spellings(secret)
    for quotes in (False, True):
        assert any(one in html.escape(f"it is {secret}", quote=quotes).encode() for one in known)
    assert any(one in shlex.quote(f"it is {secret}").encode() for one in known)
    assert any(one in f"+ it is '{secret.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'".encode() for one in known)
    assert any(one in f"0x{plain.hex()}".encode() for one in known)
    assert any(one in plain.hex().upper().encode() for one in known)


@pytest.mark.parametrize("width", [64, 76])
def test_a_long_secret_is_known_in_base64_that_is_broken_into_lines(width: int) -> None:
    secret = "".join(f"{number:x}" for number in range(200))
    text = base64.b64encode(secret.encode()).decode()
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    redacted = _redacted(sorted(spellings(secret)), ["\n".join(lines).encode()])
    assert all(len(line) < 8 for line in redacted.replace(MARK, b"").split(b"\n"))


def test_each_long_line_of_a_secret_is_a_secret_and_short_ones_are_not() -> None:
    known = spellings("-----BEGIN KEY-----\nMIIEowIBAAKCAQEA7\nab\n-----END KEY-----\n")
    assert b"MIIEowIBAAKCAQEA7" in known
    assert b"ab" not in known
    assert spellings("abc") == set()


class _Full(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(28, "No space left on device")

    def fileno(self) -> int:
        raise OSError(9, "Bad file descriptor")


def test_a_full_disk_loses_output_and_says_so() -> None:
    log = Log(_Full(), 100)
    log.write(b"hello")
    log.close()
    assert (log.length, log.left_out, log.failure) == (0, 5, "No space left on device")
