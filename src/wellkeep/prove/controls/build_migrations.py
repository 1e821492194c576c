"""build.migrations: up, down, up from empty gives the same schema.

An edited, missing or unknown migration stops start-up.
"""

from __future__ import annotations

from dataclasses import replace

from wellkeep.base.errors import Misconfigured
from wellkeep.db import catalogue, migrate
from wellkeep.db.connection import Connection
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.world import World


async def run(world: World, notes: Notes) -> None:
    """Walk every migration in both directions on an empty database of its own."""
    scratch = await world.scratch()
    async with scratch.empty_database() as connection:
        known = migrate.packaged()
        empty = await catalogue.snapshot(connection)
        await migrate.migrate(connection)
        first = await catalogue.snapshot(connection)
        await migrate.rollback(connection, to=0)
        back = await catalogue.snapshot(connection)
        await migrate.migrate(connection)
        second = await catalogue.snapshot(connection)
        notes.check(
            f"applied {len(known)} migrations to an empty database, undid them, applied them again",
            held=first == second and len(first.objects) > len(empty.objects),
            seen=f"{len(first.objects)} catalogue facts, the same both times"
            if first == second
            else "the schemas differ",
        )
        left = len(back.objects) - len(empty.objects)
        notes.check(
            "undid them all", held=len(known) > 0 and first != back, seen=f"{left} catalogue facts of bookkeeping stay"
        )
        again = await migrate.migrate(connection)
        notes.check("applied them once more", held=not again, seen="nothing was left to do")
        await _divergence(connection, notes)


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


PROBE = Probe(claim="build.migrations", where=Where.SCRATCH, run=run)
