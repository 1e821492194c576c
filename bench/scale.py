"""What a request costs when a million records are there already: `make bench NAME=scale`.

Two deployments that differ in nothing but how much they hold: 10,000 records and 1,000,000, over four tenants. Creates,
reads and searches (by a value of one record) over HTTPS, 16 callers, take turns on both; CPU of server and PostgreSQL.

- `create`, `read`, `search`: the large one's cost divided by the small one's, the median of the rounds. Bar: 1.2 each.

The large one is made once, through the real path (`…/records/batch`, sealed, tagged and entered in the ledger like any
other), by `make bench NAME=scale ARGS=--build` in $WELLKEEP_SCALE_HOME (default: below /var/tmp). It takes a while,
can be stopped, and goes on with `--build` again. Another number of records: `--records N`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from pathlib import Path
from uuid import UUID

import msgspec
import uvloop

import request_data
from measure import median
from request import Cost, Stock, creates, reads, searches, timed
from request_deployment import Side, Tenant, collection_path, furnish, machine, make_deployment, serve, settle
from request_load import connect, request

TENANTS = 4
SUBJECTS = 250
SMALL, LARGE = 10_000, 1_000_000
ROWS = 500
OPERATIONS = ("create", "read", "search")
_SAMPLE = 50
"""Of each batch of 500 so many records are noted, to be read and searched for later."""
_WARM = 8_000
"""Reads, and as many searches, that fill PostgreSQL's buffers."""
_NEW = 50_000_000
"""Numbers of records that the rounds make; far from those of the build."""


class Noted(msgspec.Struct):
    """What the bench remembers of a deployment: its tenants, how many records it holds, and which it can ask for."""

    tenants: list[Tenant]
    records: int = 0
    made: int = 0
    known: list[tuple[int, UUID]] = []


def where() -> Path:
    """Return the directory of both deployments."""
    return Path(os.environ.get("WELLKEEP_SCALE_HOME") or "/var/tmp/wellkeep-scale")  # noqa: S108 - big, and to be kept


def person(number: int) -> dict[str, str]:
    """Return the fields of record `number`, the same ones at each run."""
    return request_data.fields(number, random.Random(number))  # noqa: S311 - made-up people


def note(home: Path, noted: Noted) -> None:
    """Write what is remembered; a build that is stopped goes on from here."""
    staging = home / "noted.new"
    staging.write_bytes(msgspec.json.encode(noted))
    staging.replace(home / "noted.json")


async def build(home: Path, *, records: int) -> None:
    """Make the deployment in `home`, or go on, until it holds `records`."""
    home.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not (home / "noted.json").exists():
        tenants, administrators = await make_deployment(home, tenants=TENANTS)
        side = serve(home)
        try:
            await furnish(side, tenants, administrators, subjects=SUBJECTS)
        finally:
            side.stop()
        note(home, Noted(tenants))
    noted = msgspec.json.decode((home / "noted.json").read_bytes(), type=Noted)
    if noted.records >= records:
        return
    side = serve(home)
    try:
        await _fill(side, home, noted, records)
        await side.execute("VACUUM (ANALYZE)", "CHECKPOINT")
    finally:
        side.stop()


