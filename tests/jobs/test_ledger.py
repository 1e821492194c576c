"""Promise: each minute the root log says how far every log has come, and what was signed long ago is thinned."""

from __future__ import annotations

from datetime import timedelta

from assembly.conftest import Installed, installed
from ledger.making import prepared
from wellkeep.assembly.core import open_core
from wellkeep.base.ids import uuid7
from wellkeep.db.provision import connected
from wellkeep.db.queue import QueuedJob
from wellkeep.jobs.ledger import COVER, PERIODIC, THIN, LedgerJobs

__all__ = ["installed"]

JOB: QueuedJob = None  # type: ignore[assignment]  # what is done does not follow from the job
_COVERED = "SELECT size FROM ledger.covered WHERE tenant_id = $1 ORDER BY size"
_SIGNED = "SELECT size FROM ledger.checkpoint WHERE tenant_id = $1 ORDER BY size"
_OLDER = """
INSERT INTO ledger.checkpoint
SELECT tenant_id, epoch, s.size, root, $2::timestamptz + s.size * interval '1 second', signature
FROM ledger.checkpoint, generate_series(1, 2) AS s (size) WHERE tenant_id = $1
"""


async def test_a_log_that_grew_is_covered_and_thinned(installed: Installed) -> None:
    tenant = uuid7()
    administrator = installed.database.administrator()
    assert administrator is not None
    async with (
        open_core(installed.home, installed.settings, installed.database) as core,
        connected(administrator) as connection,
    ):
        handlers = LedgerJobs(core).handlers()
        assert handlers.keys() == {periodic.kind for periodic in PERIODIC}
        await core.writer.append(tenant, prepared(2))
        assert await core.checkpointer.sign_now()
        await handlers[COVER](JOB, lambda: False)
        assert [row["size"] for row in await connection.fetch(_COVERED, tenant)] == [3]
        begun = (core.clock.now() - timedelta(days=1, minutes=10)).replace(second=0, microsecond=0)
        await connection.execute(_OLDER, tenant, begun)
        await handlers[THIN](JOB, lambda: False)
        assert [row["size"] for row in await connection.fetch(_SIGNED, tenant)] == [2, 3]
