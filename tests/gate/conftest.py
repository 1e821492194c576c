"""The house of the gate's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from database import Database
from gate.trial import House, house


@pytest.fixture
async def home(database: Database) -> AsyncIterator[House]:
    """Open a house over the test's database."""
    async with house(database) as opened:
        yield opened
