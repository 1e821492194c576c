"""access.break_glass: a reason opens one patient for a time, somebody hears of it at once, another person closes it.

On a scratch deployment whose clinicians see their own patients alone: one of them breaks the glass of a patient who is
not theirs.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID

import httpx

from wellkeep.findings.grammar import Kind
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.people import signed_in
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_REASON: Final = "found unconscious, allergies unknown"
_RECORDS: Final = f"/v1/collections/{PEOPLE}/records"
_EMERGENCY: Final = {"X-Purpose-Of-Use": "BTG"}
_EXPIRE: Final = "UPDATE access.break_glass SET ends_at = clock_timestamp() WHERE id = $1"
_FORBIDDEN: Final = httpx.codes.FORBIDDEN
_TRIES, _PAUSE, _IN_A_ROW = 40, 0.2, 28


async def run(world: World, notes: Notes) -> None:
    """Bind clinicians to their care teams, break a glass, review it, and let one run out."""
    scratch = await world.scratch()
    keys = scratch.a.keys
    maker, administrator = await scratch.client(keys["integration"]), await scratch.client(keys["administrator"])
    one, other = [await created(maker, _RECORDS, person(family=name)) for name in ("Emergency", "Elsewhere")]
    bound = await administrator.patch("/v1/rules", json={"care_team": ["clinician"]})
    if not bound.is_success:
        raise Unseen(f"clinicians could not be bound to their care teams (HTTP {bound.status_code})")
    try:
        async with signed_in(scratch, "clinician") as (clinician, ward):
            await _in_force(ward, other)
            glass = await _broken(scratch, notes, ward, one, other)
            await _heard(scratch, notes, ward, glass)
            again = await created(ward, "/v1/break-glass", {"subject": one["subject"], "reason": _REASON})
            await _over(scratch, notes, ward, one, again)
            await _louder(scratch, notes, clinician)
    finally:
        await administrator.patch("/v1/rules", json={"care_team": []})


async def _in_force(ward: httpx.AsyncClient, other: dict[str, Any]) -> None:
    """Wait until each worker has learned of the rule, which takes five seconds at most."""
    refused = 0
    for _ in range(_TRIES):
        answer = await ward.get(f"{_RECORDS}/{other['id']}")
        refused = refused + 1 if answer.status_code == _FORBIDDEN else 0
        if refused >= _IN_A_ROW:
            return
        await asyncio.sleep(_PAUSE)


async def _broken(
    scratch: Scratch, notes: Notes, ward: httpx.AsyncClient, one: dict[str, Any], other: dict[str, Any]
) -> dict[str, Any]:
    plain = await ward.get(f"{_RECORDS}/{one['id']}")
    early = await ward.get(f"{_RECORDS}/{one['id']}", headers=_EMERGENCY)
    silent = await ward.post("/v1/break-glass", json={"subject": one["subject"], "reason": " "})
    notes.check(
        "read a record of somebody else's patient: as usual, as an emergency, and after asking without a reason",
        held=plain.status_code == early.status_code == _FORBIDDEN
        and silent.status_code == httpx.codes.UNPROCESSABLE_ENTITY,
        seen=f"HTTP {plain.status_code}, {early.status_code}; without a reason {silent.status_code}",
    )
    glass = await created(ward, "/v1/break-glass", {"subject": one["subject"], "reason": _REASON})
    opened = await ward.get(f"{_RECORDS}/{one['id']}", headers=_EMERGENCY)
    usual = await ward.get(f"{_RECORDS}/{one['id']}")
    elsewhere = await ward.get(f"{_RECORDS}/{other['id']}", headers=_EMERGENCY)
    clinician_key = await scratch.client(scratch.a.keys["clinician"])
    by_key = await clinician_key.get(f"{_RECORDS}/{one['id']}", headers=_EMERGENCY)
    closed = elsewhere.status_code == usual.status_code == by_key.status_code == _FORBIDDEN
    notes.check(
        "broke the glass with a reason; read that patient, without the purpose, another patient, and by a key",
        held=opened.is_success and bool(opened.json()["fields"]) and closed,
        seen="that patient alone, for this purpose alone, by this person alone"
        if opened.is_success and closed
        else f"HTTP {opened.status_code}, {usual.status_code}, {elsewhere.status_code}, {by_key.status_code}",
    )
    return glass


async def _heard(scratch: Scratch, notes: Notes, ward: httpx.AsyncClient, glass: dict[str, Any]) -> None:
    """Look for the finding, then review the use: by who broke it, and by somebody else."""
    before = await _open(scratch, glass)
    said = {"verdict": "justified", "note": "the patient was brought in by ambulance"}
    path = f"/v1/break-glass/{glass['id']}/review"
    own = await ward.post(path, json=said)
    officer = await scratch.client(scratch.a.keys["privacy_officer"])
    reviewed = await officer.post(path, json=said)
    after = await _open(scratch, glass)
    notes.check(
        "looked for a finding at once, reviewed the use oneself, then as the privacy officer",
        held=before and not own.is_success and reviewed.is_success and not after,
        seen=f"found; one's own review HTTP {own.status_code}; closed by the other"
        if before and reviewed.is_success and not after
        else f"found: {before}; HTTP {own.status_code}, {reviewed.status_code}; still open: {after}",
    )


async def _open(scratch: Scratch, glass: dict[str, Any]) -> bool:
    found = await scratch.operator.findings.list(scratch.a.id)
    return any(one.kind == Kind.GLASS_BROKEN and str(glass["id"]) in str(one.detail) + one.key for one in found)


async def _over(
    scratch: Scratch, notes: Notes, ward: httpx.AsyncClient, one: dict[str, Any], glass: dict[str, Any]
) -> None:
    before = await ward.get(f"{_RECORDS}/{one['id']}", headers=_EMERGENCY)
    async with scratch.as_superuser() as connection:
        await connection.execute(_EXPIRE, UUID(str(glass["id"])))
    after = await ward.get(f"{_RECORDS}/{one['id']}", headers=_EMERGENCY)
    notes.check(
        "broke it again, and let its time run out in the database",
        held=before.is_success and after.status_code == _FORBIDDEN,
        seen="refused from then on" if after.status_code == _FORBIDDEN else f"HTTP {after.status_code}",
    )


async def _louder(scratch: Scratch, notes: Notes, clinician: UUID) -> None:
    """See that what waits for its review is on the list, for whoever answers for privacy."""
    officer = await scratch.client(scratch.a.keys["privacy_officer"])
    waiting = (await officer.get("/v1/break-glass", params={"waiting": "true"})).json().get("uses", [])
    mine = [use for use in waiting if use["person"] == str(clinician)]
    notes.check(
        "looked at what waits for its review",
        held=bool(mine),
        seen=f"{len(mine)} use of the probe's clinician waits for a person to close it" if mine else "nothing waits",
    )


PROBE = Probe(claim="access.break_glass", where=Where.SCRATCH, run=run)
