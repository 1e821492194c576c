"""rest.bound: a ciphertext opens only where it was written for; an older one put back is found by the ledger's replay.

Runs on a scratch deployment, because it does what a hostile database administrator does.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from wellkeep.db.connection import Connection
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import NOTES, PEOPLE, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_OK = 200
_FAILED = 500

_READ = "SELECT sealed FROM vault.record WHERE id = $1"
_PUT = "UPDATE vault.record SET sealed = $2 WHERE id = $1"
_BACK = """
UPDATE vault.record r SET sealed = o.sealed, revision = o.revision, event_id = o.event_id, digest = o.digest,
  updated_at = o.updated_at
FROM vault.revision o WHERE r.id = $1 AND o.record_id = r.id AND o.revision = 1
"""
_KEEP = "CREATE TABLE public.wk_probe_kept AS SELECT * FROM vault.record WHERE id = $1"
_FORTH = """
UPDATE vault.record r SET sealed = k.sealed, revision = k.revision, event_id = k.event_id, digest = k.digest,
  updated_at = k.updated_at
FROM public.wk_probe_kept k WHERE r.id = $1 AND k.id = r.id
"""
_FORGET = "DROP TABLE public.wk_probe_kept"
_FINDINGS = "SELECT coalesce(sum(count), 0) FROM findings.finding WHERE kind = 'integrity.broken'"


async def run(world: World, notes: Notes) -> None:
    """Move ciphertexts by SQL, then read through the API; put an older revision back, then replay the ledger."""
    scratch = await world.scratch()
    async with scratch.as_superuser() as connection:
        await _moves(scratch, connection, notes)
        await _rollback(scratch, connection, notes)


async def _moves(scratch: Scratch, connection: Connection, notes: Notes) -> None:
    client = await scratch.client(scratch.a.keys["integration"])
    foreign = await scratch.client(scratch.b.keys["integration"])
    secret = Canary.make("moved").value
    source = await created(client, f"/v1/collections/{PEOPLE}/records", person(history=secret, family=secret))
    twin = await created(client, f"/v1/collections/{PEOPLE}/records", person())
    note = await created(
        client,
        f"/v1/collections/{NOTES}/records",
        {"subject": source["subject"], "fields": {"body": "x", "amount": "1"}},
    )
    theirs = await created(foreign, f"/v1/collections/{PEOPLE}/records", person())
    rows = {one["id"]: await _sealed(connection, one["id"]) for one in (source, twin, note, theirs)}
    taken = rows[source["id"]]
    moves: dict[str, tuple[Any, str, dict[str, Any], list[bytes]]] = {
        "another field of its record": (client, PEOPLE, source, [taken[1], taken[0], *taken[2:]]),
        "the same field of another record": (client, PEOPLE, twin, taken),
        "another collection": (client, NOTES, note, [taken[0]] * len(rows[note["id"]])),
        "another tenant": (foreign, PEOPLE, theirs, taken),
        "its own place, cut short": (client, PEOPLE, source, [taken[0][:-1], *taken[1:]]),
        "its own place, one bit changed": (client, PEOPLE, source, [_flip(taken[0]), *taken[1:]]),
    }
    before = await connection.fetchval(_FINDINGS)
    opened, shown = [], []
    for name, (reader, collection, record, sealed) in moves.items():
        await connection.execute(_PUT, UUID(record["id"]), sealed)
        answer = await reader.get(f"/v1/collections/{collection}/records/{record['id']}")
        await connection.execute(_PUT, UUID(record["id"]), rows[record["id"]])
        if answer.status_code != _FAILED:
            opened.append(f"{name} → {answer.status_code}")
        if secret in answer.text:
            shown.append(name)
    honest = await client.get(f"/v1/collections/{PEOPLE}/records/{source['id']}")
    notes.check(
        f"moved a ciphertext in {len(moves)} ways, then read it through the API",
        held=not opened and not shown and honest.status_code == _OK,
        seen="each was refused, none was shown; put back, it opens" if not opened else f"opened: {'; '.join(opened)}",
    )
    reported = await connection.fetchval(_FINDINGS) - before
    notes.check(
        "looked for the findings", held=reported >= len(moves), seen=f"{reported} reported for {len(moves)} moves"
    )


async def _rollback(scratch: Scratch, connection: Connection, notes: Notes) -> None:
    client = await scratch.client(scratch.a.keys["integration"])
    record = await created(client, f"/v1/collections/{PEOPLE}/records", person(history="first"))
    path = f"/v1/collections/{PEOPLE}/records/{record['id']}"
    await client.patch(path, json={"fields": {"history": "second"}}, headers={"If-Match": '"1"'})
    clean = await scratch.replay()
    await connection.execute(_KEEP, UUID(record["id"]))
    await connection.execute(_BACK, UUID(record["id"]))
    found = await scratch.replay()
    await connection.execute(_FORTH, UUID(record["id"]))
    await connection.execute(_FORGET)
    notes.check(
        "put revision 1 back over revision 2, its digest included, and replayed the ledger",
        held=record["id"] not in clean and record["id"] in found,
        seen="the replay names the record" if record["id"] in found else "the replay saw nothing",
    )


async def _sealed(connection: Connection, record: str) -> list[bytes]:
    sealed: list[bytes] = await connection.fetchval(_READ, UUID(record))
    return list(sealed)


def _flip(envelope: bytes) -> bytes:
    return envelope[:-1] + bytes([envelope[-1] ^ 1])


PROBE = Probe(claim="rest.bound", where=Where.SCRATCH, run=run)
