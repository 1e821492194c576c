"""Verifying ranges of logs at once, by as many processes as are asked for; what they say is what one would.

Rules: all read one state, by a snapshot that is handed on. A range begins in a state that is claimed from seals and
tiles; its walk proves nothing by itself. The parent accepts a log only where every range holds and each ends in exactly
the state that the next one began in, which makes the whole as good as one walk from the first entry. Where anything
does not fit, the log is walked again from its beginning, alone: so the first bad place is the same one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Final
from uuid import UUID

from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import BadProof
from wellkeep.db.connection import Connection
from wellkeep.db.dsn import Endpoint
from wellkeep.db.provision import connected
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.report import State
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import resumed
from wellkeep.ledger.verify_beside import beside, ids_stand_once
from wellkeep.ledger.verify_log import BECOME_OWNER, Progress, Task, walk_log

RANGE: Final = 50_000
"""Entries of a range: some seconds of work, long enough that a process and a connection for it are worth it."""

_SNAPSHOT = re.compile(r"[0-9A-F]{8}-[0-9A-F]{8}-[0-9]+")
_EXPORT = "SELECT pg_export_snapshot()"
_SEALED = "SELECT size FROM ledger.seal WHERE tenant_id = $1 AND epoch = $2 AND size >= $3 ORDER BY size LIMIT 1"
_LAST = 'SELECT leaf, "time" FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2 AND seq = $3'


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process needs besides its ranges: how to reach the database, which state of it, the keys in clear.

    `session` is the name under which its connection was announced.

    It goes through a pipe to a child of ours and is stored nowhere.
    """

    reach: tuple[str, int, str, str, str | None, tuple[tuple[str, str], ...]]
    session: str | None
    snapshot: str
    seals: tuple[tuple[str, bytes], ...]
    signers: tuple[bytes, ...] | None


@dataclass(frozen=True, slots=True)
class Crew:
    """Processes that verify; `endpoint` may become the owner, `seeds` are those of the signing keys."""

    executor: Executor
    endpoint: Endpoint
    keys: Mapping[str, SealKey]
    seeds: Sequence[Secret[bytes]] | None
    range: int = RANGE

    async def orders(self, snapshot: str) -> Orders:
        """Announce a connection, and return what the process that makes it is told."""
        where = self.endpoint
        password = None if where.password is None else where.password.reveal()
        reach = (where.host, where.port, where.database, where.user, password, where.tls)
        session = None if where.announce is None else await where.announce(where.user)
        seals = tuple((name, key.secret.reveal()) for name, key in self.keys.items())
        return Orders(
            reach, session, snapshot, seals, None if self.seeds is None else tuple(each.reveal() for each in self.seeds)
        )


@asynccontextmanager
async def crew_of(
    jobs: int, *, endpoint: Endpoint, keys: Mapping[str, SealKey], seeds: Sequence[Secret[bytes]]
) -> AsyncIterator[Crew | None]:
    """Lend `jobs` processes; None for one, which needs no other."""
    if jobs == 1:
        yield None
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        yield Crew(executor, endpoint, keys, seeds)


async def walk_together(
    connection: Connection, crew: Crew, tasks: Sequence[Task], *, progress: Progress | None = None
) -> dict[str, Walked]:
    """Walk `tasks` by the crew; return by origin the logs that hold. The others are for one walk to judge."""
    snapshot: str = await connection.fetchval(_EXPORT)
    ranges = [part for task in tasks for part in await _cut(connection, task, crew.range)]
    loop = asyncio.get_running_loop()
    seen: dict[str, int] = {}

    async def given(some: list[Task]) -> list[Walked]:
        orders = await crew.orders(snapshot)
        done = await loop.run_in_executor(crew.executor, walk_apart, orders, some)
        for walked in done:
            seen[walked.origin] = seen.get(walked.origin, 0) + walked.walk.size - walked.began
            if progress is not None:
                progress(walked.origin, seen[walked.origin], walked.walk.head.size)
        return done

    walks = [each for some in await asyncio.gather(*map(given, _shares(ranges, crew.range))) for each in some]
    by_log: dict[str, list[tuple[Task, Walked]]] = {}
    for part, walked in zip(ranges, walks, strict=True):
        by_log.setdefault(part.head.origin, []).append((part, walked))
    joined = {origin: _joined(parts) for origin, parts in by_log.items()}
    return {origin: walked for origin, walked in joined.items() if walked is not None}


