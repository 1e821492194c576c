"""rest.rotation: keys rotate under load, old data follows, and a retired key opens nothing.

All that rotates without another key service is rotated, at once: the deployment's epoch with the keys that wrap, the
patients' keys, the DATA key and the index key. Meanwhile callers create, read and search. Tried afterwards is what an
attacker kept: the old rows of keys, with the key service and the process of today.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx

from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import Core
from wellkeep.base.errors import KeysUnavailable, WellkeepError
from wellkeep.db.connection import Connection, Record
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.rotation import Rotation, Tier
from wellkeep.keys.rows import key_row, open_row
from wellkeep.keys.tenant import TenantKeys
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_RECORDS = f"/v1/collections/{PEOPLE}/records"
_TIERS = (Tier.EPOCH, Tier.SUBJECT, Tier.DATA, Tier.INDEX)
_PEOPLE = 24
_CALLERS = 3
_PAUSE_SECONDS = 0.01
_LOOKS = 300
_LOOK_SECONDS = 0.2
_UNTIL_STOPPED = 100_000

_KEYS = """
SELECT purpose, epoch, kid, commit_hash, wrapped, kms_epoch, root, state FROM keys.tenant_key
WHERE tenant_id = $1 AND state IN ('active', 'decrypt_only')
"""
_SUBJECT_KEYS = """
SELECT subject_id, generation, kid, wrapped, wrap_epoch FROM keys.subject_key
WHERE tenant_id = $1 AND subject_id = ANY($2::uuid[])
"""
_CARRIED = """
SELECT (SELECT count(*) FROM vault.record r, unnest(r.sealed::bytea[]) AS e
        WHERE r.tenant_id = $1 AND substr(e, 5, 16) = ANY($2::bytea[]))
     + (SELECT count(*) FROM vault.revision v, unnest(v.sealed::bytea[]) AS e
        WHERE v.tenant_id = $1 AND substr(e, 5, 16) = ANY($2::bytea[]))
     + (SELECT count(*) FROM vault.idempotency i
        WHERE i.tenant_id = $1 AND substr(i.answer::bytea, 5, 16) = ANY($2::bytea[]))
       AS sealed,
       (SELECT count(*) FROM vault.tag t WHERE t.tenant_id = $1 AND get_byte(t.tag::bytea, 0) = $3) AS tags,
       (SELECT count(*) FROM keys.subject_key k
        WHERE k.tenant_id = $1 AND k.state <> 'destroyed' AND (k.kid = ANY($2::bytea[]) OR k.wrap_epoch = $4))
     + (SELECT count(*) FROM keys.tenant_key k WHERE k.tenant_id = $1 AND k.state <> 'destroyed' AND k.kms_epoch = $5)
       AS keys
"""


@dataclass(slots=True)
class _Load:
    """What callers asked while keys rotated, and what was not answered as it should be."""

    asked: int = 0
    lost: list[str] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self, what: str, answer: httpx.Response, *, right: bool = True) -> None:
        """Take one answer."""
        self.asked += 1
        if not answer.is_success or not right:
            self.lost.append(f"{what} {answer.status_code}")


@dataclass(slots=True)
class _Before:
    """What an attacker kept from before: the rows of the keys, and whose records there were."""

    keys: list[Record]
    subjects: list[Record]
    records: dict[str, dict[str, Any]]

    def newest(self, purpose: KeyPurpose, column: str) -> int:
        """Return `column` of the key of `purpose`."""
        return max(int(row[column]) for row in self.keys if row["purpose"] == purpose)


async def run(world: World, notes: Notes) -> None:
    """Rotate every tier under load, count what was lost and what still names an old key, and try the old keys."""
    scratch = await world.scratch()
    client = await scratch.client(scratch.a.keys["integration"])
    records = await _records(client)
    async with scratch.as_superuser() as connection:
        before = await _before(connection, scratch, records)
        await _opens(scratch, before, notes, named="before: the old keys, as an attacker kept them", expected=True)
        load = _Load()
        callers = [asyncio.create_task(_call(client, before.records, load)) for _ in range(_CALLERS)]
        try:
            ended = await asyncio.gather(*(_rotated(scratch, tier) for tier in _TIERS))
        finally:
            load.stop.set()
            await asyncio.gather(*callers, return_exceptions=True)
        _progress(notes, ended, load)
        await _carried(connection, scratch, before, notes)
    await scratch.operator.key_rotations.epoch.destroy(before.newest(KeyPurpose.WRAP, "kms_epoch"))
    await _opens(scratch, before, notes, named="the old keys with today's key service, the old epoch's key destroyed")
    await _read_back(client, before.records, notes)


async def _records(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """Make people with a history each, one of them by a request that is answered again; by the record's id."""
    found = {}
    for number in range(_PEOPLE):
        secret, ssn = Canary.make("rotated").value, f"900-{number:02}-{uuid4().int % 10_000:04}"
        made = await created(client, _RECORDS, person(history="before", ssn=ssn))
        path, headers = f"{_RECORDS}/{made['id']}", {"If-Match": '"1"', "Idempotency-Key": uuid4().hex}
        answer = await client.patch(path, json={"fields": {"history": secret}}, headers=headers)
        if not answer.is_success:
            raise Unseen(f"what the probe needs could not be changed (HTTP {answer.status_code})")
        found[made["id"]] = {"history": secret, "ssn": ssn, "subject": made["subject"]}
    return found


