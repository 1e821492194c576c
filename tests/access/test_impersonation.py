"""Promise: staff step into a customer's account only with a stated reason, for fifteen minutes, in full view."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from access.emergency import WHY, Ward, ward
from access.signed_in import joined
from api.stack import stack
from database import Database
from wellkeep.base.ids import PLATFORM_TENANT, uuid7

_OVER = """
UPDATE access.impersonation SET started_at = now() - interval '15 minutes', ends_at = now()
"""
_ALMOST = """
UPDATE access.impersonation SET started_at = now() - interval '14 minutes 50 seconds',
  ends_at = now() + interval '10 seconds'
"""


@pytest.fixture
async def here(database: Database) -> AsyncIterator[Ward]:
    async with stack(database) as process:
        yield await ward(process)


async def clinician(here: Ward) -> UUID:
    return await joined(here.process, here.tenant, "clinician")


async def permitted(here: Ward, **more: object) -> str:
    """Let a person of the tenant permit that staff see what is unmasked."""
    administrator = await here.signed_in("administrator")
    until = (datetime.now(UTC) + timedelta(days=6)).isoformat()
    answer = await here.send(administrator, "POST", "/v1/impersonation-permits", json={"until": until} | more)
    assert answer.status_code == 201, answer.text
    permit: str = answer.json()["id"]
    return permit


async def test_in_full_view_masked_and_both_names_in_each_entry(here: Ward) -> None:
    staff, person = await here.staff(), await clinician(here)
    impersonation, token = await here.token(staff, person)
    read = await here.send(token, "GET", here.record())
    assert read.status_code == 200
    assert read.json()["fields"] == {}, "masked: no field at all"
    assert set(read.json()["withheld"]) == {"ssn", "family", "given", "note", "balance"}
    for action in ("impersonation.started", "record.read"):
        (event,) = await here.events(action)
        assert event["actor"]["id"] == str(staff.person)
        assert event["actor"]["on_behalf_of"] == str(person)
        assert event["actor"]["type"] == "person"
    assert (await here.events("record.read"))[0]["session"] == impersonation
    assert (await here.events("impersonation.started"))[0]["reason"]
    assert ("impersonation.started", "medium") in await here.found()
    officer = await here.signed_in("privacy_officer")
    (seen,) = (await here.send(officer, "GET", "/v1/impersonations")).json()["impersonations"]
    assert (seen["id"], seen["reason"], seen["staff_name"], seen["live"]) == (impersonation, WHY, "Robin Doe", True)
    assert (seen["person"], seen["person_name"], seen["masked"]) == (str(person), "Robin Doe", True)
    assert WHY not in str(await here.events()), "what was said is sealed"
    entries = (await here.send(officer, "GET", "/v1/ledger/entries", params={"actor": str(staff.person)})).json()
    assert entries["names"] == {str(staff.person): "Robin Doe", str(person): "Robin Doe"}
    told = (await here.send(officer, "GET", f"/v1/subjects/{here.subject()}/disclosures")).json()["disclosures"]
    (inside,) = [one for one in told if one["who"]["on_behalf_of"] == str(person)]
    assert inside["who"]["words"] == "“Robin Doe”, who helps with this system, in the account of “Robin Doe”"


async def test_without_a_reason_it_does_not_start(here: Ward) -> None:
    staff, person = await here.staff(), await clinician(here)
    for reason in ("", "   ", "because", "a b c", "xy " * 700, "see \x00 the log there", "see \u202e the log there"):
        answer = await here.step_in(staff, person, reason=reason)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (422, "validation")
        assert not reason.strip() or reason not in answer.text
    assert not await here.events("impersonation.started")
    async with here.process.database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM access.impersonation") == 0
    longest = "😀😀 \n" * 500
    assert (await here.step_in(staff, person, reason=longest)).status_code == 201, "as many letters as are taken"


async def test_at_fifteen_minutes_the_next_request_is_refused(here: Ward) -> None:
    _, token = await here.token(await here.staff(), await clinician(here))
    async with here.process.database.connect() as connection:
        assert await connection.fetchval("SELECT ends_at - started_at FROM access.impersonation") == timedelta(
            minutes=15
        )
    with pytest.raises(Exception, match="impersonation_check"):
        await here.as_owner("UPDATE access.impersonation SET ends_at = ends_at + interval '1 second'")
    async with here.process.database.entered(here.tenant) as connection:
        with pytest.raises(Exception, match="permission denied"):
            await connection.execute("UPDATE access.impersonation SET ends_at = now() + interval '1 minute'")
    await here.as_owner(_ALMOST)
    assert (await here.send(token, "GET", here.record())).status_code == 200
    await here.as_owner(_OVER)
    assert (await here.send(token, "GET", here.record())).status_code == 401, "the same worker remembers the token"
    assert (await here.send(token, "GET", here.record())).status_code == 401
    assert (await here.events("access.denied"))[-1]["rule"] == "deny:revoked/record:read"


async def test_ended_it_gets_nothing_more(here: Ward) -> None:
    officer, staff, person = await here.signed_in("privacy_officer"), await here.staff(), await clinician(here)
    stale = await here.again(PLATFORM_TENANT, staff.person, fresh=False)
    for because in ("ended-by-tenant", "ended-by-staff", "session-ended"):
        impersonation, token = await here.token(staff, person)
        url = f"/v1/impersonations/{impersonation}/end"
        assert (await here.send(token, "GET", here.record())).status_code == 200
        if because == "ended-by-tenant":
            assert (await here.send(officer, "POST", url)).status_code == 204
            assert (await here.send(officer, "POST", url)).status_code == 409
        elif because == "ended-by-staff":
            assert (await here.send(stale, "POST", url, admin=True)).status_code == 204, "ending needs no step-up"
        else:
            ended = "UPDATE access.session SET ended_at = now(), ended_because = 'signed-out' WHERE id = $1"
            await here.as_owner(ended, staff.begun.id)
        assert (await here.send(token, "GET", here.record())).status_code == 401
        row = (await here.send(officer, "GET", "/v1/impersonations")).json()["impersonations"][0]
        assert (row["id"], row["live"], row["ended_because"]) == (impersonation, False, because)
        assert not await here.found(), "over, and seen by the tenant's own"


async def test_it_does_not_outlive_the_staffs_own_session(here: Ward) -> None:
    for event in (
        "UPDATE access.session SET idle_until = now() - interval '1 second' WHERE id = $1",
        "UPDATE access.session SET expires_at = now(), created_at = now() - interval '1 day' WHERE id = $1",
    ):
        staff = await here.staff()
        _, token = await here.token(staff, await clinician(here))
        assert (await here.send(token, "GET", here.record())).status_code == 200
        await here.as_owner(event, staff.begun.id)
        assert (await here.send(token, "GET", here.record())).status_code == 401


async def test_it_ends_with_the_account_the_role_and_the_tenant(here: Ward) -> None:
    events = (
        "UPDATE access.person SET state = 'disabled', disabled_at = now() WHERE id = $1",
        "UPDATE access.role_grant SET revoked_at = now(), revoked_by = 'x' WHERE person_id = $1",
    )
    for event in events:
        person = await clinician(here)
        _, token = await here.token(await here.staff(), person)
        async with here.process.database.entered(here.tenant) as connection:
            await connection.execute(event, person)
        assert (await here.send(token, "GET", here.record())).status_code == 401
    _, token = await here.token(await here.staff(), await clinician(here))
    await here.process.tenants.close(here.process.operator, tenant=here.tenant)
    assert (await here.send(token, "GET", here.record())).status_code in {401, 403}
    async with here.process.database.connect() as connection:
        left = await connection.fetchval("SELECT count(*) FROM access.impersonation WHERE ended_at IS NULL")
    assert left == 0


async def test_a_request_held_between_reading_and_opening_gets_nothing(
    here: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end comes while a request has the sealed row already: nothing of it is opened."""
    await permitted(here)
    officer, staff, person = await here.signed_in("privacy_officer"), await here.staff(), await clinician(here)
    for ended in (True, False):
        impersonation, token = await here.token(staff, person)
        assert (await here.send(token, "GET", here.record())).json()["fields"]["note"] == "ill"
        was_read, go_on, read = asyncio.Event(), asyncio.Event(), type(here.process.gate).read

        async def held(
            gate: object,
            decision: object,
            call: object,
            *,
            was_read: asyncio.Event = was_read,
            go_on: asyncio.Event = go_on,
            read: object = read,
        ) -> object:
            answers = await read(gate, decision, call)  # type: ignore[operator]
            if getattr(call, "record", None) is not None:
                was_read.set()
                await go_on.wait()
            return answers

        monkeypatch.setattr(type(here.process.gate), "read", held)
        request = asyncio.create_task(here.send(token, "GET", here.record()))
        async with asyncio.timeout(10):
            await was_read.wait()
        monkeypatch.undo()
        if ended:
            assert (await here.send(officer, "POST", f"/v1/impersonations/{impersonation}/end")).status_code == 204
        else:
            await here.as_owner(_OVER + " WHERE ended_at IS NULL")
        go_on.set()
        answer = await request
        assert (answer.status_code, "ill" in answer.text) == (401, False)
    assert len([one for one in await here.events("record.read") if one["outcome"] == "authorised"]) == 2


