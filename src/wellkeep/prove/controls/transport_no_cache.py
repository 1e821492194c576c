"""transport.no_cache: every answer says no-store, refusals included, and a caching client in front keeps nothing."""

from __future__ import annotations

from typing import Any

import httpx

from wellkeep.prove.deployment import created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.shared_cache import SharedCache
from wellkeep.prove.world import World

_PATH_VALUES = {
    "collection": PEOPLE,
    "external_id": "wk-probe",
    "number": "1",
}


async def run(world: World, notes: Notes) -> None:
    """Ask every route that the documentation lists, in vain and with success, and look at what may be kept."""
    live = await world.live()
    client = await live.client(live.a.keys["integration"])
    record = await created(client, f"/v1/collections/{PEOPLE}/records", person())
    values = _PATH_VALUES | {"record_id": str(record["id"]), "subject_id": str(record["subject"])}
    specification = (await client.get("/v1/openapi.json")).json()

    cache = SharedCache()
    asked, loose = 0, []
    for path, methods in specification["paths"].items():
        if not path.startswith("/v1/") or path == "/v1/openapi.json":
            continue
        for method in methods:
            answer = await _ask(client, method, _fill(path, values, str(record["id"])))
            asked += 1
            if "no-store" not in _directives(answer):
                loose.append(f"{method.upper()} {path} → {answer.status_code}")
            cache.offer(answer)
    notes.check(
        f"asked all {asked} documented routes of /v1",
        held=asked > 0 and not loose,
        seen="each answer said Cache-Control: no-store" if not loose else f"without no-store: {'; '.join(loose[:5])}",
    )

    read = await client.get(f"/v1/collections/{PEOPLE}/records/{record['id']}")
    cache.offer(read)
    notes.check(
        "read a record through a shared cache (RFC 9111)",
        held=read.is_success and cache.kept == 0,
        seen=f"HTTP {read.status_code}; the cache kept {cache.kept} of {cache.offered} answers",
    )
    control = httpx.Response(200, headers={"Cache-Control": "public, max-age=60"}, request=read.request)
    notes.check(
        "positive control: offered the same cache an answer that may be kept",
        held=SharedCache.may_keep(control),
        seen="it would keep it",
    )


def _fill(path: str, values: dict[str, str], any_id: str) -> str:
    for part in path.split("/"):
        if part.startswith("{"):
            path = path.replace(part, values.get(part[1:-1], any_id))
    return path


async def _ask(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    body: dict[str, Any] = {} if method in {"get", "delete"} else {"json": {}}
    return await client.request(method.upper(), path, **body)


def _directives(answer: httpx.Response) -> set[str]:
    return {part.strip().lower() for part in answer.headers.get("Cache-Control", "").split(",")}


PROBE = Probe(claim="transport.no_cache", where=Where.LIVE, run=run)
