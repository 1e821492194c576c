"""A deployment is made step by step; interrupted anywhere, it is finished by doing it again, and then stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from assembly.conftest import Installed
from database import ENVIRONMENT, scratch_home
from wellkeep.access.operators import this_operator
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.installation import initialise
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret

STEPS = (
    "Directories and settings",
    "Root key and epoch key",
    "PostgreSQL",
    "Roles, schema and the deployment's own keys",
    "Ledger and first administrator",
)


class Interrupted(Exception):
    """Somebody pulled the plug."""


@pytest.fixture
def home() -> Iterator[Home]:
    """Return a home that does not exist yet."""
    folder = scratch_home()
    yield Home(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)


def files(home: Home) -> dict[str, bytes]:
    """Return what must never change: the settings and every secret."""
    kept = [home.settings_file, *sorted(home.secrets.iterdir())]
    return {str(path.relative_to(home.path)): path.read_bytes() for path in kept}


async def interrupted_at(home: Home, step: str) -> None:
    """Initialise until `step` begins."""

    def pull(said: str) -> None:
        if said == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        await initialise(home, environment=ENVIRONMENT, tell=pull)


async def test_interrupted_at_each_step_and_finished(home: Home) -> None:
    await interrupted_at(home, STEPS[0])
    assert not home.path.exists()
    await interrupted_at(home, STEPS[1])
    settings = home.settings()
    await interrupted_at(home, STEPS[2])
    before = files(home)
    database = Database(home, settings)
    database.start()  # as the interrupted run had left it
    try:
        await interrupted_at(home, STEPS[3])
        await interrupted_at(home, STEPS[4])
        told: list[str] = []
        made = await initialise(home, environment=ENVIRONMENT, tell=told.append)
        assert tuple(told) == STEPS
        assert made.settings == settings
        assert made.administrator is not None
        again = await initialise(home, environment=ENVIRONMENT)
        assert (again.settings, again.administrator) == (settings, None)
        assert files(home) == before, "no key, certificate or setting was made anew"
        async with open_runtime(home, settings, database) as runtime:
            key = made.administrator.key.reveal()
            found = await runtime.authenticator.authenticate(f"Bearer {key}", request=uuid7())
            assert found.tenant == PLATFORM_TENANT
            assert len(await runtime.api_keys.list(this_operator(), tenant=PLATFORM_TENANT)) == 1
    finally:
        database.stop()


async def test_a_home_of_another_environment_is_left_alone(installed: Installed) -> None:
    before = files(installed.home)
    with pytest.raises(Misconfigured, match="holds a deployment of the environment test"):
        await initialise(installed.home, environment="production")
    assert files(installed.home) == before


async def test_a_database_over_tcp_without_a_verified_name_is_refused(home: Home) -> None:
    dsn = Secret("postgresql://admin:Xk9CanaryZq@127.0.0.1:5432/postgres?sslmode=require")
    with pytest.raises(Misconfigured, match="sslmode=verify-full") as refused:
        await initialise(home, environment=ENVIRONMENT, administrator_dsn=dsn)
    assert "Canary" not in refused.value.message
    assert not home.settings_file.exists()


async def test_a_key_of_another_deployment_does_not_fit(installed: Installed, home: Home) -> None:
    await interrupted_at(home, STEPS[1])
    shutil.copy(installed.home.secrets / "epoch-1.key", home.secrets / "epoch-1.key")
    with pytest.raises(Misconfigured, match="another deployment"):
        await initialise(home, environment=ENVIRONMENT)
    assert not (home.path / "postgres").exists(), "nothing was begun that would have to be undone"


def test_the_home_guards_its_secrets(home: Home) -> None:
    home.make()
    home.make()
    assert [path.stat().st_mode & 0o777 for path in (home.path, home.secrets, home.log)] == [0o711, 0o700, 0o700]
    home.secrets.chmod(0o750)
    with pytest.raises(Misconfigured, match="chmod 700"):
        home.check()
    home.secrets.rmdir()
    home.secrets.symlink_to(Path("/"))
    with pytest.raises(Misconfigured, match="not a directory"):
        home.check()
    home.secrets.unlink()
    with pytest.raises(Misconfigured, match="Restore it"):
        home.check()
