"""`wellkeep import` and `wellkeep export`: files in and out through the API, with progress, resumed at will."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from wellkeep.base.settings import default_home
from wellkeep.cli.client import ApiClient, connect
from wellkeep.cli.console import done, err, print_json, refuse

PART_BYTES = 4 * 1024 * 1024
_POLL_SECONDS = 0.4
_ENDED = {"done", "failed", "stopped"}

Home = Annotated[
    Path | None, typer.Option("--home", help="The deployment [default: $WELLKEEP_HOME or ./wellkeep-data]")
]
Url = Annotated[str | None, typer.Option("--url", help="Another API than the deployment's own, https://host:port")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of words")]


def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="NDJSON, CSV or FHIR NDJSON; .gz too")
    ],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where the records go")],
    format_: Annotated[
        str | None, typer.Option("--format", help="ndjson, csv or fhir [default: by the file's name]")
    ] = None,
    mapping: Annotated[Path | None, typer.Option("--map", help="TOML or JSON: column = field", exists=True)] = None,
    errors: Annotated[Path | None, typer.Option("--errors", help="Where lines that failed are listed")] = None,
    home: Home = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Import a file into a collection; importing it twice changes nothing.

    Stop it with Ctrl-C and give the same command again: what was uploaded and imported is not done twice.

    Example: wellkeep import Patient.ndjson.gz --collection patients
    """
    with connect((home or default_home()).absolute(), url=url) as api:
        chosen = format_ or guess_format(file)
        request: dict[str, Any] = {"collection": collection, "format": chosen}
        if mapping is not None:
            request["map"] = read_mapping(mapping)
        made = api.json("POST", "/v1/imports", json=request, headers={"Idempotency-Key": fingerprint(file, request)})
        status = _upload_and_follow(api, str(made["id"]), file)
        _report(api, status, errors, as_json=json)


def guess_format(file: Path) -> str:
    """Tell the format by the file's name and first bytes: `csv`, or `fhir` where the first line is a FHIR resource."""
    import gzip  # noqa: PLC0415 -- only this command needs it

    name = file.name.removesuffix(".gz")
    if name.endswith(".csv"):
        return "csv"
    opener = gzip.open if file.name.endswith(".gz") else open
    with opener(file, "rb") as stream:
        head = stream.read(4096)
    return "fhir" if b'"resourceType"' in head else "ndjson"


def read_mapping(file: Path) -> dict[str, str]:
    """Read column → field pairs from TOML or JSON."""
    try:
        decode = msgspec.json.decode if file.suffix == ".json" else msgspec.toml.decode
        return decode(file.read_bytes(), type=dict[str, str])
    except msgspec.MsgspecError:
        refuse(f"{file} is not a table of column = field pairs.", hint='Example line:  "Last Name" = "family"')


def fingerprint(file: Path, request: dict[str, Any]) -> str:
    """Return the idempotency key of this import: the same file, asked for the same way, finds its first run again."""
    digest = hashlib.sha256(msgspec.json.encode(request, order="sorted"))
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return f"import-{digest.hexdigest()[:48]}"


def _upload_and_follow(api: ApiClient, import_id: str, file: Path) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        status = api.json("GET", f"/v1/imports/{import_id}")
        if status["state"] == "receiving":
            _upload(api, import_id, file, progress)
            status = api.json("POST", f"/v1/imports/{import_id}/start")
        bar = progress.add_task(f"importing {file.name}", total=None)
        while status["state"] not in _ENDED:
            time.sleep(_POLL_SECONDS)
            status = api.json("GET", f"/v1/imports/{import_id}")
            progress.update(bar, total=status.get("lines") or None, completed=status.get("done") or 0)
        return status


def _upload(api: ApiClient, import_id: str, file: Path, progress: Progress) -> None:
    bar = progress.add_task(f"uploading {file.name}", total=file.stat().st_size)
    with file.open("rb") as stream:
        number = 0
        while chunk := stream.read(PART_BYTES):
            api.request(
                "PUT",
                f"/v1/imports/{import_id}/parts/{number}",
                content=chunk,
                headers={"Content-Type": "application/octet-stream"},
            )
            progress.advance(bar, len(chunk))
            number += 1
    progress.remove_task(bar)


def _report(api: ApiClient, status: dict[str, Any], errors: Path | None, *, as_json: bool) -> None:
    failed = int(status.get("failed") or 0)
    if failed and errors is not None:
        errors.write_bytes(api.request("GET", f"/v1/imports/{status['id']}/errors").content)
    if as_json:
        print_json(status)
    else:
        counts = ", ".join(
            f"{status.get(name) or 0:,} {name}" for name in ("created", "updated", "unchanged", "failed")
        )
        done(f"Import {status['id']} is {status['state']}: {counts}.")
        if failed:
            where = errors or f"GET /v1/imports/{status['id']}/errors"
            err.print(f"  The lines that failed, with path and code: {where}")
    if failed or status["state"] != "done":
        raise typer.Exit(1)


def export_file(
    collection: Annotated[str, typer.Option("--collection", "-c", help="What is exported")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; it must not exist")],
    format_: Annotated[str, typer.Option("--format", help="ndjson, csv or fhir")] = "ndjson",
    home: Home = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Export a collection into a file, readable by you alone (mode 0600). Each record that leaves is on record.

    Example: wellkeep export --collection patients -o patients.ndjson
    """
    if output.exists():
        refuse(f"{output} exists.", hint="Choose another name, or remove it first.")
    with connect((home or default_home()).absolute(), url=url) as api:
        status = api.json("POST", "/v1/exports", json={"collection": collection, "format": format_})
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} records"))
        with Progress(*columns, console=err, transient=True) as progress:
            bar = progress.add_task(f"exporting {collection}", total=None)
            while status["state"] not in _ENDED:
                time.sleep(_POLL_SECONDS)
                status = api.json("GET", f"/v1/exports/{status['id']}")
                progress.update(bar, completed=status.get("done") or 0)
        if status["state"] != "done":
            refuse(f"The export is {status['state']}.", hint="Give the command again.")
        content = api.request("GET", f"/v1/exports/{status['id']}/content").content
    output.touch(mode=0o600, exist_ok=False)
    output.write_bytes(content)
    if json:
        print_json(status | {"file": str(output)})
    else:
        done(f"{status.get('done') or 0:,} records in {output}, readable by you alone.")
