"""The pages for whoever is signed in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from wellkeep.api import query
from wellkeep.api.answers import Answer
from wellkeep.api.console import shown
from wellkeep.api.problems import validation
from wellkeep.api.query import Parameter, optional
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import NotFound
from wellkeep.base.permissions import Permission
from wellkeep.prove.claims import load_claims
from wellkeep.prove.registry import PROBES
from wellkeep.prove.standing import published, standings
from wellkeep.web import console
from wellkeep.web.console import Line

_LIMIT: Final = 50
_MINUTE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}"
_SINCE = Parameter("since", re.compile(f"({_MINUTE})?"), "not before this minute (UTC)", "2026-01-01T00:00")
_UNTIL = Parameter("until", re.compile(f"({_MINUTE})?"), "before this minute (UTC)", "2027-01-01T00:00")
_FILTERS = (
    *map(optional, (query.ACTOR, query.SUBJECT, query.ACTION, query.PURPOSE, query.OUTCOME)),
    *(_SINCE, _UNTIL),
)


async def now(call: Call) -> Answer:
    """Show whether anything is wrong, and what waits for whom."""
    frame = await shown.inside(call, "Now")
    me = await call.runtime.accounts.account.me(call.caller)
    publishing = call.runtime.publishing
    told = published(load_claims(), publishing.settings.claims).values()
    public = await publishing.shown()
    at = publishing.clock.now()
    claims = list(standings(told, public.tried, probed=PROBES, now=at, doubted=public.doubted))
    waiting = await call.runtime.desk.waiting(call.caller, frame.offers)
    return shown.answer(console.now(frame, me, waiting, claims, at=at), frame)


async def ledger(call: Call) -> Answer:
    """Show one page of entries of the caller's tenant."""
    frame = await shown.inside(call, "Ledger")
    given = {name: value for name, value in call.query.items() if value}
    page = await call.runtime.ledger_search.search(
        call.caller,
        actor=given.get("actor"),
        subject=UUID(given["subject"]) if "subject" in given else None,
        action=given.get("action"),
        purpose=given.get("purpose"),
        outcome=given.get("outcome"),
        since=_minute(given, "since"),
        until=_minute(given, "until"),
        limit=_LIMIT,
        cursor=given.pop("cursor", None),
    )
    lines = [line_of(msgspec.json.decode(one), page.names) for one in page.entries]
    at = call.runtime.publishing.clock.now()
    hours = None if call.query else await call.runtime.ledger_search.hours(call.caller, until=at)
    older = None if page.cursor is None else "/console/ledger?" + urlencode({**given, "cursor": page.cursor})
    return shown.answer(console.ledger(frame, lines, filters=given, older=older, hours=hours), frame)


async def entry(call: Call) -> Answer:
    """Show one entry with its proof."""
    frame = await shown.inside(call, "Ledger")
    proof = await call.runtime.ledger_proofs.entry(call.caller, call.identifier("event_id"))
    around = await call.runtime.ledger_search.around(call.caller, call.identifier("event_id"))
    held = msgspec.json.decode(proof.entry)
    beside = [
        None if one is None else (line_of(msgspec.json.decode(one.entry), around.names), one)
        for one in (around.before, around.after)
    ]
    page = console.entry(frame, line_of(held, around.names), proof, event=held["event"], beside=beside)
    return shown.answer(page, frame)


async def account(call: Call) -> Answer:
    """Show one's own account."""
    frame = await shown.inside(call, "Account")
    accounts, caller = call.runtime.accounts, call.caller
    me, sessions = await accounts.account.me(caller), await accounts.sessions.list(caller)
    at = call.runtime.publishing.clock.now()
    return shown.answer(console.account(frame, me, sessions, current=caller.principal.credential, at=at), frame)


async def design(call: Call) -> Answer:
    """Show what pages are made of."""
    await call.runtime.accounts.account.me(call.caller)  # people's alone, and asked at the gate
    frame = await shown.inside(call, "")
    return shown.answer(console.design(frame), frame)


def _minute(given: Mapping[str, str], name: str) -> datetime | None:
    """Return the minute (UTC) that a parameter names, or None where it is not there; raises Validation."""
    if name not in given:
        return None
    try:
        return datetime.fromisoformat(given[name]).replace(tzinfo=UTC)
    except ValueError:
        raise validation(f"query/{name}", "malformed") from None


def line_of(entry: Mapping[str, Any], names: Mapping[str, str]) -> Line:
    """Return an entry as a line of a table, with the `names` that are known by id."""
    event = entry["event"]
    actor, resource = event["actor"], event.get("resource", {})
    behalf = actor.get("on_behalf_of")
    return Line(
        id=event["id"],
        at=datetime.fromisoformat(entry["time"]),
        who=names.get(actor["id"], actor["id"]),
        kind=actor["type"],
        on_behalf_of=None if behalf is None else names.get(behalf, behalf),
        action=event["action"],
        resource=resource.get("type", ""),
        subject=event.get("subject"),
        purpose=event.get("purpose"),
        outcome=event["outcome"],
        rule=event.get("rule"),
    )


PAGES = (
    Route(
        method="GET",
        path="/console",
        name="console_now",
        summary="Whether anything is wrong, and whose turn it is, to read",
        tag="console",
        serve=now,
        permission=shown.SEEN_BY_ALL,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/ledger",
        name="console_ledger",
        summary="Entries of the ledger, to read",
        tag="console",
        serve=ledger,
        permission=Permission.LEDGER_READ,
        query=(*_FILTERS, query.CURSOR),
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/ledger/{event_id}",
        name="console_entry",
        summary="One entry of the ledger with its proof, to read",
        tag="console",
        serve=entry,
        permission=Permission.LEDGER_READ,
        answer_media="text/html",
        problems=(NotFound,),
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/account",
        name="console_account",
        summary="Your own account: second factors, password, sessions, to read",
        tag="console",
        serve=account,
        permission=shown.SEEN_BY_ALL,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/design",
        name="console_design",
        summary="What the pages are made of, to read",
        tag="console",
        serve=design,
        permission=shown.SEEN_BY_ALL,
        answer_media="text/html",
        refuse=shown.refused,
    ),
)
EVERYWHERE: Final = tuple(one for one in PAGES if one.permission is shown.SEEN_BY_ALL)
"""Those that there are on the administration listener, too: what is one's own."""
