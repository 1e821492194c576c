"""Resealing: one engine that brings what is stored up to what it must be, beside everything else that goes on.

It serves four purposes, the tiers: the next keys of patients (`subject`), the next DATA key (`data`), the next epoch of
the blind-index key (`index`), and a field that became sealed or indexed (`field`). What is new holds for new writes at
once: a write names the version of the definition, or the key, that it was made for, and is refused where that is not
the current one. Then a walk goes over records and their history by their keys, a page at a time, and at its end what is
old is retired: refused while anything names it.

Rules: the system acts as itself (role `keeper`), nobody is shown what it opens, and each opening is entered before it
happens. A revision, its ETag and its times stay what they are. A rotation can be stopped, killed or run twice at any
step: each page commits with the place that it led to. The threats are an old key that something still needs when it is
destroyed, a value that is lost or stays in the clear, and an old ciphertext that is made to look like a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from wellkeep.base.errors import Conflict, Internal, NotFound
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.queue import Interrupted, Stopping
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.keys.rotation import Tier
from wellkeep.keys.rows import KeyRow
from wellkeep.ledger.actions import Action
from wellkeep.vault import resealing_keys, resealing_rows
from wellkeep.vault.context import Context
from wellkeep.vault.replay import never
from wellkeep.vault.resealing_begin import JOB, PURPOSES, begin
from wellkeep.vault.resealing_pace import Pace
from wellkeep.vault.resealing_rows import Rotation, Superseded
from wellkeep.vault.resealing_walk import SETTLE_SECONDS, Walk

__all__ = ["JOB", "Resealing", "Rotation", "Superseded", "Tier", "system"]

_RESOURCE = "rotation"


def system(tenant: UUID) -> Caller:
    """Return the system as it acts upon what `tenant` has stored; no key can carry its role."""
    keeper = Principal(type=ActorType.SYSTEM, id=JOB, tenant=tenant, roles=("keeper",), method=AuthMethod.LOCAL)
    return Caller(keeper, None, uuid7())


class Resealing:
    """The engine: `start` a rotation, then `run` it to its end or `step` by step; `status` says how it stands."""

    def __init__(
        self,
        context: Context,
        *,
        fields_per_second: int | None = None,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Seal anew at most `fields_per_second`.

        `settle_seconds` is how long after a new epoch of the index key no old tag is taken away: longer than any
        process believes a definition, so that every search asks for both.
        """
        self._context = context
        self._pace = Pace(context.clock, fields_per_second=fields_per_second)
        self._settle = settle_seconds

    async def start(
        self,
        caller: Caller,
        tier: Tier,
        *,
        tenant: UUID | None = None,
    ) -> Rotation:
        """Begin a rotation of keys and queue its job; new writes use what is new from now on.

        `tenant` is given by a platform principal alone. A rotation that failed or was stopped goes on with the key that
        it made. Raises Forbidden, Conflict where one of the tier is running.
        """
        if tier is Tier.FIELD:
            raise Internal("A field is brought up to date by the change of its collection")
        act = Act(Permission.KEYS_ROTATE, Action.ROTATION_STARTED, _RESOURCE, resource_id=tier.value, tenant=tenant)
        decision = await self._context.gate.decide(caller, act)
        row = await self._next_key(decision.tenant, tier)
        async with self._context.gate.transaction(decision) as work:
            rotation = await begin(work, tier, row=row)
        if row is not None:
            self._context.keyring.expire(decision.tenant)
        return await self._stored(decision.tenant, rotation)

    async def run(self, tenant: UUID, rotation: UUID, *, stopping: Stopping = never) -> Rotation:
        """Work a rotation off, from where it stands, and return it as it ended.

        Raises Interrupted where `stopping` says so between two pages, Superseded where another worker is at it,
        NotFound, and `Unavailable` where it is to be tried again later.
        """
        current = await self._stored(tenant, rotation)
        while current.running:
            if stopping():
                raise Interrupted
            self._pace.begin()
            current, fields = await self.step(tenant, current)
            await asyncio.sleep(self._pace.rest(fields))
        if current.state == "done":
            over = finding_key(Kind.KEYS_ROTATION_FAILED, current.tier.value)
            await self._context.findings.settle(tenant, keys=[over])
        return current

    async def step(self, tenant: UUID, rotation: Rotation) -> tuple[Rotation, int]:
        """Work off one page of `rotation`; returns it as it then stands, and how many fields were sealed anew."""
        decision = await self._own(tenant)
        walk = Walk(self._context, decision, rotation, pace=self._pace, settle_seconds=self._settle)
        try:
            fields = await walk.step()
        except Superseded:
            if (await self._stored(tenant, rotation.id)).running:
                raise
            fields = 0
        return await self._stored(tenant, rotation.id), fields

    async def stop(self, caller: Caller, rotation: UUID, *, tenant: UUID | None = None) -> Rotation:
        """Stop a rotation; what is old stays in use until another one is started. Raises NotFound, Conflict."""
        act = Act(Permission.KEYS_ROTATE, Action.ROTATION_ENDED, _RESOURCE, resource_id=str(rotation), tenant=tenant)
        decision = await self._context.gate.decide(caller, act)
        current = await self._stored(decision.tenant, rotation)
        async with self._context.gate.transaction(decision) as work:
            if not await resealing_rows.end(work.connection, current, "stopped"):
                raise Conflict("It has ended already")
            work.record(count=current.done)
        return await self._stored(decision.tenant, rotation)

    async def status(self, tenant: UUID) -> Sequence[Rotation]:
        """Return the newest rotation of each tier; ids and numbers, so nobody has to be asked."""
        async with self._context.gate.reading(await self._own(tenant)) as connection:
            return await resealing_rows.latest(connection)

    async def give_up(self, tenant: UUID, rotation: UUID, error: str) -> None:
        """Say that a rotation failed, with a code, and report it; starting it again goes on with the same keys."""
        async with self._context.gate.reading(await self._own(tenant)) as connection:
            current = await resealing_rows.by_id(connection, rotation)
            ended = current is not None and await resealing_rows.end(connection, current, "failed", error=error)
        if ended and current is not None:
            self._context.findings.note(
                tenant,
                kind=Kind.KEYS_ROTATION_FAILED,
                severity=Severity.HIGH,
                key=finding_key(Kind.KEYS_ROTATION_FAILED, current.tier.value),
                detail={"tier": current.tier.value, "error": error},
            )

    async def _own(self, tenant: UUID) -> Decision:
        """Return the decision that the system acts under. Raises Forbidden where the tenant is closed."""
        act = Act(Permission.RECORD_RESEAL, Action.RECORD_RESEALED, "record")
        return await self._context.gate.decide(system(tenant), act)

    async def _stored(self, tenant: UUID, rotation: UUID) -> Rotation:
        async with self._context.gate.reading(await self._own(tenant)) as connection:
            found = await resealing_rows.by_id(connection, rotation)
        if found is None:
            raise NotFound("There is no rotation of this id")
        return found

    async def _next_key(self, tenant: UUID, tier: Tier) -> KeyRow | None:
        """Make the key that a rotation leads to; None where there is none, or one was made that is not finished."""
        purpose = PURPOSES.get(tier)
        if purpose is None:
            return None
        async with self._context.gate.reading(await self._own(tenant)) as connection:
            epochs = await resealing_keys.epochs_of(connection, purpose)
        if not epochs or len(epochs) > 1:
            return None
        return await self._context.keyring.new_row(tenant, purpose, epoch=resealing_keys.next_epoch(epochs))
