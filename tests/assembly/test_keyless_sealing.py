"""The key service goes away while the ledger is written: it is sealed on; a start without it is refused."""

from __future__ import annotations

import pytest

from assembly.conftest import Installed
from ledger.making import prepared
from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import open_core
from wellkeep.assembly.ledger_check import Extent, verify_on_record
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT


async def test_the_ledger_is_sealed_while_the_key_service_is_away(installed: Installed) -> None:
    """Deployment keys are held from the start on: an administrator's acts must stay on record, whatever is down."""
    where = (installed.home, installed.settings, installed.database)
    key = installed.home.resolve(installed.settings.keys.root_key)
    away = key.with_name("root.key.away")
    async with open_core(*where) as core:
        key.rename(away)
        try:
            await core.writer.append(PLATFORM_TENANT, prepared(3))
            assert await core.checkpointer.sign_now()
            checked = await verify_on_record(core, installed.database, this_operator(), Extent())
            assert checked.report.ok, checked.report.bad
            with pytest.raises(WellkeepError):
                async with open_core(*where):
                    pass
        finally:
            away.rename(key)
    async with open_core(*where) as core:
        assert core.setbacks == []
