"""What a hostile owner of the database does to the ledger: one function an attack, each on rows as they lie.

Used on a scratch deployment alone. The forger knows the format, recomputes every hash that needs no key, and mends
every table that it can; what it lacks are the keys of seals and checkpoints, which are outside the database.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from wellkeep.base.ids import uuid7
from wellkeep.crypto.merkle import leaf_hash
from wellkeep.db.connection import Connection, Record
from wellkeep.prove.forging import FORGED, canonical, change, cut, forged, relink, renumber

_TABLES = """
SELECT tablename FROM pg_tables WHERE schemaname = 'ledger' AND tablename !~ '^entry_[0-9]{4}' AND tablename <> 'turn'
"""
_KEEP = "CREATE TABLE {schema}.{table} AS SELECT * FROM ledger.{table}"
_CLEAR = "DELETE FROM ledger.{table}"
_PUT_BACK = "INSERT INTO ledger.{table} SELECT * FROM {schema}.{table}"

_ENTRIES = "SELECT seq, entry FROM ledger.entry WHERE tenant_id = $1 AND epoch = 1 ORDER BY seq"
_SEALS = "SELECT size FROM ledger.seal WHERE tenant_id = $1 AND epoch = 1 ORDER BY size"
_CHECKPOINTS = "SELECT size FROM ledger.checkpoint WHERE tenant_id = $1 AND epoch = 1 ORDER BY size"
_COVERED = "SELECT coalesce(max(size), 0) FROM ledger.covered WHERE tenant_id = $1 AND epoch = 1"
_REHASH = "UPDATE ledger.entry SET leaf = $3 WHERE tenant_id = $1 AND seq = $2"
_RENAME = "UPDATE ledger.entry SET actor = $3 WHERE tenant_id = $1 AND seq = $2"
_DROP = "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = $2"
_DROP_BESIDE = (
    "DELETE FROM ledger.entry_subject WHERE tenant_id = $1 AND seq = $2",
    "DELETE FROM ledger.seal WHERE tenant_id = $1 AND size - 1 = $2",
    "DELETE FROM ledger.checkpoint WHERE tenant_id = $1 AND size - 1 = $2",
    "DELETE FROM ledger.covered WHERE tenant_id = $1 AND size - 1 = $2",
)
_BEGINNING = (
    "DELETE FROM ledger.entry_subject WHERE tenant_id = $1 AND seq < $2",
    "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq < $2",
)
_UNSEAL = "DELETE FROM ledger.seal WHERE tenant_id = $1 AND size = $2"
_UNSIGN = "DELETE FROM ledger.checkpoint WHERE tenant_id = $1 AND size > $2"
_RENUMBER = "UPDATE ledger.entry SET seq = $3 WHERE tenant_id = $1 AND seq = $2"
_ADD = """
INSERT INTO ledger.entry
SELECT (jsonb_populate_record(e, jsonb_build_object(
    'seq', $3::bigint, 'leaf', $4::text, 'entry', $5::text, 'event_id', $6::uuid))).*
FROM ledger.entry e WHERE e.tenant_id = $1 AND e.seq = $2
"""
_ADD_SUBJECTS = """
INSERT INTO ledger.entry_subject
SELECT tenant_id, subject, epoch, $3, "time" FROM ledger.entry_subject WHERE tenant_id = $1 AND seq = $2
"""
_REMOVE = (
    "DELETE FROM ledger.entry_subject WHERE tenant_id = $1",
    "DELETE FROM ledger.entry WHERE tenant_id = $1",
    "DELETE FROM ledger.seal WHERE tenant_id = $1",
    "DELETE FROM ledger.checkpoint WHERE tenant_id = $1",
    "DELETE FROM ledger.tile WHERE tenant_id = $1",
    "DELETE FROM ledger.log WHERE tenant_id = $1",
)
_NEXT_SUBJECT = """
SELECT min(seq) FROM (
    SELECT seq FROM ledger.entry WHERE tenant_id = $1 AND seq >= $2 AND subject IS NOT NULL
    UNION ALL SELECT seq FROM ledger.entry_subject WHERE tenant_id = $1 AND seq >= $2
) AS named
"""
_UNSUBJECT = (
    "UPDATE ledger.entry SET subject = NULL WHERE tenant_id = $1 AND seq = $2",
    "DELETE FROM ledger.entry_subject WHERE tenant_id = $1 AND seq = $2",
)
_FORGE_TILE = """
UPDATE ledger.tile SET hashes = overlay(hashes PLACING $2 FROM 33) WHERE tenant_id = $1 AND level = 0 AND index = 0
"""
_FORGE_CHECKPOINT = "UPDATE ledger.checkpoint SET root = $3 WHERE tenant_id = $1 AND size = $2"
_FORGE_SIGNATURE = """
UPDATE ledger.checkpoint SET signature = overlay(signature PLACING sha256(signature) FROM 20)
WHERE tenant_id = $1 AND size = $2
"""
_FORGE_COVER = "UPDATE ledger.covered SET root = $3 WHERE tenant_id = $1 AND size = $2"
_ADD_COVER = """
INSERT INTO ledger.covered
SELECT tenant_id, epoch, size, root, $3, 0 FROM ledger.checkpoint WHERE tenant_id = $1 AND epoch = 1 AND size = $2
"""

_ASIDE = 10**12
"""A seq that no log reaches."""

Attack = Callable[[Connection, UUID, int], Awaitable[int]]
"""Attacks the log of a tenant at a seq in its middle; returns the first seq that it touched."""


@asynccontextmanager
async def kept(connection: Connection, schema: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Keep a copy of every table of the ledger in `schema` and lend what puts all of it back; dropped at the end."""
    await connection.execute(f"CREATE SCHEMA {schema}")
    try:
        tables = [row["tablename"] for row in await connection.fetch(_TABLES)]
        async with connection.transaction(isolation="repeatable_read"):
            for table in tables:
                await connection.execute(_KEEP.format(schema=schema, table=table))

        async def put_back() -> None:
            async with connection.transaction():
                for table in tables:
                    await connection.execute(_CLEAR.format(table=table))
                    await connection.execute(_PUT_BACK.format(schema=schema, table=table))

        yield put_back
    finally:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")


