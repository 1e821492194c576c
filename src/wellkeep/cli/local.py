"""How local commands reach a deployment: as the operator, over its own database, on record.

Rule: there is no other way in. `started` enters the command by its name before it starts or opens anything, and how it
ended afterwards; a test walks all commands and finds those that come another way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typer._click.globals import get_current_context  # typer has its own click and gives no other name for it

from wellkeep.access.operators import commanding
from wellkeep.assembly.command_record import CommandRecord
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.base.errors import WellkeepError
from wellkeep.base.settings import Settings
from wellkeep.cli.console import refuse_error
from wellkeep.cli.options import locate
from wellkeep.db.dsn import Announce
from wellkeep.ledger.event import Action

if TYPE_CHECKING:
    from wellkeep.assembly.runtime import Runtime

T = TypeVar("T")


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
async def started(home: Home, *, apart: bool = False) -> AsyncIterator[tuple[Settings, Database]]:
    """Lend the deployment's database, on record; an embedded server that we had to start is stopped again.

    `apart` holds no connection meanwhile: for work that starts and stops servers itself.
    """
    settings = home.settings()
    home.check()
    record = CommandRecord(home, this_command())
    record.begin()
    with commanding(record.request):
        async with left_as_found(home), _recorded(record, settings, Database(home, settings), apart=apart) as database:
            yield settings, database


@asynccontextmanager
async def _recorded(
    record: CommandRecord, settings: Settings, database: Database, *, apart: bool
) -> AsyncIterator[Database]:
    try:
        await asyncio.to_thread(database.start)
        await record.open(settings, database)
        if apart:
            await record.close()
        yield database
    except BaseException as error:
        await record.end(settings, database, error)
        raise
    else:
        await record.end(settings, database, None)
    finally:
        await record.close()


@asynccontextmanager
async def once_more(home: Home) -> AsyncIterator[Announce | None]:
    """Have `init` on record where it is run on a deployment that is there; lend what announces its sessions."""
    if not home.settings_file.exists():
        yield None
        return
    settings = home.settings()
    record, database = CommandRecord(home, this_command()), Database(home, settings)
    record.begin()
    with commanding(record.request):
        async with _recorded(record, settings, database, apart=False):
            yield database.announce


@contextmanager
def served(home: Home, settings: Settings, database: Database) -> Iterator[None]:
    """Start the database, have start and stop of the server on record, and stop the embedded database again."""
    record = CommandRecord(home, this_command(), begins=Action.DEPLOYMENT_STARTED, ends=Action.DEPLOYMENT_STOPPED)

    async def tell(telling: Awaitable[None]) -> None:
        await telling
        await record.close()

    record.begin()
    database.start()
    try:
        asyncio.run(tell(record.open(settings, database)))
        try:
            yield
        except BaseException as error:
            asyncio.run(tell(record.end(settings, database, error)))
            raise
        asyncio.run(tell(record.end(settings, database, None)))
    finally:
        database.stop()


def this_command() -> str:
    """Return the dotted name of the command under way, as its entry has it: `ledger.accept_restore`."""
    context, words = get_current_context(), list[str]()
    while context.parent is not None:
        words.insert(0, (context.info_name or "").replace("-", "_"))
        context = context.parent
    return ".".join(words)


def _runs(home: Home) -> bool:
    if not home.settings_file.exists():
        return False
    database = Database(home, home.settings())
    return database.embedded is not None and database.embedded.pid is not None


def with_runtime(directory: Path | None, work: Callable[[Runtime], Awaitable[T]]) -> T:
    """Run `work` on the services of the deployment and return what it returns."""
    return with_database(directory, lambda runtime, _: work(runtime))


def with_database(directory: Path | None, work: Callable[[Runtime, Database], Awaitable[T]]) -> T:
    """Run `work` on the services of the deployment and on its database, and return what it returns."""
    from wellkeep.assembly.runtime import open_runtime  # noqa: PLC0415 -- only who needs all services pays for them

    async def whole() -> T:
        home = locate(directory)
        async with started(home) as (settings, database), open_runtime(home, settings, database) as runtime:
            return await work(runtime, database)

    return run(whole())
