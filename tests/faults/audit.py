"""After a fault: nothing acknowledged is lost, every access has its entry, and the ledger holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from faults.deployed import RECORDS, Deployed
from faults.load import CALLERS, Account, Kept, assert_is

_REQUESTS = """
SELECT request::text AS request, action, outcome, count(*) AS entries FROM ledger.entry
WHERE tenant_id = $1 AND action LIKE 'record.%' GROUP BY request, action, outcome
"""
_STORED = "SELECT count(*) AS count FROM vault.record WHERE tenant_id = $1"
_UNCHAINED = """
SELECT count(*) AS count FROM vault.record r WHERE r.tenant_id = $1 AND NOT EXISTS
  (SELECT FROM ledger.entry e WHERE e.tenant_id = r.tenant_id AND e.event_id = r.event_id)
"""


@dataclass
class Auditor:
    """Remembers what was there before a round, and looks over what came of it."""

    deployed: Deployed
    seen: frozenset[str] = frozenset()
    stored: int = 0

    async def begin(self) -> None:
        """Leave what was entered and stored so far out of what is compared next."""
        tenant = self.deployed.a.id
        self.seen = frozenset(row["request"] for row in await self.deployed.fetch(_REQUESTS, tenant))
        self.stored = (await self.deployed.fetch(_STORED, tenant))[0]["count"]

    async def end(self, account: Account, *, in_flight: int = CALLERS) -> int:
        """Check everything that a fault under load may not break; returns the surplus entries."""
        await self.deployed.drained()
        surplus = await self._entries(account, in_flight)
        await self._records(account)
        report = await self.deployed.verified()
        assert report.ok, report
        return surplus

    async def _entries(self, account: Account, in_flight: int) -> int:
        tenant = self.deployed.a.id
        rows = [row for row in await self.deployed.fetch(_REQUESTS, tenant) if row["request"] not in self.seen]
        entries: Counter[str] = Counter()
        actions: dict[str, str] = {}
        for row in rows:
            assert row["outcome"] in {"authorised", "done"}, dict(row)
            entries[row["request"]] += row["entries"]
            actions[row["request"]] = row["action"]
        for request, kind in account.acknowledged.items():
            assert entries[request] == 1, f"an acknowledged {kind} has {entries[request]} entries"
            assert actions[request] == kind or kind == "upsert", (actions[request], kind)
        surplus = len(entries.keys() - account.acknowledged.keys())
        assert surplus <= in_flight, f"{surplus} entries of nobody's answer, {in_flight} requests were in flight"
        return surplus

    async def _records(self, account: Account) -> None:
        tenant = self.deployed.a.id
        stored = (await self.deployed.fetch(_STORED, tenant))[0]["count"]
        assert stored - self.stored == len(account.records), "a repeated change was made twice, or one was lost"
        assert (await self.deployed.fetch(_UNCHAINED, tenant))[0]["count"] == 0
        every = iter(account.records.values())
        await asyncio.gather(*(self._read_back(every) for _ in range(CALLERS)))

    async def _read_back(self, kept: Iterator[Kept]) -> None:
        client = self.deployed.client()
        for one in kept:
            answer = await client.get(f"{RECORDS}/{one.id}")
            assert answer.status_code == 200, answer.text
            assert_is(one, answer.json())


async def replayed(deployed: Deployed) -> None:
    """Replay the ledger against what is stored: they agree, and no finding was left behind."""
    async with deployed.services() as services:
        result = await services.replay.run(deployed.a.id)
    assert result.ok, result
    assert result.entries


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Return the middle and the worst of what was measured."""
    ordered = sorted(values)
    return {"median": round(ordered[len(ordered) // 2], 2), "worst": round(ordered[-1], 2)}
