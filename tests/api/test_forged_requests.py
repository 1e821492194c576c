"""Every route that changes something, with a person's cookie: from our own pages alone, with the session's token."""

from __future__ import annotations

from access.signed_in import browser, joined, sent_by, session
from api.requests import LISTENED, NOBODY, PROTECTED, path, send
from api.stack import NOTES, Stack, entries
from wellkeep.base.ids import PLATFORM_TENANT

_EVIL = "https://evil.example"


async def test_no_route_that_changes_something_is_anothers_to_make_a_browser_send(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    customer = await browser(opened, tenant, "administrator", "clinician", "privacy_officer")
    staff = await browser(opened, PLATFORM_TENANT, "administrator")
    async with opened.client() as public, opened.client(listener="admin") as admin:
        for listener, route in PROTECTED:
            if route.method == "GET":
                continue
            client, whole = (public, customer) if listener == "public" else (admin, staff)
            cookie = {"Cookie": whole["Cookie"]}
            token = cookie | {"X-CSRF-Token": whole["X-CSRF-Token"]}
            for forged in (
                cookie,
                cookie | {"Sec-Fetch-Site": "same-origin"},
                token,
                token | {"Sec-Fetch-Site": "cross-site"},
                token | {"Sec-Fetch-Site": "same-site", "Origin": "https://localhost"},
                token | {"Origin": _EVIL},
                cookie | {"X-CSRF-Token": staff["X-CSRF-Token"][:-1] + "x", "Sec-Fetch-Site": "same-origin"},
            ):
                answer = await send(client, route, headers=forged)
                assert answer.status_code == 403, (route.name, forged, answer.text)
                assert answer.json()["detail"].startswith("Send this from our own pages"), route.name
        sessions = [await public.get("/v1/session", headers=customer), await admin.get("/v1/session", headers=staff)]
        assert [answer.status_code for answer in sessions] == [200, 200], "and nothing came of any of it"


async def test_an_open_route_takes_nothing_from_another_sites_page(opened: Stack) -> None:
    async with opened.client() as public, opened.client(listener="admin") as admin:
        for listener, route in LISTENED:
            if route.permission is None and route.method != "GET":
                client = public if listener == "public" else admin
                answer = await send(client, route, headers={"Origin": _EVIL})
                assert answer.status_code == 403, route.name


async def test_a_cookie_and_a_key_together_are_refused_and_so_is_a_planted_twin(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    headers = await browser(opened, tenant, "coach")
    async with opened.client(await opened.key(tenant, "coach")) as client:
        assert (await client.get("/v1/collections", headers=headers)).status_code == 401
        assert (await client.get("/v1/collections", headers={"Cookie": "other=1"})).status_code == 200
    async with opened.client() as client:
        twice = {"Cookie": f"__Host-wk_session=x; {headers['Cookie']}"}
        assert (await client.get("/v1/collections", headers=twice)).status_code == 401
        assert (await client.get("/v1/collections", headers={"Cookie": headers["Cookie"]})).status_code == 200
        ours = {key: headers[key] for key in ("Cookie", "X-CSRF-Token")} | {"Origin": "https://localhost"}
        assert (await client.delete("/v1/account/sessions", headers=ours)).status_code == 204


async def test_unknown_fields_are_refused_wherever_people_are_made_or_changed(opened: Stack) -> None:
    """Mass assignment: state, tenant, roles and factors are nothing that a body may bring along."""
    tenant = await opened.tenant("northside")
    who = await joined(opened, tenant, "coach")
    headers = await browser(opened, tenant, "administrator")
    planted = {"state": "active", "tenant": str(PLATFORM_TENANT), "mfa": True, "second_factor": True, "id": NOBODY}
    async with opened.client() as client:
        for method, url, body in (
            ("POST", "/v1/users", {"email": "a@example.org", "name": "A"}),
            ("PATCH", f"/v1/users/{who}", {"name": "A"}),
            ("POST", f"/v1/users/{who}/roles", {"role": "billing"}),
            ("POST", f"/v1/users/{who}/reset", {}),
            ("POST", "/v1/account/totp", {"name": "A"}),
        ):
            for name, value in (planted | {"roles": ["administrator"], "person": NOBODY}).items():
                if (url, name) == ("/v1/users", "roles"):
                    continue
                answer = await client.request(method, url, json=body | {name: value}, headers=headers)
                assert answer.status_code == 422, (url, name, answer.text)
                assert [problem["code"] for problem in answer.json()["errors"]] == ["unknown-field"], (url, name)


async def test_people_and_sessions_of_another_tenant_are_not_there(opened: Stack) -> None:
    tenant, other = await opened.tenant("northside"), await opened.tenant("westside")
    headers = await browser(opened, tenant, "administrator")
    stranger = await joined(opened, other, "coach")
    theirs = await session(opened, other, stranger, ip=None)
    given = {"user_id": str(stranger), "session_id": str(theirs.id), "factor_id": str(theirs.id), "role": "coach"}
    tried = 0
    async with opened.client() as client:
        for listener, route in PROTECTED:
            if listener == "public" and route.path.startswith(("/v1/users/{user_id}", "/v1/account/")):
                if "{" not in route.path:
                    continue
                answer = await send(client, route, url=path(route, **given), headers=headers)
                assert answer.status_code == 404, (route.name, answer.text)
                tried += 1
        assert tried >= 9
        assert (await client.get("/v1/session", headers=sent_by(theirs))).status_code == 200
    async with opened.client(listener="admin") as admin:
        answer = await admin.get(f"/v1/tenants/{other}/users", headers=headers)
        assert answer.status_code == 403
    assert str(stranger) not in str(await entries(opened, PLATFORM_TENANT))


async def test_an_administrator_without_a_second_factor_reaches_only_what_sets_one_up(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    async with opened.client(await opened.key(tenant, "administrator")) as administrator:
        assert (await administrator.post("/v1/collections", json=NOTES)).status_code == 201
    headers = await browser(opened, tenant, "administrator", mfa=False)
    enrolling = {"session_get", "account_get", "account_totp_plan", "account_passkey_plan"}
    reached = set()
    async with opened.client() as client:
        for listener, route in PROTECTED:
            if listener != "public" or route.permission == "account:enrol":
                continue
            answer = await send(client, route, headers=headers)
            assert answer.status_code == 403, (route.name, answer.text)
            if answer.json()["type"] != "/problems/second-factor-required":
                reached.add(route.name)
        for name in enrolling:
            route = next(one for _, one in PROTECTED if one.name == name)
            assert (await send(client, route, headers=headers)).status_code == 200, name
    assert reached == set(), "each says what is missing"
