"""An identity provider of the probe's own (OpenID Connect Core 1.0), on loopback over TLS, honest until told otherwise.

It hands a code out only for a PKCE challenge by S256 and takes it once, with the verifier; what it signs is by RS256
with a key that it shows, unless the probe asks for a forgery.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import RSAKey

from wellkeep.base.clock import Clock

CLIENT: Final = "wellkeep-probe"
GROUP: Final = "probes"
_BITS: Final = 2048
_LASTS: Final = 300
_MOST: Final = 64 * 1024

Forge = Callable[["IdentityProvider", dict[str, Any]], str]
"""Makes a token of the claims that an honest one would have."""


@dataclass(slots=True)
class IdentityProvider:
    """What it says of whom; `forge` stands in for its honest signature."""

    issuer: str
    clock: Clock
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(_BITS, {"kid": "probe", "use": "sig"}))
    person: str = "probe"
    forge: Forge | None = None
    without_pkce: int = 0
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def page(self, address: str) -> str:
        """Be the page at which somebody signs in; return the query of the way back."""
        asked = dict(parse_qsl(urlsplit(address).query))
        if asked.get("code_challenge_method") != "S256" or not asked.get("code_challenge"):
            self.without_pkce += 1
        code = uuid4().hex
        self._codes[code] = asked
        return urlencode({"code": code, "state": asked.get("state", ""), "iss": self.issuer})

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer one request of the relying party."""
        if path == "/.well-known/openid-configuration":
            return 200, self._metadata()
        if path == "/jwks":
            return 200, {"keys": [self.key.as_dict(private=False)]}
        if path == "/token":
            return self._token({name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()})
        return 404, {}

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "authorization_response_iss_parameter_supported": True,
        }

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        asked = self._codes.pop(form.get("code", ""), None)
        shown = _encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or asked.get("code_challenge") != shown:
            return 400, {"error": "invalid_grant"}
        claims = self._claims(asked.get("nonce", ""))
        token = sign(self, claims) if self.forge is None else self.forge(self, claims)
        return 200, {"token_type": "Bearer", "access_token": uuid4().hex, "id_token": token}

    def _claims(self, nonce: str) -> dict[str, Any]:
        now = int(self.clock.seconds())
        about = {"iss": self.issuer, "aud": CLIENT, "sub": self.person, "nonce": nonce, "iat": now, "exp": now + _LASTS}
        return about | {"groups": [GROUP], "email": f"{self.person}@wk-probe.test", "name": "A Probe"}


def sign(by: IdentityProvider, claims: dict[str, Any]) -> str:
    """Return an honest token."""
    return jwt.encode({"alg": "RS256", "kid": "probe"}, claims, by.key)


def _by_another(_: IdentityProvider, claims: dict[str, Any]) -> str:
    other = RSAKey.generate_key(_BITS, {"kid": "probe"})
    return jwt.encode({"alg": "RS256", "kid": "probe"}, claims, other)


def _unsigned(_: IdentityProvider, claims: dict[str, Any]) -> str:
    return f"{_segment({'alg': 'none', 'kid': 'probe'})}.{_segment(claims)}."


def _confused(by: IdentityProvider, claims: dict[str, Any]) -> str:
    """Return a token whose MAC has the provider's public key for its secret."""
    said = f"{_segment({'alg': 'HS256', 'kid': 'probe'})}.{_segment(claims)}"
    mac = hmac.digest(by.key.as_pem(private=False), said.encode(), "sha256")  # the library refuses to make one
    return f"{said}.{_encoded(mac)}"


def _with(**changes: Any) -> Forge:
    return lambda by, claims: sign(by, claims | changes)


FORGERIES: Final[dict[str, Forge]] = {
    "of another issuer": _with(iss="https://elsewhere.invalid"),
    "for another audience": _with(aud="another-client"),
    "of another sign-in": _with(nonce="another"),
    "expired": lambda by, claims: sign(by, claims | {"iat": claims["iat"] - 7200, "exp": claims["exp"] - 7200}),
    "unsigned": _unsigned,
    "signed by somebody else": _by_another,
    "signed with the public key": _confused,
}
"""Tokens that must sign nobody in."""


def _segment(what: dict[str, Any]) -> str:
    return _encoded(json.dumps(what).encode())


def _encoded(what: bytes) -> str:
    return urlsafe_b64encode(what).rstrip(b"=").decode()


@asynccontextmanager
async def identity_provider(
    address: str, *, certificate: Path, key: Path, clock: Clock
) -> AsyncIterator[IdentityProvider]:
    """Serve one at `address` (host:port) within the block."""
    host, _, port = address.rpartition(":")
    made = IdentityProvider(f"https://{address}", clock)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.lower().split("\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
            body = await reader.readexactly(min(length, _MOST)) if length else b""
            status, told = made.answer(head.split(" ")[1].partition("?")[0], body)
            answer = json.dumps(told).encode()
            top = f"HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n"
            writer.write(f"{top}Connection: close\r\n\r\n".encode() + answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, host, int(port), ssl=context)
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
