"""One batch of an import: rows, entry and checkpoint in one transaction, or none of them.

Rules: the checkpoint names the line that the batch begins behind; a run that no longer holds the import, or comes
second, writes nothing. What is refused by a unique index is an error of its line and the rest is written. The digest of
an import is a sum modulo 2^256 of keyed MACs, one for each line taken (a keyed multiset hash: Clarke et al., ASIACRYPT
2003): it depends on what the lines are, not on their order or on the number of runs, and without the key says nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from wellkeep.crypto.blind import Mac
from wellkeep.gate.calls import BatchedSql
from wellkeep.gate.calls import Row as Composite
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.blobs import SealedPart
from wellkeep.vault.calls import BULK_ROW, BulkWrite
from wellkeep.vault.imports_line import LineError, Row

MOST_ERRORS = 10_000
"""Lines that the error file lists; further ones are counted."""

_DIGEST = "import/1"
_MODULUS = 1 << 256
_SQL = BatchedSql(
    name="vault.import",
    sql="SELECT * FROM vault.import_batch($1::vault.import_in[])",
    kind="write",
    quiet=frozenset({"refused", "stale_collection", "superseded"}),
    packed=(BULK_ROW,),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where an import stands: the last line taken, the offset behind it, what the error file holds, the digest."""

    line: int
    offset: int
    error_parts: int
    error_lines: int
    digest: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of the lines of one batch."""

    created: int
    updated: int
    unchanged: int
    failed: int


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """The change that writes one batch and moves the checkpoint from `before` to `after`."""

    batch: ClassVar[BatchedSql] = _SQL
    credential: UUID | None
    collection: int
    version: int
    at: datetime
    rows: list[bytes]
    import_id: UUID
    runner: UUID
    before: Checkpoint
    after: Checkpoint
    counts: Counts
    errors_id: UUID
    errors: SealedPart | None

    def row(self, token: str, event_id: UUID, event: bytes) -> Composite:
        """Return the composite `vault.import_in`."""
        bulk = BulkWrite(self.credential, self.collection, self.version, self.at, None, self.rows)
        counts, errors = self.counts, self.errors
        return (
            *(bulk.row(token, event_id, event), self.import_id, self.runner),
            *(self.before.line, self.after.line, self.after.offset),
            *(counts.created, counts.updated, counts.unchanged, counts.failed),
            *(self.after.digest.to_bytes(32, "big"), self.errors_id, self.before.error_parts),
            *((None, None) if errors is None else (errors.digest, errors.data)),
            self.after.error_lines - self.before.error_lines,
        )


def lines_digest(keys: TenantKeys, rows: Iterable[Row]) -> int:
    """Return the sum of the MACs of `rows`, as a number below 2^256."""
    mac, number = Mac(keys.mac_key(_DIGEST)).of, int.from_bytes
    return sum([number(mac(_line(row.external_id, row.payload)), "big") for row in rows]) % _MODULUS


def payload_digest(keys: TenantKeys, external_id: str, payload: bytes) -> int:
    """Return the MAC of one record, as a number to be `added`."""
    return int.from_bytes(line_mac(keys.mac_key(_DIGEST), external_id, payload), "big")


def line_mac(key: bytes, external_id: str, payload: bytes) -> bytes:
    """Return HMAC-SHA-256(key, length u32 of the external id | external id | payload)."""
    return hmac.digest(key, _line(external_id, payload), "sha256")


def _line(external_id: str, payload: bytes) -> bytes:
    name = external_id.encode()
    return len(name).to_bytes(4, "big") + name + payload


def added(digest: int, more: int) -> int:
    """Return the digest of both."""
    return (digest + more) % _MODULUS


def rows_digest(digests: Sequence[tuple[UUID, bytes]]) -> bytes | None:
    """Return one SHA-256 over (record id 16 | digest of its ciphertexts 32)*, in the order of the entry's ids."""
    if not digests:
        return None
    return hashlib.sha256(b"".join(record.bytes + digest for record, digest in digests)).digest()


def error_lines(errors: Iterable[LineError]) -> bytes:
    """Return the lines of an error file: NDJSON of {line, path, code}."""
    encode = msgspec.json.encode
    return b"".join(encode({"line": error.line, "path": error.path, "code": error.code}) + b"\n" for error in errors)
