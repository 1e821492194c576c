"""What the cookie of a session looks like: `<session id>.<secret>`, in hexadecimal.

Rules: the secret is 32 bytes from the kernel; what is stored is the SHA-256 of the whole value, so a digest signs in
nobody. The name begins with `__Host-`: a browser takes it over TLS alone, from this very host (RFC 6265bis). The token
against forged requests follows from the value: who can't read the cookie can't make the token, and the token gives
nothing of the cookie away.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from wellkeep.base.secrets import Secret

COOKIE: Final = "__Host-wk_session"
_SECRET_BYTES = 32
_LABEL = b"wellkeep/csrf/v1"
_PRESENTED = re.compile(r"([0-9a-f]{32})\.[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Presented:
    """A value as somebody presented it: whose id it names, and the digest to compare."""

    id: UUID
    digest: bytes


def new_secret(identifier: UUID) -> Secret[str]:
    """Return a new value for the session, link or ticket `identifier`."""
    return Secret(f"{identifier.hex}.{os.urandom(_SECRET_BYTES).hex()}")


def digest(value: str) -> bytes:
    """Return the SHA-256 of a value: what is stored, and what a presented one is known by in memory."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def read(value: str) -> Presented | None:
    """Return the parts of `value`, or None where it does not have the form."""
    match = _PRESENTED.fullmatch(value)
    return None if match is None else Presented(UUID(hex=match[1]), digest(value))


def csrf_token(value: str) -> str:
    """Return the token that must come beside the cookie `value` with whatever changes something: 64 hex digits."""
    return hmac.digest(value.encode("utf-8", "surrogatepass"), _LABEL, "sha256").hex()
