"""A short tour: a record goes in sealed, comes out with an entry, stays behind its wall, and a forged past is found."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import httpx
from rich.markup import escape

from wellkeep.assembly.runtime import open_runtime
from wellkeep.cli.console import out
from wellkeep.cli.demo_tenants import DemoTenant
from wellkeep.db.provision import connected
from wellkeep.ledger.verify import verify
from wellkeep.prove.deployment import Deployment, created
from wellkeep.prove.ledger_copy import ledger_copy
from wellkeep.prove.tampering import edit

_SEALED = "SELECT sealed[1] AS field, cardinality(sealed) AS fields FROM vault.record WHERE id = $1"
_LAST_ENTRY = "SELECT entry FROM ledger.entry WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1"
_SIZE = "SELECT size FROM ledger.log WHERE tenant_id = $1"
_NEW_PATIENT = {
    "family": "Núñez-Okafor",
    "given": "Adaeze",
    "birth_date": "1984-02-29",
    "ssn": "999-77-1234",
    "phone": "(617) 555-0143",
}


async def tour(deployment: Deployment, tenants: list[DemoTenant]) -> None:
    """Show it round, telling what is done and what is seen."""
    out.rule("[bold]A short tour[/]", align="left")
    first, second = tenants
    clinician = await deployment.client(first.keys["clinician"])
    record = await created(clinician, "/v1/collections/patients/records", {"fields": _NEW_PATIENT})
    first.known_subject = record["subject"]
    path = f"/v1/collections/patients/records/{record['id']}"
    _told("A clinician of northside-clinic stores a patient", f"201, record {record['id']}")
    await _show_sealed(deployment, record["id"])
    await _show_read(clinician, path)
    await _show_entry(deployment, first)
    await _show_search(clinician)
    billing = await deployment.client(first.keys["billing"])
    seen = (await billing.get(path)).json()
    _told("Billing reads the same record", f"sees {', '.join(seen['fields'])}; withheld: {', '.join(seen['withheld'])}")
    stranger = await deployment.client(second.keys["clinician"])
    refused = await stranger.get(path)
    _told("A clinician of harbour-health asks for it", f"{refused.status_code} {refused.json()['title']}")
    await _show_forgery(deployment, first)


async def _show_sealed(deployment: Deployment, record: str) -> None:
    async with deployment.as_superuser() as connection:
        row = await connection.fetchrow(_SEALED, UUID(record))
    if row is not None:
        _told("What PostgreSQL holds of it", f"{row['fields']} sealed fields such as {bytes(row['field']).hex()[:48]}…")


async def _show_read(client: httpx.AsyncClient, path: str) -> None:
    answer = (await client.get(path)).json()
    fields = {name: answer["fields"][name] for name in _NEW_PATIENT}
    _told("She reads it back", json.dumps(fields, ensure_ascii=False))


async def _show_entry(deployment: Deployment, tenant: DemoTenant) -> None:
    async with deployment.as_superuser() as connection:
        entry: dict[str, Any] = json.loads(await connection.fetchval(_LAST_ENTRY, tenant.id))
    event = entry["event"]
    shown = f"seq {entry['seq']}: {event['action']} for {event.get('purpose')}, rule {event.get('rule')}"
    _told("The entry that was durable before she saw it", f"{shown}; no name, no number, no value")


async def _show_search(client: httpx.AsyncClient) -> None:
    for field, value in (("ssn", "999 77 1234"), ("family", "nunez-okafor"), ("phone", "+1 617-555-0143")):
        answer = await client.post("/v1/collections/patients/records/search", json={"where": {field: value}})
        found = [one["fields"].get("given") for one in answer.json().get("records", [])]
        _told(f"She searches {field} = {value}", f"{len(found)} found: {', '.join(map(str, found))}")


async def _show_forgery(deployment: Deployment, tenant: DemoTenant) -> None:
    async with (
        open_runtime(deployment.home, deployment.settings, deployment.database) as runtime,
        ledger_copy(deployment) as copy,
        connected(copy) as connection,
    ):
        keys = runtime.core.seal_keys
        before = await verify(connection, keys=keys)
        seq = await connection.fetchval(_SIZE, tenant.id) // 2
        await edit(connection, tenant.id, seq)
        after = await verify(connection, keys=keys)
    _told("The ledger is copied and verified", f"{before.entries:,} entries hold" if before.ok else "it does not hold")
    place = after.first_bad
    _told(
        f"In the copy, somebody changes who it was in entry {seq}",
        f"found: {place.log} at seq {place.seq} ({place.what.value})" if place else "NOT FOUND",
    )


def _told(what: str, seen: str) -> None:
    out.print(f"  {escape(what)}\n    [dim]→ {escape(seen)}[/]")
