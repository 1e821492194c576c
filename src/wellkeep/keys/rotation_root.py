"""The root tier: all keys of a tenant, or of all tenants and the deployment, under the root key that the settings name.

Rules: which root that is, and which another may still be opened by, the settings say and no row; what was opened is
compared with its commitment before it is wrapped again; each row is exchanged by compare-and-swap. The rotation is done
when the database names no other root for anybody it was for, so a root that `keys status` shows no row of can go. The
threat is a root key that was withdrawn and still opens something, and one that is removed while something needs it.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import structlog

from wellkeep.base.errors import KeysUnavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Stopping
from wellkeep.findings.findings import Findings
from wellkeep.gate.gate import Gate
from wellkeep.keys import rotation
from wellkeep.keys.inventory import KnownKey, known_keys
from wellkeep.keys.kms import DEPLOYMENT_PURPOSES, EpochKeys, Roots, key_context
from wellkeep.keys.rewrap_tenant import Swap, TenantRewrap, store
from wellkeep.keys.rotation import Rotation
from wellkeep.keys.rotation_acts import Parts, RotationActs
from wellkeep.keys.rows import key_row, open_row, require_opens
from wellkeep.ledger.event import Action

_DEPLOYMENT_KEYS = """
SELECT purpose, epoch, kid, commit_hash, wrapped, 0 AS kms_epoch, root, state FROM keys.deployment_keys()
WHERE state <> 'destroyed'
"""
_REWRAP_DEPLOYMENT = "SELECT keys.rewrap_deployment_key($1, $2, $3, $4, $5)"
_ROUNDS = 4
_CHANGING = "Keys came under another root key again and again meanwhile. Try again."
_log = structlog.get_logger("wellkeep.keys")


class RootRewrap:
    """Wraps keys under the root keys that the settings name."""

    def __init__(self, *, gate: Gate, pool: Pool, roots: Roots, epochs: EpochKeys, findings: Findings) -> None:
        """Work over `pool`, wk_app's."""
        self._acts = RotationActs(gate=gate, pool=pool, findings=findings)
        self._pool = pool
        self._roots = roots
        self._tenants = TenantRewrap(pool=pool, roots=roots, epochs=epochs)
        rotation.understand(pool)

    async def run(self, one: Rotation, stopping: Stopping) -> None:
        """Bring a rotation that was begun to its end, from wherever it stands; raises as `EpochRoll.run` does."""
        for _ in range(_ROUNDS):
            behind = await self.behind(one.tenant)
            if not behind:
                done = await self._acts.end(one)
                _log.info("root_rewrapped", rows=done)
                return
            await self._count(one, left=sum(behind.values()))
            parts = Parts(stopping)
            for tenant in sorted(behind):
                await parts.of(tenant, lambda tenant: self._tenant(one, tenant))
            await self._acts.trouble(one, parts.failures, tried=behind.keys())
            if parts.failures:
                raise rotation.worst([*parts.failures.values()])
        raise KeysUnavailable(_CHANGING, retry_after=60)

    async def behind(self, whose: UUID = PLATFORM_TENANT) -> dict[UUID, int]:
        """Return how many keys name another root than they should, by tenant; the platform's are the deployment's too.

        `whose` is a tenant, or the platform for everybody.
        """
        left: dict[UUID, int] = {}
        for key in await known_keys(self._pool):
            if whose in {PLATFORM_TENANT, key.tenant} and key.root != self.root_of(key):
                left[key.tenant] = left.get(key.tenant, 0) + 1
        return left

    def root_of(self, key: KnownKey) -> str:
        """Return the name of the root key that `key` should be wrapped by."""
        own = key.purpose in DEPLOYMENT_PURPOSES
        kms = self._roots.deployment if own else self._roots.current(key.tenant)
        return kms.describe().root

    async def _tenant(self, one: Rotation, tenant: UUID) -> None:
        """Do one tenant's keys, and enter with them how many there were."""
        swaps = await self._tenants.to_root(tenant)
        own = await self._deployment() if tenant == PLATFORM_TENANT else []
        async with self._acts.transaction(one.id, Action.KEY_ROTATED, "root", tenant=tenant) as work:
            changed = await store(work.connection, swaps)
            for before, after in own:
                changed += await work.connection.fetchval(
                    _REWRAP_DEPLOYMENT, before.purpose.value, before.epoch, before.wrapped, after.wrapped, after.root
                )
            work.record(count=changed)
        async with self._pool.tenant_transaction(tenant=one.tenant) as connection:
            await rotation.hold(connection, one.id)
            await rotation.advance(connection, one.id, place=tenant.bytes, done=changed, conflicts=0)

    async def _deployment(self) -> list[Swap]:
        """Return what is stored so that the deployment's own keys lie under its root key."""
        root = self._roots.deployment
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            rows = [key_row(record) for record in await connection.fetch(_DEPLOYMENT_KEYS)]
        name, swaps = root.describe().root, []
        for row in rows:
            if row.root != name:
                kms = self._roots.named(PLATFORM_TENANT, row.root)
                opened = await open_row(row, kms, None, tenant=PLATFORM_TENANT)
                context = key_context(PLATFORM_TENANT, row.purpose, row.epoch)
                wrapped = await root.wrap(opened.secret, context=context)
                after = replace(row, wrapped=wrapped, root=name)
                await require_opens(after, root, None, tenant=PLATFORM_TENANT)
                swaps.append(Swap(row, after))
        return swaps

    async def _count(self, one: Rotation, *, left: int) -> None:
        async with self._pool.tenant_transaction(tenant=one.tenant) as connection:
            await rotation.hold(connection, one.id)
            await rotation.set_total(connection, one.id, left=left)
