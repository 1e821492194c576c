"""Fixtures of the fault tests: a template a session, and a deployment a module, which is a copy of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from database import scratch_home
from faults.deployed import Deployed, Template, declare, deployment, make_template


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    """Make a deployment once."""
    folder = scratch_home()
    try:
        yield asyncio.run(make_template(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployed(template: Template) -> AsyncIterator[Deployed]:
    """Serve a deployment with the collection that the load works on."""
    async with deployment(template) as made:
        await declare(made)
        yield made
