r"""Signed cursors of keyset pages.

Rules: a cursor is bound to its tenant, collection and query, so one that was made for another is refused like one that
was made up; it is authenticated and not secret, so its position holds ids alone. The threat is a caller who steers a
query to rows that the query was not decided for.

    base64url( version 1 | epoch u8 | position 1..64 | HMAC-SHA256 32 )
    MAC over "wellkeep/cursor/v1\n" | epoch u8 | tenant 16 | collection u32 | SHA-256(query) 32 | position
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.crypto.keys import expand
from wellkeep.keys.deployment import DeploymentKey

_LABEL = b"wellkeep/cursor/v1\n"
_VERSION = 1
_MAC_SIZE = 32
_HEADER_SIZE = 2
_MOST_POSITION = 64
_MOST_TEXT = 256


class Cursors:
    """Signs and verifies cursors under the deployment's CURSOR keys."""

    def __init__(self, keys: Sequence[DeploymentKey]) -> None:
        """`keys` are the live epochs, newest first; the newest signs, all of them verify."""
        self._keys = {key.epoch: expand(key.secret.reveal(), info=b"wk1/cursor") for key in keys}
        self._epoch = keys[0].epoch

    def sign(self, position: bytes, *, tenant: UUID, collection: int, query: bytes) -> str:
        """Return the cursor of `position` (1 to 64 bytes, ids alone) in the pages of `query` (its canonical bytes)."""
        if not 1 <= len(position) <= _MOST_POSITION:
            raise ValueError("a cursor's position has 1 to 64 bytes")
        mac = self._mac(self._epoch, position, tenant, collection, query)
        return base64.urlsafe_b64encode(bytes((_VERSION, self._epoch)) + position + mac).rstrip(b"=").decode()

    def verify(self, cursor: str, *, tenant: UUID, collection: int, query: bytes) -> bytes:
        """Return the position; raises Validation for a cursor of another tenant, collection or query, or of nobody."""
        raw = _decode(cursor)
        if len(raw) <= _HEADER_SIZE + _MAC_SIZE or raw[0] != _VERSION or raw[1] not in self._keys:
            raise _refusal()
        position, mac = raw[_HEADER_SIZE:-_MAC_SIZE], raw[-_MAC_SIZE:]
        if not hmac.compare_digest(mac, self._mac(raw[1], position, tenant, collection, query)):
            raise _refusal()
        return position

    def _mac(self, epoch: int, position: bytes, tenant: UUID, collection: int, query: bytes) -> bytes:
        place = tenant.bytes + collection.to_bytes(4, "big") + hashlib.sha256(query).digest()
        return hmac.digest(self._keys[epoch], _LABEL + bytes((epoch,)) + place + position, "sha256")


def _decode(cursor: str) -> bytes:
    """Return a cursor's bytes, or none at all for another spelling than the one we write."""
    if len(cursor) > _MOST_TEXT or not cursor.isascii():
        return b""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == cursor else b""


def _refusal() -> Validation:
    return Validation(
        "This cursor is not one of this query. Begin again without a cursor.",
        fields=(FieldProblem(path="/cursor", code="invalid-cursor"),),
    )
