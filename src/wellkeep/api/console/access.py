"""The pages of access past the usual: staff in accounts, permits, broken glass, and who looked at patients lately."""

from __future__ import annotations

from typing import Final

import msgspec

from wellkeep.api.answers import Answer
from wellkeep.api.console import shown
from wellkeep.api.console.pages import line_of
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import NotFound
from wellkeep.base.permissions import Permission
from wellkeep.web import console_access as pages

_HERE: Final = "Access"
_READS: Final = 25


async def access(call: Call) -> Answer:
    """Show who of the staff is or was in whose account, what was permitted, and who looked at patients lately."""
    frame = await shown.inside(call, _HERE)
    emergencies, caller = call.runtime.emergencies, call.caller
    stepped = await emergencies.impersonations.listed(caller)
    permits = await emergencies.permits.listed(caller)
    lines = None
    if Permission.LEDGER_READ in frame.offers:
        found = await call.runtime.ledger_search.search(caller, action="record.read", limit=_READS)
        lines = [line_of(msgspec.json.decode(one), found.names) for one in found.entries]
    at = call.runtime.publishing.clock.now()
    return shown.answer(pages.access(frame, stepped, permits, lines, at=at), frame)


async def glasses(call: Call) -> Answer:
    """Show the form that breaks a glass, and which were broken, each to whom it may be shown."""
    await call.runtime.accounts.account.me(call.caller)  # people's alone, and asked at the gate
    frame = await shown.inside(call, _HERE)
    found = None
    if Permission.GLASS_READ in frame.offers:
        found = await call.runtime.emergencies.reviews.listed(call.caller, waiting=False)
    return shown.answer(pages.glasses(frame, found, at=call.runtime.publishing.clock.now()), frame)


async def glass(call: Call) -> Answer:
    """Show one use, with what a review of it needs."""
    frame = await shown.inside(call, _HERE)
    found = await call.runtime.emergencies.reviews.one(call.caller, call.identifier("glass_id"))
    at = call.runtime.publishing.clock.now()
    oneself = str(found.person) == call.caller.principal.id
    return shown.answer(pages.glass(frame, found, at=at, oneself=oneself), frame)


ACCESS: Final = (
    Route(
        method="GET",
        path="/console/access",
        name="console_access",
        summary="Staff in accounts, permits, and who looked at patients lately, to read",
        tag="console",
        serve=access,
        permission=Permission.IMPERSONATION_READ,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/break-glass",
        name="console_glasses",
        summary="Break a glass, and which were broken, to read",
        tag="console",
        serve=glasses,
        permission=shown.SEEN_BY_ALL,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/break-glass/{glass_id}",
        name="console_glass",
        summary="One use of break-glass with what a review of it needs, to read",
        tag="console",
        serve=glass,
        permission=Permission.GLASS_READ,
        answer_media="text/html",
        problems=(NotFound,),
        refuse=shown.refused,
    ),
)