async def _fill(side: Side, home: Path, noted: Noted, records: int) -> None:
    callers = await connect(side.target, TENANTS)
    while noted.records < records:
        first = noted.records
        answers = await callers.run([_batch(noted, first + ROWS * place, place) for place in range(TENANTS)])
        for place, body in enumerate(answers.bodies):
            outcomes = msgspec.json.decode(body)["outcomes"]
            begin = first + ROWS * place
            noted.known += [(begin + row, UUID(outcomes[row]["id"])) for row in range(0, ROWS, ROWS // _SAMPLE)]
        noted.records += ROWS * TENANTS
        if noted.records % (ROWS * TENANTS * 10) == 0 or noted.records >= records:
            note(home, noted)
            print(f"{noted.records} records", flush=True)
    callers.close()


def tenant_of(noted: Noted, number: int) -> Tenant:
    """Return whose record `number` is: a batch belongs to one tenant."""
    return noted.tenants[number // ROWS % TENANTS]


def _batch(noted: Noted, first: int, place: int) -> bytes:
    tenant = noted.tenants[place]
    assert tenant_of(noted, first) is tenant
    rows = [
        {"subject": tenant.subjects[number % len(tenant.subjects)], "fields": person(number)}
        for number in range(first, first + ROWS)
    ]
    body = msgspec.json.encode({"records": rows})
    return request("POST", collection_path() + "/batch", body, authorization=f"Bearer {tenant.key}")


class Asked(Stock):
    """The noted records as the requests of `request.py` want them: by place, with the tenant they belong to."""

    __slots__ = ("noted",)

    def __init__(self, noted: Noted, wanted: list[tuple[int, UUID]]) -> None:
        super().__init__(noted.tenants, [person(number) for number, _ in wanted], [record for _, record in wanted])
        self.noted = [tenant_of(noted, number) for number, _ in wanted]

    def tenant(self, number: int) -> Tenant:
        return self.noted[number]


async def looked_up(side: Side, noted: Noted, count: int, chance: random.Random) -> dict[str, Cost]:
    """Read and search on one side."""
    wanted = [noted.known[chance.randrange(len(noted.known))] for _ in range(count)]
    asked = Asked(noted, wanted)
    return {
        "read": await timed(side, reads(side, asked, range(count))),
        "search": await timed(side, searches(side, asked, range(count))),
    }


async def created(side: Side, noted: Noted, count: int, chance: random.Random) -> dict[str, Cost]:
    """Create on one side."""
    del chance
    fresh = Stock(noted.tenants, [person(_NEW + noted.made + number) for number in range(count)])
    noted.made += count
    return {"create": await timed(side, creates(side, fresh, first=0, count=count))}


async def measured(small: Path, large: Path, *, rounds: int, count: int) -> dict[str, float]:
    """Return the medians of the rounds' ratios; of each block of rounds the first one warms up.

    Before all of them PostgreSQL's buffers are filled, as they are in a server that has run for a minute. The creates
    come last: what is written out behind them would else be counted against the reads.
    """
    homes = {"small": small, "large": large}
    noted = {name: msgspec.json.decode((home / "noted.json").read_bytes(), type=Noted) for name, home in homes.items()}
    print(f"{noted['small'].records} records beside {noted['large'].records}; {machine()}")
    sides: dict[str, Side] = {}
    ratios: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    chance = random.Random(11)  # noqa: S311 - which records are asked for
    try:
        for name, home in homes.items():
            sides[name] = serve(home)
        await settle(list(sides.values()))
        for name, side in sides.items():
            await looked_up(side, noted[name], _WARM, chance)
        for block in (looked_up, created):
            for number in range(rounds + 1):
                order = ("small", "large") if number % 2 else ("large", "small")
                costs = {name: await block(sides[name], noted[name], count, chance) for name in order}
                line = []
                for name in costs["small"]:
                    few, many = costs["small"][name].total, costs["large"][name].total
                    line.append(f"{name} {many:.0f}/{few:.0f} = {many / few:.2f}")
                    if number:
                        ratios[name].append(many / few)
                print(f"round {number}: " + "   ".join(line), flush=True)
    finally:
        for name, side in sides.items():
            side.stop()
            note(homes[name], noted[name])
    return {name: round(median(found), 3) for name, found in ratios.items()}


def main() -> int:
    """Build, or run and print the rounds and the results as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="store_true", help="make the large deployment and stop")
    parser.add_argument("--records", type=int, default=LARGE)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--count", type=int, default=1000, help="requests a phase")
    options = parser.parse_args()
    small, large = where() / f"of-{SMALL}", where() / f"of-{options.records}"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.build:
            runner.run(build(large, records=options.records))
            return 0
        if not (large / "noted.json").exists():
            print(f"Build it first: make bench NAME=scale ARGS=--build   (it goes to {large})", file=sys.stderr)
            return 2
        runner.run(build(small, records=SMALL))
        result = runner.run(measured(small, large, rounds=options.rounds, count=options.count))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
