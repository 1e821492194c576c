"""Tokens of an identity provider: a signature first, then every claim (OpenID Connect Core 1.0, section 3.1.3.7).

Rules: the algorithm is one of four asymmetric ones, whatever the header says; the key comes from the provider's own
set, by its kid, and never from the token: `jwk`, `jku` and `x5u` are refused, as is any `crit`. The token is for us
alone (`aud`, `azp`), of this issuer, of this very sign-in (`nonce`), issued just now and not over. Logout tokens
(OpenID Connect Back-Channel Logout 1.0) have no nonce and say what they are, so neither kind passes for the other.

The threats have names: `alg: none`; RS256 turned into HS256 with the public key as the secret; an embedded key; a kid
of nobody's; another's audience; a token replayed; a name twice in the JSON; megabytes of it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from wellkeep.access.oidc_errors import ProviderRefused
from wellkeep.access.oidc_json import NotJson, from_base64url, read_object, to_base64url
from wellkeep.access.oidc_keys import SigningKey

ALGORITHMS: Final = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
MOST_BYTES: Final = 16 * 1024
LEEWAY: Final = 60.0
"""How far the provider's clock may be from ours, in seconds."""
FRESH: Final = 600.0
"""How old a token may be when it comes, in seconds."""

_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_FROM_ELSEWHERE = frozenset({"jwk", "jku", "x5u", "crit", "b64"})
_PARTS = 3
_MOST_NAME = 255
_LATEST = 1e12

Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token whose form is good; nothing of it is known to be true."""

    kid: str | None
    algorithm: str
    kind: str
    payload: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an ID token must say: `most_age` is how long ago, in seconds, the person may have signed in there."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str | None = None
    most_age: float | None = None


@dataclass(frozen=True, slots=True)
class Logout:
    """What a logout token says: whose sessions, or which session, and the id by which it is good once."""

    subject: str | None
    session: str | None
    id: str
    expires: float


def parse(token: str) -> Unverified:
    """Take a compact token apart (RFC 7515, section 7.1). Raises ProviderRefused."""
    if len(token) > MOST_BYTES:
        raise ProviderRefused("too-large")
    parts = token.split(".")
    if len(parts) != _PARTS or not token.isascii():
        raise ProviderRefused("malformed")
    try:
        header = read_object(from_base64url(parts[0]), most=MOST_BYTES)
        payload, signature = from_base64url(parts[1]), from_base64url(parts[2])
    except NotJson:
        raise ProviderRefused("malformed") from None
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ProviderRefused("algorithm")
    if header.keys() & _FROM_ELSEWHERE or not isinstance(kid, str | None) or not isinstance(kind, str):
        raise ProviderRefused("header")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    return Unverified(kid, algorithm, kind.lower().removeprefix("application/"), payload, signed, signature)


def verified(token: Unverified, key: SigningKey | None) -> Claims:
    """Return what `token` says once `key` has signed it. Raises ProviderRefused."""
    if key is None:
        raise ProviderRefused("unknown-key")
    if token.algorithm not in key.algorithms:
        raise ProviderRefused("algorithm")
    checker: Any = JWSRegistry.algorithms[token.algorithm]
    try:
        good = checker.verify(token.signed, token.signature, key.key) is True
    except (JoseError, ValueError):
        good = False
    if not good:
        raise ProviderRefused("signature")
    try:
        return read_object(token.payload, most=MOST_BYTES)
    except NotJson:
        raise ProviderRefused("malformed") from None


def check_id_token(claims: Claims, token: Unverified, expected: Expected, *, now: float) -> None:
    """Check every claim of an ID token whose signature is good. Raises ProviderRefused."""
    if token.kind != "jwt":
        raise ProviderRefused("type")
    _check_envelope(claims, issuer=expected.issuer, client_id=expected.client_id, now=now)
    if "events" in claims:
        raise ProviderRefused("type")
    name(claims, "sub", required=True)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(_bytes(nonce), _bytes(expected.nonce)):
        raise ProviderRefused("nonce")
    if "at_hash" in claims:
        _check_hash(claims["at_hash"], expected.access_token, token.algorithm)
    since = claims.get("auth_time")
    if since is not None and _moment(claims, "auth_time") > now + LEEWAY:
        raise ProviderRefused("auth-time")
    if expected.most_age is not None and (since is None or since < now - expected.most_age - LEEWAY):
        raise ProviderRefused("auth-time")


def check_logout_token(claims: Claims, token: Unverified, *, issuer: str, client_id: str, now: float) -> Logout:
    """Check every claim of a logout token whose signature is good (section 2.6). Raises ProviderRefused."""
    if token.kind not in {"logout+jwt", "jwt"}:
        raise ProviderRefused("type")
    _check_envelope(claims, issuer=issuer, client_id=client_id, now=now)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_LOGOUT_EVENT), dict):
        raise ProviderRefused("events")
    if "nonce" in claims:
        raise ProviderRefused("nonce")
    subject, session = name(claims, "sub"), name(claims, "sid")
    if subject is None and session is None:
        raise ProviderRefused("nobody")
    identifier = name(claims, "jti", required=True) or ""
    # It may come as long as either bound lets it: remembered for longer than that.
    return Logout(subject, session, identifier, expires=min(_moment(claims, "exp"), now + FRESH) + 2 * LEEWAY)


def name(claims: Claims, claim: str, *, required: bool = False) -> str | None:
    """Return a claim that names somebody or something, 1 to 255 letters. Raises ProviderRefused."""
    found = claims.get(claim)
    if found is None and not required:
        return None
    if not isinstance(found, str) or not 1 <= len(found) <= _MOST_NAME:
        raise ProviderRefused(claim)
    return found


def moment(claims: Claims, claim: str) -> float | None:
    """Return a time of a checked token in seconds since 1970, or None. Raises ProviderRefused."""
    return None if claims.get(claim) is None else _moment(claims, claim)


def _check_envelope(claims: Claims, *, issuer: str, client_id: str, now: float) -> None:
    if claims.get("iss") != issuer:
        raise ProviderRefused("issuer")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in audiences:
        raise ProviderRefused("audience")
    if len(audiences) > 1 and "azp" not in claims:
        raise ProviderRefused("audience")
    if claims.get("azp", client_id) != client_id:
        raise ProviderRefused("azp")
    if _moment(claims, "exp") <= now - LEEWAY:
        raise ProviderRefused("expired")
    issued = _moment(claims, "iat")
    if issued > now + LEEWAY or ("nbf" in claims and _moment(claims, "nbf") > now + LEEWAY):
        raise ProviderRefused("not-yet")
    if issued < now - FRESH - LEEWAY:
        raise ProviderRefused("old")


def _moment(claims: Claims, claim: str) -> float:
    found = claims.get(claim)
    # The bound comes first: an integer beyond every float is JSON, too.
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= _LATEST:
        raise ProviderRefused("time")
    return float(found)


def _check_hash(claimed: object, access_token: str | None, algorithm: str) -> None:
    """Check the half hash of the access token (section 3.1.3.6); for Ed25519 it is SHA-512's."""
    if access_token is None or not isinstance(claimed, str):
        raise ProviderRefused("at-hash")
    made = hashlib.new("sha512" if algorithm == "EdDSA" else "sha256", _bytes(access_token)).digest()
    if not hmac.compare_digest(_bytes(to_base64url(made[: len(made) // 2])), _bytes(claimed)):
        raise ProviderRefused("at-hash")


def _bytes(text: str) -> bytes:
    """Return UTF-8; JSON's escapes may hold halves of letters, which have none of their own."""
    return text.encode("utf-8", "surrogatepass")
