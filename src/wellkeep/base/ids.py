"""Ids: UUIDv7 (RFC 9562), made by the application, so that no global sequence exists and a shard can move.

A UUIDv7 tells its time of making. It tells nothing else: it is never derived from data. What several processes may do
at once, and is to be done once, has an id that follows from what it is about (`derived`).
"""

from __future__ import annotations

import os
import time
from hashlib import sha256
from uuid import UUID

PLATFORM_TENANT = UUID("00000000-0000-7000-8000-000000000000")
"""The tenant of the deployment itself: its log is the root log, its keys are the deployment's."""

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_MASK = (0xFFF << 64) | ((1 << 62) - 1)


def uuid7() -> UUID:
    """Return a new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits from the kernel.

    Read from the machine's clock on purpose: an id's time is a hint for locality, never evidence.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big") & _RANDOM_MASK
    return UUID(int=(milliseconds << 80) | _VERSION_7 | _VARIANT | random)


def earliest(milliseconds: int) -> UUID:
    """Return the least UUIDv7 of a Unix millisecond."""
    return UUID(int=(milliseconds << 80) | _VERSION_7 | _VARIANT)


def derived(first: UUID, named: bytes) -> UUID:
    """Return the id of the time of `first` whose random bits follow from `named`: the same, whoever makes it."""
    spread = int.from_bytes(sha256(named).digest()[:16], "big")
    return UUID(int=(first.int & ~_RANDOM_MASK) | (spread & _RANDOM_MASK))


def uuid7s(count: int) -> list[UUID]:
    """Return `count` new UUIDv7 of one millisecond, in no order: as `uuid7`, with one call to the kernel for all."""
    begin = (time.time_ns() // 1_000_000 << 80) | _VERSION_7 | _VARIANT
    random, read = os.urandom(10 * count), int.from_bytes
    return [UUID(int=begin | read(random[at : at + 10]) & _RANDOM_MASK) for at in range(0, 10 * count, 10)]


def parse_uuid(text: str) -> UUID | None:
    """Return the UUID that `text` spells in its one canonical form, or None; other spellings are not ids of ours."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text else None
