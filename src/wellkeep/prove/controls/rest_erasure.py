"""rest.erasure: erased data is gone from the backups too, for its key is destroyed.

A base backup with WAL is taken by PostgreSQL's own program before the erasure, and started raw by PostgreSQL after it.
What is in it is opened with the key services of today, as whoever stole it and broke into them would: before the
certificate's date it must open, or the probe could not see; after it not one field may. The date is brought forward:
the epoch rolls and its key is destroyed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import Core
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.crypto import wrap
from wellkeep.crypto.envelope import envelope_kid, open_one
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import SubjectKey
from wellkeep.db.connection import Connection, Record
from wellkeep.keys.rotation import Tier
from wellkeep.keys.rows import key_row, open_row
from wellkeep.prove import raw_restore
from wellkeep.prove.canary import Pattern
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import NOTES, PEOPLE, person
from wellkeep.prove.scan import Scanner
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.stores import scan_database
from wellkeep.prove.world import World

_RECORDS = f"/v1/collections/{PEOPLE}/records"
_LOOKS = 300
_LOOK_SECONDS = 0.2
_WRAPS = """
SELECT purpose, epoch, kid, commit_hash, wrapped, kms_epoch, root, state FROM keys.tenant_key
WHERE tenant_id = $1 AND purpose = 'WRAP' AND state <> 'destroyed'
"""
_SUBJECT_KEYS = """
SELECT generation, kid, wrapped, wrap_epoch FROM keys.subject_key WHERE tenant_id = $1 AND subject_id = $2
"""
_FIELDS = """
SELECT r.collection_id, r.id, u.field, u.sealed::bytea AS sealed
FROM vault.record r, unnest(r.field_ids, r.sealed::bytea[]) AS u(field, sealed)
WHERE r.tenant_id = $1 AND r.subject_id = $2
UNION ALL
SELECT v.collection_id, v.record_id, u.field, u.sealed::bytea
FROM vault.record r JOIN vault.revision v ON v.tenant_id = r.tenant_id AND v.collection_id = r.collection_id
  AND v.record_id = r.id, unnest(v.field_ids, v.sealed::bytea[]) AS u(field, sealed)
WHERE r.tenant_id = $1 AND r.subject_id = $2
"""
_TAGS = """
SELECT DISTINCT u.tag FROM vault.record r, unnest(r.tags) AS u(tag)
WHERE r.tenant_id = $1 AND r.subject_id = $2 AND NOT EXISTS (
  SELECT FROM vault.record o WHERE o.tenant_id = $1 AND o.subject_id IS DISTINCT FROM $2 AND u.tag = ANY (o.tags))
"""


@dataclass(frozen=True, slots=True)
class _Needle:
    """Bytes that must stand nowhere any more."""

    name: str
    value: bytes

    def patterns(self) -> Iterator[Pattern]:
        """Yield the bytes as they are stored."""
        yield Pattern(canary=self.name, encoding="as stored", needle=self.value)


@dataclass(frozen=True, slots=True)
class _Stolen:
    """What a backup holds of one patient."""

    tenant: UUID
    subject: UUID
    wraps: list[Record]
    keys: list[Record]
    fields: list[Record]
    tags: list[Record]

    def needles(self) -> list[_Needle]:
        """Return what must be gone from the live database: keys, their ids, ciphertexts and tags."""
        found = [("a wrapped key", bytes(row["wrapped"])) for row in self.keys]
        found += [("a key's id", bytes(row["kid"])) for row in self.keys]
        found += [("a ciphertext", bytes(row["sealed"])[20:]) for row in self.fields]
        found += [("a search tag", bytes(row["tag"])) for row in self.tags]
        return [_Needle(name, value) for name, value in found]


async def run(world: World, notes: Notes) -> None:
    """Steal a backup, erase a patient, and open the backup before and after the epoch's key is destroyed."""
    scratch = await world.scratch()
    client = await scratch.client(scratch.a.keys["integration"])
    officer = await scratch.client(scratch.a.keys["privacy_officer"])
    gone, staying = [await _lived(client, person(family=f"probe {uuid7().hex}")) for _ in range(2)]
    folder = await raw_restore.taken(scratch)
    erased = await officer.delete(f"/v1/subjects/{gone['subject']}")
    notes.check("erased one of two patients", held=erased.is_success, seen=f"HTTP {erased.status_code}")
    async with raw_restore.started(scratch, folder) as backup:
        stolen = await _stolen(backup, scratch.a.id, UUID(gone["subject"]))
    await _live(scratch, stolen, client, gone["id"], notes)
    await _opened(scratch.operator.core, stolen, notes, expected=True)
    await _certified(officer, gone["subject"], notes, state="recoverable")
    await _destroyed(scratch, max(int(row["kms_epoch"]) for row in stolen.wraps))
    await _opened(scratch.operator.core, stolen, notes, expected=False)
    await _certified(officer, gone["subject"], notes, state="effective")
    kept = await client.get(f"{_RECORDS}/{staying['id']}")
    notes.check("read the other patient", held=kept.is_success, seen=f"HTTP {kept.status_code}")


