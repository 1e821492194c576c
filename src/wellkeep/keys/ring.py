"""The key ring: which tenants' keys are open in this process, and for how long.

Rules, per tenant: OK for the soft lifetime. In its last fifth the rows are read and the key service is asked again, in
the background, while requests are served. Where it or the database does not answer: STALE, the cached keys serve on
until the hard lifetime (1 hour) and a finding says so at once → then LOCKED, nothing opens. Where it says no: REVOKED,
the caches are purged at once, here and, by a signal, in every other process. Rows that do not open in their place are
purged and reported too. One load a tenant at a time. There is no fallback key.

Where the rows are byte for byte what they were, opening one of them for each root and epoch is proof enough that both
still say yes; all are opened again at least once a hard lifetime. So it is a few calls a tenant and soft lifetime.

The threats are a KMS outage that becomes ours, and a revocation that does not bite.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
from uuid import UUID

from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.errors import DatabaseUnavailable, IntegrityBroken, KeysRevoked, KeysUnavailable, WellkeepError
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity
from wellkeep.keys.kms import TENANT_PURPOSES, EpochKeys, KeyPurpose, Kms, Roots
from wellkeep.keys.ring_calls import KeyCalls
from wellkeep.keys.ring_leases import meter
from wellkeep.keys.ring_news import News
from wellkeep.keys.ring_states import Held, Holds, Lifetimes, Refused, TenantState, newly_held, oldest
from wellkeep.keys.rows import KeyRow, OpenedKey, new_row, open_rows, proofs, read_rows, store_rows
from wellkeep.keys.seals import KeyReplaced
from wellkeep.keys.subject import SubjectCache
from wellkeep.keys.tenant import TenantKeys

_CURRENT_EPOCH = "SELECT keys.current_epoch()"
_FIRST_EPOCH = 1
_MOST_TENANTS = 4_096
_ATTEMPTS = 3
_CALLS_IN_A_ROW = 2
"""A row's root share, then its epoch share: so long a load may take, in calls."""
_NOT_PROVISIONED = "This tenant has no keys yet. Make them with: wellkeep tenant create"
_LOCKED = "The key management service does not answer and the cached keys have run out."
_CHANGING = "This tenant's keys are being changed. Try again."


