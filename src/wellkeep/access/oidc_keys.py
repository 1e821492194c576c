"""A provider's signing keys (JWKS, RFC 7517): which of them may check a signature of which algorithm.

Rules: only public keys of the types that the allowed algorithms use, RSA of 2048 to 8192 bits, P-256, Ed25519; what is
symmetric, private, for encryption or unknown is left out as if it were not there; at most 64 keys are looked at. A key
is good for one algorithm family alone, so that no public key ever becomes the secret of an HMAC. A kid that comes twice
names nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from wellkeep.access.oidc_errors import ProviderUnusable
from wellkeep.access.oidc_json import NotJson, from_base64url

MOST_KEYS: Final = 64
_RSA_BITS = range(2048, 8193)
_MOST_EXPONENT = 2**32
_RSA = frozenset({"RS256", "PS256"})
_POINT_BYTES = 32

PublicKey = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key: its id, where it has one, and the algorithms whose signatures it may check."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


def read_keys(document: dict[str, Any]) -> tuple[SigningKey, ...]:
    """Return the usable keys of a JWKS. Raises ProviderUnusable where there is none, or the set is too large."""
    found = document.get("keys")
    if not isinstance(found, list) or len(found) > MOST_KEYS:
        raise ProviderUnusable("keys")
    keys = tuple(key for one in found if isinstance(one, dict) and (key := _key(one)) is not None)
    if not keys:
        raise ProviderUnusable("no-keys")
    return keys


def fitting(keys: Sequence[SigningKey], *, kid: str | None, algorithm: str) -> SigningKey | None:
    """Return the one key that a token of this header is to be checked with, or None."""
    named = [key for key in keys if (kid is None or key.kid == kid) and algorithm in key.algorithms]
    return named[0] if len(named) == 1 else None


def _key(member: dict[str, Any]) -> SigningKey | None:
    kid, use, operations = member.get("kid"), member.get("use"), member.get("key_ops")
    if use not in {None, "sig"} or "d" in member or "k" in member or not isinstance(kid, str | None):
        return None
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    try:
        made = _made(member)
    except (JoseError, NotJson, ValueError):
        return None
    if made is None:
        return None
    algorithms, key = made
    only = member.get("alg")
    return SigningKey(kid, algorithms if only is None else algorithms & {only}, key)


def _made(member: dict[str, Any]) -> tuple[frozenset[str], PublicKey] | None:
    kty, curve = member.get("kty"), member.get("crv")
    if kty == "RSA":
        modulus, exponent = (int.from_bytes(_bytes(member, name), "big") for name in ("n", "e"))
        if modulus.bit_length() not in _RSA_BITS or exponent % 2 == 0 or not 2 < exponent < _MOST_EXPONENT:  # noqa: PLR2004
            return None
        return _RSA, RSAKey.import_key({"kty": "RSA", "n": member["n"], "e": member["e"]})
    if kty == "EC" and curve == "P-256" and len(_bytes(member, "x")) == len(_bytes(member, "y")) == _POINT_BYTES:
        return frozenset({"ES256"}), ECKey.import_key({name: member[name] for name in ("kty", "crv", "x", "y")})
    if kty == "OKP" and curve == "Ed25519" and len(_bytes(member, "x")) == _POINT_BYTES:
        return frozenset({"EdDSA"}), OKPKey.import_key({name: member[name] for name in ("kty", "crv", "x")})
    return None


def _bytes(member: dict[str, Any], name: str) -> bytes:
    found = member.get(name)
    if not isinstance(found, str):
        raise NotJson
    return from_base64url(found)
