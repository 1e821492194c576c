"""Sealed answers to repeated requests, under the newest DATA key: the same value in the same place.

An answer lives for a day. It is opened and sealed anew like a state, entered before; the request finds it as before.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.crypto import envelope
from wellkeep.gate.acts import Decision
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.actions import Action
from wellkeep.vault.context import Context

_PAGE = 200
_NO_COLLECTION = 0
_ANSWER_FIELD = 0
_RESOURCE = "answer"
_OLD = """
SELECT credential, key_hash::bytea AS key_hash, answer::bytea AS answer FROM vault.idempotency
WHERE substr(answer, 5, 16) NOT IN ($1, decode(repeat('00', 16), 'hex')) LIMIT $2
"""
_UPDATE = """
UPDATE vault.idempotency SET answer = $3 WHERE credential = $1 AND key_hash = $2 AND answer = $4
"""


async def page(context: Context, decision: Decision, keys: TenantKeys) -> int:
    """Seal the next answers anew that are not under the newest key; returns how many there were."""
    async with context.gate.reading(decision) as connection:
        rows = await connection.fetch(_OLD, keys.data_kid, _PAGE)
    if not rows:
        return 0
    places = [UUID(bytes=row["key_hash"][:16]) for row in rows]
    receipt = await context.gate.disclose(
        decision, resource_type=_RESOURCE, records=tuple(dict.fromkeys(places)), count=len(rows)
    )
    key = await keys.data_key(seals=len(rows))
    async with context.gate.transaction(decision) as work:
        for row, place in zip(rows, places, strict=True):
            ((field, kind, payload),) = keys.open_record(
                receipt,
                collection=_NO_COLLECTION,
                record=place,
                keys=keys.data_keys,
                field_ids=[_ANSWER_FIELD],
                sealed=[row["answer"]],
            )
            sealed = envelope.seal_one(
                key,
                (field, kind, payload, False),
                tenant=keys.tenant.bytes,
                collection=_NO_COLLECTION,
                record=place.bytes,
            )
            await work.connection.execute(_UPDATE, row["credential"], row["key_hash"], sealed, row["answer"])
        work.record(
            action=Action.KEY_ROTATED, resource_type=_RESOURCE, records=tuple(dict.fromkeys(places)), count=len(rows)
        )
    return len(rows)
