"""A small identity provider that speaks OpenID Connect over real HTTP, with real keys, and can misbehave on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from functools import cache
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "tightrope", "s3cret&= of the client"
CALLBACK = "http://127.0.0.1:8080/login/callback"


@cache
def key(name: str) -> RSAKey:
    """A real key pair; the same name is the same key."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


class Provider:
    """One provider on loopback. What it will say of the next person is in ``claims``.

    Attributes:
        claims: Claims of the ID token beyond those that the protocol asks for; a None takes one away.
        user_info: What its user info says; None: it has none.
        discovery: What its discovery says otherwise.
        signing: The key that signs; ``published`` are the names of those that it publishes.
        shared: What it publishes besides: a key of a kind that nobody knows.
        sign: Signs in another way than with a key of its own.
        requests: The paths that were asked for.
        status: Answers all with this status, where it is not 200.
    """

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.user_info: dict[str, Any] | None = None
        self.discovery: dict[str, Any] = {}
        self.signing = "first"
        self.published = ["first"]
        self.shared: dict[str, Any] = {"kty": "NEW", "kid": "strange"}
        self.sign: Callable[[dict[str, Any]], str] | None = None
        self.requests: list[str] = []
        self.status = 200
        self.now = 0
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self._server.server_port}/realm"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def visit(self, url: str, now: int) -> dict[str, str]:
        """Go where a browser is sent, log in there, and hand out the parameters with which it is sent back."""
        self.now = now
        parts = urlsplit(url)
        connection = HTTPConnection(parts.netloc, timeout=10)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}")
            answer = connection.getresponse()
            answer.read()
            back = answer.headers["Location"]
        finally:
            connection.close()
        assert back.startswith(f"{CALLBACK}?")
        return dict(parse_qsl(urlsplit(back).query))

    # --- what it answers ------------------------------------------------------------------------------------------

    def discovered(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize/?tenant=1",
            "token_endpoint": f"{self.issuer}/token/",
            "jwks_uri": f"{self.issuer}/keys",
        }
        if self.user_info is not None:
            told["userinfo_endpoint"] = f"{self.issuer}/me"
        return told | self.discovery

    def keys(self) -> dict[str, Any]:
        return {"keys": [self.shared, *(key(name).as_dict(private=False) for name in self.published)]}

    def authorize(self, asked: Mapping[str, str]) -> str:
        assert asked["tenant"] == "1"
        assert (asked["response_type"], asked["client_id"], asked["redirect_uri"]) == ("code", CLIENT, CALLBACK)
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self._codes)}"
        self._codes[code] = dict(asked)
        return f"{CALLBACK}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.issuer})}"

    def token(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if self.discovery.get("token_endpoint_auth_methods_supported") == ["client_secret_post"]:
            known = (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        else:
            name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            known = (unquote(name), unquote(secret)) == (CLIENT, SECRET)
        if not known:
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or challenge != asked["code_challenge"] or form.get("redirect_uri") != CALLBACK:
            return 400, {"error": "invalid_grant"}
        plain = {"iss": self.issuer, "aud": CLIENT, "sub": "u-1", "exp": self.now + 300, "iat": self.now}
        claims = {**plain, "nonce": asked["nonce"], **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        return 200, {"access_token": "let-me-in", "token_type": "Bearer", "id_token": self.signed(claims)}

    def signed(self, claims: dict[str, Any]) -> str:
        if self.sign is not None:
            return self.sign(claims)
        return jwt.encode({"alg": "RS256", "kid": self.signing}, claims, key(self.signing))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, asked = self._asked()
                match path:
                    case "/realm/.well-known/openid-configuration":
                        self._answer(200, provider.discovered())
                    case "/realm/keys":
                        self._answer(200, provider.keys())
                    case "/realm/authorize/":
                        self._redirect(provider.authorize(asked))
                    case "/realm/me" if self.headers["Authorization"] == "Bearer let-me-in":
                        self._answer(200, provider.user_info or {})
                    case _:
                        self._answer(404, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                path, _ = self._asked()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                assert path == "/realm/token/"
                self._answer(*provider.token(form, self.headers.get("Authorization", "")))

            def _asked(self) -> tuple[str, dict[str, str]]:
                parts = urlsplit(self.path)
                provider.requests.append(parts.path)
                return parts.path, dict(parse_qsl(parts.query))

            def _redirect(self, url: str) -> None:
                self.send_response(302)
                self.send_header("Location", url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _answer(self, status: int, document: Mapping[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(provider.status if provider.status != 200 else status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the server's
                pass

        return Handler


def signed_with_a_shared_secret(claims: dict[str, Any]) -> str:
    """What an attacker can make who knows the client's secret, or takes the public key for one."""
    return jwt.encode({"alg": "HS256", "kid": "first"}, claims, OctKey.import_key(SECRET))


def unsigned(claims: dict[str, Any]) -> str:
    """A token that says that it needs no signature."""
    parts = [json.dumps(one).encode() for one in ({"alg": "none"}, claims)]
    return ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts) + "."


def signed_by_somebody_else(claims: dict[str, Any]) -> str:
    """A real signature with a real key, which is none of the provider's, under the name of one that is."""
    stranger = RSAKey.generate_key(2048)
    return jwt.encode({"alg": "RS256", "kid": "first"}, claims, stranger)
