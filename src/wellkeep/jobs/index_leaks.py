"""The blind indexes measured once a week: one that came to have few values for its many records is a finding."""

from __future__ import annotations

import structlog

from wellkeep.assembly.core import Core
from wellkeep.assembly.index_leaks import leaks
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.queue import Interrupted, QueuedJob, Stopping
from wellkeep.jobs.handlers import Handler, Periodic

LEAK = "index.leak"
PERIODIC = (Periodic(LEAK, "41 4 * * 0"),)

_TENANTS = "SELECT id FROM wk.list_tenants() ORDER BY id"

_log = structlog.get_logger("wellkeep.jobs")


class IndexLeaks:
    """The deployment's own look at its indexes."""

    def __init__(self, core: Core) -> None:
        """Look at the indexes of every tenant of `core`."""
        self._core = core

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {LEAK: self.look}

    async def look(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Measure every index of every tenant; what is past a limit is reported there."""
        async with self._core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            tenants = [row["id"] for row in await connection.fetch(_TENANTS)]
        measured = skewed = 0
        async for one in leaks(self._core, tenants):
            if stopping():
                raise Interrupted
            measured += 1
            skewed += one.leak.verdict.skewed
        _log.info("indexes_measured", indexes=measured, skewed=skewed)
