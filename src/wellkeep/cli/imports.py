"""`wellkeep import`: a file in through the API, with progress, stopped and resumed at will.

Rule: the file's fingerprint is the Idempotency-Key, so the same command given again finds its import wherever it was
left: half uploaded, running, stopped, failed or done. What was done is never done a second time without being asked.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import httpx
import msgspec
import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from wellkeep.cli.client import ApiClient, Url, connect
from wellkeep.cli.console import INTERRUPTED, done, err, out, partly_done, print_json, refuse
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.source_file import guess_format, look, read_mapping

PART_BYTES = 4 * 1024 * 1024
_POLL_SECONDS = 0.4
_ENDED = {"done", "failed", "stopped"}
_OPEN = {"queued", "running"}
_MOST_RUNS = 10_000
_SHOWN_ERRORS = 5
_COUNTS = ("created", "updated", "unchanged", "failed")


def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="NDJSON, CSV or FHIR NDJSON; .gz too")
    ],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where the records go")],
    format_: Annotated[
        str | None, typer.Option("--format", help="ndjson, csv or fhir (default: by the file's name and first line)")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--map", help="TOML or JSON: column = field", exists=True, dir_okay=False)
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option("--errors", help="Where lines that failed are listed (default: ./FILE.errors.ndjson)"),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run a file that was imported before once more")] = False,
    home: HomeOption = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Import a file into a collection; importing it twice changes nothing.

    Stop it with Ctrl-C and give the same command again: what was uploaded and imported is not done twice. Lines that
    fail are listed in a file with line, path and code, never with a value; then the exit code is 1.

    Example: wellkeep import Patient.ndjson.gz --collection patients
    """
    request: dict[str, Any] = {"collection": collection, "format": format_ or guess_format(file)}
    if mapping is not None:
        request["map"] = read_mapping(mapping)
    with connect(home, url=url) as api:
        job = _Job(api, file, request)
        try:
            job.run(again=again)
        except KeyboardInterrupt:
            job.interrupted()
        _report(job, errors or Path(f"{file.name}.errors.ndjson"), as_json=json)


