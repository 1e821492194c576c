"""Fixtures of the composition root's tests: one deployment a module, its database held by the test's process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from database import ENVIRONMENT, scratch_home
from deployments import command
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.base.settings import Settings


@dataclass(frozen=True)
class Installed:
    """A deployment that was made and is not served."""

    home: Home
    settings: Settings
    database: Database


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """Make a deployment and start its database."""
    folder = scratch_home()
    home = Home(folder / "home")
    try:
        said = command("init", home.path, "--environment", ENVIRONMENT)
        assert said.code == 0, said.err
        database = Database(home, home.settings())
        database.start()
        try:
            yield Installed(home, home.settings(), database)
        finally:
            database.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
