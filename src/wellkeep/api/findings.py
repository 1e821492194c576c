"""What the system noticed in a tenant, over HTTP."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from wellkeep.api import answers
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.base.permissions import Permission


class OneFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Something noticed, `count` times; `detail` holds registered names with ids, codes, digests or numbers."""

    id: UUID
    key: str
    kind: str
    severity: str
    detail: dict[str, str | int]
    count: int
    first_seen: datetime
    last_seen: datetime


class FindingList(msgspec.Struct, frozen=True, kw_only=True):
    """What is open, the newest first, at most 1,000."""

    findings: list[OneFinding]


async def list_open(call: Call) -> Answer:
    """Return the open findings of the caller's tenant."""
    found = [
        OneFinding(
            id=one.id,
            key=one.key,
            kind=one.kind,
            severity=one.severity,
            detail=dict(one.detail),
            count=one.count,
            first_seen=one.first_seen,
            last_seen=one.last_seen,
        )
        for one in await call.runtime.desk.findings(call.caller)
    ]
    return answers.json(FindingList(findings=found))


FINDINGS = (
    Route(
        method="GET",
        path="/v1/findings",
        name="finding_list",
        summary="What the system noticed in the tenant and nobody has dealt with yet",
        tag="findings",
        serve=list_open,
        permission=Permission.FINDING_READ,
        returns=FindingList,
    ),
)
