"""access.operator_blind: who runs the place, or the database, opens no field of a patient over any route.

A canary is written into each group of fields. Then every operation that is documented is tried, on true ids, as each
role that runs or audits the place, and as each role there is of the platform; no answer may hold a piece of it. Then
the superuser looks. Stepping into an account is tried on a scratch deployment, with and without the customer's permit.
So is each way by which staff could let somebody in to a customer's patients: a key, an account, a role, a provider.
"""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from importlib import resources
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from wellkeep.access.operators import this_operator
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.people import signed_in
from wellkeep.prove.probe import Probe
from wellkeep.prove.provider_requests import definition
from wellkeep.prove.requests import Place, Request, requests
from wellkeep.prove.sample import FIELD_GROUPS, PEOPLE, person
from wellkeep.prove.scan import Scanner
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.stage import Stage
from wellkeep.prove.stores import scan_database
from wellkeep.prove.transfers import exported
from wellkeep.prove.world import World

_REFUSED: Final = httpx.codes.FORBIDDEN
_PLAIN: Final = "administrative"
"""The group that who runs the place sees: what a collection is about, nothing of a patient."""
_BLIND: Final = ("administrator", "auditor", "support")
"""Roles of a customer that run or audit the place. Of the platform it is every role there is."""
_PLATFORM: Final = "platform"
_DAYS: Final = 1
_HOUR: Final = timedelta(hours=1)


async def run(world: World, notes: Notes) -> None:
    """Write canaries, then look for them in every answer and as the superuser."""
    live = await world.live()
    canaries = {name: Canary.make(name) for name, group in FIELD_GROUPS.items() if group != _PLAIN and name != "state"}
    maker = await live.client(live.a.keys["integration"])
    values = {name: canary.value for name, canary in canaries.items()}
    record = await created(maker, f"/v1/collections/{PEOPLE}/records", person(**values))
    ended, content = await exported(maker, PEOPLE)
    place = _place(live, record["id"], record["subject"], ended["id"])
    scanner = list(canaries.values())
    notes.check(
        "control: exported the record as the customer's own software",
        held=bool(_pieces(content, scanner)),
        seen="every canary is there" if len(_pieces(content, scanner)) == len(scanner) else "canaries are missing",
    )
    await _routes(live, notes, place, scanner)
    await _superuser(live, notes, scanner)
    scratch = await world.scratch()
    await _inside(scratch, notes)
    await _letting_in(scratch, notes)


def _place(live: Stage, record: str, subject: str, export: str) -> Place:
    return replace(Place.nowhere(record=record, subject=subject, tenant=live.a.id), export=UUID(export))


async def _routes(live: Stage, notes: Notes, place: Place, canaries: list[Canary]) -> None:
    text = tomllib.loads(resources.files("wellkeep.definitions").joinpath("roles.toml").read_text("utf-8"))
    phi = set(text["phi"]["permissions"])
    async with _blind(live, text["roles"]) as keys:
        leaked, answered, tried = [], 0, 0
        for role, key in keys.items():
            for request in requests(place):
                if role.startswith(_PLATFORM) and not (_reads(request) or request.permission in phi):
                    continue  # it would be done: a tenant made, a key rotated
                answer = await request.send(await live.client(key, admin=request.admin))
                tried += 1
                answered += answer.is_success
                leaked += [f"{role} {request.operation}"] if _holds(answer, canaries) else []
    notes.check(
        f"sent {tried:,} requests, one for each operation, as {len(keys)} roles that run or audit the place",
        held=answered > 0 and not leaked,
        seen=f"{answered} were answered; none held a piece of a field" if not leaked else "; ".join(leaked[:5]),
    )


@asynccontextmanager
async def _blind(live: Stage, roles: Mapping[str, Any]) -> AsyncIterator[dict[str, Secret[str]]]:
    """Lend a key of each role that must see nothing: the customer's own, and of the platform every role there is."""
    issuable = [name for name, role in roles.items() if role.get("issuable", True)]
    operator, api_keys = this_operator(), live.operator.api_keys
    async with AsyncExitStack() as stack:
        keys = {}
        for tenant, names in ((live.a.id, _BLIND), (PLATFORM_TENANT, issuable)):
            for name in names:
                made = await api_keys.create(
                    operator, tenant=tenant, name=f"prove-blind-{name}", roles=(name,), days=_DAYS
                )
                stack.push_async_callback(api_keys.revoke, operator, tenant=tenant, key_id=made.about.id)
                keys[f"{_PLATFORM if tenant == PLATFORM_TENANT else 'customer'} {name}"] = made.key
        yield keys


def _reads(request: Request) -> bool:
    return bool(request.arguments["method"] == "GET")


def _holds(answer: httpx.Response, canaries: list[Canary]) -> bool:
    return bool(_pieces(answer.content, canaries)) or bool(_pieces(str(answer.headers).encode(), canaries))


def _pieces(text: bytes, canaries: list[Canary]) -> set[str]:
    return {one.name for one in canaries if any(pattern.needle in text for pattern in one.patterns())}


