"""The tenant's ledger over HTTP: who did what, when, why."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from wellkeep.api import answers, query, shapes
from wellkeep.api.answers import Answer
from wellkeep.api.problems import validation
from wellkeep.api.routes import Call, Route
from wellkeep.base.permissions import Permission

_DEFAULT_LIMIT = 50
_MOST = 200


async def entries(call: Call) -> Answer:
    """Return one page of entries of the caller's tenant."""
    given = call.query
    page = await call.runtime.ledger_search.search(
        call.caller,
        actor=given.get("actor"),
        subject=UUID(given["subject"]) if "subject" in given else None,
        action=given.get("action"),
        since=_moment(given["since"]) if "since" in given else None,
        limit=_limit(given.get("limit")),
        cursor=given.get("cursor"),
    )
    return answers.json(page)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise validation("query/since", "malformed") from None


def _limit(text: str | None) -> int:
    limit = int(text) if text else _DEFAULT_LIMIT
    if limit > _MOST:
        raise validation("query/limit", "out-of-range")
    return limit


LEDGER = (
    Route(
        method="GET",
        path="/v1/ledger/entries",
        name="ledger_entries",
        summary="Entries of the ledger: who did what, to whose records, when and why",
        tag="ledger",
        serve=entries,
        permission=Permission.LEDGER_READ,
        query=(query.ACTOR, query.SUBJECT, query.ACTION, query.SINCE, query.LIMIT, query.CURSOR),
        takes=("X-Purpose-Of-Use",),
        returns=shapes.Entries,
    ),
)
