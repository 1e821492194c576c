"""Search over HTTP: by POST, so that what is looked for never stands in an address."""

from __future__ import annotations

from wellkeep.api import answers, shapes
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.base.permissions import Permission


async def search(call: Call) -> Answer:
    """Return one page of the records that match all of `where` (without any: of all records)."""
    body: shapes.SearchInput = call.body
    page = await call.runtime.search.search(
        call.caller,
        call.collection(),
        body.where,
        subject=body.subject,
        fields=body.fields,
        limit=body.limit,
        cursor=body.cursor,
    )
    return answers.json(page)


SEARCHES = (
    Route(
        method="POST",
        path="/v1/collections/{collection}/records/search",
        name="record_search",
        summary="Find records by blind index; what is found is opened, and every one is named in the ledger first",
        tag="records",
        serve=search,
        weight=2,
        permission=Permission.RECORD_SEARCH,
        body=shapes.SearchInput,
        takes=("X-Purpose-Of-Use",),
        returns=shapes.Found,
        example={"where": {"ssn": "999-12-3456"}, "limit": 10},
    ),
)
