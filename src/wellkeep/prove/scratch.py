"""A scratch deployment: made from nothing by the same build, served by a process of its own, removed afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from wellkeep.assembly.home import Home
from wellkeep.assembly.installation import initialise
from wellkeep.base.anchor_settings import FileAnchor
from wellkeep.base.settings import LedgerSettings, ListenSettings
from wellkeep.db import roles
from wellkeep.db.connection import Connection
from wellkeep.db.provision import connected
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.server import ServerProcess, free_addresses
from wellkeep.prove.stage import Stage
from wellkeep.prove.tenants import prepared

_EMPTY = "wk_probe_empty"
_OUTBOX = "SELECT count(*) FROM ledger.outbox"
_DRAIN_TRIES = 450
_DRAIN_PAUSE_SECONDS = 0.2
_DROP = "DROP DATABASE IF EXISTS wk_probe_empty WITH (FORCE)"


class Scratch(Stage):
    """A deployment that a probe may break: two synthetic tenants, `a` and `b`, and a file anchor outside its home."""

    def __init__(self, home: Home) -> None:
        """Describe the deployment that was made in `home`."""
        super().__init__(home)
        self.server = ServerProcess(home.path, f"https://{self.settings.listen.public}/healthz")
        self.counted: set[str] = set()

    async def drained(self, connection: Connection) -> None:
        """Wait until nothing is left in the outbox. Raises Unseen where something stays."""
        for _ in range(_DRAIN_TRIES):
            if not await connection.fetchval(_OUTBOX):
                return
            await asyncio.sleep(_DRAIN_PAUSE_SECONDS)
        raise Unseen("the outbox of the scratch deployment was not drained")

    def stop_postgresql_at_once(self) -> None:
        """Stop the deployment's PostgreSQL as a crash does, in the middle of whatever it does (SIGQUIT)."""
        embedded = self.database.embedded
        if embedded is None or embedded.pid is None:
            raise Unseen("the scratch deployment's PostgreSQL does not run")
        os.kill(embedded.pid, signal.SIGQUIT)

    async def replay(self) -> set[str]:
        """Replay the ledger against the records of tenant `a` and return the ids of records that do not agree."""
        replayed = await self.operator.replay.run(self.a.id)
        return {str(difference.record) for difference in replayed.differences}

    @classmethod
    @asynccontextmanager
    async def make(cls) -> AsyncIterator[Scratch]:
        """Make a deployment in a new directory, start it, give it two tenants, and remove it all afterwards."""
        folder = await asyncio.to_thread(_folder)
        public, admin, plain = free_addresses(3)
        listen = ListenSettings(public=public, admin=admin, plain=plain)
        scratch = None
        try:
            home = Home(folder / "home")
            await initialise(home, environment="scratch", listen=listen)
            home.write_settings(msgspec.structs.replace(home.settings(), ledger=_anchored(folder)))
            scratch = cls(home)
            async with scratch:
                await scratch.server.start()
                async with prepared(scratch) as (scratch.operator, scratch.a, scratch.b):
                    yield scratch
        finally:
            if scratch is not None:
                await asyncio.to_thread(scratch.server.stop)
                await asyncio.to_thread(scratch.database.stop)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    @asynccontextmanager
    async def empty_database(self) -> AsyncIterator[Connection]:
        """Lend the migrator's connection to a new, empty database of this server; it is dropped afterwards."""
        administrator = self.superuser()
        async with connected(administrator) as connection:
            await connection.execute(_DROP)
            await roles.ensure_database(connection, _EMPTY)
        try:
            async with connected(administrator.at(_EMPTY)) as connection:
                await roles.close_public(connection)
            async with connected(self.database.endpoint("wk_migrate").at(_EMPTY)) as connection:
                yield connection
        finally:
            async with connected(administrator) as connection:
                await connection.execute(_DROP)


def _anchored(folder: Path) -> LedgerSettings:
    """Return settings that anchor the ledger in a directory which is not the deployment's own."""
    outside = folder / "outside"
    outside.mkdir(mode=0o700)
    return LedgerSettings(anchors=(FileAnchor(name="outside", path=str(outside)),))


def _folder() -> Path:
    """Make a directory that the embedded PostgreSQL's own account can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="wellkeep-scratch-"))
    folder.chmod(0o711)
    return folder
