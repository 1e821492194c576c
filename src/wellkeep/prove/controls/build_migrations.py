"""build.migrations: up, down, up from empty gives the same schema.

An edited, missing or unknown migration stops start-up.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from wellkeep.base.errors import Misconfigured
from wellkeep.db import catalogue, migrate
from wellkeep.db.connection import Connection
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.server import opened_apart
from wellkeep.prove.world import World

_KEEP = "CREATE TABLE public.wk_probe_migration AS SELECT * FROM wk.migration"
_MEND = """
DELETE FROM wk.migration;
INSERT INTO wk.migration SELECT * FROM public.wk_probe_migration;
DROP TABLE public.wk_probe_migration;
"""
_UNHEARD_OF = """
INSERT INTO wk.migration
SELECT {number}, 'unheard_of', up_sha256, down_sha256, chain_sha256 FROM wk.migration WHERE number = 1
"""
_RECORDS: dict[str, tuple[str, int | None]] = {
    "says other bytes": ("UPDATE wk.migration SET up_sha256 = sha256(up_sha256) WHERE number = {number}", None),
    "is missing": ("DELETE FROM wk.migration WHERE number = {number}", None),
    "is of a newer program": (
        _UNHEARD_OF,
        9999,
    ),
}
"""What was done to the records of applied migrations, and the number to be named (none: one in the middle)."""


async def run(world: World, notes: Notes) -> None:
    """Walk every migration in both directions on an empty database of its own, then start with one that differs."""
    scratch = await world.scratch()
    async with scratch.empty_database() as connection:
        try:
            await _there_and_back(connection, notes)
        except Misconfigured as refused:
            notes.check("walked up, down and up again", held=False, seen=refused.message)
            return
        await _divergence(connection, notes)
    await _starts(scratch, notes)


async def _there_and_back(connection: Connection, notes: Notes) -> None:
    known = migrate.packaged()
    await migrate.migrate(connection, to=0)
    bare = await catalogue.snapshot(connection)
    await migrate.migrate(connection)
    first = await catalogue.snapshot(connection)
    await migrate.rollback(connection, to=0)
    left = bare.differences(await catalogue.snapshot(connection))
    await migrate.migrate(connection)
    second = first.differences(await catalogue.snapshot(connection))
    notes.check(
        f"applied {len(known)} migrations to an empty database, undid them, applied them again",
        held=not second and len(first.objects) > len(bare.objects),
        seen=f"{len(first.objects)} catalogue facts, the same both times"
        if not second
        else f"{len(second)} catalogue facts differ: {second[0]}",
    )
    notes.check(
        "undid them all",
        held=len(known) > 0 and not left,
        seen="nothing of theirs stays" if not left else f"{len(left)} catalogue facts stay: {left[0]}",
    )
    again = await migrate.migrate(connection)
    notes.check(
        "applied them once more", held=not again, seen="nothing was left to do" if not again else "applied twice"
    )


async def _divergence(connection: Connection, notes: Notes) -> None:
    known = list(migrate.packaged())
    middle = len(known) // 2
    newest = replace(known[-1], number=known[-1].number + 1, name="unheard_of")
    cases = {
        "edited": (
            known[middle].number,
            [*known[:middle], replace(known[middle], up=known[middle].up + "\n-- x"), *known[middle + 1 :]],
        ),
        "edited on its way back": (known[0].number, [replace(known[0], down=known[0].down + "\n-- x"), *known[1:]]),
        "missing": (known[middle].number, [*known[:middle], *known[middle + 1 :]]),
        "not applied": (newest.number, [*known, newest]),
    }
    for name, (number, altered) in cases.items():
        message = ""
        try:
            await migrate.assert_current(connection, altered)
        except Misconfigured as refused:
            message = refused.message
        notes.check(
            f"started with a migration that is {name}",
            held=f"{number:04}" in message,
            seen=f"start-up stops and names {number:04}" if f"{number:04}" in message else "start-up went on",
        )


async def _starts(scratch: Scratch, notes: Notes) -> None:
    """Open the deployment for real, on records of migrations that somebody changed in the database."""
    middle = migrate.packaged()[len(migrate.packaged()) // 2].number
    for name, (tampering, chosen) in _RECORDS.items():
        number = chosen or middle
        async with scratch.as_superuser() as connection:
            await connection.execute(_KEEP)
            await connection.execute(tampering.format(number=number))
            try:
                opened, said = await asyncio.to_thread(opened_apart, scratch.home.path)
            finally:
                await connection.execute(_MEND)
        held = not opened and f"{number:04}" in said
        notes.check(
            f"started a process on a database whose record of a migration {name}",
            held=held,
            seen=f"it stops and names {number:04}" if held else ("it went on" if opened else "it did not name it"),
        )


PROBE = Probe(claim="build.migrations", where=Where.SCRATCH, run=run)
