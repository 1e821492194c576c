"""The tenant's ledger over HTTP: who did what, when, why."""

from __future__ import annotations

from uuid import UUID

from wellkeep.api import answers, query, shapes
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.base.permissions import Permission

_DEFAULT_LIMIT = 50


async def entries(call: Call) -> Answer:
    """Return one page of entries of the caller's tenant."""
    given = call.query
    page = await call.runtime.ledger_search.search(
        call.caller,
        actor=given.get("actor"),
        subject=UUID(given["subject"]) if "subject" in given else None,
        action=given.get("action"),
        purpose=given.get("purpose"),
        outcome=given.get("outcome"),
        since=query.moment(given, query.SINCE),
        until=query.moment(given, query.UNTIL),
        limit=query.limit(given, default=_DEFAULT_LIMIT),
        cursor=given.get("cursor"),
    )
    return answers.json(page)


LEDGER = (
    Route(
        method="GET",
        path="/v1/ledger/entries",
        name="ledger_entries",
        summary="Entries of the ledger: who did what, to whose records, when and why",
        tag="ledger",
        serve=entries,
        permission=Permission.LEDGER_READ,
        query=(
            *(query.ACTOR, query.SUBJECT, query.ACTION, query.PURPOSE, query.OUTCOME),
            *(query.SINCE, query.UNTIL, query.LIMIT, query.CURSOR),
        ),
        takes=("X-Purpose-Of-Use",),
        returns=shapes.Entries,
    ),
)
