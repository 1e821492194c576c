"""The demo's patients: generated from a seed, or the sample data's, imported through the API like anybody's file."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from wellkeep.cli.console import done, err
from wellkeep.cli.demo_tenants import COLLECTIONS, DemoTenant
from wellkeep.prove.deployment import Deployment, Unseen, created
from wellkeep.prove.synthetic import SyntheticPatients

_SEED = 20_260_101
_PART_BYTES = 4 * 1024 * 1024
_POLL_SECONDS = 0.2
_ENDED = {"done", "failed", "stopped"}
_FILES = {"patients": "Patient", "encounters": "Encounter", "observations": "Observation"}
_SSN = "http://hl7.org/fhir/sid/us-ssn"


async def fill(deployment: Deployment, tenants: list[DemoTenant], patients: int) -> None:
    """Import `patients` people with encounters and observations: most into the first tenant, a few into the second."""
    shares = (patients - patients // 10, patients // 10) if len(tenants) > 1 else (patients,)
    samples = os.environ.get("WELLKEEP_SAMPLES")
    lines = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        for number, (tenant, share) in enumerate(zip(tenants, shares, strict=True)):
            client = await deployment.client(tenant.keys["integration"])
            source = _sample(Path(samples), number, share) if samples else _generated(_SEED + number, share)
            for collection, content in source.items():
                tenant.known_ssn = tenant.known_ssn or _first_ssn(content)
                bar = progress.add_task(f"{tenant.name}: {collection}", total=len(content))
                lines += await _import(client, collection, content, progress, bar)
    done(f"{patients} made-up patients with encounters and observations: {lines:,} FHIR resources, all sealed")


def _generated(seed: int, count: int) -> dict[str, list[bytes]]:
    made = SyntheticPatients(seed=seed, count=count)
    sources: dict[str, Iterable[dict[str, object]]] = {
        "patients": made.patients(),
        "encounters": made.encounters(),
        "observations": made.observations(),
    }
    return {name: [json.dumps(one, ensure_ascii=False).encode() for one in sources[name]] for name in COLLECTIONS}


def _sample(folder: Path, number: int, count: int) -> dict[str, list[bytes]]:
    """Return `count` patients of the sample data, other ones for each tenant, and what refers to them."""
    people = list(_read(folder, "Patient"))[number * 500 : number * 500 + count]
    known = {f"Patient/{json.loads(line)['id']}" for line in people}
    found = {"patients": people}
    for collection in ("encounters", "observations"):
        lines = _read(folder, _FILES[collection])
        found[collection] = [line for line in lines if json.loads(line)["subject"]["reference"] in known]
    return found


def _read(folder: Path, resource: str) -> Iterator[bytes]:
    with gzip.open(folder / "synthea-r4" / f"{resource}.ndjson.gz") as lines:
        for line in lines:
            yield line.rstrip(b"\n")


def _first_ssn(content: list[bytes]) -> str:
    if not content:
        return ""
    identifiers = json.loads(content[0]).get("identifier", [])
    return next((one["value"] for one in identifiers if one.get("system") == _SSN), "")


async def _import(
    client: httpx.AsyncClient, collection: str, content: list[bytes], progress: Progress, bar: TaskID
) -> int:
    """Upload, start and follow one import, if there is anything; raises Unseen where it does not end well."""
    if not content:
        return 0  # few patients may leave a tenant without a visit
    made = await created(client, "/v1/imports", {"collection": collection, "format": "fhir"})
    path = f"/v1/imports/{made['id']}"
    whole = b"\n".join(content)
    for number, start in enumerate(range(0, len(whole), _PART_BYTES)):
        answer = await client.put(
            f"{path}/parts/{number}",
            content=whole[start : start + _PART_BYTES],
            headers={"Content-Type": "application/octet-stream"},
        )
        if not answer.is_success:
            raise Unseen(f"a part of the import was refused (HTTP {answer.status_code})")
    started = await client.post(f"{path}/start")
    if not started.is_success:
        raise Unseen(f"the import was not started (HTTP {started.status_code}, {started.json().get('type')})")
    status: dict[str, Any] = started.json()
    while status["state"] not in _ENDED:
        await asyncio.sleep(_POLL_SECONDS)
        status = (await client.get(path)).json()
        progress.update(bar, completed=status["done"])
    if status["state"] != "done" or status["failed"]:
        raise Unseen("an import of the demo did not go through; the server's log says why")
    return len(content)
