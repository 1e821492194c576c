"""The accounting of disclosures over HTTP: JSON page by page, or one page to print (45 CFR 164.528)."""

from __future__ import annotations

import asyncio

from wellkeep.api import answers, disclosure_page, limits, query
from wellkeep.api.answers import HTML, Answer
from wellkeep.api.headers import wants_html
from wellkeep.api.problems import validation
from wellkeep.api.routes import Call, Route
from wellkeep.assembly.disclosures import Accounting
from wellkeep.base.permissions import Permission

_DEFAULT_LIMIT = 50


async def disclosures(call: Call) -> Answer:
    """Return who saw or changed this patient's data, the newest first; as a page, all of it at once."""
    given = call.query
    subject = call.identifier("subject_id")
    since, until = query.moment(given, query.SINCE), query.moment(given, query.UNTIL)
    wanted = given.get(query.FORMAT.name)
    if wanted == "html" or (wanted is None and wants_html(call.found)):
        for paged in (query.LIMIT.name, query.CURSOR.name):
            if paged in given:
                raise validation(f"query/{paged}", "not-allowed", "A page to print has all of it; leave this out")
        whole, complete = await call.runtime.disclosures.whole(call.caller, subject, since=since, until=until)
        page = await asyncio.to_thread(disclosure_page.render, whole, complete=complete)
        return Answer(200, page, media=HTML, headers=(disclosure_page.POLICY,))
    accounting = await call.runtime.disclosures.page(
        call.caller,
        subject,
        since=since,
        until=until,
        limit=query.limit(given, default=_DEFAULT_LIMIT),
        cursor=given.get(query.CURSOR.name),
    )
    return answers.json(accounting)


DISCLOSURES = (
    Route(
        method="GET",
        path="/v1/subjects/{subject_id}/disclosures",
        name="subject_disclosures",
        summary="Who saw or changed this patient's data, when and why; as JSON, or as a page to print",
        tag="subjects",
        serve=disclosures,
        weight=5,
        permission=Permission.LEDGER_READ,
        query=(query.SINCE, query.UNTIL, query.LIMIT, query.CURSOR, query.FORMAT),
        takes=("X-Purpose-Of-Use",),
        returns=Accounting,
        also_media="text/html",
        seconds=limits.LONG_REQUEST_SECONDS,
    ),
)
