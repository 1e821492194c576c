"""rest.fields: canaries written through the API are found in no store, in no common encoding.

Three kinds of canary make the scan honest: those planted in sealed fields (must not be found), one planted in clear
(must be found, else the scan is blind) and one never planted (must not be found, else it finds ghosts).
"""

from __future__ import annotations

from typing import Any

from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import NOTES, PEOPLE
from wellkeep.prove.scan import Scanner, ScanResult
from wellkeep.prove.stores import scan_database, scan_files
from wellkeep.prove.world import World

_ROUNDS = 4


async def run(world: World, notes: Notes) -> None:
    """Plant canaries in every sealed field and on every path that writes, then look into every store."""
    in_clear, never = Canary.make("in clear"), Canary.make("never planted")
    planted = [canary for number in range(_ROUNDS) for canary in await _plant(world, number, in_clear)]
    scanner = Scanner([*planted, in_clear, never])
    try:
        async with world.live.as_superuser() as connection:
            found = await scan_database(connection, scanner)
            found.add(await scan_files(world.live, connection, scanner))
    except Unseen as unseen:
        notes.blind("look into heap, WAL, statistics and logs", why=str(unseen))
        return
    _judge(notes, found, planted)


async def _plant(world: World, number: int, in_clear: Canary) -> list[Canary]:
    """Write fresh canaries over each route that takes a value, and search by one.

    Return those that must not be found.
    """
    client = await world.live.client(world.a.keys["integration"])
    made = {name: Canary.make(f"{name} {number}") for name in ("history", "family", "street", "ssn", "iban")}
    fields = {name: canary.value for name, canary in made.items()} | {"label": in_clear.value}
    person = await created(client, f"/v1/collections/{PEOPLE}/records", {"fields": fields})

    note = {name: Canary.make(f"{name} {number}") for name in ("body", "document", "document key")}
    count, amount = Canary.digits(f"count {number}", length=15), Canary.digits(f"amount {number}", length=18)
    values: dict[str, Any] = {
        "body": note["body"].value,
        "document": {note["document key"].value: note["document"].value},
        "count": int(count.value),
        "amount": amount.value,
    }
    external = Canary.make(f"external id {number}")
    stored = await client.put(
        f"/v1/collections/{NOTES}/records/by-external-id/{external.value}",
        json={"subject": person["subject"], "fields": values},
    )
    changed = Canary.make(f"changed {number}")
    later = await client.patch(
        f"/v1/collections/{PEOPLE}/records/{person['id']}",
        json={"fields": {"history": changed.value}},
        headers={"If-Match": '"1"', "Idempotency-Key": f"probe-{person['id']}"},
    )
    search = await client.post(f"/v1/collections/{PEOPLE}/records/search", json={"where": {"ssn": made["ssn"].value}})
    if not (stored.is_success and later.is_success and search.is_success):
        raise Unseen("a canary could not be planted")
    return [*made.values(), *note.values(), count, amount, external, changed]


def _judge(notes: Notes, found: ScanResult, planted: list[Canary]) -> None:
    leaked = found.found(canary.name for canary in planted)
    where = sorted({f"{store} ({encoding})" for store, name, encoding in found.hits if name in leaked})
    notes.check(
        f"planted {len(planted)} canaries in sealed fields; looked for each 8-byte window, raw, hex, base64, UTF-16",
        held=not leaked and found.bytes > 0,
        seen=f"{len(leaked)} of {len(planted)} in {found.bytes:,} bytes of {found.places} tables and files"
        + (f": {', '.join(where[:4])}" if where else ""),
    )
    notes.check(
        "positive control: one canary in a field declared plain",
        held="in clear" in found.found(["in clear"]),
        seen=f"found in {len({store for store, name, _ in found.hits if name == 'in clear'})} kinds of store",
    )
    notes.check(
        "negative control: one canary that was never planted",
        held=not found.found(["never planted"]),
        seen="not found",
    )
    for place in sorted(set(found.unseen)):
        notes.blind("look into every store", why=place)


PROBE = Probe(
    claim="rest.fields",
    where=Where.LIVE,
    run=run,
    missing="backups: wellkeep makes none yet",
)
