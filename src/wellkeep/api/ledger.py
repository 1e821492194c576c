"""The tenant's ledger over HTTP: who did what, when, why, and the proof of it for others."""

from __future__ import annotations

from uuid import UUID

from wellkeep.api import answers, query, shapes
from wellkeep.api.answers import PLAIN, Answer
from wellkeep.api.headers import wants_text
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


async def proof(call: Call) -> Answer:
    """Return the proof of one entry: JSON, or a C2SP tlog-proof."""
    found = await call.runtime.ledger_proofs.entry(call.caller, call.identifier("event_id"))
    if wants_text(call.found):
        return Answer(200, found.text(), media=PLAIN)
    return answers.json(found.document())


async def checkpoint(call: Call) -> Answer:
    """Return the tenant's newest checkpoint, and how it stands under the root log."""
    return answers.json((await call.runtime.ledger_proofs.checkpoint(call.caller)).document())


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
    Route(
        method="GET",
        path="/v1/ledger/entries/{event_id}/proof",
        name="ledger_proof",
        summary="The proof that an entry is in the ledger, to be checked offline; as JSON, or as a C2SP tlog-proof",
        tag="ledger",
        serve=proof,
        permission=Permission.LEDGER_READ,
        takes=("X-Purpose-Of-Use",),
        returns=shapes.EntryProof,
        also_media="text/plain",
    ),
    Route(
        method="GET",
        path="/v1/ledger/checkpoint",
        name="ledger_checkpoint",
        summary="The newest signed checkpoint of the tenant's log, and how it stands under the root log",
        tag="ledger",
        serve=checkpoint,
        permission=Permission.LEDGER_READ,
        takes=("X-Purpose-Of-Use",),
        returns=shapes.LedgerCheckpoint,
    ),
)
