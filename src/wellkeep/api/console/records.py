"""The pages of records and patients: masked as they come, each value shown on purpose alone, by its reader's own act.

What a page shows is what the services give where no field is asked for: nothing is opened, and the look is an entry all
the same, which names the records. A value is asked of the API by the page's script, field by field, for a purpose.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from msgspec.structs import replace

from wellkeep.access.care_team import Member
from wellkeep.api import query
from wellkeep.api.answers import Answer
from wellkeep.api.console import shown
from wellkeep.api.problems import validation
from wellkeep.api.query import optional
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import NotFound, SubjectErased
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Caller
from wellkeep.vault.search import Page
from wellkeep.web import console_records as pages
from wellkeep.web.console import Frame

_HERE: Final = "Records"
_LIMIT: Final = 50
_FEW: Final = 10
_NOTHING: Final[tuple[str, ...]] = ()
_PURPOSE: Final = optional(query.PURPOSE)


async def collections(call: Call) -> Answer:
    """Show the tenant's collections and their fields."""
    frame = await shown.inside(call, _HERE)
    found = await call.runtime.collections.list(call.caller)
    return shown.answer(pages.collections(frame, found), frame)


async def records(call: Call) -> Answer:
    """Show one page of a collection's records, masked."""
    frame, caller = await shown.inside(call, _HERE), _for_a_purpose(call)
    name = call.collection()
    collection = await call.runtime.collections.get(caller, name)
    page = await _masked(call, caller, name, subject=call.query.get("subject"), cursor=call.query.get("cursor"))
    return shown.answer(pages.records(frame, collection, page, asked=call.query), frame)


async def record(call: Call) -> Answer:
    """Show one record, or an earlier revision of it, masked."""
    frame, caller = await shown.inside(call, _HERE), _for_a_purpose(call)
    name = call.collection()
    collection = await call.runtime.collections.get(caller, name)
    revision = call.query.get("revision")
    wanted = call.identifier("record_id")
    newest = await call.runtime.records.read(caller, name, wanted, fields=_NOTHING)
    found = newest
    if revision and int(revision) != newest.revision:
        found = await call.runtime.records.read(caller, name, wanted, fields=_NOTHING, revision=int(revision))
    page = pages.record(frame, collection, found, newest=newest.revision, purpose=call.query.get("purpose", ""))
    return shown.answer(page, frame)


async def subject(call: Call) -> Answer:
    """Show everything about one patient, masked."""
    frame, caller = await shown.inside(call, _HERE), _for_a_purpose(call)
    wanted = call.identifier("subject_id")
    try:
        found = await call.runtime.subjects.get(caller, wanted)
    except SubjectErased as erased:
        return shown.answer(pages.erased(frame, wanted), frame, error=erased)
    held: list[tuple[str, Page]] = []
    if {Permission.COLLECTION_READ, Permission.RECORD_SEARCH} <= frame.offers:
        for one in await call.runtime.collections.list(caller):
            part = await _masked(call, caller, one.name, subject=str(wanted), limit=_FEW)
            if part.records:
                held.append((one.name, part))
    team = await _team(call, frame, wanted)
    page = pages.subject(frame, found, held, team, purpose=call.query.get("purpose", ""), most=_FEW)
    return shown.answer(page, frame)


async def _masked(
    call: Call, caller: Caller, name: str, *, subject: str | None, cursor: str | None = None, limit: int = _LIMIT
) -> Page:
    whose = UUID(subject) if subject else None
    return await call.runtime.search.search(
        caller, name, {}, subject=whose, fields=_NOTHING, limit=limit, cursor=cursor or None
    )


async def _team(call: Call, frame: Frame, subject: UUID) -> list[Member] | None:
    if Permission.TEAM_READ not in frame.offers:
        return None
    return await call.runtime.policies.teams.members(call.caller, subject)


def _for_a_purpose(call: Call) -> Caller:
    """Return who asks, for the purpose of use that the address names; raises Validation for a word that is none."""
    word = call.query.get("purpose")
    if not word:
        return call.caller
    try:
        return replace(call.caller, purpose=Purpose(word))
    except ValueError:
        raise validation("query/purpose", "not-one-of") from None


RECORD_PAGES: Final = (
    Route(
        method="GET",
        path="/console/records",
        name="console_collections",
        summary="The collections of your tenant and their fields, to read",
        tag="console",
        serve=collections,
        permission=Permission.COLLECTION_READ,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/records/{collection}",
        name="console_records",
        summary="Records of a collection, masked, to read",
        tag="console",
        serve=records,
        permission=Permission.RECORD_SEARCH,
        query=(_PURPOSE, optional(query.SUBJECT), query.CURSOR),
        answer_media="text/html",
        problems=(NotFound,),
        weight=2,
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/records/{collection}/{record_id}",
        name="console_record",
        summary="One record, masked, to read; a value is shown on purpose alone",
        tag="console",
        serve=record,
        permission=Permission.RECORD_READ,
        query=(_PURPOSE, query.REVISION),
        answer_media="text/html",
        problems=(NotFound,),
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/subjects/{subject_id}",
        name="console_subject",
        summary="Everything about one patient, masked, to read",
        tag="console",
        serve=subject,
        permission=Permission.SUBJECT_READ,
        query=(_PURPOSE,),
        answer_media="text/html",
        problems=(NotFound, SubjectErased),
        weight=5,
        refuse=shown.refused,
    ),
)