async def _before(connection: Connection, scratch: Scratch, records: dict[str, dict[str, Any]]) -> _Before:
    people = [UUID(one["subject"]) for one in records.values()]
    return _Before(
        keys=await connection.fetch(_KEYS, scratch.a.id),
        subjects=await connection.fetch(_SUBJECT_KEYS, scratch.a.id, people),
        records=records,
    )


async def _call(client: httpx.AsyncClient, records: dict[str, dict[str, Any]], load: _Load) -> None:
    """Create, read, search and change, until told to stop."""
    known = list(records.items())
    for turn in range(_UNTIL_STOPPED):
        if load.stop.is_set():
            return
        record, kept = known[turn % len(known)]
        load.told("create", await client.post(_RECORDS, json=person()))
        answer = await client.get(f"{_RECORDS}/{record}")
        right = answer.is_success and answer.json()["fields"]["history"] == kept["history"]
        load.told("read", answer, right=right)
        answer = await client.post(f"{_RECORDS}/search", json={"where": {"ssn": kept["ssn"]}})
        right = answer.is_success and record in {one["id"] for one in answer.json()["records"]}
        load.told("search", answer, right=right)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _rotated(scratch: Scratch, tier: Tier) -> Rotation:
    """Ask for a rotation, as an operator does, and wait until the server has worked it off."""
    rotations = scratch.operator.key_rotations
    tenant = None if tier is Tier.EPOCH else scratch.a.id
    found = await rotations.start(this_operator(), tier, tenant=tenant)
    for _ in range(_LOOKS):
        if found.state != "running":
            break
        await asyncio.sleep(_LOOK_SECONDS)
        found = await rotations.stored(found.id)
    return found


def _progress(notes: Notes, ended: list[Rotation], load: _Load) -> None:
    short = [f"{one.tier} {one.state} {one.done} of {one.total}" for one in ended if one.state != "done"]
    behind = [
        f"{one.tier} {one.done} of {one.total}" for one in ended if one.total is not None and one.done < one.total
    ]
    notes.check(
        f"rotated {', '.join(one.tier for one in ended)} at once while {_CALLERS} callers created, read and searched",
        held=not (short or behind) and sum(one.done for one in ended) > 0,
        seen=", ".join(short + behind)
        or f"each reached its end: {sum(one.done for one in ended):,} rows brought along",
    )
    notes.check(
        "counted the requests that were lost meanwhile",
        held=load.asked > 0 and not load.lost,
        seen=f"{len(load.lost)} of {load.asked}{': ' + ', '.join(load.lost[:3]) if load.lost else ''}",
    )


async def _carried(connection: Connection, scratch: Scratch, before: _Before, notes: Notes) -> None:
    """Count, as the superuser, what still names an old key."""
    kids = [bytes(row["kid"]) for row in (*before.keys, *before.subjects)]
    left = await connection.fetchrow(
        _CARRIED,
        scratch.a.id,
        kids,
        before.newest(KeyPurpose.INDEX, "epoch"),
        before.newest(KeyPurpose.WRAP, "epoch"),
        before.newest(KeyPurpose.WRAP, "kms_epoch"),
    )
    if left is None:
        raise Unseen("the database did not count")
    notes.check(
        "counted what still uses an old key: fields and their history, stored answers, tags, wrapped keys",
        held=not any(left.values()),
        seen=f"{left['sealed']} fields, {left['tags']} tags, {left['keys']} keys",
    )


async def _opens(scratch: Scratch, before: _Before, notes: Notes, *, named: str, expected: bool = False) -> None:
    """Open what an attacker kept, with the root and the epochs of now and with what the process of now holds."""
    core, tenant = scratch.operator.core, scratch.a.id
    core.ring.purge(tenant, KeysUnavailable)
    keys = await core.ring.load(tenant)
    opened = sum([await _row_opens(core, row, tenant) for row in before.keys])
    opened += sum(_subject_opens(keys, row) for row in before.subjects)
    tried = len(before.keys) + len(before.subjects)
    notes.check(
        f"tried {named}",
        held=opened == (tried if expected else 0),
        seen=f"{opened} of {tried} open{', as they must: the probe can see' if expected else ''}",
    )


async def _row_opens(core: Core, row: Record, tenant: UUID) -> bool:
    with suppress(WellkeepError):
        await open_row(key_row(row), core.roots.named(tenant, row["root"]), core.epochs, tenant=tenant)
        return True
    return False


def _subject_opens(keys: TenantKeys, row: Record) -> bool:
    with suppress(WellkeepError):
        keys.subject_key(
            kid=row["kid"],
            wrapped=row["wrapped"],
            wrap_epoch=row["wrap_epoch"],
            subject=row["subject_id"],
            generation=row["generation"],
        )
        return True
    return False


async def _read_back(client: httpx.AsyncClient, records: dict[str, dict[str, Any]], notes: Notes) -> None:
    right, load = 0, _Load()
    for record, kept in records.items():
        answer = await client.get(f"{_RECORDS}/{record}")
        right += answer.is_success and answer.json()["fields"]["history"] == kept["history"]
        load.told("read", answer)
    notes.check(
        "read every record back under the new keys",
        held=right == len(records) and not load.lost,
        seen=f"{right} of {len(records)} as they were written",
    )


PROBE = Probe(claim="rest.rotation", where=Where.SCRATCH, run=run)
