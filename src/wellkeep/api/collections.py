"""Collections over HTTP: define, list, read, change."""

from __future__ import annotations

from wellkeep.api import answers, shapes
from wellkeep.api.answers import Answer, etag
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict
from wellkeep.base.permissions import Permission
from wellkeep.vault.declaration import CollectionChange, CollectionSpec

_ALL = "/v1/collections"
_ONE = "/v1/collections/{collection}"


async def create(call: Call) -> Answer:
    """Define a collection."""
    made = await call.runtime.collections.create(call.caller, call.body)
    where = (b"location", f"{_ALL}/{made.name}".encode("ascii"))
    return answers.json(shapes.collection(made), status=201, headers=(etag(made.version), where))


async def list_all(call: Call) -> Answer:
    """Return all collections of the tenant."""
    found = await call.runtime.collections.list(call.caller)
    return answers.json(shapes.Collections([shapes.collection(stored) for stored in found]))


async def get(call: Call) -> Answer:
    """Return one collection."""
    found = await call.runtime.collections.get(call.caller, call.collection())
    return answers.json(shapes.collection(found), headers=(etag(found.version),))


async def change(call: Call) -> Answer:
    """Change a collection: fields that exist keep their numbers, so stored ciphertexts stay readable."""
    changed = await call.runtime.collections.change(call.caller, call.collection(), call.body, expected=call.if_match())
    return answers.json(shapes.collection(changed), headers=(etag(changed.version),))


COLLECTIONS = (
    Route(
        method="POST",
        path=_ALL,
        name="collection_create",
        summary="Define a collection and its fields",
        tag="collections",
        serve=create,
        permission=Permission.COLLECTION_CREATE,
        body=CollectionSpec,
        returns=shapes.Collection,
        status=201,
        answer_headers=("ETag", "Location"),
        problems=(Conflict,),
        example={
            "name": "notes",
            "subject": "required",
            "fields": [
                {"name": "author", "type": "string", "class": "pii", "index": "exact", "normaliser": "name"},
                {"name": "text", "type": "text", "class": "phi", "required": True},
            ],
        },
    ),
    Route(
        method="GET",
        path=_ALL,
        name="collection_list",
        summary="All collections of the tenant",
        tag="collections",
        serve=list_all,
        permission=Permission.COLLECTION_READ,
        returns=shapes.Collections,
    ),
    Route(
        method="GET",
        path=_ONE,
        name="collection_get",
        summary="One collection and its fields",
        tag="collections",
        serve=get,
        permission=Permission.COLLECTION_READ,
        returns=shapes.Collection,
        answer_headers=("ETag",),
    ),
    Route(
        method="PATCH",
        path=_ONE,
        name="collection_change",
        summary="Add or rename fields, allow longer values, require or seal a field, add an index",
        tag="collections",
        serve=change,
        permission=Permission.COLLECTION_CHANGE,
        body=CollectionChange,
        takes=("If-Match",),
        returns=shapes.Collection,
        answer_headers=("ETag",),
        problems=(Conflict,),
        example={"add": [{"name": "priority", "type": "integer", "class": "plain"}]},
    ),
)
