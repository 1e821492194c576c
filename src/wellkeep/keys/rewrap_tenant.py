"""One tenant's own keys under a new root key or a new epoch: the rows of `keys.tenant_key`.

Rules: key services are asked outside of transactions; each row is exchanged by compare-and-swap on its wrapped bytes,
so two workers, or a worker and a rotation of another tier, can't undo each other. WRAP and FILE get a new secret when
the epoch rolls, for what they wrapped would open in an old backup; the others keep theirs and are split anew. After any
change the other processes are told to read the rows again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool
from wellkeep.keys.kms import DEPLOYMENT_PURPOSES, EpochKeys, KeyPurpose, Roots
from wellkeep.keys.rows import KeyRow, OpenedKey, key_row, new_row, open_rows, rewrapped, store_rows

WRAPPING = (KeyPurpose.WRAP, KeyPurpose.FILE)
"""Keys that wrap others: a roll of the epoch replaces them."""

_SECONDS = 60.0
_ROWS = """
SELECT purpose, epoch, kid, commit_hash, wrapped, kms_epoch, root, state FROM keys.tenant_key
WHERE state <> 'destroyed' ORDER BY purpose, epoch
"""
_SWAP = """
UPDATE keys.tenant_key SET wrapped = $4, root = $5, kms_epoch = $6
WHERE purpose = $1 AND epoch = $2 AND wrapped = $3 AND state <> 'destroyed'
"""
_STEP_DOWN = "UPDATE keys.tenant_key SET state = 'decrypt_only' WHERE purpose = $1 AND epoch = $2 AND state = 'active'"
_SIGNAL = "SELECT keys.signal_changed()"
_ONE = "UPDATE 1"


class Swap(NamedTuple):
    """A row as it was read, and as it is to be."""

    before: KeyRow
    after: KeyRow


class TenantRewrap:
    """Brings tenants' own keys under what their roots and the deployment's epoch are now."""

    def __init__(self, *, pool: Pool, roots: Roots, epochs: EpochKeys) -> None:
        """Work over `pool`, wk_app's."""
        self._pool = pool
        self._roots = roots
        self._epochs = epochs

    async def rows(self, tenant: UUID) -> list[KeyRow]:
        """Return the tenant's keys that are not destroyed; never the deployment's own."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            found = [key_row(record) for record in await connection.fetch(_ROWS)]
        return [row for row in found if row.purpose not in DEPLOYMENT_PURPOSES]

    async def open(self, tenant: UUID, rows: Sequence[KeyRow]) -> list[OpenedKey]:
        """Open rows by the roots that they name; raises KeysUnavailable, KeysRevoked, IntegrityBroken."""
        return await open_rows(rows, partial(self._roots.named, tenant), self._epochs, tenant=tenant, seconds=_SECONDS)

    async def to_root(self, tenant: UUID) -> list[Swap]:
        """Return what is stored so that every key of the tenant lies under its current root."""
        root = self._roots.current(tenant).describe().root
        rows = [row for row in await self.rows(tenant) if row.root != root]
        return await self._split_anew(tenant, rows, epoch=None)

    async def to_epoch(self, tenant: UUID, epoch: int) -> bool:
        """Bring the tenant to `epoch`: new WRAP and FILE keys, the others split anew.

        Returns whether anything was changed: then other processes need a moment to learn of it.
        """
        behind = [row for row in await self.rows(tenant) if row.kms_epoch != epoch]
        replaced = [row for row in behind if row.purpose in WRAPPING and row.state == "active"]
        for old in replaced:
            await self._replace(tenant, old, epoch)
        swaps = await self._split_anew(tenant, [row for row in behind if row.purpose not in WRAPPING], epoch=epoch)
        if swaps:
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                await store(connection, swaps)
        return bool(replaced or swaps)

    async def _replace(self, tenant: UUID, old: KeyRow, epoch: int) -> None:
        root = self._roots.current(tenant)
        row = await new_row(
            root, self._epochs, tenant=tenant, purpose=old.purpose, epoch=old.epoch + 1, kms_epoch=epoch
        )
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            # Whoever comes second finds the old one stepped down, and throws its own new key away.
            if await connection.execute(_STEP_DOWN, old.purpose.value, old.epoch) == _ONE:
                await store_rows(connection, [row], tenant=tenant)
                await signal(connection)

    async def _split_anew(self, tenant: UUID, rows: Sequence[KeyRow], *, epoch: int | None) -> list[Swap]:
        """Split the same secrets anew, under `epoch` or each under its own, and the tenant's current root."""
        root = self._roots.current(tenant)
        return [
            Swap(
                opened.row,
                await rewrapped(
                    opened,
                    root,
                    self._epochs,
                    tenant=tenant,
                    kms_epoch=opened.row.kms_epoch if epoch is None else epoch,
                ),
            )
            for opened in await self.open(tenant, rows)
        ]


async def store(connection: Connection, swaps: Sequence[Swap]) -> int:
    """Store what still stands as it was read, under the tenant's context, and tell all processes; return how many."""
    changed = 0
    for before, after in swaps:
        done = await connection.execute(
            _SWAP, before.purpose.value, before.epoch, before.wrapped, after.wrapped, after.root, after.kms_epoch
        )
        changed += done == _ONE
    await signal(connection)
    return changed


async def signal(connection: Connection) -> None:
    """Tell all processes, with the commit, that the entered tenant's keys are to be read again."""
    await connection.execute(_SIGNAL)
