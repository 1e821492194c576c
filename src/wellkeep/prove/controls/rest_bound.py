"""rest.bound: a ciphertext opens only where it was written for; an older one put back is found by the ledger's replay.

Runs on a scratch deployment, because it does what a hostile database administrator does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from wellkeep.db.connection import Connection
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.rollback import ROLLBACKS, put_back
from wellkeep.prove.sample import NOTES, PEOPLE, PEOPLE_DEFINITION, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_OK = 200
_FAILED = 500

_READ = "SELECT sealed FROM vault.record WHERE id = $1"
_PUT = "UPDATE vault.record SET sealed = $2 WHERE id = $1"
_TWIN = """
INSERT INTO vault.record
SELECT (jsonb_populate_record(r, jsonb_build_object('collection_id', c.id,
  'field_ids', jsonb_build_array(c.definition->'fields'->0->'id')))).*
FROM vault.record r JOIN vault.collection c ON c.tenant_id = r.tenant_id AND c.name = $2
WHERE r.id = $1
"""
_UNTWIN = """
DELETE FROM vault.record r USING vault.collection c
WHERE r.id = $1 AND c.tenant_id = r.tenant_id AND c.id = r.collection_id AND c.name = $2
"""
_FINDINGS = "SELECT coalesce(sum(count), 0) FROM findings.finding WHERE kind = 'integrity.broken'"


async def run(world: World, notes: Notes) -> None:
    """Move ciphertexts by SQL, then read through the API; put an older revision back, then replay the ledger."""
    scratch = await world.scratch()
    async with scratch.as_superuser() as connection:
        await _moves(scratch, connection, notes)
        await _rollbacks(scratch, connection, notes)


@dataclass(frozen=True, slots=True)
class _Move:
    """A ciphertext in a place that is not its own, and who would read it there."""

    name: str
    reader: httpx.AsyncClient
    collection: str
    record: str
    sealed: list[bytes]


async def _moves(scratch: Scratch, connection: Connection, notes: Notes) -> None:
    secret = Canary.make("moved").value
    moves, honest = await _planned(scratch, connection, secret)
    before = await connection.fetchval(_FINDINGS)
    opened, shown = [], []
    for move in moves:
        kept = await _sealed(connection, move.record)
        await connection.execute(_PUT, UUID(move.record), move.sealed)
        answer = await move.reader.get(f"/v1/collections/{move.collection}/records/{move.record}")
        await connection.execute(_PUT, UUID(move.record), kept)
        if answer.status_code != _FAILED:
            opened.append(f"{move.name} → {answer.status_code}")
        if secret in answer.text:
            shown.append(move.name)
    twin = await _same_id_elsewhere(scratch, connection)
    if twin != _FAILED:
        opened.append(f"the same record's id in another collection → {twin}")
    read = await honest.reader.get(f"/v1/collections/{honest.collection}/records/{honest.record}")
    notes.check(
        f"moved a ciphertext in {len(moves) + 1} ways, then read it through the API",
        held=not opened and not shown and read.status_code == _OK,
        seen="each was refused, none was shown; put back, it opens" if not opened else f"opened: {'; '.join(opened)}",
    )
    reported = await connection.fetchval(_FINDINGS) - before
    notes.check(
        "looked for the findings",
        held=reported >= len(moves) + 1,
        seen=f"{reported} reported for {len(moves) + 1} moves",
    )


async def _planned(scratch: Scratch, connection: Connection, secret: str) -> tuple[list[_Move], _Move]:
    """Return the moves, and the reading that must go well.

    Each of the first three changes one part of the place alone: same patient, same key, same type.
    """
    client = await scratch.client(scratch.a.keys["integration"])
    foreign = await scratch.client(scratch.b.keys["integration"])
    source = await created(client, f"/v1/collections/{PEOPLE}/records", person(family=secret, street=secret))
    stranger = await created(client, f"/v1/collections/{PEOPLE}/records", person())
    theirs = await created(foreign, f"/v1/collections/{PEOPLE}/records", person())
    notes = f"/v1/collections/{NOTES}/records"
    one, other = [
        await created(client, notes, {"subject": source["subject"], "fields": {"body": body, "amount": "1"}})
        for body in (secret, "x")
    ]
    taken, note = await _sealed(connection, source["id"]), await _sealed(connection, one["id"])
    family, street = _places(PEOPLE_DEFINITION, "family", "street")
    swapped = list(taken)
    swapped[family], swapped[street] = taken[street], taken[family]
    rest = taken[1:]
    moves = [
        _Move("another field of its record", client, PEOPLE, source["id"], swapped),
        _Move("another record of the same patient", client, NOTES, other["id"], note),
        _Move("another patient's record", client, PEOPLE, stranger["id"], taken),
        _Move("another tenant", foreign, PEOPLE, theirs["id"], taken),
        _Move("its own place, cut short", client, PEOPLE, source["id"], [taken[0][:-1], *rest]),
        _Move("its own place, one bit changed", client, PEOPLE, source["id"], [_flip(taken[0]), *rest]),
    ]
    return moves, _Move("its own place", client, PEOPLE, source["id"], taken)


async def _same_id_elsewhere(scratch: Scratch, connection: Connection) -> int:
    """Put a whole record, id and all, into another collection of its tenant; return how reading it there ends."""
    client = await scratch.client(scratch.a.keys["integration"])
    person_there = await created(client, f"/v1/collections/{PEOPLE}/records", {"fields": {"history": "x"}})
    place = (UUID(person_there["id"]), NOTES)
    await connection.execute(_TWIN, *place)
    answer = await client.get(f"/v1/collections/{NOTES}/records/{person_there['id']}")
    await connection.execute(_UNTWIN, *place)
    return answer.status_code


async def _rollbacks(scratch: Scratch, connection: Connection, notes: Notes) -> None:
    client = await scratch.client(scratch.a.keys["integration"])
    for name, statements in ROLLBACKS.items():
        record = await created(client, f"/v1/collections/{PEOPLE}/records", person(history="first"))
        path = f"/v1/collections/{PEOPLE}/records/{record['id']}"
        changed = await client.patch(path, json={"fields": {"history": "second"}}, headers={"If-Match": '"1"'})
        if not changed.is_success:
            raise Unseen(f"a record could not be changed (HTTP {changed.status_code})")
        clean = await scratch.replay()
        async with put_back(connection, UUID(record["id"])):
            for statement in statements:
                await connection.execute(statement, UUID(record["id"]))
            found = await scratch.replay()
        notes.check(
            f"put revision 1 back over revision 2 ({name}) and replayed the ledger",
            held=record["id"] not in clean and record["id"] in found,
            seen="the replay names the record" if record["id"] in found else "the replay saw nothing",
        )


def _places(definition: dict[str, Any], *names: str) -> list[int]:
    """Return where the fields `names` stand among the sealed ones of a record that has them all."""
    sealed = [field["name"] for field in definition["fields"] if field["class"] != "plain"]
    return [sealed.index(name) for name in names]


async def _sealed(connection: Connection, record: str) -> list[bytes]:
    sealed: list[bytes] = await connection.fetchval(_READ, UUID(record))
    return list(sealed)


def _flip(envelope: bytes) -> bytes:
    return envelope[:-1] + bytes([envelope[-1] ^ 1])


PROBE = Probe(claim="rest.bound", where=Where.SCRATCH, run=run)
