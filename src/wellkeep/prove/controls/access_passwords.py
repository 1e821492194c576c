"""access.passwords: no password and no key is found in the database, and a stolen digest or hash does not sign in."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode

import httpx

from wellkeep.base.secrets import Secret
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.people import Browser, Member, member
from wellkeep.prove.probe import Probe
from wellkeep.prove.scan import Scanner
from wellkeep.prove.stage import Stage
from wellkeep.prove.stores import scan_database
from wellkeep.prove.world import World

_STOLEN = 2
"""More would be told from an attack by nobody: many failures in a minute are a finding, and shall be."""

_HEX_WINDOW = 16
"""A key's secret is of 16 digits: pieces of 64 bits, since the tables hold much that is hexadecimal."""

_HASH = "SELECT hash FROM access.password WHERE tenant_id = $1 AND person_id = $2"
_BCRYPT = re.compile(r"\$2b\$(1[2-6])\$[./A-Za-z0-9]{53}")
_DIGESTS = "SELECT prefix, digest FROM access.api_key WHERE tenant_id = $1"


async def run(world: World, notes: Notes) -> None:
    """Look for the keys of this run in every table, then sign in with what a thief of the table has."""
    live = await world.live()
    chosen = Canary.make("password", length=40)
    async with member(live, "clinician", password=chosen.value) as somebody:
        await _look(live, notes, chosen)
        await _steal(live, notes, somebody)


async def _look(live: Stage, notes: Notes, password: Canary) -> None:
    keys = [key.reveal() for key in live.a.keys.values()]
    canaries = [
        Canary(name=f"key {number}", value=key.rsplit("_", 1)[1], window=_HEX_WINDOW) for number, key in enumerate(keys)
    ]
    control = Canary(name="control", value=live.a.name)
    try:
        async with live.as_superuser() as connection:
            found = await scan_database(connection, Scanner([*canaries, password, control]))
            rows = await connection.fetch(_DIGESTS, live.a.id)
    except Unseen as unseen:
        notes.blind("scan the database for API keys and passwords", why=str(unseen))
        return
    leaked = found.found(canary.name for canary in (*canaries, password))
    notes.check(
        f"looked for {len(canaries)} live API keys and a password in {found.places} tables, {found.bytes:,} bytes",
        held=not leaked,
        seen=f"{len(leaked)} of {len(canaries) + 1} found",
    )
    notes.check(
        "positive control: looked for a tenant's name, which is kept in clear",
        held=bool(found.found(["control"])),
        seen="found" if found.found(["control"]) else "not found, so the scan is blind",
    )
    digests = {row["prefix"]: bytes(row["digest"]) for row in rows}
    await _compare(live, notes, keys, digests)


async def _compare(live: Stage, notes: Notes, keys: list[str], digests: dict[str, bytes]) -> None:
    """Compare what is stored with what should be, then sign in with it."""
    right = [key for key in keys if digests.get(_prefix(key)) == hashlib.sha256(key.encode()).digest()]
    notes.check(
        "compared what is stored with SHA-256 of the keys",
        held=len(right) == len(keys) > 0,
        seen=f"{len(right)} of {len(keys)} digests are right",
    )
    stolen = [form for key in keys[:_STOLEN] for form in _forms(_prefix(key), digests.get(_prefix(key), b""))]
    taken = [await _signs_in(live, form) for form in stolen]
    honest = await _signs_in(live, keys[0])
    notes.check(
        f"signed in with {len(taken)} forms of stolen digests",
        held=not any(taken) and honest,
        seen=f"{sum(taken)} were taken; the true key was {'taken' if honest else 'refused'}",
    )


def _prefix(key: str) -> str:
    return key.rsplit("_", 1)[0]


def _forms(prefix: str, digest: bytes) -> list[str]:
    """Return what a thief would try: the digest in each spelling, in the place of the secret and alone."""
    spelt = (digest.hex(), digest.hex().upper(), urlsafe_b64encode(digest).decode())
    return [*(f"{prefix}_{form}" for form in spelt), digest.hex()]


async def _signs_in(live: Stage, key: str) -> bool:
    client = await live.client(Secret(key))
    return (await client.get("/v1/collections")).status_code != httpx.codes.UNAUTHORIZED


async def _steal(live: Stage, notes: Notes, somebody: Member) -> None:
    """Read the password's hash as the superuser, and sign in with it."""
    try:
        async with live.as_superuser() as connection:
            stored = await connection.fetchval(_HASH, live.a.id, somebody.id)
    except Unseen as unseen:
        notes.blind("steal the hash of a password", why=str(unseen))
        return
    bcrypt = _BCRYPT.fullmatch(str(stored))
    async with Browser(live) as browser:
        honest = await browser.sign_in(somebody)
    async with Browser(live) as thief:
        taken = await thief.sign_in(somebody, password=str(stored))
    notes.check(
        "read how the password is stored, and signed in with that, and with the password",
        held=bcrypt is not None and honest.is_success and taken.status_code == httpx.codes.UNAUTHORIZED,
        seen=f"bcrypt of cost {bcrypt[1]}, salted; the hash was refused, the password taken"
        if bcrypt is not None and not taken.is_success
        else f"HTTP {taken.status_code} with what is stored",
    )


PROBE = Probe(claim="access.passwords", where=Where.LIVE, run=run)
