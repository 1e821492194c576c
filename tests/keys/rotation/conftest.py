"""Fixtures of rotation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from keys.rotation.rig import Rolling, rolling
from vault.stack import open_stack


@pytest.fixture
async def roller(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Rolling]:
    async with open_stack(database, tenant, other_tenant) as stack, rolling(stack) as found:
        yield found