async def edit(connection: Connection, tenant: UUID, seq: int) -> int:
    """Change who it was in one entry, in its column too."""
    await change(connection, tenant, seq, forged)
    return seq


async def edit_and_hash(connection: Connection, tenant: UUID, seq: int) -> int:
    """Change one entry, its column and its leaf, and leave the chain."""
    await change(connection, tenant, seq, forged)
    entry = (await connection.fetch(_ENTRIES, tenant))[seq]["entry"]
    await connection.execute(_REHASH, tenant, seq, leaf_hash(entry))
    return seq


async def drop(connection: Connection, tenant: UUID, seq: int) -> int:
    """Take one entry out."""
    await connection.execute(_DROP, tenant, seq)
    return seq


async def swap(connection: Connection, tenant: UUID, seq: int) -> int:
    """Exchange two neighbours."""
    for before, after in ((seq, _ASIDE), (seq + 1, seq), (_ASIDE, seq + 1)):
        await _unchecked(connection, _RENUMBER, tenant, before, after)
    return seq


async def column(connection: Connection, tenant: UUID, seq: int) -> int:
    """Change what searches see, and leave the entry."""
    await connection.execute(_RENAME, tenant, seq, FORGED)
    return seq


async def rewrite(connection: Connection, tenant: UUID, seq: int) -> int:
    """Change one entry and recompute all that follows from it without a key."""
    await change(connection, tenant, seq, forged)
    await relink(connection, tenant, seq)
    return seq


async def drop_and_rewrite(connection: Connection, tenant: UUID, seq: int) -> int:
    """Take one entry out, close the gap, and recompute all that follows."""
    await connection.execute(_DROP, tenant, seq)
    for statement in _DROP_BESIDE:
        await connection.execute(statement, tenant, seq)
    await renumber(connection, tenant, seq + 1, -1)
    await relink(connection, tenant, seq)
    return seq


async def insert_and_rewrite(connection: Connection, tenant: UUID, seq: int) -> int:
    """Put an entry in that nobody wrote, make room for it, and recompute all that follows."""
    await renumber(connection, tenant, seq, 1)
    await _add(connection, tenant, seq + 1, seq)
    await relink(connection, tenant, seq)
    return seq


