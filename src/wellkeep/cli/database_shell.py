r"""`wellkeep db shell`: a session of the database's administrator, said beforehand and why.

Rule: the reason is sealed and the session announced before psql is started; psql gets the password and the announced
name through its environment, where the list of processes does not show them. What is typed there is the operator's; who
connects a second time from there (`\connect`) is not announced, and found.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.announcing import announce_session
from wellkeep.assembly.database import Database
from wellkeep.assembly.runtime import Runtime
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.cli.console import err
from wellkeep.cli.local import with_database
from wellkeep.cli.options import HomeOption
from wellkeep.db import dsn
from wellkeep.db.dsn import Endpoint

_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TERM", "PAGER", "LESS", "EDITOR", "VISUAL", "TZ", "COLUMNS", "LINES")
_EXTERNAL = (
    "The administrator of an external PostgreSQL is not kept. Name the account by its DSN: --database, or the "
    "variable WELLKEEP_DATABASE_DSN"
)


def shell(
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why: kept sealed; the ledger holds its hash")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[-- PSQL…]", help="Options of psql's own")] = None,
    database: Annotated[
        str | None,
        typer.Option(envvar="WELLKEEP_DATABASE_DSN", show_envvar=True, help="The account, where the server is yours"),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Open psql as the database's administrator, on record: who and when in the root log, why beside it, sealed.

    Any other way in as administrator, owner or migrator is an entry and a finding within seconds.

    Example: wellkeep db shell --reason "look why the vacuum hangs, ticket 4711"
    """

    async def work(runtime: Runtime, ours: Database) -> int:
        endpoint = ours.administrator() if database is None else dsn.parse(Secret(database))
        if endpoint is None:
            raise Misconfigured(_EXTERNAL)
        program = psql(ours)
        name = await announce_session(runtime.core, this_operator(), endpoint.user, reason=reason)
        with undisturbed(asyncio.get_running_loop()):
            return await asyncio.to_thread(_run, [program, *(arguments or [])], environment(endpoint, name))

    code = with_database(home, work)
    if code:
        err.print(f"[dim]psql ended with {code}[/]")
    raise typer.Exit(code)


def psql(database: Database) -> str:
    """Return the program: the embedded server's own, or the machine's. Raises Misconfigured where there is none."""
    if database.embedded is not None:
        return database.embedded.program("psql")
    found = shutil.which("psql")
    if found is None:
        raise Misconfigured("There is no psql on this machine. Install your distribution's postgresql-client.")
    return found


def environment(endpoint: Endpoint, name: str) -> dict[str, str]:
    """Return what psql is to find in its environment: of ours what a terminal needs, of PG* nothing but this."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    tls = {f"PG{key.upper()}": value for key, value in endpoint.tls}
    password = {} if endpoint.password is None else {"PGPASSWORD": endpoint.password.reveal()}
    return {
        **kept,
        "PGHOST": endpoint.host,
        "PGPORT": str(endpoint.port),
        "PGDATABASE": endpoint.database,
        "PGUSER": endpoint.user,
        "PGAPPNAME": name,
        "PGSSLMODE": "disable" if endpoint.is_socket else "verify-full",
        **tls,
        **password,
    }


@contextmanager
def undisturbed(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Leave Ctrl-C to psql, which stops a statement with it."""
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _run(command: Sequence[str], variables: dict[str, str]) -> int:
    return subprocess.run(command, env=variables, check=False).returncode  # noqa: S603 -- our own program, no shell
