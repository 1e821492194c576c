"""Proofs that are handed out: that one entry is in a log, and that a log's checkpoint stands under the root log.

Rule: nothing is handed out that was not checked here first, against a signature of ours: what tiles and tables hold is
not believed. A proof needs no trust in whoever hands it on: only the deployment's verifier key, known from elsewhere.

    c2sp.org/tlog-proof@v1
    extra <base64 of the entry>
    index <seq>
    <hash in base64, a line each, leaf end first>

    <the checkpoint, signed>
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto.errors import BadNote, BadProof
from wellkeep.crypto.merkle import inclusion_proof, leaf_hash, verify_consistency, verify_inclusion
from wellkeep.db.connection import Connection, Record
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, note
from wellkeep.ledger.seal import origin
from wellkeep.ledger.search import EVER, NEVER
from wellkeep.ledger.tile_store import TileStore

_ENTRY = """
SELECT e.epoch, e.seq, e.entry, l.origin, c.size, c.root, c.signature FROM ledger.entry AS e
LEFT JOIN ledger.log AS l ON l.tenant_id = e.tenant_id AND l.epoch = e.epoch
LEFT JOIN LATERAL (
    SELECT k.size, k.root, k.signature FROM ledger.checkpoint AS k
    WHERE k.tenant_id = e.tenant_id AND k.epoch = e.epoch AND k.size > e.seq ORDER BY k.size DESC LIMIT 1
) AS c ON true
WHERE e.tenant_id = $1 AND e.event_id = $2 AND e."time" >= $3 AND e."time" < $4
"""
_EXISTS = """
SELECT EXISTS (SELECT FROM ledger.entry WHERE tenant_id = $1 AND event_id = $2 AND "time" >= $3 AND "time" < $4)
"""
_NEWEST = """
SELECT c.epoch, l.origin, c.size, c.root, c.signature FROM ledger.checkpoint AS c
LEFT JOIN ledger.log AS l ON l.tenant_id = c.tenant_id AND l.epoch = c.epoch
WHERE c.tenant_id = $1 ORDER BY c.epoch DESC, c.size DESC LIMIT 1
"""
_COVERED = """
SELECT v.cover, v.size, v.root, c.signature FROM ledger.covered AS v
JOIN ledger.checkpoint AS c USING (tenant_id, epoch, size)
WHERE v.tenant_id = $1 AND v.epoch = $2 AND v.size <= $3 ORDER BY v.size DESC LIMIT 8
"""
_PAIRS = "SELECT tenant_id, epoch, size, root FROM ledger.cover_pairs($1)"


_UNIX: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLISECOND: Final = 253_400_000_000_000
"""In the year 9999."""
_BEFORE, _AFTER = timedelta(hours=1), timedelta(days=2)
"""How long before its id's time an entry can be, by clocks that differ, and how long after, as a rule."""


class NoEntry(Exception):  # not an error: the answer
    """There is no entry of such an event in the log."""


class Readers(NamedTuple):
    """Connections for one proof: one that may read the tenant's rows, and one that may read trees (`wk_ledger`)."""

    rows: Connection
    trees: Connection


class Signed(NamedTuple):
    """A stored checkpoint, its note, and the verifier key that it is checked with."""

    checkpoint: Checkpoint
    epoch: int
    note: bytes
    vkey: str


class EntryProof(NamedTuple):
    """That `entry` is the leaf `seq` of the log that `signed` is of."""

    entry: bytes
    seq: int
    hashes: tuple[bytes, ...]
    signed: Signed

    def text(self) -> bytes:
        """Return it as a C2SP tlog-proof."""
        lines = ["c2sp.org/tlog-proof@v1", f"extra {_base64(self.entry)}", f"index {self.seq}"]
        lines += [_base64(each) for each in self.hashes]
        return "\n".join([*lines, "", ""]).encode("ascii") + self.signed.note

    def document(self) -> dict[str, object]:
        """Return it as the API answers it."""
        return {
            "entry": _base64(self.entry),
            "index": self.seq,
            "size": self.signed.checkpoint.size,
            "hashes": [_base64(each) for each in self.hashes],
            "checkpoint": self.signed.note.decode("utf-8"),
            "vkey": self.signed.vkey,
            "log": self.signed.checkpoint.origin,
        }


class CoverProof(NamedTuple):
    """That `covered` stands under the root log: at `place` of `pairs` pairs, whose root the entry of `entry` says.

    `growth` proves that the log's newest checkpoint is a continuation of `covered`.
    """

    covered: Signed
    growth: tuple[bytes, ...]
    place: int
    pairs: int
    hashes: tuple[bytes, ...]
    entry: EntryProof

    def document(self) -> dict[str, object]:
        """Return it as the API answers it."""
        return {
            "checkpoint": self.covered.note.decode("utf-8"),
            "consistency": [_base64(each) for each in self.growth],
            "place": self.place,
            "count": self.pairs,
            "hashes": [_base64(each) for each in self.hashes],
            "entry": self.entry.document(),
        }


class _Event(msgspec.Struct, frozen=True):
    id: UUID
    digest: str = ""


class _Entry(msgspec.Struct, frozen=True):
    event: _Event
    log: str
    seq: int


def _times(event: UUID) -> Iterator[tuple[datetime, datetime]]:
    """Yield from when to when an event's entry is looked for: near the time that its id tells, then ever."""
    milliseconds = event.int >> 80
    if event.version == 7 and milliseconds < _LAST_MILLISECOND:  # noqa: PLR2004  # UUIDv7 alone tells a time
        made = _UNIX + timedelta(milliseconds=milliseconds)
        yield made - _BEFORE, made + _AFTER
    yield EVER, NEVER


