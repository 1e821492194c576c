"""What an operator states of volumes that this machine can't see to be encrypted: a cloud's disks, a server afar.

Rule: a statement names who vouches for it, where that can be read, and until when it holds; it is entered in the
ledger, and shown as what it is: a statement, never something that was seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date
from typing import Annotated

import msgspec

_Words = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+\Z")]


class AttestedVolume(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The volume of `path` is encrypted, says `by`; `reference` is where that is written down; good through `until`.

    `path` is a directory, absolute or relative to the home, or `database` for the volumes of an external PostgreSQL, or
    `swap`. It stands for what lies below it on the same volume.
    """

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    by: _Words
    reference: _Words
    until: date


class VolumeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What is stated of volumes."""

    attested: Annotated[tuple[AttestedVolume, ...], msgspec.Meta(max_length=32)] = ()


def digest_of_statements(stated: Iterable[AttestedVolume]) -> bytes:
    """Return SHA-256 of the statements as they are in force, in the order of their paths."""
    ordered = sorted(stated, key=lambda one: (one.path, one.by, one.reference, one.until))
    return hashlib.sha256(msgspec.json.encode(ordered, order="sorted")).digest()
