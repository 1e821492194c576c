"""Promise: in an emergency a clinician gets at one patient, the privacy officer knows at once, and it is reviewed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from access.emergency import Ward, Who, ward
from api.stack import stack
from database import Database
from wellkeep.base.ids import uuid7

WHY = "Found unconscious, brought in by ambulance"
NOTE = "Confirmed with the head of the emergency room"
BTG = {"X-Purpose-Of-Use": "BTG"}
_CARE_TEAM = """
INSERT INTO access.tenant_rules (tenant_id, care_team, changed_at, changed_by) VALUES ($1, '{clinician}', now(), 'x')
ON CONFLICT (tenant_id) DO UPDATE SET care_team = '{clinician}'
"""
_OWN_WORD = """
UPDATE access.break_glass SET reviewed_at = now(), reviewed_by = 'person:' || person_id, verdict = 'justified',
  note_digest = sha256('x'), seen = 0
"""
_RULES = """
INSERT INTO access.tenant_rules (tenant_id, glass_unreviewed, glass_length, changed_at, changed_by)
VALUES ($1, 1, interval '20 minutes', now(), 'x')
"""
_MADE_BY = "UPDATE access.api_key SET created_by = $2, created_at = created_at - interval '1 day' WHERE id = $1"
_OVER = "UPDATE access.break_glass SET broken_at = now() - interval '1 hour', ends_at = now()"


@pytest.fixture
async def here(database: Database) -> AsyncIterator[Ward]:
    async with stack(database) as process:
        yield await ward(process)


async def broken(here: Ward, who: Who, **asked: Any) -> httpx.Response:
    """Break a glass: of the first patient unless told otherwise."""
    body = {"reason": WHY} | (asked or {"subject": str(here.subject())})
    return await here.send(who, "POST", "/v1/break-glass", json=body)


async def read(here: Ward, who: Who, place: int = 0) -> httpx.Response:
    """Read a patient's record in an emergency."""
    return await here.send(who, "GET", here.record(place), headers=BTG)


async def reviewed(
    here: Ward, who: Who | str, glass: str, verdict: str = "justified", note: str = NOTE
) -> httpx.Response:
    return await here.send(who, "POST", f"/v1/break-glass/{glass}/review", json={"verdict": verdict, "note": note})


async def test_one_patient_for_a_time_and_the_officer_knows_at_once(here: Ward) -> None:
    clinician = await here.signed_in("clinician")
    assert (await read(here, clinician)).status_code == 403, "nothing was broken yet"
    answer = await broken(here, clinician)
    assert answer.status_code == 201, answer.text
    glass = answer.json()["id"]
    assert await here.found() == [("glass.broken", "high")]
    shown = await read(here, clinician)
    assert (shown.status_code, shown.json()["fields"]["note"]) == (200, "ill")
    assert (await read(here, clinician, 1)).status_code == 403, "one patient, no other"
    (event,) = await here.events("glass.broken")
    assert (event["subject"], event["actor"]["id"]) == (str(here.subject()), str(clinician.person))
    assert event["reason"]
    assert WHY not in str(await here.events())
    other = await here.signed_in("clinician")
    assert (await read(here, other)).status_code == 403, "one person, no other"
    await here.as_owner(_OVER)
    assert (await read(here, clinician)).status_code == 403, "its time is over"
    officer = await here.signed_in("privacy_officer")
    told = (await here.send(officer, "GET", f"/v1/break-glass/{glass}")).json()
    assert (told["reason"], told["open"], told["reviewed_at"]) == (WHY, False, None)


async def test_it_widens_what_the_care_team_bounds(here: Ward) -> None:
    await here.as_owner(_CARE_TEAM, here.tenant)
    await here.process.gate.tenants.load(here.tenant)
    clinician = await here.signed_in("clinician")
    assert (await here.send(clinician, "GET", here.record())).status_code == 403, "not a patient of theirs"
    assert (await broken(here, clinician, collection="patients", where={"ssn": "999120000"})).status_code == 201
    assert (await read(here, clinician)).json()["fields"]["family"] == "Doe"
    assert (await here.send(clinician, "GET", here.record())).status_code == 403, "only as an emergency"
    assert (await read(here, clinician, 1)).status_code == 403


