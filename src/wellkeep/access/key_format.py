"""What an API key looks like: `wk_<environment>_<key id>_<secret>`.

Rules: the secret is 32 bytes from the kernel; what is stored is the SHA-256 of the whole key, so a digest says nothing
and signs nobody in; the prefix up to the secret is no secret and is what people see. The environment stands in front,
so that a key of the test system is refused before anything is looked up, and a scanner finds a key that leaked.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from uuid import UUID

from wellkeep.base.secrets import Secret

_SECRET_BYTES = 32
_PRESENTED = re.compile(r"wk_([a-z][a-z0-9]{1,15})_([0-9a-f]{32})_[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Presented:
    """A key as somebody presented it: its environment, its id, and the digest to compare."""

    environment: str
    id: UUID
    digest: bytes


def new_secret(environment: str, key_id: UUID) -> Secret[str]:
    """Return a new key for `key_id`, to be shown once."""
    return Secret(f"{prefix(environment, key_id)}_{os.urandom(_SECRET_BYTES).hex()}")


def prefix(environment: str, key_id: UUID) -> str:
    """Return what of the key may be shown: everything before the secret."""
    return f"wk_{environment}_{key_id.hex}"


def digest(key: str) -> bytes:
    """Return the SHA-256 of a key: what is stored, and what a presented key is known by in memory."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def read(key: str) -> Presented | None:
    """Return the parts of `key`, or None where it does not have the form."""
    match = _PRESENTED.fullmatch(key)
    if match is None:
        return None
    return Presented(match[1], UUID(hex=match[2]), digest(key))
