"""Promise: a killed PostgreSQL runs again by itself, and none is made where the data directory is away."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from database import ENVIRONMENT, scratch_home
from wellkeep.assembly import keeper
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.keeper import kept
from wellkeep.base.ids import uuid7
from wellkeep.base.settings import DatabaseSettings, Settings
from wellkeep.db import postmaster
from wellkeep.db.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """Start an embedded PostgreSQL of its own."""
    folder = scratch_home()
    made = Database(Home(folder), Settings(version=1, deployment=uuid7(), environment=ENVIRONMENT))
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(database: Database) -> EmbeddedServer:
    """Return the server itself."""
    assert database.embedded is not None
    return database.embedded


def within(seconds: float, done: Callable[[], bool]) -> bool:
    """Say whether `done` comes true in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.fault
def test_a_killed_server_runs_again(database: Database, server: EmbeddedServer) -> None:
    with kept(database):
        for way in (signal.SIGKILL, signal.SIGQUIT, signal.SIGINT):
            before = server.pid
            assert before is not None
            os.kill(before, way)
            assert within(60, lambda: server.pid not in {None, before}), way  # noqa: B023  # asked at once


@pytest.mark.fault
def test_without_its_data_nothing_is_made_and_it_is_waited_for(
    database: Database, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(keeper, "LONGEST_PAUSE_SECONDS", 0.2)
    aside = server.data.with_name("aside")
    with kept(database):
        before = server.pid
        assert before is not None
        server.data.rename(aside)
        os.kill(before, signal.SIGINT)
        assert within(30, lambda: before not in postmaster.processes_of(aside))
        time.sleep(0.5)
        assert not server.data.exists()
        aside.rename(server.data)
        assert within(60, lambda: server.pid not in {None, before})


def test_a_server_that_others_look_after_is_left_to_them(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (home.path / "secrets").mkdir(mode=0o700)
    where = DatabaseSettings(mode="external", host="db.example.org", sslrootcert="ca.crt")
    external = Database(home, Settings(version=1, deployment=uuid7(), environment=ENVIRONMENT, database=where))
    with kept(external):
        assert external.embedded is None
        assert not any(thread.name == "postgresql-keeper" for thread in threading.enumerate())