async def test_an_end_is_an_end(here: Ward) -> None:
    clinician = await here.signed_in("clinician")
    glass = (await broken(here, clinician)).json()["id"]
    stale = await here.again(here.tenant, clinician.person, fresh=False)
    other = await here.signed_in("clinician")
    assert (await here.send(other, "POST", f"/v1/break-glass/{glass}/end")).status_code == 404
    assert (await here.send(stale, "POST", f"/v1/break-glass/{glass}/end")).status_code == 204, "no step-up to end"
    assert (await here.send(stale, "POST", f"/v1/break-glass/{glass}/end")).status_code == 404
    assert (await read(here, clinician)).status_code == 403
    assert await here.found() == [("glass.broken", "high")], "ended is not reviewed"
    with pytest.raises(Exception, match="stays ended"):
        await here.as_owner("UPDATE access.break_glass SET ended_at = NULL")


async def test_found_by_what_is_known_of_the_patient(here: Ward) -> None:
    clinician = await here.signed_in("clinician")
    one = await broken(here, clinician, collection="patients", where={"ssn": "999-12-0001"})
    assert (one.status_code, one.json()["subject"]) == (201, str(here.subject(1)))
    both = await broken(here, clinician, collection="patients", where={"family": "Roe", "ssn": "999120002"})
    assert both.json()["subject"] == str(here.subject(2))
    for where, status in (
        ({"family": "Roe"}, 409),
        ({"family": "Nobody"}, 404),
        ({"ssn": "999120000", "family": "Roe"}, 404),
        ({"given": "Kim"}, 422),
        ({"note": "ill"}, 422),
        ({"unheard": "of"}, 422),
        ({"balance": "1031.17"}, 403),
        ({}, 422),
    ):
        answer = await broken(here, clinician, collection="patients", where=where)
        assert answer.status_code == status, (where, answer.text)
        assert not any(value in answer.text for value in where.values())
    failed = [event for event in await here.events("glass.broken") if event["outcome"] == "failed"]
    assert {event["error"] for event in failed} >= {"conflict", "not-found", "forbidden"}, "what was tried is on record"
    assert (await broken(here, clinician, collection="nothing", where={"x": "y"})).status_code == 404
    assert (await broken(here, clinician, subject=str(uuid7()))).status_code == 404
    assert (await broken(here, clinician, subject=str(here.subject()), collection="patients")).status_code == 422


async def test_who_may_not_break_one(here: Ward) -> None:
    stale = await here.signed_in("clinician", fresh=False)
    assert (await broken(here, stale)).json()["type"].endswith("step-up-required")
    for role in ("coach", "billing", "administrator", "privacy_officer", "auditor"):
        assert (await broken(here, await here.signed_in(role))).status_code == 403, role
    key = await here.process.key(here.tenant, "clinician")
    body = {"reason": WHY, "subject": str(here.subject())}
    assert (await here.send(key, "POST", "/v1/break-glass", json=body)).status_code == 403
    assert (await here.send(key, "GET", here.record(), headers=BTG)).status_code == 403
    clinician = await here.signed_in("clinician")
    for reason in ("", "urgent", "a b c", "x\x00 y z more words"):
        answer = await broken(here, clinician, subject=str(here.subject()), reason=reason)
        assert answer.status_code == 422
    other = await here.process.tenant("another")
    stranger = await here.signed_in("clinician", tenant=other)
    assert (await broken(here, stranger)).status_code == 404, "a patient of another tenant"
    assert not await here.found()


async def test_a_second_use_before_the_review_is_possible_and_louder(here: Ward) -> None:
    clinician, officer = await here.signed_in("clinician"), await here.signed_in("privacy_officer")
    first = (await broken(here, clinician)).json()
    assert (await broken(here, clinician)).json() == first, "asked again it is the same glass"
    second = (await broken(here, clinician, subject=str(here.subject(1)))).json()
    assert (first["again"], second["again"]) == (False, True)
    assert sorted(await here.found()) == [("glass.again", "critical"), ("glass.broken", "high")]
    third = (await broken(here, clinician, subject=str(here.subject(2)))).json()
    await here.as_owner(_OVER)
    refused = await broken(here, clinician)
    assert refused.status_code == 409, "three wait, which is all that this tenant lets"
    assert "privacy officer" in refused.json()["detail"]
    assert sorted(await here.found()) == [("glass.again", "critical")] * 3 + [("glass.broken", "high")], "it is told"
    other = await here.signed_in("clinician")
    assert (await broken(here, other)).status_code == 201, "it stops one person, nobody else"
    for glass in (first, second, third):
        assert (await reviewed(here, officer, glass["id"])).status_code == 200
    assert (await broken(here, clinician)).status_code == 201
    assert [one["severity"] for one in map(dict, [{"severity": level} for _, level in await here.found()])] == [
        "high"
    ] * 2


