"""A finding that stands or falls with what it is about: stored, and closed, in the transaction of the act itself.

Rule: for what must be seen by somebody else whatever happens next: a process that is killed after the commit has told
it, one that is killed before has not done it. Anything else is reported by `Findings`, which never fails its caller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection
from wellkeep.findings.grammar import Kind, Severity, check_detail, check_key

_STORE = """
INSERT INTO findings.finding AS f (tenant_id, id, key, kind, severity, detail, count, first_seen, last_seen)
VALUES (wk.tenant(), $1, $2, $3, $4, $5::text::jsonb, 1, clock_timestamp(), clock_timestamp())
ON CONFLICT (tenant_id, key) DO UPDATE SET
    count = f.count + 1, severity = excluded.severity, detail = excluded.detail,
    last_seen = greatest(f.last_seen, excluded.last_seen), resolved_at = NULL
"""
_SETTLE = """
UPDATE findings.finding SET resolved_at = clock_timestamp() WHERE key = ANY($1) AND resolved_at IS NULL RETURNING id
"""


async def store_within(
    connection: Connection, *, kind: Kind, severity: Severity, key: str, detail: Mapping[str, str | int]
) -> None:
    """Store a finding of the entered tenant in the transaction of `connection`. Raises FindingRefused."""
    told = json.dumps(check_detail(detail), sort_keys=True)
    await connection.execute(_STORE, uuid7(), check_key(key), kind.value, severity.value, told)


async def settle_within(connection: Connection, *, keys: Sequence[str]) -> int:
    """Close these findings of the entered tenant in the transaction of `connection`; returns how many were open."""
    return len(await connection.fetch(_SETTLE, [check_key(key) for key in keys]))


def findings_of(kinds: Sequence[Kind], about: UUID) -> list[str]:
    """Return the keys of the findings of `kinds` about one thing."""
    return [check_key(f"{kind.value}:{about}") for kind in kinds]
