"""Rotations of keys as they are asked for, listed and worked off: every tier behind one door.

Rules: whoever asks is decided upon at the gate, and the rotation, its job and its entry are there together or not at
all. What is asked for twice is the one that runs. The epoch is the deployment's, so it is rolled for all tenants or for
none; every other tier can be one tenant's. The key of an epoch is destroyed before its time by two people only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from wellkeep.access.approvals import Approvals, Needing
from wellkeep.assembly import keys_status
from wellkeep.assembly.core import Core
from wellkeep.base.errors import Conflict, NotFound, Validation
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db.queue import Stopping, enqueue
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys import epoch_end, rotation
from wellkeep.keys.epoch_place import require_here
from wellkeep.keys.inventory import KnownKey, current_epoch, known_epochs, known_keys
from wellkeep.keys.kms import EpochState
from wellkeep.keys.rewrap_pages import Pace
from wellkeep.keys.rotation import Rotation, RotationOver, StillUsed, Tier, epoch_name
from wellkeep.keys.rotation_epoch import EpochRoll
from wellkeep.keys.rotation_root import RootRewrap
from wellkeep.ledger.event import Action
from wellkeep.vault import resealing
from wellkeep.vault.context import Context
from wellkeep.vault.resealing import Resealing

JOB = "keys.rotate"
_WRAPPING = (Tier.ROOT, Tier.EPOCH)
_RESOURCE = "rotation"
_MOST = 1_000
_SERVED = """
SELECT EXISTS (
  SELECT FROM pg_catalog.pg_stat_activity
  WHERE usename = 'wk_jobs' AND datname = pg_catalog.current_database()
)
"""
_ONE_FOR_ALL = "An epoch is the whole deployment's: roll it without naming a tenant."
_NO_SUCH = "There is no such rotation. List them with: wellkeep keys status"


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What became of an epoch's key: from when on nothing opens under it, or the approval that is waited for."""

    epoch: int
    at: datetime | None
    approval: UUID | None