async def _superuser(live: Stage, notes: Notes, canaries: list[Canary]) -> None:
    control = Canary(name="control", value=live.a.name)
    try:
        async with live.as_superuser() as connection:
            found = await scan_database(connection, Scanner([*canaries, control]))
    except Unseen as unseen:
        notes.blind("look as the database's superuser", why=str(unseen))
        return
    seen = found.found(one.name for one in canaries)
    notes.check(
        f"read {found.places} tables as the database's superuser, {found.bytes:,} bytes",
        held=not seen and bool(found.found([control.name])),
        seen=f"{len(seen)} of {len(canaries)} values found; "
        + ("what is kept in clear was found" if found.found([control.name]) else "the scan is blind"),
    )


async def _inside(scratch: Scratch, notes: Notes) -> None:
    """Read a record in a customer's account: without their permit, with it, and after it was taken back."""
    maker = await scratch.client(scratch.a.keys["integration"])
    record = await created(maker, f"/v1/collections/{PEOPLE}/records", person(family="Masked"))
    async with (
        signed_in(scratch, "support", platform=True, admin=True) as (_, desk),
        signed_in(scratch, "clinician") as (target, _),
        signed_in(scratch, "administrator") as (_, customer),
    ):
        without = await _seen_inside(scratch, desk, target, record["id"])
        until = (scratch.operator.core.clock.now() + _HOUR).isoformat()
        permit = await created(customer, "/v1/impersonation-permits", {"person": str(target), "until": until})
        granted = await _seen_inside(scratch, desk, target, record["id"])
        await customer.delete(f"/v1/impersonation-permits/{permit['id']}")
        after = await _seen_inside(scratch, desk, target, record["id"])
    notes.check(
        "stepped into a customer's account and read a record: without a permit, with the customer's, after its end",
        held=without == after == 0 and granted > 0,
        seen=f"{without}, {granted} and {after} fields shown",
    )


async def _seen_inside(scratch: Scratch, desk: httpx.AsyncClient, target: UUID, record: str) -> int:
    """Return how many fields staff see of a record in the account of `target`."""
    asked = {"tenant": str(scratch.a.id), "person": str(target), "reason": "the probe looks at what is masked"}
    started = await created(desk, "/v1/impersonations", asked)
    carried = {"Authorization": f"Bearer {started['token']}"}
    client = await scratch.client()
    answer = await client.get(f"/v1/collections/{PEOPLE}/records/{record}", headers=carried)
    officer = await scratch.client(scratch.a.keys["privacy_officer"])
    await officer.post(f"/v1/impersonations/{started['id']}/end")
    if not answer.is_success:
        raise Unseen(f"nothing could be read inside the account (HTTP {answer.status_code})")
    return len(answer.json()["fields"])


async def _letting_in(scratch: Scratch, notes: Notes) -> None:
    """Have staff of the platform let somebody in to a customer's, by each way there is, and a customer themselves."""
    async with (
        signed_in(scratch, "administrator", platform=True, admin=True) as (_, desk),
        signed_in(scratch, "coach") as (theirs, _),
    ):
        base = f"/v1/tenants/{scratch.a.id}"
        ways = _ways_in(base, theirs)
        answers = [await desk.post(url, json=body) for url, body in ways]
        changed = await desk.patch(f"{base}/users/{theirs}", json={"email": f"{uuid4().hex}@example.org"})
    own = await (await scratch.client(scratch.a.keys["administrator"], admin=True)).post(ways[0][0], json=ways[0][1])
    opened = [url for (url, _), answer in zip(ways, answers, strict=True) if answer.status_code != _REFUSED]
    opened += [] if changed.status_code == _REFUSED else ["another e-mail"]
    notes.check(
        f"let somebody in to a customer's as the platform's administrator, by {len(ways) + 1} ways; as the customer",
        held=own.is_success and not opened,
        seen=f"each was refused (403); the customer's own: HTTP {own.status_code}"
        if not opened
        else f"{len(opened)} were not refused: {'; '.join(one.rpartition('/')[2] for one in opened[:5])}",
    )


def _ways_in(base: str, theirs: UUID) -> list[tuple[str, dict[str, object]]]:
    """Return the addresses that let somebody in to the tenant below `base`, `theirs` being of its people."""
    name, user = f"prove-{uuid4().hex}", f"{base}/users/{theirs}"
    return [
        (f"{base}/apikeys", {"name": name, "roles": ["integration"], "days": _DAYS}),
        (f"{base}/users", {"email": f"{name}@example.org", "name": "Probe", "roles": ["clinician"]}),
        (f"{base}/users", {"email": f"{name}@example.org", "name": "Probe", "roles": ["administrator"]}),
        (f"{user}/roles", {"role": "clinician"}),
        (f"{user}/reset", {}),
        (f"{user}/enable", {}),
        (f"{base}/providers", definition(name)),
    ]


PROBE = Probe(claim="access.operator_blind", where=Where.LIVE, run=run)
