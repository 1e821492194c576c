"""What a careful forger does after changing a log: recomputes all that needs no key, and with stolen keys the rest.

Used on a scratch deployment alone. Links, leaves, tiles, roots, what seals and checkpoints say, the head: all of it
fits together again. MACs and signatures need keys that are not in the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.clock import iso
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto.merkle import Frontier, leaf_hash
from wellkeep.db.connection import Connection, Record
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner
from wellkeep.ledger.cover import cover_root
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.tiles import WIDTH, perfect_root

FORGED = "somebody"
_ASIDE = 10**12
"""A seq that no log reaches."""

_ENTRIES = "SELECT seq, entry FROM ledger.entry WHERE tenant_id = $1 AND epoch = 1 ORDER BY seq"
_ORIGIN = "SELECT origin FROM ledger.log WHERE tenant_id = $1 AND epoch = 1"
_MARKS = """
SELECT size FROM ledger.seal WHERE tenant_id = $1 AND epoch = 1
UNION SELECT size FROM ledger.checkpoint WHERE tenant_id = $1 AND epoch = 1
UNION SELECT size FROM ledger.covered WHERE tenant_id = $1 AND epoch = 1
ORDER BY size
"""
_REWRITE = """
UPDATE ledger.entry AS e SET entry = f.entry, leaf = f.leaf
FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS f (seq, entry, leaf) WHERE e.tenant_id = $1 AND e.seq = f.seq
"""
_RESEAL = """
UPDATE ledger.seal AS s SET leaf = f.leaf, root = f.root
FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS f (size, leaf, root) WHERE s.tenant_id = $1 AND s.size = f.size
"""
_RESIGN = """
UPDATE ledger.checkpoint AS c SET root = f.root
FROM unnest($2::bigint[], $3::bytea[]) AS f (size, root) WHERE c.tenant_id = $1 AND c.size = f.size
"""
_RECOVER = """
UPDATE ledger.covered AS c SET root = f.root
FROM unnest($2::bigint[], $3::bytea[]) AS f (size, root) WHERE c.tenant_id = $1 AND c.size = f.size
"""
_MAC = "UPDATE ledger.seal SET key_id = $3, mac = $4 WHERE tenant_id = $1 AND size = $2"
_SIGNATURE = "UPDATE ledger.checkpoint SET signature = $3 WHERE tenant_id = $1 AND size = $2"
_TILE = "UPDATE ledger.tile SET hashes = $3, root = $4 WHERE tenant_id = $1 AND level = 0 AND index = $2"
_MOVE_HEAD = """
UPDATE ledger.log SET size = $2::bigint, leaf = $3, frontier = $4,
  "time" = (SELECT e."time" FROM ledger.entry AS e WHERE e.tenant_id = $1 AND e.seq = $2::bigint - 1)
WHERE tenant_id = $1
"""
_CUT = (
    "DELETE FROM ledger.entry_subject WHERE tenant_id = $1 AND seq >= $2",
    "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq >= $2",
    "DELETE FROM ledger.seal WHERE tenant_id = $1 AND size > $2",
    "DELETE FROM ledger.checkpoint WHERE tenant_id = $1 AND size > $2",
    "DELETE FROM ledger.tile WHERE tenant_id = $1 AND (index + 1) * (256::bigint ^ (level + 1)) > $2",
)
_RENUMBER = (
    "UPDATE ledger.entry SET seq = seq + $3 WHERE tenant_id = $1 AND seq >= $2",
    "UPDATE ledger.entry_subject SET seq = seq + $3 WHERE tenant_id = $1 AND seq >= $2",
    "UPDATE ledger.seal SET size = size + $3 WHERE tenant_id = $1 AND size > $2",
    "UPDATE ledger.checkpoint SET size = size + $3 WHERE tenant_id = $1 AND size > $2",
    "UPDATE ledger.covered SET size = size + $3 WHERE tenant_id = $1 AND size > $2",
)
_COVERS = """
SELECT e.seq, e.entry, e.event_id FROM ledger.entry AS e
WHERE e.tenant_id = $1 AND e.action = 'ledger.covered'
  AND EXISTS (SELECT FROM ledger.covered AS c WHERE c.cover = e.event_id AND c.tenant_id = $2) ORDER BY e.seq
