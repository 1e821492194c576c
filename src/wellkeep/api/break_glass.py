"""Breaking the glass over HTTP: opened for one patient, ended, seen, and reviewed by somebody else."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from wellkeep.access.break_glass import Broken
from wellkeep.access.glass_reviews import Glass
from wellkeep.api import answers
from wellkeep.api.answers import Answer, location
from wellkeep.api.impersonation import Said
from wellkeep.api.query import Parameter
from wellkeep.api.routes import Call, Route
from wellkeep.api.shapes import Input, Name
from wellkeep.base.errors import Conflict, FieldProblem, SubjectErased, Validation
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Decision

_ALL = "/v1/break-glass"
_ONE = _ALL + "/{glass_id}"
_WAITING = Parameter("waiting", re.compile("true|false"), "true: those alone that wait for a review", "true")


class GlassInput(Input, frozen=True, kw_only=True):
    """Which patient, by id or by values that fit one alone (of fields with an exact index), and why."""

    reason: Said
    subject: UUID | None = None
    collection: Name | None = None
    where: Annotated[dict[str, msgspec.Raw], Meta(max_length=16)] = msgspec.field(default_factory=dict)


class GlassReview(Input, frozen=True, kw_only=True):
    """What it was, and in words why."""

    verdict: Literal["justified", "not-justified"]
    note: Said


class GlassList(msgspec.Struct, frozen=True, kw_only=True):
    """Who broke which glass, the newest first."""

    uses: list[Glass]


async def break_glass(call: Call) -> Answer:
    """Break the glass of one patient."""
    body: GlassInput = call.body
    subject, collection = body.subject, body.collection
    if (subject is None) == (collection is None) or (collection is None) == bool(body.where):
        problem = FieldProblem("/subject", "required")
        raise Validation("Name the patient by `subject`, or by `collection` and `where`", fields=(problem,))

    async def find(decision: Decision) -> UUID:
        if subject is not None:
            return subject
        return await call.runtime.emergencies.patients.find(decision, collection or "", body.where)

    broken = await call.runtime.emergencies.glass.open(call.caller, find=find, reason=body.reason)
    return answers.json(broken, status=201, headers=(location(_ALL, broken.id),))


async def list_all(call: Call) -> Answer:
    """Return who broke which glass."""
    waiting = call.query.get("waiting") == "true"
    return answers.json(GlassList(uses=await call.runtime.emergencies.reviews.listed(call.caller, waiting=waiting)))


async def get(call: Call) -> Answer:
    """Return one use, and how many accesses there were under it."""
    return answers.json(await call.runtime.emergencies.reviews.one(call.caller, call.identifier("glass_id")))


async def end(call: Call) -> Answer:
    """End what one broke oneself."""
    await call.runtime.emergencies.glass.end(call.caller, call.identifier("glass_id"))
    return Answer(204)


async def review(call: Call) -> Answer:
    """Say what a use of somebody else's was."""
    body: GlassReview = call.body
    glass = call.identifier("glass_id")
    said = await call.runtime.emergencies.reviews.review(call.caller, glass, verdict=body.verdict, note=body.note)
    return answers.json(said)


BREAK_GLASS = (
    Route(
        method="POST",
        path=_ALL,
        name="glass_break",
        summary="In an emergency, open one patient's records to yourself; the privacy officer is told at once",
        tag="break-glass",
        serve=break_glass,
        permission=Permission.GLASS_BREAK,
        body=GlassInput,
        returns=Broken,
        status=201,
        answer_headers=("Location",),
        problems=(Conflict, SubjectErased),
        example={"subject": "018f3c8e-0000-7000-8000-000000000001", "reason": "Unconscious in the emergency room"},
    ),
    Route(
        method="GET",
        path=_ALL,
        name="glass_list",
        summary="Who broke which glass, and what was said of it; the newest first",
        tag="break-glass",
        serve=list_all,
        permission=Permission.GLASS_READ,
        query=(_WAITING,),
        returns=GlassList,
    ),
    Route(
        method="GET",
        path=_ONE,
        name="glass_get",
        summary="One use, and how many accesses there were under it",
        tag="break-glass",
        serve=get,
        permission=Permission.GLASS_READ,
        returns=Glass,
    ),
    Route(
        method="POST",
        path=_ONE + "/end",
        name="glass_end",
        summary="End what you broke yourself, before its time",
        tag="break-glass",
        serve=end,
        permission=Permission.ACCOUNT_USE,
        status=204,
    ),
    Route(
        method="POST",
        path=_ONE + "/review",
        name="glass_review",
        summary="Say what somebody else's use was: it closes the finding, and ends what is still open",
        tag="break-glass",
        serve=review,
        permission=Permission.GLASS_REVIEW,
        body=GlassReview,
        returns=Glass,
        problems=(Conflict,),
        example={"verdict": "justified", "note": "Confirmed with the head of the emergency room"},
    ),
)
