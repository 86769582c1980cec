"""Where those are answered who wait for us: forges, by calls to their API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from tightrope.base.errors import UsageError
from tightrope.specs.model import Integration, IntegrationType

Environment = Callable[[str], str]
"""Tells the value of a variable of the environment; empty where it is not set."""

GITHUB_API, GITLAB_API = "https://api.github.com", "https://gitlab.com/api/v4"


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a call.

    Attributes:
        done: It was taken.
        passing: It was not, and that may pass; else it never will be in this form.
        said: What was wrong, fit for people: no secret is in it.
        retry_after_s: How long we are asked to wait; 0: nothing is said.
        gone: What it was about is no longer there, or something newer took its place.
        id: The number that the receiver gave to what the call made; None: none.
    """

    done: bool
    passing: bool = False
    said: str = ""
    retry_after_s: int = 0
    gone: bool = False
    id: int | None = None


class Tracker(Protocol):
    """Somebody's API."""

    def send(self, method: str, path: str, body: Mapping[str, Any], now: int) -> Sent:
        """Make one call, once; whoever calls tries again. *path* is below the API's address."""
        ...

    def has(self, path: str, text: str, now: int) -> bool | Sent:
        """Whether one of the comments that are listed at *path* holds a text; what went wrong, where it did."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


def api_of(integration: Integration) -> str:
    """Where an integration's API is: as it says, else the public one; empty where there is none."""
    public = {IntegrationType.GITHUB: GITHUB_API, IntegrationType.GITLAB: GITLAB_API}
    return (integration.url or public.get(integration.type, "")).rstrip("/")


def is_under(address: str, api: str) -> bool:
    """Whether an address that came in a payload lies below the API that we know: nothing is sent anywhere else.

    Scheme, host and port must be the same, and the path must go on where the API's ends, without a step upwards. What
    could be read in two ways, such as an address with a user, a backslash or an encoded slash, is not below anything.
    """
    if re.search(r"[\\\s@]|%2f|%5c|%2e", address, re.IGNORECASE):
        return False
    try:
        there, known = urlsplit(address), urlsplit(api)
        same = (there.scheme, there.hostname, _port(there.scheme, there.port)) == (
            known.scheme,
            known.hostname,
            _port(known.scheme, known.port),
        )
    except ValueError:
        return False
    base = known.path.rstrip("/")
    steps = there.path.split("/")
    return same and bool(there.hostname) and there.path.startswith(f"{base}/") and not {".", ".."} & set(steps)


def _port(scheme: str, port: int | None) -> int | None:
    return port if port is not None else {"http": 80, "https": 443}.get(scheme)


def open_tracker(integration: Integration, environment: Environment) -> Tracker:
    """Open the API of an integration.

    Raises:
        UsageError: We cannot answer there: no such API is known, or its secret is not set.
    """
    api = api_of(integration)
    if integration.type is IntegrationType.GITHUB:
        from tightrope.delivery.trackers.github import GitHub

        return GitHub(
            api,
            token=_secret(integration, integration.token_from, environment) if integration.token_from else "",
            app=integration.app,
            installation=integration.installation,
            key=_secret(integration, integration.app_key_from, environment) if integration.app_key_from else "",
        )
    if integration.type is IntegrationType.GITLAB:
        from tightrope.delivery.trackers.gitlab import GitLab

        return GitLab(api, token=_secret(integration, integration.token_from, environment))
    raise UsageError(f"{integration.name} ({integration.type}) is nobody that is answered by a call")


def _secret(integration: Integration, name: str, environment: Environment) -> str:
    if not name:
        raise UsageError(
            f"integration {integration.name} has no token to answer with", remedy="add tokenFrom: {env: NAME}"
        )
    value = environment(name)
    if not value:
        raise UsageError(
            f"{name} is not set, so nobody can be answered through {integration.name}",
            remedy="set that variable for the server",
        )
    return value
