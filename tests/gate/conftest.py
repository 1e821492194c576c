"""The house of the gate's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from gate.trial import House, house


@pytest.fixture
async def home(database: Database) -> AsyncIterator[House]:
    """Open a house over the test's database."""
    async with house(database) as opened:
        yield opened


@pytest.fixture
def batching_database(database: Database, tenant: UUID, other_tenant: UUID) -> tuple[Database, list[UUID]]:
    """Return a database and two tenants of it, for a test that runs its own event loops."""
    return database, [tenant, other_tenant]
