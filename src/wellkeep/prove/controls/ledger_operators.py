"""ledger.operators: what our own people type is on record, and so is who logs in past the application."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from wellkeep.access.operators import this_operator
from wellkeep.assembly.announcing import announce_session
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.db.dsn import Endpoint
from wellkeep.db.provision import connected
from wellkeep.findings.grammar import Kind
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.server import PROGRAM, commanded, commanding
from wellkeep.prove.world import World

_COMMANDS = {
    "db.status": ("db", "status"),
    "db.migrate": ("db", "migrate"),
    "doctor": ("doctor",),
    "findings": ("findings",),
    "tenant.list": ("tenant", "list"),
    "ledger.anchors": ("ledger", "anchors"),
    "ledger.verify": ("ledger", "verify"),
    "apikey.list": ("apikey", "list", "--tenant", "nobody-of-this-name"),
}
"""By the name that an entry has of it: what looks, what changes, and one that is refused, for nobody has that name."""
_REFUSED = "apikey.list"
_SEEN_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_STARTED_SECONDS = 20.0

_EVENTS = """
SELECT event ->> 'outcome' AS outcome, event #>> '{actor,type}' AS type, event #>> '{actor,id}' AS actor,
       event #>> '{resource,id}' AS resource, event ->> 'error' AS error
FROM (SELECT seq, convert_from(entry, 'UTF8')::jsonb -> 'event' AS event FROM ledger.entry
      WHERE tenant_id = $1 AND action = $2) AS entered
ORDER BY seq
"""
_ENDED = ("done", "failed", "denied")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of sessions: entries that they were bound or seen, and how often each role was found."""

    bound: int
    watched: int
    found: dict[str, int]


async def run(world: World, notes: Notes) -> None:
    """Give commands, kill one, log in past wellkeep and announced, and look at what is on record of it."""
    scratch = await world.scratch()
    if world.settings().database.mode == "external":
        notes.blind(
            "looked whether the server of this deployment shows every session",
            why="it is not ours: sessions are looked for each second, and one that is shorter can be missed",
        )
    async with scratch.as_superuser() as connection:
        await _commands(scratch, connection, notes)
        await _killed(scratch, connection, notes)
        await _past(scratch, connection, notes)
        await _announced(scratch, connection, notes)


async def _commands(scratch: Scratch, connection: Connection, notes: Notes) -> None:
    before = len(await connection.fetch(_EVENTS, PLATFORM_TENANT, "operator.command"))
    given = (asyncio.to_thread(commanded, scratch.home.path, *words) for words in _COMMANDS.values())
    await asyncio.gather(*given)
    entered = (await connection.fetch(_EVENTS, PLATFORM_TENANT, "operator.command"))[before:]
    missing = []
    for name in _COMMANDS:
        told = [row["outcome"] for row in entered if row["resource"] == name and row["type"] == "operator"]
        if not (len(told) == len(["before", "after"]) and told[0] == "authorised" and told[1] in _ENDED):
            missing.append(name)
    refused = {row["resource"] for row in entered if row["error"] is not None}
    notes.check(
        f"gave {len(_COMMANDS)} commands at the machine, one of them refused, and looked for each before and after",
        held=not missing and refused == {_REFUSED},
        seen=f"{len(entered)} entries; missing: {', '.join(missing) or 'none'}; refused: {', '.join(sorted(refused))}",
    )


