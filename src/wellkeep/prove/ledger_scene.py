"""The ledger of a scratch deployment, set as a stage for attacks: filled, covered, anchored, and then left alone.

Each attack is made in a transaction of the database's superuser, looked at from inside it, and rolled back: nobody else
ever sees it, and the next one begins with the ledger as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from wellkeep.access.operators import this_operator
from wellkeep.assembly.ledger_check import Extent, check
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.ledger.anchors.gathering import gather
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.cover import cover
from wellkeep.ledger.known import Known
from wellkeep.ledger.report import Bad, Report, What
from wellkeep.ledger.setback import Setback, setbacks
from wellkeep.ledger.verify import verify
from wellkeep.prove import tampering
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.forging import Stolen
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scratch import Scratch

_ACCESSES = 264
"""More than a tile of the Merkle tree holds, so that there is one."""
_LATER_ACCESSES = 12
_SIGN_TRIES = 100
_SIGN_PAUSE_SECONDS = 0.05
_OLD = "wk_probe_old"

_UNSIGNED = "SELECT count(*) FROM ledger.sealed_heads(false)"
_SEALED = "SELECT size FROM ledger.seal WHERE tenant_id = $1 AND epoch = 1 ORDER BY size"
_HEAD = "SELECT origin, size FROM ledger.log WHERE tenant_id = $1 AND epoch = 1"
_PATIENCE = "SET lock_timeout = '20s'"


class Seen(NamedTuple):
    """What was seen of an attack: the first seq that it touched, two verifications, and whether a start is refused.

    `inside` knows what the database holds and the deployment's keys; `outside` what was asked for beyond that.
    """

    touched: int
    inside: Report
    outside: Report
    refused: list[Setback]


@dataclass(frozen=True, slots=True)
class Scene:
    """The stage: a superuser's connection, and what is known outside the database."""

    scratch: Scratch
    connection: Connection
    tenant: UUID
    origin: str
    root: str
    size: int
    sealed: tuple[int, ...]
    known: Known
    put_old_back: Callable[[], Awaitable[None]]

    @property
    def stolen(self) -> Stolen:
        """The keys of a thief who was at the machine itself."""
        core = self.scratch.operator.core
        key = core.keys.seal
        return Stolen(core.seal_keys[key.key_id], core.checkpoint_signer)

    @property
    def remembered(self) -> Mapping[str, Checkpoint]:
        """What this host remembers of each log."""
        return self.known.remembered

    async def verify(self, *, memory: bool = False, anchors: bool = False) -> Report:
        """Verify with the keys, and with what this host remembers and the anchors hold, where that is asked for."""
        known = Known(
            self.known.keys,
            signers=self.known.signers,
            remembered=self.known.remembered if memory else {},
            anchored=self.known.anchored if anchors else (),
        )
        return await verify(self.connection, keys=known.keys, known=known)

    async def attacked(self, attack: tampering.Attack, *, memory: bool = False, anchors: bool = False) -> Seen:
        """Attack, look, and roll everything back."""
        transaction = self.connection.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            touched = await attack(self.connection, self.tenant, self.size // 2)
            refused = await setbacks(self.connection, self.remembered)
            inside = await self.verify()
            outside = await self.verify(memory=memory, anchors=anchors) if memory or anchors else inside
        finally:
            await transaction.rollback()
        return Seen(touched, inside, outside, refused)

    def place(self, report: Report, touched: int) -> Bad | None:
        """Return the bad place of the tenant's log, if it lies in the sealed batch of the entry that was touched.

        A broken link shows at the entry after it: which of the two was changed, the chain alone can't tell.
        """
        found = next((bad for bad in report.bad if bad.log == self.origin), None)
        start = max((size for size in self.sealed if size <= touched), default=0)
        return found if found is not None and start <= found.seq <= touched + 1 else None

    def root_place(self, report: Report, what: What) -> Bad | None:
        """Return the bad place of the root log, where it is `what`."""
        return next((bad for bad in report.bad if (bad.log, bad.what) == (self.root, what)), None)


@asynccontextmanager
async def scene(scratch: Scratch) -> AsyncIterator[Scene]:
    """Fill the ledger, keep an old state of it, let it go on, stop the server, and lend the stage; then serve again."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(scratch.as_superuser())
        await connection.execute(_PATIENCE)
        await _filled(scratch, connection)
        put_back = await stack.enter_async_context(tampering.kept(connection, _OLD))
        await _gone_on(scratch, connection)
        # Killed and not stopped: a server that stops takes its PostgreSQL along.
        await asyncio.to_thread(scratch.server.kill)
        await scratch.drained(connection)
        await _operated(scratch, connection)
        core = scratch.operator.core
        head = await connection.fetchrow(_HEAD, scratch.a.id)
        root = await connection.fetchrow(_HEAD, PLATFORM_TENANT)
        if head is None or root is None:
            raise Unseen("the scratch deployment has no ledger")
        yield Scene(
            scratch,
            connection,
            scratch.a.id,
            head["origin"],
            root["origin"],
            head["size"],
            tuple(row["size"] for row in await connection.fetch(_SEALED, scratch.a.id)),
            Known(
                core.seal_keys,
                signers=core.checkpoint_signers,
                remembered=core.memory.load(),
                anchored=(await gather(core.anchoring)).notes,
            ),
            put_back,
        )
        await scratch.server.start()


async def _filled(scratch: Scratch, connection: Connection) -> None:
    """Fill a tile of the tenant's log over the API, and have the log covered and anchored."""
    client = await scratch.client(scratch.a.keys["integration"])
    record = await created(client, f"/v1/collections/{PEOPLE}/records", person())
    path = f"/v1/collections/{PEOPLE}/records/{record['id']}"
    await asyncio.gather(*(client.get(path) for _ in range(_ACCESSES)))
    await _vouched_for(scratch, connection)


async def _gone_on(scratch: Scratch, connection: Connection) -> None:
    """Go on after the old state was kept, both tenants; at the end everything is covered, anchored and verified."""
    client = await scratch.client(scratch.a.keys["integration"])
    path = f"/v1/collections/{PEOPLE}/records"
    for _ in range(2):
        await asyncio.gather(*(client.post(path, json=person()) for _ in range(_LATER_ACCESSES)))
        await _signed(scratch, connection)
    await scratch.operator.api_keys.list(this_operator(), tenant=scratch.b.id)
    await _vouched_for(scratch, connection)
    await check(scratch.operator.core, scratch.database, Extent())


async def _operated(scratch: Scratch, connection: Connection) -> None:
    """Go on twice without anybody covering it, as between two minutes; the root log too, whose end is signed anew."""
    for _ in range(2):
        await scratch.operator.tenants.list(this_operator())
        listed = (scratch.operator.api_keys.list(this_operator(), tenant=scratch.a.id) for _ in range(4))
        await asyncio.gather(*listed)
        await _signed(scratch, connection)


async def _vouched_for(scratch: Scratch, connection: Connection) -> None:
    core = scratch.operator.core
    await _signed(scratch, connection)
    await cover(core.ledger, core.writer, signers=core.checkpoint_signers, reporter=core.findings)
    await _signed(scratch, connection)
    status = await core.anchoring.run(at_once=True)
    if status.holding == 0:
        raise Unseen("the scratch deployment's anchor did not take the root log's end")


async def _signed(scratch: Scratch, connection: Connection) -> None:
    """Wait until every log is signed to its end."""
    for _ in range(_SIGN_TRIES):
        await scratch.operator.core.checkpointer.sign_now()
        if not await connection.fetchval(_UNSIGNED):
            return
        await asyncio.sleep(_SIGN_PAUSE_SECONDS)
    raise Unseen("the logs of the scratch deployment were not signed to their ends")
