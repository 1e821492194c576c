"""What rotations do on record: each change that a ledger's reader must know of commits with its entry.

Rule: a rotation acts as the deployment itself, under the rotation's id as request, so its entries are found together;
who asked for it stands in the entry that began it. What goes wrong with one tenant stops no other tenant's part, is
noted beside the rotation as a code, and is a finding of that tenant until its part is done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Interrupted, Stopping
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Act
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys import rotation
from wellkeep.keys.inventory import known_keys
from wellkeep.keys.rotation import Rotation, RotationOver, rotator
from wellkeep.ledger.event import Action

T = TypeVar("T")


class RotationActs:
    """Enters what rotations do."""

    def __init__(self, *, gate: Gate, pool: Pool, findings: Findings) -> None:
        """Act through `gate`, over `pool`, wk_app's."""
        self._gate = gate
        self._pool = pool
        self._findings = findings

    @asynccontextmanager
    async def transaction(
        self, request: UUID, action: Action, what: str, *, called: str | None = None, tenant: UUID | None = None
    ) -> AsyncIterator[GateTransaction]:
        """Lend a transaction under `tenant`, or the platform, for an act upon `what` of the name `called`."""
        act = Act(Permission.KEYS_ROTATE, action, what, resource_id=called, tenant=tenant)
        async with self._gate.transaction(await self._gate.decide(rotator(request), act)) as work:
            yield work

    async def end(self, one: Rotation) -> int:
        """Note and enter that a rotation is done; return how many rows it changed. Raises RotationOver.

        What was found of it is closed first, for whoever it was for: who dies here runs it again.
        """
        every = one.tenant == PLATFORM_TENANT
        await self._over(one, {key.tenant for key in await known_keys(self._pool)} if every else {one.tenant})
        ended = Action.ROTATION_ENDED
        async with self.transaction(one.id, ended, "rotation", called=str(one.id), tenant=one.tenant) as work:
            done = await rotation.end(work.connection, one.id, state="done")
            work.record(count=done)
        return done

    async def trouble(self, one: Rotation, failures: Mapping[UUID, WellkeepError], *, tried: AbstractSet[UUID]) -> None:
        """Note what keeps some of the tenants that were `tried` from going on, and report it to each.

        What was found of the others before is closed: they need not wait for those.
        """
        await self._over(one, tried - failures.keys())
        if not failures:
            return
        async with self._pool.tenant_transaction(tenant=one.tenant) as connection:
            await rotation.note_trouble(connection, one.id, rotation.worst([*failures.values()]).code)
        for tenant, failure in failures.items():
            self._findings.note(
                tenant,
                kind=Kind.KEYS_ROTATION_FAILED,
                severity=Severity.HIGH,
                key=finding_key(Kind.KEYS_ROTATION_FAILED, one.tier.value),
                detail={"tier": one.tier.value, "error": failure.code},
            )

    async def _over(self, one: Rotation, tenants: Iterable[UUID]) -> None:
        for tenant in sorted(tenants):
            await self._findings.settle(tenant, keys=[finding_key(Kind.KEYS_ROTATION_FAILED, one.tier.value)])


class Parts:
    """Does each tenant's part of a rotation; what goes wrong with one is kept and stops no other's."""

    def __init__(self, stopping: Stopping) -> None:
        """Leave between two parts where `stopping` says so."""
        self._stopping = stopping
        self.failures: dict[UUID, WellkeepError] = {}

    async def of(self, tenant: UUID, work: Callable[[UUID], Awaitable[T]]) -> T | None:
        """Return what `work` returns for the tenant, None where it failed, now or at an earlier step.

        Raises Interrupted, and RotationOver where there is nothing more to be done.
        """
        if self._stopping():
            raise Interrupted
        if tenant in self.failures:
            return None
        try:
            return await work(tenant)
        except RotationOver:
            raise
        except WellkeepError as trouble:
            self.failures[tenant] = trouble
            return None