"""
_PAIRS = """
SELECT l.origin, c.size, c.root FROM ledger.covered AS c JOIN ledger.log AS l USING (tenant_id, epoch)
WHERE c.cover = $1 ORDER BY c.place
"""
_PUT = "UPDATE ledger.entry SET entry = $3 WHERE tenant_id = $1 AND seq = $2"
_LEAVE_OUT = "DELETE FROM ledger.covered WHERE cover = $1 AND tenant_id = $2"
_VOUCHED = "SELECT max(size) FROM ledger.covered WHERE tenant_id = $1 AND epoch = 1"
_FROM = 'SELECT seq, entry, "time" FROM ledger.entry WHERE tenant_id = $1 AND epoch = 1 AND seq >= $2 ORDER BY seq'
_POSTPONE = 'UPDATE ledger.entry SET entry = $3, "time" = $4 WHERE tenant_id = $1 AND seq = $2'


@dataclass(frozen=True, slots=True)
class Stolen:
    """The deployment's keys for seals and checkpoints, in a thief's hands."""

    seal: SealKey
    signer: CheckpointSigner


class Rebuilt(NamedTuple):
    """A log as it was put together again: its leaves, and leaf and root at each size that something is said of."""

    leaves: list[bytes]
    marks: dict[int, tuple[bytes, bytes]]
    frontier: Frontier


def canonical(document: object) -> bytes:
    """Return the bytes of a document as the ledger has them."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def forged(entry: bytes) -> bytes:
    """Return the entry with another actor; canonical, as a careful forger would write it."""
    document = json.loads(entry)
    document["event"]["actor"]["id"] = FORGED
    return canonical(document)


async def cut(connection: Connection, tenant: UUID, size: int) -> None:
    """Take away the entries beyond `size`, later seals, checkpoints and tiles too, and mend the head."""
    for statement in _CUT:
        await connection.execute(statement, tenant, size)
    await relink(connection, tenant, size)


async def renumber(connection: Connection, tenant: UUID, seq: int, by: int) -> None:
    """Move the entries from `seq` on, and what is said of sizes beyond it, by `by` places."""
    for statement in _RENUMBER:
        # In two steps: the primary key is checked row by row.
        await connection.execute(statement, tenant, seq, _ASIDE)
        await connection.execute(statement, tenant, seq + _ASIDE, by - _ASIDE)


