"""access.roles: the matrix of role, action and field, each cell tried over the API and compared with the policy.

What the policy says is read from the reviewed roles file, apart from the code that decides, so that a decision that
strays from the file is seen.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

import httpx

from wellkeep.prove.deployment import created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import FIELD_GROUPS, PEOPLE, person
from wellkeep.prove.world import World

_REFUSED = httpx.codes.FORBIDDEN


async def run(world: World, notes: Notes) -> None:
    """Try each action as each role, then each field of a record as each role that may read one."""
    roles = tomllib.loads(resources.files("wellkeep.definitions").joinpath("roles.toml").read_text("utf-8"))["roles"]
    maker = await world.live.client(world.a.keys["integration"])
    record = await created(maker, f"/v1/collections/{PEOPLE}/records", person(family="Matrix"))
    wrong_actions: list[str] = []
    wrong_fields: list[str] = []
    cells = 0
    for role, key in world.a.keys.items():
        client = await world.live.client(key)
        permitted = set(roles[role]["permissions"])
        for permission, answer in await _actions(client, record):
            cells += 1
            if (answer.status_code != _REFUSED) != (permission in permitted):
                wrong_actions.append(f"{role} {permission} → {answer.status_code}")
        if "record:read" in permitted:
            strays = await _fields(
                client, record["id"], set(roles[role]["groups"]), searches="record:search" in permitted
            )
            cells += 2 * len(FIELD_GROUPS)
            wrong_fields += [f"{role} {stray}" for stray in strays]
    notes.check(
        f"tried {cells} cells: {len(world.a.keys)} roles, each action and each field",
        held=not wrong_actions and len(world.a.keys) > 1,
        seen="each action answered as the roles file says" if not wrong_actions else "; ".join(wrong_actions[:5]),
    )
    notes.check(
        "read and filtered by each field as each role that reads records",
        held=not wrong_fields,
        seen="each field was shown, or withheld by name, as the file says"
        if not wrong_fields
        else "; ".join(wrong_fields[:5]),
    )
    nobody = await (await world.live.client()).get(f"/v1/collections/{PEOPLE}/records/{record['id']}")
    notes.check(
        "read a record without a key",
        held=nobody.status_code == httpx.codes.UNAUTHORIZED,
        seen=f"HTTP {nobody.status_code}",
    )


async def _actions(client: httpx.AsyncClient, record: dict[str, Any]) -> list[tuple[str, httpx.Response]]:
    """Try one route for each permission; bodies are valid, so that only the policy can refuse with 403."""
    base = f"/v1/collections/{PEOPLE}"
    one = f"{base}/records/{record['id']}"
    stale = {"If-Match": '"999"'}
    return [
        ("collection:read", await client.get(base)),
        (
            "collection:create",
            await client.post("/v1/collections", json={"name": "Not A Name", "subject": "none", "fields": []}),
        ),
        ("record:create", await client.post(f"{base}/records", json={"fields": {"label": "matrix"}})),
        ("record:read", await client.get(one)),
        ("record:search", await client.post(f"{base}/records/search", json={"where": {}, "limit": 1})),
        ("record:change", await client.patch(one, json={"fields": {"label": "matrix"}}, headers=stale)),
        ("record:delete", await client.delete(one, headers=stale)),
        ("subject:read", await client.get(f"/v1/subjects/{record['subject']}")),
        ("subject:create", await client.post("/v1/subjects", json={})),
        ("export:read", await client.get(f"/v1/exports/{record['id']}")),
        ("import:read", await client.get(f"/v1/imports/{record['id']}")),
        ("ledger:read", await client.get("/v1/ledger/entries?limit=1")),
    ]


async def _fields(client: httpx.AsyncClient, record_id: str, groups: set[str], *, searches: bool) -> list[str]:
    """Return what strays.

    A field shown that should be withheld, or the reverse, and a filter that should be refused.
    """
    answer = await client.get(f"/v1/collections/{PEOPLE}/records/{record_id}")
    if not answer.is_success:
        return [f"read → {answer.status_code}"]
    body = answer.json()
    strays = []
    for name, group in FIELD_GROUPS.items():
        shown, withheld = name in body["fields"], name in body["withheld"]
        if (shown, withheld) != (group in groups, group not in groups):
            strays.append(f"sees {name}" if shown else f"does not see {name}")
    if searches:
        found = await client.post(f"/v1/collections/{PEOPLE}/records/search", json={"where": {"ssn": "999-00-0000"}})
        if found.is_success != ("identifier" in groups):
            strays.append(f"filters by ssn → {found.status_code}")
    return strays


PROBE = Probe(claim="access.roles", where=Where.LIVE, run=run)