async def test_one_at_a_time_also_when_two_are_asked_for_at_once(here: Ward) -> None:
    staff, persons = await here.staff(), [await clinician(here) for _ in range(4)]
    answers = await asyncio.gather(*(here.step_in(staff, person) for person in persons))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    first = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
    other = await here.process.tenant("second-customer")
    person = await joined(here.process, other, "clinician")
    assert (await here.step_in(staff, person, tenant=other)).status_code == 409, "whichever the tenant"
    assert (await here.send(staff, "POST", f"/v1/impersonations/{first}/end", admin=True)).status_code == 204
    assert (await here.step_in(staff, person, tenant=other)).status_code == 201


async def test_unmasked_by_a_person_of_the_tenant_alone_and_masked_again_at_once(here: Ward) -> None:
    person = await clinician(here)
    until = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    key = await here.process.key(here.tenant, "administrator")
    keyed = await here.send(key, "POST", "/v1/impersonation-permits", json={"until": until})
    assert keyed.status_code == 403, "staff can make keys of any tenant: a key's word is not the customer's"
    administrator = await here.signed_in("administrator")
    for days in (-1, 0, 7.01, 400):
        further = {"until": (datetime.now(UTC) + timedelta(days=days)).isoformat()}
        answer = await here.send(administrator, "POST", "/v1/impersonation-permits", json=further)
        assert answer.status_code == 422, "seven days at most"
    permit = await permitted(here, person=str(await clinician(here)))
    staff = await here.staff()
    impersonation, token = await here.token(staff, person)
    assert (await here.send(token, "GET", here.record())).json()["fields"] == {}, "the permit is about somebody else"
    assert (await here.send(staff, "POST", f"/v1/impersonations/{impersonation}/end", admin=True)).status_code == 204
    permit = await permitted(here, person=str(person))
    impersonation, token = await here.token(staff, person)
    shown = (await here.send(token, "GET", here.record())).json()
    assert shown["fields"]["note"] == "ill"
    assert shown["withheld"] == ["balance"], "no more than the account itself sees"
    assert ("impersonation.started", "high") in await here.found()
    officer = await here.signed_in("privacy_officer")
    assert (await here.send(officer, "DELETE", f"/v1/impersonation-permits/{permit}")).status_code == 204
    assert (await here.send(token, "GET", here.record())).status_code == 401
    assert (await here.send(officer, "DELETE", f"/v1/impersonation-permits/{permit}")).status_code == 404
    permits = (await here.send(officer, "GET", "/v1/impersonation-permits")).json()["permits"]
    assert [one["stands"] for one in permits] == [False, True]


