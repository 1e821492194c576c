"""The search box: from a word or an id to the pages that it may mean.

Rules: what is typed goes in a body, since it may be a patient's name and an address is kept by browsers and proxies; it
is compared with what the pages themselves are called, with claims, and with the people that the reader may see, and
with nothing of a patient's. An id is not looked up: it leads to the pages that would say what it is, or that there is
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from wellkeep.api import answers
from wellkeep.api.answers import Answer
from wellkeep.api.console import shown
from wellkeep.api.routes import Call, Route
from wellkeep.api.shapes import Input
from wellkeep.base.ids import parse_uuid
from wellkeep.base.permissions import Permission
from wellkeep.prove.claims import load_claims
from wellkeep.prove.standing import published
from wellkeep.web import console

_MOST: Final = 12
_SHORTEST: Final = 2


class GoInput(Input, frozen=True, kw_only=True):
    """What was typed."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Hit(msgspec.Struct, frozen=True):
    """A page: what it is, and where."""

    title: str
    path: str


class Hits(msgspec.Struct, frozen=True):
    """Pages, the likeliest first."""

    hits: list[Hit]


async def search(call: Call) -> Answer:
    """Return the pages that what was typed may mean."""
    body: GoInput = call.body
    await call.runtime.accounts.account.me(call.caller)  # people's alone, and asked at the gate
    wanted = " ".join(body.text.split()).casefold()
    offers = await call.runtime.desk.offers(call.caller)
    administration = call.listener == "admin"
    found = [*_of_id(wanted, offers, administration=administration)]
    if len(wanted) >= _SHORTEST and not found:
        found += _places(wanted, offers, administration=administration)
        found += await _people(call, wanted, offers)
        found += await _tenants(call, wanted, offers)
        found += [] if administration else _claims(call, wanted)
    return answers.json(Hits(found[:_MOST]))


def _of_id(wanted: str, offers: frozenset[Permission], *, administration: bool) -> Iterator[Hit]:
    """Yield the pages that say what an id is, of those that the reader may open."""
    if parse_uuid(wanted) is None:
        return
    if administration:
        if Permission.TENANT_READ in offers:
            yield Hit("The tenant with this id", f"/console/tenants/{wanted}")
        return
    if Permission.LEDGER_READ in offers:
        yield Hit("The entry with this id", f"/console/ledger/{wanted}")
        yield Hit("Who saw or changed the patient with this id", f"/console/ledger?subject={wanted}")
        yield Hit("What the person or key with this id did", f"/console/ledger?actor={wanted}")
    if Permission.SUBJECT_READ in offers:
        yield Hit("The patient with this id", f"/console/subjects/{wanted}")
    if Permission.USER_READ in offers:
        yield Hit("The person with this id", f"/console/people/{wanted}")


def _places(wanted: str, offers: frozenset[Permission], *, administration: bool) -> list[Hit]:
    places = console.ADMINISTRATION if administration else console.PLACES
    return [Hit(one.name, one.path) for one in places if one.is_for(offers) and wanted in one.name.casefold()]


async def _people(call: Call, wanted: str, offers: frozenset[Permission]) -> list[Hit]:
    if Permission.USER_READ not in offers or call.listener == "admin":
        return []
    people = await call.runtime.accounts.people.list(call.caller, tenant=call.caller.principal.tenant)
    return [
        Hit(one.name, f"/console/people/{one.id}")
        for one in people
        if wanted in one.name.casefold() or wanted in one.email.casefold()
    ]


async def _tenants(call: Call, wanted: str, offers: frozenset[Permission]) -> list[Hit]:
    if Permission.TENANT_READ not in offers or call.listener != "admin":
        return []
    found = await call.runtime.tenants.list(call.caller)
    return [Hit(f"Tenant {one.name}", f"/console/tenants/{one.id}") for one in found if wanted in one.name]


def _claims(call: Call, wanted: str) -> list[Hit]:
    told = published(load_claims(), call.runtime.publishing.settings.claims)
    return [
        Hit(one.says, f"/trust/claims/{one.id}")
        for one in told.values()
        if wanted in one.id or wanted in one.says.casefold()
    ]


SEARCH: Final = (
    Route(
        method="POST",
        path="/console/search",
        name="console_search",
        summary="From a word or an id to the pages that it may mean",
        tag="console",
        serve=search,
        permission=shown.SEEN_BY_ALL,
        body=GoInput,
        returns=Hits,
        example={"text": "ledger"},
    ),
)
