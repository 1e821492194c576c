"""access.passwords (API-key half): no key is found in the database, and a stolen digest does not sign in."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode

import httpx

from wellkeep.base.secrets import Secret
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.scan import Scanner
from wellkeep.prove.stores import scan_database
from wellkeep.prove.world import World

_DIGESTS = "SELECT digest FROM access.api_key WHERE tenant_id = $1"


async def run(world: World, notes: Notes) -> None:
    """Look for the keys of this run in every table, then sign in with what a thief of the table has."""
    keys = [key.reveal() for key in world.a.keys.values()]
    canaries = [Canary(name=f"key {number}", value=key.rsplit("_", 1)[1]) for number, key in enumerate(keys)]
    control = Canary(name="control", value=world.a.name)
    try:
        async with world.live.as_superuser() as connection:
            found = await scan_database(connection, Scanner([*canaries, control]))
            digests = [bytes(row["digest"]) for row in await connection.fetch(_DIGESTS, world.a.id)]
    except Unseen as unseen:
        notes.blind("scan the database for API keys", why=str(unseen))
        return
    leaked = found.found(canary.name for canary in canaries)
    notes.check(
        f"looked for {len(canaries)} live API keys in {found.places} tables, {found.bytes:,} bytes",
        held=not leaked,
        seen=f"{len(leaked)} of {len(canaries)} found",
    )
    notes.check(
        "positive control: looked for a tenant's name, which is kept in clear",
        held=bool(found.found(["control"])),
        seen="found" if found.found(["control"]) else "not found, so the scan is blind",
    )
    stored = {hashlib.sha256(key.encode()).digest() for key in keys}
    notes.check(
        "compared what is stored with SHA-256 of the keys",
        held=stored <= set(digests),
        seen=f"{len(stored & set(digests))} of {len(stored)} digests are there",
    )
    taken = [await _signs_in(world, f"{keys[0].rsplit('_', 1)[0]}_{form}") for form in _forms(digests)]
    honest = await _signs_in(world, keys[0])
    notes.check(
        f"signed in with {len(taken)} forms of stolen digests",
        held=not any(taken) and honest,
        seen="each was refused (401); the true key was taken" if honest else "the true key was refused too",
    )


def _forms(digests: list[bytes]) -> list[str]:
    return [
        form for digest in digests for form in (digest.hex(), digest.hex().upper(), urlsafe_b64encode(digest).decode())
    ]


async def _signs_in(world: World, key: str) -> bool:
    client = await world.live.client(Secret(key))
    return (await client.get("/v1/collections")).status_code != httpx.codes.UNAUTHORIZED


PROBE = Probe(
    claim="access.passwords",
    where=Where.LIVE,
    run=run,
    missing="passwords of people: there are no people's accounts yet",
)