async def test_inside_nothing_is_administered_begun_or_broken(here: Ward) -> None:
    await permitted(here)
    person = await joined(here.process, here.tenant, "administrator", "privacy_officer", "clinician")
    impersonation, token = await here.token(await here.staff(), person)
    away = {"tenant": str(here.tenant), "person": str(person), "reason": WHY}
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    attacks = [
        ("POST", "/v1/impersonations", True, away),
        ("POST", f"/v1/impersonations/{impersonation}/end", False, None),
        ("GET", "/v1/impersonations", False, None),
        ("POST", "/v1/impersonation-permits", False, {"until": until}),
        ("POST", "/v1/break-glass", False, {"subject": str(here.subject()), "reason": WHY}),
        ("GET", "/v1/break-glass", False, None),
        ("GET", "/v1/ledger/entries", False, None),
        ("POST", "/v1/exports", False, {"collection": "patients", "format": "ndjson"}),
        ("DELETE", f"/v1/subjects/{here.subject()}", False, None),
        ("GET", f"/v1/tenants/{here.tenant}/apikeys", True, None),
    ]
    for method, url, admin, body in attacks:
        answer = await here.send(token, method, url, admin=admin, json=body)
        assert answer.status_code == 403, (method, url, answer.text)
    rules = {event["rule"].split("/")[0] for event in await here.events("access.denied")}
    assert rules == {"deny:impersonation", "deny:platform"}, "and what is the platform's alone"
    headers = {"X-Purpose-Of-Use": "BTG"}
    assert (await here.send(token, "GET", here.record(), headers=headers)).status_code == 403


