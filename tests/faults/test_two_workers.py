"""Two worker processes behind one address: what is decided on one holds on the other with the next request."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from access.signed_in import sent_by
from faults.audit import Auditor, replayed
from faults.deployed import RECORDS, Deployed, Template, declare, deployment, eventually
from faults.load import Load
from wellkeep.access.operators import this_operator
from wellkeep.access.sessions import Sessions, Via, Visitor
from wellkeep.base.ids import uuid7

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.fault]

_CONNECTIONS = 24
"""Half of them to each worker."""
_ENTRIES = "SELECT count(*) AS count FROM ledger.entry WHERE tenant_id = $1 AND action = $2 AND outcome = 'done'"

_REVOKED = """
INSERT INTO keys.signal (tenant_id, revoked_at) VALUES ($1, clock_timestamp())
ON CONFLICT (tenant_id) DO UPDATE SET changed_at = clock_timestamp(), revoked_at = clock_timestamp() RETURNING tenant_id
"""
_JOINED = "UPDATE access.person SET state = 'active', joined_at = now() WHERE id = $1 RETURNING id"
_STILL_REVOKED = "SELECT count(*) AS count FROM keys.signal WHERE tenant_id = $1 AND revoked_at IS NOT NULL"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployed(template: Template) -> AsyncIterator[Deployed]:
    """Serve with two workers."""
    async with deployment(template, workers=2) as made:
        await declare(made)
        yield made


def workers(deployed: Deployed) -> list[int]:
    """Return the worker processes."""
    assert deployed.process is not None
    supervisor = deployed.process.pid
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return sorted(int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


class Crowd:
    """Clients with a connection each, held open; half of the connections are to each worker."""

    def __init__(self, clients: list[httpx.AsyncClient], key_id: str) -> None:
        self.clients = clients
        self.key_id = key_id

    async def ask(self, method: str, url: str, **request: Any) -> list[httpx.Response]:
        """Send the same request over every connection at once."""
        return await asyncio.gather(*(client.request(method, url, **request) for client in self.clients))


@pytest_asyncio.fixture(loop_scope="module")
async def crowd(deployed: Deployed) -> AsyncIterator[Crowd]:
    """Connect many times with one key of its own."""
    answer = await deployed.client("administrator", admin=True).post(
        f"/v1/tenants/{deployed.a.id}/apikeys", json={"name": "crowd", "roles": ["integration"], "days": 1}
    )
    assert answer.status_code == 201, answer.text
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(deployed.fresh_client(answer.json()["key"])) for _ in range(_CONNECTIONS)
        ]
        await _connect_to_each(deployed, made)
        yield Crowd(made, answer.json()["about"]["id"])


async def _connect_to_each(deployed: Deployed, clients: list[httpx.AsyncClient]) -> None:
    """Connect a share of the clients to each worker; while it is that one's turn, the others are stopped."""
    pids = workers(deployed)
    assert len(pids) == 2
    share = len(clients) // len(pids)
    for number, pid in enumerate(pids):
        others = [other for other in pids if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            for client in clients[number * share : (number + 1) * share]:
                assert (await client.get("/healthz")).status_code == 200
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)


async def count(deployed: Deployed, action: str) -> int:
    found: int = (await deployed.fetch(_ENTRIES, deployed.a.id, action))[0]["count"]
    return found


async def test_a_revocation_holds_on_both_with_the_next_request(deployed: Deployed, crowd: Crowd) -> None:
    made = await crowd.clients[0].post(RECORDS, json={"fields": {"code": "R1"}})
    where = f"{RECORDS}/{made.json()['id']}"
    warm = await crowd.ask("GET", where)
    assert {answer.status_code for answer in warm} == {200}
    administrator = deployed.client("administrator", admin=True)
    gone = await administrator.delete(f"/v1/tenants/{deployed.a.id}/apikeys/{crowd.key_id}")
    assert gone.status_code == 204, gone.text
    asked = [
        *await crowd.ask("GET", where),
        *await crowd.ask("POST", RECORDS, json={"fields": {"code": "R2"}}),
        *await crowd.ask("POST", f"{RECORDS}/search", json={"where": {"code": "R1"}}),
        *await crowd.ask("PATCH", where, json={"fields": {"visits": 3}}, headers={"If-Match": '"1"'}),
    ]
    assert Counter(answer.status_code for answer in asked) == {401: 4 * _CONNECTIONS}
    assert (await deployed.client().get(where)).json()["revision"] == 1


