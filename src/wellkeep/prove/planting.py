"""Canaries sent through everything that takes a value: each field, each route that writes, searches, imports.

What a route is sent in a sealed field, as an external id, an Idempotency-Key, a column's name or a broken line must
stand nowhere afterwards; `in_clear` alone, in a field declared plain, may and must.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.sample import NOTES, PEOPLE
from wellkeep.prove.transfers import exported, imported

_PEOPLE = f"/v1/collections/{PEOPLE}/records"
_NOTES = f"/v1/collections/{NOTES}/records"
_SEALED = ("history", "family", "street", "ssn", "iban")


async def plant(client: httpx.AsyncClient, number: int, *, in_clear: Canary) -> list[Canary]:
    """Create, upsert, change, batch and search with fresh canaries; return those that must not be found.

    Raises Unseen where one could not be planted.
    """
    made = {name: Canary.make(f"{name} {number}") for name in _SEALED}
    fields = {name: canary.value for name, canary in made.items()} | {"label": in_clear.value}
    repeated = Canary.make(f"idempotency key {number}")
    once = {"Idempotency-Key": repeated.value}
    person = await _sent(client.post(_PEOPLE, json={"fields": fields}, headers=once))
    await _sent(client.post(_PEOPLE, json={"fields": fields}, headers=once))
    note, external = await _note(client, number, person["subject"])
    changed, batched = Canary.make(f"changed {number}"), Canary.make(f"batched {number}")
    match = {"If-Match": '"1"', "Idempotency-Key": f"probe-{person['id']}"}
    path = f"{_PEOPLE}/{person['id']}"
    await _sent(client.patch(path, json={"fields": {"history": changed.value}}, headers=match))
    await _sent(client.post(f"{_PEOPLE}/batch", json={"records": [{"fields": {"street": batched.value}}]}))
    await _sent(client.post(f"{_PEOPLE}/search", json={"where": {"ssn": made["ssn"].value}}))
    await _sent(client.get(path))
    return [*made.values(), repeated, *note, external, changed, batched]


async def _note(client: httpx.AsyncClient, number: int, subject: str) -> tuple[list[Canary], Canary]:
    """Upsert a record of the other types under an external id that is a canary itself."""
    note = {name: Canary.make(f"{name} {number}") for name in ("body", "document", "document key")}
    count, amount = Canary.digits(f"count {number}", length=15), Canary.digits(f"amount {number}", length=18)
    values: dict[str, Any] = {
        "body": note["body"].value,
        "document": {note["document key"].value: note["document"].value},
        "count": int(count.value),
        "amount": amount.value,
    }
    external = Canary.make(f"external id {number}")
    address = f"{_NOTES}/by-external-id/{external.value}"
    await _sent(client.put(address, json={"subject": subject, "fields": values}))
    return [*note.values(), count, amount], external


async def plant_files(client: httpx.AsyncClient) -> list[Canary]:
    """Import NDJSON and CSV with canaries in lines that are taken and in lines that are not, then export them.

    What is exported must hold what was imported, or nothing was tried. Raises Unseen.
    """
    names = ("external id", "history", "street", "unknown field", "unknown value", "broken line", "torn line")
    lines = {name: Canary.make(f"imported {name}") for name in names}
    column, cell, refused = (Canary.make(f"imported CSV {name}") for name in ("column", "cell", "refused cell"))
    told = [await imported(client, PEOPLE, _ndjson(lines), format="ndjson")]
    text = f"external_id,{column.value},state\n{cell.value},{cell.value},well\nprobe-4,x,{refused.value}\n"
    told.append(await imported(client, PEOPLE, text.encode(), format="csv", map={column.value: "family"}))
    if any(one["created"] == 0 or one["failed"] == 0 for one in told):
        raise Unseen("an import of the probe's did not both take a line and refuse one")
    _, content = await exported(client, PEOPLE)
    if lines["history"].value.encode() not in content:
        raise Unseen("an export of the probe's did not hold what was imported")
    return [*lines.values(), column, cell, refused]


def _ndjson(lines: dict[str, Canary]) -> bytes:
    """Return one line that is taken and four that are refused, each for another reason."""
    value = {name: canary.value for name, canary in lines.items()}
    taken = {"external_id": value["external id"], "fields": {"history": value["history"], "street": value["street"]}}
    unknown = {"external_id": "probe-1", "fields": {value["unknown field"]: value["unknown value"]}}
    wrong = {"external_id": "probe-2", "fields": {"history": [value["broken line"]]}}
    torn = '{"external_id": "probe-3", "fields": {"history": "' + value["torn line"]
    return "".join(f"{line}\n" for line in (json.dumps(taken), json.dumps(unknown), json.dumps(wrong), torn)).encode()


async def _sent(request: Any) -> Any:
    answer: httpx.Response = await request
    if not answer.is_success:
        raise Unseen(f"a canary could not be planted (HTTP {answer.status_code})")
    return answer.json() if answer.content else None
