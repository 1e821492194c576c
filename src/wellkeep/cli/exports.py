"""`wellkeep export`: a collection out through the API into one file, whole or not at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn

from wellkeep.base.errors import BudgetExceeded
from wellkeep.cli.client import ApiClient, Url, connect
from wellkeep.cli.console import INTERRUPTED, done, err, print_json, refuse
from wellkeep.cli.new_file import new_file, refuse_unless_new
from wellkeep.cli.options import HomeOption, Json

_POLL_SECONDS = 0.4
_ATTEMPTS = 3
_ENDED = {"done", "failed", "stopped"}
_HINTS = {
    BudgetExceeded.code: "The key may be shown fewer records an hour than that. Wait, or have an administrator give it "
    "more: wellkeep apikey set ID --records N",
}
"""What to do about an export that ended so."""


def export_file(
    collection: Annotated[str, typer.Option("--collection", "-c", help="What is exported")],
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="The file to write; it must not exist")
    ],
    format_: Annotated[str, typer.Option("--format", help="ndjson, csv or fhir")] = "ndjson",
    home: HomeOption = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Export a collection into a file, readable by you alone (mode 0600). Each record that leaves is on record.

    Example: wellkeep export --collection patients -o patients.ndjson
    """
    refuse_unless_new(output)
    with connect(home, url=url) as api:
        try:
            status = _prepare(api, collection, format_)
            size = _download(api, f"/v1/exports/{status['id']}/content", output)
        except KeyboardInterrupt:
            err.print("\n[bold yellow]■[/] Nothing was written.")
            raise typer.Exit(INTERRUPTED) from None
    if json:
        print_json(status | {"file": str(output), "bytes": size})
    else:
        done(f"{int(status.get('done') or 0):,} records in {output}, readable by you alone.")


def _prepare(api: ApiClient, collection: str, format_: str) -> dict[str, Any]:
    """Ask for the export and wait until the server has it ready."""
    status = api.json("POST", "/v1/exports", json={"collection": collection, "format": format_})
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,} records"))
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(f"gathering {collection}", total=None)
        while status["state"] not in _ENDED:
            time.sleep(_POLL_SECONDS)
            status = api.json("GET", f"/v1/exports/{status['id']}")
            progress.update(bar, completed=int(status.get("done") or 0))
    if status["state"] != "done":
        error = status.get("error") or "internal"
        refuse(f"The export is {status['state']}: {error}.", hint=_HINTS.get(error, "Give the command again."))
    return status


def _download(api: ApiClient, path: str, output: Path) -> int:
    """Write what `path` answers to `output`, whole or not at all; return its bytes."""
    with new_file(output) as stream:
        for attempt in range(_ATTEMPTS):
            stream.seek(0)
            stream.truncate()
            try:
                _receive(api, path, stream, output.name)
                break
            except httpx.TransportError:
                if attempt == _ATTEMPTS - 1:
                    raise
        return stream.tell()


def _receive(api: ApiClient, path: str, stream: Any, name: str) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=err, transient=True) as progress, api.stream(path) as pieces:
        bar = progress.add_task(f"writing {name}", total=None)
        for piece in pieces:
            stream.write(piece)
            progress.advance(bar, len(piece))