async def test_what_a_review_revokes_is_refused_by_both_within_a_second(deployed: Deployed, crowd: Crowd) -> None:
    """A live session and a key, each known to both workers, each taken away by one decision."""
    async with deployed.services() as services:
        invited = await services.accounts.people.invite(
            this_operator(), tenant=deployed.a.id, email="robin@example.org", name="Robin", roles=("clinician",)
        )
        await deployed.fetch(_JOINED, invited.person)
        begun = await Sessions(gate=services.core.gate).begin(
            tenant=deployed.a.id,
            person=invited.person,
            via=Via(method="passkey"),
            mfa=True,
            visitor=Visitor(request=uuid7()),
        )
        browser = sent_by(begun)
    async with AsyncExitStack() as stack:
        windows = [await stack.enter_async_context(deployed.fresh_client("")) for _ in range(_CONNECTIONS)]
        for window in windows:
            del window.headers["Authorization"]
            window.headers.update(browser)
        await _connect_to_each(deployed, windows)
        officer = deployed.client("privacy_officer")  # the administrator made the key
        review = (await deployed.client("administrator").post("/v1/reviews", json={})).headers["location"]
        items = (await officer.get(review)).json()["items"]
        for who, crowded in ((str(invited.person), Crowd(windows, "")), (crowd.key_id, crowd)):
            (item,) = [one["id"] for one in items if who in {one["person"], one["id"]}]
            asked = time.monotonic()
            assert {answer.status_code for answer in await crowded.ask("GET", "/v1/collections")} == {200}
            began, decision = time.monotonic(), {"decision": "revoke"}
            asking = began - asked
            decided = await officer.post(f"{review}/items/{item}", json=decision)
            assert decided.status_code == 200, decided.text
            after = await crowded.ask("GET", "/v1/collections")
            assert Counter(answer.status_code for answer in after) == {401: _CONNECTIONS}, "with the next request"
            took = time.monotonic() - began
            assert took < 1.0 + 2 * asking, "the decision and a request over every connection: a second, and asking"


async def test_keys_that_another_process_heard_are_revoked_open_nothing_on_either_within_a_second(
    deployed: Deployed, crowd: Crowd
) -> None:
    """Who heard it is this test. Asked again, the key service permits: so both open again by themselves."""
    made = await crowd.clients[0].post(RECORDS, json={"fields": {"code": "K1", "body": "warm"}})
    where = f"{RECORDS}/{made.json()['id']}"
    asked = time.monotonic()
    assert {answer.status_code for answer in await crowd.ask("GET", where)} == {200}
    asking = time.monotonic() - asked
    refused: dict[int, float] = {}
    await deployed.fetch(_REVOKED, deployed.a.id)
    began = time.monotonic()
    while len(refused) < _CONNECTIONS and time.monotonic() - began < 30:
        for number, answer in enumerate(await crowd.ask("GET", where)):
            if answer.status_code == 403:
                assert answer.json()["type"] == "/problems/keys-revoked"
                refused.setdefault(number, time.monotonic() - began)
    assert len(refused) == _CONNECTIONS
    assert max(refused.values()) <= 1.5 + 2 * asking, "a second, and what asking takes"

    async def opens() -> bool:
        return {answer.status_code for answer in await crowd.ask("GET", where)} == {200}

    await eventually(opens, seconds=60, what="both workers open it again")
    assert (await deployed.fetch(_STILL_REVOKED, deployed.a.id))[0]["count"] == 0