class _Job:
    """One import as it is followed from here."""

    def __init__(self, api: ApiClient, file: Path, request: dict[str, Any]) -> None:
        self.api = api
        self.file = file
        self.request = request
        self.lines: int | None = None
        self.status: dict[str, Any] = {}
        self.repeated = False

    @property
    def path(self) -> str:
        """Where the API tells of it."""
        return f"/v1/imports/{self.status['id']}"

    def run(self, *, again: bool) -> None:
        """Bring the import to its end, from wherever it stands."""
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        with Progress(*columns, console=err, transient=True) as progress:
            bar = progress.add_task(f"reading {self.file.name}", total=self.file.stat().st_size or None)
            looked = look(self.file, self.request, lambda count: progress.advance(bar, count))
        self.lines = looked.lines
        self._open(looked.fingerprint, again=again)
        if self.status["state"] == "done":
            self.repeated = True
            return
        if self.status["state"] == "receiving":
            self._upload()
        if self.status["state"] not in _OPEN:
            self._start()
        self._follow()

    def interrupted(self) -> NoReturn:
        """Ask the server to stop, say how to go on, and end."""
        told = "Nothing was imported yet."
        if self.status.get("state") in _OPEN:
            try:
                answer = self.api.request("POST", f"{self.path}/stop", expected=(httpx.codes.CONFLICT,))
                told = "It ended just now." if answer.status_code == httpx.codes.CONFLICT else "It is stopped."
            except KeyboardInterrupt:
                told = "It goes on at the server."
        err.print(f"\n[bold yellow]■[/] {told}")
        err.print("  Give the same command again, and it goes on where it was.")
        raise typer.Exit(INTERRUPTED)

    def _open(self, fingerprint: str, *, again: bool) -> None:
        """Find the run of this file that is ours to bring to its end, or make it."""
        for run in range(1, _MOST_RUNS):
            key = fingerprint if run == 1 else f"{fingerprint}-{run}"
            self.status = self.api.json("POST", "/v1/imports", json=self.request, headers={"Idempotency-Key": key})
            if not again or self.status["state"] not in {"done", "failed"}:
                return
        refuse(f"{self.file} was imported {_MOST_RUNS:,} times.", hint="Is a script giving --again by mistake?")

    def _upload(self) -> None:
        size = self.file.stat().st_size
        if not size:
            refuse(f"{self.file} is empty.", hint="There is nothing to import.")
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as progress, self.file.open("rb") as stream:
            bar = progress.add_task(f"uploading {self.file.name}", total=size)
            number = 0
            while chunk := stream.read(PART_BYTES):
                self.api.request(
                    "PUT",
                    f"{self.path}/parts/{number}",
                    content=chunk,
                    headers={"Content-Type": "application/octet-stream"},
                )
                progress.advance(bar, len(chunk))
                number += 1

    def _start(self) -> None:
        before = int(self.status.get("done") or 0)
        answer = self.api.request(
            "POST", f"{self.path}/start", expected=(httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY)
        )
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            refuse(
                "What was uploaded for this import is no longer kept.",
                hint="Upload it anew: the same command with --again",
            )
        if before:
            err.print(f"[dim]· It goes on behind line {before:,}.[/]")
        self.status = self.api.json("GET", self.path)

    def _follow(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as progress:
            bar = progress.add_task(f"importing {self.file.name}", total=self.lines)
            while True:
                seen = int(self.status.get("done") or 0)
                progress.update(bar, completed=seen if self.lines is None else min(seen, self.lines))
                if self.status["state"] in _ENDED:
                    return
                time.sleep(_POLL_SECONDS)
                self.status = self.api.json("GET", self.path)


def _report(job: _Job, errors: Path, *, as_json: bool) -> None:
    status = job.status
    failed = int(status.get("failed") or 0)
    listed = _fetch_errors(job, errors) if failed else []
    if as_json:
        print_json(status | {"repeated": job.repeated, "errors": str(errors) if listed else None})
    elif job.repeated:
        out.print(f"This file was imported before ({_made(status)} UTC); nothing was done. To run it again: --again")
        out.print(f"  That import: {_counted(status)}.")
    elif status["state"] == "done":
        tell = partly_done if failed else done
        tell(f"{job.file.name} is in {status['collection']}: {_counted(status)}.")
    if listed and not as_json:
        _show_errors(failed, listed, errors)
    if status["state"] == "failed":
        refuse(
            f"The import failed behind line {int(status.get('done') or 0):,}: {status.get('error') or 'internal'}.",
            hint="Mend what the code says (docs/reference/imports.md), then give the same command again.",
        )
    if status["state"] == "stopped":
        refuse("The import was stopped by somebody.", hint="Give the same command again, and it goes on where it was.")
    if failed:
        raise typer.Exit(1)


def _fetch_errors(job: _Job, errors: Path) -> list[dict[str, Any]]:
    content = job.api.request("GET", f"{job.path}/errors").content
    errors.write_bytes(content)
    return [msgspec.json.decode(line, type=dict[str, Any]) for line in content.splitlines()]


def _show_errors(failed: int, listed: list[dict[str, Any]], errors: Path) -> None:
    more = f" (the first {len(listed):,})" if len(listed) < failed else ""
    err.print(f"  Lines that failed{more} are listed in {errors}, with path and code. They begin with:", markup=False)
    for one in listed[:_SHOWN_ERRORS]:
        err.print(f"    line {one['line']}: {one['path'] or 'the whole line'}: {one['code']}", markup=False)


def _counted(status: dict[str, Any]) -> str:
    return ", ".join(f"{int(status.get(name) or 0):,} {name}" for name in _COUNTS)


def _made(status: dict[str, Any]) -> str:
    """Return when it was made, as its UUIDv7 tells."""
    milliseconds = UUID(str(status["id"])).int >> 80
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M")
