"""A receipt that we write ourselves, where the outside signs none: our own word for which note was taken, and when.

Rule: it is for one note, by its hash; to nobody else does it prove anything.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from wellkeep.ledger.anchors.anchor import AnchorFailed, Evidence, Trouble


class OwnWord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every such receipt says: SHA-256 of the note, in hex, and when it was taken."""

    sha256: str
    at: datetime


def digest(note: bytes) -> str:
    """Return what a receipt of `note` names it by."""
    return sha256(note).hexdigest()


def evidence(receipt: bytes, note: bytes, *, kind: type[OwnWord]) -> Evidence:
    """Return what `receipt`, one of `kind`, says about `note`. Raises AnchorFailed."""
    try:
        told = msgspec.json.decode(receipt, type=kind)
    except ValueError:
        raise AnchorFailed(Trouble.NOT_PROVEN) from None
    if told.sha256 != digest(note) or told.at.tzinfo is None:
        raise AnchorFailed(Trouble.NOT_PROVEN)
    return Evidence(told.at.astimezone(UTC), independent=False)
