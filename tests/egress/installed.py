"""A deployment of this room's tests, and what its ledger holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from database import ENVIRONMENT, scratch_home
from deployments import command
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.base.settings import EgressSettings, Place
from wellkeep.db.provision import connected

_ENTRIES = "SELECT convert_from(entry, 'UTF8') AS entry FROM ledger.entry WHERE action = $1 ORDER BY epoch, seq"


@contextmanager
def installed() -> Iterator[Home]:
    """Make a deployment whose database runs, and remove it."""
    folder = scratch_home()
    made = Home(folder / "home")
    try:
        said = command("init", made.path, "--environment", ENVIRONMENT)
        assert said.code == 0, said.err
        database = Database(made, made.settings())
        database.start()
        try:
            yield made
        finally:
            database.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def listed(home: Home, *places: Place) -> Home:
    """Write the places into the settings of `home`."""
    home.write_settings(msgspec.structs.replace(home.settings(), egress=EgressSettings(places=places)))
    return home


def database_of(home: Home) -> Database:
    """Return the database of `home`, which runs."""
    database = Database(home, home.settings())
    database.start()
    return database


async def events(home: Home, action: str) -> list[dict[str, Any]]:
    """Return the events of `action` that were entered, oldest first."""
    administrator = database_of(home).administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        rows = await connection.fetch(_ENTRIES, action)
    return [msgspec.json.decode(row["entry"])["event"] for row in rows]


async def statement(home: Home, sql: str) -> None:
    """Run `sql` as the database's superuser."""
    administrator = database_of(home).administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        await connection.execute(sql)
