"""Promise: once a hold was placed, no erasure that did not see it is under way, and a later one is refused."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from assembly.conftest import Installed
from assembly.test_erasing_restored import caller, live
from wellkeep.access.operators import this_operator
from wellkeep.assembly import ledger_holds
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.errors import LegalHold

_HOLD_BACK = "SELECT FROM vault.record WHERE subject_id = $1 FOR UPDATE"
_UNDER_WAY = """
SELECT count(*) FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
WHERE c.relname = 'tombstone' AND l.mode = 'RowExclusiveLock' AND l.granted
"""
_ERASED = "SELECT erased_at IS NOT NULL FROM vault.subject WHERE id = $1"


async def test_a_hold_waits_for_the_erasure_that_did_not_see_it(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        scene = await live(runtime)
        async with runtime.core.app.tenant_transaction(tenant=scene.tenant) as connection:
            await connection.execute(_HOLD_BACK, scene.gone)
            erasing = asyncio.create_task(
                runtime.erasing.subjects.erase(caller(scene.tenant, "privacy_officer"), scene.gone)
            )
            for _ in range(1500):
                if await connection.fetchval(_UNDER_WAY):
                    break
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)  # it has looked for holds, and waits for the record
            placing = asyncio.create_task(_placed(runtime, scene.tenant, scene.gone))
            ended, _ = await asyncio.wait({placing, erasing}, timeout=1.5)
            assert ended == set()
        await erasing
        await placing
        assert await _erased(runtime, scene.tenant, scene.gone)


async def test_side_by_side_a_hold_that_stands_has_the_last_word(installed: Installed) -> None:
    async with open_runtime(installed.home, installed.settings, installed.database) as runtime:
        for delay in (0.0, 0.002, 0.004, 0.008, 0.016):
            scene = await live(runtime)
            erasing = asyncio.create_task(_erase_after(runtime, scene.tenant, scene.gone, delay))
            await _placed(runtime, scene.tenant, scene.gone)
            then = await _erased(runtime, scene.tenant, scene.gone)
            refused = await erasing
            assert await _erased(runtime, scene.tenant, scene.gone) is then is not refused
            if refused:
                assert await runtime.records.read(caller(scene.tenant, "privacy_officer"), "patients", scene.record)
            with pytest.raises(LegalHold):
                await _hold_all_and_erase(runtime, scene.tenant)


async def _erase_after(runtime: Runtime, tenant: UUID, subject: UUID, delay: float) -> bool:
    """Erase after `delay` seconds; returns whether a hold refused it."""
    await asyncio.sleep(delay)
    try:
        await runtime.erasing.subjects.erase(caller(tenant, "privacy_officer"), subject)
    except LegalHold:
        return True
    return False


async def _placed(runtime: Runtime, tenant: UUID, subject: UUID | None) -> UUID:
    return await ledger_holds.place(runtime.core, this_operator(), tenant=tenant, reason="subpoena", subject=subject)


async def _hold_all_and_erase(runtime: Runtime, tenant: UUID) -> None:
    await _placed(runtime, tenant, None)
    made = await runtime.records.create(caller(tenant, "integration"), "patients", {"family": "Noether"})
    assert made.subject is not None
    await runtime.erasing.subjects.erase(caller(tenant, "privacy_officer"), made.subject)


async def _erased(runtime: Runtime, tenant: UUID, subject: UUID) -> bool:
    async with runtime.core.app.tenant_transaction(tenant=tenant) as connection:
        return bool(await connection.fetchval(_ERASED, subject))
