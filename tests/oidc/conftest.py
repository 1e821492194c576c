"""A process with a tenant whose people sign in at a provider of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx
import pytest

from access.conftest import MovedClock
from api.stack import Stack, stack
from database import Database
from oidc import hostile
from oidc.hostile import CLIENT, PLACE, SECRET, Provider
from wellkeep.access.oidc_roles import Mapping
from wellkeep.access.providers import NewProvider
from wellkeep.base.secrets import Secret

ROLES = (Mapping("groups", "clinicians", "clinician"), Mapping("groups", "admins", "administrator"))


@dataclass
class Scene:
    opened: Stack
    tenant: UUID
    idp: Provider
    id: UUID
    clock: MovedClock

    @property
    def new(self) -> NewProvider:
        return new(self.idp)

    def client(self) -> httpx.AsyncClient:
        """Return a new browser."""
        return self.opened.client()

    async def begin(self, client: httpx.AsyncClient, provider: str = "keycloak") -> str:
        """Follow the link; returns where the browser is sent, and leaves the cookie in it."""
        answer = await client.get(f"/v1/sign-in/st-elsewhere/{provider}")
        assert answer.status_code == 303, answer.text
        assert "HttpOnly; SameSite=Lax; Max-Age=600" in answer.headers["set-cookie"]
        return answer.headers["location"]

    async def finish(self, client: httpx.AsyncClient, query: dict[str, str]) -> httpx.Response:
        return await client.get(f"/v1/sign-in/callback?{urlencode(query)}")

    async def whole(self, client: httpx.AsyncClient, **changes: str | None) -> httpx.Response:
        """Sign in from the link to the end."""
        return await self.finish(client, self.idp.sign_in(await self.begin(client), **changes))

    async def rows(self, sql: str, *arguments: Any) -> list[Any]:
        async with self.opened.database.connect() as connection:
            return await connection.fetch(sql, *arguments)

    async def findings(self) -> set[str]:
        await self.opened.findings.flush()
        return {row["key"] for row in await self.rows("SELECT key FROM findings.finding")}


def new(idp: Provider) -> NewProvider:
    return NewProvider(
        name="keycloak", issuer=idp.issuer, client_id=CLIENT, secret=Secret(SECRET), places=(PLACE,), roles=ROLES
    )


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    clock = MovedClock()
    async with (
        hostile.provider(tmp_path, clock) as (idp, egress),
        stack(database, egress=egress, clock=clock) as opened,
    ):
        idp.claims = {"groups": ["clinicians"], "sid": "there-1"}
        tenant = await opened.tenant("st-elsewhere")
        made = await opened.single_sign_on.providers.create(opened.operator, tenant=tenant, new=new(idp))
        yield Scene(opened, tenant, idp, made, clock)


async def another(scene: Scene, **changes: Any) -> UUID:
    """Register a second provider, like the first but for `changes`."""
    made = replace(scene.new, **{"name": "other", **changes})
    return await scene.opened.single_sign_on.providers.create(scene.opened.operator, tenant=scene.tenant, new=made)
