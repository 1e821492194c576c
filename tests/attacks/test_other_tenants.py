"""Ids of another customer's things, at every place of every route: answered as ids that never were, leaving no trace.

No claim is made about the time that an answer takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from access.signed_in import joined, sent_by, session
from api.requests import LISTENED
from api.stack import Stack, stack
from attacks.strangers import CHARTS, ROLES, Customer, Furnisher, Place, never, places, request, said
from database import Database

THEIRS, OURS = "Xk9TheirsZq", "Xk9OursZq"
_OWN_WORDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_NONCE = re.compile(r"nonce-[\w-]{22}\b")
_OF_THE_REQUEST = {"x-request-id", "ratelimit", "content-length", "set-cookie"}
_ROWS = """
SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname IN ('wk', 'findings', 'ledger', 'keys', 'access', 'vault', 'queue') ORDER BY 1
"""


@dataclass
class Scene:
    """Two customers, and clients of both listeners that nobody is signed in with."""

    opened: Stack
    ours: Customer
    theirs: Customer
    clients: dict[str, httpx.AsyncClient]

    async def send(self, place: Place, value: str, head: dict[str, str]) -> httpx.Response:
        sent = request(place, value, self.ours, OURS)
        sent["headers"] |= head
        return await self.clients[place.listener].request(**sent)

    async def head(self, who: str, place: Place) -> dict[str, str]:
        """Return how `who` signs in; where failures are counted it is somebody new each time."""
        if place.route.name != "session_step_up" or who not in {"person", "clinician"}:
            return self.ours.heads[who]
        roles, tenant = ROLES if who == "person" else (who,), self.ours.tenant
        return sent_by(await session(self.opened, tenant, await joined(self.opened, tenant, *roles), ip=None))

    async def must_hold_no_value(self) -> None:
        """Fail where a value of either customer stands in the log, in a ledger or in a finding."""
        await self.opened.findings.flush()
        async with self.opened.database.connect() as connection:
            await connection.execute("SET session_replication_role = replica")
            entered = await connection.fetchval("SELECT string_agg(convert_from(entry, 'UTF8'), '') FROM ledger.entry")
            noted = await connection.fetchval("SELECT string_agg(f::text, '') FROM findings.finding AS f")
        for value in (THEIRS, OURS, said(THEIRS), said(OURS)):
            for text in (self.opened.log.getvalue(), entered, noted or ""):
                assert value not in text

    async def rows(self) -> dict[str, str]:
        """Return a digest of what is stored of the other customer, table by table."""
        async with self.opened.database.connect() as connection:
            await connection.execute("SET session_replication_role = replica")
            names = [row["name"] for row in await connection.fetch(_ROWS)]
            text = (
                "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {} AS t WHERE tenant_id = $1"
            )
            return {name: await connection.fetchval(text.format(name), self.theirs.tenant) for name in names}


@pytest.fixture
async def scene(database: Database) -> AsyncIterator[Scene]:
    async with stack(database) as opened, opened.client() as public, opened.client(listener="admin") as admin:
        furnish = Furnisher(opened, public, admin)
        theirs, ours = await furnish.customer("theirs", THEIRS), await furnish.customer("ours", OURS)
        for role in ("administrator", "auditor", "coach"):
            ours.heads[role] = {"Authorization": f"Bearer {await opened.key(ours.tenant, role)}"}
        clinician = await session(opened, ours.tenant, await joined(opened, ours.tenant, "clinician"), ip=None)
        ours.heads["clinician"] = sent_by(clinician)
        ours.heads["nobody"] = {}
        yield Scene(opened, ours, theirs, {"public": public, "admin": admin})


def told(answer: httpx.Response, *values: str) -> tuple[Any, ...]:
    """Return an answer without what is of the request: ids, times, and the values that were sent."""

    def plain(text: str) -> str:
        for value in values:
            text = text.replace(value, "?")
        return _NONCE.sub("nonce-~", _MOMENT.sub("@", _OWN_WORDS.sub("#", text)))

    heads = sorted((name, plain(value)) for name, value in answer.headers.items() if name not in _OF_THE_REQUEST)
    return answer.status_code, heads, plain(answer.text) if answer.is_error else shape(answer)


def _first_difference(one: tuple[Any, ...], other: tuple[Any, ...]) -> str:
    return next((f"{left} ≠ {right}" for left, right in zip(one, other, strict=True) if left != right), f"{one[0]}")


def shape(answer: httpx.Response) -> Any:
    """Return which members an answer has, and of which types, whatever their values."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: of(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return sorted({json.dumps(of(inner), sort_keys=True) for inner in value})
        return type(value).__name__

    return of(answer.json()) if answer.content and "json" in answer.headers["content-type"] else len(answer.content) > 0


async def test_what_is_another_customers_is_as_if_it_had_never_been(scene: Scene) -> None:
    before, differ, tried = await scene.rows(), [], 0
    begun = len(scene.opened.log.getvalue())
    unknowns = {kind: never(kind) for kind in scene.theirs.ids}
    for place in places():
        unknown, theirs = unknowns[place.kind], scene.theirs.ids[place.kind]
        for who in scene.ours.heads:
            answers = [await scene.send(place, value, await scene.head(who, place)) for value in (unknown, theirs)]
            first, second = (told(answer, value) for answer, value in zip(answers, (unknown, theirs), strict=True))
            tried += 1
            if first != second or any(answer.status_code >= 500 for answer in answers):
                differ.append(f"{place.name}, as {who}: {_first_difference(first, second)}")
            assert THEIRS not in answers[1].text.replace(scene.theirs.ids["external"], ""), place.name
    assert not differ, "\n".join(differ)
    assert tried > 400
    assert await scene.rows() == before, "nothing of theirs was written, not even an entry or a finding"
    logged = scene.opened.log.getvalue()[begun:]
    assert [kind for kind, value in scene.theirs.ids.items() if value in logged] == []
    await scene.must_hold_no_value()


async def test_the_same_requests_about_ones_own_things_are_answered(scene: Scene) -> None:
    """Else the ids above would be of nothing, and alike for that."""
    for place in places():
        if place.route.method == "GET" and place.part == "path" and place.kind != "provider":
            own = CHARTS if place.kind == "collection" else scene.ours.ids[place.kind]
            answers = [await scene.send(place, own, scene.ours.heads[who]) for who in ("key", "person")]
            expected = {"export_content": 409, "subject_erasure": 404, "tenant_erasure": 404}
            expected["console_tenant"] = 403  # the platform's page, whoever's tenant it is of
            reached = {answer.status_code for answer in answers}
            assert expected.get(place.route.name, 200) in reached, (place.name, [answer.text for answer in answers])
    await scene.must_hold_no_value()


async def test_no_list_and_no_page_of_ones_own_names_anything_of_anothers(scene: Scene) -> None:
    theirs = [value for kind, value in scene.theirs.ids.items() if kind not in {"event", "challenge"}]
    for listener, route in LISTENED:
        if route.method != "GET" or route.name in {"metrics", "sign_in_begin", "sign_in_finish"}:
            continue
        sent = request(Place(listener, route, "", (), ""), "", scene.ours, OURS)
        for who, head in scene.ours.heads.items():
            answer = await scene.clients[listener].request(**sent | {"headers": sent["headers"] | head})
            found = [value for value in (THEIRS, said(THEIRS), *theirs) if value in answer.text]
            assert not found, (route.name, who)
            assert answer.status_code < 500, (route.name, answer.text)
