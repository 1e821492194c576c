"""Each route, asked about what is really there by who may see no value of it: no answer, header or log shows one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from access.signed_in import browser, joined, sent_by, session
from api.requests import LISTENED
from api.stack import Stack, stack
from attacks.strangers import ROLES, Customer, Furnisher, Place, request
from database import Database
from wellkeep.base.ids import PLATFORM_TENANT, parse_uuid, uuid7
from wellkeep.db.queue import QueuedJob
from wellkeep.vault.exports_run import ExportRunner

VALUE, WORD = "Xk9ValueZq", "Vv3OtherZq"
_LAST = {"session_end": 3, "account_sessions_end": 2}
_DESK = {
    "permissions": [
        *("record:read", "record:search", "record:change", "record:create", "record:delete", "subject:read"),
        *("export:run", "export:read", "import:run", "import:read"),
    ],
    "groups": ["administrative", "financial"],
    "purposes": ["HOPERAT"],
    "default_purpose": "HOPERAT",
}


@dataclass
class Scene:
    """A customer with one of everything, an export that is done, and who may see nothing of it."""

    opened: Stack
    own: Customer
    blind: dict[str, dict[str, str]]
    clients: dict[str, httpx.AsyncClient]


@pytest.fixture
async def scene(database: Database) -> AsyncIterator[Scene]:
    async with stack(database) as opened, opened.client() as public, opened.client(listener="admin") as admin:
        own = await Furnisher(opened, public, admin).customer("ours", VALUE)
        tenant, export = own.tenant, parse_uuid(own.ids["export"])
        assert export is not None
        runner = ExportRunner(context=opened.exports._context, pool=opened.gate._pool)
        await runner(QueuedJob(tenant, uuid7(), "export", export, 1), lambda: False)
        administrator = {"Authorization": f"Bearer {await opened.key(tenant, 'administrator')}"}
        for url, body in (("/v1/roles/desk", _DESK), ("/v1/rules", {"care_team": ["clinician"]})):
            method = "PUT" if url.endswith("desk") else "PATCH"
            made = await public.request(method, url, json=body, headers=administrator)
            assert made.is_success, made.text
        gone = await public.delete(f"/v1/impersonation-permits/{own.ids['permit']}", headers=own.heads["key"])
        assert gone.is_success, "what the tenant permitted would be seen unmasked"
        helper = await session(opened, PLATFORM_TENANT, await joined(opened, PLATFORM_TENANT, "support"), ip=None)
        account = await joined(opened, tenant, "integration", "coach")
        asked = {"tenant": str(tenant), "person": str(account), "reason": "Ticket 4711: the list stays empty"}
        stepped = await admin.post("/v1/impersonations", json=asked, headers=sent_by(helper))
        assert stepped.status_code == 201, stepped.text
        blind = {
            "masked staff": {"Authorization": f"Bearer {stepped.json()['token']}"},
            "administrator": await browser(opened, tenant, "administrator"),
            "auditor": await browser(opened, tenant, "auditor"),
            "desk": await browser(opened, tenant, "desk"),
            "clinician of others": await browser(opened, tenant, "clinician"),
            "platform": await browser(opened, PLATFORM_TENANT, "administrator"),
            "key of a bound role": {"Authorization": f"Bearer {await opened.key(tenant, 'clinician')}"},
            "key without a scope": {"Authorization": f"Bearer {await opened.key(tenant, *ROLES, scopes=())}"},
            "key of the desk": {"Authorization": f"Bearer {await opened.key(tenant, 'desk')}"},
            "nobody": {},
        }
        yield Scene(opened, own, blind, {"public": public, "admin": admin})


async def test_no_route_shows_a_value_to_who_may_see_none(scene: Scene) -> None:
    own = {"public": 0, "admin": 0}
    ordered = sorted(LISTENED, key=lambda one: _LAST.get(one[1].name, one[1].method == "DELETE"))
    for listener, route in ordered:
        for who, head in scene.blind.items():
            for purpose in ({}, {"X-Purpose-Of-Use": "BTG"}):
                sent = request(Place(listener, route, "", (), ""), "", scene.own, WORD)
                headers = sent["headers"] | head | purpose
                answer = await scene.clients[listener].request(**sent | {"headers": headers})
                shown = answer.text + str(answer.headers.multi_items())
                assert VALUE not in shown, (route.name, who, purpose)
                assert answer.status_code < 500, (route.name, who, answer.text)
                own[listener] += answer.is_success
    assert min(own.values()) > 50, "some of it they may: the requests are good ones"
    assert VALUE not in scene.opened.log.getvalue()
    assert WORD not in scene.opened.log.getvalue()


async def test_what_is_there_is_shown_to_who_may_see_it(scene: Scene) -> None:
    shown = set()
    for listener, route in LISTENED:
        if route.name in {"record_read", "record_search", "export_content"}:
            sent = request(Place(listener, route, "", (), ""), "", scene.own, VALUE)
            answer = await scene.clients[listener].request(**sent | {"headers": scene.own.heads["key"]})
            shown |= {route.name} if VALUE in answer.text else set()
    assert shown == {"record_read", "record_search", "export_content"}
