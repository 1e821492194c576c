"""`wellkeep keys recover`: the root key's file, rebuilt from its recovery shares.

Rule: shares are typed, or come on stdin line by line; never as arguments, which every account of the machine can read.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from wellkeep.assembly.key_recovery import recover as rebuild
from wellkeep.assembly.key_recovery import require_recoverable, require_shares, try_shares
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.cli.console import done, err
from wellkeep.cli.local import run, started
from wellkeep.cli.options import Directory, locate
from wellkeep.keys.recovery import shares_needed


def recover(
    directory: Directory = None,
    check: Annotated[bool, typer.Option("--check", help="Try shares, and write nothing")] = False,
) -> None:
    """Rebuild the root key's file from recovery shares, asked for one after the other. Nothing is ever overwritten.

    The shares were shown once, by `wellkeep init`. They bring back the root key alone: no epoch key, and so nothing
    that was erased.

    Example: wellkeep keys recover /srv/wellkeep
    """
    home = locate(directory)

    async def work() -> str | None:
        async with started(home) as (settings, database):
            if check:
                require_shares(home, settings)
                await try_shares(database, _shares())
                return None
            require_recoverable(home, settings)
            return str(await rebuild(home, settings, database, _shares()))

    path = run(work())
    if path is None:
        done("These shares rebuild the root key of this deployment. Nothing was written.")
        return
    done(f"The root key is back in {path}")
    err.print("  Keep it apart from the database. Next: wellkeep doctor", markup=False)


def _shares() -> list[Secret[str]]:
    """Return as many shares as the first of them says that it takes."""
    found = [_share(1, None)]
    needed = shares_needed(found[0])
    while len(found) < needed:
        found.append(_share(len(found) + 1, needed))
    return found


def _share(number: int, of: int | None) -> Secret[str]:
    """Return a share that holds together by itself; at a terminal a mistyped one is asked for again."""
    asked = f"Share {number}" if of is None else f"Share {number} of {of}"
    while True:
        share = Secret(typer.prompt(asked, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline())
        try:
            shares_needed(share)
        except Misconfigured as error:
            if not sys.stdin.isatty():
                raise
            err.print(f"  {error.message}", markup=False)
        else:
            return share
