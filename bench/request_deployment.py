"""The two sides of `request` and `scale`: a deployment of wellkeep as `init` and `serve` make it, and the bare twin.

Each has a PostgreSQL of its own with the same settings, so that what one side leaves to its background workers is never
counted against the other.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from measure import cpu_seconds, own_cpu_seconds, rss_mb
from request_data import COLLECTION, DECLARATION
from request_load import Target, connect, request
from wellkeep.access.api_keys import Bounds
from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import _APP_CONNECTIONS
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.installation import initialise
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.listen_settings import ListenSettings
from wellkeep.db.embedded import EmbeddedServer

ENVIRONMENT = "bench"
_UNHURRIED = Bounds(requests=10_000_000, records=1_000_000_000)
"""What is measured is what a request costs, not when it is told to slow down."""
_LISTEN = ListenSettings(public="127.0.0.1:0", admin="127.0.0.1:0", plain="127.0.0.1:0")
_START_SECONDS = 120.0
_SERVING = re.compile(r"https://127\.0\.0\.1:(\d+) \(API\)")
_EMPTY = "TRUNCATE vault.record, vault.tag, vault.revision, vault.idempotency"
"""The ledger stays: one that forgot its entries takes no more."""


@dataclass(slots=True)
class Tenant:
    """One tenant as its callers know it."""

    id: UUID
    key: str
    subjects: list[UUID] = field(default_factory=list)


@dataclass(slots=True)
class Side:
    """One side: the server's process, its postmaster, where it listens, and how to look into its database."""

    name: str
    process: subprocess.Popen[bytes]
    postmaster: int
    target: Target
    administrator: dict[str, Any]
    empty: str

    def cpu(self) -> tuple[float, float]:
        """Return the CPU seconds of the server and of PostgreSQL so far."""
        return own_cpu_seconds(self.process.pid), cpu_seconds(self.postmaster)

    def rss(self) -> float:
        """Return the server's resident memory in MB."""
        return rss_mb(self.process.pid)

    async def execute(self, *statements: str) -> None:
        """Run statements as the superuser, whom the walls do not bind: for the bench's own housekeeping."""
        connection = await asyncpg.connect(**self.administrator)
        for statement in statements:
            await connection.execute(statement, timeout=300)
        await connection.close()

    async def backends(self) -> dict[str, float]:
        """Return the CPU seconds of the living backends by what they call themselves."""
        connection = await asyncpg.connect(**self.administrator)
        rows = await connection.fetch(
            "SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS name FROM pg_stat_activity"
        )
        await connection.close()
        found: dict[str, float] = {}
        for row in rows:
            found[row["name"]] = found.get(row["name"], 0.0) + own_cpu_seconds(row["pid"])
        return found

    def stop(self) -> None:
        """Stop the server."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serve(home: Path) -> Side:
    """Start `wellkeep serve` over a deployment that exists; its PostgreSQL runs or is started here."""
    where = Home(home)
    settings = where.settings()
    database = Database(where, settings)
    database.start()
    log = (home / "serve.log").open("wb")
    program = Path(sys.executable).with_name("wellkeep")
    process = subprocess.Popen([program, "serve", home], stdout=log, stderr=log)  # noqa: S603 - our own program
    log.close()
    port = _wait_for_port(home / "serve.log", process)
    assert database.embedded is not None
    postmaster = database.embedded.pid
    assert postmaster is not None
    return Side(
        "wellkeep", process, postmaster, Target("127.0.0.1", port), database.embedded.endpoint().arguments(), _EMPTY
    )


def _wait_for_port(log: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        found = _SERVING.search(" ".join(log.read_text().split()))
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(f"wellkeep did not begin to serve:\n{log.read_text()}")


def serve_twin(home: Path, certificates: Path) -> tuple[Side, EmbeddedServer]:
    """Start the twin over a PostgreSQL of its own in `home`."""
    server = EmbeddedServer(home, ENVIRONMENT)
    server.start()
    administrator = server.endpoint(database="postgres").arguments()
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, Path(__file__).with_name("request_twin.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(home / "serve.log").open("wb"),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    given = {"home": str(certificates), "database": administrator, "connections": _APP_CONNECTIONS}
    process.stdin.write(json.dumps(given).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the twin did not begin to serve:\n{(home / 'serve.log').read_text()}")
    postmaster = server.pid
    assert postmaster is not None
    side = Side("twin", process, postmaster, Target("127.0.0.1", int(line)), administrator, "TRUNCATE public.charts")
    return side, server


async def make_deployment(home: Path, *, tenants: int) -> tuple[list[Tenant], list[str]]:
    """Make a deployment with `tenants` tenants; return them with a program's key, and their administrators' keys."""
    where = Home(home)
    installed = await initialise(where, environment=ENVIRONMENT, listen=_LISTEN)
    settings = installed.settings
    operator = this_operator()
    made, administrators = [], []
    async with open_runtime(where, settings, _started(where)) as runtime:
        for number in range(tenants):
            tenant = await runtime.tenants.create(operator, name=f"tenant-{number}")
            program = await runtime.api_keys.create(
                operator, tenant=tenant, name="bench", roles=["integration"], bounds=_UNHURRIED
            )
            administrator = await runtime.api_keys.create(
                operator, tenant=tenant, name="administrator", roles=["administrator"]
            )
            made.append(Tenant(tenant, program.key.reveal()))
            administrators.append(administrator.key.reveal())
    return made, administrators


def _started(home: Home) -> Database:
    database = Database(home, home.settings())
    database.start()
    return database


async def furnish(side: Side, tenants: list[Tenant], administrators: list[str], *, subjects: int) -> None:
    """Make the collection and `subjects` patients in each tenant, over HTTP."""
    callers = await connect(side.target, 8)
    body = msgspec.json.encode(DECLARATION)
    await callers.run([
        request("POST", "/v1/collections", body, authorization=f"Bearer {key}") for key in administrators
    ])  # fmt: skip
    for tenant in tenants:
        wanted = [request("POST", "/v1/subjects", authorization=f"Bearer {tenant.key}")] * subjects
        answers = await callers.run(wanted)
        tenant.subjects = [UUID(msgspec.json.decode(answer)["id"]) for answer in answers.bodies]
    callers.close()


def collection_path() -> str:
    """Return the address of the collection's records."""
    return f"/v1/collections/{COLLECTION}/records"


def machine() -> str:
    """Return what the results were measured on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} x {model}, load {os.getloadavg()[0]:.1f}"


async def settle(sides: list[Side]) -> None:
    """Let what both sides left to the background end before something is measured."""
    for side in sides:
        await side.execute("VACUUM (ANALYZE)")
    await asyncio.sleep(0.2)
