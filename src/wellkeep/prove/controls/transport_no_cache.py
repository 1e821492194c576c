"""transport.no_cache: every answer says no-store, refusals included, and a caching client in front keeps nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.shared_cache import SharedCache
from wellkeep.prove.stage import Stage
from wellkeep.prove.transfers import exported
from wellkeep.prove.world import World

_ANSWER_SECONDS = 10.0
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

    await _apart_from_routes(live, notes)
    await _through_a_cache(client, notes, cache, record["id"])


async def _apart_from_routes(live: Stage, notes: Notes) -> None:
    """Get the answers that no route of ours makes, on both listeners."""
    loose = []
    for admin in (False, True):
        client = await live.client(admin=admin)
        for path in ("/nowhere", "/v1/nowhere", "/v1/collections", "/v1/tenants", "/metrics"):
            answer = await client.get(path)
            if "no-store" not in _directives(answer):
                loose.append(f"{path} → {answer.status_code}")
        head = await _unparsed(live, client.base_url)
        if b"cache-control: no-store" not in head.lower():
            loose.append("what is no HTTP")
    notes.check(
        "asked both listeners for what does not exist, without a key, and in no HTTP at all",
        held=not loose,
        seen="each answer said no-store" if not loose else f"without no-store: {', '.join(loose[:5])}",
    )


async def _unparsed(live: Stage, url: httpx.URL) -> bytes:
    """Send over TLS what is no request and return the head of the answer."""
    reader, writer = await asyncio.open_connection(url.host, url.port, ssl=live.trust())
    try:
        writer.write(b"NO HTTP AT ALL\r\n\r\n")
        await writer.drain()
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _ANSWER_SECONDS)
    except (TimeoutError, asyncio.IncompleteReadError):
        return b""
    finally:
        writer.close()


async def _through_a_cache(client: httpx.AsyncClient, notes: Notes, cache: SharedCache, record: str) -> None:
    """Read a record and an export with a cache in between."""
    read = await client.get(f"/v1/collections/{PEOPLE}/records/{record}")
    cache.offer(read)
    try:
        export, _ = await exported(client, PEOPLE)
        content = await client.get(f"/v1/exports/{export['id']}/content")
        cache.offer(content)
        said = "no-store" in _directives(read) and "no-store" in _directives(content)
    except Unseen as unseen:
        notes.blind("downloaded an export through a shared cache", why=str(unseen))
        said = "no-store" in _directives(read)
    notes.check(
        "read a record and an export through a shared cache (RFC 9111)",
        held=read.is_success and said and cache.kept == 0,
        seen=f"HTTP {read.status_code}; the cache kept {cache.kept} of {cache.offered} answers",
    )
    control = httpx.Response(200, headers={"Cache-Control": "public, max-age=60"}, request=read.request)
    keeps = SharedCache.may_keep(control)
    notes.check(
        "positive control: offered the same cache an answer that may be kept",
        held=keeps,
        seen="it would keep it" if keeps else "it would not keep anything",
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
