"""One call over HTTP, and what its answer means for whoever waits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tightrope.base.errors import SourceError, SourceUnreachableError
from tightrope.base.http import HttpClient, HttpSettings, Reply, may_pass, shown_body
from tightrope.delivery.trackers import Sent

TIMEOUT_S = 15
_LONGEST_ASKED_S = 24 * 3600
_PAGE, _PAGES = 100, 10


class Line:
    """Speaks to one API, once for each call; errors never repeat a secret.

    Args:
        api: Its address.
        secrets: Texts that no error may repeat.
    """

    def __init__(self, api: str, *secrets: str) -> None:
        self.host = urlsplit(api).hostname or "the forge"
        self.secrets = [one for one in secrets if len(one) > 3]
        self._client = HttpClient(api, HttpSettings(timeout_s=TIMEOUT_S, attempts=1))

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Reply | Sent:
        """Make a call; what came of it where there is no reply."""
        content = b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        more = {"content-type": "application/json", **headers} if body is not None else dict(headers)
        try:
            return self._client.send(method, path, content, more)
        except SourceUnreachableError as error:
            late = " within" in error.message
            said = f"{self.host} did not answer within {TIMEOUT_S} s" if late else f"{self.host} can't be reached"
            return Sent(done=False, passing=True, said=said)
        except SourceError:
            return Sent(done=False, said=f"{self.host} points to another address; write the final one as url")

    def judged(self, reply: Reply) -> Sent:
        """What a reply means: 2xx took the call, what may pass is tried again, anything else is final.

        401 may pass: a token can be set anew while somebody waits.
        """
        if 200 <= reply.status < 300:
            return Sent(done=True, id=_id_in(reply.text))
        text = shown_body(reply.text)
        for one in self.secrets:
            text = text.replace(one, "…")
        said = f"{self.host} answers {reply.status}" + (f": {text}" if text else "")
        return Sent(
            done=False,
            passing=may_pass(reply.status) or reply.status in {401, 408},
            said=said,
            retry_after_s=seconds(reply.headers.get("retry-after", "")),
            gone=reply.status in {404, 409, 410},
        )

    def has(self, path: str, text: str, headers: Mapping[str, str]) -> bool | Sent:
        """Whether one of the comments that are listed at *path* holds a text, of the first thousand."""
        for page in range(1, _PAGES + 1):
            reply = self.ask("GET", f"{path}?per_page={_PAGE}&page={page}", None, headers)
            if isinstance(reply, Sent):
                return reply
            told = document(reply.text)
            if reply.status != 200 or not isinstance(told, list):
                return self.judged(reply)
            if any(text in str(one.get(name)) for one in told if isinstance(one, dict) for name in ("body", "note")):
                return True
            if len(told) < _PAGE:
                break
        return False

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def seconds(text: str) -> int:
    """Read a whole number of seconds, at most a day; 0 for anything else."""
    return min(int(text), _LONGEST_ASKED_S) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def document(text: str) -> Any:
    """Read an answer as JSON; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _id_in(text: str) -> int | None:
    told = document(text)
    found = told.get("id") if isinstance(told, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None
