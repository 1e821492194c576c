"""access.api_keys: keys have scopes, an end, and a limit of their own that several workers count together.

On a scratch deployment, which two workers serve: whoever asks both of them gets no more than whoever asks one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import httpx

from wellkeep.base.secrets import Secret
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scratch import WORKERS, Scratch
from wellkeep.prove.world import World

_LIMIT: Final = 20
_ASKED: Final = 80
_CALLERS: Final = 8
_RECORDS: Final = f"/v1/collections/{PEOPLE}/records"
_OVER: Final = httpx.codes.TOO_MANY_REQUESTS
_EXPIRED: Final = (
    "UPDATE access.api_key SET created_at = created_at - interval '2 days', "
    "expires_at = expires_at - interval '2 days' WHERE id = $1"
)


async def run(world: World, notes: Notes) -> None:
    """Narrow a key, ask too much with another, let one end, revoke one."""
    scratch = await world.scratch()
    maker = await scratch.client(scratch.a.keys["integration"])
    record = await created(maker, _RECORDS, person(family="Limited"))
    await _scoped(scratch, notes, f"{_RECORDS}/{record['id']}")
    await _limited(scratch, notes)
    await _ended(scratch, notes)


async def _key(scratch: Scratch, name: str, **bounds: Any) -> tuple[str, str]:
    """Return the id of a new key of the integration's, and the key."""
    administrator = await scratch.client(scratch.a.keys["administrator"], admin=True)
    wanted = {"name": f"prove-{name}", "roles": ["integration"], "days": 1} | bounds
    made = await created(administrator, f"/v1/tenants/{scratch.a.id}/apikeys", wanted)
    return str(made["about"]["id"]), str(made["key"])


async def _scoped(scratch: Scratch, notes: Notes, record: str) -> None:
    _, key = await _key(scratch, "scoped", scopes=[f"system/{PEOPLE}.rs"])
    client = await scratch.client(Secret(key))
    read = await client.get(record)
    wrote = await client.post(_RECORDS, json=person(family="Scoped"))
    elsewhere = await client.post("/v1/collections/wk_probe_notes/records/search", json={"where": {}})
    _, far = await _key(scratch, "networks", networks=["192.0.2.0/24"])
    away = await (await scratch.client(Secret(far))).get(record)
    held = read.is_success and wrote.status_code == elsewhere.status_code == httpx.codes.FORBIDDEN
    notes.check(
        "with a key for reading one collection: read there, wrote there, searched another; with one of another network",
        held=held and away.status_code == httpx.codes.UNAUTHORIZED,
        seen=f"HTTP {read.status_code}, {wrote.status_code}, {elsewhere.status_code}; from there {away.status_code}",
    )


async def _limited(scratch: Scratch, notes: Notes) -> None:
    """Ask over many connections at once, so that both workers are asked."""
    _, key = await _key(scratch, "limited", requests=_LIMIT)
    answers = await _flood(scratch, key)
    codes = Counter(answer.status_code for answer in answers)
    through = sum(count for code, count in codes.items() if code != _OVER)
    over = [answer for answer in answers if answer.status_code == _OVER]
    told = all(int(answer.headers.get("retry-after", "0")) > 0 and "ratelimit" in answer.headers for answer in over)
    notes.check(
        f"sent {_ASKED} requests to {WORKERS} workers with a key for {_LIMIT} a minute",
        held=0 < through <= _LIMIT and bool(over) and told,
        seen=f"{through} answered, {len(over)} refused (429)" + (", each told when to come back" if told else ""),
    )
    other = await scratch.client(scratch.a.keys["integration"])
    apart = await other.get("/v1/collections")
    notes.check(
        "asked meanwhile with another key",
        held=apart.is_success,
        seen="answered: each key has its own" if apart.is_success else f"HTTP {apart.status_code}",
    )


async def _flood(scratch: Scratch, key: str) -> list[httpx.Response]:
    headers = {"Authorization": f"Bearer {key}"}

    async def caller() -> list[httpx.Response]:
        found = []
        for _ in range(_ASKED // _CALLERS):
            async with httpx.AsyncClient(
                base_url=scratch.public_url, verify=scratch.trust(), headers=headers, trust_env=False, timeout=30
            ) as client:
                found.append(await client.get("/v1/collections"))
        return found

    return [answer for answers in await asyncio.gather(*(caller() for _ in range(_CALLERS))) for answer in answers]


async def _ended(scratch: Scratch, notes: Notes) -> None:
    """Let a key's time run out, and revoke another, each while it is in use."""
    expiring, first = await _key(scratch, "expiring")
    revoked, second = await _key(scratch, "revoked")
    clients = [await scratch.client(Secret(key)) for key in (first, second)]
    before = [(await client.get("/v1/collections")).status_code for client in clients]
    if set(before) != {httpx.codes.OK}:
        raise Unseen(f"new keys did not work (HTTP {before})")
    async with scratch.as_superuser() as connection:
        await connection.execute(_EXPIRED, expiring)
    administrator = await scratch.client(scratch.a.keys["administrator"], admin=True)
    gone = await administrator.delete(f"/v1/tenants/{scratch.a.id}/apikeys/{revoked}")
    after = [(await _flood_one(scratch, key)) for key in (first, second)]
    held = gone.is_success and all(codes == {httpx.codes.UNAUTHORIZED} for codes in after)
    notes.check(
        "let the time of a key run out and revoked another, then asked both workers with each",
        held=held,
        seen="refused from the first request on" if held else f"HTTP {[sorted(codes) for codes in after]}",
    )


async def _flood_one(scratch: Scratch, key: str) -> set[int]:
    """Return what both workers answer; what reads the database shows whether a key stands."""
    headers = {"Authorization": f"Bearer {key}"}
    codes = set()
    for _ in range(_CALLERS):
        async with httpx.AsyncClient(
            base_url=scratch.public_url, verify=scratch.trust(), headers=headers, trust_env=False, timeout=30
        ) as client:
            codes.add((await client.get("/v1/collections")).status_code)
    return codes


PROBE = Probe(claim="access.api_keys", where=Where.SCRATCH, run=run)
