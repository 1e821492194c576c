"""Care teams over HTTP: who treats a patient, put there and taken out by whoever may."""

from __future__ import annotations

from wellkeep.access.care_team import Member
from wellkeep.api import answers, policy_shapes
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict, SubjectErased
from wellkeep.base.permissions import Permission

_ALL = "/v1/subjects/{subject_id}/care-team"
_ONE = _ALL + "/{user_id}"


async def members(call: Call) -> Answer:
    """Return who treats the patient."""
    found = await call.runtime.policies.teams.members(call.caller, call.identifier("subject_id"))
    return answers.json(policy_shapes.CareTeam(found))


async def add(call: Call) -> Answer:
    """Put a person into the team."""
    body: policy_shapes.MemberInput = call.body
    subject = call.identifier("subject_id")
    made = await call.runtime.policies.teams.add(call.caller, subject, person=body.person, until=body.until)
    return answers.json(made, status=201)


async def remove(call: Call) -> Answer:
    """Take a person out of the team."""
    subject, person = call.identifier("subject_id"), call.identifier("user_id")
    await call.runtime.policies.teams.remove(call.caller, subject, person=person)
    return Answer(204)


TEAMS = (
    Route(
        method="GET",
        path=_ALL,
        name="team_get",
        summary="Who treats a patient",
        tag="access",
        serve=members,
        permission=Permission.TEAM_READ,
        returns=policy_shapes.CareTeam,
        problems=(SubjectErased,),
    ),
    Route(
        method="POST",
        path=_ALL,
        name="team_add",
        summary="Put a person into a patient's care team",
        tag="access",
        serve=add,
        permission=Permission.TEAM_CHANGE,
        body=policy_shapes.MemberInput,
        returns=Member,
        status=201,
        problems=(Conflict, SubjectErased),
        example={"person": "0198c0de-0000-7000-8000-000000000003"},
    ),
    Route(
        method="DELETE",
        path=_ONE,
        name="team_remove",
        summary="Take a person out of a patient's care team, from the next request on",
        tag="access",
        serve=remove,
        permission=Permission.TEAM_CHANGE,
        status=204,
    ),
)