async def test_what_is_masked_is_neither_searched_nor_written(here: Ward) -> None:
    person = await clinician(here)
    _, token = await here.token(await here.staff(), person)
    searched = await here.send(
        token, "POST", "/v1/collections/patients/records/search", json={"where": {"ssn": "999120000"}}
    )
    assert searched.status_code == 403, "a hit would tell the value"
    listed = await here.send(token, "POST", "/v1/collections/patients/records/search", json={"where": {}})
    assert all(record["fields"] == {} for record in listed.json()["records"])
    changed = await here.send(
        token, "PATCH", here.record(), json={"fields": {"note": "well"}}, headers={"If-Match": '"1"'}
    )
    assert changed.status_code == 403
    made = await here.send(token, "POST", "/v1/collections/patients/records", json={"fields": {"note": "new"}})
    assert made.status_code == 403


async def test_who_may_not_step_in(here: Ward) -> None:
    person = await clinician(here)
    stale = await here.staff(fresh=False)
    assert (await here.step_in(stale, person)).json()["type"].endswith("step-up-required")
    assert (await here.step_in(await here.staff("auditor"), person)).status_code == 403
    own = await here.signed_in("administrator")
    assert (await here.step_in(own, person)).status_code == 403, "the customer's administrator is no staff"
    key = await here.process.platform_key()
    asked = {"tenant": str(here.tenant), "person": str(person), "reason": WHY}
    assert (await here.send(key, "POST", "/v1/impersonations", admin=True, json=asked)).status_code == 403
    staff = await here.staff()
    assert (await here.step_in(staff, staff.person, tenant=PLATFORM_TENANT)).status_code == 403
    assert (await here.step_in(staff, uuid7())).status_code == 404
    assert (await here.step_in(staff, person, tenant=uuid7())).status_code == 404
    other = await here.process.tenant("third-customer")
    assert (await here.step_in(staff, person, tenant=other)).status_code == 404, "a person of another tenant"
    assert (await here.send(staff, "POST", "/v1/impersonations", json=asked)).status_code == 405, "not on this listener"
    assert {event["outcome"] for event in await here.events("impersonation.started")} == {"failed"}


async def test_another_tenant_neither_sees_nor_ends_it(here: Ward) -> None:
    impersonation, token = await here.token(await here.staff(), await clinician(here))
    permit = await permitted(here)
    other = await here.process.tenant("fourth-customer")
    stranger = await here.signed_in("administrator", "privacy_officer", tenant=other)
    assert (await here.send(stranger, "GET", "/v1/impersonations")).json() == {"impersonations": []}
    assert (await here.send(stranger, "GET", "/v1/impersonation-permits")).json() == {"permits": []}
    assert (await here.send(stranger, "POST", f"/v1/impersonations/{impersonation}/end")).status_code == 404
    assert (await here.send(stranger, "DELETE", f"/v1/impersonation-permits/{permit}")).status_code == 404
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    away = {"until": until, "person": str(await clinician(here))}
    assert (await here.send(stranger, "POST", "/v1/impersonation-permits", json=away)).status_code == 404
    assert (await here.send(token, "GET", here.record())).status_code == 200
    administrator = await here.staff("administrator")
    (row,) = (await here.send(administrator, "GET", "/v1/impersonations", admin=True)).json()["impersonations"]
    assert (row["tenant"], row["reason"], row["live"]) == (str(here.tenant), None, True)
    for unknown in (str(uuid7()), "nonsense"):
        url = f"/v1/impersonations/{unknown}/end"
        assert (await here.send(administrator, "POST", url, admin=True)).status_code == 404


async def test_a_token_that_is_not_the_one_is_nobodys(here: Ward) -> None:
    staff = await here.staff()
    _, token = await here.token(staff, await clinician(here))
    secret = token.rpartition(".")[2]
    for changed in (
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        token.removeprefix("wki_"),
        token.upper(),
        token + "0",
        f"wki_{uuid7().hex}.{secret}",
        "wki_",
    ):
        answer = await here.send(changed, "GET", here.record())
        assert answer.status_code == 401, changed
    beside = staff.headers | {"Authorization": f"Bearer {token}"}
    assert (await here.send(None, "GET", here.record(), headers=beside)).status_code == 401, "a session and a token"
    assert (await here.send(token, "GET", here.record())).status_code == 200
    async with here.process.database.connect() as connection:
        row = str(await connection.fetchrow("SELECT i.*::text FROM access.impersonation AS i"))
    for said in (secret, "Ticket", token):
        assert said not in row
        assert said not in here.process.log.getvalue()
