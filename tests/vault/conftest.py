"""Fixtures of the vault: the whole house, and the house with its collections declared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from vault.stack import NOTES, PATIENTS, WARDS, Stack, open_stack


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    """Open the house over the test's database, two tenants with keys and the three collections in it."""
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS, NOTES, WARDS)
        yield opened
