"""Fixtures of what is asked of the listeners."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from api.stack import Stack, stack
from database import Database


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    """Open a whole process over the test's database."""
    async with stack(database) as process:
        yield process
