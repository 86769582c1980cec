"""HTTP questions to servers of others: patient with what passes, plain about what does not, silent about secrets."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tightrope.base.errors import SourceError, SourceUnreachableError, UsageError

_LONGEST_WAIT_S = 30.0
_SHOWN = 300  # characters of an answer that an error quotes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered: status, headers with lower-case names, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    encoding: str = "utf-8"

    @property
    def text(self) -> str:
        """The body as text; what is none is replaced."""
        return self.body.decode(self.encoding, "replace")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How to speak to one server.

    Attributes:
        headers: Sent with every request; may hold secrets, which no message ever shows.
        auth: User and password for basic authentication; None: none.
        timeout_s: For connecting, and for each read.
        attempts: How often a request is tried, the first included.
        ca_file: Certificates to trust instead of the system's; empty: the system's.
        verify: Whether certificates are checked at all.
        transport: Stands in for the network, in tests.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: tuple[str, str] | None = field(default=None, repr=False)
    timeout_s: float = 30.0
    attempts: int = 4
    ca_file: str = ""
    verify: bool = True
    transport: Any = None


class HttpClient:
    """Asks one server, again after a pause where an answer says that it may pass (429, 5xx) or none came.

    Args:
        base_url: Where the server is; a path is kept. User and password in it are used, and never shown.
        settings: How to speak to it.
        sleep: Waits some seconds; the real thing outside tests.
    """

    def __init__(self, base_url: str, settings: HttpSettings, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(
                f"{shown_url(base_url)!r} is no address of a server", remedy="write one such as http://prometheus:9090"
            )
        self._base = base_url.rstrip("/")
        self._settings = settings
        self._sleep = sleep
        self._client: Any = None

    def post_form(self, path: str, form: Mapping[str, str]) -> Reply:
        """Post a form, which may be repeated without harm, and hand out the answer whatever its status.

        Raises:
            SourceUnreachableError: Nobody answered, in time or at all, however often it was tried.
            SourceError: The server points elsewhere; following could carry secrets there.
        """
        return self._ask("POST", path, data=dict(form))

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post a body, which may be repeated without harm; raises as `post_form` does."""
        return self._ask("POST", path, content=body, headers=dict(headers))

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Get a page, with *headers* of this one request, and hand out the answer; raises as `post_form` does."""
        return self._ask("GET", path, headers=dict(headers or {}))

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a body by any method, which may be repeated without harm; raises as `post_form` does."""
        return self._ask(method, path, content=body, headers=dict(headers))

    def _ask(self, method: str, path: str, **request: Any) -> Reply:
        import httpx2

        url = self._base + path
        wait_s = 0.5
        for attempt in range(1, self._settings.attempts + 1):
            last = attempt == self._settings.attempts
            try:
                answer = self.opened().request(method, url, **request)
            except httpx2.TransportError as error:
                if last:
                    raise self._unreachable(error, timed_out=isinstance(error, httpx2.TimeoutException)) from None
            except (httpx2.InvalidURL, httpx2.HTTPError) as error:
                raise SourceError(f"{shown_url(url)}: {type(error).__name__}", remedy="check the address") from None
            else:
                if answer.is_redirect:
                    target = shown_url(answer.headers.get("location", "elsewhere"))
                    raise SourceError(
                        f"{shown_url(url)} answers {answer.status_code} and points to {target}",
                        remedy="write the final address as url; if it is a login page, add the headers that it wants",
                    )
                if last or not may_pass(answer.status_code):
                    return Reply(answer.status_code, dict(answer.headers), answer.content, answer.encoding or "utf-8")
                wait_s = _asked_wait(answer.headers.get("retry-after", ""), wait_s)
            # A little chance keeps many clients from coming back at the same moment.
            self._sleep(min(wait_s * (1 + random.random() / 4), _LONGEST_WAIT_S))
            wait_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def opened(self) -> Any:
        """Hand out the HTTP library's client, made when it is first needed."""
        import httpx2

        if self._client is None:
            settings = self._settings
            verify: ssl.SSLContext | bool = settings.verify
            if settings.ca_file and settings.verify:
                try:
                    verify = ssl.create_default_context(cafile=settings.ca_file)
                except (OSError, ssl.SSLError) as error:
                    raise UsageError(
                        f"caFile {settings.ca_file} can't be used: {error}", remedy="name a PEM file"
                    ) from None
            self._client = httpx2.Client(
                headers=dict(settings.headers),
                auth=settings.auth,
                timeout=settings.timeout_s,
                verify=verify,
                transport=settings.transport,
            )
        return self._client

    def _unreachable(self, error: Exception, *, timed_out: bool) -> SourceUnreachableError:
        where = shown_url(self._base)
        tried = f"after {self._settings.attempts} attempts" if self._settings.attempts > 1 else "at the first attempt"
        if timed_out:
            return SourceUnreachableError(
                f"{where} did not answer within {self._settings.timeout_s:g} s, {tried}",
                remedy="check that the server is up, or raise timeout in connectionDetails",
            )
        return SourceUnreachableError(
            f"{where} can't be reached, {tried}: {error}", remedy="check url, and that the server is up"
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at an address saw.

    Attributes:
        status: Of the answer; None: there was none.
        body: Its first bytes, at most as many as were asked for.
        micros: How long it took until the last of them was there, microseconds.
        certificate_until: When the server's certificate ends, UTC epoch seconds; None: there is none, or it was not
            checked.
        why: Why there was no answer; empty where there was.
    """

    status: int | None
    body: bytes = b""
    micros: int = 0
    certificate_until: int | None = None
    why: str = ""


def look(
    url: str,
    settings: HttpSettings,
    *,
    method: str = "GET",
    content: bytes = b"",
    follow: bool = False,
    most_bytes: int = 0,
) -> Look:
    """Ask an address once, over a connection of its own, and tell what came of it and how long it took.

    Nothing that the server does is an error here: a failure is what a probe is there to see.

    Raises:
        UsageError: The address is none, or the certificates to trust can't be read.
    """
    import httpx2

    client = HttpClient(url, settings)
    body = bytearray()
    status, until, why = None, None, ""
    begun = time.perf_counter_ns()
    end = begun + int(settings.timeout_s * 1_000_000_000)
    try:
        opened = client.opened()
        with opened.stream(
            method, url, content=content or None, headers={"accept-encoding": "identity"}, follow_redirects=follow
        ) as answer:
            until = _certificate_end(answer)
            for piece in answer.iter_raw() if most_bytes else ():
                body += piece
                if len(body) >= most_bytes:
                    break
                if time.perf_counter_ns() > end:
                    raise httpx2.ReadTimeout("")
            status = answer.status_code
    except httpx2.TimeoutException:
        why = f"no answer within {settings.timeout_s:g} s"
    except (httpx2.InvalidURL, httpx2.HTTPError) as error:
        why = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    finally:
        client.close()
    micros = (time.perf_counter_ns() - begun) // 1000
    return Look(status, bytes(body[:most_bytes]), micros, until, why)


def _certificate_end(answer: Any) -> int | None:
    stream = answer.extensions.get("network_stream")
    secured = stream.get_extra_info("ssl_object") if stream is not None else None
    certificate = secured.getpeercert() if secured is not None else None
    return int(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else None


def may_pass(status: int) -> bool:
    """Tell whether a status speaks of the server's moment and not of the question: too many requests, or any 5xx."""
    return status == 429 or 500 <= status < 600


def shown_url(url: str) -> str:
    """Write an address without the user, password and query in it, fit for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def shown_body(text: str) -> str:
    """Write the beginning of an answer on one line, fit for messages."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _asked_wait(retry_after: str, otherwise_s: float) -> float:
    return float(retry_after) if retry_after.isdigit() else otherwise_s
