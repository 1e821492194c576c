"""What a request inside somebody else's account carries: `wki_<id>.<secret>`, as a bearer token.

Rules: the secret is 32 bytes from the kernel; what is stored is the SHA-256 of the whole value. It is no cookie: no
browser sends it by itself, so no other site can make one use it, and it is never in use by oversight. The prefix tells
it from an API key at a glance, also where one is found in a place it should not be.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from wellkeep.access import session_format
from wellkeep.access.session_format import Presented
from wellkeep.base.secrets import Secret

PREFIX: Final = "wki_"


def new_token(identifier: UUID) -> Secret[str]:
    """Return the token of the impersonation `identifier`."""
    return Secret(PREFIX + session_format.new_secret(identifier).reveal())


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token: what is stored, and what a presented one is known by in memory."""
    return session_format.digest(token)


def read(token: str) -> Presented | None:
    """Return the parts of `token`, or None where it does not have the form."""
    found = session_format.read(token.removeprefix(PREFIX)) if token.startswith(PREFIX) else None
    return None if found is None else Presented(found.id, digest(token))
