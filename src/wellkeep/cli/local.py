"""How local commands reach a deployment: as the operator, over its own database, on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.errors import WellkeepError
from wellkeep.base.settings import Settings, default_home
from wellkeep.cli.console import refuse_error

T = TypeVar("T")

Directory = Annotated[
    Path | None, typer.Argument(metavar="[DIR]", help="The deployment (default: $WELLKEEP_HOME or ./wellkeep-data)")
]
HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The deployment (default: $WELLKEEP_HOME or ./wellkeep-data)")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of words")]


def locate(directory: Path | None) -> Home:
    """Return the home that was named, or the default one."""
    return Home((directory or default_home()).absolute())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; an error of ours becomes words and exit code 1."""
    try:
        return asyncio.run(work)
    except WellkeepError as error:
        refuse_error(error)


@asynccontextmanager
async def left_as_found(home: Home) -> AsyncIterator[None]:
    """Stop the embedded PostgreSQL of `home` at the end, unless it ran before."""
    if _runs(home):
        yield
        return
    try:
        yield
    finally:
        if home.settings_file.exists():
            await asyncio.to_thread(Database(home, home.settings()).stop)


@asynccontextmanager
async def started(home: Home) -> AsyncIterator[tuple[Settings, Database]]:
    """Lend the deployment's database; an embedded server that we had to start is stopped again."""
    settings = home.settings()
    home.check()
    async with left_as_found(home):
        database = Database(home, settings)
        await asyncio.to_thread(database.start)
        yield settings, database


def _runs(home: Home) -> bool:
    if not home.settings_file.exists():
        return False
    database = Database(home, home.settings())
    return database.embedded is not None and database.embedded.pid is not None


def with_runtime(directory: Path | None, work: Callable[[Runtime], Awaitable[T]]) -> T:
    """Run `work` on the services of the deployment and return what it returns."""

    async def whole() -> T:
        home = locate(directory)
        async with started(home) as (settings, database), open_runtime(home, settings, database) as runtime:
            return await work(runtime)

    return run(whole())
