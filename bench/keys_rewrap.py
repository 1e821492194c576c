"""How long a roll of the epoch takes for a million subject keys: the engine as the job runs it, at its own pace.

The keys are generated rows, each wrapped as the vault wraps it; the time is from the beginning of the roll to the old
key's end, the rests between pages and the moment in which all processes learn of the new keys included.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from uuid import UUID

from database import Database
from keys.rotation.rig import Rolling, never
from vault.stack import Stack
from wellkeep.base.ids import uuid7
from wellkeep.crypto.keys import KID_SIZE, SECRET_SIZE, commitment
from wellkeep.crypto.wrap import WrapKey, subject_key_context
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.rewrap_pages import Pace
from wellkeep.keys.rewrap_tenant import TenantRewrap

_AT_ONCE = 50_000
_COLUMNS = ("tenant_id", "subject_id", "generation", "kid", "wrapped", "wrap_epoch")


def _rows(tenant: UUID, key: WrapKey, epoch: int, count: int) -> Iterator[tuple[UUID, UUID, int, bytes, bytes, int]]:
    for _ in range(count):
        secret, subject = os.urandom(SECRET_SIZE), uuid7()
        commit = commitment(secret)
        kid = commit[:KID_SIZE]
        context = subject_key_context(tenant=tenant.bytes, subject=subject.bytes, generation=1, kid=kid)
        yield tenant, subject, 1, kid, key.wrap(secret, context=context) + commit[KID_SIZE:], epoch


async def fill(stack: Stack, database: Database, roller: Rolling, count: int) -> None:
    """Give the first tenant `count` subject keys."""
    keys = TenantRewrap(pool=stack.pool, roots=roller.roots, epochs=roller.epochs)
    rows = [row for row in await keys.rows(stack.tenant) if row.purpose is KeyPurpose.WRAP and row.state == "active"]
    (opened,) = await keys.open(stack.tenant, rows)
    key = WrapKey(opened.secret)
    async with database.connect() as connection:
        await connection.execute("SET session_replication_role = replica")
        for start in range(0, count, _AT_ONCE):
            records = _rows(stack.tenant, key, opened.row.epoch, min(_AT_ONCE, count - start))
            await connection.copy_records_to_table(
                "subject_key", schema_name="keys", records=records, columns=_COLUMNS, timeout=120
            )
        await connection.execute("VACUUM (ANALYZE) keys.subject_key", timeout=300)


async def rewrap(roller: Rolling, *, target: int, pace: Pace) -> float:
    """Roll the epoch to `target` and return how many seconds it took."""
    roll = await roller.begun(target)
    begun = time.monotonic()
    await roller.engine(pace=pace).run(roll, never)
    return time.monotonic() - begun