async def rewrite_the_unsigned_end(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Change the entry after the last checkpoint but one, take later ones away, and recompute what follows."""
    signed = [row["size"] for row in await connection.fetch(_CHECKPOINTS, tenant)]
    start = int(signed[-2])
    await connection.execute(_UNSIGN, tenant, start)
    await change(connection, tenant, start, forged)
    await relink(connection, tenant, start)
    return start


async def add(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Add an entry at the end that nobody wrote, and mend the head."""
    size = len(await connection.fetch(_ENTRIES, tenant))
    await _add(connection, tenant, size - 1, size)
    await relink(connection, tenant, size)
    return size


async def unseal(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Take the newest seal away."""
    sizes = [0, *(row["size"] for row in await connection.fetch(_SEALS, tenant))]
    await connection.execute(_UNSEAL, tenant, sizes[-1])
    return int(sizes[-2])


async def cut_inside_batch(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Cut the newest entries off in the middle of a sealed batch, and mend the head."""
    rows = await connection.fetch(_ENTRIES, tenant)
    size = _inside_a_batch(rows, [row["size"] for row in await connection.fetch(_SEALS, tenant)])
    await cut(connection, tenant, size)
    return size


async def cut_before_cover(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Cut the tail off where a batch ended, with later seals and checkpoints, back behind what the root log covers."""
    covered = await connection.fetchval(_COVERED, tenant)
    size = max(int(row["size"]) for row in await connection.fetch(_SEALS, tenant) if row["size"] < covered)
    await cut(connection, tenant, size)
    return size


async def cut_after_cover(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Cut off what no cover vouches for yet, where a batch ended, with later seals and checkpoints."""
    covered = await connection.fetchval(_COVERED, tenant)
    sizes = [row["size"] for row in await connection.fetch(_SEALS, tenant) if row["size"] >= covered]
    await cut(connection, tenant, sizes[0])
    return int(sizes[0])


async def forget_subject(connection: Connection, tenant: UUID, seq: int) -> int:
    """Hide from searches who looked at one patient."""
    touched: int = await connection.fetchval(_NEXT_SUBJECT, tenant, seq)
    for statement in _UNSUBJECT:
        await connection.execute(statement, tenant, touched)
    return touched


async def drop_beginning(connection: Connection, tenant: UUID, seq: int) -> int:
    """Take the beginning away as pruning does, seals, tiles and head staying, and put no prune on record."""
    for statement in _BEGINNING:
        await connection.execute(statement, tenant, seq)
    return 0


async def forge_tile(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Change a hash in a stored tile."""
    await connection.execute(_FORGE_TILE, tenant, leaf_hash(b""))
    return 0


async def forge_checkpoint(connection: Connection, tenant: UUID, seq: int) -> int:
    """Change the root of a stored checkpoint, and leave its signature."""
    size = min(row["size"] for row in await connection.fetch(_CHECKPOINTS, tenant) if row["size"] > seq)
    await connection.execute(_FORGE_CHECKPOINT, tenant, size, leaf_hash(b""))
    return int(size) - 1


async def forge_signature(connection: Connection, tenant: UUID, seq: int) -> int:
    """Put a signature that no key of ours made under a stored checkpoint, whose root is right."""
    size = min(row["size"] for row in await connection.fetch(_CHECKPOINTS, tenant) if row["size"] > seq)
    await connection.execute(_FORGE_SIGNATURE, tenant, size)
    return int(size) - 1


async def forge_cover(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Change which root the root log vouches for."""
    size = await connection.fetchval(_COVERED, tenant)
    await connection.execute(_FORGE_COVER, tenant, size, leaf_hash(b""))
    return int(size) - 1


async def add_cover(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Have a checkpoint covered by an entry of the root log that is not there."""
    size = (await connection.fetch(_CHECKPOINTS, tenant))[-1]["size"]
    await connection.execute(_ADD_COVER, tenant, size, uuid7())
    return int(size) - 1


async def remove(connection: Connection, tenant: UUID) -> None:
    """Take the whole log away, with everything that leads to it."""
    for statement in _REMOVE:
        await connection.execute(statement, tenant)


ATTACKS: dict[str, Attack] = {
    "edited an entry": edit,
    "edited an entry and its hash": edit_and_hash,
    "dropped an entry": drop,
    "exchanged two entries": swap,
    "edited a search column": column,
    "edited an entry and recomputed the chain as the database's owner": rewrite,
    "dropped an entry and recomputed the chain": drop_and_rewrite,
    "inserted an entry and recomputed the chain": insert_and_rewrite,
    "rewrote what came after the last checkpoint": rewrite_the_unsigned_end,
    "added an entry that nobody wrote": add,
    "took the newest seal away": unseal,
    "cut the tail off inside a batch": cut_inside_batch,
    "cut the tail off where a batch ended, later seals and checkpoints too": cut_before_cover,
    "hid who saw a patient": forget_subject,
    "dropped the beginning of a log without a prune on record": drop_beginning,
    "changed a tile": forge_tile,
    "changed a checkpoint's root": forge_checkpoint,
    "put another signature under a checkpoint": forge_signature,
    "changed a pair under a cover": forge_cover,
    "added a pair to no cover": add_cover,
}
"""What is done to one log and found in the database itself."""


async def _add(connection: Connection, tenant: UUID, source: int, seq: int) -> None:
    """Add a copy of the entry `source` under an id of its own."""
    row = next(row for row in await connection.fetch(_ENTRIES, tenant) if row["seq"] == source)
    document = json.loads(row["entry"])
    event_id = uuid7()
    document["event"]["id"] = str(event_id)
    entry = canonical(document | {"seq": seq})
    await connection.execute(_ADD, tenant, source, seq, _text(leaf_hash(entry)), _text(entry), event_id)
    await connection.execute(_ADD_SUBJECTS, tenant, source, seq)


def _text(value: bytes) -> str:
    """Return `value` as PostgreSQL writes a bytea inside JSON."""
    return "\\x" + value.hex()


def _inside_a_batch(rows: list[Record], sizes: list[int]) -> int:
    """Return a size that no seal is for: inside the last batch that holds more than one entry."""
    for size, before in zip(reversed(sizes), [*reversed(sizes[:-1]), 0], strict=True):
        if size - before > 1:
            return size - 1
    return len(rows) - 1


async def _unchecked(connection: Connection, sql: str, *values: object) -> None:
    """Run a statement with checks and triggers off, as a superuser can."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(sql, *values)
