"""Promise: that nobody can look who logs in to the database is a finding, and the watch goes on when it can again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from assembly.conftest import Installed, installed
from wellkeep.assembly.core import Core, open_core
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.provision import connected
from wellkeep.findings.grammar import Kind
from wellkeep.jobs.watching import watching

__all__ = ["installed"]

_BLIND = f"{Kind.OPERATOR_UNRECORDED.value}:blind"
_SEEN = "SELECT count(*) FROM ledger.entry WHERE action = 'operator.session' AND actor = 'watch'"
_SECONDS = 15.0
_PAUSE_SECONDS = 0.2


@pytest.fixture
async def core(installed: Installed) -> AsyncIterator[Core]:
    async with open_core(installed.home, installed.settings, installed.database) as made:
        yield made


async def execute(installed: Installed, sql: str) -> int:
    """Run a statement past wellkeep, which is a session that nobody announced."""
    endpoint = installed.database.administrator()
    assert endpoint is not None
    async with connected(endpoint) as connection:
        found: int = await connection.fetchval(sql)
        return found


async def blind(core: Core) -> int:
    await core.findings.flush()
    return sum(one.count for one in await core.findings.list(PLATFORM_TENANT) if one.key == _BLIND)


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(round(_SECONDS / _PAUSE_SECONDS)):
        if await done():
            return
        await asyncio.sleep(_PAUSE_SECONDS)
    raise TimeoutError


async def test_nobody_can_look(installed: Installed, core: Core) -> None:
    async def noticed() -> bool:
        return await blind(core) > 0

    async def seen() -> bool:
        return await execute(installed, _SEEN) > before

    async with watching(core, installed.database, installed.home):
        assert not await noticed()
        await execute(installed, "REVOKE EXECUTE ON FUNCTION access.take_watch FROM wk_jobs")
        await until(noticed)
        before = await execute(installed, _SEEN)
        await execute(installed, "GRANT EXECUTE ON FUNCTION access.take_watch TO wk_jobs")
        await until(seen)