def walk_apart(orders: Orders, tasks: Sequence[Task]) -> list[Walked]:
    """Walk ranges in a process of its own; what it returns holds no key."""
    return asyncio.run(_walk_apart(orders, tasks))


async def _walk_apart(orders: Orders, tasks: Sequence[Task]) -> list[Walked]:
    host, port, database, user, password, tls = orders.reach
    keys = {name: SealKey(name, Secret(raw)) for name, raw in orders.seals}
    signers = None if orders.signers is None else [CheckpointSigner(Secret(seed)) for seed in orders.signers]
    if _SNAPSHOT.fullmatch(orders.snapshot) is None:
        raise ValueError("no snapshot of PostgreSQL's")
    secret = None if password is None else Secret(password)

    async def announced(_role: str) -> str | None:
        return orders.session

    done = []
    async with (
        connected(Endpoint(host, port, database, user, secret, tls, announced)) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(f"SET TRANSACTION SNAPSHOT '{orders.snapshot}'")
        await connection.execute(BECOME_OWNER)
        once = await ids_stand_once(connection)
        for task in tasks:
            walked = await walk_log(connection, task, keys=keys, signers=signers)
            begin = max(walked.begin, walked.first)
            await beside(connection, walked.walk, begin=begin, once=once, whole=task.upto is None)
            walked.walk.growth.forget()
            walked.walk.further_subjects.clear()
            done.append(walked)
    return done


async def _cut(connection: Connection, task: Task, size: int) -> list[Task]:
    """Return a log as ranges that end at seals; as one where a state between them can't be told."""
    parts: list[Task] = []
    head, begin = task.head, 0 if task.start is None else task.start.size
    place = (head.tenant, head.epoch)
    start = task.start
    while head.size - begin >= 2 * size:
        upto = await connection.fetchval(_SEALED, *place, begin + size)
        state = None if upto is None or upto >= head.size else await _claimed(connection, place, upto)
        if state is None:
            break
        parts.append(replace(task, start=start, upto=upto))
        start, begin = state, state.size
    return [*parts, replace(task, start=start)]


async def _claimed(connection: Connection, place: tuple[UUID, int], size: int) -> State | None:
    """Return the state that a log is said to have at `size`."""
    row = await connection.fetchrow(_LAST, *place, size - 1)
    if row is None:
        return None
    try:
        builder = await resumed(TileStore(connection, tenant=place[0], epoch=place[1]), size)
    except BadProof:
        return None
    return State(size, tuple(builder.frontier()), row["leaf"], row["time"])


def _shares(ranges: Sequence[Task], size: int) -> Iterator[list[Task]]:
    """Yield ranges in their order, short ones together."""
    share: list[Task] = []
    weight = 0
    for part in ranges:
        share.append(part)
        end = part.head.size if part.upto is None else part.upto
        weight += end - (0 if part.start is None else part.start.size)
        if weight >= size:
            yield share
            share, weight = [], 0
    if share:
        yield share


def _joined(parts: Sequence[tuple[Task, Walked]]) -> Walked | None:
    """Return a log's ranges as one walk, None where one does not hold or does not join the next."""
    whole: Walked | None = None
    for task, walked in parts:
        walk = walked.walk
        if walk.bad is not None or (task.upto is not None and walk.size != task.upto):
            return None
        if whole is not None:
            if whole.walk.state != task.start:
                return None
            walked.take_in(whole)
        whole = walked
    return whole
