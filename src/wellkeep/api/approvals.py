"""Approvals over HTTP: what waits for a second person, given or refused by them."""

from __future__ import annotations

from wellkeep.access.approvals import Approval
from wellkeep.api import answers, shapes
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict
from wellkeep.base.permissions import Permission

_ALL = "/v1/approvals"


async def list_all(call: Call) -> Answer:
    """Return what was asked for in the caller's tenant, or everywhere for the platform."""
    return answers.json(shapes.Approvals(approvals=await call.runtime.erasing.approvals.listed(call.caller)))


async def decide(call: Call) -> Answer:
    """Give or refuse what somebody else asked for."""
    body: shapes.ApprovalInput = call.body
    approval = call.identifier("approval_id")
    give = body.decision == "approve"
    return answers.json(await call.runtime.erasing.approvals.decide(call.caller, approval, give=give))


APPROVALS = (
    Route(
        method="GET",
        path=_ALL,
        name="approval_list",
        summary="What was asked for and needs a second person, and what became of it",
        tag="approvals",
        serve=list_all,
        permission=Permission.APPROVAL_READ,
        returns=shapes.Approvals,
    ),
    Route(
        method="POST",
        path=_ALL + "/{approval_id}",
        name="approval_decide",
        summary="Give or refuse what somebody else asked for",
        tag="approvals",
        serve=decide,
        permission=Permission.APPROVAL_GIVE,
        body=shapes.ApprovalInput,
        returns=Approval,
        problems=(Conflict,),
        example={"decision": "approve"},
    ),
)
