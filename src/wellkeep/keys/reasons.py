"""Why something was done, in words: sealed beside the ledger, and there only as a hash.

Rules: a reason is free text and may name a patient, so it never stands in an entry; the entry holds SHA-256(salt |
text), salt and text lie sealed (wk1, suite 2) in a row that can be deleted without touching the chain. The envelope is
bound to the event, so one reason can't be put in another's place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from wellkeep.base.errors import FieldProblem, IntegrityBroken, Validation
from wellkeep.crypto.envelope import envelope_kid, open_one, seal_one
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import DataKey
from wellkeep.crypto.padding import ValueType
from wellkeep.keys.deployment import DeploymentKey

MOST_LETTERS: Final = 2_000
_SALT_BYTES = 16
_COLLECTION = 0
_FIELD = 1


class SealedReason(NamedTuple):
    """What an entry holds of a reason (32 bytes), and the envelope that opens to it."""

    digest: bytes
    sealed: bytes


class Reasons:
    """Seals and opens reasons under the deployment's REASON keys, newest first."""

    def __init__(self, keys: Sequence[DeploymentKey]) -> None:
        """`keys` are the live epochs; the newest seals, all of them open."""
        opened = [DataKey(key.secret.reveal()) for key in keys]
        self._newest = opened[0]
        self._keys = {key.kid: key for key in opened}

    def seal(self, text: str, *, tenant: UUID, event: UUID) -> SealedReason:
        """Seal the reason of `event`; raises Validation for an empty text or one of over 2,000 letters."""
        words = text.strip()
        if not 1 <= len(words) <= MOST_LETTERS:
            raise Validation(fields=(FieldProblem("reason", "out-of-range"),))
        try:
            payload = os.urandom(_SALT_BYTES) + words.encode()
        except UnicodeEncodeError:
            raise Validation(fields=(FieldProblem("reason", "malformed"),)) from None
        item = (_FIELD, ValueType.TEXT, payload, False)
        sealed = seal_one(self._newest, item, tenant=tenant.bytes, collection=_COLLECTION, record=event.bytes)
        return SealedReason(hashlib.sha256(payload).digest(), sealed)

    def open(self, sealed: bytes, *, tenant: UUID, event: UUID, digest: bytes) -> str:
        """Return the text; raises IntegrityBroken where it is not the one whose hash the entry holds."""
        try:
            key = self._keys[envelope_kid(sealed)]
            _, payload = open_one(
                key, (_FIELD, sealed), tenant=tenant.bytes, collection=_COLLECTION, record=event.bytes
            )
        except (CryptoError, KeyError):
            raise IntegrityBroken from None
        if hashlib.sha256(payload).digest() != digest:
            raise IntegrityBroken
        return payload[_SALT_BYTES:].decode()
