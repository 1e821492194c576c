"""Promise: a ledger that does not hold, or that nobody could look at, is a finding within minutes."""

from __future__ import annotations

import pytest

from assembly.conftest import Installed, installed
from wellkeep.assembly.core import open_core
from wellkeep.assembly.database import Database
from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.provision import connected
from wellkeep.db.queue import QueuedJob
from wellkeep.findings.grammar import Kind
from wellkeep.jobs.verification import VERIFY, VERIFY_WHOLE, Verification

__all__ = ["installed"]

_EDIT = "UPDATE ledger.entry SET actor = 'x' WHERE tenant_id = $1 AND seq = 1"
JOB: QueuedJob = None  # type: ignore[assignment]  # what is verified does not follow from the job


async def test_it_holds_then_it_does_not_then_nobody_can_look(installed: Installed) -> None:
    async with open_core(installed.home, installed.settings, installed.database) as core:
        handlers = Verification(core, installed.database).handlers()
        for kind in (VERIFY, VERIFY, VERIFY_WHOLE):
            await handlers[kind](JOB, lambda: False)
        assert not await core.findings.list(PLATFORM_TENANT)
        administrator = installed.database.administrator()
        assert administrator is not None
        async with connected(administrator) as connection:
            await connection.execute(_EDIT, PLATFORM_TENANT)
        await handlers[VERIFY](JOB, lambda: False)
        assert not await core.findings.list(PLATFORM_TENANT), "read before, and again once a week"
        await handlers[VERIFY_WHOLE](JOB, lambda: False)
        [found] = await core.findings.list(PLATFORM_TENANT)
        assert (found.kind, found.detail["seq"], found.detail["what"]) == (Kind.LEDGER_BROKEN, 1, "columns")
        away = Verification(core, Database(installed.home, installed.settings)).handlers()
        with pytest.raises(Misconfigured):
            await away[VERIFY](JOB, lambda: False)
        kinds = {one.kind for one in await core.findings.list(PLATFORM_TENANT)}
        assert kinds == {Kind.LEDGER_BROKEN, Kind.LEDGER_UNVERIFIED}
