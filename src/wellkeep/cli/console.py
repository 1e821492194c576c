"""How the command line speaks: tables and words on stdout, problems on stderr, JSON where it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

import asyncpg
import httpx
import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wellkeep.api.logs import describe
from wellkeep.base.errors import Unavailable, WellkeepError
from wellkeep.prove.deployment import Unseen

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
    message, hint = words(error)
    refuse(message, hint=hint)


def words(error: BaseException) -> tuple[str, str | None]:
    """Return what `error` means to whoever gave the command, and what to do next; never its own text, unless ours.

    Texts of drivers and libraries quote what they were given: of those the type is told.
    """
    match error:
        case WellkeepError():
            return _ours(error)
        case Unseen():
            return f"This could not be seen to its end: {error}.", None
        case httpx.HTTPError() | httpx.InvalidURL():
            kind = type(error).__name__
            return f"The connection to the API broke off ({kind}).", "Give the command again once the server answers."
        case asyncpg.PostgresError() | asyncpg.InterfaceError():
            state = getattr(error, "sqlstate", None) or type(error).__name__
            return f"PostgreSQL did not do it ({state}).", "See what is wrong with it: wellkeep doctor"
        case OSError():
            place = f" ({error.filename})" if error.filename else ""
            return f"The system said: {error.strerror or type(error).__name__}{place}.", None
        case _:
            seen = describe(error)
            frames = seen["frames"]
            place = f" at {frames[-1]}" if isinstance(frames, list) and frames else ""
            return f"A fault of ours: {seen['type']}{place}.", "Please report it with this line; it holds no data."


def _ours(error: WellkeepError) -> tuple[str, str | None]:
    places = "".join(f"\n  {problem.path}: {problem.code}" for problem in error.fields)
    hint = None
    if isinstance(error, Unavailable):
        hint = "See what is wrong with it: wellkeep doctor"
    return f"{error.message.rstrip('.')}.{places}", hint


def done(message: str) -> None:
    """Say that something was done; `message` may hold markup of ours."""
    out.print(f"[bold green]✓[/] {message}")


def partly_done(message: str) -> None:
    """Say that something was done, but not all of it; `message` may hold markup of ours."""
    out.print(f"[bold yellow]![/] {message}")


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
