"""The signed tenant context: inside one tenant, whatever SQL is injected."""

from __future__ import annotations

from uuid import UUID

from database import Database


async def test_pool_enters_the_tenant(database: Database, tenant: UUID) -> None:
    async with database.pool() as pool, pool.tenant_transaction(tenant=tenant) as connection:
        assert await connection.fetchval("SELECT wk.tenant()") == tenant
        assert [row["id"] for row in await connection.fetch("SELECT id FROM wk.tenants")] == [tenant]
