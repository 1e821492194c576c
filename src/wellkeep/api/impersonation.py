"""Impersonation over HTTP: begun on the administration's listener, seen and ended on both, permitted by the tenant."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from wellkeep.access.impersonation import Impersonation
from wellkeep.access.impersonation_permits import Permit
from wellkeep.api import answers
from wellkeep.api.answers import Answer, location
from wellkeep.api.routes import Call, Route
from wellkeep.api.shapes import Input
from wellkeep.base.errors import Conflict
from wellkeep.base.permissions import Permission

_ALL = "/v1/impersonations"
_PERMITS = "/v1/impersonation-permits"
Said = Annotated[str, Meta(max_length=2_000, description="why, in a few words; kept sealed")]


class ImpersonationInput(Input, frozen=True, kw_only=True):
    """Whose account, in which tenant, and why."""

    tenant: UUID
    person: UUID
    reason: Said


class ImpersonationStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A new impersonation; `token` is the bearer token of its requests, shown this once."""

    id: UUID
    tenant: UUID
    person: UUID
    token: str
    masked: bool
    started_at: datetime
    ends_at: datetime


class ImpersonationList(msgspec.Struct, frozen=True, kw_only=True):
    """Who of the staff was, or is, in whose account, the newest first."""

    impersonations: list[Impersonation]


class PermitInput(Input, frozen=True, kw_only=True):
    """In whose account (absent: anybody's) staff may see what is unmasked, and until when: seven days at most."""

    until: Annotated[datetime, Meta(tz=True)]
    person: UUID | None = None


class PermitList(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's permits, the newest first."""

    permits: list[Permit]


async def start(call: Call) -> Answer:
    """Step into an account."""
    body: ImpersonationInput = call.body
    started = await call.runtime.emergencies.impersonations.start(
        call.caller, tenant=body.tenant, person=body.person, reason=body.reason
    )
    made = ImpersonationStarted(
        id=started.id,
        tenant=started.tenant,
        person=started.person,
        token=started.token.reveal(),
        masked=started.masked,
        started_at=started.started_at,
        ends_at=started.ends_at,
    )
    return answers.json(made, status=201, headers=(location(_ALL, started.id),))


async def list_all(call: Call) -> Answer:
    """Return who of the staff was, or is, in whose account."""
    found = await call.runtime.emergencies.impersonations.listed(call.caller)
    return answers.json(ImpersonationList(impersonations=found))


async def end(call: Call) -> Answer:
    """End one at once."""
    await call.runtime.emergencies.impersonations.end(call.caller, call.identifier("impersonation_id"))
    return Answer(204)


async def permit(call: Call) -> Answer:
    """Permit that staff see what is unmasked."""
    body: PermitInput = call.body
    given = await call.runtime.emergencies.permits.give(call.caller, until=body.until, person=body.person)
    return answers.json(given, status=201, headers=(location(_PERMITS, given.id),))


async def list_permits(call: Call) -> Answer:
    """Return the tenant's permits."""
    return answers.json(PermitList(permits=await call.runtime.emergencies.permits.listed(call.caller)))


async def withdraw(call: Call) -> Answer:
    """Take a permit back."""
    await call.runtime.emergencies.permits.withdraw(call.caller, call.identifier("permit_id"))
    return Answer(204)


_SEEN = (
    Route(
        method="GET",
        path=_ALL,
        name="impersonation_list",
        summary="Who of the staff was, or is, in whose account, why and until when; the newest first",
        tag="impersonations",
        serve=list_all,
        permission=Permission.IMPERSONATION_READ,
        returns=ImpersonationList,
    ),
    Route(
        method="POST",
        path=_ALL + "/{impersonation_id}/end",
        name="impersonation_end",
        summary="End an impersonation at once: what it is at that very moment gets nothing more",
        tag="impersonations",
        serve=end,
        permission=Permission.IMPERSONATION_END,
        status=204,
        problems=(Conflict,),
    ),
)

IMPERSONATIONS = (
    *_SEEN,
    Route(
        method="POST",
        path=_PERMITS,
        name="impersonation_permit",
        summary="Permit staff who step in to see what is masked otherwise, for seven days at most",
        tag="impersonations",
        serve=permit,
        permission=Permission.IMPERSONATION_PERMIT,
        body=PermitInput,
        returns=Permit,
        status=201,
        answer_headers=("Location",),
        example={"until": "2026-12-01T12:00:00Z"},
    ),
    Route(
        method="GET",
        path=_PERMITS,
        name="impersonation_permits",
        summary="What the tenant permitted to staff who step in, and until when",
        tag="impersonations",
        serve=list_permits,
        permission=Permission.IMPERSONATION_READ,
        returns=PermitList,
    ),
    Route(
        method="DELETE",
        path=_PERMITS + "/{permit_id}",
        name="impersonation_withdraw",
        summary="Take a permit back; what was begun under it ends at once",
        tag="impersonations",
        serve=withdraw,
        permission=Permission.IMPERSONATION_END,
        status=204,
    ),
)

STEPPING_IN = (
    Route(
        method="POST",
        path=_ALL,
        name="impersonation_start",
        summary="Step into the account of a customer's person, for fifteen minutes",
        tag="impersonations",
        serve=start,
        permission=Permission.IMPERSONATION_START,
        body=ImpersonationInput,
        returns=ImpersonationStarted,
        status=201,
        answer_headers=("Location",),
        problems=(Conflict,),
        example={
            "tenant": "018f3c8e-0000-7000-8000-000000000001",
            "person": "018f3c8e-0000-7000-8000-000000000002",
            "reason": "Ticket 4711: the visit list stays empty for this person",
        },
    ),
    *_SEEN,
)
