"""A deployment as its users meet it: made by the product, served by a process of its own, broken from outside.

Nothing of the product runs in the test's process while a fault is on: the services that set it up and look it over
afterwards are opened for that moment and closed again, so that no second ledger writer mends what the server should.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec

from database import ENVIRONMENT, scratch_home
from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.listen_settings import ListenSettings
from wellkeep.db import postmaster
from wellkeep.db.connection import Connection
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.provision import connected
from wellkeep.ledger.report import Report
from wellkeep.ledger.verify import verify
from wellkeep.prove.server import free_addresses

PEOPLE: dict[str, Any] = {
    "name": "people",
    "subject": "self",
    "fields": [
        {"name": "code", "type": "string", "class": "pii", "index": "exact", "group": "identifier"},
        {"name": "body", "type": "text", "class": "phi"},
        {"name": "visits", "type": "integer", "class": "plain", "group": "administrative"},
    ],
}
RECORDS = "/v1/collections/people/records"
START_SECONDS = 120.0
STOP_SECONDS = 40.0
CLIENT_SECONDS = 40.0


@dataclass
class Tenant:
    """A tenant, and a key for each role that the tests act in."""

    id: UUID
    keys: dict[str, str]


@dataclass
class Deployed:
    """One deployment, its server process and its PostgreSQL."""

    home: Home
    database: Database
    a: Tenant
    b: Tenant
    workers: int = 1
    process: subprocess.Popen[bytes] | None = None
    clients: dict[tuple[str, bool], httpx.AsyncClient] = field(default_factory=dict)

    @property
    def postgresql(self) -> EmbeddedServer:
        assert self.database.embedded is not None
        return self.database.embedded

    @property
    def postmaster(self) -> int:
        """The postmaster's pid."""
        pid = self.postgresql.pid
        assert pid is not None, "PostgreSQL does not run"
        return pid

    @property
    def backends(self) -> list[int]:
        """Every process of PostgreSQL's, the postmaster included."""
        return postmaster.processes_of(self.postgresql.data)

    def client(
        self, role: str = "integration", tenant: Tenant | None = None, *, admin: bool = False
    ) -> httpx.AsyncClient:
        """Return a client that signs in with a key of `tenant` (default: the first)."""
        key = (tenant or self.a).keys[role]
        if (key, admin) not in self.clients:
            self.clients[key, admin] = self.fresh_client(key, admin=admin)
        return self.clients[key, admin]

    def fresh_client(self, key: str, *, admin: bool = False) -> httpx.AsyncClient:
        """Return a client with connections of its own."""
        settings = self.home.settings()
        listen = settings.listen
        trust = ssl.create_default_context(cafile=str(self.home.resolve(settings.tls.certificate)))
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(
            base_url=f"https://{listen.admin if admin else listen.public}",
            headers=headers,
            verify=trust,
            timeout=CLIENT_SECONDS,
            trust_env=False,
        )

    async def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.home.log / "serve.out").open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603, ASYNC220  # our own program; starting it takes no time
                [sys.executable, "-m", "wellkeep", "serve", str(self.home.path), "--workers", str(self.workers)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        await eventually(self.ready, seconds=START_SECONDS, what="the server answers and is ready")

    async def ready(self) -> bool:
        """Say whether the server is up and stands on what it needs."""
        assert self.process is not None
        assert self.process.poll() is None, self.output()
        try:
            return (await self.client().get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    def output(self) -> str:
        """Return what the server wrote last."""
        return (self.home.log / "serve.out").read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """Kill the server and its workers, not PostgreSQL, which lives in a session of its own."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=STOP_SECONDS)

    async def stop(self) -> None:
        """Close the clients, stop the server in good order, and PostgreSQL where it is left."""
        for client in self.clients.values():
            await client.aclose()
        self.clients.clear()
        for pid in self.backends:
            _signal(pid, signal.SIGCONT)
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        await asyncio.to_thread(self.database.stop)

    @asynccontextmanager
    async def as_superuser(self) -> AsyncIterator[Connection]:
        """Lend a connection of the database's administrator."""
        administrator = self.database.administrator()
        assert administrator is not None
        async with connected(administrator) as connection:
            yield connection

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Return the rows that the database's administrator sees."""
        async with self.as_superuser() as connection:
            return list(await connection.fetch(sql, *arguments))

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Runtime]:
        """Lend the operator's services, for as long as nothing is broken."""
        async with open_runtime(self.home, self.home.settings(), self.database) as runtime:
            yield runtime

    async def drained(self) -> None:
        """Wait until the server has chained all that was committed."""

        async def empty() -> bool:
            return bool((await self.fetch("SELECT count(*) = 0 AS empty FROM ledger.outbox"))[0]["empty"])

        await eventually(empty, seconds=10, what="the outbox is empty")

    async def verified(self) -> Report:
        """Verify every log, as the operator does."""
        async with (
            open_core(self.home, self.home.settings(), self.database) as core,
            connected(self.database.endpoint("wk_migrate")) as connection,
        ):
            return await verify(connection, keys=core.seal_keys)


async def eventually(done: Callable[[], Awaitable[bool]], *, seconds: float, what: str) -> float:
    """Ask until `done`, and return how long that took; fails after `seconds`."""
    began = time.monotonic()
    while not await done():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


@dataclass(frozen=True)
class Template:
    """A deployment with two tenants that was made and never served; what is served is a copy of it."""

    home: Home
    tenants: tuple[Tenant, Tenant]


async def make_template(folder: Path) -> Template:
    """Make a deployment below `folder`, as its operator does."""
    home = Home(folder / "home")
    await _command(sys.executable, "-m", "wellkeep", "init", str(home.path), "--environment", ENVIRONMENT)
    database = Database(home, home.settings())
    await asyncio.to_thread(database.start)
    try:
        async with open_runtime(home, home.settings(), database) as runtime:
            tenants = [await _tenant(runtime, name) for name in ("northside", "southside")]
    finally:
        await asyncio.to_thread(database.stop)
    return Template(home, (tenants[0], tenants[1]))


async def _tenant(runtime: Runtime, name: str) -> Tenant:
    operator = this_operator()
    tenant = await runtime.tenants.create(operator, name=name)
    keys = {}
    for role in ("administrator", "integration", "privacy_officer"):
        issued = await runtime.api_keys.create(operator, tenant=tenant, name="fault", roles=(role,))
        keys[role] = issued.key.reveal()
    return Tenant(tenant, keys)


@asynccontextmanager
async def deployment(template: Template, *, workers: int = 1, where: Path | None = None) -> AsyncIterator[Deployed]:
    """Serve a copy of `template` below `where` (default: in memory) on ports of its own; remove it afterwards."""
    folder = where or scratch_home()
    await _command("cp", "-a", str(template.home.path), str(folder))  # it keeps the owners
    home = Home(folder / template.home.path.name)
    public, admin, plain = free_addresses(3)
    listen = ListenSettings(public=public, admin=admin, plain=plain)
    home.write_settings(msgspec.structs.replace(home.settings(), listen=listen))
    a, b = template.tenants
    made = Deployed(home, Database(home, home.settings()), a, b, workers=workers)
    await asyncio.to_thread(made.database.start)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _command(*arguments: str) -> None:
    command = await asyncio.create_subprocess_exec(*arguments, stdout=DEVNULL, stderr=PIPE)
    _, said = await command.communicate()
    assert command.returncode == 0, said.decode(errors="replace")


async def declare(deployed: Deployed, definition: dict[str, Any] = PEOPLE) -> None:
    """Make a collection for both tenants."""
    for tenant in (deployed.a, deployed.b):
        answer = await deployed.client("administrator", tenant).post("/v1/collections", json=definition)
        assert answer.status_code == 201, answer.text


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