async def test_uses_at_once_are_counted_one_by_one(here: Ward) -> None:
    await here.as_owner(_RULES, here.tenant)
    clinician = await here.signed_in("clinician")
    same = await asyncio.gather(*(broken(here, clinician) for _ in range(4)))
    assert {answer.status_code for answer in same} == {201}
    assert len({answer.json()["id"] for answer in same}) == 1, "a button pressed twice breaks one glass"
    async with here.process.database.connect() as connection:
        length = await connection.fetchval("SELECT ends_at - broken_at FROM access.break_glass")
    assert length == timedelta(minutes=20), "as long as the tenant lets"
    more = await asyncio.gather(*(broken(here, clinician, subject=str(here.subject(place))) for place in (1, 2)))
    assert [answer.status_code for answer in more] == [409, 409]
    another = await here.signed_in("clinician")
    two = await asyncio.gather(*(broken(here, another, subject=str(here.subject(place))) for place in (0, 1, 2)))
    assert sorted(answer.status_code for answer in two) == [201, 409, 409]


async def test_reviewed_once_by_somebody_else(here: Ward) -> None:
    both = await here.signed_in("clinician", "privacy_officer")
    glass = (await broken(here, both)).json()["id"]
    assert (await read(here, both)).status_code == 200
    assert (await read(here, both)).status_code == 200
    assert (await reviewed(here, both, glass)).status_code == 403, "nobody reviews their own"
    async with here.process.database.entered(here.tenant) as connection:
        with pytest.raises(Exception, match="break_glass_check"):
            await connection.execute(_OWN_WORD)
    young = await here.process.key(here.tenant, "privacy_officer")
    assert (await reviewed(here, young, glass)).status_code == 403, "a key made for the occasion"
    clinician = await here.signed_in("clinician")
    assert (await reviewed(here, clinician, glass)).status_code == 403
    officers = [await here.signed_in("privacy_officer") for _ in range(3)]
    assert (await reviewed(here, officers[0], glass, note="fine")).status_code == 422
    assert (await reviewed(here, officers[0], glass, verdict="perhaps")).status_code == 422
    assert await here.found() == [("glass.broken", "high")]
    answers = await asyncio.gather(*(reviewed(here, officer, glass) for officer in officers))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    said = next(answer.json() for answer in answers if answer.status_code == 200)
    assert (said["verdict"], said["note"], said["seen"]) == ("justified", NOTE, 2)
    assert not await here.found(), "the review closes it"
    assert (await read(here, both)).status_code == 403, "what was judged is over"
    events = [event for event in await here.events("glass.reviewed") if event["outcome"] == "done"]
    assert [(event["count"], event["fields"], event["subject"]) for event in events] == [
        (2, ["justified"], str(here.subject()))
    ]
    assert NOTE not in str(await here.events())
    async with here.process.database.entered(here.tenant) as connection:
        with pytest.raises(Exception, match="stays revoked"):
            await connection.execute("UPDATE access.break_glass SET verdict = 'not-justified'")


async def test_no_key_of_who_broke_it_and_nobody_they_invited_reviews_it(here: Ward) -> None:
    both = await here.signed_in("clinician", "privacy_officer", "administrator")
    glass = (await broken(here, both)).json()["id"]
    tokens = [await here.process.key(here.tenant, "privacy_officer") for _ in range(4)]
    keys = [str(UUID(token.split("_")[2])) for token in tokens]
    makers = [str(both.person), keys[0], keys[1], None]
    for key, maker in zip(keys, makers, strict=True):
        await here.as_owner(_MADE_BY, UUID(key), maker or "root")
    await here.as_owner("UPDATE access.api_key SET replaced_by = $2 WHERE id = $1", UUID(keys[2]), UUID(keys[3]))
    for token in tokens:
        answer = await reviewed(here, token, glass)
        assert (answer.status_code, "behind your key" in answer.text) == (403, True)
    puppet = await here.signed_in("privacy_officer")
    await here.as_owner("UPDATE access.person SET invited_by = $2 WHERE id = $1", puppet.person, keys[0])
    answer = await reviewed(here, puppet, glass)
    assert (answer.status_code, "invited you" in answer.text) == (403, True)
    successor = await here.signed_in("privacy_officer")  # the officer of that day may be gone
    assert (await reviewed(here, successor, glass)).status_code == 200


