"""`wellkeep init`, `serve`, `doctor`: a deployment made, served, and looked over before anybody relies on it."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wellkeep.assembly.database import Database
from wellkeep.assembly.diagnosis import diagnose
from wellkeep.assembly.home import Home
from wellkeep.assembly.installation import Installed, initialise
from wellkeep.assembly.keeper import kept
from wellkeep.assembly.verdict import Verdict
from wellkeep.base.errors import WellkeepError
from wellkeep.base.key_settings import KeySettings, LocalEpochs, LocalRoot
from wellkeep.base.secrets import Secret
from wellkeep.cli.console import done, err, out, print_json, refuse_error, table
from wellkeep.cli.local import left_as_found, once_more, run, served, started
from wellkeep.cli.options import Directory, Json, locate
from wellkeep.keys.recovery import Split, shares_needed

if TYPE_CHECKING:
    from wellkeep.api.server import Addresses

LOG_NAME = "server.jsonl"
_STDOUT = 1
_SHARES, _NO_SHARES = "2/3", "none"
_DSN_VARIABLE = "WELLKEEP_DATABASE_DSN"


def init(
    directory: Directory = None,
    environment: Annotated[str, typer.Option(help="e.g. development, staging, production")] = "development",
    host: Annotated[str, typer.Option(help="The name clients will use; it names the logs too")] = "localhost",
    database: Annotated[
        str | None,
        typer.Option(
            envvar=_DSN_VARIABLE, show_envvar=True, help="An administrator's DSN of your own PostgreSQL (15 or newer)"
        ),
    ] = None,
    recovery_shares: Annotated[
        str, typer.Option(help="Words that rebuild the root key, as needed/made; `none` for none")
    ] = _SHARES,
    json: Json = False,
) -> None:
    """Make a new deployment: settings, root key, PostgreSQL, first administrator. Running it again changes nothing.

    Example: wellkeep init /srv/wellkeep --environment production --host vault.example.org
    """
    home = locate(directory)

    async def work() -> Installed:
        split = None if recovery_shares == _NO_SHARES else Split.parse(recovery_shares)
        async with left_as_found(home), once_more(home) as announce:
            return await initialise(
                home,
                environment=environment,
                host=host,
                administrator_dsn=None if database is None else Secret(database),
                announce=announce,
                recovery=split,
                tell=lambda step: err.print(f"[dim]· {step}[/]"),
            )

    made = run(work())
    if json:
        print_json(_shown(home, made))
    else:
        _tell(home, made)


def _shown(home: Home, made: Installed) -> dict[str, object]:
    return {
        "home": str(home.path),
        "deployment": str(made.settings.deployment),
        "administrator_key": None if made.administrator is None else made.administrator.key.reveal(),
        "recovery_shares": [share.reveal() for share in made.shares],
    }


def _tell(home: Home, made: Installed) -> None:
    done(f"Deployment of {made.settings.environment} in {home.path}")
    if made.administrator is not None:
        out.print("  The first administrator's key, shown this once; keep it in a password manager:")
        out.print(f"  [bold]{made.administrator.key.reveal()}[/]")
        _tell_backups(home, made.settings.keys)
    if made.shares:
        _tell_shares(made.shares)
    out.print(f"  Next: wellkeep serve {home.path}    then: wellkeep doctor {home.path}", markup=False)


def _tell_backups(home: Home, keys: KeySettings) -> None:
    """Say which keys of this machine need a copy, and which kind of copy they must not have."""
    if any(isinstance(one, LocalRoot) for one in keys.all_roots()):
        apart = f"  Back {home.secrets} up apart from the database: without the root key nothing opens again,"
        out.print(apart, markup=False)
        out.print("  and whoever holds both holds everything.")
    if isinstance(keys.epochs, LocalEpochs):
        out.print("  Without epoch-*.key nothing opens either: keep a copy only where you will destroy it when")
        out.print("  its epoch ends, for erasures rest on that.")


def _tell_shares(shares: Sequence[Secret[str]]) -> None:
    """Show each share once; how many are needed stands in each of them."""
    needed = shares_needed(shares[0])
    out.print(f"  Recovery shares of the root key, shown this once: any {needed} rebuild it, fewer say nothing. Give")
    out.print("  each to another person or safe, on paper: wellkeep keys recover asks for them, --check tries them.")
    for number, share in enumerate(shares, start=1):
        out.print(f"  [bold]{number}.[/] {share.reveal()}")


def serve(
    directory: Directory = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the sockets")] = 1,
    log_to_stdout: Annotated[
        bool, typer.Option("--log-to-stdout", help="JSON log lines on stdout, for containers, not in log/server.jsonl")
    ] = False,
) -> None:
    """Serve HTTPS: /v1 on the public listener, administration on its own, until SIGTERM or Ctrl-C.

    Log lines go to DIR/log/server.jsonl, one JSON object each, without any patient's data.

    Example: wellkeep serve /srv/wellkeep --workers 2
    """
    from wellkeep.api.server import serve as serve_http  # noqa: PLC0415 -- only a server pays for what serves
    from wellkeep.assembly.tls import server_context  # noqa: PLC0415 -- as above
    from wellkeep.assembly.tls_groups import assert_in_force  # noqa: PLC0415 -- as above
    from wellkeep.cli.serving import check_published, worker_runtime  # noqa: PLC0415 -- as above

    home = locate(directory)
    log = None if log_to_stdout else home.log / LOG_NAME
    try:
        settings = home.settings()
        home.check()
        check_published(settings)
        own = settings.tls
        pair = {"certificate": home.resolve(own.certificate), "key": home.resolve(own.key)}
        assert_in_force(server_context(**pair, profile=own.profile))
        server = Database(home, settings)
        with served(home, settings, server), kept(server):
            code = serve_http(
                functools.partial(worker_runtime, home.path),
                settings,
                home=home.path,
                workers=workers,
                on_ready=functools.partial(_announce, log),
                log=_STDOUT if log is None else log,
            )
    except WellkeepError as error:
        refuse_error(error)
    raise typer.Exit(code)


def _announce(log: Path | None, addresses: Addresses) -> None:
    """Say where the listeners are: on stderr, for stdout may be the log."""
    err.print(f"[bold green]✓[/] Serving https://{addresses.public} (API), https://{addresses.admin} (administration)")
    err.print(f"  Readable API: https://{addresses.public}/docs   ·   pid {os.getpid()}, stop with Ctrl-C or SIGTERM")
    if log is not None:
        err.print(f"  Log: {log}", markup=False)


def doctor(directory: Directory = None, json: Json = False) -> None:
    """Say what is missing or unsafe for production, and how to mend it; exit 1 where something is.

    Example: wellkeep doctor /srv/wellkeep
    """
    home = locate(directory)

    async def work() -> list[Verdict]:
        async with started(home) as (settings, database):
            return await diagnose(home, settings, database)

    found = run(work())
    if json:
        print_json(found)
    else:
        rows = [("✓" if one.fine else "✗", one.what, "" if one.fine else one.mend) for one in found]
        table("Fit for production?", ("", "what", "how to mend it"), rows)
    raise typer.Exit(0 if all(one.fine for one in found) else 1)
