"""Mail goes to a real SMTP server: text and HTML, one thread for an alert, and every refusal is told."""

from __future__ import annotations

import base64
import email
import email.policy
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import pytest

from tests.alerting.worlds import NOON
from tests.contracts.test_notifications import opened, resolved
from tests.notify.worlds import channel
from tightrope.notify.channels import Parcel, open_channel
from tightrope.notify.messages import Message
from tightrope.notify.retries import Answer
from tightrope.specs.model import ChannelType


@dataclass(slots=True)
class Post:
    """A mail server on loopback: what it got, and what it answers to a command in place of 250."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    in_the_open: list[str] = field(default_factory=list)


@contextmanager
def post_office(host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None, at_once: bool = False) -> Iterator[Post]:
    """A mail server; with *tls* it offers STARTTLS, or speaks TLS from the first byte on."""
    post = Post()

    class Clerk(StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            try:
                self.talk()
            finally:
                self.request.close()

        def talk(self) -> None:
            hidden = at_once
            self.say("220 post")
            while line := self.rfile.readline().decode().strip():
                verb, _, rest = line.partition(" ")
                verb = verb.upper()
                if not hidden:
                    post.in_the_open.append(verb)
                answer = post.answers.get(f"{verb} {rest}") or post.answers.get(verb)
                if answer == "hang up":
                    return
                if answer:
                    self.say(answer)
                elif verb == "EHLO":
                    self.say("250-post")
                    self.say("250-8BITMIME")
                    if tls is not None and not hidden:
                        self.say("250-STARTTLS")
                    self.say("250 AUTH PLAIN")
                elif verb == "STARTTLS" and tls is not None:
                    self.say("220 go on")
                    try:
                        self.request = tls.wrap_socket(self.request, server_side=True)
                    except ssl.SSLError:  # whoever does not trust us hangs up
                        return
                    self.setup()
                    hidden = True
                elif verb == "AUTH":
                    post.logins.append(base64.b64decode(rest.split()[1]).decode())
                    self.say("235 welcome")
                elif verb == "DATA":
                    self.say("354 go on")
                    self.say(self.take())
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    if verb == "RCPT":
                        post.recipients.append(rest.removeprefix("TO:").strip("<>"))
                    self.say("250 fine")

        def take(self) -> str:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line.removeprefix(b"."))
            mail: Any = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
            post.mails.append(mail)
            return "250 taken"

    class Server(ThreadingTCPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            caller, address = super().get_request()
            return (tls.wrap_socket(caller, server_side=True) if tls is not None and at_once else caller), address

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Who hangs up in the middle is no news."""

    with Server((host, 0), Clerk) as server:
        post.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield post
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def post() -> Iterator[Post]:
    with post_office() as one:
        yield one


def sent(post: Post, message: Message, **others: Any) -> Answer:
    given: dict[str, Any] = {
        "type": ChannelType.EMAIL,
        "urls": (f"smtp://127.0.0.1:{post.port}",),
        "sender": "Tightrope <alerts@example.org>",
        "recipients": ("oncall@example.org", "mara@example.org"),
    }
    door = open_channel(channel("mail", **(given | others)), {"PASSWORD": "geheim-1"}.get)  # type: ignore[arg-type]
    return door.send(Parcel(f"{message.about}/mail/1", message, NOON))


def test_a_page_arrives_as_text_and_html(post: Post) -> None:
    assert sent(post, opened()) == Answer(sent=True)
    (mail,) = post.mails
    assert mail["subject"] == f"[page] {opened().title}"
    assert mail["to"] == "oncall@example.org, mara@example.org"
    assert post.recipients == ["oncall@example.org", "mara@example.org"]
    assert mail["auto-submitted"] == "auto-generated"
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    content = text.get_content().replace("\r\n", "\n")
    assert content.startswith(f"{opened().title}.\n\nPromise: ")
    assert opened().link in content
    assert "107 events of 5,000" in html.get_content()
    assert f'<a href="{opened().link}">' in html.get_content()


def test_mails_about_one_alert_are_one_thread_and_each_has_an_id_of_its_own(post: Post) -> None:
    sent(post, opened())
    sent(post, opened())
    sent(post, resolved())
    first, again, end = post.mails
    assert first["references"] == end["references"]
    assert first["message-id"] == again["message-id"]
    assert end["subject"].startswith("[resolved] ")


def test_the_password_comes_from_the_environment(post: Post) -> None:
    assert sent(post, opened(), user="tightrope", password_from="PASSWORD").sent
    assert post.logins == ["\0tightrope\0geheim-1"]


