"""The skew of each blind index, measured where its tags lie: counted in the database, one index at a time.

Rules: what leaves the database is how many tags are shared by how many rows, never a tag; each tenant's tags are read
under that tenant's own context; an index past a limit is a finding of its tenant's. Tags are counted in the order of
their index, so the database holds one at a time, and here there are at most √(2 * rows) numbers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from wellkeep.assembly.core import Core
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.vault.definition import Definition, Field
from wellkeep.vault.index_leak import Leak, measure

_COLLECTIONS = "SELECT id, name, definition FROM vault.collection ORDER BY name"
_HISTOGRAM = """
SELECT epoch, shared, count(*) AS tags FROM (
  SELECT get_byte(tag, 0) AS epoch, count(*) AS shared FROM vault.tag
  WHERE tenant_id = $1 AND collection_id = $2 AND field_id = $3 GROUP BY tag
) AS counted
GROUP BY epoch, shared
"""
_PATIENCE = "SET LOCAL statement_timeout = '600s'"
_SECONDS = 600.0

_decode = msgspec.json.Decoder(Definition).decode


@dataclass(frozen=True, slots=True)
class IndexLeak:
    """One index and what it tells."""

    tenant: UUID
    collection: str
    field: str
    index: str
    leak: Leak


async def leaks(core: Core, tenants: Sequence[UUID], *, collection: str | None = None) -> AsyncIterator[IndexLeak]:
    """Yield each index of `tenants`, or of one collection of theirs; one past a limit is reported as a finding.

    An index of a field that is stored in clear tells nothing that the field does not.
    """
    for tenant in tenants:
        for row in await _collections(core.app, tenant):
            if collection not in {None, row["name"]}:
                continue
            for field in _decode(row["definition"]).fields:
                if field.sealed and field.index != "none":
                    leak = await _measured(core.app, tenant, row["id"], field)
                    if leak.verdict.skewed:
                        await _report(core.findings, tenant, row["id"], field, leak)
                    yield IndexLeak(tenant, row["name"], field.name, field.index, leak)


async def _collections(pool: Pool, tenant: UUID) -> list[Record]:
    async with pool.tenant_transaction(tenant=tenant) as connection:
        return await connection.fetch(_COLLECTIONS)


async def _measured(pool: Pool, tenant: UUID, collection: int, field: Field) -> Leak:
    """Measure one index; while two epochs of its key live, by the one that more rows have."""
    async with pool.tenant_transaction(tenant=tenant) as connection:
        await connection.execute(_PATIENCE)
        rows = await connection.fetch(_HISTOGRAM, tenant, collection, field.id, timeout=_SECONDS)
    by_epoch: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        by_epoch.setdefault(row["epoch"], []).append((row["shared"], row["tags"]))
    return max(
        (measure(histogram) for histogram in by_epoch.values()), key=lambda one: one.entries, default=measure([])
    )


async def _report(findings: Findings, tenant: UUID, collection: int, field: Field, leak: Leak) -> None:
    await findings.report(
        tenant,
        kind=Kind.INDEX_SKEW,
        severity=Severity.MEDIUM,
        key=finding_key(Kind.INDEX_SKEW, collection, field.id),
        detail={
            "collection": collection,
            "field": field.id,
            "count": leak.distinct,
            "size": leak.entries,
            "what": leak.verdict.value,
        },
    )
