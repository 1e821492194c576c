"""What it costs to decide who may do what: `make bench NAME=access`.

- `decision_us`: the policy alone, worked-out cells at hand, the median over roles and permissions, tenants with rules
  and roles of their own among them. Bar: 2 µs.
- `request_overhead`: CPU of the server and of PostgreSQL for the same authenticated read by an API key, of what it was
  in the commit before people, sessions, policies of tenants and the keys' whole life came (`BEFORE`, in a work tree of
  its own), both served side by side in one run. The median over rounds that begin with either in turn. Bar: 1.15.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import msgspec
import uvloop

import request_data
from measure import median
from request_deployment import Side, Tenant, collection_path, machine, settle
from request_load import Run, Target, connect, request
from wellkeep.access.roles import load
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.gate.acts import Act, Caller, Role, TenantSettings
from wellkeep.gate.custom_roles import own_rules
from wellkeep.gate.policy import Policy
from wellkeep.ledger.actions import Action

BEFORE = "3e91177"
ROOT = Path(__file__).parent.parent
_PERMISSIONS = (
    Permission.RECORD_READ,
    Permission.RECORD_SEARCH,
    Permission.RECORD_CREATE,
    Permission.USER_READ,
    Permission.EXPORT_RUN,
)
_LOOPS = 2_000
_CALLERS = 16


def decision_us(*, rounds: int) -> float:
    """Return the median µs of a decision over roles, permissions, keys and persons, with and without own rules."""
    policy = Policy(load())
    tenant = uuid7()
    made = msgspec.json.decode(msgspec.json.encode(_nurse()))
    own = own_rules(tenant, [made], care_team=["clinician"], roles=policy.roles)
    found = []
    for settings in (TenantSettings(), TenantSettings(own=own)):
        for roles in [(name,) for name in policy.roles.roles] + [("clinician", "billing"), ("nurse", "coach")]:
            for permission in _PERMISSIONS:
                for kind in (ActorType.API_KEY, ActorType.PERSON):
                    caller, act = _asked(kind, tenant, roles, permission)
                    found.append(min(_one(policy, caller, act, settings) for _ in range(rounds)))
    return median(found)


def _nurse() -> Role:
    clinician = load().roles["clinician"]
    return msgspec.structs.replace(clinician, name="nurse", hidden=frozenset({"charts.note"}))


def _asked(kind: ActorType, tenant: UUID, roles: tuple[str, ...], permission: Permission) -> tuple[Caller, Act]:
    method = AuthMethod.API_KEY if kind is ActorType.API_KEY else AuthMethod.SESSION
    principal = Principal(kind, str(uuid7()), tenant, roles, method, mfa=True, fresh=True)
    return Caller(principal, None, uuid7()), Act(permission, Action.RECORD_READ, "record")


def _one(policy: Policy, caller: Caller, act: Act, settings: TenantSettings) -> float:
    decide = policy.decide
    decide(caller, act, settings=settings)
    begin = time.perf_counter_ns()
    for _ in range(_LOOPS):
        decide(caller, act, settings=settings)
    return (time.perf_counter_ns() - begin) / _LOOPS / 1e3


@contextmanager
def before(home: Path) -> Iterator[Path]:
    """Lend a work tree of the commit before."""
    tree = home / "before"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", tree, BEFORE], check=True)  # noqa: S603 - our own history
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", tree], check=False)  # noqa: S603 - as above


@contextmanager
def served(name: str, tree: Path, home: Path) -> Iterator[tuple[Side, list[Tenant]]]:
    """Lend a side that `tree` serves from `home`, and its tenants."""
    home.mkdir(mode=0o711)
    environment = os.environ | {"PYTHONPATH": f"{tree / 'src'}:{tree / 'bench'}"}
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", Path(__file__).with_name("access_side.py"), home / "wellkeep"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{name} did not begin to serve")
        told = json.loads(line)
        tenants = [Tenant(UUID(one["id"]), one["key"], list(map(UUID, one["subjects"]))) for one in told["tenants"]]
        server = cast("subprocess.Popen[bytes]", SimpleNamespace(pid=told["pid"]))
        yield (
            Side(name, server, told["postmaster"], Target("127.0.0.1", told["port"]), told["administrator"], ""),
            tenants,
        )
    finally:
        process.stdin.close()
        process.wait(60)


def creates(tenants: list[Tenant], people: Sequence[dict[str, str]]) -> list[bytes]:
    """Return a request for each of `people` that makes their record, tenant by tenant in turn."""
    found = []
    for number, fields in enumerate(people):
        tenant = tenants[number % len(tenants)]
        body = msgspec.json.encode({"subject": tenant.subjects[number % len(tenant.subjects)], "fields": fields})
        found.append(request("POST", collection_path(), body, authorization=f"Bearer {tenant.key}"))
    return found


def reads(tenants: list[Tenant], ids: Sequence[str], wanted: Sequence[int]) -> list[bytes]:
    """Return a request for each wanted record."""
    return [
        request("GET", f"{collection_path()}/{ids[one]}", authorization=f"Bearer {tenants[one % len(tenants)].key}")
        for one in wanted
    ]


async def timed(side: Side, requests: list[bytes]) -> tuple[float, Run]:
    """Return the µs of CPU a request, of the server and of PostgreSQL, and what was answered."""
    callers = await connect(side.target, _CALLERS)
    before = sum(side.cpu())
    run = await callers.run(requests)
    after = sum(side.cpu())
    callers.close()
    return (after - before) / len(requests) * 1e6, run


async def overhead(sides: dict[str, tuple[Side, list[Tenant]]], *, rounds: int, count: int) -> dict[str, Any]:
    """Return the ratio of the CPU of a read, and what it is of; the first round warms up and is thrown away."""
    chance = random.Random(count)  # noqa: S311 - made-up people
    people = [request_data.fields(number, chance) for number in range(count)]
    ids = {}
    for name, (side, tenants) in sides.items():
        _, made = await timed(side, creates(tenants, people))
        ids[name] = [msgspec.json.decode(body)["id"] for body in made.bodies]
    await settle([side for side, _ in sides.values()])
    ratios = []
    totals: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        wanted = [chance.randrange(count) for _ in range(count)]
        costs = {}
        for name in sorted(sides, reverse=bool(number % 2)):
            side, tenants = sides[name]
            await timed(side, reads(tenants, ids[name], wanted[: _CALLERS * 4]))
            costs[name], run = await timed(side, reads(tenants, ids[name], wanted))
            assert all(
                msgspec.json.decode(body)["fields"] == people[one] for one, body in zip(wanted, run.bodies, strict=True)
            ), "both sides answer the record, whole"
        ratio = costs["now"] / costs["before"]
        print(f"round {number}: {costs['now']:.0f}/{costs['before']:.0f} µs = {ratio:.3f}", flush=True)
        if number:
            ratios.append(ratio)
            for name, cost in costs.items():
                totals[name].append(cost)
    return {
        "request_overhead": round(median(ratios), 3),
        **{f"read_us_{name}": round(median(found)) for name, found in totals.items()},
    }


def main() -> int:
    """Run, and print the results as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=3000, help="requests a round")
    parser.add_argument("--decisions", action="store_true", help="the decisions alone")
    options = parser.parse_args()
    print(machine())
    result: dict[str, Any] = {"decision_us": round(decision_us(rounds=5), 3)}
    if not options.decisions:
        home = Path(tempfile.mkdtemp(prefix="wk-bench-", dir="/var/tmp"))
        home.chmod(0o711)
        try:
            with (
                before(home) as tree,
                served("before", tree, home / "old") as old,
                served("now", ROOT, home / "new") as new,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                work = overhead({"before": old, "now": new}, rounds=options.rounds, count=options.count)
                result |= runner.run(work)
        finally:
            shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
