"""Verifying the ledger in the database: every log from its first entry to its head, and what must agree with it.

Read in one REPEATABLE READ transaction, in chunks, as `wk_owner`: what is verified is one state. The threat is
everybody who can write to the database, its owner included. What no key can show, an old state put back as a whole or
all of it rebuilt with stolen keys, is shown by what lies outside: what this host remembers, and the anchors. Both must
be read before the state is, for the ledger goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.ledger import accounts
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.growth import Claim
from wellkeep.ledger.known import NO_HOST, Known, claims_on
from wellkeep.ledger.report import Bad, Report, What
from wellkeep.ledger.seal import SealKey, origin
from wellkeep.ledger.splice import Head
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import root_at
from wellkeep.ledger.told import readable
from wellkeep.ledger.verify_beside import beside, ids_stand_once
from wellkeep.ledger.verify_covers import left_out, stray_pairs
from wellkeep.ledger.verify_log import BECOME_OWNER, Progress, Task, walk_log
from wellkeep.ledger.verify_orphans import orphans
from wellkeep.ledger.verify_ranges import Crew, walk_together
from wellkeep.ledger.verify_tiles import check_tiles

__all__ = ["Known", "Progress", "verify"]

_LOGS = """
SELECT tenant_id, epoch, origin, size, leaf, "time", frontier FROM ledger.log
WHERE $1::uuid IS NULL OR tenant_id = $1 ORDER BY tenant_id, epoch
"""
# Read ahead of the walk that verifies it: a loss on record accounts for what anchors hold of another history.
_RESTORED = """
SELECT seq, entry FROM ledger.entry WHERE tenant_id = $1 AND action = 'ledger.restored' ORDER BY epoch, seq
"""
_EARLIER = """
SELECT seq, entry FROM ledger.entry
WHERE tenant_id = $1 AND epoch = $2 AND seq < $3 AND action IN ('ledger.restored', 'ledger.pruned') ORDER BY seq
"""
_OUTBOX_AGE = "SELECT max(seconds) FROM ledger.outbox_ages()"
_QUARANTINED = """
SELECT tenant_id, count(*) FROM ledger.quarantine WHERE $1::uuid IS NULL OR tenant_id = $1
GROUP BY tenant_id ORDER BY tenant_id
"""


async def verify(
    connection: Connection,
    *,
    keys: Mapping[str, SealKey],
    known: Known | None = None,
    tenant: UUID | None = None,
    since: datetime | None = None,
    progress: Progress | None = None,
    crew: Crew | None = None,
) -> Report:
    """Verify all logs, or those of `tenant`; with `since`, read only the content of what came later.

    `connection` may become `wk_owner` (`wk_migrate`, an administrator). Older entries are still counted into the tree
    by their leaves, which the seals vouch for. `known` is what else they are held against; `keys` stands for a `Known`
    of keys alone. A `crew` of processes walks ranges of logs at once. Raises what the connection raises: then nothing
    is known (exit code 2).
    """
    async with one_state(connection):
        run = _Run(connection, known or Known(keys), tenant=tenant, since=since, progress=progress, crew=crew)
        return await run.report()


@asynccontextmanager
async def one_state(connection: Connection) -> AsyncIterator[None]:
    """Read one state of the database, as its owner."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(BECOME_OWNER)
        yield


