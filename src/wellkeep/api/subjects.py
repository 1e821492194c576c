"""Patients over HTTP, as opaque ids: create, read, merge."""

from __future__ import annotations

from wellkeep.api import answers, shapes
from wellkeep.api.answers import Answer, location
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict, SubjectErased
from wellkeep.base.permissions import Permission

_ALL = "/v1/subjects"
_ONE = "/v1/subjects/{subject_id}"


async def create(call: Call) -> Answer:
    """Make a patient with a key of their own."""
    made = await call.runtime.subjects.create(call.caller)
    return answers.json(made, status=201, headers=(location(_ALL, made.id),))


async def get(call: Call) -> Answer:
    """Return a patient's id and where it went in a merge."""
    return answers.json(await call.runtime.subjects.get(call.caller, call.identifier("subject_id")))


async def merge(call: Call) -> Answer:
    """Put this patient's records under another, who stays."""
    body: shapes.MergeInput = call.body
    merged = await call.runtime.subjects.merge(call.caller, call.identifier("subject_id"), into=body.into)
    return answers.json(merged)


SUBJECTS = (
    Route(
        method="POST",
        path=_ALL,
        name="subject_create",
        summary="Make a patient",
        tag="subjects",
        serve=create,
        permission=Permission.SUBJECT_CREATE,
        takes=("X-Purpose-Of-Use",),
        returns=shapes.Subject,
        status=201,
        answer_headers=("Location",),
    ),
    Route(
        method="GET",
        path=_ONE,
        name="subject_get",
        summary="A patient's id, and where it went in a merge",
        tag="subjects",
        serve=get,
        permission=Permission.SUBJECT_READ,
        takes=("X-Purpose-Of-Use",),
        returns=shapes.Subject,
        problems=(SubjectErased,),
    ),
    Route(
        method="POST",
        path=_ONE + "/merge",
        name="subject_merge",
        summary="Put this patient's records under another, who stays",
        tag="subjects",
        serve=merge,
        permission=Permission.SUBJECT_MERGE,
        body=shapes.MergeInput,
        takes=("X-Purpose-Of-Use",),
        returns=shapes.Subject,
        problems=(Conflict, SubjectErased),
        example={"into": "0198c0de-0000-7000-8000-000000000002"},
    ),
)
