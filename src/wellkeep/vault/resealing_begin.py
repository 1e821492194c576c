"""How a rotation begins: in one transaction with the key that it leads to, its row, its job and its entry.

Rule: what is new is in force when this commits, and no write that was made for what was before is still under way: the
definitions are held alone meanwhile (`vault.new_versions`, or the change of the one definition).
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.base.errors import Conflict
from wellkeep.db.connection import Connection
from wellkeep.db.queue import enqueue
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.rotation import Tier
from wellkeep.keys.rows import KeyRow
from wellkeep.ledger.actions import Action
from wellkeep.vault import resealing_keys, resealing_rows
from wellkeep.vault.resealing_scope import collections_of

JOB = "resealing"
"""The kind of the job that works a rotation off; its resource is the rotation's id."""

PURPOSES = {Tier.DATA: KeyPurpose.DATA, Tier.INDEX: KeyPurpose.INDEX}
_RESOURCE = "rotation"
_COUNT = """
SELECT (SELECT count(*) FROM vault.record r WHERE r.collection_id = ANY($1::integer[]))
     + CASE WHEN $2 THEN (SELECT count(*) FROM vault.revision v WHERE v.collection_id = ANY($1::integer[])) ELSE 0 END
"""


async def begin(work: GateTransaction, tier: Tier, *, row: KeyRow | None = None, collection: int | None = None) -> UUID:
    """Begin a rotation within a transaction of the gate and return its id.

    `row` is the key that it leads to; None where it has none, or goes on with one that was made before. Raises Conflict
    where one of the tier is running.
    """
    decision, connection = work.decision, work.connection
    if row is not None:
        await resealing_keys.begin_epoch(work, row)
    numbers = [one.id for one in await collections_of(connection, tier, collection)]
    principal = decision.caller.principal
    rotation = await resealing_rows.insert(
        connection,
        tenant=decision.tenant,
        tier=tier,
        target=row.epoch if row is not None else await _newest(connection, tier),
        collection=collection,
        field=None,
        total=await connection.fetchval(_COUNT, numbers, tier is not Tier.INDEX),
        requested_by=f"{principal.type.value}:{principal.id}",
    )
    if rotation is None:
        raise Conflict("A rotation of this kind is running; it goes on by itself")
    await enqueue(connection, kind=JOB, resource=rotation)
    work.record(
        action=Action.ROTATION_STARTED, resource_type=_RESOURCE, resource_id=str(rotation), fields=(tier.value,)
    )
    return rotation


async def _newest(connection: Connection, tier: Tier) -> int | None:
    """Return the epoch that a rotation which was begun before leads to."""
    purpose = PURPOSES.get(tier)
    return None if purpose is None else (await resealing_keys.epochs_of(connection, purpose))[-1][0]
