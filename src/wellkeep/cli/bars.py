"""Progress of work on logs: one bar a log, on stderr, gone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from wellkeep.cli.console import err

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Lend what moves the bar of a log: its origin, how many entries are done, and of how many."""
    tasks: dict[str, TaskID] = {}
    with Progress(*_COLUMNS, console=err, transient=True) as shown:

        def show(log: str, seen: int, size: int) -> None:
            if log not in tasks:
                tasks[log] = shown.add_task(log, total=size)
            shown.update(tasks[log], completed=seen)
            if seen == size:
                shown.update(tasks[log], visible=False)

        yield show
