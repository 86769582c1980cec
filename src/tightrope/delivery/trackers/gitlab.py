"""GitLab's API, with the token of a user of its own: an approval is one for each user.

Source:
    gitlabhq/gitlabhq, doc/api/status_checks.md (409 for a commit that is not the newest), doc/api/deployments.md and
    doc/api/jobs.md (a job that runs already cannot be played).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tightrope.delivery.trackers import Sent
from tightrope.delivery.trackers.asking import Line, document

MOST_LISTED = 50


class GitLab:
    """One GitLab, as one user. Any thread may call it."""

    def __init__(self, api: str, *, token: str) -> None:
        self._line = Line(api, token)
        self._headers = {"private-token": token, "user-agent": "tightrope"}

    def send(self, method: str, path: str, body: Mapping[str, Any], now: int) -> Sent:
        """Make one call; see `Tracker.send`. A job that runs already is as good as played."""
        reply = self._line.ask(method, path, body, self._headers)
        if isinstance(reply, Sent):
            return reply
        if reply.status == 400 and path.endswith("/play") and "unplayable" in reply.text.lower():
            return Sent(done=True)
        return self._line.judged(reply)

    def has(self, path: str, text: str, now: int) -> bool | Sent:
        """Whether a comment is there; see `Tracker.has`."""
        return self._line.has(path, text, self._headers)

    def blocked(self, repository: str) -> list[Any] | Sent:
        """The deployments of a project that wait for an approval, newest first; what went wrong where it did."""
        path = f"/projects/{quote(repository, safe='')}/deployments?status=blocked&sort=desc&per_page={MOST_LISTED}"
        reply = self._line.ask("GET", path, None, self._headers)
        if isinstance(reply, Sent):
            return reply
        told = document(reply.text)
        if reply.status != 200 or not isinstance(told, list):
            return self._line.judged(reply)
        return told

    def close(self) -> None:
        """Let go of the connections."""
        self._line.close()
