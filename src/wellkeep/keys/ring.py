"""The key ring: which tenants' keys are open in this process, and for how long.

Rules, per tenant: OK for the soft lifetime (5 minutes, with jitter, so that workers do not ask in step) → the rows are
read and unwrapped again. Where the KMS or the database does not answer: STALE, the cached keys serve on until the hard
lifetime (1 hour) and a finding says so at once → then LOCKED, nothing opens. Where the KMS says no: REVOKED, the caches
are purged at once. Rows that do not open in their place are purged and reported too. One load a tenant at a time. There
is no fallback key. The threats are a KMS outage that becomes ours, and a revocation that does not bite.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from uuid import UUID

from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.errors import (
    DatabaseUnavailable,
    IntegrityBroken,
    KeysRevoked,
    KeysUnavailable,
    WellkeepError,
)
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.keys.kms import TENANT_PURPOSES, EpochKeys, KeyPurpose, Kms
from wellkeep.keys.rows import KeyRow, new_row, open_rows, read_rows, store_rows
from wellkeep.keys.seals import TenantMeter
from wellkeep.keys.subject import SubjectCache
from wellkeep.keys.tenant import TenantKeys

_LEASE = "SELECT keys.lease_tenant($1, $2, $3)"
_FIRST_EPOCH = 1
_MOST_TENANTS = 4_096
_NOT_PROVISIONED = "This tenant has no keys yet. Make them with: wellkeep tenant create"
_LOCKED = "The key management service does not answer and the cached keys have run out."


class TenantState(StrEnum):
    """How a tenant's keys stand in this process."""

    OK = "ok"
    STALE = "stale"
    LOCKED = "locked"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long keys are held, in seconds."""

    soft: float = 300.0
    jitter: float = 30.0
    hard: float = 3_600.0
    retry: float = 10.0
    refusal: float = 1.0
    kms: float = 5.0


@dataclass(slots=True)
class _Held:
    keys: TenantKeys
    loaded_at: float
    fresh_until: float
    hard_until: float
    stale: bool = False


@dataclass(frozen=True, slots=True)
class _Refused:
    state: TenantState
    until: float


class KeyRing:
    """The open keys of this process's tenants."""

    def __init__(
        self,
        pool: Pool,
        kms: Kms,
        epochs: EpochKeys,
        findings: Findings,
        *,
        clock: Clock | None = None,
        lifetimes: Lifetimes | None = None,
        subjects: SubjectCache | None = None,
    ) -> None:
        """`pool` is wk_app's or wk_jobs'; `subjects` is the cache of subject keys, shared by all tenants."""
        self._pool = pool
        self._kms = kms
        self._epochs = epochs
        self._findings = findings
        self._clock = clock or SystemClock()
        self._lifetimes = lifetimes or Lifetimes()
        self._subjects = subjects or SubjectCache()
        self._held: dict[UUID, _Held] = {}
        self._refused: dict[UUID, _Refused] = {}
        self._loads: dict[UUID, asyncio.Task[TenantKeys]] = {}

    def cached(self, tenant: UUID) -> TenantKeys | None:
        """Return the tenant's keys where they are open and fresh: the hot path, no await."""
        held = self._held.get(tenant)
        if held is None or self._clock.monotonic() >= held.fresh_until:
            return None
        return held.keys

    async def load(self, tenant: UUID) -> TenantKeys:
        """Return the tenant's keys, from the cache or anew.

        Raises KeysUnavailable (LOCKED, or never provisioned), KeysRevoked, IntegrityBroken (reported) or
        DatabaseUnavailable.
        """
        keys = self.cached(tenant)
        if keys is not None:
            return keys
        self._raise_recent_refusal(tenant)
        task = self._loads.get(tenant)
        if task is None:
            task = asyncio.create_task(self._refresh(tenant), name="keys-load")
            self._loads[tenant] = task
            task.add_done_callback(lambda done: self._loaded(tenant, done))
        return await asyncio.shield(task)

    async def provision(self, tenant: UUID) -> TenantKeys:
        """Make the tenant's missing keys and return them all; doing it again, or twice at once, changes nothing."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            have = {row.purpose for row in await read_rows(connection)}
        missing = [purpose for purpose in TENANT_PURPOSES if purpose not in have]
        rows = [await self._new_row(tenant, purpose) for purpose in missing]
        if rows:
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                await store_rows(connection, rows, tenant=tenant)
        self._refused.pop(tenant, None)
        return await self.load(tenant)

    def purge(self, tenant: UUID, refusal: type[WellkeepError] = KeysRevoked) -> None:
        """Let go of everything of the tenant's; hands that took it earlier get `refusal` from now on."""
        held = self._held.pop(tenant, None)
        if held is not None:
            held.keys.let_go(refusal)
        self._subjects.purge(tenant.bytes)

    def state(self, tenant: UUID) -> TenantState | None:
        """Return how the tenant's keys stand here, None where nobody has asked for them yet."""
        refused = self._refused.get(tenant)
        if refused is not None:
            return refused.state
        held = self._held.get(tenant)
        if held is None:
            return None
        if self._clock.monotonic() >= held.hard_until:
            return TenantState.LOCKED
        return TenantState.STALE if held.stale else TenantState.OK

    def states(self) -> Mapping[TenantState, int]:
        """Return how many tenants stand how: for /readyz, hence no ids."""
        states = (self.state(tenant) for tenant in self._held.keys() | self._refused.keys())
        return Counter(state for state in states if state is not None)

    async def stop(self) -> None:
        """End the loads that are under way and let go of every key."""
        loads = list(self._loads.values())
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        for tenant in list(self._held):
            self.purge(tenant, KeysUnavailable)

    def _raise_recent_refusal(self, tenant: UUID) -> None:
        """Spare the KMS a call a request while it says no."""
        refused = self._refused.get(tenant)
        if refused is None or self._clock.monotonic() >= refused.until:
            return
        if refused.state is TenantState.REVOKED:
            raise KeysRevoked
        raise KeysUnavailable(_LOCKED)

    def _loaded(self, tenant: UUID, task: asyncio.Task[TenantKeys]) -> None:
        self._loads.pop(tenant, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; asking marks it as seen where nobody waits any more

    async def _refresh(self, tenant: UUID) -> TenantKeys:
        self._sweep()
        try:
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                rows = await read_rows(connection)
            if not {row.purpose for row in rows if row.state == "active"}.issuperset(TENANT_PURPOSES):
                return self._without_rows(tenant)
            rows = [row for row in rows if row.purpose in TENANT_PURPOSES]
            opened = await open_rows(rows, self._kms, self._epochs, tenant=tenant, seconds=self._lifetimes.kms)
        except (KeysUnavailable, DatabaseUnavailable) as trouble:
            return self._serve_stale(tenant, trouble)
        except KeysRevoked:
            self._refuse(tenant, TenantState.REVOKED, Kind.KEYS_REVOKED)
            raise
        except IntegrityBroken:
            self._refuse(tenant, TenantState.LOCKED, Kind.KEYS_TAMPERED)
            raise
        held = self._held.get(tenant)
        if held is not None and held.keys.rows == tuple(rows):
            keys = held.keys
        else:
            meters = held.keys.meters if held is not None else {}
            keys = TenantKeys(
                tenant=tenant,
                opened=opened,
                meters={row.kid: meters.get(row.kid) or self._meter(tenant, row) for row in rows},
                subjects=self._subjects,
                findings=self._findings,
                expire=partial(self._expire, tenant),
            )
        return self._hold(tenant, keys)

    def _hold(self, tenant: UUID, keys: TenantKeys) -> TenantKeys:
        now, lifetimes = self._clock.monotonic(), self._lifetimes
        jitter = lifetimes.jitter * (secrets.randbelow(2_001) / 1_000 - 1)
        self._held.pop(tenant, None)  # and in again as the youngest
        self._held[tenant] = _Held(keys, now, now + min(lifetimes.soft + jitter, lifetimes.hard), now + lifetimes.hard)
        self._refused.pop(tenant, None)
        while len(self._held) > _MOST_TENANTS:
            del self._held[next(iter(self._held))]
        return keys

    def _serve_stale(self, tenant: UUID, trouble: WellkeepError) -> TenantKeys:
        now = self._clock.monotonic()
        held = self._held.get(tenant)
        if held is not None and now < held.hard_until:
            held.stale = True
            held.fresh_until = min(now + self._lifetimes.retry, held.hard_until)
            self._report(tenant, Kind.KEYS_STALE, Severity.HIGH)
            return held.keys
        if isinstance(trouble, KeysUnavailable):
            self._refuse(tenant, TenantState.LOCKED, Kind.KEYS_LOCKED)
        else:
            self.purge(tenant, KeysUnavailable)
        raise trouble

    def _without_rows(self, tenant: UUID) -> TenantKeys:
        """Refuse a tenant whose keys are missing; where they were here before, they have been destroyed."""
        if tenant in self._held:
            self._refuse(tenant, TenantState.REVOKED, Kind.KEYS_REVOKED)
            raise KeysRevoked
        raise KeysUnavailable(_NOT_PROVISIONED, retry_after=60)

    def _refuse(self, tenant: UUID, state: TenantState, kind: Kind) -> None:
        self.purge(tenant, KeysRevoked if state is TenantState.REVOKED else KeysUnavailable)
        while len(self._refused) >= _MOST_TENANTS:
            del self._refused[next(iter(self._refused))]
        self._refused[tenant] = _Refused(state, self._clock.monotonic() + self._lifetimes.refusal)
        self._report(tenant, kind, Severity.CRITICAL)

    def _report(self, tenant: UUID, kind: Kind, severity: Severity) -> None:
        self._findings.note(tenant, kind=kind, severity=severity, key=finding_key(kind), detail={"tenant": str(tenant)})

    def _sweep(self) -> None:
        """Let go of keys past their hard lifetime that nobody asks for any more."""
        now = self._clock.monotonic()
        for tenant in [tenant for tenant, held in self._held.items() if now >= held.hard_until]:
            self.purge(tenant, KeysUnavailable)

    def _expire(self, tenant: UUID) -> None:
        """Have the rows read again at the next load, but not more often than a KMS should be asked."""
        now = self._clock.monotonic()
        held = self._held.get(tenant)
        if held is not None and now >= held.loaded_at + self._lifetimes.retry:
            held.fresh_until = now

    async def _new_row(self, tenant: UUID, purpose: KeyPurpose) -> KeyRow:
        epoch = self._epochs.current if purpose is KeyPurpose.WRAP else _FIRST_EPOCH
        try:
            async with asyncio.timeout(self._lifetimes.kms):
                return await new_row(self._kms, self._epochs, tenant=tenant, purpose=purpose, epoch=epoch)
        except TimeoutError:
            raise KeysUnavailable("The key management service did not answer in time.") from None

    def _meter(self, tenant: UUID, row: KeyRow) -> TenantMeter:
        async def lease(block: int) -> bool:
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                granted = bool(await connection.fetchval(_LEASE, row.purpose.value, row.kid, block))
            if not granted:
                self._findings.note(
                    tenant,
                    kind=Kind.KEYS_BUDGET,
                    severity=Severity.HIGH,
                    key=finding_key(Kind.KEYS_BUDGET, row.purpose.value.lower(), row.epoch),
                    detail={"purpose": row.purpose.value.lower(), "epoch": row.epoch},
                )
            return granted

        return TenantMeter(lease)
