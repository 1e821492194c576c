"""One batch onto the logs' heads: splice, call `ledger.append_batch`, and splice again where the database says so.

Rules: what the database refuses as a whole is never patched, it is spliced anew. A stale head means that another
writer was faster; after some losses the heads are locked first, so nobody starves. An event that is chained already
keeps its old place and leaves the batch, so no hole and no second entry arises. A batch whose outcome is unknown is
not repeated here: a read that was never answered needs no second entry, and an outbox row that is still there is found
again.

A clock that was set forward is refused (`pace`), as one that was set back is by the heads, and either by PostgreSQL's.

What this process saw of a log, or its host remembered when it started, it never takes back: a database that was put
back to an older state beneath it would otherwise get a second history, so nothing more is appended to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from wellkeep.base.clock import Clock
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection, Record
from wellkeep.db.pool import take_packed
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger import packed
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.pace import Pace
from wellkeep.ledger.seal import log_of
from wellkeep.ledger.splice import TOLERANCE, Appended, Head, Place, Splicer, Submitted

_APPEND = "SELECT answer, already, current FROM ledger.append_batch($1, $2, $3, $4)"
_HEADS = 'SELECT tenant_id, epoch, origin, size, leaf, "time", frontier FROM ledger.heads($1)'
_LOCK_HEADS = 'SELECT tenant_id, epoch, origin, size, leaf, "time", frontier FROM ledger.lock_heads($1)'

_OPTIMISTIC_TRIES = 3
_TRIES = 12
_HEADS_KEPT = 10_000


Grown = Callable[[Iterable[Head]], None]
"""Told of the heads of logs that were appended to."""


class Reporter(Protocol):
    """Where the ledger says what it noticed: `findings.Findings`."""

    def note(self, tenant: UUID, *, kind: Kind, severity: Severity, key: str, detail: Mapping[str, str | int]) -> None:
        """Note a finding without waiting for it to be stored."""
        ...


class Appender:
    """Appends batches over a connection of `wk_ledger`; remembers the heads it saw last."""

    def __init__(
        self,
        splicer: Splicer,
        *,
        clock: Clock,
        reporter: Reporter,
        grown: Grown | None = None,
        seen: Iterable[Checkpoint] = (),
    ) -> None:
        """Take what splices, what tells the time, who is told of what is wrong, and who of the heads that moved.

        `seen` are checkpoints that the database was held against: it must not be behind them later on either.
        """
        self._splicer = splicer
        self._clock = clock
        self._pace = Pace(clock, tolerance=TOLERANCE)
        self._reporter = reporter
        self._grown = grown
        self._heads: dict[UUID, Head] = {}
        self._moved: dict[UUID, Head] = {}
        self._reached = _reached(seen)
        self._behind: set[UUID] = set()

    def forget(self) -> None:
        """Forget the heads: after a failure nothing is known about them, but how far they were once."""
        self._heads.clear()
        self._moved.clear()
        self._behind.clear()

    def reopen(self, tenant: UUID, epoch: int) -> None:
        """Let the next entry of a tenant open its log anew, under a later epoch: for a restore that was accepted."""
        self._heads[tenant] = self._splicer.unopened(tenant, self._clock.now(), epoch)

    def committed(self) -> None:
        """Take what was appended for durable: for the caller to say, whose transaction it may be in."""
        for tenant, head in self._moved.items():
            self._reached[tenant] = (head.epoch, head.size)
        if self._grown is not None and self._moved:
            self._grown(list(self._moved.values()))
        self._moved.clear()

    async def append(self, connection: Connection, batch: Sequence[Submitted]) -> dict[Place, Appended]:
        """Chain `batch`, an event id once for each tenant, and return each event's place.

        An event without a place was refused, and a finding says why. Raises LedgerUnavailable where the heads can't be
        had, and what the connection raises: then the outcome is unknown.
        """
        places: dict[Place, Appended] = {}
        self._behind.clear()
        await self._learn({submitted.tenant.int: submitted.tenant for submitted in batch}.values(), connection)
        for attempt in range(_TRIES):
            batch = self._standing(batch)
            if not batch:
                break
            if attempt < _OPTIMISTIC_TRIES:
                batch = await self._try(connection, batch, places)
            else:
                batch = await self._try_locked(connection, batch, places)
        if batch:
            raise LedgerUnavailable("The ledger's logs are under contention; try again")
        return places

    async def _try_locked(
        self, connection: Connection, batch: Sequence[Submitted], places: dict[Place, Appended]
    ) -> Sequence[Submitted]:
        async with connection.transaction(isolation="read_committed"):
            tenants = {submitted.tenant for submitted in batch} | {PLATFORM_TENANT}
            self._keep(await connection.fetch(_LOCK_HEADS, list(tenants)), of=tenants)
            return await self._try(connection, self._standing(batch), places)

    async def _try(
        self, connection: Connection, batch: Sequence[Submitted], places: dict[Place, Appended]
    ) -> Sequence[Submitted]:
        """Splice and call once; fill `places` and return what has to be spliced again."""
        now, ahead = self._pace.look()
        if ahead:
            for tenant in {submitted.tenant for submitted in batch}:
                self._report_clock(tenant, int(ahead.total_seconds()))
            return ()
        spliced = self._splicer.splice(self._heads, batch, now=now)
        for tenant, seconds in spliced.refused.items():
            self._report_clock(tenant, seconds)
        if not spliced.entries:
            return ()
        await take_packed(connection, packed.KINDS)
        steps = [packed.step_row(*step) for step in spliced.steps]
        entries = [packed.entry_row(*entry) for entry in spliced.entries]
        rows = await connection.fetch(_APPEND, steps, entries, spliced.subjects, spliced.outboxed)
        answer, already, current = rows[0]
        if answer == "appended":
            self._heads.update(spliced.heads)
            self._moved.update(spliced.heads)
            places.update(spliced.places)
            return ()
        if answer == "stale":
            for tenant in spliced.heads:
                self._heads.pop(tenant, None)
            self._keep(current, of=spliced.heads)
            return batch
        if answer == "chained":
            return self._without(already, batch, places)
        return await self._each_alone(connection, batch, places)

    async def _each_alone(
        self, connection: Connection, batch: Sequence[Submitted], places: dict[Place, Appended]
    ) -> Sequence[Submitted]:
        """Append tenant by tenant what the database's clock refused as a whole; report who is refused alone."""
        tenants = {submitted.tenant for submitted in batch}
        if len(tenants) == 1:
            self._report_clock(tenants.pop(), 0)
        else:
            for tenant in tenants:
                places.update(await self.append(connection, [each for each in batch if each.tenant == tenant]))
        return ()

    def _without(
        self, already: Iterable[Record], batch: Sequence[Submitted], places: dict[Place, Appended]
    ) -> Sequence[Submitted]:
        """Note where the events that are chained already stand, and return the others."""
        found = {(row["tenant_id"].int, row["event_id"].int): row for row in already}
        rest = []
        for each in batch:
            place = each.place
            row = found.get(place)
            if row is None:
                rest.append(each)
            elif row["entry"] is None:
                # An outbox row vanished without being chained: that is not ours to do.
                self._report_broken(each.tenant, "outbox")
            elif not row["entry"].startswith(b'{"event":' + each.prepared.encoded + b',"log":'):
                self._report_broken(each.tenant, "event")
            else:
                places[place] = Appended(each.tenant, row["epoch"], row["seq"], row["leaf"])
        if len(rest) == len(batch):
            return self._without_lost(batch, found)
        return rest

    def _without_lost(self, batch: Sequence[Submitted], found: Mapping[Place, Record]) -> Sequence[Submitted]:
        """Return what is left of a batch that would open a log anew: the log is gone, but what it announced is not."""
        unopened = {each.tenant for each in batch if each.tenant not in self._heads}
        lost = {
            tenant
            for tenant in unopened
            if self._splicer.announcement(tenant) in found or any(log == tenant.int for log, _ in found)
        }
        for tenant in lost or {PLATFORM_TENANT}:
            self._report_broken(tenant, "log")
        if not lost or PLATFORM_TENANT in lost:
            raise LedgerUnavailable("The root log of the ledger is missing; run `wellkeep ledger verify`")
        return [each for each in batch if each.tenant not in lost]

    async def _learn(self, tenants: Iterable[UUID], connection: Connection) -> None:
        unknown = [tenant for tenant in tenants if tenant not in self._heads]
        if unknown:
            if len(self._heads) > _HEADS_KEPT:
                self._heads.clear()
                unknown = list(tenants)
            of = [*unknown, PLATFORM_TENANT]
            self._keep(await connection.fetch(_HEADS, of), of=of)

    def _keep(self, rows: Iterable[Record], *, of: Iterable[UUID]) -> None:
        """Keep the heads that were asked for; what is less than was seen of these tenants' logs is behind."""
        for tenant, epoch, name, size, leaf, time, frontier in rows:
            if (epoch, size) < self._reached.get(tenant, (0, 0)):
                self._fell_behind(tenant)
            else:
                self._heads[tenant] = Head(tenant, epoch, name, size, leaf, time, tuple(frontier))
        for tenant in of:
            if tenant not in self._heads and tenant in self._reached and tenant not in self._behind:
                self._fell_behind(tenant)

    def _standing(self, batch: Sequence[Submitted]) -> Sequence[Submitted]:
        """Return what may be appended: to no log that is behind, and to no new one that the root log can't announce."""
        if not self._behind:
            return batch
        rootless = PLATFORM_TENANT in self._behind
        return [
            each
            for each in batch
            if each.tenant not in self._behind and not (rootless and each.tenant not in self._heads)
        ]

    def _fell_behind(self, tenant: UUID) -> None:
        self._heads.pop(tenant, None)
        self._behind.add(tenant)
        self._report_broken(tenant, "behind")

    def _report_clock(self, tenant: UUID, seconds: int) -> None:
        self._reporter.note(
            tenant,
            kind=Kind.LEDGER_CLOCK,
            severity=Severity.HIGH,
            key=finding_key(Kind.LEDGER_CLOCK),
            detail={"seconds": seconds},
        )

    def _report_broken(self, tenant: UUID, what: str) -> None:
        self._reporter.note(
            tenant,
            kind=Kind.LEDGER_BROKEN,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.LEDGER_BROKEN, what),
            detail={"what": what},
        )


def _reached(seen: Iterable[Checkpoint]) -> dict[UUID, tuple[int, int]]:
    """Return the epoch and size of each tenant's newest log among `seen`."""
    reached: dict[UUID, tuple[int, int]] = {}
    for checkpoint in seen:
        tenant, epoch = log_of(checkpoint.origin)
        reached[tenant] = max(reached.get(tenant, (0, 0)), (epoch, checkpoint.size))
    return reached
