"""Mail goes to a real SMTP server: text and HTML, one thread for an alert, and every refusal is told."""

from __future__ import annotations

import base64
import email
import email.policy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
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


@contextmanager
def post_office() -> Iterator[Post]:
    post = Post()

    class Clerk(StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 post")
            while line := self.rfile.readline().decode().strip():
                verb, _, rest = line.partition(" ")
                verb = verb.upper()
                answer = post.answers.get(f"{verb} {rest}") or post.answers.get(verb)
                if answer == "hang up":
                    return
                if answer:
                    self.say(answer)
                elif verb == "EHLO":
                    self.say("250-post")
                    self.say("250-8BITMIME")
                    self.say("250 AUTH PLAIN")
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

    with Server(("127.0.0.1", 0), Clerk) as server:
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
