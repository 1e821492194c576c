"""Promise: a PostgreSQL of one's own, over TLS, set up by an account that is no superuser; a slip is told as one.

The server is the machine's own: the one that wellkeep brings speaks no TLS.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from database import ENVIRONMENT, scratch_home, system_programs
from deployments import Said, command
from wellkeep.assembly.tls import make_development_certificate
from wellkeep.base.clock import SystemClock
from wellkeep.db.account import server_account
from wellkeep.db.embedded import EmbeddedServer

ACCOUNT, HOSPITAL = "wk_setup", "hospital"
SETUP = (
    f"CREATE ROLE {ACCOUNT} LOGIN CREATEROLE CREATEDB PASSWORD 'set up'",
    f"CREATE DATABASE {HOSPITAL} OWNER {ACCOUNT}",
    "SELECT pg_reload_conf()",
)
HBA = "local all all scram-sha-256\nhostssl all all 127.0.0.0/8 scram-sha-256\n"


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that somebody else looks after."""

    host: str
    authority: Path
    stranger: Path

    def dsn(
        self, *, password: bytes = b"set up", database: str = "phi", at: str = "", authority: Path | None = None
    ) -> str:
        signed_in = f"{ACCOUNT}:{quote(password)}@{at or self.host}"
        trusted = authority or self.authority
        return f"postgresql://{signed_in}/{database}?sslmode=verify-full&sslrootcert={trusted}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Start the machine's own PostgreSQL with TLS, on a loopback address of this process's own."""
    try:
        programs = system_programs()
    except FileNotFoundError:
        if os.environ.get("CI") == "true":
            pytest.fail("this machine has no PostgreSQL of its own (scripts/system-packages)")
        pytest.skip("this machine has no PostgreSQL of its own (scripts/system-packages)")
    folder = scratch_home()
    host = f"127.{1 + os.getpid() // 65536 % 254}.{os.getpid() // 256 % 256}.{os.getpid() % 254 + 1}"
    tls = [
        make_development_certificate(
            certificate=folder / name / "server.crt", key=folder / name / "server.key", host=host, clock=SystemClock()
        )
        for name in ("ours", "strangers")
    ]
    account = server_account()
    for path in (folder / "ours", tls[0].certificate, tls[0].key):
        account.own(path)
    embedded = EmbeddedServer(
        folder / "server",
        ENVIRONMENT,
        bin_dir=programs,
        settings={
            "listen_addresses": host,
            "ssl": "on",
            "ssl_cert_file": str(tls[0].certificate),
            "ssl_key_file": str(tls[0].key),
            "shared_buffers": "64MB",
        },
    )
    try:
        embedded.start()
        (embedded.root / "pg_hba.conf").write_text(HBA)
        asyncio.run(prepare(embedded))
        yield Server(host, tls[0].authority, tls[1].authority)
    finally:
        embedded.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def prepare(embedded: EmbeddedServer) -> None:
    """Make the account of the set-up, as a server's own administrator does."""
    connection = await asyncpg.connect(**embedded.endpoint(database="postgres").arguments())
    for statement in SETUP:
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
def home() -> Iterator[Path]:
    folder = scratch_home()
    yield folder / "home"
    shutil.rmtree(folder, ignore_errors=True)


def init(home: Path, dsn: str) -> Said:
    return command("init", home, "--environment", ENVIRONMENT, more={"WELLKEEP_DATABASE_DSN": dsn})


def doctor(home: Path) -> dict[str, dict[str, Any]]:
    return {one["what"]: one for one in command("doctor", "--json", home=home).json()}


def test_whoever_mistypes_is_told_and_nothing_is_made(server: Server, home: Path) -> None:
    for dsn, words in (
        (server.dsn(authority=server.stranger), "does not trust"),
        (server.dsn(at="127.0.0.1:1"), "does not answer, or speaks no TLS"),
        (server.dsn(password=b"canary-password"), "does not let this account in"),
        (server.dsn().replace("verify-full", "require"), "sslmode=verify-full"),
        (server.dsn(database="template1"), "is not wellkeep's"),
        (server.dsn(database=HOSPITAL), "is not wellkeep's"),
    ):
        said = init(home, dsn)
        assert said.code == 1
        assert words in " ".join(said.err.split())
        assert "canary-password" not in said.all
        assert not home.exists()


def test_a_deployment_on_somebody_elses_server(server: Server, home: Path) -> None:
    assert init(home, server.dsn()).code == 0
    assert 'name = "phi"' in (home / "wellkeep.toml").read_text()
    assert init(home, server.dsn()).code == 0, "doing it again changes nothing"
    other = init(home, server.dsn(database="another"))
    assert (other.code, "names another database" in " ".join(other.err.split())) == (1, True)
    assert command("tenant", "create", "clinic", home=home).code == 0
    said = command("ledger", "verify", "--json", home=home)
    assert (said.code, said.json()["holds"]) == (0, True)
    verdicts = doctor(home)
    assert verdicts["PostgreSQL's settings keep what is promised"]["fine"]
    assert verdicts["The database is this deployment's"]["fine"]
    settings = home / "wellkeep.toml"
    settings.write_text(settings.read_text().replace('name = "phi"', 'name = "nowhere"'))
    answers = doctor(home)["PostgreSQL answers"]
    assert (answers["fine"], "no database of the name nowhere" in answers["mend"]) == (False, True)
