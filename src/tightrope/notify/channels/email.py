"""Mail by SMTP: text and HTML, one thread for each alert."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from html import escape
from urllib.parse import urlsplit

from tightrope.base.errors import UsageError
from tightrope.notify.channels import Environment, Parcel, addresses, secret
from tightrope.notify.channels.posting import headline
from tightrope.notify.messages import Message
from tightrope.notify.retries import Answer
from tightrope.specs.model import NotificationChannel

_PORTS = {"smtp": 587, "smtps": 465}
_DOMAIN = "tightrope.invalid"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TONES = {"trigger": "#b3261e", "resolve": "#1a7f37", "note": "#57606a"}


class Email:
    """A mail server that takes our mail; a connection for each message."""

    def __init__(self, spec: NotificationChannel, environment: Environment, timeout_s: float) -> None:
        self._password = secret(spec, spec.password_from, environment)
        parts = urlsplit(addresses(spec, environment)[0])
        if parts.scheme not in _PORTS or not parts.hostname:
            raise UsageError(f"channel {spec.name}: the address is no mail server's", remedy="write smtp://mail:587")
        self._scheme, self._host = parts.scheme, parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._user, self._sender, self._to = spec.user, spec.sender, spec.recipients
        self._timeout_s = timeout_s

    def send(self, parcel: Parcel) -> Answer:
        mail = mail_of(parcel.message, parcel.key, parcel.now, sender=self._sender, to=self._to)
        try:
            refused = self._deliver(mail)
        except smtplib.SMTPRecipientsRefused as error:
            return _refusal(
                self._host, max(code for code, _ in error.recipients.values()), "every recipient is refused"
            )
        except smtplib.SMTPResponseException as error:
            return _refusal(self._host, error.smtp_code, self._shown(error.smtp_error))
        except smtplib.SMTPServerDisconnected:
            return Answer(sent=False, passing=True, said=f"{self._host} hung up")
        except smtplib.SMTPException as error:
            return Answer(sent=False, said=f"{self._host}: {self._shown(str(error))}")
        except ssl.SSLError as error:
            return Answer(sent=False, passing=True, said=f"{self._host}: no trust: {error.reason or 'TLS failed'}")
        except OSError:
            return Answer(sent=False, passing=True, said=f"{self._host}:{self._port} can't be reached")
        return Answer(sent=True, said=f"{', '.join(refused)} refused" if refused else "")

    def close(self) -> None:
        """Nothing is kept open."""

    def _deliver(self, mail: EmailMessage) -> list[str]:
        """Hand the mail over; returns the recipients that were refused, if others were not."""
        context = ssl.create_default_context()
        if self._scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        with server:
            server.ehlo()
            if self._scheme == "smtp" and server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
            elif self._user and self._scheme == "smtp" and self._host not in _LOOPBACK:
                raise smtplib.SMTPNotSupportedError("it offers no STARTTLS, and a password must not go in the open")
            if self._user:
                server.login(self._user, self._password)
            return list(server.send_message(mail))

    def _shown(self, said: bytes | str) -> str:
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        line = " ".join(text.split())[:200]
        return line.replace(self._password, "…") if self._password else line


def _refusal(host: str, code: int, said: str) -> Answer:
    return Answer(sent=False, passing=400 <= code < 500, said=f"{host} answers {code}: {said}")


def mail_of(message: Message, key: str, now: int, *, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """A message as mail: plain text, and HTML beside it."""
    title = headline(message.severity, message.action, message.change, message.title)
    mail = EmailMessage()
    mail["Subject"] = title
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = formatdate(now, usegmt=True)
    mail["Message-ID"] = f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{_DOMAIN}>"
    mail["References"] = f"<{hashlib.sha256(message.about.encode()).hexdigest()[:32]}@{_DOMAIN}>"
    mail["Auto-Submitted"] = "auto-generated"
    for name in ("service", "slo", "severity"):
        if message.labels.get(name):
            mail[f"X-Tightrope-{name.title()}"] = " ".join(message.labels[name].split())
    more = f"\n\n{message.link}" if message.link else ""
    mail.set_content(f"{message.title}.\n\n{message.plain}{more}\n")
    mail.add_alternative(_html(message), subtype="html")
    return mail


def _html(message: Message) -> str:
    rows = "".join(
        f'<tr><td style="padding:2px 12px 2px 0;color:#57606a;vertical-align:top">{escape(label)}</td>'
        f'<td style="padding:2px 0">{escape(text)}</td></tr>'
        for label, text in message.lines
    )
    link = f'<p><a href="{escape(message.link)}">Open in Tightrope</a></p>' if message.link else ""
    tone = _TONES[message.action]
    return (
        '<!doctype html><html lang="en"><body style="font:14px/20px system-ui,sans-serif;color:#1f2328">'
        f'<h1 style="font-size:18px;border-left:4px solid {tone};padding-left:10px">{escape(message.title)}</h1>'
        f'<table role="presentation">{rows}</table>{link}</body></html>\n'
    )
