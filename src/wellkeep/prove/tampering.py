"""What a hostile owner of the database does to the ledger: one function an attack, each on rows as they lie.

Used on a scratch deployment alone. The forger knows the format, recomputes every hash that needs no key, and mends
every table that it can; what it lacks is the SEAL key, which is outside the database.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from wellkeep.base.ids import uuid7
from wellkeep.crypto.merkle import Frontier, leaf_hash
from wellkeep.db.connection import Connection, Record

_TABLES = ("log", "entry", "seal", "entry_subject")
_KEEP = "CREATE TABLE wk_probe_kept.{0} AS SELECT * FROM ledger.{0}"
_PUT_BACK = "TRUNCATE ledger.{0}; INSERT INTO ledger.{0} SELECT * FROM wk_probe_kept.{0}"
_ENTRIES = "SELECT seq, entry FROM ledger.entry WHERE tenant_id = $1 AND epoch = 1 ORDER BY seq"
_SEALS = "SELECT size FROM ledger.seal WHERE tenant_id = $1 AND epoch = 1 ORDER BY size"

_EDIT = "UPDATE ledger.entry SET entry = $3, actor = $4 WHERE tenant_id = $1 AND seq = $2"
_REWRITE = "UPDATE ledger.entry SET entry = $3, leaf = $4 WHERE tenant_id = $1 AND seq = $2"
_RENAME = "UPDATE ledger.entry SET actor = $3 WHERE tenant_id = $1 AND seq = $2"
_DROP = "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = $2"
_RESEAL = "UPDATE ledger.seal SET leaf = $3, root = $4 WHERE tenant_id = $1 AND size = $2"
_UNSEAL = "DELETE FROM ledger.seal WHERE tenant_id = $1 AND size = $2"
_MOVE_HEAD = "UPDATE ledger.log SET size = $2, leaf = $3, frontier = $4 WHERE tenant_id = $1"
_RENUMBER = "UPDATE ledger.entry SET seq = $3 WHERE tenant_id = $1 AND seq = $2"
_ADD = """
INSERT INTO ledger.entry
SELECT (jsonb_populate_record(e, jsonb_build_object(
    'seq', $3::bigint, 'leaf', $4::text, 'entry', $5::text, 'event_id', $6::uuid))).*
FROM ledger.entry e WHERE e.tenant_id = $1 AND e.seq = $2
"""
_CUT = (
    "DELETE FROM ledger.entry_subject WHERE tenant_id = $1 AND seq >= $2",
    "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq >= $2",
    "DELETE FROM ledger.seal WHERE tenant_id = $1 AND size > $2",
)
_REMOVE = "DELETE FROM ledger.log WHERE tenant_id = $1"
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

_FORGED = "somebody"
_ASIDE = 10**12
"""A seq that no log reaches."""

Attack = Callable[[Connection, UUID, int], Awaitable[int]]
"""Attacks the log of a tenant at a seq in its middle; returns the first seq that it touched."""


@asynccontextmanager
async def undone(connection: Connection) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Keep a copy of the ledger's tables and lend what puts it back; the copy is dropped at the end."""
    await connection.execute("CREATE SCHEMA wk_probe_kept")
    try:
        for table in _TABLES:
            await connection.execute(_KEEP.format(table))

        async def put_back() -> None:
            async with connection.transaction():
                for table in _TABLES:
                    await connection.execute(_PUT_BACK.format(table))

        yield put_back
    finally:
        await connection.execute("DROP SCHEMA wk_probe_kept CASCADE")


async def edit(connection: Connection, tenant: UUID, seq: int) -> int:
    """Change who it was in one entry, in its column too."""
    entry = (await connection.fetch(_ENTRIES, tenant))[seq]["entry"]
    await connection.execute(_EDIT, tenant, seq, _forge(entry), _FORGED)
    return seq


async def edit_and_hash(connection: Connection, tenant: UUID, seq: int) -> int:
    """Change one entry, its column and its leaf, and leave the chain."""
    entry = _forge((await connection.fetch(_ENTRIES, tenant))[seq]["entry"])
    await connection.execute(_REWRITE, tenant, seq, entry, leaf_hash(entry))
    await connection.execute(_RENAME, tenant, seq, _FORGED)
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
    await connection.execute(_RENAME, tenant, seq, _FORGED)
    return seq


