"""What is wrapped under a tenant's WRAP and FILE keys, page by page, under the new ones.

Rules: a page is one transaction under the rotation's row: read, unwrapped, compared, wrapped, stored by
compare-and-swap on the old bytes, counted. So an erasure, a write or another worker in between loses nothing, and a
process that dies in a page leaves it as it was. Seals under the new key are counted like all others. Between pages the
walk rests, so that requests have the larger part of the machine.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.clock import Clock
from wellkeep.base.errors import KeysUnavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto.wrap import WrapKey
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Interrupted, Stopping
from wellkeep.keys import rotation
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.rewrap import StreamRow, SubjectRow, WrapKeys, stream_slices, subject_slices
from wellkeep.keys.rows import OpenedKey
from wellkeep.keys.seals import SealBudgetExhausted

_ENTER = "SELECT wk.enter($1)"
_SUBJECTS = """
SELECT subject_id, generation, kid, wrapped, wrap_epoch FROM keys.subject_key
WHERE (subject_id, generation) > ($1, $2) AND wrap_epoch <> $3 AND state <> 'destroyed'
ORDER BY subject_id, generation LIMIT $4
"""
_STORE_SUBJECTS = """
WITH changed AS (
  UPDATE keys.subject_key AS k SET wrapped = n.after, wrap_epoch = $5
  FROM unnest($1::pg_catalog.uuid[], $2::pg_catalog.int4[], $3::pg_catalog.bytea[], $4::pg_catalog.bytea[])
    AS n(subject_id, generation, before, after)
  WHERE k.tenant_id = $6 AND k.subject_id = n.subject_id AND k.generation = n.generation AND k.wrapped = n.before
  RETURNING 1
)
SELECT count(*) FROM changed
"""
_STREAMS = "SELECT id, wrapped, epoch FROM vault.blob WHERE epoch <> $1 ORDER BY id LIMIT $2"
_STORE_STREAMS = """
WITH changed AS (
  UPDATE vault.blob AS b SET wrapped = n.after, epoch = $4
  FROM unnest($1::pg_catalog.uuid[], $2::pg_catalog.bytea[], $3::pg_catalog.bytea[]) AS n(id, before, after)
  WHERE b.tenant_id = $5 AND b.id = n.id AND b.wrapped = n.before
  RETURNING 1
)
SELECT count(*) FROM changed
"""
_LEFT = """
SELECT (SELECT count(*) FROM keys.subject_key WHERE wrap_epoch <> $1 AND state <> 'destroyed')
     + (SELECT count(*) FROM vault.blob WHERE epoch <> $2)
"""
_LEASE = "SELECT keys.lease_tenant($1, $2, $3)"
_PLACE = struct.Struct(">16s16siQ")
_NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Pace:
    """Rows of a page, the share of the time that is worked, and seconds until all processes have learnt of new keys."""

    page: int = 1_000
    share: float = 0.4
    settle: float = 2.0


class Place(NamedTuple):
    """Where a walk goes on: the tenant, the last subject key, and how many of the tenant's rows are re-wrapped."""

    tenant: UUID
    subject: UUID = _NOBODY
    generation: int = 0
    rewrapped: int = 0

    @classmethod
    def read(cls, stored: bytes | None, *, tenant: UUID) -> Place:
        """Return the stored place, or the tenant's beginning where it is another's."""
        if stored is None or len(stored) != _PLACE.size:
            return cls(tenant)
        owner, subject, generation, rewrapped = _PLACE.unpack(stored)
        return cls(tenant, UUID(bytes=subject), generation, rewrapped) if owner == tenant.bytes else cls(tenant)

    def stored(self) -> bytes:
        """Return the bytes of `keys.rotation.place`."""
        return _PLACE.pack(self.tenant.bytes, self.subject.bytes, self.generation, self.rewrapped)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """A tenant's keys of one purpose and the kid of the new one, whose seals are counted."""

    purpose: KeyPurpose
    keys: WrapKeys
    kid: bytes


def wrapping(tenant: UUID, opened: list[OpenedKey], purpose: KeyPurpose) -> Wrapping:
    """Return the keys of `purpose` among those that were opened; the newest active one is where rows go."""
    mine = [one for one in opened if one.row.purpose is purpose]
    active = [one for one in mine if one.row.state == "active"]
    if not active:
        raise KeysUnavailable(
            "This tenant has no key that new ones are wrapped under. Make it with: wellkeep keys rotate"
        )
    new = max(active, key=lambda one: one.row.epoch)
    old = {one.row.epoch: WrapKey(one.secret) for one in mine if one is not new}
    return Wrapping(purpose, WrapKeys(tenant, old, WrapKey(new.secret), new.row.epoch), new.row.kid)


