"""What the platform knows of all tenants' keys: everything but what the rows wrap.

Rule: read under the platform's context, through one function that gives no wrapped bytes away. Whether a rotation is
finished, what is old, and what names a root or an epoch that is to go, is asked here and not of any rotation's record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool

_INVENTORY = """
SELECT tenant_id, purpose, epoch, kid, kms_epoch, root, state, seals, created_at FROM keys.inventory()
"""
_EPOCHS = "SELECT epoch, state, created_at, retired_at, destroy_at, destroyed_at FROM keys.epochs()"
_EPOCH_ROWS = "SELECT keys.epoch_rows($1)"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that is not destroyed, by everything that is public; `kms_epoch` is 0 for the deployment's own."""

    tenant: UUID
    purpose: str
    epoch: int
    kid: bytes
    kms_epoch: int
    root: str
    state: str
    seals: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KnownEpoch:
    """An epoch of the deployment, and how many keys of all tenants are still wrapped under it."""

    epoch: int
    state: str
    created_at: datetime
    retired_at: datetime | None
    destroy_at: datetime | None
    destroyed_at: datetime | None
    rows: int


async def known_keys(pool: Pool) -> list[KnownKey]:
    """Return every key of every tenant that is not destroyed, by tenant, purpose and epoch."""
    async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        rows = await connection.fetch(_INVENTORY)
    return [KnownKey(*row) for row in rows]


async def known_epochs(connection: Connection) -> list[KnownEpoch]:
    """Return the deployment's epochs, the oldest first."""
    rows = await connection.fetch(_EPOCHS)
    return [
        KnownEpoch(
            epoch=row["epoch"],
            state=row["state"],
            created_at=row["created_at"],
            retired_at=row["retired_at"],
            destroy_at=row["destroy_at"],
            destroyed_at=row["destroyed_at"],
            rows=await connection.fetchval(_EPOCH_ROWS, row["epoch"]),
        )
        for row in rows
    ]


def current_epoch(epochs: Sequence[KnownEpoch]) -> KnownEpoch:
    """Return the epoch that new wrappings belong to."""
    return next(one for one in epochs if one.state == "active")


def behind_epoch(keys: Sequence[KnownKey], epoch: int) -> list[UUID]:
    """Return the tenants that still have a key wrapped under another epoch than `epoch`."""
    return sorted({key.tenant for key in keys if key.kms_epoch not in {0, epoch}})
