"""access.impersonation: no stepping in without a reason, an end after fifteen minutes, both names, in full view.

On a scratch deployment: one of the staff steps into the account of a customer's clinician, reads a record, is seen, and
is ended; a second one is brought to the end of its fifteen minutes in the database, whose clock decides.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx

from wellkeep.findings.grammar import Kind
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.people import signed_in
from wellkeep.prove.probe import Probe
from wellkeep.prove.requests import Place, requests
from wellkeep.prove.sample import FIELD_GROUPS, PEOPLE, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_REASON: Final = "the probe was asked for help with a record"
_LENGTH: Final = timedelta(minutes=15)
_RECORDS: Final = f"/v1/collections/{PEOPLE}/records"
_EXPIRE: Final = "UPDATE access.impersonation SET ends_at = clock_timestamp() WHERE id = $1"


async def run(world: World, notes: Notes) -> None:
    """Step in, look, be seen, be ended; then run out of time."""
    scratch = await world.scratch()
    maker = await scratch.client(scratch.a.keys["integration"])
    record = await created(maker, _RECORDS, person(family="Impersonated"))
    async with (
        signed_in(scratch, "support", platform=True, admin=True) as (staff, desk),
        signed_in(scratch, "clinician") as (target, _),
    ):
        asked = {"tenant": str(scratch.a.id), "person": str(target)}
        await _reason(notes, desk, asked)
        first = await _started(desk, asked)
        inside = await scratch.client(None)
        carried = {"Authorization": f"Bearer {first['token']}"}
        await _masked(notes, inside, carried, record["id"])
        await _named(scratch, notes, staff=staff, target=target)
        await _bounded(scratch, notes, inside, carried, first)
        await _ended(scratch, notes, inside, carried, first)
        second = await _started(desk, asked)
        await _over(scratch, notes, inside, second)


async def _reason(notes: Notes, desk: httpx.AsyncClient, asked: dict[str, str]) -> None:
    without = [
        await desk.post("/v1/impersonations", json=asked | more) for more in ({}, {"reason": ""}, {"reason": "  "})
    ]
    refused = [answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY for answer in without]
    notes.check(
        f"asked {len(without)} times to step into an account without a reason, or with an empty one",
        held=all(refused),
        seen=f"refused {sum(refused)} times",
    )


async def _started(desk: httpx.AsyncClient, asked: dict[str, str]) -> dict[str, Any]:
    return await created(desk, "/v1/impersonations", asked | {"reason": _REASON})


async def _masked(notes: Notes, inside: httpx.AsyncClient, carried: dict[str, str], record: str) -> None:
    read = await inside.get(f"{_RECORDS}/{record}", headers=carried)
    shown = read.json() if read.is_success else {}
    held = read.is_success and not shown["fields"] and set(shown["withheld"]) == set(FIELD_GROUPS)
    notes.check(
        "read a record inside the account, without the customer's permit",
        held=held,
        seen=f"all {len(FIELD_GROUPS)} fields withheld"
        if held
        else f"HTTP {read.status_code}, {len(shown.get('fields', ()))} shown",
    )


async def _named(scratch: Scratch, notes: Notes, *, staff: UUID, target: UUID) -> None:
    """Look at the entries as the customer does, at the list, and for the finding."""
    officer = await scratch.client(scratch.a.keys["privacy_officer"])
    found = (await officer.get("/v1/ledger/entries", params={"actor": str(staff), "limit": 50})).json()
    actors = [entry["event"]["actor"] if "event" in entry else entry.get("actor", {}) for entry in found["entries"]]
    both = [one for one in actors if one.get("id") == str(staff) and one.get("on_behalf_of") == str(target)]
    seen = (await officer.get("/v1/impersonations")).json().get("impersonations", [])
    live = [one for one in seen if one["live"] and one["staff"] == str(staff) and one["reason"] == _REASON]
    told = [one for one in await scratch.operator.findings.list(scratch.a.id) if one.kind == Kind.IMPERSONATION_STARTED]
    notes.check(
        "looked as the customer's privacy officer at the ledger, at who is inside, and for a finding",
        held=bool(both) and bool(live) and bool(told),
        seen=f"{len(both)} entries with both names; inside now: {len(live)}, with the reason; findings: {len(told)}",
    )


async def _bounded(
    scratch: Scratch, notes: Notes, inside: httpx.AsyncClient, carried: dict[str, str], started: dict[str, Any]
) -> None:
    """Try to administer, and to step on from there."""
    place = Place.nowhere(record=str(scratch.a.id), subject=str(scratch.a.id), tenant=scratch.a.id)
    clinical = {"collection:read", "subject:create", "subject:read"}
    through, tried = [], 0
    for request in requests(place):
        if request.permission in clinical or request.permission.startswith("record:"):
            continue
        base = scratch.admin_url if request.admin else scratch.public_url
        arguments = request.arguments | {"url": f"{base}{request.arguments['url']}"}
        headers = arguments.pop("headers", {}) | carried
        answer = await inside.request(**arguments, headers=headers)
        tried += 1
        through += [request.operation] if answer.status_code not in _REFUSED else []
    length = datetime.fromisoformat(started["ends_at"]) - datetime.fromisoformat(started["started_at"])
    notes.check(
        f"tried {tried} operations of administration inside the account, stepping on from there among them",
        held=tried > 0 and not through and length == _LENGTH,
        seen=f"each refused; it is to end after {length}" if not through else f"answered: {', '.join(through[:5])}",
    )


_REFUSED: Final = {httpx.codes.FORBIDDEN, httpx.codes.UNAUTHORIZED}


async def _ended(
    scratch: Scratch, notes: Notes, inside: httpx.AsyncClient, carried: dict[str, str], started: dict[str, Any]
) -> None:
    officer = await scratch.client(scratch.a.keys["privacy_officer"])
    ended = await officer.post(f"/v1/impersonations/{started['id']}/end")
    after = await inside.get("/v1/collections", headers=carried)
    notes.check(
        "ended it as the customer, and sent the next request inside",
        held=ended.is_success and after.status_code == httpx.codes.UNAUTHORIZED,
        seen="refused" if after.status_code == httpx.codes.UNAUTHORIZED else f"HTTP {after.status_code}",
    )


async def _over(scratch: Scratch, notes: Notes, inside: httpx.AsyncClient, started: dict[str, Any]) -> None:
    """Bring the fifteen minutes to their end."""
    carried = {"Authorization": f"Bearer {started['token']}"}
    before = await inside.get("/v1/collections", headers=carried)
    async with scratch.as_superuser() as connection:
        await connection.execute(_EXPIRE, UUID(started["id"]))
    after = await inside.get("/v1/collections", headers=carried)
    if not before.is_success:
        raise Unseen(f"a second impersonation did not work (HTTP {before.status_code})")
    notes.check(
        "stepped in again, let the time run out in the database, and sent the next request",
        held=after.status_code == httpx.codes.UNAUTHORIZED,
        seen="refused" if after.status_code == httpx.codes.UNAUTHORIZED else f"HTTP {after.status_code}",
    )


PROBE = Probe(claim="access.impersonation", where=Where.SCRATCH, run=run)
