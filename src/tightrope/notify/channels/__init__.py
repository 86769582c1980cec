"""The doors that messages leave by, one for each type of channel, and the shape that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tightrope.base.errors import UsageError
from tightrope.notify.messages import Message
from tightrope.notify.retries import Answer
from tightrope.specs.model import ChannelType, NotificationChannel

TIMEOUT_S = 10.0
"""How long a receiver may take to answer."""

Environment = Callable[[str], str]
"""Tells the value of an environment variable; empty where it is not set."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way.

    Attributes:
        key: Names the message for the receiver; the same when it is sent again.
        message: What it says.
        now: When it is sent, UTC epoch seconds.
        thread: How the channel calls the first message about the same matter; empty: this is the first.
    """

    key: str
    message: Message
    now: int
    thread: str = ""


class Channel(Protocol):
    """A way to a receiver. Whatever goes wrong is an answer; nothing is raised, and no secret is told."""

    def send(self, parcel: Parcel) -> Answer:
        """Hand a message over, and tell what came of it."""

    def close(self) -> None:
        """Let go of connections."""


def open_channel(spec: NotificationChannel, environment: Environment, *, timeout_s: float = TIMEOUT_S) -> Channel:
    """Make the door of a channel, its secrets taken from the environment.

    Raises:
        UsageError: A variable that holds a secret is not set, or holds none.
    """
    match spec.type:
        case ChannelType.ALERTMANAGER:
            from tightrope.notify.channels.alertmanager import Alertmanager

            return Alertmanager(spec, environment, timeout_s)
        case ChannelType.PAGERDUTY:
            from tightrope.notify.channels.pagerduty import PagerDuty

            return PagerDuty(spec, environment, timeout_s)
        case ChannelType.SLACK:
            from tightrope.notify.channels.slack import Slack

            return Slack(spec, environment, timeout_s)
        case ChannelType.WEBHOOK:
            from tightrope.notify.channels.webhook import Webhook

            return Webhook(spec, environment, timeout_s)
        case ChannelType.EMAIL:
            from tightrope.notify.channels.email import Email

            return Email(spec, environment, timeout_s)


def secret(spec: NotificationChannel, variable: str, environment: Environment) -> str:
    """The secret that an environment variable holds; empty where none is named.

    Raises:
        UsageError: The variable is not set.
    """
    if not variable:
        return ""
    value = environment(variable).strip()
    if not value:
        raise UsageError(
            f"channel {spec.name}: the environment variable {variable} is not set",
            remedy="set it for the server, and start it again",
        )
    return value


def addresses(spec: NotificationChannel, environment: Environment, default: str = "") -> tuple[str, ...]:
    """The addresses of a channel; *default* where it names none."""
    if spec.url_from:
        return (secret(spec, spec.url_from, environment),)
    return spec.urls or ((default,) if default else ())