class KeyRotations:
    """Begins rotations, works them off, and says how they stand."""

    def __init__(self, core: Core, context: Context, *, pace: Pace | None = None) -> None:
        """Work over `core`; `context` is the vault's, for the tiers that seal data anew."""
        self.core = core
        self._gate = core.gate
        kept = timedelta(days=core.settings.keys.epoch_kept_days)
        self.resealing = Resealing(context)
        self.epoch = EpochRoll(
            gate=core.gate,
            pool=core.app,
            roots=core.roots,
            epochs=core.epochs,
            findings=core.findings,
            clock=core.clock,
            kept=kept,
            pace=pace,
        )
        self.root = RootRewrap(
            gate=core.gate, pool=core.app, roots=core.roots, epochs=core.epochs, findings=core.findings
        )
        self._approvals = Approvals(gate=core.gate, clock=core.clock)

    @property
    def limit(self) -> timedelta:
        """How old a key that is replaced by new ones may become."""
        return timedelta(days=self.core.settings.keys.rotate_days)

    async def start(self, caller: Caller, tier: Tier, *, tenant: UUID | None = None) -> Rotation:
        """Begin a rotation and queue its job; return it, or the one of its tier that runs already.

        `tenant` is None for all tenants (root, epoch). Raises Forbidden, Validation where a tier is not one tenant's.
        """
        whose = PLATFORM_TENANT if tenant is None else tenant
        if tier is Tier.EPOCH and tenant is not None:
            raise Validation(_ONE_FOR_ALL)
        if tier not in _WRAPPING:
            return await self._start_resealing(caller, tier, tenant)
        act = Act(Permission.KEYS_ROTATE, Action.ROTATION_STARTED, _RESOURCE, tenant=whose)
        decision = await self._gate.decide(caller, act)
        found = await self._running(whose, tier)
        if found is not None:
            return found
        principal = caller.principal
        try:
            async with self._gate.transaction(decision) as work:
                made = await rotation.begin(
                    work.connection,
                    tenant=whose,
                    tier=tier,
                    target=await self._target(work, tier),
                    requested_by=f"{principal.type.value}:{principal.id}",
                )
                await enqueue(work.connection, kind=JOB, resource=made)
                work.record(resource_id=str(made), fields=(tier.value,))
        except Conflict:  # somebody asked at the same moment
            found = await self._running(whose, tier)
            if found is None:
                raise
            return found
        return await self.stored(made)

    async def listed(self, caller: Caller, *, most: int = 100) -> list[Rotation]:
        """Return the rotations that are under way, then the newest; to the platform all, to a tenant its own."""
        decision = await self._gate.decide(caller, Act(Permission.KEYS_READ, Action.KEY_READ, _RESOURCE))
        async with self._gate.transaction(decision) as work:
            if decision.tenant == PLATFORM_TENANT:
                found = await rotation.all_rotations(work.connection, most=most)
            else:
                found = await rotation.own_rotations(work.connection, most=most)
            work.record(count=len(found))
        return found

    async def one(self, caller: Caller, wanted: UUID) -> Rotation:
        """Return one rotation. Raises NotFound."""
        for found in await self.listed(caller, most=_MOST):
            if found.id == wanted:
                return found
        raise NotFound(_NO_SUCH)

    async def keys(self, caller: Caller) -> list[KnownKey]:
        """Return the keys that are not destroyed, without what they wrap; to the platform all, to a tenant its own."""
        decision = await self._gate.decide(caller, Act(Permission.KEYS_READ, Action.KEY_READ, "key"))
        whole = decision.tenant == PLATFORM_TENANT
        found = [one for one in await known_keys(self.core.app) if whole or one.tenant == decision.tenant]
        async with self._gate.transaction(decision) as work:
            work.record(count=len(found))
        return found

    async def epochs(self) -> list[keys_status.EpochStatus]:
        """Return the deployment's epochs: numbers, states and times, so nobody has to be asked."""
        return await keys_status.epochs(self.core)

    async def epochs_for(self, caller: Caller, keys: Sequence[KnownKey]) -> list[keys_status.EpochStatus]:
        """Return the epochs; `rows` is how many of all keys need each, to a tenant of its own `keys` alone."""
        found = await self.epochs()
        if caller.principal.tenant == PLATFORM_TENANT:
            return found
        own = Counter(key.kms_epoch for key in keys)
        return [replace(one, rows=own[one.epoch]) for one in found]

    async def stored(self, wanted: UUID) -> Rotation:
        """Return how a rotation stands, whoever's it is. Raises NotFound."""
        for found in await self.all():
            if found.id == wanted:
                return found
        raise NotFound(_NO_SUCH)

    async def all(self) -> Sequence[Rotation]:
        """Return the newest rotations of all tenants: ids and numbers."""
        async with self.core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            return await rotation.all_rotations(connection, most=_MOST)

    async def run(self, wanted: UUID, stopping: Stopping) -> None:
        """Work a rotation off, from where it stands; what has ended stays as it is.

        Raises Interrupted where `stopping` says so, and what keeps it from going on: it is to be run again then.
        """
        found = await self.stored(wanted)
        if found.state != "running":
            return
        try:
            if found.tier is Tier.EPOCH:
                await self.epoch.run(found, stopping)
            elif found.tier is Tier.ROOT:
                await self.root.run(found, stopping)
            else:
                await self.resealing.run(found.tenant, found.id, stopping=stopping)
        except (RotationOver, resealing.Superseded):
            return

    async def served(self) -> bool:
        """Say whether a server is there that works jobs off."""
        async with self.core.app.connection() as connection:
            return bool(await connection.fetchval(_SERVED))

    async def queue(self, one: Rotation) -> None:
        """Have a rotation that is under way worked off by whichever server is there; twice is once."""
        kind = JOB if one.tier in _WRAPPING else resealing.JOB
        async with self.core.app.tenant_transaction(tenant=one.tenant) as connection:
            await enqueue(connection, kind=kind, resource=one.id)

    async def destroy(self, caller: Caller, epoch: int) -> Destroyed:
        """Destroy a retired epoch's key, at once where its time has come or two people want it, else ask the second.

        A cloud waits: then the answer is the date, and the epoch stays retired until the key is gone.

        Raises Forbidden, NotFound, StillUsed where it is not retired, Conflict where somebody else asked.
        """
        act = Act(Permission.KEYS_DESTROY, Action.KEY_DESTROYED, "epoch", resource_id=epoch_name(epoch))
        decision = await self._gate.decide(caller, act)
        async with self.core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            epochs = await known_epochs(connection)
        found = next((one for one in epochs if one.epoch == epoch), None)
        if found is None:
            raise NotFound("There is no such epoch. List them with: wellkeep keys status")
        if found.state == "destroyed":
            return Destroyed(epoch, found.destroyed_at, None)
        if found.state != "retired" or found.rows:
            raise StillUsed
        target = f"epoch:{epoch}"
        due = found.destroy_at is not None and found.destroy_at <= self.core.clock.now()
        if not due:
            async with self.core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                given = await self._approvals.given(connection, decision, Needing.EPOCH_DESTROY, target=target)
            if not given:
                if await self.core.epochs.state(epoch) is EpochState.PENDING:
                    return Destroyed(epoch, found.destroy_at, None)
                asked = await self._approvals.request(decision, Needing.EPOCH_DESTROY, target=target)
                return Destroyed(epoch, None, asked)
        await self._order(decision, epoch, target=target, current=current_epoch(epochs).epoch, early=not due)
        await self.epoch.destroy(epoch)
        async with self.core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            ended = next(one for one in await known_epochs(connection) if one.epoch == epoch)
        return Destroyed(epoch, ended.destroyed_at or ended.destroy_at, None)

    async def _order(self, decision: Decision, epoch: int, *, target: str, current: int, early: bool) -> None:
        """Enter who ends an epoch, and with an approval bring its day forward: whoever dies now, the job destroys."""
        await require_here(self.core.epochs, current)
        async with self._gate.transaction(decision) as work:
            if early:
                await self._approvals.use(work.connection, decision, Needing.EPOCH_DESTROY, target=target)
                await epoch_end.note(work.connection, epoch_end.KeyEnd(epoch, self.core.clock.now(), gone=False))
            work.record()

    async def _start_resealing(self, caller: Caller, tier: Tier, tenant: UUID | None) -> Rotation:
        whose = caller.principal.tenant if tenant is None else tenant
        try:
            made = await self.resealing.start(caller, tier, tenant=tenant)
        except Conflict:
            found = await self._running(whose, tier)
            if found is None:
                raise
            return found
        return await self.stored(made.id)

    async def _running(self, tenant: UUID, tier: Tier) -> Rotation | None:
        async with self.core.app.tenant_transaction(tenant=tenant) as connection:
            return await rotation.running(connection, tier)

    async def _target(self, work: GateTransaction, tier: Tier) -> int | None:
        if tier is not Tier.EPOCH:
            return None
        return current_epoch(await known_epochs(work.connection)).epoch + 1
