"""What sinks have not been given of entries that are about to go: once they are gone, it is a gap in a stream.

Rule: a sink owes its receiver what its settings name, from where it began; one that was never started and begins at the
end of each log owes nothing of what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.sink_settings import SinkSettings
from wellkeep.db.connection import Connection
from wellkeep.ledger.retention import MonthRun

_OWED = "SELECT ledger.sink_owed($1, $2, $3::ledger.sink_run[])"


async def owed(connection: Connection, sinks: Iterable[SinkSettings], runs: Sequence[MonthRun]) -> dict[str, int]:
    """Return how many entries of `runs` each of `sinks` was not given yet, where any; `connection` is wk_ledger's."""
    found = {}
    for sink in sinks:
        its = [(run.tenant, run.epoch, run.first, run.upto, None) for run in runs if _gets(sink, run.tenant)]
        count: int = await connection.fetchval(_OWED, sink.name, sink.begin == "now", its)
        if count:
            found[sink.name] = count
    return found


def _gets(sink: SinkSettings, tenant: UUID) -> bool:
    """Say whether the logs of `tenant` go to `sink`."""
    if tenant == PLATFORM_TENANT:
        return sink.root
    return sink.tenants == "all" or tenant in sink.tenants
