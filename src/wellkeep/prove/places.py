"""A place where every request of the reviewed table succeeds: made over the API, on a scratch deployment alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import httpx

from wellkeep.access.operators import this_operator
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.ledger.seal import origin
from wellkeep.ledger.told import opened_id
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.requests import Place, Request
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.stage import Stage
from wellkeep.prove.transfers import exported, imported

_RECORDS = f"/v1/collections/{PEOPLE}/records"
_SENDERS = {
    "collection": "administrator",
    "apikey": "administrator",
    "ledger": "privacy_officer",
}
"""Which role sends requests of which kind of permission; all others the integration."""


@asynccontextmanager
async def platform_key(stage: Stage) -> AsyncIterator[Secret[str]]:
    """Lend a key of the platform's administrator, which is revoked afterwards."""
    operator, keys = this_operator(), stage.operator.api_keys
    made = await keys.create(operator, tenant=PLATFORM_TENANT, name="prove-platform", roles=("administrator",), days=1)
    try:
        yield made.key
    finally:
        await keys.revoke(operator, tenant=PLATFORM_TENANT, key_id=made.about.id)


async def sender(stage: Stage, request: Request, platform: Secret[str]) -> httpx.AsyncClient:
    """Return a client that may send `request`."""
    kind = request.permission.partition(":")[0]
    key = platform if kind == "tenant" else stage.a.keys[_SENDERS.get(kind, "integration")]
    return await stage.client(key, admin=request.admin)


async def somewhere(stage: Stage, platform: Secret[str], *, secret: str) -> Place:
    """Make records, patients, files, a key and a tenant for one round of requests; the record holds `secret`.

    Raises Unseen where one can't be made.
    """
    client = await stage.client(stage.a.keys["integration"])
    record, doomed = [await created(client, _RECORDS, person(history=secret)) for _ in range(2)]
    merged, into = [(await created(client, "/v1/subjects", {}))["id"] for _ in range(2)]
    line = b'{"external_id": "%b", "fields": {"history": "%b"}}\n{}\n' % (uuid4().hex.encode(), secret.encode())
    ended = await imported(client, PEOPLE, line, format="ndjson")
    export, _ = await exported(client, PEOPLE)
    waiting = await created(client, "/v1/imports", {"collection": PEOPLE, "format": "ndjson"})
    sent = await client.put(
        f"/v1/imports/{waiting['id']}/parts/0", content=line, headers={"Content-Type": "application/octet-stream"}
    )
    if not sent.is_success:
        raise Unseen(f"a part of an import could not be sent (HTTP {sent.status_code})")
    key, closing = await _administered(stage, platform)
    return Place(
        record=UUID(record["id"]),
        doomed=UUID(doomed["id"]),
        subject=UUID(record["subject"]),
        tenant=stage.a.id,
        revision=1,
        merged=UUID(merged),
        into=UUID(into),
        waiting_import=UUID(waiting["id"]),
        ended_import=UUID(ended["id"]),
        export=UUID(export["id"]),
        event=opened_id(stage.a.id, origin(stage.settings.host, stage.a.id, 1)),
        key=key,
        closing=closing,
        new_name=f"wk_probe_{uuid4().hex}",
    )


async def _administered(stage: Stage, platform: Secret[str]) -> tuple[UUID, UUID]:
    """Return a key to be revoked and a tenant to be closed."""
    own = await stage.client(stage.a.keys["administrator"], admin=True)
    wanted = {"name": "prove-revoked", "roles": ["auditor"], "days": 1}
    issued = await created(own, f"/v1/tenants/{stage.a.id}/apikeys", wanted)
    over = await stage.client(platform, admin=True)
    made = await created(over, "/v1/tenants", {"name": f"wk-prove-{uuid4().hex[:12]}", "kind": "synthetic"})
    return UUID(issued["about"]["id"]), UUID(made["id"])
