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
from wellkeep.assembly.tls import make_development_certificate
from wellkeep.base.anchor_settings import FileAnchor
from wellkeep.base.clock import SystemClock
from wellkeep.base.listen_settings import ListenSettings
from wellkeep.base.settings import EgressSettings, LedgerSettings, Place
from wellkeep.base.tls_settings import TlsHost
from wellkeep.db import roles
from wellkeep.db.connection import Connection
from wellkeep.db.provision import connected
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.server import ServerProcess, commanding, free_addresses
from wellkeep.prove.stage import Stage
from wellkeep.prove.tenants import prepared

IDENTITY = "wk_probe_identity"
"""The one place that the deployment may connect to: an identity provider of the probe's, on loopback."""
WORKERS = 2
"""So that what one of them learns, or counts, must hold on the other."""
HOSTS = ("one.wk-probe.test", "two.wk-probe.test")
"""Customers' host names, each with a certificate of its own."""
_LOOPBACK = ("127.0.0.0/8", "::1/128")
INSIDE = "127.0.0.1/32"
"""From where administration may be connected to; the rest of the loopback network is outside."""
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
        self.server = ServerProcess(
            home.path,
            f"https://{self.settings.listen.public}/healthz",
            environment=commanding(home.path),
            workers=WORKERS,
        )
        self.counted: set[str] = set()

    @property
    def identity_port(self) -> int:
        """Where an identity provider may be, on loopback."""
        return next(place.ports[0] for place in self.settings.egress.places if place.name == IDENTITY)

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
        public, admin, plain, identity = free_addresses(4)
        listen = ListenSettings(public=public, admin=admin, plain=plain, admin_networks=(INSIDE,))
        scratch = None
        try:
            home = Home(folder / "home", takes_root_key=False)
            await initialise(home, environment="scratch", listen=listen)
            settings = home.settings()
            tls = msgspec.structs.replace(settings.tls, hosts=_hosts(home))
            egress = EgressSettings(places=(_identity(home, int(identity.rpartition(":")[2])),))
            home.write_settings(msgspec.structs.replace(settings, ledger=_anchored(folder), tls=tls, egress=egress))
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


def make_certificate(home: Home, host: TlsHost) -> None:
    """Make a certificate of `host`, in the place of one that is there: each file at once, the key first."""
    with tempfile.TemporaryDirectory(dir=home.path / "secrets") as folder:
        made = make_development_certificate(
            certificate=Path(folder) / "new.crt", key=Path(folder) / "new.key", host=host.name, clock=SystemClock()
        )
        made.key.replace(home.resolve(host.key))
        made.certificate.replace(home.resolve(host.certificate))


def _hosts(home: Home) -> tuple[TlsHost, ...]:
    """Make certificates for two customers' host names."""
    hosts = tuple(TlsHost(name=name, certificate=f"secrets/{name}.crt", key=f"secrets/{name}.key") for name in HOSTS)
    for host in hosts:
        make_certificate(home, host)
    return hosts


def _identity(home: Home, port: int) -> Place:
    """Return the place of an identity provider, with a certificate for it."""
    folder = home.resolve("secrets")
    made = make_development_certificate(
        certificate=folder / f"{IDENTITY}.crt", key=folder / f"{IDENTITY}.key", host="localhost", clock=SystemClock()
    )
    return Place(name=IDENTITY, host="localhost", ports=(port,), networks=_LOOPBACK, ca=str(made.authority))


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