async def test_why_is_told_to_who_reviews_and_to_nobody_else(here: Ward) -> None:
    clinician = await here.signed_in("clinician")
    glass = (await broken(here, clinician)).json()["id"]
    officer_key = await here.process.key(here.tenant, "privacy_officer")
    administrator = await here.signed_in("administrator")
    (seen,) = (await here.send(administrator, "GET", "/v1/break-glass")).json()["uses"]
    assert (seen["id"], seen["reason"], seen["person"]) == (glass, None, str(clinician.person))
    (seen,) = (await here.send(officer_key, "GET", "/v1/break-glass?waiting=true")).json()["uses"]
    assert (seen["reason"], seen["person_name"]) == (WHY, "Robin Doe")
    assert (await here.send(clinician, "GET", "/v1/break-glass")).status_code == 403
    assert (await here.send(officer_key, "GET", "/v1/break-glass?waiting=yes")).status_code == 422
    async with here.process.database.connect() as connection:
        row = str(await connection.fetchrow("SELECT g.*::text FROM access.break_glass AS g"))
    assert "unconscious" not in row
    assert "unconscious" not in here.process.log.getvalue()
    await here.as_owner("UPDATE access.break_glass SET reason = 'WK'::bytea || sha256('x') || sha256('y')")
    (seen,) = (await here.send(officer_key, "GET", "/v1/break-glass")).json()["uses"]
    assert seen["reason"] is None
    assert ("integrity.broken", "high") in await here.found()


async def test_another_tenant_finds_nothing_there(here: Ward) -> None:
    clinician = await here.signed_in("clinician")
    glass = (await broken(here, clinician)).json()["id"]
    other = await here.process.tenant("elsewhere")
    stranger = await here.signed_in("clinician", "privacy_officer", tenant=other)
    assert (await here.send(stranger, "GET", "/v1/break-glass")).json() == {"uses": []}
    for method, tail in (("GET", ""), ("POST", "/end")):
        assert (await here.send(stranger, method, f"/v1/break-glass/{glass}{tail}")).status_code == 404
    assert (await reviewed(here, stranger, glass)).status_code == 404
    officer = await here.signed_in("privacy_officer")
    for unknown in (str(uuid7()), "nonsense"):
        assert (await reviewed(here, officer, unknown)).status_code == 404
        assert (await here.send(officer, "GET", f"/v1/break-glass/{unknown}")).status_code == 404
    assert (await read(here, clinician)).status_code == 200


async def test_held_between_reading_and_opening_a_use_that_ended_gets_nothing(
    here: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinician = await here.signed_in("clinician")
    glass = (await broken(here, clinician)).json()["id"]
    was_read, go_on = asyncio.Event(), asyncio.Event()
    gate = type(here.process.gate)
    sealed = gate.read

    async def held(self: object, decision: object, call: object) -> object:
        answers = await sealed(self, decision, call)  # type: ignore[arg-type]
        if getattr(call, "record", None) is not None:
            was_read.set()
            await go_on.wait()
        return answers

    monkeypatch.setattr(gate, "read", held)
    request = asyncio.create_task(read(here, clinician))
    async with asyncio.timeout(10):
        await was_read.wait()
    monkeypatch.undo()
    assert (await here.send(clinician, "POST", f"/v1/break-glass/{glass}/end")).status_code == 204
    go_on.set()
    answer = await request
    assert (answer.status_code, "ill" in answer.text) == (403, False)


async def test_a_merged_patient_is_the_same_patient(here: Ward) -> None:
    clinician, clinic = await here.signed_in("clinician"), await here.process.key(here.tenant, "integration")
    first, second = here.subject(0), here.subject(1)
    assert (await broken(here, clinician)).status_code == 201
    merged = await here.send(clinic, "POST", f"/v1/subjects/{first}/merge", json={"into": str(second)})
    assert merged.status_code == 200, merged.text
    assert (await read(here, clinician, 0)).status_code == 200
    again = await broken(here, clinician, subject=str(first))
    assert UUID(again.json()["subject"]) == second
