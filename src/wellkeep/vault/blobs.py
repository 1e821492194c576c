"""Blobs: what was uploaded, what went wrong, what was exported, sealed before it touches a disk.

Rules: a blob is a list of parts; each part is sealed as segments of the blob's STREAM, numbered by the part's place,
under a header of its own: a part sent again replaces itself, a part in another's place does not open, one that was cut
does not either. Writing needs no receipt, opening does. The threat is PHI in a staging file, and a part that the
database's owner moved from one place or blob to another.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, NotFound, TooLarge, Validation
from wellkeep.crypto.stream import HEADER_SIZE, SEALED_SEGMENT_SIZE, SEGMENT_SIZE
from wellkeep.db.connection import Connection
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.streams import StreamReader, StreamWriter, new_stream, open_stream, resume_stream
from wellkeep.keys.tenant import TenantKeys

MAX_PART = 8 << 20
"""Bytes of one part before it is sealed."""

_INDEXES_A_PART = MAX_PART // SEGMENT_SIZE
_CREATE = """
INSERT INTO vault.blob (tenant_id, id, kind, wrapped, epoch, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_STREAM = "SELECT wrapped, epoch FROM vault.blob WHERE id = $1 AND expires_at > pg_catalog.clock_timestamp()"
_PUT = """
INSERT INTO vault.blob_segment (tenant_id, blob_id, n, digest, data) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, blob_id, n) DO UPDATE SET digest = excluded.digest, data = excluded.data
"""
_GET = "SELECT data FROM vault.blob_segment WHERE blob_id = $1 AND n = $2"
_LIST = "SELECT n, digest FROM vault.blob_segment WHERE blob_id = $1 ORDER BY n"
_DELETE = "DELETE FROM vault.blob WHERE id = $1"


class SealedPart(NamedTuple):
    """A part as it is stored: its bytes and the SHA-256 of them, which tells nothing of what they hold."""

    data: bytes
    digest: bytes


class PartWriter:
    """Seals the parts of one blob."""

    def __init__(self, writer: StreamWriter) -> None:
        """Seal with `writer`."""
        self._writer = writer

    def seal(self, n: int, data: bytes) -> SealedPart:
        """Return part `n` sealed; raises `TooLarge` past 8 MiB, `Validation` for an empty one."""
        if len(data) > MAX_PART:
            raise TooLarge("A part has at most 8 MiB; send the file in several")
        if not data:
            raise Validation("A part can't be empty")
        header = self._writer.new_header()
        pieces = [header]
        first = n * _INDEXES_A_PART
        last = (len(data) - 1) // SEGMENT_SIZE
        for place in range(last + 1):
            piece = data[place * SEGMENT_SIZE : (place + 1) * SEGMENT_SIZE]
            pieces.append(self._writer.seal_segment(first + place, piece, header=header, last=place == last))
        sealed = b"".join(pieces)
        return SealedPart(sealed, hashlib.sha256(sealed).digest())


class PartReader:
    """Opens the parts of one blob for somebody whose access is in the ledger."""

    def __init__(self, reader: StreamReader, *, blob: UUID) -> None:
        """Open the parts of `blob` with `reader`."""
        self._reader = reader
        self._blob = blob

    def open(self, n: int, sealed: bytes) -> bytes:
        """Return part `n`; raises `IntegrityBroken` where it is not that part, whole."""
        header = sealed[:HEADER_SIZE]
        places = range(HEADER_SIZE, len(sealed), SEALED_SEGMENT_SIZE)
        if not 0 < len(places) <= _INDEXES_A_PART:
            raise IntegrityBroken(resource=self._blob)
        first = n * _INDEXES_A_PART
        try:
            return b"".join(
                self._reader.open_segment(
                    first + place, sealed[at : at + SEALED_SEGMENT_SIZE], header=header, last=place == len(places) - 1
                )
                for place, at in enumerate(places)
            )
        except IntegrityBroken:
            raise IntegrityBroken(resource=self._blob) from None


async def create(
    connection: Connection, *, keys: TenantKeys, blob: UUID, kind: str, now: datetime, expires: datetime
) -> PartWriter:
    """Make the blob `blob` within the connection's transaction and return its writer.

    `kind` is import_source, import_errors or export. Raises what `keys.streams.new_stream` raises.
    """
    stream = await new_stream(keys, blob=blob)
    await connection.execute(_CREATE, keys.tenant, blob, kind, stream.wrapped, stream.epoch, now, expires)
    return PartWriter(stream.writer)


async def writer(connection: Connection, *, keys: TenantKeys, blob: UUID) -> PartWriter:
    """Return the writer of a blob that is there already; raises `NotFound` where it is not, or has expired."""
    row = await connection.fetchrow(_STREAM, blob)
    if row is None:
        raise NotFound
    keys = await keys.with_files(row["epoch"])
    return PartWriter(resume_stream(keys, blob=blob, wrapped=row["wrapped"], epoch=row["epoch"]))


async def reader(connection: Connection, receipt: Receipt, *, keys: TenantKeys, blob: UUID) -> PartReader:
    """Return the reader of a blob that `receipt` names; raises `NotFound`, `ReceiptRefused`, `IntegrityBroken`."""
    row = await connection.fetchrow(_STREAM, blob)
    if row is None:
        raise NotFound
    keys = await keys.with_files(row["epoch"])
    stream = open_stream(receipt, keys=keys, blob=blob, wrapped=row["wrapped"], epoch=row["epoch"])
    return PartReader(stream, blob=blob)


async def put(connection: Connection, part: SealedPart, *, tenant: UUID, blob: UUID, n: int) -> None:
    """Store part `n`, in place of one that was sent before."""
    await connection.execute(_PUT, tenant, blob, n, part.digest, part.data)


async def sealed_part(connection: Connection, *, blob: UUID, n: int) -> bytes:
    """Return part `n` as it is stored; raises `IntegrityBroken` where it has gone."""
    data = await connection.fetchval(_GET, blob, n)
    if data is None:
        raise IntegrityBroken(resource=blob)
    return bytes(data)


async def parts(connection: Connection, *, blob: UUID) -> list[tuple[int, bytes]]:
    """Return (n, digest) of each part that is stored, in order."""
    return [(row["n"], bytes(row["digest"])) for row in await connection.fetch(_LIST, blob)]


async def delete(connection: Connection, *, blob: UUID) -> None:
    """Delete a blob and its parts."""
    await connection.execute(_DELETE, blob)
