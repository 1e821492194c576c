"""Replay: what the ledger says was stored, against what is stored.

An older envelope that is put back opens without complaint: it is authentic, only not the newest. The ledger knows
better. The entry of every change carries the digest of the ciphertexts that it stored, and every stored state names the
event that made it. So two walks find what no key can: over the entries (a state that is gone, or whose ciphertexts are
other ones) and over the states (one that no entry knows, one that is out of its order). Findings name places alone.

Streaming: a page of entries or of states at a time. A state younger than a minute may still wait to be chained and is
left to the next replay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import msgspec

from wellkeep.crypto import envelope
from wellkeep.crypto.errors import CryptoError
from wellkeep.db.connection import Connection, Record
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.grammar import unpack_id
from wellkeep.vault.calls import NIL
from wellkeep.vault.context import Context

_PAGE = 200
_MOST_DIFFERENCES = 1_000
_YOUNG = timedelta(seconds=60)
_SINGLE = ("record.create", "record.change", "record.delete")
_MANY = ("record.batch", "record.import")
_ENTRIES = """
SELECT e.epoch, e.seq, e.event_id, e.action, e.entry FROM ledger.entry e
WHERE (e.epoch, e.seq) > ($1, $2) AND e.outcome = 'done' AND e.action = ANY($3::text[])
ORDER BY e.epoch, e.seq LIMIT $4
"""
_STATES_OF = """
SELECT r.event_id, r.collection_id, r.id, r.revision, r.field_ids, r.sealed::bytea[] AS sealed
FROM vault.record r WHERE r.event_id = ANY($1::uuid[])
UNION ALL
SELECT v.event_id, v.collection_id, v.record_id, v.revision, v.field_ids, v.sealed::bytea[]
FROM vault.revision v WHERE v.event_id = ANY($1::uuid[])
"""
_UNKNOWN = """
SELECT s.collection_id, s.id,
       NOT EXISTS (SELECT FROM ledger.event_id k WHERE k.tenant_id = s.tenant_id AND k.event_id = s.event_id)
         AS unknown,
       EXISTS (SELECT FROM vault.revision v WHERE v.tenant_id = s.tenant_id AND v.collection_id = s.collection_id
                 AND v.record_id = s.id AND v.revision >= s.revision) AS older,
       s.revision
FROM (
  SELECT r.tenant_id, r.collection_id, r.id, r.event_id, r.revision FROM vault.record r
  WHERE (r.collection_id, r.id) > ($1, $2) AND r.updated_at < $3 ORDER BY r.collection_id, r.id LIMIT $4
) s
"""


class _Event(msgspec.Struct):
    digest: str | None = None
    records: tuple[str, ...] = ()
    revision: int | None = None


class _Entry(msgspec.Struct):
    event: _Event


_decode = msgspec.json.Decoder(_Entry).decode


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where ledger and store differ: `what` is gone, altered, unknown or older."""

    what: str
    event: UUID | None = None
    collection: int | None = None
    record: UUID | None = None
    revision: int | None = None


