"""Replay: what the ledger says was stored, against what is stored.

An older envelope that is put back opens without complaint: it is authentic, only not the newest. The ledger knows
better. The entry of every change carries the digest of the state that it stored (`vault.fingerprint`), and every stored
state names the event that made it. So walks find what no key can: over the entries (a state that is gone, altered,
hidden or undeleted), over the entries of resealings (an older ciphertext that was put back), over the states and their
history (one that no entry knows, one out of its order, a record moved to another patient, a tag that is missing), over
the tags (one that no record has, or in a slot that is not its own), over the patients (one without a key, an erasure or
a merger that nobody entered), over the erasures (who is back, what was kept of them and is another now). Findings name
places alone. The job `replay` runs it for every tenant, once a day.

Streaming: a page at a time, each of one snapshot. A change commits with its outbox row, so a state or a merger is
either in the ledger or waits there; nothing is passed over for being young. What is not covered: times, and the keyed
MAC by which an import sees that nothing changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from wellkeep.base.errors import WellkeepError
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Interrupted, Stopping
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.vault import replay_erasures, replay_walks
from wellkeep.vault.calls import NIL
from wellkeep.vault.context import Context
from wellkeep.vault.replay_result import Difference, Replayed

__all__ = ["Difference", "Replay", "Replayed"]

Place = TypeVar("Place", bound=tuple[object, ...])


def never() -> bool:
    """Return False: nobody asks this replay to stop."""
    return False


class Replay:
    """Compares one tenant's records with its ledger; nobody is shown anything that was sealed."""

    def __init__(self, context: Context, *, pool: Pool) -> None:
        """Read over `pool` (wk_app's), report through the context's findings."""
        self._findings: Findings = context.findings
        self._pool = pool

    async def run(self, tenant: UUID, *, stopping: Stopping = never) -> Replayed:
        """Walk everything, report the differences of each page after it, and return what was seen.

        Raises Interrupted where `stopping` says so between two pages. What else breaks a walk (DatabaseUnavailable) is
        itself a finding before it is raised: a tenant that is not held against its ledger must not look like one that
        is.
        """
        result = Replayed()
        try:
            await self._walks(tenant, result, stopping)
        except Interrupted:
            raise
        except Exception as fault:
            await self._report(tenant, result)
            await self._broken(tenant, fault)
            raise
        await self._unlisted(tenant, result)
        return result

    async def _walks(self, tenant: UUID, result: Replayed, stopping: Stopping) -> None:
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            if await replay_erasures.tenant_erased(connection):
                return  # nothing is left that could be held against the ledger
        await self._walk(tenant, replay_walks.entries, (-1, -1), result, stopping)
        await self._walk(tenant, replay_walks.resealings, (-1, -1), result, stopping)
        await self._walk(tenant, replay_walks.records, (0, NIL), result, stopping)
        await self._walk(tenant, replay_walks.history, (0, NIL, 0), result, stopping)
        await self._walk(tenant, replay_walks.tags, (0, -1, b"", NIL), result, stopping)
        await self._walk(tenant, replay_erasures.subjects, (NIL,), result, stopping)
        await self._walk(tenant, replay_erasures.erasures, (-1, -1), result, stopping)
        await self._walk(tenant, replay_erasures.kept, (0, NIL, 0), result, stopping)
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            await replay_walks.mergers(connection, result)
        await self._report(tenant, result)

    async def _walk(
        self,
        tenant: UUID,
        page: Callable[[Connection, Place, Replayed], Awaitable[Place | None]],
        first: Place,
        result: Replayed,
        stopping: Stopping,
    ) -> None:
        place: Place | None = first
        while place is not None:
            if stopping():
                raise Interrupted
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                place = await page(connection, place, result)
            await self._report(tenant, result)

    async def _report(self, tenant: UUID, result: Replayed) -> None:
        """Report what was not reported yet, one after the other: many at once would fill the backlog of all tenants."""
        for difference in result.take():
            await self._findings.report(
                tenant,
                kind=Kind.REVISION_REPLAYED,
                severity=Severity.CRITICAL,
                key=finding_key(Kind.REVISION_REPLAYED, *difference.parts()),
                detail=difference.detail(),
            )

    async def _unlisted(self, tenant: UUID, result: Replayed) -> None:
        """Say how many differences there were where there was no room to list all."""
        if result.differing > len(result.differences):
            await self._findings.report(
                tenant,
                kind=Kind.REVISION_REPLAYED,
                severity=Severity.CRITICAL,
                key=finding_key(Kind.REVISION_REPLAYED, "more"),
                detail={"what": "more", "count": result.differing},
            )

    async def _broken(self, tenant: UUID, fault: Exception) -> None:
        error = fault.code if isinstance(fault, WellkeepError) else WellkeepError.code
        await self._findings.report(
            tenant,
            kind=Kind.JOB_FAILED,
            severity=Severity.HIGH,
            key=finding_key(Kind.JOB_FAILED, "replay"),
            detail={"what": "replay", "error": error},
        )
