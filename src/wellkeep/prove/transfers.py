"""Imports and exports as a customer runs them: over the API, waited for until they end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from wellkeep.prove.deployment import Unseen, created

_PAUSE_SECONDS = 0.1
_LONGEST_SECONDS = 60.0
_UNDER_WAY = {"receiving", "queued", "running"}


async def imported(client: httpx.AsyncClient, collection: str, file: bytes, **how: Any) -> dict[str, Any]:
    """Import `file` and return how the import ended; `how` is its `format` and, for CSV, its `map`.

    Raises Unseen where it did not end as done.
    """
    made = await created(client, "/v1/imports", {"collection": collection} | how)
    path = f"/v1/imports/{made['id']}"
    kind = {"Content-Type": "application/octet-stream"}
    sent = await client.put(f"{path}/parts/0", content=file, headers=kind)
    started = await client.post(f"{path}/start")
    if not (sent.is_success and started.is_success):
        raise Unseen(f"an import could not be started (HTTP {sent.status_code}, {started.status_code})")
    return await _ended(client, path)


async def exported(client: httpx.AsyncClient, collection: str) -> tuple[dict[str, Any], bytes]:
    """Export `collection` as NDJSON and return how the export ended and what was downloaded. Raises Unseen."""
    made = await created(client, "/v1/exports", {"collection": collection, "format": "ndjson"})
    path = f"/v1/exports/{made['id']}"
    ended = await _ended(client, path)
    content = await client.get(f"{path}/content")
    if not content.is_success:
        raise Unseen(f"an export could not be downloaded (HTTP {content.status_code})")
    return ended, content.content


async def _ended(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LONGEST_SECONDS
    while loop.time() < deadline:
        status: dict[str, Any] = (await client.get(path)).json()
        if status.get("state") == "done":
            return status
        if status.get("state") not in _UNDER_WAY:
            raise Unseen("a job of the probe's did not end as done")
        await asyncio.sleep(_PAUSE_SECONDS)
    raise Unseen(f"a job of the probe's did not end within {_LONGEST_SECONDS:.0f} s")
