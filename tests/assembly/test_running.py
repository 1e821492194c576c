"""A running process: ready while what it stands on holds, its database kept up, its ledger searched page by page."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from assembly.conftest import Installed
from wellkeep.access.operators import this_operator
from wellkeep.assembly.keeper import kept
from wellkeep.assembly.ledger_search import EntryPage
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.errors import Forbidden, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Caller

PARTS = {"database", "keys", "ledger", "findings"}


@asynccontextmanager
async def running(installed: Installed) -> AsyncIterator[Runtime]:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        yield runtime


async def tenant(runtime: Runtime, name: str) -> UUID:
    return await runtime.tenants.create(this_operator(), name=name)


async def caller(runtime: Runtime, of: UUID, role: str) -> Caller:
    """Return somebody of a tenant in a role, as the edge would make them."""
    issued = await runtime.api_keys.create(this_operator(), tenant=of, name="test", roles=(role,))
    return Caller(
        await runtime.authenticator.authenticate(f"Bearer {issued.key.reveal()}", request=uuid7()), None, uuid7()
    )


async def eventually_ready(runtime: Runtime, *, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not all((await runtime.readiness.check()).values()):
        assert time.monotonic() < end, await runtime.readiness.check()
        await asyncio.sleep(0.2)


async def test_ready_until_what_it_stands_on_is_gone(installed: Installed) -> None:
    async with running(installed) as runtime:
        assert dict(await runtime.readiness.check()) == dict.fromkeys(PARTS, True)
        installed.database.stop()
        try:
            runtime.findings.note(
                PLATFORM_TENANT,
                kind=Kind.LEDGER_BROKEN,
                severity=Severity.CRITICAL,
                key=finding_key(Kind.LEDGER_BROKEN, "7"),
                detail={"seq": 7},
            )
            found = await runtime.readiness.check()
            assert (found["database"], found["findings"]) == (False, False)
        finally:
            installed.database.start()
        await eventually_ready(runtime)
        assert [one.kind for one in await runtime.findings.list(PLATFORM_TENANT)] == [Kind.LEDGER_BROKEN]
        runtime.findings._lost = 3
        assert all((await runtime.readiness.check()).values()), "a loss of the past makes nobody unready for ever"


async def test_a_killed_postgresql_is_started_again(installed: Installed) -> None:
    server = installed.database.embedded
    assert server is not None
    assert server.pid is not None
    with kept(installed.database):
        first = server.pid
        os.kill(first, signal.SIGKILL)
        await _until_another(server, first)
    async with running(installed) as runtime:
        await eventually_ready(runtime)


async def _until_another(server: EmbeddedServer, first: int) -> None:
    end = time.monotonic() + 60
    while server.pid in {None, first}:
        assert time.monotonic() < end, "it was not started again"
        await asyncio.sleep(0.2)


async def test_a_data_directory_that_is_away_is_waited_for(installed: Installed) -> None:
    server = installed.database.embedded
    assert server is not None
    installed.database.stop()
    aside = server.data.rename(server.data.with_name("away"))
    try:
        with kept(installed.database):
            await asyncio.sleep(1.5)
            assert not server.data.exists(), "the keeper never makes a cluster"
    finally:
        aside.rename(server.data)
        installed.database.start()


async def every_page(runtime: Runtime, who: Caller, **query: str) -> list[EntryPage]:
    pages = [await runtime.ledger_search.search(who, limit=2, **query)]  # type: ignore[arg-type]
    while pages[-1].cursor is not None:
        pages.append(await runtime.ledger_search.search(who, limit=2, cursor=pages[-1].cursor, **query))  # type: ignore[arg-type]
    return pages


async def test_entries_are_searched_page_by_page(installed: Installed) -> None:
    async with running(installed) as runtime:
        mine, theirs = await tenant(runtime, "mine"), await tenant(runtime, "theirs")
        auditor = await caller(runtime, mine, "auditor")
        stranger = await caller(runtime, theirs, "auditor")
        for name in ("one", "two", "three"):
            await runtime.api_keys.create(this_operator(), tenant=mine, name=name, roles=("auditor",))
        whole = (await runtime.ledger_search.search(auditor, limit=200)).entries
        pages = await every_page(runtime, auditor)
        found = [bytes(entry) for page in pages for entry in page.entries]
        assert found[-len(whole) :] == [bytes(entry) for entry in whole], "newest first, none twice, none left out"
        assert len(found) == len(whole) + 1, "the first search is an entry itself"
        made = await every_page(runtime, auditor, action="apikey.create")
        assert sum(len(page.entries) for page in made) == 4
        cursor = made[0].cursor
        assert cursor is not None
        await refused(runtime, auditor, cursor=cursor)
        await refused(runtime, stranger, cursor=cursor, action="apikey.create")
        await refused(runtime, auditor, cursor=cursor[:-2] + "AA", action="apikey.create")
        await refused(runtime, auditor, action="apikey.invent")
        other = await runtime.ledger_search.search(stranger, limit=200)
        assert not {bytes(entry) for entry in other.entries} & set(found)
        with pytest.raises(Forbidden):
            await runtime.ledger_search.search(await caller(runtime, mine, "clinician"), limit=1)


async def refused(runtime: Runtime, who: Caller, **query: str) -> None:
    with pytest.raises(Validation):
        await runtime.ledger_search.search(who, limit=2, **query)  # type: ignore[arg-type]
