"""What a tenant decides about access, over HTTP: rules, its own roles, care teams, and the question why."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.stack import NOTES, Stack
from database import ENVIRONMENT
from wellkeep.access import key_format
from wellkeep.base.errors import Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission

NURSE = {
    "permissions": ["collection:read", "record:read", "record:search"],
    "groups": ["clinical", "administrative"],
    "purposes": ["TREAT"],
    "default_purpose": "TREAT",
    "hidden": ["charts.body"],
}
CHARTS = NOTES | {"name": "charts", "subject": "required"}


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


@pytest.fixture
async def administrator(opened: Stack, tenant: UUID) -> httpx.AsyncClient:
    return opened.client(await opened.key(tenant, "administrator"))


@pytest.fixture
async def software(opened: Stack, tenant: UUID) -> httpx.AsyncClient:
    return opened.client(await opened.key(tenant, "integration"))


async def a_person(opened: Stack, tenant: UUID, *roles: str) -> str:
    made = uuid7()
    async with opened.database.entered(tenant) as connection:
        await connection.execute(
            "INSERT INTO access.person (tenant_id, id, email, name, state, invited_by, created_at) "
            "VALUES ($1, $2, $3, 'Somebody', 'active', 'x', now())",
            *(tenant, made, f"{made.hex}@example.org"),
        )
        for role in roles:
            await connection.execute(
                "INSERT INTO access.role_grant (tenant_id, id, person_id, role, granted_by, granted_at) "
                "VALUES ($1, $2, $3, $4, 'x', now())",
                *(tenant, uuid7(), made, role),
            )
    return str(made)


async def events(opened: Stack, tenant: UUID, action: str) -> list[str]:
    async with opened.database.entered(tenant) as connection:
        rows = await connection.fetch(
            "SELECT convert_from(entry, 'UTF8') AS text FROM ledger.entry WHERE action = $1 ORDER BY epoch, seq", action
        )
    return [row["text"] for row in rows]


async def ask(client: httpx.AsyncClient, **question: Any) -> dict[str, Any]:
    answer = await client.post("/v1/access/explain", json=question)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_rules_change_one_by_one_and_the_entry_names_them(
    opened: Stack, tenant: UUID, administrator: httpx.AsyncClient
) -> None:
    assert (await administrator.get("/v1/rules")).json()["session_minutes"] == 720
    changes = {"second_factor": True, "care_team": ["clinician"], "glass_minutes": 30, "session_minutes": 720}
    changed = await administrator.patch("/v1/rules", json=changes)
    assert changed.status_code == 200
    assert (await administrator.get("/v1/rules")).json() == changed.json()
    assert changed.json() | changes == changed.json()
    entered = json.loads((await events(opened, tenant, "rules.changed"))[-1])["event"]
    assert (sorted(entered["fields"]), entered["count"]) == (["care_team", "glass_minutes", "second_factor"], 3)
    settings = await opened.gate.tenants.load(tenant)
    assert settings.second_factor
    assert settings.own is not None
    assert settings.own.care_team == {"clinician"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"care_team": ["nobody"]}, "unknown-role"),
        ({"care_team": ["operator"]}, "unknown-role"),
        ({"care_team": ["coach", "coach"]}, "not-allowed"),
        ({"glass_minutes": 4}, None),
        ({"second_factor": None}, None),
        ({"purpose_required": True}, None),
    ],
)
async def test_what_is_no_rule_is_refused(
    administrator: httpx.AsyncClient, body: dict[str, Any], code: str | None
) -> None:
    before = (await administrator.get("/v1/rules")).json()
    refused = await administrator.patch("/v1/rules", json=body)
    assert refused.status_code == 422
    assert code is None or refused.json()["errors"][0]["code"] == code
    assert (await administrator.get("/v1/rules")).json() == before


async def test_a_role_is_made_used_narrowed_and_deleted(
    opened: Stack, tenant: UUID, administrator: httpx.AsyncClient, software: httpx.AsyncClient
) -> None:
    assert (await administrator.post("/v1/collections", json=CHARTS)).status_code == 201
    subject = (await software.post("/v1/subjects")).json()["id"]
    body = {"subject": subject, "fields": {"title": "t", "body": "b", "mood": "good"}}
    record = (await software.post("/v1/collections/charts/records", json=body)).json()["id"]
    made = await administrator.put("/v1/roles/nurse", json=NURSE)
    assert (made.status_code, made.json()["revision"], made.json()["own"]) == (200, 1, True)
    assert (await administrator.get("/v1/roles/nurse")).json() == made.json()
    person = await a_person(opened, tenant, "nurse")
    told = await ask(administrator, who=person, action="record:read", collection="charts", record=record)
    assert (told["allowed"], told["rule"]) == (True, "role:nurse/record:read")
    assert "body" in told["shows"]["withheld"]
    assert (await administrator.put("/v1/roles/nurse", json=NURSE | {"permissions": ["collection:read"]})).json()[
        "revision"
    ] == 2
    told = await ask(administrator, who=person, action="record:read", collection="charts")
    assert (told["allowed"], told["rule"]) == (False, "deny:no-role")
    assert (await administrator.delete("/v1/roles/nurse")).status_code == 204
    assert (await administrator.delete("/v1/roles/nurse")).status_code == 404
    assert (await administrator.get("/v1/roles/nurse")).status_code == 404
    async with opened.database.entered(tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM access.role_grant WHERE revoked_at IS NULL") == 0
    assert (await administrator.put("/v1/roles/nurse", json=NURSE)).json()["revision"] == 4, "the name keeps its count"
    assert (await ask(administrator, who=person, action="record:read"))["rule"] == "deny:no-role"
    told_of = await events(opened, tenant, "role.changed")
    assert len(told_of) == 5, "the second deletion failed, and that is an entry as well"
    assert all('"nurse"' in one for one in told_of)


async def test_a_name_that_a_key_still_carries_is_not_made_anew(
    opened: Stack, tenant: UUID, administrator: httpx.AsyncClient
) -> None:
    await administrator.put("/v1/roles/nurse", json=NURSE)
    key = uuid7()
    async with opened.database.entered(tenant) as connection:
        await connection.execute(
            "INSERT INTO access.api_key (tenant_id, id, name, prefix, digest, roles, created_at, expires_at) "
            "VALUES ($1, $2, 'k', $4, $3, '{nurse}', now(), now() + interval '1 day')",
            *(tenant, key, uuid7().bytes * 2, key_format.prefix(ENVIRONMENT, key)),
        )
    assert (await administrator.delete("/v1/roles/nurse")).status_code == 204
    assert (await administrator.put("/v1/roles/nurse", json=NURSE)).status_code == 409


@pytest.mark.parametrize(
    ("name", "changes", "code"),
    [
        ("clinician", {}, "taken"),
        ("operator", {}, "taken"),
        ("nurse", {"permissions": ["tenant:create"]}, "not-grantable"),
        ("nurse", {"permissions": ["record:read", "role:change"]}, "opens-and-administers"),
        ("nurse", {"purposes": ["SYSADMIN"], "default_purpose": "SYSADMIN"}, "not-allowed"),
        ("nurse", {"groups": ["everything"]}, "not-allowed"),
        ("nurse", {"permissions": ["record:levitate"]}, None),
        ("nurse", {"hidden": ["body"]}, None),
        ("nurse", {"issuable": False}, None),
        ("nurse", {"revision": 7}, None),
    ],
)
async def test_a_role_stays_within_its_bounds(
    administrator: httpx.AsyncClient, name: str, changes: dict[str, Any], code: str | None
) -> None:
    refused = await administrator.put(f"/v1/roles/{name}", json=NURSE | changes)
    assert refused.status_code == 422
    assert code is None or refused.json()["errors"][0]["code"] == code
    assert (await administrator.put("/v1/roles/Not-A-Name", json=NURSE)).status_code == 404


async def test_the_roles_there_are_say_which_are_own_and_which_are_bound(
    opened: Stack, administrator: httpx.AsyncClient
) -> None:
    await administrator.put("/v1/roles/nurse", json=NURSE)
    await administrator.patch("/v1/rules", json={"care_team": ["nurse", "clinician"]})
    found = {role["name"]: role for role in (await administrator.get("/v1/roles")).json()["roles"]}
    assert set(found) == {*opened.gate.policy.roles.roles, "nurse"}
    assert {name for name, role in found.items() if role["bound"]} == {"nurse", "clinician"}
    assert {name for name, role in found.items() if role["own"]} == {"nurse"}


async def test_a_care_team_over_http(opened: Stack, tenant: UUID, administrator: httpx.AsyncClient) -> None:
    subject = (await opened.client(await opened.key(tenant, "integration")).post("/v1/subjects")).json()["id"]
    person, url = await a_person(opened, tenant, "clinician"), f"/v1/subjects/{subject}/care-team"
    made = await administrator.post(url, json={"person": person})
    assert (made.status_code, made.json()["until"]) == (201, None)
    assert (await administrator.post(url, json={"person": person})).status_code == 409
    assert [one["person"] for one in (await administrator.get(url)).json()["members"]] == [person]
    assert (await administrator.delete(f"{url}/{person}")).status_code == 204
    assert (await administrator.delete(f"{url}/{person}")).status_code == 404
    assert (await administrator.get(url)).json()["members"] == []
    for who in ("clinician", "integration", "auditor"):
        client = opened.client(await opened.key(tenant, who))
        assert (await client.post(url, json={"person": person})).status_code == 403


async def test_why_says_which_rule_whose_patients_and_what_else_it_takes(
    opened: Stack, tenant: UUID, administrator: httpx.AsyncClient
) -> None:
    await administrator.post("/v1/collections", json=CHARTS)
    software = opened.client(await opened.key(tenant, "integration"))
    mine, other = [(await software.post("/v1/subjects")).json()["id"] for _ in range(2)]
    person = await a_person(opened, tenant, "clinician")
    await administrator.patch("/v1/rules", json={"care_team": ["clinician"]})
    await administrator.post(f"/v1/subjects/{mine}/care-team", json={"person": person})
    near = await ask(administrator, who=person, action="record:read", collection="charts", subject=mine)
    assert (near["allowed"], near["reach"], near["reached"]) == (True, "care-team", True)
    assert near["since"] is not None
    assert "body" in near["shows"]["seen"]
    far = await ask(administrator, who=person, action="record:read", collection="charts", subject=other)
    assert (far["allowed"], far["rule"], far["needs"]) == (False, "deny:care-team", ["care-team"])
    assert far["shows"] is None
    glass = await ask(administrator, who=person, action="record:read", subject=mine, purpose="BTG")
    assert (glass["allowed"], glass["rule"], glass["needs"]) == (False, "deny:no-break-glass", ["break-glass"])
    role = await ask(administrator, who="role:administrator", action="role:change")
    assert (role["kind"], role["allowed"], role["needs"]) == ("role", True, ["second-factor", "step-up"])
    key = (
        await opened.api_keys.create(
            opened.operator, tenant=tenant, name="k", roles=["billing"], scopes=[Permission.RECORD_SEARCH]
        )
    ).about.id
    assert (await ask(administrator, who=str(key), action="record:read"))["rule"] == "deny:scope"
    await opened.api_keys.revoke(opened.operator, tenant=tenant, key_id=key)
    gone = await ask(administrator, who=str(key), action="record:search")
    assert (gone["allowed"], gone["rule"], gone["shows"]) == (False, "deny:stands", None)
    assert len(await events(opened, tenant, "access.explained")) == 6


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({"who": "role:nobody", "action": "record:read"}, 404),
        ({"who": str(uuid7()), "action": "record:read"}, 404),
        ({"who": "somebody", "action": "record:read"}, 422),
        ({"who": "role:coach", "action": "record:levitate"}, 422),
        ({"who": "role:coach", "action": "record:read", "collection": "none"}, 404),
        ({"who": "role:coach", "action": "record:read", "record": str(uuid7())}, 422),
        ({"who": "role:coach", "action": "record:read", "collection": "none", "record": str(uuid7())}, 404),
        ({"who": "role:coach", "action": "record:read", "tenant": str(uuid7())}, 403),
    ],
)
async def test_a_question_about_what_is_not_there(
    administrator: httpx.AsyncClient, question: dict[str, Any], status: int
) -> None:
    assert (await administrator.post("/v1/access/explain", json=question)).status_code == status


async def test_nothing_of_another_tenant_is_there(
    opened: Stack, tenant: UUID, administrator: httpx.AsyncClient
) -> None:
    stranger = opened.client(await opened.key(await opened.tenant("general"), "administrator"))
    await administrator.put("/v1/roles/nurse", json=NURSE)
    person = await a_person(opened, tenant, "nurse")
    subject = (await opened.client(await opened.key(tenant, "integration")).post("/v1/subjects")).json()["id"]
    url = f"/v1/subjects/{subject}/care-team"
    assert (await stranger.get("/v1/roles/nurse")).status_code == 404
    assert (await stranger.delete("/v1/roles/nurse")).status_code == 404
    assert (await stranger.get(url)).status_code == 404
    assert (await stranger.post(url, json={"person": person})).status_code == 404
    assert (await stranger.delete(f"{url}/{person}")).status_code == 404
    assert (await stranger.post("/v1/access/explain", json={"who": person, "action": "record:read"})).status_code == 404
    assert (await stranger.patch("/v1/rules", json={"care_team": ["nurse"]})).status_code == 422


async def test_a_role_of_ones_own_is_given_to_keys_and_people_of_the_tenant_and_to_no_others(
    opened: Stack, tenant: UUID, administrator: httpx.AsyncClient
) -> None:
    await administrator.put("/v1/roles/nurse", json=NURSE)
    nurse = opened.client(await opened.key(tenant, "nurse"))
    assert (await nurse.get("/v1/collections")).status_code == 200
    assert (await nurse.get("/v1/rules")).status_code == 403
    invited = await administrator.post(
        "/v1/users", json={"email": "nurse@example.org", "name": "Somebody", "roles": ["nurse"]}
    )
    assert invited.status_code == 201, invited.text
    with pytest.raises(Validation):
        await opened.key(await opened.tenant("general"), "nurse")
    await administrator.delete("/v1/roles/nurse")
    with pytest.raises(Validation):
        await opened.key(tenant, "nurse")
    assert (await nurse.get("/v1/collections")).status_code == 403, "who carries it has nothing by it any more"


async def test_no_administrator_opens_a_field_over_any_route_of_records(
    opened: Stack, tenant: UUID, administrator: httpx.AsyncClient
) -> None:
    """Whoever runs the place sees no PHI: the administrator, the support, and a role that a tenant makes for it."""
    await administrator.post("/v1/collections", json=CHARTS)
    software = opened.client(await opened.key(tenant, "integration"))
    subject = (await software.post("/v1/subjects")).json()["id"]
    canary = {"title": "Xk9Canary", "body": "Xk9Canary"}
    body = {"subject": subject, "fields": canary}
    record = (await software.post("/v1/collections/charts/records", json=body)).json()["id"]
    desk = {"permissions": ["user:read", "team:change"], "groups": ["clinical", "administrative"]}
    await administrator.put("/v1/roles/desk", json=desk | {"purposes": ["TREAT"], "default_purpose": "TREAT"})
    one = f"/v1/collections/charts/records/{record}"
    for role in ("administrator", "support", "auditor", "desk"):
        client = opened.client(await opened.key(tenant, role))
        for method, url, sent in (
            ("GET", one, None),
            ("GET", one + "?revision=1", None),
            ("POST", "/v1/collections/charts/records/search", {"where": {"title": "Xk9Canary"}}),
            ("POST", "/v1/exports", {"collection": "charts"}),
            ("PATCH", one, {"fields": {"body": "new"}}),
            ("PUT", "/v1/collections/charts/records/by-external-id/x", body),
        ):
            for purpose in (None, "TREAT", "SYSADMIN", "BTG"):
                headers = {"If-Match": '"1"'} | ({} if purpose is None else {"X-Purpose-Of-Use": purpose})
                answer = await client.request(method, url, json=sent, headers=headers)
                assert answer.status_code == 403, (role, method, url)
                assert "Canary" not in answer.text
    told = await ask(administrator, who="role:desk", action="record:read", collection="charts", record=record)
    assert "Canary" not in json.dumps(told)


async def test_why_a_key_that_is_bound_to_one_collection_may_there_and_nowhere_else(
    opened: Stack, tenant: UUID, administrator: httpx.AsyncClient
) -> None:
    await administrator.post("/v1/collections", json=CHARTS)
    key = (
        await opened.api_keys.create(
            opened.operator, tenant=tenant, name="k", roles=["integration"], scopes=["system/charts.rs"]
        )
    ).about.id
    there = await ask(administrator, who=str(key), action="record:read", collection="charts")
    assert (there["allowed"], there["rule"]) == (True, "role:integration/record:read")
    assert (await ask(administrator, who=str(key), action="record:read"))["rule"] == "deny:scope"
    assert (await ask(administrator, who=str(key), action="record:change", collection="charts"))["rule"] == "deny:scope"