async def test_of_many_writers_on_one_revision_one_wins(deployed: Deployed, crowd: Crowd) -> None:
    made = await crowd.clients[0].post(RECORDS, json={"fields": {"code": "W1", "visits": 0}})
    where = f"{RECORDS}/{made.json()['id']}"
    changed = await count(deployed, "record.change")
    for revision in (1, 2, 3):
        answers = await asyncio.gather(
            *(
                client.patch(where, json={"fields": {"visits": number}}, headers={"If-Match": f'"{revision}"'})
                for number, client in enumerate(crowd.clients)
            )
        )
        told = Counter(answer.status_code for answer in answers)
        assert told == {200: 1, 412: _CONNECTIONS - 1}
        (winner,) = [number for number, answer in enumerate(answers) if answer.status_code == 200]
        now = (await crowd.clients[0].get(where)).json()
        assert (now["revision"], now["fields"]["visits"]) == (revision + 1, winner)
    assert await count(deployed, "record.change") == changed + 3


async def test_one_idempotency_key_is_one_execution_and_one_answer(deployed: Deployed, crowd: Crowd) -> None:
    created = await count(deployed, "record.create")
    request: dict[str, Any] = {
        "json": {"fields": {"code": "I1", "body": "once"}},
        "headers": {"Idempotency-Key": "only-once"},
    }
    answers = [*await crowd.ask("POST", RECORDS, **request), *await crowd.ask("POST", RECORDS, **request)]
    assert {answer.status_code for answer in answers} == {201}, {answer.text for answer in answers}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert await count(deployed, "record.create") == created + 1
    found = await crowd.clients[0].post(f"{RECORDS}/search", json={"where": {"code": "I1"}})
    assert len(found.json()["records"]) == 1


async def test_the_same_key_for_a_change_of_one_revision(deployed: Deployed, crowd: Crowd) -> None:
    """Repeated, it is the first answer, although the record has the next revision by now."""
    made = await crowd.clients[0].post(RECORDS, json={"fields": {"code": "I2"}})
    where = f"{RECORDS}/{made.json()['id']}"
    headers = {"If-Match": '"1"', "Idempotency-Key": "change-once"}
    answers = await crowd.ask("PATCH", where, json={"fields": {"visits": 7}}, headers=headers)
    assert {answer.status_code for answer in answers} == {200}, {answer.text for answer in answers}
    assert len({answer.content for answer in answers}) == 1
    assert (await crowd.clients[0].get(where)).json()["revision"] == 2


async def test_the_same_key_with_another_body_is_a_conflict(deployed: Deployed, crowd: Crowd) -> None:
    headers = {"Idempotency-Key": "two-bodies"}
    answers = await asyncio.gather(
        *(
            client.post(RECORDS, json={"fields": {"code": f"B{number}"}}, headers=headers)
            for number, client in enumerate(crowd.clients)
        )
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: _CONNECTIONS - 1}
    assert {answer.json()["type"] for answer in answers if answer.status_code == 409} == {"/problems/conflict"}


async def test_the_same_external_id_is_one_record(deployed: Deployed, crowd: Crowd) -> None:
    answers = await crowd.ask("PUT", f"{RECORDS}/by-external-id/twin", json={"fields": {"code": "E1"}})
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: _CONNECTIONS - 1}, [
        answer.text for answer in answers
    ]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_the_load_on_two_workers_adds_up(deployed: Deployed) -> None:
    auditor = Auditor(deployed)
    await auditor.begin()
    async with Load(deployed.client(), seed=71) as load:
        await load.served(150)
        account = await load.stop()
    assert not account.refused
    assert await auditor.end(account, in_flight=0) == 0
    await replayed(deployed)


async def test_a_killed_worker_takes_nothing_along(deployed: Deployed) -> None:
    """The other one goes on, chains what the dead one left before it holds changes up, and a new one joins."""
    auditor = Auditor(deployed)
    await auditor.begin()
    both = set(workers(deployed))
    async with Load(deployed.client(), seed=72) as load:
        await load.served(100)
        os.kill(min(both), signal.SIGKILL)
        await load.all_served()
        account = await load.stop()
    await auditor.end(account)
    await replayed(deployed)

    async def replaced() -> bool:
        return len(set(workers(deployed)) - both) == 1

    await eventually(replaced, seconds=30, what="a new worker is there")
