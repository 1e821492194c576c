"""A real PostgreSQL for the tests: one cluster a session, one fresh database a test.

`WELLKEEP_TEST_SERVER` says which: unset, the embedded one; `system`, the machine's own programs under the same
launcher; a DSN of an administrator, that server. Durability stays on, for the guard asserts it: the cluster lies in
memory (/dev/shm) where there is room, and that is what makes it fast.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.db import dsn, migrate, provision, roles
from wellkeep.db.connection import Connection
from wellkeep.db.context import ContextKey
from wellkeep.db.dsn import Endpoint
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.errors import Codes
from wellkeep.db.pool import Limits, Pool

T = TypeVar("T")

ENVIRONMENT = "test"
_ROOM_BYTES = 1 << 30
_TEMPLATE = "wk_template"
_CREATE = "SELECT format('CREATE DATABASE %I TEMPLATE %I STRATEGY FILE_COPY OWNER wk_owner', $1::text, $2::text)"
_DROP = "SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text)"
_CREATE_TENANT = "SELECT wk.create_tenant($1, $2, $3, $4)"


class Background:
    """An event loop in a thread of its own: fixtures that are not coroutines run theirs here, on kept connections."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fixtures", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], *, seconds: float = 120) -> T:
        """Run `work` to its end and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=seconds)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


@dataclass
class Server:
    """The session's PostgreSQL."""

    administrator: Endpoint
    passwords: Mapping[str, Secret[str]]
    background: Background
    embedded: EmbeddedServer | None
    deployment: UUID = field(default_factory=uuid7)
    context_key: ContextKey = field(default_factory=lambda: ContextKey(Secret(os.urandom(32))))
    template: str = _TEMPLATE

    async def create(self, name: str, template: str) -> None:
        """Make the database `name` a copy of `template`."""
        async with provision.connected(self.administrator) as connection:
            await connection.execute(await connection.fetchval(_CREATE, name, template))
            await roles.restrict_database(connection, name)

    async def drop(self, name: str) -> None:
        """Drop the database `name`, whoever is still connected."""
        async with provision.connected(self.administrator) as connection:
            await connection.execute(await connection.fetchval(_DROP, name))

    async def prepare(self) -> None:
        """Make the template database: roles, schema at the newest migration, deployment, key."""
        self.template = f"{_TEMPLATE}_{secrets.token_hex(4)}"
        await provision.provision(
            self.administrator,
            database=self.template,
            passwords=self.passwords,
            deployment_id=self.deployment,
            environment=ENVIRONMENT,
            context_key=self.context_key,
            migrations=chosen_migrations(),
        )


@dataclass(frozen=True)
class Database:
    """One test's database, migrated to the newest schema, with the deployment's mark and the context key installed."""

    server: Server
    name: str

    @property
    def context_key(self) -> ContextKey:
        return self.server.context_key

    @property
    def superuser(self) -> Endpoint:
        """The administrator's endpoint at this database."""
        return self.server.administrator.at(self.name)

    @property
    def superuser_dsn(self) -> str:
        return self.superuser.url().reveal()

    def endpoint(self, role: str = "wk_app") -> Endpoint:
        """How `role` reaches this database."""
        return self.superuser.as_role(role, self.server.passwords[role])

    def dsn(self, role: str = "wk_app") -> str:
        return self.endpoint(role).url().reveal()

    def connect(self, role: str | None = None) -> AbstractAsyncContextManager[Connection]:
        """Open a bare connection of `role`'s (None: the administrator's): `async with database.connect("wk_app")`."""
        return provision.connected(self.superuser if role is None else self.endpoint(role))

    def pool(
        self,
        role: str = "wk_app",
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        codes: Codes | None = None,
    ) -> Pool:
        """Return a pool of `role`'s, to be opened: `async with database.pool("wk_app") as pool`.

        Unless `limits` says otherwise it waits for its server as long as a slow machine may take.
        """
        limits = limits or Limits(acquire_seconds=60.0, connect_seconds=60.0)
        return Pool(self.endpoint(role), context_key=self.context_key, clock=clock, limits=limits, codes=codes)

    def token(self, connection: Connection, tenant: UUID) -> str:
        """Return a good token of `tenant`'s for `connection`."""
        return self.context_key.mint(tenant=tenant, pid=connection.get_server_pid(), now=SystemClock().seconds())

    @asynccontextmanager
    async def entered(self, tenant: UUID, role: str = "wk_app") -> AsyncIterator[Connection]:
        """Open a connection of `role`'s in one transaction under `tenant`'s context; the driver's errors are bare."""
        async with self.connect(role) as connection, connection.transaction():
            await connection.execute("SELECT wk.enter($1)", self.token(connection, tenant))
            yield connection

    async def create_tenant(self, name: str | None = None, *, kind: str = "live") -> UUID:
        """Make a tenant the way the product does, and return its id."""
        tenant = uuid7()
        async with self.entered(PLATFORM_TENANT) as connection:
            await connection.execute(_CREATE_TENANT, tenant, name or f"tenant-{tenant.hex[-12:]}", kind, ENVIRONMENT)
        return tenant


def chosen_migrations() -> list[migrate.Migration] | None:
    """Return the migrations that `WELLKEEP_TEST_MIGRATIONS` numbers ("1,2,6": work on one room), or None for all."""
    wanted = os.environ.get("WELLKEEP_TEST_MIGRATIONS")
    if not wanted:
        return None
    folder = files("wellkeep.db.migrations")
    chosen = []
    for number in sorted(int(part) for part in wanted.split(",")):
        up = next(
            entry for entry in folder.iterdir() if entry.name.startswith(f"{number:04d}_") and ".up." in entry.name
        )
        stem = up.name.removesuffix(".up.sql")
        down = folder.joinpath(f"{stem}.down.sql")
        chosen.append(
            migrate.Migration(
                number=number, name=stem[5:], up=up.read_text(encoding="utf-8"), down=down.read_text(encoding="utf-8")
            )
        )
    return chosen


def scratch_home() -> Path:
    """Return a new directory that an unprivileged account can pass through: in memory where there is room."""
    memory = Path("/dev/shm")  # noqa: S108 -- mkdtemp makes a directory of our own in it
    fits = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM_BYTES
    home = Path(tempfile.mkdtemp(prefix="wk-", dir=memory if fits else None))
    home.chmod(0o711)
    return home


def system_programs() -> Path:
    """Return the directory of the machine's own newest PostgreSQL. Raises FileNotFoundError where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise FileNotFoundError("WELLKEEP_TEST_SERVER=system, but this machine has no PostgreSQL of its own")
    return found[-1].parent


def launch(home: Path, background: Background) -> Server:
    """Start the server that `WELLKEEP_TEST_SERVER` asks for, below `home`, and prepare it."""
    asked = os.environ.get("WELLKEEP_TEST_SERVER", "embedded")
    if asked.startswith(("postgres://", "postgresql://")):
        administrator = dsn.parse(Secret(asked))
        # The same in every xdist worker: they share that server's roles.
        chosen = {role: Secret(hashlib.sha256(f"{role} {asked}".encode()).hexdigest()) for role in roles.LOGIN_ROLES}
        return Server(administrator=administrator, passwords=chosen, background=background, embedded=None)
    embedded = EmbeddedServer(
        home,
        ENVIRONMENT,
        bin_dir=system_programs() if asked == "system" else None,
        settings={"max_connections": "200", "shared_buffers": "64MB", "max_wal_size": "256MB"},
    )
    embedded.start()
    return Server(
        administrator=embedded.endpoint(database="postgres"),
        passwords=embedded.passwords,
        background=background,
        embedded=embedded,
    )