@pytest.mark.parametrize(
    ("command", "answer", "passing", "said"),
    [
        ("DATA", "451 try later", True, "127.0.0.1 answers 451: try later"),
        ("DATA", "554 spam", False, "127.0.0.1 answers 554: spam"),
        ("RCPT", "550 nobody", False, "127.0.0.1 answers 550: every recipient is refused"),
        ("RCPT", "450 greylisted", True, "127.0.0.1 answers 450: every recipient is refused"),
        ("AUTH", "535 geheim-1 is wrong", False, "127.0.0.1 answers 535: … is wrong"),
        ("MAIL", "hang up", True, "127.0.0.1 hung up"),
    ],
)
def test_a_refusal_is_told_and_may_pass_or_not(post: Post, command: str, answer: str, passing: bool, said: str) -> None:
    post.answers[command] = answer
    assert sent(post, opened(), user="tightrope", password_from="PASSWORD") == Answer(
        sent=False, passing=passing, said=said
    )


def test_a_recipient_that_is_refused_holds_up_no_other(post: Post) -> None:
    post.answers["RCPT TO:<mara@example.org>"] = "550 left us"
    assert sent(post, opened()) == Answer(sent=True, said="mara@example.org refused")


def test_a_server_that_is_down_is_tried_again(post: Post) -> None:
    answer = sent(post, opened(), urls=("smtp://127.0.0.1:9",))
    assert answer == Answer(sent=False, passing=True, said="127.0.0.1:9 can't be reached")


# --- TLS -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trust:
    """An authority of our own in a file, and servers that it vouches for."""

    file: Path
    folder: Path
    key: Any

    def server(self, host: str) -> ssl.SSLContext:
        """What a server of that name shows."""
        from cryptography import x509

        name = x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        chain = self.folder / f"{host}.pem"
        _certify(chain, self.key, host, x509.SubjectAlternativeName([name]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def _certify(path: Path, signer: Any, name: str, *extensions: Any) -> Any:
    """Write a key and its certificate, signed by *signer* or else by itself; hands out the key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def named(text: str) -> Any:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)  # noqa: TID251  TLS asks the real clock
    made = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("our own authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    signed = made.sign(signer or key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes((private if signer else b"") + signed.public_bytes(serialization.Encoding.PEM))
    return key


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
    file = tmp_path / "authority.pem"
    key = _certify(file, None, "our own authority", x509.BasicConstraints(ca=True, path_length=0))
    return Trust(file, tmp_path, key)


LOGIN = {"user": "tightrope", "password_from": "PASSWORD"}


@pytest.mark.parametrize(("scheme", "at_once"), [("smtp", False), ("smtps", True)])
def test_mail_goes_over_tls_and_the_password_only_there(
    trust: Trust, monkeypatch: pytest.MonkeyPatch, scheme: str, at_once: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trust.file))
    with post_office(tls=trust.server("127.0.0.1"), at_once=at_once) as post:
        answer = sent(post, opened(), urls=(f"{scheme}://127.0.0.1:{post.port}",), **LOGIN)
    assert (answer.sent, answer.said) == (True, "")
    assert post.logins == ["\0tightrope\0geheim-1"]
    assert len(post.mails) == 1
    assert post.in_the_open == ([] if at_once else ["EHLO", "STARTTLS"])


@pytest.mark.parametrize(("scheme", "at_once"), [("smtp", False), ("smtps", True)])
def test_a_mail_server_that_nobody_vouches_for_gets_neither_mail_nor_password(
    trust: Trust, scheme: str, at_once: bool
) -> None:
    with post_office(tls=trust.server("127.0.0.1"), at_once=at_once) as post:
        answer = sent(post, opened(), urls=(f"{scheme}://127.0.0.1:{post.port}",), **LOGIN)
    assert (answer.sent, answer.passing) == (False, True)
    assert "no trust" in answer.said
    assert (post.mails, post.logins) == ([], [])


def test_a_certificate_of_another_server_is_none(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trust.file))
    with post_office(tls=trust.server("mail.example.org")) as post:
        answer = sent(post, opened(), **LOGIN)
    assert (answer.sent, post.mails, post.logins) == (False, [], [])
    assert "no trust" in answer.said


def test_a_password_does_not_go_in_the_open(post: Post) -> None:
    beyond = f"smtp://0.0.0.0:{post.port}"  # which leads here, and is not called loopback
    answer = sent(post, opened(), urls=(beyond,), **LOGIN)
    assert (answer.sent, answer.passing, post.logins, post.mails) == (False, False, [], [])
    assert "no STARTTLS" in answer.said
