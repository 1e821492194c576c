"""Who sends the requests of the reviewed table where each of them is to succeed: keys of the right roles, and people.

What is a person's alone (to step into an account, to permit it, to break a glass) no key does; for that there are two
of the staff, an administrator and a clinician of the stage's tenant, signed in with a second factor, for one round.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import httpx

from wellkeep.access.operators import this_operator
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.prove.deployment import created
from wellkeep.prove.emergency_requests import Scene
from wellkeep.prove.people import signed_in
from wellkeep.prove.requests import Request
from wellkeep.prove.stage import Stage

_SENDERS: Final = {
    "collection": "administrator",
    "apikey": "administrator",
    "keys": "administrator",
    "ledger": "privacy_officer",
    "subject:erase": "privacy_officer",
    "erasure": "privacy_officer",
    "approval": "privacy_officer",
    "user": "administrator",
    "review": "administrator",
    "rules": "administrator",
    "role": "administrator",
    "team": "administrator",
    "access": "administrator",
    "egress": "privacy_officer",
    "provider": "administrator",
    "impersonation": "privacy_officer",
    "glass": "privacy_officer",
    "finding": "privacy_officer",
}
"""Which role's key sends requests of which permission, or kind of permission; all others the integration."""
_WHY: Final = "a probe does every act once"
_HOUR: Final = timedelta(hours=1)


def key_role(permission: str) -> str:
    """Return the role whose key sends requests of `permission`."""
    return _SENDERS.get(permission) or _SENDERS.get(permission.partition(":")[0], "integration")


@dataclass(frozen=True, slots=True)
class Hands:
    """A key of the platform's administrator, and people's clients."""

    platform: Secret[str]
    administrator: httpx.AsyncClient
    clinician: httpx.AsyncClient
    clinician_id: UUID
    staff: tuple[httpx.AsyncClient, httpx.AsyncClient]

    async def sender(self, stage: Stage, request: Request) -> httpx.AsyncClient:
        """Return a client that may send `request`."""
        persons = {
            "impersonation:start": self.staff[0],
            "impersonation:permit": self.administrator,
            "glass:break": self.clinician,
        }
        if request.permission in persons:
            return persons[request.permission]
        kind = request.permission.partition(":")[0]
        role = key_role(request.permission)
        ours = kind in {"tenant", "deployment"} or request.permission == "egress:change"
        ours = ours or request.operation in {"tenant_user_leave", "tenant_erasure"}
        ours = ours or request.operation.startswith("tenant_review")
        return await stage.client(self.platform if ours else stage.a.keys[role], admin=request.admin)

    async def scene(self, stage: Stage, subject: UUID) -> Scene:
        """Step into an account twice, permit something, and break a glass of `subject`. Raises Unseen."""
        asked = {"tenant": str(stage.a.id), "person": str(self.clinician_id), "reason": _WHY}
        first, second = [(await created(one, "/v1/impersonations", asked))["id"] for one in self.staff]
        until = (stage.operator.core.clock.now() + _HOUR).isoformat()
        permit = await created(self.administrator, "/v1/impersonation-permits", {"until": until})
        glass = await created(self.clinician, "/v1/break-glass", {"subject": str(subject), "reason": _WHY})
        return Scene(
            stepped_in=(UUID(first), UUID(second)),
            target=self.clinician_id,
            permit=UUID(permit["id"]),
            until=until,
            glass=UUID(glass["id"]),
        )


@asynccontextmanager
async def hands(stage: Stage) -> AsyncIterator[Hands]:
    """Lend a key of the platform's, revoked afterwards, and people, who are disabled afterwards."""
    async with AsyncExitStack() as stack:
        _, administrator = await stack.enter_async_context(signed_in(stage, "administrator"))
        person, clinician = await stack.enter_async_context(signed_in(stage, "clinician"))
        support = [
            await stack.enter_async_context(signed_in(stage, "support", platform=True, admin=True)) for _ in range(2)
        ]
        operator, keys = this_operator(), stage.operator.api_keys
        made = await keys.create(
            operator, tenant=PLATFORM_TENANT, name="prove-platform", roles=("administrator",), days=1
        )
        stack.push_async_callback(keys.revoke, operator, tenant=PLATFORM_TENANT, key_id=made.about.id)
        yield Hands(made.key, administrator, clinician, person, (support[0][1], support[1][1]))