async def relink(connection: Connection, tenant: UUID, start: int, stolen: Stolen | None = None) -> None:
    """Recompute everything from the entry `start` on, which was changed; with `stolen` keys MACs and signatures too."""
    origin: str = await connection.fetchval(_ORIGIN, tenant)
    built = await _rebuild(connection, tenant, start)
    after = {size: mark for size, mark in built.marks.items() if size > start}
    sizes, leaves, roots = list(after), [leaf for leaf, _ in after.values()], [root for _, root in after.values()]
    await connection.execute(_RESEAL, tenant, sizes, leaves, roots)
    await connection.execute(_RESIGN, tenant, sizes, roots)
    await connection.execute(_RECOVER, tenant, sizes, roots)
    for number in range(start // WIDTH, len(built.leaves) // WIDTH):
        hashes = built.leaves[number * WIDTH : (number + 1) * WIDTH]
        await connection.execute(_TILE, tenant, number, b"".join(hashes), perfect_root(hashes))
    await connection.execute(_MOVE_HEAD, tenant, len(built.leaves), built.leaves[-1], list(built.frontier.hashes))
    if stolen is not None:
        await _sign(connection, tenant, origin, after, stolen)


async def rebuild_with(stolen: Stolen, connection: Connection, tenant: UUID, seq: int) -> None:
    """Change one entry of a tenant and rebuild its log, and the root log that vouches for it, with stolen keys."""
    await change(connection, tenant, seq, forged)
    await relink(connection, tenant, seq, stolen)
    covers = await connection.fetch(_COVERS, PLATFORM_TENANT, tenant)
    for cover in covers:
        await _retell(connection, cover)
    if covers:
        await relink(connection, PLATFORM_TENANT, covers[0]["seq"], stolen)


async def leave_out_with(stolen: Stolen, connection: Connection, tenant: UUID, by: timedelta) -> int:
    """Take a tenant's pair from the newest cover, have that cover made `by` later, and rebuild with stolen keys.

    Return the first seq of the tenant's log that nothing vouches for then.
    """
    *_, cover = await connection.fetch(_COVERS, PLATFORM_TENANT, tenant)
    await connection.execute(_LEAVE_OUT, cover["event_id"], tenant)
    await _retell(connection, cover)
    for row in await connection.fetch(_FROM, PLATFORM_TENANT, cover["seq"]):
        later = row["time"] + by
        entry = canonical(json.loads(row["entry"]) | {"time": iso(later)})
        await connection.execute(_POSTPONE, PLATFORM_TENANT, row["seq"], entry, later)
    await relink(connection, PLATFORM_TENANT, cover["seq"], stolen)
    seq: int = await connection.fetchval(_VOUCHED, tenant)
    return seq


async def change(connection: Connection, tenant: UUID, seq: int, how: Callable[[bytes], bytes]) -> None:
    """Change one entry and its column, and nothing that follows from it."""
    entry = (await connection.fetch(_ENTRIES, tenant))[seq]["entry"]
    await connection.execute(
        "UPDATE ledger.entry SET entry = $3, actor = $4 WHERE tenant_id = $1 AND seq = $2",
        tenant,
        seq,
        how(entry),
        FORGED,
    )


async def _retell(connection: Connection, cover: Record) -> None:
    """Have the entry of a cover say of its pairs what they are now."""
    pairs = [Checkpoint(*pair) for pair in await connection.fetch(_PAIRS, cover["event_id"])]
    document = json.loads(cover["entry"])
    document["event"] |= {"count": len(pairs), "digest": cover_root(pairs).hex()}
    await connection.execute(_PUT, PLATFORM_TENANT, cover["seq"], canonical(document))


async def _rebuild(connection: Connection, tenant: UUID, start: int) -> Rebuilt:
    frontier, previous = Frontier(), bytes(32)
    leaves: list[bytes] = []
    entries: list[bytes] = []
    marked = {row["size"] for row in await connection.fetch(_MARKS, tenant)}
    marks: dict[int, tuple[bytes, bytes]] = {}
    for seq, row in enumerate(await connection.fetch(_ENTRIES, tenant)):
        entry = row["entry"]
        if seq >= start:
            entry = _placed(entry, seq, previous)
            entries.append(entry)
        previous = leaf_hash(entry)
        leaves.append(previous)
        frontier.append(previous)
        if frontier.size in marked:
            marks[frontier.size] = (previous, frontier.root())
    if entries:
        seqs = list(range(start, len(leaves)))
        await connection.execute(_REWRITE, tenant, seqs, entries, leaves[start:])
    return Rebuilt(leaves, marks, frontier)


async def _sign(
    connection: Connection, tenant: UUID, origin: str, marks: dict[int, tuple[bytes, bytes]], stolen: Stolen
) -> None:
    for size, (leaf, root) in marks.items():
        mac = stolen.seal.mac(origin=origin, size=size, leaf=leaf, root=root)
        signature = stolen.signer.signature(Checkpoint(origin, size, root))
        await connection.execute(_MAC, tenant, size, stolen.seal.key_id, mac)
        await connection.execute(_SIGNATURE, tenant, size, signature)


def _placed(entry: bytes, seq: int, previous: bytes) -> bytes:
    """Return the entry with another place: its seq, and the leaf before it."""
    document = json.loads(entry)
    return canonical(document | {"prev": previous.hex(), "seq": seq})
