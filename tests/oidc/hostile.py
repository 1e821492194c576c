"""An identity provider of the tests, on loopback over TLS: honest until a test says otherwise."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from egress.outside import Certificates, Names, Noted, serving
from wellkeep.access.oidc_json import to_base64url
from wellkeep.base.clock import Clock
from wellkeep.base.settings import Place
from wellkeep.egress.egress import Egress

HOST, PLACE, CLIENT, SECRET = "login.example.org", "identity", "wellkeep", "s3cr3t:/+ of the client"
BACK = "https://localhost/v1/sign-in/callback"

_KEYS: dict[str, RSAKey] = {}


def key(kid: str) -> RSAKey:
    """Return the RSA key of this name, made once for all tests."""
    if kid not in _KEYS:
        _KEYS[kid] = RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})
    return _KEYS[kid]


def segment(what: Any) -> str:
    return to_base64url(what if isinstance(what, bytes) else json.dumps(what).encode())


def signed(claims: Any, *, by: RSAKey, **header: Any) -> str:
    """Return a token by RS256, whatever stands in its header."""
    top = segment({"alg": "RS256", "kid": by.kid, **header})
    body = f"{top}.{segment(claims)}"
    return f"{body}.{to_base64url(JWSRegistry.algorithms['RS256'].sign(body.encode(), by))}"


def public(*kids: str) -> dict[str, Any]:
    return {"keys": [key(kid).as_dict(private=False) for kid in kids]}


Answer = tuple[int, bytes]


@dataclass
class Provider:
    """What it says, and what it was asked. `forge` makes the ID token of the honest claims.

    `posts`: it knows no way but one for clients to show who they are, the secret in the form.
    """

    clock: Clock
    port: int = 0
    kids: list[str] = field(default_factory=lambda: ["one"])
    sub: str = "robin-7"
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    forge: Callable[[dict[str, Any]], str] | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    slow: bool = False
    posts: bool = False
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"https://{HOST}:{self.port}"

    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "authorization_response_iss_parameter_supported": True,
        } | self.metadata

    def sign_in(self, address: str, **changes: str | None) -> dict[str, str]:
        """Be the page of the provider at which somebody signs in; returns the query of the way back."""
        query = dict(parse_qsl(urlsplit(address).query))
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["redirect_uri"] == BACK
        assert "openid" in query["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        back = {"code": code, "state": query["state"], "iss": self.issuer} | changes
        return {name: value for name, value in back.items() if value is not None}

    def honest(self, nonce: str) -> dict[str, Any]:
        now = int(self.clock.seconds())
        told = {"iss": self.issuer, "aud": CLIENT, "sub": self.sub, "nonce": nonce, "iat": now, "exp": now + 300}
        return {**told, **self.claims}

    def token(self, head: str, form: dict[str, list[str]]) -> Answer:
        query = self.codes.pop(form.get("code", [""])[0], None)
        if self.posts:
            assert "authorization:" not in head.lower()
            assert (form["client_id"], form["client_secret"]) == ([CLIENT], [SECRET])
            head = "Basic d2VsbGtlZXA6czNjcjN0JTNBJTJGJTJCK29mK3RoZStjbGllbnQ=\r\n"
        else:
            assert "client_secret" not in form
        pair = base64.b64decode(head.partition("Basic ")[2].split("\r\n")[0] or b"Og==").decode()
        verifier = form["code_verifier"][0]
        challenge = to_base64url(hashlib.sha256(verifier.encode()).digest())
        if query is None or query["code_challenge"] != challenge or form["redirect_uri"] != [query["redirect_uri"]]:
            return 400, b'{"error": "invalid_grant"}'
        assert pair == "wellkeep:s3cr3t%3A%2F%2B+of+the+client"
        claims = self.honest(query["nonce"])
        made = self.forge(claims) if self.forge else signed(claims, by=key(self.kids[0]))
        return 200, json.dumps({"token_type": "Bearer", "access_token": "at", "id_token": made}).encode()

    def answer(self, path: str, head: str, body: bytes) -> Answer:
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps(self.document()).encode()
        if path == "/jwks":
            return 200, json.dumps(public(*self.kids)).encode()
        if path == "/token":
            return self.token(head, parse_qs(body.decode()))
        return 404, b"{}"


@asynccontextmanager
async def provider(folder: Path, clock: Clock) -> AsyncIterator[tuple[Provider, Egress]]:
    """Serve one, and return it with a way out that reaches it by its name."""
    made, certificates = Provider(clock), Certificates.make(folder, HOST)

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length) if length else b""
        if made.slow:
            await asyncio.sleep(30)
        status, answer = made.answer(head.split(" ")[1], head, body)
        more = "Location: https://evil.example.org/\r\n" if status == 302 else ""
        top = f"HTTP/1.1 {status} X\r\nContent-Length: {len(answer)}\r\n{more}Connection: close\r\n\r\n"
        writer.write(top.encode() + answer)
        await writer.drain()
        writer.close()

    async with serving(manner, certificates.context()) as server:
        made.port = server.port
        place = Place(
            name=PLACE, host=HOST, ports=(made.port,), networks=("127.0.0.0/8",), ca=str(certificates.authority)
        )
        yield made, Egress(places=(place,), denials=Noted(), resolver=Names([["127.0.0.1"]]))
