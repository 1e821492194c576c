"""The roll of the deployment's epoch: nothing that lives stays under the old epoch's key, so that can be destroyed.

Rules, in this order: the new epoch's key exists outside before the database calls it current; all tenants get their new
keys, then every process has time to learn of them, then what they wrap is re-wrapped; an old key goes when the database
itself, holding it, finds nothing under it; an old epoch is retired when no key of any tenant carries it, and its key is
destroyed outside when its time has come (`epoch_end`). Each step asks the database what is left, so it may be killed
and begun again at any of them, by several workers at once. A tenant whose key service is away keeps no other tenant
from going on, and the old epoch from being retired. The threat is an old backup that opens what was erased since.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid5

import structlog

from wellkeep.base.clock import Clock
from wellkeep.base.errors import KeysUnavailable, NotFound, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Stopping
from wellkeep.findings.findings import Findings
from wellkeep.gate.gate import Gate
from wellkeep.keys import epoch_end, rotation
from wellkeep.keys.epoch_place import require_here
from wellkeep.keys.inventory import behind_epoch, current_epoch, known_epochs, known_keys
from wellkeep.keys.kms import EpochKeys, KeyPurpose, Roots
from wellkeep.keys.rewrap_pages import Pace, Walk, Wrapping, wrapping
from wellkeep.keys.rewrap_tenant import WRAPPING, TenantRewrap, signal
from wellkeep.keys.rotation import Rotation, StillUsed, epoch_name, key_name
from wellkeep.keys.rotation_acts import Parts, RotationActs
from wellkeep.ledger.event import Action

_BEGIN = "SELECT keys.begin_epoch($1)"
_RETIRE = "SELECT keys.retire_epoch($1, $2)"
_DESTROY_KEY = """
UPDATE keys.tenant_key SET state = 'destroyed', wrapped = ''
WHERE purpose = $1 AND epoch < $2 AND state <> 'destroyed' RETURNING epoch, kid
"""
_NOW = "SELECT pg_catalog.clock_timestamp()"
_EPOCH = "epoch"
_ROUNDS = 8
_CHANGING = "Keys came under the old epoch again and again while it rolled. Try again."
_log = structlog.get_logger("wellkeep.keys")


class _Entered(Exception):
    """Another worker did this at the same moment, and entered it: nothing is left to be done."""


class EpochRoll:
    """Rolls the epoch, and destroys the keys of epochs whose time has come."""

    def __init__(
        self,
        *,
        gate: Gate,
        pool: Pool,
        roots: Roots,
        epochs: EpochKeys,
        findings: Findings,
        clock: Clock,
        kept: timedelta,
        pace: Pace | None = None,
    ) -> None:
        """Work over `pool`, wk_app's; an epoch's key is kept for `kept` after it was retired."""
        self._acts = RotationActs(gate=gate, pool=pool, findings=findings)
        self._pool = pool
        self._epochs = epochs
        self._clock = clock
        self._kept = kept
        self._pace = pace or Pace()
        self._tenants = TenantRewrap(pool=pool, roots=roots, epochs=epochs)
        self._walk = Walk(pool=pool, clock=clock, pace=self._pace)
        rotation.understand(pool)

    async def run(self, roll: Rotation, stopping: Stopping) -> None:
        """Bring a roll that was begun to its end, from wherever it stands.

        Raises Interrupted where the worker goes down, RotationOver where another worker ended it or it was stopped, and
        what kept a tenant from going on: then it stays under way, and is run again.
        """
        assert roll.target is not None  # noqa: S101 - what began it says where it goes
        await self._begin(roll, roll.target)
        for _ in range(_ROUNDS):
            behind = behind_epoch(await known_keys(self._pool), roll.target)
            if not behind and await self._retired(roll, roll.target):
                done = await self._acts.end(roll)
                _log.info("epoch_rolled", epoch=roll.target, rows=done)
                return
            failures = await self._round(roll, behind, roll.target, stopping)
            if failures:
                raise rotation.worst(failures)
        raise KeysUnavailable(_CHANGING, retry_after=60)

    async def destroy_due(self) -> list[int]:
        """Destroy the keys of retired epochs whose time has come, and return of which they are gone."""
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            epochs = await known_epochs(connection)
            # What is destroyed does not come back: a machine whose clock jumped ahead does not destroy by itself.
            now = min(self._clock.now(), await connection.fetchval(_NOW))
        due = [one.epoch for one in epochs if one.state == "retired" and one.destroy_at and one.destroy_at <= now]
        return [epoch for epoch in due if await self.destroy(epoch)]

    async def destroy(self, epoch: int) -> bool:
        """Destroy the key of a retired epoch now, outside of the database first; again does no harm.

        Returns whether it is gone: a cloud waits, and the epoch stays retired until then.

        Raises NotFound, StillUsed where the epoch is not retired, KeysUnavailable, KeysRevoked.
        """
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            epochs = await known_epochs(connection)
        found = next((one for one in epochs if one.epoch == epoch), None)
        if found is None:
            raise NotFound("There is no such epoch. List them with: wellkeep keys status")
        if found.state == "destroyed":
            return True
        if found.state != "retired" or found.rows:
            raise StillUsed
        end = await epoch_end.order(self._epochs, epoch, current=current_epoch(epochs).epoch)
        if not end.gone:
            async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                if await epoch_end.note(connection, end):
                    _log.info("epoch_destruction_ordered", epoch=epoch, until=end.at.isoformat())
            return False
        called = epoch_name(epoch)
        with suppress(_Entered):
            async with self._acts.transaction(_named(epoch), Action.KEY_DESTROYED, _EPOCH, called=called) as work:
                if not await epoch_end.note(work.connection, end):
                    raise _Entered
                work.record()
        return True

    async def _begin(self, roll: Rotation, target: int) -> None:
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            current = current_epoch(await known_epochs(connection)).epoch
        if current >= target:
            return
        await require_here(self._epochs, current)
        await self._epochs.create(target)
        with suppress(_Entered):
            async with self._acts.transaction(roll.id, Action.EPOCH_ROLLED, _EPOCH, called=epoch_name(target)) as work:
                if not await work.connection.fetchval(_BEGIN, target):
                    raise _Entered
                work.record(count=target)

    async def _round(self, roll: Rotation, behind: list[UUID], target: int, stopping: Stopping) -> list[WellkeepError]:
        """Have each tenant that is behind go as far as it gets; return what kept some of them."""
        part = Parts(stopping)
        fresh = [await part.of(tenant, lambda one: self._tenants.to_epoch(one, target)) for tenant in behind]
        if any(fresh):
            await asyncio.sleep(self._pace.settle)
        targets = [await part.of(tenant, self._wrappings) for tenant in behind]
        ready = {found[0].keys.tenant: found for found in targets if found}
        await self._count(roll, ready)
        for tenant in ready:
            await part.of(tenant, lambda one: self._tenant(roll, ready[one], stopping))
        await self._acts.trouble(roll, part.failures, tried={*behind})
        return list(part.failures.values())

    async def _wrappings(self, tenant: UUID) -> list[Wrapping]:
        rows = [row for row in await self._tenants.rows(tenant) if row.purpose in WRAPPING]
        opened = await self._tenants.open(tenant, rows)
        return [wrapping(tenant, opened, purpose) for purpose in WRAPPING] if opened else []

    async def _count(self, roll: Rotation, ready: dict[UUID, list[Wrapping]]) -> None:
        """Note how much there is to be done, for whoever watches."""
        left = 0
        for tenant, (wrap, file) in ready.items():
            left += await self._walk.left(tenant, wrap_epoch=wrap.keys.epoch, file_epoch=file.keys.epoch)
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            await rotation.hold(connection, roll.id)
            await rotation.set_total(connection, roll.id, left=left)

    async def _tenant(self, roll: Rotation, wrappings: list[Wrapping], stopping: Stopping) -> None:
        """Re-wrap all that one tenant has, and let its old keys go."""
        wrap, file = wrappings
        for _ in range(_ROUNDS):
            await self._walk.subjects(roll.id, wrap, stopping)
            await self._walk.streams(roll.id, file, stopping)
            place = await self._walk.place(roll.id, wrap.keys.tenant)
            try:
                await self._let_go(roll, wrappings, count=place.rewrapped)
            except StillUsed:
                await self._walk.again(roll.id, place)
            else:
                return
        raise KeysUnavailable(_CHANGING, retry_after=60)

    async def _let_go(self, roll: Rotation, wrappings: list[Wrapping], *, count: int) -> None:
        """Destroy the tenant's old keys, in a transaction that holds them and finds nothing under them."""
        tenant = wrappings[0].keys.tenant
        async with self._acts.transaction(roll.id, Action.KEY_ROTATED, "key", tenant=tenant) as work:
            for one in wrappings:
                gone = await work.connection.fetch(_DESTROY_KEY, one.purpose.value, one.keys.epoch)
                for row in gone:
                    work.record(action=Action.KEY_RETIRED, resource_id=key_name(row["kid"]))
                if one.purpose is KeyPurpose.WRAP:
                    work.record(resource_id=key_name(one.kid), count=count)
            await signal(work.connection)

    async def _retired(self, roll: Rotation, target: int) -> bool:
        """Retire every older epoch; False where keys came under one meanwhile."""
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            epochs = await known_epochs(connection)
        old = [one for one in epochs if one.epoch < target and one.state == "decrypt_only"]
        if any(one.rows for one in old):
            return False
        for one in old:
            try:
                await self._retire(roll, one.epoch)
            except StillUsed:
                return False
        return True

    async def _retire(self, roll: Rotation, epoch: int) -> None:
        """Retire one epoch, and say when its key is destroyed. Raises StillUsed."""
        with suppress(_Entered):
            async with self._acts.transaction(roll.id, Action.KEY_RETIRED, _EPOCH, called=epoch_name(epoch)) as work:
                if not await work.connection.fetchval(_RETIRE, epoch, self._clock.now() + self._kept):
                    raise _Entered
                work.record()


def _named(epoch: int) -> UUID:
    """Return the request id under which the end of an epoch is entered: always the same for one epoch."""
    return uuid5(PLATFORM_TENANT, f"epoch:{epoch}")
