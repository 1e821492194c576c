"""Keys in a resealing: the next generation of a patient's, the next epoch of a tenant's, and the end of the old ones.

Rules: a new key is the current one before anything is sealed under it, and whoever writes under the old one is refused
and comes again; both hold by locks of the database (the patient's row, the definitions' rows), in any process. An old
key is destroyed by the transaction that saw that nothing names it: its wrapped bytes go, its kid stays as a tombstone.
"""

from __future__ import annotations

from collections.abc import Collection as Several
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from wellkeep.base.errors import Conflict
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Decision
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.rows import KeyRow, store_rows
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.actions import Action
from wellkeep.vault.context import Context

_LAST_EPOCH = 255
_LOCK_PEOPLE = """
SELECT s.id FROM vault.subject s WHERE s.id = ANY($1::uuid[]) AND s.erased_at IS NULL ORDER BY s.id FOR UPDATE
"""
_OLD = """
SELECT k.subject_id, max(k.generation) AS generation FROM keys.subject_key k WHERE k.subject_id = ANY($1::uuid[])
GROUP BY k.subject_id HAVING max(k.created_at) FILTER (WHERE k.state = 'active') < $2
"""
_ADD = """
INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
SELECT $1, m.subject_id, m.generation, m.kid, m.wrapped, m.wrap_epoch
FROM unnest($2::uuid[], $3::integer[], $4::bytea[], $5::bytea[], $6::integer[])
  AS m(subject_id, generation, kid, wrapped, wrap_epoch)
"""
_REPLACED = """
UPDATE keys.subject_key k SET state = 'decrypt_only'
FROM unnest($1::uuid[], $2::integer[]) AS m(subject_id, generation)
WHERE k.subject_id = m.subject_id AND k.generation < m.generation AND k.state = 'active'
"""
_PEOPLE = """
SELECT s.id,
       coalesce(bool_or(k.state = 'decrypt_only'), false) AS replaced,
       coalesce(max(k.created_at) FILTER (WHERE k.state = 'active') < $3, false) AS old
FROM (SELECT x.tenant_id, x.id FROM vault.subject x WHERE x.id > $1 AND x.erased_at IS NULL ORDER BY x.id LIMIT $2) s
LEFT JOIN keys.subject_key k ON k.tenant_id = s.tenant_id AND k.subject_id = s.id
GROUP BY s.id ORDER BY s.id
"""
_DESTROY_PEOPLES = """
UPDATE keys.subject_key k SET state = 'destroyed', wrapped = ''
WHERE k.subject_id = ANY($1::uuid[]) AND k.state = 'decrypt_only' AND NOT vault.carries(k.subject_id, k.kid)
RETURNING k.subject_id
"""
_LEFT = "SELECT count(*) FROM keys.subject_key k WHERE k.subject_id = ANY($1::uuid[]) AND k.state = 'decrypt_only'"
_EPOCHS = """
SELECT epoch, kid, state FROM keys.tenant_key WHERE purpose = $1 AND state IN ('active', 'decrypt_only', 'retired')
ORDER BY epoch
"""
_NEW_VERSIONS = "SELECT vault.new_versions()"
_CHANGED = "SELECT keys.signal_changed()"
_OLDER = "UPDATE keys.tenant_key SET state = $3 WHERE purpose = $1 AND epoch < $2 AND state = ANY($4::text[])"
_DESTROY = """
UPDATE keys.tenant_key SET state = 'destroyed', wrapped = ''
WHERE purpose = $1 AND epoch < $2 AND state IN ('decrypt_only', 'retired')
"""
_TAGGED = "SELECT EXISTS (SELECT FROM vault.tag t WHERE get_byte(t.tag, 0) <> $1)"
_SEALED = """
SELECT EXISTS (SELECT FROM vault.record r, unnest(r.sealed) AS e(field)
               WHERE r.sealed_for IS NULL AND substr(e.field, 5, 16) = ANY($1::bytea[]))
    OR EXISTS (SELECT FROM vault.revision v, unnest(v.sealed) AS e(field)
               WHERE v.sealed_for IS NULL AND substr(e.field, 5, 16) = ANY($1::bytea[]))
    OR EXISTS (SELECT FROM vault.idempotency i WHERE substr(i.answer, 5, 16) = ANY($1::bytea[]))
"""
PEOPLE_PAGE = 100
KEY = "subject_key"
TENANT_KEY = "tenant_key"


class StillCarried(Exception):  # a state of things that the walk goes on from
    """Something that is stored names the key that was to be destroyed."""


