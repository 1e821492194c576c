"""A protected request against a bare one: `make bench NAME=request`.

CPU of the server and of PostgreSQL (reaped children included) for a create, a read and a search over HTTPS, 16 callers,
4 tenants, against the bare twin (`request_twin.py` says what is the same and what is missing). TLS is on on both sides.
Records of patients: 8 sealed fields, 3 of them indexed, under the patient's key, which exists. Each round empties the
tables, then creates, reads and searches on either side in turn; reported are the medians of the rounds' ratios.

- `create`, `read`, `search`: ours divided by the twin's. Bar: 1.5 each.
- `p99_ms`: the slowest of the three operations' 99th percentiles, 16 callers; `rss_mb`: the server's memory after it.
- `neighbour`: a tenant's read p99 while another tenant writes in bulk, divided by the same without. Bar: 2.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec
import uvloop

import request_data
from measure import median, percentile
from request_deployment import (
    Side,
    Tenant,
    collection_path,
    furnish,
    machine,
    make_deployment,
    serve,
    serve_twin,
    settle,
)
from request_load import Run, connect, request
from request_neighbour import neighbour
from request_parts import own_parts, table
from request_twin import TABLE

CALLERS = 16
TENANTS = 4
SUBJECTS = 250
OPERATIONS = ("create", "read", "search")


@dataclass(slots=True)
class Cost:
    """What one phase cost a request, in µs of CPU, and how long its requests took."""

    server: float
    postgres: float
    run: Run

    @property
    def total(self) -> float:
        return self.server + self.postgres


@dataclass(slots=True)
class Stock:
    """What a round has made on one side: the fields that were sent and the ids that came back, with their tenants."""

    tenants: list[Tenant]
    fields: list[dict[str, str]]
    ids: list[UUID] = field(default_factory=list)

    def tenant(self, number: int) -> Tenant:
        return self.tenants[number % len(self.tenants)]


def creates(side: Side, stock: Stock, *, first: int, count: int) -> list[bytes]:
    found = []
    for number in range(first, first + count):
        tenant = stock.tenant(number)
        subject = tenant.subjects[number // len(stock.tenants) % len(tenant.subjects)]
        body = msgspec.json.encode({"subject": subject, "fields": stock.fields[number]})
        found.append(_request(side, tenant, "POST", "", body))
    return found


def reads(side: Side, stock: Stock, wanted: Sequence[int]) -> list[bytes]:
    return [_request(side, stock.tenant(number), "GET", f"/{stock.ids[number]}") for number in wanted]


def searches(side: Side, stock: Stock, wanted: Sequence[int]) -> list[bytes]:
    found = []
    for number in wanted:
        name = request_data.INDEXED[number % len(request_data.INDEXED)]
        body = msgspec.json.encode({"where": {name: stock.fields[number][name]}})
        found.append(_request(side, stock.tenant(number), "POST", "/search", body))
    return found


def _request(side: Side, tenant: Tenant, method: str, path: str, body: bytes = b"") -> bytes:
    if side.name == "twin":
        return request(method, f"/v1/tenants/{tenant.id}/charts{path}", body)
    return request(method, collection_path() + path, body, authorization=f"Bearer {tenant.key}")


async def timed(side: Side, requests: list[bytes]) -> Cost:
    callers = await connect(side.target, CALLERS)
    before = side.cpu()
    run = await callers.run(requests)
    after = side.cpu()
    callers.close()
    server, postgres = ((late - early) / len(requests) * 1e6 for early, late in zip(before, after, strict=True))
    return Cost(server, postgres, run)


def check(stock: Stock, bodies: Sequence[bytes], wanted: Sequence[int], *, searched: bool) -> None:
    """Make sure that both sides answer what was asked: the record, whole."""
    for number, body in zip(wanted, bodies, strict=True):
        answer = msgspec.json.decode(body)
        record = answer["records"][0] if searched else answer
        assert not searched or len(answer["records"]) == 1
        assert record["fields"] == stock.fields[number]
        assert record["id"] == str(stock.ids[number])


async def one_round(sides: list[Side], tenants: list[Tenant], count: int) -> dict[str, dict[str, Cost]]:
    """Empty the tables, then create, read and search on each side in turn."""
    chance = random.Random(count)  # noqa: S311 - made-up people
    people = [request_data.fields(number, chance) for number in range(count + CALLERS * 4)]
    wanted = [chance.randrange(count) for _ in range(count)]
    costs: dict[str, dict[str, Cost]] = {name: {} for name in OPERATIONS}
    stocks = {}
    for side in sides:
        await side.execute(side.empty)
        stocks[side.name] = stock = Stock(tenants, people)
        await timed(side, creates(side, stock, first=count, count=CALLERS * 4))
        cost = await timed(side, creates(side, stock, first=0, count=count))
        stock.ids = [UUID(msgspec.json.decode(body)["id"]) for body in cost.run.bodies]
        costs["create"][side.name] = cost
    await settle(sides)
    for name, requests in (("read", reads), ("search", searches)):
        for side in sides:
            stock = stocks[side.name]
            await timed(side, requests(side, stock, wanted[: CALLERS * 4]))
            costs[name][side.name] = cost = await timed(side, requests(side, stock, wanted))
            check(stock, cost.run.bodies, wanted, searched=name == "search")
    return costs


async def measured(sides: list[Side], tenants: list[Tenant], *, rounds: int, count: int) -> dict[str, float]:
    """Return the medians over the rounds; the first one warms up and is thrown away."""
    ratios: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    slowest: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    table: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds + 1):
        costs = await one_round(sides if number % 2 else sides[::-1], tenants, count)
        line = []
        for name, by_side in costs.items():
            ours, theirs = by_side["wellkeep"], by_side["twin"]
            line.append(f"{name} {ours.total:.0f}/{theirs.total:.0f} = {ours.total / theirs.total:.2f}")
            if number:
                ratios[name].append(ours.total / theirs.total)
                slowest[name].append(percentile(ours.run.seconds, 0.99) * 1e3)
                for side, cost in by_side.items():
                    table.setdefault((name, side), []).append((cost.server, cost.postgres))
        print(f"round {number}: " + "   ".join(line), flush=True)
    print("\nµs of CPU a request    server  PostgreSQL   total")
    for (name, side), costs_of in table.items():
        server, postgres = (median(column) for column in zip(*costs_of, strict=True))
        print(f"  {name:<7} {side:<9} {server:10.0f}  {postgres:10.0f}  {server + postgres:6.0f}")
    return {
        **{name: round(median(found), 3) for name, found in ratios.items()},
        "p99_ms": round(max(median(found) for found in slowest.values()), 2),
    }


async def parts(side: Side, tenants: list[Tenant], *, count: int) -> None:
    """Print where the CPU goes."""
    chance = random.Random(count)  # noqa: S311 - made-up people
    people = [request_data.fields(number, chance) for number in range(count)]
    await side.execute(side.empty)
    stock = Stock(tenants, people)
    print("\nparts, µs of CPU a request (PostgreSQL by role)")
    for name in OPERATIONS:
        if name == "create":
            requests = creates(side, stock, first=0, count=count)
        else:
            requests = (reads if name == "read" else searches)(side, stock, range(count))
        before = await side.backends()
        cost = await timed(side, requests)
        after = await side.backends()
        if name == "create":
            stock.ids = [UUID(msgspec.json.decode(body)["id"]) for body in cost.run.bodies]
            await settle([side])
        spent = {role: (after[role] - before.get(role, 0.0)) / count * 1e6 for role in after}
        print(table(name, spent, cost.server))
    print("  alone, of the server: " + "   ".join(f"{name} {cost:.1f}" for name, cost in own_parts(people[0]).items()))
    print(flush=True)


async def run(home: Path, *, rounds: int, count: int, quick: bool) -> dict[str, float]:
    ours, theirs = home / "wellkeep", home / "twin"
    theirs.mkdir(mode=0o711)
    tenants, administrators = await make_deployment(ours, tenants=TENANTS)
    twin, twin_database = serve_twin(theirs, ours)
    try:
        await twin.execute(TABLE)
        side = serve(ours)
        try:
            await furnish(side, tenants, administrators, subjects=SUBJECTS)
            result = await measured([side, twin], tenants, rounds=rounds, count=count)
            result["rss_mb"] = round(side.rss(), 1)
            if not quick:
                await parts(side, tenants, count=count)
                result["neighbour"] = await neighbour(side, tenants)
        finally:
            side.stop()
    finally:
        twin.stop()
        twin_database.stop()
    return result


def main() -> int:
    """Run, print the rounds and the parts, and the results as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=3000, help="requests a phase")
    parser.add_argument("--quick", action="store_true", help="the three ratios alone")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="wk-bench-", dir="/var/tmp"))
    home.chmod(0o711)
    print(machine())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(run(home, rounds=options.rounds, count=options.count, quick=options.quick))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
