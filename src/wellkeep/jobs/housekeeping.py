"""What the deployment does for itself: drain the outbox, delete what is past its time, replay the ledger.

The replay holds each tenant's records against its ledger, once a day.

Rules: whose data is past its time is asked without a tenant's context and answered in ids; deleting it happens under
that tenant's own context. Each job takes a bounded share and comes back. One tenant's replay that breaks, maybe because
somebody wanted it to, keeps no other tenant from being replayed, and the job shows as failed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from wellkeep.access import throttle
from wellkeep.base.errors import Unavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Interrupted, QueueBook, QueuedJob, Stopping
from wellkeep.jobs.handlers import Handler, Periodic
from wellkeep.vault import blobs
from wellkeep.vault.replay import Replay

DRAIN = "ledger.drain"
PURGE = "purge"
REPLAY = "replay"
PERIODIC = (Periodic(DRAIN, "* * * * *"), Periodic(PURGE, "*/15 * * * *"), Periodic(REPLAY, "23 2 * * *"))

KEPT_DAYS = 30
"""How long jobs that have ended are listed."""

_SHARE = 1_000
_EXPIRED = "SELECT tenant_id, id FROM vault.expired_blobs($1)"
_TENANTS = "SELECT id FROM wk.list_tenants() ORDER BY id"
_OLD_ANSWERS = "SELECT tenant_id FROM vault.tenants_with_old_answers($1)"
_FORGET_ANSWERS = "DELETE FROM vault.idempotency WHERE created_at < pg_catalog.now() - interval '24 hours'"

_log = structlog.get_logger("wellkeep.jobs")


class Housekeeping:
    """The deployment's own jobs."""

    def __init__(
        self, *, app: Pool, jobs: Pool, book: QueueBook, drain_outbox: Callable[[], Awaitable[object]], replay: Replay
    ) -> None:
        """`app` and `jobs` are the pools of wk_app and wk_jobs; `drain_outbox` is the ledger writer's."""
        self._replay = replay
        self._app = app
        self._jobs = jobs
        self._book = book
        self._drain_outbox = drain_outbox

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {DRAIN: self.drain, PURGE: self.purge, REPLAY: self.replay}

    async def drain(self, _job: QueuedJob, _stopping: Stopping) -> None:
        """Chain what was committed and never chained, because its process died."""
        await self._drain_outbox()

    async def purge(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Delete blobs and sealed answers that are past their time, and forget jobs that ended long ago."""
        async with self._jobs.connection() as connection:
            expired = await connection.fetch(_EXPIRED, _SHARE)
            tenants = await connection.fetch(_OLD_ANSWERS, _SHARE)
        for row in expired:
            if stopping():
                return
            async with self._app.tenant_transaction(tenant=row["tenant_id"]) as connection:
                await blobs.delete(connection, blob=row["id"])
        for row in tenants:
            async with self._app.tenant_transaction(tenant=row["tenant_id"]) as connection:
                await connection.execute(_FORGET_ANSWERS)
        await throttle.forget(self._app)
        await self._book.purge(days=KEPT_DAYS)

    async def replay(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Hold every tenant's records against its ledger, one tenant after the other; what differs is a finding.

        Where one tenant's replay breaks, the others have their turn; then what broke it is raised.
        """
        async with self._app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            tenants = [row["id"] for row in await connection.fetch(_TENANTS)]
        broken: list[Exception] = []
        for tenant in tenants:
            try:
                result = await self._replay.run(tenant, stopping=stopping)
            except Interrupted:
                raise
            except Exception as fault:  # noqa: BLE001 - kept, and raised when every other tenant had its turn
                _log.warning("replay_broken", error=type(fault).__name__)
                broken.append(fault)
            else:
                _log.info("replayed", entries=result.entries, states=result.states, differing=result.differing)
        if broken:
            # What was unavailable is tried again, by the queue; so it goes first.
            raise next((fault for fault in broken if isinstance(fault, Unavailable)), broken[0])
