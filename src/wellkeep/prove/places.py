"""A place where every request of the reviewed table succeeds: made over the API, on a scratch deployment alone."""

from __future__ import annotations

from uuid import UUID, uuid4

import httpx

from wellkeep.access.approvals import Needing
from wellkeep.access.operators import operator as account
from wellkeep.access.operators import this_operator
from wellkeep.base.errors import ApprovalNeeded
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import Place as Outside
from wellkeep.gate.acts import Act, Caller
from wellkeep.ledger.actions import Action
from wellkeep.ledger.seal import origin
from wellkeep.ledger.told import opened_id
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.hands import Hands
from wellkeep.prove.provider_requests import definition
from wellkeep.prove.requests import Place
from wellkeep.prove.review_places import another_tenant, looked
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.stage import Stage
from wellkeep.prove.transfers import exported, imported

_RECORDS = f"/v1/collections/{PEOPLE}/records"
_LETTERS = str.maketrans("0123456789", "ghijklmnop")
"""A place outside is named with letters."""


async def somewhere(stage: Stage, hands: Hands, *, secret: str) -> Place:
    """Make records, patients, files, a key and a tenant for one round of requests; the record holds `secret`.

    Raises Unseen where one can't be made.
    """
    client = await stage.client(stage.a.keys["integration"])
    record, doomed = [await created(client, _RECORDS, person(history=secret)) for _ in range(2)]
    merged, into = [(await created(client, "/v1/subjects", {}))["id"] for _ in range(2)]
    line = b'{"external_id": "%b", "fields": {"history": "%b"}}\n{}\n' % (uuid4().hex.encode(), secret.encode())
    ended = await imported(client, PEOPLE, line, format="ndjson")
    export, _ = await exported(client, PEOPLE)
    waiting = await _waiting(client, line)
    key, closing, rotation = await _administered(stage, hands.platform)
    erased, approvals = await _erased(stage)
    looked_after = await another_tenant(stage)
    return Place(
        record=UUID(record["id"]),
        doomed=UUID(doomed["id"]),
        subject=UUID(record["subject"]),
        tenant=stage.a.id,
        revision=1,
        merged=UUID(merged),
        into=UUID(into),
        waiting_import=waiting,
        ended_import=UUID(ended["id"]),
        export=UUID(export["id"]),
        event=opened_id(stage.a.id, origin(stage.settings.host, stage.a.id, 1)),
        key=key,
        closing=closing,
        erased=erased,
        approvals=approvals,
        rotation=rotation,
        way_out=await _proposed(stage),
        new_name=f"wk_probe_{uuid4().hex}",
        users=(await _invited(stage), await _invited(stage)),
        looked=(await looked(stage, stage.a.id), await looked(stage, looked_after)),
        looked_after=looked_after,
        provider=await _registered(stage),
        scene=await hands.scene(stage, UUID(doomed["subject"])),
    )


async def _waiting(client: httpx.AsyncClient, line: bytes) -> UUID:
    """Return an import that has its one part and was not started."""
    waiting = await created(client, "/v1/imports", {"collection": PEOPLE, "format": "ndjson"})
    sent = await client.put(
        f"/v1/imports/{waiting['id']}/parts/0", content=line, headers={"Content-Type": "application/octet-stream"}
    )
    if not sent.is_success:
        raise Unseen(f"a part of an import could not be sent (HTTP {sent.status_code})")
    return UUID(waiting["id"])


async def _invited(stage: Stage) -> UUID:
    """Return a person of the tenant who was invited and never came."""
    client = await stage.client(stage.a.keys["administrator"])
    made = await created(client, "/v1/users", {"email": f"{uuid4().hex}@example.org", "name": "Probe"})
    return UUID(made["id"])


async def _administered(stage: Stage, platform: Secret[str]) -> tuple[UUID, UUID, UUID]:
    """Return a key to be revoked, a tenant to be closed, and a rotation."""
    own = await stage.client(stage.a.keys["administrator"], admin=True)
    wanted = {"name": "prove-revoked", "roles": ["auditor"], "days": 1}
    issued = await created(own, f"/v1/tenants/{stage.a.id}/apikeys", wanted)
    over = await stage.client(platform, admin=True)
    made = await created(over, "/v1/tenants", {"name": f"wk-prove-{uuid4().hex[:12]}", "kind": "synthetic"})
    rotation = await created(own, "/v1/keys/rotations", {"tier": "root", "tenant": str(stage.a.id)})
    return UUID(issued["about"]["id"]), UUID(made["id"]), UUID(rotation["id"])


async def _registered(stage: Stage) -> UUID:
    """Return an identity provider of the tenant, to be removed."""
    client = await stage.client(stage.a.keys["administrator"], admin=True)
    made = await created(client, f"/v1/tenants/{stage.a.id}/providers", definition(f"gone-{uuid4().hex}"))
    return UUID(made["id"])


async def _proposed(stage: Stage) -> str:
    """Return the name of a place to connect to that the operator proposed, for another to approve."""
    name = "wk_" + uuid4().hex.translate(_LETTERS)
    place = Outside(name=name, host="probe.invalid", ports=(443,))
    return (await stage.operator.egress_list.propose(this_operator(), place)).place


async def _erased(stage: Stage) -> tuple[UUID, tuple[UUID, UUID]]:
    """Return a tenant that was erased by two people, and two requests that wait for a second person."""
    operator, erasing = this_operator(), stage.operator.erasing
    made = await stage.operator.tenants.create(operator, name=f"wk-prove-{uuid4().hex[:12]}", kind="synthetic")
    await stage.operator.tenants.close(operator, tenant=made)
    waiting = None
    try:
        await erasing.tenants.erase(operator, made)
    except ApprovalNeeded as waits:
        waiting = waits.resource
    if waiting is None:
        raise Unseen("a tenant was erased by one person")
    await erasing.approvals.decide(Caller(account("second"), None, uuid7()), waiting, give=True)
    await erasing.tenants.erase(operator, made)
    act = Act(Permission.TENANT_ERASE, Action.APPROVAL_REQUESTED, "tenant", str(stage.a.id), tenant=stage.a.id)
    decision = await stage.operator.core.gate.decide(operator, act)
    asked = [await erasing.approvals.request(decision, Needing.TENANT_ERASE, target=uuid4().hex) for _ in range(2)]
    return made, (asked[0], asked[1])