async def next_generations(
    context: Context, decision: Decision, keys: TenantKeys, people: Several[UUID], *, before: datetime
) -> None:
    """Make the next key of each of these patients whose current one is older than `before`; not of erased ones."""
    async with context.gate.transaction(decision) as work:
        connection = work.connection
        living = [row["id"] for row in await connection.fetch(_LOCK_PEOPLE, sorted(people))]
        old = await connection.fetch(_OLD, living, before)
        named = tuple(row["subject_id"] for row in old)
        generations = [row["generation"] + 1 for row in old]
        made = [
            await keys.new_subject_key(person, generation=generation)
            for person, generation in zip(named, generations, strict=True)
        ]
        kids, wrapped = [one.kid for one in made], [one.wrapped for one in made]
        epochs = [one.wrap_epoch for one in made]
        await connection.execute(_ADD, decision.tenant, list(named), generations, kids, wrapped, epochs)
        await connection.execute(_REPLACED, list(named), generations)
        work.record(action=Action.KEY_ROTATED, resource_type=KEY, resource_id=None, subjects=named, count=len(named))
    for person in people:
        context.forget_person(decision.tenant, person)


async def people_behind(
    connection: Connection, after: UUID, *, before: datetime
) -> tuple[UUID | None, list[UUID], list[UUID]]:
    """Return the last patient of the next page, those with a key that was replaced, those whose key is old.

    The last is None where there is nobody left; old is a current key that was made before `before`.
    """
    rows = await connection.fetch(_PEOPLE, after, PEOPLE_PAGE, before)
    last = rows[-1]["id"] if rows else None
    return last, [row["id"] for row in rows if row["replaced"]], [row["id"] for row in rows if row["old"]]


async def destroy_generations(work: GateTransaction, people: Sequence[UUID]) -> int:
    """Destroy the replaced keys of these patients that nothing names; returns how many are left."""
    connection = work.connection
    await connection.fetch(_LOCK_PEOPLE, sorted(people))
    gone = tuple(dict.fromkeys(row["subject_id"] for row in await connection.fetch(_DESTROY_PEOPLES, list(people))))
    work.record(action=Action.KEY_DESTROYED, resource_type=KEY, resource_id=None, subjects=gone, count=len(gone))
    return int(await connection.fetchval(_LEFT, list(people)))


async def begin_epoch(work: GateTransaction, row: KeyRow) -> None:
    """Make `row` the current key of its purpose, before any further write; raises Conflict where it is not next."""
    connection = work.connection
    await connection.execute(_NEW_VERSIONS)
    epochs = await connection.fetch(_EPOCHS, row.purpose.value)
    if len(epochs) != 1 or epochs[0]["epoch"] + 1 != row.epoch:
        raise Conflict("Keys of this kind are being rotated already")
    await store_rows(connection, [row], tenant=work.decision.tenant)
    await connection.execute(_OLDER, row.purpose.value, row.epoch, "decrypt_only", ["active"])
    await connection.execute(_CHANGED)


async def epochs_of(connection: Connection, purpose: KeyPurpose) -> list[tuple[int, bytes, str]]:
    """Return (epoch, kid, state) of the keys of `purpose` that are not destroyed, the oldest first."""
    return [(row["epoch"], row["kid"], row["state"]) for row in await connection.fetch(_EPOCHS, purpose.value)]


def next_epoch(epochs: Sequence[tuple[int, bytes, str]]) -> int:
    """Return the number of the next key. Raises Conflict where no number is left."""
    newest = epochs[-1][0]
    if newest >= _LAST_EPOCH:
        raise Conflict("This tenant has had as many keys of this kind as there are numbers")
    return newest + 1


async def narrow(work: GateTransaction, target: int) -> None:
    """Tag under the newest epoch alone from now on: nothing is looked for under an older one any more."""
    connection = work.connection
    await connection.execute(_NEW_VERSIONS)
    await connection.execute(_OLDER, KeyPurpose.INDEX.value, target, "retired", ["decrypt_only"])
    await connection.execute(_CHANGED)
    work.record(action=Action.KEY_RETIRED, resource_type=TENANT_KEY, resource_id="index")


async def retire_index(work: GateTransaction, target: int) -> None:
    """Destroy the older epochs of the index key. Raises StillCarried where a tag of one is left."""
    if await work.connection.fetchval(_TAGGED, target):
        raise StillCarried
    await _destroy(work, KeyPurpose.INDEX, target)


async def retire_data(work: GateTransaction, target: int) -> None:
    """Destroy the older DATA keys. Raises StillCarried where something that is stored names one."""
    connection = work.connection
    await connection.execute(_NEW_VERSIONS)
    old = [kid for epoch, kid, _ in await epochs_of(connection, KeyPurpose.DATA) if epoch < target]
    if await connection.fetchval(_SEALED, old):
        raise StillCarried
    await _destroy(work, KeyPurpose.DATA, target)


async def _destroy(work: GateTransaction, purpose: KeyPurpose, target: int) -> None:
    await work.connection.execute(_DESTROY, purpose.value, target)
    await work.connection.execute(_CHANGED)
    work.record(action=Action.KEY_DESTROYED, resource_type=TENANT_KEY, resource_id=purpose.value.lower())
