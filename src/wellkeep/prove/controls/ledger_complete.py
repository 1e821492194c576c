"""ledger.complete: no record, no access. Under load, with the ledger refusing, and when what it stands on dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from wellkeep.db.connection import Connection
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.hands import Hands, hands
from wellkeep.prove.places import somewhere
from wellkeep.prove.probe import Probe
from wellkeep.prove.requests import requests
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_CALLERS = 16
_ROUNDS = 12
_REFUSED = 503
_RECOVERY_SECONDS = 20.0
_WHILE_SECONDS = 0.6
_PAUSE_SECONDS = 0.02
_UNTIL_STOPPED = 100_000

_REQUESTS = """
SELECT request::text AS request, count(*) AS entries FROM ledger.entry
WHERE tenant_id = $1 AND action IN ('record.create', 'record.read', 'record.search') GROUP BY request
"""
_STORED = "SELECT count(*) FROM vault.record WHERE tenant_id = $1"
_ENTERED = "SELECT count(*) FROM ledger.entry WHERE request = $1"
_MAY_COME_TOO_LATE = frozenset({"import_stop"})
"""A short import has often ended before it can be stopped."""

_REFUSE = """
CREATE FUNCTION ledger.wk_probe_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER wk_probe_refuse BEFORE INSERT ON ledger.entry EXECUTE FUNCTION ledger.wk_probe_refuse();
"""
_ACCEPT = "DROP TRIGGER wk_probe_refuse ON ledger.entry; DROP FUNCTION ledger.wk_probe_refuse();"


@dataclass(slots=True)
class Load:
    """What callers were told: the request ids of what succeeded and of what was refused, and what was cut off.

    `shown` counts refusals that held the secret all the same. `stop` ends the load.
    """

    secret: str
    acknowledged: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    unanswered: int = 0
    shown: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self, answer: httpx.Response) -> None:
        """Take one answer."""
        if answer.is_success:
            self.acknowledged.append(answer.headers["X-Request-Id"])
        else:
            self.refused.add(answer.headers["X-Request-Id"])
            self.shown += self.secret in answer.text


async def run(world: World, notes: Notes) -> None:
    """Load the API, count entries; refuse entries, count accesses; stop and kill what it stands on, count again."""
    scratch = await world.scratch()
    client = await scratch.client(scratch.a.keys["integration"])
    secret = Canary.make("unrecorded").value
    record = await created(client, f"/v1/collections/{PEOPLE}/records", person(history=secret))
    path = f"/v1/collections/{PEOPLE}/records/{record['id']}"
    async with scratch.as_superuser() as connection:
        await _remember(scratch, connection)
        load = Load(secret)
        await _work(client, path, load)
        await _compare(scratch, connection, notes, load, f"{_CALLERS} callers created, read and searched")
        async with hands(scratch) as doing:
            await _each_action(scratch, connection, notes, doing, secret)
        async with hands(scratch) as doing:
            await _refusing(scratch, connection, notes, doing, secret)
        notes.check(
            "let it take entries again", held=await _recovers(client, path), seen="reads and changes were tried"
        )
        await _refusing_in_the_middle(scratch, connection, notes, path, secret)
    await _crashed(scratch, notes, path, secret)


async def _work(client: httpx.AsyncClient, path: str, load: Load, *, rounds: int = _ROUNDS) -> None:
    async def caller() -> None:
        for _ in range(rounds):
            for request in _requests(path):
                if load.stop.is_set():
                    return
                try:
                    answer = await client.request(**request)
                except httpx.TransportError:
                    load.unanswered += 1
                    return
                load.told(answer)
                if answer.status_code == _REFUSED:
                    await asyncio.sleep(_PAUSE_SECONDS)

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))


def _requests(path: str) -> list[dict[str, Any]]:
    base = f"/v1/collections/{PEOPLE}/records"
    return [
        {"method": "POST", "url": base, "json": person()},
        {"method": "GET", "url": path},
        {"method": "POST", "url": f"{base}/search", "json": {"where": {"ssn": "999-00-0000"}, "limit": 3}},
    ]


async def _remember(scratch: Scratch, connection: Connection) -> None:
    """Leave what was entered so far out of what is compared next."""
    scratch.counted |= {row["request"] for row in await connection.fetch(_REQUESTS, scratch.a.id)}


async def _compare(scratch: Scratch, connection: Connection, notes: Notes, load: Load, tried: str) -> None:
    entries = Counter({row["request"]: row["entries"] for row in await connection.fetch(_REQUESTS, scratch.a.id)})
    missing = [request for request in load.acknowledged if entries[request] == 0]
    twice = [request for request in entries if entries[request] > 1 and request not in scratch.counted]
    surplus = len(entries.keys() - set(load.acknowledged) - load.refused - scratch.counted)
    scratch.counted |= entries.keys()
    notes.check(
        tried,
        held=bool(load.acknowledged)
        and not (missing or twice or load.shown)
        and surplus <= load.unanswered + (load.unanswered > 0),
        seen=f"{len(load.acknowledged)} acknowledged, {len(missing)} without an entry, {len(twice)} with two; "
        f"{len(load.refused)} refused, {load.shown} of them showed PHI; {surplus} entries of nobody's answer, "
        f"{load.unanswered} requests were cut off",
    )


async def _each_action(scratch: Scratch, connection: Connection, notes: Notes, doing: Hands, secret: str) -> None:
    """Do everything once that administers, changes or discloses, and look for its entry when it is answered."""
    place = await somewhere(scratch, doing, secret=secret)
    silent, failed, done = [], [], 0
    for request in requests(place):
        answer = await request.send(await doing.sender(scratch, request))
        if request.entered and answer.is_success:
            done += 1
            if not await connection.fetchval(_ENTERED, UUID(answer.headers["X-Request-Id"])):
                silent.append(request.operation)
        elif not answer.is_success and request.operation not in _MAY_COME_TOO_LATE:
            failed.append(f"{request.operation} → {answer.status_code}")
    notes.check(
        f"did each of {done} kinds of administration, change and access over the API, and looked for its entry",
        held=done > 0 and not silent,
        seen="each had its entry when it was answered" if not silent else f"without an entry: {', '.join(silent[:5])}",
    )
    if failed:
        notes.blind("did every kind of act", why=f"these did not succeed: {', '.join(failed[:5])}")


async def _refusing(scratch: Scratch, connection: Connection, notes: Notes, doing: Hands, secret: str) -> None:
    """Make the ledger refuse, then do everything again: nothing may succeed, be shown, or go on being stored."""
    place = await somewhere(scratch, doing, secret=secret)
    # Reads before changes, and changes twice: the first one is what learns that the ledger refuses.
    attempts = [request for request in requests(place) if request.entered]
    again = _requests(f"/v1/collections/{PEOPLE}/records/{place.record}")
    client = await scratch.client(scratch.a.keys["integration"])
    allowed, shown = [], []
    await connection.execute(_REFUSE)
    try:
        answers = [(one.operation, await one.send(await doing.sender(scratch, one))) for one in attempts]
        before = await connection.fetchval(_STORED, scratch.a.id)
        answers += [(str(one["method"]), await client.request(**one)) for one in again]
        further = await connection.fetchval(_STORED, scratch.a.id) - before
    finally:
        await connection.execute(_ACCEPT)
    for name, answer in answers:
        if answer.status_code != _REFUSED:
            allowed.append(f"{name} → {answer.status_code}")
        if secret in answer.text:
            shown.append(name)
    notes.check(
        f"made the ledger refuse entries, then tried {len(answers)} acts of every kind",
        held=not (allowed or shown or further),
        seen="each was refused (503), no PHI in any answer, no further change was stored"
        if not (allowed or shown or further)
        else f"not refused: {', '.join(allowed[:5])}; PHI shown by: {', '.join(shown[:5]) or 'none'}; {further} stored",
    )


async def _recovers(client: httpx.AsyncClient, path: str) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _RECOVERY_SECONDS
    while loop.time() < deadline:
        with suppress(httpx.TransportError):
            read = await client.get(path)
            change = await client.post(f"/v1/collections/{PEOPLE}/records", json=person())
            if read.is_success and change.is_success:
                return True
        await asyncio.sleep(0.25)
    return False


async def _refusing_in_the_middle(
    scratch: Scratch, connection: Connection, notes: Notes, path: str, secret: str
) -> None:
    """Have the ledger refuse for a while, in the middle of a load."""
    load = Load(secret)
    client = await scratch.client(scratch.a.keys["integration"])
    await _remember(scratch, connection)
    working = asyncio.create_task(_work(client, path, load, rounds=_UNTIL_STOPPED))
    await asyncio.sleep(_WHILE_SECONDS)
    await connection.execute(_REFUSE)
    await asyncio.sleep(_WHILE_SECONDS)
    await connection.execute(_ACCEPT)
    again = await _goes_on(load)
    load.stop.set()
    await working
    await scratch.drained(connection)
    await _compare(scratch, connection, notes, load, "made the ledger refuse in the middle of a load, and take again")
    if not (load.refused and again):
        notes.blind("the ledger refusing in the middle of a load", why="nothing was refused, or nothing went on")


async def _goes_on(load: Load) -> bool:
    """Wait until more is acknowledged than was."""
    before = len(load.acknowledged)
    for _ in range(round(_RECOVERY_SECONDS / _PAUSE_SECONDS)):
        if len(load.acknowledged) > before + _CALLERS:
            break
        await asyncio.sleep(_PAUSE_SECONDS)
    return len(load.acknowledged) > before


async def _crashed(scratch: Scratch, notes: Notes, path: str, secret: str) -> None:
    """Under one load: stop PostgreSQL at once, wait until all goes on, kill the server, and start it again."""
    load = Load(secret)
    client = await scratch.client(scratch.a.keys["integration"])
    async with scratch.as_superuser() as connection:
        await _remember(scratch, connection)
    working = asyncio.create_task(_work(client, path, load, rounds=_UNTIL_STOPPED))
    await asyncio.sleep(_WHILE_SECONDS)
    scratch.stop_postgresql_at_once()
    again = await _goes_on(load)
    await asyncio.to_thread(scratch.server.kill)
    await working
    await scratch.server.start()
    async with scratch.as_superuser() as connection:
        await scratch.drained(connection)
        tried = "stopped PostgreSQL at once under load, then killed the server (SIGKILL) and started it again"
        await _compare(scratch, connection, notes, load, tried)
    if not again:
        notes.blind("a load across the end of PostgreSQL", why="nothing was answered after it was started again")


PROBE = Probe(claim="ledger.complete", where=Where.SCRATCH, run=run)