async def is_there(rows: Connection, *, tenant: UUID, event: UUID) -> bool:
    """Say whether a tenant's ledger has an entry of that event; `rows` may read it."""
    for span in _times(event):
        if await rows.fetchval(_EXISTS, tenant, event, *span):
            return True
    return False


async def newest(readers: Readers, signers: Sequence[CheckpointSigner], tenant: UUID) -> Signed | None:
    """Return the newest checkpoint of a tenant's log; raises BadNote if it is none of ours."""
    row = await readers.rows.fetchrow(_NEWEST, tenant)
    return None if row is None else _stored(signers, row)


def _stored(signers: Sequence[CheckpointSigner], row: Record) -> Signed:
    checkpoint = Checkpoint(row["origin"], row["size"], row["root"])
    return _signed(signers, checkpoint, row["epoch"], row["signature"])


def _signed(signers: Sequence[CheckpointSigner], checkpoint: Checkpoint, epoch: int, signature: bytes) -> Signed:
    text = note(checkpoint, signature)
    for signer in signers:
        try:
            signer.verify(text, origin=checkpoint.origin)
        except BadNote:
            continue
        return Signed(checkpoint, epoch, text, signer.vkey(checkpoint.origin))
    raise BadNote("a stored checkpoint was not signed by a key of ours")


async def prove_entry(
    readers: Readers, signers: Sequence[CheckpointSigner], *, tenant: UUID, event: UUID
) -> EntryProof | None:
    """Return the proof of an event's entry, checked; None while no checkpoint covers it.

    Raises NoEntry where there is none, BadProof or BadNote where what is stored does not prove it.
    """
    row = None
    for span in _times(event):
        row = row or await readers.rows.fetchrow(_ENTRY, tenant, event, *span)
    if row is None:
        raise NoEntry
    if row["size"] is None:
        return None
    signed = _stored(signers, row)
    store = TileStore(readers.trees, tenant=tenant, epoch=signed.epoch)
    hashes = await store.inclusion(row["seq"], signed.checkpoint.size)
    proof = EntryProof(row["entry"], row["seq"], tuple(hashes), signed)
    _check(proof, event)
    return proof


def _check(proof: EntryProof, event: UUID) -> str:
    """Check a proof against its checkpoint, which was verified; return the digest that the event holds."""
    _, size, root = proof.signed.checkpoint
    verify_inclusion(leaf_hash(proof.entry), index=proof.seq, size=size, proof=proof.hashes, expected=root)
    said = msgspec.json.decode(proof.entry, type=_Entry)
    if (said.log, said.seq, said.event.id) != (proof.signed.checkpoint.origin, proof.seq, event):
        raise BadProof("the entry is of another place or event")
    return said.event.digest


async def covered(
    readers: Readers, signers: Sequence[CheckpointSigner], *, tenant: UUID, signed: Signed
) -> list[tuple[UUID, Signed]]:
    """Return the newest covers of a log up to `signed`, by event, each with what it covers. Raises BadNote."""
    name = signed.checkpoint.origin
    rows = await readers.rows.fetch(_COVERED, tenant, signed.epoch, signed.checkpoint.size)
    return [
        (cover, _signed(signers, Checkpoint(name, size, root), signed.epoch, signature))
        for cover, size, root, signature in rows
    ]


async def prove_cover(
    root: Readers,
    signers: Sequence[CheckpointSigner],
    *,
    tenant: UUID,
    signed: Signed,
    covers: Sequence[tuple[UUID, Signed]],
) -> CoverProof | None:
    """Return how `signed`, a tenant's checkpoint, stands under the root log; None while none of `covers` is signed.

    `root` reads the platform's rows. Raises BadProof or BadNote where what is stored does not prove it.
    """
    for cover, known in covers:
        try:
            entry = await prove_entry(root, signers, tenant=PLATFORM_TENANT, event=cover)
        except NoEntry:
            continue  # not chained yet
        if entry is not None:
            place, count, hashes = await _prove_place(root, entry, cover, known.checkpoint)
            growth = await _prove_growth(root, tenant, known, signed)
            return CoverProof(known, tuple(growth), place, count, tuple(hashes), entry)
    return None


async def _prove_place(
    root: Readers, entry: EntryProof, cover: UUID, known: Checkpoint
) -> tuple[int, int, list[bytes]]:
    """Return the place of a checkpoint among the pairs of a cover, how many those are, and the proof of it."""
    host = known.origin.partition("/ledger/")[0]
    rows = await root.trees.fetch(_PAIRS, cover)
    leaves = [
        leaf_hash(Checkpoint(origin(host, tenant, epoch), size, hashed).body().encode("ascii"))
        for tenant, epoch, size, hashed in rows
    ]
    leaf = leaf_hash(known.body().encode("ascii"))
    if leaf not in leaves:
        raise BadProof("a cover does not hold what it should")
    place = leaves.index(leaf)
    hashes = inclusion_proof(leaves, index=place)
    digest = bytes.fromhex(_check(entry, cover))
    verify_inclusion(leaf, index=place, size=len(leaves), proof=hashes, expected=digest)
    return place, len(leaves), hashes


async def _prove_growth(root: Readers, tenant: UUID, known: Signed, signed: Signed) -> list[bytes]:
    old, new = known.checkpoint, signed.checkpoint
    growth = await TileStore(root.trees, tenant=tenant, epoch=signed.epoch).consistency(old.size, new.size)
    verify_consistency(old_size=old.size, old_root=old.root, new_size=new.size, new_root=new.root, proof=growth)
    return growth


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
