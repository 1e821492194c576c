"""A role that is bound to the care team, and somebody who holds it: what they reach of their own patient and another's.

The role is of the synthetic tenant's own, and stays bound there from the first run on. It is bound before it may do
anything, so that no worker, however late it learns of either, takes it for a role that reaches everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from wellkeep.base.ids import uuid7
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.people import signed_in
from wellkeep.prove.sample import NOTES, PEOPLE, person
from wellkeep.prove.stage import Stage

ROLE = "wk_probe_bound"
_PERMISSIONS = ["record:read", "record:search", "record:create", "record:change", "subject:read"]
_PURPOSE = {"purposes": ["TREAT"], "default_purpose": "TREAT"}
_RECORDS = f"/v1/collections/{PEOPLE}/records"
_LETTERS = "abcdefghijklmnop"
_ROUNDS, _PAUSE = 30, 0.5
"""A change of roles holds on every worker within five seconds."""

Cell = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient with one record, under an external id; `word` is the name that the record is found by."""

    record: str
    subject: str
    external: str
    word: str


async def tried(live: Stage) -> tuple[int, list[str]]:
    """Return how many cells were tried as somebody whose role is bound, and which were not as they should be."""
    await _bind(live)
    software = await live.client(live.a.keys["integration"])
    word = "".join(_LETTERS[int(digit, 16)] for digit in uuid7().hex[-10:])
    mine, other = [await _patient(software, word) for _ in range(2)]
    async with signed_in(live, ROLE) as (somebody, client):
        await _put_into_care(live, mine, somebody)
        late = await _until_open(client, mine)
        shown = [await _answered(client, cell) for cell in _cells(other)]
        found = await client.post(f"{_RECORDS}/search", json={"where": {"family": word}})
    wrong = [f"own patient: {cell}" for cell in late]
    wrong += [f"another's patient: {name} → {status}" for name, status in shown if status != httpx.codes.FORBIDDEN]
    wrong += _strays(found, mine)
    return 2 * len(shown) + 1, wrong


async def _bind(live: Stage) -> None:
    administrator = await live.client(live.a.keys["administrator"])
    bound = (await administrator.get("/v1/rules")).json().get("care_team", [])
    if ROLE not in bound:
        await _agreed(administrator, "PUT", f"/v1/roles/{ROLE}", {"permissions": ["ledger:verify"], **_PURPOSE})
        await _agreed(administrator, "PATCH", "/v1/rules", {"care_team": [*bound, ROLE]})
    groups = ["clinical", "demographic", "contact", "identifier", "financial", "administrative"]
    body = {"permissions": _PERMISSIONS, "groups": groups, **_PURPOSE}
    await _agreed(administrator, "PUT", f"/v1/roles/{ROLE}", body)


async def _agreed(client: httpx.AsyncClient, method: str, url: str, body: dict[str, Any]) -> None:
    answer = await client.request(method, url, json=body)
    if not answer.is_success:
        raise Unseen(f"a role could not be bound to the care team (HTTP {answer.status_code})")


async def _patient(client: httpx.AsyncClient, word: str) -> Patient:
    external = f"wk-probe-{uuid7()}"
    answer = await client.put(f"{_RECORDS}/by-external-id/{external}", json=person(family=word))
    if answer.status_code != httpx.codes.CREATED:
        raise Unseen(f"what the probe needs could not be made (HTTP {answer.status_code})")
    made = answer.json()
    return Patient(made["id"], made["subject"], external, word)


async def _put_into_care(live: Stage, patient: Patient, somebody: UUID) -> None:
    administrator = await live.client(live.a.keys["administrator"])
    await created(administrator, f"/v1/subjects/{patient.subject}/care-team", {"person": str(somebody)})


def _cells(patient: Patient) -> Iterator[Cell]:
    """Yield each way to reach something of `patient`: what it is called, and the request."""
    one, note = f"{_RECORDS}/{patient.record}", {"subject": patient.subject, "fields": {"body": "probe"}}
    notes, label = f"/v1/collections/{NOTES}/records", {"fields": {"label": "bound"}}
    yield "reads", {"method": "GET", "url": one}
    yield "reads a revision", {"method": "GET", "url": f"{one}?revision=1"}
    yield "searches", {"method": "POST", "url": f"{_RECORDS}/search", "json": {"subject": patient.subject, "limit": 1}}
    yield "reads the patient", {"method": "GET", "url": f"/v1/subjects/{patient.subject}"}
    yield "writes", {"method": "POST", "url": notes, "json": note}
    yield "writes many", {"method": "POST", "url": f"{notes}/batch", "json": {"records": [note]}}
    body = person(family=patient.word, label="bound")
    yield "puts", {"method": "PUT", "url": f"{_RECORDS}/by-external-id/{patient.external}", "json": body}
    # Of a revision that is not the current one: nothing is changed, however often it is asked.
    yield "changes", {"method": "PATCH", "url": one, "json": label, "headers": {"If-Match": '"999"'}}


async def _answered(client: httpx.AsyncClient, cell: Cell) -> tuple[str, int]:
    name, request = cell
    return name, (await client.request(**request)).status_code


async def _until_open(client: httpx.AsyncClient, patient: Patient) -> list[str]:
    """Return which cells of one's own patient stay closed, once every worker must have heard of the role."""
    closed: list[str] = []
    for _ in range(_ROUNDS):
        answers = [await _answered(client, cell) for cell in _cells(patient)]
        expected = {httpx.codes.OK, httpx.codes.CREATED, httpx.codes.PRECONDITION_FAILED}
        closed = [f"{name} → {status}" for name, status in answers if status not in expected]
        if not closed:
            return []
        await asyncio.sleep(_PAUSE)
    return closed


def _strays(found: httpx.Response, mine: Patient) -> list[str]:
    """Return what a search by a name that both patients have shows beside one's own."""
    if not found.is_success:
        return [f"searches by a name → {found.status_code}"]
    shown = [record["id"] for record in found.json()["records"]]
    return [] if shown == [mine.record] else [f"a search by a name shows {len(shown)} records, not one's own alone"]
