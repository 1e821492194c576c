"""How the command line speaks: tables and words on stdout, problems on stderr, JSON where it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wellkeep.base.errors import Unavailable, WellkeepError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
"""As shells say it: 128 and the number of SIGINT."""


def refuse(message: str, *, hint: str | None = None, code: int = FAILED) -> NoReturn:
    """Say on stderr why nothing was done and what to do next, and end with `code`."""
    err.print(f"[bold red]✗[/] {escape(message)}")
    if hint:
        err.print(f"  {escape(hint)}")
    raise typer.Exit(code)


def refuse_error(error: WellkeepError) -> NoReturn:
    """Say what an error of ours says; it never holds a value."""
    message, hint = told(error)
    refuse(message, hint=hint)


def told(error: WellkeepError) -> tuple[str, str | None]:
    """Return what an error of ours says, and what to do next."""
    places = "".join(f"\n  {problem.path}: {problem.code}" for problem in error.fields)
    hint = None
    if isinstance(error, Unavailable):
        hint = "See what is wrong with it: wellkeep doctor"
    return f"{error.message.rstrip('.')}.{places}", hint


def done(message: str) -> None:
    """Say that something was done; what is in `message` is shown as it is, a path with brackets too."""
    out.print(f"[bold green]✓[/] {escape(message)}")


def partly_done(message: str) -> None:
    """Say that something was done, but not all of it."""
    out.print(f"[bold yellow]![/] {escape(message)}")


def erased(effective: str, *, certain: bool, entry: str) -> None:
    """Say from when on an erasure is one everywhere, and how anybody checks its entry."""
    if certain:
        done(effective)
    else:
        partly_done(effective)
        out.print("  Sooner: wellkeep keys rotate epoch, then, by two people, wellkeep keys destroy --epoch N")
    out.print(f"  Check it: {escape(entry)}")


def counted(number: int, what: str) -> str:
    """Return how many in words: `1 entry`, `2 entries`, `3 keys`, `1,000 logs`."""
    if number == 1:
        return f"1 {what}"
    many = what[:-1] + "ies" if what.endswith("y") and not what.endswith("ey") else what + "s"
    return f"{number:,} {many}"


def print_json(value: object) -> None:
    """Write one JSON document to stdout, for programs."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; cells are shown as they are, never read as markup."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    out.print(made, soft_wrap=not out.is_terminal)
