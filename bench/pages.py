"""What pages weigh and how long they take where a million of everything is there already: `make bench NAME=pages`.

One deployment whose first tenant holds 1,000,000 records and as many entries of the ledger, made once through the real
path by `make bench NAME=pages ARGS=--build` in $WELLKEEP_PAGES_HOME (default: below /var/tmp); it can be stopped, and
goes on with `--build` again. Another number: `--size N`. A person with every role that reads signs in with a second
factor, and an administrator of the platform on the other listener; then every page of the route table is asked for.

- `server_ms`: the worst page's median over the rounds, from the request's last byte to the answer's last. Bar: 150.
- `page_kb`: the heaviest page on its first load in Chromium, with all that it loads, over the wire. Bar: 100.
- `interaction_ms`: 95 of 100 clicks lead to a painted answer within it, in Chromium. Bar: 200.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from uuid import UUID

import httpx
import msgspec
import uvloop

from measure import median
from pages_browser import looked_at
from pages_people import Places, signed_in
from request_deployment import Side, Tenant, collection_path, furnish, machine, make_deployment, serve
from request_load import connect, request
from scale import person

SIZE = 1_000_000
SUBJECTS = 2_000
ROWS = 500
CALLERS = 8


class Noted(msgspec.Struct):
    """What the bench remembers of its deployment; `known` are some of the records."""

    tenants: list[Tenant]
    records: int = 0
    entries: int = 0
    known: list[UUID] = []


def where() -> Path:
    """Return the directory of the deployment."""
    return Path(os.environ.get("WELLKEEP_PAGES_HOME") or "/var/tmp/wellkeep-pages")  # noqa: S108 - big, and to be kept


def note(home: Path, noted: Noted) -> None:
    """Write what is remembered; a build that is stopped goes on from here."""
    staging = home / "noted.new"
    staging.write_bytes(msgspec.json.encode(noted))
    staging.replace(home / "noted.json")


async def build(home: Path, *, size: int) -> None:
    """Make the deployment in `home`, or go on, until it holds `size` records and entries."""
    home.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not (home / "noted.json").exists():
        tenants, administrators = await make_deployment(home, tenants=1)
        side = serve(home)
        try:
            await furnish(side, tenants, administrators, subjects=SUBJECTS)
        finally:
            side.stop()
        note(home, Noted(tenants))
    noted = msgspec.json.decode((home / "noted.json").read_bytes(), type=Noted)
    side = serve(home)
    try:
        await _fill(side, home, noted, size)
        await _read(side, home, noted, size)
        await side.execute("VACUUM (ANALYZE)", "CHECKPOINT")
    finally:
        side.stop()


async def _fill(side: Side, home: Path, noted: Noted, size: int) -> None:
    callers = await connect(side.target, 2)
    while noted.records < size:
        first = noted.records
        answers = await callers.run([_batch(noted.tenants[0], first), _batch(noted.tenants[0], first + ROWS)])
        for body in answers.bodies:
            noted.known += [UUID(one["id"]) for one in msgspec.json.decode(body)["outcomes"][::100]]
        noted.records += 2 * ROWS
        if noted.records % (ROWS * 40) == 0 or noted.records >= size:
            note(home, noted)
            print(f"{noted.records} records", flush=True)
    callers.close()


def _batch(tenant: Tenant, first: int) -> bytes:
    rows = [
        {"subject": tenant.subjects[number % len(tenant.subjects)], "fields": person(number)}
        for number in range(first, first + ROWS)
    ]
    body = msgspec.json.encode({"records": rows})
    return request("POST", collection_path() + "/batch", body, authorization=f"Bearer {tenant.key}")


async def _read(side: Side, home: Path, noted: Noted, size: int) -> None:
    callers = await connect(side.target, CALLERS)
    key = f"Bearer {noted.tenants[0].key}"
    while noted.entries < size:
        some = [noted.known[number % len(noted.known)] for number in range(noted.entries, noted.entries + 10_000)]
        await callers.run([request("GET", f"{collection_path()}/{one}", authorization=key) for one in some])
        noted.entries += len(some)
        note(home, noted)
        print(f"{noted.entries} entries", flush=True)
    callers.close()


async def asked(client: httpx.AsyncClient, paths: list[str], *, rounds: int) -> dict[str, float]:
    """Return the median of milliseconds that each page took; the first round warms up."""
    found: dict[str, list[float]] = {path: [] for path in paths}
    for number in range(rounds + 1):
        for path in paths:
            started = time.perf_counter()
            answer = await client.get(path, headers={"Accept": "text/html"})
            seconds = time.perf_counter() - started
            if answer.status_code != httpx.codes.OK:
                raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")
            if number:
                found[path].append(seconds * 1000)
    return {path: round(median(times), 1) for path, times in found.items()}


async def measured(home: Path, *, rounds: int) -> dict[str, float]:
    """Serve it, and measure."""
    noted = msgspec.json.decode((home / "noted.json").read_bytes(), type=Noted)
    print(f"{noted.records} records, {noted.entries} entries; {machine()}")
    side = serve(home)
    try:
        tenant = noted.tenants[0]
        listened = signed_in(home, Places(tenant.id, tenant.subjects[0], noted.known[0]))
        worst: dict[str, float] = {}
        for one in listened:
            async with httpx.AsyncClient(base_url=one.base, cookies=one.cookies, verify=False, timeout=60) as client:  # noqa: S501 -- its own certificate
                found = await asked(client, one.paths, rounds=rounds)
            worst |= {f"{one.name} {path}": ms for path, ms in found.items()}
        for path, ms in sorted(worst.items(), key=lambda item: -item[1]):
            print(f"{ms:8.1f} ms  {path}")
        browser = await asyncio.to_thread(looked_at, listened)
    finally:
        side.stop()
    return {"server_ms": max(worst.values()), **browser}


def main() -> int:
    """Build, or measure and print the results as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="store_true", help="make the deployment and stop")
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    home = where() / f"of-{options.size}"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.build:
            runner.run(build(home, size=options.size))
            return 0
        if not (home / "noted.json").exists():
            print(f"Build it first: make bench NAME=pages ARGS=--build   (it goes to {home})", file=sys.stderr)
            return 2
        result = runner.run(measured(home, rounds=options.rounds))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