class Walk:
    """Re-wraps what is wrapped under tenants' keys."""

    def __init__(self, *, pool: Pool, clock: Clock, pace: Pace) -> None:
        """Work over `pool`, wk_app's, at `pace`."""
        self._pool = pool
        self._clock = clock
        self._pace = pace

    async def left(self, tenant: UUID, *, wrap_epoch: int, file_epoch: int) -> int:
        """Return how many rows of the tenant are still wrapped under other keys."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            left: int = await connection.fetchval(_LEFT, wrap_epoch, file_epoch)
        return left

    async def place(self, roll: UUID, tenant: UUID) -> Place:
        """Return where the walk of this tenant goes on."""
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            return Place.read(await rotation.hold(connection, roll), tenant=tenant)

    async def again(self, roll: UUID, place: Place) -> None:
        """Have the walk of this tenant begin anew: something came behind it."""
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            await rotation.hold(connection, roll)
            anew = Place(place.tenant, rewrapped=place.rewrapped)
            await rotation.advance(connection, roll, place=anew.stored(), done=0, conflicts=0)

    async def subjects(self, roll: UUID, to: Wrapping, stopping: Stopping) -> None:
        """Re-wrap the tenant's subject keys from where the walk stands to the end."""
        await self._paced(lambda: self._subject_page(roll, to), stopping)

    async def streams(self, roll: UUID, to: Wrapping, stopping: Stopping) -> None:
        """Re-wrap the keys of the tenant's blobs."""
        await self._paced(lambda: self._stream_page(roll, to), stopping)

    async def _paced(self, page: Callable[[], Awaitable[bool]], stopping: Stopping) -> None:
        more = True
        while more:
            if stopping():
                raise Interrupted
            begun = self._clock.monotonic()
            more = await page()
            worked = self._clock.monotonic() - begun
            if more:
                await asyncio.sleep(worked * (1 / self._pace.share - 1))

    async def _subject_page(self, roll: UUID, to: Wrapping) -> bool:
        keys = to.keys
        async with self._pool.transaction() as connection:
            place = await self._held(connection, roll, keys.tenant)
            fetched = await connection.fetch(_SUBJECTS, place.subject, place.generation, keys.epoch, self._pace.page)
            rows = [SubjectRow(*row) for row in fetched]
            if not rows:
                return False
            wrapped = await _breathing(subject_slices(keys, rows))
            changed = await connection.fetchval(
                _STORE_SUBJECTS,
                [row.subject for row in rows],
                [row.generation for row in rows],
                [row.wrapped for row in rows],
                wrapped,
                keys.epoch,
                keys.tenant,
            )
            last = Place(keys.tenant, rows[-1].subject, rows[-1].generation, place.rewrapped + changed)
            await self._counted(connection, roll, to, last, rows=len(rows), changed=changed)
        return True

    async def _stream_page(self, roll: UUID, to: Wrapping) -> bool:
        keys = to.keys
        async with self._pool.transaction() as connection:
            place = await self._held(connection, roll, keys.tenant)
            rows = [StreamRow(*row) for row in await connection.fetch(_STREAMS, keys.epoch, self._pace.page)]
            if not rows:
                return False
            wrapped = await _breathing(stream_slices(keys, rows))
            changed = await connection.fetchval(
                _STORE_STREAMS,
                [row.blob for row in rows],
                [row.wrapped for row in rows],
                wrapped,
                keys.epoch,
                keys.tenant,
            )
            last = place._replace(rewrapped=place.rewrapped + changed)
            await self._counted(connection, roll, to, last, rows=len(rows), changed=changed)
        return True

    async def _held(self, connection: Connection, roll: UUID, tenant: UUID) -> Place:
        """Hold the rotation's row, enter the tenant, and return where its walk goes on."""
        await self._enter(connection, PLATFORM_TENANT)
        place = Place.read(await rotation.hold(connection, roll), tenant=tenant)
        await self._enter(connection, tenant)
        return place

    async def _counted(
        self, connection: Connection, roll: UUID, to: Wrapping, place: Place, *, rows: int, changed: int
    ) -> None:
        """Count the seals under the new key, and the page."""
        if not await connection.fetchval(_LEASE, to.purpose.value, to.kid, rows):
            raise SealBudgetExhausted
        await self._enter(connection, PLATFORM_TENANT)
        await rotation.advance(connection, roll, place=place.stored(), done=changed, conflicts=rows - changed)

    async def _enter(self, connection: Connection, tenant: UUID) -> None:
        await connection.execute(_ENTER, self._pool.token(connection, tenant=tenant))


async def _breathing(slices: Iterator[list[bytes]]) -> list[bytes]:
    """Return all of it; between two slices whoever else has something to do has their turn."""
    wrapped: list[bytes] = []
    for part in slices:
        wrapped += part
        await asyncio.sleep(0)
    return wrapped
