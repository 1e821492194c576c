"""Rotations of keys in the background: worked off, taken up again, begun when they are due.

Rules: what a rotation has done stands in the database, so a job that dies, or gives up because a key service is away,
is simply queued again, every quarter of an hour. Each day what is older than the settings allow is begun, each tenant
at a day of its own, so that they do not all come at once; a root that is named though it should not be, and an erasure
that waits for the epoch to roll, are begun at once. What is late all the same is a finding. The keys of epochs whose
time has come are destroyed: that was announced when they were retired.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from wellkeep.assembly.core import Core
from wellkeep.assembly.key_rotations import JOB, KeyRotations
from wellkeep.base.errors import Unavailable, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.queue import QueuedJob, Stopping
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.jobs.handlers import Handler, Periodic
from wellkeep.keys import rotation
from wellkeep.keys.inventory import KnownKey, known_keys
from wellkeep.keys.rotation import Tier, rotator

TEND = "keys.tend"
SCHEDULE = "keys.schedule"
PERIODIC = (Periodic(TEND, "*/15 * * * *"), Periodic(SCHEDULE, "41 1 * * *"))

LATE = timedelta(days=14)
"""So long after it was due, a rotation that is not done is a finding."""

_SPREAD = 0.2
"""The share of the interval over which the tenants' days are spread, before the interval's end."""
_PURPOSES = {Tier.DATA: "DATA", Tier.INDEX: "INDEX"}
_ERASURE_DUE = "SELECT vault.erasure_due()"
_OLDEST_SUBJECT_KEY = "SELECT min(created_at) FROM keys.subject_key WHERE state = ANY ($1)"
_SEALING = frozenset({"active"})
_LIVING = frozenset({"active", "decrypt_only"})
_ACTIVE_TENANTS = "SELECT id FROM wk.list_tenants() WHERE state = 'active' AND id <> wk.platform() ORDER BY id"
_log = structlog.get_logger("wellkeep.jobs")


class RotationJobs:
    """The deployment's own care for its keys."""

    def __init__(self, core: Core, rotations: KeyRotations) -> None:
        """Work off, and begin, what `rotations` holds."""
        self._core = core
        self._rotations = rotations

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {JOB: self.rotate, TEND: self.tend, SCHEDULE: self.schedule}

    async def rotate(self, job: QueuedJob, stopping: Stopping) -> None:
        """Work the rotation that `job` names off; `Unavailable` and `Interrupted` ask to be run again."""
        if job.resource is not None:
            await self._rotations.run(job.resource, stopping)

    async def give_up(self, job: QueuedJob, error: str) -> None:
        """Note what stopped the rotation of a job that is held; it is queued again within a quarter of an hour."""
        if job.resource is not None:
            async with self._core.app.tenant_transaction(tenant=job.tenant) as connection:
                await rotation.note_trouble(connection, job.resource, error)

    async def tend(self, _job: QueuedJob, _stopping: Stopping) -> None:
        """Queue what is under way and has no job any more, and destroy the keys of epochs whose time has come."""
        for one in await self._rotations.all():
            if one.state == "running":
                await self._rotations.queue(one)
        destroyed = await self._rotations.epoch.destroy_due()
        if destroyed:
            _log.info("epochs_destroyed", count=len(destroyed))

    async def schedule(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Begin what is due, and report what is late. One that can't be begun keeps no other from being."""
        caller, failures = rotator(uuid7()), list[WellkeepError]()
        for tier, tenant in await self.due():
            if stopping():
                return
            try:
                await self._rotations.start(caller, tier, tenant=tenant)
            except WellkeepError as failure:
                _log.warning("rotation_not_begun", tier=tier.value, error=failure.code)
                failures.append(failure)
        await self._report_late()
        if failures:
            raise next((one for one in failures if isinstance(one, Unavailable)), failures[0])

    async def due(self) -> list[tuple[Tier, UUID | None]]:
        """Return what is to be begun now: the tier, and whose it is where it is not everybody's."""
        keys, found = await known_keys(self._core.app), list[tuple[Tier, UUID | None]]()
        if await self._rotations.root.behind():
            found.append((Tier.ROOT, None))
        if await self._epoch_due():
            found.append((Tier.EPOCH, None))
        for tenant in await self._tenants():
            found += [
                (tier, tenant)
                for tier, since in await self._ages(tenant, keys, _SEALING)
                if self._is_due(tenant, since)
            ]
        return found

    async def _epoch_due(self) -> bool:
        async with self._core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            if await connection.fetchval(_ERASURE_DUE):
                return True
        epochs = await self._rotations.epochs()
        return any(one.overdue for one in epochs if one.state == "active")

    async def _tenants(self) -> Sequence[UUID]:
        async with self._core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            return [UUID(int=row["id"].int) for row in await connection.fetch(_ACTIVE_TENANTS)]

    async def _ages(
        self, tenant: UUID, keys: Sequence[KnownKey], states: frozenset[str]
    ) -> list[tuple[Tier, datetime]]:
        """Return since when the oldest of the tenant's keys in these states is there, of each tier."""
        async with self._core.app.tenant_transaction(tenant=tenant) as connection:
            oldest = await connection.fetchval(_OLDEST_SUBJECT_KEY, sorted(states))
        mine = [key for key in keys if key.tenant == tenant and key.state in states]
        since = {key.purpose: key.created_at for key in sorted(mine, key=lambda key: key.created_at, reverse=True)}
        found = [(tier, since[purpose]) for tier, purpose in _PURPOSES.items() if purpose in since]
        return found if oldest is None else [(Tier.SUBJECT, oldest), *found]

    def _is_due(self, tenant: UUID, since: datetime) -> bool:
        """Say whether the tenant's day has come: the last fifth of the interval is spread over all tenants."""
        interval = timedelta(days=self._core.settings.keys.rotate_days)
        share = 1 - _SPREAD * (tenant.int % 997) / 997
        return self._core.clock.now() >= since + interval * share

    async def _report_late(self) -> None:
        """Report each tier whose old key still lives though it was due to go two weeks ago; close what is over."""
        limit = self._core.clock.now() - timedelta(days=self._core.settings.keys.rotate_days) - LATE
        keys, late, known = await known_keys(self._core.app), set[tuple[UUID, Tier]](), set[tuple[UUID, Tier]]()
        for tenant in await self._tenants():
            for tier, since in await self._ages(tenant, keys, _LIVING):
                (late if since < limit else known).add((tenant, tier))
        for one in await self._rotations.epochs():
            if one.state in {"active", "decrypt_only"}:
                (late if one.created_at < limit else known).add((PLATFORM_TENANT, Tier.EPOCH))
        for listed in await self._rotations.all():
            old = listed.state == "running" and listed.started_at < self._core.clock.now() - LATE
            (late if old else known).add((listed.tenant, Tier(listed.tier)))
        for tenant, tier in late:
            await self._late(tenant, tier)
        for tenant, tier in known - late:
            await self._core.findings.settle(tenant, keys=[finding_key(Kind.KEYS_OVERDUE, tier.value)])

    async def _late(self, tenant: UUID, tier: Tier) -> None:
        await self._core.findings.report(
            tenant,
            kind=Kind.KEYS_OVERDUE,
            severity=Severity.HIGH,
            key=finding_key(Kind.KEYS_OVERDUE, tier.value),
            detail={"tier": tier.value},
        )