class _Run:
    """One verification, inside its transaction."""

    def __init__(
        self,
        connection: Connection,
        known: Known,
        *,
        tenant: UUID | None,
        since: datetime | None,
        progress: Progress | None,
        crew: Crew | None,
    ) -> None:
        self._connection = connection
        self._known = known
        self._tenant = tenant
        self._since = since
        self._progress = progress
        self._crew = crew
        self._once = False
        self._logs: list[Walked] = []
        self._notes: list[str] = []

    async def report(self) -> Report:
        heads = await self._heads()
        lost = readable(await self._connection.fetch(_RESTORED, PLATFORM_TENANT))
        spans = [span for each in lost if (span := each.lost_or_pruned()) is not None]
        claims, absent = claims_on(heads, self._known, tenant=self._tenant, lost=spans)
        tasks = [self._task(head, claims[head.origin]) for head in heads]
        crew = self._crew if self._since is None else None
        done = {} if crew is None else await walk_together(self._connection, crew, tasks, progress=self._progress)
        self._once = await ids_stand_once(self._connection)
        self._logs = logs = [await self._walk(task, done.get(task.head.origin)) for task in tasks]
        heaped, quarantined = await self._heaped()
        bad = [found for log in logs for found in log.found()]
        found = accounts.lowest([*bad, *heaped, *absent, *(await self._together())])
        broken = {one.log for one in found}
        age: float | None = await self._connection.fetchval(_OUTBOX_AGE)
        return Report(
            logs=len(logs),
            entries=sum(log.walk.size - min(log.first, log.walk.size) for log in logs),
            seals=sum(log.walk.seals for log in logs),
            bad=found,
            outbox_seconds=age or 0.0,
            quarantined=quarantined,
            checkpoints=sum(log.walk.growth.checkpoints for log in logs),
            covers=sum(log.covers for log in logs),
            notes=tuple(self._notes),
            ends={log.origin: log.walk.state for log in logs if log.origin not in broken},
        )

    async def _heads(self) -> list[Head]:
        rows = await self._connection.fetch(_LOGS, self._tenant)
        return [Head(*row)._replace(frontier=tuple(row["frontier"])) for row in rows]

    def _task(self, head: Head, claims: list[Claim]) -> Task:
        start = self._known.verified.get(head.origin)
        if start is not None and start.size > head.size:
            start = None  # it is not a continuation, and what was verified is a claim beyond its end
        return Task(head, tuple(claims), start=start, since=self._since)

    async def _walk(self, task: Task, walked: Walked | None) -> Walked:
        """Walk a log, unless others did, and hold against it what is made of all of it."""
        connection, known, head = self._connection, self._known, task.head
        if walked is None:
            walked = await walk_log(connection, task, keys=known.keys, signers=known.signers, progress=self._progress)
            await beside(connection, walked.walk, begin=max(walked.begin, walked.first), once=self._once)
        await check_tiles(connection, walked)
        if walked.begin:
            rows = await connection.fetch(_EARLIER, head.tenant, head.epoch, walked.begin)
            walked.earlier = readable(rows)
        return walked

    async def _together(self) -> list[Bad]:
        """Return what is wrong between logs."""
        logs, connection = self._logs, self._connection
        partial = self._tenant is not None
        bad = list(accounts.openings(logs))
        impossible, lost = accounts.losses(logs, partial=partial)
        bad += impossible
        if not partial and self._since is None:
            bad += accounts.announcements(logs, lost, known=frozenset(self._known.verified))
        bad += accounts.beyond(logs, lost)
        pruned, self._notes = await accounts.prunes(logs, self._root_at, partial=partial)
        bad += pruned
        bad += accounts.uncorroborated(logs)
        self._notes += accounts.told_of(lost)
        bad += await left_out(connection, self._tenant)
        if self._since is None and not self._known.verified and not any(_pruned_root(log) for log in logs):
            bad += await stray_pairs(connection, self._tenant)
        return bad

    async def _root_at(self, log: Walked, size: int) -> bytes:
        tenant, epoch = log.place
        return await root_at(TileStore(self._connection, tenant=tenant, epoch=epoch), size)

    async def _heaped(self) -> tuple[list[Bad], int]:
        """Return what belongs to no log: rows without a head, changes in quarantine; and how many of those."""
        quarantined = await self._connection.fetch(_QUARANTINED, self._tenant)
        ends = {log.place[0]: log.bad(log.walk.head.size, What.QUARANTINE) for log in self._logs}
        host = self._logs[0].origin.partition("/ledger/")[0] if self._logs else NO_HOST
        bad = [
            Bad(origin(host, tenant, epoch), seq, What.ORPHAN)
            for tenant, epoch, seq in await orphans(self._connection, self._tenant)
        ]
        bad += [ends.get(tenant, Bad(origin(host, tenant, 1), 0, What.QUARANTINE)) for tenant, _ in quarantined]
        return bad, sum(row[1] for row in quarantined)


def _pruned_root(log: Walked) -> bool:
    return log.place[0] == PLATFORM_TENANT and log.first > 0
