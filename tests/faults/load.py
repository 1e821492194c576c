"""Seeded callers that never give up, and the account of what they were told.

Each caller has records of its own, so it knows at every moment what a read must answer. What it was not told the
outcome of, it repeats with the same Idempotency-Key until it knows, as the product's own errors advise.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

import httpx

from faults.deployed import RECORDS

CALLERS = 16
CANARY = "Kept-Secret"
_PAUSE_SECONDS = 0.05
_STALLED_SECONDS = 60.0


@dataclass
class Kept:
    """A record as its caller knows it."""

    id: str
    revision: int
    fields: dict[str, Any]
    external: str | None = None


@dataclass
class Account:
    """What all callers were told."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """The request ids of what succeeded, each with the kind of access."""
    records: dict[str, Kept] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    successes: list[tuple[int, float, float]] = field(default_factory=list)
    """For each success the caller, and when its attempt began and ended."""
    slowest_refusal: float = 0.0

    def recovered_after(self, fault: float) -> float:
        """Return how many seconds after `fault` the last caller was served by an attempt that began after it."""
        first: dict[int, float] = {}
        for caller, began, ended in self.successes:
            if began > fault:
                first.setdefault(caller, ended)
        assert len(first) == CALLERS, "not every caller was served again"
        return max(first.values()) - fault


class Load:
    """16 callers at one server."""

    def __init__(self, client: httpx.AsyncClient, *, seed: int) -> None:
        """Load with the requests that `seed` decides."""
        self.account = Account()
        self._client = client
        self._seed = seed
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Let the callers begin."""
        self._tasks = [asyncio.create_task(_Caller(self, number, self._seed).run()) for number in range(CALLERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send away whoever is still there, because a test failed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> Account:
        """Let every caller finish what it is at, and return the account."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        return self.account

    async def served(self, count: int) -> None:
        """Wait until `count` more requests have succeeded."""
        wanted = len(self.account.acknowledged) + count
        deadline = time.monotonic() + _STALLED_SECONDS
        while len(self.account.acknowledged) < wanted:
            self._check_callers()
            assert time.monotonic() < deadline, f"the load stalls: {self.account.refused}"
            await asyncio.sleep(0.01)

    async def refused(self, count: int) -> None:
        """Wait until `count` more requests have been refused with 503."""
        refused = self.account.refused
        wanted = sum(refused.values()) + count
        deadline = time.monotonic() + _STALLED_SECONDS
        while sum(refused.values()) < wanted:
            assert time.monotonic() < deadline, "the load is not refused"
            await asyncio.sleep(0.01)

    async def all_served(self) -> None:
        """Wait until every caller has succeeded with something begun after now."""
        now = time.monotonic()
        deadline = now + _STALLED_SECONDS
        while len({caller for caller, began, _ in self.account.successes if began > now}) < CALLERS:
            self._check_callers()
            assert time.monotonic() < deadline, f"the load stalls: {self.account.refused}"
            await asyncio.sleep(0.02)

    def _check_callers(self) -> None:
        """Raise what a caller met that is neither an answer nor a refusal."""
        for task in self._tasks:
            if task.done():
                task.result()

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def until_answered(self, caller: int, kind: str, **request: Any) -> httpx.Response:
        """Send `request` until it is answered with something else than 503."""
        account = self.account
        while True:
            began = time.monotonic()
            try:
                answer = await self._client.request(**request)
            except httpx.TransportError:
                account.unanswered += 1
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            ended = time.monotonic()
            if answer.status_code != 503:
                assert answer.is_success, (kind, answer.status_code, answer.text)
                account.acknowledged[answer.headers["x-request-id"]] = kind
                account.successes.append((caller, began, ended))
                return answer
            account.slowest_refusal = max(account.slowest_refusal, ended - began)
            account.refused[answer.json()["type"]] += 1
            assert int(answer.headers["retry-after"]) >= 1, "503 without Retry-After"
            assert CANARY not in answer.text, "PHI in a refusal"
            await asyncio.sleep(_PAUSE_SECONDS)


class _Caller:
    def __init__(self, load: Load, number: int, seed: int) -> None:
        self._load = load
        self._number = number
        self._chance = random.Random(f"{seed}/{number}")  # noqa: S311  # which requests, nothing secret
        self._name = f"{seed}-{number}"
        self._count = 0
        self._mine: list[Kept] = []

    async def run(self) -> None:
        acts = (self._create, self._read, self._search, self._change, self._upsert)
        await self._create()
        while not self._load.stopping:
            (act,) = self._chance.choices(acts, weights=(3, 8, 4, 5, 2))
            await act()

    async def _send(self, kind: str, **request: Any) -> httpx.Response:
        return await self._load.until_answered(self._number, kind, **request)

    def _headers(self) -> dict[str, str]:
        self._count += 1
        return {"Idempotency-Key": f"load-{self._name}-{self._count}"}

    def _fields(self) -> dict[str, Any]:
        self._count += 1
        word = f"{CANARY}-{self._name}-{self._count}"
        return {
            "code": f"C{self._name}-{self._count}",
            "body": word * self._chance.randint(1, 20),
            "visits": self._count,
        }

    def _keep(self, answer: httpx.Response, fields: dict[str, Any], external: str | None = None) -> None:
        made = answer.json()
        kept = Kept(made["id"], made["revision"], fields, external)
        assert kept.id not in self._load.account.records, "one id for two records"
        self._mine.append(kept)
        self._load.account.records[kept.id] = kept

    async def _create(self) -> None:
        fields, headers = self._fields(), self._headers()
        answer = await self._send("record.create", method="POST", url=RECORDS, json={"fields": fields}, headers=headers)
        assert UUID(answer.json()["id"])
        self._keep(answer, fields)

    async def _read(self) -> None:
        kept = self._chance.choice(self._mine)
        answer = await self._send("record.read", method="GET", url=f"{RECORDS}/{kept.id}")
        assert_is(kept, answer.json())

    async def _search(self) -> None:
        kept = self._chance.choice(self._mine)
        where = {"where": {"code": kept.fields["code"]}}
        answer = await self._send("record.search", method="POST", url=f"{RECORDS}/search", json=where)
        (found,) = answer.json()["records"]
        assert_is(kept, found)

    async def _change(self) -> None:
        kept = self._chance.choice([one for one in self._mine if one.external is None])
        fields = {name: value for name, value in self._fields().items() if name != "code"}
        headers = {"If-Match": f'"{kept.revision}"', **self._headers()}
        answer = await self._send(
            "record.change", method="PATCH", url=f"{RECORDS}/{kept.id}", json={"fields": fields}, headers=headers
        )
        assert answer.json()["revision"] == kept.revision + 1
        kept.revision += 1
        kept.fields = {**kept.fields, **fields}

    async def _upsert(self) -> None:
        mine = [one for one in self._mine if one.external is not None]
        fields = self._fields()
        if not mine or self._chance.random() < 0.5:
            external = f"mrn-{self._name}-{self._count}"
            answer = await self._put(external, fields)
            self._keep(answer, fields, external)
            return
        kept = self._chance.choice(mine)
        assert kept.external is not None
        answer = await self._put(kept.external, fields)
        assert (answer.json()["id"], answer.json()["revision"]) == (kept.id, kept.revision + 1)
        kept.revision += 1
        kept.fields = fields

    async def _put(self, external: str, fields: dict[str, Any]) -> httpx.Response:
        url = f"{RECORDS}/by-external-id/{external}"
        return await self._send("upsert", method="PUT", url=url, json={"fields": fields})


def assert_is(kept: Kept, shown: dict[str, Any]) -> None:
    """Check that what was answered is what was acknowledged."""
    assert shown["fields"] == kept.fields, "a value is not what was acknowledged"
    assert shown["revision"] == kept.revision, "a revision is not what was acknowledged"
