"""Two worker processes as `serve --workers 2` starts them: one limit for both, with Redis and when Redis is gone."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import msgspec

from deployments import Deployment, deployment
from limiting.redis_server import RedisServer
from wellkeep.assembly.pinning import pinned
from wellkeep.base.limit_settings import LimitSettings
from wellkeep.base.settings import EgressSettings, Place

LIMIT = 60
PATIENT = Path(__file__).with_name("patient.py")
_CONNECTIONS = 16


async def asked(made: Deployment, key: str, times: int) -> Counter[int]:
    """Ask over connections of their own, so that both workers are met; return how often each status came."""
    for clock in (time.time, time.monotonic):  # of Redis, and of a worker without it: not across a full minute
        if clock() % 60 > 56:
            await asyncio.sleep(60 - clock() % 60)
    verify = pinned(made.home.resolve("secrets/tls.crt"))
    headers = {"Authorization": f"Bearer {key}"}

    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=made.url, headers=headers, verify=verify, trust_env=False) as client:
            return [(await client.get("/v1/collections")).status_code for _ in range(times // _CONNECTIONS)]

    found = await asyncio.gather(*(ask() for _ in range(_CONNECTIONS)))
    return Counter(status for statuses in found for status in statuses)


def limited(made: Deployment) -> str:
    """Return a key of `LIMIT` requests a minute, and check what the commands tell of it."""
    options = ("--requests", str(LIMIT), "--network", "127.0.0.0/8", "--scope", "system/*.read")
    said = made.wk("apikey", "create", "--tenant", "limited", "--role", "integration", *options, "--json")
    assert said.code == 0, said.err
    told = said.json()
    shown = made.wk("apikey", "show", told["id"], "--tenant", "limited", "--json").json()
    assert shown["bounds"] == {"networks": ["127.0.0.0/8"], "requests": LIMIT, "records": None}
    return str(told["key"])


def settled(made: Deployment, port: int) -> None:
    """Write into the settings where both workers count."""
    place = Place(name="counts", host="127.0.0.1", ports=(port,), networks=("127.0.0.1/32",), clear=True)
    told = msgspec.structs.replace(
        made.home.settings(), limits=LimitSettings(redis="counts"), egress=EgressSettings(places=(place,))
    )
    made.home.write_settings(told)


def finding(made: Deployment) -> bool:
    """Say whether the finding is open that Redis is away."""
    return "limits.unavailable" in made.wk("findings", "--json").out


def awaited(made: Deployment, *, there: bool) -> None:
    """Wait until the finding is open, or closed."""
    end = time.monotonic() + 30
    while finding(made) is not there:
        assert time.monotonic() < end, "the finding did not come, or did not go"


async def test_exactly_the_limit_passes_on_both_workers_and_no_more_without_redis(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    await redis.start()
    try:
        with deployment() as made:
            settled(made, redis.port)
            made.start("--workers", "2", program=(sys.executable, PATIENT))
            assert made.wk("tenant", "create", "limited").code == 0
            told = await asked(made, limited(made), 160)
            assert told == {200: LIMIT, 429: 160 - LIMIT}
            redis.stop()
            awaited(made, there=True)
            told = await asked(made, limited(made), 320)
            assert told[200] + told[429] == 320
            assert LIMIT // 2 <= told[200] <= LIMIT
            await redis.start()
            awaited(made, there=False)
            assert (await asked(made, limited(made), 160))[200] == LIMIT
    finally:
        redis.stop()