async def _killed(scratch: Scratch, connection: Connection, notes: Notes) -> None:
    """Kill a command while it works; its entry was there before."""
    before = len(await connection.fetch(_EVENTS, PLATFORM_TENANT, "operator.command"))
    process = subprocess.Popen(  # noqa: S603, ASYNC220 -- our own program; starting it takes no time
        [*PROGRAM, "db", "shell", "--reason", "probe", "--", "-c", "SELECT pg_sleep(60)"],
        env=commanding(scratch.home.path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:

        async def entered() -> list[str]:
            rows = (await connection.fetch(_EVENTS, PLATFORM_TENANT, "operator.command"))[before:]
            return [row["outcome"] for row in rows if row["resource"] == "db.shell"]

        await _within(_STARTED_SECONDS, entered, bool)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
    told = await entered()
    notes.check(
        "killed a command while it worked (SIGKILL)",
        held=told == ["authorised"],
        seen=f"the root log says {', '.join(told) or 'nothing'}",
    )


async def _past(scratch: Scratch, connection: Connection, notes: Notes) -> None:
    """Log in with the passwords alone: one session that stays, one that is over at once."""
    superuser, migrator = scratch.superuser(), scratch.database.endpoint("wk_migrate")
    for tried, endpoint, stays in (
        ("logged in as superuser past wellkeep, and stayed", superuser, True),
        ("logged in as superuser past wellkeep, and left at once", superuser, False),
        ("logged in as the schema's owner past wellkeep, and left at once", migrator, False),
    ):
        before = await _seen(scratch, connection)
        began = SystemClock().monotonic()
        async with _login(endpoint, None, stays=stays):
            after = await _until(scratch, connection, _more_watched(before))
        role = endpoint.user
        took = SystemClock().monotonic() - began
        found = after.found.get(role, 0) - before.found.get(role, 0)
        notes.check(
            tried,
            held=found >= 1 and after.watched - before.watched == 1,
            seen=f"{found} finding and {after.watched - before.watched} entry after {took:.1f} s",
        )


async def _announced(scratch: Scratch, connection: Connection, notes: Notes) -> None:
    """Log in as announced, then again by the same announcement, while the first session is there and afterwards.

    Then as the superuser, by the announcement of a session of the schema's owner.
    """
    endpoint = scratch.superuser()
    name = await announce_session(scratch.operator.core, this_operator(), endpoint.user, reason="a probe of ours")
    before = await _seen(scratch, connection)
    async with _login(endpoint, name, stays=True):
        after = await _until(scratch, connection, lambda now: now.bound > before.bound)
        notes.check(
            "positive control: announced a superuser's session, and logged in",
            held=after.bound - before.bound == 1 and (after.watched, after.found) == (before.watched, before.found),
            seen=f"{after.bound - before.bound} entry of the operator, {after.watched - before.watched} of the watch",
        )
        again = "logged in once more under the same announcement"
        await _refused(scratch, connection, notes, f"{again} while the session was there", name)
    await _refused(scratch, connection, notes, f"{again} when the session was over", name)
    other = await announce_session(scratch.operator.core, this_operator(), "wk_migrate")
    tried = "logged in as superuser under the announcement of a session of the schema's owner"
    await _refused(scratch, connection, notes, tried, other)


async def _refused(scratch: Scratch, connection: Connection, notes: Notes, tried: str, name: str) -> None:
    """Log in as superuser under a name that does not announce it."""
    before = await _seen(scratch, connection)
    endpoint = scratch.superuser()
    async with _login(endpoint, name, stays=False):
        after = await _until(scratch, connection, _more_watched(before))
    found = after.found.get(endpoint.user, 0) - before.found.get(endpoint.user, 0)
    notes.check(
        tried,
        held=found >= 1 and after.watched - before.watched == 1 and after.bound == before.bound,
        seen=f"{found} finding, {after.watched - before.watched} entry of the watch's",
    )


@asynccontextmanager
async def _login(endpoint: Endpoint, name: str | None, *, stays: bool) -> AsyncIterator[None]:
    """Log in by the password alone, under `name`; one that does not stay is gone when the block begins."""

    async def announced(_role: str) -> str | None:
        return name

    async with connected(replace(endpoint, announce=announced)):
        if stays:
            yield
    if not stays:
        yield


def _more_watched(before: _Seen) -> Callable[[_Seen], bool]:
    return lambda now: now.watched > before.watched


async def _seen(scratch: Scratch, connection: Connection) -> _Seen:
    core = scratch.operator.core
    rows = await connection.fetch(_EVENTS, PLATFORM_TENANT, "operator.session")
    return _Seen(
        bound=sum(row["type"] == "operator" and row["outcome"] == "done" for row in rows),
        watched=sum(row["actor"] == "watch" for row in rows),
        found={
            one.key.removeprefix(f"{Kind.OPERATOR_UNRECORDED.value}:"): one.count
            for one in await core.findings.list(PLATFORM_TENANT, open_only=False)
            if one.kind == Kind.OPERATOR_UNRECORDED
        },
    )


async def _until(scratch: Scratch, connection: Connection, done: Callable[[_Seen], bool]) -> _Seen:
    """Look until `done`, for five seconds at most, and once more after the finding had time to be stored."""
    seen = await _within(_SEEN_SECONDS, lambda: _seen(scratch, connection), done)
    await asyncio.sleep(_LOOK_SECONDS)
    return await _seen(scratch, connection) if done(seen) else seen


async def _within(seconds: float, look: Callable[[], Coroutine[Any, Any, Any]], done: Callable[[Any], bool]) -> Any:
    clock = SystemClock()
    until = clock.monotonic() + seconds
    seen = await look()
    while not done(seen) and clock.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
        seen = await look()
    return seen


PROBE = Probe(claim="ledger.operators", where=Where.SCRATCH, run=run)
