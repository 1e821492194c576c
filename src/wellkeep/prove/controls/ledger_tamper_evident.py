"""ledger.tamper_evident (chain and seals).

Each tampering, a rewrite by the database's owner included, is found and located.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from wellkeep.db.provision import connected
from wellkeep.ledger.report import Report, What
from wellkeep.ledger.verify import verify
from wellkeep.prove import tampering
from wellkeep.prove.deployment import created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_ACCESSES = 24
_SEALED = "SELECT size FROM ledger.seal WHERE tenant_id = $1 AND epoch = 1 ORDER BY size"
_SIZE = "SELECT size FROM ledger.log WHERE tenant_id = $1"


async def run(world: World, notes: Notes) -> None:
    """Fill a log over the API, then tamper with it in each way, verify, and put it back."""
    scratch = await world.scratch()
    client = await scratch.client(scratch.a.keys["integration"])
    record = await created(client, f"/v1/collections/{PEOPLE}/records", person())
    path = f"/v1/collections/{PEOPLE}/records/{record['id']}"
    await asyncio.gather(*(client.get(path) for _ in range(_ACCESSES)))

    untouched = await _verify(scratch)
    notes.check(
        "verified the untouched ledger",
        held=untouched.ok and untouched.entries > _ACCESSES,
        seen=f"{untouched.entries} entries and {untouched.seals} seals hold" if untouched.ok else "it does not hold",
    )
    async with scratch.as_superuser() as connection, tampering.undone(connection) as put_back:
        size = await connection.fetchval(_SIZE, scratch.a.id)
        sealed = [row["size"] for row in await connection.fetch(_SEALED, scratch.a.id)]
        for name, attack in tampering.ATTACKS.items():
            touched = await attack(connection, scratch.a.id, size // 2)
            _judge(notes, name, await _verify(scratch), scratch.a.id, touched, sealed)
            await put_back()
        await tampering.remove(connection, scratch.a.id, 0)
        _judge_removal(notes, await _verify(scratch))
        await put_back()
    after = await _verify(scratch)
    notes.check("put everything back and verified again", held=after.ok, seen="it holds" if after.ok else "it does not")


def _judge(notes: Notes, name: str, report: Report, tenant: UUID, touched: int, sealed: list[int]) -> None:
    """Note whether the report names this log and a place inside the sealed batch of the entry that was touched.

    A broken link shows at the entry after it: which of the two was changed, the chain alone can't tell.
    """
    start = max((size for size in sealed if size <= touched), default=0)
    place = next((bad for bad in report.bad if _is_log_of(bad.log, tenant)), None)
    located = place is not None and start <= place.seq <= touched + 1
    notes.check(
        name,
        held=located,
        seen=f"{'found' if located else 'found elsewhere'}: seq {place.seq} for {touched}, by {place.what.value}"
        if place
        else "the ledger still verifies",
    )


def _judge_removal(notes: Notes, report: Report) -> None:
    found = next((bad for bad in report.bad if bad.what is What.LOG_MISSING), None)
    notes.check(
        "took a whole log away",
        held=found is not None,
        seen=f"found: the root log announced it at seq {found.seq}" if found else "the ledger still verifies",
    )


async def _verify(scratch: Scratch) -> Report:
    async with connected(scratch.database.endpoint("wk_migrate")) as connection:
        return await verify(connection, keys=scratch.operator.core.seal_keys)


def _is_log_of(log: str, tenant: UUID) -> bool:
    return str(tenant) in log


PROBE = Probe(
    claim="ledger.tamper_evident",
    where=Where.SCRATCH,
    run=run,
    missing="a tail cut at a batch's end and an old backup put back whole: checkpoints and anchors are still to come",
)
