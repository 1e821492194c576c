"""Fixtures of every room: a real PostgreSQL, a fresh database a test, a tenant, the sample data."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import hypothesis
import pytest

from database import Background, Database, Server, launch, scratch_home

# How long an example takes says how busy the machine is, not whether a promise holds.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


_FIRST = ("base/test_process.py", "journeys/", "prove/", "faults/", "cli/", "keys/providers/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put first what must come first or takes long; on a second PostgreSQL run only what stands on one.

    A server is started by a process that leaves no core from then on, which the tests of that try before. Long files
    begin early, so that no worker is left with one at the end.
    """
    items.sort(key=_turn)
    if os.environ.get("WELLKEEP_TEST_SERVER") != "system":
        return
    apart = [item for item in items if not _stands_on_a_server(item)]
    config.hook.pytest_deselected(items=apart)
    items[:] = [item for item in items if _stands_on_a_server(item)]


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((place for place, begin in enumerate(_FIRST) if path.startswith(begin)), len(_FIRST))


def _stands_on_a_server(item: pytest.Item) -> bool:
    """Say whether a test has the session's server, or its module starts servers by itself."""
    assert isinstance(item, pytest.Function)
    return "pg_server" in item.fixturenames or hasattr(item.module, "launch")


@pytest.fixture(scope="session")
def pg_server() -> Iterator[Server]:
    """Start the session's PostgreSQL (one for each xdist worker), its template database migrated once."""
    background = Background()
    home = scratch_home()
    server: Server | None = None
    try:
        server = launch(home, background)
        background.run(server.prepare())
        yield server
    finally:
        if server is not None:
            background.run(server.drop(server.template))
            if server.embedded is not None:
                server.embedded.stop()
        background.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def database(pg_server: Server) -> Iterator[Database]:
    """Make a fresh database at the newest schema, gone after the test."""
    name = f"wk_{secrets.token_hex(8)}"
    pg_server.background.run(pg_server.create(name, pg_server.template))
    try:
        yield Database(server=pg_server, name=name)
    finally:
        pg_server.background.run(pg_server.drop(name))


@pytest.fixture
def tenant(database: Database) -> UUID:
    """Make a live tenant in the test's database."""
    return database.server.background.run(database.create_tenant())


@pytest.fixture
def other_tenant(database: Database) -> UUID:
    """Make a second one, whose data nobody else may reach."""
    return database.server.background.run(database.create_tenant())


@pytest.fixture(scope="session")
def samples() -> Path:
    """Find the sample data; where there is none the test is skipped, and under CI that is a failure."""
    root = Path(__file__).resolve().parent.parent
    found = Path(os.environ.get("WELLKEEP_SAMPLES") or root.parent / "shared" / "data")
    if not found.is_dir():
        reason = "there is no sample data (set WELLKEEP_SAMPLES)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