async def rewrite(connection: Connection, tenant: UUID, seq: int) -> int:
    """Change one entry and recompute all that follows: its column, links, leaves, roots, seals' contents, the head."""
    rows = await connection.fetch(_ENTRIES, tenant)
    sizes = {row["size"] for row in await connection.fetch(_SEALS, tenant)}
    frontier, previous = Frontier(), bytes(32)
    entries: list[tuple[object, ...]] = []
    seals: list[tuple[object, ...]] = []
    for row in rows:
        entry = _relink(_forge(row["entry"]) if row["seq"] == seq else row["entry"], previous)
        previous = leaf_hash(entry)
        frontier.append(previous)
        entries.append((tenant, row["seq"], entry, previous))
        if frontier.size in sizes:
            seals.append((tenant, frontier.size, previous, frontier.root()))
    await connection.executemany(_REWRITE, entries)
    await connection.executemany(_RESEAL, seals)
    await connection.execute(_RENAME, tenant, seq, _FORGED)
    await connection.execute(_MOVE_HEAD, tenant, frontier.size, previous, list(frontier.hashes))
    return seq


async def add(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Add an entry at the end that nobody wrote, and mend the head."""
    rows = await connection.fetch(_ENTRIES, tenant)
    frontier, previous = _grown(rows)
    size = frontier.size
    document = json.loads(rows[-1]["entry"])
    event_id = uuid7()
    document["event"]["id"] = str(event_id)
    entry = _canonical(document | {"prev": previous.hex(), "seq": size})
    leaf = leaf_hash(entry)
    frontier.append(leaf)
    await connection.execute(_ADD, tenant, size - 1, size, _text(leaf), _text(entry), event_id)
    await connection.execute(_MOVE_HEAD, tenant, frontier.size, leaf, list(frontier.hashes))
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
    frontier, previous = _grown(rows[:size])
    for statement in _CUT:
        await connection.execute(statement, tenant, size)
    await connection.execute(_MOVE_HEAD, tenant, size, previous, list(frontier.hashes))
    return size


async def forget_subject(connection: Connection, tenant: UUID, seq: int) -> int:
    """Hide from searches who looked at one patient."""
    touched: int = await connection.fetchval(_NEXT_SUBJECT, tenant, seq)
    for statement in _UNSUBJECT:
        await connection.execute(statement, tenant, touched)
    return touched


async def remove(connection: Connection, tenant: UUID, _seq: int) -> int:
    """Take the whole log away, with everything that leads to it."""
    for statement in _CUT:
        await connection.execute(statement, tenant, 0)
    await connection.execute(_REMOVE, tenant)
    return 0


ATTACKS: dict[str, Attack] = {
    "edited an entry": edit,
    "edited an entry and its hash": edit_and_hash,
    "dropped an entry": drop,
    "exchanged two entries": swap,
    "edited a search column": column,
    "rewrote the whole chain as the database's owner": rewrite,
    "added an entry that nobody wrote": add,
    "took the newest seal away": unseal,
    "cut the tail off inside a batch": cut_inside_batch,
    "hid who saw a patient": forget_subject,
}
"""What is done to a log that stays; `remove` is apart, because only the root log can tell of it."""


def _grown(rows: list[Record]) -> tuple[Frontier, bytes]:
    """Return the tree over the entries of `rows`, and the last leaf."""
    frontier, previous = Frontier(), bytes(32)
    for row in rows:
        previous = leaf_hash(row["entry"])
        frontier.append(previous)
    return frontier, previous


def _text(value: bytes) -> str:
    """Return `value` as PostgreSQL writes a bytea inside JSON."""
    return "\\x" + value.hex()


def _forge(entry: bytes) -> bytes:
    """Return the entry with another actor; canonical, as a careful forger would write it."""
    document = json.loads(entry)
    document["event"]["actor"]["id"] = _FORGED
    return _canonical(document)


def _relink(entry: bytes, previous: bytes) -> bytes:
    document = json.loads(entry)
    document["prev"] = previous.hex()
    return _canonical(document)


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


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
