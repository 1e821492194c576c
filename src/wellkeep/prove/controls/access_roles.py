"""access.roles: the matrix of role, action and field, each cell tried over the API and compared with the policy.

So is each way to a patient, as somebody whose role is bound to the care team. What the policy says is read from the
reviewed roles file, apart from the code that decides, so that a decision that strays from the file is seen. Which
action needs which permission stands in the probe's own reviewed table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import httpx

from wellkeep.prove import bound
from wellkeep.prove.deployment import created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.requests import Place, Request, documented, personal, requests
from wellkeep.prove.sample import FIELD_GROUPS, PEOPLE, person
from wellkeep.prove.stage import Stage
from wellkeep.prove.world import World

_REFUSED = httpx.codes.FORBIDDEN
_RECORDS = f"/v1/collections/{PEOPLE}/records"
_FILTERS = {"family": "Matrix", "ssn": "999-00-0000"}
"""The indexed fields, by which a role that does not see them must not be able to search."""


async def run(world: World, notes: Notes) -> None:
    """Try each action as each role, then each field of a record as each role that may read or write one."""
    live = await world.live()
    text = tomllib.loads(resources.files("wellkeep.definitions").joinpath("roles.toml").read_text("utf-8"))
    await _table(live, notes)
    await _actions(live, notes, text)
    await _fields(live, notes, text["roles"])
    await _care(live, notes)
    await _strangers(live, notes)


async def _table(live: Stage, notes: Notes) -> None:
    """Compare the reviewed table with what is served: an action that nobody reviewed is not tried."""
    place = Place.nowhere(record=str(live.a.id), subject=str(live.a.id), tenant=live.a.id)
    reviewed = {request.operation: request.permission for request in (*requests(place), *personal())}
    served = await documented(live)
    strays = sorted(name for name in reviewed.keys() | served.keys() if reviewed.get(name) != served.get(name))
    notes.check(
        f"compared the {len(reviewed)} reviewed actions with those that both listeners document",
        held=bool(served) and not strays,
        seen="the same actions, the same permissions" if not strays else f"differ: {', '.join(strays[:5])}",
    )


async def _actions(live: Stage, notes: Notes, text: Mapping[str, Any]) -> None:
    maker = await live.client(live.a.keys["integration"])
    record = await created(maker, _RECORDS, person(family="Matrix"))
    wrong, cells = [], 0
    for role, key in live.a.keys.items():
        permitted = set(text["roles"][role]["permissions"]) - set(text["platform"]["only"])
        permitted -= set(text["people"]["never_keys"])
        groups = set(text["roles"][role]["groups"])
        place = Place.nowhere(record=record["id"], subject=record["subject"], tenant=live.a.id)
        for request in (*requests(place), *personal()):
            answer = await request.send(await live.client(key, admin=request.admin))
            cells += 1
            if not _as_told(answer, request, permitted, groups):
                wrong.append(f"{role} {request.operation} → {answer.status_code}")
    notes.check(
        f"tried {cells} cells of role and action: {len(live.a.keys)} roles, each with a key of its own",
        held=cells > 0 and not wrong,
        seen="each was taken or refused (403) as the roles file says" if not wrong else "; ".join(wrong[:5]),
    )


def _as_told(answer: httpx.Response, request: Request, permitted: set[str], groups: set[str]) -> bool:
    """Say whether an answer is that of a policy which permits `permitted`: 403 or not, and no fault of ours."""
    if request.permission not in permitted or not groups.issuperset(request.sees):
        return answer.status_code == _REFUSED
    return answer.status_code not in {_REFUSED, httpx.codes.UNAUTHORIZED} and not answer.is_server_error


async def _fields(live: Stage, notes: Notes, roles: Mapping[str, Any]) -> None:
    maker = await live.client(live.a.keys["integration"])
    record = await created(maker, _RECORDS, person(family="Matrix"))
    wrong, cells = [], 0
    for role, key in live.a.keys.items():
        client, groups, permitted = await live.client(key), set(roles[role]["groups"]), set(roles[role]["permissions"])
        strays: list[str] = []
        if "record:read" in permitted:
            cells += 2 * len(FIELD_GROUPS)
            strays += await _sees(client, record["id"], groups)
            strays += await _asks(client, record["id"], groups)
        if "record:search" in permitted:
            cells += len(FIELD_GROUPS) + len(_FILTERS)
            strays += await _finds(client, record, groups)
        if "record:create" in permitted:
            cells += len(FIELD_GROUPS)
            strays += await _writes(client, groups)
        wrong += [f"{role} {stray}" for stray in strays]
    notes.check(
        f"tried {cells} cells of role and field: read, asked for by name, searched, filtered by, written",
        held=cells > 0 and not wrong,
        seen="each field was shown and taken, or withheld by name and refused, as the file says"
        if not wrong
        else "; ".join(wrong[:5]),
    )


async def _sees(client: httpx.AsyncClient, record: str, groups: set[str]) -> list[str]:
    answer = await client.get(f"{_RECORDS}/{record}")
    return _shown(answer.json(), groups) if answer.is_success else [f"read → {answer.status_code}"]


async def _asks(client: httpx.AsyncClient, record: str, groups: set[str]) -> list[str]:
    """Ask for each field by its name, alone."""
    strays = []
    for name, group in FIELD_GROUPS.items():
        answer = await client.get(f"{_RECORDS}/{record}", params={"fields": name})
        shown = answer.is_success and name in answer.json()["fields"]
        if shown != (group in groups):
            strays.append(f"asks for {name} → {answer.status_code}")
    return strays


async def _finds(client: httpx.AsyncClient, record: Mapping[str, Any], groups: set[str]) -> list[str]:
    """Look at what a search shows, then filter by each indexed field."""
    answer = await client.post(f"{_RECORDS}/search", json={"where": {}, "subject": record["subject"]})
    if not answer.is_success:
        return [f"search → {answer.status_code}"]
    found = answer.json()["records"]
    strays = _shown(found[0], groups) if found else ["finds nothing"]
    for name, value in _FILTERS.items():
        filtered = await client.post(f"{_RECORDS}/search", json={"where": {name: value}, "limit": 1})
        if filtered.is_success != (FIELD_GROUPS[name] in groups):
            strays.append(f"filters by {name} → {filtered.status_code}")
    return strays


async def _writes(client: httpx.AsyncClient, groups: set[str]) -> list[str]:
    strays = []
    for name, group in FIELD_GROUPS.items():
        answer = await client.post(_RECORDS, json={"fields": {name: person()["fields"][name]}})
        if answer.is_success != (group in groups):
            strays.append(f"writes {name} → {answer.status_code}")
    return strays


def _shown(body: Mapping[str, Any], groups: set[str]) -> list[str]:
    """Return what strays: a field shown that should be withheld, or the reverse."""
    strays = []
    for name, group in FIELD_GROUPS.items():
        shown, withheld = name in body["fields"], name in body["withheld"]
        if (shown, withheld) != (group in groups, group not in groups):
            strays.append(f"sees {name}" if shown else f"does not see {name}")
    return strays


async def _care(live: Stage, notes: Notes) -> None:
    """Try each way to one's own patient and to another's, as a person whose role is bound to the care team."""
    cells, wrong = await bound.tried(live)
    notes.check(
        f"tried {cells} cells of a role that is bound to the care team: one's own patient, and another's",
        held=cells > 0 and not wrong,
        seen="each was open for one's own and refused (403), or left out, for the other"
        if not wrong
        else "; ".join(wrong[:5]),
    )


async def _strangers(live: Stage, notes: Notes) -> None:
    """Ask without a key, and as the administrator of another tenant."""
    place = Place.nowhere(record=str(live.a.id), subject=str(live.a.id), tenant=live.a.id)
    opened, tried = [], 0
    for request in (*requests(place), *personal()):
        answers = {"nobody": await request.send(await live.client(admin=request.admin))}
        if request.operation.startswith("apikey_"):
            key = live.b.keys["administrator"]
            answers["another tenant's administrator"] = await request.send(await live.client(key, admin=True))
        tried += len(answers)
        for who, answer in answers.items():
            if answer.status_code not in {httpx.codes.UNAUTHORIZED, _REFUSED, httpx.codes.NOT_FOUND}:
                opened.append(f"{who} {request.operation} → {answer.status_code}")
    notes.check(
        f"tried {tried} requests without a key, or upon a tenant as another one's administrator",
        held=tried > 0 and not opened,
        seen="each was refused" if not opened else "; ".join(opened[:5]),
    )


PROBE = Probe(claim="access.roles", where=Where.LIVE, run=run)
