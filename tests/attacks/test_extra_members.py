"""Mass assignment: a body says what its shape declares, at every depth, and nothing that is ours to say."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from access.signed_in import browser
from api.requests import LISTENED, NOBODY, send
from api.stack import NOTES, Stack, stack
from attacks.strangers import ROLES
from database import Database
from wellkeep.api.routes import Route
from wellkeep.base.ids import PLATFORM_TENANT

OURS_TO_SAY: dict[str, Any] = {
    **dict.fromkeys(("id", "person", "subject_id", "created_by", "requested_by", "approved_by"), NOBODY),
    **dict.fromkeys(("tenant", "tenant_id"), str(PLATFORM_TENANT)),
    **dict.fromkeys(("state", "purpose", "created_at", "digest", "__class__"), "done"),
    **{name: ["administrator"] for name in ("roles", "permissions", "field_groups", "scopes")},
    **dict.fromkeys(("mfa", "fresh", "masked", "second_factor", "admin"), True),
    **dict.fromkeys(("revision", "version"), 7),
}
WRITING = [(listener, route) for listener, route in LISTENED if route.body not in (None, bytes)]
FREE = {"fields", "where", "map", "credential", "options"}
"""Members whose own members are a customer's: names of fields and of columns, and what a browser's passkey said."""


def declared(route: Route) -> set[str]:
    """Return every name that a shape of the route's body declares, at any depth."""
    _, components = msgspec.json.schema_components([route.body], ref_template="{name}")
    return {name for shape in components.values() for name in shape.get("properties", {})}


def depths(body: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to each object in `body` whose members are ours to declare."""
    if isinstance(body, dict):
        yield way
        for name, inner in body.items():
            if name not in FREE:
                yield from depths(inner, (*way, name))
    elif isinstance(body, list):
        for place, inner in enumerate(body[:1]):
            yield from depths(inner, (*way, place))


def with_member(body: Any, way: tuple[str | int, ...], name: str, value: Any) -> Any:
    """Return `body` with one more member in the object at `way`."""
    changed = copy.deepcopy(body)
    inner = changed
    for part in way:
        inner = inner[part]
    inner[name] = value
    return changed


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    async with stack(database) as process:
        yield process


async def test_no_route_takes_a_member_that_its_shape_does_not_declare(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    customer = {"Authorization": f"Bearer {await opened.key(tenant, *ROLES)}"}
    staff = {"Authorization": f"Bearer {await opened.platform_key()}"}
    whole = {
        "public": [customer, await browser(opened, tenant, *ROLES)],
        "admin": [staff, await browser(opened, PLATFORM_TENANT, "administrator")],
    }
    tried = 0
    async with opened.client() as public, opened.client(listener="admin") as admin:
        clients: dict[str, httpx.AsyncClient] = {"public": public, "admin": admin}
        assert (await public.post("/v1/collections", json=NOTES, headers=customer)).status_code == 201
        before = await stored(opened)
        for listener, route in WRITING:
            for way in depths(route.example):
                for name, value in OURS_TO_SAY.items():
                    if name in declared(route):
                        continue
                    for head in whole[listener]:
                        body = with_member(route.example, way, name, value)
                        answer = await send(clients[listener], route, json=body, headers=head)
                        problems = [problem["code"] for problem in answer.json().get("errors", [])]
                        assert (answer.status_code, problems) == (422, ["unknown-field"]), (route.name, way, name)
                        assert NOBODY not in answer.text
                        tried += 1
        assert await stored(opened) == before, "nothing came of any of it"
    assert tried > len(WRITING) * len(OURS_TO_SAY)


async def stored(opened: Stack) -> list[int]:
    """Return how many rows there are of what a route makes."""
    tables = (
        *("wk.tenants", "vault.record", "vault.subject", "vault.collection", "access.api_key", "access.person"),
        *("access.custom_role", "access.role_grant", "vault.import", "vault.export", "keys.rotation"),
    )
    async with opened.database.connect() as connection:
        await connection.execute("SET session_replication_role = replica")
        return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables]  # noqa: S608 -- ours