class KeyRing:
    """The open keys of this process's tenants."""

    def __init__(
        self,
        pool: Pool,
        roots: Roots,
        epochs: EpochKeys,
        findings: Findings,
        *,
        clock: Clock | None = None,
        lifetimes: Lifetimes | None = None,
        subjects: SubjectCache | None = None,
    ) -> None:
        """`pool` is wk_app's or wk_jobs'; `subjects` is the cache of subject keys, shared by all tenants."""
        pool.understand({"WK030": KeyReplaced, "WK032": KeyReplaced})
        self._pool = pool
        self._roots = roots
        self._epochs = epochs
        self._findings = findings
        self._clock = clock or SystemClock()
        self._lifetimes = lifetimes or Lifetimes()
        self._subjects = subjects or SubjectCache()
        self.calls = KeyCalls(clock=self._clock, seconds=self._lifetimes.kms)
        self.news = News(pool, findings)
        self._asked_epochs = self.calls.epochs(epochs)
        self._held: dict[UUID, Held] = {}
        self._refused: dict[UUID, Refused] = {}
        self._loads: dict[UUID, asyncio.Task[TenantKeys]] = {}
        self._stirred: set[UUID] = set()
        self._holds = Holds()

    def cached(self, tenant: UUID) -> TenantKeys | None:
        """Return the tenant's keys where they are open and may serve: the hot path, no await."""
        held = self._held.get(tenant)
        if held is None:
            return None
        now = self._clock.monotonic()
        if now >= held.serve_until:
            return None
        held.used = True
        if now >= held.ask_at:
            self._begin_load(tenant)
        return held.keys

    async def load(self, tenant: UUID) -> TenantKeys:
        """Return the tenant's keys, from the cache or anew.

        Raises KeysUnavailable (LOCKED, or never provisioned), KeysRevoked, IntegrityBroken (reported) or
        DatabaseUnavailable.
        """
        keys = self.cached(tenant) or await self._awaited(tenant)
        held = self._held.get(tenant)
        if held is not None:
            held.used = True
        return keys

    async def _awaited(self, tenant: UUID) -> TenantKeys:
        """Return the keys once they are loaded, or those that may serve on when that takes long."""
        self._raise_recent_refusal(tenant)
        task = self._begin_load(tenant)
        held = self._held.get(tenant)
        if held is None or self._clock.monotonic() >= held.hard_until:
            return await asyncio.shield(task)
        await asyncio.wait({task}, timeout=self._lifetimes.grace)
        if not task.done() and self._held.get(tenant) is held:
            # Until this one load ends, nobody else waits for it.
            patience = self._clock.monotonic() + (_CALLS_IN_A_ROW + 1) * self._lifetimes.kms
            held.serve_until = min(max(held.serve_until, patience), held.hard_until)
            return held.keys
        return await asyncio.shield(task)

    async def renew(self, keys: TenantKeys) -> TenantKeys:
        """Return newer keys of the tenant than `keys`, which the database knows of; raises as `load` does."""
        held = self._held.get(keys.tenant)
        newer = keys if held is None else held.keys
        for _ in range(2):  # a load that is under way may have read the rows too early
            if newer is not keys:
                return newer
            if keys.tenant not in self._loads:
                self.expire(keys.tenant)
            newer = await asyncio.shield(self._begin_load(keys.tenant))
        if newer is keys:
            raise KeysUnavailable(_CHANGING, retry_after=1)
        return newer

    async def provision(self, tenant: UUID) -> TenantKeys:
        """Make the tenant's missing keys and return them all; doing it again, or twice at once, changes nothing."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            have = {row.purpose for row in await read_rows(connection)}
            kms_epoch = await connection.fetchval(_CURRENT_EPOCH)
        missing = [purpose for purpose in TENANT_PURPOSES if purpose not in have]
        rows = [await self._new_row(tenant, purpose, _FIRST_EPOCH, kms_epoch) for purpose in missing]
        if rows:
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                await store_rows(connection, rows, tenant=tenant)
        self._refused.pop(tenant, None)
        return await self.load(tenant)

    async def new_row(self, tenant: UUID, purpose: KeyPurpose, *, epoch: int) -> KeyRow:
        """Return the row of a new key, wrapped as the tenant's keys are now; whoever asks for it stores it."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            kms_epoch = await connection.fetchval(_CURRENT_EPOCH)
        return await self._new_row(tenant, purpose, epoch, kms_epoch)

    def purge(self, tenant: UUID, refusal: type[WellkeepError] = KeysRevoked) -> None:
        """Let go of everything of the tenant's; hands that took it earlier get `refusal` from now on."""
        self._stir(tenant)
        self._held.pop(tenant, None)
        self._holds.refuse(tenant, refusal)
        self._subjects.purge(tenant.bytes)

    def expire(self, tenant: UUID) -> None:
        """Have the tenant's rows read again before its keys are used again: somebody changed them."""
        self._stir(tenant)
        held = self._held.get(tenant)
        if held is not None:
            held.ask_at = held.serve_until = self._clock.monotonic()
            held.used = True  # where they are gone, nobody's memory keeps them: the pulse looks
        refused = self._refused.get(tenant)
        if refused is not None and refused.state is not TenantState.REVOKED:
            del self._refused[tenant]

    def revoke(self, tenant: UUID) -> None:
        """Purge what another process learned is revoked; the key service is asked again, in this process's own time."""
        if self.state(tenant) is not TenantState.REVOKED:
            self._refuse(tenant, TenantState.REVOKED)

    def restore(self, tenant: UUID) -> None:
        """Ask again at the next use: another process found that the key service gives the keys again."""
        refused = self._refused.get(tenant)
        if refused is not None and refused.state is TenantState.REVOKED:
            del self._refused[tenant]

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

    def locked_by(self, root: str) -> int:
        """Return how many tenants are LOCKED because the root key of this name does not answer."""
        return sum(refused.root == root for refused in self._refused.values())

    def oldest(self) -> Mapping[KeyPurpose, float]:
        """Return when the oldest sealing key of each purpose was made that is held here, in seconds since 1970."""
        return oldest(self._held.values())

    def tend(self) -> None:
        """Ask again, in the background, for the keys that are in use, and let go of what has run out; once a second."""
        now = self._clock.monotonic()
        self._sweep(now)
        for tenant, held in list(self._held.items()):
            if held.used and now >= held.ask_at:
                self._begin_load(tenant)
        forgotten = now - self._lifetimes.soft
        for tenant in [tenant for tenant, refused in self._refused.items() if refused.asked_at < forgotten]:
            del self._refused[tenant]

    async def stop(self) -> None:
        """End the loads that are under way and let go of every key."""
        loads = list(self._loads.values())
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        for tenant in list(self._held):
            self.purge(tenant, KeysUnavailable)
        await self.news.stop()

    def _raise_recent_refusal(self, tenant: UUID) -> None:
        """Spare the KMS a call a request while it says no."""
        refused = self._refused.get(tenant)
        if refused is None:
            return
        now = self._clock.monotonic()
        if now >= refused.until:
            return
        if refused.state is TenantState.REVOKED:
            raise KeysRevoked
        raise KeysUnavailable(_LOCKED)

    def _begin_load(self, tenant: UUID) -> asyncio.Task[TenantKeys]:
        task = self._loads.get(tenant)
        if task is None:
            task = asyncio.create_task(self._refresh(tenant), name="keys-load")
            self._loads[tenant] = task
            task.add_done_callback(lambda done: self._loaded(tenant, done))
        return task

    def _loaded(self, tenant: UUID, task: asyncio.Task[TenantKeys]) -> None:
        self._loads.pop(tenant, None)
        self._stirred.discard(tenant)
        if not task.cancelled():
            task.exception()  # whoever waited has it; asking marks it as seen where nobody waits any more

    def _stir(self, tenant: UUID) -> None:
        """Have a load that is under way begin again: what it has read is not the latest any more."""
        if tenant in self._loads:
            self._stirred.add(tenant)

    async def _refresh(self, tenant: UUID) -> TenantKeys:
        self._sweep(self._clock.monotonic())
        for _ in range(_ATTEMPTS):
            self._stirred.discard(tenant)
            rows: list[KeyRow] = []
            try:
                rows = await self._rows(tenant)
                opened = await self._open(tenant, rows) if rows else None
            except (KeysUnavailable, DatabaseUnavailable) as trouble:
                return self._serve_stale(tenant, trouble, rows)
            except KeysRevoked:
                self._revoked(tenant)
                raise
            except IntegrityBroken:
                self._refuse(tenant, TenantState.LOCKED)
                self.news.report(tenant, Kind.KEYS_TAMPERED, Severity.CRITICAL)
                raise
            if tenant in self._stirred:
                continue
            if not rows:
                return self._without_rows(tenant)
            return self._hold(tenant, rows, opened)
        raise KeysUnavailable(_CHANGING, retry_after=1)

    async def _rows(self, tenant: UUID) -> list[KeyRow]:
        """Return the tenant's usable rows; none where a purpose has no active one."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            rows = [row for row in await read_rows(connection) if row.purpose in TENANT_PURPOSES]
        whole = {row.purpose for row in rows if row.state == "active"}.issuperset(TENANT_PURPOSES)
        return rows if whole else []

    async def _open(self, tenant: UUID, rows: list[KeyRow]) -> list[OpenedKey] | None:
        """Open all rows, or where they are unchanged, as few as prove that root and epoch say yes: then None."""
        named, seconds = partial(self._named, tenant), _CALLS_IN_A_ROW * self._lifetimes.kms
        held = self._held.get(tenant)
        unchanged = held is not None and held.keys.rows == tuple(rows)
        whole = unchanged and held is not None and held.still_whole(self._clock.monotonic(), self._lifetimes)
        if whole or tenant in self._refused:
            await open_rows(proofs(rows), named, self._asked_epochs, tenant=tenant, seconds=seconds)
        if whole:
            return None
        return await open_rows(rows, named, self._asked_epochs, tenant=tenant, seconds=seconds)

    def _named(self, tenant: UUID, root: str) -> Kms:
        return self.calls.root(self._roots.named(tenant, root))

    def _hold(self, tenant: UUID, rows: list[KeyRow], opened: list[OpenedKey] | None) -> TenantKeys:
        """Hold what was opened; where nothing changed, what is held already."""
        now, before = self._clock.monotonic(), self._held.pop(tenant, None)  # and in again as the youngest
        refused = self._refused.pop(tenant, None)
        hold = self._holds.of(tenant, until=now + self._lifetimes.hard)
        if before is not None and before.keys.rows == tuple(rows):
            keys, opened_at = before.keys, before.opened_at if opened is None else now
        else:
            meters = before.keys.meters if before is not None else {}
            keys, opened_at = (
                TenantKeys(
                    tenant=tenant,
                    opened=opened or (),
                    meters={
                        row.kid: meters.get(row.kid) or meter(self._pool, self._findings, row, tenant=tenant)
                        for row in rows
                    },
                    subjects=self._subjects,
                    findings=self._findings,
                    hold=hold,
                    expire=partial(self._expire_soon, tenant),
                    renew=self.renew,
                ),
                now,
            )
        self._held[tenant] = newly_held(keys, now=now, opened_at=opened_at, lifetimes=self._lifetimes)
        while len(self._held) > _MOST_TENANTS:
            del self._held[next(iter(self._held))]
        if refused is not None or before is None or before.stale or before.keys is not keys:
            self.news.well(tenant, rows)
        return keys

    def _serve_stale(self, tenant: UUID, trouble: WellkeepError, rows: list[KeyRow]) -> TenantKeys:
        now = self._clock.monotonic()
        held = self._held.get(tenant)
        if held is not None and now < held.hard_until:
            held.stale = True
            held.serve_until = held.hard_until
            held.ask_at = now + self._lifetimes.retry
            self.news.report(tenant, Kind.KEYS_STALE, Severity.HIGH)
            return held.keys
        if isinstance(trouble, KeysUnavailable):
            self._refuse(tenant, TenantState.LOCKED, root=rows[0].root if rows else None)
            self.news.report(tenant, Kind.KEYS_LOCKED, Severity.CRITICAL)
        else:
            self.purge(tenant, KeysUnavailable)
        raise trouble

    def _without_rows(self, tenant: UUID) -> TenantKeys:
        """Refuse a tenant whose keys are missing; where they were here before, they have been destroyed."""
        if tenant in self._held:
            self._refuse(tenant, TenantState.REVOKED)
            self.news.destroyed(tenant)
            raise KeysRevoked
        raise KeysUnavailable(_NOT_PROVISIONED, retry_after=60)

    def _revoked(self, tenant: UUID) -> None:
        """Purge at once; where that is news, tell the other processes."""
        known = self.state(tenant) is TenantState.REVOKED
        self._refuse(tenant, TenantState.REVOKED)
        self.news.report(tenant, Kind.KEYS_REVOKED, Severity.CRITICAL)
        if not known:
            self.news.revoked(tenant)

    def _refuse(self, tenant: UUID, state: TenantState, *, root: str | None = None) -> None:
        """Purge, and ask nobody for a while: longer each time that it ends the same way."""
        self.purge(tenant, KeysRevoked if state is TenantState.REVOKED else KeysUnavailable)
        now, before = self._clock.monotonic(), self._refused.pop(tenant, None)
        while len(self._refused) >= _MOST_TENANTS:
            del self._refused[next(iter(self._refused))]
        pause = self._lifetimes.refusal
        if before is not None:
            pause = min(2 * before.pause, self._lifetimes.longest_pause(silent=root is not None))
            if before.state is TenantState.REVOKED:
                state = before.state  # until the key service says yes: silence is no answer
        self._refused[tenant] = Refused(state, now + pause, pause, now, root)

    def _sweep(self, now: float) -> None:
        """Let go of keys past their hard lifetime that nobody asks for any more."""
        for tenant in self._holds.over(now):
            self.purge(tenant, KeysUnavailable)

    def _expire_soon(self, tenant: UUID) -> None:
        """Have the rows read again at the next load, but not more often than a KMS should be asked."""
        held = self._held.get(tenant)
        if held is not None and self._clock.monotonic() >= held.verified_at + self._lifetimes.retry:
            self.expire(tenant)

    async def _new_row(self, tenant: UUID, purpose: KeyPurpose, epoch: int, kms_epoch: int) -> KeyRow:
        kms = self.calls.root(self._roots.current(tenant))
        return await new_row(kms, self._asked_epochs, tenant=tenant, purpose=purpose, epoch=epoch, kms_epoch=kms_epoch)