@dataclass(slots=True)
class Replayed:
    """What a replay saw; at most 1,000 differences are listed, `differing` counts all of them."""

    entries: int = 0
    states: int = 0
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the store is what the ledger says."""
        return self.differing == 0

    def add(self, difference: Difference) -> None:
        """Count a difference, and list it while there is room."""
        self.differing += 1
        if len(self.differences) < _MOST_DIFFERENCES:
            self.differences.append(difference)


class Replay:
    """Compares one tenant's records with its ledger; a job runs it, nobody is shown anything that was sealed."""

    def __init__(self, context: Context, *, pool: Pool) -> None:
        """Read over `pool` (wk_app's), report through the context's findings."""
        self._findings: Findings = context.findings
        self._clock = context.clock
        self._pool = pool

    async def run(self, tenant: UUID) -> Replayed:
        """Walk entries and states, report each difference, and return what was seen. Raises DatabaseUnavailable."""
        result = Replayed()
        place: tuple[int, int] | None = (-1, -1)
        while place is not None:
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                place = await _entries(connection, place, result)
        after: tuple[int, UUID] | None = (0, NIL)
        while after is not None:
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                after = await self._states(connection, after, result)
        for difference in result.differences:
            self._report(tenant, difference)
        return result

    async def _states(
        self, connection: Connection, after: tuple[int, UUID], result: Replayed
    ) -> tuple[int, UUID] | None:
        rows = await connection.fetch(_UNKNOWN, *after, self._clock.now() - _YOUNG, _PAGE)
        for row in rows:
            result.states += 1
            for what in ("unknown", "older"):
                if row[what]:
                    result.add(
                        Difference(what, collection=row["collection_id"], record=row["id"], revision=row["revision"])
                    )
        return (rows[-1]["collection_id"], rows[-1]["id"]) if len(rows) == _PAGE else None

    def _report(self, tenant: UUID, difference: Difference) -> None:
        parts = [part for part in (difference.collection, difference.record, difference.event) if part is not None]
        detail: dict[str, str | int] = {"what": difference.what}
        if difference.event is not None:
            detail["event"] = str(difference.event)
        if difference.record is not None:
            detail["record"] = str(difference.record)
        if difference.collection is not None:
            detail["collection"] = difference.collection
        if difference.revision is not None:
            detail["revision"] = difference.revision
        self._findings.note(
            tenant,
            kind=Kind.REVISION_REPLAYED,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.REVISION_REPLAYED, *parts),
            detail=detail,
        )


async def _entries(connection: Connection, after: tuple[int, int], result: Replayed) -> tuple[int, int] | None:
    rows = await connection.fetch(_ENTRIES, *after, [*_SINGLE, *_MANY], _PAGE)
    stored = await connection.fetch(_STATES_OF, [row["event_id"] for row in rows])
    states: dict[UUID, list[Record]] = {}
    for state in stored:
        states.setdefault(state["event_id"], []).append(state)
    for row in rows:
        result.entries += 1
        _compare(row, states.get(row["event_id"], []), result)
    return (rows[-1]["epoch"], rows[-1]["seq"]) if len(rows) == _PAGE else None


def _compare(entry: Record, states: Sequence[Record], result: Replayed) -> None:
    """Compare one entry with the states that name its event."""
    event = _decode(entry["entry"]).event
    named = [unpack_id("records", text) for text in event.records]
    digests = {state["id"]: _digest(state) for state in states}
    if set(digests) != set(named) or len(states) != len(named):
        _report_missing(entry, named, digests.keys(), result)
        return
    if not named:
        # The end of an import, or a batch that found every line stored as it was.
        right = event.digest is None
    elif entry["action"] in _SINGLE:
        found = digests[named[0]]
        right = found.hex() == event.digest and states[0]["revision"] == event.revision
    else:
        joined = b"".join(record.bytes + digests[record] for record in named)
        right = hashlib.sha256(joined).hexdigest() == event.digest
    if not right:
        result.add(_difference("altered", entry, states))


def _report_missing(entry: Record, named: Sequence[UUID], stored: AbstractSet[UUID], result: Replayed) -> None:
    """Add a difference for each record that the entry names and no state belongs to, or the reverse."""
    strays: list[UUID | None] = [*sorted(set(named) ^ stored)]
    for record in strays or [None]:
        result.add(Difference("gone", event=entry["event_id"], record=record))


def _digest(state: Record) -> bytes:
    """Return the digest of a stored state; none for what can't have been stored by us."""
    try:
        return envelope.digest(state["id"].bytes, zip(state["field_ids"], state["sealed"], strict=True))
    except (CryptoError, ValueError):
        return b""


def _difference(what: str, entry: Record, states: Sequence[Record]) -> Difference:
    """Name the place: the record too, where the entry is about one."""
    if len(states) != 1:
        return Difference(what, event=entry["event_id"])
    (state,) = states
    return Difference(
        what,
        event=entry["event_id"],
        collection=state["collection_id"],
        record=state["id"],
        revision=state["revision"],
    )
