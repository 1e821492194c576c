"""An import whose server is killed with -9 ends by itself, with counts and digests as the source has.

A silent job is taken over after half a minute, so the tests of every day kill once, and the soak at three points;
`tests/jobs/test_killed_import.py` kills the worker alone, at four.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import pytest

from faults.audit import replayed
from faults.deployed import Deployed, eventually
from wellkeep.vault.templates import template

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.fault]

_LINES = 6_000
_ONE_POINT = (0.3,)
_THREE_POINTS = (0.1, 0.4, 0.75)
_PART = 256 * 1024
_TAKEOVER_SECONDS = 90.0
_STORED = """
SELECT count(*) AS count FROM vault.record r
JOIN vault.collection c ON c.tenant_id = r.tenant_id AND c.id = r.collection_id
WHERE r.tenant_id = $1 AND c.name = $2
"""
PRACTITIONERS = "practitioners"


def source() -> list[bytes]:
    """Return FHIR lines, two of them broken."""
    lines = [
        f'{{"resourceType":"Practitioner","id":"d{n}","name":[{{"family":"Doctor{n} \u00e9"}}],  "x":{n}.0}}'.encode()
        for n in range(_LINES)
    ]
    lines[7] = b'{"resourceType":'
    lines[_LINES // 2] = b'{"resourceType":"Patient"}'
    return lines


async def test_killed_once(deployed: Deployed) -> None:
    await killed(deployed, _ONE_POINT)


@pytest.mark.soak
async def test_killed_at_three_points(deployed: Deployed) -> None:
    await killed(deployed, _THREE_POINTS)


async def status(client: httpx.AsyncClient, where: str) -> dict[str, Any]:
    """Return how an import or export stands, once the server answers."""
    while True:
        try:
            answer = await client.get(where)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        if answer.status_code != 503:
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found


async def killed(deployed: Deployed, points: tuple[float, ...]) -> None:
    """Import, kill when so much is in, and compare what comes of it with the source."""
    lines = source()
    client = deployed.client()
    await declare_practitioners(deployed)
    made = await client.post("/v1/imports", json={"collection": PRACTITIONERS, "format": "fhir"})
    assert made.status_code == 201, made.text
    where = f"/v1/imports/{made.json()['id']}"
    data = b"".join(line + b"\n" for line in lines)
    binary = {"Content-Type": "application/octet-stream"}
    for number, at in enumerate(range(0, len(data), _PART)):
        part = await client.put(f"{where}/parts/{number}", content=data[at : at + _PART], headers=binary)
        assert part.status_code == 204, part.text
    assert (await client.post(f"{where}/start")).status_code == 202
    killed_at = []
    for point in points:

        async def reached(wanted: float = point * _LINES) -> bool:
            now = await status(client, where)
            return int(now["done"]) >= wanted or str(now["state"]) == "done"

        await eventually(reached, seconds=_TAKEOVER_SECONDS, what=f"{point:.0%} of the lines are in")
        deployed.kill()
        killed_at.append(await stored(deployed))
        await deployed.start()
    assert killed_at[-1] < _LINES - 2, "the kills came too late to mean anything"

    async def ended() -> bool:
        return (await status(client, where))["state"] not in {"queued", "running"}

    await eventually(ended, seconds=_TAKEOVER_SECONDS, what="the import ends")
    done = await status(client, where)
    assert done["state"] == "done", done
    assert (done["lines"], done["created"], done["failed"]) == (_LINES, _LINES - 2, 2), done
    assert (done["updated"], done["unchanged"]) == (0, 0), done
    errors = (await client.get(f"{where}/errors")).text.splitlines()
    assert len(errors) == 2
    assert await stored(deployed) == _LINES - 2
    await same_as_the_source(client, [line for n, line in enumerate(lines) if n not in {7, _LINES // 2}])
    await deployed.drained()
    assert (await deployed.verified()).ok
    await replayed(deployed)


async def declare_practitioners(deployed: Deployed) -> None:
    """Make the collection from its template."""
    made = await deployed.client("administrator").post("/v1/collections", json=template(PRACTITIONERS).definition())
    assert made.status_code == 201, made.text


async def stored(deployed: Deployed) -> int:
    """Return how many records of the collection there are."""
    found: int = (await deployed.fetch(_STORED, deployed.a.id, PRACTITIONERS))[0]["count"]
    return found


async def same_as_the_source(client: httpx.AsyncClient, lines: list[bytes]) -> None:
    """Export the collection and compare it with the source, line for line."""
    made = await client.post("/v1/exports", json={"collection": PRACTITIONERS, "format": "fhir"})
    assert made.status_code == 201, made.text
    where = f"/v1/exports/{made.json()['id']}"

    async def ended() -> bool:
        return str((await status(client, where))["state"]) == "done"

    await eventually(ended, seconds=_TAKEOVER_SECONDS, what="the export ends")
    content = (await client.get(f"{where}/content")).content
    found = sorted(content.splitlines())
    assert len(found) == len(lines)
    assert hashlib.sha256(b"\n".join(found)).digest() == hashlib.sha256(b"\n".join(sorted(lines))).digest()
