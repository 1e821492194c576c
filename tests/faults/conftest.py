"""Fixtures of the fault tests: one deployment a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from faults.deployed import Deployed, declare, deployment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployed() -> AsyncIterator[Deployed]:
    """Serve a deployment with the collection that the load works on."""
    async with deployment() as made:
        await declare(made)
        yield made