async def _lived(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """Make a patient with a history and a note."""
    made = await created(client, _RECORDS, body)
    changed = await client.patch(
        f"{_RECORDS}/{made['id']}", json={"fields": {"history": "changed"}}, headers={"If-Match": '"1"'}
    )
    if not changed.is_success:
        raise Unseen(f"what the probe needs could not be changed (HTTP {changed.status_code})")
    note = {"subject": made["subject"], "fields": {"body": "a note"}}
    await created(client, f"/v1/collections/{NOTES}/records", note)
    return made


async def _stolen(backup: Connection, tenant: UUID, subject: UUID) -> _Stolen:
    found = _Stolen(
        tenant,
        subject,
        await backup.fetch(_WRAPS, tenant),
        await backup.fetch(_SUBJECT_KEYS, tenant, subject),
        await backup.fetch(_FIELDS, tenant, subject),
        await backup.fetch(_TAGS, tenant, subject),
    )
    if not (found.wraps and found.keys and found.fields and found.tags):
        raise Unseen("the backup does not hold the patient")
    return found


async def _live(scratch: Scratch, stolen: _Stolen, client: httpx.AsyncClient, record: str, notes: Notes) -> None:
    """Look for what the backup holds in every table of the live database, and ask for the record."""
    async with scratch.as_superuser() as connection:
        result = await scan_database(connection, Scanner(stolen.needles()))
    notes.check(
        "looked through every table for their keys, ciphertexts and search tags",
        held=not result.hits,
        seen=f"{len(stolen.needles())} of them in {result.bytes:,} bytes: {len(result.hits)} found",
    )
    read = await client.get(f"{_RECORDS}/{record}")
    gone = read.status_code == httpx.codes.GONE
    notes.check("read the erased record", held=gone, seen=f"HTTP {read.status_code}")


async def _opened(core: Core, stolen: _Stolen, notes: Notes, *, expected: bool) -> None:
    """Open what was stolen with the root and the epochs of now."""
    wraps: dict[int, wrap.WrapKey] = {}
    for row in stolen.wraps:
        with suppress(WellkeepError):
            root = core.roots.named(stolen.tenant, row["root"])
            opened = await open_row(key_row(row), root, core.epochs, tenant=stolen.tenant)
            wraps[row["epoch"]] = wrap.WrapKey(opened.secret)
    keys = _subject_keys(stolen, wraps)
    fields = sum(_opens(keys, row, stolen.tenant) for row in stolen.fields)
    when = "before the epoch's key is destroyed" if expected else "after it"
    notes.check(
        f"opened the stolen backup with the key services of today, {when}",
        held=fields == (len(stolen.fields) if expected else 0),
        seen=f"{fields} of {len(stolen.fields)} fields open{', as they must: the probe can see' if expected else ''}",
    )


def _subject_keys(stolen: _Stolen, wraps: dict[int, wrap.WrapKey]) -> Sequence[SubjectKey]:
    found = []
    for row in stolen.keys:
        context = wrap.subject_key_context(
            tenant=stolen.tenant.bytes, subject=stolen.subject.bytes, generation=row["generation"], kid=row["kid"]
        )
        with suppress(CryptoError, KeyError):
            secret = wraps[row["wrap_epoch"]].unwrap(row["wrapped"][: wrap.WRAPPED_SIZE], context=context)
            found.append(SubjectKey(secret))
    return found


def _opens(keys: Sequence[SubjectKey], row: Record, tenant: UUID) -> bool:
    for key in keys:
        with suppress(CryptoError):
            if key.kid == envelope_kid(row["sealed"]):
                place = {"tenant": tenant.bytes, "collection": row["collection_id"], "record": row["id"].bytes}
                open_one(key, (row["field"], row["sealed"]), **place)
                return True
    return False


async def _certified(officer: httpx.AsyncClient, subject: str, notes: Notes, *, state: str) -> None:
    answer = await officer.get(f"/v1/subjects/{subject}/erasure")
    said = answer.json()["effective"] if answer.is_success else {"state": f"HTTP {answer.status_code}", "words": ""}
    notes.check("asked for the certificate", held=said["state"] == state, seen=f"{said['state']}: {said['words']}")


async def _destroyed(scratch: Scratch, epoch: int) -> None:
    """Roll the epoch, as the daily job does, and destroy its key now instead of when its time has come."""
    rotations = scratch.operator.key_rotations
    found = await rotations.start(this_operator(), Tier.EPOCH)
    for _ in range(_LOOKS):
        if found.state != "running":
            break
        await asyncio.sleep(_LOOK_SECONDS)
        found = await rotations.stored(found.id)
    if found.state != "done":
        raise Unseen(f"the epoch did not roll: {found.state}")
    await rotations.epoch.destroy(epoch)


PROBE = Probe(claim="rest.erasure", where=Where.SCRATCH, run=run)
