"""What the tests of rotation stand on: a whole vault, and the engines that roll its keys, with a KMS that has moods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from vault.stack import NOTES, PATIENTS, Stack
from wellkeep.access.roles import load
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import Act
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import Policy
from wellkeep.keys import rotation
from wellkeep.keys.inventory import KnownEpoch, known_epochs
from wellkeep.keys.kms import EpochKeys, Roots
from wellkeep.keys.rewrap_pages import Pace
from wellkeep.keys.rotation import Rotation, Tier, rotator
from wellkeep.keys.rotation_epoch import EpochRoll
from wellkeep.ledger.event import Action

QUICK = Pace(page=3, share=1.0, settle=0.0)


def never() -> bool:
    """Stand for a worker that is not going down."""
    return False


@dataclass
class Rolling:
    """A vault whose keys are rolled."""

    stack: Stack
    roots: Roots
    epochs: EpochKeys

    def engine(
        self, *, pace: Pace = QUICK, kept: timedelta = timedelta(days=30), pool: Pool | None = None
    ) -> EpochRoll:
        """Return what one worker holds, over a pool of its own where one is given."""
        stack = self.stack
        gate = stack.gate
        if pool is not None:
            gate = Gate(
                pool=pool, writer=stack.writer, policy=Policy(load()), findings=stack.findings, clock=stack.clock
            )
        return EpochRoll(
            gate=gate,
            pool=pool or stack.pool,
            roots=self.roots,
            epochs=self.epochs,
            findings=stack.findings,
            clock=stack.clock,
            kept=kept,
            pace=pace,
        )

    async def begun(self, target: int = 2, tier: Tier = Tier.EPOCH) -> Rotation:
        """Begin a rotation as the command does."""
        caller = rotator(UUID(int=1))
        act = Act(Permission.KEYS_ROTATE, Action.ROTATION_STARTED, "rotation")
        async with self.stack.gate.transaction(await self.stack.gate.decide(caller, act)) as work:
            made = await rotation.begin(
                work.connection, tenant=PLATFORM_TENANT, tier=tier, target=target, requested_by="operator:tester"
            )
            work.record(resource_id=str(made))
        return await self.state(made)

    async def state(self, made: UUID) -> Rotation:
        """Return how the rotation stands."""
        async with self.stack.pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            return next(one for one in await rotation.all_rotations(connection, most=100) if one.id == made)

    async def known_epochs(self) -> list[KnownEpoch]:
        """Return the epochs as the database knows them."""
        async with self.stack.pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            return await known_epochs(connection)

    async def patients(self, count: int, *, tenant: UUID | None = None) -> list[UUID]:
        """Make `count` patients with a record each; return the records."""
        stack = self.stack
        caller = stack.caller("integration", tenant=tenant)
        made = [
            stack.vault.records.create(caller, "patients", {"family": f"family{n}", "note": "a"}) for n in range(count)
        ]
        return [one.id for one in await asyncio.gather(*made)]

    async def readable(self, records: list[UUID], *, tenant: UUID | None = None) -> None:
        """Read them all: each opens."""
        caller = self.stack.caller("integration", tenant=tenant)
        for record in records:
            found = await self.stack.vault.records.read(caller, "patients", record)
            assert found.fields["note"] == "a"

    async def under(self, tenant: UUID) -> dict[int, int]:
        """Return how many subject keys lie under which WRAP epoch."""
        rows = await self.stack.as_superuser(
            "SELECT wrap_epoch, count(*) AS n FROM keys.subject_key WHERE tenant_id = $1 GROUP BY 1", tenant
        )
        return {row["wrap_epoch"]: row["n"] for row in rows}

    async def keys(self, tenant: UUID) -> list[tuple[str, int, int, str, int]]:
        """Return (purpose, epoch, kms_epoch, state, length of what is wrapped) of the tenant's keys."""
        rows = await self.stack.as_superuser(
            "SELECT purpose, epoch, kms_epoch, state, octet_length(wrapped) AS n FROM keys.tenant_key "
            "WHERE tenant_id = $1 ORDER BY purpose, epoch",
            tenant,
        )
        return [tuple(row) for row in rows]


@asynccontextmanager
async def rolling(stack: Stack) -> AsyncIterator[Rolling]:
    """Declare collections in both tenants and lend what rolls their keys."""
    await stack.declare(PATIENTS, NOTES)
    await stack.declare(PATIENTS, NOTES, tenant=stack.other)
    ring = stack.keyring
    yield Rolling(stack, ring._roots, ring._epochs)
